/**
 * The journal: a ring of prepare slots and a ring of redundant headers, slot = op mod slots.
 *
 * Life of a write: the prepare, padded with zeros to whole sectors, goes into its slot with one
 * durable write; when that has completed the caller is told and may acknowledge. The sector of the
 * header ring that holds its header is written later, durably too, though nobody waits for it. Such
 * a sector only ever contains headers whose prepares are durable; writes of one sector follow each
 * other, and headers that came meanwhile share the next. Recovery does without headers that had not
 * landed; what they add is proof that a prepare now damaged had been whole.
 *
 * Where the owner ticks, a header waits for the others of its sector, for two ticks at most: the next
 * prepare proves as much, by its commit number in a cluster of one and by its op in a larger one.
 * Otherwise each header is written right behind its prepare.
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
import { headerSize, messageSizeMax, pipelinePrepareMax, sectorSize } from "../core/limits.ts";
import { RingQueue } from "../core/ring-queue.ts";
import { u128Copy, u128Equal, u128IsZero } from "../core/u128.ts";
import { Completion, type FileHandle, type FileIo, type IoBuffer } from "../io/io.ts";
import { type DataFileLayout, headersPerSector, sectorCeil } from "./data-file.ts";
import {
  bodyIntact,
  chainConnects,
  checkSlotHeader,
  copyHeader,
  Fault,
  headerIntact,
  headerMessageSize,
  headerOp,
  headerView,
  headerWords,
  type Memory,
  sameHeader,
  scratchMemory,
} from "./headers.ts";
import { type JournalStart, type Recovery, recoverJournal } from "./journal-recovery.ts";
import { applyRecovery } from "./journal-restore.ts";

/** Prepare writes in flight: a pipeline, and as many repairs beside it. */
export const journalWritesMax = 2 * pipelinePrepareMax;

/** Prepare reads in flight. */
export const journalReadsMax = 8;

/**
 * Header sectors in flight. Consecutive ops share a sector, whose writes follow each other anyway;
 * the second serves a pipeline that crosses into the next one.
 */
const headerWritesMax = 2;

export const PrepareRead = {
  /** The target holds the prepare, verified. */
  ok: 1,
  /** The slot should hold it and does not: it is faulty now, to be repaired. */
  damaged: 2,
  /** The journal does not hold this prepare (any more), and never claimed to. */
  missing: 3,
} as const;
export type PrepareRead = (typeof PrepareRead)[keyof typeof PrepareRead];

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

/** A sector of redundant headers on its way; `buffer` is its image, stable while in flight. */
class HeaderWrite {
  sector = -1;
  readonly completion: Completion;
  constructor(
    readonly buffer: IoBuffer,
    onDone: (write: HeaderWrite) => void,
  ) {
    this.completion = new Completion(() => onDone(this));
  }
}

class PrepareReading {
  op = 0;
  readonly checksum = new Uint32Array(4);
  /** The slot held the prepare when the read began. */
  held = false;
  target: IoBuffer | null = null;
  onDone: ((result: PrepareRead) => void) | null = null;
  readonly completion: Completion;
  constructor(onDone: (read: PrepareReading) => void) {
    this.completion = new Completion(() => onDone(this));
  }
}

/** A header sector that is not queued: nothing is new, or headers wait, since a tick or the one before. */
const Waiting = { no: 0, new: 1, long: 2 } as const;

const noOp = -1;

export class Journal {
  readonly slotCount: number;
  /** Header of each slot, `headerWords` words each; meaningful where the slot has an op. */
  readonly headers: Uint32Array;
  /** Prepare writes so far, and header sectors written for them. */
  prepareWrites = 0;
  headerWrites = 0;

  private readonly io: FileIo;
  private readonly file: FileHandle;
  private readonly layout: DataFileLayout;
  private readonly onFatal: (text: string) => void;

  /** The header ring as it is (to be) on disk: only headers whose prepares are durable. */
  private readonly ring: Memory;
  /** Op of the table's header per slot, or `noOp`. */
  private readonly ops: Float64Array;
  /** Op that the slot may have lost, or `noOp`. */
  private readonly faultyOps: Float64Array;
  private readonly dirty: Uint8Array;
  private readonly writing: Uint8Array;

