/**
 * Creation of one transfer (protocol/semantics.md §4.1 and §4.2): checks in order of precedence,
 * then the balances and the row. Posting and voiding are in two-phase.ts, ids that exist already in
 * transfer-exists.ts; what concerns batches, chains and the timestamps of imported events comes
 * before, in create-batch.ts.
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
  u128SumOverflows,
} from "../core/u128.ts";
import { accountClosedBit, type LedgerState } from "./ledger-state.ts";
import {
  AccountFlag,
  accountRecord,
  PendingStatus,
  TransferFlag,
  timestampHighMax,
  transferCreditClosed,
  transferDebitClosed,
  transferFlagsUndefined,
  transferRecord,
} from "./records.ts";
import { decidedCreated, TransferStatus } from "./status.ts";
import { TransferExists } from "./transfer-exists.ts";
import type { TransferPrefetch } from "./transfer-prefetch.ts";
import { TwoPhase } from "./two-phase.ts";

const debitWord = transferRecord.word.debitAccountId;
const creditWord = transferRecord.word.creditAccountId;
const amountWord = transferRecord.word.amount;
const pendingIdWord = transferRecord.word.pendingId;
const timeoutWord = transferRecord.word.timeout;
const ledgerWord = transferRecord.word.ledger;
const codeFlagsWord = transferRecord.word.code;
const timestampWord = transferRecord.word.timestamp;

const debitsPendingWord = accountRecord.word.debitsPending;
const debitsPostedWord = accountRecord.word.debitsPosted;
const creditsPendingWord = accountRecord.word.creditsPending;
const creditsPostedWord = accountRecord.word.creditsPosted;
const accountCodeFlagsWord = accountRecord.word.code;
const accountTimestampWord = accountRecord.word.timestamp;

const resolveFlags = TransferFlag.postPendingTransfer | TransferFlag.voidPendingTransfer;
const closingFlags = TransferFlag.closingDebit | TransferFlag.closingCredit;
const balancingFlags = TransferFlag.balancingDebit | TransferFlag.balancingCredit;

/** Values whose top words are below this can be added three at a time without overflow. */
const topWordSafeShift = 29;

export class TransferCreator {
  private readonly twoPhase: TwoPhase;
  private readonly existing: TransferExists;
  private readonly amount = new Uint32Array(4);
  /** Scratch of `balance` and of the checks. */
  private readonly sum = new Uint32Array(4);

  /** @param prefetch - Knows the ids, and the accounts that the events of the current block name. */
  constructor(
    private readonly state: LedgerState,
    private readonly prefetch: TransferPrefetch,
  ) {
    this.twoPhase = new TwoPhase(state, prefetch);
    this.existing = new TransferExists(state, prefetch);
  }

  /**
   * Creates the transfer at words[at…], or returns why not. The event's timestamp is in
   * `eventTime`, and in `resultTime` unless the status goes with another one.
   * @param event - Its position in the request.
   */
  create(words: Uint32Array, at: number, event: number): number {
    const flags = words[at + codeFlagsWord]! >>> 16;
    if ((flags & transferFlagsUndefined) !== 0) return TransferStatus.reservedFlag;
    if (u128IsZero(words, at)) return TransferStatus.idMustNotBeZero;
    if (u128IsMax(words, at)) return TransferStatus.idMustNotBeIntMax;
    const hash = this.prefetch.hash(event);
    let reference = this.prefetch.idReference(event);
    if (reference === 0) reference = this.state.transferIds.findActive(hash, words, at);
    if (reference > 0) return this.existing.compare(words, at, event, reference - 1);
    if (reference < 0) return TransferStatus.idAlreadyFailed;
    if ((flags & resolveFlags) !== 0) return this.twoPhase.create(words, at, event, flags);
    return this.createOrdinary(words, at, hash, flags, event);
  }

