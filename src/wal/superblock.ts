/**
 * The superblock: the root of everything durable. It names the checkpoint, the view and the log
 * view, and it moves only as a whole.
 *
 *            ┌────────── open: quorum of copies read, others rewritten
 *            ▼
 *   idle ── update ──▶ write copy 0 ▶ 1 ▶ 2 ▶ 3 ──▶ read back all ──▶ ≥ 3 verify ──▶ called back
 *            ▲                                                                          │
 *            └───────────── updates that were asked for meanwhile, together ◀───────────┘
 *
 * It outlives a replica that opens anew in the same process (`quiesce`): what its owner asked for is
 * carried out or not, but the owner hears of it no more, and the next one goes on from there.
 *
 * Invariants:
 * - One update at a time; each has the sequence after its parent's, and its parent's checksum.
 * - Copies are written one after the other, each durably, so that at every moment at least two
 *   identical copies of the old or of the new superblock exist.
 * - What is read here (view, checkpoint …) is durable: it changes when an update has been verified.
 */
import { assert } from "../core/assert.ts";
import { DataFileError, DataFileErrorCode } from "../core/data-file-error.ts";
import { headerSize, viewHeadersMax } from "../core/limits.ts";
import { u64ReadNumber, u64WriteNumber, u128Copy, u128Equal } from "../core/u128.ts";
import { Completion, type FileHandle, type FileIo, type IoBuffer } from "../io/io.ts";
import {
  checkFormatOptions,
  type FormatOptions,
  superblockCopies,
  superblockCopySize,
  superblockCopySpacing,
} from "./data-file.ts";
import { headerIntact, headerOp, headerWords } from "./headers.ts";
import { SuperblockChanges } from "./superblock-changes.ts";
import {
  CopyFault,
  checkpointLayout,
  checkpointStateWords,
  checkSuperblockCopy,
  computeCheckpointId,
  readFormatOptions,
  sealSuperblock,
  storageRootWords,
  superblockLayout,
} from "./superblock-layout.ts";
import {
  chooseSuperblock,
  type RewriteNote,
  rewriteNote,
  superblockUpdateQuorum,
} from "./superblock-quorum.ts";

const word = superblockLayout.word;
const copyWords = superblockCopySize / 4;
const checkpointWord = word.checkpoint;
const rootWord = checkpointWord + checkpointLayout.word.storageRoot;

export interface SuperblockOptions {
  readonly io: FileIo;
  readonly file: FileHandle;
  /** Release of this program, recorded with every update. */
  readonly release: number;
  /** A write failed, or too few copies verified: stop the replica. */
  readonly onFatal: (text: string) => void;
}

export class Superblock {
  /**
   * Where the storage layer puts its references before `updateCheckpoint`; at least as long as it
   * needs. Copied when that update starts: leave it alone until it is done.
   */
  readonly pendingStorageRoot: Uint32Array;

  private readonly io: FileIo;
  private readonly file: FileHandle;
  private readonly release: number;
  private readonly onFatal: (text: string) => void;
  /** The durable superblock. */
  private readonly words = new Uint32Array(copyWords);
  private readonly bytes = new Uint8Array(this.words.buffer);
  private readonly checkpointIdWords = new Uint32Array(4);
  private format: FormatOptions | null = null;

  /** The next superblock, while it is being written. */
  private readonly next: IoBuffer;
  private readonly readBack: IoBuffer;
  private readonly completion: Completion;
  private step = 0;
  private verified = 0;
  private updating = false;
  /** Copies to write now, in order. */
  private targets: readonly number[] = allCopies;
  private onWritten: () => void;
  private readonly afterUpdate: () => void;

  /** What `open` had to rewrite. */
  rewritten: RewriteNote | null = null;

  private readonly changes = new SuperblockChanges();
  /** Rises when an owner parts: what it was promised is not called any more. */
  private owner = 0;
  private onQuiet: (() => void) | null = null;

  constructor(options: SuperblockOptions) {
    this.io = options.io;
    this.file = options.file;
    this.release = options.release;
    this.onFatal = options.onFatal;
    this.next = this.io.allocate(superblockCopySize);
    this.readBack = this.io.allocate(superblockCopySize);
    this.completion = new Completion(() => this.onStep());
    this.afterUpdate = () => this.onUpdated();
    this.onWritten = this.afterUpdate;
    this.pendingStorageRoot = this.changes.storageRoot;
  }

