import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  drawEntries,
  entriesOf,
  entryAt,
  implementations,
  portable,
  putWords,
  shapes,
} from "../../../test/support/run-entries.ts";

describe.each(implementations)("%s", (_, kernels) => {
  test("finds the first entry that is not below the key", () => {
    const drawn = fc.record({
      shape: fc.constantFrom(...shapes),
      count: fc.nat(300),
      entryWords: fc.constantFrom(4, 6),
      at: fc.nat(3),
      seed: fc.nat(2 ** 31),
      pick: fc.nat(),
      step: fc.constantFrom(-1n, 0n, 1n, 2n ** 64n),
    });
    fc.assert(
      fc.property(drawn, ({ shape, count, entryWords, at, seed, pick, step }) => {
        const words = drawEntries(shape, count, entryWords, seed, at);
        portable.sortEntries(words, at, count, entryWords, new Uint32Array(words.length));
        const near =
          count === 0 ? 5n : entryAt(words, at + (pick % count) * entryWords, entryWords);
        const key = new Uint32Array(entryWords + 1);
        putWords(key, 1, near + step < 0n ? 0n : near + step, entryWords);
        const value = entryAt(key, 1, entryWords);
        const entries = entriesOf(words, at, count, entryWords);
        const found = kernels.searchEntries(words, at, count, entryWords, key, 1);
        expect(found).toBe(entries.filter((entry) => entry < value).length);
      }),
      { numRuns: 500 },
    );
  });

  test("refuses ranges outside the arrays and other sizes of entries", () => {
    const words = new Uint32Array(24);
    expect(kernels.searchEntries(words, 0, 4, 6, words, 0)).toBe(0);
    expect(kernels.searchEntries(words, 24, 0, 6, words, 18)).toBe(0);
    expect(() => kernels.searchEntries(words, 0, 5, 6, words, 0)).toThrow();
    expect(() => kernels.searchEntries(words, 1, 4, 6, words, 0)).toThrow();
    expect(() => kernels.searchEntries(words, 0, 4, 6, words, 19)).toThrow();
    expect(() => kernels.searchEntries(words, 0, 4, 3, words, 0)).toThrow();
    expect(() => kernels.searchEntries(words, 0, 2 ** 53, 6, words, 0)).toThrow();
    expect(() => kernels.searchEntries(words, -6, 1, 6, words, 0)).toThrow();
  });
});
