/**
 * Copies of stored transfers that a request needs at commit: gathered before (`want`), fetched
 * from the store, found by row number. Kept sorted, so that the store reads its blocks in order
 * and a row is found by binary search.
 */
import { assert } from "../core/assert.ts";
import type { AppendTable, LedgerStore } from "./store.ts";

/** Rows per fetch: bounds the work of one call into the storage. */
const chunkRowsLog2 = 10;
const chunkRows = 1 << chunkRowsLog2;

export class RowCache {
  private readonly rows: Uint32Array;
  private readonly chunks: Uint32Array[] = [];
  private readonly chunkRowNumbers = new Uint32Array(chunkRows);
  private readonly rowWords: number;
  private count = 0;
  private fetched = 0;
  private ascending = true;
  /** Where the row asked for last lies. */
  words: Uint32Array;
  at = 0;

  /** @param capacity - Most rows that one request may want. */
  constructor(
    private readonly store: LedgerStore,
    private readonly table: AppendTable,
    capacity: number,
    allocateWords: (count: number) => Uint32Array,
  ) {
    this.rows = new Uint32Array(capacity);
    this.rowWords = table.rowWords;
    for (let row = 0; row < capacity; row += chunkRows) {
      this.chunks.push(allocateWords(chunkRows * this.rowWords));
    }
    this.words = this.chunks[0]!;
  }

  begin(): void {
    this.count = 0;
    this.fetched = 0;
    this.ascending = true;
  }

  /** Asks for a row. Rows of the current op need no copy: the table finds them. */
  want(row: number): void {
    if (row >= this.table.opFirstRow) return;
    assert(this.count < this.rows.length, "a request wants a bounded number of rows");
    if (this.count > 0) {
      const last = this.rows[this.count - 1]!;
      if (row === last) return;
      if (row < last) this.ascending = false;
    }
    this.rows[this.count] = row;
    this.count += 1;
  }

  /** Fetches what was asked for. False: called back later; call again then. */
  fetch(onFetched: () => void): boolean {
    if (this.fetched === 0 && !this.ascending) this.sort();
    while (this.fetched < this.count) {
      const from = this.fetched;
      const rows = Math.min(chunkRows, this.count - from);
      for (let index = 0; index < rows; index += 1) {
        this.chunkRowNumbers[index] = this.rows[from + index]!;
      }
      this.fetched += rows;
      const target = this.chunks[from >>> chunkRowsLog2]!;
      if (!this.store.fetch(this.table, this.chunkRowNumbers, rows, target, onFetched)) {
        return false;
      }
    }
    return true;
  }

  /** Points `words` and `at` at a row that was asked for, or that the current op appended. */
  locate(row: number): void {
    if (row >= this.table.opFirstRow) {
      this.at = this.table.find(row);
      this.words = this.table.foundWords;
      return;
    }
    let from = 0;
    let to = this.count - 1;
    while (from < to) {
      const middle = (from + to) >>> 1;
      if (this.rows[middle]! < row) from = middle + 1;
      else to = middle;
    }
    assert(this.count > 0 && this.rows[from] === row, "the row was prefetched");
    this.words = this.chunks[from >>> chunkRowsLog2]!;
    this.at = (from & (chunkRows - 1)) * this.rowWords;
  }

  private sort(): void {
    this.rows.subarray(0, this.count).sort();
    let kept = 1;
    for (let index = 1; index < this.count; index += 1) {
      const row = this.rows[index]!;
      if (row === this.rows[kept - 1]) continue;
      this.rows[kept] = row;
      kept += 1;
    }
    this.count = kept;
    this.ascending = true;
  }
}
