/**
 * The kernels of sorted runs, those of the addon and their TypeScript twins: what sorting, merging,
 * filtering, probing and searching cost per entry or id. Prints one table; each figure is the best
 * of several rounds, of CPU time, since the machine may do other work at the same time.
 *
 * Usage: node scripts/bench.mjs kernels [--rounds=5] [--runs=12]
 */
import { parseArgs } from "node:util";
import { formatCount, formatTable } from "../src/cli/output.ts";
import { Prng } from "../src/core/prng.ts";
import { nativeRunKernels, portableRunKernels } from "../src/native/sorted-runs/kernels.ts";
import {
  candidateWords,
  entryKeyAt,
  entryWordsLong,
  entryWordsShort,
  filterIdsMax,
  filterWords,
  idWords,
  mergeCursorWords,
  probeRunWords,
  probeScratchWords,
  type RunKernels,
} from "../src/native/sorted-runs/run-kernels.ts";

const { values } = parseArgs({
  options: {
    rounds: { type: "string", default: "5" },
    runs: { type: "string", default: "12" },
  },
});
const rounds = Number(values.rounds);
const runCount = Number(values.runs);

const random = new Prng(1);
const native = nativeRunKernels();
const implementations: RunKernels[] =
  native === null ? [portableRunKernels] : [native, portableRunKernels];
const table: string[][] = [];

/** Nanoseconds, in steps of a microsecond. */
function clock(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) * 1000;
}

/** Adds a line: the best round per implementation. `prepare` is not counted. */
function measure(
  what: string,
  each: string,
  count: number,
  prepare: () => void,
  run: (kernels: RunKernels) => void,
): void {
  const line = [what, each, formatCount(count)];
  for (const kernels of implementations) {
    let best = Number.POSITIVE_INFINITY;
    for (let round = 0; round < rounds; round += 1) {
      prepare();
      const began = clock();
      run(kernels);
      best = Math.min(best, clock() - began);
    }
    line.push(`${(best / count).toFixed(1)} ns`);
  }
  table.push(line);
}

function sorting(): void {
  const count = 524_288;
  for (const entryWords of [entryWordsLong, entryWordsShort]) {
    const given = new Uint32Array(count * entryWords);
    const entries = new Uint32Array(given.length);
    const scratch = new Uint32Array(given.length);
    const key = entryWords - entryKeyAt;
    const sort = (what: string, fill: (at: number, row: number) => void): void => {
      for (let row = 0; row < count; row += 1) {
        given[row * entryWords] = row;
        fill(row * entryWords + entryKeyAt, row);
      }
      measure(
        `sort, ${entryWords} words, ${what}`,
        "entry",
        count,
        () => entries.set(given),
        (kernels) => kernels.sortEntries(entries, 0, count, entryWords, scratch),
      );
    };
    sort("random keys", (at) => {
      for (let word = 0; word < key; word += 1) given[at + word] = random.u32();
    });
    if (entryWords === entryWordsLong) {
      // 48 bits of milliseconds, 80 at random, from sixteen clients not quite in turn.
      sort("time-ordered ids", (at, row) => {
        for (let word = 0; word < key; word += 1) given[at + word] = random.u32();
        given[at + 3] = (row + random.below(4096)) >>> 9;
      });
    }
    given.fill(0);
    sort("sequential", (at, row) => {
      given[at] = row;
    });
    if (entryWords === entryWordsShort) {
      sort("accounts, 10 million", (at) => {
        given[at] = random.below(20_000_000);
      });
      sort("codes, 10", (at) => {
        given[at] = random.below(10);
      });
    }
  }
}

function merging(): void {
  const inputs = 4;
  const count = 262_144;
  for (const entryWords of [entryWordsLong, entryWordsShort]) {
    const merge = (
      what: string,
      fill: (entries: Uint32Array, at: number, row: number) => void,
    ): void => {
      const lists: Uint32Array[] = [];
      for (let input = 0; input < inputs; input += 1) {
        const entries = new Uint32Array(count * entryWords);
        for (let row = 0; row < count; row += 1) {
          entries[row * entryWords] = input * count + row;
          fill(entries, row * entryWords + entryKeyAt, input * count + row);
        }
        const scratch = new Uint32Array(entries.length);
        (native ?? portableRunKernels).sortEntries(entries, 0, count, entryWords, scratch);
        lists.push(entries);
      }
      // Block by block, as a merge goes: 65,280 bytes at a time.
      const room = 16_320 / entryWords;
      const target = new Uint32Array(room * entryWords);
      const cursors = new Uint32Array(inputs * mergeCursorWords);
      measure(
        `merge of ${inputs}, ${entryWords} words, ${what}`,
        "entry",
        inputs * count,
        () => {
          for (let input = 0; input < inputs; input += 1) {
            cursors.set([0, count * entryWords, 0], input * mergeCursorWords);
          }
        },
        (kernels) => {
          while (kernels.mergeEntries(target, 0, room, entryWords, lists, cursors) === room);
        },
      );
    };
    merge("random keys", (entries, at) => {
      for (let word = 0; word < entryWords - entryKeyAt; word += 1) {
        entries[at + word] = random.u32();
      }
    });
    merge("one behind the other", (entries, at, row) => {
      entries[at] = row;
    });
  }
}

