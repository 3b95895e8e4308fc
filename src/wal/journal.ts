/**
 * The journal: a ring of prepare slots and a ring of redundant headers, slot = op mod slots.
 *
 * Life of a write: the prepare, padded with zeros to whole sectors, goes into its slot with one
 * durable write; when that has completed the caller is told and may acknowledge. Its redundant header
 * is written later (header-ring.ts), and nobody waits for it.
 *
 * Invariants:
 * - A slot is overwritten only by an op at most one ring above the last durable checkpoint, so
 *   never while the op in it is above that checkpoint.
 * - One write per slot at a time.
 * - A failed write is never retried: what the sectors hold is unknown, the replica must stop.
 *
 * The table of headers in memory runs ahead of the disk. Per slot it is
 *   clean   the prepare of the table's header is durable in the slot;
 *   dirty   the table's header is not (yet) backed by the slot: being written, or to be repaired;
 *   faulty  the slot lost a prepare that may have been acknowledged (see slot-state.ts): the
 *           replica must not claim that it never had it.
 */
import { assert } from "../core/assert.ts";
import { headerSize, messageSizeMax, pipelinePrepareMax } from "../core/limits.ts";
import { u128Equal } from "../core/u128.ts";
import { Completion, type FileHandle, type FileIo, type IoBuffer } from "../io/io.ts";
import { type DataFileLayout, sectorCeil } from "./data-file.ts";
import { HeaderRing } from "./header-ring.ts";
import {
  chainConnects,
  copyHeader,
  headerIntact,
  headerMessageSize,
  headerOp,
  headerView,
  headerWords,
  sameHeader,
} from "./headers.ts";
import { type JournalStart, type Recovery, recoverJournal } from "./journal-recovery.ts";
import { applyRecovery } from "./journal-restore.ts";
import { type PrepareRead, PrepareReads } from "./prepare-reads.ts";

/** Prepare writes in flight: a pipeline, and as many repairs beside it. */
export const journalWritesMax = 2 * pipelinePrepareMax;

export interface JournalOptions {
  readonly io: FileIo;
  readonly file: FileHandle;
  readonly layout: DataFileLayout;
  /** The owner calls `tick` all the time: headers may wait for it. Default: no. */
  readonly ticks?: boolean;
  /** A write failed: stop the replica. Nothing is called back afterwards. */
  readonly onFatal: (text: string) => void;
}

/** A prepare on its way to its slot. */
class PrepareWrite {
  op = 0;
  buffer: IoBuffer | null = null;
  onDurable: (() => void) | null = null;
  readonly completion: Completion;
  constructor(onDone: (write: PrepareWrite) => void) {
    this.completion = new Completion(() => onDone(this));
  }
}

const noOp = -1;

export class Journal {
  readonly slotCount: number;
  /** Header of each slot, `headerWords` words each; meaningful where the slot has an op. */
  readonly headers: Uint32Array;
  /** Prepare writes so far. */
  prepareWrites = 0;

  private readonly io: FileIo;
  private readonly file: FileHandle;
  private readonly layout: DataFileLayout;
  private readonly onFatal: (text: string) => void;

  private readonly headerRing: HeaderRing;
  /** Op of the table's header per slot, or `noOp`. */
  private readonly ops: Float64Array;
  /** Op that the slot may have lost, or `noOp`. */
  private readonly faultyOps: Float64Array;
  private readonly dirty: Uint8Array;
  private readonly writing: Uint8Array;

  private readonly freeWrites: PrepareWrite[] = [];
  private readonly reads: PrepareReads;

  private readonly flushCompletion: Completion;
  private onFlushed: (() => void) | null = null;
  /** Ops up to here may be overwritten. */
  private checkpointOp = 0;
  private opened = false;
  private opening = false;
  private failed = false;
  private quiescing = false;
  private onQuiet: (() => void) | null = null;

