/**
 * Fetches what is missing of the log from peers, and answers what they miss. In this order: the
 * head, when commits beyond it are known; headers, from the head backwards; prepares, oldest first.
 *
 * Nothing that a peer sends is believed by itself: a header must be the one that the chain wants, a
 * prepare the one that a trusted header names. What stays unanswered is asked again, of another peer.
 *
 * Bounds: one request for headers, `prepareRequestsMax` for prepares, `servesMax` reads for peers.
 */
import { assert } from "../core/assert.ts";
import { headerSize } from "../core/limits.ts";
import type { Prng } from "../core/prng.ts";
import { u64ReadNumber, u128Copy, u128IsZero } from "../core/u128.ts";
import type { Message, MessagePool } from "../io/message-pool.ts";
import { sectorCeil } from "../wal/data-file.ts";
import { headerMessageSize } from "../wal/headers.ts";
import { PrepareRead } from "../wal/prepare-reads.ts";
import { frame, prepareHeader } from "../wire/header.ts";
import { getHeadersHeader, getPrepareHeader, headersMax } from "../wire/replica-headers.ts";
import { bodyHeaderAt } from "../wire/replica-messages.ts";
import type { HeaderChain } from "./header-chain.ts";
import type { PeerPort } from "./peer-port.ts";
import type { PrepareCache } from "./prepare-cache.ts";
import type { ReplicaBus } from "./replica-bus.ts";
import { type ReplicaState, Status } from "./replica-state.ts";
import { Timer } from "./timers.ts";

/** Requests for prepares on their way. */
const prepareRequestsMax = 8;
/** Prepares being read for peers. */
const servesMax = 4;
/** An unanswered request is made again after so many ticks. */
const expiryTicks = 25;
/** Share of requests that go to any peer instead of the primary. */
const strayChance = 0.3;

export interface LogRepairOptions {
  readonly state: ReplicaState;
  readonly chain: HeaderChain;
  readonly cache: PrepareCache;
  readonly peers: PeerPort;
  readonly bus: ReplicaBus;
  readonly pool: MessagePool;
  readonly prng: Prng;
  /** Asks the primary for the log's end. */
  readonly askPrimary: () => void;
  /** False: the primary is silent. What is missing, others have to send. */
  readonly hearsPrimary: () => boolean;
  /** Trusted headers have come. */
  readonly onHeaders: () => void;
}

/** A prepare being read for a peer. */
class Serve {
  message: Message | null = null;
  to = 0;
  readonly onRead: (result: PrepareRead) => void;
  constructor(onDone: (serve: Serve, result: PrepareRead) => void) {
    this.onRead = (result) => onDone(this, result);
  }
}

export class LogRepair {
  readonly counters = { headersAsked: 0, preparesAsked: 0, preparesServed: 0, headsAsked: 0 };
  private readonly options: LogRepairOptions;
  private readonly state: ReplicaState;
  private readonly wantedOps = new Float64Array(prepareRequestsMax).fill(-1);
  private readonly wantedUntil = new Float64Array(prepareRequestsMax);
  private headersUntil = 0;
  private headUntil = 0;
  private ticks = 0;
  private readonly freeServes: Serve[] = [];
  private readonly checksum = new Uint32Array(4);
  private readonly timer: Timer;

  constructor(options: LogRepairOptions) {
    this.options = options;
    this.state = options.state;
    this.timer = new Timer({ ticks: 10, jitterPercent: 50 }, options.prng);
    this.timer.start();
    for (let count = 0; count < servesMax; count += 1) {
      this.freeServes.push(new Serve((serve, result) => this.onServed(serve, result)));
    }
  }

  tick(): void {
    this.ticks += 1;
    if (this.timer.tick()) this.run();
  }

  /** The log is another one: what was asked for may not be wanted any more. */
  forget(): void {
    this.wantedOps.fill(-1);
    this.headersUntil = 0;
    this.headUntil = 0;
  }

  /** Asks for what is missing and has not been asked for. */
  run(): void {
    const { state } = this;
    if (state.replicaCount === 1 || !this.mayTake()) return;
    if (state.status !== Status.normal && state.status !== Status.viewChange) return;
    this.expire();
    if (state.isNormalBackup && state.commitMax > state.op && this.ticks >= this.headUntil) {
      this.headUntil = this.ticks + expiryTicks;
      this.counters.headsAsked += 1;
      this.options.askPrimary();
    }
    this.askHeaders();
    this.askPrepares();
  }

  private expire(): void {
    for (let index = 0; index < prepareRequestsMax; index += 1) {
      const op = this.wantedOps[index]!;
      if (op === -1) continue;
      const here = this.state.journal.hasPrepare(op) || this.state.journal.isWriting(op);
      if (here || this.ticks >= this.wantedUntil[index]!) this.wantedOps[index] = -1;
    }
  }

  // ── Asking ───────────────────────────────────────────────────────────────────────────────────

  private askHeaders(): void {
    const { chain, peers } = this.options;
    if (chain.complete || this.ticks < this.headersUntil) return;
    this.headersUntil = this.ticks + expiryTicks;
    this.counters.headersAsked += 1;
    const floor = this.state.superblock.checkpointOp + 1;
    const opMin = Math.max(floor, chain.next - headersMax + 1);
    peers.getHeaders(this.choosePeer(), opMin, chain.next);
  }

