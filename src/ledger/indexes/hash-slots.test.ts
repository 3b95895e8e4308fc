import fc from "fast-check";
import { expect, test } from "vitest";
import { Prng } from "../../core/prng.ts";
import { HashSlots } from "./hash-slots.ts";
import { Recycler } from "./recycler.ts";
import { allocateOnHeap } from "./slabs.ts";

/** An expectation for inner loops: cheap while it holds. */
function check(ok: boolean, what: string): void {
  if (!ok) expect.fail(what);
}

function sameList(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((value, index) => value === b[index]);
}

/** All references under a hash, as a probe finds them. */
function found(slots: HashSlots, hash: number): number[] {
  const references: number[] = [];
  for (let reference = slots.first(hash); reference !== 0; reference = slots.after(hash)) {
    references.push(reference);
  }
  return references.sort((a, b) => a - b);
}

test("finds every reference of every hash while the table grows, many hashes being equal", () => {
  fc.assert(
    fc.property(fc.integer(), fc.constantFrom(0xffff_ffff, 0xf000_00ff, 0xff), (seed, mask) => {
      const random = new Prng(seed);
      const slots = new HashSlots(5, new Recycler(allocateOnHeap));
      const model = new Map<number, number[]>();
      for (let reference = 1; reference <= 1500; reference += 1) {
        // Masks make hashes equal, or put their homes side by side at either end.
        const hash = (random.chance(0.5) ? random.u32() & mask : ~(random.u32() & 0xff)) | 0;
        slots.insert(hash, reference);
        model.set(hash, [...(model.get(hash) ?? []), reference]);
        slots.settle();
        if (reference % 97 !== 0) continue;
        for (const [known, references] of model) {
          check(sameList(found(slots, known), references), `hash ${known}`);
        }
      }
      expect(slots.count).toBe(1500);
      for (const [known, references] of model) {
        check(sameList(found(slots, known), references), `hash ${known}`);
      }
      for (let absent = 0; absent < 200; absent += 1) {
        const hash = random.u32() | 0;
        check(model.has(hash) || slots.first(hash) === 0, `hash ${hash} is absent`);
      }
    }),
    { numRuns: 40, seed: 1 },
  );
});

test("undoes inserts, newest first, in the middle of growth", () => {
  fc.assert(
    fc.property(fc.integer(), (seed) => {
      const random = new Prng(seed);
      const slots = new HashSlots(6, new Recycler(allocateOnHeap));
      const kept: { hash: number; reference: number }[] = [];
      let next = 1;
      for (let round = 0; round < 60; round += 1) {
        const fresh: { hash: number; reference: number }[] = [];
        for (let count = random.below(20); count > 0; count -= 1) {
          // Few homes: inserts land in the runs of others.
          const entry = { hash: (random.below(40) << 26) | random.below(3), reference: next };
          next += 1;
          slots.insert(entry.hash, entry.reference);
          fresh.push(entry);
        }
        for (let undo = random.below(fresh.length + 1); undo > 0; undo -= 1) {
          const entry = fresh.pop()!;
          slots.remove(entry.hash, entry.reference);
        }
        kept.push(...fresh);
        slots.settle();
        for (const { hash, reference } of kept) {
          check(found(slots, hash).includes(reference), `reference ${reference}`);
        }
        expect(slots.count).toBe(kept.length);
      }
    }),
    { numRuns: 60, seed: 2 },
  );
});

test("growth is spread: no settle moves more than its inserts owe", () => {
  const random = new Prng(3);
  const slots = new HashSlots(12, new Recycler(allocateOnHeap));
  const before = slots.words;
  let settlesWhileGrowing = 0;
  for (let reference = 1; slots.words <= before * 2.5; reference += 1) {
    slots.insert(random.u32() | 0, reference);
    slots.settle();
    // Both tables are held while entries move from one to the other.
    if (slots.words > before * 2.5) settlesWhileGrowing += 1;
  }
  for (let reference = 100_000; slots.words > before * 2.5; reference += 1) {
    slots.insert(random.u32() | 0, reference);
    slots.settle();
    settlesWhileGrowing += 1;
  }
  // 4,096 slots at 8 or 16 per insert, and each step goes on to the end of a run.
  expect(settlesWhileGrowing).toBeGreaterThan(4096 / 32);
  expect(settlesWhileGrowing).toBeLessThan(4096 / 8 + 2);
});

test("hashes that are all the same use up the slack and still work", () => {
  const slots = new HashSlots(4, new Recycler(allocateOnHeap));
  for (let reference = 1; reference <= 700; reference += 1) {
    slots.insert(-1, reference);
    slots.settle();
  }
  expect(found(slots, -1).length).toBe(700);
  expect(slots.first(-2)).toBe(0);
});

test("a reference can be replaced", () => {
  const slots = new HashSlots(4, new Recycler(allocateOnHeap));
  slots.insert(7, 1);
  slots.insert(7, 2);
  expect(slots.first(7)).toBe(1);
  expect(slots.after(7)).toBe(2);
  slots.replace(9);
  expect(found(slots, 7)).toEqual([1, 9]);
});

test("what is not there can not be undone", () => {
  const slots = new HashSlots(4, new Recycler(allocateOnHeap));
  slots.insert(7, 1);
  expect(() => slots.remove(8, 1)).toThrow("only a key that is present");
  slots.settle();
  expect(() => slots.remove(7, 1)).toThrow("since the last settle");
});

test("the table left behind by growth serves other allocations, zeroed", () => {
  let allocated = 0;
  const memory = new Recycler((count) => {
    allocated += count;
    return new Uint32Array(count);
  });
  const random = new Prng(4);
  const slots = new HashSlots(17, memory);
  for (let reference = 1; reference <= 120_000; reference += 1) {
    slots.insert(random.u32() | 0, reference);
    slots.settle();
  }
  // The table of 2^17 slots was given back: 2^18 words and the slack.
  const before = allocated;
  const first = memory.allocate(100_000);
  const second = memory.allocate(100_000);
  expect(allocated).toBe(before);
  first.fill(1);
  expect(second.every((word) => word === 0)).toBe(true);
  const third = memory.allocate(100_000);
  expect(allocated).toBe(before + 100_000);
  expect(third.buffer).not.toBe(first.buffer);
});

test("emptied, it holds as much again without more memory", () => {
  let allocated = 0;
  const counted = (count: number): Uint32Array => {
    allocated += count;
    return new Uint32Array(count);
  };
  for (const inserts of [10, 600, 650, 700, 1000]) {
    const slots = new HashSlots(10, new Recycler(counted));
    const insert = (first: number): void => {
      for (let key = 0; key < inserts; key += 1) {
        slots.insert(Math.imul(first + key, 0x9e37_79b1), key + 1);
        slots.settle();
      }
    };
    insert(0);
    slots.empty();
    const before = allocated;
    expect(slots.count).toBe(0);
    for (let key = 0; key < inserts; key += 1) {
      check(slots.first(Math.imul(key, 0x9e37_79b1)) === 0, `key ${key} is gone`);
    }
    insert(5000);
    expect(allocated).toBe(before);
    expect(slots.count).toBe(inserts);
    for (let key = 0; key < inserts; key += 1) {
      check(slots.first(Math.imul(5000 + key, 0x9e37_79b1)) === key + 1, `key ${key} is there`);
    }
  }
});