  constructor(options: JournalOptions) {
    this.io = options.io;
    this.file = options.file;
    this.layout = options.layout;
    this.onFatal = options.onFatal;
    const slotCount = options.layout.slotCount;
    this.slotCount = slotCount;
    this.headers = new Uint32Array(slotCount * headerWords);
    this.headerRing = new HeaderRing({
      io: this.io,
      file: this.file,
      layout: this.layout,
      ticks: options.ticks ?? false,
      onLanded: () => this.onHeadersLanded(),
      onFailed: (place, error) => this.fail(`cannot write ${place}`, error),
    });
    this.ops = new Float64Array(slotCount).fill(noOp);
    this.faultyOps = new Float64Array(slotCount).fill(noOp);
    this.dirty = new Uint8Array(slotCount);
    this.writing = new Uint8Array(slotCount);
    for (let count = 0; count < journalWritesMax; count += 1) {
      this.freeWrites.push(new PrepareWrite((write) => this.onPrepareWritten(write)));
    }
    this.reads = new PrepareReads(this.io, this.file, this.layout, {
      holds: (op, checksum, checksumAt) => this.hasPrepareOf(op, checksum, checksumAt),
      sizeOf: (op) => headerMessageSize(this.headers, this.headerAt(op)),
      onLost: (op) => this.lose(op),
      onEnded: () => this.endRead(),
    });
    this.flushCompletion = new Completion(() => this.onSynced());
  }

  /**
   * Recovers from the disk and makes the disk say what recovery decided, durably, before it calls
   * back: lost headers are rewritten, dead prepares beyond the log's end are overwritten. With
   * `recovery.fatal` nothing was written and the journal stays closed.
   */
  open(start: JournalStart, onOpened: (recovery: Recovery) => void): void {
    assert(!this.opened && !this.opening, "a journal is opened once");
    assert(!this.quiescing, "not after the end");
    const { io, file, layout } = this;
    this.opening = true;
    const finish = (recovery: Recovery): void => {
      this.opening = false;
      if (this.quiescing) this.checkQuiet();
      else onOpened(recovery);
    };
    recoverJournal({ io, file, layout }, start, (recovery) => {
      if (recovery.fatal !== null) {
        finish(recovery);
        return;
      }
      const target = { io, file, layout, onFatal: this.onFatal };
      applyRecovery(target, recovery, () => {
        this.load(recovery);
        finish(recovery);
      });
    });
  }

  private load(recovery: Recovery): void {
    this.headerRing.load(recovery.ring.words);
    this.checkpointOp = recovery.checkpointOp;
    this.headers.set(recovery.headers);
    this.ops.set(recovery.ops);
    this.faultyOps.set(recovery.faultyOps);
    for (let slot = 0; slot < this.slotCount; slot += 1) {
      this.dirty[slot] = this.faultyOps[slot] === noOp ? 0 : 1;
    }
    this.opened = true;
  }

  /** True when the table knows a header for exactly this op. */
  hasHeader(op: number): boolean {
    return this.ops[op % this.slotCount] === op;
  }

  /** Index in `headers` of the first word of this op's header, which must be known. */
  headerAt(op: number): number {
    assert(this.hasHeader(op), "the header is known");
    return (op % this.slotCount) * headerWords;
  }

  /** True when the prepare of the known header of this op is durable in its slot. */
  hasPrepare(op: number): boolean {
    return this.hasHeader(op) && this.dirty[op % this.slotCount] === 0;
  }

  /** As `hasPrepare`, for the prepare with this checksum alone. */
  hasPrepareOf(op: number, checksum: Uint32Array, checksumAt: number): boolean {
    return this.hasPrepare(op) && u128Equal(this.headers, this.headerAt(op), checksum, checksumAt);
  }

  /** True when the known header of this op is not backed by its slot. */
  isDirty(op: number): boolean {
    return this.hasHeader(op) && this.dirty[op % this.slotCount] === 1;
  }

  /** True when this op's prepare may have been acknowledged and then lost. Never nack it. */
  isFaulty(op: number): boolean {
    return this.faultyOps[op % this.slotCount] === op;
  }

  /** True when both headers are known and op names op − 1 as its predecessor. */
  chainIntact(op: number): boolean {
    if (op < 1 || !this.hasHeader(op) || !this.hasHeader(op - 1)) return false;
    return chainConnects(this.headers, this.headerAt(op - 1), this.headers, this.headerAt(op));
  }

  /**
   * Puts a header that others sent into the table. Its prepare counts as present if the slot
   * holds exactly that one.
   */
  installHeader(words: Uint32Array, at: number): void {
    assert(this.opened, "the journal is open");
    const op = headerOp(words, at);
    const slot = op % this.slotCount;
    assert(op > this.checkpointOp, "the header is above the checkpoint");
    assert(op <= this.checkpointOp + this.slotCount, "the header fits the ring");
    const same = this.ops[slot] === op && sameHeader(this.headers, slot * headerWords, words, at);
    if (same) return;
    copyHeader(this.headers, slot * headerWords, words, at);
    this.ops[slot] = op;
    if (this.faultyOps[slot]! < op) this.faultyOps[slot] = noOp;
    const present =
      this.headerRing.holds(slot, words, at) &&
      this.faultyOps[slot] === noOp &&
      this.writing[slot] === 0;
    this.dirty[slot] = present ? 0 : 1;
  }

