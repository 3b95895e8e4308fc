/**
 * Operations in flight: one slot each, made at start and used again. A slot has a descriptor in
 * the memory shared with the addon and its bookkeeping here, in parallel arrays.
 *
 * Life of a slot: free → taken (`take`) → queued (`queue`) → the kernel's (the addon's `enter`) →
 * completed, and then queued again for the rest, or free (`release`). A slot whose cancellation is
 * under way is not released before that has been reaped too: the kernel finds what to cancel by
 * the slot's number, and must not find the slot's next operation.
 */
import { assert } from "../../core/assert.ts";
import type { NativeRing } from "../../native/addon.ts";
import { nativeLayout } from "../../native/layout.ts";
import type { Completion, IoBuffer } from "../io.ts";

const wordSize = 4;
const descriptorWords = nativeLayout.descriptorSize / wordSize;
const opcodeWord = nativeLayout.descriptorOpcode / wordSize;
const handleWord = nativeLayout.descriptorHandle / wordSize;
const bufferIdWord = nativeLayout.descriptorBufferId / wordSize;
const bufferAtWord = nativeLayout.descriptorBufferAt / wordSize;
const lengthWord = nativeLayout.descriptorLength / wordSize;
const offsetLowWord = nativeLayout.descriptorOffsetLow / wordSize;
const offsetHighWord = nativeLayout.descriptorOffsetHigh / wordSize;
const flagsWord = nativeLayout.descriptorFlags / wordSize;
const extraWord = nativeLayout.descriptorExtra / wordSize;
const queueHeadWord = nativeLayout.controlQueueHead / wordSize;
const queueTailWord = nativeLayout.controlQueueTail / wordSize;
const wordRange = 0x1_0000_0000;

export const noSlot = -1;

export const SyncAfter = { none: 0, wanted: 1, running: 2 } as const;

export class Slots {
  readonly capacity: number;
  /** Slots that are not free. */
  used = 0;

  readonly completions: (Completion | null)[];
  /** Keeps the memory alive that the kernel reads or writes. */
  private readonly buffers: (IoBuffer | null)[];
  readonly opcode: Uint8Array;
  /** Bytes that the owner asked for, and those moved so far. */
  readonly wanted: Uint32Array;
  readonly moved: Uint32Array;
  /** Results in a row that told to try again. */
  readonly retries: Uint8Array;
  readonly durationUs: Float64Array;
  /** Result to report in place of a nop's own. */
  readonly verdict: Int32Array;
  /** A write that is made durable by an fdatasync of its own: see SyncAfter. */
  readonly syncAfter: Uint8Array;
  /** Handle of the socket to whose list the slot belongs, or −1. */
  readonly owner: Int32Array;
  /** Number of the slot that cancels this one, or noSlot. */
  readonly canceledBy: Int32Array;
  /** A cancellation was asked for: the operation is not resumed. */
  readonly canceled: Uint8Array;
  /** The owner was called back, but the cancellation is still under way. */
  readonly lingering: Uint8Array;
  /** Doubly linked list of the slots of one socket. */
  readonly next: Int32Array;
  readonly previous: Int32Array;

  private readonly free: Int32Array;
  private readonly descriptors: Uint32Array;
  private readonly pending: Uint32Array;
  private readonly control: Uint32Array;

  constructor(ring: NativeRing, capacity: number) {
    this.capacity = capacity;
    this.completions = new Array<Completion | null>(capacity).fill(null);
    this.buffers = new Array<IoBuffer | null>(capacity).fill(null);
    this.opcode = new Uint8Array(capacity);
    this.wanted = new Uint32Array(capacity);
    this.moved = new Uint32Array(capacity);
    this.retries = new Uint8Array(capacity);
    this.durationUs = new Float64Array(capacity);
    this.verdict = new Int32Array(capacity);
    this.syncAfter = new Uint8Array(capacity);
    this.owner = new Int32Array(capacity).fill(-1);
    this.canceledBy = new Int32Array(capacity).fill(noSlot);
    this.canceled = new Uint8Array(capacity);
    this.lingering = new Uint8Array(capacity);
    this.next = new Int32Array(capacity).fill(noSlot);
    this.previous = new Int32Array(capacity).fill(noSlot);
    this.free = new Int32Array(capacity);
    for (let slot = 0; slot < capacity; slot += 1) this.free[slot] = capacity - 1 - slot;
    this.descriptors = new Uint32Array(ring.descriptors);
    this.pending = new Uint32Array(ring.queue, 0, capacity);
    this.control = new Uint32Array(ring.control);
    assert(this.descriptors.length >= capacity * descriptorWords, "every slot has a descriptor");
  }

