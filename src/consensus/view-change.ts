/**
 * Changing the view: votes to leave one, the exchange of logs, the choice of the new log by the new
 * primary, and taking it over by the others (docs/internals/replication.md).
 *
 *   normal ── votes of a quorum ──▶ view change ─ own view durable ─▶ join_view to all
 *     ▲                                  │ primary: a quorum of join_views, log chosen
 *     │                                  ▼
 *     └─ all repaired and executed ◀── log view durable      backup: `view` arrives ─▶ log view durable ─▶ normal
 *
 * Invariants:
 * - Nothing of a view is sent before (view, log view) are durable as they are.
 * - What a replica says it never acknowledged (nack) it never acknowledges later in an older view:
 *   acknowledgements carry the present view, and views only rise.
 * - A log loses an op only by the choice of a new primary, or by taking over such a choice.
 */
import { assert } from "../core/assert.ts";
import { headerSize } from "../core/limits.ts";
import type { Prng } from "../core/prng.ts";
import { u64ReadNumber } from "../core/u128.ts";
import type { Message } from "../io/message-pool.ts";
import { headerView } from "../wal/headers.ts";
import { frame } from "../wire/header.ts";
import { getViewHeader, viewHeader } from "../wire/replica-headers.ts";
import { JoinViewFields, ViewFields, viewBodyHeaderAt } from "../wire/replica-messages.ts";
import { divergedText } from "./diverged.ts";
import type { HeaderChain } from "./header-chain.ts";
import { LogEnds } from "./log-ends.ts";
import { LogDecision, NewLog } from "./new-log.ts";
import { OwnLog } from "./own-log.ts";
import type { PeerPort } from "./peer-port.ts";
import { type ReplicaState, Status } from "./replica-state.ts";
import { Timer } from "./timers.ts";
import { ViewQuestions } from "./view-questions.ts";

const headerWords = headerSize / 4;

export interface ViewChangeOptions {
  readonly state: ReplicaState;
  readonly chain: HeaderChain;
  readonly peers: PeerPort;
  readonly prng: Prng;
  /** The replica leaves its view: what only a primary in its view has is given up. */
  readonly onLeave: () => void;
  /** The new primary has its log, durably: it may repair, execute and then begin. */
  readonly onLogChosen: () => void;
  /** A backup has its primary's log, durably, and is in normal status. */
  readonly onBackupNormal: () => void;
  /** Another backup has told how far the log of the present view has grown. */
  readonly onLogLonger: () => void;
  /**
   * A `view` of the primary is there: moves to its checkpoint if the log can not be repaired any more.
   * @returns true when that has begun: this replica does nothing more until it is opened anew.
   */
  readonly syncTo: (view: Message) => boolean;
  /** See `PeerWatch.viewChangeQuorum`. */
  readonly quorum: () => number;
  /** See `PeerWatch`. */
  readonly nothingAfter: (view: number) => boolean;
  readonly viewToAskFor: () => number;
  readonly mayLeaveFor: (asker: number) => boolean;
  /** A file that replaces a lost one has a vote from now on. */
  readonly onRecovered: () => void;
  readonly log: (text: string) => void;
  readonly onFatal: (text: string) => void;
}

export class ViewChange {
  /** Views that this replica has gone into. */
  changes = 0;
  readonly questions: ViewQuestions;
  private readonly options: ViewChangeOptions;
  private readonly state: ReplicaState;
  /** Bit r: replica r votes to leave the present view. */
  private exitVotes = 0;
  private readonly ends: LogEnds;
  private readonly newLog = new NewLog();
  private logChosen = false;
  private readonly joinFields = new JoinViewFields();
  private readonly viewFields = new ViewFields();
  private readonly ownLog: OwnLog;
  private persisting = false;
  private readonly exitTimer: Timer;
  private readonly joinTimer: Timer;
  private readonly statusTimer: Timer;
  private readonly progressTimer: Timer;
  private doneThen = -1;
  /** Votes of others are forgotten now and then: they are repeated while they are meant. */
  private readonly forgetTimer: Timer;
  /** What a lost file acknowledged is at most this op; −1 until a primary has told. */
  private recoverTo = -1;

