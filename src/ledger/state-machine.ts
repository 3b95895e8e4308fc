/**
 * The ledger as a replica sees it: a deterministic state machine over accounts and transfers.
 *
 *     open ──▶ (validate ──▶ prefetch ──▶ commit)*        one request at a time
 *
 * `prefetch` may wait for the storage; `commit` runs to completion without I/O. Between two of
 * them nothing else happens to the ledger. A request that was prefetched is always committed.
 * Same log, same state and same replies, byte for byte, on every replica; the in-memory indexes
 * are a function of the tables and show in nothing but speed.
 */
import { assert } from "../core/assert.ts";
import { u64Compare } from "../core/u128.ts";
import { AccountPrefetch } from "./account-prefetch.ts";
import { Action, operationAction, timestampDelta, totalEvents, validateBody } from "./batch.ts";
import { ChangeEvents } from "./change-events.ts";
import { CreateBatch } from "./create-batch.ts";
import { Expiry } from "./expiry.ts";
import { type AllocateWords, allocateOnHeap } from "./indexes/slabs.ts";
import { LedgerState } from "./ledger-state.ts";
import { Lookups } from "./lookups.ts";
import { Queries } from "./queries.ts";
import { Rebuild } from "./rebuild.ts";
import { bodySizeMax, timestampHighMax } from "./records.ts";
import { ReplyWriter } from "./reply-writer.ts";
import { Request } from "./request.ts";
import type { LedgerStore } from "./store.ts";
import { TransferPrefetch } from "./transfer-prefetch.ts";

export interface StateMachineOptions {
  /** Largest request body that the server takes. Bytes, at most 1,048,320. */
  readonly batchSizeLimit: number;
  /** Memory of the indexes. Default: plain typed arrays. */
  readonly allocateWords?: AllocateWords;
  /**
   * Varies the hashes of the indexes, against ids chosen to collide. 32 bits, any value; replicas may
   * differ. Default 0.
   */
  readonly indexSeed?: number;
}

/** Version of the snapshot's words; part of the checkpoint's format. */
const snapshotVersion = 1;
const snapshotSize = 8;

const Status = { closed: 0, opening: 1, idle: 2, prefetching: 3, prefetched: 4 } as const;

export class StateMachine {
  /** Words that `snapshot` writes. */
  readonly snapshotWords: number = snapshotSize;

  private readonly state: LedgerState;
  private readonly rebuild: Rebuild;
  private readonly reply = new ReplyWriter();
  private readonly accountPrefetches: AccountPrefetch;
  private readonly prefetches: TransferPrefetch;
  private readonly creates: CreateBatch;
  private readonly expiry: Expiry;
  private readonly lookups: Lookups;
  private readonly queries: Queries;
  private readonly changes: ChangeEvents;
  private readonly request = new Request();
  private readonly batchSizeLimit: number;
  private action: number = Action.none;
  private status: number = Status.closed;
  private replyLength = 0;
  private onDone: () => void = () => {};
  private readonly onFetched = (): void => this.resume();

  constructor(store: LedgerStore, options: StateMachineOptions) {
    const { batchSizeLimit, allocateWords = allocateOnHeap, indexSeed = 0 } = options;
    assert(batchSizeLimit > 0, "a server takes some requests");
    assert(batchSizeLimit <= bodySizeMax, "requests fit a message");
    this.batchSizeLimit = batchSizeLimit;
    const { reply } = this;
    const { onFetched } = this;
    this.state = new LedgerState(store, { allocateWords, seed: indexSeed >>> 0 });
    this.rebuild = new Rebuild(this.state, store, onFetched);
    this.prefetches = new TransferPrefetch(this.state);
    this.accountPrefetches = new AccountPrefetch(this.state, store, onFetched);
    this.creates = new CreateBatch(this.state, this.accountPrefetches, this.prefetches);
    this.expiry = new Expiry(this.state);
    this.lookups = new Lookups(this.state, store, reply, onFetched);
    this.queries = new Queries(this.state, store, reply, onFetched);
    this.changes = new ChangeEvents(this.state, store, reply, batchSizeLimit, onFetched);
  }

  /**
   * Rebuilds the in-memory indexes from the store's rows; what `restore` read is kept. May be
   * called again when the store has moved to another checkpoint.
   * @returns True when done at once; otherwise `onDone` is called later.
   */
  open(onDone: () => void): boolean {
    assert(
      this.status === Status.closed || this.status === Status.idle,
      "nothing is in progress when the ledger is opened",
    );
    this.status = Status.opening;
    this.onDone = onDone;
    this.rebuild.start();
    return this.run();
  }

  /** Writes the state that is in no table into target[at … at + snapshotWords). */
  snapshot(target: Uint32Array, at: number): void {
    assert(this.status === Status.idle, "a snapshot is of the state between two requests");
    target.fill(0, at, at + snapshotSize);
    target[at] = snapshotVersion;
    target[at + 1] = this.state.pulseNext[0]!;
    target[at + 2] = this.state.pulseNext[1]!;
  }

  /** Reads what `snapshot` wrote. False when it is malformed; nothing has changed then. */
  restore(source: Uint32Array, at: number): boolean {
    assert(
      this.status === Status.closed || this.status === Status.idle,
      "nothing is in progress when the ledger is restored",
    );
    if (at + snapshotSize > source.length) return false;
    if (source[at] !== snapshotVersion) return false;
    for (let word = 3; word < snapshotSize; word += 1) {
      if (source[at + word] !== 0) return false;
    }
    this.state.pulseNext[0] = source[at + 1]!;
    this.state.pulseNext[1] = source[at + 2]!;
    return true;
  }

