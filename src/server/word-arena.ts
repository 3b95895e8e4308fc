/**
 * Memory for tables that grow, cut from few large regions. A region's pages are committed by the
 * operating system as they are touched, so its size costs nothing; but every region is external
 * memory to V8, which answers its growth with major garbage collections. One region of 1 GiB is
 * one such collection where slabs of a few megabytes each would be hundreds.
 *
 * Nothing is given back: tables only grow.
 */
import { assert } from "../core/assert.ts";

/** Bytes of a region. */
export const regionSize = 1024 * 1024 * 1024;

/** Pieces start at multiples of it. Bytes. */
const alignment = 4096;

/**
 * @param allocate - Zeroed memory of this many bytes, committed when touched.
 * @returns A function that gives zeroed words, disjoint from all it gave before.
 */
export function wordArena(
  allocate: (sizeBytes: number) => Uint32Array,
  sizeBytes = regionSize,
): (count: number) => Uint32Array {
  let region: Uint32Array | null = null;
  let used = 0;
  return (count) => {
    assert(count > 0, "memory has a size");
    const words = Math.ceil((count * 4) / alignment) * (alignment / 4);
    // What would take much of a region gets memory of its own.
    if (words * 4 > sizeBytes / 4) return allocate(words * 4).subarray(0, count);
    if (region === null || used + words > region.length) {
      region = allocate(sizeBytes);
      used = 0;
    }
    const piece = region.subarray(used, used + count);
    used += words;
    return piece;
  };
}