  constructor(options: ViewChangeOptions) {
    this.options = options;
    this.state = options.state;
    this.ownLog = new OwnLog(options.state);
    this.ends = new LogEnds(options.state.replicaCount, options.state.replica);
    const { prng } = options;
    this.questions = new ViewQuestions(options);
    this.exitTimer = new Timer({ ticks: 25, jitterPercent: 20 }, prng);
    this.joinTimer = new Timer({ ticks: 25, jitterPercent: 20 }, prng);
    this.statusTimer = new Timer({ ticks: 200, jitterPercent: 30 }, prng);
    this.progressTimer = new Timer({ ticks: 20 });
    this.progressTimer.start();
    this.forgetTimer = new Timer({ ticks: 500 });
    this.forgetTimer.start();
  }

  // ── Votes ────────────────────────────────────────────────────────────────────────────────────

  /** This replica wants to leave the view: its primary is silent, or no log comes about. */
  vote(): void {
    const { state } = this;
    if (state.replicaCount === 1 || state.isStandby) return;
    if (state.status === Status.recoveringHead) return;
    if (state.superblock.view !== state.view || state.superblock.recovering) return;
    if ((this.exitVotes & (1 << state.replica)) === 0) {
      this.exitVotes |= 1 << state.replica;
      this.exitTimer.start();
    }
    this.options.peers.exitView();
    this.countVotes();
  }

  /** The primary of the view has been heard: the own vote is withdrawn. */
  withdraw(): void {
    this.exitVotes &= ~(1 << this.state.replica);
    this.exitTimer.stop();
  }

  onExitView(message: Message): void {
    const { state } = this;
    const view = message.words[frame.word.view]!;
    const from = message.bytes[frame.at.replica]!;
    if (view < state.view || state.status === Status.recoveringHead || state.isStandby) return;
    // A quorum has gone there, and wants to go on: the own view is over, and asking the primary of
    // that one is of no use.
    if (view > state.view) this.enter(view);
    this.exitVotes |= 1 << from;
    this.countVotes();
  }

  /** A peer has lost its file: its vote and its log are void. */
  forget(replica: number): void {
    this.exitVotes &= ~(1 << replica);
    this.ends.forget(replica);
  }

  private countVotes(): void {
    let votes = 0;
    for (let bits = this.exitVotes; bits !== 0; bits &= bits - 1) votes += 1;
    if (votes < this.options.quorum()) return;
    this.enter(this.state.view + 1);
  }

  // ── Entering a view ──────────────────────────────────────────────────────────────────────────

  /** Goes to a newer view, whose log is not known yet. */
  enter(view: number): void {
    const { state } = this;
    assert(view > state.view, "views rise");
    assert(state.replicaCount > 1, "a cluster of one has no view changes");
    assert(!state.isStandby, "a standby goes to a view when its log is known");
    this.leave(view);
    state.status = Status.viewChange;
    this.statusTimer.start();
    this.persist();
  }

  /** Continues a view change that a restart interrupted. */
  resume(): void {
    this.state.status = Status.viewChange;
    this.statusTimer.start();
    this.sendJoin();
  }

  /** The journal cannot say where the log ends: asks until a primary tells. */
  awaitHead(): void {
    this.state.status = Status.recoveringHead;
    this.questions.beginHead();
  }

  private leave(view: number): void {
    const { state } = this;
    this.options.onLeave();
    this.changes += 1;
    state.view = view;
    this.exitVotes = 0;
    this.exitTimer.stop();
    this.joinTimer.stop();
    this.questions.endHead();
    this.logChosen = false;
    this.ends.clear();
  }

  /** Makes view, log view and the log's end durable as they are, again if they move meanwhile. */
  private persist(): void {
    const { state } = this;
    if (this.persisting) return;
    this.persisting = true;
    const count = this.ownLog.known();
    const { view, logView, commitMax, superblock } = state;
    superblock.updateView(view, logView, commitMax, this.ownLog.headers, count, () => {
      this.persisting = false;
      if (state.status === Status.stopped) return;
      if (state.viewDurable) this.onDurable();
      else this.persist();
    });
  }