  private createOrdinary(
    words: Uint32Array,
    at: number,
    hash: number,
    flags: number,
    event: number,
  ): number {
    const fieldStatus = this.checkFields(words, at, flags);
    if (fieldStatus !== 0) return fieldStatus;
    const state = this.state;
    const debitRow = this.prefetch.debitRow(event);
    if (debitRow < 0) return TransferStatus.debitAccountNotFound;
    const creditRow = this.prefetch.creditRow(event);
    if (creditRow < 0) return TransferStatus.creditAccountNotFound;
    const debit = state.accountWords(debitRow);
    const debitAt = state.accountAt(debitRow);
    const credit = state.accountWords(creditRow);
    const creditAt = state.accountAt(creditRow);
    const ledger = this.prefetch.debitLedger(event);
    if (ledger !== this.prefetch.creditLedger(event)) {
      return TransferStatus.accountsMustHaveTheSameLedger;
    }
    if (ledger !== words[at + ledgerWord]) {
      return TransferStatus.transferMustHaveTheSameLedgerAsAccounts;
    }
    const imported = (flags & TransferFlag.imported) !== 0;
    if (imported) {
      const importStatus = this.checkImported(words, at, debit, debitAt, credit, creditAt);
      if (importStatus !== 0) return importStatus;
    }
    const debitCodeFlags = debit[debitAt + accountCodeFlagsWord]!;
    if ((debitCodeFlags & accountClosedBit) !== 0) return TransferStatus.debitAccountAlreadyClosed;
    const creditCodeFlags = credit[creditAt + accountCodeFlagsWord]!;
    if ((creditCodeFlags & accountClosedBit) !== 0) {
      return TransferStatus.creditAccountAlreadyClosed;
    }

    const amount = this.amount;
    u128Copy(amount, 0, words, at + amountWord);
    if ((flags & balancingFlags) !== 0) {
      this.balance(flags, debit, debitAt, credit, creditAt);
    }
    const isPending = (flags & TransferFlag.pending) !== 0;
    if (
      (amount[3]! |
        debit[debitAt + debitsPendingWord + 3]! |
        debit[debitAt + debitsPostedWord + 3]! |
        credit[creditAt + creditsPendingWord + 3]! |
        credit[creditAt + creditsPostedWord + 3]!) >>>
        topWordSafeShift !==
      0
    ) {
      const overflow = this.checkOverflow(isPending, debit, debitAt, credit, creditAt);
      if (overflow !== 0) return overflow;
    }
    const expires = words[at + timeoutWord] !== 0;
    if (expires) {
      // Imported transfers have none.
      state.computeExpiry(state.eventTime, 0, words, at + timeoutWord);
      if (state.expiresAt[1]! > timestampHighMax) return TransferStatus.overflowsTimeout;
    }
    if (
      ((debitCodeFlags >>> 16) & AccountFlag.debitsMustNotExceedCredits) !== 0 &&
      this.exceeds(
        debit,
        debitAt + debitsPendingWord,
        debitAt + debitsPostedWord,
        debitAt + creditsPostedWord,
      )
    ) {
      return TransferStatus.exceedsCredits;
    }
    if (
      ((creditCodeFlags >>> 16) & AccountFlag.creditsMustNotExceedDebits) !== 0 &&
      this.exceeds(
        credit,
        creditAt + creditsPendingWord,
        creditAt + creditsPostedWord,
        creditAt + debitsPostedWord,
      )
    ) {
      return TransferStatus.exceedsDebits;
    }

    state.changeAccount(debitRow);
    state.changeAccount(creditRow);
    const debitAdd = debitAt + (isPending ? debitsPendingWord : debitsPostedWord);
    const creditAdd = creditAt + (isPending ? creditsPendingWord : creditsPostedWord);
    const debitCarry = u128Add(debit, debitAdd, debit, debitAdd, amount, 0);
    const creditCarry = u128Add(credit, creditAdd, credit, creditAdd, amount, 0);
    assert(debitCarry === 0, "overflow was checked");
    assert(creditCarry === 0, "overflow was checked");
    if (imported) {
      state.resultTime[0] = words[at + timestampWord]!;
      state.resultTime[1] = words[at + timestampWord + 1]!;
    }
    const row = state.appendTransfer(words, at, hash, debitRow, creditRow);
    if ((flags & balancingFlags) !== 0) {
      const tail = state.transfers.tailWords;
      u128Copy(tail, state.transfers.tailAt + amountWord, amount, 0);
    }
    if (isPending) this.afterPending(row, flags, expires, debit, debitAt, credit, creditAt);
    return decidedCreated;
  }

  /** Checks 7 to 16: what the event alone decides. */
  private checkFields(words: Uint32Array, at: number, flags: number): number {
    if (u128IsZero(words, at + debitWord)) return TransferStatus.debitAccountIdMustNotBeZero;
    if (u128IsMax(words, at + debitWord)) return TransferStatus.debitAccountIdMustNotBeIntMax;
    if (u128IsZero(words, at + creditWord)) return TransferStatus.creditAccountIdMustNotBeZero;
    if (u128IsMax(words, at + creditWord)) return TransferStatus.creditAccountIdMustNotBeIntMax;
    if (u128Equal(words, at + debitWord, words, at + creditWord)) {
      return TransferStatus.accountsMustBeDifferent;
    }
    if (!u128IsZero(words, at + pendingIdWord)) return TransferStatus.pendingIdMustBeZero;
    if ((flags & TransferFlag.pending) === 0) {
      if (words[at + timeoutWord] !== 0) return TransferStatus.timeoutReservedForPendingTransfer;
      if ((flags & closingFlags) !== 0) return TransferStatus.closingTransferMustBePending;
    }
    if (words[at + ledgerWord] === 0) return TransferStatus.ledgerMustNotBeZero;
    if ((words[at + codeFlagsWord]! & 0xffff) === 0) return TransferStatus.codeMustNotBeZero;
    return 0;
  }

