/**
 * Blocks of runs for readers: those of the cache, those that are not on disk yet, and those of the
 * disk, many at a time. What is not on disk yet is copied from the queue of writes into the cache:
 * so a block that was found is in the cache, whoever wrote it and when.
 *
 * A block stays in the cache until the next one is looked for or read. Who goes on with it later
 * asks `holds` first.
 */
import { assert } from "../../core/assert.ts";
import type { BlockCache } from "../block-cache.ts";
import type { BlockRequest } from "../block-reader.ts";
import type { CachedReader, CachedSource } from "../cached-reader.ts";
import { BlockType, blockHeaderWords, blockWords, refWords } from "../format.ts";
import type { Grid } from "../grid.ts";
import type { Run } from "./run.ts";
import type { RunWrites } from "./run-writes.ts";

export class BlockFetcher {
  private readonly ref = new Uint32Array(refWords);

  constructor(
    private readonly grid: Grid,
    private readonly cache: BlockCache,
    private readonly reader: CachedReader,
    private readonly writes: RunWrites,
  ) {}

  /** The cache slot of a block of `run`, or −1 if it has to be read from disk. */
  find(run: Run, block: number): number {
    run.refs.copy(block, this.ref, 0);
    const address = this.ref[0]!;
    let slot = this.cache.find(address);
    if (slot < 0) {
      if (!this.grid.isUnwritten(address)) return -1;
      slot = this.copyUnwritten(address);
    }
    const { words } = this.cache.piece(slot);
    const at = this.cache.wordAt(slot);
    for (let word = 1; word < refWords; word += 1) {
      assert(
        words[at + word - 1] === this.ref[word],
        "the cache has the block that is referred to",
      );
    }
    return slot;
  }

  private copyUnwritten(address: number): number {
    const from = this.writes.find(address);
    assert(from >= 0, "what is not on disk is in memory");
    const slot = this.cache.take();
    const source = this.writes.buffer.words.subarray(from, from + blockWords);
    this.cache.piece(slot).words.set(source, this.cache.wordAt(slot));
    this.cache.fill(slot, address);
    return slot;
  }

  /** True while `slot`, which `find` returned, still has that block of `run`. */
  holds(slot: number, run: Run, block: number): boolean {
    return this.cache.holds(slot, run.refs.address(block));
  }

  /** The memory of a slot's block, and where in it the entries begin. */
  words(slot: number): Uint32Array {
    return this.cache.piece(slot).words;
  }

  entriesAt(slot: number): number {
    return this.cache.wordAt(slot) + blockHeaderWords;
  }

  /** Reads the blocks that `source` names, which `find` did not have: see `CachedReader.run`. */
  read(source: CachedSource, onDone: () => void): void {
    this.reader.run(source, onDone);
  }
}

/** Asks for a block of a run. */
export function requestBlock(request: BlockRequest, run: Run, block: number): void {
  run.refs.copy(block, request.ref, 0);
  request.type = BlockType.run;
  request.table = run.index;
  request.first = block;
  request.count = 1;
}
