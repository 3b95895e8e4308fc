/**
 * The timestamp of every row of a table whose timestamps ascend with the rows: finds the rows of
 * a range of time by binary search, and tells whether some row has exactly a given timestamp,
 * without touching the rows, which may lie on disk. 8 bytes per row.
 */
import { assert } from "../../core/assert.ts";
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

  low(row: number): number {
    assert(row < this.size, "the row has a timestamp");
    return this.rows.slabs[row >>> this.rows.shift]![(row & this.rows.mask) * 2]!;
  }

  high(row: number): number {
    assert(row < this.size, "the row has a timestamp");
    return this.rows.slabs[row >>> this.rows.shift]![(row & this.rows.mask) * 2 + 1]!;
  }

  /** Adds the timestamp of row number `count`. */
  append(low: number, high: number): void {
    const row = this.size;
    if (row > 0) assert(this.compare(row - 1, low, high) < 0, "timestamps ascend with rows");
    const at = (row & this.rows.mask) * 2;
    if (at === 0) this.rows.reserve(row);
    const slab = this.rows.slabs[row >>> this.rows.shift]!;
    slab[at] = low;
    slab[at + 1] = high;
    this.size = row + 1;
  }

  /** First row whose timestamp is at or above the given one; `count` if there is none. */
  firstAtOrAbove(low: number, high: number): number {
    let from = 0;
    let to = this.size;
    while (from < to) {
      const middle = from + ((to - from) >>> 1);
      if (this.compare(middle, low, high) < 0) from = middle + 1;
      else to = middle;
    }
    return from;
  }

  /** Last row whose timestamp is at or below the given one; −1 if there is none. */
  lastAtOrBelow(low: number, high: number): number {
    const row = this.firstAtOrAbove(low, high);
    return row < this.size && this.compare(row, low, high) === 0 ? row : row - 1;
  }

  /** True when some row has exactly this timestamp. */
  has(low: number, high: number): boolean {
    const row = this.firstAtOrAbove(low, high);
    return row < this.size && this.compare(row, low, high) === 0;
  }

  clear(): void {
    this.rows.clear();
    this.size = 0;
  }

  /** Negative, zero or positive as the row's timestamp is below, equal to or above the given. */
  private compare(row: number, low: number, high: number): number {
    const slab = this.rows.slabs[row >>> this.rows.shift]!;
    const at = (row & this.rows.mask) * 2;
    if (slab[at + 1] !== high) return slab[at + 1]! < high ? -1 : 1;
    if (slab[at] !== low) return slab[at]! < low ? -1 : 1;
    return 0;
  }
}
