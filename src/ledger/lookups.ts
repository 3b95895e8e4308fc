/**
 * lookup_accounts and lookup_transfers: the objects with the given ids, in the order of the ids;
 * unknown ids are left out (protocol/semantics.md §6).
 */
import { assert } from "../core/assert.ts";
import { eventsMax, subBatchCount, subBatchEvents } from "./batch.ts";
import { IdSearch } from "./id-search.ts";
import type { LedgerState } from "./ledger-state.ts";
import { transferCodeFlagsMask, transferRecord } from "./records.ts";
import type { ReplyWriter } from "./reply-writer.ts";
import type { Request } from "./request.ts";
import type { LedgerStore } from "./store.ts";

const idWords = 4;
const transferWords = transferRecord.size / 4;
const codeFlagsWord = transferRecord.word.code;
/** Rows per fetch. */
const chunkRows = 256;

export class Lookups {
  private readonly search: IdSearch;
  private readonly rows = new Uint32Array(eventsMax);
  private readonly chunk = new Uint32Array(chunkRows);
  private readonly chunkWords = new Uint32Array(chunkRows * transferWords);
  private rowCount = 0;
  private rowsDone = 0;
  private rowsFetched = 0;
  /** Found transfers per sub-batch, and the sub-batch being written. */
  private readonly found = new Uint16Array(0x1_0000);
  /** Ids per sub-batch. */
  private readonly sought = new Uint16Array(0x1_0000);
  private subBatches = 0;
  private subBatch = 0;

  constructor(
    private readonly state: LedgerState,
    private readonly store: LedgerStore,
    private readonly reply: ReplyWriter,
    private readonly onFetched: () => void,
  ) {
    this.search = new IdSearch(state, eventsMax);
  }

  /** Accounts are in memory: done at once. */
  lookUpAccounts(request: Request): void {
    const { operation, words, bytes, byteAt, byteLength } = request;
    const subBatches = subBatchCount(operation, bytes, byteAt, byteLength);
    let at = request.wordAt;
    for (let index = 0; index < subBatches; index += 1) {
      const ids = subBatchEvents(operation, bytes, byteAt, byteLength, index);
      for (let id = 0; id < ids; id += 1) {
        const row = this.state.accountIds.findRow(words, at);
        if (row >= 0) this.reply.copy(this.state.accountWords(row), this.state.accountAt(row));
        at += idWords;
      }
      this.reply.endSubBatch();
    }
  }

  /** Looks for the ids in memory; `step` does the rest. */
  startTransfers(request: Request): void {
    const { operation, words, bytes, byteAt, byteLength } = request;
    const { search } = this;
    const ids = this.state.transferIds;
    search.begin(words);
    this.subBatches = subBatchCount(operation, bytes, byteAt, byteLength);
    let at = request.wordAt;
    let id = 0;
    for (let index = 0; index < this.subBatches; index += 1) {
      const sought = subBatchEvents(operation, bytes, byteAt, byteLength, index);
      this.sought[index] = sought;
      for (const end = id + sought; id < end; id += 1) {
        search.add(id, ids.hash(words, at), at);
        at += idWords;
      }
    }
    assert(id <= eventsMax, "a request has a bounded number of ids");
    this.rowsDone = 0;
    this.rowsFetched = 0;
    this.subBatch = 0;
  }

  /** Fetches and copies. False: called back later; call again then. */
  step(): boolean {
    if (!this.search.done) {
      if (!this.search.step(this.onFetched)) return false;
      this.gatherRows();
    }
    for (;;) {
      for (let index = 0; this.rowsDone < this.rowsFetched; index += 1) this.copy(index);
      const rows = Math.min(chunkRows, this.rowCount - this.rowsDone);
      if (rows === 0) break;
      for (let index = 0; index < rows; index += 1) {
        this.chunk[index] = this.rows[this.rowsDone + index]!;
      }
      this.rowsFetched = this.rowsDone + rows;
      const { transfers } = this.state;
      if (!this.store.fetch(transfers, this.chunk, rows, this.chunkWords, this.onFetched)) {
        return false;
      }
    }
    this.endSubBatches(this.subBatches);
    return true;
  }

  /** Lists the rows of the ids that are those of transfers. */
  private gatherRows(): void {
    const { references } = this.search;
    this.rowCount = 0;
    let id = 0;
    for (let index = 0; index < this.subBatches; index += 1) {
      const before = this.rowCount;
      for (const end = id + this.sought[index]!; id < end; id += 1) {
        const reference = references[id]!;
        if (reference <= 0) continue;
        this.rows[this.rowCount] = reference - 1;
        this.rowCount += 1;
      }
      this.found[index] = this.rowCount - before;
    }
  }

  private copy(index: number): void {
    while (this.reply.count === this.found[this.subBatch]) this.endSubBatches(this.subBatch + 1);
    const flagsAt = this.reply.wordAt + codeFlagsWord;
    this.reply.copy(this.chunkWords, index * transferWords);
    this.reply.words[flagsAt] = this.reply.words[flagsAt]! & transferCodeFlagsMask;
    this.rowsDone += 1;
  }

  private endSubBatches(until: number): void {
    while (this.subBatch < until) {
      this.reply.endSubBatch();
      this.subBatch += 1;
    }
  }
}
