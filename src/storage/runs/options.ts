/**
 * The constants of sorted runs, and which indexes there are. All of it is part of the format: it
 * decides which blocks are written where, and stands in the manifest. Tests and the simulator make
 * everything small, so that few rows pass every path.
 */
import { runKernels } from "../../native/sorted-runs/kernels.ts";
import type { RunKernels } from "../../native/sorted-runs/run-kernels.ts";
import { indexNames, payloadSize } from "../format.ts";

/** Words of an entry with a key of 64 bits, and of one with 128 bits: row, then key. */
export const entryWordsShort = 4;
export const entryWordsLong = 6;
export type EntryWords = typeof entryWordsShort | typeof entryWordsLong;

export interface RunConstants {
  /** Ops in a bar: cuts happen at its end. */
  readonly barOps: number;
  /** Rows and burnt ids since the last cut from which the end of a bar cuts again. */
  readonly cutRows: number;
  /** Entries in each block of a run but its last. */
  readonly blockEntriesShort: number;
  readonly blockEntriesLong: number;
}

export const runConstantsDefault: RunConstants = {
  barOps: 32,
  cutRows: 2 ** 17,
  blockEntriesShort: payloadSize / 4 / entryWordsShort,
  blockEntriesLong: payloadSize / 4 / entryWordsLong,
};

/** What the engine is given of it; tests and the simulator choose, a server takes the defaults. */
export interface RunOptions extends RunConstants {
  readonly kernels: RunKernels;
  /** Seed of the filters, a word. */
  readonly filterSeed: number;
  /** Blocks in memory that are sealed and being written: sizes memory, not format. */
  readonly writeBlocks: number;
}

export function runOptions(cluster: Uint32Array, given: Partial<RunOptions> = {}): RunOptions {
  return {
    ...runConstantsDefault,
    kernels: given.kernels ?? runKernels(),
    filterSeed: (cluster[0]! ^ cluster[1]! ^ cluster[2]! ^ cluster[3]!) >>> 0,
    writeBlocks: 128,
    ...given,
  };
}

/** Runs of a level that are merged into one of the next. */
export const levelRuns = 4;

/** Filters in a block of filters. */
export const blockFilters = 7;

/** Entries of a level's rows that a merge or a cut may take to be written: three quarters. */
export const paceNumerator = 3;
export const paceDenominator = 4;

/** The position of an index here is its number; part of the format. */
export const indexFormats = [
  { name: indexNames[0], entryWords: entryWordsLong, filtered: true },
  { name: indexNames[1], entryWords: entryWordsShort, filtered: false },
  { name: indexNames[2], entryWords: entryWordsLong, filtered: false },
  { name: indexNames[3], entryWords: entryWordsShort, filtered: false },
  { name: indexNames[4], entryWords: entryWordsShort, filtered: false },
  { name: indexNames[5], entryWords: entryWordsShort, filtered: false },
  { name: indexNames[6], entryWords: entryWordsShort, filtered: false },
] as const;

/** Positions in `indexFormats`. */
export const IndexId = {
  ids: 0,
  accounts: 1,
  userData128: 2,
  userData64: 3,
  userData32: 4,
  ledger: 5,
  code: 6,
} as const;

/** Bit 31 of an entry's second word, in the index of ids: the rest is the number of a burnt id. */
export const burntBit = 0x8000_0000;
