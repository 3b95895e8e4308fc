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
import { checkpointStateFault, checkpointStateOp } from "../wal/checkpoint-state.ts";
import { frame } from "../wire/header.ts";
import { viewHeader } from "../wire/replica-headers.ts";
import { viewBodyHeaderAt } from "../wire/replica-messages.ts";
import { type ReplicaState, Status } from "./replica-state.ts";

const headerWords = headerSize / 4;
/** Where the checkpoint state lies in a `view`: at the start of its body. */
const stateWord = headerWords;

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
   * While the replica opens: what it misses of its own checkpoint nobody has any more, perhaps. The
   * `view` may come from a backup: a checkpoint is of committed ops, and a backup's log of the view
   * is as good a beginning as any; it holds all that was prepared before that view.
   * @returns true when the move to the checkpoint of this `view` has begun.
   */
  beginOpening(view: Message): boolean {
    const { words } = view;
    if (words[frame.word.view]! < this.state.superblock.view) return false;
    return this.move(view, u64ReadNumber(words, viewHeader.word.checkpointOp));
  }

  private move(view: Message, checkpointOp: number): boolean {
    const { state } = this;
    const { words } = view;
    const format = state.superblock.formatOptions;
    if (checkpointOp <= state.superblock.checkpointOp) return false;
    if (u64ReadNumber(words, viewHeader.word.op) > checkpointOp + format.slotCount) return false;
    if (checkpointStateOp(words, stateWord) !== checkpointOp) return false;
    if (checkpointStateFault(view, stateWord * 4, format) !== null) return false;
    this.options.log(`moving to the cluster's checkpoint ${checkpointOp}`);
    state.status = Status.stopped;
    const bodyAt = viewBodyHeaderAt(0);
    const count = (words[frame.word.size]! / 4 - bodyAt) / headerWords;
    const newView = words[frame.word.view]!;
    const commitMax = u64ReadNumber(words, viewHeader.word.commitMax);
    this.checkpoint.set(words.subarray(stateWord, bodyAt));
    this.headers.set(words.subarray(bodyAt, bodyAt + count * headerWords));
    this.options.quiesce(() => {
      const { superblock } = state;
      const { checkpoint, headers } = this;
      const { onMoved } = this.options;
      // The own checkpoint may have become durable meanwhile. Opened from there, the replica asks again.
      if (superblock.checkpointOp >= checkpointOp) onMoved();
      else
        superblock.updateSync(checkpoint, 0, newView, newView, commitMax, headers, count, onMoved);
    });
    return true;
  }
}
