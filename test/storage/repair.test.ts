/** Damaged and missing blocks come from another replica, and nothing but the right ones. */
import { describe, expect, test, vi } from "vitest";
import { blockSize } from "../../src/core/limits.ts";
import { Prng } from "../../src/core/prng.ts";
import { BlockRead } from "../../src/storage/block-read.ts";
import { BlockRequest } from "../../src/storage/block-reader.ts";
import { repairsMax } from "../../src/storage/block-repairs.ts";
import { StorageEngine } from "../../src/storage/engine.ts";
import { RefCursor, Visit } from "../../src/storage/ref-cursor.ts";
import { Scrubber } from "../../src/storage/scrubber.ts";
import { memoryBuffer } from "../wal/memory-file-io.ts";
import { Donor } from "./donor.ts";
import { PowerFailure } from "./memory-file.ts";
import { clusterId, type Load, type Machine, World } from "./world.ts";

const load: Load = { seed: 21, interval: 4, rowsMax: 1200, touchesMax: 30, accountsMax: 600 };

function machine(seed: number): Machine {
  return { seed, cacheBytes: 0, pageCopyBytes: 1 << 20, recentBlocks: 0, ticksMax: 3 };
}

/** Several checkpoints, the last of them durable, nothing in flight. */
function run(world: World, op: number): World {
  while (world.op < op) world.step();
  world.finishCheckpoint();
  world.file.settle();
  return world;
}

/** A world whose blocks come from another one when they are damaged. */
function pair(seed: number, op: number): { donor: Donor; world: World; other: World } {
  const other = run(new World(load, machine(seed + 100)), op);
  const donor = new Donor(other, seed);
  const world = new World(load, machine(seed), {}, donor.attach);
  world.file.onIdle = () => donor.deliver();
  return { donor, world: run(world, op), other };
}

/** A world that has nothing, moved to the other's checkpoint. */
function synced(other: World, seed: number): { donor: Donor; world: World } {
  const donor = new Donor(other, seed);
  const world = new World(load, machine(seed), {}, donor.attach);
  world.file.onIdle = () => donor.deliver();
  world.durable = other.durable;
  return { donor, world };
}

function fetchMissing(world: World, opMin = 1): void {
  let done = false;
  world.engine.fetchMissing(opMin, () => {
    done = true;
  });
  world.file.until(() => done);
}

/** As a state sync does: from then on the superblock refers to the other's checkpoint. */
function moveTo(world: World, other: World): void {
  world.durable = other.durable;
  world.file.protectedBlocks = new Map();
}

/** Address and checksum of the blocks that the checkpoint refers to. */
function references(world: World, visit: number): string[] {
  const cursor = new RefCursor(world.engine.state, visit);
  const request = new BlockRequest();
  const refs: string[] = [];
  while (cursor.next(request)) refs.push(request.ref.join(" "));
  return refs;
}

function sameBlocks(a: World, b: World): void {
  expect(a.liveAddresses()).toEqual(b.liveAddresses());
  for (const address of a.liveAddresses()) {
    const at = a.engine.grid.fileOffset(address);
    const same = Buffer.compare(a.file.content(at, blockSize), b.file.content(at, blockSize)) === 0;
    expect(same, `block ${address} is the same`).toBe(true);
  }
}

function flipAll(world: World, random: Prng): number[] {
  const addresses = world.liveAddresses();
  for (const address of addresses) {
    const at = world.engine.grid.fileOffset(address) + random.below(blockSize);
    world.file.flipBit(at, random.below(8));
  }
  return addresses;
}

