/**
 * What create_transfers looks up ahead of the events that need it.
 *
 * Before the commit, the stored transfers that events may have to be compared with: that of an id
 * that exists, and the pending transfer of a post or void. Rows that do not exist yet need nothing:
 * if this very request creates them, the table finds them.
 *
 * During the commit, a block of events at a time, the rows of the accounts that the events name
 * (accounts do not change in number while transfers are created). A pass that only looks up lets
 * the processor overlap the cache misses of many events, and leaves the accounts in its cache.
 */
import { assert } from "../core/assert.ts";
import { eventsMax } from "./batch.ts";
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
  private blockFirst = 0;
  private readonly accountHashes = new Int32Array(blockEvents);
  private readonly debitRows = new Int32Array(blockEvents);
  private readonly creditRows = new Int32Array(blockEvents);
  private readonly debitLedgers = new Uint32Array(blockEvents);
  private readonly creditLedgers = new Uint32Array(blockEvents);
  /** The flags of all events, or-ed. */
  flagsUnion = 0;

  constructor(private readonly state: LedgerState) {}

  /** Hash of the event's id. */
  hash(event: number): number {
    return this.hashes[event]!;
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

  /** Looks up what the events need; the rows wanted are then in the row cache. */
  gather(words: Uint32Array, at: number, events: number): void {
    assert(events <= eventsMax, "a request has a bounded number of events");
    this.flagsUnion = this.gatherTransfers(words, at, events);
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
    for (let event = 0; event < events; event += 1) read ^= ids.warm(this.hashes[first + event]!);
    this.state.warmed = read;
    const { debitRows, debitLedgers, creditRows, creditLedgers } = this;
    this.gatherAccounts(words, at + debitWord, events, debitRows, debitLedgers);
    this.gatherAccounts(words, at + creditWord, events, creditRows, creditLedgers);
  }

  private gatherTransfers(words: Uint32Array, at: number, events: number): number {
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
      const reference = ids.find(this.hashes[event]!, words, eventAt);
      if (reference > 0) rows.want(reference - 1);
      if ((flags & resolveFlags) !== 0) {
        const pending = ids.findRow(words, eventAt + pendingIdWord);
        if (pending >= 0) rows.want(pending);
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
