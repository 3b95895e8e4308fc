/** Entries of sorted runs for tests: drawn in shapes that occur and in hostile ones; as bigints. */
import { Prng } from "../../src/core/prng.ts";
import { nativeRunKernels, portableRunKernels } from "../../src/native/sorted-runs/kernels.ts";
import { entryKeyAt, type RunKernels } from "../../src/native/sorted-runs/run-kernels.ts";

function required(kernels: RunKernels | null): RunKernels {
  if (kernels === null) throw new Error("the addon is built where the tests run");
  return kernels;
}

/** Both implementations, for describe.each. */
export const implementations: readonly (readonly [string, RunKernels])[] = [
  ["portable", portableRunKernels],
  ["native", required(nativeRunKernels())],
];

export const portable = portableRunKernels;
export const native = required(nativeRunKernels());

export const shapes = [
  "random",
  "sequential",
  "sequential backwards",
  "time-ordered ids",
  "few keys, rows in order",
  "one key, rows in any order",
  "equal",
  "a bit at a time",
  "highest word only",
] as const;

export type Shape = (typeof shapes)[number];

/** `count` entries of a shape, from word `at` on; what lies before is 7s, and four words behind. */
export function drawEntries(
  shape: Shape,
  count: number,
  entryWords: number,
  seed: number,
  at = 0,
): Uint32Array {
  const random = new Prng(seed);
  const word = (): number => random.below(2 ** 32);
  const words = new Uint32Array(at + count * entryWords + 4).fill(7);
  for (let index = 0; index < count; index += 1) {
    const entry = words.subarray(at + index * entryWords, at + (index + 1) * entryWords).fill(0);
    const key = entry.subarray(entryKeyAt);
    entry[0] = index;
    if (shape === "random") for (let part = 0; part < entryWords; part += 1) entry[part] = word();
    if (shape === "sequential") key[0] = index;
    if (shape === "sequential backwards") key[0] = count - index;
    if (shape === "time-ordered ids") {
      for (let part = 0; part < key.length; part += 1) key[part] = word();
      key[key.length - 1] = Math.floor((index + random.below(20)) / 50);
    }
    if (shape === "few keys, rows in order") key[0] = random.below(5);
    if (shape === "one key, rows in any order") entry[0] = word();
    if (shape === "equal") entry[0] = 9;
    if (shape === "a bit at a time") {
      entry[0] = 0;
      const bit = random.below(entryWords * 32);
      entry[bit >>> 5] = 2 ** (bit & 31);
    }
    if (shape === "highest word only") key[key.length - 1] = word();
  }
  return words;
}

/** The entry at words[at], as one integer. */
export function entryAt(words: Uint32Array, at: number, entryWords: number): bigint {
  let value = 0n;
  for (let part = entryWords - 1; part >= 0; part -= 1) {
    value = (value << 32n) | BigInt(words[at + part]);
  }
  return value;
}

export function entriesOf(
  words: Uint32Array,
  at: number,
  count: number,
  entryWords: number,
): bigint[] {
  return Array.from({ length: count }, (_, index) =>
    entryAt(words, at + index * entryWords, entryWords),
  );
}

export function ascending(values: readonly bigint[]): bigint[] {
  return [...values].sort((a, b) => (a < b ? -1 : a > b ? 1 : 0));
}

/** Writes an integer as `length` words. */
export function putWords(words: Uint32Array, at: number, value: bigint, length: number): void {
  for (let part = 0; part < length; part += 1) {
    words[at + part] = Number((value >> BigInt(part * 32)) & 0xffff_ffffn);
  }
}
