/** Posting lists, cursors over them, and the indexes by key: against sorted arrays. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { Prng } from "../../core/prng.ts";
import { noRow } from "../store.ts";
import { PostingCursor } from "./posting-cursor.ts";
import { hash32, hash64, KeyedPostings } from "./posting-index.ts";
import { PostingArena, PostingLists } from "./posting-lists.ts";
import { Recycler } from "./recycler.ts";
import { allocateOnHeap } from "./slabs.ts";

/** Walks from `start`, asking now and then for a row further on, and compares with the array. */
function checkWalk(
  cursor: PostingCursor,
  rows: readonly number[],
  ascending: boolean,
  start: number,
  random: Prng,
): void {
  const order = ascending ? rows : [...rows].reverse();
  let target = start;
  let place = 0;
  for (;;) {
    while (place < order.length && (ascending ? order[place]! < target : order[place]! > target)) {
      place += 1;
    }
    const expected = order[place] ?? noRow;
    const found = cursor.seek(target);
    // Asking again changes nothing.
    if (found !== expected || cursor.seek(target) !== expected) expect(found).toBe(expected);
    if (expected === noRow) return;
    const step = random.chance(0.8) ? 1 : random.range(1, 400);
    target = ascending ? expected + step : expected - step;
  }
}

test.each([1, 2, 7, 60, 700, 9000])("lists of up to %i postings, walked both ways", (length) => {
  fc.assert(
    fc.property(fc.integer(), (seed) => {
      const random = new Prng(seed);
      const arena = new PostingArena(allocateOnHeap);
      const lists = new PostingLists(arena, allocateOnHeap);
      const entries = 3;
      const model = Array.from({ length: entries }, () => [] as number[]);
      let row = 0;
      for (let index = 0; index < length; index += 1) {
        row += random.chance(0.9) ? 1 : random.range(1, 50);
        const entry = random.below(entries);
        lists.append(entry * 5000, row);
        model[entry]!.push(row);
      }
      const cursor = new PostingCursor();
      for (let entry = 0; entry < entries; entry += 1) {
        expect(lists.count(entry * 5000)).toBe(model[entry]!.length);
        for (const ascending of [true, false]) {
          for (const start of [ascending ? 0 : row + 10, random.below(row + 2)]) {
            cursor.openList(lists, entry * 5000, ascending, start);
            checkWalk(cursor, model[entry]!, ascending, start, random);
          }
        }
      }
    }),
    { numRuns: length > 1000 ? 6 : 40, seed: 5 },
  );
});

test("an empty list has no rows", () => {
  const lists = new PostingLists(new PostingArena(allocateOnHeap), allocateOnHeap);
  const cursor = new PostingCursor();
  cursor.openList(lists, 3, true, 0);
  expect(cursor.seek(0)).toBe(noRow);
  expect(lists.count(3)).toBe(0);
});

test("rows of a list ascend", () => {
  const lists = new PostingLists(new PostingArena(allocateOnHeap), allocateOnHeap);
  lists.append(0, 5);
  expect(() => lists.append(0, 5)).toThrow("postings ascend");
  lists.append(0, 6);
});

test("a long list takes little more than its rows", () => {
  const arena = new PostingArena(allocateOnHeap);
  const lists = new PostingLists(arena, allocateOnHeap);
  for (let row = 0; row < 2_000_000; row += 1) lists.append(0, row);
  expect(arena.words).toBeLessThan(2_000_000 * 1.2);
  const cursor = new PostingCursor();
  cursor.openList(lists, 0, true, 1_234_567);
  expect(cursor.seek(1_234_567)).toBe(1_234_567);
  cursor.openList(lists, 0, false, 1_765_432);
  expect(cursor.seek(1_765_432)).toBe(1_765_432);
});

test("keys lead to their rows, whether they have one or many", () => {
  fc.assert(
    fc.property(fc.integer(), fc.integer({ min: 1, max: 300 }), (seed, keys) => {
      const random = new Prng(seed);
      const index = new KeyedPostings(
        new PostingArena(allocateOnHeap),
        new Recycler(allocateOnHeap),
      );
      const model = new Map<number, number[]>();
      for (let row = 0; row < 800; row += 1) {
        // Some keys twice in a row: the index remembers the last one.
        const key = random.chance(0.3) ? 0 : random.below(keys);
        index.append(hash32(key, 9), row);
        model.set(key, [...(model.get(key) ?? []), row]);
      }
      const cursor = new PostingCursor();
      for (let key = 0; key < keys + 3; key += 1) {
        const rows = model.get(key) ?? [];
        for (const ascending of [true, false]) {
          const start = ascending ? 0 : 800;
          expect(index.open(cursor, hash32(key, 9), ascending, start)).toBe(rows.length);
          checkWalk(cursor, rows, ascending, start, random);
        }
      }
    }),
    { numRuns: 30, seed: 6 },
  );
});

test("32-bit keys never share a hash; 64-bit keys use both words", () => {
  const seen = new Set<number>();
  for (let key = 0; key < 200_000; key += 1) seen.add(hash32(Math.imul(key, 0x9e37_79b1), 3));
  expect(seen.size).toBe(200_000);
  expect(hash64(1, 2, 0)).not.toBe(hash64(2, 1, 0));
  expect(hash64(1, 0, 0)).not.toBe(hash64(1, 1, 0));
});
