/**
 * The ring's engine: begins and ends operations, takes the turns, cancels, and stops. What an
 * operation means is up to `FileOperations` and `SocketOperations`, which get each result first.
 *
 * Invariants: an owner is called back once per operation, from a turn alone; a slot is used again
 * only when its operation and its cancellation have both been reaped; the ring is closed when
 * nothing is in flight.
 */
import { getSystemErrorName } from "node:util";
import { assert } from "../../core/assert.ts";
import type { NativeRing, RingAddon } from "../../native/addon.ts";
import { nativeLayout } from "../../native/layout.ts";
import { type Completion, Errno } from "../io.ts";
import { already, timedOut } from "./errors.ts";
import { noSlot, Slots } from "./slots.ts";
import type { UringStats } from "./stats.ts";

const {
  opcodeNop,
  opcodeRead,
  opcodeWrite,
  opcodeSync,
  opcodeAccept,
  opcodeConnect,
  opcodeReceive,
  opcodeSend,
  opcodeClose,
  opcodeTimeout,
  opcodeCancel,
} = nativeLayout;

const wordSize = 4;
const completionWords = nativeLayout.completionSize / wordSize;
const slotWord = nativeLayout.completionSlot / wordSize;
const resultWord = nativeLayout.completionResult / wordSize;
const durationWord = nativeLayout.completionDurationUs / wordSize;
const wakeWord = nativeLayout.controlWake / wordSize;
const systemCallsWord = nativeLayout.controlSystemCalls / wordSize;

/** Completions worked off per turn. */
export const completionsMax = 1024;

/** Gets the kernel's results of its kind of operation. */
export interface Kind {
  onResult(slot: number, result: number): void;
}

export interface SocketKind extends Kind {
  /** A cancellation found the operation of `slot` running: it must be made to end. */
  onStuck(slot: number): void;
  closeAll(): void;
}

export class Engine {
  readonly slots: Slots;
  private readonly completionWords: Uint32Array;
  private readonly completionResults: Int32Array;
  private readonly control: Uint32Array;
  private files: Kind | null = null;
  private sockets: SocketKind | null = null;

  private stopping = false;
  private stopped = false;
  private onStopped: () => void = () => {};
  /** Operations refused since `stop`. */
  private refused = 0;
  inTurn = false;
  /** Called when a slot is queued outside of a turn. */
  onQueued: () => void = () => {};

  constructor(
    readonly addon: RingAddon,
    private readonly ring: NativeRing,
    readonly stats: UringStats,
    private readonly operationsMax: number,
  ) {
    // An operation may have a cancellation beside it.
    this.slots = new Slots(ring, 2 * operationsMax);
    this.completionWords = new Uint32Array(ring.completions);
    this.completionResults = new Int32Array(ring.completions);
    this.control = new Uint32Array(ring.control);
  }

  attach(files: Kind, sockets: SocketKind): void {
    this.files = files;
    this.sockets = sockets;
  }

  get ringId(): number {
    return this.ring.id;
  }

  /** libuv's descriptor became readable during the last turn. */
  get hostWaits(): boolean {
    return this.control[wakeWord] !== 0;
  }

  get isStopped(): boolean {
    return this.stopped;
  }

  /** Takes the completion over. False: the backend is stopping, and the operation ends canceled. */
  begin(completion: Completion): boolean {
    assert(!completion.busy, "a completion serves one operation at a time");
    assert(!this.stopped, "a stopped backend starts nothing");
    assert(this.stats.inFlight < this.operationsMax, "operations in flight are within the limit");
    completion.busy = true;
    this.stats.started();
    if (!this.stopping) return true;
    this.refused += 1;
    assert(
      this.refused <= this.operationsMax,
      "owners cease to start operations when these end canceled",
    );
    this.endWith(completion, Errno.canceled);
    return false;
  }

  /** Ends an operation in the next turn without asking the kernel for anything. */
  endWith(completion: Completion, verdict: number): void {
    const slot = this.slots.take(opcodeNop, 0, completion);
    this.slots.verdict[slot] = verdict;
    this.queue(slot);
  }

