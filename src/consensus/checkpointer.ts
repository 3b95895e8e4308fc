/**
 * Takes a checkpoint every `interval` ops without stopping the log:
 *
 *   after op C      freeze: storage reserves addresses; session table and ledger state are copied
 *   C … C+¾·interval  storage writes the frozen set, paced by ops; kept replies go to their zone
 *   from C+¾·interval finish: the storage's sync, then the superblock moves to C
 *   superblock durable  journal slots up to C may be reused; storage may free what C replaced
 *   C+interval      waits, if that has not happened yet, then freezes again
 *
 * Kept replies are written in place, synced, though the checkpoint before still refers to the same slots.
 * That is safe because a reply is replaced only by an op above that checkpoint, and such an op is
 * replayed after a crash, which makes the reply anew. For the same reason a reply whose session
 * has moved on since the freeze need not be written at all.
 *
 * Invariant: the superblock never refers to anything that is not durable.
 */
import { assert } from "../core/assert.ts";
import { headerSize, replySlotSize } from "../core/limits.ts";
import { Completion, type FileHandle, type FileIo, type IoBuffer } from "../io/io.ts";
import type { StateMachine } from "../ledger/state-machine.ts";
import type { StorageEngine } from "../storage/engine.ts";
import type { ClientReplies } from "../wal/client-replies.ts";
import type { Journal } from "../wal/journal.ts";
import type { Superblock } from "../wal/superblock.ts";
import type { ClientSessions } from "./client-sessions.ts";

/** Trailers of a checkpoint, by index. */
export const TrailerIndex = { ledger: 0, sessions: 1 } as const;

export interface CheckpointerOptions {
  readonly interval: number;
  readonly superblock: Superblock;
  readonly journal: Journal;
  readonly storage: StorageEngine;
  readonly stateMachine: StateMachine;
  readonly sessions: ClientSessions;
  readonly replies: ClientReplies;
  /** For the sync that makes written replies durable. */
  readonly io: FileIo;
  readonly file: FileHandle;
  readonly onFatal: (text: string) => void;
}

const Phase = {
  /** The latest checkpoint is durable. */
  idle: 0,
  /** Frozen; the storage paces its writes. */
  writing: 1,
  /** Replies, storage, superblock: one after the other. */
  finishing: 2,
} as const;

export class Checkpointer {
  /** Op of the latest durable checkpoint. */
  durableOp = 0;
  /** Op of the latest freeze. */
  frozenOp = 0;
  private readonly options: CheckpointerOptions;
  private phase: number = Phase.idle;
  private readonly ledgerWords: Uint32Array;
  private readonly sessionWords: Uint32Array;
  private readonly prepareHeader = new Uint32Array(headerSize / 4);
  /** Slots whose replies the frozen checkpoint needs. */
  private readonly replySlots: Int32Array;
  private replySlotsCount = 0;
  private replySlotsNext = 0;
  /** The reply being written: its session may get the next one meanwhile. */
  private readonly replyCopy: IoBuffer;
  /** Op and header of a freeze that waits for the checkpoint before. */
  private waitingOp = 0;
  private waitingHeader: Uint32Array | null = null;
  private onReady: (() => void) | null = null;
  private readonly repliesSynced: Completion;
  private quiescing = false;
  private onQuiet: (() => void) | null = null;

  constructor(options: CheckpointerOptions) {
    this.options = options;
    this.ledgerWords = new Uint32Array(options.stateMachine.snapshotWords);
    this.sessionWords = new Uint32Array(options.sessions.snapshotWords);
    this.replySlots = new Int32Array(options.sessions.clientsMax);
    this.replyCopy = options.io.allocate(replySlotSize);
    this.repliesSynced = new Completion((sync) => this.onRepliesSynced(sync.result));
  }

  startAt(op: number): void {
    this.durableOp = op;
    this.frozenOp = op;
  }

  /**
   * Writes the id of the checkpoint that the prepare of `op` names: for ops in (k·interval,
   * (k+1)·interval] that of checkpoint k − 2, zeros where there is none. Whoever executes the op has
   * it durable, so it tells whether replicas agree, however their checkpoints are timed.
   * @returns false when it is not durable here yet.
   */
  copyNamedId(op: number, target: Uint32Array): boolean {
    const { interval, superblock } = this.options;
    const named = (Math.ceil(op / interval) - 3) * interval;
    target.fill(0);
    if (named < 0) return true;
    return superblock.copyIdOf(named, interval, target);
  }

