import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  ascending,
  drawEntries,
  entriesOf,
  implementations,
  native,
  portable,
  shapes,
} from "../../../test/support/run-entries.ts";

const drawn = fc.record({
  shape: fc.constantFrom(...shapes),
  count: fc.oneof(fc.nat(60), fc.nat(3000)),
  entryWords: fc.constantFrom(4, 6),
  at: fc.nat(3),
  seed: fc.nat(2 ** 31),
});

describe.each(implementations)("%s", (_, kernels) => {
  test("sorts entries of every shape as integers, and touches nothing beside them", () => {
    fc.assert(
      fc.property(drawn, ({ shape, count, entryWords, at, seed }) => {
        const words = drawEntries(shape, count, entryWords, seed, at);
        const expected = ascending(entriesOf(words, at, count, entryWords));
        const scratch = new Uint32Array(count * entryWords + 2).fill(5);
        kernels.sortEntries(words, at, count, entryWords, scratch);
        expect(entriesOf(words, at, count, entryWords)).toEqual(expected);
        expect([...words.subarray(0, at), ...words.subarray(at + count * entryWords)]).toEqual(
          Array(at + 4).fill(7),
        );
        expect([...scratch.subarray(count * entryWords)]).toEqual([5, 5]);
      }),
      { numRuns: 150 },
    );
  });

  test("leaves what is in order alone, and the scratch memory with it", () => {
    const words = drawEntries("sequential", 1000, 6, 1);
    const before = words.slice();
    const scratch = new Uint32Array(6000).fill(5);
    kernels.sortEntries(words, 0, 1000, 6, scratch);
    expect(words).toEqual(before);
    expect(scratch.every((word) => word === 5)).toBe(true);
  });

  test("scratch memory may be the rest of the same array", () => {
    const words = new Uint32Array(4000);
    words.set(drawEntries("random", 500, 4, 3).subarray(0, 2000));
    const expected = ascending(entriesOf(words, 0, 500, 4));
    kernels.sortEntries(words, 0, 500, 4, words.subarray(2000));
    expect(entriesOf(words, 0, 500, 4)).toEqual(expected);
  });

  test("takes room in front of the entries, of the same array", () => {
    const words = new Uint32Array(16);
    words.set([9, 0, 9, 0, 1, 0, 1, 0], 8);
    kernels.sortEntries(words, 8, 2, 4, words);
    expect([...words.subarray(8)]).toEqual([1, 0, 1, 0, 9, 0, 9, 0]);
  });

  test("refuses ranges outside the arrays, overlaps, and other sizes of entries", () => {
    const words = new Uint32Array(120);
    const scratch = new Uint32Array(120);
    kernels.sortEntries(words, 0, 20, 6, scratch);
    kernels.sortEntries(words, 120, 0, 6, new Uint32Array(0));
    expect(() => kernels.sortEntries(words, 0, 21, 6, scratch)).toThrow();
    expect(() => kernels.sortEntries(words, 1, 20, 6, scratch)).toThrow();
    expect(() => kernels.sortEntries(words, 121, 0, 6, scratch)).toThrow();
    expect(() => kernels.sortEntries(words, 0, 20, 6, scratch.subarray(1))).toThrow();
    expect(() => kernels.sortEntries(words, 0, 10, 6, words.subarray(59))).toThrow();
    expect(() => kernels.sortEntries(words, 60, 10, 6, words)).not.toThrow();
    expect(() => kernels.sortEntries(words, 59, 10, 6, words)).toThrow();
    for (const entryWords of [0, 2, 5, 8, 4.5, Number.NaN]) {
      expect(() => kernels.sortEntries(words, 0, 2, entryWords, scratch)).toThrow();
    }
    for (const wrong of [-1, 0.5, 2 ** 53, Number.NaN, Number.POSITIVE_INFINITY]) {
      expect(() => kernels.sortEntries(words, wrong, 2, 6, scratch)).toThrow();
      expect(() => kernels.sortEntries(words, 0, wrong, 6, scratch)).toThrow();
    }
    expect(() => kernels.sortEntries(words, 0, 2 ** 52, 6, scratch)).toThrow();
  });
});

test("the addon refuses memory that other threads may change", () => {
  const shared = new Uint32Array(new SharedArrayBuffer(480));
  expect(() => native.sortEntries(shared, 0, 20, 6, new Uint32Array(120))).toThrow(TypeError);
  expect(() => native.sortEntries(new Uint32Array(120), 0, 20, 6, shared)).toThrow(TypeError);
});

test("both sort many entries alike", () => {
  for (const shape of shapes) {
    for (const entryWords of [4, 6]) {
      const words = drawEntries(shape, 100_000, entryWords, 11);
      const twin = words.slice();
      const scratch = new Uint32Array(words.length);
      native.sortEntries(words, 0, 100_000, entryWords, scratch);
      portable.sortEntries(twin, 0, 100_000, entryWords, scratch);
      expect(Buffer.compare(new Uint8Array(words.buffer), new Uint8Array(twin.buffer))).toBe(0);
    }
  }
});
