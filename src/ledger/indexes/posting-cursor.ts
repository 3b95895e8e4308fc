/**
 * Walks one posting list in either direction. `seek` only ever moves on in the direction of the
 * walk, so that a walk crosses each block at most once, and several cursors can leapfrog: each
 * seeks to the row that another has reached, until all stand on the same one.
 */
import { assert } from "../../core/assert.ts";
import {
  arenaSlabMask,
  arenaSlabShift,
  blockHeaderWords,
  blockWords,
  entryWords,
  type PostingArena,
  type PostingLists,
} from "./posting-lists.ts";

export const noRow = -1;

const noBlock = new Uint32Array(0);

export class PostingCursor {
  private arena: PostingArena | null = null;
  private ascending = true;
  /** The row that the cursor stands on; `noRow` before the first seek and after the last row. */
  private row: number = noRow;
  private exhausted = true;
  /** The only row of a list without blocks, or `noRow`. */
  private single: number = noRow;
  /** Rows of the last block of the list. */
  private lastBlock = 0;
  private lastUsed = 0;
  /** The block that the cursor is in: its memory, its first row's word, its rows, the place. */
  private block = 0;
  private words: Uint32Array = noBlock;
  private rowsAt = 0;
  private rows = 0;
  private place = 0;

  /** A cursor over no rows. */
  openEmpty(): void {
    this.exhausted = true;
    this.row = noRow;
  }

  openSingle(row: number, ascending: boolean): void {
    this.ascending = ascending;
    this.single = row;
    this.exhausted = false;
    this.row = noRow;
  }

  /** @param start - No row before it (in the direction of the walk) will be asked for. */
  openList(lists: PostingLists, entry: number, ascending: boolean, start: number): void {
    const count = lists.count(entry);
    if (count === 0) {
      this.openEmpty();
      return;
    }
    const slab = lists.entries.slabs[entry >>> lists.entries.shift]!;
    const at = (entry & lists.entries.mask) * entryWords;
    if (count === 1) {
      this.openSingle(slab[at]!, ascending);
      return;
    }
    this.arena = lists.arena;
    this.ascending = ascending;
    this.single = noRow;
    this.exhausted = false;
    this.row = noRow;
    this.lastBlock = slab[at + 1]!;
    this.lastUsed = lists.used(entry);
    // Rows spread evenly, or nearly so: begin at the end that lies nearer to the start.
    const lastRow = slab[at + 3]!;
    this.enter(slab[at]!);
    const firstRow = this.words[this.rowsAt]!;
    const nearLast = start - firstRow > lastRow - start;
    if (ascending && nearLast) {
      this.enter(this.lastBlock);
      while (this.words[this.rowsAt]! > start && this.previous() !== 0) this.enter(this.previous());
    } else if (!ascending && nearLast) {
      this.enter(this.lastBlock);
    } else if (!ascending) {
      while (this.words[this.rowsAt + this.rows - 1]! < start && this.next() !== 0) {
        this.enter(this.next());
      }
    }
    this.place = ascending ? 0 : this.rows - 1;
  }

  /**
   * Moves to the nearest row at or beyond `target` (at or above it when ascending, at or below it
   * when descending). Returns that row, or `noRow` when there is none.
   */
  seek(target: number): number {
    if (this.exhausted) return noRow;
    if (this.row !== noRow && (this.ascending ? this.row >= target : this.row <= target)) {
      return this.row;
    }
    if (this.single !== noRow) {
      if (this.ascending ? this.single >= target : this.single <= target) {
        this.row = this.single;
        return this.row;
      }
      return this.end();
    }
    return this.ascending ? this.seekUp(target) : this.seekDown(target);
  }

  private seekUp(target: number): number {
    while (this.words[this.rowsAt + this.rows - 1]! < target) {
      const next = this.next();
      if (next === 0) return this.end();
      this.enter(next);
      this.place = 0;
    }
    // Next row first: most walks take every row.
    let from = this.place;
    if (this.words[this.rowsAt + from]! < target) {
      from += 1;
      let to = this.rows - 1;
      while (from < to) {
        const middle = (from + to) >>> 1;
        if (this.words[this.rowsAt + middle]! < target) from = middle + 1;
        else to = middle;
      }
    }
    this.place = from;
    this.row = this.words[this.rowsAt + from]!;
    return this.row;
  }

  private seekDown(target: number): number {
    while (this.words[this.rowsAt]! > target) {
      const previous = this.previous();
      if (previous === 0) return this.end();
      this.enter(previous);
      this.place = this.rows - 1;
    }
    let to = this.place;
    if (this.words[this.rowsAt + to]! > target) {
      to -= 1;
      let from = 0;
      while (from < to) {
        const middle = (from + to + 1) >>> 1;
        if (this.words[this.rowsAt + middle]! > target) to = middle - 1;
        else from = middle;
      }
    }
    this.place = to;
    this.row = this.words[this.rowsAt + to]!;
    return this.row;
  }

  private end(): number {
    this.exhausted = true;
    this.row = noRow;
    return noRow;
  }

  private enter(block: number): void {
    assert(this.arena !== null, "blocks lie in an arena");
    this.block = block;
    this.words = this.arena.slabs[block >>> arenaSlabShift]!;
    this.rowsAt = (block & arenaSlabMask & ~7) + blockHeaderWords;
    this.rows = block === this.lastBlock ? this.lastUsed : blockWords(block) - blockHeaderWords;
  }

  private previous(): number {
    return this.words[this.rowsAt - blockHeaderWords]!;
  }

  private next(): number {
    return this.block === this.lastBlock ? 0 : this.words[this.rowsAt - 1]!;
  }
}
