import fc from "fast-check";
import { expect, test } from "vitest";
import { Prng } from "../../core/prng.ts";
import { hashId, IdTable } from "./id-table.ts";
import { Recycler } from "./recycler.ts";
import { allocateOnHeap, Slabs } from "./slabs.ts";

const scratch = new Uint32Array(4);

function words(id: bigint): Uint32Array {
  for (let word = 0; word < 4; word += 1) {
    scratch[word] = Number((id >> BigInt(32 * word)) & 0xffff_ffffn);
  }
  return scratch;
}

class Ids {
  readonly rows = new Slabs(4, 6, allocateOnHeap);
  readonly burnt = new Slabs(4, 6, allocateOnHeap);
  readonly table: IdTable;

  constructor(seed: number) {
    this.table = new IdTable(this.rows, this.burnt, seed, 8, new Recycler(allocateOnHeap));
  }

  write(slabs: Slabs, row: number, id: bigint): void {
    slabs.reserve(row);
    slabs.slabs[row >>> slabs.shift]!.set(words(id), (row & slabs.mask) * 4);
  }

  add(id: bigint, row: number): void {
    this.write(this.rows, row, id);
    this.table.insert(this.table.hash(words(id), 0), row);
  }

  burn(id: bigint, number: number): void {
    this.write(this.burnt, number, id);
    this.table.insertBurnt(this.table.hash(words(id), 0), number);
  }

  reference(id: bigint): number {
    return this.table.find(this.table.hash(words(id), 0), words(id), 0);
  }
}

test("agrees with a map through inserts, burnt ids, rollbacks and growth", () => {
  fc.assert(
    fc.property(fc.integer(), fc.integer(), (seed, hashSeed) => {
      const random = new Prng(seed);
      const ids = new Ids(hashSeed >>> 0);
      const model = new Map<bigint, number>();
      let rows = 0;
      let burnt = 0;
      const draw = (): bigint =>
        (BigInt(random.below(40)) << 96n) |
        (BigInt(random.below(4)) << 64n) |
        BigInt(random.below(4));
      for (let op = 0; op < 80; op += 1) {
        const savepoint = rows;
        const fresh: bigint[] = [];
        for (let event = random.below(12); event > 0; event -= 1) {
          const id = draw();
          expect(ids.reference(id)).toBe(model.get(id) ?? 0);
          if (model.has(id)) continue;
          ids.add(id, rows);
          rows += 1;
          model.set(id, rows);
          fresh.push(id);
        }
        if (random.chance(0.3)) {
          while (rows > savepoint) {
            rows -= 1;
            ids.table.remove(rows);
            model.delete(fresh.pop()!);
          }
        }
        const id = draw();
        if (!model.has(id)) {
          ids.burn(id, burnt);
          burnt += 1;
          model.set(id, -burnt);
          expect(ids.table.findRow(words(id), 0)).toBe(-1);
        }
        ids.table.settle();
        for (const [known, reference] of model) {
          if (ids.reference(known) !== reference) expect.fail(`id ${known}: not ${reference}`);
        }
      }
    }),
    { numRuns: 25, seed: 4 },
  );
});

test("ids of one hash are told apart", () => {
  // With 32 bits of hash, some pair among 300,000 random ids collides.
  const byHash = new Map<number, bigint>();
  const random = new Prng(10);
  let pair: [bigint, bigint] | null = null;
  for (let count = 0; count < 300_000 && pair === null; count += 1) {
    const id = (BigInt(random.u32()) << 96n) | BigInt(random.u32());
    const hash = hashId(words(id), 0, 0);
    const other = byHash.get(hash);
    if (other !== undefined) pair = [other, id];
    byHash.set(hash, id);
  }
  expect(pair).not.toBeNull();
  const [a, b] = pair!;
  const ids = new Ids(0);
  ids.add(a, 0);
  expect(ids.reference(b)).toBe(0);
  ids.burn(b, 0);
  expect(ids.reference(a)).toBe(1);
  expect(ids.reference(b)).toBe(-1);
});

test.each([
  ["counters", (index: bigint) => index],
  ["counters in the upper half", (index: bigint) => index << 64n],
  ["counters in the top word", (index: bigint) => index << 96n],
  ["milliseconds over a constant", (index: bigint) => ((1_795_000_000_000n + index) << 80n) | 77n],
])("%s spread evenly over the homes", (_name, make) => {
  const buckets = new Uint32Array(256);
  const count = 256 * 64;
  for (let index = 0n; index < count; index += 1n) {
    buckets[hashId(words(make(index)), 0, 0) >>> 24]! += 1;
  }
  // 64 expected in each, with a deviation of 8.
  expect(Math.min(...buckets)).toBeGreaterThan(64 - 6 * 8);
  expect(Math.max(...buckets)).toBeLessThan(64 + 6 * 8);
});
