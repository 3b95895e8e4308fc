/**
 * One small durable write, as the journal makes one per prepare: what it costs by system call and
 * through the ring, and what the writes and wake-ups around it add. Compiles
 * bench/durable-write/durable-write.cc with the ring's own queue and runs it. Linux with a C++ compiler.
 *
 * Usage: node scripts/bench.mjs durable-write [--directory=PATH] [--rounds=10]
 *   --directory  where the file is made (768 MiB); on the file system that is to be measured
 *   --rounds     rounds that count, of about 0.2 s each; waits up to 5 minutes for quiet ones
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";

const { values } = parseArgs({
  options: {
    directory: { type: "string", default: tmpdir() },
    rounds: { type: "string", default: "10" },
  },
});

function run(command: string, args: readonly string[]): void {
  const { status, signal } = spawnSync(command, args, { stdio: "inherit" });
  if (status !== 0) throw new Error(`'${command}' ended with ${status ?? signal}`);
}

const folder = mkdtempSync(join(values.directory, "pacioli-durable-write-"));
try {
  const program = join(folder, "durable-write");
  const sources = ["bench/durable-write/durable-write.cc", "native/uring/uring_queue.cc"];
  run(process.env["CXX"] ?? "c++", ["-std=c++20", "-O2", "-Wall", "-o", program, ...sources]);
  run(program, [join(folder, "file"), values.rounds]);
} finally {
  rmSync(folder, { recursive: true });
}
