/**
 * Mistakes about sorted runs, and about what a checkpoint has of them. Those of all replicas alike
 * show in replies alone; those that depend on a machine's memory or kernels show in checkpoints.
 */
import type { ReplicaParts } from "../../../src/consensus/open-replica.ts";
import { assert } from "../../../src/core/assert.ts";
import { portableRunKernels } from "../../../src/native/sorted-runs/kernels.ts";
import {
  candidateWords,
  filterWords,
  idWords,
  mergeCursorWords,
  type RunKernels,
} from "../../../src/native/sorted-runs/run-kernels.ts";
import { EntryBuffer } from "../../../src/storage/runs/entry-buffer.ts";
import type { IndexGroup } from "../../../src/storage/runs/index-group.ts";
import { levelRuns } from "../../../src/storage/runs/options.ts";
import type { Run } from "../../../src/storage/runs/run.ts";
import type { RunMerge } from "../../../src/storage/runs/run-merge.ts";
import type { Canary, CanaryContext } from "./canary.ts";

/** The same kernels, but for some of them. */
function withKernels(kernels: RunKernels, others: Partial<RunKernels>): RunKernels {
  return {
    sortEntries: others.sortEntries ?? kernels.sortEntries,
    mergeEntries: others.mergeEntries ?? kernels.mergeEntries,
    buildFilter: others.buildFilter ?? kernels.buildFilter,
    probeFilter: others.probeFilter ?? kernels.probeFilter,
    probeRuns: others.probeRuns ?? kernels.probeRuns,
    searchEntries: others.searchEntries ?? kernels.searchEntries,
  };
}

/** What uses kernels by the group's options: reads, merges, and filters at a start. */
function replaceKernels(group: IndexGroup, others: Partial<RunKernels>): void {
  const options = group.options as { kernels: RunKernels };
  options.kernels = withKernels(options.kernels, others);
}

/** Those with which new blocks get their filters. */
function replaceBuildFilter(group: IndexGroup, buildFilter: RunKernels["buildFilter"]): void {
  const builder = group["builder"] as unknown as { kernels: RunKernels };
  builder.kernels = withKernels(builder.kernels, { buildFilter });
}

/** Of every merge, when it begins or goes on after a start. */
function onMerge(group: IndexGroup, change: (merge: RunMerge) => void): void {
  const beginMerge = group["beginMerge"].bind(group);
  group["beginMerge"] = (merge) => {
    change(merge);
    beginMerge(merge);
  };
}

function sameKey(words: Uint32Array, one: number, other: number, entryWords: number): boolean {
  for (let word = 2; word < entryWords; word += 1) {
    if (words[one + word] !== words[other + word]) return false;
  }
  return true;
}

/** Turns the rows of each key around, among `count` entries from `at` on. */
function reverseRows(words: Uint32Array, at: number, count: number, entryWords: number): void {
  for (let first = 0; first < count; ) {
    let end = first + 1;
    while (
      end < count &&
      sameKey(words, at + first * entryWords, at + end * entryWords, entryWords)
    )
      end += 1;
    for (let low = first, high = end - 1; low < high; low += 1, high -= 1) {
      const row = words[at + low * entryWords]!;
      words[at + low * entryWords] = words[at + high * entryWords]!;
      words[at + high * entryWords] = row;
    }
    first = end;
  }
}

const youngestFirst: Canary = {
  name: "merge-youngest-first",
  what: "a merge puts the entries of a key in the wrong order",
  replicasMin: 1,
  install({ storage }) {
    onMerge(storage.indexes.group, (merge) => {
      const step = merge.step.bind(merge);
      merge.step = (builder, kernels, op) => {
        const mergeEntries: RunKernels["mergeEntries"] = (
          target,
          at,
          room,
          entryWords,
          ...rest
        ) => {
          const count = kernels.mergeEntries(target, at, room, entryWords, ...rest);
          reverseRows(target, at, count, entryWords);
          return count;
        };
        step(builder, withKernels(kernels, { mergeEntries }), op);
      };
    });
  },
};

const pastBorder: Canary = {
  name: "merge-past-border",
  what: "a merge goes on with other runs when a block of one is used up",
  replicasMin: 1,
  install({ storage }) {
    onMerge(storage.indexes.group, (merge) => {
      const placeCursor = merge["placeCursor"].bind(merge);
      merge["placeCursor"] = (input) => {
        placeCursor(input);
        merge["cursors"][input * mergeCursorWords + 2] = 0;
      };
    });
  },
};

const latePage: Canary = {
  name: "late-page",
  what: "a page that changed after the freeze is written as it is by then",
  replicasMin: 1,
  install({ storage }) {
    for (const table of [storage.accounts, storage.pendingStatus]) {
      const gather = table.gather.bind(table);
      table.gather = (target, at) => {
        const page = gather(target, at);
        const slab = table.slabWords[page >>> table["slabPagesLog2"]]!;
        const from = table["pageOffset"](page);
        target.set(slab.subarray(from, from + 1024), at);
        return page;
      };
    }
  },
};

