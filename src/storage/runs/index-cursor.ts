/**
 * Walks the rows of one key of a sorted index, in either direction. It has the shape of the ledger's
 * `IndexCursor` (ledger/store.ts).
 *
 * The entries lie in *sources* of disjoint rows, from the oldest to the youngest:
 *
 *   runs, from the highest level down   segments and tail    segments and tail
 *   each from the oldest on             of the sealed and    of the active generation
 *
 * The walk goes from source to source. In a run, the fences say which block the nearest entry is in,
 * by key and row; and if it is a first entry or the last one, what it is, so that no block need be
 * read. A leap over any number of entries is a search among fences and in one block.
 *
 * The cursor remembers the cache slot of its block, not the block: if the slot has another one by
 * then, it has to be read again. So it holds no memory, and a cursor left behind is harmless.
 */
import { assert } from "../../core/assert.ts";
import { entryKeyAt } from "../../native/sorted-runs/run-kernels.ts";
import type { BlockRequest } from "../block-reader.ts";
import type { CachedSource } from "../cached-reader.ts";
import { type BlockFetcher, requestBlock } from "./block-fetcher.ts";
import type { EntryBuffer } from "./entry-buffer.ts";
import { firstNotBelow, lastNotAbove } from "./entry-search.ts";
import { entryWordsLong, IndexId } from "./options.ts";
import type { Run } from "./run.ts";
import type { SortedIndex } from "./sorted-index.ts";

/** What `seek` returns instead of a row; the ledger's values. */
export const noRow = -1;
export const unread = -2;

/** Guessed for a key that may be in a block and begins no other: so many in a block. */
const estimateShare = 16;
/** Entries of a tail that are looked at to guess how many have the key. */
const estimateSamples = 256;

const noWords = new Uint32Array(0);

class Source {
  /** Null: a part of a buffer. */
  run: Run | null = null;
  /** Of a buffer. Sorted: a segment. Otherwise in the order of rows: a tail. */
  words: Uint32Array = noWords;
  count = 0;
  sorted = false;
}

export class IndexCursor implements CachedSource {
  estimate = 0;
  private ascending = true;
  private entryWords = entryWordsLong as number;
  /** The entry that is sought: target row and key. */
  private readonly sought = new Uint32Array(entryWordsLong);

  /** Oldest first; those from `sourceCount` on are not in use. */
  private readonly sources: Source[] = [];
  private sourceCount = 0;
  /** The source that the walk is in. */
  private source = 0;
  /** Block of the run that the walk is in, or −1: none yet. */
  private block = -1;
  /** Where it was found in the cache, or −1. */
  private slot = -1;
  /** The entry, in the block or in the part of a buffer, that the walk has come to. */
  private place = 0;
  /** `seek` waits for the block. */
  private wanted = false;

  constructor(private readonly fetcher: BlockFetcher) {}

  /**
   * @param key - The key stands at key[keyAt].
   * @param start - No row before it, in the direction of the walk, will be asked for.
   */
  open(
    index: SortedIndex,
    key: Uint32Array,
    keyAt: number,
    ascending: boolean,
    start: number,
  ): void {
    assert(index.id !== IndexId.ids, "the rows of ids are in no order");
    this.ascending = ascending;
    this.entryWords = index.entryWords;
    const { sought } = this;
    for (let word = entryKeyAt; word < this.entryWords; word += 1) {
      sought[word] = key[keyAt + word - entryKeyAt]!;
    }
    this.sourceCount = 0;
    this.estimate = 0;
    for (let level = index.levels.length - 1; level >= 0; level -= 1) {
      const runs = index.levels[level]!;
      for (let at = 0; at < runs.length; at += 1) this.addRun(runs[at]!, start);
    }
    if (index.sealed !== null) this.addBuffer(index.sealed);
    this.addBuffer(index.active);
    this.enter(ascending ? 0 : this.sourceCount - 1);
  }

