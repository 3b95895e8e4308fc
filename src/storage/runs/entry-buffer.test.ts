import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ascending, entriesOf, implementations } from "../../../test/support/run-entries.ts";
import { Prng } from "../../core/prng.ts";
import { mergeInputsMax } from "../../native/sorted-runs/run-kernels.ts";
import { EntryBuffer } from "./entry-buffer.ts";

const allocateWords = (count: number): Uint32Array => new Uint32Array(count).fill(0xdeadbeef);

/** Adds `count` entries with few keys; returns them as integers in the order of adding. */
function fill(buffer: EntryBuffer, count: number, random: Prng): bigint[] {
  const added: bigint[] = [];
  const entry = new Uint32Array(6);
  let row = 0;
  for (let index = 0; index < count; index += 1) {
    row += random.below(2);
    entry.fill(0);
    entry[0] = row;
    entry[2] = random.below(4);
    entry[buffer.entryWords - 1] = random.below(3);
    if (buffer.entryWords === 4) buffer.appendShort(row, 0, entry[2], entry[3]!);
    else buffer.appendLong(row, 0, entry, 2);
    added.push(...entriesOf(entry, 0, 1, buffer.entryWords));
  }
  return added;
}

function segmentEntriesOf(buffer: EntryBuffer): bigint[][] {
  return buffer.segments.map(({ words, count }) => entriesOf(words, 0, count, buffer.entryWords));
}

const row = (entry: bigint): bigint => entry & 0xffff_ffffn;

describe.each(implementations)("%s", (_, kernels) => {
  test("segments and tail hold all entries, sorted, in the order of their rows", () => {
    fc.assert(
      fc.property(
        fc.constantFrom(4, 6),
        fc.nat(700),
        fc.integer({ min: 1, max: 9 }),
        fc.nat(2 ** 31),
        (entryWords, count, segmentEntries, seed) => {
          const buffer = new EntryBuffer(
            entryWords as 4 | 6,
            kernels,
            allocateWords,
            segmentEntries,
          );
          const added = fill(buffer, count, new Prng(seed));
          expect(buffer.count).toBe(count);
          const { tailWords, tailCount } = buffer;
          const tail = entriesOf(tailWords, 0, tailCount, entryWords);
          expect(tail).toEqual(added.slice(count - tailCount));
          const segments = segmentEntriesOf(buffer);
          for (const segment of segments) expect(segment).toEqual(ascending(segment));
          expect(ascending(segments.flat().concat(tail))).toEqual(ascending(added));
          let youngest = 0n;
          for (const segment of segments) {
            const rows = ascending(segment.map(row));
            expect(rows[0]! >= youngest).toBe(true);
            youngest = rows[rows.length - 1]!;
          }
        },
      ),
      { numRuns: 200 },
    );
  });

  test("a sealed buffer merges in one pass, and serves again once it is cleared", () => {
    const memory: number[] = [];
    const counted = (count: number): Uint32Array => {
      memory.push(count);
      return allocateWords(count);
    };
    const random = new Prng(7);
    const buffer = new EntryBuffer(4, kernels, counted, 2);
    let allocated = 0;
    // 3,070 entries of which two are sorted at a time leave three segments in five classes each.
    for (const count of [3070, 0, 1, 2046, 3069, 3070]) {
      const added = fill(buffer, count, random);
      buffer.seal();
      expect(() => buffer.appendShort(9_999, 0, 1, 0)).toThrow();
      expect(buffer.tailCount).toBe(0);
      expect(buffer.segments.length).toBeLessThanOrEqual(mergeInputsMax);
      const { inputs } = buffer;
      const cursors = buffer.cursors.slice();
      expect(inputs.length).toBe(buffer.segments.length);
      const target = new Uint32Array(count * 4);
      if (count > 0) expect(kernels.mergeEntries(target, 0, count, 4, inputs, cursors)).toBe(count);
      expect(entriesOf(target, 0, count, 4)).toEqual(ascending(added));
      buffer.clear();
      expect(buffer.count).toBe(0);
      if (allocated === 0) allocated = memory.length;
    }
    expect(memory.length).toBe(allocated);
  });
});

test("burnt ids stand beside rows; rows out of order and keys of another length are refused", () => {
  const { 1: kernels } = implementations[0]!;
  const long = new EntryBuffer(6, kernels, allocateWords);
  const key = Uint32Array.of(9, 1, 2, 3, 4);
  long.appendLong(5, 0, key, 1);
  long.appendLong(2, 0x8000_0000, key, 1);
  expect(() => long.appendLong(4, 0, key, 1)).toThrow("order");
  expect(() => long.appendShort(6, 0, 1, 2)).toThrow("two words");
  expect(long.tailWords.slice(0, 12)).toEqual(
    Uint32Array.of(5, 0, 1, 2, 3, 4, 2, 0x8000_0000, 1, 2, 3, 4),
  );
  const short = new EntryBuffer(4, kernels, allocateWords);
  expect(() => short.appendLong(0, 0, key, 0)).toThrow("four words");
});
