/** Sizes of tables and indexes, from what the storage counts. */
import { expect, test } from "vitest";
import { blockSize } from "../../core/limits.ts";
import { appendTableFormats, pagedTableFormats } from "../../storage/format.ts";
import type { StorageSummary } from "../../storage/options.ts";
import { tablesView } from "./tables.ts";

/** 1,500 transfers: two blocks of 510, and a third with the rest. */
const rows: Readonly<Record<string, [rows: number, blocks: number]>> = {
  accounts: [33, 0],
  "pending status": [1500, 0],
  transfers: [1500, 2],
  balances: [1020, 2],
};

function summary(changes: Partial<StorageSummary> = {}): StorageSummary {
  return {
    checkpointOp: 479,
    blocksMax: 1000,
    blocksHigh: 30,
    blocksAcquired: 24,
    blocksReleased: 4,
    pageBlocks: 1,
    pagesLive: 3,
    pagesMoved: 0,
    pageCopies: 0,
    pageCopiesMax: 0,
    cacheHits: 0,
    cacheMisses: 0,
    blocksWritten: 0,
    blocksRepaired: 0,
    tables: [...pagedTableFormats, ...appendTableFormats].map(({ name }) => {
      const [count, blocks] = rows[name] ?? [0, 0];
      return { name, rows: count, blocks };
    }),
    indexes: [{ name: "transfer ids", entries: 1400, runs: 2, merges: 1, blocks: 6 }],
    ...changes,
  };
}

test("every block in use is of a table, of an index, or of the rest", () => {
  const { json, text } = tablesView({ digest: "", summary: summary() });
  const tables = [
    { name: "accounts", rows: 33, pages: 2, blocks: null, bytes: 8192 },
    { name: "pending status", rows: 1500, pages: 1, blocks: null, bytes: 4096 },
    { name: "transfers", rows: 1500, pages: null, blocks: 3, bytes: 3 * blockSize },
    { name: "balances", rows: 1020, pages: null, blocks: 2, bytes: 2 * blockSize },
    { name: "expiries", rows: 0, pages: null, blocks: 0, bytes: 0 },
  ];
  const indexes = [
    { name: "transfer ids", entries: 1400, runs: 2, merges: 1, blocks: 6, bytes: 6 * blockSize },
  ];
  expect(json).toMatchObject({
    checkpointOp: 479,
    indexes,
    bytesInUse: 20 * blockSize,
    bytesInFile: 30 * blockSize,
    bytesOther: 20 * blockSize - 8192 - 4096 - 11 * blockSize,
    bytesPerTransfer: (20 * blockSize) / 1500,
  });
  expect((json as { tables: unknown[] }).tables.slice(0, tables.length)).toEqual(tables);
  expect(text).toMatch(/^transfers +1,500 +3 +192 KiB$/m);
  expect(text).toMatch(/^accounts +33 +2 +8 KiB$/m);
  expect(text).toMatch(/^transfer ids +1,400 +2 +1 +6 +384 KiB$/m);
  expect(text).toMatch(/^in use +1 MiB, 874 bytes per transfer$/m);
  expect(text).toMatch(/^in the file +2 MiB, /m);
});

test("without transfers there are no bytes per transfer", () => {
  const tables = summary().tables.map((table) => ({ ...table, rows: 0, blocks: 0 }));
  const empty = summary({
    tables,
    indexes: [],
    blocksHigh: 0,
    blocksAcquired: 0,
    blocksReleased: 0,
  });
  const { json, text } = tablesView({ digest: null, summary: empty });
  expect(json).toMatchObject({ bytesInUse: 0, bytesOther: 0, bytesPerTransfer: null });
  expect(text).toMatch(/^in use +0 KiB$/m);
});
