/**
 * A transfer whose id exists already: which of its fields differs first (protocol/semantics.md §4.6).
 * A client that repeats a request must learn whether what it wants has happened, so an event is
 * compared as it would have been stored: with what it inherits from its pending transfer, and with
 * the amount that balancing or AMOUNT_MAX would have made of its own.
 */
import { assert } from "../core/assert.ts";
import { u128Compare, u128Equal, u128IsMax, u128IsZero } from "../core/u128.ts";
import type { LedgerState } from "./ledger-state.ts";
import { TransferFlag, transferCodeFlagsMask, transferRecord } from "./records.ts";
import { TransferStatus } from "./status.ts";
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

const resolveFlags = TransferFlag.postPendingTransfer | TransferFlag.voidPendingTransfer;
const balancingFlags = TransferFlag.balancingDebit | TransferFlag.balancingCredit;

export class TransferExists {
  constructor(
    private readonly state: LedgerState,
    private readonly prefetch: TransferPrefetch,
  ) {}

  /**
   * @param event - Its position in the request.
   * @param row - The existing transfer. With status `exists`, its timestamp is in `resultTime`.
   */
  compare(words: Uint32Array, at: number, event: number, row: number): number {
    this.state.rowCache.locate(row);
    const e = this.state.rowCache.words;
    const eAt = this.state.rowCache.at;
    const codeFlags = words[at + codeFlagsWord]!;
    const eCodeFlags = e[eAt + codeFlagsWord]! & transferCodeFlagsMask;
    const flags = codeFlags >>> 16;
    if (flags !== eCodeFlags >>> 16) return TransferStatus.existsWithDifferentFlags;
    if (!u128Equal(words, at + pendingIdWord, e, eAt + pendingIdWord)) {
      return TransferStatus.existsWithDifferentPendingId;
    }
    if (words[at + timeoutWord] !== e[eAt + timeoutWord]) {
      return TransferStatus.existsWithDifferentTimeout;
    }
    const status =
      (flags & resolveFlags) === 0
        ? this.compareOrdinary(words, at, e, eAt)
        : this.compareResolving(words, at, event, e, eAt);
    if (status === TransferStatus.exists) {
      this.state.resultTime[0] = e[eAt + timestampWord]!;
      this.state.resultTime[1] = e[eAt + timestampWord + 1]!;
    }
    return status;
  }

  private compareOrdinary(words: Uint32Array, at: number, e: Uint32Array, eAt: number): number {
    if (!u128Equal(words, at + debitWord, e, eAt + debitWord)) {
      return TransferStatus.existsWithDifferentDebitAccountId;
    }
    if (!u128Equal(words, at + creditWord, e, eAt + creditWord)) {
      return TransferStatus.existsWithDifferentCreditAccountId;
    }
    const amount = u128Compare(words, at + amountWord, e, eAt + amountWord);
    const balancing = ((words[at + codeFlagsWord]! >>> 16) & balancingFlags) !== 0;
    // A balancing event's amount is an upper bound of what is stored.
    if (balancing ? amount < 0 : amount !== 0) return TransferStatus.existsWithDifferentAmount;
    if (!u128Equal(words, at + userData128Word, e, eAt + userData128Word)) {
      return TransferStatus.existsWithDifferentUserData128;
    }
    if (
      words[at + userData64Word] !== e[eAt + userData64Word] ||
      words[at + userData64Word + 1] !== e[eAt + userData64Word + 1]
    ) {
      return TransferStatus.existsWithDifferentUserData64;
    }
    if (words[at + userData32Word] !== e[eAt + userData32Word]) {
      return TransferStatus.existsWithDifferentUserData32;
    }
    if (words[at + ledgerWord] !== e[eAt + ledgerWord]) {
      return TransferStatus.existsWithDifferentLedger;
    }
    if ((words[at + codeFlagsWord]! & 0xffff) !== (e[eAt + codeFlagsWord]! & 0xffff)) {
      return TransferStatus.existsWithDifferentCode;
    }
    return TransferStatus.exists;
  }

  private compareResolving(
    words: Uint32Array,
    at: number,
    event: number,
    e: Uint32Array,
    eAt: number,
  ): number {
    // The pending transfer of e is that of the event: their pending ids are equal.
    const pRow = this.prefetch.pendingRow(event, words, at + pendingIdWord);
    assert(pRow >= 0, "the pending transfer of a post or void exists");
    this.state.rowCache.locate(pRow);
    const p = this.state.rowCache.words;
    const pAt = this.state.rowCache.at;
    if (differs128(words, at + debitWord, e, eAt + debitWord)) {
      return TransferStatus.existsWithDifferentDebitAccountId;
    }
    if (differs128(words, at + creditWord, e, eAt + creditWord)) {
      return TransferStatus.existsWithDifferentCreditAccountId;
    }
    if (!this.sameAmount(words, at, e, eAt, p, pAt)) {
      return TransferStatus.existsWithDifferentAmount;
    }
    const from128 = u128IsZero(words, at + userData128Word);
    if (
      !u128Equal(
        from128 ? p : words,
        (from128 ? pAt : at) + userData128Word,
        e,
        eAt + userData128Word,
      )
    ) {
      return TransferStatus.existsWithDifferentUserData128;
    }
    const from64 = (words[at + userData64Word]! | words[at + userData64Word + 1]!) === 0;
    const tag64 = from64 ? p : words;
    const tag64At = (from64 ? pAt : at) + userData64Word;
    if (
      tag64[tag64At] !== e[eAt + userData64Word] ||
      tag64[tag64At + 1] !== e[eAt + userData64Word + 1]
    ) {
      return TransferStatus.existsWithDifferentUserData64;
    }
    const tag32 = words[at + userData32Word]!;
    if ((tag32 === 0 ? p[pAt + userData32Word]! : tag32) !== e[eAt + userData32Word]!) {
      return TransferStatus.existsWithDifferentUserData32;
    }
    const ledger = words[at + ledgerWord]!;
    if (ledger !== 0 && ledger !== e[eAt + ledgerWord]) {
      return TransferStatus.existsWithDifferentLedger;
    }
    const code = words[at + codeFlagsWord]! & 0xffff;
    if (code !== 0 && code !== (e[eAt + codeFlagsWord]! & 0xffff)) {
      return TransferStatus.existsWithDifferentCode;
    }
    return TransferStatus.exists;
  }

  /** Would the event's amount have been stored as e's? */
  private sameAmount(
    words: Uint32Array,
    at: number,
    e: Uint32Array,
    eAt: number,
    p: Uint32Array,
    pAt: number,
  ): boolean {
    const flags = words[at + codeFlagsWord]! >>> 16;
    const whole =
      (flags & TransferFlag.voidPendingTransfer) !== 0
        ? u128IsZero(words, at + amountWord)
        : u128IsMax(words, at + amountWord);
    return whole
      ? u128Equal(e, eAt + amountWord, p, pAt + amountWord)
      : u128Equal(words, at + amountWord, e, eAt + amountWord);
  }
}

/** True when the value at a[at…] is given (not zero) and is not b's. */
function differs128(a: Uint32Array, aAt: number, b: Uint32Array, bAt: number): boolean {
  return !u128IsZero(a, aAt) && !u128Equal(a, aAt, b, bAt);
}
