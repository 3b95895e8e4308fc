/**
 * The simulated network between replicas and clients: whole messages on directed links. What the
 * protocol must bear happens to them: loss, doubling, overtaking, delay, links that are clogged or
 * cut (one way or both), and flipped bits, which the receiver's checks must find.
 *
 * A link holds a bounded number of messages, as the bus's queues and the kernel's buffers do; what
 * does not fit is dropped by the sender. When a connection breaks, everything on its way in both
 * directions is lost.
 */
import { assert } from "../../src/core/assert.ts";
import type { Prng } from "../../src/core/prng.ts";
import { type EventQueue, SimulatedEvent } from "./event-queue.ts";
import { exponential } from "./streams.ts";

export interface NetworkOptions {
  readonly delayMinUs: number;
  /** Mean of what comes on top of it. */
  readonly delayMeanUs: number;
  /** Probabilities per message. */
  readonly loss: number;
  readonly duplication: number;
  /** That a message does not wait for those sent before it. */
  readonly reordering: number;
  readonly corruption: number;
  /** Messages on one link at most. */
  readonly linkMessagesMax: number;
}

export interface NetworkCounters {
  sent: number;
  delivered: number;
  lost: number;
  duplicated: number;
  corrupted: number;
  queueFull: number;
}

/** Who is at the ends: replicas, standbys, then clients. */
export interface Receiver {
  /**
   * The packet's bytes are the receiver's during the call.
   * @returns 0: taken, or dropped for good. Otherwise it comes again after so many microseconds.
   */
  receive(packet: Packet): number;
}

export class Packet extends SimulatedEvent {
  from = 0;
  to = 0;
  size = 0;
  corrupted = false;
  epoch = 0;
  bytes: Uint8Array;
  words: Uint32Array;

  network: { arrive(packet: Packet): void } | null = null;

  constructor(capacity: number) {
    super();
    this.bytes = new Uint8Array(capacity);
    this.words = new Uint32Array(this.bytes.buffer);
  }

  run(): void {
    this.network!.arrive(this);
  }
}

/** Packets of 2^9 bytes and more are kept by capacity, from seed to seed. */
const capacityLog2Min = 9;
const free: Packet[][] = [];

export class Network {
  readonly counters: NetworkCounters = {
    sent: 0,
    delivered: 0,
    lost: 0,
    duplicated: 0,
    corrupted: 0,
    queueFull: 0,
  };
  /** While healed, messages are only delayed. */
  healed = false;
  /** Told of every message that is sent as a packet. */
  onSend: ((from: number, bytes: Uint8Array) => void) | null = null;
  /** Called with every packet that has arrived. */
  onArrival: (packet: Packet) => void = () => {};
  private readonly links: number;
  private readonly cut: Uint8Array;
  private readonly cloggedUntil: Float64Array;
  private readonly lastArrival: Float64Array;
  private readonly onWay: Int32Array;
  private readonly epochs: Int32Array;

  constructor(
    private readonly queue: EventQueue,
    private readonly random: Prng,
    private readonly options: NetworkOptions,
    private readonly receivers: readonly Receiver[],
    readonly ends: number,
  ) {
    this.links = ends * ends;
    this.cut = new Uint8Array(this.links);
    this.cloggedUntil = new Float64Array(this.links);
    this.lastArrival = new Float64Array(this.links);
    this.onWay = new Int32Array(this.links);
    this.epochs = new Int32Array(this.links);
  }

  /**
   * Sends a copy. False: dropped at once, the link is full.
   * @param words - The same memory as words, where the message begins at one.
   */
  send(
    from: number,
    to: number,
    bytes: Uint8Array,
    words: Uint32Array | null,
    size: number,
  ): boolean {
    assert(from !== to, "nobody sends to itself");
    const link = from * this.ends + to;
    this.counters.sent += 1;
    if (this.onSend !== null) this.onSend(from, bytes);
    if (this.onWay[link]! >= this.options.linkMessagesMax) {
      this.counters.queueFull += 1;
      return false;
    }
    if (this.cut[link] === 1 || this.happens(this.options.loss)) {
      this.counters.lost += 1;
      return true;
    }
    this.dispatch(from, to, bytes, words, size);
    if (this.happens(this.options.duplication)) {
      this.counters.duplicated += 1;
      this.dispatch(from, to, bytes, words, size);
    }
    return true;
  }

  private happens(probability: number): boolean {
    return !this.healed && probability > 0 && this.random.chance(probability);
  }

