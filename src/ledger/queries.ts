/**
 * get_account_transfers, get_account_balances, query_accounts, query_transfers: one filter per
 * sub-batch, answered from the indexes row by row, in chunks: choose rows, fetch them, check
 * them, copy them into the reply. Nothing is held beyond one chunk and the reply.
 */
import { Action, eventSize, operationAction, resultMax, subBatchCount } from "./batch.ts";
import { AccountConditions, TransferConditions } from "./conditions.ts";
import { Filter } from "./filter.ts";
import type { LedgerState } from "./ledger-state.ts";
import {
  AccountFlag,
  accountBalanceRecord,
  accountRecord,
  balancesRecord,
  balanceWords,
  bodySizeMax,
  transferCodeFlagsMask,
  transferRecord,
} from "./records.ts";
import type { ReplyWriter } from "./reply-writer.ts";
import { Request } from "./request.ts";
import { RowScan } from "./row-scan.ts";
import { type LedgerStore, noRow, unread } from "./store.ts";
import { TimeSearch } from "./time-search.ts";

const transferWords = transferRecord.size / 4;
const codeFlagsWord = transferRecord.word.code;
const accountCodeFlagsWord = accountRecord.word.code;
const timestampWord = transferRecord.word.timestamp;
const balanceTimestampWord = accountBalanceRecord.word.timestamp;
const balanceReservedWord = accountBalanceRecord.word.reserved;
const balanceRecordWords = accountBalanceRecord.size / 4;
const creditBalancesWord = balancesRecord.word.credit;
/** Rows per fetch. */
const chunkRows = 256;

const Phase = {
  /** The next sub-batch's filter is to be read. */
  filter: 0,
  /** The ends of its range of time are sought among the transfers. */
  range: 1,
  /** Rows of the next chunk are being chosen. */
  choose: 2,
  /** The chunk's transfers have been fetched. */
  transfers: 3,
  /** The chunk's balances have been fetched. */
  balances: 4,
} as const;

export class Queries {
  private readonly filter = new Filter();
  private readonly scan = new RowScan();
  private readonly search: TimeSearch;
  private readonly accountConditions: AccountConditions;
  private readonly transferConditions: TransferConditions;
  private readonly rows = new Uint32Array(chunkRows);
  private readonly transferWords = new Uint32Array(chunkRows * transferWords);
  private readonly balanceWords = new Uint32Array(chunkRows * transferWords);
  private rowCount = 0;
  private request = new Request();
  private action: number = Action.none;
  private phase: number = Phase.filter;
  private subBatch = 0;
  private subBatches = 0;
  private limit = 0;

  constructor(
    private readonly state: LedgerState,
    private readonly store: LedgerStore,
    private readonly reply: ReplyWriter,
    private readonly onFetched: () => void,
  ) {
    this.search = new TimeSearch(store, 2, onFetched);
    this.accountConditions = new AccountConditions(state.accountAttributes);
    this.transferConditions = new TransferConditions(store.indexes);
  }

  start(request: Request): void {
    const { operation, bytes, byteAt, byteLength } = request;
    this.request = request;
    this.action = operationAction[operation]!;
    this.subBatch = 0;
    this.subBatches = subBatchCount(operation, bytes, byteAt, byteLength);
    this.phase = Phase.filter;
  }

  /** Works until a fetch has to be waited for. False: called back later; call again then. */
  step(): boolean {
    for (;;) {
      if (this.phase === Phase.filter) {
        if (this.subBatch === this.subBatches) return true;
        if (!this.readFilter()) this.endFilter();
        else if (this.action === Action.queryAccounts) this.scanAccounts();
        else this.seekRange();
      } else if (this.phase === Phase.range) {
        if (!this.search.step()) return false;
        if (this.scanTransfers()) this.beginChunk();
        else this.endFilter();
      } else if (this.phase === Phase.choose) {
        if (this.action === Action.queryAccounts) {
          this.copyAccounts();
          this.endFilter();
        } else if (!this.choose()) {
          return false;
        } else if (this.rowCount === 0) {
          this.endFilter();
        } else {
          this.phase = Phase.transfers;
          if (!this.fetchTransfers()) return false;
        }
      } else if (this.phase === Phase.transfers) {
        if (this.action === Action.getAccountBalances) {
          this.phase = Phase.balances;
          if (!this.fetchBalances()) return false;
        } else {
          this.copyTransfers();
          this.beginChunk();
        }
      } else {
        this.copyBalances();
        this.beginChunk();
      }
    }
  }

  /** Reads the filter of the next sub-batch. False when it is none. */
  private readFilter(): boolean {
    const { operation, words, wordAt } = this.request;
    const at = wordAt + this.subBatch * (eventSize(operation) / 4);
    const { filter } = this;
    this.limit = 0;
    const valid = this.isOfAccount()
      ? filter.readAccountFilter(words, at)
      : filter.readQueryFilter(words, at);
    if (valid) this.limit = Math.min(filter.limit, resultMax(operation, bodySizeMax));
    return valid;
  }

