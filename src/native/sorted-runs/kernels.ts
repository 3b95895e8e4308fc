/**
 * The kernels of sorted runs (`run-kernels.ts` says what each does): those of the addon where it
 * loads, their TypeScript twins elsewhere. Same words in, same words out, so who computes them
 * never shows in a data file.
 */
import { loadAddon } from "../addon.ts";
import { buildFilterPortable, probeFilterPortable } from "./filter.ts";
import { mergeEntriesPortable } from "./merge-entries.ts";
import { probeRunsPortable } from "./probe-runs.ts";
import type { RunKernels } from "./run-kernels.ts";
import { searchEntriesPortable } from "./search-entries.ts";
import { sortEntriesPortable } from "./sort-entries.ts";

export const portableRunKernels: RunKernels = {
  sortEntries: sortEntriesPortable,
  mergeEntries: mergeEntriesPortable,
  buildFilter: buildFilterPortable,
  probeFilter: probeFilterPortable,
  probeRuns: probeRunsPortable,
  searchEntries: searchEntriesPortable,
};

/** The addon's, or null without it. */
export function nativeRunKernels(): RunKernels | null {
  return loadAddon();
}

/** Those to use. */
export function runKernels(): RunKernels {
  return loadAddon() ?? portableRunKernels;
}
