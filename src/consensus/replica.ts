/**
 * The replica: turns requests into prepares, makes them durable, executes them in op order, and
 * answers. Driven from outside by messages, by completions, by `turn` (once per loop turn) and by
 * `tick` (every 10 ms); it reads no clock but the injected one and keeps no promise.
 *
 *   request ─ judged ─▶ queue ─ turn ─▶ prepare ─▶ journal ─ durable (quorum) ─▶ execute
 *           ─▶ reply, session table ─▶ compact ─▶ (every interval: freeze a checkpoint)
 *
 * Invariants:
 * - commitMin ≤ commitMax ≤ op; ops in (commitMin, op] lie in the pipeline.
 * - Nothing is executed before a replication quorum holds it durably, nothing is answered before
 *   it was executed.
 * - Timestamps of prepares rise strictly, whatever the clock does, also across restarts.
 * - The prepare of op N may overwrite the slot of op N − slotCount only when a durable checkpoint
 *   covers that op.
 */
import { assert } from "../core/assert.ts";
import { headerSize, pipelinePrepareMax } from "../core/limits.ts";
import { u64AddNumber, u64Compare, u128Copy } from "../core/u128.ts";
import { U128Map } from "../core/u128-map.ts";
import type { Connection } from "../io/connection.ts";
import type { Time } from "../io/io.ts";
import type { Message, MessagePool } from "../io/message-pool.ts";
import type { StateMachine } from "../ledger/state-machine.ts";
import type { StorageEngine } from "../storage/engine.ts";
import type { Journal } from "../wal/journal.ts";
import { beginHeader, resealHeader, sealHeader } from "../wire/build.ts";
import { Command, frame, prepareHeader, requestHeader } from "../wire/header.ts";
import { Operation, pulseExpiryMax } from "../wire/operations.ts";
import type { Checkpointer } from "./checkpointer.ts";
import { ClientPort } from "./client-port.ts";
import type { ClientSessions } from "./client-sessions.ts";
import { Executor } from "./executor.ts";
import { Pipeline, type PipelineEntry } from "./pipeline.ts";
import type { ReplicaBus } from "./replica-bus.ts";
import { replyBytesMax } from "./reply-bound.ts";
import { judgeRequest, Verdict } from "./request-checks.ts";
import { operationOf, type PendingPrepare, RequestQueue, writePrepare } from "./request-queue.ts";

export const Status = {
  /** Replaying the log after a start. */
  recovering: 0,
  normal: 1,
  /** A fatal error was reported: does nothing more. */
  stopped: 2,
} as const;

export interface ReplicaOptions {
  readonly cluster: Uint32Array;
  readonly replica: number;
  readonly replicaCount: number;
  readonly journal: Journal;
  readonly storage: StorageEngine;
  readonly stateMachine: StateMachine;
  readonly sessions: ClientSessions;
  readonly checkpointer: Checkpointer;
  readonly bus: ReplicaBus;
  /** For requests and prepares. */
  readonly pool: MessagePool;
  readonly replyPool: MessagePool;
  readonly time: Time;
  /** Requests that may wait, in prepares. */
  readonly requestQueueMax: number;
  readonly requestSizeMax: number;
  readonly grouping: boolean;
}

/** A request smaller than this waits for company while prepares are in flight. Bytes. */
const groupableSizeMax = 64 * 1024;

/** Prepares in flight above which small requests gather instead of starting a prepare. */
const gatherAboveInFlight = 2;

/** Ticks without a prepare after which the clock alone may call for a pulse: 100 ms. */
const pulseTicks = 10;

/** Queries that wait to run again. More are dropped; the client retries. */
const rerunsMax = 8;

const Stage = { idle: 0, executing: 1, compacting: 2, checkpoint: 3, rerun: 4 } as const;

