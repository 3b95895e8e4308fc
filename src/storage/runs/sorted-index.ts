/**
 * One sorted index: what was added since the last cut, what was cut and is being written, and runs
 * in levels. It has the shape of the ledger's `SortedIndex` (ledger/store.ts).
 */
import { assert } from "../../core/assert.ts";
import { EntryBuffer } from "./entry-buffer.ts";
import {
  type EntryWords,
  entryWordsLong,
  entryWordsShort,
  indexFormats,
  type RunOptions,
} from "./options.ts";
import { type CutPosition, Run } from "./run.ts";
import type { RunMerge } from "./run-merge.ts";

export class SortedIndex {
  readonly name: string;
  readonly entryWords: EntryWords;
  readonly keyWords: number;
  readonly filtered: boolean;
  readonly blockEntries: number;
  /** What was added since the last cut. */
  active: EntryBuffer;
  /** What was cut and is not in a complete run yet; null if there is none. */
  sealed: EntryBuffer | null = null;
  /** The run that `sealed` is being written to: there if and only if that has entries. */
  sealedRun: Run | null = null;
  /** Complete runs, by level; within a level from the oldest to the youngest. */
  readonly levels: Run[][] = [];
  /** Merges under way, one per level of their inputs at most; lowest level first. */
  readonly merges: RunMerge[] = [];

  constructor(
    /** Position in `indexFormats`. */
    readonly id: number,
    private readonly options: RunOptions,
    private readonly allocateWords: (count: number) => Uint32Array,
  ) {
    const format = indexFormats[id];
    assert(format !== undefined, "the index is of the format");
    this.name = format.name;
    this.entryWords = format.entryWords;
    this.keyWords = format.entryWords - 2;
    this.filtered = format.filtered;
    this.blockEntries =
      format.entryWords === entryWordsLong ? options.blockEntriesLong : options.blockEntriesShort;
    this.active = this.createBuffer();
  }

  private createBuffer(): EntryBuffer {
    return new EntryBuffer(this.entryWords, this.options.kernels, this.allocateWords);
  }

  /** After a start with a generation that was cut, and whose entries are to be added again. */
  expectSealed(): void {
    this.sealed = this.createBuffer();
  }

  /** Adds an entry to an index with keys of two words. */
  addShort(row: number, keyLow: number, keyHigh: number): void {
    assert(this.entryWords === entryWordsShort, "the index has keys of two words");
    this.active.appendShort(row, 0, keyLow, keyHigh);
  }

  /** Adds an entry to an index with keys of four words: the key stands at key[keyAt]. */
  addLong(row: number, key: Uint32Array, keyAt: number): void {
    assert(this.entryWords === entryWordsLong, "the index has keys of four words");
    this.active.appendLong(row, 0, key, keyAt);
  }

  /** An empty run, under construction. */
  createRun(level: number, first: CutPosition, end: CutPosition): Run {
    return new Run(
      this.id,
      level,
      this.entryWords,
      this.blockEntries,
      this.filtered,
      first,
      end,
      this.allocateWords,
    );
  }

  /** Complete runs of a level. */
  level(level: number): Run[] {
    while (this.levels.length <= level) this.levels.push([]);
    return this.levels[level]!;
  }

  /**
   * All runs in a fixed order: complete ones by level and age, the one that is being written of the
   * sealed entries, outputs of merges by level.
   */
  *runs(): Generator<Run> {
    for (const level of this.levels) yield* level;
    if (this.sealedRun !== null) yield this.sealedRun;
    for (const merge of this.merges) yield merge.output;
  }
}
