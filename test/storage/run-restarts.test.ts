/** Sorted runs through restarts: with constants so small that every op cuts, writes or merges. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { filterWords } from "../../src/native/sorted-runs/run-kernels.ts";
import { BlockRequest } from "../../src/storage/block-reader.ts";
import { RefCursor, Visit } from "../../src/storage/ref-cursor.ts";
import { filterMemoryWords } from "../../src/storage/runs/filter-memory.ts";
import { type Load, type Machine, World } from "./world.ts";

function load(seed: number): Load {
  return {
    seed,
    interval: 3 + (seed % 6),
    rowsMax: 90,
    touchesMax: 5,
    accountsMax: 100,
    runs: {
      barOps: 1 + (seed % 3),
      cutRows: 40 + (seed % 50),
      blockEntriesShort: 30 + (seed % 30),
      blockEntriesLong: 8 + (seed % 10),
    },
  };
}

function machine(seed: number): Machine {
  return {
    seed,
    cacheBytes: 0,
    pageCopyBytes: 1 << 20,
    recentBlocks: 0,
    ticksMax: 3 * (seed % 7),
  };
}

/** What a run is, wherever it lies in memory. */
function runsOf(world: World): unknown[] {
  return [...world.engine.indexes.group.runs()].map((run) => ({
    index: run.index,
    level: run.level,
    complete: run.complete,
    first: run.first,
    end: run.end,
    entries: run.entries,
    addresses: Array.from({ length: run.blocks }, (_, block) => run.refs.address(block)),
    filters: Array.from({ length: run.filterRefs.length }, (_, at) => run.filterRefs.address(at)),
  }));
}

/** How often a durable checkpoint, found again by a start, was in the middle of something. */
const met = { sealed: 0, merges: 0, twoMerges: 0, pendingFilters: 0, levels: 0, longFilters: 0 };

function note(world: World): void {
  for (const index of world.engine.state.indexes.indexes) {
    if (index.merges.length > 0) met.merges += 1;
    if (index.merges.length > 1) met.twoMerges += 1;
    if ((index.unfinishedRun(0)?.blocks ?? 0) > 0) met.sealed += 1;
    for (const { run, complete, blocks, filterBlocks } of index.runs) {
      met.levels = Math.max(met.levels, run.level);
      if (index.filtered && !complete && blocks > 7 * filterBlocks) met.pendingFilters += 1;
      if (filterBlocks > 1) met.longFilters += 1;
    }
  }
}

function compareWithTwin(world: World): void {
  const twin = new World(world.load, machine(world.machine.seed + 1));
  while (twin.op < world.op) twin.step();
  twin.finishCheckpoint();
  for (const [op, root] of world.roots) expect(twin.roots.get(op), `op ${op}`).toEqual(root);
  expect(twin.liveAddresses()).toEqual(world.liveAddresses());
  expect(runsOf(twin)).toEqual(runsOf(world));
  expect(twin.engine.summary().indexes).toEqual(world.engine.summary().indexes);
  expect(twin.integrity()).toMatchObject({ damaged: [], problems: [] });
}

test("a restart goes on with cuts and merges where the checkpoint was", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 1_000_000 }),
      fc.array(fc.integer({ min: 4, max: 16 }), { minLength: 3, maxLength: 6 }),
      (seed, runs) => {
        const world = new World(load(seed), machine(seed));
        for (const ops of runs) {
          for (let left = ops; left > 0; left -= 1) world.step();
          world.crash();
          note(world);
        }
        world.finishCheckpoint();
        world.checkAll();
        expect(world.damaged).toEqual([]);
        expect(world.fatal).toEqual([]);
        compareWithTwin(world);
      },
    ),
    { numRuns: 8, seed: 7 },
  );
  expect(met.sealed).toBeGreaterThan(10);
  expect(met.merges).toBeGreaterThan(10);
  expect(met.twoMerges).toBeGreaterThan(0);
  expect(met.pendingFilters).toBeGreaterThan(10);
  expect(met.longFilters).toBeGreaterThan(10);
  expect(met.levels).toBeGreaterThanOrEqual(2);
});

