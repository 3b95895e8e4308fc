/**
 * Lookups and walks while an engine cuts, writes, merges and lets go of runs, with a cache as small as
 * it can be: held against all entries that were ever added.
 */
import { expect, test } from "vitest";
import { assert } from "../../src/core/assert.ts";
import { blockSize } from "../../src/core/limits.ts";
import { Prng } from "../../src/core/prng.ts";
import type { IndexCursor, LedgerStore } from "../../src/ledger/store.ts";
import { noRow, unread } from "../../src/ledger/store.ts";
import { IndexId } from "../../src/storage/runs/options.ts";
import { RunWorld } from "./run-world.ts";

interface Added {
  readonly row: number;
  readonly burnt: boolean;
  readonly key: Uint32Array;
}

/** All entries that the world adds, by index. */
function record(world: RunWorld): Added[][] {
  const added: Added[][] = world.group.indexes.map(() => []);
  const { model } = world;
  const add = model.add.bind(model);
  model.add = (index, entry) => {
    const words = Array.from({ length: 6 }, (_, word) =>
      Number((entry >> BigInt(32 * word)) & 0xffff_ffffn),
    );
    added[index]!.push({
      row: words[0]!,
      burnt: words[1] !== 0,
      key: Uint32Array.from(words.slice(2)),
    });
    add(index, entry);
  };
  return added;
}

function wait(world: RunWorld, start: (onDone: () => void) => boolean): boolean {
  let done = false;
  const atOnce = start(() => {
    done = true;
  });
  if (!atOnce) world.file.until(() => done);
  return atOnce;
}

function lookUp(world: RunWorld, store: LedgerStore, ids: readonly Added[]): boolean {
  const words = new Uint32Array(ids.length * 4 + 4);
  for (const [at, { key }] of ids.entries()) words.set(key, at * 4);
  const offsets = Uint32Array.from(ids.keys(), (at) => at * 4);
  const references = new Int32Array(ids.length);
  const atOnce = wait(world, (onDone) =>
    store.indexes.findIds(words, offsets, ids.length, references, onDone),
  );
  const { covered } = store.indexes;
  const expected = ids.map(({ row, burnt }) => {
    if (burnt) return row < covered.failedIds ? -1 - row : 0;
    return row < covered.transfers ? row + 1 : 0;
  });
  expect([...references]).toEqual(expected);
  return atOnce;
}

/** Walks a key from a random row, and leaps now and then. Returns how often it had to wait. */
function walk(
  world: RunWorld,
  cursor: IndexCursor,
  index: number,
  of: readonly Added[],
  random: Prng,
): number {
  const { key } = of[random.below(of.length)]!;
  const rows = of.filter((entry) => entry.key.every((word, at) => word === key[at]));
  const ascending = random.chance(0.5);
  if (!ascending) rows.reverse();
  let target = random.below(world.engine.transfers.count);
  let waits = 0;
  cursor.open(world.group.indexes[index]!, key, 0, ascending, target);
  for (let steps = 0; steps < 25 && target >= 0; steps += 1) {
    const nearest = rows.find(({ row }) => (ascending ? row >= target : row <= target));
    let row = cursor.seek(target);
    for (; row === unread; row = cursor.seek(target)) {
      if (!wait(world, (onDone) => cursor.read(onDone))) waits += 1;
    }
    expect(row).toBe(nearest?.row ?? noRow);
    if (row === noRow) break;
    const leap = random.chance(0.8) ? 1 : random.below(60);
    target = ascending ? row + leap : row - leap;
  }
  return waits;
}

// Blocks that are let go stay in a large cache, and among the writes, until their addresses come back.
test.each([
  [1, 64, 0],
  [2, 4, 0],
  [3, 64, 600],
  [4, 600, 0],
])(
  "find what was added, at any time (seed %i, %i writes, %i cached)",
  (seed, writeBlocks, cached) => {
    const world = new RunWorld(
      {
        seed,
        barOps: 2,
        cutRows: 16,
        blockEntriesShort: 4,
        blockEntriesLong: 3,
        rowsMax: 12,
        interval: 6,
        keys: 5,
        ascending: seed % 2 === 0,
      },
      { seed, ticksMax: 20, writeBlocks, portable: seed % 2 === 1 },
      { cacheBytes: cached * blockSize },
    );
    const store: LedgerStore = world.engine;
    const added = record(world);
    const random = new Prng(seed);
    const cursors = [store.indexes.createCursor(), store.indexes.createCursor()];
    let lookupWaits = 0;
    let walkWaits = 0;
    while (world.op < 110) {
      world.step();
      const ids = added[IndexId.ids]!;
      if (ids.length === 0) continue;
      const asked = Array.from({ length: 30 }, () => ids[random.below(ids.length)]!);
      if (!lookUp(world, store, asked)) lookupWaits += 1;
      for (const cursor of cursors) {
        const index = 1 + random.below(added.length - 1);
        const of = added[index]!;
        if (of.length > 0) walkWaits += walk(world, cursor, index, of, random);
      }
    }
    expect(lookupWaits).toBeGreaterThan(20);
    expect(walkWaits).toBeGreaterThan(50);
    expect(world.model.mergesDone).toBeGreaterThan(20);
    assert(world.damaged.length === 0, "no block is damaged");
  },
  60_000,
);
