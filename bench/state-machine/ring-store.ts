/**
 * A storage for measuring the state machine alone: rows go into a ring of memory, as they do in
 * the real storage before they are written, and only the newest can be fetched again.
 */
import { assert } from "../../src/core/assert.ts";
import {
  type AppendTable,
  type IndexCursor,
  type LedgerStore,
  noRow,
  type PagedTable,
  type SortedIndex,
  type TransferIndexes,
} from "../../src/ledger/store.ts";

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

/** Entries go into a ring as well; nothing is ever cut, nor sought. */
class RingIndex implements SortedIndex {
  private readonly words: Uint32Array;
  private readonly mask: number;
  private next = 0;

  constructor(
    readonly name: string,
    readonly keyWords: number,
    allocateWords: (count: number) => Uint32Array,
  ) {
    const entriesLog2 = 15;
    this.words = allocateWords((2 + keyWords) << entriesLog2);
    this.mask = 2 ** entriesLog2 - 1;
  }

  addShort(row: number, keyLow: number, keyHigh: number): void {
    const { words } = this;
    const at = this.take(row);
    words[at + 2] = keyLow;
    words[at + 3] = keyHigh;
  }

  addLong(row: number, key: Uint32Array, keyAt: number): void {
    const { words } = this;
    const at = this.take(row);
    for (let word = 0; word < 4; word += 1) words[at + 2 + word] = key[keyAt + word]!;
  }

  private take(row: number): number {
    const at = (this.next & this.mask) * (2 + this.keyWords);
    this.next += 1;
    this.words[at] = row;
    this.words[at + 1] = 0;
    return at;
  }
}

class RingIndexes implements TransferIndexes {
  readonly covered = { transfers: 0, failedIds: 0 };
  readonly cut = { transfers: 0, failedIds: 0 };
  readonly ids: RingIndex;
  readonly accounts: RingIndex;
  readonly userData128: RingIndex;
  readonly userData64: RingIndex;
  readonly userData32: RingIndex;
  readonly ledger: RingIndex;
  readonly code: RingIndex;

  constructor(allocateWords: (count: number) => Uint32Array) {
    this.ids = new RingIndex("ids", 4, allocateWords);
    this.accounts = new RingIndex("accounts", 2, allocateWords);
    this.userData128 = new RingIndex("userData128", 4, allocateWords);
    this.userData64 = new RingIndex("userData64", 2, allocateWords);
    this.userData32 = new RingIndex("userData32", 2, allocateWords);
    this.ledger = new RingIndex("ledger", 2, allocateWords);
    this.code = new RingIndex("code", 2, allocateWords);
  }

  addBurnt(number: number, key: Uint32Array, keyAt: number): void {
    this.ids.addLong(number, key, keyAt);
  }

  rebuilt(): void {}

  findIds(
    _words: Uint32Array,
    _offsets: Uint32Array,
    count: number,
    references: Int32Array,
  ): boolean {
    references.fill(0, 0, count);
    return true;
  }

  createCursor(): IndexCursor {
    return unusedCursor;
  }
}

const unusedCursor: IndexCursor = {
  estimate: 0,
  open: () => assert(false, "nothing is queried"),
  seek: () => noRow,
  read: () => true,
};

export class RingStore implements LedgerStore {
  readonly accounts: ResidentTable;
  readonly pendingStatus: ResidentTable;
  readonly transfers: RingTable;
  readonly balances: RingTable;
  readonly expiries: RingTable;
  readonly failedIds: RingTable;
  readonly transferMarks: RingTable;
  readonly expiryMarks: RingTable;
  readonly indexes: RingIndexes;

  constructor(allocateWords: (count: number) => Uint32Array) {
    this.accounts = new ResidentTable("accounts", 128, allocateWords);
    this.pendingStatus = new ResidentTable("pendingStatus", 1, allocateWords);
    this.transfers = new RingTable("transfers", 32, 16, allocateWords);
    this.balances = new RingTable("balances", 32, 16, allocateWords);
    this.expiries = new RingTable("expiries", 40, 14, allocateWords);
    this.failedIds = new RingTable("failedIds", 4, 14, allocateWords);
    this.transferMarks = new RingTable("transferMarks", 2, 14, allocateWords);
    this.expiryMarks = new RingTable("expiryMarks", 2, 14, allocateWords);
    this.indexes = new RingIndexes(allocateWords);
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
    this.transferMarks.opFirstRow = this.transferMarks.count;
    this.expiryMarks.opFirstRow = this.expiryMarks.count;
  }
}
