// Runs types, lint and every test. Arguments go to vitest: `npm test -- test/cli`.
import { spawnSync } from "node:child_process";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const modules = join(root, "node_modules");

function run(what, args) {
  const result = spawnSync(process.execPath, args, {
    cwd: root,
    stdio: ["ignore", "inherit", "inherit"],
  });
  if (result.status === 0) return;
  const how = result.signal === null ? "" : ` (ended by ${result.signal})`;
  process.stderr.write(`pacioli: ${what} failed${how}; see above.\n`);
  process.exit(result.status || 1);
}

run("the type check", [
  join(modules, "typescript", "bin", "tsc"),
  "--noEmit",
  "-p",
  "tsconfig.json",
]);
run("lint ('npm run format' repairs most of it)", [
  join(modules, "@biomejs", "biome", "bin", "biome"),
  "check",
  "--error-on-warnings",
  ".",
]);
run("a test", [join(modules, "vitest", "vitest.mjs"), "run", ...process.argv.slice(2)]);
