/**
 * Entries of the sorted indexes in the tests of storage. Those of a row follow from its number and
 * salt alone, so the model of the rows is a model of the entries too. Runs are held against it
 * without sorting: entries that rise, that each are one of the model's, and that are as many as
 * the model has, are the model's.
 */
import { assert } from "../../src/core/assert.ts";
import { blockSize } from "../../src/core/limits.ts";
import { filterWords } from "../../src/native/sorted-runs/run-kernels.ts";
import { BlockReader, type BlockRequest } from "../../src/storage/block-reader.ts";
import type { StorageEngine } from "../../src/storage/engine.ts";
import { blockHeaderWords } from "../../src/storage/format.ts";
import { RunPart } from "../../src/storage/runs/index-state.ts";
import { burntBit, IndexId } from "../../src/storage/runs/options.ts";
import type { CutPosition, Run } from "../../src/storage/runs/run.ts";
import type { SortedIndex } from "../../src/storage/runs/sorted-index.ts";
import type { MemoryFile } from "./memory-file.ts";

/** Salts of transfers, and of burnt ids. */
export interface IndexedRows {
  readonly transfers: readonly number[];
  readonly failedIds: readonly number[];
}

function mix(salt: number, word: number): number {
  return (Math.imul(salt ^ 0x2545_f491, word + 0x3779) ^ (salt >>> 7)) >>> 0;
}

/** The keys of a transfer in an index; one of the accounts' keys for each side. */
function keysOf(index: number, row: number, salt: number): readonly (readonly number[])[] {
  switch (index) {
    case IndexId.ids:
      return [[row, salt, mix(salt, 1), mix(salt, 2)]];
    case IndexId.accounts:
      return [
        [(mix(salt, 3) % 40) * 2, 0],
        [(mix(salt, 4) % 40) * 2 + 1, 0],
      ];
    case IndexId.userData128:
      return salt % 3 === 0 ? [[salt % 7, 1, 0, 2]] : [];
    case IndexId.userData64:
      return salt % 4 === 0 ? [[mix(salt, 5), salt % 5]] : [];
    case IndexId.userData32:
      // For a while nobody sets it: then there are runs of the others, and none of it.
      return row % 2000 < 1000 ? [] : [[1 + (mix(salt, 6) % 9), 0]];
    case IndexId.ledger:
      return [[1 + (salt % 2), 0]];
    default:
      return [[1 + ((row >>> 6) % 3), 0]];
  }
}

function burntKey(number: number, salt: number): readonly number[] {
  return [number, mix(salt, 1), salt, mix(salt, 3)];
}

/** The ledger's part at the end of an op, and after a start: adds the entries of rows from `from` on. */
export function addEntries(engine: StorageEngine, rows: IndexedRows, from: CutPosition): void {
  const { indexes } = engine;
  const all = engine.indexes.group.indexes;
  for (let row = from.transfers; row < rows.transfers.length; row += 1) {
    for (const index of all) {
      for (const key of keysOf(index.id, row, rows.transfers[row]!)) {
        if (index.keyWords === 4) index.addLong(row, Uint32Array.from([9, ...key]), 1);
        else index.addShort(row, key[0]!, key[1]!);
      }
    }
  }
  for (let number = from.failedIds; number < rows.failedIds.length; number += 1) {
    const key = Uint32Array.from(burntKey(number, rows.failedIds[number]!));
    indexes.addBurnt(number, key, 0);
  }
}

/** Every block of every run: read and repaired like any other, or from memory while it is unwritten. */
function readRuns(
  engine: StorageEngine,
  file: MemoryFile,
  onBlock: (run: Run, block: number, words: Uint32Array, at: number) => void,
): void {
  const { grid } = engine;
  const { group } = engine.indexes;
  const todo: { run: Run; part: RunPart; block: number }[] = [];
  for (const run of group.runs()) {
    const part = new RunPart(run, run.complete, run.entries, run.blocks, run.filterRefs.length);
    for (let block = 0; block < run.blocks; block += 1) {
      const address = run.refs.address(block);
      if (!grid.isUnwritten(address)) {
        todo.push({ run, part, block });
        continue;
      }
      const at = group.writes.find(address);
      assert(at >= 0, "what is not written is in memory");
      onBlock(run, block, group.writes.buffer.words, at + blockHeaderWords);
    }
  }
  let next = 0;
  let done = false;
  const reader = new BlockReader(grid, grid.io.allocate(32 * blockSize), grid.repairs);
  reader.run(
    {
      next(request: BlockRequest): boolean {
        const item = todo[next];
        if (item === undefined) return false;
        item.part.requestBlock(item.block, request);
        request.tag = next;
        next += 1;
        return true;
      },
      received(request, words, at): void {
        const { run, block } = todo[request.tag]!;
        onBlock(run, block, words, at + blockHeaderWords);
      },
      damaged(_request, block): void {
        assert(false, `${block.name}: ${block.reason}`);
      },
    },
    () => {
      done = true;
    },
  );
  file.until(() => done);
}

