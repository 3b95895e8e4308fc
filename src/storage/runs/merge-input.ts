/**
 * Reads the blocks of a run in their order, ahead of a merge, into memory of its own. A block that is
 * not on disk yet is copied from where it is written from. A damaged block is waited for while
 * another replica has it; otherwise for ever, and its owner stops the replica.
 */
import { assert } from "../../core/assert.ts";
import { blockSize } from "../../core/limits.ts";
import { Completion, Errno, type IoBuffer } from "../../io/io.ts";
import { BlockRequest, damagedBlock, readFailure } from "../block-reader.ts";
import { RepairWaiter } from "../block-repairs.ts";
import { BlockType, blockHeaderWords, blockWords } from "../format.ts";
import type { Grid } from "../grid.ts";
import type { DamagedBlock } from "../options.ts";
import type { Run } from "./run.ts";
import type { RunWrites } from "./run-writes.ts";

/** Blocks in memory: the one that is merged, and those read ahead. */
const depth = 6;
/** Of them: what a step of a merge takes. */
const needed = 2;

/** Reads of all merges in flight at which only what is needed next is read: others want the disk too. */
const readsMax = 32;

/** How many there are: shared by all inputs of all merges. */
export interface MergeReads {
  inFlight: number;
}

class Read {
  readonly request = new BlockRequest();
  readonly completion: Completion;
  readonly waiter: RepairWaiter;
  /** The block is in memory. */
  ready = false;

  constructor(
    readonly slot: number,
    input: MergeInput,
  ) {
    this.completion = new Completion(() => input.readDone(this));
    this.waiter = new RepairWaiter(() => input.arrived(this));
  }
}

export class MergeInput {
  private readonly buffer: IoBuffer;
  /** Block b of the run is in slot b mod depth. */
  private readonly reads: Read[] = [];
  private run: Run | null = null;
  /** The block that is asked for next. */
  private nextBlock = 0;
  /** Blocks below it are not needed any more. */
  private first = 0;

  /** @param onArrived - A block that was read is in memory. Not from inside a call. */
  constructor(
    private readonly grid: Grid,
    private readonly writes: RunWrites,
    private readonly mergeReads: MergeReads,
    private readonly onDamaged: (block: DamagedBlock) => void,
    private readonly onArrived: () => void,
  ) {
    this.buffer = grid.io.allocate(depth * blockSize);
    for (let slot = 0; slot < depth; slot += 1) this.reads.push(new Read(slot, this));
  }

  /** Begins to read `run`, which is complete, at `block`. */
  begin(run: Run, block: number): void {
    assert(this.run === null, "a run at a time");
    assert(run.complete, "what is merged is complete");
    this.run = run;
    this.nextBlock = block;
    this.readAhead(block);
  }

  /** The run was read to its end. */
  end(): void {
    assert(this.run !== null && this.nextBlock === this.run.blocks, "merged to the end");
    this.run = null;
  }

  /** Blocks below `block` are not needed any more: reads as far ahead as memory goes. */
  readAhead(block: number): void {
    const run = this.run;
    assert(run !== null, "a run is read");
    this.first = block;
    const end = Math.min(run.blocks, block + depth);
    while (this.nextBlock < end && !this.grid.halted) {
      if (this.nextBlock >= block + needed && this.mergeReads.inFlight >= readsMax) return;
      this.start(run, this.nextBlock);
      this.nextBlock += 1;
    }
  }

  private start(run: Run, block: number): void {
    const read = this.reads[block % depth]!;
    const { request } = read;
    run.refs.copy(block, request.ref, 0);
    request.type = BlockType.run;
    request.table = run.index;
    request.first = block;
    request.count = run.entriesIn(block);
    const address = request.ref[0]!;
    const inMemory = this.writes.find(address);
    if (inMemory >= 0) {
      const { words } = this.writes.buffer;
      this.buffer.words.set(
        words.subarray(inMemory, inMemory + blockWords),
        read.slot * blockWords,
      );
      read.ready = true;
      return;
    }
    assert(!this.grid.isUnwritten(address), "what is not on disk is in memory");
    read.ready = false;
    this.mergeReads.inFlight += 1;
    this.grid.read(read.completion, this.buffer, read.slot * blockSize, address);
  }

  /** True when the block is in memory, or there is none. */
  isReady(block: number): boolean {
    const run = this.run;
    assert(run !== null, "a run is read");
    if (block >= run.blocks) return true;
    return block < this.nextBlock && this.reads[block % depth]!.ready;
  }

  /** Memory of the blocks. */
  get words(): Uint32Array {
    return this.buffer.words;
  }

  /** Where the entries of a block that is ready begin in `words`. */
  entriesAt(block: number): number {
    return (block % depth) * blockWords + blockHeaderWords;
  }

  /** Internal: a read's completion. */
  readDone(read: Read): void {
    this.mergeReads.inFlight -= 1;
    if (!this.grid.endRead()) return;
    const { request } = read;
    const result = read.completion.result;
    // The backend is stopping: no verdict on the block.
    if (result === Errno.canceled) return;
    const wordAt = read.slot * blockWords;
    const address = request.ref[0]!;
    const reason =
      result === blockSize
        ? this.grid.seals.verify(this.buffer, wordAt, address, request.ref, 1, request.type)
        : readFailure(result);
    if (reason === null) {
      this.arrived(read);
      return;
    }
    const block = damagedBlock(request, reason);
    const { repairs } = this.grid;
    if (repairs !== null) repairs.request(read.waiter, request, block, this.buffer, wordAt);
    else this.onDamaged(block);
  }

  /** Internal: the block stands in its slot, verified. */
  arrived(read: Read): void {
    read.ready = true;
    this.readAhead(this.first);
    this.onArrived();
  }
}
