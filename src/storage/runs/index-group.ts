/**
 * The sorted indexes over transfers: cut all at once, so that each run of each index covers the rows
 * between two cuts. At the end of each op, in this order:
 *
 * 1. Blocks of the sealed generation are written, and of merges: as many as the rows so far allow.
 * 2. When all of the sealed generation is written, its runs are complete, in all indexes at once.
 * 3. Merges that wrote their last block end; others begin where a level has four complete runs.
 * 4. At the end of a bar with enough rows since the last cut, there is a cut.
 *
 * What is due at the end of an op is done at the end of that op, however long it waits for reads and
 * for room. So runs, merges and addresses are a function of the ops alone.
 */
import { assert } from "../../core/assert.ts";
import type { AppendTable } from "../append-table.ts";
import type { Grid } from "../grid.ts";
import type { DamagedBlock, StorageSummary } from "../options.ts";
import { MergeInput, type MergeReads } from "./merge-input.ts";
import {
  burntBit,
  IndexId,
  indexFormats,
  levelRuns,
  paceDenominator,
  paceNumerator,
  type RunOptions,
} from "./options.ts";
import { type CutPosition, type Run, sameCut } from "./run.ts";
import { blocksWithFilters, RunBuilder } from "./run-builder.ts";
import type { RunMerge } from "./run-merge.ts";
import { RunWrites } from "./run-writes.ts";
import { SortedIndex } from "./sorted-index.ts";

const positionZero: CutPosition = { transfers: 0, failedIds: 0 };

export class IndexGroup {
  /** By id. */
  readonly indexes: readonly SortedIndex[];
  readonly writes: RunWrites;
  /** Entries of rows and burnt ids before it are in complete runs. */
  covered: CutPosition = positionZero;
  /** Where the active generation begins; at `covered` when there is no sealed one. */
  cut: CutPosition = positionZero;
  /** Called when something that `endOp` may wait for is there. */
  onProgress: () => void = () => {};

  private readonly builder: RunBuilder;
  /** Readers that no merge uses. */
  private readonly idleInputs: MergeInput[] = [];
  private readonly mergeReads: MergeReads = { inFlight: 0 };
  /** The op that is ending, and how many blocks of the sealed generation it allows. */
  private op = 0;
  private sealedAllowed = 0;
  /** Entries are being added again. */
  private rebuilding = false;

  constructor(
    readonly grid: Grid,
    /** The constants that stand in the manifest among them. */
    readonly options: RunOptions,
    private readonly transfers: AppendTable,
    private readonly failedIds: AppendTable,
    allocateWords: (count: number) => Uint32Array,
    private readonly onDamaged: (block: DamagedBlock) => void,
  ) {
    assert(options.cutRows > 0 && options.barOps > 0, "cuts are made");
    this.indexes = indexFormats.map((_, id) => new SortedIndex(id, options, allocateWords));
    this.writes = new RunWrites(grid, options.writeBlocks);
    this.builder = new RunBuilder(this.writes, options.kernels, options.filterSeed);
  }

  /** Rows and burnt ids so far: what paces everything. */
  get rows(): number {
    return this.transfers.count + this.failedIds.count;
  }

  /** `rows` when the last cut was made. */
  get rowsAtCut(): number {
    return this.cut.transfers + this.cut.failedIds;
  }

  /** All runs of all indexes, those under construction included, in a fixed order. */
  *runs(): Generator<Run> {
    for (const index of this.indexes) yield* index.runs();
  }

  /** Adds a burnt id, at key[keyAt], by its number, to the index of ids. */
  addBurnt(number: number, key: Uint32Array, keyAt: number): void {
    const index = this.indexes[IndexId.ids]!;
    index.generation(number >= this.cut.failedIds).appendLong(number, burntBit, key, keyAt);
  }

  /**
   * Opening a checkpoint, the loader fills in: `covered` and `cut`; per index `level(n).push(run)` for
   * complete runs, `sealedRun` (stored even without blocks), `merges` in the order of levels, each
   * over `level(n).slice(0, levelRuns)` with its cursors; references, fences, filters and `entries` of
   * every run. Then it calls this. Entries are added again from `covered` on, by the ledger, which
   * ends with `rebuilt`. No op ends before that.
   */
  restored(): void {
    this.rebuilding = true;
    for (const index of this.indexes) {
      if (this.hasSealed) index.expectSealed(this.cut);
      else index.activeFrom = this.cut.transfers;
    }
  }

  /** After a start, when every entry of rows and burnt ids from `covered` on was added again. */
  rebuilt(): void {
    this.rebuilding = false;
    for (const index of this.indexes) {
      index.sealedRebuilt();
      for (const merge of index.merges) this.beginMerge(merge);
    }
  }

  /** Allocates. */
  summary(): StorageSummary["indexes"] {
    return this.indexes.map((index) => {
      const runs = [...index.runs()];
      const complete = runs.filter((run) => run.complete);
      return {
        name: index.name,
        entries: complete.reduce((sum, run) => sum + run.entries, 0),
        runs: complete.length,
        merges: index.merges.length,
        blocks: runs.reduce((sum, run) => sum + run.blocks + run.filterRefs.length, 0),
      };
    });
  }

