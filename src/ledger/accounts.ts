/**
 * Creation of one account (protocol/semantics.md §3): checks in order of precedence, then the row.
 * What concerns batches, chains and the timestamps of imported events comes before, in
 * create-batch.ts.
 */
import { u64CompareAt, u128Copy, u128Equal, u128IsMax, u128IsZero } from "../core/u128.ts";
import type { AccountPrefetch } from "./account-prefetch.ts";
import type { LedgerState } from "./ledger-state.ts";
import { AccountFlag, accountFlagsUndefined, accountRecord } from "./records.ts";
import { AccountStatus, decidedCreated } from "./status.ts";

const debitsPendingWord = accountRecord.word.debitsPending;
const debitsPostedWord = accountRecord.word.debitsPosted;
const creditsPendingWord = accountRecord.word.creditsPending;
const creditsPostedWord = accountRecord.word.creditsPosted;
const userData128Word = accountRecord.word.userData128;
const userData64Word = accountRecord.word.userData64;
const userData32Word = accountRecord.word.userData32;
const reservedWord = accountRecord.word.reserved;
const ledgerWord = accountRecord.word.ledger;
const codeFlagsWord = accountRecord.word.code;
const timestampWord = accountRecord.word.timestamp;

const limitFlags = AccountFlag.debitsMustNotExceedCredits | AccountFlag.creditsMustNotExceedDebits;

export class AccountCreator {
  constructor(
    private readonly state: LedgerState,
    private readonly prefetch: AccountPrefetch,
  ) {}

  /**
   * Creates the account at words[at…], or returns why not. The event's timestamp is in
   * `eventTime`, and in `resultTime` unless the status goes with another one.
   * @param event - Its number in the request.
   */
  create(words: Uint32Array, at: number, event: number): number {
    const state = this.state;
    const flags = words[at + codeFlagsWord]! >>> 16;
    if (words[at + reservedWord] !== 0) return AccountStatus.reservedField;
    if ((flags & accountFlagsUndefined) !== 0) return AccountStatus.reservedFlag;
    if (u128IsZero(words, at)) return AccountStatus.idMustNotBeZero;
    if (u128IsMax(words, at)) return AccountStatus.idMustNotBeIntMax;
    const hash = state.accountIds.hash(words, at);
    const reference = state.accountIds.find(hash, words, at);
    if (reference !== 0) return this.exists(words, at, reference - 1);
    if ((flags & limitFlags) === limitFlags) return AccountStatus.flagsAreMutuallyExclusive;
    if (!u128IsZero(words, at + debitsPendingWord)) return AccountStatus.debitsPendingMustBeZero;
    if (!u128IsZero(words, at + debitsPostedWord)) return AccountStatus.debitsPostedMustBeZero;
    if (!u128IsZero(words, at + creditsPendingWord)) return AccountStatus.creditsPendingMustBeZero;
    if (!u128IsZero(words, at + creditsPostedWord)) return AccountStatus.creditsPostedMustBeZero;
    if (words[at + ledgerWord] === 0) return AccountStatus.ledgerMustNotBeZero;
    if ((words[at + codeFlagsWord]! & 0xffff) === 0) return AccountStatus.codeMustNotBeZero;
    if ((flags & AccountFlag.imported) !== 0) {
      if (
        u64CompareAt(words, at + timestampWord, state.lastAccountTime, 0) <= 0 ||
        this.prefetch.timeTaken(event)
      ) {
        return AccountStatus.importedEventTimestampMustNotRegress;
      }
      state.resultTime[0] = words[at + timestampWord]!;
      state.resultTime[1] = words[at + timestampWord + 1]!;
    }
    this.append(words, at, hash);
    return decidedCreated;
  }

  private append(words: Uint32Array, at: number, hash: number): void {
    const state = this.state;
    const row = state.accounts.append();
    const target = state.accountWords(row);
    const targetAt = state.accountAt(row);
    // A new row is zero: so are its balances.
    u128Copy(target, targetAt, words, at);
    for (let word = userData128Word; word < timestampWord; word += 1) {
      target[targetAt + word] = words[at + word]!;
    }
    target[targetAt + timestampWord] = state.resultTime[0]!;
    target[targetAt + timestampWord + 1] = state.resultTime[1]!;
    state.accountIds.insert(hash, row);
    state.lastAccountTime.set(state.resultTime);
  }

  /** The id exists: what differs first (semantics.md §3.2). */
  private exists(words: Uint32Array, at: number, row: number): number {
    const stored = this.state.accountWords(row);
    const storedAt = this.state.accountAt(row);
    const codeFlags = words[at + codeFlagsWord]!;
    const storedCodeFlags = stored[storedAt + codeFlagsWord]!;
    if (codeFlags >>> 16 !== storedCodeFlags >>> 16) return AccountStatus.existsWithDifferentFlags;
    if (!u128Equal(words, at + userData128Word, stored, storedAt + userData128Word)) {
      return AccountStatus.existsWithDifferentUserData128;
    }
    if (
      words[at + userData64Word] !== stored[storedAt + userData64Word] ||
      words[at + userData64Word + 1] !== stored[storedAt + userData64Word + 1]
    ) {
      return AccountStatus.existsWithDifferentUserData64;
    }
    if (words[at + userData32Word] !== stored[storedAt + userData32Word]) {
      return AccountStatus.existsWithDifferentUserData32;
    }
    if (words[at + ledgerWord] !== stored[storedAt + ledgerWord]) {
      return AccountStatus.existsWithDifferentLedger;
    }
    if ((codeFlags & 0xffff) !== (storedCodeFlags & 0xffff)) {
      return AccountStatus.existsWithDifferentCode;
    }
    this.state.resultTime[0] = stored[storedAt + timestampWord]!;
    this.state.resultTime[1] = stored[storedAt + timestampWord + 1]!;
    return AccountStatus.exists;
  }
}
