/**
 * Following the primary of the view: its prepares, its heartbeats, and its silence.
 *
 * Invariants:
 * - What belongs to a newer view only makes the replica ask for that one.
 * - Only what comes from the primary itself counts as hearing it: its heartbeats, and its next prepare.
 *   Older prepares may be passed on by others, and so may the log's end.
 */
import type { Prng } from "../core/prng.ts";
import { u64ReadNumber, u128Equal } from "../core/u128.ts";
import type { Message } from "../io/message-pool.ts";
import { frame, prepareHeader } from "../wire/header.ts";
import { commitHeader } from "../wire/replica-headers.ts";
import type { Backup } from "./backup.ts";
import { divergedText } from "./diverged.ts";
import type { Execution } from "./execution.ts";
import type { LogRepair } from "./log-repair.ts";
import { type ReplicaState, Status } from "./replica-state.ts";
import { Timer } from "./timers.ts";
import type { ViewChange } from "./view-change.ts";

/** A backup that hears nothing of its primary for so many ticks votes to leave its view. */
const silenceTicks = 50;

/**
 * As long when the connection to it has ended as well: what a process leaves behind that was killed.
 * Long enough to connect again and hear a heartbeat, if it was the connection alone.
 */
const lostTicks = 20;

export interface FollowingOptions {
  readonly state: ReplicaState;
  readonly prng: Prng;
  readonly backup: Backup;
  readonly repair: LogRepair;
  readonly viewChange: ViewChange;
  readonly execution: Execution;
  readonly onFatal: (text: string) => void;
}

export class Following {
  private readonly options: FollowingOptions;
  private readonly state: ReplicaState;
  private readonly silence: Timer;

  constructor(options: FollowingOptions) {
    this.options = options;
    this.state = options.state;
    this.silence = new Timer({ ticks: silenceTicks, jitterPercent: 20 }, options.prng);
  }

  /** The replica is a backup that has its primary's log. */
  start(): void {
    this.silence.start();
    this.options.viewChange.withdraw();
  }

  stop(): void {
    this.silence.stop();
  }

  /** The connection to a replica has ended. */
  onLost(replica: number): void {
    const { state } = this;
    if (state.isNormalBackup && replica === state.primaryOf(state.view)) {
      this.silence.hasten(lostTicks);
    }
  }

  /** False while it has been silent for long enough to vote. */
  get hearsPrimary(): boolean {
    return this.silence.attempts === 0;
  }

  /** Every 10 ms. */
  tick(): void {
    if (!this.silence.tick() || !this.state.isNormalBackup) return;
    const { viewChange } = this.options;
    viewChange.vote();
    // Others may hear it, and go on: from them this replica can learn how far they are.
    if (this.silence.attempts > 1) viewChange.questions.askAnybody();
  }

  onPrepare(message: Message): void {
    const { state } = this;
    const { backup, execution, viewChange } = this.options;
    const { words } = message;
    const view = words[frame.word.view]!;
    const author = message.bytes[frame.at.replica]!;
    if (view > state.view) {
      viewChange.questions.notice(view);
      return;
    }
    if (view === state.view && state.isNormalBackup && author === state.primaryOf(view)) {
      state.learnCommit(u64ReadNumber(words, prepareHeader.word.commit));
      if (backup.onNext(message)) {
        this.hearPrimary();
        execution.drain();
        return;
      }
    }
    if (!backup.onMissing(message) && state.isNormalBackup) backup.onRepeated(message);
    execution.drain();
  }

  /** The heartbeat of a primary. */
  onCommit(message: Message): void {
    const { state } = this;
    const { execution, repair, viewChange } = this.options;
    const { words } = message;
    const view = words[frame.word.view]!;
    if (view > state.view) {
      viewChange.questions.notice(view);
      return;
    }
    if (view < state.view || state.isPrimary) return;
    if (message.bytes[frame.at.replica] !== state.primaryOf(view)) return;
    if (state.status !== Status.normal) {
      // The view has begun, and its log did not arrive; or its primary is about to begin it.
      viewChange.hearProgress();
      if (state.logView < view) viewChange.questions.askPrimary();
      return;
    }
    this.hearPrimary();
    const commit = u64ReadNumber(words, commitHeader.word.commit);
    const same = u128Equal(words, commitHeader.word.commitChecksum, state.executedChecksum, 0);
    if (commit === state.commitMin && !same) {
      this.options.onFatal(divergedText(`op ${commit} is another one here than at the primary`));
      return;
    }
    state.learnCommit(commit);
    execution.drain();
    if (state.commitMax > state.op) repair.run();
  }

  private hearPrimary(): void {
    this.silence.reset();
    this.options.viewChange.withdraw();
  }
}
