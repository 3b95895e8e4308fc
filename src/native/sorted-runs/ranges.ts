/**
 * The checks of the TypeScript twins' arguments: the same that the addon makes. A typed array
 * ignores what is written outside of it, so nothing would be noticed without them.
 */
import { assert } from "../../core/assert.ts";
import { entryWordsLong, entryWordsShort } from "./run-kernels.ts";

/** Asserts that words[at … at + count · size) exist. */
export function assertRange(words: Uint32Array, at: number, count: number, size: number): void {
  assert(Number.isSafeInteger(at) && at >= 0, "a position is a whole number");
  assert(Number.isSafeInteger(count) && count >= 0, "a count is a whole number");
  assert(at + count * size <= words.length, "a range lies in its array");
}

export function assertEntryWords(entryWords: number): void {
  assert(
    entryWords === entryWordsShort || entryWords === entryWordsLong,
    "an entry has four or six words",
  );
}

export function assertSeed(seed: number): void {
  assert(seed >>> 0 === seed, "a seed is a word");
}

/** Asserts that a[aAt … aAt + aLength) and b[bAt … bAt + bLength) have no word in common. */
export function assertDisjoint(
  a: Uint32Array,
  aAt: number,
  aLength: number,
  b: Uint32Array,
  bAt: number,
  bLength: number,
): void {
  if (a.buffer !== b.buffer || aLength === 0 || bLength === 0) return;
  const aBegin = a.byteOffset + aAt * 4;
  const bBegin = b.byteOffset + bAt * 4;
  assert(
    aBegin + aLength * 4 <= bBegin || bBegin + bLength * 4 <= aBegin,
    "what is written does not overlap what is read",
  );
}
