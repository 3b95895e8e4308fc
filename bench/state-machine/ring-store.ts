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
import { runKernels } from "../../src/native/sorted-runs/kernels.ts";
import type { RunKernels } from "../../src/native/sorted-runs/run-kernels.ts";
import { EntryBuffer } from "../../src/storage/runs/entry-buffer.ts";
import {
  burntBit,
  type EntryWords,
  entryWordsLong,
  entryWordsShort,
  runConstantsDefault,
} from "../../src/storage/runs/options.ts";

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

/** Entries are sorted as in the real storage; those of a generation are forgotten, not written. */
class RingIndex implements SortedIndex {
  readonly keyWords: number;
  private active: EntryBuffer;
  private sealed: EntryBuffer;

  constructor(
    readonly name: string,
    entryWords: EntryWords,
    kernels: RunKernels,
    allocateWords: (count: number) => Uint32Array,
  ) {
    this.keyWords = entryWords - 2;
    this.active = new EntryBuffer(entryWords, kernels, allocateWords);
    this.sealed = new EntryBuffer(entryWords, kernels, allocateWords);
  }

  addShort(row: number, keyLow: number, keyHigh: number): void {
    this.active.appendShort(row, 0, keyLow, keyHigh);
  }

  addLong(row: number, key: Uint32Array, keyAt: number): void {
    this.active.appendLong(row, 0, key, keyAt);
  }

  addBurnt(number: number, key: Uint32Array, keyAt: number): void {
    this.active.appendLong(number, burntBit, key, keyAt);
  }

  cut(): void {
    const { active, sealed } = this;
    sealed.clear();
    active.seal();
    this.active = sealed;
    this.sealed = active;
  }
}

class RingIndexes implements TransferIndexes {
  covered = { transfers: 0, failedIds: 0 };
  cut = { transfers: 0, failedIds: 0 };
  readonly ids: RingIndex;
  readonly accounts: RingIndex;
  readonly userData128: RingIndex;
  readonly userData64: RingIndex;
  readonly userData32: RingIndex;
  readonly ledger: RingIndex;
  readonly code: RingIndex;
  private readonly all: readonly RingIndex[];

  constructor(allocateWords: (count: number) => Uint32Array) {
    const kernels = runKernels();
    const create = (name: string, entryWords: EntryWords): RingIndex =>
      new RingIndex(name, entryWords, kernels, allocateWords);
    this.ids = create("ids", entryWordsLong);
    this.accounts = create("accounts", entryWordsShort);
    this.userData128 = create("userData128", entryWordsLong);
    this.userData64 = create("userData64", entryWordsShort);
    this.userData32 = create("userData32", entryWordsShort);
    this.ledger = create("ledger", entryWordsShort);
    this.code = create("code", entryWordsShort);
    this.all = [
      this.ids,
      this.accounts,
      this.userData128,
      this.userData64,
      this.userData32,
      this.ledger,
      this.code,
    ];
  }

  addBurnt(number: number, key: Uint32Array, keyAt: number): void {
    this.ids.addBurnt(number, key, keyAt);
  }

  rebuilt(): void {}

  /** Nothing that is looked up was stored before. */
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

  endOp(transfers: number, failedIds: number): void {
    const rows = transfers + failedIds - this.cut.transfers - this.cut.failedIds;
    if (rows < runConstantsDefault.cutRows) return;
    for (const index of this.all) index.cut();
    this.covered = this.cut;
    this.cut = { transfers, failedIds };
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
    this.indexes.endOp(this.transfers.count, this.failedIds.count);
    this.transfers.opFirstRow = this.transfers.count;
    this.balances.opFirstRow = this.balances.count;
    this.expiries.opFirstRow = this.expiries.count;
    this.failedIds.opFirstRow = this.failedIds.count;
    this.transferMarks.opFirstRow = this.transferMarks.count;
    this.expiryMarks.opFirstRow = this.expiryMarks.count;
  }
}
