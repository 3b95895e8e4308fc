import { expect, test } from "vitest";
import { Prng } from "../../core/prng.ts";
import { decodeIndexes, encodeIndexes, indexesWords, type RunEntry } from "./index-manifest.ts";
import { IndexesState, type IndexPart, RunPart } from "./index-state.ts";
import { IndexId, type RunConstants } from "./options.ts";
import type { CutPosition } from "./run.ts";
import { decodeRunMetadata, encodeRunMetadata } from "./run-metadata.ts";

const constants: RunConstants = {
  barOps: 4,
  cutRows: 100,
  blockEntriesShort: 20,
  blockEntriesLong: 10,
};

const rows: CutPosition = { transfers: 4000, failedIds: 400 };
const ref = new Uint32Array(4).fill(7);

/** The cut after `n` times 100 transfers and 10 burnt ids. */
function cut(n: number): CutPosition {
  return { transfers: 100 * n, failedIds: 10 * n };
}

function burnt(n: number): CutPosition {
  return { transfers: 0, failedIds: n };
}

/** A run of rising entries with a chain of one block, as if a checkpoint had been frozen. */
function addRun(
  state: IndexesState,
  index: IndexPart,
  level: number,
  cuts: readonly [number, number],
  entries: number,
  complete: boolean,
): RunPart {
  const run = state.createRun(index, level, cut(cuts[0]), cut(cuts[1]));
  const blocks = Math.ceil(entries / index.blockEntries);
  run.entries = entries;
  run.complete = complete;
  run.reserve(blocks);
  for (let block = 0; block < blocks; block += 1) run.refs.push(1000 + block, ref, 0);
  for (let block = 0; block <= blocks; block += 1) {
    run.fences[block * run.entryWords + 2] = 3 * block + 1;
  }
  const filterBlocks = index.filtered ? Math.floor(blocks / 7) + (complete ? 1 : 0) : 0;
  for (let block = 0; block < filterBlocks; block += 1) run.filterRefs.push(2000 + block, ref, 0);
  encodeRunMetadata(run);
  if (blocks > 0) run.chain.addBlock(3000);
  const part = new RunPart(run, complete, entries, blocks, filterBlocks);
  index.runs = [...index.runs, part];
  return part;
}

/** Eleven cuts, the last of them being written, a merge under way. */
function example(): IndexesState {
  const state = new IndexesState(constants);
  state.cut = cut(11);
  state.covered = cut(10);
  const ids = state.indexes[IndexId.ids]!;
  for (let run = 4; run < 10; run += 1) addRun(state, ids, 0, [run, run + 1], 95, true);
  addRun(state, ids, 0, [10, 11], 80, false);
  addRun(state, ids, 1, [0, 4], 380, true);
  addRun(state, ids, 1, [4, 8], 150, false);
  ids.merges = [{ level: 0, rowsAtStart: 900, cursors: [10, 0, 0, 0, 5, 5, 0, 0] }];
  const code = state.indexes[IndexId.code]!;
  addRun(state, code, 0, [0, 1], 7, true);
  addRun(state, code, 0, [10, 11], 0, false);
  return state;
}

function encode(state: IndexesState): Uint32Array {
  const words = new Uint32Array(indexesWords(state) + 3);
  expect(encodeIndexes(words, 2, state)).toBe(words.length - 1);
  return words;
}

interface Decoded {
  readonly state: IndexesState;
  readonly end: number | string;
  readonly entries: RunEntry[];
}

function decode(words: Uint32Array, rowsNow = rows): Decoded {
  const state = new IndexesState(constants);
  const entries: RunEntry[] = [];
  return { state, end: decodeIndexes(words, 2, state, rowsNow, entries), entries };
}

test("what is encoded is decoded", () => {
  const state = example();
  const words = encode(state);
  const { state: read, end, entries } = decode(words);
  expect(end).toBe(words.length - 1);
  expect([read.cut, read.covered]).toEqual([state.cut, state.covered]);
  const written = state.indexes.flatMap(({ runs }) => runs);
  expect(entries.map(({ part }) => part)).toEqual(read.indexes.flatMap(({ runs }) => runs));
  expect(entries.length).toBe(written.length);
  for (const [at, { part, length, blocks, head }] of entries.entries()) {
    const { run, complete, entries: count, blocks: dataBlocks, filterBlocks } = written[at]!;
    expect([part.complete, part.entries, part.blocks, part.filterBlocks]).toEqual([
      complete,
      count,
      dataBlocks,
      filterBlocks,
    ]);
    expect([part.run.level, part.run.first, part.run.end]).toEqual([run.level, run.first, run.end]);
    expect([length, blocks]).toEqual([run.chain.length, run.chain.blocks]);
    expect(head[0]).toBe(dataBlocks > 0 ? 3000 : 0);
    part.run.chain.words = run.chain.words.slice();
    part.run.chain.length = length;
    expect(decodeRunMetadata(part)).toBe(true);
    expect(part.run.refs).toEqual(run.refs);
    expect(part.run.filterRefs).toEqual(run.filterRefs);
    const fences = dataBlocks === 0 ? 0 : (dataBlocks + 1) * run.entryWords;
    expect(part.run.fences.subarray(0, fences)).toEqual(run.fences.subarray(0, fences));
    expect([part.run.entries, part.run.complete, part.run.changed]).toEqual([
      count,
      complete,
      false,
    ]);
  }
  expect(read.indexes.map(({ merges }) => merges)).toEqual(
    state.indexes.map(({ merges }) => merges),
  );
  expect(encode(read).length).toBe(words.length);
});

