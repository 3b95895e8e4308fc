/**
 * Prepares read back from their slots, and verified: the header must be that of the prepare that was
 * asked for, and the body its own. What the journal holds may change while a read is under way, so
 * it is asked again before the verdict.
 */
import { assert } from "../core/assert.ts";
import { headerSize } from "../core/limits.ts";
import { u128Copy, u128IsZero } from "../core/u128.ts";
import { Completion, type FileHandle, type FileIo, type IoBuffer } from "../io/io.ts";
import { type DataFileLayout, sectorCeil } from "./data-file.ts";
import { bodyIntact, checkSlotHeader, Fault, headerMessageSize, sameHeader } from "./headers.ts";

/** Prepare reads in flight. */
const readsMax = 8;

export const PrepareRead = {
  /** The target holds the prepare, verified. */
  ok: 1,
  /** The slot should hold it and does not: it is faulty now, to be repaired. */
  damaged: 2,
  /** The journal does not hold this prepare (any more), and never claimed to. */
  missing: 3,
} as const;
export type PrepareRead = (typeof PrepareRead)[keyof typeof PrepareRead];

/** What the journal says of its slots. */
export interface SlotTable {
  /** The prepare of this op with this checksum is durable in its slot. */
  holds(op: number, checksum: Uint32Array, checksumAt: number): boolean;
  /** Bytes of the prepare that the op's slot holds. */
  sizeOf(op: number): number;
  /** The slot does not hold what it should. */
  onLost(op: number): void;
  /** A read has ended. False: nobody is to be told. */
  onEnded(): boolean;
}

class Reading {
  op = 0;
  readonly checksum = new Uint32Array(4);
  /** The slot held the prepare when the read began. */
  held = false;
  target: IoBuffer | null = null;
  onDone: ((result: PrepareRead) => void) | null = null;
  readonly completion: Completion;
  constructor(onRead: (reading: Reading) => void) {
    this.completion = new Completion(() => onRead(this));
  }
}

export class PrepareReads {
  private readonly free: Reading[] = [];

  constructor(
    private readonly io: FileIo,
    private readonly file: FileHandle,
    private readonly layout: DataFileLayout,
    private readonly table: SlotTable,
  ) {
    for (let count = 0; count < readsMax; count += 1) {
      this.free.push(new Reading((reading) => this.onRead(reading)));
    }
  }

  get canStart(): boolean {
    return this.free.length > 0;
  }

  get busy(): boolean {
    return this.free.length < readsMax;
  }

  /** See `Journal.readPrepare`. */
  start(
    op: number,
    checksum: Uint32Array,
    checksumAt: number,
    target: IoBuffer,
    onDone: (result: PrepareRead) => void,
  ): void {
    assert(!u128IsZero(checksum, checksumAt), "the prepare is named by its checksum");
    const reading = this.free.pop();
    assert(reading !== undefined, "the caller asked first");
    reading.op = op;
    u128Copy(reading.checksum, 0, checksum, checksumAt);
    reading.target = target;
    reading.onDone = onDone;
    // A prepare that is not here is found out like one that is: later, by what the disk holds.
    reading.held = this.table.holds(op, checksum, checksumAt);
    const length = sectorCeil(reading.held ? this.table.sizeOf(op) : headerSize);
    assert(length <= target.sizeBytes, "the target has room for the prepare");
    const at = this.layout.prepareAt(op % this.layout.slotCount);
    this.io.read(reading.completion, this.file, target, 0, length, at);
  }

  private onRead(reading: Reading): void {
    const onDone = reading.onDone!;
    const result = this.judge(reading);
    reading.target = null;
    reading.onDone = null;
    this.free.push(reading);
    if (this.table.onEnded()) onDone(result);
  }

  private judge(reading: Reading): PrepareRead {
    const { op, checksum } = reading;
    // Also when the slot was given this prepare or another one while we read.
    if (!reading.held || !this.table.holds(op, checksum, 0)) return PrepareRead.missing;
    if (reading.completion.result >= 0 && this.intact(reading)) return PrepareRead.ok;
    this.table.onLost(op);
    return PrepareRead.damaged;
  }

  private intact(reading: Reading): boolean {
    const target = reading.target!;
    const { options, slotCount } = this.layout;
    const slot = reading.op % slotCount;
    if (checkSlotHeader(target, 0, options.cluster, slot, slotCount) !== Fault.none) return false;
    if (!sameHeader(target.words, 0, reading.checksum, 0)) return false;
    return bodyIntact(target.bytes, 0, headerMessageSize(target.words, 0));
  }
}
