/**
 * Rebuilds the in-memory indexes from the tables, after a start or when a replica has jumped to
 * another checkpoint: accounts from memory, then transfers, burnt ids and expiries in chunks. Adds
 * to the sorted indexes what is in none of their runs.
 */
import { assert } from "../core/assert.ts";
import type { LedgerState } from "./ledger-state.ts";
import { expiryRecord, transferRecord } from "./records.ts";
import type { AppendTable, LedgerStore } from "./store.ts";
import { addTransferEntries } from "./transfer-entries.ts";

const timestampWord = transferRecord.word.timestamp;
const debitWord = transferRecord.word.debitAccountId;
const creditWord = transferRecord.word.creditAccountId;
const expiryTimestampWord = expiryRecord.word.timestamp;
/** Rows per fetch. */
const chunkRows = 1024;

const Phase = { accounts: 0, transfers: 1, failedIds: 2, expiries: 3 } as const;

export class Rebuild {
  private readonly rows = new Uint32Array(chunkRows);
  private words: Uint32Array = new Uint32Array(0);
  private phase: number = Phase.accounts;
  /** Rows of the phase's table that are indexed, and that have been fetched. */
  private done = 0;
  private fetched = 0;

  constructor(
    private readonly state: LedgerState,
    private readonly store: LedgerStore,
    private readonly onFetched: () => void,
  ) {}

  start(): void {
    this.state.clearIndexes();
    this.phase = Phase.accounts;
    this.done = 0;
    this.fetched = 0;
    // Room for the widest rows; given back at the end, since a start happens once.
    this.words = new Uint32Array(chunkRows * (expiryRecord.size / 4));
  }

  /** Works until a fetch has to be waited for. False: called back later; call again then. */
  step(): boolean {
    const { state } = this;
    if (this.phase === Phase.accounts) {
      this.indexAccounts();
      this.phase = Phase.transfers;
    }
    while (this.phase !== Phase.accounts) {
      const table = this.table();
      if (this.fetched > this.done) this.indexChunk(table);
      if (this.done < table.count) {
        if (!this.fetchChunk(table)) return false;
      } else if (this.phase === Phase.expiries) {
        this.phase = Phase.accounts;
      } else {
        this.phase += 1;
        this.done = this.phase === Phase.failedIds ? this.state.indexes.covered.failedIds : 0;
        this.fetched = this.done;
      }
    }
    this.words = new Uint32Array(0);
    state.indexes.rebuilt();
    assert(state.balances.count === state.transfers.count, "every transfer has its balances");
    assert(state.pendingStatus.count === state.transfers.count, "every transfer has its status");
    return true;
  }

  private table(): AppendTable {
    if (this.phase === Phase.transfers) return this.state.transfers;
    return this.phase === Phase.failedIds ? this.state.failedIds : this.state.expiries;
  }

  private indexAccounts(): void {
    const { state } = this;
    for (let row = 0; row < state.accounts.count; row += 1) {
      const words = state.accountWords(row);
      const at = state.accountAt(row);
      const hash = state.accountIds.hash(words, at);
      assert(state.accountIds.find(hash, words, at) === 0, "an account exists once");
      state.accountIds.insert(hash, row);
      state.accountIds.settle();
      state.indexAccount(row);
      state.lastAccountTime[0] = words[at + timestampWord]!;
      state.lastAccountTime[1] = words[at + timestampWord + 1]!;
    }
  }

  private fetchChunk(table: AppendTable): boolean {
    const count = Math.min(chunkRows, table.count - this.done);
    for (let index = 0; index < count; index += 1) this.rows[index] = this.done + index;
    this.fetched = this.done + count;
    return this.store.fetch(table, this.rows, count, this.words, this.onFetched);
  }

  private indexChunk(table: AppendTable): void {
    const { state, words } = this;
    const first = this.done;
    for (let row = first; row < this.fetched; row += 1) {
      const at = (row - first) * table.rowWords;
      if (this.phase === Phase.transfers) this.indexTransfer(words, at, row);
      else if (this.phase === Phase.failedIds) this.addBurntId(words, at, row);
      else state.expiryTimes.append(words, at + expiryTimestampWord);
    }
    state.transferIds.settleRestored();
    this.done = this.fetched;
  }

  private indexTransfer(words: Uint32Array, at: number, row: number): void {
    const { state } = this;
    // The entries of rows before are in runs.
    if (row >= state.indexes.covered.transfers) this.addEntries(words, at, row);
    state.indexTransfer(words, at, row);
    state.lastTransferTime[0] = words[at + timestampWord]!;
    state.lastTransferTime[1] = words[at + timestampWord + 1]!;
  }

  private addEntries(words: Uint32Array, at: number, row: number): void {
    const { state } = this;
    const { transferIds } = state;
    const hash = transferIds.hash(words, at);
    assert(transferIds.find(hash, words, at) === 0, "a transfer exists once");
    transferIds.restore(hash, words, at, row);
    const debitRow = state.accountIds.findRow(words, at + debitWord);
    const creditRow = state.accountIds.findRow(words, at + creditWord);
    assert(debitRow >= 0, "accounts of transfers exist");
    assert(creditRow >= 0, "accounts of transfers exist");
    addTransferEntries(state.indexes, words, at, row, debitRow, creditRow);
  }

  private addBurntId(words: Uint32Array, at: number, number: number): void {
    this.state.transferIds.restoreBurnt(words, at, number);
    this.state.indexes.addBurnt(number, words, at);
  }
}