function filtering(): void {
  const filters = 100;
  const entries = new Uint32Array(filterIdsMax * entryWordsLong).map(() => random.u32());
  const filter = new Uint32Array(filterWords);
  measure(
    "build a filter",
    "id",
    filters * filterIdsMax,
    () => {},
    (kernels) => {
      for (let index = 0; index < filters; index += 1) {
        kernels.buildFilter(filter, 0, entries, entryKeyAt, entryWordsLong, filterIdsMax, index);
      }
    },
  );
}

/** Runs as large as those of 40 million transfers with random ids. */
function probing(): void {
  const events = 8189;
  const blocks = Math.ceil(3_300_000 / filterIdsMax);
  const fences: Uint32Array[] = [];
  const filters: Uint32Array[] = [];
  const places = new Uint32Array(runCount * probeRunWords);
  const seed = 7;
  const members = new Uint32Array(filterIdsMax * idWords);
  for (let run = 0; run < runCount; run += 1) {
    const fence = new Uint32Array((blocks + 1) * entryWordsLong);
    const filter = new Uint32Array(blocks * filterWords);
    for (let block = 0; block <= blocks; block += 1) {
      const highest = Math.min(2 ** 32 - 1, Math.floor((block / blocks) * 2 ** 32));
      fence[block * entryWordsLong + entryKeyAt + 3] = highest;
    }
    for (let block = 0; block < blocks; block += 1) {
      for (let word = 0; word < members.length; word += 1) members[word] = random.u32();
      (native ?? portableRunKernels).buildFilter(
        filter,
        block * filterWords,
        members,
        0,
        idWords,
        filterIdsMax,
        seed,
      );
    }
    fences.push(fence);
    filters.push(filter);
    places.set([blocks, 0, 0], run * probeRunWords);
  }
  const ids = new Uint32Array(events * 32);
  const offsets = new Uint32Array(events).map((_, index) => index * 32);
  const scratch = new Uint32Array(events * probeScratchWords);
  const candidates = new Uint32Array(events * candidateWords);
  const flush = new Uint32Array(2 ** 24);
  let found = 0;
  let probes = 0;
  const probe = (what: string, fill: (at: number, index: number) => void): void => {
    measure(
      `probe ${runCount} runs, ${what}`,
      "id",
      events,
      () => {
        for (let index = 0; index < events; index += 1) fill(index * 32, index);
        // Other work has had the processor's caches in between.
        flush.fill(random.u32());
      },
      (kernels) => {
        found += kernels.probeRuns(
          ids,
          offsets,
          events,
          fences,
          filters,
          places,
          seed,
          scratch,
          candidates,
        );
        probes += events * runCount;
      },
    );
  };
  probe("random ids", (at) => {
    for (let word = 0; word < idWords; word += 1) ids[at + word] = random.u32();
  });
  table.push([
    "… false positives",
    "probe",
    formatCount(probes),
    (found / probes).toExponential(1),
  ]);
  for (let run = 0; run < runCount; run += 1) {
    // Every id of the runs lies below those of the batch.
    fences[run]![blocks * entryWordsLong + entryKeyAt + 3] = 2 ** 31;
    fences[run]!.subarray(0, blocks * entryWordsLong).fill(0);
  }
  probe("ascending ids above them", (at, index) => {
    ids[at] = index;
    ids[at + 3] = 2 ** 31 + 1;
  });
}

function searching(): void {
  const count = 4080;
  const searches = 100_000;
  const entries = new Uint32Array(count * entryWordsShort);
  for (let row = 0; row < count; row += 1) entries[row * entryWordsShort + 2] = row * 1000;
  const key = new Uint32Array(entryWordsShort);
  let sum = 0;
  measure(
    "search a block of 4 words, one call each",
    "call",
    searches,
    () => {},
    (kernels) => {
      for (let index = 0; index < searches; index += 1) {
        key[2] = random.below(count * 1000);
        sum += kernels.searchEntries(entries, 0, count, entryWordsShort, key, 0);
      }
    },
  );
  if (sum === 0) throw new Error("nothing was found");
}

sorting();
merging();
filtering();
probing();
searching();
const head = ["what", "of", "times", ...(native === null ? [] : ["addon"]), "TypeScript"];
process.stdout.write(formatTable(head, table));
