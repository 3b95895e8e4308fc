/** Counts what a replica does with sorted runs: nothing that it does is changed. */
import type { ReplicaParts } from "../../src/consensus/open-replica.ts";
import { candidateWords } from "../../src/native/sorted-runs/run-kernels.ts";
import { IndexCursor } from "../../src/storage/runs/index-cursor.ts";
import type { Counts } from "./trace.ts";

const written = "runs written";
const merged = "merges ended";
const found = "ids found in runs";
const mistaken = "filters mistaken";
const walked = "blocks of runs read for queries";

export const runCounts: readonly string[] = [written, merged, found, mistaken, walked];

export function observeRuns(parts: ReplicaParts, counts: Counts): void {
  for (const name of runCounts) counts[name] ??= 0;
  const add = (name: string): void => {
    counts[name]! += 1;
  };
  const { indexes } = parts.storage;

  for (const index of indexes.group.indexes) {
    const completeSealed = index.completeSealed.bind(index);
    index.completeSealed = () => {
      if (index.sealedRun !== null) add(written);
      completeSealed();
    };
    const completeMerge = index.completeMerge.bind(index);
    index.completeMerge = (merge, grid) => {
      add(merged);
      completeMerge(merge, grid);
    };
  }

  const finder = indexes["finder"];
  const search = finder["search"].bind(finder);
  finder["search"] = (group, words, at) => {
    const groups = finder["groups"];
    const known = new Set<number>();
    const ids: number[] = [];
    for (let member = groups.head[group]!; member >= 0; member = groups.next[member]!) {
      const id = finder["roundFirst"] + finder["candidates"][member * candidateWords]!;
      ids.push(id);
      if (finder["references"][id] !== 0) known.add(id);
    }
    search(group, words, at);
    for (const id of ids) {
      add(!known.has(id) && finder["references"][id] !== 0 ? found : mistaken);
    }
  };

  const fetcher = indexes["fetcher"];
  const read = fetcher.read.bind(fetcher);
  fetcher.read = (source, onDone) => {
    if (source instanceof IndexCursor) add(walked);
    read(source, onDone);
  };
}
