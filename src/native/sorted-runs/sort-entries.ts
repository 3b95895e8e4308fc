/**
 * The TypeScript twin of the sort: merges sorted ranges of one entry, two, four, and so on, between
 * the entries and the scratch memory. The addon sorts by bytes; since entries are compared whole,
 * any correct sort gives the same words.
 */
import { assertDisjoint, assertEntryWords, assertRange } from "./ranges.ts";
import { compareEntries } from "./search-entries.ts";

export function sortEntriesPortable(
  entries: Uint32Array,
  at: number,
  count: number,
  entryWords: number,
  scratch: Uint32Array,
): void {
  assertEntryWords(entryWords);
  assertRange(entries, at, count, entryWords);
  assertRange(scratch, 0, count, entryWords);
  const length = count * entryWords;
  assertDisjoint(entries, at, length, scratch, 0, length);
  if (inOrder(entries, at, length, entryWords)) return;
  let source = entries;
  let sourceAt = at;
  let target = scratch;
  let targetAt = 0;
  for (let width = entryWords; width < length; width *= 2) {
    for (let begin = 0; begin < length; begin += 2 * width) {
      const middle = Math.min(begin + width, length);
      const end = Math.min(begin + 2 * width, length);
      mergeTwo(source, sourceAt, begin, middle, end, target, targetAt + begin, entryWords);
    }
    const other = source;
    const otherAt = sourceAt;
    source = target;
    sourceAt = targetAt;
    target = other;
    targetAt = otherAt;
  }
  if (source === entries && sourceAt === at) return;
  for (let word = 0; word < length; word += 1) entries[at + word] = source[sourceAt + word];
}

function inOrder(entries: Uint32Array, at: number, length: number, entryWords: number): boolean {
  const end = at + length;
  for (let next = at + entryWords; next < end; next += entryWords) {
    if (compareEntries(entries, next, entries, next - entryWords, entryWords) < 0) return false;
  }
  return true;
}

/** Merges the neighbours [begin, middle) and [middle, end), counted from `sourceAt`. */
function mergeTwo(
  source: Uint32Array,
  sourceAt: number,
  begin: number,
  middle: number,
  end: number,
  target: Uint32Array,
  targetAt: number,
  entryWords: number,
): void {
  let left = sourceAt + begin;
  const leftEnd = sourceAt + middle;
  let right = leftEnd;
  const rightEnd = sourceAt + end;
  let to = targetAt;
  while (left < leftEnd || right < rightEnd) {
    const fromLeft =
      right === rightEnd ||
      (left < leftEnd && compareEntries(source, left, source, right, entryWords) <= 0);
    let from = right;
    if (fromLeft) {
      from = left;
      left += entryWords;
    } else {
      right += entryWords;
    }
    for (let word = 0; word < entryWords; word += 1) target[to + word] = source[from + word];
    to += entryWords;
  }
}
