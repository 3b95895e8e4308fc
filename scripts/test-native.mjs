// Tests the C++ under AddressSanitizer and UndefinedBehaviorSanitizer: the parts that need no Node
// as a program (native/test/*.cc), the whole addon from Node (native/test/smoke.mjs). Builds only
// what changed, into build/sanitized/.
// Usage: node scripts/test-native.mjs
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

process.chdir(join(dirname(fileURLToPath(import.meta.url)), ".."));

const compiler = process.env["CXX"] ?? "c++";
const folder = join("build", "sanitized");
const sanitizerOptions = {
  // Node keeps much until the process ends, and its memory is no business of this test.
  ASAN_OPTIONS: "detect_leaks=0:abort_on_error=0:exitcode=1",
  UBSAN_OPTIONS: "print_stacktrace=1:halt_on_error=1",
};

function run(command, args, env = {}) {
  const result = spawnSync(command, args, {
    stdio: ["ignore", "inherit", "inherit"],
    env: { ...process.env, ...env },
  });
  if (result.status === 0) return;
  console.error(`'${command} ${args.join(" ")}' failed (${result.status ?? result.signal})`);
  process.exit(1);
}

/** The compiler's own copy of a runtime library. */
function runtimeLibrary(name) {
  const result = spawnSync(compiler, [`-print-file-name=${name}`], { encoding: "utf8" });
  const path = (result.stdout ?? "").trim();
  return path.includes("/") && existsSync(path) ? path : null;
}

function files(folderName, extension, exclude = /^$/) {
  return readdirSync(folderName)
    .filter((name) => name.endsWith(extension) && !exclude.test(name))
    .sort()
    .map((name) => join(folderName, name));
}

const native = "native";
const uring = join(native, "uring");
const sortedRuns = join(native, "sorted_runs");
const tests = join(native, "test");
// Files that speak to Node are tested from Node.
const needsNode = /^(addon|guest_wake|owned_loop)/;
const sources = [native, sortedRuns, uring].flatMap((name) => files(name, ".cc", needsNode));
const headers = [native, sortedRuns, uring, tests].flatMap((name) => files(name, ".h"));
sources.push(...files(tests, ".cc"));

mkdirSync(folder, { recursive: true });
const program = join(folder, "native-test");
const flags = ["-std=c++20", "-O1", "-g", "-Wall", "-Wextra", "-Werror"];
flags.push("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer");
const hash = createHash("sha256").update(JSON.stringify([compiler, flags]));
for (const file of [...sources, ...headers]) hash.update(file).update(readFileSync(file));
const digest = hash.digest("hex");
const stamp = `${program}.stamp`;
if (!existsSync(program) || !existsSync(stamp) || readFileSync(stamp, "utf8") !== digest) {
  // Built beside and moved: another run may be using the program.
  const partial = `${program}.${process.pid}`;
  run(compiler, [...flags, "-o", partial, ...sources]);
  renameSync(partial, program);
  writeFileSync(stamp, digest);
}
run(program, [], { ...sanitizerOptions, ASAN_OPTIONS: "detect_leaks=1" });

const addon = join(folder, "pacioli.node");
run(process.execPath, [
  join("scripts", "build-addon.mjs"),
  "--quiet",
  "--sanitize",
  "--out",
  addon,
]);
const preload = ["libasan.so", "libubsan.so"].map(runtimeLibrary);
if (!existsSync(addon) || preload.includes(null)) {
  console.error("the sanitized addon cannot be loaded: its runtime libraries are missing");
  process.exit(1);
}
run(process.execPath, ["--expose-gc", join(tests, "smoke.mjs"), join(process.cwd(), addon)], {
  ...sanitizerOptions,
  LD_PRELOAD: preload.join(" "),
});