test("power fails at any completion of cuts and merges", () => {
  const little: Load = { ...load(3), interval: 4, rowsMax: 60 };
  const ops = 27;
  const twin = new World(little, machine(2));
  expect(twin.tryUntil(ops)).toBe(true);
  let crashes = 0;
  let last: World | null = null;
  for (let failAt = 150; ; failAt += 8) {
    const world = new World(little, machine(failAt));
    world.file.ticksUntilFailure = failAt;
    if (world.tryUntil(ops)) break;
    crashes += 1;
    world.crash();
    note(world);
    expect(world.integrity().problems).toEqual([]);
    expect(world.tryUntil(ops)).toBe(true);
    for (const [op, root] of world.roots) expect(root).toEqual(twin.roots.get(op));
    last = world;
  }
  expect(crashes).toBeGreaterThan(30);
  expect(runsOf(last!)).toEqual(runsOf(twin));
});

test("a start takes memory for filters once, in the sizes that runs use again", () => {
  let taken: number[] = [];
  const world = new World(load(3), machine(3), {
    allocateWords: (count) => {
      // No other memory has such a size.
      if (count % filterWords === 0) taken.push(count);
      return new Uint32Array(count);
    },
  });
  const { ids } = world.engine.indexes;
  const inMerge = (): boolean =>
    (ids.sealedRun?.blocks ?? 0) === 0 && ids.merges.some(({ output }) => output.blocks > 1);
  do world.step();
  while (world.frozen?.op !== world.op || !inMerge());
  world.finishCheckpoint();
  world.file.settle();
  taken = [];
  world.reopen();
  const { levels, merges, sealedRun } = world.engine.indexes.ids;
  const blocks = [
    ...levels.flat().map((run) => run.blocks),
    ...merges.map((merge) => merge.blocks),
  ];
  expect(blocks.length).toBeGreaterThan(3);
  expect(sealedRun?.blocks ?? 0).toBe(0);
  const sizes = blocks.map((count) => filterMemoryWords(count * filterWords));
  expect(taken.sort()).toEqual(sizes.sort());
});

test("indexes of other constants are not opened", () => {
  const world = new World(load(4), machine(4));
  while (world.op < 20) world.step();
  world.finishCheckpoint();
  world.file.settle();
  const { runs } = world.options();
  for (const name of ["barOps", "cutRows", "blockEntriesShort", "blockEntriesLong"] as const) {
    const other = { ...runs, [name]: runs![name]! + 1 };
    expect(world.openError({ runs: other })).toBe(
      "the checkpoint's indexes have other constants than this program uses; start the version " +
        "that wrote it.",
    );
  }
  expect(world.openError({})).toBe(null);
});

test("a checkpoint waits for the blocks of runs that it refers to", () => {
  const world = new World(load(3), { ...machine(5), ticksMax: 0 });
  const { file, engine } = world;
  const { grid, state } = engine;
  /** Of the checkpoint that was just frozen: a block of a run whose write is in flight. */
  const unwritten = (): number | null => {
    const cursor = new RefCursor(state, Visit.runs);
    const request = new BlockRequest();
    while (cursor.next(request)) if (grid.isUnwritten(request.ref[0]!)) return request.ref[0]!;
    return null;
  };
  let address: number | null = null;
  while (address === null) {
    world.step();
    if (state.op === world.op) address = unwritten();
  }
  const held = file.hold(grid.fileOffset(address));
  let synced = false;
  engine.checkpointWrite(() => {
    synced = true;
  });
  while (file.tick());
  expect(synced).toBe(false);
  expect(held.release()).toBe(true);
  while (file.tick());
  expect(synced).toBe(true);
});