  /** Adds a run, unless its rows or its keys exclude that it has one that is asked for. */
  private addRun(run: Run, start: number): void {
    const { sought } = this;
    assert(run.complete, "levels have complete runs");
    if (this.ascending ? run.end.transfers <= start : run.first.transfers > start) return;
    sought[0] = 0xffff_ffff;
    sought[1] = 0;
    const end = run.fenceAbove(sought, 0);
    sought[0] = 0;
    if (end === 0 || run.compareFence(run.blocks, sought, 0) < 0) return;
    // Blocks that begin with the key. Their number is that of full ones, give or take one.
    const blocks = end - run.fenceAbove(sought, 0);
    this.estimate += blocks > 0 ? blocks * run.blockEntries : run.blockEntries / estimateShare;
    this.addSource().run = run;
  }

  private addBuffer(buffer: EntryBuffer): void {
    const { segments } = buffer;
    for (let index = 0; index < segments.length; index += 1) {
      const segment = segments[index]!;
      this.addPart(segment.words, segment.count, true);
    }
    if (buffer.tailCount > 0) this.addPart(buffer.tailWords, buffer.tailCount, false);
  }

  private addPart(words: Uint32Array, count: number, sorted: boolean): void {
    const { sought, entryWords } = this;
    if (sorted) {
      sought[0] = 0;
      sought[1] = 0;
      const first = firstNotBelow(words, 0, count, 0, sought, entryWords);
      if (first === count || !this.hasKey(words, first * entryWords)) return;
      sought[0] = 0xffff_ffff;
      this.estimate += lastNotAbove(words, 0, count - 1, sought, entryWords) - first + 1;
    } else {
      const step = Math.ceil(count / estimateSamples);
      for (let entry = 0; entry < count; entry += step) {
        if (this.hasKey(words, entry * entryWords)) this.estimate += step;
      }
    }
    const source = this.addSource();
    source.run = null;
    source.words = words;
    source.count = count;
    source.sorted = sorted;
  }

  private addSource(): Source {
    if (this.sourceCount === this.sources.length) this.sources.push(new Source());
    const source = this.sources[this.sourceCount]!;
    this.sourceCount += 1;
    return source;
  }

  private enter(source: number): void {
    this.source = source;
    this.block = -1;
    this.slot = -1;
    this.wanted = false;
    this.place = 0;
    if (!this.ascending && source >= 0) this.place = this.sources[source]!.count - 1;
  }

  /**
   * The nearest row at or beyond `target` in the direction of the walk, `noRow`, or `unread`. Targets
   * move in the direction of the walk.
   */
  seek(target: number): number {
    const { sought, ascending } = this;
    while (this.source >= 0 && this.source < this.sourceCount) {
      const source = this.sources[this.source]!;
      sought[0] = target;
      sought[1] = 0;
      let row: number;
      if (source.run !== null) row = this.seekRun(source.run, target);
      else if (source.sorted) row = this.seekSegment(source);
      else row = this.seekTail(source, target);
      if (row !== noRow) return row;
      this.enter(ascending ? this.source + 1 : this.source - 1);
    }
    return noRow;
  }

  private seekRun(run: Run, target: number): number {
    if (this.ascending) {
      if (run.end.transfers <= target) return noRow;
      if (run.compareFence(run.blocks, this.sought, 0) < 0) return noRow;
    } else if (run.first.transfers > target) {
      return noRow;
    }
    this.moveToBlock(run);
    const { block, ascending, entryWords, sought } = this;
    if (block < 0) return ascending ? this.rowOfFence(run, 0) : noRow;
    // The first entry of the block is not above what is sought; its fence may be the answer.
    if (run.compareFence(block, sought, 0) === 0) return target;
    if (!ascending && run.compareFence(run.blocks, sought, 0) <= 0) {
      return this.rowOfFence(run, run.blocks);
    }
    if (!this.findBlock(run)) return unread;
    const words = this.fetcher.words(this.slot);
    const at = this.fetcher.entriesAt(this.slot);
    if (ascending) {
      const count = run.entriesIn(block);
      this.place = firstNotBelow(words, at, count, this.place, sought, entryWords);
      // Behind the last entry comes the next block's first.
      if (this.place === count) return this.rowOfFence(run, block + 1);
    } else {
      this.place = lastNotAbove(words, at, this.place, sought, entryWords);
      assert(this.place >= 0, "the fence is not above what is sought");
    }
    const found = at + this.place * entryWords;
    return this.hasKey(words, found) ? words[found]! : noRow;
  }

