// Builds build/pacioli.node with the C++ compiler of the system, when its inputs changed. No
// node-gyp: the headers come from npm packages, so neither Python nor a download is needed (see
// docs/decisions/001-addon-build.md). A system without a compiler gets one warning and the
// portable backend.
// Usage: node scripts/build-addon.mjs [--quiet] [--sanitize] [--out FILE]
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
process.chdir(root);

const quiet = process.argv.includes("--quiet");
const sanitize = process.argv.includes("--sanitize");
const outAt = process.argv.indexOf("--out");
const out = outAt === -1 ? join("build", "pacioli.node") : process.argv[outAt + 1];

/** Ends the script: the product works without the addon, so this is no failure. */
function giveUp(why) {
  console.error(
    `pacioli: the native addon was not built (${why}); the portable backend and checksum will be used.`,
  );
  process.exit(0);
}

function version(compiler) {
  const result = spawnSync(compiler, ["--version"], { encoding: "utf8" });
  return result.status === 0 ? result.stdout.split("\n")[0] : null;
}

/** The first compiler that answers: $CXX, then the usual names. */
function findCompiler() {
  const wanted = process.env["CXX"];
  for (const name of wanted ? [wanted] : ["c++", "g++", "clang++"]) {
    const found = version(name);
    if (found !== null) return { name, version: found };
  }
  giveUp(wanted ? `$CXX is '${wanted}', which does not run` : "no C++ compiler is on the PATH");
}

function listSources(folder, extensions) {
  return readdirSync(folder)
    .filter((name) => extensions.some((extension) => name.endsWith(extension)))
    .sort()
    .map((name) => join(folder, name));
}

function headerFolder(packageName, inside) {
  try {
    const require = createRequire(import.meta.url);
    const folder = dirname(require.resolve(`${packageName}/package.json`));
    return relative(root, join(folder, inside));
  } catch {
    giveUp(`the npm package ${packageName} is not installed`);
  }
}

if (process.platform === "win32") giveUp("there is no addon for Windows yet");

const linux = process.platform === "linux";
const folders = ["native", join("native", "sorted_runs")];
if (linux) folders.push(join("native", "uring"));
const sources = folders.flatMap((folder) => listSources(folder, [".cc"]));
const headers = folders.flatMap((folder) => listSources(folder, [".h"]));
const flags = [
  "-std=c++20",
  "-O2",
  "-g",
  "-fPIC",
  "-fvisibility=hidden",
  "-fno-exceptions",
  "-fno-rtti",
  "-Wall",
  "-Wextra",
  "-DNAPI_VERSION=8",
  "-DNAPI_DISABLE_CPP_EXCEPTIONS",
  // A worker thread may end while work for it is under way: then there is nobody to tell.
  "-DNODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS",
  "-DNODE_GYP_MODULE_NAME=pacioli",
  "-isystem",
  headerFolder("node-addon-api", "."),
  "-isystem",
  headerFolder("node-api-headers", "include"),
  ...(process.platform === "darwin"
    ? ["-bundle", "-undefined", "dynamic_lookup"]
    : ["-shared", "-Wl,-z,relro", "-Wl,-z,now"]),
  ...(sanitize ? ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"] : []),
];

const compiler = findCompiler();
const hash = createHash("sha256");
hash.update(JSON.stringify([compiler, flags, process.arch, process.platform]));
for (const file of [...sources, ...headers]) hash.update(file).update(readFileSync(file));
const digest = hash.digest("hex");
const stamp = `${out}.stamp`;
if (existsSync(out) && existsSync(stamp) && readFileSync(stamp, "utf8") === digest) process.exit(0);

if (!quiet) console.log(`compiling ${sources.length} files with ${compiler.version}`);
mkdirSync(dirname(out), { recursive: true });
// Built beside and moved, so that a process never loads half a file.
const partial = `${out}.${process.pid}`;
const result = spawnSync(compiler.name, [...flags, "-o", partial, ...sources], {
  encoding: "utf8",
});
if (result.status !== 0) {
  rmSync(out, { force: true }); // What lies there was built from other sources.
  if (!quiet) process.stderr.write(result.stderr ?? "");
  giveUp(
    `'${compiler.name}' failed${quiet ? "; run node scripts/build-addon.mjs to see why" : ""}`,
  );
}
if (!quiet) process.stderr.write(result.stderr);
renameSync(partial, out);
writeFileSync(stamp, digest);
