// Installs, compiles TypeScript and builds the addon, each only when its inputs changed.
// Usage: node scripts/build.mjs [--quiet]
import { execFileSync, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const quiet = process.argv.includes("--quiet");
process.chdir(root);

function say(text) {
  if (!quiet) console.log(text);
}

function run(command, args) {
  const result = spawnSync(command, args, {
    stdio: quiet ? ["ignore", "ignore", "inherit"] : ["ignore", "inherit", "inherit"],
    shell: process.platform === "win32",
  });
  if (result.status !== 0) {
    console.error(`pacioli: '${command} ${args.join(" ")}' failed; see the messages above.`);
    process.exit(result.status ?? 1);
  }
}

function installIfNeeded() {
  const lock = readFileSync("package-lock.json");
  const stamp = join("node_modules", ".pacioli-installed");
  const digest = createHash("sha256").update(lock).update(process.version).digest("hex");
  if (existsSync(stamp) && readFileSync(stamp, "utf8") === digest) return;
  say("installing dependencies");
  run("npm", ["ci", "--no-audit", "--no-fund", "--loglevel=error"]);
  writeFileSync(stamp, digest);
}

installIfNeeded();
mkdirSync("dist", { recursive: true });
say("compiling TypeScript");
run(process.execPath, [
  join("node_modules", "typescript", "bin", "tsc"),
  "-p",
  "tsconfig.build.json",
]);
say("building the addon");
execFileSync(
  process.execPath,
  [join("scripts", "build-addon.mjs"), ...(quiet ? ["--quiet"] : [])],
  {
    stdio: "inherit",
  },
);
