/**
 * The timestamp of every row of a table whose timestamps ascend with the rows: finds the rows of
 * a range of time by binary search, and tells whether some row has exactly a given timestamp,
 * without touching the rows, which may lie on disk. 8 bytes per row.
 */
import { assert } from "../../core/assert.ts";
import { u64CompareAt } from "../../core/u128.ts";
import { type AllocateWords, Slabs } from "./slabs.ts";

export class TimestampIndex {
  private readonly rows: Slabs;
  private size = 0;

  constructor(allocateWords: AllocateWords) {
    this.rows = new Slabs(2, 14, allocateWords);
  }

  get count(): number {
    return this.size;
  }

  /** True when the timestamp of `row` is below that of `otherRow` in the other index. */
  isBefore(row: number, other: TimestampIndex, otherRow: number): boolean {
    assert(row < this.size, "the row has a timestamp");
    assert(otherRow < other.size, "the row has a timestamp");
    const slab = other.rows.slabs[otherRow >>> other.rows.shift]!;
    return this.compare(row, slab, (otherRow & other.rows.mask) * 2) < 0;
  }

  /** Adds the timestamp at words[at] as that of row number `count`. */
  append(words: Uint32Array, at: number): void {
    const row = this.size;
    if (row > 0) assert(this.compare(row - 1, words, at) < 0, "timestamps ascend with rows");
    const slabAt = (row & this.rows.mask) * 2;
    if (slabAt === 0) this.rows.reserve(row);
    const slab = this.rows.slabs[row >>> this.rows.shift]!;
    slab[slabAt] = words[at]!;
    slab[slabAt + 1] = words[at + 1]!;
    this.size = row + 1;
  }

  /** First row whose timestamp is at or above the one at words[at]; `count` if there is none. */
  firstAtOrAbove(words: Uint32Array, at: number): number {
    let from = 0;
    let to = this.size;
    while (from < to) {
      const middle = from + ((to - from) >>> 1);
      if (this.compare(middle, words, at) < 0) from = middle + 1;
      else to = middle;
    }
    return from;
  }

  /** Last row whose timestamp is at or below the one at words[at]; −1 if there is none. */
  lastAtOrBelow(words: Uint32Array, at: number): number {
    const row = this.firstAtOrAbove(words, at);
    return row < this.size && this.compare(row, words, at) === 0 ? row : row - 1;
  }

  /** True when some row has exactly the timestamp at words[at]. */
  has(words: Uint32Array, at: number): boolean {
    const row = this.firstAtOrAbove(words, at);
    return row < this.size && this.compare(row, words, at) === 0;
  }

  clear(): void {
    this.rows.clear();
    this.size = 0;
  }

  /** Negative, zero or positive as the row's timestamp is below, equal to or above the given. */
  private compare(row: number, words: Uint32Array, at: number): number {
    const slab = this.rows.slabs[row >>> this.rows.shift]!;
    return u64CompareAt(slab, (row & this.rows.mask) * 2, words, at);
  }
}