const freeMergedEarly: Canary = {
  name: "free-merged-early",
  what: "blocks of runs that were merged are free one checkpoint early",
  replicasMin: 1,
  install({ storage }) {
    const { freeSet } = storage.grid;
    for (const index of storage.indexes.group.indexes) {
      const completeMerge = index.completeMerge.bind(index);
      index.completeMerge = (merge, grid) => {
        const { release } = freeSet;
        freeSet.release = (address) => {
          assert(freeSet.isAcquired(address), "only what is in use is released");
          const at = (address - 1) >>> 5;
          freeSet["released"][at]! |= 1 << ((address - 1) & 31);
          freeSet.releasedCount += 1;
        };
        completeMerge(merge, grid);
        freeSet.release = release;
      };
    }
  },
};

const keepMerged: Canary = {
  name: "keep-merged",
  what: "blocks of a run that was merged are never free again",
  replicasMin: 1,
  install({ storage }) {
    onRun(storage, (run) => {
      run.release = () => {
        const { filters } = run;
        run.filters = new Uint32Array(0);
        return filters;
      };
    });
  },
};

const filterMissesId: Canary = {
  name: "filter-misses-id",
  what: "the filter of a block lacks its last id",
  replicasMin: 1,
  install({ storage }) {
    const { group } = storage.indexes;
    const { buildFilter } = group.options.kernels;
    replaceBuildFilter(group, (filters, filterAt, ids, at, stride, count, seed) => {
      buildFilter(filters, filterAt, ids, at, stride, Math.max(1, count - 1), seed);
    });
  },
};

const filtersNotRebuilt: Canary = {
  name: "filters-not-rebuilt",
  what: "a start leaves filters empty that an unfinished run had not written",
  replicasMin: 1,
  install({ storage }) {
    replaceKernels(storage.indexes.group, { buildFilter: () => {} });
  },
};

const probeBlockBefore: Canary = {
  name: "probe-block-before",
  what: "an id that is the first of its block is looked for in the block before",
  replicasMin: 1,
  install({ storage }) {
    const { group } = storage.indexes;
    const { probeRuns } = group.options.kernels;
    replaceKernels(group, {
      probeRuns: (ids, offsets, count, fences, filters, places, seed, scratch, candidates) => {
        const found = probeRuns(
          ids,
          offsets,
          count,
          fences,
          filters,
          places,
          seed,
          scratch,
          candidates,
        );
        const end = Math.min(found, candidates.length / candidateWords);
        for (let at = 0; at < end * candidateWords; at += candidateWords) {
          const block = candidates[at + 2]!;
          const fence = block * (idWords + 2) + 2;
          const words = fences[candidates[at + 1]!]!;
          const idAt = offsets[candidates[at]!]!;
          let same = block > 0;
          for (let word = 0; word < idWords; word += 1) {
            if (ids[idAt + word] !== words[fence + word]) same = false;
          }
          if (same) candidates[at + 2] = block - 1;
        }
        return found;
      },
    });
  },
};

/** Every run, new or of a checkpoint. */
function onRun(storage: ReplicaParts["storage"], change: (run: Run) => void): void {
  const changed = (run: Run): Run => {
    change(run);
    return run;
  };
  const { indexes } = storage.state;
  const restoreRun = indexes.createRun.bind(indexes);
  indexes.createRun = (...args) => changed(restoreRun(...args));
  for (const index of storage.indexes.group.indexes) {
    const createRun = index.createRun.bind(index);
    index.createRun = (...args) => changed(createRun(...args));
  }
}

const walkBlockBefore: Canary = {
  name: "walk-block-before",
  what: "the row of a key that begins a block is looked for in the block before",
  replicasMin: 1,
  install({ storage }) {
    onRun(storage, (run) => {
      const fenceAbove = run.fenceAbove.bind(run);
      run.fenceAbove = (key, keyAt) => {
        const above = fenceAbove(key, keyAt);
        const begins = above > 1 && run.compareFence(above - 1, key, keyAt) === 0;
        return begins ? above - 1 : above;
      };
    });
  },
};

const missLastEntry: Canary = {
  name: "miss-last-entry",
  what: "the last entry of a run is taken for one below it",
  replicasMin: 1,
  install({ storage }) {
    onRun(storage, (run) => {
      const compareFence = run.compareFence.bind(run);
      run.compareFence = (block, key, keyAt) => {
        const order = compareFence(block, key, keyAt);
        return block === run.blocks && block > 0 && order === 0 ? -1 : order;
      };
    });
  },
};

const forgetBurnt: Canary = {
  name: "forget-burnt",
  what: "burnt ids do not come into runs",
  replicasMin: 1,
  install({ storage }) {
    storage.indexes.addBurnt = () => {};
  },
};