  private dispatch(
    from: number,
    to: number,
    bytes: Uint8Array,
    words: Uint32Array | null,
    size: number,
  ): void {
    const link = from * this.ends + to;
    const packet = this.take(size);
    // A view is dearer than a short loop of words.
    if (size <= 512 && words !== null) {
      for (let at = 0; at * 4 < size; at += 1) packet.words[at] = words[at]!;
    } else {
      packet.bytes.set(bytes.subarray(0, size));
    }
    packet.from = from;
    packet.to = to;
    packet.size = size;
    packet.epoch = this.epochs[link]!;
    packet.corrupted = this.happens(this.options.corruption);
    if (packet.corrupted) this.corrupt(packet);
    const { delayMinUs, delayMeanUs } = this.options;
    const delay = delayMinUs + exponential(this.random, delayMeanUs);
    let at = Math.max(this.queue.nowUs + delay, this.cloggedUntil[link]!);
    if (!this.happens(this.options.reordering)) at = Math.max(at, this.lastArrival[link]!);
    this.lastArrival[link] = Math.max(at, this.lastArrival[link]!);
    this.onWay[link]! += 1;
    this.queue.schedule(packet, at - this.queue.nowUs);
  }

  private corrupt(packet: Packet): void {
    this.counters.corrupted += 1;
    const flips = 1 + this.random.below(3);
    // Most often in the header, which is a small part of a large message.
    const range = this.random.chance(0.5) ? 256 : packet.size;
    // In different bytes: a bit that is flipped twice is none.
    const first = this.random.below(range);
    const apart = 1 + this.random.below(60);
    for (let flip = 0; flip < flips; flip += 1) {
      packet.bytes[(first + flip * apart) % range]! ^= 1 << this.random.below(8);
    }
  }

  private take(size: number): Packet {
    let log2 = capacityLog2Min;
    while (1 << log2 < size) log2 += 1;
    const index = log2 - capacityLog2Min;
    while (free.length <= index) free.push([]);
    const packet = free[index]!.pop() ?? new Packet(1 << log2);
    packet.network = this;
    return packet;
  }

  private give(packet: Packet): void {
    let log2 = capacityLog2Min;
    while (1 << log2 < packet.bytes.length) log2 += 1;
    packet.network = null;
    free[log2 - capacityLog2Min]!.push(packet);
  }

  /** Internal: the time of a packet has come. */
  arrive(packet: Packet): void {
    const link = packet.from * this.ends + packet.to;
    if (packet.epoch !== this.epochs[link]) {
      this.give(packet);
      return;
    }
    if (this.cut[link] === 1) {
      this.counters.lost += 1;
    } else {
      const againUs = this.receivers[packet.to]!.receive(packet);
      if (againUs > 0) {
        this.queue.schedule(packet, againUs);
        return;
      }
      this.counters.delivered += 1;
      this.onArrival(packet);
    }
    // The receiver may have broken the connection.
    if (packet.epoch === this.epochs[link]) this.onWay[link]! -= 1;
    this.give(packet);
  }

  // ── Faults ───────────────────────────────────────────────────────────────────────────────────

  /** Nothing gets from one end to the other until `restore`. */
  cutLink(from: number, to: number): void {
    this.cut[from * this.ends + to] = 1;
  }

  restoreLinks(): void {
    this.cut.fill(0);
  }

  restoreLink(from: number, to: number): void {
    this.cut[from * this.ends + to] = 0;
  }

  /** What is sent from now on arrives later than then. */
  clog(from: number, to: number, untilUs: number): void {
    const link = from * this.ends + to;
    this.cloggedUntil[link] = Math.max(this.cloggedUntil[link]!, untilUs);
  }

  unclog(): void {
    this.cloggedUntil.fill(0);
    // What was held back stays on its way: late, as after any clog.
  }

  /** The connection between the two is gone, with everything on it. */
  breakConnection(a: number, b: number): void {
    for (const link of [a * this.ends + b, b * this.ends + a]) {
      this.epochs[link]! += 1;
      this.onWay[link] = 0;
      this.lastArrival[link] = 0;
    }
  }

  // ── For byte streams ─────────────────────────────────────────────────────────────────────────

  /** From now to the arrival of a segment; what is lost on the way is sent again a little later. */
  streamDelayUs(from: number, to: number): number {
    const { delayMinUs, delayMeanUs, loss } = this.options;
    let delay = delayMinUs + exponential(this.random, delayMeanUs);
    if (this.happens(loss)) delay += 200_000;
    const clogged = this.cloggedUntil[from * this.ends + to]!;
    return Math.max(delay, clogged - this.queue.nowUs);
  }

  /** Whether a bit of a segment is changed on the way, unnoticed by the kernels. */
  damagesSegment(): boolean {
    return this.happens(this.options.corruption);
  }

  isCut(from: number, to: number): boolean {
    return this.cut[from * this.ends + to] === 1;
  }
}
