/**
 * get_change_events: every transfer created and every pending transfer expired, by the time of the
 * event, with both accounts as they were right after it (protocol/semantics.md §7.6).
 *
 * Transfers and expiries lie in tables of their own, each ascending in time. Of both as many rows are
 * fetched as the chunk may need, and merged by their timestamps.
 */
import { assert } from "../core/assert.ts";
import { u64CompareAt, u128Copy } from "../core/u128.ts";
import { resultMax } from "./batch.ts";
import { Filter } from "./filter.ts";
import type { LedgerState } from "./ledger-state.ts";
import {
  AccountFlag,
  accountRecord,
  balancesRecord,
  balanceWords,
  ChangeEventType,
  changeEventRecord,
  expiryCreditClosed,
  expiryDebitClosed,
  expiryRecord,
  TransferFlag,
  transferCodeFlagsMask,
  transferCreditClosed,
  transferDebitClosed,
  transferRecord,
} from "./records.ts";
import type { ReplyWriter } from "./reply-writer.ts";
import type { Request } from "./request.ts";
import type { RowTimes } from "./row-times.ts";
import type { LedgerStore } from "./store.ts";
import { TimeSearch } from "./time-search.ts";

const transfer = transferRecord.word;
const account = accountRecord.word;
const event = changeEventRecord.word;
const expiry = expiryRecord.word;
const transferWords = transferRecord.size / 4;
const balancesWords = balancesRecord.size / 4;
const expiryWords = expiryRecord.size / 4;
const eventWords = changeEventRecord.size / 4;
/** Events per chunk: one fetch of each table. */
const chunkEvents = 256;

const Phase = {
  /** Where the range of time begins and ends among the transfers, and among the expiries. */
  transferRange: 0,
  expiryRange: 1,
  /** The chunk's candidates are to be fetched: first expiries, then transfers. */
  choose: 2,
  expiries: 3,
  transfers: 4,
  /** The transfers that expired, and the balances of the others, are being fetched. */
  expired: 5,
  balances: 6,
} as const;

export class ChangeEvents {
  private readonly filter = new Filter();
  private readonly search: TimeSearch;
  private limit = 0;
  private phase: number = Phase.choose;
  /** Next rows of both tables, and the first ones beyond the range. */
  private transferRow = 0;
  private transferEnd = 0;
  private expiryRow = 0;
  private expiryEnd = 0;

  /** The chunk: for each event, whether it is an expiry. They come in order of their rows. */
  private readonly isExpiry = new Uint8Array(chunkEvents);
  /** Rows of the fetch under way. */
  private readonly rows = new Uint32Array(chunkEvents);
  private transfersRead = 0;
  private expiriesRead = 0;
  private events = 0;
  private expiries = 0;
  private readonly transferWords = new Uint32Array(chunkEvents * transferWords);
  private readonly expiredWords = new Uint32Array(chunkEvents * transferWords);
  private readonly balanceWords = new Uint32Array(chunkEvents * balancesWords);
  private readonly expiryWords = new Uint32Array(chunkEvents * expiryWords);

  constructor(
    private readonly state: LedgerState,
    private readonly store: LedgerStore,
    private readonly reply: ReplyWriter,
    private readonly batchSizeLimit: number,
    private readonly onFetched: () => void,
  ) {
    this.search = new TimeSearch(store, 2, onFetched);
  }

  start(request: Request): void {
    const { filter, state } = this;
    this.limit = 0;
    this.transferRow = 0;
    this.transferEnd = 0;
    this.expiryRow = 0;
    this.expiryEnd = 0;
    this.phase = Phase.choose;
    if (!filter.readChangeEventsFilter(request.words, request.wordAt)) return;
    this.limit = Math.min(filter.limit, resultMax(request.operation, this.batchSizeLimit));
    this.phase = Phase.transferRange;
    this.seekRange(state.transferTimes);
  }

  /** Works until a fetch has to be waited for. False: called back later; call again then. */
  step(): boolean {
    for (;;) {
      switch (this.phase) {
        case Phase.transferRange:
          if (!this.search.step()) return false;
          this.transferRow = this.rangeFirst();
          this.transferEnd = this.rangeEnd(this.state.transferTimes);
          this.phase = Phase.expiryRange;
          this.seekRange(this.state.expiryTimes);
          break;
        case Phase.expiryRange:
          if (!this.search.step()) return false;
          this.expiryRow = this.rangeFirst();
          this.expiryEnd = this.rangeEnd(this.state.expiryTimes);
          this.phase = Phase.choose;
          break;
        case Phase.choose:
          if (!this.choose()) {
            this.reply.endSubBatch();
            return true;
          }
          this.phase = Phase.expiries;
          if (!this.fetchExpiries()) return false;
          break;
        case Phase.expiries:
          this.phase = Phase.transfers;
          if (!this.fetchTransfers()) return false;
          break;
        case Phase.transfers:
          this.merge();
          this.phase = Phase.expired;
          if (!this.fetchExpired()) return false;
          break;
        case Phase.expired:
          this.phase = Phase.balances;
          if (!this.fetchBalances()) return false;
          break;
        default:
          this.copy();
          this.phase = Phase.choose;
      }
    }
  }