  /** Reads the copies, chooses by quorum, rewrites copies that differ, then calls back. */
  open(onOpened: (error: DataFileError | null) => void): void {
    assert(this.format === null, "a superblock is opened once");
    const copies = this.io.allocate(superblockCopies * superblockCopySize);
    const unreadable: boolean[] = [];
    const completion = new Completion(() => {
      unreadable.push(completion.result < 0);
      if (unreadable.length === superblockCopies) this.choose(copies, unreadable, onOpened);
      else readNext();
    });
    const readNext = (): void => {
      const copy = unreadable.length;
      const at = copy * superblockCopySize;
      const fileAt = copy * superblockCopySpacing;
      this.io.read(completion, this.file, copies, at, superblockCopySize, fileAt);
    };
    readNext();
  }

  private choose(
    copies: IoBuffer,
    unreadable: readonly boolean[],
    onOpened: (error: DataFileError | null) => void,
  ): void {
    const choice = chooseSuperblock(copies, unreadable);
    if (choice.error !== null) {
      onOpened(choice.error);
      return;
    }
    const at = choice.winner * copyWords;
    const problem = checkContent(copies, at);
    if (problem !== null) {
      onOpened(problem);
      return;
    }
    this.next.words.set(copies.words.subarray(at, at + copyWords));
    if (choice.rewrite.length === 0) {
      this.adopt();
      onOpened(null);
      return;
    }
    this.write(choice.rewrite, () => {
      this.adopt();
      this.rewritten = rewriteNote(choice);
      onOpened(null);
    });
  }

  /** Makes `next` the current superblock. */
  private adopt(): void {
    this.words.set(this.next.words);
    computeCheckpointId(this.checkpointIdWords, 0, this.bytes, superblockLayout.at.checkpoint);
    if (this.format === null) this.format = readFormatOptions(this.words, 0);
  }

  /** What the file was formatted with. After `open`. */
  get formatOptions(): FormatOptions {
    assert(this.format !== null, "the superblock is open");
    return this.format;
  }
  get sequence(): number {
    return u64ReadNumber(this.words, word.sequence);
  }
  get view(): number {
    return this.words[word.view]!;
  }
  get logView(): number {
    return this.words[word.logView]!;
  }
  /** An op that is known to be committed; later ones may be. */
  get commitMax(): number {
    return u64ReadNumber(this.words, word.commitMax);
  }
  get checkpointOp(): number {
    return u64ReadNumber(this.words, checkpointWord + checkpointLayout.word.op);
  }
  /** True in a file that replaces a lost one: what it acknowledged is not known, so it must not vote. */
  get recovering(): boolean {
    return this.words[word.recovering] === 1;
  }
  /** True while blocks of ops `syncOpMin` … `syncOpMax` may be missing after a state sync. */
  get syncing(): boolean {
    return this.syncOpMax > 0;
  }
  get syncOpMin(): number {
    return u64ReadNumber(this.words, word.syncOpMin);
  }
  get syncOpMax(): number {
    return u64ReadNumber(this.words, word.syncOpMax);
  }

  /** The whole checkpoint state, `checkpointStateWords` words. Changes with an update. */
  get checkpointState(): Uint32Array {
    return this.words.subarray(checkpointWord, checkpointWord + checkpointStateWords);
  }
  /** Header of the last prepare that the checkpoint covers. */
  get checkpointHeader(): Uint32Array {
    return this.words.subarray(checkpointWord, checkpointWord + headerWords);
  }
  /** The storage layer's references, `storageRootWords` words. */
  get storageRoot(): Uint32Array {
    return this.words.subarray(rootWord, rootWord + storageRootWords);
  }
  copyCheckpointId(target: Uint32Array, at: number): void {
    u128Copy(target, at, this.checkpointIdWords, 0);
  }