export class Replica {
  status: number = Status.recovering;
  view = 0;
  logView = 0;
  /** Highest op prepared here. */
  op = 0;
  /** Highest op executed here. */
  commitMin = 0;
  /** Highest op known to be committed. */
  commitMax = 0;
  readonly executor: Executor;
  readonly sessions: ClientSessions;
  readonly stateMachine: StateMachine;
  readonly requestSizeMax: number;
  readonly counters = { prepares: 0, requests: 0, dropped: 0, evictions: 0, repeated: 0 };

  private readonly options: ReplicaOptions;
  private readonly port: ClientPort;
  private readonly pipeline: Pipeline;
  private readonly queue: RequestQueue;
  /** Clients with a request in the queue or the pipeline. */
  private readonly clientsInFlight: U128Map;
  private readonly replicationQuorum: number;
  private stage: number = Stage.idle;
  private executing: Message | null = null;
  private onReplayed: (() => void) | null = null;
  private readonly reruns: Message[] = [];
  /** The last step was a repeated query: a committed op goes first now. */
  private rerunLast = false;
  private ticksSincePrepare = 0;
  private pulseInFlight = false;
  private readonly wall = new Uint32Array(2);
  /** Timestamp of the last prepared op. */
  private readonly lastTimestamp = new Uint32Array(2);
  private readonly fields;

  constructor(options: ReplicaOptions) {
    assert(options.replicaCount === 1, "a cluster of one");
    this.options = options;
    this.sessions = options.sessions;
    this.stateMachine = options.stateMachine;
    this.requestSizeMax = options.requestSizeMax;
    this.replicationQuorum = 1;
    this.pipeline = new Pipeline((entry) => this.onPrepareDurable(entry));
    this.queue = new RequestQueue(options.pool, options.requestQueueMax, options.grouping);
    const prepares = options.requestQueueMax + pipelinePrepareMax;
    this.clientsInFlight = new U128Map(prepares * 64);
    this.port = new ClientPort(options, this);
    this.executor = new Executor({
      stateMachine: options.stateMachine,
      sessions: options.sessions,
      replyPool: options.replyPool,
      cluster: options.cluster,
      batchSizeLimit: options.requestSizeMax - headerSize,
      onReply: (reply) => {
        if (this.status === Status.normal) this.port.sendReply(reply);
      },
      onStarved: () => {
        if (this.status === Status.normal) options.bus.relieve();
      },
      onExecuted: (words, clientAt) => {
        this.clientsInFlight.delete(words, clientAt);
      },
    });
    this.fields = {
      cluster: options.cluster,
      view: 0,
      replica: options.replica,
      op: 0,
      commit: 0,
      timestamp: new Uint32Array(2),
      parent: new Uint32Array(4),
      checkpointId: new Uint32Array(4),
    };
  }

  // ── Start ────────────────────────────────────────────────────────────────────────────────────

  /** Takes over the state of the checkpoint that the storage was opened at. */
  startAt(view: number, checkpointOp: number, head: Uint32Array): void {
    this.view = view;
    this.logView = view;
    this.op = checkpointOp;
    this.commitMin = checkpointOp;
    this.commitMax = checkpointOp;
    this.executor.op = checkpointOp;
    this.adoptHead(head, 0);
  }

  private adoptHead(words: Uint32Array, at: number): void {
    u128Copy(this.fields.parent, 0, words, at + frame.word.checksum);
    this.lastTimestamp[0] = words[at + prepareHeader.word.timestamp]!;
    this.lastTimestamp[1] = words[at + prepareHeader.word.timestamp + 1]!;
  }

  /**
   * Executes a prepare that recovery read back from the journal. No reply is sent.
   * @param onReplayed - Called when it is executed, never from inside this call.
   */
  replay(prepare: Message, onReplayed: () => void): boolean {
    assert(this.status === Status.recovering, "only recovery replays");
    this.op += 1;
    this.commitMax = this.op;
    this.adoptHead(prepare.words, 0);
    this.options.pool.ref(prepare);
    const entry = this.pipeline.push(prepare, this.op);
    entry.ackBits = 1 << this.options.replica;
    this.onReplayed = onReplayed;
    this.drain();
    if (this.commitMin !== this.op || this.stage !== Stage.idle) return false;
    this.onReplayed = null;
    return true;
  }