  private onDurable(): void {
    const { state } = this;
    if (state.status !== Status.viewChange) return;
    if (state.logView < state.view) this.sendJoin();
    else if (state.isPrimary) this.options.onLogChosen();
    else this.beginAsBackup();
  }

  private beginAsBackup(): void {
    this.state.status = Status.normal;
    this.statusTimer.stop();
    this.joinTimer.stop();
    this.tellPrimary();
    this.options.onBackupNormal();
  }

  /**
   * The new primary repairs and executes before it begins, which may take long. While it gets on, nobody
   * shall want another view.
   */
  private tellProgress(): void {
    const { state } = this;
    const done = state.commitMin + state.journal.prepareWrites;
    if (done === this.doneThen) return;
    this.doneThen = done;
    this.hearProgress();
    this.options.peers.commit();
  }

  /** The primary of the present view gets on with what it has to do before the view begins. */
  hearProgress(): void {
    this.withdraw();
    this.statusTimer.reset();
  }

  /** The new primary has repaired and executed its log: tells the others. */
  beginAsPrimary(): void {
    assert(this.state.isPrimary, "the primary begins its view");
    this.state.status = Status.normal;
    this.statusTimer.stop();
    this.joinTimer.stop();
    this.tellPrimary();
    this.sendView(-1, null);
  }

  private tellPrimary(): void {
    const { state } = this;
    const { view } = state;
    this.options.log(`replica ${state.primaryOf(view)} is the primary now (view ${view})`);
  }

  // ── The exchange of logs ─────────────────────────────────────────────────────────────────────

  private sendJoin(): void {
    const { state } = this;
    // What this file's predecessor acknowledged is not known yet: it must not speak of the log.
    if (state.superblock.recovering) return;
    const end = this.ends.list[state.replica]!;
    this.ownLog.describe(end);
    const fields = this.joinFields;
    fields.op = end.op;
    fields.commitMin = end.commitMin;
    fields.commitMax = end.commitMax;
    fields.checkpointOp = end.checkpointOp;
    fields.logView = end.logView;
    fields.present = end.present;
    fields.nack = end.nack;
    this.options.peers.joinView(fields, end.headers, end.headerCount);
    this.joinTimer.start();
    this.tryChoose();
  }

  onJoinView(message: Message): void {
    const { state } = this;
    const view = message.words[frame.word.view]!;
    const from = message.bytes[frame.at.replica]!;
    if (view < state.view || state.status === Status.recoveringHead || state.isStandby) return;
    if (view > state.view) this.enter(view);
    if (!state.isPrimary) return;
    if (state.status === Status.normal) {
      this.sendView(from, null);
      return;
    }
    this.ends.learn(message);
    this.tryChoose();
  }

  /** The new primary: chooses the log as soon as enough logs are known. */
  private tryChoose(): void {
    const { state } = this;
    if (!state.isPrimary || this.logChosen || state.status !== Status.viewChange) return;
    // Its turn passes with time. If it gave way at once, and so did all others, views would chase each other.
    if (!state.stateOpen) return;
    if (!this.ends.list[state.replica]!.known || !state.viewDurable) return;
    if (this.ends.known < this.options.quorum()) return;
    if (this.newLog.decide(this.ends.list, state.quorums.nack) !== LogDecision.decided) return;
    if (this.newLog.op < state.commitMin) {
      const ends = `the cluster's log ends at op ${this.newLog.op}`;
      const executed = `but op ${state.commitMin} was executed here`;
      this.options.onFatal(divergedText(`${ends}, ${executed}`));
      return;
    }
    if (this.lags()) {
      // Another one, whose journal is further, leads the next view.
      this.enter(state.view + 1);
      return;
    }
    this.install();
  }

  /**
   * True when the log does not fit the own journal, or when peers may have overwritten prepares of it
   * that this replica has yet to execute.
   */
  private lags(): boolean {
    const { op } = this.newLog;
    const { journal, commitMin } = this.state;
    return op > journal.opMax || op - journal.slotCount >= commitMin;
  }

