/**
 * Rebuilds what the ledger holds in memory, after a start or when a replica has jumped to another
 * checkpoint. Reads little of what lies on disk, however much there is: accounts are in memory, burnt
 * ids and transfers are read from where complete runs end, times from their marks, and of the transfers
 * before that those alone that are pending.
 */
import { assert } from "../core/assert.ts";
import type { LedgerState } from "./ledger-state.ts";
import { expiryRecord, PendingStatus, transferRecord } from "./records.ts";
import type { AppendTable, LedgerStore } from "./store.ts";
import { addTransferEntries } from "./transfer-entries.ts";

const timestampWord = transferRecord.word.timestamp;
const debitWord = transferRecord.word.debitAccountId;
const creditWord = transferRecord.word.creditAccountId;
const expiryTimestampWord = expiryRecord.word.timestamp;
/** Rows per fetch. */
const chunkRows = 1024;

const Phase = {
  accounts: 0,
  transferMarks: 1,
  expiryMarks: 2,
  lastTransfer: 3,
  lastExpiry: 4,
  /** Pending transfers among the rows that complete runs cover. */
  pending: 5,
  failedIds: 6,
  /** The transfers that complete runs do not cover. */
  transfers: 7,
  ended: 8,
} as const;

export class Rebuild {
  private readonly rows = new Uint32Array(chunkRows);
  private rowCount = 0;
  private words: Uint32Array = new Uint32Array(0);
  private phase: number = Phase.ended;
  /** The phase's next row to choose, and where its rows end. */
  private next = 0;
  private end = 0;

  constructor(
    private readonly state: LedgerState,
    private readonly store: LedgerStore,
    private readonly onFetched: () => void,
  ) {}

  start(): void {
    this.state.clearIndexes();
    this.rowCount = 0;
    // Room for the widest rows; given back at the end, since a start happens once.
    this.words = new Uint32Array(chunkRows * (expiryRecord.size / 4));
    this.begin(Phase.accounts);
  }

  /** Works until a fetch has to be waited for. False: called back later; call again then. */
  step(): boolean {
    const { state } = this;
    while (this.phase !== Phase.ended) {
      if (this.phase === Phase.accounts) this.indexAccounts();
      if (this.rowCount > 0) this.take();
      if (!this.choose()) this.begin(this.phase + 1);
      else if (!this.fetch()) return false;
    }
    this.words = new Uint32Array(0);
    state.indexes.rebuilt();
    assert(state.balances.count === state.transfers.count, "every transfer has its balances");
    assert(state.pendingStatus.count === state.transfers.count, "every transfer has its status");
    return true;
  }

  private begin(phase: number): void {
    const { covered } = this.state.indexes;
    this.phase = phase;
    this.end = this.table().count;
    this.next = 0;
    if (phase === Phase.accounts || phase === Phase.ended) this.end = 0;
    if (phase === Phase.lastTransfer || phase === Phase.lastExpiry) {
      this.next = Math.max(0, this.end - 1);
      if (this.end === 0) this.restoreTimes(this.words);
    }
    if (phase === Phase.pending) this.end = covered.transfers;
    if (phase === Phase.failedIds) this.next = covered.failedIds;
    if (phase === Phase.transfers) this.next = covered.transfers;
  }

  private table(): AppendTable {
    const { state, store } = this;
    switch (this.phase) {
      case Phase.transferMarks:
        return store.transferMarks;
      case Phase.expiryMarks:
        return store.expiryMarks;
      case Phase.lastExpiry:
        return state.expiries;
      case Phase.failedIds:
        return state.failedIds;
      default:
        return state.transfers;
    }
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

  /** The next rows of the phase. False when there are none left. */
  private choose(): boolean {
    let count = 0;
    for (; this.next < this.end && count < chunkRows; this.next += 1) {
      const sought =
        this.phase !== Phase.pending ||
        this.state.pendingStatusOf(this.next) === PendingStatus.pending;
      if (!sought) continue;
      this.rows[count] = this.next;
      count += 1;
    }
    this.rowCount = count;
    return count > 0;
  }

  private fetch(): boolean {
    return this.store.fetch(this.table(), this.rows, this.rowCount, this.words, this.onFetched);
  }

  /** The rows that `choose` chose have come. */
  private take(): void {
    const { state, words } = this;
    const { rowWords } = this.table();
    for (let index = 0; index < this.rowCount; index += 1) {
      const row = this.rows[index]!;
      const at = index * rowWords;
      switch (this.phase) {
        case Phase.transferMarks:
          state.transferTimes.keepMark(words, at);
          break;
        case Phase.expiryMarks:
          state.expiryTimes.keepMark(words, at);
          break;
        case Phase.pending:
          state.expectExpiry(words, at, row);
          break;
        case Phase.failedIds:
          state.transferIds.restoreBurnt(words, at, row);
          state.indexes.addBurnt(row, words, at);
          break;
        case Phase.transfers:
          this.indexTransfer(words, at, row);
          break;
        default:
          this.restoreTimes(words.subarray(at + this.timestampAt()));
      }
    }
    state.transferIds.settleRestored();
    this.rowCount = 0;
  }

  private timestampAt(): number {
    return this.phase === Phase.lastTransfer ? timestampWord : expiryTimestampWord;
  }

  /** @param time - Timestamp of the table's last row; without rows, zero. */
  private restoreTimes(time: Uint32Array): void {
    const { state } = this;
    const last = this.end === 0 ? new Uint32Array(2) : time.slice(0, 2);
    if (this.phase === Phase.lastTransfer) {
      state.transferTimes.restored(last);
      state.lastTransferTime.set(last);
    } else {
      state.expiryTimes.restored(last);
    }
  }

  private indexTransfer(words: Uint32Array, at: number, row: number): void {
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
    state.expectExpiry(words, at, row);
  }
}
