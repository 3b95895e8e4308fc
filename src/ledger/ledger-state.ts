/**
 * All that the operations share: the tables, the indexes over them, and the few numbers that are
 * neither. Knows how to add a transfer or an account to the tables, how to undo what a
 * broken chain did, and how to bring the indexes up to date at the end of a request.
 *
 * What is undone with a chain is kept current event by event: tables, id tables, largest
 * timestamps, `pulse_next`. What only later requests read (timestamps, sorted indexes, attributes of
 * accounts, the queue of expiries) is brought up to date once, by `finishTransfers` or `finishAccounts`, so that nothing
 * of it ever needs undoing.
 */
import { assert } from "../core/assert.ts";
import { u64CompareAt } from "../core/u128.ts";
import { eventsMax } from "./batch.ts";
import { ExpiryQueue } from "./indexes/expiry-queue.ts";
import { IdTable } from "./indexes/id-table.ts";
import { AttributeIndexes } from "./indexes/posting-index.ts";
import { PostingArena } from "./indexes/posting-lists.ts";
import { Recycler } from "./indexes/recycler.ts";
import type { AllocateWords } from "./indexes/slabs.ts";
import { TimestampIndex } from "./indexes/timestamp-index.ts";
import { TransferIds } from "./indexes/transfer-ids.ts";
import {
  AccountFlag,
  accountRecord,
  expiryRecord,
  PendingStatus,
  TransferFlag,
  transferRecord,
} from "./records.ts";
import { RowCache } from "./row-cache.ts";
import { RowTimes } from "./row-times.ts";
import type { AppendTable, LedgerStore, PagedTable, TransferIndexes } from "./store.ts";
import { addTransferEntries } from "./transfer-entries.ts";
import { UndoLog } from "./undo-log.ts";

const timeoutWord = transferRecord.word.timeout;
const codeFlagsWord = transferRecord.word.code;
const timestampWord = transferRecord.word.timestamp;
const accountCodeFlagsWord = accountRecord.word.code;
const accountBalancesWord = accountRecord.word.debitsPending;
const recordWords = transferRecord.size / 4;

/** `closed` in the word of an account that holds code and flags. */
export const accountClosedBit = AccountFlag.closed << 16;

/** Slots that the id tables start with: takes the inserts of one request without growing. */
const idSlotsLog2 = 15;

export interface LedgerIndexOptions {
  readonly allocateWords: AllocateWords;
  /** Varies the hashes of the indexes. Must not, and does not, show in any result. */
  readonly seed: number;
}

export class LedgerState {
  readonly accounts: PagedTable;
  readonly pendingStatus: PagedTable;
  readonly transfers: AppendTable;
  readonly balances: AppendTable;
  readonly expiries: AppendTable;
  readonly failedIds: AppendTable;
  readonly indexes: TransferIndexes;
  readonly accountShift: number;
  readonly accountMask: number;

  readonly accountIds: IdTable;
  /** Of the youngest transfers: see IdSearch. */
  readonly transferIds: TransferIds;
  readonly accountTimes: TimestampIndex;
  readonly transferTimes: RowTimes;
  readonly expiryTimes: RowTimes;
  readonly accountAttributes: AttributeIndexes;
  readonly expiryQueue: ExpiryQueue;
  private readonly arena: PostingArena;

  /** Stored transfers that the request in progress needs. */
  readonly rowCache: RowCache;

  // Times are pairs of words: numbers above 31 bits would be allocated one by one.
  /** Lower bound of the next time of expiry; 1 is "unknown, look". */
  readonly pulseNext = new Uint32Array([1, 0]);
  /** Largest timestamp of an account, and of a transfer; 0 without any. */
  readonly lastAccountTime = new Uint32Array(2);
  readonly lastTransferTime = new Uint32Array(2);
  /** Timestamp of the event in progress (semantics.md §1.2). */
  readonly eventTime = new Uint32Array(2);
  /** Timestamp that its result shows. */
  readonly resultTime = new Uint32Array(2);
  /** Result of `computeExpiry`. */
  readonly expiresAt = new Uint32Array(2);

