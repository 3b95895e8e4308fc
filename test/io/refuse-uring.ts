/**
 * Runs programs as on a machine that refuses io_uring, through a launcher that installs a seccomp
 * filter (refuse-uring.c), compiled once per test process. Linux with a C compiler, as the addon
 * needs it anyway.
 */
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

let launcher: string | null = null;

/** What to put before a command: `[...refuseUringCommand(), "node", "server.js"]`. */
export function refuseUringCommand(): readonly string[] {
  if (launcher === null) {
    const directory = mkdtempSync(join(tmpdir(), "pacioli-refuse-"));
    process.on("exit", () => rmSync(directory, { recursive: true, force: true }));
    const path = join(directory, "refuse-uring");
    const source = fileURLToPath(new URL("refuse-uring.c", import.meta.url));
    execFileSync(process.env["CC"] ?? "cc", ["-O1", "-Wall", "-o", path, source]);
    launcher = path;
  }
  return [launcher];
}
