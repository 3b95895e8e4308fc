/**
 * Searching sorted entries from a place where the walk left off: steps that double, then halving.
 * A walk to the next entry costs one comparison, a leap the logarithm of its length.
 */
import { u128Compare } from "../../core/u128.ts";
import { entryKeyAt, entryWordsLong } from "../../native/sorted-runs/run-kernels.ts";

/** Negative, 0 or positive, as the entry at words[at] is to that at entry[0]. */
export function compareTo(
  words: Uint32Array,
  at: number,
  entry: Uint32Array,
  entryWords: number,
): number {
  for (let word = entryWords - 1; word >= 0; word -= 1) {
    const difference = words[at + word]! - entry[word]!;
    if (difference !== 0) return difference;
  }
  return 0;
}

/**
 * Of `count` sorted entries from words[at] on, the index of the first that is not below `entry`;
 * `count` if all are. Those before index `from` are known to be.
 */
export function firstNotBelow(
  words: Uint32Array,
  at: number,
  count: number,
  from: number,
  entry: Uint32Array,
  entryWords: number,
): number {
  let low = from;
  let high = count;
  for (let step = 1; low + step <= count; step *= 2) {
    if (compareTo(words, at + (low + step - 1) * entryWords, entry, entryWords) >= 0) {
      high = low + step - 1;
      break;
    }
    low += step;
  }
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (compareTo(words, at + middle * entryWords, entry, entryWords) < 0) low = middle + 1;
    else high = middle;
  }
  return low;
}

/**
 * The index of the last entry that is not above `entry`; −1 if all are. Those behind index `from`
 * are known to be.
 */
export function lastNotAbove(
  words: Uint32Array,
  at: number,
  from: number,
  entry: Uint32Array,
  entryWords: number,
): number {
  let low = -1;
  let high = from;
  for (let step = 1; high - step >= -1; step *= 2) {
    if (compareTo(words, at + (high - step + 1) * entryWords, entry, entryWords) <= 0) {
      low = high - step + 1;
      break;
    }
    high -= step;
  }
  while (low < high) {
    const middle = (low + high + 1) >>> 1;
    if (compareTo(words, at + middle * entryWords, entry, entryWords) <= 0) low = middle;
    else high = middle - 1;
  }
  return low;
}

/** The index of the entry with the id at ids[idAt], among `count` sorted ones at words[at]; or −1. */
export function findId(
  words: Uint32Array,
  at: number,
  count: number,
  ids: Uint32Array,
  idAt: number,
): number {
  let low = 0;
  let high = count;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const difference = u128Compare(words, at + middle * entryWordsLong + entryKeyAt, ids, idAt);
    if (difference === 0) return middle;
    if (difference < 0) low = middle + 1;
    else high = middle;
  }
  return -1;
}
