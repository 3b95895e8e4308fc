/**
 * The TypeScript twin of the merge: looks at the heads of all inputs for each entry. At most eight
 * inputs make that as good as anything cleverer.
 */
import { assert } from "../../core/assert.ts";
import { assertDisjoint, assertEntryWords, assertRange } from "./ranges.ts";
import { mergeCursorWords, mergeInputsMax } from "./run-kernels.ts";
import { compareEntries } from "./search-entries.ts";

export function mergeEntriesPortable(
  target: Uint32Array,
  targetAt: number,
  room: number,
  entryWords: number,
  inputs: readonly Uint32Array[],
  cursors: Uint32Array,
): number {
  assertEntryWords(entryWords);
  assertRange(target, targetAt, room, entryWords);
  assert(inputs.length >= 1 && inputs.length <= mergeInputsMax, "a merge has 1 to 8 inputs");
  const cursorLength = inputs.length * mergeCursorWords;
  assertRange(cursors, 0, inputs.length, mergeCursorWords);
  assertDisjoint(target, targetAt, room * entryWords, cursors, 0, cursorLength);
  for (let index = 0; index < inputs.length; index += 1) {
    const begin = cursors[index * mergeCursorWords];
    const end = cursors[index * mergeCursorWords + 1];
    assert(
      begin <= end && (end - begin) % entryWords === 0,
      "an input is a whole number of entries",
    );
    assertRange(inputs[index], begin, end - begin, 1);
    assertDisjoint(target, targetAt, room * entryWords, inputs[index], begin, end - begin);
    assertDisjoint(cursors, 0, cursorLength, inputs[index], begin, end - begin);
  }
  let written = 0;
  for (; written < room; written += 1) {
    const smallest = smallestHead(inputs, cursors, entryWords);
    if (smallest < 0) break;
    const source = inputs[smallest];
    const from = cursors[smallest * mergeCursorWords];
    const to = targetAt + written * entryWords;
    for (let word = 0; word < entryWords; word += 1) target[to + word] = source[from + word];
    cursors[smallest * mergeCursorWords] = from + entryWords;
  }
  return written;
}

/** The input with the smallest head; −1 when there is none, or none that is known to be it. */
function smallestHead(
  inputs: readonly Uint32Array[],
  cursors: Uint32Array,
  entryWords: number,
): number {
  let smallest = -1;
  for (let index = 0; index < inputs.length; index += 1) {
    const at = cursors[index * mergeCursorWords];
    if (at === cursors[index * mergeCursorWords + 1]) {
      if (cursors[index * mergeCursorWords + 2] !== 0) return -1;
      continue;
    }
    if (smallest >= 0) {
      const best = cursors[smallest * mergeCursorWords];
      if (compareEntries(inputs[index], at, inputs[smallest], best, entryWords) >= 0) continue;
    }
    smallest = index;
  }
  return smallest;
}
