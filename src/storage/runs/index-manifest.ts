/**
 * The manifest's section on sorted indexes.
 *
 *   constants, cuts, number of indexes
 *   per index: numbers of runs and merges, the runs, the merges
 *
 * What is read back is checked to the last number: that runs follow each other in their rows, that
 * merges are of runs that are there, that cursors lie within their runs. What passes can be worked
 * with; whether it is the state that was written, the manifest's checksum says.
 */
import { u64ReadNumber, u64WriteNumber } from "../../core/u128.ts";
import { probeRunsMax } from "../../native/sorted-runs/run-kernels.ts";
import { Chain } from "../chain.ts";
import { refWords } from "../format.ts";
import {
  type IndexesState,
  type IndexPart,
  levelRunsMax,
  levelsMax,
  type MergePart,
  RunPart,
} from "./index-state.ts";
import { levelRuns } from "./options.ts";
import { type CutPosition, sameCut } from "./run.ts";
import { runMetadataWords } from "./run-metadata.ts";

/** Four constants, two cuts of two words, the number of indexes. */
const groupWords = 9;
/** Numbers of runs and merges. */
const indexWords = 2;
/** level, complete, first and end, entries, blocks, filter blocks, chain: blocks and first one. */
const runWords = 11 + refWords;
/** level, rows at its start, block and entry per input. */
const mergeWords = 3 + 2 * levelRuns;

const constantsDiffer =
  "the checkpoint's indexes have other constants than this program uses; start the version that " +
  "wrote it.";

/** Where the metadata of a run is found. */
export interface RunEntry {
  readonly part: RunPart;
  readonly length: number;
  readonly blocks: number;
  readonly head: Uint32Array;
}

/** Words of the section for so many runs and merges in all indexes. */
export function indexesWords(state: IndexesState): number {
  let words = groupWords + state.indexes.length * indexWords;
  for (const index of state.indexes) {
    words += index.runs.length * runWords + index.merges.length * mergeWords;
  }
  return words;
}

/** Words that a section may have with so many runs: each may be the output of a merge. */
export function indexesWordsMax(state: IndexesState, runs: number): number {
  return groupWords + state.indexes.length * indexWords + runs * (runWords + mergeWords);
}

/** Writes the section at words[at …). Returns where it ends. */
export function encodeIndexes(words: Uint32Array, at: number, state: IndexesState): number {
  const { constants } = state;
  words[at] = constants.barOps;
  words[at + 1] = constants.cutRows;
  words[at + 2] = constants.blockEntriesShort;
  words[at + 3] = constants.blockEntriesLong;
  writeCut(words, at + 4, state.cut);
  writeCut(words, at + 6, state.covered);
  words[at + 8] = state.indexes.length;
  let next = at + groupWords;
  for (const index of state.indexes) {
    words[next] = index.runs.length;
    words[next + 1] = index.merges.length;
    next += indexWords;
    for (const part of index.runs) {
      encodeRun(words, next, part);
      next += runWords;
    }
    for (const merge of index.merges) {
      words[next] = merge.level;
      u64WriteNumber(words, next + 1, merge.rowsAtStart);
      words.set(merge.cursors, next + 3);
      next += mergeWords;
    }
  }
  return next;
}

function writeCut(words: Uint32Array, at: number, cut: CutPosition): void {
  words[at] = cut.transfers;
  words[at + 1] = cut.failedIds;
}

function encodeRun(words: Uint32Array, at: number, part: RunPart): void {
  const { run } = part;
  words[at] = run.level;
  words[at + 1] = part.complete ? 1 : 0;
  writeCut(words, at + 2, run.first);
  writeCut(words, at + 4, run.end);
  u64WriteNumber(words, at + 6, part.entries);
  words[at + 8] = part.blocks;
  words[at + 9] = part.filterBlocks;
  words[at + 10] = run.chain.blocks;
  run.chain.copyHead(words, at + 11);
}

/**
 * Takes the section at words[at …) over into `state`; adds to `entries` where the runs' metadata is.
 * Returns where the section ends; −1 when it does not have this format; a sentence when its constants
 * are not those of `state`.
 * @param rows - Transfers and burnt ids of the checkpoint.
 */
export function decodeIndexes(
  words: Uint32Array,
  at: number,
  state: IndexesState,
  rows: CutPosition,
  entries: RunEntry[],
): number | string {
  if (at + groupWords > words.length) return -1;
  const { constants } = state;
  const same =
    words[at] === constants.barOps &&
    words[at + 1] === constants.cutRows &&
    words[at + 2] === constants.blockEntriesShort &&
    words[at + 3] === constants.blockEntriesLong;
  if (!same) return constantsDiffer;
  state.cut = readCut(words, at + 4);
  state.covered = readCut(words, at + 6);
  if (!notBefore(state.cut, state.covered) || !notBefore(rows, state.cut)) return -1;
  if (words[at + 8] !== state.indexes.length) return -1;
  let next = at + groupWords;
  for (const index of state.indexes) {
    next = decodeIndex(words, next, state, index, rows, entries);
    if (next < 0) return -1;
  }
  return next;
}

function readCut(words: Uint32Array, at: number): CutPosition {
  return { transfers: words[at]!, failedIds: words[at + 1]! };
}

function notBefore(a: CutPosition, b: CutPosition): boolean {
  return a.transfers >= b.transfers && a.failedIds >= b.failedIds;
}

