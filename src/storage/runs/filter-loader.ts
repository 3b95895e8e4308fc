/**
 * Brings the filters of a checkpoint's runs into memory: from their blocks, and those that an
 * unfinished run has not written yet from the ids themselves.
 */
import { assert } from "../../core/assert.ts";
import { entryKeyAt, filterWords, type RunKernels } from "../../native/sorted-runs/run-kernels.ts";
import type { BlockRequest, BlockSource } from "../block-reader.ts";
import { BlockType, blockHeaderWords } from "../format.ts";
import type { DamagedBlock } from "../options.ts";
import type { IndexesState, RunPart } from "./index-state.ts";
import { blockFilters } from "./options.ts";

export class FilterLoader implements BlockSource {
  private readonly parts: RunPart[] = [];
  private part = 0;
  /** The next of the part's blocks of filters, then of its blocks beyond them. */
  private filterBlock = 0;
  private block = 0;
  private damagedBlocks = 0;
  private firstDamage = "";

  constructor(
    state: IndexesState,
    private readonly kernels: RunKernels,
    private readonly seed: number,
    private readonly onDamaged: (block: DamagedBlock) => void,
  ) {
    for (const index of state.indexes) {
      if (!index.filtered) continue;
      // All that a merge will need, since memory is not given back.
      for (const part of index.runs) part.run.reserve(index.blocksInAll(part));
      this.parts.push(...index.runs);
    }
    this.beginPart(0);
  }

  private beginPart(part: number): void {
    this.part = part;
    this.filterBlock = 0;
    this.block = (this.parts[part]?.filterBlocks ?? 0) * blockFilters;
  }

  next(request: BlockRequest): boolean {
    for (; this.part < this.parts.length; this.beginPart(this.part + 1)) {
      const part = this.parts[this.part]!;
      request.tag = this.part;
      if (this.filterBlock < part.filterBlocks) {
        part.requestFilters(this.filterBlock, request);
        this.filterBlock += 1;
        return true;
      }
      if (this.block < part.blocks) {
        part.requestBlock(this.block, request);
        this.block += 1;
        return true;
      }
    }
    return false;
  }

  received(request: BlockRequest, words: Uint32Array, at: number): void {
    const part = this.parts[request.tag];
    assert(part !== undefined, "a request's tag is the position of its run");
    const { filters, entryWords } = part.run;
    const payload = at + blockHeaderWords;
    const filterAt = request.first * filterWords;
    if (request.type === BlockType.filter) {
      filters.set(words.subarray(payload, payload + request.count * filterWords), filterAt);
      return;
    }
    const { kernels, seed } = this;
    const ids = payload + entryKeyAt;
    kernels.buildFilter(filters, filterAt, words, ids, entryWords, request.count, seed);
  }

  damaged(_request: BlockRequest, block: DamagedBlock): void {
    this.damagedBlocks += 1;
    if (this.damagedBlocks === 1) this.firstDamage = `${block.name}: ${block.reason}`;
    this.onDamaged(block);
  }

  /** After reading: null, or what is missing. */
  result(): string | null {
    if (this.damagedBlocks === 0) return null;
    const others = this.damagedBlocks - 1;
    return `${this.firstDamage}${others > 0 ? ` (and ${others} more)` : ""}.`;
  }
}
