/**
 * What can be computed on the entries of sorted runs: pure functions over words, in the addon
 * (`native/sorted_runs/`) and in TypeScript beside this file. Property tests hold the two equal;
 * `kernels.ts` chooses.
 *
 * An entry is one little-endian integer of `entryWords` 32-bit words, 4 or 6, compared whole: words
 * 0 and 1 are a row, the others a key of 64 or 128 bits. Positions are in words, counts in entries
 * unless said otherwise. A range outside its array, and an output that overlaps an input, is an
 * error, and nothing is written then. Arrays over a SharedArrayBuffer are refused by the addon.
 */
import { nativeLayout } from "../layout.ts";

/** Words of an entry with a key of 64 bits, and of one with 128 bits. */
export const entryWordsShort = nativeLayout.entryWordsShort;
export const entryWordsLong = nativeLayout.entryWordsLong;
/** The key begins behind the row. */
export const entryKeyAt = 2;
/** Words of an id: the key of a long entry. */
export const idWords = 4;

export const mergeInputsMax = nativeLayout.mergeInputsMax;
/** Words per input of a merge: where its next entry is, where it ends, 1 if more is to come. */
export const mergeCursorWords = 3;

/** Of one filter: 9,216 bytes. */
export const filterWords = nativeLayout.filterWords;
/** Ids in one filter: as many entries as a block holds. */
export const filterIdsMax = nativeLayout.filterIdsMax;

/** Runs that a call can probe. */
export const probeRunsMax = nativeLayout.probeRunsMax;
/** Words per run: its blocks, where its fences begin, where its filters begin. */
export const probeRunWords = 3;
/** Words of scratch memory per id. */
export const probeScratchWords = nativeLayout.probeScratchWords;
/** Words per candidate: index of the id, run, block. */
export const candidateWords = nativeLayout.candidateWords;

export interface RunKernels {
  /**
   * Sorts `count` entries from `at` on, in place. `scratch` has room for as many; what it holds
   * afterwards means nothing. Entries in order already cost one look at each.
   */
  sortEntries(
    entries: Uint32Array,
    at: number,
    count: number,
    entryWords: number,
    scratch: Uint32Array,
  ): void;

  /**
   * Merges 1 to `mergeInputsMax` sorted inputs into `target`, from `targetAt` on, until it holds
   * `room` entries, all inputs are at their ends, or one is that has more to come. Input i is the
   * range of `inputs[i]` that `cursors` says (`mergeCursorWords` each); several may lie in one
   * array. Moves the cursors and returns how many entries were written. Equal entries stay, that
   * of the earlier input first.
   */
  mergeEntries(
    target: Uint32Array,
    targetAt: number,
    room: number,
    entryWords: number,
    inputs: readonly Uint32Array[],
    cursors: Uint32Array,
  ): number;

  /**
   * Writes at `filters[filterAt]` the filter of `count` ids, up to `filterIdsMax`: the words from
   * `at` on, and again every `stride` words, four or more. `seed` is a word.
   */
  buildFilter(
    filters: Uint32Array,
    filterAt: number,
    ids: Uint32Array,
    at: number,
    stride: number,
    count: number,
    seed: number,
  ): void;

  /** False only if the id at ids[at] is not among those of the filter. */
  probeFilter(
    filters: Uint32Array,
    filterAt: number,
    ids: Uint32Array,
    at: number,
    seed: number,
  ): boolean;

  /**
   * Finds the blocks of runs that may hold the ids at ids[offsets[0 … count)]. A run is a list of
   * blocks of long entries, no id twice. Run r, the youngest being 0, has
   *
   * - in `fences[r]` the first entry of each block and, behind them, the last entry of the run;
   * - in `filters[r]` the filters of its blocks, one behind the other;
   * - in `places` how many blocks, and where the fences and the filters begin.
   *
   * A run without blocks has neither. Writes a candidate for each run whose range and filter do not
   * exclude the id (`candidateWords` each), by index of the id, then by run. Returns how many there
   * are; those for which `candidates` has no room are not written. `scratch` is
   * `probeScratchWords` per id.
   */
  probeRuns(
    ids: Uint32Array,
    offsets: Uint32Array,
    count: number,
    fences: readonly Uint32Array[],
    filters: readonly Uint32Array[],
    places: Uint32Array,
    seed: number,
    scratch: Uint32Array,
    candidates: Uint32Array,
  ): number;

  /**
   * The index of the first of `count` sorted entries that is not below the entry at key[keyAt];
   * `count` when all are. The first entry of a key is found with row 0.
   */
  searchEntries(
    entries: Uint32Array,
    at: number,
    count: number,
    entryWords: number,
    key: Uint32Array,
    keyAt: number,
  ): number;
}
