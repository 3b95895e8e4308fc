// Brings the working copy into a state in which it runs: dependencies installed, TypeScript
// compiled, the addon built, each only when its inputs changed. Needs Node and npm; the registry
// only while dependencies are missing.
// Usage: node scripts/build.mjs [--quiet]
//   --quiet  says nothing when there is nothing to install, compile errors and warnings apart
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, realpathSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");

/** Ends the build with a sentence that says what to do. */
class BuildError extends Error {}

/** Runs a program in the project's folder; its output is shown when it fails, or when asked for. */
function run(command, args, { show, whatToDo }) {
  const result = spawnSync(command, args, {
    cwd: root,
    stdio: show ? ["ignore", "inherit", "inherit"] : ["ignore", "pipe", "inherit"],
    encoding: "utf8",
    maxBuffer: 64 * 1024 * 1024,
    // npm is a command file on Windows.
    shell: process.platform === "win32" && command === "npm",
  });
  if (result.status === 0) return;
  if (result.stdout) process.stderr.write(result.stdout);
  if (result.error) process.stderr.write(`${result.error.message}\n`);
  throw new BuildError(whatToDo);
}

function checkNode() {
  const wanted = readJson("package.json").engines.node.replace(/[^0-9.]/g, "");
  const [major, minor] = process.versions.node.split(".").map(Number);
  const [wantedMajor, wantedMinor] = wanted.split(".").map(Number);
  if (major < wantedMajor || (major === wantedMajor && minor < wantedMinor)) {
    throw new BuildError(
      `Node.js ${wanted} or newer is needed, and this is ${process.versions.node}; install a newer one.`,
    );
  }
}

function readJson(path) {
  return JSON.parse(readFileSync(join(root, path), "utf8"));
}

/**
 * True when node_modules holds what package-lock.json asks for. npm writes its own copy of the
 * lock file there as the last step of an install, so an interrupted one is seen as well. Optional
 * packages are those of single platforms; one for this platform must be there.
 */
function installed() {
  const copy = join("node_modules", ".package-lock.json");
  if (!existsSync(join(root, copy))) return false;
  const present = readJson(copy).packages;
  for (const [path, wanted] of Object.entries(readJson("package-lock.json").packages)) {
    if (path === "" || present[path]?.version === wanted.version) continue;
    if (!wanted.optional) return false;
    const forHere = wanted.os?.includes(process.platform) && wanted.cpu?.includes(process.arch);
    // Which C library a package is for cannot be told here; npm knows.
    if (forHere && wanted.libc === undefined) return false;
  }
  return true;
}

/** Compiled files whose source is gone would still be imported. */
function removeStale(outputFolder, sourceFolder) {
  const output = join(root, outputFolder);
  for (const entry of readdirSync(output, { recursive: true })) {
    const match = /^(.*?)(\.d\.ts|\.js|\.js\.map)$/.exec(entry);
    if (match !== null && !existsSync(join(root, sourceFolder, `${match[1]}.ts`))) {
      rmSync(join(output, entry));
    }
  }
}

/** What does not compile must not replace what does. */
function compile(project, whatToDo, show) {
  const compiler = join("node_modules", "typescript", "bin", "tsc");
  run(process.execPath, [compiler, "-p", project, "--noEmitOnError"], { show, whatToDo });
}

export function build({ quiet }) {
  const first = !existsSync(join(root, "node_modules")) || !existsSync(join(root, "dist"));
  const say = (text) => {
    if (!quiet || first) process.stderr.write(`${text}\n`);
  };
  checkNode();
  if (!installed()) {
    say("installing dependencies");
    run("npm", ["ci", "--include=dev", "--no-audit", "--no-fund", "--loglevel=error"], {
      show: !quiet,
      whatToDo:
        "dependencies could not be installed, see above; the npm registry must be reachable this once " +
        "('npm config get registry' says which one is used).",
    });
  }
  say("compiling");
  mkdirSync(join(root, "dist"), { recursive: true });
  compile("tsconfig.build.json", "the TypeScript sources do not compile, see above.", !quiet);
  removeStale("dist", "src");
  const addonOptions = quiet && !first ? ["--quiet"] : [];
  run(process.execPath, [join("scripts", "build-addon.mjs"), ...addonOptions], {
    show: true,
    whatToDo: "the addon could not be built, see above.",
  });
  // Last: the command works without it, `simulate` apart.
  mkdirSync(join(root, "build", "simulator"), { recursive: true });
  compile("tsconfig.simulator.json", "the simulator does not compile, see above.", !quiet);
  removeStale(join("build", "simulator"), ".");
}

/** Builds, or says what is wrong and ends the process. */
export function buildOrExit(options) {
  try {
    build(options);
  } catch (error) {
    if (!(error instanceof BuildError)) throw error;
    process.stderr.write(`pacioli: ${error.message}\n`);
    process.exit(1);
  }
}

if (fileURLToPath(import.meta.url) === realpathSync(process.argv[1])) {
  buildOrExit({ quiet: process.argv.includes("--quiet") });
}