  private askPrepares(): void {
    const { state } = this;
    const { journal } = state;
    let free = 0;
    for (let index = 0; index < prepareRequestsMax; index += 1) {
      if (this.wantedOps[index] === -1) free += 1;
    }
    // What is to be executed next comes first, then what was lost of what has been executed.
    const top = Math.min(state.op, journal.opMax);
    for (let op = state.commitMin + 1; op <= top && free > 0; op += 1) {
      if (this.ask(op)) free -= 1;
    }
    for (let op = journal.checkpointed + 1; op <= state.commitMin && free > 0; op += 1) {
      if (this.ask(op)) free -= 1;
    }
  }

  private ask(op: number): boolean {
    const { journal } = this.state;
    if (!this.options.chain.trusts(op) || journal.hasPrepare(op)) return false;
    if (!journal.canWrite(op) || this.wantedOps.includes(op)) return false;
    const index = this.wantedOps.indexOf(-1);
    assert(index !== -1, "a request is free");
    this.wantedOps[index] = op;
    this.wantedUntil[index] = this.ticks + expiryTicks;
    this.counters.preparesAsked += 1;
    const at = journal.headerAt(op);
    this.options.peers.getPrepare(this.choosePeer(), op, journal.headers, at);
    return true;
  }

  private choosePeer(): number {
    const { state } = this;
    const primary = state.primaryOf(state.view);
    const ask = primary !== state.replica && this.options.hearsPrimary();
    if (ask && !this.options.prng.chance(strayChance)) return primary;
    // A standby is none of those that can be asked.
    const others = state.isStandby ? state.replicaCount : state.replicaCount - 1;
    const other = this.options.prng.below(others);
    return other < state.replica ? other : other + 1;
  }

  /**
   * The log is known, and it is durable that this replica has left the one before: journaled earlier, a
   * prepare of this log would pass as one of that after a crash.
   */
  private mayTake(): boolean {
    return this.state.hasLog && this.state.viewDurable;
  }

  /** The header of a prepare that arrived: true when it is one that the log wants here. */
  wants(op: number, message: Message): boolean {
    const { journal } = this.state;
    if (!this.mayTake() || !this.options.chain.trusts(op) || journal.hasPrepare(op)) return false;
    if (!journal.canWrite(op)) return false;
    const at = journal.headerAt(op);
    for (let word = 0; word < 4; word += 1) {
      if (journal.headers[at + word] !== message.words[frame.word.checksum + word]) return false;
    }
    return true;
  }

  onHeaders(message: Message): void {
    const { chain } = this.options;
    if (!this.state.hasLog || chain.complete) return;
    const { words } = message;
    const count = words[frame.word.size]! / headerSize - 1;
    let accepted = false;
    for (let index = 0; index < count; index += 1) {
      const at = bodyHeaderAt(index);
      if (chain.accept(u64ReadNumber(words, at + prepareHeader.word.op), words, at))
        accepted = true;
    }
    if (!accepted) return;
    this.headersUntil = 0;
    this.options.onHeaders();
    this.run();
  }

  // ── Answering ────────────────────────────────────────────────────────────────────────────────

  onGetHeaders(message: Message): void {
    const { words } = message;
    const opMin = u64ReadNumber(words, getHeadersHeader.word.opMin);
    const opMax = u64ReadNumber(words, getHeadersHeader.word.opMax);
    if (opMax < opMin) return;
    this.options.peers.headers(message.bytes[frame.at.replica]!, opMin, opMax);
  }

  onGetPrepare(message: Message): void {
    const { state } = this;
    const { words } = message;
    const to = message.bytes[frame.at.replica]!;
    const op = u64ReadNumber(words, getPrepareHeader.word.op);
    const at = getPrepareHeader.word.prepareChecksum;
    const cached = this.options.cache.get(op, words, at);
    if (cached !== null) {
      this.counters.preparesServed += 1;
      this.options.bus.sendToReplica(to, cached);
      return;
    }
    if (u128IsZero(words, at) || !state.journal.hasPrepareOf(op, words, at)) return;
    if (!state.journal.canRead || this.freeServes.length === 0) return;
    const size = headerMessageSize(state.journal.headers, state.journal.headerAt(op));
    const target = this.options.pool.get(sectorCeil(size));
    if (target === null) return;
    const serve = this.freeServes.pop()!;
    serve.to = to;
    serve.message = target;
    u128Copy(this.checksum, 0, words, at);
    state.journal.readPrepare(op, this.checksum, 0, target.buffer, serve.onRead);
  }

  private onServed(serve: Serve, result: PrepareRead): void {
    const { message } = serve;
    assert(message !== null, "a prepare was read");
    serve.message = null;
    this.freeServes.push(serve);
    if (result === PrepareRead.ok && this.state.status !== Status.stopped) {
      this.counters.preparesServed += 1;
      this.options.bus.sendToReplica(serve.to, message);
    }
    message.pool.unref(message);
  }
}