  take(opcode: number, handle: number, completion: Completion | null): number {
    assert(this.used < this.capacity, "operations in flight stay within operationsMax");
    this.used += 1;
    const slot = this.free[this.capacity - this.used];
    this.completions[slot] = completion;
    this.opcode[slot] = opcode;
    this.wanted[slot] = 0;
    this.moved[slot] = 0;
    this.retries[slot] = 0;
    this.durationUs[slot] = 0;
    this.verdict[slot] = 0;
    this.syncAfter[slot] = SyncAfter.none;
    this.owner[slot] = -1;
    this.canceled[slot] = 0;
    const at = slot * descriptorWords;
    this.descriptors[at + opcodeWord] = opcode;
    this.descriptors[at + handleWord] = handle;
    this.descriptors[at + flagsWord] = 0;
    return slot;
  }

  /** Forgets what belongs to the owner, before it is called back. */
  detach(slot: number): void {
    this.completions[slot] = null;
    this.buffers[slot] = null;
  }

  release(slot: number): void {
    assert(this.canceledBy[slot] === noSlot, "no cancellation is under way");
    assert(this.completions[slot] === null, "the owner has been called back");
    this.lingering[slot] = 0;
    this.opcode[slot] = 0;
    this.free[this.capacity - this.used] = slot;
    this.used -= 1;
  }

  setRange(slot: number, buffer: IoBuffer, bufferAt: number, length: number): void {
    assert(buffer.id >= 0, "the buffer was allocated by a backend that knows the addon");
    assert(bufferAt >= 0 && length >= 0, "a range has a place and a length");
    assert(bufferAt + length <= buffer.sizeBytes, "the range lies inside its buffer");
    this.buffers[slot] = buffer;
    this.wanted[slot] = length;
    const at = slot * descriptorWords;
    this.descriptors[at + bufferIdWord] = buffer.id;
    this.descriptors[at + bufferAtWord] = bufferAt;
    this.descriptors[at + lengthWord] = length;
  }

  setOffset(slot: number, offset: number): void {
    assert(offset >= 0 && offset <= Number.MAX_SAFE_INTEGER, "file offsets are exact");
    const at = slot * descriptorWords;
    this.descriptors[at + offsetLowWord] = offset % wordRange;
    this.descriptors[at + offsetHighWord] = Math.floor(offset / wordRange);
  }

  setFlags(slot: number, flags: number): void {
    this.descriptors[slot * descriptorWords + flagsWord] = flags;
  }

  flags(slot: number): number {
    return this.descriptors[slot * descriptorWords + flagsWord];
  }

  setHandle(slot: number, handle: number): void {
    this.descriptors[slot * descriptorWords + handleWord] = handle;
  }

  handle(slot: number): number {
    return this.descriptors[slot * descriptorWords + handleWord];
  }

  /** Changes what the kernel is asked for; `opcode` goes on to say what the owner asked for. */
  setOpcode(slot: number, opcode: number): void {
    this.descriptors[slot * descriptorWords + opcodeWord] = opcode;
  }

  setTimeout(slot: number, milliseconds: number): void {
    const at = slot * descriptorWords + extraWord;
    this.descriptors[at] = Math.floor(milliseconds / 1000);
    this.descriptors[at + 1] = 0;
    this.descriptors[at + 2] = Math.floor((milliseconds % 1000) * 1_000_000);
    this.descriptors[at + 3] = 0;
  }

  /** Makes the descriptor name what is left after `moved` more bytes. */
  advance(slot: number, moved: number, isFile: boolean): void {
    this.moved[slot] += moved;
    this.retries[slot] = 0;
    const at = slot * descriptorWords;
    this.descriptors[at + bufferAtWord] += moved;
    this.descriptors[at + lengthWord] -= moved;
    if (!isFile) return;
    const low = this.descriptors[at + offsetLowWord] + moved;
    this.descriptors[at + offsetLowWord] = low; // Keeps the low 32 bits.
    if (low >= wordRange) this.descriptors[at + offsetHighWord] += 1;
  }

  /** Hands the slot to the addon, which takes slots in the order of queuing. */
  queue(slot: number): void {
    const tail = this.control[queueTailWord];
    assert((tail - this.control[queueHeadWord]) >>> 0 < this.capacity, "a slot is queued once");
    this.pending[tail & (this.capacity - 1)] = slot;
    this.control[queueTailWord] = tail + 1; // Wraps at 2^32.
  }

  /** Slots are waiting to be submitted. */
  get queued(): boolean {
    return this.control[queueTailWord] !== this.control[queueHeadWord];
  }
}
