/**
 * get_change_events: every transfer created and every pending transfer expired, by the time of the
 * event, with both accounts as they were right after it (protocol/semantics.md §7.6).
 *
 * Transfers and expiries lie in tables of their own, each ascending in time; the two are merged by
 * their timestamps, which are in memory, and fetched chunk by chunk.
 */
import { assert } from "../core/assert.ts";
import { u128Copy } from "../core/u128.ts";
import { resultMax } from "./batch.ts";
import { Filter } from "./filter.ts";
import type { TimestampIndex } from "./indexes/timestamp-index.ts";
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
import type { LedgerStore } from "./store.ts";

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

const Phase = { choose: 0, expiries: 1, transfers: 2, balances: 3 } as const;

export class ChangeEvents {
  private readonly filter = new Filter();
  private limit = 0;
  private phase: number = Phase.choose;
  /** Next rows of both tables, and the first ones beyond the range. */
  private transferRow = 0;
  private transferEnd = 0;
  private expiryRow = 0;
  private expiryEnd = 0;

  /** The chunk: for each event, its place among the chunk's expiries or −1. */
  private readonly expiryOf = new Int32Array(chunkEvents);
  private readonly transferRows = new Uint32Array(chunkEvents);
  private readonly expiryRows = new Uint32Array(chunkEvents);
  private readonly balanceRows = new Uint32Array(chunkEvents);
  private events = 0;
  private expiries = 0;
  private readonly transferWords = new Uint32Array(chunkEvents * transferWords);
  private readonly balanceWords = new Uint32Array(chunkEvents * balancesWords);
  private readonly expiryWords = new Uint32Array(chunkEvents * expiryWords);

  constructor(
    private readonly state: LedgerState,
    private readonly store: LedgerStore,
    private readonly reply: ReplyWriter,
    private readonly batchSizeLimit: number,
    private readonly onFetched: () => void,
  ) {}

  start(request: Request): void {
    const { filter, state } = this;
    this.phase = Phase.choose;
    this.limit = 0;
    if (!filter.readChangeEventsFilter(request.words, request.wordAt)) return;
    this.limit = Math.min(filter.limit, resultMax(request.operation, this.batchSizeLimit));
    this.transferRow = this.first(state.transferTimes);
    this.transferEnd = this.end(state.transferTimes);
    this.expiryRow = this.first(state.expiryTimes);
    this.expiryEnd = this.end(state.expiryTimes);
  }

  /** Works until a fetch has to be waited for. False: called back later; call again then. */
  step(): boolean {
    const { state, store } = this;
    for (;;) {
      if (this.phase === Phase.choose) {
        if (this.choose() === 0) {
          this.reply.endSubBatch();
          return true;
        }
        this.phase = Phase.expiries;
        if (this.expiries > 0) {
          const { expiryRows, expiries, expiryWords: target } = this;
          if (!store.fetch(state.expiries, expiryRows, expiries, target, this.onFetched))
            return false;
        }
      } else if (this.phase === Phase.expiries) {
        this.chooseExpired();
        this.phase = Phase.transfers;
        const { transferRows, events, transferWords: target } = this;
        if (!store.fetch(state.transfers, transferRows, events, target, this.onFetched))
          return false;
      } else if (this.phase === Phase.transfers) {
        this.phase = Phase.balances;
        const rows = this.events - this.expiries;
        if (rows > 0) {
          const { balanceRows, balanceWords: target } = this;
          if (!store.fetch(state.balances, balanceRows, rows, target, this.onFetched)) return false;
        }
      } else {
        this.copy();
        this.phase = Phase.choose;
      }
    }
  }

  private first(times: TimestampIndex): number {
    const { filter } = this;
    return filter.hasMin ? times.firstAtOrAbove(filter.min, 0) : 0;
  }

  private end(times: TimestampIndex): number {
    const { filter } = this;
    return filter.hasMax ? times.lastAtOrBelow(filter.max, 0) + 1 : times.count;
  }

  /** Chooses the next events in order of time. Returns their number. */
  private choose(): number {
    const { transferTimes, expiryTimes } = this.state;
    const wanted = Math.min(chunkEvents, this.limit - this.reply.count);
    let events = 0;
    let expiries = 0;
    let plain = 0;
    while (events < wanted) {
      const more = this.transferRow < this.transferEnd;
      const moreExpiries = this.expiryRow < this.expiryEnd;
      if (!more && !moreExpiries) break;
      const fromExpiries =
        moreExpiries &&
        (!more || expiryTimes.isBefore(this.expiryRow, transferTimes, this.transferRow));
      if (fromExpiries) {
        this.expiryOf[events] = expiries;
        this.expiryRows[expiries] = this.expiryRow;
        expiries += 1;
        this.expiryRow += 1;
      } else {
        this.expiryOf[events] = -1;
        this.transferRows[events] = this.transferRow;
        this.balanceRows[plain] = this.transferRow;
        plain += 1;
        this.transferRow += 1;
      }
      events += 1;
    }
    this.events = events;
    this.expiries = expiries;
    return events;
  }

  /** Which transfers expired: known once the expiries are there. */
  private chooseExpired(): void {
    for (let index = 0; index < this.events; index += 1) {
      const place = this.expiryOf[index]!;
      if (place < 0) continue;
      this.transferRows[index] = this.expiryWords[place * expiryWords + expiry.transferRow]!;
    }
  }

  private copy(): void {
    let plain = 0;
    for (let index = 0; index < this.events; index += 1) {
      const at = index * transferWords;
      const place = this.expiryOf[index]!;
      const flags = this.transferWords[at + transfer.code]! >>> 16;
      if (place >= 0) {
        const expiryAt = place * expiryWords;
        const closed = this.expiryWords[expiryAt + expiry.closed]!;
        this.write(
          at,
          ChangeEventType.twoPhaseExpired,
          this.expiryWords,
          expiryAt,
          (closed & expiryDebitClosed) !== 0,
          (closed & expiryCreditClosed) !== 0,
          this.expiryWords,
          expiryAt + expiry.timestamp,
        );
      } else {
        this.write(
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
  }

  /**
   * Writes the event of the transfer at `transferWords[at…]`.
   * @param balances - Balances of the debit account at balancesAt, then those of the credit account.
   * @param time - The timestamp of the event at time[timeAt].
   */
  private write(
    at: number,
    type: number,
    balances: Uint32Array,
    balancesAt: number,
    debitClosed: boolean,
    creditClosed: boolean,
    time: Uint32Array,
    timeAt: number,
  ): void {
    const source = this.transferWords;
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
