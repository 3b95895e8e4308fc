/**
 * Reads the metadata of all runs of a checkpoint: many chains side by side, since most have a
 * single block.
 */
import { assert } from "../../core/assert.ts";
import type { BlockRequest, BlockSource } from "../block-reader.ts";
import type { Chain } from "../chain.ts";
import type { DamagedBlock } from "../options.ts";
import type { RunEntry } from "./index-manifest.ts";
import { decodeRunMetadata } from "./run-metadata.ts";

export class RunChains implements BlockSource {
  /** False: an entry contradicts itself, and nothing may be read. */
  readonly prepared: boolean;
  /** Entries whose chains may have a next block to read. */
  private readonly ready: number[] = [];

  constructor(
    private readonly entries: readonly RunEntry[],
    /** Blocks in use: no run has more. */
    blocksMax: number,
    onDamaged: (block: DamagedBlock) => void,
  ) {
    const fits = ({ part, blocks }: RunEntry): boolean =>
      part.blocks + part.filterBlocks + blocks <= blocksMax;
    this.prepared = entries.every(fits);
    if (!this.prepared) return;
    for (const [index, { part, length, blocks, head }] of entries.entries()) {
      const { chain } = part.run;
      if (!chain.prepareRead(length, blocks, head, 0, onDamaged)) this.prepared = false;
      this.ready.push(index);
    }
  }

  next(request: BlockRequest): boolean {
    for (let index = this.ready.pop(); index !== undefined; index = this.ready.pop()) {
      if (!this.entries[index]!.part.run.chain.next(request)) continue;
      request.tag = index;
      return true;
    }
    return false;
  }

  received(request: BlockRequest, words: Uint32Array, at: number): void {
    this.chainOf(request).received(request, words, at);
    this.ready.push(request.tag);
  }

  damaged(request: BlockRequest, block: DamagedBlock): void {
    this.chainOf(request).damaged(request, block);
  }

  private chainOf(request: BlockRequest): Chain {
    const entry = this.entries[request.tag];
    assert(entry !== undefined, "a request's tag is the position of its run");
    return entry.part.run.chain;
  }

  /** Takes over what came whole. False: something did not, or is not what a writer writes. */
  decode(): boolean {
    let sound = true;
    for (const { part } of this.entries) {
      if (!part.run.chain.complete || !decodeRunMetadata(part)) sound = false;
    }
    return sound;
  }
}