  /**
   * Forgets the headers of all ops above `op`: a new view's log ends there. What a slot has lost stays
   * lost: a later view may bring the same prepare back, and its header is still in the ring.
   */
  removeAbove(op: number): void {
    assert(op >= this.checkpointOp, "what a checkpoint covers stays");
    for (let slot = 0; slot < this.slotCount; slot += 1) {
      if (this.ops[slot]! > op) this.ops[slot] = noOp;
    }
  }

  /**
   * Forgets headers that are not of the log of log view `view`, which was taken over up to `op`: those
   * above `op` that were prepared in views before, and all of views after it, which it never had.
   */
  removeStale(op: number, view: number): void {
    for (let slot = 0; slot < this.slotCount; slot += 1) {
      if (this.ops[slot] === noOp) continue;
      const prepared = headerView(this.headers, slot * headerWords);
      if (prepared > view || (prepared < view && this.ops[slot]! > op)) this.ops[slot] = noOp;
    }
  }

  /** Forgets the header of this op unless it was prepared in `view`. */
  removeUnlessOf(op: number, view: number): void {
    const slot = op % this.slotCount;
    if (this.ops[slot] !== op) return;
    if (headerView(this.headers, slot * headerWords) !== view) this.ops[slot] = noOp;
  }

  /** The highest op of which a header is known; at least the checkpoint's. */
  get opHighest(): number {
    let highest = this.checkpointOp;
    for (let slot = 0; slot < this.slotCount; slot += 1) {
      if (this.ops[slot]! > highest) highest = this.ops[slot]!;
    }
    return highest;
  }

  /**
   * The state up to `op` is durable where it must be (own superblock; in a cluster, a quorum):
   * the slots of ops up to `op` may be overwritten.
   */
  checkpointDurable(op: number): void {
    assert(op >= this.checkpointOp, "checkpoints advance");
    this.checkpointOp = op;
  }

  /** Op of the durable checkpoint: the journal may have forgotten what lies at or below it. */
  get checkpointed(): number {
    return this.checkpointOp;
  }

  /** Highest op that fits without overwriting a live one. */
  get opMax(): number {
    return this.checkpointOp + this.slotCount;
  }

  /** True when `writePrepare` may be called for this op now. */
  canWrite(op: number): boolean {
    if (op <= this.checkpointOp || op > this.checkpointOp + this.slotCount) return false;
    if (this.quiescing) return false;
    return this.writing[op % this.slotCount] === 0 && this.freeWrites.length > 0;
  }

  /** True while this op's slot is being written. */
  isWriting(op: number): boolean {
    return this.writing[op % this.slotCount] === 1;
  }

  /**
   * Writes the prepare at the start of `buffer`, whose checksums are set, into its slot and enters
   * its header into the table. Zeroes the bytes after the message up to the end of its sector.
   * The buffer's content must not change until then.
   * @param onDurable - Called when the prepare is on stable storage. Made once by its owner.
   */
  writePrepare(buffer: IoBuffer, onDurable: () => void): void {
    assert(this.opened, "the journal is open");
    assert(!this.failed, "a journal whose write failed is dead");
    const op = headerOp(buffer.words, 0);
    const slot = op % this.slotCount;
    const size = headerMessageSize(buffer.words, 0);
    const length = sectorCeil(size);
    assert(this.canWrite(op), "the caller asked first");
    assert(size >= headerSize, "a prepare has a header");
    assert(size <= messageSizeMax, "a prepare fits its slot");
    assert(length <= buffer.sizeBytes, "the buffer has room for the padding");
    assert(headerIntact(buffer.bytes, 0), "the prepare's checksum is set");
    buffer.bytes.fill(0, size, length);

    copyHeader(this.headers, slot * headerWords, buffer.words, 0);
    this.ops[slot] = op;
    if (this.faultyOps[slot]! < op) this.faultyOps[slot] = noOp;
    this.dirty[slot] = 1;
    this.writing[slot] = 1;
    this.prepareWrites += 1;

    const write = this.freeWrites.pop()!;
    write.op = op;
    write.buffer = buffer;
    write.onDurable = onDurable;
    const at = this.layout.prepareAt(slot);
    this.io.write(write.completion, this.file, buffer, 0, length, at, true);
  }

