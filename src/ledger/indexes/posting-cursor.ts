/**
 * Walks one posting list in either direction, and yields its rows. `seek` only ever moves on in the
 * direction of the walk, so that a walk crosses each block at most once, and several cursors can
 * leapfrog: each seeks to the row that another has reached, until all stand on the same one.
 */
import { assert } from "../../core/assert.ts";
import { noRow } from "../store.ts";
import {
  arenaSlabMask,
  arenaSlabShift,
  blockHeaderWords,
  blockWords,
  entryWords,
  type PostingArena,
  type PostingLists,
} from "./posting-lists.ts";

const noBlock = new Uint32Array(0);

export class PostingCursor {
  private arena: PostingArena | null = null;
  private ascending = true;
  /** The row that the cursor stands on; `noRow` before the first seek and after the last row. */
  private row: number = noRow;
  private exhausted = true;
  /** The only posting of a list without blocks, or −1. */
  private single = -1;
  /** The last block of the list, and how many postings it has. */
  private lastBlock = 0;
  private lastUsed = 0;
  /** The block that the cursor is in: its memory, its first posting's word, its postings. */
  private block = 0;
  private words: Uint32Array = noBlock;
  private postingsAt = 0;
  private postings = 0;
  private place = 0;

  /** A cursor over no rows. */
  openEmpty(): void {
    this.exhausted = true;
    this.row = noRow;
  }

  openSingle(posting: number, ascending: boolean): void {
    this.ascending = ascending;
    this.single = posting;
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
    this.single = -1;
    this.exhausted = false;
    this.row = noRow;
    this.lastBlock = slab[at + 1]!;
    this.lastUsed = lists.used(entry);
    this.enter(slab[at]!);
    this.approach(start, slab[at + 3]!);
    this.place = ascending ? 0 : this.postings - 1;
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
    if (this.single >= 0) return this.seekSingle(target);
    return this.ascending ? this.seekUp(target) : this.seekDown(target);
  }

  /** As cursors over what lies on disk: nothing is ever unread here. */
  read(): boolean {
    return true;
  }

  /**
   * Enters a block at or before the first posting that a walk from `start` meets, crossing the list from
   * whichever end lies nearer, as if postings were spread evenly. The cursor is in the first block.
   */
  private approach(start: number, lastPosting: number): void {
    const nearLast = start - this.words[this.postingsAt]! > lastPosting - start;
    if (nearLast) this.enter(this.lastBlock);
    if (this.ascending && nearLast) {
      while (this.words[this.postingsAt]! > start && this.previous() !== 0) {
        this.enter(this.previous());
      }
    } else if (!this.ascending && !nearLast) {
      while (this.words[this.postingsAt + this.postings - 1]! < start && this.next() !== 0) {
        this.enter(this.next());
      }
    }
  }

  private seekSingle(target: number): number {
    const row = this.single;
    if (this.ascending ? row < target : row > target) return this.end();
    this.row = row;
    return row;
  }

  /** First posting at or above `target`. */
  private seekUp(target: number): number {
    while (this.words[this.postingsAt + this.postings - 1]! < target) {
      if (!this.enterNext()) return this.end();
    }
    // The next posting first: most walks take every one.
    let from = this.place;
    if (this.words[this.postingsAt + from]! < target) {
      from += 1;
      let to = this.postings - 1;
      while (from < to) {
        const middle = (from + to) >>> 1;
        if (this.words[this.postingsAt + middle]! < target) from = middle + 1;
        else to = middle;
      }
    }
    this.place = from;
    this.row = this.words[this.postingsAt + this.place]!;
    return this.row;
  }

  /** Last posting at or below `target`. */
  private seekDown(target: number): number {
    while (this.words[this.postingsAt]! > target) {
      if (!this.enterPrevious()) return this.end();
    }
    let to = this.place;
    if (this.words[this.postingsAt + to]! > target) {
      to -= 1;
      let from = 0;
      while (from < to) {
        const middle = (from + to + 1) >>> 1;
        if (this.words[this.postingsAt + middle]! > target) to = middle - 1;
        else from = middle;
      }
    }
    this.place = to;
    this.row = this.words[this.postingsAt + this.place]!;
    return this.row;
  }

  private end(): number {
    this.exhausted = true;
    this.row = noRow;
    return noRow;
  }

  private enterNext(): boolean {
    const next = this.next();
    if (next === 0) return false;
    this.enter(next);
    this.place = 0;
    return true;
  }

  private enterPrevious(): boolean {
    const previous = this.previous();
    if (previous === 0) return false;
    this.enter(previous);
    this.place = this.postings - 1;
    return true;
  }

  private enter(block: number): void {
    assert(this.arena !== null, "blocks lie in an arena");
    this.block = block;
    this.words = this.arena.slabs[block >>> arenaSlabShift]!;
    this.postingsAt = (block & arenaSlabMask & ~7) + blockHeaderWords;
    this.postings = block === this.lastBlock ? this.lastUsed : blockWords(block) - blockHeaderWords;
  }

  private previous(): number {
    return this.words[this.postingsAt - blockHeaderWords]!;
  }

  private next(): number {
    return this.block === this.lastBlock ? 0 : this.words[this.postingsAt - 1]!;
  }
}
