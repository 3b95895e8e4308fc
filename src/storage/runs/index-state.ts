/**
 * What a checkpoint says of the sorted indexes: where the group was cut, and per index its runs and
 * the merges under way. Like the parts of tables, it stands as of the checkpoint frozen last, while
 * the runs themselves go on: a run under construction has more blocks meanwhile, one that was merged
 * away is released. Nothing of the mutable generations is in it: their entries are derived from the
 * rows again.
 */
import type { BlockRequest } from "../block-reader.ts";
import { BlockType } from "../format.ts";
import {
  blockFilters,
  type EntryWords,
  entryWordsShort,
  indexFormats,
  levelRuns,
  type RunConstants,
} from "./options.ts";
import { type CutPosition, Run } from "./run.ts";

/** Runs of levels from here on cannot be: their rows would not fit their numbers. */
export const levelsMax = 16;
/** Complete runs of a level at most: three wait while four are merged. */
export const levelRunsMax = 2 * levelRuns - 1;

/** A run as of the checkpoint. */
export class RunPart {
  constructor(
    readonly run: Run,
    readonly complete: boolean,
    readonly entries: number,
    readonly blocks: number,
    readonly filterBlocks: number,
  ) {}

  /** Entries in a block, as of the checkpoint. */
  entriesIn(block: number): number {
    const { blockEntries } = this.run;
    return Math.min(blockEntries, this.entries - block * blockEntries);
  }

  requestBlock(block: number, request: BlockRequest): void {
    this.run.refs.copy(block, request.ref, 0);
    request.type = BlockType.run;
    request.table = this.run.index;
    request.first = block;
    request.count = this.entriesIn(block);
  }

  requestFilters(filterBlock: number, request: BlockRequest): void {
    this.run.filterRefs.copy(filterBlock, request.ref, 0);
    request.type = BlockType.filter;
    request.table = this.run.index;
    request.first = filterBlock * blockFilters;
    request.count = Math.min(blockFilters, this.blocks - request.first);
  }
}

/**
 * A merge of the oldest `levelRuns` complete runs of a level into the run under construction of the
 * next.
 */
export interface MergePart {
  readonly level: number;
  /** Rows and burnt ids when it began. */
  readonly rowsAtStart: number;
  /** Per input, oldest first: block and entry in it that come next. */
  readonly cursors: readonly number[];
}

export class IndexPart {
  readonly name: string;
  readonly entryWords: EntryWords;
  readonly filtered: boolean;
  readonly blockEntries: number;
  /** By level, in each from the oldest; at a level's end the one under construction, if there is one. */
  runs: readonly RunPart[] = [];
  /** By level: one at most in each. */
  merges: readonly MergePart[] = [];

  constructor(
    readonly id: number,
    constants: RunConstants,
  ) {
    const format = indexFormats[id]!;
    this.name = format.name;
    this.entryWords = format.entryWords;
    this.filtered = format.filtered;
    const short = format.entryWords === entryWordsShort;
    this.blockEntries = short ? constants.blockEntriesShort : constants.blockEntriesLong;
  }

  /** The complete runs of a level, from the oldest. */
  completeRuns(level: number): RunPart[] {
    return this.runs.filter((part) => part.run.level === level && part.complete);
  }

  /** The run under construction at a level. */
  unfinishedRun(level: number): RunPart | null {
    return this.runs.find((part) => part.run.level === level && !part.complete) ?? null;
  }

  /** Blocks that a run will have; of one that a cut made, those that it has. */
  blocksInAll(part: RunPart): number {
    const merge = this.merges.find(({ level }) => level + 1 === part.run.level);
    if (part.complete || merge === undefined) return part.blocks;
    const inputs = this.completeRuns(merge.level).slice(0, levelRuns);
    const entries = inputs.reduce((sum, input) => sum + input.entries, 0);
    return Math.ceil(entries / this.blockEntries);
  }

  /** A run with `blocks` blocks can have so many of filters: those that are full, and the last one. */
  canHaveFilters(blocks: number, filterBlocks: number, complete: boolean): boolean {
    if (!this.filtered) return filterBlocks === 0;
    if (filterBlocks === Math.ceil(blocks / blockFilters)) return true;
    return !complete && filterBlocks === Math.floor(blocks / blockFilters);
  }
}

function heapWords(count: number): Uint32Array {
  return new Uint32Array(count);
}

export class IndexesState {
  /** Where the active generation begins. */
  cut: CutPosition = { transfers: 0, failedIds: 0 };
  /** What comes before is in complete runs; the sealed generation begins here, if there is one. */
  covered: CutPosition = { transfers: 0, failedIds: 0 };
  readonly indexes: readonly IndexPart[];

  constructor(
    readonly constants: RunConstants,
    /** For the runs that are read: memory of filters. */
    private readonly allocateWords: (count: number) => Uint32Array = heapWords,
  ) {
    this.indexes = indexFormats.map((_, id) => new IndexPart(id, constants));
  }

  createRun(index: IndexPart, level: number, first: CutPosition, end: CutPosition): Run {
    return new Run(
      index.id,
      level,
      index.entryWords,
      index.blockEntries,
      index.filtered,
      first,
      end,
      this.allocateWords,
    );
  }
}