  /** First row that the request in progress created, and the accounts of those transfers. */
  requestFirstRow = 0;
  /** Number of the first id that it burns. */
  requestFirstBurnt = 0;
  readonly debitRows = new Uint32Array(eventsMax);
  readonly creditRows = new Uint32Array(eventsMax);
  /** Pending transfers with a timeout that the request in progress posted or voided. */
  readonly resolvedRows = new Uint32Array(eventsMax);
  resolvedCount = 0;

  /** Where reads go that are made for the processor's cache alone. */
  warmed = 0;

  readonly undo: UndoLog;
  chainOpen = false;

  constructor(store: LedgerStore, options: LedgerIndexOptions) {
    const { seed } = options;
    const memory = new Recycler(options.allocateWords);
    const allocateWords = memory.allocate;
    this.accounts = store.accounts;
    this.pendingStatus = store.pendingStatus;
    this.transfers = store.transfers;
    this.balances = store.balances;
    this.expiries = store.expiries;
    this.failedIds = store.failedIds;
    this.indexes = store.indexes;
    assert(this.accounts.rowSize === accountRecord.size, "account rows are the wire's");
    assert(this.transfers.rowWords === recordWords, "transfer rows are the wire's");
    assert(this.balances.rowWords === recordWords, "balance rows hold two accounts'");
    assert(this.expiries.rowWords === 40, "expiry rows are 160 bytes");
    assert(this.failedIds.rowWords === 4, "failed ids are 16 bytes");
    assert(this.pendingStatus.rowSize === 1, "a pending status is a byte");
    this.accountShift = this.accounts.slabShift;
    this.accountMask = (1 << this.accountShift) - 1;

    const accountRows = {
      slabs: this.accounts.slabWords,
      shift: this.accounts.slabShift,
      rowWords: recordWords,
    };
    this.accountIds = new IdTable(accountRows, null, seed, idSlotsLog2, memory);
    this.transferIds = new TransferIds(seed, idSlotsLog2, memory);
    this.accountTimes = new TimestampIndex(allocateWords);
    this.transferTimes = new RowTimes(
      store.transfers,
      timestampWord,
      store.transferMarks,
      allocateWords,
    );
    this.expiryTimes = new RowTimes(
      store.expiries,
      expiryRecord.word.timestamp,
      store.expiryMarks,
      allocateWords,
    );
    this.arena = new PostingArena(allocateWords);
    this.accountAttributes = new AttributeIndexes(this.arena, seed, memory);
    this.expiryQueue = new ExpiryQueue(allocateWords);
    // An event may need its own row, if the id exists, and that of its pending transfer.
    this.rowCache = new RowCache(store, this.transfers, 2 * eventsMax, options.allocateWords);
    this.undo = new UndoLog(this, options.allocateWords);
  }

  /** Empties the indexes: they are rebuilt from the tables. */
  clearIndexes(): void {
    this.accountIds.clear();
    this.transferIds.reset(this.indexes.covered, this.indexes.cut);
    this.accountTimes.clear();
    this.transferTimes.clear();
    this.expiryTimes.clear();
    this.accountAttributes.clear();
    this.expiryQueue.clear();
    this.arena.clear();
    this.lastAccountTime.fill(0);
    this.lastTransferTime.fill(0);
  }

  /** Memory of an account's row; see `accountAt`. */
  accountWords(row: number): Uint32Array {
    return this.accounts.slabWords[row >>> this.accountShift]!;
  }

  accountAt(row: number): number {
    return (row & this.accountMask) * recordWords;
  }

  pendingStatusOf(row: number): number {
    const table = this.pendingStatus;
    return table.slabBytes[row >>> table.slabShift]![row & ((1 << table.slabShift) - 1)]!;
  }

  /** Must be called before an account's row is changed. */
  changeAccount(row: number): void {
    this.accounts.touch(row);
    if (this.chainOpen) this.undo.saveAccount(row);
  }

  setPendingStatus(row: number, status: number): void {
    const table = this.pendingStatus;
    table.touch(row);
    if (this.chainOpen) this.undo.savePendingStatus(row);
    table.slabBytes[row >>> table.slabShift]![row & ((1 << table.slabShift) - 1)] = status;
  }