  private install(): void {
    const { state, newLog } = this;
    this.logChosen = true;
    this.adoptLog(newLog.op, newLog.headers, 0, newLog.headerCount);
    state.learnCommit(newLog.commitMax);
    state.logView = state.view;
    this.joinTimer.stop();
    this.persist();
  }

  /** The log now ends at `op`; headers of it downwards lie at words[at]. */
  private adoptLog(op: number, words: Uint32Array, at: number, count: number): void {
    const { state } = this;
    const { journal } = state;
    assert(op <= journal.opMax, "a log is taken over whole");
    journal.removeAbove(Math.max(op, journal.checkpointed));
    for (let index = 0; index < count; index += 1) {
      if (op - index <= journal.checkpointed) break;
      journal.installHeader(words, at + index * headerWords);
    }
    state.adoptHead(op, words, at);
    this.options.chain.reset();
  }

  // ── `view` ───────────────────────────────────────────────────────────────────────────────────

  /** @param nonce - Of the request that is answered, or null. */
  private sendView(to: number, nonce: Uint32Array | null, checkpointOnly = false): void {
    const { state } = this;
    const fields = this.viewFields;
    fields.checkpointOnly = checkpointOnly;
    if (nonce === null) fields.nonce.fill(0);
    else fields.nonce.set(nonce);
    fields.op = state.op;
    fields.commitMax = Math.min(state.commitMax, state.op);
    fields.checkpointOp = state.superblock.checkpointOp;
    const count = this.ownLog.unbroken();
    this.options.peers.view(to, fields, this.ownLog.headers, count);
  }

  onGetView(message: Message): void {
    const { state } = this;
    const { words } = message;
    const view = words[frame.word.view]!;
    if (view > state.view) {
      this.followAsker(message, view);
      return;
    }
    // Who takes the log over may move to the checkpoint that is told with it, which lacks something here.
    if (!state.stateOpen) return;
    // A checkpoint is of committed ops: anybody's will do, in whatever status.
    const checkpointOnly = words[getViewHeader.word.opening] === 1;
    if (!checkpointOnly && !this.mayTellLog()) return;
    const from = message.bytes[frame.at.replica]!;
    const at = getViewHeader.word.nonce;
    this.sendView(from, words.subarray(at, at + 4), checkpointOnly);
  }

  /**
   * The primary tells its log, and so does a backup who knows all of it up to its own head: that is what the
   * primary might have sent when its head was there. Not so if the backup has moved, while it opened, to a
   * checkpoint of a later view: what is committed by that is not what lies there in the log of this view.
   */
  private mayTellLog(): boolean {
    const { state } = this;
    if (state.isNormalPrimary) return true;
    if (!state.isNormalBackup || state.isStandby || !this.options.chain.complete) return false;
    return headerView(state.superblock.checkpointHeader, 0) <= state.logView;
  }

  /**
   * Whether to take the log of a view from another one than its primary: an answer to an own question, by
   * a replica that knows its own head. One that does not needs the primary's word of now, since a backup's
   * log may end before what it had acknowledged itself; and so does a file that replaces a lost one.
   */
  private mayTakePassedOn(words: Uint32Array): boolean {
    const { status, superblock } = this.state;
    if (status === Status.recoveringHead || superblock.recovering) return false;
    return this.questions.isAnswer(words);
  }

  /**
   * The sender can take part in no view before this one (it was there, or replaces a file that may have
   * been): a replica that has its log goes there with it.
   */
  private followAsker(message: Message, view: number): void {
    const { state } = this;
    const from = message.bytes[frame.at.replica]!;
    if (from >= state.replicaCount || state.isStandby) return;
    if (!this.options.mayLeaveFor(from)) return;
    if (state.status === Status.normal || state.status === Status.viewChange) this.enter(view);
  }