describe("a start and the reads after it", () => {
  test("repair every block, when all are damaged", () => {
    const { donor, world, other } = pair(1, 12);
    const addresses = flipAll(world, new Prng(5));
    expect(addresses.length).toBeGreaterThan(30);
    world.reopen();
    world.checkAll();
    world.file.settle();
    expect([...donor.everWanted].sort((a, b) => a - b)).toEqual(addresses.sort((a, b) => a - b));
    // A merge that reads ahead may meet a block that somebody else is having repaired.
    expect(donor.wants).toBeLessThan(addresses.length + 5);
    expect(world.damaged).toEqual([]);
    expect(world.engine.summary().blocksRepaired).toBe(donor.wants);
    expect(world.integrity()).toMatchObject({ damaged: [], problems: [] });
    sameBlocks(world, other);
  });

  test("go on from memory while the block is still being written", () => {
    const { donor, world } = pair(2, 12);
    const table = world.engine.transfers;
    const address = table.refs.address(0);
    world.reopen();
    world.file.flipBit(world.engine.grid.fileOffset(address) + 1000, 1);
    world.file.onIdle = () => false;
    const rows = Uint32Array.of(0, 9);
    const target = new Uint32Array(2 * table.rowWords);
    let done = false;
    world.engine.fetch(world.engine.transfers, rows, 2, target, () => {
      done = true;
    });
    while (world.file.tick());
    expect(done).toBe(false);
    expect(donor.deliver()).toBe(true);
    expect(done).toBe(true);
    expect(world.integrity().damaged.length).toBe(0); // Its reads are queued behind the write.
  });

  test("never take another block for the one that is wanted", () => {
    const { donor, world } = pair(3, 12);
    const { grid } = world.engine;
    const rows = world.engine.transfers.refs.address(1);
    const good = donor.content(rows);
    world.reopen();
    world.file.flipBit(grid.fileOffset(rows), 0);
    world.file.onIdle = () => false;
    const target = new Uint32Array(world.engine.transfers.rowWords);
    let done = false;
    world.engine.fetch(world.engine.transfers, Uint32Array.of(600), 1, target, () => {
      done = true;
    });
    while (world.file.tick());
    expect([...donor.wanted.keys()]).toEqual([rows]);
    const writes = world.file.writes;

    const random = new Prng(9);
    for (const address of world.liveAddresses()) {
      if (address !== rows) expect(donor.offer(rows, donor.content(address))).toBe(false);
      expect(donor.offer(address, donor.content(address)), `${address}`).toBe(address === rows);
      if (address === rows) break;
      for (let flips = 0; flips < 8; flips += 1) {
        const bad = good.slice();
        const at = random.below(blockSize);
        bad[at] = bad[at]! ^ (1 << random.below(8));
        expect(donor.offer(rows, bad)).toBe(false);
      }
    }
    expect(done).toBe(true);
    world.file.settle();
    expect(world.file.writes).toBe(writes + 1);
    expect(donor.content(rows)).toEqual(world.file.content(grid.fileOffset(rows), blockSize));
  });

  test("refuse the blocks of another cluster, whatever the reference says", () => {
    const { donor, world, other } = pair(4, 8);
    const options = { ...world.options(), cluster: clusterId.map((word) => word + 1) };
    const engine = new StorageEngine(options);
    donor.attach(engine);
    engine.open(other.durable.root, () => {
      throw new Error("opened");
    });
    while (world.file.tick() && donor.wanted.size === 0);
    const [address] = [...donor.wanted.keys()];
    expect(donor.offer(address!, donor.content(address!))).toBe(false);
  });
});

