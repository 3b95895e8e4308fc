/**
 * All checkers of what one seed executes and answers, and who hears of what. None of them knows the
 * code under test: they read messages by their layouts, and execute the history on the reference ledger.
 *
 *   executed op ─▶ history ─ first time ─▶ checkpoints named, timestamps, sessions
 *                                         ─▶ replay ─▶ money ─▶ requests and waiting replies
 *   reply ─▶ replies ─▶ replay's answer          durable checkpoint ─▶ checkpoints
 */
import { checksumMatches } from "../../../src/native/checksum.ts";
import { frame, prepareHeader } from "../../../src/wire/header.ts";
import type { ReferenceLedger } from "../../reference/ledger.ts";
import { Checkpoints } from "./checkpoints.ts";
import { FinalState, type Query } from "./final-state.ts";
import { type Fail, History } from "./history.ts";
import { Liveness } from "./liveness.ts";
import { Money } from "./money.ts";
import { hex, type ObservedPrepare, readPrepare } from "./prepare.ts";
import { Replay } from "./replay.ts";
import { Replies } from "./replies.ts";
import { type SessionTable, SessionTables } from "./session-table.ts";
import { Sessions } from "./sessions.ts";
import { type ClockRange, Timestamps } from "./timestamps.ts";

export interface CheckersOptions {
  readonly clientsMax: number;
  /** Longest wait of a request once faults have ended. Microseconds. */
  readonly waitMaxUs: number;
  readonly fail: Fail;
  /** What clocks can show at this time of the simulation, or null when that is not known. */
  readonly clocks: ((nowUs: number) => ClockRange) | null;
}

/** What a replica at rest is asked. */
export interface RestingReplica {
  readonly index: number;
  readonly commitMin: number;
  readonly query: Query;
  readonly sessions: SessionTable | null;
}

const headerSize = 256;

export class Checkers {
  readonly history: History;
  readonly replay: Replay;
  readonly replies: Replies;
  readonly sessions: Sessions;
  readonly money: Money;
  readonly timestamps: Timestamps;
  readonly checkpoints: Checkpoints;
  readonly liveness: Liveness;
  private readonly fail: Fail;
  /** Accounts and changes of the reference that `money` has seen. */
  private changesSeen = 0;

  constructor(private readonly options: CheckersOptions) {
    const { fail } = options;
    this.fail = fail;
    this.history = new History(fail);
    this.replay = new Replay(fail);
    this.replies = new Replies(this.replay, fail);
    this.sessions = new Sessions(options.clientsMax, fail);
    this.money = new Money(fail);
    this.timestamps = new Timestamps(fail);
    this.checkpoints = new Checkpoints(fail);
    this.liveness = new Liveness(options.waitMaxUs, fail);
  }

  /** The state that clients may know of: for choosing what to ask next. */
  get ledger(): ReferenceLedger {
    return this.replay.ledger;
  }

  /** A replica has executed an op. */
  onExecuted(replica: number, bytes: Uint8Array, nowUs: number): void {
    const op = opOf(bytes);
    if (op <= this.history.head) {
      this.executedAgain(replica, op, bytes);
      return;
    }
    const prepare = readPrepare(bytes);
    if (typeof prepare === "string") {
      this.fail(`replica ${replica} executed as op ${op} what is no prepare: ${prepare}`);
    }
    this.history.executed(replica, prepare);
    this.checkpoints.executed(prepare);
    this.checkTimestamps(prepare, nowUs);
    this.sessions.execute(prepare);
    this.replay.execute(prepare);
    this.followMoney(op);
    this.replies.executed(prepare);
  }

  /** The same bytes as before? Its checksums say so. */
  private executedAgain(replica: number, op: number, bytes: Uint8Array): void {
    const checkedAt = frame.at.checksumPadding;
    const sound =
      checksumMatches(bytes, 0, bytes, checkedAt, headerSize - checkedAt) &&
      checksumMatches(bytes, frame.at.checksumBody, bytes, headerSize, bytes.length - headerSize);
    if (!sound) this.fail(`replica ${replica} executed damaged bytes as op ${op}`);
    const view = new DataView(bytes.buffer, bytes.byteOffset).getUint32(frame.at.view, true);
    this.history.executedAgain(replica, op, hex(bytes, frame.at.checksum), view);
  }

  private checkTimestamps(prepare: ObservedPrepare, nowUs: number): void {
    const { clocks } = this.options;
    if (clocks === null) {
      this.timestamps.execute(prepare, null, null);
      return;
    }
    let sentUs = -1;
    for (const { checksum } of prepare.requests) {
      sentUs = Math.max(sentUs, this.replies.find(checksum)?.sentUs ?? -1);
    }
    const sent = sentUs === -1 ? null : clocks(sentUs).min;
    this.timestamps.execute(prepare, clocks(nowUs).max, sent);
  }

  private followMoney(op: number): void {
    const { changes } = this.replay.ledger;
    if (this.changesSeen === changes.length) return;
    for (; this.changesSeen < changes.length; this.changesSeen += 1) {
      const { debit, credit } = changes[this.changesSeen]!;
      this.money.apply(debit);
      this.money.apply(credit);
    }
    this.money.check(op);
  }

  /**
   * Nothing is in flight any more, and these replicas have executed everything: they hold one
   * state, that of the reference.
   */
  finish(core: readonly RestingReplica[]): void {
    this.liveness.finish();
    this.replies.finish();
    this.checkpoints.finish();
    const { head } = this.history;
    const state = new FinalState(this.replay.ledger, this.money, this.fail);
    const tables = new SessionTables(this.sessions, this.replay, this.fail);
    for (const { index, commitMin, query, sessions } of core) {
      this.history.standsAt(index, commitMin);
      if (commitMin !== head) {
        this.fail(`replica ${index} rests at op ${commitMin}; op ${head} was executed`);
      }
      state.compare(`replica ${index}`, query);
      if (sessions !== null) tables.compare(`replica ${index}`, sessions);
    }
  }
}

function opOf(prepare: Uint8Array): number {
  const view = new DataView(prepare.buffer, prepare.byteOffset, prepare.length);
  return Number(view.getBigUint64(prepareHeader.at.op, true));
}
