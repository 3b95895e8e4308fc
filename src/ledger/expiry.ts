/**
 * The pulse: releases what pending transfers hold whose time has run out (protocol/semantics.md
 * §5.2). The transfers themselves do not change; each expiry leaves an event for the change feed.
 *
 * Prefetch takes the transfers that are due from the queue and asks for their rows; commit
 * executes them. A pulse that was prefetched is always committed.
 */
import { assert } from "../core/assert.ts";
import type { LedgerState } from "./ledger-state.ts";
import {
  accountRecord,
  balanceWords,
  expiryCreditClosed,
  expiryDebitClosed,
  expiryRecord,
  PendingStatus,
  pulseTransfersMax,
  transferRecord,
} from "./records.ts";
import { release } from "./two-phase.ts";

const debitWord = transferRecord.word.debitAccountId;
const creditWord = transferRecord.word.creditAccountId;
const balancesWord = accountRecord.word.debitsPending;
const debitBalancesWord = expiryRecord.word.debit;
const creditBalancesWord = expiryRecord.word.credit;
const expiryTimestampWord = expiryRecord.word.timestamp;
const transferRowWord = expiryRecord.word.transferRow;
const closedWord = expiryRecord.word.closed;
const reservedWord = expiryRecord.word.reserved;
const expiryWords = expiryRecord.size / 4;

/** Both words of `pulse_next` when nothing will expire: later than any time. */
const pulseNever = 0xffff_ffff;

export class Expiry {
  /** Transfers of the pulse, by (time of expiry, timestamp). */
  private readonly due = new Uint32Array(pulseTransfersMax);
  private dueCount = 0;

  constructor(private readonly state: LedgerState) {}

  /** Takes from the queue what is due at the pulse's timestamp, at time[0] and time[1]. */
  gather(time: Uint32Array): void {
    const queue = this.state.expiryQueue;
    this.dueCount = 0;
    while (this.dueCount < pulseTransfersMax && queue.topIsDue(time, 0)) {
      const row = queue.topRow;
      this.due[this.dueCount] = row;
      this.dueCount += 1;
      this.state.rowCache.want(row);
      queue.pop();
    }
  }

  commit(time: Uint32Array): void {
    const state = this.state;
    const count = this.dueCount;
    for (let index = 0; index < count; index += 1) {
      // Event i has timestamp P − n + 1 + i: the last one has the pulse's own.
      let low = time[0]! - (count - 1 - index);
      let high = time[1]!;
      if (low < 0) {
        low += 0x1_0000_0000;
        high -= 1;
      }
      state.eventTime[0] = low;
      state.eventTime[1] = high;
      this.expire(this.due[index]!);
    }
    this.dueCount = 0;
    if (state.expiryQueue.count === 0) state.pulseNext.fill(pulseNever);
    else state.expiryQueue.copyTopTime(state.pulseNext);
  }

  private expire(row: number): void {
    const state = this.state;
    state.rowCache.locate(row);
    const p = state.rowCache.words;
    const pAt = state.rowCache.at;
    assert(state.pendingStatusOf(row) === PendingStatus.pending, "only pending transfers expire");
    const debitRow = state.accountIds.findRow(p, pAt + debitWord);
    const creditRow = state.accountIds.findRow(p, pAt + creditWord);
    assert(debitRow >= 0, "accounts of transfers exist");
    assert(creditRow >= 0, "accounts of transfers exist");
    state.setPendingStatus(row, PendingStatus.expired);
    release(state, debitRow, creditRow, p, pAt, true);
    this.record(row, debitRow, creditRow);
  }

  /** Leaves the event for the change feed. */
  private record(row: number, debitRow: number, creditRow: number): void {
    const state = this.state;
    state.expiries.append();
    const tail = state.expiries.tailWords;
    const at = state.expiries.tailAt;
    const debit = state.accountWords(debitRow);
    const debitAt = state.accountAt(debitRow) + balancesWord;
    const credit = state.accountWords(creditRow);
    const creditAt = state.accountAt(creditRow) + balancesWord;
    for (let word = 0; word < balanceWords; word += 1) {
      tail[at + debitBalancesWord + word] = debit[debitAt + word]!;
      tail[at + creditBalancesWord + word] = credit[creditAt + word]!;
    }
    tail[at + expiryTimestampWord] = state.eventTime[0]!;
    tail[at + expiryTimestampWord + 1] = state.eventTime[1]!;
    tail[at + transferRowWord] = row;
    tail[at + closedWord] =
      (state.accountIsClosed(debitRow) ? expiryDebitClosed : 0) |
      (state.accountIsClosed(creditRow) ? expiryCreditClosed : 0);
    for (let word = reservedWord; word < expiryWords; word += 1) tail[at + word] = 0;
    state.expiryTimes.append(state.eventTime, 0);
  }
}
