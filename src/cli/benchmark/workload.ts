/**
 * What the benchmark asks of the server: accounts of one ledger, then transfers between them, drawn
 * from a seed. It also keeps the books of what it asked for, as totals, so that the balances at
 * the end can be compared with them.
 */

import { headerSize } from "../../core/limits.ts";
import { Prng } from "../../core/prng.ts";
import type { RequestBuffer } from "./request-buffer.ts";
import { TimeIds } from "./time-ids.ts";

export const idOrders = ["sequential", "reversed", "random", "time"] as const;
/** `time`: as the official clients make ids, from the clock and random bits. */
export type IdOrder = (typeof idOrders)[number];

export interface WorkloadOptions {
  readonly accounts: number;
  readonly transfers: number;
  readonly idOrder: IdOrder;
  /** Percent of the transfers that are pending; each is posted in its client's next batch. */
  readonly pendingShare: number;
  /** The first accounts, one of which every transfer debits; 0 draws both sides from all. */
  readonly hotAccounts: number;
  /** Each transfer's user_data_64 is the number of the account that it debits, from 1; else it is zero. */
  readonly accountInUserData?: boolean;
  readonly seed: number;
  /** Upper half of every id: keeps runs against the same server apart. Below 2^53. */
  readonly idSpace: number;
}

/** Words of an account or a transfer. */
const recordWords = 32;
const idWords = 4;
const bodyWord = headerSize / 4;

/** Word offsets inside an account or transfer record. */
const word = {
  id: 0,
  debitAccount: 4,
  creditAccount: 8,
  amount: 12,
  pendingId: 16,
  userData64: 24,
  ledger: 28,
  codeAndFlags: 29,
} as const;

const ledger = 1;
const code = 1;
const flagPending = 2;
const flagPostPending = 4;
const amountMax = 1000;

/** The pending transfers of a client's last batch, which its next batch posts. */
export class PendingBatch {
  count = 0;
  readonly ids: Uint32Array;
  readonly amounts: Uint32Array;

  constructor(eventsMax: number) {
    this.ids = new Uint32Array(eventsMax * 4);
    this.amounts = new Uint32Array(eventsMax);
  }
}

export class Workload {
  /** Transfers already put into a batch. */
  issued = 0;
  /** What the accounts' totals must be in the end: sums of amounts, exact below 2^53. */
  postedTotal = 0;
  pendingTotal = 0;

  private ended = false;
  private readonly random: Prng;
  private readonly timeIds: TimeIds;
  private readonly spaceLow: number;
  private readonly spaceHigh: number;

  constructor(readonly options: WorkloadOptions) {
    this.random = new Prng(options.seed);
    this.timeIds = new TimeIds(this.random, Date.now);
    this.spaceLow = options.idSpace >>> 0;
    this.spaceHigh = Math.floor(options.idSpace / 0x1_0000_0000);
  }

  get finished(): boolean {
    return this.ended || this.issued === this.options.transfers;
  }

  /** No further transfers: what was put into batches is all. */
  end(): void {
    this.ended = true;
  }

  /** Accounts first…first + count − 1 of the ledger. */
  fillAccounts(buffer: RequestBuffer, first: number, count: number): void {
    const words = buffer.words;
    for (let index = 0; index < count; index += 1) {
      const at = bodyWord + index * recordWords;
      words.fill(0, at, at + recordWords);
      this.writeAccountId(words, at + word.id, first + index);
      words[at + word.ledger] = ledger;
      words[at + word.codeAndFlags] = code;
    }
    buffer.sealBatch(count);
  }

  fillLookup(buffer: RequestBuffer, first: number, count: number): void {
    for (let index = 0; index < count; index += 1) {
      this.writeAccountId(buffer.words, bodyWord + index * idWords, first + index);
    }
    buffer.sealBatch(count);
  }

