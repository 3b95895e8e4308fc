/**
 * Memory for the indexes. What a hash table leaves behind when it has grown is cut into the small
 * pieces that other indexes ask for all the time, so that nothing lies idle even where the memory
 * itself can not be given back.
 */
import { assert } from "../../core/assert.ts";
import type { AllocateWords } from "./slabs.ts";

/** Larger pieces are not worth the zeroing. Words. */
const pieceMax = 2 ** 18;

export class Recycler {
  /** Memory given back, the last of it in use from `used` on. */
  private readonly free: Uint32Array[] = [];
  private used = 0;

  constructor(private readonly source: AllocateWords) {}

  /** Zeroed memory. */
  readonly allocate: AllocateWords = (count) => {
    assert(count > 0, "memory has a size");
    if (count <= pieceMax) {
      while (this.free.length > 0) {
        const region = this.free[this.free.length - 1]!;
        if (region.length - this.used >= count) {
          const piece = region.subarray(this.used, this.used + count);
          this.used += count;
          return piece.fill(0);
        }
        // What is left is too small for this piece, and for most.
        this.free.pop();
        this.used = 0;
      }
    }
    return this.source(count);
  };

  /** Takes back memory that nothing refers to any more. */
  give(memory: Uint32Array): void {
    if (memory.length < pieceMax) return;
    // The region in use stays the last one.
    this.free.unshift(memory);
  }
}
