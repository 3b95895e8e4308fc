/**
 * What create_transfers looks up ahead of the events that need it.
 *
 * Before the commit, what is known of the events' ids and of the pending ids of posts and voids:
 * `gather` looks in memory, `step` has the storage look for the others. Then the stored transfers
 * that events may have to be compared with. Ids and rows that do not exist yet need nothing: if
 * this very request creates them, the active generation of ids and the table find them.
 *
 * During the commit, a block of events at a time, the rows of the accounts that the events name
 * (accounts do not change in number while transfers are created). A pass that only looks up lets
 * the processor overlap the cache misses of many events, and leaves the accounts in its cache.
 */
import { assert } from "../core/assert.ts";
import { eventsMax } from "./batch.ts";
import { IdSearch } from "./id-search.ts";
import type { LedgerState } from "./ledger-state.ts";
import { accountRecord, TransferFlag, transferRecord } from "./records.ts";

const debitWord = transferRecord.word.debitAccountId;
const creditWord = transferRecord.word.creditAccountId;
const pendingIdWord = transferRecord.word.pendingId;
const codeFlagsWord = transferRecord.word.code;
const ledgerWord = accountRecord.word.ledger;
const transferWords = transferRecord.size / 4;

/** Their accounts stay in the first-level cache between the lookups and the commit. */
export const blockEvents = 64;

const resolveFlags = TransferFlag.postPendingTransfer | TransferFlag.voidPendingTransfer;

export class TransferPrefetch {
  private readonly hashes = new Int32Array(eventsMax);
  /** Searches number 2e and 2e + 1 are for the id and for the pending id of event e. */
  private readonly search: IdSearch;
  private blockFirst = 0;
  private readonly accountHashes = new Int32Array(blockEvents);
  private readonly debitRows = new Int32Array(blockEvents);
  private readonly creditRows = new Int32Array(blockEvents);
  private readonly debitLedgers = new Uint32Array(blockEvents);
  private readonly creditLedgers = new Uint32Array(blockEvents);
  /** The flags of all events, or-ed. */
  flagsUnion = 0;

  constructor(private readonly state: LedgerState) {
    this.search = new IdSearch(state, 2 * eventsMax);
  }

  /** Hash of the event's id. */
  hash(event: number): number {
    return this.hashes[event]!;
  }

  /**
   * The reference of the event's id from before the request: row + 1, or below 0 when it is burnt.
   * 0: only this request may have created or burnt it.
   */
  idReference(event: number): number {
    return this.search.references[2 * event]!;
  }

  /** The row of the transfer that the post or void names, whose pending id is at words[at]; −1: none. */
  pendingRow(event: number, words: Uint32Array, at: number): number {
    let reference = this.search.references[2 * event + 1]!;
    if (reference === 0) {
      const ids = this.state.transferIds;
      reference = ids.findActive(ids.hash(words, at), words, at);
    }
    return reference > 0 ? reference - 1 : -1;
  }

  /** Row of the account that the event debits, or −1. Not for posts and voids. */
  debitRow(event: number): number {
    return this.debitRows[event - this.blockFirst]!;
  }

  creditRow(event: number): number {
    return this.creditRows[event - this.blockFirst]!;
  }

  /** Ledgers of the accounts; 0 where there is none. */
  debitLedger(event: number): number {
    return this.debitLedgers[event - this.blockFirst]!;
  }

  creditLedger(event: number): number {
    return this.creditLedgers[event - this.blockFirst]!;
  }

  /** Looks in memory for what the events need; `step` brings the rest. */
  gather(words: Uint32Array, at: number, events: number): void {
    assert(events <= eventsMax, "a request has a bounded number of events");
    this.search.begin(words);
    this.flagsUnion = this.gatherTransfers(words, at, events);
  }

