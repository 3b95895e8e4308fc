/**
 * What a primary does in normal operation: takes requests, turns them into prepares, sends and
 * journals them, counts acknowledgements, and keeps time for the cluster (heartbeats, pulses).
 *
 * Invariants:
 * - An op is committed only with a replication quorum of acknowledgements given in this view, and
 *   after all ops before it.
 * - Timestamps of prepares rise strictly, whatever the clock does.
 * - A prepare names a checkpoint (checkpointer.ts); until that is durable here, no op is numbered.
 */
import { assert } from "../core/assert.ts";
import { headerSize, pipelinePrepareMax } from "../core/limits.ts";
import type { Prng } from "../core/prng.ts";
import { u64AddNumber, u64Compare, u64ReadNumber, u128Copy, u128Equal } from "../core/u128.ts";
import { U128Map } from "../core/u128-map.ts";
import type { Message, MessagePool } from "../io/message-pool.ts";
import type { StateMachine } from "../ledger/state-machine.ts";
import { sectorCeil } from "../wal/data-file.ts";
import { headerMessageSize } from "../wal/headers.ts";
import { PrepareRead } from "../wal/prepare-reads.ts";
import { beginHeader, resealHeader, sealHeader } from "../wire/build.ts";
import { Command, frame, prepareHeader, requestHeader } from "../wire/header.ts";
import { Operation, pulseExpiryMax } from "../wire/operations.ts";
import { prepareOkHeader } from "../wire/replica-headers.ts";
import type { Appender } from "./appender.ts";
import { BackupPace } from "./backup-pace.ts";
import type { Checkpointer } from "./checkpointer.ts";
import type { PeerPort } from "./peer-port.ts";
import { Pipeline } from "./pipeline.ts";
import type { PrepareCache } from "./prepare-cache.ts";
import { PrepareRequests } from "./prepare-requests.ts";
import type { ReplicaBus } from "./replica-bus.ts";
import type { ReplicaState } from "./replica-state.ts";
import { replyBytesMax } from "./reply-bound.ts";
import { operationOf, type PendingPrepare, RequestQueue, writePrepare } from "./request-queue.ts";
import { Timer } from "./timers.ts";

/** A request smaller than this waits for company while prepares are in flight. Bytes. */
const groupableSizeMax = 64 * 1024;

/** Prepares in flight above which small requests gather instead of starting a prepare. */
const gatherAboveInFlight = 2;

/** Ticks without a prepare after which the clock alone may call for a pulse: 100 ms. */
const pulseTicks = 10;

/** Ticks without an executed op, while one waits, after which a primary lets another try: 10 s. */
const abdicateTicks = 1000;

export interface PrimaryOptions {
  readonly state: ReplicaState;
  readonly stateMachine: StateMachine;
  readonly checkpointer: Checkpointer;
  readonly cache: PrepareCache;
  readonly appender: Appender;
  readonly peers: PeerPort;
  readonly bus: ReplicaBus;
  readonly pool: MessagePool;
  readonly prng: Prng;
  readonly checkpointInterval: number;
  readonly requestQueueMax: number;
  readonly requestSizeMax: number;
  readonly grouping: boolean;
  /** Cluster time; false while it is not known. */
  readonly wallNs: (target: Uint32Array, at: number) => boolean;
  /** More ops are committed. */
  readonly onCommitted: () => void;
  /** This primary cannot make progress. */
  readonly onAbdicate: () => void;
}

export class Primary {
  readonly counters = { prepares: 0, requests: 0, prepareRepeats: 0 };
  private readonly options: PrimaryOptions;
  private readonly state: ReplicaState;
  private readonly pipeline = new Pipeline();
  private readonly queue: RequestQueue;
  private readonly requests: PrepareRequests;
  /** Clients with a request in the queue or the pipeline. */
  private readonly clientsInFlight: U128Map;
  private readonly pace: BackupPace;
  /** Ticks until the next request may become a prepare. */
  private ticksHeld = 0;
  private ticksSincePrepare = 0;
  private ticksStuck = 0;
  private executedThen = 0;
  private pulseInFlight = false;
  private readonly wall = new Uint32Array(2);
  private readonly fields;
  private readonly heartbeat = new Timer({ ticks: 10 });
  private readonly repeat: Timer;
  /** The prepare that is read back while a log is taken over. */
  private readonly loading = { op: 0, message: null as Message | null, onReady: noop };

