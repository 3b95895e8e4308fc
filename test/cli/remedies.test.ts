/** What `start` and `inspect` say about a file or an address that cannot be used: always a next step. */
import { closeSync, ftruncateSync, openSync, writeFileSync, writeSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { superblockCopySpacing } from "../../src/wal/data-file.ts";
import { cleanUp, pacioli, temporaryFolder } from "../process/server.ts";

let folder = "";
beforeAll(() => {
  folder = temporaryFolder();
});
afterAll(cleanUp);

/** What `start` ends with, and what it logged before. */
function run(path: string, replicaCount: number, address: string): { log: string; end: string } {
  const addresses = Array.from({ length: replicaCount }, (_, index) =>
    replicaCount === 1 ? address : String(3901 + index),
  );
  const result = pacioli(["start", `--addresses=${addresses.join(",")}`, "--development", path]);
  expect(result.status).toBe(1);
  const [, log, end] = /^((?:.*\n)*)pacioli: (.*)\n$/.exec(result.stderr) ?? [];
  expect(end).toBeDefined();
  return { log: log!, end: end! };
}

const start = (path: string, replicaCount = 1): string => run(path, replicaCount, "0").end;

function format(name: string, replicaCount: number): string {
  const path = join(folder, name);
  const args = ["--cluster=1", "--replica=0", `--replica-count=${replicaCount}`, "--development"];
  expect(pacioli(["format", ...args, path]).stderr).toBe("");
  return path;
}

test("a file that is none", () => {
  const small = join(folder, "small");
  writeFileSync(small, "dear diary");
  expect(start(small)).toMatch(/it has 10 bytes, .*; 'pacioli format' makes a new data file, /);
  const large = join(folder, "large");
  writeFileSync(large, "dear diary\n".repeat(10_000));
  expect(start(large)).toMatch(
    / begins as it should\. Check the path; 'pacioli format' makes .*\.$/,
  );
});

const remedies: [number, RegExp][] = [
  [1, /; restore the data file from a copy\.\n?$/],
  // An old copy would have forgotten what the replica has promised since.
  [3, /; move the file away and rebuild the replica from the others with 'pacioli recover'\.\n?$/],
];

test.each(remedies)("a file that was cut, in a cluster of %i", (replicaCount, remedy) => {
  const path = format(`cut-${replicaCount}`, replicaCount);
  const file = openSync(path, "r+");
  ftruncateSync(file, 2 ** 20);
  closeSync(file);
  expect(start(path, replicaCount)).toMatch(remedy);
  expect(pacioli(["inspect", path]).stderr).toMatch(remedy);
});

test("superblocks of which too few are left to know the cluster", () => {
  const path = format("superblocks", 1);
  const file = openSync(path, "r+");
  for (let copy = 0; copy < 3; copy += 1) writeSync(file, "x", copy * superblockCopySpacing + 5000);
  closeSync(file);
  expect(start(path)).toMatch(
    /^'.*': No two .* To go on, restore the data file from a copy; but in a cluster of several, .* with 'pacioli recover'\.$/,
  );
});

test("an IPv6 address that is taken stands in brackets, a superblock copy that was mended is told", async () => {
  const path = format("ipv6", 1);
  const file = openSync(path, "r+");
  writeSync(file, "x", 2 * superblockCopySpacing + 5000);
  closeSync(file);
  const other = createServer();
  await new Promise<void>((resolve) => other.listen(0, "::1", resolve));
  try {
    const { port } = other.address() as { port: number };
    const { log, end } = run(path, 1, `[::1]:${port}`);
    expect(log).toMatch(
      / warn +superblock copy 2 has a wrong checksum: rewritten from the others$/m,
    );
    expect(end).toBe(
      `cannot listen on [::1]:${port} (EADDRINUSE); choose another address or stop what uses it.`,
    );
  } finally {
    other.close();
  }
  expect(pacioli(["inspect", "superblock", path]).status).toBe(0);
});
