/**
 * 128-bit and 64-bit unsigned integers as little-endian 32-bit words inside a Uint32Array. No
 * bigint and no objects: an integer is (array, index of its lowest word). Numbers returned are
 * small: a carry, a borrow or a comparison.
 *
 * `>>> 0` after an addition keeps V8 on unsigned 32-bit arithmetic.
 */

/** target := a + b. Returns the carry: 1 is overflow. `target` may alias `a` or `b`. */
export function u128Add(
  target: Uint32Array,
  targetAt: number,
  a: Uint32Array,
  aAt: number,
  b: Uint32Array,
  bAt: number,
): number {
  const s0 = a[aAt]! + b[bAt]!;
  const s1 = a[aAt + 1]! + b[bAt + 1]! + (s0 > 0xffff_ffff ? 1 : 0);
  const s2 = a[aAt + 2]! + b[bAt + 2]! + (s1 > 0xffff_ffff ? 1 : 0);
  const s3 = a[aAt + 3]! + b[bAt + 3]! + (s2 > 0xffff_ffff ? 1 : 0);
  target[targetAt] = s0;
  target[targetAt + 1] = s1;
  target[targetAt + 2] = s2;
  target[targetAt + 3] = s3;
  return s3 > 0xffff_ffff ? 1 : 0;
}

/** target := a − b. Returns the borrow: 1 means that b was larger. `target` may alias. */
export function u128Subtract(
  target: Uint32Array,
  targetAt: number,
  a: Uint32Array,
  aAt: number,
  b: Uint32Array,
  bAt: number,
): number {
  const d0 = a[aAt]! - b[bAt]!;
  const d1 = a[aAt + 1]! - b[bAt + 1]! - (d0 < 0 ? 1 : 0);
  const d2 = a[aAt + 2]! - b[bAt + 2]! - (d1 < 0 ? 1 : 0);
  const d3 = a[aAt + 3]! - b[bAt + 3]! - (d2 < 0 ? 1 : 0);
  target[targetAt] = d0;
  target[targetAt + 1] = d1;
  target[targetAt + 2] = d2;
  target[targetAt + 3] = d3;
  return d3 < 0 ? 1 : 0;
}

/** Negative, zero or positive as a is below, equal to or above b. */
export function u128Compare(a: Uint32Array, aAt: number, b: Uint32Array, bAt: number): number {
  if (a[aAt + 3] !== b[bAt + 3]) return a[aAt + 3]! < b[bAt + 3]! ? -1 : 1;
  if (a[aAt + 2] !== b[bAt + 2]) return a[aAt + 2]! < b[bAt + 2]! ? -1 : 1;
  if (a[aAt + 1] !== b[bAt + 1]) return a[aAt + 1]! < b[bAt + 1]! ? -1 : 1;
  if (a[aAt] !== b[bAt]) return a[aAt]! < b[bAt]! ? -1 : 1;
  return 0;
}

export function u128Equal(a: Uint32Array, aAt: number, b: Uint32Array, bAt: number): boolean {
  return (
    a[aAt] === b[bAt] &&
    a[aAt + 1] === b[bAt + 1] &&
    a[aAt + 2] === b[bAt + 2] &&
    a[aAt + 3] === b[bAt + 3]
  );
}

export function u128IsZero(a: Uint32Array, at: number): boolean {
  return (a[at]! | a[at + 1]! | a[at + 2]! | a[at + 3]!) === 0;
}

/** True for 2^128 − 1. */
export function u128IsMax(a: Uint32Array, at: number): boolean {
  return (a[at]! & a[at + 1]! & a[at + 2]! & a[at + 3]!) === -1;
}

export function u128Copy(target: Uint32Array, targetAt: number, a: Uint32Array, aAt: number): void {
  target[targetAt] = a[aAt]!;
  target[targetAt + 1] = a[aAt + 1]!;
  target[targetAt + 2] = a[aAt + 2]!;
  target[targetAt + 3] = a[aAt + 3]!;
}

/** True when a + b does not fit 128 bits. */
export function u128SumOverflows(
  a: Uint32Array,
  aAt: number,
  b: Uint32Array,
  bAt: number,
): boolean {
  const s0 = a[aAt]! + b[bAt]!;
  const s1 = a[aAt + 1]! + b[bAt + 1]! + (s0 > 0xffff_ffff ? 1 : 0);
  const s2 = a[aAt + 2]! + b[bAt + 2]! + (s1 > 0xffff_ffff ? 1 : 0);
  const s3 = a[aAt + 3]! + b[bAt + 3]! + (s2 > 0xffff_ffff ? 1 : 0);
  return s3 > 0xffff_ffff;
}

/** Negative, zero or positive as the u64 (aLow, aHigh) is below, equal to or above (bLow, bHigh). */
export function u64Compare(aLow: number, aHigh: number, bLow: number, bHigh: number): number {
  if (aHigh !== bHigh) return aHigh < bHigh ? -1 : 1;
  if (aLow !== bLow) return aLow < bLow ? -1 : 1;
  return 0;
}

/** The same for the u64s at a[aAt] and b[bAt]. */
export function u64CompareAt(a: Uint32Array, aAt: number, b: Uint32Array, bAt: number): number {
  if (a[aAt + 1] !== b[bAt + 1]) return a[aAt + 1]! < b[bAt + 1]! ? -1 : 1;
  if (a[aAt] !== b[bAt]) return a[aAt]! < b[bAt]! ? -1 : 1;
  return 0;
}

/**
 * target := a + delta, where delta is a non-negative integer below 2^53. Returns the carry: 1 is
 * overflow of 64 bits.
 */
export function u64AddNumber(
  target: Uint32Array,
  targetAt: number,
  aLow: number,
  aHigh: number,
  delta: number,
): number {
  const deltaHigh = Math.floor(delta / 0x1_0000_0000);
  const low = aLow + (delta - deltaHigh * 0x1_0000_0000);
  const high = aHigh + deltaHigh + (low > 0xffff_ffff ? 1 : 0);
  target[targetAt] = low;
  target[targetAt + 1] = high;
  return high > 0xffff_ffff ? 1 : 0;
}

/** Reads a u64 that is known to be below 2^53: ops, offsets, sizes; never nanoseconds. */
export function u64ReadNumber(words: Uint32Array, at: number): number {
  return words[at + 1]! * 0x1_0000_0000 + words[at]!;
}

/** Writes a non-negative integer below 2^53. */
export function u64WriteNumber(words: Uint32Array, at: number, value: number): void {
  words[at] = value % 0x1_0000_0000;
  words[at + 1] = Math.floor(value / 0x1_0000_0000);
}