describe("a state sync", () => {
  test("fetches what is missing, many blocks at once, and goes on like the others", () => {
    const other = run(new World(load, machine(50)), 16);
    const { donor, world } = synced(other, 7);
    world.reopen();
    fetchMissing(world);
    expect(donor.wantedMax).toBe(repairsMax);
    expect(donor.wants).toBe(world.liveAddresses().length);
    world.file.crash(); // All of it is durable.
    expect(world.integrity()).toMatchObject({ damaged: [], problems: [] });
    sameBlocks(world, other);
    donor.wants = 0;
    world.reopen();
    world.checkAll();
    run(world, 40);
    expect(donor.wants).toBe(0);
    run(other, 40);
    expect(world.durable.root).toEqual(other.durable.root);
    sameBlocks(world, other);
  });

  test("keeps the blocks that are here already", () => {
    const other = run(new World(load, machine(51)), 12);
    const { donor, world } = synced(other, 8);
    world.reopen();
    fetchMissing(world);
    const first = donor.wants;
    run(other, 24);
    world.durable = other.durable;
    world.reopen();
    fetchMissing(world);
    const live = world.liveAddresses().length;
    expect(donor.wants - first).toBeLessThan(live);
    expect(donor.wants - first).toBeGreaterThan(0);
    expect(world.engine.summary().blocksRepaired).toBe(donor.wants - first);
    sameBlocks(world, other);
  });

  test("does not read what it had with its own checkpoint", () => {
    let notRead = 0;
    for (let seed = 60; seed < 66; seed += 1) {
      const other = run(new World(load, machine(seed)), 24);
      const donor = new Donor(other, seed);
      const world = run(new World(load, machine(seed), {}, donor.attach), 8 + 4 * (seed % 3));
      world.file.onIdle = () => donor.deliver();
      const own = world.durable.op;
      const before = new Set(references(world, Visit.rows + Visit.runs));
      moveTo(world, other);
      world.reopen();
      const { append } = world.engine.state;
      const ofBefore = (visit: number): number[] =>
        references(world, visit)
          .filter((ref) => before.has(ref))
          .map((ref) => Number(ref.split(" ")[0]));
      const old = ofBefore(Visit.rows);
      const oldRuns = ofBefore(Visit.runs);
      const fetched = donor.wants;
      const read = vi.spyOn(world.engine.grid, "read");
      fetchMissing(world, own + 1);
      const addresses = new Set(read.mock.calls.map(([, , , address]) => address));
      // Halving looks at some of them, and at the first that it has not, before it knows the border.
      const looks = old.filter((address) => addresses.has(address)).length;
      expect(looks).toBeLessThanOrEqual(8 * append.length);
      expect(looks).toBeLessThan(old.length / 2);
      notRead += oldRuns.filter((address) => !addresses.has(address)).length;
      expect(donor.wants).toBeGreaterThan(fetched);
      world.file.crash();
      expect(world.integrity()).toMatchObject({ damaged: [], problems: [] });
      sameBlocks(world, other);
      run(world, 40);
      run(other, 40);
      expect(world.durable.root).toEqual(other.durable.root);
    }
    expect(notRead, "blocks of runs").toBeGreaterThan(50);
  });

  test("finds what is missing wherever its own checkpoint ends", () => {
    const little: Load = { ...load, rowsMax: 600 };
    const other = run(new World(little, machine(71)), 24);
    for (let own = 0; own <= 20; own += 4) {
      const donor = new Donor(other, own);
      const world = new World(little, machine(71), {}, donor.attach);
      if (own > 0) run(world, own);
      expect(world.durable.op).toBe(own);
      world.file.onIdle = () => donor.deliver();
      moveTo(world, other);
      world.reopen();
      fetchMissing(world, own + 1);
      world.file.crash();
      sameBlocks(world, other);
    }
  });

  test("survives a power cut at any moment", () => {
    const little: Load = { ...load, rowsMax: 600 };
    const other = run(new World(little, machine(52)), 8);
    let cuts = 0;
    for (let failAt = 0; ; failAt += 1) {
      const donor = new Donor(other, failAt);
      const world = new World(little, machine(failAt), {}, donor.attach);
      world.file.onIdle = () => donor.deliver();
      world.durable = other.durable;
      world.file.ticksUntilFailure = failAt;
      try {
        world.reopen();
        fetchMissing(world);
        break;
      } catch (error) {
        if (!(error instanceof PowerFailure)) throw error;
      }
      cuts += 1;
      world.file.ticksUntilFailure = -1;
      world.file.crash();
      world.reopen();
      fetchMissing(world);
      world.file.crash();
      expect(world.integrity()).toMatchObject({ damaged: [], problems: [] });
      sameBlocks(world, other);
    }
    expect(cuts).toBeGreaterThan(30);
  });

  test("grows the file before it writes", () => {
    const other = run(new World(load, machine(53)), 40);
    const donor = new Donor(other, 1);
    const pending: (() => void)[] = [];
    const world: World = new World(
      load,
      machine(53),
      {
        extend: (gridBytes, onDone) => {
          pending.push(() => {
            world.file.extend(8192 + gridBytes);
            onDone(0);
          });
        },
      },
      donor.attach,
    );
    world.file.fixedLength = true;
    world.file.onIdle = () => {
      const grow = pending.shift();
      grow?.();
      return grow !== undefined || donor.deliver();
    };
    world.durable = other.durable;
    world.reopen();
    fetchMissing(world);
    sameBlocks(world, other);
  });
});