  timeout(completion: Completion, milliseconds: number): void {
    assert(milliseconds >= 0 && milliseconds <= 0x7fff_ffff, "a timeout is a number of ms");
    if (!this.begin(completion)) return;
    if (milliseconds === 0) {
      this.endWith(completion, 0);
      return;
    }
    const slot = this.slots.take(opcodeTimeout, 0, completion);
    this.slots.setTimeout(slot, milliseconds);
    this.queue(slot);
  }

  queue(slot: number): void {
    this.slots.queue(slot);
    if (!this.inTurn) this.onQueued();
  }

  /** The operation has ended: gives the slot back and calls the owner. */
  finish(slot: number, result: number): void {
    const completion = this.slots.completions[slot];
    assert(completion !== null, "the owner waits");
    this.slots.detach(slot);
    if (this.slots.canceledBy[slot] === noSlot) this.slots.release(slot);
    else this.slots.lingering[slot] = 1;
    this.stats.ended();
    completion.busy = false;
    completion.result = result;
    completion.onDone(completion);
  }

  /** Asks the kernel to end an operation; it completes as it will. */
  cancel(slot: number): void {
    if (this.slots.canceled[slot] === 1) return;
    const canceling = this.slots.take(opcodeCancel, slot, null);
    this.slots.canceledBy[slot] = canceling;
    this.slots.canceled[slot] = 1;
    this.queue(canceling);
  }

  private onCanceled(canceling: number, result: number): void {
    const slot = this.slots.handle(canceling);
    this.slots.release(canceling);
    this.slots.canceledBy[slot] = noSlot;
    if (this.slots.lingering[slot] === 1) this.slots.release(slot);
    else if (result === already) this.sockets?.onStuck(slot);
    // 0: its completion comes. -ENOENT: it had ended by itself, and its completion comes too.
  }

  /** Submits what is queued, waits up to `waitMs`, and calls back. Returns completions reaped. */
  turn(waitMs: number): number {
    assert(!this.inTurn, "turns do not nest");
    this.inTurn = true;
    const count = this.addon.ringEnter(this.ring.id, waitMs);
    if (count < 0) throw new Error(`io_uring failed: ${getSystemErrorName(count)}`);
    this.stats.systemCalls = this.control[systemCallsWord];
    for (let index = 0; index < count; index += 1) {
      const at = index * completionWords;
      const slot = this.completionWords[at + slotWord];
      this.slots.durationUs[slot] += this.completionWords[at + durationWord];
      this.onResult(slot, this.completionResults[at + resultWord]);
    }
    this.inTurn = false;
    return count;
  }

  private onResult(slot: number, result: number): void {
    switch (this.slots.opcode[slot]) {
      case opcodeRead:
      case opcodeWrite:
      case opcodeSync:
        this.files?.onResult(slot, result);
        return;
      case opcodeAccept:
      case opcodeConnect:
      case opcodeReceive:
      case opcodeSend:
      case opcodeClose:
        this.sockets?.onResult(slot, result);
        return;
      case opcodeNop:
        this.finish(slot, this.slots.verdict[slot]);
        return;
      case opcodeTimeout:
        this.finish(slot, result === timedOut ? 0 : result);
        return;
      case opcodeCancel:
        this.onCanceled(slot, result);
        return;
      default:
        assert(false, "completions belong to slots in use");
    }
  }

  /** Cancels what may wait for long; files, closes and nops end by themselves. */
  stop(onStopped: () => void): void {
    assert(!this.stopping, "a backend is stopped once");
    this.stopping = true;
    this.onStopped = onStopped;
    for (let slot = 0; slot < this.slots.capacity; slot += 1) {
      if (this.slots.completions[slot] === null) continue;
      switch (this.slots.opcode[slot]) {
        case opcodeAccept:
        case opcodeConnect:
        case opcodeReceive:
        case opcodeSend:
        case opcodeTimeout:
          this.cancel(slot);
          break;
        default:
          break;
      }
    }
    if (!this.inTurn) this.onQueued();
  }

  /** After each turn: closes the ring when `stop` was called and all is reaped. */
  endIfStopped(): boolean {
    if (this.stopped) return true;
    if (!this.stopping || this.slots.used > 0) return false;
    assert(this.stats.inFlight === 0, "every operation has a slot");
    this.stopped = true;
    this.sockets?.closeAll();
    this.addon.ringClose(this.ring.id);
    this.onStopped();
    return true;
  }
}
