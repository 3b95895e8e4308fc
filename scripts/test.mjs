// Runs lint, types and every test. Arguments go to vitest.
import { spawnSync } from "node:child_process";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

process.chdir(join(dirname(fileURLToPath(import.meta.url)), ".."));

function run(args) {
  const result = spawnSync(process.execPath, args, { stdio: "inherit" });
  if (result.status !== 0) process.exit(result.status ?? 1);
}

run([join("node_modules", "typescript", "bin", "tsc"), "--noEmit", "-p", "tsconfig.json"]);
run([
  join("node_modules", "@biomejs", "biome", "bin", "biome"),
  "check",
  "--error-on-warnings",
  ".",
]);
run([join("node_modules", "vitest", "vitest.mjs"), "run", ...process.argv.slice(2)]);