describe("a block that is repaired while the log goes on", () => {
  /** A damaged block that a freeze lets go, found by the scrubber and not delivered. */
  function wantedAndLetGo(seed: number): { donor: Donor; world: World; address: number } {
    const { donor, world } = pair(seed, 12);
    world.file.onIdle = () => false;
    const address = world.engine.state.append[0]!.tailRef[0]!;
    world.file.flipBit(world.engine.grid.fileOffset(address) + 77, 2);
    const scrubber = new Scrubber(world.engine, () => {
      throw new Error("nobody repairs it");
    });
    while (scrubber.cycles === 0) {
      scrubber.tick();
      while (world.file.tick());
    }
    expect([...donor.wanted.keys()]).toEqual([address]);
    return { donor, world, address };
  }

  test("is not written over the block that has its address now", () => {
    const { donor, world, address } = wantedAndLetGo(10);
    const old = donor.content(address);
    run(world, 24);
    expect(donor.forgotten).toEqual([address]);
    expect(donor.offer(address, old)).toBe(false);
    world.file.settle();
    expect(world.integrity()).toMatchObject({ damaged: [], problems: [] });
  });

  test("has been written before its address is written again", () => {
    const { donor, world, address } = wantedAndLetGo(11);
    run(world, 19); // Let go by the freeze at 16, free at 20.
    expect(donor.deliver()).toBe(true);
    const { grid } = world.engine;
    const held = world.file.hold(grid.fileOffset(address));
    // When all of the next checkpoint but this block has been written.
    world.file.onIdle = () => world.op === 23 && held.release();
    run(world, 23);
    expect(held.released).toBe(true);
    expect(world.integrity()).toMatchObject({ damaged: [], problems: [] });
    world.crash();
    expect(world.integrity()).toMatchObject({ damaged: [], problems: [] });
  });

  test("is durable with the checkpoint that refers to it", () => {
    const { donor, world } = pair(12, 10);
    world.file.onIdle = () => false;
    const address = world.engine.transfers.refs.address(0);
    world.file.flipBit(world.engine.grid.fileOffset(address) + 9, 2);
    const scrubber = new Scrubber(world.engine, () => {});
    while (donor.wanted.size === 0) {
      scrubber.tick();
      while (world.file.tick());
    }
    while (world.op < 12) world.step(); // Frozen.
    expect(donor.deliver()).toBe(true);
    const held = world.file.hold(world.engine.grid.fileOffset(address));
    world.file.onIdle = () => held.release();
    world.finishCheckpoint();
    world.file.crash();
    expect(world.integrity()).toMatchObject({ damaged: [], problems: [] });
  });

  test("stands in line when too many are damaged", () => {
    const { donor, world } = pair(13, 40);
    world.reopen();
    const addresses = world.engine.transfers.refs;
    expect(addresses.length).toBeGreaterThan(20);
    flipAll(world, new Prng(3));
    world.file.onIdle = () => false;
    const scrubber = new Scrubber(world.engine, () => {});
    while (donor.wanted.size < repairsMax) {
      scrubber.tick();
      while (world.file.tick());
    }
    world.file.onIdle = () => donor.deliver();
    world.checkAll();
    expect(donor.wantedMax).toBe(repairsMax);
  });
});