  private readonly freeWrites: PrepareWrite[] = [];
  private readonly freeReads: PrepareReading[] = [];
  private readonly freeHeaderWrites: HeaderWrite[] = [];
  /** Header sectors that wait to be written, each at most once. */
  private readonly sectorQueue: RingQueue<number>;
  private readonly sectorQueued: Uint8Array;
  private readonly sectorWriting: Uint8Array;
  /** Per header sector, see `Waiting`; and how many of them wait. */
  private readonly sectorWaiting: Uint8Array;
  private sectorsWaiting = 0;
  private readonly ticks: boolean;

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
    this.ticks = options.ticks ?? false;
    const slotCount = options.layout.slotCount;
    const sectorCount = slotCount / headersPerSector;
    this.slotCount = slotCount;
    this.headers = new Uint32Array(slotCount * headerWords);
    this.ring = scratchMemory(slotCount * headerSize);
    this.ops = new Float64Array(slotCount).fill(noOp);
    this.faultyOps = new Float64Array(slotCount).fill(noOp);
    this.dirty = new Uint8Array(slotCount);
    this.writing = new Uint8Array(slotCount);
    this.sectorQueue = new RingQueue<number>(sectorCount);
    this.sectorQueued = new Uint8Array(sectorCount);
    this.sectorWriting = new Uint8Array(sectorCount);
    this.sectorWaiting = new Uint8Array(sectorCount);
    for (let count = 0; count < journalWritesMax; count += 1) {
      this.freeWrites.push(new PrepareWrite((write) => this.onPrepareWritten(write)));
    }
    for (let count = 0; count < journalReadsMax; count += 1) {
      this.freeReads.push(new PrepareReading((read) => this.onPrepareRead(read)));
    }
    for (let count = 0; count < headerWritesMax; count += 1) {
      const buffer = this.io.allocate(sectorSize);
      this.freeHeaderWrites.push(new HeaderWrite(buffer, (write) => this.onHeaderWritten(write)));
    }
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
    this.ring.words.set(recovery.ring.words.subarray(0, this.ring.words.length));
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
    const onDisk = sameHeader(this.ring.words, slot * headerWords, words, at);
    const present = onDisk && this.faultyOps[slot] === noOp && this.writing[slot] === 0;
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
    copyHeader(this.ring.words, headerIndex, buffer.words, 0);
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
    const sector = Math.floor(slot / headersPerSector);
    const ending = this.quiescing || this.onFlushed !== null;
    const last = slot % headersPerSector === headersPerSector - 1;
    if (!this.ticks || ending || last) this.queueSector(sector);
    else if (this.sectorQueued[sector] === 0 && this.sectorWaiting[sector] === Waiting.no) {
      this.sectorWaiting[sector] = Waiting.new;
      this.sectorsWaiting += 1;
    }
  }

  /** Regularly, where `ticks` was given: writes the headers that have waited since the tick before. */
  tick(): void {
    if (this.sectorsWaiting > 0) this.endWaiting(Waiting.long);
  }

  /** Queues the sectors that have waited for so long; the others have then waited a tick longer. */
  private endWaiting(since: number): void {
    const sectors = this.sectorWaiting;
    for (let sector = 0; sector < sectors.length; sector += 1) {
      if (sectors[sector]! >= since) this.queueSector(sector);
      else if (sectors[sector] === Waiting.new) sectors[sector] = Waiting.long;
    }
  }

  private queueSector(sector: number): void {
    if (this.sectorWaiting[sector] !== Waiting.no) {
      this.sectorWaiting[sector] = Waiting.no;
      this.sectorsWaiting -= 1;
    }
    if (this.sectorQueued[sector] === 1) return;
    this.sectorQueued[sector] = 1;
    this.sectorQueue.push(sector);
    this.writeSectors();
  }

  private writeSectors(): void {
    if (this.failed) return;
    for (let turns = this.sectorQueue.length; turns > 0; turns -= 1) {
      if (this.freeHeaderWrites.length === 0) return;
      const sector = this.sectorQueue.shift()!;
      if (this.sectorWriting[sector] === 1) {
        this.sectorQueue.push(sector); // Its turn comes when the write before it is done.
        continue;
      }
      const write = this.freeHeaderWrites.pop()!;
      write.sector = sector;
      this.sectorQueued[sector] = 0;
      this.sectorWriting[sector] = 1;
      this.headerWrites += 1;
      const ringAt = sector * sectorSize;
      const image = write.buffer.words;
      for (let word = 0; word < sectorSize / 4; word += 1) {
        image[word] = this.ring.words[ringAt / 4 + word]!;
      }
      const fileAt = this.layout.headerRingAt + ringAt;
      this.io.write(write.completion, this.file, write.buffer, 0, sectorSize, fileAt, true);
    }
  }

  private onHeaderWritten(write: HeaderWrite): void {
    if (this.failed) return;
    if (write.completion.result < 0) {
      const place = `journal headers ${write.sector * headersPerSector} and following`;
      this.fail(`cannot write ${place}`, write.completion.result);
      return;
    }
    this.sectorWriting[write.sector] = 0;
    this.freeHeaderWrites.push(write);
    this.writeSectors();
    if (this.quiescing) this.checkQuiet();
    else this.continueFlush();
  }

  /** True when prepares or headers are still on their way. */
  get busy(): boolean {
    return (
      this.freeWrites.length < journalWritesMax ||
      this.sectorsWaiting > 0 ||
      this.sectorQueue.length > 0 ||
      this.freeHeaderWrites.length < headerWritesMax
    );
  }

  /** At a clean stop: calls back when all prepares and headers on their way have landed. */
  flush(onFlushed: () => void): void {
    assert(this.onFlushed === null, "one flush at a time");
    this.onFlushed = onFlushed;
    this.endWaiting(Waiting.new);
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
    this.endWaiting(Waiting.new);
    this.checkQuiet();
  }

  private checkQuiet(): void {
    if (this.failed || this.opening || this.busy || this.flushCompletion.busy) return;
    if (this.freeReads.length < journalReadsMax) return;
    const onQuiet = this.onQuiet;
    assert(onQuiet !== null, "a journal that ends has an owner");
    this.onQuiet = null;
    onQuiet();
  }

  private fail(text: string, errno: number): void {
    this.failed = true;
    this.onFatal(`${text}: error ${-errno}. The disk must be checked before the replica starts.`);
  }

  get canRead(): boolean {
    return this.freeReads.length > 0 && !this.quiescing;
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
    assert(!u128IsZero(checksum, checksumAt), "the prepare is named by its checksum");
    const read = this.freeReads.pop()!;
    read.op = op;
    u128Copy(read.checksum, 0, checksum, checksumAt);
    read.target = target;
    read.onDone = onDone;
    // A prepare that is not here is found out like one that is: later, by what the disk holds.
    read.held = this.hasPrepareOf(op, checksum, checksumAt);
    const size = read.held ? headerMessageSize(this.headers, this.headerAt(op)) : headerSize;
    const length = sectorCeil(size);
    assert(length <= target.sizeBytes, "the target has room for the prepare");
    const at = this.layout.prepareAt(op % this.slotCount);
    this.io.read(read.completion, this.file, target, 0, length, at);
  }

  private onPrepareRead(read: PrepareReading): void {
    const onDone = read.onDone!;
    const result = this.judgeRead(read);
    read.target = null;
    read.onDone = null;
    this.freeReads.push(read);
    if (this.quiescing) this.checkQuiet();
    else onDone(result);
  }

  private judgeRead(read: PrepareReading): PrepareRead {
    const slot = read.op % this.slotCount;
    // Also when the slot was given this prepare or another one while we read.
    if (!read.held || !this.hasPrepareOf(read.op, read.checksum, 0)) return PrepareRead.missing;
    if (read.completion.result >= 0 && this.prepareIntact(read, slot)) return PrepareRead.ok;
    this.dirty[slot] = 1;
    if (read.op > this.checkpointOp) this.faultyOps[slot] = read.op;
    return PrepareRead.damaged;
  }

  private prepareIntact(read: PrepareReading, slot: number): boolean {
    const target = read.target!;
    const { cluster } = this.layout.options;
    if (checkSlotHeader(target, 0, cluster, slot, this.slotCount) !== Fault.none) return false;
    if (!sameHeader(target.words, 0, read.checksum, 0)) return false;
    return bodyIntact(target.bytes, 0, headerMessageSize(target.words, 0));
  }
}