  constructor(options: PrimaryOptions) {
    this.options = options;
    this.state = options.state;
    this.queue = new RequestQueue(options.pool, options.requestQueueMax, options.grouping);
    const prepares = options.requestQueueMax + pipelinePrepareMax;
    this.clientsInFlight = new U128Map(prepares * 64);
    this.requests = new PrepareRequests(options.stateMachine);
    this.pace = new BackupPace(options.state, options.checkpointInterval);
    this.repeat = new Timer({ ticks: 20, ticksMax: 160, jitterPercent: 20 }, options.prng);
    this.fields = {
      cluster: this.state.cluster,
      view: 0,
      replica: this.state.replica,
      op: 0,
      commit: 0,
      timestamp: new Uint32Array(2),
      parent: this.state.headChecksum,
      checkpointId: new Uint32Array(4),
    };
  }

  // ── Beginning and leaving ────────────────────────────────────────────────────────────────────

  /**
   * Takes over a log whose committed part is executed and whose other prepares are all durable here:
   * brings those into memory.
   * @returns true when that is done already; otherwise `onReady` is called once more is there.
   */
  load(onReady: () => void): boolean {
    const { state } = this;
    const { journal } = state;
    if (this.loading.message !== null) return false;
    for (let op = state.commitMin + 1; op <= state.op; op += 1) {
      const at = journal.headerAt(op);
      if (this.options.cache.get(op, journal.headers, at) !== null) continue;
      const size = sectorCeil(headerMessageSize(journal.headers, at));
      const message = journal.canRead ? this.options.pool.get(size) : null;
      if (message === null) return false; // The next tick tries again.
      this.loading.op = op;
      this.loading.message = message;
      this.loading.onReady = onReady;
      journal.readPrepare(op, journal.headers, at, message.buffer, this.onLoaded);
      return false;
    }
    return true;
  }

  private readonly onLoaded = (result: PrepareRead): void => {
    const { op, message, onReady } = this.loading;
    assert(message !== null, "a prepare was read");
    this.loading.message = null;
    if (result === PrepareRead.ok) this.options.cache.put(op, message, this.state.commitMin);
    message.pool.unref(message);
    onReady();
  };

  /** Begins to serve with the loaded log; whatever is not committed counts own acknowledgements. */
  begin(): void {
    const { state } = this;
    const { journal } = state;
    assert(this.pipeline.length === 0, "a new primary has numbered nothing");
    for (let op = state.commitMin + 1; op <= state.op; op += 1) {
      const at = journal.headerAt(op);
      const message = this.options.cache.get(op, journal.headers, at);
      assert(message !== null, "the log was loaded");
      const entry = this.pipeline.push(op, journal.headers, at);
      entry.ackBits = 1 << state.replica;
      this.noteClients(message);
    }
    this.ticksSincePrepare = 0;
    this.ticksStuck = 0;
    this.ticksHeld = 0;
    this.pace.reset();
    this.heartbeat.start();
    this.repeat.start();
    this.advanceCommit();
  }

  private noteClients(prepare: Message): void {
    const sound = this.requests.open(prepare.buffer);
    assert(sound, "a prepare in the log has a sound table");
    while (this.requests.next()) {
      this.clientsInFlight.set(this.requests.words, this.requests.clientAt, 0);
    }
    this.requests.close();
    if (prepare.bytes[prepareHeader.at.operation] === Operation.pulse) this.pulseInFlight = true;
  }

  /** The view ends, or never began: gives up what only its primary has. Clients ask again. */
  leave(): void {
    this.pipeline.clear();
    while (this.queue.length > 0) {
      const item = this.queue.shift();
      if (item.message !== null) item.message.pool.unref(item.message);
      this.queue.recycle(item);
    }
    this.clientsInFlight.clear();
    this.pulseInFlight = false;
    this.heartbeat.stop();
    this.repeat.stop();
  }

  // ── Requests ─────────────────────────────────────────────────────────────────────────────────

  inFlight(words: Uint32Array, clientAt: number): boolean {
    return this.clientsInFlight.get(words, clientAt) !== -1;
  }

  /** Queues a request that was judged acceptable; false when there is no room. */
  accept(message: Message): boolean {
    const { stateMachine } = this.options;
    const operation = operationOf(message);
    const { words, bytes } = message;
    const bodySize = words[frame.word.size]! - headerSize;
    const delta =
      operation < 128
        ? 0
        : stateMachine.timestampDelta(operation, words, bytes, headerSize, bodySize);
    const replyBytes = replyBytesMax(operation, words, bytes, headerSize, bodySize);
    if (!this.queue.push(message, delta, replyBytes)) return false;
    this.clientsInFlight.set(words, requestHeader.word.client, 0);
    this.counters.requests += 1;
    return true;
  }