  /**
   * Writes the id of the checkpoint at `op` into the start of `target`: the durable one's, or that of
   * one of the two before it, `interval` ops apart.
   * @returns false when the durable one is older than `op`.
   */
  copyIdOf(op: number, interval: number, target: Uint32Array): boolean {
    const { parentId, grandparentId } = checkpointLayout.word;
    const distance = this.checkpointOp - op;
    if (distance < 0) return false;
    assert(distance <= 2 * interval, "two generations are remembered");
    if (distance === 0) u128Copy(target, 0, this.checkpointIdWords, 0);
    else {
      const field = distance === interval ? parentId : grandparentId;
      u128Copy(target, 0, this.words, checkpointWord + field);
    }
    return true;
  }

  /** Headers of the log's end as of the last view change. */
  get viewHeaderCount(): number {
    return this.words[word.viewHeaderCount]!;
  }
  get viewHeaders(): Uint32Array {
    return this.words.subarray(
      word.viewHeaders,
      word.viewHeaders + this.viewHeaderCount * headerWords,
    );
  }

  /**
   * Moves to the checkpoint at `op`, with the references in `pendingStorageRoot`. Everything that
   * they refer to is durable already.
   * @param header - The prepare header of `op`; copied.
   * @param onDone - Called when the new superblock is durable and verified.
   */
  updateCheckpoint(op: number, header: Uint32Array, onDone: () => void): void {
    assert(this.format !== null, "the superblock is open");
    assert(op > this.checkpointOp, "checkpoints advance");
    assert(headerOp(header, 0) === op, "the header is that of the checkpoint's op");
    this.changes.askCheckpoint(op, header, onDone);
    this.startUpdate();
  }

  /**
   * Makes view and log view durable, and what is known of the log's end with them.
   * @param headers - `headerCount` headers, highest op first; copied.
   */
  updateView(
    view: number,
    logView: number,
    commitMax: number,
    headers: Uint32Array,
    headerCount: number,
    onDone: () => void,
  ): void {
    this.askView(view, logView, commitMax, headers, headerCount, false, onDone);
    this.startUpdate();
  }

  /** As `updateView`, for a replica that was not to vote: from then on it may. */
  updateRecovered(
    view: number,
    logView: number,
    commitMax: number,
    headers: Uint32Array,
    headerCount: number,
    onDone: () => void,
  ): void {
    assert(this.recovering, "it was not to vote");
    this.askView(view, logView, commitMax, headers, headerCount, true, onDone);
    this.startUpdate();
  }

  /**
   * Moves to the checkpoint of another replica, with all that is known of the view, at once. Its
   * blocks are yet to be fetched: `syncing` says so until `updateSyncComplete`. Nothing else may be
   * under way: the replica has been quiesced.
   * @param state - `checkpointStateWords` words at `stateAt` that `checkpointStateFault` accepts; copied.
   */
  updateSync(
    state: Uint32Array,
    stateAt: number,
    view: number,
    logView: number,
    commitMax: number,
    headers: Uint32Array,
    headerCount: number,
    onDone: () => void,
  ): void {
    assert(!this.updating, "the replica was quiesced");
    const op = u64ReadNumber(state, stateAt + checkpointLayout.word.op);
    assert(op > this.checkpointOp, "checkpoints advance");
    assert(headerOp(state, stateAt) === op, "the state was checked");
    this.changes.askSync(state, stateAt, onDone);
    this.askView(view, logView, commitMax, headers, headerCount, false, ignore);
    this.startUpdate();
  }

  /** The blocks of the state sync are here, durably. */
  updateSyncComplete(onDone: () => void): void {
    assert(this.syncing, "a state sync was under way");
    this.changes.askSyncComplete(onDone);
    this.startUpdate();
  }

  private askView(
    view: number,
    logView: number,
    commitMax: number,
    headers: Uint32Array,
    headerCount: number,
    recovered: boolean,
    onDone: () => void,
  ): void {
    assert(this.format !== null, "the superblock is open");
    assert(view >= this.view, "views rise");
    assert(logView >= this.logView, "log views rise");
    assert(logView <= view, "the log view is a view that was");
    assert(headerCount <= viewHeadersMax, "the headers fit");
    this.changes.askView(view, logView, commitMax, headers, headerCount, recovered, onDone);
  }

  /** True while an update is being written or waits. */
  get busy(): boolean {
    return this.updating;
  }

