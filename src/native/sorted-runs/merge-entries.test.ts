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
import { Prng } from "../../core/prng.ts";
import { mergeCursorWords } from "./run-kernels.ts";

const drawn = fc.record({
  shape: fc.constantFrom(...shapes),
  entryWords: fc.constantFrom(4, 6),
  counts: fc.array(fc.nat(200), { minLength: 1, maxLength: 8 }),
  room: fc.nat(300),
  oneArray: fc.boolean(),
  sorted: fc.boolean(),
  more: fc.nat(255),
  seed: fc.nat(2 ** 31),
});

/** Inputs in arrays of their own, or one behind the other in one array. */
function makeInputs(
  lists: readonly Uint32Array[],
  oneArray: boolean,
  more: number,
): { inputs: Uint32Array[]; cursors: Uint32Array } {
  const all = new Uint32Array(lists.reduce((sum, list) => sum + list.length, 0));
  const cursors = new Uint32Array(lists.length * mergeCursorWords);
  let at = 0;
  for (const [index, list] of lists.entries()) {
    all.set(list, at);
    const begin = oneArray ? at : 0;
    cursors.set([begin, begin + list.length, (more >>> index) & 1], index * mergeCursorWords);
    at += list.length;
  }
  return { inputs: lists.map((list) => (oneArray ? all : list)), cursors };
}

function drawLists(
  shape: (typeof shapes)[number],
  counts: readonly number[],
  entryWords: number,
  seed: number,
  sorted: boolean,
): Uint32Array[] {
  const random = new Prng(seed);
  return counts.map((count) => {
    const words = drawEntries(shape, count, entryWords, random.below(2 ** 31));
    const scratch = new Uint32Array(count * entryWords);
    if (sorted) portable.sortEntries(words, 0, count, entryWords, scratch);
    return words.subarray(0, count * entryWords);
  });
}