  // ── Preparing ────────────────────────────────────────────────────────────────────────────────

  /** Once per loop turn, after its completions: starts the prepares that may start now. */
  turn(): void {
    while (this.mayPrepare()) {
      const item = this.queue.shift();
      this.prepare(item);
      this.queue.recycle(item);
    }
  }

  private mayPrepare(): boolean {
    const item = this.queue.peek();
    if (item === undefined || this.ticksHeld > 0 || !this.mayNumber()) return false;
    const gathers =
      this.queue.grouping &&
      !item.closed &&
      this.queue.length === 1 &&
      item.bodySize < groupableSizeMax &&
      this.pipeline.length >= gatherAboveInFlight;
    return !gathers && this.options.wallNs(this.wall, 0);
  }

  /** True when the next op may be numbered; its checkpoint id is then in `fields`. */
  private mayNumber(): boolean {
    const op = this.state.op + 1;
    if (this.pipeline.full || op > this.state.commitMin + pipelinePrepareMax) return false;
    if (!this.state.journal.canWrite(op)) return false;
    return this.options.checkpointer.copyNamedId(op, this.fields.checkpointId);
  }

  /** Sets `fields.timestamp` to base + span, where base = max(last + 1, clock). */
  private assignTimestamp(span: number, useClock: boolean): void {
    const last = this.state.lastTimestamp;
    const target = this.fields.timestamp;
    u64AddNumber(target, 0, last[0]!, last[1]!, 1);
    const { wall } = this;
    if (useClock && u64Compare(wall[0]!, wall[1]!, target[0]!, target[1]!) > 0) {
      target[0] = wall[0]!;
      target[1] = wall[1]!;
    }
    u64AddNumber(target, 0, target[0]!, target[1]!, span);
    assert(target[1]! < 0x8000_0000, "timestamps stay below 2^63");
  }

  /** `mayPrepare` has read the clock and the checkpoint's id. */
  private prepare(item: PendingPrepare): void {
    this.assignTimestamp(item.timestampSpan, true);
    const message = item.message;
    assert(message !== null, "a queued item has a message");
    const fields = this.fields;
    fields.view = this.state.view;
    fields.op = this.state.op + 1;
    fields.commit = this.state.commitMax;
    const bodyUnchanged = writePrepare(item, fields);
    const words = message.words;
    if (message.bytes[prepareHeader.at.operation] === Operation.register) {
      words[headerSize / 4] = this.options.requestSizeMax - headerSize;
      sealHeader(message.bytes, words, 0);
    } else if (bodyUnchanged) {
      resealHeader(message.bytes, 0);
    } else {
      sealHeader(message.bytes, words, 0);
    }
    this.replicate(message);
  }

  /** Journals and sends the sealed prepare of the next op; takes over the caller's reference. */
  private replicate(message: Message): void {
    const { state } = this;
    const op = state.op + 1;
    state.adoptHead(op, message.words, 0);
    this.ticksSincePrepare = 0;
    if (this.pipeline.length === 0) this.repeat.start();
    this.counters.prepares += 1;
    this.pipeline.push(op, message.words, frame.word.checksum);
    this.options.cache.put(op, message, state.commitMin);
    this.options.appender.append(message);
    if (state.replicaCount > 1) {
      this.options.peers.broadcastKept(message);
      this.ticksHeld = this.pace.waitTicks;
    }
    message.pool.unref(message);
  }

  /** The own journal holds this prepare. */
  onDurable(prepare: Message): void {
    const op = u64ReadNumber(prepare.words, prepareHeader.word.op);
    this.acknowledge(op, prepare.words, frame.word.checksum, this.state.replica);
  }

  onPrepareOk(message: Message): void {
    const { words } = message;
    if (words[frame.word.view] !== this.state.view) return;
    const from = message.bytes[frame.at.replica]!;
    const op = u64ReadNumber(words, prepareOkHeader.word.op);
    this.pace.heard(from, u64ReadNumber(words, prepareOkHeader.word.commitMin));
    this.acknowledge(op, words, prepareOkHeader.word.prepareChecksum, from);
  }

  private acknowledge(op: number, words: Uint32Array, checksumAt: number, from: number): void {
    const entry = this.pipeline.find(op);
    if (entry === null || !u128Equal(entry.checksum, 0, words, checksumAt)) return;
    entry.ackBits |= 1 << from;
    this.advanceCommit();
  }

