/**
 * Drives committed ops through their stages, one op at a time and in order:
 *
 *   find the prepare (cache, or read it from the journal) ─▶ execute ─▶ compact ─▶ checkpoint
 *
 * Between ops, queries that clients ask for again run. A step that has to wait (for a read, for the
 * durability of a checkpoint, for a missing prepare) leaves the stage; its completion goes on.
 *
 * Invariants:
 * - An op is executed only if it is committed, its header is connected to the present log's head
 *   (header-chain.ts), and it names the op executed before it as its parent.
 * - The checkpoint that its prepare names is the one that this replica has. A difference means that
 *   replicas have diverged: the replica stops.
 */
import { assert } from "../core/assert.ts";
import { pipelinePrepareMax } from "../core/limits.ts";
import { u128Copy, u128Equal } from "../core/u128.ts";
import type { Message, MessagePool } from "../io/message-pool.ts";
import type { StorageEngine } from "../storage/engine.ts";
import { sectorCeil } from "../wal/data-file.ts";
import { headerMessageSize } from "../wal/headers.ts";
import { PrepareRead } from "../wal/prepare-reads.ts";
import { frame, prepareHeader } from "../wire/header.ts";
import type { Checkpointer } from "./checkpointer.ts";
import { divergedText } from "./diverged.ts";
import type { Executor } from "./executor.ts";
import type { HeaderChain } from "./header-chain.ts";
import type { PrepareCache } from "./prepare-cache.ts";
import { type ReplicaState, Status } from "./replica-state.ts";
import { operationOf } from "./request-queue.ts";

/** Queries that wait to run again. More are dropped; the client retries. */
const rerunsMax = pipelinePrepareMax;

const Stage = {
  idle: 0,
  loading: 1,
  executing: 2,
  compacting: 3,
  checkpoint: 4,
  rerun: 5,
} as const;

export interface ExecutionOptions {
  readonly state: ReplicaState;
  readonly chain: HeaderChain;
  readonly cache: PrepareCache;
  readonly executor: Executor;
  readonly checkpointer: Checkpointer;
  readonly storage: StorageEngine;
  readonly pool: MessagePool;
  /** The op of this prepare has been executed; valid during the call. */
  readonly onExecuted: (prepare: Message) => void;
  /** The slot of the session for which a query may run again, or −1 if it may not any more. */
  readonly rerunSlot: (request: Message) => number;
  readonly onFatal: (text: string) => void;
}

export class Execution {
  private readonly options: ExecutionOptions;
  private readonly state: ReplicaState;
  private stage: number = Stage.idle;
  private prepare: Message | null = null;
  private readonly reruns: Message[] = [];
  /** The last step was a repeated query: a committed op goes first now. */
  private rerunLast = false;
  private readonly namedId = new Uint32Array(4);

  constructor(options: ExecutionOptions) {
    this.options = options;
    this.state = options.state;
  }

  /** No op and no query is under way. */
  get idle(): boolean {
    return this.stage === Stage.idle;
  }

  /**
   * Executes what is committed, until there is nothing more or a step has to wait. Repeated queries
   * and ops take turns, so that neither of them can keep the other waiting for ever.
   */
  drain(): void {
    while (this.stage === Stage.idle && this.state.status !== Status.stopped) {
      const committed = this.mayExecute();
      if (this.reruns.length > 0 && !(committed && this.rerunLast)) {
        this.rerunLast = true;
        if (!this.startRerun()) return;
      } else if (committed) {
        this.rerunLast = false;
        if (!this.startOp()) return;
      } else {
        return;
      }
    }
  }

  private mayExecute(): boolean {
    const { state } = this;
    const op = state.commitMin + 1;
    if (op > state.commitMax || !state.hasLog || !state.stateOpen) return false;
    return this.options.chain.trusts(op);
  }

  private startOp(): boolean {
    const { state } = this;
    const { journal } = state;
    const op = state.commitMin + 1;
    const at = journal.headerAt(op);
    if (!u128Equal(journal.headers, at + prepareHeader.word.parent, state.executedChecksum, 0)) {
      this.diverged(op, "does not follow the one that was executed before it");
      return false;
    }
    const cached = this.options.cache.get(op, journal.headers, at);
    if (cached === null) {
      this.load(op, at);
      return false;
    }
    cached.pool.ref(cached);
    this.prepare = cached;
    return this.execute(cached);
  }