  /** Checks 21 to 24. */
  private checkImported(
    words: Uint32Array,
    at: number,
    debit: Uint32Array,
    debitAt: number,
    credit: Uint32Array,
    creditAt: number,
  ): number {
    if (this.state.transferTimeRegresses(words, at + timestampWord)) {
      return TransferStatus.importedEventTimestampMustNotRegress;
    }
    const time = at + timestampWord;
    if (u64CompareAt(words, time, debit, debitAt + accountTimestampWord) <= 0) {
      return TransferStatus.importedEventTimestampMustPostdateDebitAccount;
    }
    if (u64CompareAt(words, time, credit, creditAt + accountTimestampWord) <= 0) {
      return TransferStatus.importedEventTimestampMustPostdateCreditAccount;
    }
    if (words[at + timeoutWord] !== 0) return TransferStatus.importedEventTimeoutMustBeZero;
    return 0;
  }

  /** Caps `amount` by what the accounts have to balance (semantics.md §4.2). */
  private balance(
    flags: number,
    debit: Uint32Array,
    debitAt: number,
    credit: Uint32Array,
    creditAt: number,
  ): void {
    if ((flags & TransferFlag.balancingDebit) !== 0) {
      this.cap(
        debit,
        debitAt + creditsPostedWord,
        debitAt + debitsPostedWord,
        debitAt + debitsPendingWord,
      );
    }
    if ((flags & TransferFlag.balancingCredit) !== 0) {
      this.cap(
        credit,
        creditAt + debitsPostedWord,
        creditAt + creditsPostedWord,
        creditAt + creditsPendingWord,
      );
    }
  }

  /** amount := min(amount, max(0, funds − (posted + pending))) */
  private cap(account: Uint32Array, funds: number, posted: number, pending: number): void {
    const carry = u128Add(this.sum, 0, account, posted, account, pending);
    assert(carry === 0, "posted and pending never exceed 128 bits together");
    const borrow = u128Subtract(this.sum, 0, account, funds, this.sum, 0);
    if (borrow === 1) {
      this.amount.fill(0);
    } else if (u128Compare(this.sum, 0, this.amount, 0) < 0) {
      u128Copy(this.amount, 0, this.sum, 0);
    }
  }

  /** Checks 27 to 32. */
  private checkOverflow(
    isPending: boolean,
    debit: Uint32Array,
    debitAt: number,
    credit: Uint32Array,
    creditAt: number,
  ): number {
    const amount = this.amount;
    if (isPending && u128SumOverflows(amount, 0, debit, debitAt + debitsPendingWord)) {
      return TransferStatus.overflowsDebitsPending;
    }
    if (isPending && u128SumOverflows(amount, 0, credit, creditAt + creditsPendingWord)) {
      return TransferStatus.overflowsCreditsPending;
    }
    if (u128SumOverflows(amount, 0, debit, debitAt + debitsPostedWord)) {
      return TransferStatus.overflowsDebitsPosted;
    }
    if (u128SumOverflows(amount, 0, credit, creditAt + creditsPostedWord)) {
      return TransferStatus.overflowsCreditsPosted;
    }
    const sum = this.sum;
    u128Add(sum, 0, debit, debitAt + debitsPendingWord, debit, debitAt + debitsPostedWord);
    if (u128SumOverflows(amount, 0, sum, 0)) return TransferStatus.overflowsDebits;
    u128Add(sum, 0, credit, creditAt + creditsPendingWord, credit, creditAt + creditsPostedWord);
    if (u128SumOverflows(amount, 0, sum, 0)) return TransferStatus.overflowsCredits;
    return 0;
  }

  /** pending + posted + amount > limit, where the sum is known not to overflow. */
  private exceeds(account: Uint32Array, pending: number, posted: number, limit: number): boolean {
    u128Add(this.sum, 0, account, pending, account, posted);
    u128Add(this.sum, 0, this.sum, 0, this.amount, 0);
    return u128Compare(this.sum, 0, account, limit) > 0;
  }

  /** What a pending transfer does beyond its amount. Its row is the one appended last. */
  private afterPending(
    row: number,
    flags: number,
    expires: boolean,
    debit: Uint32Array,
    debitAt: number,
    credit: Uint32Array,
    creditAt: number,
  ): void {
    const state = this.state;
    state.setPendingStatus(row, PendingStatus.pending);
    if (expires) state.pulseNotLater();
    if ((flags & closingFlags) === 0) return;
    const tail = state.transfers.tailWords;
    const tailFlags = state.transfers.tailAt + codeFlagsWord;
    if ((flags & TransferFlag.closingDebit) !== 0) {
      debit[debitAt + accountCodeFlagsWord] =
        debit[debitAt + accountCodeFlagsWord]! | accountClosedBit;
      tail[tailFlags] = tail[tailFlags]! | (transferDebitClosed << 16);
    }
    if ((flags & TransferFlag.closingCredit) !== 0) {
      credit[creditAt + accountCodeFlagsWord] =
        credit[creditAt + accountCodeFlagsWord]! | accountClosedBit;
      tail[tailFlags] = tail[tailFlags]! | (transferCreditClosed << 16);
    }
  }
}