  private onPrepareWritten(write: PrepareWrite): void {
    if (this.failed) return;
    const slot = write.op % this.slotCount;
    if (write.completion.result < 0) {
      this.fail(`cannot write op ${write.op} to journal slot ${slot}`, write.completion.result);
      return;
    }
    const buffer = write.buffer!;
    const onDurable = write.onDurable!;
    const headerIndex = slot * headerWords;
    assert(headerOp(buffer.words, 0) === write.op, "the buffer did not change under the write");
    this.writing[slot] = 0;
    this.headerRing.put(slot, buffer.words, 0);
    // A view change may have put another header into the table meanwhile: then it stays dirty.
    if (this.ops[slot] === write.op && sameHeader(this.headers, headerIndex, buffer.words, 0)) {
      this.dirty[slot] = 0;
      this.faultyOps[slot] = noOp;
    }
    write.buffer = null;
    write.onDurable = null;
    this.freeWrites.push(write);
    // First what others wait for, then the header, for which nobody waits.
    if (!this.quiescing) onDurable();
    this.headerRing.land(slot, this.quiescing || this.onFlushed !== null);
  }

  private onHeadersLanded(): void {
    if (this.quiescing) this.checkQuiet();
    else this.continueFlush();
  }

  /** Regularly, where `ticks` was given: writes the headers that have waited long enough. */
  tick(): void {
    this.headerRing.tick();
  }

  /** Header sectors written so far. */
  get headerWrites(): number {
    return this.headerRing.writes;
  }

  /** True when prepares or headers are still on their way. */
  get busy(): boolean {
    return this.freeWrites.length < journalWritesMax || this.headerRing.busy;
  }

  /** At a clean stop: calls back when all prepares and headers on their way have landed. */
  flush(onFlushed: () => void): void {
    assert(this.onFlushed === null, "one flush at a time");
    this.onFlushed = onFlushed;
    this.headerRing.landAll();
    this.continueFlush();
  }

  private continueFlush(): void {
    if (this.onFlushed === null || this.busy || this.flushCompletion.busy) return;
    this.io.sync(this.flushCompletion, this.file);
  }

  private onSynced(): void {
    if (this.failed) return;
    if (this.flushCompletion.result < 0) {
      this.fail("cannot sync the journal", this.flushCompletion.result);
      return;
    }
    const onFlushed = this.onFlushed!;
    this.onFlushed = null;
    if (this.quiescing) this.checkQuiet();
    else onFlushed();
  }

  /**
   * The end: no prepare is taken and nobody is called back any more but `onQuiet`, when what is in
   * flight has landed, headers included; perhaps from inside. Then the file is another journal's.
   */
  quiesce(onQuiet: () => void): void {
    assert(!this.quiescing, "a journal ends once");
    this.quiescing = true;
    this.onQuiet = onQuiet;
    this.headerRing.landAll();
    this.checkQuiet();
  }

  private checkQuiet(): void {
    if (this.failed || this.opening || this.busy || this.flushCompletion.busy) return;
    if (this.reads.busy) return;
    const onQuiet = this.onQuiet;
    assert(onQuiet !== null, "a journal that ends has an owner");
    this.onQuiet = null;
    onQuiet();
  }

  private fail(text: string, errno: number): void {
    this.failed = true;
    this.headerRing.stop();
    this.onFatal(`${text}: error ${-errno}. The disk must be checked before the replica starts.`);
  }

  get canRead(): boolean {
    return this.reads.canStart && !this.quiescing;
  }

  /**
   * Reads the prepare of `op` with this checksum into the start of `target` (room for a whole
   * slot, or at least for its size in whole sectors) and verifies it.
   * @param onDone - Called later, never from inside. Made once by its owner.
   */
  readPrepare(
    op: number,
    checksum: Uint32Array,
    checksumAt: number,
    target: IoBuffer,
    onDone: (result: PrepareRead) => void,
  ): void {
    assert(this.opened, "the journal is open");
    assert(this.canRead, "the caller asked first");
    this.reads.start(op, checksum, checksumAt, target, onDone);
  }

  /** The slot of this op does not hold what it should. */
  private lose(op: number): void {
    const slot = op % this.slotCount;
    this.dirty[slot] = 1;
    if (op > this.checkpointOp) this.faultyOps[slot] = op;
  }

  /** A read has ended. False: its owner is not to be told. */
  private endRead(): boolean {
    if (!this.quiescing) return true;
    this.checkQuiet();
    return false;
  }
}
