/**
 * A seed decides everything: its digest is the same in every process, and whichever checksum
 * implementation the replicas use.
 */
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import {
  type ChecksumImplementation,
  useChecksumImplementation,
} from "../../src/native/checksum.ts";
import { createLoad } from "./clients/load.ts";
import { Simulation } from "./simulation.ts";

afterAll(() => {
  useChecksumImplementation("native");
});

function digestHere(seed: bigint, checksum: ChecksumImplementation): string {
  const overrides = { replicas: 3, checksum };
  return new Simulation({ seed, overrides, createLoad, canary: null, onLog: null }).run().digest;
}

/** The built command, in a process of its own. */
function digestThere(seed: bigint, checksum: string): string {
  const args = [`--seed=${seed}`, "--replicas=3", `--checksum=${checksum}`];
  const command = [join("scripts", "pacioli.mjs"), "simulate", ...args];
  const { status, stdout, stderr } = spawnSync(process.execPath, command, { encoding: "utf8" });
  expect([status, stderr]).toEqual([0, ""]);
  return /^digest ([0-9a-f]{32})$/m.exec(stdout)![1]!;
}

test.each([3n, 8n])("seed %d: with the addon and without, in one process and in others", (seed) => {
  const digest = digestHere(seed, "native");
  expect(digestHere(seed, "portable")).toBe(digest);
  expect(digestThere(seed, "addon")).toBe(digest);
  expect(digestThere(seed, "typescript")).toBe(digest);
});