  /**
   * After each op, once compaction allows the next.
   * @param header - The op's prepare header.
   * @returns true when the next op may start; otherwise `onReady` is called when it may.
   */
  afterOp(op: number, header: Uint32Array, onReady: () => void): boolean {
    const { interval } = this.options;
    if (this.quiescing) return false;
    if (this.phase === Phase.writing && op >= this.frozenOp + Math.floor((interval * 3) / 4)) {
      this.finish();
    }
    if (op % interval !== 0) return true;
    if (this.phase !== Phase.idle) {
      this.waitingOp = op;
      this.waitingHeader = header;
      this.onReady = onReady;
      return false;
    }
    this.freeze(op, header);
    return true;
  }

  private freeze(op: number, header: Uint32Array): void {
    const { sessions, stateMachine, storage } = this.options;
    assert(this.phase === Phase.idle, "one checkpoint at a time");
    assert(op > this.frozenOp, "checkpoints rise");
    this.phase = Phase.writing;
    this.frozenOp = op;
    this.prepareHeader.set(header.subarray(0, headerSize / 4));
    this.replySlotsCount = 0;
    this.replySlotsNext = 0;
    for (let slot = 0; slot < sessions.clientsMax; slot += 1) {
      if (!sessions.isOccupied(slot)) continue;
      if (!sessions.replyKept(slot) || !sessions.touchedSinceSnapshot(slot)) continue;
      if (sessions.replyMissing(slot)) continue;
      this.replySlots[this.replySlotsCount] = slot;
      this.replySlotsCount += 1;
    }
    sessions.snapshot(this.sessionWords);
    stateMachine.snapshot(this.ledgerWords, 0);
    storage.freeze(op, [
      { words: this.ledgerWords, length: this.ledgerWords.length * 4 },
      { words: this.sessionWords, length: this.sessionWords.length * 4 },
    ]);
  }

  private finish(): void {
    this.phase = Phase.finishing;
    this.writeNextReply();
  }

  private readonly writeNextReply = (): void => {
    const { sessions, replies } = this.options;
    while (this.replySlotsNext < this.replySlotsCount) {
      const slot = this.replySlots[this.replySlotsNext]!;
      this.replySlotsNext += 1;
      const current =
        sessions.isOccupied(slot) &&
        sessions.replyKept(slot) &&
        !sessions.replyMissing(slot) &&
        sessions.replyOp(slot) <= this.frozenOp;
      if (!current) continue;
      const from = slot * replySlotSize;
      const reply = sessions.replies.bytes.subarray(from, from + sessions.replySize(slot));
      this.replyCopy.bytes.set(reply);
      replies.write(slot, this.replyCopy, 0, this.writeNextReply);
      return;
    }
    // The storage may have synced already, before the last reply was written.
    if (this.replySlotsCount === 0) this.options.storage.checkpointWrite(this.onStorageWritten);
    else this.options.io.sync(this.repliesSynced, this.options.file);
  };

  /**
   * The end: nothing more is started. `onQuiet` is called when nothing of its own is in flight;
   * perhaps from inside. Storage, replies and superblock are ended by whoever ends this.
   */
  quiesce(onQuiet: () => void): void {
    assert(!this.quiescing, "a checkpointer ends once");
    this.quiescing = true;
    if (this.repliesSynced.busy) this.onQuiet = onQuiet;
    else onQuiet();
  }

  private onRepliesSynced(result: number): void {
    if (result < 0) {
      this.options.onFatal(
        `cannot sync client replies: error ${-result}. The disk must be checked before the replica starts.`,
      );
      return;
    }
    const { onQuiet } = this;
    if (onQuiet !== null) {
      this.onQuiet = null;
      onQuiet();
      return;
    }
    this.options.storage.checkpointWrite(this.onStorageWritten);
  }

  private readonly onStorageWritten = (): void => {
    const { superblock, storage } = this.options;
    storage.checkpointRoot(superblock.pendingStorageRoot, 0);
    superblock.updateCheckpoint(this.frozenOp, this.prepareHeader, this.onSuperblockDurable);
  };

  private readonly onSuperblockDurable = (): void => {
    this.durableOp = this.frozenOp;
    this.phase = Phase.idle;
    this.options.journal.checkpointDurable(this.durableOp);
    this.options.storage.checkpointDurable();
    const onReady = this.onReady;
    if (onReady === null) return;
    const header = this.waitingHeader;
    assert(header !== null, "a waiting freeze has its header");
    this.onReady = null;
    this.waitingHeader = null;
    this.freeze(this.waitingOp, header);
    onReady();
  };
}
