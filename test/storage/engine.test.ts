import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { blockSize } from "../../src/core/limits.ts";
import type { LedgerStore } from "../../src/ledger/store.ts";
import type { StorageEngine } from "../../src/storage/engine.ts";
import { type Load, type Machine, World } from "./world.ts";

function load(seed: number): Load {
  return { seed, interval: 8, rowsMax: 900, touchesMax: 60, accountsMax: 5000 };
}

function machine(seed: number): Machine {
  return {
    seed,
    cacheBytes: (seed % 3) * (4 << 20),
    pageCopyBytes: (seed % 4) * 40_960,
    recentBlocks: (seed % 2) * 20,
    ticksMax: seed % 7,
  };
}

/** A replica that executes the same ops, never crashes, and differs in all that may differ. */
function expectTwinAgrees(world: World): World {
  const twin = new World(world.load, machine(world.machine.seed + 1));
  while (twin.op < world.op) twin.step();
  twin.finishCheckpoint();
  for (const [op, root] of world.roots) expect(twin.roots.get(op)).toEqual(root);
  return twin;
}

test("the engine is a ledger store", () => {
  const asStore = (engine: StorageEngine): LedgerStore => engine;
  expect(asStore(new World(load(1), machine(1)).engine).accounts.rowSize).toBe(128);
});

describe("against a model of plain arrays", () => {
  test("a restart finds the durable checkpoint, and replays to the same blocks", () => {
    let copies = 0;
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 1_000_000 }),
        fc.array(fc.integer({ min: 1, max: 12 }), { minLength: 1, maxLength: 6 }),
        (seed, runs) => {
          const world = new World(load(seed), machine(seed));
          for (const ops of runs) {
            for (let left = ops; left > 0; left -= 1) world.step();
            world.crash();
          }
          world.finishCheckpoint();
          world.checkAll();
          expect(world.damaged).toEqual([]);
          expect(world.fatal).toEqual([]);

          const twin = expectTwinAgrees(world);
          const report = twin.integrity();
          expect(report.problems).toEqual([]);
          expect(report.damaged).toEqual([]);
          copies += twin.engine.summary().pageCopiesMax;
        },
      ),
      { numRuns: 12 },
    );
    expect(copies, "pages were touched while frozen").toBeGreaterThan(0);
  });

  test("power fails at every single completion", () => {
    const little: Load = {
      seed: 5,
      interval: 4,
      rowsMax: 150,
      touchesMax: 40,
      accountsMax: 300,
      runs: { cutRows: 100, blockEntriesShort: 200, blockEntriesLong: 80 },
    };
    const ops = 13;
    const twin = new World(little, machine(2));
    expect(twin.tryUntil(ops)).toBe(true);
    let crashes = 0;
    for (let failAt = 0; ; failAt += 1) {
      const world = new World(little, machine(failAt));
      world.file.ticksUntilFailure = failAt;
      if (world.tryUntil(ops)) break;
      crashes += 1;
      world.crash();
      expect(world.integrity().problems).toEqual([]);
      expect(world.tryUntil(ops)).toBe(true);
      for (const [op, root] of world.roots) expect(root).toEqual(twin.roots.get(op));
      expect(world.roots.has(12)).toBe(true);
      expect(world.damaged).toEqual([]);
    }
    expect(crashes).toBeGreaterThan(50);
  });
});

