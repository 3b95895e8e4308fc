/**
 * What sorted runs must look like at the end of each op: plain sorted arrays, and the schedule as
 * docs/internals/sorted-runs.md says it, written down a second time.
 */
import { indexFormats, type RunConstants } from "../../src/storage/runs/options.ts";

/** Key above row: the order of entries. */
export type Entry = bigint;

export interface ModelRun {
  readonly entries: readonly Entry[];
  /** Of all its blocks: how many are written. */
  blocks: number;
  readonly first: string;
  readonly end: string;
}

interface ModelMerge {
  readonly level: number;
  readonly output: ModelRun;
  readonly rowsAtStart: number;
}

export class ModelIndex {
  active: Entry[] = [];
  sealedRun: ModelRun | null = null;
  readonly levels: ModelRun[][] = [];
  merges: ModelMerge[] = [];

  constructor(readonly blockEntries: number) {}

  /** In the order of `IndexGroup.runs`. */
  runs(): ModelRun[] {
    const building = this.sealedRun === null ? [] : [this.sealedRun];
    return [...this.levels.flat(), ...building, ...this.merges.map((merge) => merge.output)];
  }

  blocksOf(entries: number): number {
    return Math.ceil(entries / this.blockEntries);
  }
}

function sorted(entries: readonly Entry[]): Entry[] {
  return entries.slice().sort((a, b) => (a < b ? -1 : a > b ? 1 : 0));
}

/** As many as it takes for their share of all blocks to be that of `rows` in 3/4 · `length`. */
function allowedBlocks(total: number, rows: number, length: number): number {
  let blocks = 0;
  // Without division, which would round.
  while (blocks < total && blocks * 3 * length < total * 4 * rows) blocks += 1;
  return blocks;
}

export class RunModel {
  transfers = 0;
  burnt = 0;
  covered = "0,0";
  cut = "0,0";
  cuts = 0;
  mergesDone = 0;
  private rowsAtCut = 0;
  private sealing = false;
  readonly indexes: ModelIndex[];

  constructor(readonly constants: RunConstants) {
    this.indexes = indexFormats.map(
      (format) =>
        new ModelIndex(
          format.entryWords === 4 ? constants.blockEntriesShort : constants.blockEntriesLong,
        ),
    );
  }

  add(index: number, entry: Entry): void {
    this.indexes[index]!.active.push(entry);
  }

  endOp(op: number): void {
    const rows = this.transfers + this.burnt;
    const { cutRows, barOps } = this.constants;
    if (this.sealing) this.writeSealed(rows);
    for (const index of this.indexes) this.mergeIndex(index, rows);
    if (op % barOps === 0 && rows - this.rowsAtCut >= cutRows) this.cutAll(rows);
  }

  private writeSealed(rows: number): void {
    const totals = this.indexes.map((index) =>
      index.blocksOf(index.sealedRun?.entries.length ?? 0),
    );
    const total = totals.reduce((sum, blocks) => sum + blocks, 0);
    const allowed = allowedBlocks(total, rows - this.rowsAtCut, this.constants.cutRows);
    let left = allowed;
    for (const [id, index] of this.indexes.entries()) {
      const blocks = Math.min(left, totals[id]!);
      if (index.sealedRun !== null) index.sealedRun.blocks = blocks;
      left -= blocks;
    }
    if (allowed < total) return;
    for (const index of this.indexes) {
      if (index.sealedRun === null) continue;
      if (index.levels.length === 0) index.levels.push([]);
      index.levels[0]!.push(index.sealedRun);
      index.sealedRun = null;
    }
    this.sealing = false;
    this.covered = this.cut;
  }

  private mergeIndex(index: ModelIndex, rows: number): void {
    const ended: ModelMerge[] = [];
    for (const merge of index.merges) {
      const total = index.blocksOf(merge.output.entries.length);
      const length = 4 ** (merge.level + 1) * this.constants.cutRows;
      merge.output.blocks = allowedBlocks(total, rows - merge.rowsAtStart, length);
      if (merge.output.blocks === total) ended.push(merge);
    }
    for (const merge of ended) {
      this.mergesDone += 1;
      index.levels[merge.level]!.splice(0, 4);
      if (index.levels.length === merge.level + 1) index.levels.push([]);
      index.levels[merge.level + 1]!.push(merge.output);
      index.merges = index.merges.filter((one) => one !== merge);
    }
    for (const [level, runs] of index.levels.entries()) {
      if (runs.length < 4 || index.merges.some((merge) => merge.level === level)) continue;
      const inputs = runs.slice(0, 4);
      const entries = sorted(inputs.flatMap((run) => run.entries));
      const output = { entries, blocks: 0, first: inputs[0]!.first, end: inputs[3]!.end };
      index.merges.push({ level, output, rowsAtStart: rows });
      index.merges.sort((a, b) => a.level - b.level);
    }
  }

  private cutAll(rows: number): void {
    const end = `${this.transfers},${this.burnt}`;
    for (const index of this.indexes) {
      if (index.active.length > 0) {
        index.sealedRun = { entries: sorted(index.active), blocks: 0, first: this.cut, end };
      }
      index.active = [];
    }
    this.sealing = true;
    this.rowsAtCut = rows;
    this.cut = end;
    this.cuts += 1;
  }

  copy(): RunModel {
    const model = new RunModel(this.constants);
    Object.assign(model, this, { indexes: model.indexes });
    for (const [id, index] of this.indexes.entries()) {
      Object.assign(model.indexes[id]!, structuredClone({ ...index }));
    }
    return model;
  }
}