  /** The log has been replayed: begins to serve. */
  becomeNormal(): void {
    assert(this.commitMin === this.op, "everything recovered has been executed");
    this.status = Status.normal;
    this.pulseIfDue();
  }

  stop(): void {
    this.status = Status.stopped;
  }

  // ── Messages ─────────────────────────────────────────────────────────────────────────────────

  onMessage(message: Message, connection: Connection): void {
    if (this.status !== Status.normal) return;
    const command = message.bytes[frame.at.command]!;
    if (command === Command.request) this.onRequest(message, connection);
    else if (command === Command.pingClient) this.port.onPingClient(message, connection);
    else this.counters.dropped += 1;
  }

  private onRequest(message: Message, connection: Connection): void {
    const verdict = judgeRequest(message, this);
    const words = message.words;
    switch (verdict) {
      case Verdict.accept:
        this.accept(message);
        return;
      case Verdict.repeatReply:
        this.counters.repeated += 1;
        this.port.repeatReply(this.sessions.find(words, requestHeader.word.client));
        return;
      case Verdict.repeatQuery:
        this.counters.repeated += 1;
        this.queueRerun(message);
        return;
      case Verdict.drop:
        this.counters.dropped += 1;
        return;
      default:
        this.counters.evictions += 1;
        this.port.sendEviction(message, verdict - Verdict.evict, connection);
    }
  }

  inFlight(words: Uint32Array, clientAt: number): boolean {
    return this.clientsInFlight.get(words, clientAt) !== -1;
  }

  private accept(message: Message): void {
    const operation = operationOf(message);
    const bodySize = message.words[frame.word.size]! - headerSize;
    const delta =
      operation < 128
        ? 0
        : this.stateMachine.timestampDelta(
            operation,
            message.words,
            message.bytes,
            headerSize,
            bodySize,
          );
    const replyBytes = replyBytesMax(operation, message.words, message.bytes, headerSize, bodySize);
    if (!this.queue.push(message, delta, replyBytes)) {
      this.counters.dropped += 1;
      return;
    }
    this.clientsInFlight.set(message.words, requestHeader.word.client, 0);
    this.counters.requests += 1;
  }

  private queueRerun(message: Message): void {
    if (this.reruns.length >= rerunsMax) {
      this.counters.dropped += 1;
      return;
    }
    this.options.pool.ref(message);
    this.reruns.push(message);
    this.drain();
  }

  // ── Preparing ────────────────────────────────────────────────────────────────────────────────

  /** Once per loop turn, after its completions: starts the prepares that may start now. */
  turn(): void {
    if (this.status !== Status.normal) return;
    while (this.mayPrepare()) {
      const item = this.queue.shift();
      this.prepare(item);
      this.queue.recycle(item);
    }
  }

  private mayPrepare(): boolean {
    const item = this.queue.peek();
    if (item === undefined || this.pipeline.full) return false;
    if (!this.options.journal.canWrite(this.op + 1)) return false;
    const gathers =
      this.queue.grouping &&
      !item.closed &&
      this.queue.length === 1 &&
      item.bodySize < groupableSizeMax &&
      this.pipeline.length >= gatherAboveInFlight;
    return !gathers;
  }

  /** Sets `fields.timestamp` to base + span, where base = max(last + 1, clock). */
  private assignTimestamp(span: number, useClock: boolean): void {
    const last = this.lastTimestamp;
    const target = this.fields.timestamp;
    u64AddNumber(target, 0, last[0]!, last[1]!, 1);
    if (useClock) {
      this.options.time.wallNs(this.wall, 0);
      if (u64Compare(this.wall[0]!, this.wall[1]!, target[0]!, target[1]!) > 0) {
        target[0] = this.wall[0]!;
        target[1] = this.wall[1]!;
      }
    }
    u64AddNumber(target, 0, target[0]!, target[1]!, span);
    assert(target[1]! < 0x8000_0000, "timestamps stay below 2^63");
  }

