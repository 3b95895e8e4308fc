import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  ascending,
  entryAt,
  implementations,
  native,
  portable,
  putWords,
} from "../../../test/support/run-entries.ts";
import { Prng } from "../../core/prng.ts";
import {
  candidateWords,
  entryKeyAt,
  entryWordsLong,
  filterIdsMax,
  filterWords,
  idWords,
  probeRunWords,
  probeScratchWords,
} from "./run-kernels.ts";

/** Runs as the kernels take them, and their ids block by block. */
interface Runs {
  readonly fences: Uint32Array[];
  readonly filters: Uint32Array[];
  readonly places: Uint32Array;
  readonly blocks: bigint[][][];
}

/** Ids in a narrow range, so that many are between fences, on them, and in several runs' ranges. */
function drawId(random: Prng): bigint {
  return (BigInt(random.below(3)) << 64n) | BigInt(random.below(2000));
}

/** `open` filters let every id through: what is left is the arithmetic of fences. */
function drawRuns(random: Prng, count: number, seed: number, open: boolean): Runs {
  const runs: Runs = {
    fences: [],
    filters: [],
    places: new Uint32Array(count * probeRunWords),
    blocks: [],
  };
  for (let run = 0; run < count; run += 1) {
    const ids = new Set<bigint>();
    const size = random.below(40);
    while (ids.size < size) ids.add(drawId(random));
    const sorted = ascending([...ids]);
    const blocks: bigint[][] = [];
    while (sorted.length > 0) blocks.push(sorted.splice(0, 1 + random.below(9)));
    const fencesAt = random.below(5);
    const filtersAt = random.below(5);
    const fences = new Uint32Array(fencesAt + (blocks.length + 1) * entryWordsLong);
    const filters = new Uint32Array(filtersAt + blocks.length * filterWords).fill(0xffff_ffff);
    for (const [number, block] of blocks.entries()) {
      const at = fencesAt + number * entryWordsLong;
      fences[at] = random.u32();
      putWords(fences, at + entryKeyAt, block[0], idWords);
      putWords(fences, at + entryWordsLong + entryKeyAt, block.at(-1)!, idWords);
      const words = new Uint32Array(block.length * idWords);
      for (const [index, id] of block.entries()) putWords(words, index * idWords, id, idWords);
      if (open) continue;
      const filterAt = filtersAt + number * filterWords;
      portable.buildFilter(filters, filterAt, words, 0, idWords, block.length, seed);
    }
    runs.fences.push(fences);
    runs.filters.push(filters);
    runs.places.set([blocks.length, fencesAt, filtersAt], run * probeRunWords);
    runs.blocks.push(blocks);
  }
  return runs;
}

/** What the kernels must find, from the ids themselves and the filter of the one block. */
function expectedCandidates(
  runs: Runs,
  ids: Uint32Array,
  offsets: Uint32Array,
  seed: number,
): number[][] {
  const found: number[][] = [];
  for (const [index, at] of offsets.entries()) {
    const id = entryAt(ids, at, idWords);
    for (const [run, blocks] of runs.blocks.entries()) {
      if (blocks.length === 0 || id < blocks[0][0] || id > blocks.at(-1)!.at(-1)!) continue;
      const block = blocks.findLastIndex((members) => members[0] <= id);
      const filterAt = runs.places[run * probeRunWords + 2] + block * filterWords;
      const possible = portable.probeFilter(runs.filters[run], filterAt, ids, at, seed);
      if (blocks[block].includes(id)) expect(possible).toBe(true);
      if (possible) found.push([index, run, block]);
    }
  }
  return found;
}

const drawn = fc.record({
  seed: fc.nat(2 ** 32 - 1),
  runs: fc.oneof(fc.nat(5), fc.constant(64)),
  events: fc.nat(120),
  room: fc.nat(300),
  ascending: fc.boolean(),
  open: fc.boolean(),
});