  beginRequest(firstRow: number): void {
    assert(!this.chainOpen, "requests do not share chains");
    this.requestFirstRow = firstRow;
    this.requestFirstBurnt = this.failedIds.count;
    this.resolvedCount = 0;
  }

  /**
   * Adds a transfer to the tables, as the event at words[at…] says, with the timestamp in
   * `resultTime`. Its accounts have their balances of after the event already. The caller then
   * changes what differs in the row at `transfers.tailWords`.
   * @param hash - Of its id.
   */
  appendTransfer(
    words: Uint32Array,
    at: number,
    hash: number,
    debitRow: number,
    creditRow: number,
  ): number {
    const row = this.reserveTransfer(words, at, hash, debitRow, creditRow, false);
    const tail = this.transfers.tailWords;
    const tailAt = this.transfers.tailAt;
    copy16(tail, tailAt, words, at);
    copy16(tail, tailAt + 16, words, at + 16);
    tail[tailAt + timestampWord] = this.resultTime[0]!;
    tail[tailAt + timestampWord + 1] = this.resultTime[1]!;
    this.lastTransferTime[0] = this.resultTime[0]!;
    this.lastTransferTime[1] = this.resultTime[1]!;
    return row;
  }

  /**
   * The same but for the transfer's own row: the caller writes it at `transfers.tailWords`.
   * @param idSought - The last look into the active generation of ids was for this id.
   */
  reserveTransfer(
    words: Uint32Array,
    at: number,
    hash: number,
    debitRow: number,
    creditRow: number,
    idSought: boolean,
  ): number {
    const row = this.transfers.append();
    const balances = this.balances;
    const balancesRow = balances.append();
    assert(balancesRow === row, "every transfer has its balances");
    const pairs = balances.tailWords;
    const pairsAt = balances.tailAt;
    const shift = this.accountShift;
    const debitWords = this.accounts.slabWords[debitRow >>> shift]!;
    const debitAt = (debitRow & this.accountMask) * recordWords + accountBalancesWord;
    copy16(pairs, pairsAt, debitWords, debitAt);
    const creditWords = this.accounts.slabWords[creditRow >>> shift]!;
    const creditAt = (creditRow & this.accountMask) * recordWords + accountBalancesWord;
    copy16(pairs, pairsAt + 16, creditWords, creditAt);

    const statusRow = this.pendingStatus.append();
    assert(statusRow === row, "every transfer has its pending status");

    this.transferIds.insert(hash, words, at, row, idSought);
    const created = row - this.requestFirstRow;
    this.debitRows[created] = debitRow;
    this.creditRows[created] = creditRow;
    return row;
  }

  /**
   * Remembers for ever that the transfer id at words[at…at+3] failed: no chain that breaks undoes
   * it.
   */
  burnId(words: Uint32Array, at: number): void {
    const number = this.failedIds.append();
    const tail = this.failedIds.tailWords;
    const tailAt = this.failedIds.tailAt;
    for (let word = 0; word < 4; word += 1) tail[tailAt + word] = words[at + word]!;
    this.transferIds.burn(words, at, number);
  }

  /** Indexes the transfers that the request created. */
  finishTransfers(): void {
    const transfers = this.transfers;
    const first = this.requestFirstRow;
    const end = transfers.count;
    for (let row = first; row < end; row += 1) {
      const at = transfers.find(row);
      const words = transfers.foundWords;
      const debitRow = this.debitRows[row - first]!;
      const creditRow = this.creditRows[row - first]!;
      addTransferEntries(this.indexes, words, at, row, debitRow, creditRow);
      this.transferTimes.append(words, at + timestampWord);
      this.expectExpiry(words, at, row);
    }
    for (let index = 0; index < this.resolvedCount; index += 1) {
      const row = this.resolvedRows[index]!;
      // Created and resolved by one request: never entered the queue.
      if (row < first) this.expiryQueue.remove(row);
    }
    this.resolvedCount = 0;
    const { failedIds } = this;
    for (let number = this.requestFirstBurnt; number < failedIds.count; number += 1) {
      const at = failedIds.find(number);
      this.indexes.addBurnt(number, failedIds.foundWords, at);
    }
    this.transferIds.settle();
  }