  private prepare(item: PendingPrepare): void {
    this.assignTimestamp(item.timestampSpan, true);
    const message = item.message;
    assert(message !== null, "a queued item has a message");
    const fields = this.fields;
    fields.view = this.view;
    fields.op = this.op + 1;
    fields.commit = this.commitMax;
    this.options.checkpointer.copyCheckpointId(fields.checkpointId);
    const bodyUnchanged = writePrepare(item, fields);
    const words = message.words;
    if (message.bytes[prepareHeader.at.operation] === Operation.register) {
      words[headerSize / 4] = this.requestSizeMax - headerSize;
      sealHeader(message.bytes, words, 0);
    } else if (bodyUnchanged) {
      resealHeader(message.bytes, 0);
    } else {
      sealHeader(message.bytes, words, 0);
    }
    this.append(message);
  }

  /** Journals the sealed prepare of op + 1; takes over the caller's reference. */
  private append(message: Message): void {
    this.op += 1;
    this.adoptHead(message.words, 0);
    this.ticksSincePrepare = 0;
    this.counters.prepares += 1;
    const entry = this.pipeline.push(message, this.op);
    this.options.journal.writePrepare(message.buffer, entry.onDurable);
  }

  private onPrepareDurable(entry: PipelineEntry): void {
    if (this.status === Status.stopped) return;
    entry.ackBits |= 1 << this.options.replica;
    while (this.commitMax < this.op) {
      const next = this.pipeline.find(this.commitMax + 1);
      assert(next !== null, "uncommitted ops are in the pipeline");
      if (next.acks < this.replicationQuorum) break;
      this.commitMax += 1;
    }
    this.drain();
  }

  // ── Executing ────────────────────────────────────────────────────────────────────────────────

  /**
   * Executes what is committed, until there is nothing more or a step has to wait. Repeated queries
   * and ops take turns, so that neither of them can keep the other waiting for ever.
   */
  private drain(): void {
    while (this.stage === Stage.idle && this.status !== Status.stopped) {
      const committed = this.commitMin < this.commitMax;
      if (this.reruns.length > 0 && !(committed && this.rerunLast)) {
        this.rerunLast = true;
        if (!this.startRerun()) return;
      } else if (committed) {
        this.rerunLast = false;
        if (!this.startExecution()) return;
      } else {
        return;
      }
    }
  }

  private startExecution(): boolean {
    const entry = this.pipeline.at(0);
    assert(entry.op === this.commitMin + 1, "ops execute in order");
    assert(entry.message !== null, "an entry in the pipeline has a message");
    this.stage = Stage.executing;
    this.executing = entry.message;
    if (!this.executor.execute(entry.message, this.onExecuted)) return false;
    return this.afterExecution();
  }

  private readonly onExecuted = (): void => {
    if (this.afterExecution()) this.continueDrain();
  };

  private afterExecution(): boolean {
    this.commitMin += 1;
    this.executor.op = this.commitMin;
    this.stage = Stage.compacting;
    if (!this.options.storage.compact(this.commitMin, this.onCompacted)) return false;
    return this.afterCompaction();
  }

  private readonly onCompacted = (): void => {
    if (this.afterCompaction()) this.continueDrain();
  };

  private afterCompaction(): boolean {
    this.stage = Stage.checkpoint;
    const prepare = this.executing;
    assert(prepare !== null, "a prepare is being executed");
    if (!this.options.checkpointer.afterOp(this.commitMin, prepare.words, this.onCheckpoint)) {
      return false;
    }
    this.finishOp();
    return true;
  }

