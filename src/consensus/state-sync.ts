/**
 * When the log can not be repaired any more, because the cluster's journals have moved on or nobody
 * answers, a replica moves to the cluster's checkpoint: its superblock takes over the checkpoint
 * state that a primary sent, and the replica is opened anew from there. The grid's blocks that it
 * does not have, its peers send (block-repair.ts); those that it has are the same ones.
 *
 * Invariants:
 * - A replica only moves forward: to a checkpoint above its own durable one. That may lie below what it
 *   has executed, which it executes again then, as after a crash.
 * - The log that it takes with the checkpoint fits its journal under that checkpoint.
 * - From the decision on it acknowledges, votes and executes nothing, until it is opened anew.
 */
import { checkpointStateSize, headerSize, viewHeadersMax } from "../core/limits.ts";
import { u64ReadNumber } from "../core/u128.ts";
import type { Message } from "../io/message-pool.ts";
import { rootIsSound } from "../storage/manifest.ts";
import { checkpointStateFault, checkpointStateOp } from "../wal/checkpoint-state.ts";
import { checkpointLayout, storageRootWords } from "../wal/superblock-layout.ts";
import { frame } from "../wire/header.ts";
import { viewHeader } from "../wire/replica-headers.ts";
import { viewBodyHeaderAt } from "../wire/replica-messages.ts";
import { type ReplicaState, Status } from "./replica-state.ts";

const headerWords = headerSize / 4;
/** Where the checkpoint state lies in a `view`: at the start of its body. */
const stateWord = headerWords;
const rootWord = stateWord + checkpointLayout.word.storageRoot;

/** Ticks without an executed op, while more are known to be committed: 5 s. */
const stuckTicks = 500;

export interface StateSyncOptions {
  readonly state: ReplicaState;
  /** Asks the primary for its log's end and checkpoint. */
  readonly askPrimary: () => void;
  readonly log: (text: string) => void;
  /** Lets what is being written end, and keeps everything from writing more. */
  readonly quiesce: (onQuiet: () => void) => void;
  /** The superblock has moved: close everything and open the replica anew. */
  readonly onMoved: () => void;
}

export class StateSync {
  private readonly options: StateSyncOptions;
  private readonly state: ReplicaState;
  private executedThen = 0;
  private ticksStuck = 0;
  /** Copied out of the `view`, whose message is gone when the replica is quiet. */
  private readonly checkpoint = new Uint32Array(checkpointStateSize / 4);
  private readonly headers = new Uint32Array(viewHeadersMax * headerWords);

  constructor(options: StateSyncOptions) {
    this.options = options;
    this.state = options.state;
  }

  /** Every 10 ms: notices that repair does not get on. */
  tick(): void {
    const { state } = this;
    const waiting = state.isNormalBackup && state.commitMax > state.commitMin;
    if (!waiting || state.commitMin !== this.executedThen) {
      this.executedThen = state.commitMin;
      this.ticksStuck = 0;
      return;
    }
    this.ticksStuck += 1;
    if (this.ticksStuck % stuckTicks === 0) this.options.askPrimary();
  }

  /** @returns true when the move to the checkpoint of this `view` has begun. */
  begin(view: Message): boolean {
    const { state } = this;
    const { words } = view;
    const checkpointOp = u64ReadNumber(words, viewHeader.word.checkpointOp);
    const op = u64ReadNumber(words, viewHeader.word.op);
    // Its head lies where the own journal has no room: the log can not be taken over as it is.
    if (op > state.journal.opMax) return this.move(view, checkpointOp);
    if (checkpointOp <= state.commitMin) return false;
    const overwritten = op - state.journal.slotCount >= state.commitMin;
    if (!overwritten && this.ticksStuck < stuckTicks) return false;
    return this.move(view, checkpointOp);
  }

  /**
   * While the replica opens: what it misses of its own checkpoint nobody has any more, perhaps. A newer
   * checkpoint may come from anybody, since it is of committed ops; of log and view the own superblock
   * goes on to tell. Ops above the own head were not acknowledged here, those above the checkpoint
   * stay in the journal.
   * @returns true when the move to the checkpoint of this `view` has begun.
   */
  beginOpening(view: Message): boolean {
    const { state } = this;
    const { words } = view;
    const checkpointOp = u64ReadNumber(words, viewHeader.word.checkpointOp);
    if (words[viewHeader.word.checkpointOnly] !== 1) return false;
    if (!this.accepts(view, checkpointOp)) return false;
    this.checkpoint.set(words.subarray(stateWord, viewBodyHeaderAt(0)));
    this.leave(checkpointOp, () => {
      const { superblock } = state;
      const { view: durable, logView, viewHeaders, viewHeaderCount: count } = superblock;
      const commitMax = Math.max(superblock.commitMax, checkpointOp);
      const { onMoved } = this.options;
      superblock.updateSync(
        this.checkpoint,
        0,
        durable,
        logView,
        commitMax,
        viewHeaders,
        count,
        onMoved,
      );
    });
    return true;
  }

  private accepts(view: Message, checkpointOp: number): boolean {
    const { superblock } = this.state;
    if (checkpointOp <= superblock.checkpointOp) return false;
    if (checkpointStateOp(view.words, stateWord) !== checkpointOp) return false;
    // Once the superblock has moved there, what cannot be read keeps the replica from opening for good.
    const root = view.words.subarray(rootWord, rootWord + storageRootWords);
    if (!rootIsSound(root)) return false;
    return checkpointStateFault(view, stateWord * 4, superblock.formatOptions) === null;
  }

  /**
   * Does nothing more, and lets what is being written end.
   * @param move - Moves the superblock. Not called if its own checkpoint has become as new meanwhile:
   *   opened from there, the replica asks again.
   */
  private leave(checkpointOp: number, move: () => void): void {
    const { state } = this;
    this.options.log(`moving to the cluster's checkpoint ${checkpointOp}`);
    state.status = Status.stopped;
    this.options.quiesce(() => {
      if (state.superblock.checkpointOp >= checkpointOp) this.options.onMoved();
      else move();
    });
  }

  private move(view: Message, checkpointOp: number): boolean {
    const { state } = this;
    const { words } = view;
    const { slotCount } = state.superblock.formatOptions;
    if (u64ReadNumber(words, viewHeader.word.op) > checkpointOp + slotCount) return false;
    if (!this.accepts(view, checkpointOp)) return false;
    const bodyAt = viewBodyHeaderAt(0);
    const count = (words[frame.word.size]! / 4 - bodyAt) / headerWords;
    const newView = words[frame.word.view]!;
    const commitMax = u64ReadNumber(words, viewHeader.word.commitMax);
    this.checkpoint.set(words.subarray(stateWord, bodyAt));
    this.headers.set(words.subarray(bodyAt, bodyAt + count * headerWords));
    this.leave(checkpointOp, () => {
      const { checkpoint, headers } = this;
      const { onMoved } = this.options;
      const { superblock } = state;
      superblock.updateSync(checkpoint, 0, newView, newView, commitMax, headers, count, onMoved);
    });
    return true;
  }
}