  onView(message: Message): void {
    const { state } = this;
    const { words } = message;
    const view = words[frame.word.view]!;
    if (words[viewHeader.word.checkpointOnly] === 1) return;
    if (view < state.view || state.primaryOf(view) === state.replica) return;
    const passedOn = message.bytes[frame.at.replica] !== state.primaryOf(view);
    if (passedOn && !this.mayTakePassedOn(words)) return;
    if (state.status === Status.recoveringHead && !this.questions.mayTellHead(words, view)) return;
    const op = u64ReadNumber(words, viewHeader.word.op);
    const commitMax = u64ReadNumber(words, viewHeader.word.commitMax);
    if (view === state.view && state.status === Status.normal) {
      this.extendLog(message, op, commitMax, passedOn);
      return;
    }
    // A log view that is being made durable is taken over already.
    const taken = view === state.view && state.logView === view;
    if (taken && state.status !== Status.recoveringHead) return;
    if (op < state.commitMin) {
      const ends = `the log of view ${view} ends at op ${op}`;
      const executed = `but op ${state.commitMin} was executed here`;
      this.options.onFatal(divergedText(`${ends}, ${executed}`));
      return;
    }
    if (this.options.syncTo(message)) return;
    // Nothing that belongs to the cluster says so: its log fits under its checkpoint, and that is newer.
    if (op > state.journal.opMax) return;
    if (state.status === Status.recoveringHead) this.recoverTo = op;
    else this.recoverTo = Math.min(this.recoverTo, op);
    if (view > state.view) this.leave(view);
    state.status = Status.viewChange;
    state.logView = view;
    const count = this.headerCountOf(words);
    this.adoptLog(op, words, viewBodyHeaderAt(0), count);
    state.learnCommit(commitMax);
    this.statusTimer.start();
    this.persist();
  }

  private headerCountOf(words: Uint32Array): number {
    const bodyStart = viewBodyHeaderAt(0);
    return (words[frame.word.size]! / 4 - bodyStart) / headerWords;
  }

  /**
   * A file that replaces a lost one: when everything that the lost one can have acknowledged is here,
   * durably, the replica takes part in all again.
   */
  private finishRecovery(): void {
    const { state } = this;
    const { superblock, journal } = state;
    if (this.persisting || !state.isNormalBackup || this.recoverTo === -1) return;
    for (let op = journal.checkpointed + 1; op <= this.recoverTo; op += 1) {
      if (!this.options.chain.trusts(op) || !journal.hasPrepare(op)) return;
    }
    this.persisting = true;
    const count = this.ownLog.known();
    const { view, logView, commitMax } = state;
    superblock.updateRecovered(view, logView, commitMax, this.ownLog.headers, count, () => {
      this.persisting = false;
      if (state.status === Status.stopped) return;
      this.options.log("rebuilt from the other replicas: this one takes full part from now on");
      this.options.onRecovered();
      if (state.viewDurable) this.onDurable();
      else this.persist();
    });
  }

  /** The same view's log has grown beyond the own head. */
  private extendLog(message: Message, op: number, commitMax: number, passedOn: boolean): void {
    const { state } = this;
    state.learnCommit(commitMax);
    if (this.options.syncTo(message)) return;
    if (op > state.op && op <= state.journal.opMax) {
      const { words } = message;
      const { journal } = state;
      const count = this.headerCountOf(words);
      for (let index = 0; index < count; index += 1) {
        const own = op - index;
        if (own <= state.op) break;
        if (own > journal.checkpointed) journal.installHeader(words, viewBodyHeaderAt(index));
      }
      state.adoptHead(op, words, viewBodyHeaderAt(0));
      this.options.chain.reset();
    }
    // The primary itself was not heard: a vote to leave its view stands.
    if (passedOn) this.options.onLogLonger();
    else this.options.onBackupNormal();
  }

  /** Every 10 ms. */
  tick(): void {
    const { state } = this;
    this.questions.tick();
    if (this.exitTimer.tick()) this.vote();
    if (state.superblock.recovering) this.finishRecovery();
    if (this.forgetTimer.tick()) this.exitVotes &= 1 << state.replica;
    this.ends.tick();
    if (state.status !== Status.viewChange) return;
    if (this.logChosen && this.progressTimer.tick()) this.tellProgress();
    if (this.joinTimer.tick() && state.viewDurable && state.logView < state.view) this.sendJoin();
    if (!this.statusTimer.tick()) return;
    this.vote();
    // The view may have begun without this replica, whom its primary does not reach.
    this.questions.askAnybody();
  }
}