  /** Starts the search for the ends of the range that the filter has. */
  private seekRange(times: RowTimes): void {
    this.search.begin(times);
    if (this.filter.hasMin) this.search.add(this.filter.min, 0);
    if (this.filter.hasMax) this.search.add(this.filter.max, 0);
  }

  private rangeFirst(): number {
    return this.filter.hasMin ? this.search.firstAtOrAbove(0) : 0;
  }

  private rangeEnd(times: RowTimes): number {
    if (!this.filter.hasMax) return times.count;
    return this.search.lastAtOrBelow(this.filter.hasMin ? 1 : 0) + 1;
  }

  /** How many rows of each table the chunk may need. False when there are none left. */
  private choose(): boolean {
    const wanted = Math.min(chunkEvents, this.limit - this.reply.count);
    this.transfersRead = Math.max(0, Math.min(wanted, this.transferEnd - this.transferRow));
    this.expiriesRead = Math.max(0, Math.min(wanted, this.expiryEnd - this.expiryRow));
    this.events = Math.min(wanted, this.transfersRead + this.expiriesRead);
    return this.events > 0;
  }

  private fetchExpiries(): boolean {
    const { expiriesRead: count, rows, expiryWords: target } = this;
    if (count === 0) return true;
    for (let index = 0; index < count; index += 1) rows[index] = this.expiryRow + index;
    return this.store.fetch(this.state.expiries, rows, count, target, this.onFetched);
  }

  private fetchTransfers(): boolean {
    const { transfersRead: count, rows, transferWords: target } = this;
    if (count === 0) return true;
    for (let index = 0; index < count; index += 1) rows[index] = this.transferRow + index;
    return this.store.fetch(this.state.transfers, rows, count, target, this.onFetched);
  }

  /** Chooses the chunk's events in order of time. */
  private merge(): void {
    let plain = 0;
    let expiries = 0;
    for (let index = 0; index < this.events; index += 1) {
      const first = plain < this.transfersRead;
      const second = expiries < this.expiriesRead;
      const expired = second && (!first || this.expiryIsBefore(expiries, plain));
      this.isExpiry[index] = expired ? 1 : 0;
      if (expired) expiries += 1;
      else plain += 1;
    }
    this.expiries = expiries;
  }

  private expiryIsBefore(expiryIndex: number, transferIndex: number): boolean {
    const expiryAt = expiryIndex * expiryWords + expiry.timestamp;
    const transferAt = transferIndex * transferWords + transfer.timestamp;
    return u64CompareAt(this.expiryWords, expiryAt, this.transferWords, transferAt) < 0;
  }

  /** The transfers that the chunk's expiries name. */
  private fetchExpired(): boolean {
    const { expiries: count, rows, expiredWords: target } = this;
    if (count === 0) return true;
    for (let index = 0; index < count; index += 1) {
      rows[index] = this.expiryWords[index * expiryWords + expiry.transferRow]!;
    }
    return this.store.fetch(this.state.transfers, rows, count, target, this.onFetched);
  }

  private fetchBalances(): boolean {
    const { rows, balanceWords: target } = this;
    const count = this.events - this.expiries;
    if (count === 0) return true;
    for (let index = 0; index < count; index += 1) rows[index] = this.transferRow + index;
    return this.store.fetch(this.state.balances, rows, count, target, this.onFetched);
  }

  private copy(): void {
    let plain = 0;
    let expiries = 0;
    for (let index = 0; index < this.events; index += 1) {
      if (this.isExpiry[index] === 1) {
        const expiryAt = expiries * expiryWords;
        const closed = this.expiryWords[expiryAt + expiry.closed]!;
        this.write(
          this.expiredWords,
          expiries * transferWords,
          ChangeEventType.twoPhaseExpired,
          this.expiryWords,
          expiryAt,
          (closed & expiryDebitClosed) !== 0,
          (closed & expiryCreditClosed) !== 0,
          this.expiryWords,
          expiryAt + expiry.timestamp,
        );
        expiries += 1;
      } else {
        const at = plain * transferWords;
        const flags = this.transferWords[at + transfer.code]! >>> 16;
        this.write(
          this.transferWords,
          at,
          typeOf(flags),
          this.balanceWords,
          plain * balancesWords,
          (flags & transferDebitClosed) !== 0,
          (flags & transferCreditClosed) !== 0,
          this.transferWords,
          at + transfer.timestamp,
        );
        plain += 1;
      }
    }
    this.transferRow += plain;
    this.expiryRow += expiries;
  }

