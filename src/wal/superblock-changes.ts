/**
 * Changes of the superblock that were asked for: a checkpoint, a view, a state sync, its end. Those
 * that wait go into the next update together; while it is in flight others may wait again, one of
 * each kind.
 *
 *   ask ─▶ waiting ── compose ──▶ in flight ── finish ──▶ called back
 *             └──────── drop ─────────┴──────────▶ forgotten
 */
import { assert } from "../core/assert.ts";
import { viewHeadersMax } from "../core/limits.ts";
import { u64ReadNumber, u64WriteNumber, u128Copy } from "../core/u128.ts";
import { copyHeader, headerOp, headerWords } from "./headers.ts";
import {
  checkpointLayout,
  checkpointStateWords,
  storageRootWords,
  superblockLayout,
} from "./superblock-layout.ts";

const word = superblockLayout.word;
const checkpointWord = word.checkpoint;
const rootWord = checkpointWord + checkpointLayout.word.storageRoot;

type Callback = (() => void) | null;

/** Whom one kind of change concerns. */
class Turn {
  waiting: Callback = null;
  inFlight: Callback = null;

  ask(onDone: () => void): void {
    assert(this.waiting === null, "one change of a kind waits at a time");
    assert(this.inFlight === null, "one change of a kind is in flight at a time");
    this.waiting = onDone;
  }

  /** True when a change of this kind goes into the update being composed. */
  begin(): boolean {
    if (this.waiting === null) return false;
    this.inFlight = this.waiting;
    this.waiting = null;
    return true;
  }

  take(): Callback {
    const { inFlight } = this;
    this.inFlight = null;
    return inFlight;
  }

  drop(): void {
    this.waiting = null;
    this.inFlight = null;
  }
}

export class SuperblockChanges {
  /** References of the storage layer for the next checkpoint. */
  readonly storageRoot = new Uint32Array(storageRootWords);
  private readonly checkpoint = new Turn();
  private checkpointOp = 0;
  private readonly checkpointHeader = new Uint32Array(headerWords);
  private readonly viewChange = new Turn();
  private view = 0;
  private logView = 0;
  private commitMax = 0;
  private headerCount = 0;
  private readonly headers = new Uint32Array(viewHeadersMax * headerWords);
  /** The replica may vote from then on, if it was not to. */
  private recovered = false;
  private readonly sync = new Turn();
  private readonly syncState = new Uint32Array(checkpointStateWords);
  private readonly syncComplete = new Turn();

  get waiting(): boolean {
    return (
      this.checkpoint.waiting !== null ||
      this.viewChange.waiting !== null ||
      this.sync.waiting !== null ||
      this.syncComplete.waiting !== null
    );
  }

  /** True while the update in flight moves the checkpoint. */
  get movesCheckpoint(): boolean {
    return this.checkpoint.inFlight !== null;
  }

  /** @param header - Copied. */
  askCheckpoint(op: number, header: Uint32Array, onDone: () => void): void {
    this.checkpoint.ask(onDone);
    this.checkpointOp = op;
    copyHeader(this.checkpointHeader, 0, header, 0);
  }

  /** @param headers - `headerCount` headers, copied. */
  askView(
    view: number,
    logView: number,
    commitMax: number,
    headers: Uint32Array,
    headerCount: number,
    recovered: boolean,
    onDone: () => void,
  ): void {
    this.viewChange.ask(onDone);
    this.view = view;
    this.logView = logView;
    this.commitMax = commitMax;
    this.headerCount = headerCount;
    this.headers.set(headers.subarray(0, headerCount * headerWords));
    this.recovered = recovered;
  }

  /** @param state - `checkpointStateWords` words at `stateAt`, copied. */
  askSync(state: Uint32Array, stateAt: number, onDone: () => void): void {
    this.sync.ask(onDone);
    this.syncState.set(state.subarray(stateAt, stateAt + checkpointStateWords));
  }

  askSyncComplete(onDone: () => void): void {
    this.syncComplete.ask(onDone);
  }

  /**
   * Makes the next superblock of the current one.
   * @param words - A copy of the current one; changed.
   * @param checkpointId - Of the current one.
   */
  compose(words: Uint32Array, checkpointId: Uint32Array): void {
    let commitMax = u64ReadNumber(words, word.commitMax);
    if (this.checkpoint.begin()) {
      this.composeCheckpoint(words, checkpointId);
      commitMax = Math.max(commitMax, this.checkpointOp);
    }
    if (this.sync.begin()) {
      this.composeSync(words);
      commitMax = Math.max(commitMax, headerOp(this.syncState, 0));
    }
    if (this.syncComplete.begin()) {
      u64WriteNumber(words, word.syncOpMin, 0);
      u64WriteNumber(words, word.syncOpMax, 0);
    }
    if (this.viewChange.begin()) {
      this.composeView(words);
      commitMax = Math.max(commitMax, this.commitMax);
    }
    u64WriteNumber(words, word.commitMax, commitMax);
  }

  private composeCheckpoint(words: Uint32Array, checkpointId: Uint32Array): void {
    const layout = checkpointLayout.word;
    u128Copy(words, checkpointWord + layout.grandparentId, words, checkpointWord + layout.parentId);
    u128Copy(words, checkpointWord + layout.parentId, checkpointId, 0);
    copyHeader(words, checkpointWord + layout.prepareHeader, this.checkpointHeader, 0);
    u64WriteNumber(words, checkpointWord + layout.op, this.checkpointOp);
    words.set(this.storageRoot, rootWord);
  }

  private composeSync(words: Uint32Array): void {
    // Blocks of a sync that was not complete may be missing still.
    if (u64ReadNumber(words, word.syncOpMax) === 0) {
      const op = u64ReadNumber(words, checkpointWord + checkpointLayout.word.op);
      u64WriteNumber(words, word.syncOpMin, op + 1);
    }
    words.set(this.syncState, checkpointWord);
    u64WriteNumber(words, word.syncOpMax, headerOp(this.syncState, 0));
  }

  private composeView(words: Uint32Array): void {
    words[word.view] = this.view;
    words[word.logView] = this.logView;
    words[word.viewHeaderCount] = this.headerCount;
    words.fill(0, word.viewHeaders, word.viewHeaders + viewHeadersMax * headerWords);
    words.set(this.headers.subarray(0, this.headerCount * headerWords), word.viewHeaders);
    if (this.recovered) words[word.recovering] = 0;
  }

  /**
   * The update in flight is durable: calls back, views first.
   * @param mayCall - Asked before each call: a callback may end its owner.
   */
  finish(mayCall: () => boolean): void {
    const view = this.viewChange.take();
    const checkpoint = this.checkpoint.take();
    const sync = this.sync.take();
    const syncComplete = this.syncComplete.take();
    if (view !== null && mayCall()) view();
    if (checkpoint !== null && mayCall()) checkpoint();
    if (sync !== null && mayCall()) sync();
    if (syncComplete !== null && mayCall()) syncComplete();
  }

  /** Nobody waits any more. */
  drop(): void {
    this.viewChange.drop();
    this.checkpoint.drop();
    this.sync.drop();
    this.syncComplete.drop();
  }
}