describe("page blocks", () => {
  test("are reused: sparse ones are emptied, and the grid stays bounded", () => {
    const wide: Load = {
      seed: 9,
      interval: 4,
      rowsMax: 6,
      touchesMax: 60,
      accountsMax: 30_000,
    };
    const run = (crashes: readonly number[]): World => {
      const world = new World(wide, machine(9 + crashes.length), { opRowsMax: 30_000 });
      world.addAccounts(30_000);
      world.step();
      world.step();
      world.step(); // The op that added accounts is not one that `crash` can replay.
      world.finishCheckpoint();
      while (world.op < 400) {
        world.step();
        const summary = world.engine.summary();
        pageBlocksMax = Math.max(pageBlocksMax, summary.pageBlocks);
        moved = Math.max(moved, summary.pagesMoved);
        if (crashes.includes(world.op)) world.crash();
      }
      world.finishCheckpoint();
      return world;
    };
    let pageBlocksMax = 0;
    let moved = 0;
    const world = run([]);
    const pages = Math.ceil(30_000 / 32);
    expect(moved, "pages were moved").toBeGreaterThan(100);
    // Twice the need, the slack, and what one freeze writes.
    expect(pageBlocksMax).toBeLessThan((2 * pages) / 15 + 16 + 40);
    expect(world.engine.summary().blocksHigh).toBeLessThan(2 * pageBlocksMax + 100);
    expect(world.integrity().problems).toEqual([]);

    const crashed = run([50, 121, 122, 250, 399]);
    expect(crashed.roots).toEqual(world.roots);
    crashed.crash();
    crashed.checkAll();
    expect(crashed.integrity().problems).toEqual([]);
  });

  test("a touch of a frozen page keeps the frozen content for the checkpoint", () => {
    // Without cuts: while an op waits for a merge's reads, pages are written.
    const runs = { cutRows: 2 ** 30 };
    const world = new World({ ...load(3), interval: 16, runs }, { ...machine(3), ticksMax: 0 });
    world.addAccounts(1000);
    while (world.op < 17) world.step(); // Frozen at 16, and one op beyond.
    expect(world.engine.summary().pageCopies).toBeGreaterThan(0);
    world.finishCheckpoint();
    expect(world.engine.summary().pageCopies).toBe(0);
    world.crash(); // Compares the opened checkpoint with the model as of op 16.
    expect(world.durable.op).toBe(16);
  });

  test("ops wait while copies of frozen pages take more memory than allowed", () => {
    const limit = 8;
    const world = new World(
      { ...load(4), interval: 16, touchesMax: 400 },
      { ...machine(4), ticksMax: 0, pageCopyBytes: limit * 4096 },
    );
    world.addAccounts(4000);
    for (let op = 0; op < 40; op += 1) {
      world.step();
      expect(world.engine.summary().pageCopies).toBeLessThanOrEqual(limit);
    }
    expect(world.engine.summary().pageCopiesMax).toBeGreaterThan(limit);
  });
});

test("frozen pages are written evenly over the ops, not at once", () => {
  const world = new World(
    { ...load(6), interval: 40, rowsMax: 6, touchesMax: 0, accountsMax: 20_000 },
    { ...machine(6), ticksMax: 0 },
    { opRowsMax: 20_000 },
  );
  world.addAccounts(20_000);
  while (world.op < 40) world.step();
  world.file.settle();
  const blocks = Math.ceil(20_000 / 32 / 15);
  let most = 0;
  for (let op = 0; op < 28; op += 1) {
    const before = world.file.writes;
    world.step();
    world.file.settle();
    most = Math.max(most, world.file.writes - before);
  }
  expect(most).toBeLessThanOrEqual(Math.ceil((blocks + 20) / 28) + 1);
});

test("more blocks than one index block holds", () => {
  const many: Load = { seed: 1, interval: 4, rowsMax: 3, touchesMax: 5, accountsMax: 0 };
  const world = new World(many, machine(1), { opRowsMax: 200_000 });
  world.addAccounts(120_000); // 3,750 pages: two page-index blocks.
  // 3,333 blocks of balances: two table-index blocks.
  for (let op = 0; op < 10; op += 1) world.bulkAppend(1, 170_000);
  world.checkpoint();
  world.bulkAppend(1, 1000);
  world.checkpoint();
  world.finishCheckpoint();
  expect(world.engine.balances.sealedBlocks).toBeGreaterThan(3264);
  world.file.settle();
  world.reopen();
  world.fetch(
    1,
    Uint32Array.from({ length: 1000 }, (_, at) => (at * 7919 * 97) % 1_701_000),
  );
  const report = world.integrity();
  expect(report.problems).toEqual([]);
  expect(report.damaged).toEqual([]);
  expect(report.blocksRead).toBeGreaterThan(3264);
});

test("a free set larger than a block", () => {
  const used = 270_000;
  // The blocks in use lie before the file; what the engine acquires starts at its beginning.
  const world = new World(load(12), machine(12), {
    gridBlocksMax: 300_000,
    gridAt: 8192 - used * blockSize,
  });
  for (let block = 0; block < used; block += 1) world.engine.grid.freeSet.acquire();
  while (world.op < 10) world.step();
  world.finishCheckpoint();
  expect(world.engine.state.freeSet.blocks).toBe(2);
  world.crash();
  while (world.op < 20) world.step();
  world.finishCheckpoint();
  world.crash();
  expect(world.engine.summary().blocksAcquired).toBeGreaterThan(used);
  expect(world.engine.grid.freeSet.isAcquired(used)).toBe(true);
});
