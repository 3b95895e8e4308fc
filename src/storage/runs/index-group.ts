/**
 * The sorted indexes over transfers: cut all at once, so that each run of each index covers the rows
 * between two cuts.
 */
import type { AppendTable } from "../append-table.ts";
import type { Grid } from "../grid.ts";
import { indexFormats, type RunOptions } from "./options.ts";
import type { CutPosition, Run } from "./run.ts";
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
  /** `rows` when the last cut was made: the pace of writing the sealed generation. */
  rowsAtCut = 0;

  constructor(
    readonly grid: Grid,
    /** The constants that stand in the manifest among them. */
    readonly options: RunOptions,
    private readonly transfers: AppendTable,
    private readonly failedIds: AppendTable,
    allocateWords: (count: number) => Uint32Array,
  ) {
    this.indexes = indexFormats.map((_, id) => new SortedIndex(id, options, allocateWords));
    this.writes = new RunWrites(grid, options.writeBlocks);
  }

  /** Rows and burnt ids so far: what paces everything. */
  get rows(): number {
    return this.transfers.count + this.failedIds.count;
  }

  /** All runs of all indexes, those under construction included, in a fixed order. */
  *runs(): Generator<Run> {
    for (const index of this.indexes) yield* index.runs();
  }

  /**
   * Opening a checkpoint, the loader fills in: `covered`, `cut`, `rowsAtCut`; per index
   * `level(n).push(run)` for complete runs, `sealedRun` (stored even without blocks), `merges` in the
   * order of levels, each over `level(n).slice(0, 4)` with its cursors; references, fences, filters and
   * `entries` of every run. Then it calls this. Entries are added again from `covered` on, by the
   * ledger, which ends with `rebuilt`. No op ends before that.
   */
  restored(): void {
    if (this.cut === this.covered) return;
    for (const index of this.indexes) index.expectSealed();
  }

  rebuilt(): void {}
}