  /** Goes to the last block whose first entry is not above what is sought; −1 if there is none. */
  private moveToBlock(run: Run): void {
    const { block, sought } = this;
    if (block >= 0) {
      const above = block + 1 === run.blocks || run.compareFence(block + 1, sought, 0) > 0;
      if (above && run.compareFence(block, sought, 0) <= 0) return;
    }
    const moved = run.fenceAbove(sought, 0) - 1;
    if (moved === block) return;
    this.block = moved;
    this.slot = -1;
    this.place = this.ascending || moved < 0 ? 0 : run.entriesIn(moved) - 1;
  }

  /** Has the block in the cache, or wants it. */
  private findBlock(run: Run): boolean {
    if (this.slot >= 0 && this.fetcher.holds(this.slot, run, this.block)) return true;
    this.slot = this.fetcher.find(run, this.block);
    this.wanted = this.slot < 0;
    return !this.wanted;
  }

  /** The row of a fence (of the last entry, for `blocks`) if it has the key. */
  private rowOfFence(run: Run, block: number): number {
    const at = block * this.entryWords;
    return this.hasKey(run.fences, at) ? run.fences[at]! : noRow;
  }

  private seekSegment(source: Source): number {
    const { entryWords, sought } = this;
    const { words, count } = source;
    if (this.ascending) {
      this.place = firstNotBelow(words, 0, count, this.place, sought, entryWords);
      if (this.place === count) return noRow;
    } else {
      this.place = lastNotAbove(words, 0, this.place, sought, entryWords);
      if (this.place < 0) return noRow;
    }
    const at = this.place * entryWords;
    return this.hasKey(words, at) ? words[at]! : noRow;
  }

  /** Each entry is passed once in a walk. */
  private seekTail(source: Source, target: number): number {
    const { entryWords } = this;
    const { words, count } = source;
    if (this.ascending) {
      for (; this.place < count; this.place += 1) {
        const at = this.place * entryWords;
        if (words[at]! >= target && this.hasKey(words, at)) return words[at]!;
      }
      return noRow;
    }
    for (; this.place >= 0; this.place -= 1) {
      const at = this.place * entryWords;
      if (words[at]! <= target && this.hasKey(words, at)) return words[at]!;
    }
    return noRow;
  }

  private hasKey(words: Uint32Array, at: number): boolean {
    const { sought, entryWords } = this;
    for (let word = entryKeyAt; word < entryWords; word += 1) {
      if (words[at + word] !== sought[word]) return false;
    }
    return true;
  }

  /**
   * After `unread`: brings the block, then `seek` is called again. True when it is there at once;
   * otherwise `onDone` is called later, not from inside. No other fetch meanwhile.
   */
  read(onDone: () => void): boolean {
    assert(this.wanted, "seek has said what it needs");
    const { run } = this.sources[this.source]!;
    assert(run !== null, "only blocks of runs are read");
    if (this.findBlock(run)) return true;
    this.fetcher.read(this, onDone);
    return false;
  }

  /** Internal: the block to read. */
  next(request: BlockRequest): boolean {
    if (!this.wanted) return false;
    this.wanted = false;
    const { run } = this.sources[this.source]!;
    assert(run !== null, "only blocks of runs are read");
    requestBlock(request, run, this.block);
    return true;
  }

  /** Internal: `seek` finds it in the cache. */
  received(): void {}
}
