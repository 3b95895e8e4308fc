/**
 * The entries of one generation of an index that no run holds yet, in memory:
 *
 *   segments, sorted; each of the rows before the next one's          tail, in the order of rows
 *   ┌──────────────────────────────┬───────┬───────┐┌────────────┐
 *   │ class 1: four times as many  │ class 0       ││ filling    │
 *   └──────────────────────────────┴───────┴───────┘└────────────┘
 *
 * A full tail is sorted and becomes a segment of class 0; four segments of a class are merged into
 * one of the next. So for one key, the rows of the segments in their order, then those of the tail,
 * are in order. `seal` ends the generation: what is then left, eight segments at most, can be merged
 * in one pass. Nothing of this shows in a data file.
 *
 * Burnt ids count on their own: an index that has them is never asked for the rows of a key here.
 */
import { assert } from "../../core/assert.ts";
import {
  entryKeyAt,
  mergeCursorWords,
  mergeInputsMax,
  type RunKernels,
} from "../../native/sorted-runs/run-kernels.ts";
import { type EntryWords, entryWordsLong, entryWordsShort } from "./options.ts";

/** Entries that are sorted at a time: about a millisecond. */
const segmentEntriesDefault = 32_768;

/** Segments of a class that are merged into one of the next. */
const classSegments = 4;

const noWords = new Uint32Array(0);

/** Sorted entries from the first word on. */
export interface Segment {
  readonly words: Uint32Array;
  /** Entries. */
  readonly count: number;
  /** The memory is that of `segmentEntries` times four to this power. */
  readonly size: number;
}

export class EntryBuffer {
  /** Oldest first. */
  readonly segments: Segment[] = [];
  /** The entries behind those of the segments, as they were added. */
  tailWords: Uint32Array = noWords;
  tailCount = 0;
  /** Entries in segments and tail. */
  count = 0;
  sealed = false;
  /** The youngest row. */
  private lastRow = 0;
  /** Memory that is not in use, by class. */
  private readonly spare: Uint32Array[][] = [];
  /**
   * After `seal`: the segments as inputs of `RunKernels.mergeEntries`, and a cursor at the beginning
   * of each, of which the caller makes a copy.
   */
  readonly inputs: Uint32Array[] = [];
  readonly cursors: Uint32Array = new Uint32Array(mergeInputsMax * mergeCursorWords);

  /** @param segmentEntries - Entries of a tail. Sizes memory, not format. */
  constructor(
    readonly entryWords: EntryWords,
    private readonly kernels: RunKernels,
    private readonly allocateWords: (count: number) => Uint32Array,
    private readonly segmentEntries = segmentEntriesDefault,
  ) {}

  appendShort(row: number, rowHigh: number, low: number, high: number): void {
    assert(this.entryWords === entryWordsShort, "the keys have two words");
    const at = this.append(row, rowHigh);
    const words = this.tailWords;
    words[at] = row;
    words[at + 1] = rowHigh;
    words[at + entryKeyAt] = low;
    words[at + entryKeyAt + 1] = high;
    if (this.tailCount === this.segmentEntries) this.endTail();
  }

  /** The key stands at key[keyAt]. */
  appendLong(row: number, rowHigh: number, key: Uint32Array, keyAt: number): void {
    assert(this.entryWords === entryWordsLong, "the keys have four words");
    const at = this.append(row, rowHigh);
    const words = this.tailWords;
    words[at] = row;
    words[at + 1] = rowHigh;
    words[at + entryKeyAt] = key[keyAt]!;
    words[at + entryKeyAt + 1] = key[keyAt + 1]!;
    words[at + entryKeyAt + 2] = key[keyAt + 2]!;
    words[at + entryKeyAt + 3] = key[keyAt + 3]!;
    if (this.tailCount === this.segmentEntries) this.endTail();
  }

  /** Where the next entry is to be written. */
  private append(row: number, rowHigh: number): number {
    assert(!this.sealed, "nothing is added to a sealed generation");
    if (rowHigh === 0) {
      assert(row >= this.lastRow, "rows are added in their order");
      this.lastRow = row;
    }
    if (this.tailWords.length === 0) this.tailWords = this.take(0);
    const at = this.tailCount * this.entryWords;
    this.tailCount += 1;
    this.count += 1;
    return at;
  }

  /** Makes the tail a segment; then merges while four of a class have come together. */
  private endTail(): void {
    this.sortTail();
    const { segments } = this;
    for (;;) {
      const first = segments.length - classSegments;
      if (first < 0 || segments[first]!.size !== segments[segments.length - 1]!.size) return;
      this.mergeLast(classSegments);
    }
  }

  /** Sorts the tail into a segment. */
  private sortTail(): void {
    const scratch = this.take(0);
    this.kernels.sortEntries(this.tailWords, 0, this.tailCount, this.entryWords, scratch);
    this.give(0, scratch);
    this.segments.push({ words: this.tailWords, count: this.tailCount, size: 0 });
    this.tailWords = noWords;
    this.tailCount = 0;
  }

  /** Merges the youngest `inputCount` segments into one. */
  private mergeLast(inputCount: number): void {
    const { segments } = this;
    const first = segments.length - inputCount;
    let count = 0;
    for (let index = first; index < segments.length; index += 1) count += segments[index]!.count;
    let size = segments[first]!.size;
    while (this.segmentEntries * classSegments ** size < count) size += 1;
    const words = this.take(size);
    this.describe(first);
    const merged = this.kernels.mergeEntries(
      words,
      0,
      count,
      this.entryWords,
      this.inputs,
      this.cursors,
    );
    assert(merged === count, "a merge has all entries of its inputs");
    for (let index = first; index < segments.length; index += 1) {
      this.give(segments[index]!.size, segments[index]!.words);
    }
    segments.length = first;
    this.inputs.length = 0;
    segments.push({ words, count, size });
  }

  /**
   * Ends the generation: nothing is added until `clear`. All entries are in segments then, as many
   * as one merge takes: no more is merged here than that needs, since an op waits for it.
   */
  seal(): void {
    assert(!this.sealed, "a generation is sealed once");
    if (this.tailCount > 0) this.sortTail();
    // The youngest are the smallest.
    while (this.segments.length > mergeInputsMax) {
      this.mergeLast(Math.min(this.segments.length - mergeInputsMax + 1, mergeInputsMax));
    }
    this.describe(0);
    this.sealed = true;
  }

  /** Makes the segments from `first` on the inputs of a merge. */
  private describe(first: number): void {
    const { segments, inputs, cursors } = this;
    inputs.length = segments.length - first;
    for (let index = first; index < segments.length; index += 1) {
      const input = index - first;
      const segment = segments[index]!;
      inputs[input] = segment.words;
      cursors[input * mergeCursorWords] = 0;
      cursors[input * mergeCursorWords + 1] = segment.count * this.entryWords;
      cursors[input * mergeCursorWords + 2] = 0;
    }
  }

  /** Empty, and a new generation; the memory is kept for it. */
  clear(): void {
    for (const segment of this.segments) this.give(segment.size, segment.words);
    this.segments.length = 0;
    this.inputs.length = 0;
    this.tailCount = 0;
    this.count = 0;
    this.lastRow = 0;
    this.sealed = false;
  }

  private take(size: number): Uint32Array {
    const words = this.spare[size]?.pop();
    if (words !== undefined) return words;
    return this.allocateWords(this.segmentEntries * classSegments ** size * this.entryWords);
  }

  private give(size: number, words: Uint32Array): void {
    while (this.spare.length <= size) this.spare.push([]);
    this.spare[size]!.push(words);
  }
}
