/** Comparing and searching entries: the TypeScript twin of `native/sorted_runs/search.cc`. */
import { assertEntryWords, assertRange } from "./ranges.ts";

/** Negative, 0 or positive, as the entry at a[aAt] is below, equal to or above that at b[bAt]. */
export function compareEntries(
  a: Uint32Array,
  aAt: number,
  b: Uint32Array,
  bAt: number,
  entryWords: number,
): number {
  for (let word = entryWords - 1; word >= 0; word -= 1) {
    const difference = a[aAt + word] - b[bAt + word];
    if (difference !== 0) return difference;
  }
  return 0;
}

export function searchEntriesPortable(
  entries: Uint32Array,
  at: number,
  count: number,
  entryWords: number,
  key: Uint32Array,
  keyAt: number,
): number {
  assertEntryWords(entryWords);
  assertRange(entries, at, count, entryWords);
  assertRange(key, keyAt, 1, entryWords);
  let low = 0;
  let high = count;
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    if (compareEntries(entries, at + middle * entryWords, key, keyAt, entryWords) < 0) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}
