/**
 * Posting and voiding of pending transfers (protocol/semantics.md §4.4 and §4.5): checks in order of
 * precedence, then the balances, the pending transfer's status and the new transfer's row. The
 * checks common to all transfers (flags, id, timestamps) come before, in transfers.ts.
 */

import { assert } from "../core/assert.ts";
import {
  u64CompareAt,
  u128Add,
  u128Compare,
  u128Copy,
  u128Equal,
  u128IsMax,
  u128IsZero,
  u128Subtract,
} from "../core/u128.ts";
import { accountClosedBit, type LedgerState } from "./ledger-state.ts";
import {
  accountRecord,
  PendingStatus,
  TransferFlag,
  transferCreditClosed,
  transferDebitClosed,
  transferRecord,
} from "./records.ts";
import { decidedCreated, TransferStatus } from "./status.ts";
import type { TransferPrefetch } from "./transfer-prefetch.ts";

const debitWord = transferRecord.word.debitAccountId;
const creditWord = transferRecord.word.creditAccountId;
const amountWord = transferRecord.word.amount;
const pendingIdWord = transferRecord.word.pendingId;
const userData128Word = transferRecord.word.userData128;
const userData64Word = transferRecord.word.userData64;
const userData32Word = transferRecord.word.userData32;
const timeoutWord = transferRecord.word.timeout;
const ledgerWord = transferRecord.word.ledger;
const codeFlagsWord = transferRecord.word.code;
const timestampWord = transferRecord.word.timestamp;

const debitsPendingWord = accountRecord.word.debitsPending;
const debitsPostedWord = accountRecord.word.debitsPosted;
const creditsPendingWord = accountRecord.word.creditsPending;
const creditsPostedWord = accountRecord.word.creditsPosted;
const accountCodeFlagsWord = accountRecord.word.code;

const excludedFlags =
  TransferFlag.pending |
  TransferFlag.balancingDebit |
  TransferFlag.balancingCredit |
  TransferFlag.closingDebit |
  TransferFlag.closingCredit;
const bothFlags = TransferFlag.postPendingTransfer | TransferFlag.voidPendingTransfer;

export class TwoPhase {
  private readonly amount = new Uint32Array(4);

  constructor(
    private readonly state: LedgerState,
    private readonly prefetch: TransferPrefetch,
  ) {}

  /**
   * Executes a post or void at words[at…] whose id is new, or returns why not.
   * @param event - Its position in the request.
   */
  create(words: Uint32Array, at: number, event: number, flags: number): number {
    const state = this.state;
    if ((flags & bothFlags) === bothFlags) return TransferStatus.flagsAreMutuallyExclusive;
    if ((flags & excludedFlags) !== 0) return TransferStatus.flagsAreMutuallyExclusive;
    const pendingAt = at + pendingIdWord;
    if (u128IsZero(words, pendingAt)) return TransferStatus.pendingIdMustNotBeZero;
    if (u128IsMax(words, pendingAt)) return TransferStatus.pendingIdMustNotBeIntMax;
    if (u128Equal(words, pendingAt, words, at)) return TransferStatus.pendingIdMustBeDifferent;
    if (words[at + timeoutWord] !== 0) return TransferStatus.timeoutReservedForPendingTransfer;
    const pRow = this.prefetch.pendingRow(event, words, pendingAt);
    if (pRow < 0) return TransferStatus.pendingTransferNotFound;
    state.rowCache.locate(pRow);
    const p = state.rowCache.words;
    const pAt = state.rowCache.at;
    const mismatch = this.mismatch(words, at, p, pAt);
    if (mismatch !== 0) return mismatch;

    const isVoid = (flags & TransferFlag.voidPendingTransfer) !== 0;
    const whole = isVoid ? u128IsZero(words, at + amountWord) : u128IsMax(words, at + amountWord);
    u128Copy(this.amount, 0, whole ? p : words, (whole ? pAt : at) + amountWord);
    const compared = u128Compare(this.amount, 0, p, pAt + amountWord);
    if (compared > 0) return TransferStatus.exceedsPendingTransferAmount;
    if (isVoid && compared < 0) return TransferStatus.pendingTransferHasDifferentAmount;

    const status = state.pendingStatusOf(pRow);
    if (status === PendingStatus.posted) return TransferStatus.pendingTransferAlreadyPosted;
    if (status === PendingStatus.voided) return TransferStatus.pendingTransferAlreadyVoided;
    if (status === PendingStatus.expired) return TransferStatus.pendingTransferExpired;
    assert(status === PendingStatus.pending, "a pending transfer has a status");
    const expires = p[pAt + timeoutWord] !== 0;
    if (expires) {
      state.computeExpiry(p, pAt + timestampWord, p, pAt + timeoutWord);
      // Time has run out; the balances are left to the pulse.
      if (u64CompareAt(state.expiresAt, 0, state.eventTime, 0) <= 0) {
        return TransferStatus.pendingTransferExpired;
      }
    }
    const imported = (flags & TransferFlag.imported) !== 0;
    if (imported && state.transferTimeRegresses(words, at + timestampWord)) {
      return TransferStatus.importedEventTimestampMustNotRegress;
    }
    const debitRow = state.accountIds.findRow(p, pAt + debitWord);
    const creditRow = state.accountIds.findRow(p, pAt + creditWord);
    assert(debitRow >= 0, "accounts of transfers exist");
    assert(creditRow >= 0, "accounts of transfers exist");
    if (!isVoid) {
      if (state.accountIsClosed(debitRow)) return TransferStatus.debitAccountAlreadyClosed;
      if (state.accountIsClosed(creditRow)) return TransferStatus.creditAccountAlreadyClosed;
    }

    state.setPendingStatus(pRow, isVoid ? PendingStatus.voided : PendingStatus.posted);
    if (expires) state.cancelExpiry(pRow);
    release(state, debitRow, creditRow, p, pAt, isVoid);
    if (!isVoid) this.post(debitRow, creditRow);
    if (imported) {
      state.resultTime[0] = words[at + timestampWord]!;
      state.resultTime[1] = words[at + timestampWord + 1]!;
    }
    state.appendTransfer(words, at, this.prefetch.hash(event), debitRow, creditRow);
    this.inherit(p, pAt, debitRow, creditRow);
    return decidedCreated;
  }