test("metadata whose entries do not rise is refused", () => {
  const state = example();
  const { entries } = decode(encode(state));
  const { part, length } = entries[0]!;
  const written = state.indexes[0]!.runs[0]!.run.chain.words.slice();
  const fence = part.blocks * 5 + 4 * 6 + 2;
  written[fence] = 1000;
  part.run.chain.words = written;
  part.run.chain.length = length;
  expect(decodeRunMetadata(part)).toBe(false);
});

test.each<[string, (state: IndexesState) => void]>([
  ["a cut beyond the rows", (state) => (state.cut = cut(50))],
  ["a cut before what is covered", (state) => (state.cut = cut(9))],
  ["a run that is no longer covered", (state) => (state.covered = cut(8))],
  ["runs out of order", ({ indexes }) => (indexes[0]!.runs = indexes[0]!.runs.toReversed())],
  ["runs of the same rows", ({ indexes: [ids] }) => (ids!.runs = [ids!.runs[0]!, ...ids!.runs])],
  ["an output without a merge", ({ indexes }) => (indexes[0]!.merges = [])],
  [
    "a merge without an output",
    ({ indexes: [ids] }) =>
      (ids!.runs = ids!.runs.filter((part) => ids!.unfinishedRun(1) !== part)),
  ],
  [
    "a merge without inputs",
    ({ indexes: [ids] }) => (ids!.runs = ids!.runs.filter(({ run }) => run.level > 0)),
  ],
  ["a merge of a level without runs", ({ indexes }) => change(indexes[0]!, { level: 3 })],
  ["a merge twice", ({ indexes: [ids] }) => (ids!.merges = [ids!.merges[0]!, ids!.merges[0]!])],
  ["a merge that begins later", ({ indexes }) => change(indexes[0]!, { rowsAtStart: 4401 })],
  ["a cursor beyond its run", ({ indexes }) => cursors(indexes[0]!, [11, 0, 0, 0, 4, 0, 0, 0])],
  [
    "a cursor behind the last entry",
    ({ indexes }) => cursors(indexes[0]!, [9, 5, 0, 0, 5, 5, 0, 0]),
  ],
  ["a cursor beyond its block", ({ indexes }) => cursors(indexes[0]!, [10, 0, 0, 0, 4, 15, 0, 0])],
  [
    "cursors that tell of other entries",
    ({ indexes }) => cursors(indexes[0]!, [10, 0, 1, 0, 5, 5, 0, 0]),
  ],
  [
    "an output that stops in the middle of a block",
    (state) => {
      const [ids] = state.indexes;
      ids!.runs = ids!.runs.filter((part) => ids!.unfinishedRun(1) !== part);
      addRun(state, ids!, 1, [4, 8], 145, false);
      cursors(ids!, [10, 0, 0, 0, 5, 0, 0, 0]);
    },
  ],
  [
    "more runs than a lookup goes through",
    (state) => {
      const code = state.indexes[IndexId.code]!;
      code.runs = [];
      for (let run = 0; run < 65; run += 1) {
        const part = addRun(state, code, 0, [0, 1], 7, true);
        Object.assign(part.run, { first: burnt(run), end: burnt(run + 1) });
      }
    },
  ],
])("%s is refused", (_, spoil) => {
  const state = example();
  spoil(state);
  expect(decode(encode(state)).end).toBe(-1);
});

function change(index: IndexPart, changes: { level?: number; rowsAtStart?: number }): void {
  index.merges = [{ ...index.merges[0]!, ...changes }];
}

function cursors(index: IndexPart, given: readonly number[]): void {
  index.merges = [{ ...index.merges[0]!, cursors: given }];
}

test("other constants are told", () => {
  const words = encode(example());
  for (let at = 2; at < 6; at += 1) {
    const other = words.slice();
    other[at] = other[at]! + 1;
    expect(decode(other).end).toMatch(/^the checkpoint's indexes have other constants/);
  }
});

test("whatever stands there, decoding ends, and what passes is consistent", () => {
  const words = encode(example());
  const random = new Prng(5);
  let passed = 0;
  for (let round = 0; round < 8_000; round += 1) {
    const spoiled = words.slice(0, random.chance(0.1) ? random.below(words.length) : words.length);
    for (let changes = random.range(1, 3); changes > 0 && spoiled.length > 6; changes -= 1) {
      const at = 6 + random.below(spoiled.length - 6);
      spoiled[at] = random.chance(0.5) ? spoiled[at]! + random.range(0, 2) - 1 : random.u32();
    }
    const { end, state } = decode(spoiled);
    if (typeof end === "string" || end < 0) continue;
    passed += 1;
    for (const index of state.indexes) {
      for (const merge of index.merges) {
        const inputs = index.completeRuns(merge.level).slice(0, 4);
        for (const [input, part] of inputs.entries()) {
          const block = merge.cursors[2 * input]!;
          if (block === part.blocks) continue;
          expect(merge.cursors[2 * input + 1]).toBeLessThan(part.entriesIn(block));
        }
      }
      for (const part of index.runs) {
        expect(part.entries).toBeLessThanOrEqual(part.blocks * index.blockEntries);
        expect(part.run.end.transfers).toBeLessThanOrEqual(state.cut.transfers);
      }
    }
  }
  expect(passed).toBeGreaterThan(50);
});
