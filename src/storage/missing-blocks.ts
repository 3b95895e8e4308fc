/**
 * The blocks that opening a checkpoint leaves alone: those of rows and of entries. After a state
 * sync those of the ops that the replica did not execute may be missing. Reading them with repairs
 * brings them here, many at a time.
 *
 * What the replica had already is not read, however large it is. The blocks of a table, or of a run,
 * are sealed in order, each by an op that its header names, and what the checkpoint refers to was not
 * let go before; so the blocks of ops up to the replica's own last complete checkpoint, which were
 * durable with it, come before all others:
 *
 *   ops …  ≤ own checkpoint        │ later
 *          durable here, not read  │ read, or fetched
 *                                  first
 *
 * The border is found by halving, with one block read per step. Should a block before it have rotted
 * since, who reads it has it repaired, and so has the scrubber, as at any other time.
 */
import { assert } from "../core/assert.ts";
import { u64ReadNumber } from "../core/u128.ts";
import type { BlockRequest, BlockSource } from "./block-reader.ts";
import type { AppendPart, CheckpointState } from "./checkpoint-state.ts";
import { BlockType, blockLayout } from "./format.ts";
import type { RunPart } from "./runs/index-state.ts";

/** Blocks that were sealed in this order. */
interface BlockList {
  readonly blocks: number;
  request(block: number, request: BlockRequest): void;
}

export class MissingBlocks implements BlockSource {
  private readonly lists: BlockList[];
  private list = 0;
  /** While the border in the list is sought: it lies in [low, high]. */
  private low = 0;
  private high = 0;
  private seeking = false;
  /** The block whose op is being looked at, or −1. */
  private probe = -1;
  /** The next block to read, once the border is known. */
  private index = 0;

  /** @param opMin - The first op of which blocks may be missing. */
  constructor(
    state: CheckpointState,
    private readonly opMin: number,
  ) {
    this.lists = state.append.map(tableBlocks);
    for (const index of state.indexes.indexes) this.lists.push(...index.runs.map(runBlocks));
    this.beginList(0);
  }

  next(request: BlockRequest): boolean {
    for (; this.list < this.lists.length; this.beginList(this.list + 1)) {
      const list = this.lists[this.list]!;
      request.tag = this.list;
      if (this.seeking && this.low < this.high) {
        if (this.probe >= 0) return false; // Its op decides what is read next.
        this.probe = Math.floor((this.low + this.high) / 2);
        list.request(this.probe, request);
        return true;
      }
      if (this.seeking) {
        this.seeking = false;
        this.index = this.low;
      }
      if (this.index < list.blocks) {
        list.request(this.index, request);
        this.index += 1;
        return true;
      }
    }
    return false;
  }

  private beginList(list: number): void {
    this.list = list;
    this.seeking = this.opMin > 1;
    this.low = 0;
    this.high = this.lists[list]?.blocks ?? 0;
    this.index = 0;
  }

  /** It is where it belongs, or on its way there. */
  received(request: BlockRequest, words: Uint32Array, at: number): void {
    // Blocks of the list before may still arrive.
    if (this.probe < 0 || request.tag !== this.list) return;
    const { probe } = this;
    this.probe = -1;
    if (u64ReadNumber(words, at + blockLayout.word.op) < this.opMin) this.low = probe + 1;
    else this.high = probe;
  }

  damaged(): void {
    assert(false, "the reader has blocks repaired");
  }
}

function tableBlocks(part: AppendPart): BlockList {
  return {
    blocks: part.fullBlocks,
    request(block, request) {
      part.refs.copy(block, request.ref, 0);
      request.type = BlockType.rows;
      request.table = part.id;
      request.first = block * part.rowsPerBlock;
      request.count = part.rowsPerBlock;
    },
  };
}

function runBlocks(part: RunPart): BlockList {
  return { blocks: part.blocks, request: (block, request) => part.requestBlock(block, request) };
}