  /** Checks 7 to 11: the fields that a post or void may repeat must be the pending transfer's. */
  private mismatch(words: Uint32Array, at: number, p: Uint32Array, pAt: number): number {
    if (((p[pAt + codeFlagsWord]! >>> 16) & TransferFlag.pending) === 0) {
      return TransferStatus.pendingTransferNotPending;
    }
    if (
      !u128IsZero(words, at + debitWord) &&
      !u128Equal(words, at + debitWord, p, pAt + debitWord)
    ) {
      return TransferStatus.pendingTransferHasDifferentDebitAccountId;
    }
    if (
      !u128IsZero(words, at + creditWord) &&
      !u128Equal(words, at + creditWord, p, pAt + creditWord)
    ) {
      return TransferStatus.pendingTransferHasDifferentCreditAccountId;
    }
    const ledger = words[at + ledgerWord]!;
    if (ledger !== 0 && ledger !== p[pAt + ledgerWord]) {
      return TransferStatus.pendingTransferHasDifferentLedger;
    }
    const code = words[at + codeFlagsWord]! & 0xffff;
    if (code !== 0 && code !== (p[pAt + codeFlagsWord]! & 0xffff)) {
      return TransferStatus.pendingTransferHasDifferentCode;
    }
    return 0;
  }

  private post(debitRow: number, creditRow: number): void {
    const state = this.state;
    const debit = state.accountWords(debitRow);
    const debitAt = state.accountAt(debitRow) + debitsPostedWord;
    const credit = state.accountWords(creditRow);
    const creditAt = state.accountAt(creditRow) + creditsPostedWord;
    const debitCarry = u128Add(debit, debitAt, debit, debitAt, this.amount, 0);
    const creditCarry = u128Add(credit, creditAt, credit, creditAt, this.amount, 0);
    assert(debitCarry === 0, "the amount was reserved");
    assert(creditCarry === 0, "the amount was reserved");
  }

  /** Completes the row just appended with what it takes from its pending transfer. */
  private inherit(p: Uint32Array, pAt: number, debitRow: number, creditRow: number): void {
    const state = this.state;
    const row = state.transfers.tailWords;
    const rowAt = state.transfers.tailAt;
    u128Copy(row, rowAt + debitWord, p, pAt + debitWord);
    u128Copy(row, rowAt + creditWord, p, pAt + creditWord);
    u128Copy(row, rowAt + amountWord, this.amount, 0);
    if (u128IsZero(row, rowAt + userData128Word)) {
      u128Copy(row, rowAt + userData128Word, p, pAt + userData128Word);
    }
    if ((row[rowAt + userData64Word]! | row[rowAt + userData64Word + 1]!) === 0) {
      row[rowAt + userData64Word] = p[pAt + userData64Word]!;
      row[rowAt + userData64Word + 1] = p[pAt + userData64Word + 1]!;
    }
    if (row[rowAt + userData32Word] === 0) row[rowAt + userData32Word] = p[pAt + userData32Word]!;
    row[rowAt + ledgerWord] = p[pAt + ledgerWord]!;
    let flags = row[rowAt + codeFlagsWord]! >>> 16;
    if (state.accountIsClosed(debitRow)) flags |= transferDebitClosed;
    if (state.accountIsClosed(creditRow)) flags |= transferCreditClosed;
    row[rowAt + codeFlagsWord] = (flags << 16) | (p[pAt + codeFlagsWord]! & 0xffff);
  }
}

/**
 * Takes a pending transfer's amount out of the pending balances of its accounts; with `reopen`, as
 * for voiding and expiry, clears `closed` on the accounts that it closed.
 */
export function release(
  state: LedgerState,
  debitRow: number,
  creditRow: number,
  p: Uint32Array,
  pAt: number,
  reopen: boolean,
): void {
  state.changeAccount(debitRow);
  state.changeAccount(creditRow);
  const debit = state.accountWords(debitRow);
  const debitAt = state.accountAt(debitRow);
  const credit = state.accountWords(creditRow);
  const creditAt = state.accountAt(creditRow);
  const debitBorrow = u128Subtract(
    debit,
    debitAt + debitsPendingWord,
    debit,
    debitAt + debitsPendingWord,
    p,
    pAt + amountWord,
  );
  const creditBorrow = u128Subtract(
    credit,
    creditAt + creditsPendingWord,
    credit,
    creditAt + creditsPendingWord,
    p,
    pAt + amountWord,
  );
  assert(debitBorrow === 0, "a pending amount is reserved in the debits");
  assert(creditBorrow === 0, "a pending amount is reserved in the credits");
  if (!reopen) return;
  const flags = p[pAt + codeFlagsWord]! >>> 16;
  if ((flags & TransferFlag.closingDebit) !== 0) {
    debit[debitAt + accountCodeFlagsWord] =
      debit[debitAt + accountCodeFlagsWord]! & ~accountClosedBit;
  }
  if ((flags & TransferFlag.closingCredit) !== 0) {
    credit[creditAt + accountCodeFlagsWord] =
      credit[creditAt + accountCodeFlagsWord]! & ~accountClosedBit;
  }
}