  private startUpdate(): void {
    if (this.updating) return;
    const { next } = this;
    const { words } = next;
    words.set(this.words);
    u64WriteNumber(words, word.sequence, this.sequence + 1);
    u128Copy(words, word.parent, this.words, 0);
    words[word.release] = this.release;
    this.changes.compose(words, this.checkpointIdWords);
    this.write(allCopies, this.afterUpdate);
  }

  /** Called when the copies of an update are verified. */
  private onUpdated(): void {
    this.adopt();
    const { onQuiet, owner } = this;
    if (onQuiet !== null) {
      this.onQuiet = null;
      onQuiet();
      return;
    }
    this.changes.finish(() => this.owner === owner);
    if (this.changes.waiting) this.startUpdate();
  }

  /**
   * Parts with its owner, for the next one: the update in flight is carried out, those that wait are
   * not, and none is called back any more. `onQuiet` is called when nothing is in flight; perhaps
   * from inside.
   */
  quiesce(onQuiet: () => void): void {
    assert(this.format !== null, "the superblock is open");
    assert(this.onQuiet === null, "quiesced once at a time");
    this.owner += 1;
    this.changes.drop();
    if (this.updating) this.onQuiet = onQuiet;
    else onQuiet();
  }

  /** Writes `next` to these copies, reads all copies back, and calls `onWritten`. */
  private write(targets: readonly number[], onWritten: () => void): void {
    assert(!this.updating, "one update at a time");
    this.updating = true;
    this.targets = targets;
    this.onWritten = onWritten;
    this.step = 0;
    this.verified = 0;
    this.startStep();
  }

  private startStep(): void {
    const { io, file, step, targets } = this;
    if (step < targets.length) {
      const copy = targets[step]!;
      sealSuperblock(this.next, copy);
      const fileAt = copy * superblockCopySpacing;
      io.write(this.completion, file, this.next, 0, superblockCopySize, fileAt, true);
      return;
    }
    const fileAt = (step - targets.length) * superblockCopySpacing;
    io.read(this.completion, file, this.readBack, 0, superblockCopySize, fileAt);
  }

  private onStep(): void {
    const { result } = this.completion;
    if (this.step < this.targets.length) {
      if (result < 0) {
        const copy = this.targets[this.step]!;
        // Never retried: what the sectors hold is unknown.
        this.onFatal(`cannot write superblock copy ${copy}: error ${-result}.`);
        return;
      }
    } else if (result >= 0) {
      const copy = this.step - this.targets.length;
      const intact = checkSuperblockCopy(this.readBack, 0, copy) === CopyFault.none;
      if (intact && u128Equal(this.readBack.words, 0, this.next.words, 0)) this.verified += 1;
    }
    this.step += 1;
    if (this.step < this.targets.length + superblockCopies) {
      this.startStep();
      return;
    }
    if (this.verified < superblockUpdateQuorum) {
      const found = `${this.verified} of ${superblockCopies} superblock copies`;
      this.onFatal(`only ${found} hold what was written to them: the disk cannot be trusted.`);
      return;
    }
    this.updating = false;
    this.onWritten();
  }
}

function ignore(): void {}

const allCopies: readonly number[] = Array.from({ length: superblockCopies }, (_, copy) => copy);

/** Checks what a valid checksum does not: that this program can run with it. */
function checkContent(copies: IoBuffer, at: number): DataFileError | null {
  const problem = checkFormatOptions(readFormatOptions(copies.words, at));
  if (problem !== null) {
    const text = `The data file was formatted with options that do not work: ${problem}.`;
    return new DataFileError(DataFileErrorCode.options, text);
  }
  const headerAt = (at + checkpointWord) * 4;
  const op = u64ReadNumber(copies.words, at + checkpointWord + checkpointLayout.word.op);
  const header = headerOp(copies.words, at + checkpointWord);
  if (!headerIntact(copies.bytes, headerAt) || header !== op) {
    const text = "The superblock's checkpoint does not name its last prepare.";
    return new DataFileError(DataFileErrorCode.superblock, text);
  }
  if (copies.words[at + word.viewHeaderCount]! > viewHeadersMax) {
    const text = "The superblock names more headers than it can hold.";
    return new DataFileError(DataFileErrorCode.superblock, text);
  }
  return null;
}

assert(headerSize === headerWords * 4, "headers are whole words");
