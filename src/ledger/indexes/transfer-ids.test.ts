import fc from "fast-check";
import { expect, test } from "vitest";
import { Prng } from "../../core/prng.ts";
import { Recycler } from "./recycler.ts";
import { allocateOnHeap } from "./slabs.ts";
import { TransferIds } from "./transfer-ids.ts";

const scratch = new Uint32Array(6);
/** Ids lie amid other words. */
const at = 1;

function words(id: number): Uint32Array {
  return scratch
    .fill(7)
    .fill(id >>> 4, at, at + 3)
    .fill(id & 15, at + 3, at + 4);
}

const zero = { transfers: 0, failedIds: 0 };

/** An expectation for inner loops: cheap while it holds. */
function check(found: number, expected: number): void {
  if (found !== expected) expect.fail(`${found} instead of ${expected}`);
}

/** Ids as the storage and the ledger together know them. */
class World {
  ids: TransferIds;
  covered = zero;
  cut = zero;
  readonly rows: number[] = [];
  readonly burnt: number[] = [];

  constructor(
    private readonly seed: number,
    readonly memory = new Recycler(allocateOnHeap),
  ) {
    this.ids = new TransferIds(seed, 8, memory);
  }

  hash(id: number): number {
    return this.ids.hash(words(id), at);
  }

  add(id: number, seek: boolean): void {
    const hash = this.hash(id);
    if (seek) this.ids.findActive(hash, words(id), at);
    this.ids.insert(hash, words(id), at, this.rows.length, seek);
    this.rows.push(id);
  }

  burn(id: number): void {
    this.ids.burn(words(id), at, this.burnt.length);
    this.burnt.push(id);
  }

  undo(): void {
    this.ids.remove(this.rows.length - 1);
    this.rows.pop();
  }

  find(id: number): number {
    return this.ids.find(this.hash(id), words(id), at);
  }

  end(): { transfers: number; failedIds: number } {
    return { transfers: this.rows.length, failedIds: this.burnt.length };
  }

  /** As after a start. */
  restore(ids: TransferIds): void {
    this.ids = ids;
    ids.reset(this.covered, this.cut);
    for (let row = this.covered.transfers; row < this.rows.length; row += 1) {
      const id = this.rows[row]!;
      ids.restore(this.hash(id), words(id), at, row);
      ids.settleRestored();
    }
    for (let number = this.covered.failedIds; number < this.burnt.length; number += 1) {
      ids.restoreBurnt(words(this.burnt[number]!), at, number);
      ids.settleRestored();
    }
  }

  restart(): void {
    this.restore(new TransferIds(this.seed, 8, this.memory));
  }

  check(): void {
    for (let row = 0; row < this.rows.length; row += 1) {
      const id = this.rows[row]!;
      check(this.find(id), row < this.covered.transfers ? 0 : row + 1);
      const active = this.ids.findActive(this.hash(id), words(id), at);
      check(active, row < this.cut.transfers ? 0 : row + 1);
    }
    for (let number = 0; number < this.burnt.length; number += 1) {
      const id = this.burnt[number]!;
      check(this.find(id), number < this.covered.failedIds ? 0 : -1 - number);
      const active = this.ids.findActive(this.hash(id), words(id), at);
      check(active, number < this.cut.failedIds ? 0 : -1 - number);
    }
  }
}

test("knows the ids from `covered` on through cuts, rollbacks and restarts, and no others", () => {
  fc.assert(
    fc.property(fc.integer(), fc.nat(), (seed, hashSeed) => {
      const random = new Prng(seed);
      const world = new World(hashSeed);
      let next = 0;
      for (let op = 0; op < 60; op += 1) {
        for (let chain = random.below(6); chain > 0; chain -= 1) {
          const first = world.rows.length;
          for (let events = random.below(20); events > 0; events -= 1) {
            next += 1 + random.below(3);
            check(world.find(next), 0);
            world.add(next, random.chance(0.5));
          }
          if (random.chance(0.5)) continue;
          for (let undone = world.rows.length - first; undone > 0; undone -= 1) world.undo();
          // The event that broke the chain.
          next += 1;
          world.burn(next);
        }
        world.ids.settle();
        if (random.chance(0.1)) world.restart();
        // Between two requests the storage may do both: cover the sealed generation, and cut.
        if (random.chance(0.3)) world.covered = world.cut;
        if (world.covered === world.cut && random.chance(0.4)) {
          world.cut = world.end();
          if (random.chance(0.1)) world.covered = world.cut;
        }
        world.ids.follow(world.covered, world.cut);
        world.check();
      }
    }),
    { numRuns: 25, seed: 4 },
  );
});

test("generations take turns in the same memory", () => {
  let allocated = 0;
  const counted = (count: number): Uint32Array => {
    allocated += count;
    return new Uint32Array(count);
  };
  const world = new World(1, new Recycler(counted));
  let next = 0;
  const generation = (): void => {
    for (let op = 0; op < 20; op += 1) {
      for (let event = 0; event < 110; event += 1) {
        next += 1;
        if (event < 100) world.add(next, true);
        else world.burn(next);
      }
      world.ids.settle();
    }
    world.covered = world.cut;
    world.ids.follow(world.covered, world.cut);
    world.cut = world.end();
    world.ids.follow(world.covered, world.cut);
  };
  generation();
  generation();
  const before = allocated;
  for (let count = 0; count < 5; count += 1) generation();
  expect(allocated).toBe(before);
  world.check();
  // The ledger moves to another checkpoint.
  world.restore(world.ids);
  world.check();
  expect(allocated).toBe(before);
});

test("a generation is covered as a whole", () => {
  const world = new World(1);
  for (let id = 1; id <= 10; id += 1) world.add(id, true);
  world.ids.settle();
  world.cut = world.end();
  world.ids.follow(zero, world.cut);
  const within = { transfers: 5, failedIds: 0 };
  expect(() => world.ids.follow(within, world.cut)).toThrow("as a whole");
  expect(() => world.ids.remove(9)).toThrow("undone");
});
