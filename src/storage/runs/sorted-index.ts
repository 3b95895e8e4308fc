/**
 * One sorted index: what was added since the last cut, what was cut and is being written, and runs
 * in levels. It has the shape of the ledger's `SortedIndex` (ledger/store.ts).
 *
 *   active ──cut──▶ sealed ──block by block──▶ sealedRun ──complete──▶ levels[0]
 *   levels[n] ──four of them, merged block by block──▶ levels[n + 1]
 */
import { assert } from "../../core/assert.ts";
import { mergeCursorWords, mergeInputsMax } from "../../native/sorted-runs/run-kernels.ts";
import type { Grid } from "../grid.ts";
import { EntryBuffer } from "./entry-buffer.ts";
import { FilterMemory } from "./filter-memory.ts";
import {
  type EntryWords,
  entryWordsLong,
  entryWordsShort,
  indexFormats,
  levelRuns,
  type RunOptions,
} from "./options.ts";
import { type CutPosition, Run } from "./run.ts";
import type { RunBuilder } from "./run-builder.ts";
import { RunMerge } from "./run-merge.ts";

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
  /** The first transfer row of the active generation. */
  activeFrom = 0;
  /** An empty buffer for the generation after the next cut. */
  private spare: EntryBuffer | null = null;
  private readonly filterMemory: FilterMemory;
  /** Where the sealed entries that come next stand in `sealed.inputs`. */
  private readonly sealedCursors = new Uint32Array(mergeInputsMax * mergeCursorWords);

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
    this.filterMemory = new FilterMemory(allocateWords);
    this.active = this.createBuffer();
  }

  private createBuffer(): EntryBuffer {
    return new EntryBuffer(this.entryWords, this.options.kernels, this.allocateWords);
  }

  /** Adds an entry to an index with keys of two words. */
  addShort(row: number, keyLow: number, keyHigh: number): void {
    assert(this.entryWords === entryWordsShort, "the index has keys of two words");
    this.generation(row >= this.activeFrom).appendShort(row, 0, keyLow, keyHigh);
  }

  /** Adds an entry to an index with keys of four words: the key stands at key[keyAt]. */
  addLong(row: number, key: Uint32Array, keyAt: number): void {
    assert(this.entryWords === entryWordsLong, "the index has keys of four words");
    this.generation(row >= this.activeFrom).appendLong(row, 0, key, keyAt);
  }

  /** Where an entry belongs: to the sealed one only when it is added again after a start. */
  generation(active: boolean): EntryBuffer {
    if (active) return this.active;
    assert(this.sealed !== null, "entries of complete runs are not added again");
    return this.sealed;
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
      (count) => this.filterMemory.take(count),
    );
  }

  /** Complete runs of a level. */
  level(level: number): Run[] {
    while (this.levels.length <= level) this.levels.push([]);
    return this.levels[level]!;
  }

  /** The active generation, which covers `first` to `end`, becomes the sealed one. */
  cut(first: CutPosition, end: CutPosition): void {
    assert(this.sealed === null, "the generation before is in a complete run");
    this.sealed = this.active;
    this.active = this.spare ?? this.createBuffer();
    this.spare = null;
    this.activeFrom = end.transfers;
    this.sealed.seal();
    if (this.sealed.count > 0) this.sealedRun = this.createRun(0, first, end);
    this.openSealed(this.sealed);
  }

  /** After a start: the entries of the sealed generation, which ends at `end`, are to be added again. */
  expectSealed(end: CutPosition): void {
    this.sealed = this.createBuffer();
    this.activeFrom = end.transfers;
  }

  /** They were: what the run has of them already is passed over. */
  sealedRebuilt(): void {
    const { sealed, sealedRun } = this;
    if (sealed === null) return;
    sealed.seal();
    assert((sealedRun !== null) === sealed.count > 0, "a run without entries does not exist");
    this.openSealed(sealed);
    if (sealedRun === null) return;
    const words = new Uint32Array(this.blockEntries * this.entryWords);
    for (let left = sealedRun.entries; left > 0; ) {
      const count = Math.min(left, this.blockEntries);
      this.takeSealed(sealed, words, 0, count);
      left -= count;
    }
  }

  private openSealed(sealed: EntryBuffer): void {
    this.sealedCursors.set(sealed.cursors);
    this.sealedRun?.reserve(this.sealedBlocks);
  }

  private takeSealed(
    sealed: EntryBuffer,
    target: Uint32Array,
    targetAt: number,
    count: number,
  ): void {
    const merged = this.options.kernels.mergeEntries(
      target,
      targetAt,
      count,
      this.entryWords,
      sealed.inputs,
      this.sealedCursors,
    );
    assert(merged === count, "as many entries as were counted");
  }

  /** Blocks that the sealed generation makes. */
  get sealedBlocks(): number {
    return this.sealed === null ? 0 : Math.ceil(this.sealed.count / this.blockEntries);
  }

  /** Writes the next block of the sealed generation. */
  stepSealed(builder: RunBuilder, op: number): void {
    const { sealed, sealedRun } = this;
    assert(sealed !== null && sealedRun !== null, "a generation is being written");
    const left = sealed.count - sealedRun.entries;
    const count = Math.min(left, this.blockEntries);
    this.takeSealed(sealed, builder.writes.buffer.words, builder.writes.nextPayloadAt(), count);
    builder.addBlock(sealedRun, count, count === left, op);
  }

  /** All of the sealed generation is written: its run takes its place. */
  completeSealed(): void {
    const { sealed, sealedRun } = this;
    assert(sealed !== null, "a generation was written");
    if (sealedRun !== null) {
      assert(sealedRun.entries === sealed.count, "a complete run has all entries");
      sealedRun.complete = true;
      this.level(0).push(sealedRun);
    }
    this.sealedRun = null;
    this.sealed = null;
    sealed.clear();
    this.spare = sealed;
  }

  /** The merge of a level's oldest runs, or null when there is none to begin. */
  createMerge(level: number, rows: number): RunMerge | null {
    const runs = this.level(level);
    if (runs.length < levelRuns) return null;
    let place = 0;
    for (const merge of this.merges) {
      if (merge.level === level) return null;
      if (merge.level < level) place += 1;
    }
    const inputs = runs.slice(0, levelRuns);
    const output = this.createRun(level + 1, inputs[0]!.first, inputs[levelRuns - 1]!.end);
    const merge = new RunMerge(level, inputs, output, rows);
    this.merges.splice(place, 0, merge);
    return merge;
  }

  /** Everything is merged: the output takes the place of the inputs, whose blocks are let go. */
  completeMerge(merge: RunMerge, grid: Grid): void {
    const runs = this.level(merge.level);
    for (const input of merge.inputs) {
      assert(runs.shift() === input, "the oldest runs were merged");
      this.filterMemory.give(input.release(grid));
    }
    assert(merge.output.entries === merge.entries, "a complete run has all entries");
    merge.output.complete = true;
    this.level(merge.level + 1).push(merge.output);
    this.merges.splice(this.merges.indexOf(merge), 1);
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
