/**
 * A new data file must still have a name after a power cut, so file and directory are synced before
 * anything is written that makes it a data file. No disk in memory has directories: this test
 * watches the calls instead.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test, vi } from "vitest";
import { formatFile } from "../../src/server/format-file.ts";
import { tinyFormat } from "./harness.ts";

const calls = vi.hoisted(() => [] as string[]);

vi.mock("node:fs", async (importOriginal) => {
  const fs = await importOriginal<typeof import("node:fs")>();
  const paths = new Map<number, string>();
  return {
    ...fs,
    openSync: (path: string, ...rest: [number, number?]) => {
      const fd = fs.openSync(path, ...rest);
      paths.set(fd, path);
      return fd;
    },
    fsyncSync: (fd: number) => {
      calls.push(`sync ${paths.get(fd)}`);
      fs.fsyncSync(fd);
    },
  };
});

vi.mock("../../src/wal/format.ts", async (importOriginal) => {
  const { formatDataFile } = await importOriginal<typeof import("../../src/wal/format.ts")>();
  return {
    formatDataFile: (...args: Parameters<typeof formatDataFile>) => {
      calls.push("format");
      formatDataFile(...args);
    },
  };
});

test("a new file and its directory are synced, in this order, before it is formatted", async () => {
  const directory = mkdtempSync(join(tmpdir(), "pacioli-format-"));
  const path = join(directory, "0.pacioli");
  try {
    const error = await new Promise<string | null>((resolve) => {
      const options = { path, replica: 0, replicaCount: 1, development: true, directIo: false };
      formatFile({ ...options, cluster: tinyFormat.cluster, clientsMax: 1 }, resolve);
    });
    expect(error).toBeNull();
    expect(calls).toEqual([`sync ${path}`, `sync ${directory}`, "format"]);
  } finally {
    rmSync(directory, { recursive: true });
  }
});
