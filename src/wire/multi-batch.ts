/**
 * The multi-batch encoding (protocol/operations.md §2): the elements of n sub-batches back to
 * back, then a trailer, read from its end, that says how many elements each has:
 *
 *     body    = elements of 0 ‖ … ‖ elements of n−1 ‖ trailer
 *     trailer = 0xFF filler ‖ count[n−1] ‖ … ‖ count[0] ‖ n        (u16 each)
 *
 * rounded up to whole elements. Functions over bytes and offsets; nothing is allocated. A body is
 * [at, at + length) of an array and may start anywhere.
 */
import { assert } from "../core/assert.ts";

/** 65,535 would read as filler. */
export const subBatchesMax = 65_534;

/** Bytes of the trailer of `subBatches` sub-batches of elements of `elementSize` bytes. */
export function multiBatchTrailerSize(elementSize: number, subBatches: number): number {
  assert(elementSize >= 2, "elements are at least as large as a count");
  assert(elementSize % 2 === 0, "counts after elements stay aligned");
  return Math.ceil((2 * subBatches + 2) / elementSize) * elementSize;
}

/**
 * Checks a whole body. Nothing else may be asked about a body that was not found valid.
 * @returns The number of sub-batches, or 0 for a malformed body.
 */
export function multiBatchCheck(
  bytes: Uint8Array,
  at: number,
  length: number,
  elementSize: number,
): number {
  if (length < 2) return 0;
  const end = at + length;
  assert(end <= bytes.length, "the body lies inside its array");
  const subBatches = u16(bytes, end - 2);
  if (subBatches === 0 || subBatches > subBatchesMax) return 0;
  const trailerSize = multiBatchTrailerSize(elementSize, subBatches);
  if (trailerSize > length) return 0;
  const countsAt = end - 2 - 2 * subBatches;
  for (let filler = end - trailerSize; filler < countsAt; filler += 1) {
    if (bytes[filler] !== 0xff) return 0;
  }
  let elements = 0;
  for (let count = countsAt; count < end - 2; count += 2) elements += u16(bytes, count);
  if (elements * elementSize + trailerSize !== length) return 0;
  return subBatches;
}

/** Number of sub-batches of a valid body. */
export function multiBatchCount(bytes: Uint8Array, at: number, length: number): number {
  return u16(bytes, at + length - 2);
}

/** Number of elements of sub-batch `index` of a valid body. */
export function multiBatchElements(
  bytes: Uint8Array,
  at: number,
  length: number,
  index: number,
): number {
  return u16(bytes, at + length - 4 - 2 * index);
}

/** Number of elements of all sub-batches of a valid body together. */
export function multiBatchElementsTotal(
  bytes: Uint8Array,
  at: number,
  length: number,
  elementSize: number,
): number {
  const subBatches = u16(bytes, at + length - 2);
  return (length - multiBatchTrailerSize(elementSize, subBatches)) / elementSize;
}

/**
 * Ends a body: writes the trailer after the elements.
 * @param at - Start of the body; its elements are [at, at + elementsSize).
 * @param counts - Elements of sub-batch i in counts[i], for i below `subBatches`.
 * @returns The length of the whole body.
 */
export function multiBatchFinish(
  bytes: Uint8Array,
  at: number,
  elementsSize: number,
  elementSize: number,
  counts: Uint16Array | Uint32Array,
  subBatches: number,
): number {
  assert(subBatches >= 1, "a body has a sub-batch");
  assert(subBatches <= subBatchesMax, "65,535 would read as filler");
  const length = elementsSize + multiBatchTrailerSize(elementSize, subBatches);
  const end = at + length;
  assert(end <= bytes.length, "the trailer fits the array");
  let elements = 0;
  let countAt = end - 2;
  for (let index = 0; index < subBatches; index += 1) {
    const count = counts[index]!;
    assert(count <= 0xffff, "a count is 16 bits");
    elements += count;
    countAt -= 2;
    bytes[countAt] = count & 0xff;
    bytes[countAt + 1] = count >>> 8;
  }
  assert(elements * elementSize === elementsSize, "the counts are those of the elements");
  bytes[end - 2] = subBatches & 0xff;
  bytes[end - 1] = subBatches >>> 8;
  bytes.fill(0xff, at + elementsSize, countAt);
  return length;
}

function u16(bytes: Uint8Array, at: number): number {
  return bytes[at]! | (bytes[at + 1]! << 8);
}
