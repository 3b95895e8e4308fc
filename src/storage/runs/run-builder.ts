/**
 * Adds blocks to the end of a run. The entries of a block stand where `RunWrites` lets it be built;
 * here it gets its address, the run its reference and its fence, and, where the index has them, its
 * filter. Filters are written when they fill a block of their own, the rest with the run's last
 * block. So after each block the run, as far as it goes, is what a checkpoint can store.
 */
import { assert } from "../../core/assert.ts";
import { entryKeyAt, filterWords, type RunKernels } from "../../native/sorted-runs/run-kernels.ts";
import { BlockType } from "../format.ts";
import { blockFilters } from "./options.ts";
import type { Run } from "./run.ts";
import type { RunWrites } from "./run-writes.ts";

/** Blocks that one call of `addBlock` seals at most: of entries, and of filters. */
const sealedMax = 2;

export class RunBuilder {
  constructor(
    readonly writes: RunWrites,
    private readonly kernels: RunKernels,
    private readonly filterSeed: number,
  ) {}

  /** True when memory has room for `addBlock`. */
  hasRoom(): boolean {
    return this.writes.hasRoom(sealedMax);
  }

  /**
   * The next block of `run`: its `count` entries stand at `writes.nextPayloadAt`, in order.
   * @param last - It is the last one of the run: alone may be shorter than the others.
   */
  addBlock(run: Run, count: number, last: boolean, op: number): void {
    assert(!run.complete, "a complete run does not change");
    assert(count > 0 && count <= run.blockEntries, "a block has entries");
    assert(last || count === run.blockEntries, "only the last block of a run is short");
    const { writes } = this;
    const { entryWords } = run;
    const words = writes.buffer.words;
    const payloadAt = writes.nextPayloadAt();
    const block = run.blocks;
    run.reserve(block + 1);
    const { fences } = run;
    const lastAt = payloadAt + (count - 1) * entryWords;
    assert(block === 0 || run.compareFence(block, words, payloadAt) < 0, "entries are in order");
    for (let word = 0; word < entryWords; word += 1) {
      fences[block * entryWords + word] = words[payloadAt + word]!;
      fences[(block + 1) * entryWords + word] = words[lastAt + word]!;
    }
    if (run.filtered) {
      this.kernels.buildFilter(
        run.filters,
        block * filterWords,
        words,
        payloadAt + entryKeyAt,
        entryWords,
        count,
        this.filterSeed,
      );
    }
    const address = writes.seal(BlockType.run, run.index, op, block, count, count * entryWords);
    run.refs.push(address, words, writes.sealedAt);
    run.entries += count;
    run.changed = true;
    if (!run.filtered) return;
    if (last || run.blocks % blockFilters === 0) this.addFilters(run, op);
  }

  /** Writes the filters that are in no block yet. */
  private addFilters(run: Run, op: number): void {
    const { writes } = this;
    const first = run.filterRefs.length * blockFilters;
    const count = run.blocks - first;
    const usedWords = count * filterWords;
    const from = first * filterWords;
    writes.buffer.words.set(run.filters.subarray(from, from + usedWords), writes.nextPayloadAt());
    const address = writes.seal(BlockType.filter, run.index, op, first, count, usedWords);
    run.filterRefs.push(address, writes.buffer.words, writes.sealedAt);
  }
}

/** Blocks that a run has, those of filters included, when `blocks` of `total` are written. */
export function blocksWithFilters(blocks: number, total: number, filtered: boolean): number {
  if (!filtered) return blocks;
  const filters = blocks / blockFilters;
  return blocks + (blocks === total ? Math.ceil(filters) : Math.floor(filters));
}