  private get hasSealed(): boolean {
    return !sameCut(this.cut, this.covered);
  }

  /**
   * Op `op` ends, with all its rows and entries added: decides what is due. Returns how many blocks
   * that takes; `advance` writes them.
   */
  endOp(op: number): number {
    assert(!this.rebuilding, "entries were added again before the first op");
    this.op = op;
    const { rows } = this;
    const { cutRows } = this.options;
    let blocks = 0;
    let total = 0;
    for (let id = 0; id < this.indexes.length; id += 1) total += this.indexes[id]!.sealedBlocks;
    this.sealedAllowed = allowedBlocks(total, rows - this.rowsAtCut, cutRows);
    let allowed = this.sealedAllowed;
    for (let id = 0; id < this.indexes.length; id += 1) {
      const index = this.indexes[id]!;
      const { sealedRun, sealedBlocks } = index;
      if (sealedRun !== null) {
        const some = Math.min(allowed, sealedBlocks);
        allowed -= some;
        blocks += blocksToAdd(sealedRun, some, sealedBlocks);
      }
      for (let at = 0; at < index.merges.length; at += 1) {
        const merge = index.merges[at]!;
        const length = cutRows * levelRuns ** (merge.level + 1);
        merge.allowed = allowedBlocks(merge.blocks, rows - merge.rowsAtStart, length);
        blocks += blocksToAdd(merge.output, merge.allowed, merge.blocks);
      }
    }
    return blocks;
  }

  /**
   * Goes on with what `endOp` decided. True when all of it is done; false when that waits for a read or
   * for writes: to be called again on progress.
   */
  advance(): boolean {
    if (!this.writeSealed()) return false;
    for (let id = 0; id < this.indexes.length; id += 1) {
      const { merges } = this.indexes[id]!;
      for (let at = 0; at < merges.length; at += 1) {
        if (!this.merge(merges[at]!)) return false;
      }
    }
    this.completeSealed();
    for (let id = 0; id < this.indexes.length; id += 1) {
      this.completeMerges(this.indexes[id]!);
      this.beginMerges(this.indexes[id]!);
    }
    const { barOps, cutRows } = this.options;
    if (this.op % barOps === 0 && this.rows - this.rowsAtCut >= cutRows) this.cutAll();
    return true;
  }

  private writeSealed(): boolean {
    let allowed = this.sealedAllowed;
    for (let id = 0; id < this.indexes.length && allowed > 0; id += 1) {
      const index = this.indexes[id]!;
      const { sealedRun } = index;
      if (sealedRun === null) continue;
      const end = Math.min(allowed, index.sealedBlocks);
      allowed -= end;
      while (sealedRun.blocks < end) {
        if (!this.builder.hasRoom()) return false;
        index.stepSealed(this.builder, this.op);
      }
    }
    return true;
  }

  private merge(merge: RunMerge): boolean {
    while (merge.output.blocks < merge.allowed) {
      if (!this.builder.hasRoom() || !merge.isReady()) return false;
      merge.step(this.builder, this.options.kernels, this.op);
    }
    return true;
  }

  private completeSealed(): void {
    if (!this.hasSealed) return;
    for (const index of this.indexes) {
      if (index.sealedRun !== null && index.sealedRun.blocks < index.sealedBlocks) return;
    }
    for (const index of this.indexes) index.completeSealed();
    this.covered = this.cut;
  }

  private completeMerges(index: SortedIndex): void {
    for (let at = index.merges.length - 1; at >= 0; at -= 1) {
      const merge = index.merges[at]!;
      if (!merge.done) continue;
      for (const input of merge.end()) this.idleInputs.push(input);
      index.completeMerge(merge, this.grid);
    }
  }

  private beginMerges(index: SortedIndex): void {
    for (let level = 0; level < index.levels.length; level += 1) {
      const merge = index.createMerge(level, this.rows);
      if (merge !== null) this.beginMerge(merge);
    }
  }

  private beginMerge(merge: RunMerge): void {
    merge.begin(merge.inputs.map(() => this.idleInputs.pop() ?? this.createInput()));
  }

  private createInput(): MergeInput {
    const { grid, writes, mergeReads, onDamaged } = this;
    return new MergeInput(grid, writes, mergeReads, onDamaged, () => this.onProgress());
  }

  private cutAll(): void {
    assert(!this.hasSealed, "a cut comes after the run of the cut before");
    const end = { transfers: this.transfers.count, failedIds: this.failedIds.count };
    for (const index of this.indexes) index.cut(this.cut, end);
    this.cut = end;
  }
}

/** How many of `total` blocks may be written `rows` rows after the beginning of `length` rows. */
function allowedBlocks(total: number, rows: number, length: number): number {
  return Math.min(total, Math.ceil((total * rows * paceDenominator) / (length * paceNumerator)));
}

/** Blocks, those of filters included, that bring the run to `blocks` of `total`. */
function blocksToAdd(run: Run, blocks: number, total: number): number {
  if (blocks <= run.blocks) return 0;
  return blocksWithFilters(blocks, total, run.filtered) - run.blocks - run.filterRefs.length;
}
