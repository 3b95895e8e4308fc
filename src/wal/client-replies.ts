/**
 * The zone of kept replies: the last reply of each session that changed state, one slot of 256 KiB
 * per session slot. A reply lies there as it was sent, padded with zeros to whole sectors.
 *
 * Slots are written in place at a checkpoint and made durable by its sync. Between that write and
 * the superblock's move a slot can hold a reply newer than the checkpoint that counts, or a torn
 * one; the log still has the op, and replay makes the reply anew. So nothing read here is believed
 * by itself: the reader compares client and request with the session table, which also finds a
 * reply that was written to the wrong slot.
 */
import { assert } from "../core/assert.ts";
import { headerSize, replySlotSize, sectorSize } from "../core/limits.ts";
import { u128Equal, u128IsZero } from "../core/u128.ts";
import { Completion, type FileHandle, type FileIo, type IoBuffer } from "../io/io.ts";
import { Command, frame, replyHeader } from "../wire/header.ts";
import { type DataFileLayout, sectorCeil } from "./data-file.ts";
import { bodyIntact, Fault, headerIntact, headerMessageSize, type Memory } from "./headers.ts";

/** Reply writes in flight. */
export const replyWritesMax = 4;

/** Slots read at once by `readAll`. */
const replyReadsMax = 8;

export const ReplyRead = {
  /** The buffer holds a reply whose checksums are right. */
  ok: 1,
  /** The slot was never written. */
  empty: 2,
  /** It holds something else, or cannot be read. */
  damaged: 3,
} as const;
export type ReplyRead = (typeof ReplyRead)[keyof typeof ReplyRead];

export interface ClientRepliesOptions {
  readonly io: FileIo;
  readonly file: FileHandle;
  readonly layout: DataFileLayout;
  /** A write failed: stop the replica. Nothing is called back afterwards. */
  readonly onFatal: (text: string) => void;
}

class ReplyWrite {
  slot = -1;
  onDone: (() => void) | null = null;
  readonly completion: Completion;
  constructor(onDone: (write: ReplyWrite) => void) {
    this.completion = new Completion(() => onDone(this));
  }
}

/** One slot on its way in: its first sector, then the rest if there is more. */
class ReplyReading {
  slot = -1;
  whole = false;
  buffer: IoBuffer | null = null;
  onDone: ((slot: number, result: ReplyRead, buffer: IoBuffer) => void) | null = null;
  readonly completion: Completion;
  constructor(onDone: (read: ReplyReading) => void) {
    this.completion = new Completion(() => onDone(this));
  }
}

export class ClientReplies {
  private readonly io: FileIo;
  private readonly file: FileHandle;
  private readonly layout: DataFileLayout;
  private readonly onFatal: (text: string) => void;
  private readonly freeWrites: ReplyWrite[] = [];
  private readonly freeReads: ReplyReading[] = [];
  private readonly writing: Uint8Array;
  private failed = false;
  private quiescing = false;
  private onQuiet: (() => void) | null = null;

  constructor(options: ClientRepliesOptions) {
    this.io = options.io;
    this.file = options.file;
    this.layout = options.layout;
    this.onFatal = options.onFatal;
    this.writing = new Uint8Array(options.layout.clientsMax);
    for (let count = 0; count < replyWritesMax; count += 1) {
      this.freeWrites.push(new ReplyWrite((write) => this.onWritten(write)));
    }
    for (let count = 0; count < replyReadsMax; count += 1) {
      this.freeReads.push(new ReplyReading((read) => this.onRead(read)));
    }
  }

  /** True when `write` may be called for this slot now. */
  canWrite(slot: number): boolean {
    return this.freeWrites.length > 0 && this.writing[slot] === 0 && !this.quiescing;
  }

  /**
   * Writes the reply at byte `bufferAt` (a sector multiple) into the slot, not yet durably: a
   * later sync of the file does that. Zeroes the bytes after it up to the end of its sector. The
   * range must not change until `onDone`, which is called later, never from inside.
   */
  write(slot: number, buffer: IoBuffer, bufferAt: number, onDone: () => void): void {
    assert(!this.failed, "a zone whose write failed is dead");
    assert(this.canWrite(slot), "the caller asked first");
    assert(bufferAt % sectorSize === 0, "the reply starts at a sector of its buffer");
    const fault = checkReply(buffer, bufferAt, this.layout.options.cluster);
    assert(fault === Fault.none, "only whole replies are kept");
    const size = headerMessageSize(buffer.words, bufferAt / 4);
    const length = sectorCeil(size);
    assert(bufferAt + length <= buffer.sizeBytes, "the buffer has room for the padding");
    buffer.bytes.fill(0, bufferAt + size, bufferAt + length);
    const write = this.freeWrites.pop()!;
    write.slot = slot;
    write.onDone = onDone;
    this.writing[slot] = 1;
    const fileAt = this.layout.replyAt(slot);
    this.io.write(write.completion, this.file, buffer, bufferAt, length, fileAt, false);
  }