  private isOfAccount(): boolean {
    return this.action === Action.getAccountTransfers || this.action === Action.getAccountBalances;
  }

  private scanAccounts(): void {
    const { filter, scan } = this;
    const { accountTimes } = this.state;
    const first = filter.hasMin ? accountTimes.firstAtOrAbove(filter.min, 0) : 0;
    const last = filter.hasMax ? accountTimes.lastAtOrBelow(filter.max, 0) : accountTimes.count - 1;
    scan.begin(first, last, !filter.reversed);
    this.accountConditions.add(filter, scan);
    this.beginChunk();
  }

  private seekRange(): void {
    this.phase = Phase.range;
    this.search.begin(this.state.transferTimes);
    if (this.filter.hasMin) this.search.add(this.filter.min, 0);
    if (this.filter.hasMax) this.search.add(this.filter.max, 0);
  }

  /** The range of time is known: begins the scan. False when it finds nothing. */
  private scanTransfers(): boolean {
    const { filter, scan, search, state } = this;
    const first = filter.hasMin ? search.firstAtOrAbove(0) : 0;
    const last = filter.hasMax
      ? search.lastAtOrBelow(filter.hasMin ? 1 : 0)
      : state.transferTimes.count - 1;
    scan.begin(first, last, !filter.reversed);
    if (this.isOfAccount()) {
      const row = state.accountIds.findRow(filter.accountId, 0);
      if (row < 0) return false;
      if (this.action === Action.getAccountBalances && !this.hasHistory(row)) return false;
      this.transferConditions.addAccount(filter, row, scan);
    }
    this.transferConditions.addAttributes(filter, scan);
    scan.leaveOutLong();
    return true;
  }

  private beginChunk(): void {
    this.phase = Phase.choose;
    this.rowCount = 0;
  }

  private endFilter(): void {
    this.reply.endSubBatch();
    this.subBatch += 1;
    this.phase = Phase.filter;
  }

  private hasHistory(accountRow: number): boolean {
    const at = this.state.accountAt(accountRow) + accountCodeFlagsWord;
    return ((this.state.accountWords(accountRow)[at]! >>> 16) & AccountFlag.history) !== 0;
  }

  /** Accounts are in memory. */
  private copyAccounts(): void {
    while (this.reply.count < this.limit) {
      const row = this.scan.nextRow();
      if (row === noRow) return;
      const words = this.state.accountWords(row);
      const at = this.state.accountAt(row);
      if (this.filter.attributesMatch(words, at)) this.reply.copy(words, at);
    }
  }

  /** Chooses the rows of the chunk. False: called back later, to go on where it was. */
  private choose(): boolean {
    const wanted = Math.min(chunkRows, this.limit - this.reply.count);
    while (this.rowCount < wanted) {
      const row = this.scan.nextRow();
      if (row === noRow) return true;
      if (row !== unread) {
        this.rows[this.rowCount] = row;
        this.rowCount += 1;
      } else if (!this.scan.read(this.onFetched)) {
        return false;
      }
    }
    return true;
  }

  private fetchTransfers(): boolean {
    const { transfers } = this.state;
    return this.store.fetch(
      transfers,
      this.rows,
      this.rowCount,
      this.transferWords,
      this.onFetched,
    );
  }

  private fetchBalances(): boolean {
    const { balances } = this.state;
    return this.store.fetch(balances, this.rows, this.rowCount, this.balanceWords, this.onFetched);
  }

  private copyTransfers(): void {
    const { filter, reply } = this;
    for (let index = 0; index < this.rowCount; index += 1) {
      const at = index * transferWords;
      if (!filter.attributesMatch(this.transferWords, at)) continue;
      const flagsAt = reply.wordAt + codeFlagsWord;
      reply.copy(this.transferWords, at);
      reply.words[flagsAt] = reply.words[flagsAt]! & transferCodeFlagsMask;
    }
  }

  /** The account's own balances of after each transfer, with the transfer's timestamp. */
  private copyBalances(): void {
    const { filter, reply } = this;
    for (let index = 0; index < this.rowCount; index += 1) {
      const at = index * transferWords;
      if (!filter.attributesMatch(this.transferWords, at)) continue;
      const from = at + (filter.debitsAccount(this.transferWords, at) ? 0 : creditBalancesWord);
      const target = reply.words;
      const targetAt = reply.wordAt;
      for (let word = 0; word < balanceWords; word += 1) {
        target[targetAt + word] = this.balanceWords[from + word]!;
      }
      target[targetAt + balanceTimestampWord] = this.transferWords[at + timestampWord]!;
      target[targetAt + balanceTimestampWord + 1] = this.transferWords[at + timestampWord + 1]!;
      for (let word = balanceReservedWord; word < balanceRecordWords; word += 1) {
        target[targetAt + word] = 0;
      }
      reply.advance();
    }
  }
}
