/**
 * Reads and verifies a stream of blocks with as many reads in flight as its buffer has blocks. The
 * source says which block is next, and may depend on what it received: opening a checkpoint,
 * checking one, and scrubbing are all sources. At start-up and in the background, not per op.
 *
 * With repairs, a block that is damaged or missing is received like any other, only later: as many
 * are on their way from other replicas as reads may be in flight.
 */
import { assert } from "../core/assert.ts";
import { blockSize } from "../core/limits.ts";
import { Completion, Errno, type IoBuffer } from "../io/io.ts";
import { type BlockRepairs, RepairWaiter } from "./block-repairs.ts";
import { type BlockType, blockName, blockWords, refWords } from "./format.ts";
import type { Grid } from "./grid.ts";
import type { DamagedBlock } from "./options.ts";

/** What to read: a reference, and what the block is to its referrer. */
export class BlockRequest {
  /** Address and checksum. */
  readonly ref: Uint32Array = new Uint32Array(refWords);
  type: BlockType = 1;
  table = 0;
  /** For the name, and for the source: rows, pages or entries from `first` on. */
  first = 0;
  count = 0;
  /** The source's own. */
  tag = 0;
}

export interface BlockSource {
  /** Fills in the next block to read. False: none now, or none any more. */
  next(request: BlockRequest): boolean;
  /** A verified block at words[at …). Valid inside the call only. */
  received(request: BlockRequest, words: Uint32Array, at: number): void;
  /** A damaged block that this reader does not have repaired. */
  damaged(request: BlockRequest, block: DamagedBlock): void;
}

class Read {
  readonly request = new BlockRequest();
  readonly completion: Completion;
  readonly waiter: RepairWaiter;

  constructor(
    readonly index: number,
    reader: BlockReader,
  ) {
    this.completion = new Completion(() => reader.readDone(this), index);
    this.waiter = new RepairWaiter(() => reader.arrived(this));
  }
}

export class BlockReader {
  private readonly idle: Read[] = [];
  private readonly depth: number;
  private source: BlockSource | null = null;
  private onDone: (() => void) | null = null;

  /**
   * @param buffer - One block of it per read in flight; the reader's while it runs.
   * @param repairs - Null: damaged blocks are told to the source.
   */
  constructor(
    private readonly grid: Grid,
    private readonly buffer: IoBuffer,
    private readonly repairs: BlockRepairs | null,
  ) {
    this.depth = Math.floor(buffer.sizeBytes / blockSize);
    assert(this.depth > 0, "the buffer holds a block");
    for (let index = this.depth - 1; index >= 0; index -= 1) this.idle.push(new Read(index, this));
  }

  get running(): boolean {
    return this.source !== null;
  }

  /** `onDone` is called when the source has no next block and no read is in flight. */
  run(source: BlockSource, onDone: () => void): void {
    assert(this.source === null, "one source at a time");
    this.source = source;
    this.onDone = onDone;
    this.advance();
  }

  private advance(): void {
    const source = this.source;
    assert(source !== null, "a running reader has a source");
    while (this.idle.length > 0) {
      const read = this.idle[this.idle.length - 1]!;
      if (!source.next(read.request)) break;
      assert(read.request.ref[0]! > 0, "a reference names a block");
      this.idle.pop();
      const address = read.request.ref[0]!;
      this.grid.read(read.completion, this.buffer, read.index * blockSize, address);
    }
    if (this.idle.length < this.depth) return;
    const onDone = this.onDone;
    assert(onDone !== null, "a running reader has an owner");
    this.source = null;
    this.onDone = null;
    onDone();
  }

  /** Internal: a read's completion. */
  readDone(read: Read): void {
    if (!this.grid.endRead()) return;
    const request = read.request;
    const address = request.ref[0]!;
    const wordAt = read.index * blockWords;
    const result = read.completion.result;
    // The backend is stopping: no verdict on the block, and nothing more to ask for.
    if (result === Errno.canceled) return;
    const reason =
      result === blockSize
        ? this.grid.seals.verify(this.buffer, wordAt, address, request.ref, 1, request.type)
        : readFailure(result);
    if (reason === null) {
      this.arrived(read);
      return;
    }
    const block = damagedBlock(request, reason);
    if (this.repairs !== null) {
      this.repairs.request(read.waiter, request, block, this.buffer, wordAt);
      return;
    }
    const source = this.source;
    assert(source !== null, "reads in flight keep the reader running");
    source.damaged(request, block);
    this.finish(read);
  }

  /** Internal: the block stands in its place, verified. */
  arrived(read: Read): void {
    const source = this.source;
    assert(source !== null, "reads in flight keep the reader running");
    source.received(read.request, this.buffer.words, read.index * blockWords);
    this.finish(read);
  }

  private finish(read: Read): void {
    this.idle.push(read);
    this.advance();
  }
}

export function readFailure(result: number): string {
  return `read error (errno ${-result})`;
}

export function damagedBlock(request: BlockRequest, reason: string): DamagedBlock {
  const address = request.ref[0]!;
  return {
    address,
    checksum: request.ref.slice(1),
    name: blockName(address, request.type, request.table, request.first, request.count),
    reason,
  };
}