describe.each(implementations)("%s", (_, kernels) => {
  test("block by block, the output is all entries in order", () => {
    fc.assert(
      fc.property(drawn, ({ shape, entryWords, counts, room, oneArray, seed }) => {
        const lists = drawLists(shape, counts, entryWords, seed, true);
        const { inputs, cursors } = makeInputs(lists, oneArray, 0);
        const target = new Uint32Array((room + 1) * entryWords);
        const merged: bigint[] = [];
        let written = 0;
        do {
          written = kernels.mergeEntries(target, 0, room + 1, entryWords, inputs, cursors);
          merged.push(...entriesOf(target, 0, written, entryWords));
        } while (written === room + 1);
        const all = lists.flatMap((list) =>
          entriesOf(list, 0, list.length / entryWords, entryWords),
        );
        expect(merged).toEqual(ascending(all));
        for (const [index, list] of lists.entries()) {
          const [at, end] = cursors.subarray(index * mergeCursorWords);
          expect(at).toBe(end);
          expect(list.length).toBe(counts[index] * entryWords);
        }
      }),
      { numRuns: 150 },
    );
  });

  test("stops where an input ends that has more to come, whoever's turn it is", () => {
    // Words of entries: row, 0, key, 0.
    const rows = (...keys: number[]): Uint32Array =>
      Uint32Array.from(keys.flatMap((key) => [key, 0, key, 0]));
    const inputs = [rows(1, 4, 9), rows(2, 3), rows()];
    const target = new Uint32Array(40);
    const keys = (count: number): number[] =>
      Array.from({ length: count }, (_, index) => target[index * 4 + 2]);
    const cursors = Uint32Array.of(0, 12, 0, 0, 8, 1, 0, 0, 0);
    expect(kernels.mergeEntries(target, 0, 10, 4, inputs, cursors)).toBe(3);
    expect(keys(3)).toEqual([1, 2, 3]);
    expect([...cursors]).toEqual([4, 12, 0, 8, 8, 1, 0, 0, 0]);
    // Nothing moves before the input is filled again.
    expect(kernels.mergeEntries(target, 0, 10, 4, inputs, cursors)).toBe(0);
    inputs[1] = rows(5, 6);
    cursors.set([0, 8, 0], 3);
    expect(kernels.mergeEntries(target, 0, 2, 4, inputs, cursors)).toBe(2);
    expect(keys(2)).toEqual([4, 5]);
    expect(kernels.mergeEntries(target, 8, 8, 4, inputs, cursors)).toBe(2);
    expect(keys(4)).toEqual([4, 5, 6, 9]);
    expect(kernels.mergeEntries(target, 0, 10, 4, inputs, cursors)).toBe(0);
  });

  test("equal entries stay", () => {
    const entry = Uint32Array.of(1, 2, 3, 4, 5, 6);
    const target = new Uint32Array(12);
    const cursors = Uint32Array.of(0, 6, 0, 0, 6, 1);
    // The first input's goes first; then the second's, which has more to come.
    expect(kernels.mergeEntries(target, 0, 1, 6, [entry, entry], cursors)).toBe(1);
    expect([...cursors]).toEqual([6, 6, 0, 0, 6, 1]);
    expect(kernels.mergeEntries(target, 6, 1, 6, [entry, entry], cursors)).toBe(1);
    expect([...target]).toEqual([...entry, ...entry]);
  });

  test("refuses ranges outside the arrays, overlaps, parts of entries, other numbers of inputs", () => {
    const words = new Uint32Array(24);
    const target = new Uint32Array(24);
    const merge = (
      inputs: Uint32Array[],
      cursors: number[],
      targetAt = 0,
      room = 4,
      entryWords = 6,
    ): number =>
      kernels.mergeEntries(target, targetAt, room, entryWords, inputs, Uint32Array.from(cursors));
    expect(merge([words], [0, 24, 0])).toBe(4);
    const held = words.subarray(0, 3);
    held.set([6, 12, 0]);
    expect(kernels.mergeEntries(target, 0, 1, 6, [words], held)).toBe(1);
    held.set([0, 12, 0]);
    expect(() => kernels.mergeEntries(target, 0, 1, 6, [words], held)).toThrow();
    words.fill(0);
    expect(() => merge([], [])).toThrow();
    expect(() => merge(Array(9).fill(words), Array(27).fill(0))).toThrow();
    expect(() => merge([words], [0, 24, 0], 0, 5)).toThrow();
    expect(() => merge([words], [0, 24, 0], 1, 4)).toThrow();
    expect(() => merge([words], [0, 24, 0], 0, -1)).toThrow();
    expect(() => merge([words], [0, 24, 0], 0, 4, 5)).toThrow();
    expect(() => merge([words], [0, 30, 0])).toThrow();
    expect(() => merge([words], [24, 18, 0])).toThrow();
    expect(() => merge([words], [0, 23, 0])).toThrow();
    expect(() => merge([words], [0, 4_294_967_292, 0])).toThrow();
    expect(() => merge([words, words], [0, 24, 0])).toThrow();
    expect(() => merge([target], [0, 6, 0], 6, 3)).not.toThrow();
    expect(() => merge([target], [0, 6, 0], 5, 3)).toThrow();
    expect(() => kernels.mergeEntries(target, 0, 4, 6, [words], target)).toThrow();
  });
});

test("both give the same words, whatever the inputs and wherever they stop", () => {
  fc.assert(
    fc.property(drawn, ({ shape, entryWords, counts, room, oneArray, sorted, more, seed }) => {
      const lists = drawLists(shape, counts, entryWords, seed, sorted);
      const { inputs, cursors } = makeInputs(lists, oneArray, more);
      const twinCursors = cursors.slice();
      const target = new Uint32Array(room * entryWords);
      const twin = new Uint32Array(room * entryWords);
      for (let round = 0; round < 3; round += 1) {
        const written = native.mergeEntries(target, 0, room, entryWords, inputs, cursors);
        expect(portable.mergeEntries(twin, 0, room, entryWords, inputs, twinCursors)).toBe(written);
        expect(target).toEqual(twin);
        expect(cursors).toEqual(twinCursors);
      }
    }),
    { numRuns: 500 },
  );
});
