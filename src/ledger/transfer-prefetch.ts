/**
 * What create_transfers looks up before it commits: the rows of the accounts that each event names
 * (accounts do not change in number while transfers are created), and the stored transfers that
 * events may have to be compared with: that of an id that exists, and the pending transfer of a
 * post or void. Passes over the batch, one kind of lookup each, let the processor overlap the
 * cache misses of neighbouring events.
 *
 * Rows that do not exist yet need nothing: if this very request creates them, the table finds them.
 */
import { assert } from "../core/assert.ts";
import { eventsMax } from "./batch.ts";
import type { LedgerState } from "./ledger-state.ts";
import { TransferFlag, transferRecord } from "./records.ts";

const debitWord = transferRecord.word.debitAccountId;
const creditWord = transferRecord.word.creditAccountId;
const pendingIdWord = transferRecord.word.pendingId;
const codeFlagsWord = transferRecord.word.code;
const transferWords = transferRecord.size / 4;

const resolveFlags = TransferFlag.postPendingTransfer | TransferFlag.voidPendingTransfer;

export class TransferPrefetch {
  private readonly hashes = new Int32Array(eventsMax);
  private readonly debitRows = new Int32Array(eventsMax);
  private readonly creditRows = new Int32Array(eventsMax);
  /** The flags of all events, or-ed. */
  flagsUnion = 0;

  constructor(private readonly state: LedgerState) {}

  /** Hash of the event's id. */
  hash(event: number): number {
    return this.hashes[event]!;
  }

  /** Row of the account that the event debits, or −1. Not for posts and voids. */
  debitRow(event: number): number {
    return this.debitRows[event]!;
  }

  creditRow(event: number): number {
    return this.creditRows[event]!;
  }

  /** Looks up what the events need; the rows wanted are then in the row cache. */
  gather(words: Uint32Array, at: number, events: number): void {
    assert(events <= eventsMax, "a request has a bounded number of events");
    this.flagsUnion = this.gatherTransfers(words, at, events);
    this.gatherAccounts(words, at + debitWord, events, this.debitRows);
    this.gatherAccounts(words, at + creditWord, events, this.creditRows);
  }

  private gatherTransfers(words: Uint32Array, at: number, events: number): number {
    const ids = this.state.transferIds;
    const rows = this.state.rowCache;
    let union = 0;
    for (let event = 0; event < events; event += 1) {
      const eventAt = at + event * transferWords;
      const flags = words[eventAt + codeFlagsWord]! >>> 16;
      union |= flags;
      const hash = ids.hash(words, eventAt);
      this.hashes[event] = hash;
      const reference = ids.find(hash, words, eventAt);
      if (reference > 0) rows.want(reference - 1);
      if ((flags & resolveFlags) !== 0) {
        const pending = ids.findRow(words, eventAt + pendingIdWord);
        if (pending >= 0) rows.want(pending);
      }
    }
    return union;
  }

  private gatherAccounts(
    words: Uint32Array,
    idAt: number,
    events: number,
    target: Int32Array,
  ): void {
    const ids = this.state.accountIds;
    for (let event = 0; event < events; event += 1) {
      target[event] = ids.findRow(words, idAt + event * transferWords);
    }
  }
}
