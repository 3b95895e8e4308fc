/**
 * Reads blocks from disk into the cache, many at a time: those that its source names, one after the
 * other. One source at a time; a run allocates nothing. A damaged block is waited for while another
 * replica has it; otherwise the run stays open for ever, and its owner stops the replica.
 */
import { assert } from "../core/assert.ts";
import { blockSize } from "../core/limits.ts";
import { Completion, Errno } from "../io/io.ts";
import type { BlockCache } from "./block-cache.ts";
import { BlockRequest, damagedBlock, readFailure } from "./block-reader.ts";
import { RepairWaiter } from "./block-repairs.ts";
import type { Grid } from "./grid.ts";
import type { DamagedBlock } from "./options.ts";

/** Blocks read at the same time. */
export const cachedReadsMax = 32;

export interface CachedSource {
  /** Fills in the next block to read, which is on disk and not in the cache. False: no more. */
  next(request: BlockRequest): boolean;
  /** A verified block at words[at …). Valid inside the call only. */
  received(request: BlockRequest, words: Uint32Array, at: number): void;
}

class Read {
  readonly request = new BlockRequest();
  readonly completion: Completion;
  readonly waiter: RepairWaiter;
  cacheSlot = 0;

  constructor(reader: CachedReader) {
    this.completion = new Completion(() => reader.readDone(this));
    this.waiter = new RepairWaiter(() => reader.arrived(this));
  }
}

export class CachedReader {
  private readonly idle: Read[] = [];
  private source: CachedSource | null = null;
  private onDone: (() => void) | null = null;

  constructor(
    private readonly grid: Grid,
    private readonly cache: BlockCache,
    private readonly onDamaged: (block: DamagedBlock) => void,
  ) {
    assert(cache.slots >= cachedReadsMax, "every read has a cache slot");
    for (let index = 0; index < cachedReadsMax; index += 1) this.idle.push(new Read(this));
  }

  /** `source` has a block to read. `onDone` is called when all were received, not from inside. */
  run(source: CachedSource, onDone: () => void): void {
    assert(this.source === null, "one source at a time");
    this.source = source;
    this.onDone = onDone;
    this.startReads();
    assert(this.idle.length < cachedReadsMax, "a block is read");
  }

  private startReads(): void {
    const source = this.source;
    assert(source !== null, "a running reader has a source");
    while (this.idle.length > 0) {
      const read = this.idle[this.idle.length - 1]!;
      if (!source.next(read.request)) return;
      this.idle.pop();
      const address = read.request.ref[0]!;
      assert(!this.grid.isUnwritten(address), "what is not on disk is in memory");
      read.cacheSlot = this.cache.take();
      const bufferAt = this.cache.wordAt(read.cacheSlot) * 4;
      this.grid.read(read.completion, this.cache.piece(read.cacheSlot), bufferAt, address);
    }
  }

  /** Internal: a read's completion. */
  readDone(read: Read): void {
    if (!this.grid.endRead()) return;
    const request = read.request;
    const address = request.ref[0]!;
    const wordAt = this.cache.wordAt(read.cacheSlot);
    const buffer = this.cache.piece(read.cacheSlot);
    const result = read.completion.result;
    // The backend is stopping: no verdict on the block. The run stays open.
    if (result === Errno.canceled) return;
    const reason =
      result === blockSize
        ? this.grid.seals.verify(buffer, wordAt, address, request.ref, 1, request.type)
        : readFailure(result);
    if (reason === null) {
      this.arrived(read);
      return;
    }
    const block = damagedBlock(request, reason);
    const { repairs } = this.grid;
    if (repairs !== null) {
      repairs.request(read.waiter, request, block, buffer, wordAt);
      return;
    }
    this.cache.abandon(read.cacheSlot);
    this.onDamaged(block);
  }

  /** Internal: the block stands in its cache slot, verified. */
  arrived(read: Read): void {
    const source = this.source;
    assert(source !== null, "reads in flight keep the reader running");
    const { words } = this.cache.piece(read.cacheSlot);
    source.received(read.request, words, this.cache.wordAt(read.cacheSlot));
    this.cache.fill(read.cacheSlot, read.request.ref[0]!);
    this.idle.push(read);
    this.startReads();
    if (this.idle.length < cachedReadsMax) return;
    const onDone = this.onDone;
    assert(onDone !== null, "a running reader has an owner");
    this.source = null;
    this.onDone = null;
    onDone();
  }
}
