// Builds the project and its benchmarks, then runs one of bench/ by name.
// Usage: node scripts/bench.mjs NAME [--] [OPTIONS]      node scripts/bench.mjs   lists the names
import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { buildOrExit } from "./build.mjs";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const names = readdirSync(join(root, "bench"))
  .filter((file) => file.endsWith(".ts"))
  .map((file) => file.slice(0, -3));
const [name, ...rest] = process.argv.slice(2);
const options = rest[0] === "--" ? rest.slice(1) : rest;
if (name === undefined || !names.includes(name)) {
  console.error(`Usage: node scripts/bench.mjs NAME [OPTIONS]\nNames: ${names.join(", ")}`);
  process.exit(1);
}

buildOrExit({ quiet: true });
const node = (args) => spawnSync(process.execPath, args, { stdio: "inherit" }).status ?? 1;
const compiled = node([
  join(root, "node_modules", "typescript", "bin", "tsc"),
  "-p",
  join(root, "bench", "tsconfig.json"),
]);
if (compiled !== 0) process.exit(compiled);
// The compiled copy of the sources in there looks for the addon in the wrong place.
process.env["PACIOLI_ADDON_PATH"] ??= join(root, "build", "pacioli.node");
const script = join(root, "build", "bench", "bench", `${name}.js`);
// NODE_OPTIONS reach it too: `NODE_OPTIONS=--cpu-prof node scripts/bench.mjs …` profiles it.
process.exit(node([script, ...options]));
