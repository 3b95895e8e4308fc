/**
 * Clients' requests: judged, and then queued, answered again, passed on or refused. What is not the
 * primary's to take is kept for whoever is primary next (kept-requests.ts).
 *
 *   request ─▶ primary: judged (request-checks.ts) ─▶ queue │ stored reply │ query again │ eviction
 *          └─▶ backup:  judged (backup.ts) ─▶ kept and passed on │ stored reply │ query again
 *
 * The primary answers what is executed; a backup what a client repeats to it, who may not reach the primary. Not
 * sooner: a client that has its answer before the primary has executed the request is ahead of the primary, which
 * would drop the next one.
 *
 * Invariant: only a primary in normal operation evicts.
 */
import type { Connection } from "../io/connection.ts";
import type { Message } from "../io/message-pool.ts";
import type { StateMachine } from "../ledger/state-machine.ts";
import { requestHeader } from "../wire/header.ts";
import { type Backup, BackupVerdict } from "./backup.ts";
import type { ClientPort } from "./client-port.ts";
import type { ClientSessions } from "./client-sessions.ts";
import type { Execution } from "./execution.ts";
import { KeptRequests } from "./kept-requests.ts";
import type { Primary } from "./primary.ts";
import type { ReplicaBus } from "./replica-bus.ts";
import { type ReplicaState, Status } from "./replica-state.ts";
import { judgeRequest, type RequestContext, Verdict } from "./request-checks.ts";

/** A client that is there repeats its request within so many ticks: 30 s. */
const keptTicks = 3000;

/** Kept requests sent to a new primary at once: half of what the connection to it takes. */
const forwardMax = 16;

export interface ClientRequestsOptions {
  readonly state: ReplicaState;
  readonly sessions: ClientSessions;
  readonly stateMachine: StateMachine;
  /** Most bytes of a request, header included. */
  readonly requestSizeMax: number;
  readonly primary: Primary;
  readonly backup: Backup;
  readonly execution: Execution;
  readonly port: ClientPort;
  readonly bus: ReplicaBus;
}

export class ClientRequests implements RequestContext {
  readonly counters = { dropped: 0, evictions: 0, repeated: 0, forwarded: 0 };
  readonly sessions: ClientSessions;
  readonly stateMachine: StateMachine;
  readonly requestSizeMax: number;
  private readonly options: ClientRequestsOptions;
  private readonly state: ReplicaState;
  private readonly kept = new KeptRequests();
  /** The view whose primary was sent what is kept. */
  private forwardedView = 0;
  private ticks = 0;
  /** A query runs again: the reply that is made next is its client's. */
  private rerunning = false;

  constructor(options: ClientRequestsOptions) {
    this.options = options;
    this.state = options.state;
    this.sessions = options.sessions;
    this.stateMachine = options.stateMachine;
    this.requestSizeMax = options.requestSizeMax;
  }

  get view(): number {
    return this.state.view;
  }

  inFlight(words: Uint32Array, clientAt: number): boolean {
    return this.options.primary.inFlight(words, clientAt);
  }

  /** Every 10 ms, in a cluster of several. */
  tick(): void {
    this.ticks += 1;
    this.kept.prune(this.ticks - keptTicks);
  }

  onRequest(message: Message, connection: Connection): void {
    if (this.state.isStandby) return;
    if (!this.state.isNormalPrimary) {
      this.onRequestAtBackup(message);
      return;
    }
    const { primary, port, execution } = this.options;
    const verdict = judgeRequest(message, this);
    const words = message.words;
    switch (verdict) {
      case Verdict.accept:
        if (!primary.accept(message)) this.counters.dropped += 1;
        return;
      case Verdict.repeatReply:
        this.counters.repeated += 1;
        port.repeatReply(this.sessions.find(words, requestHeader.word.client));
        return;
      case Verdict.repeatQuery:
        this.counters.repeated += 1;
        if (!execution.rerun(message)) this.counters.dropped += 1;
        return;
      case Verdict.drop:
        this.counters.dropped += 1;
        return;
      default:
        this.counters.evictions += 1;
        port.sendEviction(message, verdict - Verdict.evict, connection);
    }
  }

  /** Also between views. */
  private onRequestAtBackup(message: Message): void {
    const { state } = this;
    switch (this.options.backup.judge(message)) {
      case BackupVerdict.forward:
        if (state.replicaCount > 1) this.kept.keep(message, this.ticks);
        if (state.isNormalBackup) this.forward(message);
        return;
      case BackupVerdict.repeatReply:
        if (state.status !== Status.normal) return;
        this.counters.repeated += 1;
        this.options.port.repeatReply(this.sessions.find(message.words, requestHeader.word.client));
        return;
      case BackupVerdict.repeatQuery:
        if (!state.isNormalBackup) return;
        this.counters.repeated += 1;
        if (!this.options.execution.rerun(message)) this.counters.dropped += 1;
        return;
      default:
        this.counters.dropped += 1;
    }
  }

  private readonly forward = (request: Message): void => {
    if (this.options.backup.judge(request) !== BackupVerdict.forward) return;
    this.counters.forwarded += 1;
    this.options.bus.sendToReplica(this.state.primaryOf(this.state.view), request);
  };

  /** This replica begins as primary: takes what clients had sent to it before. It evicts none for that. */
  onPrimary(): void {
    this.kept.drain(this.takeKept);
  }

  private readonly takeKept = (request: Message): void => {
    // A prepare is made in place. What is still being sent, to the primary before, must not change; its
    // client asks again.
    if (request.references > 1) return;
    if (judgeRequest(request, this) === Verdict.accept) this.options.primary.accept(request);
  };

  /** This replica follows a primary: sends it what is kept, once. */
  onBackup(): void {
    if (this.forwardedView === this.state.view) return;
    this.forwardedView = this.state.view;
    this.kept.show(forwardMax, this.forward);
  }

  /** A request of this client was executed. */
  onExecuted(words: Uint32Array, clientAt: number): void {
    this.rerunning = false;
    if (this.kept.length === 0) return;
    const slot = this.sessions.find(words, clientAt);
    // Without a session, what it sent before is not to be taken any more.
    const executed = slot === -1 ? Number.MAX_SAFE_INTEGER : this.sessions.request(slot);
    this.kept.forget(words, clientAt, executed);
  }

  /** Of the reply that is made now: whether it goes out from here. */
  get answers(): boolean {
    const { state } = this;
    return state.isNormalPrimary || (state.isNormalBackup && this.rerunning);
  }

  /** The session of a repeated query, if that is still what the request is; otherwise −1. */
  rerunSlot(request: Message): number {
    const slot = this.sessions.find(request.words, requestHeader.word.client);
    if (slot === -1 || !this.isRepeatedQuery(request)) return -1;
    this.rerunning = true;
    return slot;
  }

  private isRepeatedQuery(request: Message): boolean {
    if (this.state.isNormalPrimary) return judgeRequest(request, this) === Verdict.repeatQuery;
    if (!this.state.isNormalBackup) return false;
    return this.options.backup.judge(request) === BackupVerdict.repeatQuery;
  }
}
