/**
 * The TypeScript twin of the probe: id by id and run by run, in the order of the candidates. The
 * addon sorts the ids first and walks each run once; the scratch memory is for that.
 */
import { assert } from "../../core/assert.ts";
import { u128Compare } from "../../core/u128.ts";
import { filterBucket, filterContains, filterLanes } from "./filter.ts";
import { assertDisjoint, assertRange, assertSeed } from "./ranges.ts";
import {
  candidateWords,
  entryKeyAt,
  entryWordsLong,
  filterWords,
  idWords,
  probeRunsMax,
  probeRunWords,
  probeScratchWords,
} from "./run-kernels.ts";

export function probeRunsPortable(
  ids: Uint32Array,
  offsets: Uint32Array,
  count: number,
  fences: readonly Uint32Array[],
  filters: readonly Uint32Array[],
  places: Uint32Array,
  seed: number,
  scratch: Uint32Array,
  candidates: Uint32Array,
): number {
  const runs = fences.length;
  assert(runs === filters.length && runs <= probeRunsMax, "runs have fences and filters");
  assertSeed(seed);
  assertRange(offsets, 0, count, 1);
  assertRange(scratch, 0, count, probeScratchWords);
  assertRange(places, 0, runs, probeRunWords);
  const scratchLength = count * probeScratchWords;
  assertOutputsApart(ids, 0, ids.length, scratch, scratchLength, candidates);
  assertOutputsApart(offsets, 0, count, scratch, scratchLength, candidates);
  assertOutputsApart(places, 0, runs * probeRunWords, scratch, scratchLength, candidates);
  assertDisjoint(scratch, 0, scratchLength, candidates, 0, candidates.length);
  for (let index = 0; index < count; index += 1) assertRange(ids, offsets[index], 1, idWords);
  for (let run = 0; run < runs; run += 1) {
    const blocks = places[run * probeRunWords];
    const fencesAt = places[run * probeRunWords + 1];
    const filtersAt = places[run * probeRunWords + 2];
    const entries = blocks === 0 ? 0 : blocks + 1;
    assertRange(fences[run], fencesAt, entries, entryWordsLong);
    assertRange(filters[run], filtersAt, blocks, filterWords);
    const fencesLength = entries * entryWordsLong;
    const filtersLength = blocks * filterWords;
    assertOutputsApart(fences[run], fencesAt, fencesLength, scratch, scratchLength, candidates);
    assertOutputsApart(filters[run], filtersAt, filtersLength, scratch, scratchLength, candidates);
  }
  const room = Math.floor(candidates.length / candidateWords);
  let total = 0;
  for (let index = 0; index < count; index += 1) {
    const idAt = offsets[index];
    const bucket = filterBucket(ids, idAt, seed);
    const hash = filterLanes(ids, idAt, seed);
    for (let run = 0; run < runs; run += 1) {
      const blocks = places[run * probeRunWords];
      const block = blockOf(fences[run], places[run * probeRunWords + 1], blocks, ids, idAt);
      if (block < 0) continue;
      const filterAt = places[run * probeRunWords + 2] + block * filterWords;
      if (!filterContains(filters[run], filterAt + bucket, hash)) continue;
      if (total < room) {
        candidates[total * candidateWords] = index;
        candidates[total * candidateWords + 1] = run;
        candidates[total * candidateWords + 2] = block;
      }
      total += 1;
    }
  }
  return total;
}

/** The last block whose first id is not above the id; −1 when the id is outside the run. */
function blockOf(
  fences: Uint32Array,
  fencesAt: number,
  blocks: number,
  ids: Uint32Array,
  idAt: number,
): number {
  if (blocks === 0) return -1;
  const keysAt = fencesAt + entryKeyAt;
  if (u128Compare(ids, idAt, fences, keysAt + blocks * entryWordsLong) > 0) return -1;
  let low = -1;
  let high = blocks;
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2);
    if (u128Compare(fences, keysAt + middle * entryWordsLong, ids, idAt) <= 0) low = middle;
    else high = middle;
  }
  return low;
}

function assertOutputsApart(
  input: Uint32Array,
  at: number,
  length: number,
  scratch: Uint32Array,
  scratchLength: number,
  candidates: Uint32Array,
): void {
  assertDisjoint(input, at, length, scratch, 0, scratchLength);
  assertDisjoint(input, at, length, candidates, 0, candidates.length);
}