  /**
   * Checks a request's body, which is untrusted.
   * @returns 0, or the reason to evict the client for: 4 (unknown operation), 5 (invalid body).
   */
  validate(
    operation: number,
    _words: Uint32Array,
    bytes: Uint8Array,
    byteAt: number,
    byteLength: number,
  ): number {
    return validateBody(operation, bytes, byteAt, byteLength, this.batchSizeLimit);
  }

  /** How far the operation's timestamp must lie behind its base (semantics.md §1.1). */
  timestampDelta(
    operation: number,
    _words: Uint32Array,
    bytes: Uint8Array,
    byteAt: number,
    byteLength: number,
  ): number {
    return timestampDelta(operation, bytes, byteAt, byteLength);
  }

  /** True when pending transfers may have expired by the given time: a pulse is due. */
  pulseDue(timeLow: number, timeHigh: number): boolean {
    const { pulseNext } = this.state;
    return u64Compare(pulseNext[0]!, pulseNext[1]!, timeLow, timeHigh) <= 0;
  }

  /**
   * Brings into memory all that the request needs. Read-only operations are executed here, and
   * their reply is written. The body passed `validate`; it and the reply's memory stay as they are until `commit`
   * returns. Both begin at a multiple of four bytes.
   * @returns True when ready at once; otherwise `onDone` is called later.
   */
  prefetch(
    operation: number,
    timestampLow: number,
    timestampHigh: number,
    words: Uint32Array,
    bytes: Uint8Array,
    byteAt: number,
    byteLength: number,
    reply: Uint32Array,
    replyBytes: Uint8Array,
    replyByteAt: number,
    onDone: () => void,
  ): boolean {
    assert(this.status === Status.idle, "one request at a time");
    assert(timestampHigh <= timestampHighMax, "timestamps have 63 bits");
    assert(byteAt % 4 === 0, "bodies are aligned");
    assert(replyByteAt % 4 === 0, "replies are aligned");
    const { request, state } = this;
    this.action = operationAction[operation] ?? Action.none;
    assert(this.action !== Action.none, "the operation was validated");
    this.status = Status.prefetching;
    this.onDone = onDone;
    this.replyLength = 0;
    request.operation = operation;
    request.timestamp[0] = timestampLow;
    request.timestamp[1] = timestampHigh;
    request.words = words;
    request.bytes = bytes;
    request.byteAt = byteAt;
    request.wordAt = byteAt / 4;
    request.byteLength = byteLength;
    request.reply = reply;
    request.replyBytes = replyBytes;
    request.replyByteAt = replyByteAt;
    request.replyWordAt = replyByteAt / 4;
    request.events = 0;
    // The storage moves the generations at the ends of ops alone.
    state.transferIds.follow(state.indexes.covered, state.indexes.cut);
    state.rowCache.begin();
    this.reply.begin(request);
    switch (this.action) {
      case Action.pulse:
        this.expiry.gather(request.timestamp);
        break;
      case Action.createAccounts:
        request.events = totalEvents(operation, bytes, byteAt, byteLength);
        this.accountPrefetches.gather(words, request.wordAt, request.events);
        break;
      case Action.createTransfers:
        request.events = totalEvents(operation, bytes, byteAt, byteLength);
        this.prefetches.gather(words, request.wordAt, request.events);
        break;
      case Action.lookupTransfers:
        this.lookups.startTransfers(request);
        break;
      case Action.getAccountTransfers:
      case Action.getAccountBalances:
      case Action.queryAccounts:
      case Action.queryTransfers:
        this.queries.start(request);
        break;
      case Action.getChangeEvents:
        this.changes.start(request);
        break;
    }
    return this.run();
  }

  /** Executes the prefetched request. Returns the length of the reply's body. Bytes. */
  commit(): number {
    assert(this.status === Status.prefetched, "a request is prefetched before it is committed");
    const { request } = this;
    switch (this.action) {
      case Action.pulse:
        this.expiry.commit(request.timestamp);
        break;
      case Action.createAccounts:
        this.replyLength = this.creates.commit(request, true, false);
        break;
      case Action.createTransfers:
        this.replyLength = this.creates.commit(request, false, this.prefetches.flagsUnion === 0);
        break;
    }
    this.status = Status.idle;
    assert(this.replyLength <= bodySizeMax, "the reply fits a message");
    return this.replyLength;
  }

  /** Called back by the storage. */
  private resume(): void {
    if (this.run()) this.onDone();
  }

  /** Works until a fetch has to be waited for. */
  private run(): boolean {
    if (this.status === Status.opening) {
      if (!this.rebuild.step()) return false;
      this.status = Status.idle;
      return true;
    }
    assert(this.status === Status.prefetching, "only what is in progress is called back");
    if (!this.advance()) return false;
    this.status = Status.prefetched;
    return true;
  }

  private advance(): boolean {
    switch (this.action) {
      case Action.pulse:
        return this.state.rowCache.fetch(this.onFetched);
      case Action.createTransfers:
        return this.prefetches.step(this.onFetched);
      case Action.createAccounts:
        return this.accountPrefetches.step();
      case Action.lookupAccounts:
        this.lookups.lookUpAccounts(this.request);
        break;
      case Action.lookupTransfers:
        if (!this.lookups.step()) return false;
        break;
      case Action.getAccountTransfers:
      case Action.getAccountBalances:
      case Action.queryAccounts:
      case Action.queryTransfers:
        if (!this.queries.step()) return false;
        break;
      case Action.getChangeEvents:
        if (!this.changes.step()) return false;
        break;
      default:
        return true;
    }
    this.replyLength = this.reply.finish();
    return true;
  }
}
