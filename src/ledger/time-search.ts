/**
 * Searches for times in tables whose rows may lie on disk: up to a batch of them at once. Marks give
 * the 512 rows that a time lies in (row-times.ts); the rest is a binary search through these rows,
 * one fetch per step for all searches of a chunk. They lie in one or two blocks, so that all steps
 * but the first find theirs in memory.
 */
import { assert } from "../core/assert.ts";
import { u64CompareAt } from "../core/u128.ts";
import { markRows, type RowTimes } from "./row-times.ts";
import type { LedgerStore } from "./store.ts";

/** Searches that go on at the same time. */
const chunkSearches = 256;

export class TimeSearch {
  private times: RowTimes | null = null;
  private readonly wanted: Uint32Array;
  /** The row sought is in [low, high]. */
  private readonly low: Uint32Array;
  private readonly high: Uint32Array;
  private readonly found: Uint8Array;
  private count = 0;
  /** First search of the chunk, and the rows of its searches that a fetch brings. */
  private chunk = 0;
  private fetched = 0;
  private readonly rows = new Uint32Array(chunkSearches);
  private readonly searches = new Uint32Array(chunkSearches);
  private rowWords: Uint32Array = new Uint32Array(0);

  /** @param capacity - Times that are sought at once, at most. */
  constructor(
    private readonly store: Pick<LedgerStore, "fetch">,
    capacity: number,
    private readonly onFetched: () => void,
  ) {
    this.wanted = new Uint32Array(2 * capacity);
    this.low = new Uint32Array(capacity);
    this.high = new Uint32Array(capacity);
    this.found = new Uint8Array(capacity);
  }

  begin(times: RowTimes): void {
    this.times = times;
    this.count = 0;
    this.chunk = 0;
    this.fetched = 0;
    const needed = Math.min(chunkSearches, this.found.length) * times.table.rowWords;
    if (this.rowWords.length < needed) this.rowWords = new Uint32Array(needed);
  }

  /** Adds a time to look for, at words[at]. Returns the number of its search. */
  add(words: Uint32Array, at: number): number {
    const { times, count } = this;
    assert(times !== null, "begun");
    assert(count < this.found.length, "a bounded number of searches");
    this.count = count + 1;
    this.wanted[2 * count] = words[at]!;
    this.wanted[2 * count + 1] = words[at + 1]!;
    const mark = times.markAtOrAbove(words, at);
    const exact = times.isMark(mark, words, at);
    this.found[count] = exact ? 1 : 0;
    const high = Math.min(mark * markRows, times.count);
    this.high[count] = high;
    this.low[count] = exact || mark === 0 ? high : (mark - 1) * markRows + 1;
    return count;
  }

  /** Works until a fetch has to be waited for. False: called back later; call again then. */
  step(): boolean {
    const { times } = this;
    assert(times !== null, "begun");
    for (;;) {
      if (this.fetched > 0) this.narrow(times);
      if (!this.choose()) {
        if (this.chunk + chunkSearches >= this.count) return true;
        this.chunk += chunkSearches;
        continue;
      }
      const { rows, fetched, rowWords, onFetched } = this;
      if (!this.store.fetch(times.table, rows, fetched, rowWords, onFetched)) return false;
    }
  }

  /** The first row at or above the time; the number of rows if there is none. */
  firstAtOrAbove(search: number): number {
    assert(this.low[search] === this.high[search], "the search has ended");
    return this.low[search]!;
  }

  /** The last row at or below the time; −1 if there is none. */
  lastAtOrBelow(search: number): number {
    const row = this.firstAtOrAbove(search);
    return this.found[search] === 1 ? row : row - 1;
  }

  /** True when a row has exactly that time. */
  isTime(search: number): boolean {
    assert(this.low[search] === this.high[search], "the search has ended");
    return this.found[search] === 1;
  }

  /** The middle rows of the chunk's searches that go on. False when there are none. */
  private choose(): boolean {
    const end = Math.min(this.chunk + chunkSearches, this.count);
    let count = 0;
    for (let search = this.chunk; search < end; search += 1) {
      const low = this.low[search]!;
      const high = this.high[search]!;
      if (low === high) continue;
      this.rows[count] = low + ((high - low) >>> 1);
      this.searches[count] = search;
      count += 1;
    }
    this.fetched = count;
    return count > 0;
  }

  private narrow(times: RowTimes): void {
    const rowWords = times.table.rowWords;
    for (let index = 0; index < this.fetched; index += 1) {
      const search = this.searches[index]!;
      const row = this.rows[index]!;
      const at = index * rowWords + times.timestampWord;
      const order = u64CompareAt(this.rowWords, at, this.wanted, 2 * search);
      if (order < 0) {
        this.low[search] = row + 1;
      } else {
        this.high[search] = row;
        if (order === 0) {
          this.low[search] = row;
          this.found[search] = 1;
        }
      }
    }
    this.fetched = 0;
  }
}