  /**
   * Writes the event of the transfer at source[at…].
   * @param balances - Balances of the debit account at balancesAt, then those of the credit account.
   * @param time - The timestamp of the event at time[timeAt].
   */
  private write(
    source: Uint32Array,
    at: number,
    type: number,
    balances: Uint32Array,
    balancesAt: number,
    debitClosed: boolean,
    creditClosed: boolean,
    time: Uint32Array,
    timeAt: number,
  ): void {
    const target = this.reply.words;
    const to = this.reply.wordAt;
    target.fill(0, to, to + eventWords);
    u128Copy(target, to + event.transferId, source, at);
    u128Copy(target, to + event.transferAmount, source, at + transfer.amount);
    u128Copy(target, to + event.transferPendingId, source, at + transfer.pendingId);
    u128Copy(target, to + event.transferUserData128, source, at + transfer.userData128);
    target[to + event.transferUserData64] = source[at + transfer.userData64]!;
    target[to + event.transferUserData64 + 1] = source[at + transfer.userData64 + 1]!;
    target[to + event.transferUserData32] = source[at + transfer.userData32]!;
    target[to + event.transferTimeout] = source[at + transfer.timeout]!;
    target[to + event.transferCode] = source[at + transfer.code]! & transferCodeFlagsMask;
    target[to + event.ledger] = source[at + transfer.ledger]!;
    target[to + event.type] = type;
    target[to + event.timestamp] = time[timeAt]!;
    target[to + event.timestamp + 1] = time[timeAt + 1]!;
    target[to + event.transferTimestamp] = source[at + transfer.timestamp]!;
    target[to + event.transferTimestamp + 1] = source[at + transfer.timestamp + 1]!;
    this.writeAccount(
      source,
      at + transfer.debitAccountId,
      to + event.debitAccountId,
      to + event.debitAccountTimestamp,
      balances,
      balancesAt,
      debitClosed,
    );
    this.writeAccount(
      source,
      at + transfer.creditAccountId,
      to + event.creditAccountId,
      to + event.creditAccountTimestamp,
      balances,
      balancesAt + balanceWords,
      creditClosed,
    );
    this.reply.advance();
  }

  /** Writes one account: what never changes from its row, the rest as it was at the event. */
  private writeAccount(
    ids: Uint32Array,
    idAt: number,
    to: number,
    timestampTo: number,
    balances: Uint32Array,
    balancesAt: number,
    closed: boolean,
  ): void {
    const row = this.state.accountIds.findRow(ids, idAt);
    assert(row >= 0, "accounts of transfers exist");
    const words = this.state.accountWords(row);
    const at = this.state.accountAt(row);
    const target = this.reply.words;
    u128Copy(target, to, words, at);
    // The debit account's fields lie as the credit account's do.
    const balancesTo = to + event.debitAccountBalances - event.debitAccountId;
    for (let word = 0; word < balanceWords; word += 1) {
      target[balancesTo + word] = balances[balancesAt + word]!;
    }
    const userDataTo = to + event.debitAccountUserData128 - event.debitAccountId;
    for (let word = 0; word < 7; word += 1) {
      target[userDataTo + word] = words[at + account.userData128 + word]!;
    }
    const closedBit = AccountFlag.closed << 16;
    const codeFlags = words[at + account.code]! & ~closedBit;
    target[to + event.debitAccountCode - event.debitAccountId] =
      codeFlags | (closed ? closedBit : 0);
    target[timestampTo] = words[at + account.timestamp]!;
    target[timestampTo + 1] = words[at + account.timestamp + 1]!;
  }
}

function typeOf(flags: number): number {
  if ((flags & TransferFlag.pending) !== 0) return ChangeEventType.twoPhasePending;
  if ((flags & TransferFlag.postPendingTransfer) !== 0) return ChangeEventType.twoPhasePosted;
  if ((flags & TransferFlag.voidPendingTransfer) !== 0) return ChangeEventType.twoPhaseVoided;
  return ChangeEventType.singlePhase;
}
