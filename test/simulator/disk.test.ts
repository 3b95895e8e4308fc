import { expect, test } from "vitest";
import { sectorSize } from "../../src/core/limits.ts";
import { Prng } from "../../src/core/prng.ts";
import { Completion, Errno, type IoBuffer } from "../../src/io/io.ts";
import { memoryBuffer } from "../wal/memory-file-io.ts";
import { DiskIo, SimulatedDisk } from "./disk.ts";
import { EventQueue } from "./event-queue.ts";
import { SectorPool } from "./sector-pool.ts";

const sectors = 16;

class World {
  readonly queue = new EventQueue();
  readonly pool = new SectorPool();
  readonly failures: string[] = [];
  readonly disk: SimulatedDisk;
  readonly io: DiskIo;
  tears = true;

  constructor(seed: number) {
    const host = {
      complete: (completion: Completion) => {
        completion.busy = false;
        completion.onDone(completion);
      },
      mayTear: () => this.tears,
      onRewritten: () => {},
      fail: (reason: string): never => {
        this.failures.push(reason);
        throw new Error(reason);
      },
    };
    const size = sectors * sectorSize;
    this.disk = new SimulatedDisk(this.queue, this.pool, new Prng(seed), host, size);
    this.disk.timing = { readUs: 10, writeUs: 100, syncUs: 1000 };
    this.io = new DiskIo(this.disk, { allocate: memoryBuffer });
  }

  settle(): void {
    while (this.queue.runNext()) {
      // Until nothing is in flight.
    }
  }

  /** Starts to write `count` sectors full of `value`. */
  write(first: number, count: number, value: number, durable: boolean): Completion {
    const completion = new Completion(() => {});
    this.io.write(
      completion,
      0,
      filled(count, value),
      0,
      count * sectorSize,
      first * sectorSize,
      durable,
    );
    return completion;
  }

  sync(): Completion {
    const completion = new Completion(() => {});
    this.io.sync(completion, 0);
    return completion;
  }

  /** What a sector holds when all its words are alike, or −1. */
  value(sector: number): number {
    const words = new Uint32Array(sectorSize / 4);
    this.disk.peek(sector, words, 0);
    return words.every((word) => word === words[0]) ? words[0]! : -1;
  }
}

function filled(count: number, value: number): IoBuffer {
  const buffer = memoryBuffer(count * sectorSize);
  buffer.words.fill(value);
  return buffer;
}

test("a durable write survives a power cut, whatever came before it", () => {
  for (let seed = 0; seed < 50; seed += 1) {
    const world = new World(seed);
    world.write(3, 1, 1, false);
    world.settle();
    world.write(3, 2, 7, true);
    world.settle();
    world.disk.crash(true);
    expect([world.value(3), world.value(4)]).toEqual([7, 7]);
  }
});

test("a write without a sync may be lost, sector by sector", () => {
  const seen = new Set<string>();
  for (let seed = 0; seed < 200; seed += 1) {
    const world = new World(seed);
    world.write(0, 2, 5, false);
    world.settle();
    world.disk.crash(true);
    seen.add(`${world.value(0)} ${world.value(1)}`);
  }
  expect([...seen].sort()).toEqual(["0 0", "0 5", "5 0", "5 5"]);
});

test("a sync saves what completed before it began, and not what completed later", () => {
  const lost = new Set<number>();
  for (let seed = 0; seed < 100; seed += 1) {
    const world = new World(seed);
    world.write(0, 1, 1, false);
    world.settle();
    const sync = world.sync();
    const late = world.write(1, 1, 2, false);
    while (sync.busy || late.busy) world.queue.runNext();
    world.disk.crash(true);
    expect(world.value(0)).toBe(1);
    lost.add(world.value(1));
  }
  expect([...lost].sort()).toEqual([0, 2]);
});

test("a killed process leaves what it wrote in the caches, and no more durable", () => {
  const kept = new Set<number>();
  for (let seed = 0; seed < 100; seed += 1) {
    const world = new World(seed);
    world.write(0, 1, 3, false);
    world.settle();
    world.disk.crash(false);
    expect(world.value(0)).toBe(3);
    world.disk.crash(true);
    kept.add(world.value(0));
  }
  expect([...kept].sort()).toEqual([0, 3]);
});

test("a write in flight is old, new or torn; old or new as a whole where it may not tear", () => {
  const torn = new Set<string>();
  const whole = new Set<string>();
  for (let seed = 0; seed < 400; seed += 1) {
    for (const [tears, seen] of [
      [true, torn],
      [false, whole],
    ] as const) {
      const world = new World(seed);
      world.tears = tears;
      world.write(0, 2, 1, true);
      world.settle();
      world.write(0, 2, 2, true);
      world.disk.crash(true);
      seen.add(`${world.value(0)} ${world.value(1)}`);
    }
  }
  expect([...whole].sort()).toEqual(["1 1", "2 2"]);
  expect(torn.size).toBe(9);
  expect(torn).toContain("-1 2");
});

test("nothing of a dead process is called back", () => {
  const world = new World(1);
  let called = 0;
  const completion = new Completion(() => {
    called += 1;
  });
  world.io.write(completion, 0, filled(1, 1), 0, sectorSize, 0, true);
  world.disk.crash(false);
  world.settle();
  expect(called).toBe(0);
});

test("two writes in flight to one sector, and a buffer that changes under a write, are found", () => {
  const overlapping = new World(1);
  overlapping.write(0, 2, 1, true);
  expect(() => overlapping.write(1, 1, 2, true)).toThrow();
  expect(overlapping.failures[0]).toContain("overlap");

  const changing = new World(1);
  const buffer = filled(1, 1);
  changing.io.write(new Completion(() => {}), 0, buffer, 0, sectorSize, 0, true);
  buffer.words[100] = 2;
  expect(() => changing.settle()).toThrow();
  expect(changing.failures[0]).toContain("changed");
});

test("an unreadable sector fails reads until it is written; a failing disk stays failed", () => {
  const world = new World(1);
  world.write(0, 2, 1, true);
  world.settle();
  world.disk.makeUnreadable(1);
  const read = (): number => {
    const completion = new Completion(() => {});
    world.io.read(completion, 0, memoryBuffer(2 * sectorSize), 0, 2 * sectorSize, 0);
    world.settle();
    return completion.result;
  };
  expect(read()).toBe(Errno.io);
  world.write(1, 1, 2, true);
  world.settle();
  expect(read()).toBe(2 * sectorSize);

  world.disk.failing = true;
  const write = world.write(0, 1, 9, true);
  world.settle();
  expect(write.result).toBe(Errno.io);
  const sync = world.sync();
  world.settle();
  expect(sync.result).toBe(Errno.io);
});

test("all memory comes back when a disk is cleared", () => {
  const world = new World(1);
  world.write(0, 4, 1, true);
  world.write(4, 4, 2, false);
  world.settle();
  world.write(8, 4, 3, true);
  expect(world.pool.inUse).toBe(12);
  world.disk.clear();
  expect(world.pool.inUse).toBe(0);
});