  /**
   * Brings what is not in memory; the rows wanted are then in the row cache. False: called back
   * later; call again then.
   */
  step(onFetched: () => void): boolean {
    const { search } = this;
    const { rowCache } = this.state;
    if (!search.done) {
      if (!search.step(onFetched)) return false;
      for (let index = 0; index < search.askedCount; index += 1) {
        const reference = search.references[search.asked[index]!]!;
        if (reference > 0) rowCache.want(reference - 1);
      }
    }
    return rowCache.fetch(onFetched);
  }

  /**
   * Looks up the accounts of a block of events, and brings the slots of their ids near once more: the batch
   * may be so large that the processor's cache has lost what `gather` saw.
   * @param at - Of the first event, which has the number `first`.
   */
  gatherBlock(words: Uint32Array, at: number, first: number, events: number): void {
    assert(events <= blockEvents, "a block is bounded");
    this.blockFirst = first;
    const ids = this.state.transferIds;
    let read = 0;
    for (let event = 0; event < events; event += 1)
      read ^= ids.warmActive(this.hashes[first + event]!);
    this.state.warmed = read;
    const { debitRows, debitLedgers, creditRows, creditLedgers } = this;
    this.gatherAccounts(words, at + debitWord, events, debitRows, debitLedgers);
    this.gatherAccounts(words, at + creditWord, events, creditRows, creditLedgers);
  }

  private gatherTransfers(words: Uint32Array, at: number, events: number): number {
    const { search } = this;
    const ids = this.state.transferIds;
    const rows = this.state.rowCache;
    let union = 0;
    for (let event = 0; event < events; event += 1) {
      if (event % blockEvents === 0) {
        this.hashIds(words, at, event, Math.min(event + blockEvents, events));
      }
      const eventAt = at + event * transferWords;
      const flags = words[eventAt + codeFlagsWord]! >>> 16;
      union |= flags;
      const reference = search.add(2 * event, this.hashes[event]!, eventAt);
      if (reference > 0) rows.want(reference - 1);
      if ((flags & resolveFlags) !== 0) {
        const pendingAt = eventAt + pendingIdWord;
        const pending = search.add(2 * event + 1, ids.hash(words, pendingAt), pendingAt);
        if (pending > 0) rows.want(pending - 1);
      }
    }
    return union;
  }

  /** Hashes the ids of the events from `first` up to `end`, and brings their slots near. */
  private hashIds(words: Uint32Array, at: number, first: number, end: number): void {
    const ids = this.state.transferIds;
    for (let event = first; event < end; event += 1) {
      this.hashes[event] = ids.hash(words, at + event * transferWords);
    }
    let read = 0;
    for (let event = first; event < end; event += 1) read ^= ids.warm(this.hashes[event]!);
    this.state.warmed = read;
  }

  /** Looks up one account per event: the one whose id is at idAt, relative to the event. */
  private gatherAccounts(
    words: Uint32Array,
    idAt: number,
    events: number,
    rows: Int32Array,
    ledgers: Uint32Array,
  ): void {
    const state = this.state;
    const ids = state.accountIds;
    const hashes = this.accountHashes;
    for (let event = 0; event < events; event += 1) {
      hashes[event] = ids.hash(words, idAt + event * transferWords);
    }
    // Loops that do nothing but read, so that as many reads as possible are under way at once.
    let read = 0;
    for (let event = 0; event < events; event += 1) read ^= ids.warm(hashes[event]!);
    for (let event = 0; event < events; event += 1) {
      const guess = ids.guess(hashes[event]!);
      rows[event] = guess;
      if (guess <= 0) continue;
      const account = state.accountWords(guess - 1);
      const accountAt = state.accountAt(guess - 1);
      read ^= account[accountAt]! ^ account[accountAt + ledgerWord]!;
    }
    state.warmed = read;
    for (let event = 0; event < events; event += 1) {
      const eventAt = idAt + event * transferWords;
      const row = ids.confirm(rows[event]!, hashes[event]!, words, eventAt);
      rows[event] = row;
      ledgers[event] = row < 0 ? 0 : state.accountWords(row)[state.accountAt(row) + ledgerWord]!;
    }
  }
}
