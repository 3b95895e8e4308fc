/**
 * One sorted run: a list of blocks of sorted entries, never changed once it is complete. Its rows
 * are a contiguous range, above those of any older run of its index; for one key, the rows of the
 * runs in the order of age are in row order.
 *
 * In memory lie the references of the blocks, the first entry of each (the *fences*), the last entry
 * of the run, and, where the index has them, the filters: one per block. A checkpoint stores
 * references and fences in a chain of blocks, and filters seven to a block of their own.
 *
 * A run under construction has the same shape: blocks are added at its end (run-builder.ts).
 */
import { assert } from "../../core/assert.ts";
import { filterWords } from "../../native/sorted-runs/run-kernels.ts";
import { Chain } from "../chain.ts";
import { BlockType } from "../format.ts";
import type { Grid } from "../grid.ts";
import { RefList } from "../ref-list.ts";
import type { EntryWords } from "./options.ts";

/** Where a cut went through: the first transfer row and the first burnt id beyond it. */
export interface CutPosition {
  readonly transfers: number;
  readonly failedIds: number;
}

export function sameCut(a: CutPosition, b: CutPosition): boolean {
  return a.transfers === b.transfers && a.failedIds === b.failedIds;
}

export class Run {
  /** Entries in all blocks. Every block but the last has `blockEntries`. */
  entries = 0;
  complete = false;
  /** The blocks of entries, and those of filters. */
  readonly refs = new RefList();
  readonly filterRefs = new RefList();
  /** The first entry of each block; behind them, once there is a block, the last entry of the run. */
  fences: Uint32Array;
  /** The filters of the blocks, one behind the other; empty where the index has none. */
  filters: Uint32Array = new Uint32Array(0);
  /** The blocks that hold this metadata as of the checkpoint frozen last. */
  readonly chain: Chain;
  /** Changed since the metadata was last frozen. */
  changed = true;

  constructor(
    /** Position of the index in `indexFormats`. */
    readonly index: number,
    readonly level: number,
    readonly entryWords: EntryWords,
    readonly blockEntries: number,
    readonly filtered: boolean,
    /** The rows and burnt ids that it covers: from `first` on, below `end`. */
    readonly first: CutPosition,
    readonly end: CutPosition,
    private readonly allocateWords: (count: number) => Uint32Array,
  ) {
    this.fences = new Uint32Array(2 * entryWords);
    this.chain = new Chain(BlockType.runIndex, index);
  }

  get blocks(): number {
    return this.refs.length;
  }

  /** Entries in a block. */
  entriesIn(block: number): number {
    assert(block < this.blocks, "the block is of the run");
    if (block + 1 < this.blocks) return this.blockEntries;
    return this.entries - block * this.blockEntries;
  }

  /** First block whose first entry is above the entry at key[keyAt]; 0 … blocks. */
  fenceAbove(key: Uint32Array, keyAt: number): number {
    let low = 0;
    let high = this.blocks;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.compareFence(middle, key, keyAt) <= 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** As the first entry of `block` (the last entry of the run, for `blocks`) is to that at key[keyAt]. */
  compareFence(block: number, key: Uint32Array, keyAt: number): number {
    const at = block * this.entryWords;
    for (let word = this.entryWords - 1; word >= 0; word -= 1) {
      const difference = this.fences[at + word]! - key[keyAt + word]!;
      if (difference !== 0) return difference;
    }
    return 0;
  }

  /** Room for so many blocks: their fences, the last entry behind them, and their filters. */
  reserve(blocks: number): void {
    const words = (blocks + 1) * this.entryWords;
    if (words > this.fences.length) this.fences = larger(this.fences, words, heapWords);
    if (this.filtered && blocks * filterWords > this.filters.length) {
      this.filters = larger(this.filters, blocks * filterWords, this.allocateWords);
    }
  }

  /**
   * Its blocks are not needed any more. The references stay: a checkpoint that was frozen before may
   * still be writing them out. Returns the memory of the filters, which it does not use any more.
   */
  release(grid: Grid): Uint32Array {
    for (let block = 0; block < this.refs.length; block += 1) {
      grid.freeSet.release(this.refs.address(block));
    }
    for (let block = 0; block < this.filterRefs.length; block += 1) {
      grid.freeSet.release(this.filterRefs.address(block));
    }
    for (let block = 0; block < this.chain.blocks; block += 1) {
      grid.freeSet.release(this.chain.address(block));
    }
    const { filters } = this;
    this.filters = new Uint32Array(0);
    return filters;
  }
}

function heapWords(count: number): Uint32Array {
  return new Uint32Array(count);
}

/** A copy with room for `count` words. */
function larger(
  words: Uint32Array,
  count: number,
  allocateWords: (count: number) => Uint32Array,
): Uint32Array {
  const copy = allocateWords(count);
  copy.set(words);
  return copy;
}
