/**
 * All memory that messages live in, allocated at start: page-aligned buffers in two sizes, handed
 * out and shared by reference counting. When none is free the caller waits its turn; nothing grows.
 *
 * A message is received into, written to the journal from, and sent from the same buffer. Its
 * content must not change while a send or a write of it is in flight.
 *
 * Invariants:
 * - references > 0 exactly while a message is out of the pool.
 * - A message is handed out with one reference, the caller's; the last `unref` gives it back.
 * - Waiters of one class proceed in the order in which they began to wait.
 */
import { assert } from "../core/assert.ts";
import { headerSize, messageSizeMax, sectorSize } from "../core/limits.ts";
import { frame } from "../wire/header.ts";
import type { IoBuffer } from "./io.ts";

/** Bytes of a small message: most requests of few events, all replies to them, all control. */
export const smallMessageSize = 16 * 1024;

/** Bytes of a large message: the largest frame, and a sector to pad it with for the journal. */
export const largeMessageSize = messageSizeMax + sectorSize;

const sizeWord = frame.word.size;
const commandAt = frame.at.command;

export class Message {
  readonly buffer: IoBuffer;
  readonly bytes: Uint8Array;
  readonly words: Uint32Array;
  readonly large: boolean;
  /** Where it goes when its last owner releases it: `message.pool.unref(message)`. */
  readonly pool: MessagePool;
  /** Owners. Changed by the pool alone. */
  references = 0;

  constructor(pool: MessagePool, buffer: IoBuffer, large: boolean) {
    this.pool = pool;
    this.buffer = buffer;
    this.bytes = buffer.bytes;
    this.words = buffer.words;
    this.large = large;
  }

  /** Header and body together, as the header says. Bytes. */
  get size(): number {
    assert(this.references > 0, "a message in use has an owner");
    return this.words[sizeWord]!;
  }

  get command(): number {
    assert(this.references > 0, "a message in use has an owner");
    return this.bytes[commandAt]!;
  }
}

/** A place in the pool's waiting line. Made once by its owner and used again and again. */
export class MessageWaiter {
  /** True while it stands in line. Kept by the pool. */
  waiting = false;
  /** The class that it waits for. */
  large = false;
  previous: MessageWaiter | null = null;
  next: MessageWaiter | null = null;
  /** The last pass over the line that asked it. */
  pass = 0;

  /**
   * @param proceed - Called from `wakeWaiters` when a message of the class is free. Returns false
   *   to keep its place in the line. Otherwise it calls `cancelWait` first, then acts, and may
   *   wait again (at the end of the line).
   */
  constructor(readonly proceed: () => boolean) {}
}

export interface MessagePoolOptions {
  /** Messages of `smallMessageSize`. */
  readonly small: number;
  /** Messages of `largeMessageSize`. */
  readonly large: number;
}

export class MessagePool {
  readonly smallCount: number;
  readonly largeCount: number;
  /**
   * Called when a message came free or a waiter may otherwise go on, at most once until
   * `wakeWaiters`. The callee arranges for `wakeWaiters` to run soon, not from inside this call:
   * `unref` is called from the middle of things.
   */
  onWake: (() => void) | null = null;
  /** Most messages of each class that were in use at once. */
  smallUsedMax = 0;
  largeUsedMax = 0;
  private readonly freeSmall: Message[] = [];
  private readonly freeLarge: Message[] = [];
  private first: MessageWaiter | null = null;
  private last: MessageWaiter | null = null;
  private waitersSmall = 0;
  private waitersLarge = 0;
  private wakeRequested = false;
  private pass = 0;

  /** @param allocate - Page-aligned zeroed memory: the backend's `allocate`. */
  constructor(allocate: (sizeBytes: number) => IoBuffer, options: MessagePoolOptions) {
    assert(options.small > 0, "a pool has small messages");
    assert(options.large > 0, "a pool has large messages");
    this.smallCount = options.small;
    this.largeCount = options.large;
    for (let count = 0; count < options.small; count += 1) {
      this.freeSmall.push(new Message(this, allocate(smallMessageSize), false));
    }
    for (let count = 0; count < options.large; count += 1) {
      this.freeLarge.push(new Message(this, allocate(largeMessageSize), true));
    }
  }

