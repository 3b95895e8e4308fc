/**
 * A run's metadata as its chain stores it: what is needed to find its blocks and to search them.
 *
 *   references of the blocks        5 words each
 *   first entry of each block       4 or 6 words each, and the last entry of the run behind them
 *   references of filter blocks     5 words each
 *
 * How many of each there are stands in the manifest. The filters have blocks of their own; those
 * that an unfinished run has not written yet are built again from its blocks.
 */
import { assert } from "../../core/assert.ts";
import { refWords } from "../format.ts";
import type { RefList } from "../ref-list.ts";
import type { RunPart } from "./index-state.ts";
import type { Run } from "./run.ts";

/** Words of the metadata of a run with so many blocks. */
export function runMetadataWords(blocks: number, filterBlocks: number, entryWords: number): number {
  if (blocks === 0) return 0;
  return (blocks + filterBlocks) * refWords + (blocks + 1) * entryWords;
}

/** Bytes of a run's metadata as it is now. */
export function runMetadataBytes(run: Run): number {
  return runMetadataWords(run.blocks, run.filterRefs.length, run.entryWords) * 4;
}

/** Puts the metadata as it is now into the run's chain. */
export function encodeRunMetadata(run: Run): void {
  const bytes = runMetadataBytes(run);
  run.chain.resize(bytes);
  if (bytes === 0) return;
  const target = run.chain.words;
  let at = copyRefs(run.refs, target, 0);
  const fences = (run.blocks + 1) * run.entryWords;
  target.set(run.fences.subarray(0, fences), at);
  at = copyRefs(run.filterRefs, target, at + fences);
  assert(at * 4 === bytes, "the metadata is as long as announced");
}

function copyRefs(list: RefList, target: Uint32Array, at: number): number {
  for (let index = 0; index < list.length; index += 1) {
    list.copy(index, target, at + index * refWords);
  }
  return at + list.length * refWords;
}

/**
 * Takes the metadata over from the run's chain, which has been read. False when entries are not in
 * order: a bug of the writer. Addresses are the caller's to check.
 */
export function decodeRunMetadata(part: RunPart): boolean {
  const { run } = part;
  assert(run.blocks === 0, "decoded once, at start");
  const { entryWords } = run;
  const words = runMetadataWords(part.blocks, part.filterBlocks, entryWords);
  assert(run.chain.length === words * 4, "the manifest was checked");
  run.complete = part.complete;
  run.entries = part.entries;
  run.changed = false;
  if (words === 0) return true;
  const source = run.chain.words;
  const fencesAt = part.blocks * refWords;
  const fences = (part.blocks + 1) * entryWords;
  run.fences = source.slice(fencesAt, fencesAt + fences);
  pushRefs(run.refs, part.blocks, source, 0);
  pushRefs(run.filterRefs, part.filterBlocks, source, fencesAt + fences);
  run.chain.words = new Uint32Array(0); // Content is written out only after it is encoded anew.
  for (let block = 0; block < part.blocks; block += 1) {
    const order = run.compareFence(block, run.fences, (block + 1) * entryWords);
    // The last entry of the run is the first of its last block, when that has no other.
    const single = block === part.blocks - 1 && run.entriesIn(block) === 1;
    if (single ? order !== 0 : order >= 0) return false;
  }
  return true;
}

function pushRefs(list: RefList, count: number, source: Uint32Array, at: number): void {
  for (let index = 0; index < count; index += 1) {
    const ref = at + index * refWords;
    list.push(source[ref]!, source, ref + 1);
  }
}