/** The model's entries of an index for the rows and burnt ids from `first` on, below `end`. */
function* entriesOf(
  index: SortedIndex,
  rows: IndexedRows,
  first: CutPosition,
  end: CutPosition,
): Generator<readonly number[]> {
  for (let row = first.transfers; row < end.transfers; row += 1) {
    for (const key of keysOf(index.id, row, rows.transfers[row]!)) yield [row, 0, ...key];
  }
  if (index.id !== IndexId.ids) return;
  for (let number = first.failedIds; number < end.failedIds; number += 1) {
    yield [number, burntBit, ...burntKey(number, rows.failedIds[number]!)];
  }
}

function compare(a: readonly number[], b: readonly number[]): number {
  for (let word = a.length - 1; word >= 0; word -= 1) {
    if (a[word] !== b[word]) return a[word]! - b[word]!;
  }
  return 0;
}

/** An entry that was read is what its row has. */
function checkEntry(
  index: SortedIndex,
  rows: IndexedRows,
  run: Run,
  entry: readonly number[],
): void {
  const [row, rowHigh] = entry as [number, number];
  const burnt = rowHigh === burntBit;
  const [from, to] = burnt
    ? [run.first.failedIds, run.end.failedIds]
    : [run.first.transfers, run.end.transfers];
  assert(row >= from && row < to, `${index.name}: an entry is of the run's rows`);
  const position = burnt ? { transfers: 0, failedIds: row } : { transfers: row, failedIds: 0 };
  const next = { transfers: burnt ? 0 : row + 1, failedIds: burnt ? row + 1 : 0 };
  for (const expected of entriesOf(index, rows, position, next)) {
    if (compare(expected, entry) === 0) return;
  }
  assert(false, `${index.name}: an entry is as it was added`);
}

/** Every run of every index is what the model says. Nothing else is going on. */
export function checkRuns(engine: StorageEngine, file: MemoryFile, rows: IndexedRows): void {
  const { group } = engine.indexes;
  const { kernels, filterSeed } = group.options;
  readRuns(engine, file, (run, block, words, at) => {
    const index = group.indexes[run.index]!;
    let before: number[] = [];
    for (let entry = 0; entry < run.entriesIn(block); entry += 1) {
      const entryAt = at + entry * run.entryWords;
      const found = Array.from(words.subarray(entryAt, entryAt + run.entryWords));
      checkEntry(index, rows, run, found);
      if (entry > 0) assert(compare(before, found) < 0, "the entries of a block rise");
      before = found;
      if (run.filtered) {
        const filterAt = block * filterWords;
        const may = kernels.probeFilter(run.filters, filterAt, words, entryAt + 2, filterSeed);
        assert(may, "a filter knows the ids of its block");
      }
    }
    assert(run.compareFence(block, words, at) === 0, "a fence is the first entry of its block");
    const lastAt = at + (run.entriesIn(block) - 1) * run.entryWords;
    const order = run.compareFence(block + 1, words, lastAt);
    assert(block + 1 === run.blocks ? order === 0 : order > 0, "blocks are in order");
  });
  for (const index of group.indexes) checkComplete(index, rows, group.covered);
}

function checkComplete(index: SortedIndex, rows: IndexedRows, covered: CutPosition): void {
  let complete = 0;
  for (const run of index.runs()) {
    const last = Array.from(
      run.fences.subarray(run.blocks * run.entryWords, (run.blocks + 1) * run.entryWords),
    );
    let expected = 0;
    for (const entry of entriesOf(index, rows, run.first, run.end)) {
      // Of an unfinished run: what is below its last entry.
      if (run.complete || (run.blocks > 0 && compare(entry, last) <= 0)) expected += 1;
    }
    assert(run.entries === expected, `${index.name}: a run has all entries up to its last`);
    if (run.complete) complete += run.entries;
  }
  let all = 0;
  const start = { transfers: 0, failedIds: 0 };
  for (const _ of entriesOf(index, rows, start, covered)) all += 1;
  assert(complete === all, `${index.name}: complete runs have the entries of all rows covered`);
}