function decodeIndex(
  words: Uint32Array,
  at: number,
  state: IndexesState,
  index: IndexPart,
  rows: CutPosition,
  entries: RunEntry[],
): number {
  if (at + indexWords > words.length) return -1;
  const runs = words[at]!;
  const merges = words[at + 1]!;
  if (runs > levelsMax * (levelRunsMax + 1) || merges > runs) return -1;
  let next = at + indexWords;
  if (next + runs * runWords + merges * mergeWords > words.length) return -1;
  const parts: RunPart[] = [];
  for (let run = 0; run < runs; run += 1) {
    const entry = decodeRun(words, next, state, index);
    if (entry === null) return -1;
    parts.push(entry.part);
    entries.push(entry);
    next += runWords;
  }
  index.runs = parts;
  if (!runsFollow(state, index)) return -1;
  const mergeParts: MergePart[] = [];
  for (let merge = 0; merge < merges; merge += 1) {
    mergeParts.push({
      level: words[next]!,
      rowsAtStart: u64ReadNumber(words, next + 1),
      cursors: Array.from(words.subarray(next + 3, next + mergeWords)),
    });
    next += mergeWords;
  }
  index.merges = mergeParts;
  return mergesFit(index, rows) ? next : -1;
}

function decodeRun(
  words: Uint32Array,
  at: number,
  state: IndexesState,
  index: IndexPart,
): RunEntry | null {
  const level = words[at]!;
  const complete = words[at + 1]! === 1;
  const first = readCut(words, at + 2);
  const end = readCut(words, at + 4);
  const entries = u64ReadNumber(words, at + 6);
  const blocks = words[at + 8]!;
  const filterBlocks = words[at + 9]!;
  if (level >= levelsMax || words[at + 1]! > 1) return null;
  if (!notBefore(end, first) || sameCut(end, first)) return null;
  // Every block but the last is full, and no block is empty.
  if (blocks !== Math.ceil(entries / index.blockEntries)) return null;
  if (complete && blocks === 0) return null;
  if (!index.canHaveFilters(blocks, filterBlocks, complete)) return null;
  const length = runMetadataWords(blocks, filterBlocks, index.entryWords) * 4;
  if (words[at + 10] !== Chain.blocksFor(length)) return null;
  const run = state.createRun(index, level, first, end);
  return {
    part: new RunPart(run, complete, entries, blocks, filterBlocks),
    length,
    blocks: words[at + 10]!,
    head: words.slice(at + 11, at + 11 + refWords),
  };
}

/**
 * The runs are in their order: by level; in a level by rows, an unfinished one last. And the rows of
 * the complete ones rise from the oldest, at the highest level, to the youngest.
 */
function runsFollow(state: IndexesState, index: IndexPart): boolean {
  for (let at = 1; at < index.runs.length; at += 1) {
    const { run, complete } = index.runs[at - 1]!;
    const next = index.runs[at]!.run;
    if (next.level < run.level) return false;
    if (next.level > run.level) continue;
    if (!complete || !notBefore(next.first, run.end)) return false;
  }
  // As many as a lookup goes through.
  if (index.runs.filter((part) => part.complete).length > probeRunsMax) return false;
  let youngestEnd: CutPosition = { transfers: 0, failedIds: 0 };
  for (let level = levelsMax - 1; level >= 0; level -= 1) {
    for (const { run } of index.completeRuns(level)) {
      if (!notBefore(run.first, youngestEnd)) return false;
      youngestEnd = run.end;
    }
  }
  if (!notBefore(state.covered, youngestEnd)) return false;
  const sealed = index.unfinishedRun(0)?.run ?? null;
  if (sealed === null) return true;
  return sameCut(sealed.first, state.covered) && sameCut(sealed.end, state.cut);
}

/** Each merge has its inputs and its output; each output that is not of a cut has its merge. */
function mergesFit(index: IndexPart, rows: CutPosition): boolean {
  let levelMin = 0;
  let outputs = index.unfinishedRun(0) === null ? 0 : 1;
  for (const merge of index.merges) {
    if (merge.level < levelMin) return false;
    levelMin = merge.level + 1;
    outputs += 1;
    if (merge.rowsAtStart > rows.transfers + rows.failedIds) return false;
    const inputs = index.completeRuns(merge.level);
    const output = index.unfinishedRun(merge.level + 1);
    if (inputs.length < levelRuns || output === null) return false;
    if (!sameCut(output.run.first, inputs[0]!.run.first)) return false;
    if (!sameCut(output.run.end, inputs[levelRuns - 1]!.run.end)) return false;
    let merged = 0;
    let total = 0;
    for (let input = 0; input < levelRuns; input += 1) {
      const { entries, blocks } = inputs[input]!;
      const block = merge.cursors[2 * input]!;
      const entry = merge.cursors[2 * input + 1]!;
      const reached = block * index.blockEntries + entry;
      // At the end of its entries a cursor is at the beginning of a block that there is not.
      const atEnd = block === blocks && entry === 0;
      if (!atEnd && (entry >= index.blockEntries || reached >= entries)) return false;
      merged += atEnd ? entries : reached;
      total += entries;
    }
    if (merged !== output.entries) return false;
    // Only the last block of all is short.
    if (merged < total && merged % index.blockEntries !== 0) return false;
  }
  return outputs === index.runs.filter((part) => !part.complete).length;
}