  private advanceCommit(): void {
    const { state } = this;
    let advanced = false;
    while (state.commitMax < state.op) {
      const next = this.pipeline.find(state.commitMax + 1);
      if (next === null || next.acks < state.quorums.replication) break;
      state.commitMax += 1;
      advanced = true;
    }
    if (advanced) this.options.onCommitted();
  }

  /** An op was executed, in whatever status. */
  onExecuted(prepare: Message): void {
    this.pipeline.executed(this.state.commitMin);
    if (prepare.bytes[prepareHeader.at.operation] === Operation.pulse) this.pulseInFlight = false;
  }

  onClientExecuted(words: Uint32Array, clientAt: number): void {
    this.clientsInFlight.delete(words, clientAt);
  }

  // ── Time ─────────────────────────────────────────────────────────────────────────────────────

  /** Every 10 ms while this replica is the primary in normal operation. */
  tick(): void {
    this.tickPulse();
    if (this.state.replicaCount === 1) return;
    this.pace.tick();
    if (this.ticksHeld > 0) this.ticksHeld -= 1;
    const stuck = this.tickProgress();
    // A primary that abdicates falls silent, so that the others elect another one.
    if (this.heartbeat.tick() && !stuck) this.options.peers.commit();
    if (this.repeat.tick()) this.repeatPrepares();
  }

  private tickProgress(): boolean {
    const clockKnown = this.options.wallNs(this.wall, 0);
    const { commitMin } = this.state;
    const moves = this.pipeline.length === 0 || commitMin !== this.executedThen;
    this.executedThen = commitMin;
    this.ticksStuck = moves && clockKnown ? 0 : this.ticksStuck + 1;
    if (this.ticksStuck < abdicateTicks) return false;
    if (this.ticksStuck % abdicateTicks === 0) this.options.onAbdicate();
    return true;
  }

  /** Sends prepares again to those that have not acknowledged them. */
  private repeatPrepares(): void {
    const { state } = this;
    for (let index = 0; index < this.pipeline.length; index += 1) {
      const entry = this.pipeline.at(index);
      if (entry.acks >= state.quorums.replication) continue;
      const message = this.options.cache.get(entry.op, entry.checksum, 0);
      if (message === null) continue;
      for (let replica = 0; replica < state.replicaCount; replica += 1) {
        if (replica === state.replica || (entry.ackBits & (1 << replica)) !== 0) continue;
        this.counters.prepareRepeats += 1;
        this.options.bus.sendToReplica(replica, message);
      }
    }
  }

  private tickPulse(): void {
    this.ticksSincePrepare += 1;
    if (this.ticksSincePrepare < pulseTicks) return;
    this.ticksSincePrepare = 0;
    if (!this.options.wallNs(this.wall, 0)) return;
    // The clock stands in for the timestamp of a prepare that nobody sent.
    const last = this.state.lastTimestamp;
    if (u64Compare(this.wall[0]!, this.wall[1]!, last[0]!, last[1]!) > 0) {
      if (!this.pulseWanted(this.wall)) return;
      last[0] = this.wall[0]!;
      last[1] = this.wall[1]!;
    }
    this.pulseIfDue();
  }

  private pulseWanted(time: Uint32Array): boolean {
    return !this.pulseInFlight && this.options.stateMachine.pulseDue(time[0]!, time[1]!);
  }

  /** Prepares the internal operation that releases expired pending transfers, when one is due. */
  pulseIfDue(): void {
    const { state, fields } = this;
    if (!this.pulseWanted(state.lastTimestamp) || !this.mayNumber()) return;
    const message = this.options.pool.get(headerSize);
    if (message === null) return; // The timer asks again.
    this.assignTimestamp(pulseExpiryMax, false);
    const { words, bytes } = message;
    beginHeader(bytes, words, 0, Command.prepare, fields.cluster, 0);
    words[frame.word.view] = state.view;
    bytes[frame.at.replica] = state.replica;
    u128Copy(words, prepareHeader.word.parent, fields.parent, 0);
    u128Copy(words, prepareHeader.word.checkpointId, fields.checkpointId, 0);
    u64AddNumber(words, prepareHeader.word.op, 0, 0, state.op + 1);
    u64AddNumber(words, prepareHeader.word.commit, 0, 0, state.commitMax);
    words[prepareHeader.word.timestamp] = fields.timestamp[0]!;
    words[prepareHeader.word.timestamp + 1] = fields.timestamp[1]!;
    bytes[prepareHeader.at.operation] = Operation.pulse;
    bytes[prepareHeader.at.requests] = 1;
    sealHeader(bytes, words, 0);
    this.pulseInFlight = true;
    this.replicate(message);
  }
}

function noop(): void {}