  /** Enters a stored transfer into the queue of those that expire, if it is to. */
  expectExpiry(words: Uint32Array, at: number, row: number): void {
    if (
      words[at + timeoutWord] !== 0 &&
      ((words[at + codeFlagsWord]! >>> 16) & TransferFlag.pending) !== 0 &&
      this.pendingStatusOf(row) === PendingStatus.pending
    ) {
      this.computeExpiry(words, at + timestampWord, words, at + timeoutWord);
      this.expiryQueue.insert(this.expiresAt, 0, row);
    }
  }

  /** Indexes the accounts that the request created. */
  finishAccounts(): void {
    for (let row = this.requestFirstRow; row < this.accounts.count; row += 1) {
      this.indexAccount(row);
    }
    this.accountIds.settle();
  }

  indexAccount(row: number): void {
    const words = this.accountWords(row);
    const at = this.accountAt(row);
    this.accountTimes.append(words, at + timestampWord);
    this.accountAttributes.append(words, at, row);
  }

  /** expiresAt := the timestamp at time[timeAt] + 10⁹ · the timeout at words[at]. Exact. */
  computeExpiry(time: Uint32Array, timeAt: number, words: Uint32Array, at: number): void {
    // The product needs 62 bits: two products of 16 and 30 bits each, which doubles hold.
    const timeout = words[at]!;
    const upper = (timeout >>> 16) * 1_000_000_000;
    const upperHigh = Math.floor(upper / 0x1_0000);
    const upperLow = (upper - upperHigh * 0x1_0000) * 0x1_0000;
    const low = upperLow + (timeout & 0xffff) * 1_000_000_000 + time[timeAt]!;
    const carry = Math.floor(low / 0x1_0000_0000);
    this.expiresAt[0] = low - carry * 0x1_0000_0000;
    this.expiresAt[1] = time[timeAt + 1]! + upperHigh + carry;
  }

  /** A pending transfer that expires at `expiresAt` was created. */
  pulseNotLater(): void {
    if (u64CompareAt(this.expiresAt, 0, this.pulseNext, 0) >= 0) return;
    this.pulseNext[0] = this.expiresAt[0]!;
    this.pulseNext[1] = this.expiresAt[1]!;
  }

  /** The pending transfer in `row`, which expires at `expiresAt`, was posted or voided. */
  cancelExpiry(row: number): void {
    this.resolvedRows[this.resolvedCount] = row;
    this.resolvedCount += 1;
    if (u64CompareAt(this.expiresAt, 0, this.pulseNext, 0) !== 0) return;
    this.pulseNext[0] = 1;
    this.pulseNext[1] = 0;
  }

  /** True when the timestamp at words[at] may not be that of an imported transfer. */
  transferTimeRegresses(words: Uint32Array, at: number): boolean {
    if (u64CompareAt(words, at, this.lastTransferTime, 0) <= 0) return true;
    return this.accountTimes.has(words, at);
  }

  accountIsClosed(row: number): boolean {
    const words = this.accounts.slabWords[row >>> this.accountShift]!;
    const at = (row & this.accountMask) * recordWords + accountCodeFlagsWord;
    return (words[at]! & accountClosedBit) !== 0;
  }
}

/** Copies 16 words. Written out: a loop takes twice the time, as long as the words are few. */
function copy16(target: Uint32Array, to: number, source: Uint32Array, at: number): void {
  target[to] = source[at]!;
  target[to + 1] = source[at + 1]!;
  target[to + 2] = source[at + 2]!;
  target[to + 3] = source[at + 3]!;
  target[to + 4] = source[at + 4]!;
  target[to + 5] = source[at + 5]!;
  target[to + 6] = source[at + 6]!;
  target[to + 7] = source[at + 7]!;
  target[to + 8] = source[at + 8]!;
  target[to + 9] = source[at + 9]!;
  target[to + 10] = source[at + 10]!;
  target[to + 11] = source[at + 11]!;
  target[to + 12] = source[at + 12]!;
  target[to + 13] = source[at + 13]!;
  target[to + 14] = source[at + 14]!;
  target[to + 15] = source[at + 15]!;
}