  /** Reads the prepare back from the journal; what is not there, repair will bring. */
  private load(op: number, at: number): void {
    const { journal } = this.state;
    if (!journal.hasPrepare(op) || !journal.canRead) return;
    const message = this.options.pool.get(sectorCeil(headerMessageSize(journal.headers, at)));
    if (message === null) return; // The next turn asks again.
    this.stage = Stage.loading;
    this.prepare = message;
    journal.readPrepare(op, journal.headers, at, message.buffer, this.onLoaded);
  }

  private readonly onLoaded = (result: PrepareRead): void => {
    const { state, prepare } = this;
    assert(prepare !== null, "a prepare is being read");
    if (state.status === Status.stopped) return;
    const op = state.commitMin + 1;
    const { journal } = state;
    // A view change may have shown meanwhile that another prepare is the log's.
    const wanted =
      result === PrepareRead.ok &&
      this.mayExecute() &&
      u128Equal(prepare.words, frame.word.checksum, journal.headers, journal.headerAt(op));
    if (wanted) {
      if (this.execute(prepare)) this.drain();
      return;
    }
    prepare.pool.unref(prepare);
    this.prepare = null;
    this.stage = Stage.idle;
    if (result === PrepareRead.damaged && state.replicaCount === 1) {
      this.options.onFatal(
        `The journal's prepare of op ${op} was sound when it was written and cannot be read now: ` +
          "the disk must be checked before the replica starts.",
      );
    } else if (result !== PrepareRead.damaged) {
      this.drain();
    }
  };

  /** @returns true when the op is done already. */
  private execute(prepare: Message): boolean {
    const op = this.state.commitMin + 1;
    const named = this.options.checkpointer.copyNamedId(op, this.namedId);
    assert(named, "the checkpoint that an op names is durable where the op is executed");
    if (!u128Equal(prepare.words, prepareHeader.word.checkpointId, this.namedId, 0)) {
      this.diverged(op, "was prepared over another state than this replica has");
      return false;
    }
    this.stage = Stage.executing;
    if (!this.options.executor.execute(prepare, this.onOpExecuted)) return false;
    return this.afterExecution();
  }

  private diverged(op: number, what: string): void {
    this.options.onFatal(divergedText(`op ${op} ${what}`));
  }

  private readonly onOpExecuted = (): void => {
    if (this.afterExecution()) this.drain();
  };

  private afterExecution(): boolean {
    const { state, prepare } = this;
    assert(prepare !== null, "a prepare is being executed");
    state.commitMin += 1;
    u128Copy(state.executedChecksum, 0, prepare.words, frame.word.checksum);
    this.options.executor.op = state.commitMin;
    this.stage = Stage.compacting;
    if (!this.options.storage.compact(state.commitMin, this.onCompacted)) return false;
    return this.afterCompaction();
  }

  private readonly onCompacted = (): void => {
    if (this.afterCompaction()) this.drain();
  };

  private afterCompaction(): boolean {
    this.stage = Stage.checkpoint;
    assert(this.prepare !== null, "a prepare is being executed");
    const { checkpointer } = this.options;
    if (!checkpointer.afterOp(this.state.commitMin, this.prepare.words, this.onCheckpoint)) {
      return false;
    }
    this.finishOp();
    return true;
  }

  private readonly onCheckpoint = (): void => {
    this.finishOp();
    this.drain();
  };

  private finishOp(): void {
    const { prepare } = this;
    assert(prepare !== null, "a prepare was executed");
    this.prepare = null;
    this.stage = Stage.idle;
    this.options.onExecuted(prepare);
    this.options.cache.release(this.state.commitMin);
    prepare.pool.unref(prepare);
  }

  /**
   * Lets a query run again; false when too many wait, or this one does already. Takes a reference on the
   * request.
   */
  rerun(request: Message): boolean {
    if (this.reruns.length >= rerunsMax) return false;
    for (const { words } of this.reruns) {
      if (u128Equal(words, frame.word.checksum, request.words, frame.word.checksum)) return false;
    }
    request.pool.ref(request);
    this.reruns.push(request);
    this.drain();
    return true;
  }

  private startRerun(): boolean {
    const request = this.reruns[0]!;
    // The session may have moved on while the repetition waited.
    const slot = this.options.rerunSlot(request);
    if (slot === -1) {
      this.finishRerun();
      return true;
    }
    this.stage = Stage.rerun;
    const operation = operationOf(request);
    if (!this.options.executor.rerun(request, operation, slot, this.onRerun)) return false;
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
    if (first !== undefined) first.pool.unref(first);
  }
}
