/** Helpers of the wire tests: aligned memory, and words of numbers for people. */
import { readFileSync } from "node:fs";
import type { IoBuffer } from "../../src/io/io.ts";

/** A frame with both views on the same memory. */
export interface Frame {
  readonly bytes: Uint8Array;
  readonly words: Uint32Array;
}

/** Zeroed memory of `size` bytes, rounded up to words. */
export function frameOf(size: number): Frame {
  const memory = new ArrayBuffer(Math.ceil(size / 4) * 4);
  return { bytes: new Uint8Array(memory, 0, size), words: new Uint32Array(memory) };
}

/** A copy whose memory is aligned. */
export function frameFrom(source: Uint8Array): Frame {
  const result = frameOf(source.length);
  result.bytes.set(source);
  return result;
}

let bufferId = 0;

/** Plain memory in place of a backend's. */
export function allocate(sizeBytes: number): IoBuffer {
  const memory = new ArrayBuffer(sizeBytes);
  bufferId += 1;
  return {
    sizeBytes,
    bytes: new Uint8Array(memory),
    words: new Uint32Array(memory),
    id: bufferId,
  };
}

export function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}

export function u128(value: bigint): Uint32Array {
  return Uint32Array.from([0n, 32n, 64n, 96n], (shift) => Number((value >> shift) & 0xffff_ffffn));
}

export interface Vector {
  readonly file: string;
  readonly group: string;
  readonly size: number;
  readonly command: number;
  readonly operation: number | null;
  readonly checksum_hex: string;
  readonly checksum_body_hex: string;
}

const folder = new URL("../vectors/", import.meta.url);

export const vectors: readonly Vector[] = JSON.parse(
  readFileSync(new URL("index.json", folder), "utf8"),
);

export function readVector(file: string): Frame {
  return frameFrom(readFileSync(new URL(file, folder)));
}

/** The vector whose name begins so, such as "A-03". */
export function vectorNamed(prefix: string): Frame {
  const vector = vectors.find((candidate) => candidate.file.startsWith(prefix));
  if (vector === undefined) throw new Error(`no vector ${prefix}`);
  return readVector(vector.file);
}
