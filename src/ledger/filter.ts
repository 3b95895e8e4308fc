/**
 * The filter of a query, read from its wire form and checked (protocol/semantics.md §7.1). Filters
 * come from clients; an invalid one is no error but finds nothing.
 */
import { assert } from "../core/assert.ts";
import { u64CompareAt, u128Copy, u128Equal, u128IsMax, u128IsZero } from "../core/u128.ts";
import {
  AccountFilterFlag,
  accountFilterFlagsUndefined,
  accountFilterRecord,
  accountRecord,
  changeEventsFilterRecord,
  QueryFilterFlag,
  queryFilterFlagsUndefined,
  queryFilterRecord,
  timestampHighMax,
  transferRecord,
} from "./records.ts";

const accountFilter = accountFilterRecord.word;
const queryFilter = queryFilterRecord.word;
const changeFilter = changeEventsFilterRecord.word;
const userData128Word = transferRecord.word.userData128;
const userData64Word = transferRecord.word.userData64;
const userData32Word = transferRecord.word.userData32;
const ledgerWord = transferRecord.word.ledger;
const codeWord = transferRecord.word.code;
const debitWord = transferRecord.word.debitAccountId;
const creditWord = transferRecord.word.creditAccountId;

assert(accountRecord.word.userData128 === userData128Word, "accounts and transfers agree");
assert(accountRecord.word.userData64 === userData64Word, "accounts and transfers agree");
assert(accountRecord.word.userData32 === userData32Word, "accounts and transfers agree");
assert(accountRecord.word.ledger === ledgerWord, "accounts and transfers agree");
assert(accountRecord.word.code === codeWord, "accounts and transfers agree");

export class Filter {
  /** Conditions; zero is none. */
  readonly accountId = new Uint32Array(4);
  readonly userData128 = new Uint32Array(4);
  userData64Low = 0;
  userData64High = 0;
  userData32 = 0;
  ledger = 0;
  code = 0;
  /** Which side of the account counts; both false without an account. */
  debits = false;
  credits = false;

  /** The range of time, both ends included; zero is no end. */
  readonly min = new Uint32Array(2);
  readonly max = new Uint32Array(2);
  limit = 0;
  reversed = false;

  /** Reads an AccountFilter. Returns whether it is valid. */
  readAccountFilter(words: Uint32Array, at: number): boolean {
    u128Copy(this.accountId, 0, words, at + accountFilter.accountId);
    u128Copy(this.userData128, 0, words, at + accountFilter.userData128);
    this.userData64Low = words[at + accountFilter.userData64]!;
    this.userData64High = words[at + accountFilter.userData64 + 1]!;
    this.userData32 = words[at + accountFilter.userData32]!;
    this.ledger = 0;
    this.code = words[at + accountFilter.code]! & 0xffff;
    const flags = words[at + accountFilter.flags]!;
    this.debits = (flags & AccountFilterFlag.debits) !== 0;
    this.credits = (flags & AccountFilterFlag.credits) !== 0;
    this.reversed = (flags & AccountFilterFlag.reversed) !== 0;
    this.readRange(words, at + accountFilter.timestampMin, at + accountFilter.timestampMax);
    this.limit = words[at + accountFilter.limit]!;
    if (words[at + accountFilter.code]! >>> 16 !== 0) return false;
    for (let word = accountFilter.code + 1; word < accountFilter.timestampMin; word += 1) {
      if (words[at + word] !== 0) return false;
    }
    if (u128IsZero(this.accountId, 0) || u128IsMax(this.accountId, 0)) return false;
    if ((flags & accountFilterFlagsUndefined) !== 0) return false;
    if (!this.debits && !this.credits) return false;
    return this.rangeValid();
  }

  /** Reads a QueryFilter. Returns whether it is valid. */
  readQueryFilter(words: Uint32Array, at: number): boolean {
    this.accountId.fill(0);
    u128Copy(this.userData128, 0, words, at + queryFilter.userData128);
    this.userData64Low = words[at + queryFilter.userData64]!;
    this.userData64High = words[at + queryFilter.userData64 + 1]!;
    this.userData32 = words[at + queryFilter.userData32]!;
    this.ledger = words[at + queryFilter.ledger]!;
    this.code = words[at + queryFilter.code]! & 0xffff;
    const flags = words[at + queryFilter.flags]!;
    this.debits = false;
    this.credits = false;
    this.reversed = (flags & QueryFilterFlag.reversed) !== 0;
    this.readRange(words, at + queryFilter.timestampMin, at + queryFilter.timestampMax);
    this.limit = words[at + queryFilter.limit]!;
    if (words[at + queryFilter.code]! >>> 16 !== 0) return false;
    if (words[at + queryFilter.code + 1] !== 0) return false;
    if ((flags & queryFilterFlagsUndefined) !== 0) return false;
    return this.rangeValid();
  }

  /** Reads the range and limit of a ChangeEventsFilter. Returns whether it is valid. */
  readChangeEventsFilter(words: Uint32Array, at: number): boolean {
    this.reversed = false;
    this.readRange(words, at + changeFilter.timestampMin, at + changeFilter.timestampMax);
    this.limit = words[at + changeFilter.limit]!;
    for (let word = changeFilter.reserved; word < changeEventsFilterRecord.size / 4; word += 1) {
      if (words[at + word] !== 0) return false;
    }
    return this.rangeValid();
  }

  get hasMin(): boolean {
    return (this.min[0]! | this.min[1]!) !== 0;
  }

  get hasMax(): boolean {
    return (this.max[0]! | this.max[1]!) !== 0;
  }

  /** Does the account or transfer at words[at…] meet the conditions on its attributes? */
  attributesMatch(words: Uint32Array, at: number): boolean {
    if (
      !u128IsZero(this.userData128, 0) &&
      !u128Equal(this.userData128, 0, words, at + userData128Word)
    ) {
      return false;
    }
    if (
      (this.userData64Low | this.userData64High) !== 0 &&
      (this.userData64Low !== words[at + userData64Word] ||
        this.userData64High !== words[at + userData64Word + 1])
    ) {
      return false;
    }
    if (this.userData32 !== 0 && this.userData32 !== words[at + userData32Word]) return false;
    if (this.ledger !== 0 && this.ledger !== words[at + ledgerWord]) return false;
    return this.code === 0 || this.code === (words[at + codeWord]! & 0xffff);
  }

  /** Does the transfer debit the account of the filter? Otherwise it credits it. */
  debitsAccount(words: Uint32Array, at: number): boolean {
    return u128Equal(this.accountId, 0, words, at + debitWord);
  }

  creditsAccount(words: Uint32Array, at: number): boolean {
    return u128Equal(this.accountId, 0, words, at + creditWord);
  }

  private readRange(words: Uint32Array, minAt: number, maxAt: number): void {
    this.min[0] = words[minAt]!;
    this.min[1] = words[minAt + 1]!;
    this.max[0] = words[maxAt]!;
    this.max[1] = words[maxAt + 1]!;
  }

  private rangeValid(): boolean {
    if (this.min[1]! > timestampHighMax || this.max[1]! > timestampHighMax) return false;
    if (this.hasMax && u64CompareAt(this.min, 0, this.max, 0) > 0) return false;
    return this.limit !== 0;
  }
}