  /** Messages of the class that are not in use. */
  free(large: boolean): number {
    return large ? this.freeLarge.length : this.freeSmall.length;
  }

  /** Waiters in line for the class. Whoever finds some should wait too, not overtake them. */
  waiters(large: boolean): number {
    return large ? this.waitersLarge : this.waitersSmall;
  }

  /**
   * A message with room for `sizeBytes`, with one reference, or null when none is free. What lies
   * in its memory is arbitrary.
   * @param reserve - Take one only if more than this many of its class are free.
   */
  get(sizeBytes: number, reserve = 0): Message | null {
    assert(sizeBytes >= headerSize, "a message has a header");
    assert(sizeBytes <= largeMessageSize, "a message fits the largest buffer");
    const list = sizeBytes > smallMessageSize ? this.freeLarge : this.freeSmall;
    if (list.length <= reserve) return null;
    const message = list.pop();
    if (message === undefined) return null;
    assert(message.references === 0, "a free message has no owner");
    message.references = 1;
    if (message.large) {
      this.largeUsedMax = Math.max(this.largeUsedMax, this.largeCount - list.length);
    } else {
      this.smallUsedMax = Math.max(this.smallUsedMax, this.smallCount - list.length);
    }
    return message;
  }

  /** Adds an owner; returns the message. */
  ref(message: Message): Message {
    assert(message.pool === this, "the message is of this pool");
    assert(message.references > 0, "only an owner may share a message");
    message.references += 1;
    return message;
  }

  /** Gives up one reference. The caller must not touch the message afterwards. */
  unref(message: Message): void {
    assert(message.pool === this, "the message is of this pool");
    assert(message.references > 0, "only an owner may release a message");
    message.references -= 1;
    if (message.references > 0) return;
    const list = message.large ? this.freeLarge : this.freeSmall;
    list.push(message);
    assert(
      list.length <= (message.large ? this.largeCount : this.smallCount),
      "no more messages are free than exist",
    );
    if (this.waiters(message.large) > 0) this.requestWake();
  }

  /** Puts a waiter at the end of the line. */
  wait(waiter: MessageWaiter, large: boolean): void {
    assert(!waiter.waiting, "a waiter stands in line once");
    waiter.waiting = true;
    waiter.large = large;
    waiter.previous = this.last;
    waiter.next = null;
    if (this.last === null) this.first = waiter;
    else this.last.next = waiter;
    this.last = waiter;
    if (large) this.waitersLarge += 1;
    else this.waitersSmall += 1;
    // Those ahead may be waiting for something else than a message.
    if (this.free(large) > 0) this.requestWake();
  }

  /** Takes a waiter out of the line; harmless when it does not wait. */
  cancelWait(waiter: MessageWaiter): void {
    if (!waiter.waiting) return;
    waiter.waiting = false;
    if (waiter.previous === null) this.first = waiter.next;
    else waiter.previous.next = waiter.next;
    if (waiter.next === null) this.last = waiter.previous;
    else waiter.next.previous = waiter.previous;
    waiter.previous = null;
    waiter.next = null;
    if (waiter.large) this.waitersLarge -= 1;
    else this.waitersSmall -= 1;
    // Those behind it stood back for it.
    this.requestWake();
  }

  /** Asks for `wakeWaiters`: a waiter that kept its place may be able to proceed now. */
  requestWake(): void {
    if (this.wakeRequested || this.first === null || this.onWake === null) return;
    this.wakeRequested = true;
    this.onWake();
  }

  /**
   * Lets waiters proceed, oldest first, as long as messages of their class are free. Each is asked
   * at most once per call. Not to be called from inside a `proceed`.
   */
  wakeWaiters(): void {
    this.wakeRequested = false;
    this.pass += 1;
    let waiter = this.first;
    while (waiter !== null) {
      if (waiter.pass === this.pass || this.free(waiter.large) === 0) {
        waiter = waiter.next;
        continue;
      }
      waiter.pass = this.pass;
      if (waiter.proceed()) {
        // It may have closed others, and so taken them out of the line: start over.
        waiter = this.first;
      } else {
        assert(waiter.waiting, "a waiter that cannot proceed keeps its place");
        waiter = waiter.next;
      }
    }
  }
}
