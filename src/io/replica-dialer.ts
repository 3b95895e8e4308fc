/**
 * Keeps trying to connect to one replica, with the delay of protocol/wire.md §1 before every
 * attempt, the first included: 50 ms + uniform [0, min(950, 50 · 2^n)] ms, where n counts the
 * attempts since bytes last arrived from it. Stays quiet while a connection exists.
 */
import { assert } from "../core/assert.ts";
import { tickMs } from "../core/limits.ts";
import type { Prng } from "../core/prng.ts";
import { Completion, type SocketHandle, type SocketIo } from "./io.ts";

/** Where a replica listens. Read before each attempt: it may have moved. */
export interface ReplicaAddress {
  /** An IPv4 or IPv6 address; attempts with any other text fail. */
  readonly host: string;
  readonly port: number;
}

const delayMsMin = 50;
const delayMsJitterMax = 950;
/** 50 · 2^5 is above the largest jitter already. */
const doublingsMax = 5;

export class ReplicaDialer {
  readonly replica: number;
  private readonly io: SocketIo;
  private readonly random: Prng;
  private readonly address: ReplicaAddress;
  private readonly onConnected: (socket: SocketHandle) => void;
  private readonly onFailed: (error: number) => void;
  private readonly connectCompletion: Completion;
  private readonly closeCompletion: Completion;
  private attempts = 0;
  /** Tick of the next attempt; −1 while connecting or connected. */
  private dueTick = -1;
  private stopped = false;
  private ticks = 0;

  constructor(
    io: SocketIo,
    random: Prng,
    replica: number,
    address: ReplicaAddress,
    onConnected: (socket: SocketHandle) => void,
    onFailed: (error: number) => void,
  ) {
    this.io = io;
    this.random = random;
    this.replica = replica;
    this.address = address;
    this.onConnected = onConnected;
    this.onFailed = onFailed;
    this.connectCompletion = new Completion((completion) => this.onDone(completion.result));
    this.closeCompletion = new Completion(() => {});
  }

  /** There is no connection: try after the delay, unless stopped. */
  schedule(ticks: number): void {
    assert(this.dueTick === -1, "an attempt is scheduled once");
    assert(!this.connectCompletion.busy, "one attempt at a time");
    if (this.stopped) return;
    const jitter = Math.min(
      delayMsJitterMax,
      delayMsMin * 2 ** Math.min(this.attempts, doublingsMax),
    );
    const delayMs = delayMsMin + this.random.below(jitter + 1);
    this.dueTick = ticks + Math.ceil(delayMs / tickMs);
  }

  tick(ticks: number): void {
    this.ticks = ticks;
    if (this.dueTick === -1 || ticks < this.dueTick) return;
    this.dueTick = -1;
    this.attempts += 1;
    this.io.connect(this.connectCompletion, this.address.host, this.address.port);
  }

  /** The replica is there: the next loss of the connection is met quickly. */
  onBytes(): void {
    this.attempts = 0;
  }

  stop(): void {
    this.stopped = true;
    this.dueTick = -1;
  }

  private onDone(result: number): void {
    if (this.stopped) {
      if (result >= 0) this.io.closeSocket(this.closeCompletion, result);
      return;
    }
    if (result >= 0) {
      this.onConnected(result);
    } else {
      this.onFailed(result);
      this.schedule(this.ticks);
    }
  }
}