  private readonly onCheckpoint = (): void => {
    this.finishOp();
    this.continueDrain();
  };

  private finishOp(): void {
    const message = this.pipeline.shift();
    assert(message === this.executing, "the head was executed");
    this.executing = null;
    this.stage = Stage.idle;
    const operation = message.bytes[prepareHeader.at.operation];
    if (operation === Operation.pulse) this.pulseInFlight = false;
    this.options.pool.unref(message);
    if (this.status === Status.normal) this.pulseIfDue();
  }

  private continueDrain(): void {
    const onReplayed = this.onReplayed;
    if (onReplayed !== null) {
      this.onReplayed = null;
      onReplayed();
      return;
    }
    this.drain();
  }

  private startRerun(): boolean {
    const message = this.reruns[0]!;
    const slot = this.sessions.find(message.words, requestHeader.word.client);
    // The session may have moved on while the repetition waited.
    if (slot === -1 || judgeRequest(message, this) !== Verdict.repeatQuery) {
      this.finishRerun();
      return true;
    }
    this.stage = Stage.rerun;
    if (!this.executor.rerun(message, operationOf(message), slot, this.onRerun)) return false;
    this.finishRerun();
    return true;
  }

  private readonly onRerun = (): void => {
    this.finishRerun();
    this.drain();
  };

  private finishRerun(): void {
    this.stage = Stage.idle;
    const first = this.reruns.shift();
    if (first !== undefined) this.options.pool.unref(first);
  }

  // ── Time ─────────────────────────────────────────────────────────────────────────────────────

  /** Every 10 ms. */
  tick(): void {
    if (this.status !== Status.normal) return;
    this.ticksSincePrepare += 1;
    if (this.ticksSincePrepare < pulseTicks) return;
    this.ticksSincePrepare = 0;
    // The clock stands in for the timestamp of a prepare that nobody sent.
    this.options.time.wallNs(this.wall, 0);
    const last = this.lastTimestamp;
    if (u64Compare(this.wall[0]!, this.wall[1]!, last[0]!, last[1]!) > 0) {
      if (!this.pulseWanted(this.wall)) return;
      last[0] = this.wall[0]!;
      last[1] = this.wall[1]!;
    }
    this.pulseIfDue();
  }

  private pulseWanted(time: Uint32Array): boolean {
    return !this.pulseInFlight && this.stateMachine.pulseDue(time[0]!, time[1]!);
  }

  /** Prepares the internal operation that releases expired pending transfers, when one is due. */
  private pulseIfDue(): void {
    if (this.pipeline.full || !this.pulseWanted(this.lastTimestamp)) return;
    if (!this.options.journal.canWrite(this.op + 1)) return;
    const message = this.options.pool.get(headerSize);
    if (message === null) return; // The timer asks again.
    this.assignTimestamp(pulseExpiryMax, false);
    const fields = this.fields;
    const words = message.words;
    const bytes = message.bytes;
    beginHeader(bytes, words, 0, Command.prepare, fields.cluster, 0);
    words[frame.word.view] = this.view;
    bytes[frame.at.replica] = this.options.replica;
    u128Copy(words, prepareHeader.word.parent, fields.parent, 0);
    this.options.checkpointer.copyCheckpointId(fields.checkpointId);
    u128Copy(words, prepareHeader.word.checkpointId, fields.checkpointId, 0);
    u64AddNumber(words, prepareHeader.word.op, 0, 0, this.op + 1);
    u64AddNumber(words, prepareHeader.word.commit, 0, 0, this.commitMax);
    words[prepareHeader.word.timestamp] = fields.timestamp[0]!;
    words[prepareHeader.word.timestamp + 1] = fields.timestamp[1]!;
    bytes[prepareHeader.at.operation] = Operation.pulse;
    bytes[prepareHeader.at.requests] = 1;
    sealHeader(bytes, words, 0);
    this.pulseInFlight = true;
    this.append(message);
  }
}