describe("reads for other replicas", () => {
  test("hand on a block that is asked for by its checksum, and no other", () => {
    const world = run(new World(load, machine(60)), 12);
    const { grid, transfers } = world.engine;
    const buffer = memoryBuffer(blockSize + 4096);
    const results: boolean[] = [];
    const read = new BlockRead(world.engine, (found) => results.push(found));
    const ref = new Uint32Array(5);
    transfers.refs.copy(0, ref, 0);
    const ask = (address: number): boolean => {
      const started = read.start(address, ref, 1, buffer, 4096);
      while (world.file.tick());
      return started;
    };
    expect(ask(ref[0]!)).toBe(true);
    expect(results).toEqual([true]);
    const at = grid.fileOffset(ref[0]!);
    expect(Buffer.compare(buffer.bytes.subarray(4096), world.file.content(at, blockSize))).toBe(0);

    expect(ask(ref[0]! + 1)).toBe(true); // Another block.
    expect(ask(19_999)).toBe(true); // Beyond the file.
    expect(ask(0)).toBe(false);
    expect(ask(20_001)).toBe(false);
    expect(ask(2 ** 40)).toBe(false);
    ref[1] = ref[1]! ^ 1;
    expect(ask(ref[0]!)).toBe(true);
    ref[1] = ref[1]! ^ 1;
    world.file.flipBit(at + 5000, 1);
    expect(ask(ref[0]!)).toBe(true);
    expect(results).toEqual([true, false, false, false, false]);
  });
});

describe("quiesce", () => {
  test("ends everything that is in flight and starts nothing more", () => {
    const twin = run(new World(load, machine(70)), 20);
    let busy = 0;
    for (let seed = 0; seed < 25; seed += 1) {
      const world = new World(load, { ...machine(seed), ticksMax: 2 });
      const random = new Prng(seed);
      const until = 6 + random.below(12);
      while (world.op < until) world.step();
      const { engine } = world;
      if (random.chance(0.5)) engine.checkpointWrite(() => {});
      const target = new Uint32Array(64 * 32);
      if (random.chance(0.5)) {
        const rows = Uint32Array.from({ length: 64 }, (_, at) => at * 20);
        engine.fetch(engine.transfers, rows, 64, target, () => {
          throw new Error("called back after the end");
        });
      }
      if (!world.file.idle) busy += 1;
      let quiet = false;
      engine.quiesce(() => {
        quiet = true;
        expect(world.file.idle).toBe(true);
      });
      while (world.file.tick());
      expect(quiet).toBe(true);
      const writes = world.file.writes;
      // The owner may not have heard of it.
      engine.compact(world.op + 1, () => {
        throw new Error("called back after the end");
      });
      expect(world.file.idle).toBe(true);
      expect(world.file.writes).toBe(writes);
      world.reopen();
      world.checkAll();
      run(world, 20);
      expect(world.durable.root).toEqual(twin.durable.root);
    }
    expect(busy).toBeGreaterThan(8);
  });

  test("also while a start waits for blocks", () => {
    const other = run(new World(load, machine(71)), 12);
    for (let ticks = 0; ; ticks += 5) {
      const { donor, world } = synced(other, ticks);
      const engine = new StorageEngine(world.options());
      donor.attach(engine);
      let opened = false;
      engine.open(other.durable.root, () => {
        opened = true;
      });
      for (let tick = 0; tick < ticks; tick += 1) world.file.tick();
      if (opened) break;
      let quiet = false;
      engine.quiesce(() => {
        quiet = true;
      });
      world.file.onIdle = () => false;
      while (world.file.tick());
      expect(quiet).toBe(true);
      for (const address of donor.wanted.keys()) {
        expect(donor.offer(address, donor.content(address))).toBe(false);
      }
      world.file.onIdle = () => donor.deliver();
      world.reopen();
      fetchMissing(world);
      sameBlocks(world, other);
    }
  });
});