const takeBurnt: Canary = {
  name: "take-burnt",
  what: "a burnt id that is found in a run is taken for a transfer's",
  replicasMin: 1,
  install({ storage }) {
    const finder = storage.indexes["finder"];
    const find = finder.find.bind(finder);
    finder.find = (words, offsets, count, references, onDone) => {
      const mistake = (): void => {
        for (let id = 0; id < count; id += 1) {
          if (references[id]! < 0) references[id] = -references[id]!;
        }
      };
      const done = find(words, offsets, count, references, () => {
        mistake();
        onDone();
      });
      if (done) mistake();
      return done;
    };
  },
};

const loseRun: Canary = {
  name: "lose-run",
  what: "a start does not take the youngest run of an index over from the manifest",
  replicasMin: 1,
  install({ storage }) {
    const { group } = storage.indexes;
    const restored = group.restored.bind(group);
    group.restored = () => {
      for (const index of group.indexes) {
        const runs = index.level(0);
        const merged = index.merges[0]?.level === 0 ? levelRuns : 0;
        if (runs.length > merged) runs.pop();
      }
      restored();
    };
  },
};

const cursorOff: Canary = {
  name: "cursor-off",
  what: "a start goes on with a merge one entry off",
  replicasMin: 1,
  install({ storage }) {
    const { group } = storage.indexes;
    const restored = group.restored.bind(group);
    group.restored = () => {
      restored();
      for (const index of group.indexes) {
        for (const { entryAt } of index.merges) {
          const input = entryAt.findIndex((entry) => entry > 0);
          if (input >= 0) entryAt[input] = entryAt[input]! - 1;
        }
      }
    };
  },
};

const forgetActive: Canary = {
  name: "forget-active",
  what: "a start does not add the entries of rows behind the last cut again",
  replicasMin: 1,
  install({ storage }) {
    const { group } = storage.indexes;
    for (const index of group.indexes) {
      const generation = index.generation.bind(index);
      const lost = new EntryBuffer(index.entryWords, group.options.kernels, emptyWords, 64);
      index.generation = (active) => {
        if (!active || !group["rebuilding"]) return generation(active);
        lost.clear();
        return lost;
      };
    }
  },
};

const rebuildLate: Canary = {
  name: "rebuild-late",
  what: "a start adds entries again from one row too late on",
  replicasMin: 1,
  install({ storage }) {
    const { group } = storage.indexes;
    const lost = (row: number): boolean => group["rebuilding"] && row === group.covered.transfers;
    for (const index of group.indexes) {
      const addShort = index.addShort.bind(index);
      const addLong = index.addLong.bind(index);
      index.addShort = (row, low, high) => {
        if (!lost(row)) addShort(row, low, high);
      };
      index.addLong = (row, key, keyAt) => {
        if (!lost(row)) addLong(row, key, keyAt);
      };
    }
  },
};

const staleCache: Canary = {
  name: "stale-cache",
  what: "the cache keeps a block whose address was given to another one",
  replicasMin: 1,
  install({ storage }) {
    storage.grid.onAcquired = () => {};
  },
};

const staleQueue: Canary = {
  name: "stale-queue",
  what: "the queue of writes finds an older block at an address",
  replicasMin: 1,
  install({ storage }) {
    const { writes } = storage.indexes.group;
    writes["forget"] = () => {};
  },
};

/** The replica computes with the kernels in TypeScript. */
function portable({ simulation, place }: CanaryContext): boolean {
  return simulation.swarm.replicas[place.index]!.runs.kernels === portableRunKernels;
}

const nextOp: Canary = {
  name: "runs-next-op",
  what: "blocks of runs that have no room in memory are left to the next op",
  replicasMin: 2,
  install({ storage }) {
    const { group } = storage.indexes;
    const advance = group.advance.bind(group);
    group.advance = () => {
      advance();
      return true;
    };
  },
};

const otherFilters: Canary = {
  name: "other-filters",
  what: "the kernels in TypeScript make other filters than those of the addon",
  replicasMin: 2,
  install({ storage }, context) {
    if (!portable(context)) return;
    const { group } = storage.indexes;
    const { buildFilter } = group.options.kernels;
    const more: RunKernels["buildFilter"] = (filters, filterAt, ...rest) => {
      buildFilter(filters, filterAt, ...rest);
      filters[filterAt + filterWords - 1]! |= 1;
    };
    replaceBuildFilter(group, more);
    replaceKernels(group, { buildFilter: more });
  },
};

const otherOrder: Canary = {
  name: "other-order",
  what: "the kernels in TypeScript put the entries of a key in another order than the addon's",
  replicasMin: 2,
  install(parts, context) {
    if (portable(context)) youngestFirst.install(parts, context);
  },
};

function emptyWords(count: number): Uint32Array {
  return new Uint32Array(count);
}

export const runCanaries: readonly Canary[] = [
  youngestFirst,
  pastBorder,
  latePage,
  freeMergedEarly,
  keepMerged,
  filterMissesId,
  filtersNotRebuilt,
  probeBlockBefore,
  walkBlockBefore,
  missLastEntry,
  forgetBurnt,
  takeBurnt,
  loseRun,
  cursorOff,
  forgetActive,
  rebuildLate,
  staleCache,
  staleQueue,
  nextOp,
  otherFilters,
  otherOrder,
];
