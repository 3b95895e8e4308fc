/**
 * The timestamps of a table whose timestamps ascend with its rows, which lie on disk. In memory is
 * that of every 512th row, a *mark*: 8 bytes for 64 KiB of rows. Marks are rows of a table of their
 * own, so that a start reads them and not the rows.
 *
 * Between two marks a search goes on in the rows themselves (time-search.ts).
 */
import { assert } from "../core/assert.ts";
import { u64CompareAt } from "../core/u128.ts";
import { type AllocateWords, Slabs } from "./indexes/slabs.ts";
import type { AppendTable } from "./store.ts";

/** Rows from one mark to the next. Part of the format. */
export const markRows = 512;

export class RowTimes {
  private readonly marks: Slabs;
  private markCount = 0;
  /** Rows whose timestamps were noted: those of the table but for what the request in progress added. */
  count = 0;
  private readonly last = new Uint32Array(2);

  /**
   * @param timestampWord - Where a row has its timestamp.
   * @param markTable - Rows of two words.
   */
  constructor(
    readonly table: AppendTable,
    readonly timestampWord: number,
    private readonly markTable: AppendTable,
    allocateWords: AllocateWords,
  ) {
    assert(markTable.rowWords === 2, "a mark is a timestamp");
    this.marks = new Slabs(2, 10, allocateWords);
  }

  /** Row number `count` has the timestamp at words[at]. Never undone. */
  append(words: Uint32Array, at: number): void {
    if (this.count > 0) {
      assert(u64CompareAt(words, at, this.last, 0) > 0, "timestamps ascend with rows");
    }
    this.last[0] = words[at]!;
    this.last[1] = words[at + 1]!;
    if (this.count % markRows === 0) {
      this.markTable.append();
      const { tailWords, tailAt } = this.markTable;
      tailWords[tailAt] = words[at]!;
      tailWords[tailAt + 1] = words[at + 1]!;
      this.keepMark(words, at);
    }
    this.count += 1;
  }

  /** At start: the next row of the table of marks stands at words[at]. */
  keepMark(words: Uint32Array, at: number): void {
    const mark = this.markCount;
    this.marks.reserve(mark);
    const slab = this.marks.slabs[mark >>> this.marks.shift]!;
    const slabAt = (mark & this.marks.mask) * 2;
    slab[slabAt] = words[at]!;
    slab[slabAt + 1] = words[at + 1]!;
    this.markCount = mark + 1;
  }

  /** At start, after all marks. @param time - The timestamp of the table's last row; zero without rows. */
  restored(time: Uint32Array): void {
    this.count = this.table.count;
    assert(this.markCount === Math.ceil(this.count / markRows), "every 512th row has a mark");
    this.last.set(time);
  }

  clear(): void {
    this.marks.clear();
    this.markCount = 0;
    this.count = 0;
    this.last.fill(0);
  }

  /** First mark whose timestamp is at or above the one at words[at]; the number of marks if none is. */
  markAtOrAbove(words: Uint32Array, at: number): number {
    let low = 0;
    let high = this.markCount;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.compareMark(middle, words, at) < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** True when that is the mark's very timestamp. */
  isMark(mark: number, words: Uint32Array, at: number): boolean {
    return mark < this.markCount && this.compareMark(mark, words, at) === 0;
  }

  private compareMark(mark: number, words: Uint32Array, at: number): number {
    const slab = this.marks.slabs[mark >>> this.marks.shift]!;
    return u64CompareAt(slab, (mark & this.marks.mask) * 2, words, at);
  }
}