  private onWritten(write: ReplyWrite): void {
    if (this.failed) return;
    if (write.completion.result < 0) {
      this.failed = true;
      const errno = -write.completion.result;
      this.onFatal(`cannot write client reply slot ${write.slot}: error ${errno}.`);
      return;
    }
    const onDone = write.onDone!;
    this.writing[write.slot] = 0;
    write.onDone = null;
    this.freeWrites.push(write);
    if (this.quiescing) this.checkQuiet();
    else onDone();
  }

  /**
   * The end: nothing more is started and nobody is called back any more but `onQuiet`, when nothing
   * is in flight; perhaps from inside. Then the zone is another one's.
   */
  quiesce(onQuiet: () => void): void {
    assert(!this.quiescing, "a zone ends once");
    this.quiescing = true;
    this.onQuiet = onQuiet;
    this.checkQuiet();
  }

  private checkQuiet(): void {
    if (this.failed || this.freeWrites.length < replyWritesMax) return;
    if (this.freeReads.length < replyReadsMax) return;
    const onQuiet = this.onQuiet;
    assert(onQuiet !== null, "a zone that ends has an owner");
    this.onQuiet = null;
    onQuiet();
  }

  get canRead(): boolean {
    return this.freeReads.length > 0 && !this.quiescing;
  }

  /**
   * Reads one slot into the start of `buffer`, which has room for a whole slot.
   * @param onDone - Called later, never from inside. Made once by its owner.
   */
  read(
    slot: number,
    buffer: IoBuffer,
    onDone: (slot: number, result: ReplyRead, buffer: IoBuffer) => void,
  ): void {
    assert(this.canRead, "the caller asked first");
    assert(buffer.sizeBytes >= replySlotSize, "the buffer has room for a whole slot");
    const read = this.freeReads.pop()!;
    read.slot = slot;
    read.whole = false;
    read.buffer = buffer;
    read.onDone = onDone;
    const fileAt = this.layout.replyAt(slot);
    this.io.read(read.completion, this.file, buffer, 0, sectorSize, fileAt);
  }

  private onRead(read: ReplyReading): void {
    const buffer = read.buffer!;
    if (this.quiescing) {
      this.freeReads.push(read);
      this.checkQuiet();
      return;
    }
    const { cluster } = this.layout.options;
    let result: ReplyRead = ReplyRead.damaged;
    if (read.completion.result >= 0) {
      if (!read.whole && isZero(buffer.words, sectorSize / 4)) {
        result = ReplyRead.empty;
      } else if (checkReplyHeader(buffer, 0, cluster) === Fault.none) {
        const size = headerMessageSize(buffer.words, 0);
        if (!read.whole && size > sectorSize) {
          read.whole = true;
          const fileAt = this.layout.replyAt(read.slot);
          this.io.read(read.completion, this.file, buffer, 0, sectorCeil(size), fileAt);
          return;
        }
        if (bodyIntact(buffer.bytes, 0, size)) result = ReplyRead.ok;
      }
    }
    const onDone = read.onDone!;
    read.buffer = null;
    read.onDone = null;
    this.freeReads.push(read);
    onDone(read.slot, result, buffer);
  }

  /**
   * Reads all slots, in no order; for start-up. `onReply` must copy what it wants to keep.
   */
  readAll(
    onReply: (slot: number, result: ReplyRead, buffer: IoBuffer) => void,
    onDone: () => void,
  ): void {
    const { clientsMax } = this.layout;
    let next = 0;
    let done = 0;
    const onOne = (slot: number, result: ReplyRead, buffer: IoBuffer): void => {
      onReply(slot, result, buffer);
      done += 1;
      if (done === clientsMax) onDone();
      else startNext(buffer);
    };
    const startNext = (buffer: IoBuffer): void => {
      if (next === clientsMax) return;
      next += 1;
      this.read(next - 1, buffer, onOne);
    };
    const lanes = Math.min(replyReadsMax, clientsMax);
    for (let lane = 0; lane < lanes; lane += 1) startNext(this.io.allocate(replySlotSize));
  }
}

/** Judges the reply at byte `at`: header first. */
export function checkReply(memory: Memory, at: number, cluster: Uint32Array): Fault {
  const fault = checkReplyHeader(memory, at, cluster);
  if (fault !== Fault.none) return fault;
  const size = headerMessageSize(memory.words, at / 4);
  return bodyIntact(memory.bytes, at, size) ? Fault.none : Fault.bodyChecksum;
}

export function checkReplyHeader(memory: Memory, at: number, cluster: Uint32Array): Fault {
  const { bytes, words } = memory;
  const first = at / 4;
  if (!headerIntact(bytes, at)) return Fault.headerChecksum;
  if (!u128Equal(words, first + frame.word.cluster, cluster, 0)) return Fault.cluster;
  if (bytes[at + frame.at.command] !== Command.reply) return Fault.identity;
  const size = headerMessageSize(words, first);
  if (size < headerSize || size > replySlotSize) return Fault.identity;
  if (u128IsZero(words, first + replyHeader.word.client)) return Fault.identity;
  return Fault.none;
}

function isZero(words: Uint32Array, count: number): boolean {
  for (let word = 0; word < count; word += 1) if (words[word] !== 0) return false;
  return true;
}
