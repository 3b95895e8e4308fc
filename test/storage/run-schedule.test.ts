import { describe, expect, test } from "vitest";
import { BlockType, blockHeaderWords } from "../../src/storage/format.ts";
import { RunWrites } from "../../src/storage/runs/run-writes.ts";
import { addresses, type RunLoad, type RunMachine, RunWorld } from "./run-world.ts";

function load(seed: number, changes: Partial<RunLoad> = {}): RunLoad {
  return {
    seed,
    barOps: 2,
    cutRows: 16,
    blockEntriesShort: 4,
    blockEntriesLong: 3,
    rowsMax: 9,
    interval: 8,
    keys: 6,
    ascending: seed % 2 === 0,
    ...changes,
  };
}

function machine(seed: number): RunMachine {
  return {
    seed,
    ticksMax: (seed * 7) % 60,
    writeBlocks: seed % 3 === 0 ? 4 : 64,
    portable: seed % 2 === 1,
  };
}

describe("sorted runs", () => {
  test("a block in memory is found by its address, the one that has it now", () => {
    const { engine, file } = new RunWorld(load(3), machine(3));
    const { grid } = engine;
    const writes = new RunWrites(grid, 8);
    const seal = (value: number): number => {
      writes.buffer.words[writes.nextPayloadAt()] = value;
      return writes.seal(BlockType.run, 0, 1, 0, 1, 1);
    };
    const found = (address: number): number =>
      writes.buffer.words[writes.find(address) + blockHeaderWords]!;
    const address = seal(11);
    seal(12);
    expect(found(address)).toBe(11);
    writes.writeSealed();
    while (file.tick());
    expect(writes.writtenBelow).toBe(2);
    expect(found(address), "written blocks are found too").toBe(11);
    grid.freeSet.release(address);
    grid.freeSet.freezeBegin();
    grid.freeSet.freezeEnd();
    grid.freeSet.freezeBegin();
    grid.freeSet.freezeEnd();
    expect(seal(13)).toBe(address);
    expect(found(address)).toBe(13);
    for (let more = 0; more < 5; more += 1)
      expect(writes.hasRoom(1) && seal(14 + more)).toBeTruthy();
    expect(writes.hasRoom(3)).toBe(false);
  });

  test("are those of the model at the end of every op, at the same addresses on every replica", () => {
    let waits = 0;
    for (const seed of [1, 2, 3]) {
      const world = new RunWorld(load(seed), machine(seed));
      world.until(64);
      world.finishCheckpoint();
      world.checkAll();
      expect(world.model.cuts).toBeGreaterThan(8);
      expect(world.model.mergesDone).toBeGreaterThan(5);
      expect(world.fatal).toEqual([]);
      expect(world.damaged).toEqual([]);
      const twin = new RunWorld(load(seed), machine(seed + 1));
      twin.until(64);
      expect(twin.digests).toEqual(world.digests);
      waits += world.waits + twin.waits;
    }
    expect(waits, "some ops waited for reads and for room").toBeGreaterThan(10);
  }, 60_000);

  test("go on after a power failure as if there had been none", () => {
    let crashes = 0;
    for (const seed of [11, 12, 13]) {
      const twin = new RunWorld(load(seed), machine(seed + 1));
      twin.until(56);
      const world = new RunWorld(load(seed), machine(seed));
      for (let op = 3; op <= 56; op += 5) {
        // The longer it has to go, the later it may fail.
        if (world.untilWithFailure(op, (op * 37 + seed * 101) % 120)) crashes += 1;
      }
      world.until(56);
      world.checkAll();
      expect(world.digests).toEqual(twin.digests);
      expect(world.damaged).toEqual([]);
    }
    expect(crashes).toBeGreaterThan(8);
  }, 60_000);

  test("reach higher levels, also when ops are larger than cuts", () => {
    const large = load(7, { cutRows: 4, rowsMax: 12, barOps: 1, blockEntriesShort: 16 });
    const world = new RunWorld(large, machine(7));
    world.until(120);
    world.checkAll();
    const levels = world.group.indexes.map((index) => index.levels.length);
    expect(Math.max(...levels)).toBeGreaterThan(2);
    // Few rows have it: cuts without an entry have no run.
    const runs = world.group.indexes[4]!.levels.toReversed().flat();
    const gaps = runs.filter((run, at) => at > 0 && run.first !== runs[at - 1]!.end);
    expect(gaps.length).toBeGreaterThan(0);
  }, 60_000);

  test("let go of exactly the blocks that they do not need any more", () => {
    // No checkpoint: whatever is in use is of tables or of runs.
    const world = new RunWorld(load(5, { interval: 1000 }), machine(5));
    let released = 0;
    for (let op = 10; op <= 80; op += 10) {
      world.until(op);
      const { freeSet } = world.engine.grid;
      const used = new Set<number>();
      for (let address = 1; address <= freeSet.high; address += 1) {
        if (freeSet.isAcquired(address)) used.add(address);
      }
      // Two freezes: what was released is free, and nothing was taken meanwhile.
      freeSet.freezeBegin();
      freeSet.freezeEnd();
      freeSet.freezeBegin();
      freeSet.freezeEnd();
      const live: number[] = [];
      for (let address = 1; address <= freeSet.high; address += 1) {
        if (freeSet.isAcquired(address)) live.push(address);
      }
      released += used.size - live.length;
      const referenced = [...world.group.runs()].flatMap(addresses);
      expect(world.engine.transfers.sealedBlocks).toBe(0);
      expect(referenced.sort((a, b) => a - b)).toEqual(live);
    }
    expect(released).toBeGreaterThan(50);
  }, 60_000);

  test("a full grid is told before a block is taken", () => {
    const world = new RunWorld(load(6, { interval: 1000 }), machine(6), { gridBlocksMax: 60 });
    while (world.fatal.length === 0) world.step();
    expect(world.fatal[0]!.code).toBe("STORAGE_GRID_FULL");
    expect(world.op).toBeGreaterThan(8);
  }, 60_000);

  test("a merge waits for a damaged block until another replica has it", () => {
    const damaging = load(9, { interval: 1000 });
    const sound = new RunWorld(damaging, machine(9));
    sound.until(60);
    const wanted: number[] = [];
    const world = new RunWorld(damaging, { ...machine(9), ticksMax: 0 }, {}, (engine) =>
      engine.repairFrom({ want: (block) => wanted.push(block.address), forget: () => {} }),
    );
    const { grid } = world.engine;
    let repaired = 0;
    const rotten = new Set<number>();
    const block = world.file.allocate(65_536);
    while (world.op < 60) {
      world.addOp();
      let ready = false;
      ready = world.engine.compact(world.op, () => {
        ready = true;
      });
      while (!ready) {
        if (world.file.tick()) continue;
        // Nothing is in flight, and the op still waits.
        expect(wanted.length).toBeGreaterThan(0);
        for (const address of wanted.splice(0)) {
          block.bytes.set(world.file.content(grid.fileOffset(address), 65_536));
          block.bytes[40_000]! ^= 4;
          expect(world.engine.offerBlock(address, block, 0)).toBe(true);
          repaired += 1;
        }
      }
      world.model.endOp(world.op);
      world.check();
      // Every block of a run that is on disk rots as soon as it is there, once.
      while (world.file.tick());
      for (const run of world.group.runs()) {
        for (const address of addresses(run)) {
          const at = grid.fileOffset(address) + 40_000;
          if (rotten.has(address)) continue;
          rotten.add(address);
          world.file.flipBit(at, 2);
        }
      }
    }
    expect(repaired).toBeGreaterThan(20);
    expect(world.digests).toEqual(sound.digests);
  }, 60_000);

  test("a damaged block that nobody has is reported, and the op does not end", () => {
    const world = new RunWorld(load(9, { interval: 1000 }), { ...machine(9), ticksMax: 0 });
    const rottenAlone = new Set<number>();
    // What was read ahead and is damaged is reported before an op waits for it.
    do {
      world.step();
      while (world.file.tick());
      for (const run of world.group.runs()) {
        for (const address of addresses(run)) {
          if (rottenAlone.has(address)) continue;
          rottenAlone.add(address);
          world.file.flipBit(world.engine.grid.fileOffset(address) + 40_000, 2);
        }
      }
    } while (world.digests[world.op] !== undefined);
    expect(world.file.idle).toBe(true);
    expect(world.damaged[0]!.name).toMatch(/^grid block \d+ \(.* run/);
  }, 60_000);
});