describe.each(implementations)("%s", (_, kernels) => {
  test("finds the block of each run that may hold an id, by id and by run", () => {
    fc.assert(
      fc.property(drawn, ({ seed, runs: count, events, room, ascending: inOrder, open }) => {
        const random = new Prng(seed);
        const runs = drawRuns(random, count, seed, open);
        let values = Array.from({ length: events }, () => drawId(random));
        if (inOrder) values = ascending(values);
        // Half of the ids at random places of a message, some of them twice.
        const ids = new Uint32Array(events * 8 + idWords);
        const offsets = new Uint32Array(events);
        for (const [index, value] of values.entries()) {
          offsets[index] = index * 8 + random.below(5);
          putWords(ids, offsets[index], value, idWords);
          if (!inOrder && random.chance(0.1)) offsets[index] = offsets[random.below(index + 1)];
        }
        const candidates = new Uint32Array(room * candidateWords + 2).fill(9);
        const total = kernels.probeRuns(
          ids,
          offsets,
          events,
          runs.fences,
          runs.filters,
          runs.places,
          seed,
          new Uint32Array(events * probeScratchWords),
          candidates,
        );
        const expected = expectedCandidates(runs, ids, offsets, seed);
        expect(total).toBe(expected.length);
        const written = expected.slice(0, room).flat();
        expect([...candidates.subarray(0, written.length)]).toEqual(written);
        expect(candidates.subarray(written.length).every((word) => word === 9)).toBe(true);
      }),
      { numRuns: 150 },
    );
  });

  test("the ends of the range of ids are ids like others", () => {
    const max = 2n ** 128n - 1n;
    const fences = new Uint32Array(2 * entryWordsLong);
    putWords(fences, entryWordsLong + entryKeyAt, max, idWords);
    const ids = new Uint32Array(8);
    putWords(ids, 4, max, idWords);
    const filter = new Uint32Array(filterWords);
    kernels.buildFilter(filter, 0, ids, 0, idWords, 2, 3);
    const candidates = new Uint32Array(6);
    const offsets = Uint32Array.of(4, 0);
    const total = kernels.probeRuns(
      ids,
      offsets,
      2,
      [fences],
      [filter],
      Uint32Array.of(1, 0, 0),
      3,
      new Uint32Array(32),
      candidates,
    );
    expect(total).toBe(2);
    expect([...candidates]).toEqual([0, 0, 0, 1, 0, 0]);
  });

  test("refuses ranges outside the arrays, overlaps, and other numbers of runs", () => {
    const fences = new Uint32Array(3 * entryWordsLong);
    const filters = new Uint32Array(2 * filterWords);
    const good = {
      ids: new Uint32Array(40),
      offsets: Uint32Array.of(0, 36),
      count: 2,
      fences: [fences],
      filters: [filters],
      places: Uint32Array.of(2, 0, 0),
      seed: 1,
      scratch: new Uint32Array(2 * probeScratchWords),
      candidates: new Uint32Array(6),
    };
    const probe = (changes: Partial<typeof good>): number => {
      const all = { ...good, ...changes };
      return kernels.probeRuns(
        all.ids,
        all.offsets,
        all.count,
        all.fences,
        all.filters,
        all.places,
        all.seed,
        all.scratch,
        all.candidates,
      );
    };
    expect(probe({})).toBe(0);
    expect(probe({ fences: [], filters: [], places: new Uint32Array(0) })).toBe(0);
    expect(probe({ places: Uint32Array.of(0, 18, 4608) })).toBe(0);
    const refused: Partial<typeof good>[] = [
      { count: 3 },
      { count: -1 },
      { count: 2 ** 52 },
      { offsets: Uint32Array.of(0, 37) },
      { offsets: Uint32Array.of(0, 4_294_967_295) },
      { fences: [] },
      { filters: [] },
      { fences: Array(65).fill(fences), filters: Array(65).fill(filters) },
      { places: Uint32Array.of(2, 0) },
      { places: Uint32Array.of(2, 1, 0) },
      { places: Uint32Array.of(2, 0, 1) },
      { places: Uint32Array.of(3, 0, 0) },
      { places: Uint32Array.of(4_294_967_295, 0, 0) },
      { places: Uint32Array.of(0, 19, 0) },
      { seed: 2 ** 32 },
      { scratch: new Uint32Array(31) },
      { scratch: filters },
      { candidates: fences },
      { candidates: filters },
      { candidates: good.ids },
      { candidates: good.offsets },
      { candidates: good.scratch },
      { scratch: good.ids },
      { candidates: good.places },
    ];
    for (const changes of refused) expect(() => probe(changes), JSON.stringify(changes)).toThrow();
  });
});

test("both agree on full blocks, long runs and batches of a message's size", () => {
  const random = new Prng(5);
  const blocks = 40;
  const events = 8189;
  const ids = new Uint32Array(events * 32).map(() => random.u32());
  const offsets = new Uint32Array(events).map((_, index) => index * 32);
  const fences: Uint32Array[] = [];
  const filters: Uint32Array[] = [];
  const places = new Uint32Array(3 * probeRunWords);
  for (let run = 0; run < 3; run += 1) {
    // Of the two highest words of ids: the runs overlap in part, and leave both ends out.
    const fence = new Uint32Array((blocks + 1) * entryWordsLong);
    const filter = new Uint32Array(blocks * filterWords);
    const step = Math.floor(2 ** 32 / (blocks + 20));
    for (let block = 0; block <= blocks; block += 1) {
      fence[block * entryWordsLong + entryKeyAt + 3] = (block + run * 10) * step;
    }
    for (let block = 0; block < blocks; block += 1) {
      // Some ids of the batch are there, so that not only false positives are compared.
      const members = new Uint32Array(filterIdsMax * idWords).map(() => random.u32());
      for (let index = run; index < 500; index += 3) {
        members.set(ids.subarray(offsets[index], offsets[index] + idWords), index * idWords);
      }
      portable.buildFilter(filter, block * filterWords, members, 0, idWords, filterIdsMax, 8);
    }
    fences.push(fence);
    filters.push(filter);
    places.set([blocks, 0, 0], run * probeRunWords);
  }
  const scratch = new Uint32Array(events * probeScratchWords);
  const candidates = new Uint32Array(2000 * candidateWords);
  const twin = candidates.slice();
  const total = native.probeRuns(
    ids,
    offsets,
    events,
    fences,
    filters,
    places,
    8,
    scratch,
    candidates,
  );
  expect(portable.probeRuns(ids, offsets, events, fences, filters, places, 8, scratch, twin)).toBe(
    total,
  );
  expect(candidates).toEqual(twin);
  expect(total).toBeGreaterThan(250);
  expect(total).toBeLessThan(510);
});
