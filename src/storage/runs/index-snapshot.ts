/**
 * Between the indexes as they are and the state of a checkpoint: taken over at a freeze, given back
 * at a start.
 */
import { assert } from "../../core/assert.ts";
import type { IndexGroup } from "./index-group.ts";
import { type IndexesState, type IndexPart, type MergePart, RunPart } from "./index-state.ts";
import { levelRuns } from "./options.ts";
import type { Run } from "./run.ts";
import { RunMerge } from "./run-merge.ts";
import type { SortedIndex } from "./sorted-index.ts";

/** At a freeze: `state` becomes that of the checkpoint. */
export function snapshotIndexes(group: IndexGroup, state: IndexesState): void {
  state.cut = group.cut;
  state.covered = group.covered;
  for (let id = 0; id < state.indexes.length; id += 1) {
    snapshotIndex(group.indexes[id]!, state.indexes[id]!);
  }
}

function snapshotIndex(index: SortedIndex, part: IndexPart): void {
  const outputs = index.merges.map((merge) => merge.output);
  if (index.sealedRun !== null) outputs.unshift(index.sealedRun);
  const runs: RunPart[] = [];
  const levels = Math.max(
    index.levels.length,
    1 + Math.max(-1, ...outputs.map((run) => run.level)),
  );
  for (let level = 0; level < levels; level += 1) {
    for (const run of index.level(level)) runs.push(partOf(run));
    for (const run of outputs) if (run.level === level) runs.push(partOf(run));
  }
  part.runs = runs;
  part.merges = index.merges.map((merge): MergePart => {
    const cursors: number[] = [];
    for (let input = 0; input < levelRuns; input += 1) {
      cursors.push(merge.blockAt[input]!, merge.entryAt[input]!);
    }
    return { level: merge.level, rowsAtStart: merge.rowsAtStart, cursors };
  });
}

function partOf(run: Run): RunPart {
  return new RunPart(run, run.complete, run.entries, run.blocks, run.filterRefs.length);
}

/** At a start: the state of the checkpoint becomes that of the indexes, which are empty. */
export function restoreIndexes(group: IndexGroup, state: IndexesState): void {
  group.cut = state.cut;
  group.covered = state.covered;
  for (let id = 0; id < state.indexes.length; id += 1) {
    restoreIndex(group.indexes[id]!, state.indexes[id]!);
  }
}

function restoreIndex(index: SortedIndex, part: IndexPart): void {
  for (const { run, complete } of part.runs) {
    if (complete) index.level(run.level).push(run);
  }
  index.sealedRun = part.unfinishedRun(0)?.run ?? null;
  for (const { level, rowsAtStart, cursors } of part.merges) {
    const output = part.unfinishedRun(level + 1);
    assert(output !== null, "the manifest was checked");
    const inputs = index.level(level).slice(0, levelRuns);
    const merge = new RunMerge(level, inputs, output.run, rowsAtStart);
    for (let input = 0; input < levelRuns; input += 1) {
      merge.blockAt[input] = cursors[2 * input]!;
      merge.entryAt[input] = cursors[2 * input + 1]!;
    }
    index.merges.push(merge);
  }
}
