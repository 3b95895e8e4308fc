/**
 * The checksum of headers, bodies and everything on disk: AEGIS-128L as a 128-bit MAC with zero
 * key and nonce. It detects rot and misdirection; it does not authenticate.
 *
 * The addon computes it with AES instructions; without the addon its TypeScript twin does.
 */
import { loadAddon } from "./addon.ts";
import { checksumPortable } from "./checksum-portable.ts";

export { checksumPortable };

/** Bytes of a checksum. */
export const checksumSize = 16;

export type ChecksumImplementation = "native" | "portable";

type ChecksumFunction = typeof checksumPortable;

let implementation: ChecksumImplementation = "portable";
let compute: ChecksumFunction = checksumPortable;
useChecksumImplementation("native");

/**
 * For tests and the simulator; the addon is chosen by itself where it loads. Returns false when
 * the wanted one is not there, and changes nothing then.
 */
export function useChecksumImplementation(wanted: ChecksumImplementation): boolean {
  const addon = wanted === "native" ? loadAddon() : null;
  if (wanted === "native" && addon === null) return false;
  implementation = wanted;
  compute = addon === null ? checksumPortable : addon.checksum;
  return true;
}

/** The one in use, for the log line at start. */
export function checksumImplementation(): ChecksumImplementation {
  return implementation;
}

/**
 * Writes the checksum of source[at … at + length) into target[targetAt … targetAt + 16). The
 * target may lie in the same array as the source.
 */
export function checksum(
  target: Uint8Array,
  targetAt: number,
  source: Uint8Array,
  at: number,
  length: number,
): void {
  compute(target, targetAt, source, at, length);
}

const scratch = new Uint8Array(checksumSize);

/** True when expected[expectedAt … expectedAt + 16) is the checksum of the source range. */
export function checksumMatches(
  expected: Uint8Array,
  expectedAt: number,
  source: Uint8Array,
  at: number,
  length: number,
): boolean {
  compute(scratch, 0, source, at, length);
  let difference = 0;
  for (let index = 0; index < checksumSize; index += 1) {
    difference |= scratch[index] ^ expected[expectedAt + index];
  }
  return difference === 0;
}

/** The checksum of no bytes: what an empty body carries. */
export const checksumOfEmpty: Uint8Array = new Uint8Array(checksumSize);
checksumPortable(checksumOfEmpty, 0, checksumOfEmpty, 0, 0);
