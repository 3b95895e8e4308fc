/**
 * References (address, checksum) by index, in chunks that each are the payload of one index block:
 * what is in memory is what is written. For append tables the index is the block number and the
 * list only grows; for paged tables it is the page number, the first word is the page's unit, and
 * entries change at a freeze. The last chunk grows with its entries: most runs have few blocks.
 */
import { assert } from "../core/assert.ts";
import { indexRefs, payloadWords, refWords } from "./format.ts";

const chunkWordsMin = 16 * refWords;
const noChunk = new Uint32Array(0);

export class RefList {
  readonly chunks: Uint32Array[] = [];
  length = 0;

  push(address: number, checksumWords: Uint32Array, checksumAt: number): void {
    const index = this.length;
    this.extend(index + 1);
    this.set(index, address, checksumWords, checksumAt);
  }

  /** Adds zeroed entries up to `length`. */
  extend(length: number): void {
    if (length <= this.length) return;
    this.length = length;
    for (let first = this.firstOfLast(); first < length; first += indexRefs) {
      const chunk = first / indexRefs;
      const words = Math.min(length - first, indexRefs) * refWords;
      const before = this.chunks[chunk] ?? noChunk;
      if (words <= before.length) continue;
      const larger = new Uint32Array(
        Math.min(payloadWords, Math.max(words, 2 * before.length, chunkWordsMin)),
      );
      larger.set(before);
      this.chunks[chunk] = larger;
    }
  }

  /** The first entry of the last chunk. */
  private firstOfLast(): number {
    return Math.max(0, this.chunks.length - 1) * indexRefs;
  }

  set(index: number, address: number, checksumWords: Uint32Array, checksumAt: number): void {
    assert(index < this.length, "the entry exists");
    const chunkIndex = Math.floor(index / indexRefs);
    const chunk = this.chunks[chunkIndex]!;
    const at = (index - chunkIndex * indexRefs) * refWords;
    chunk[at] = address;
    chunk[at + 1] = checksumWords[checksumAt]!;
    chunk[at + 2] = checksumWords[checksumAt + 1]!;
    chunk[at + 3] = checksumWords[checksumAt + 2]!;
    chunk[at + 4] = checksumWords[checksumAt + 3]!;
  }

  /** First word of an entry: an address, or a unit. */
  address(index: number): number {
    assert(index < this.length, "the entry exists");
    const chunk = Math.floor(index / indexRefs);
    return this.chunks[chunk]![(index - chunk * indexRefs) * refWords]!;
  }

  /** Copies an entry's five words. */
  copy(index: number, target: Uint32Array, targetAt: number): void {
    assert(index < this.length, "the entry exists");
    const chunkIndex = Math.floor(index / indexRefs);
    const chunk = this.chunks[chunkIndex]!;
    const at = (index - chunkIndex * indexRefs) * refWords;
    for (let word = 0; word < refWords; word += 1) target[targetAt + word] = chunk[at + word]!;
  }
}
