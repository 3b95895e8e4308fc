/**
 * A storage for measuring the state machine alone: rows go into a ring of memory, as they do in
 * the real storage before they are written, and only the newest can be fetched again.
 */
import { assert } from "../../src/core/assert.ts";
import type { AppendTable, LedgerStore, PagedTable } from "../../src/ledger/store.ts";

class RingTable implements AppendTable {
  count = 0;
  opFirstRow = 0;
  tailAt = 0;
  readonly tailWords: Uint32Array;
  readonly foundWords: Uint32Array;
  private readonly mask: number;

  constructor(
    readonly name: string,
    readonly rowWords: number,
    rowsLog2: number,
    allocateWords: (count: number) => Uint32Array,
  ) {
    this.mask = 2 ** rowsLog2 - 1;
    this.tailWords = allocateWords(rowWords << rowsLog2);
    this.foundWords = this.tailWords;
  }

  append(): number {
    const row = this.count;
    this.tailAt = (row & this.mask) * this.rowWords;
    this.count = row + 1;
    return row;
  }

  find(row: number): number {
    assert(row >= this.opFirstRow, "the row is of the current op");
    return (row & this.mask) * this.rowWords;
  }

  truncate(count: number): void {
    this.count = count;
  }

  copy(row: number, target: Uint32Array, at: number): void {
    assert(row < this.count, "the row exists");
    assert(row + this.mask >= this.count, "the row is still in the ring");
    const from = (row & this.mask) * this.rowWords;
    for (let word = 0; word < this.rowWords; word += 1) {
      target[at + word] = this.tailWords[from + word]!;
    }
  }
}

class ResidentTable implements PagedTable {
  count = 0;
  readonly slabWords: Uint32Array[] = [];
  readonly slabBytes: Uint8Array[] = [];
  readonly slabShift: number;
  private touches = 0;

  constructor(
    readonly name: string,
    readonly rowSize: number,
    private readonly allocateWords: (count: number) => Uint32Array,
  ) {
    this.slabShift = 22 - Math.log2(rowSize);
  }

  append(): number {
    const row = this.count;
    if (row >>> this.slabShift === this.slabBytes.length) {
      const words = this.allocateWords((this.rowSize << this.slabShift) / 4);
      this.slabWords.push(words);
      this.slabBytes.push(new Uint8Array(words.buffer, words.byteOffset, words.byteLength));
    }
    this.count = row + 1;
    return row;
  }

  touch(row: number): void {
    assert(row < this.count, "the row exists");
    this.touches += 1;
  }

  truncate(count: number): void {
    for (let row = count; row < this.count; row += 1) {
      const at = (row & ((1 << this.slabShift) - 1)) * this.rowSize;
      this.slabBytes[row >>> this.slabShift]!.fill(0, at, at + this.rowSize);
    }
    this.count = count;
  }
}

export class RingStore implements LedgerStore {
  readonly accounts: ResidentTable;
  readonly pendingStatus: ResidentTable;
  readonly transfers: RingTable;
  readonly balances: RingTable;
  readonly expiries: RingTable;
  readonly failedIds: RingTable;

  constructor(allocateWords: (count: number) => Uint32Array) {
    this.accounts = new ResidentTable("accounts", 128, allocateWords);
    this.pendingStatus = new ResidentTable("pendingStatus", 1, allocateWords);
    this.transfers = new RingTable("transfers", 32, 16, allocateWords);
    this.balances = new RingTable("balances", 32, 16, allocateWords);
    this.expiries = new RingTable("expiries", 40, 14, allocateWords);
    this.failedIds = new RingTable("failedIds", 4, 14, allocateWords);
  }

  fetch(table: AppendTable, rows: Uint32Array, count: number, target: Uint32Array): boolean {
    assert(table instanceof RingTable, "the table is this store's");
    for (let index = 0; index < count; index += 1) {
      table.copy(rows[index]!, target, index * table.rowWords);
    }
    return true;
  }

  endOp(): void {
    this.transfers.opFirstRow = this.transfers.count;
    this.balances.opFirstRow = this.balances.count;
    this.expiries.opFirstRow = this.expiries.count;
    this.failedIds.opFirstRow = this.failedIds.count;
  }
}