  /** The next batch of a client: first posts of what it left pending, then new transfers. */
  fillTransfers(buffer: RequestBuffer, eventsMax: number, pending: PendingBatch): void {
    const count = Math.min(eventsMax, this.options.transfers - this.issued);
    const posts = Math.min(pending.count, count);
    const words = buffer.words;
    const { accounts, hotAccounts, pendingShare } = this.options;
    const accountInUserData = this.options.accountInUserData === true;
    const random = this.random;
    const ids = pending.ids;
    let index = 0;
    // The very last batch may be too small to post all; what is left stays pending.
    let posted = 0;
    for (; index < posts; index += 1) {
      const at = bodyWord + index * recordWords;
      words.fill(0, at, at + recordWords);
      this.writeTransferId(words, at + word.id, this.issued + index);
      // 2^128 − 1: post the whole amount. The accounts are those of the pending transfer.
      words.fill(0xffff_ffff, at + word.amount, at + word.amount + 4);
      words[at + word.pendingId] = ids[index * 4]!;
      words[at + word.pendingId + 1] = ids[index * 4 + 1]!;
      words[at + word.pendingId + 2] = ids[index * 4 + 2]!;
      words[at + word.pendingId + 3] = ids[index * 4 + 3]!;
      words[at + word.codeAndFlags] = flagPostPending << 16;
      posted += pending.amounts[index]!;
    }

    let pendingCount = 0;
    let pendingAmount = 0;
    let amountTotal = 0;
    for (; index < count; index += 1) {
      const at = bodyWord + index * recordWords;
      const isPending = pendingShare > 0 && random.below(100) < pendingShare;
      const debit = hotAccounts > 0 ? random.below(hotAccounts) : random.below(accounts);
      const step = 1 + random.below(accounts - 1);
      const credit = debit + step < accounts ? debit + step : debit + step - accounts;
      const amount = 1 + random.below(amountMax);
      this.writeTransferId(words, at + word.id, this.issued + index);
      this.writeAccountId(words, at + word.debitAccount, debit);
      this.writeAccountId(words, at + word.creditAccount, credit);
      words[at + word.amount] = amount;
      // What a post of an earlier batch may have left in this place.
      words[at + word.amount + 1] = 0;
      words[at + word.amount + 2] = 0;
      words[at + word.amount + 3] = 0;
      words[at + word.pendingId] = 0;
      words[at + word.pendingId + 1] = 0;
      words[at + word.pendingId + 2] = 0;
      words[at + word.pendingId + 3] = 0;
      words[at + word.userData64] = accountInUserData ? debit + 1 : 0;
      words[at + word.ledger] = ledger;
      words[at + word.codeAndFlags] = isPending ? (flagPending << 16) | code : code;
      amountTotal += amount;
      if (isPending) {
        ids[pendingCount * 4] = words[at]!;
        ids[pendingCount * 4 + 1] = words[at + 1]!;
        ids[pendingCount * 4 + 2] = words[at + 2]!;
        ids[pendingCount * 4 + 3] = words[at + 3]!;
        pending.amounts[pendingCount] = amount;
        pendingCount += 1;
        pendingAmount += amount;
      }
    }
    pending.count = pendingCount;
    this.postedTotal += posted + amountTotal - pendingAmount;
    this.pendingTotal += pendingAmount - posted;
    this.issued += count;
    buffer.sealBatch(count);
  }

  private writeAccountId(words: Uint32Array, at: number, index: number): void {
    words[at] = index + 1;
    words[at + 1] = 0;
    words[at + 2] = this.spaceLow;
    words[at + 3] = this.spaceHigh;
  }

  private writeTransferId(words: Uint32Array, at: number, number: number): void {
    const { idOrder, transfers } = this.options;
    if (idOrder === "time") {
      this.timeIds.next(words, at);
      return;
    }
    if (idOrder === "random") {
      words[at] = this.random.u32();
      words[at + 1] = this.random.u32();
      words[at + 2] = this.random.u32();
      words[at + 3] = this.random.u32() >>> 1; // Never 2^128 − 1, which is not an id.
      return;
    }
    words[at] = idOrder === "sequential" ? number + 1 : transfers - number;
    words[at + 1] = 0;
    words[at + 2] = this.spaceLow;
    words[at + 3] = this.spaceHigh;
  }
}
