/** Runs laid out by hand on a file in memory, and what reads them: for tests of cursors and lookups. */
import { assert } from "../../src/core/assert.ts";
import type { Prng } from "../../src/core/prng.ts";
import { portableRunKernels } from "../../src/native/sorted-runs/kernels.ts";
import type { RunKernels } from "../../src/native/sorted-runs/run-kernels.ts";
import { BlockCache } from "../../src/storage/block-cache.ts";
import { BlockRepairs } from "../../src/storage/block-repairs.ts";
import { CachedReader, cachedReadsMax } from "../../src/storage/cached-reader.ts";
import { Grid } from "../../src/storage/grid.ts";
import type { DamagedBlock } from "../../src/storage/options.ts";
import { BlockFetcher } from "../../src/storage/runs/block-fetcher.ts";
import { EntryBuffer } from "../../src/storage/runs/entry-buffer.ts";
import { type RunOptions, runOptions } from "../../src/storage/runs/options.ts";
import type { CutPosition } from "../../src/storage/runs/run.ts";
import { RunBuilder } from "../../src/storage/runs/run-builder.ts";
import { RunWrites } from "../../src/storage/runs/run-writes.ts";
import { SortedIndex } from "../../src/storage/runs/sorted-index.ts";
import { MemoryFile } from "./memory-file.ts";

const cluster = Uint32Array.of(7, 0, 0, 0);
export const allocateWords = (count: number): Uint32Array => new Uint32Array(count);

/** Row, and the words of the key; `burnt`: the row is the number of a burnt id. */
export interface Entry {
  readonly row: number;
  readonly key: readonly number[];
  readonly burnt?: boolean;
}

/** Words of an entry, as they stand in a block. */
export function entryOf({ row, key, burnt }: Entry): number[] {
  return [row, burnt === true ? 0x8000_0000 : 0, ...key];
}

export class RunLayout {
  readonly file: MemoryFile;
  readonly grid: Grid;
  readonly cache: BlockCache;
  readonly fetcher: BlockFetcher;
  readonly writes: RunWrites;
  readonly options: RunOptions;
  readonly damaged: DamagedBlock[] = [];
  /** Blocks that are wanted of other replicas, if there are any. */
  readonly wanted: DamagedBlock[] = [];

  constructor(
    seed: number,
    blockEntries: number,
    { kernels, repairs }: { kernels?: RunKernels; repairs?: boolean } = {},
  ) {
    this.file = new MemoryFile(seed);
    this.grid = new Grid({
      io: this.file,
      file: 1,
      gridAt: 0,
      gridBytes: 0,
      gridBlocksMax: 1 << 16,
      cluster,
      extend: null,
      onFatal: (text) => assert(false, text),
    });
    if (repairs === true) {
      const { wanted } = this;
      this.grid.repairs = new BlockRepairs(this.grid, {
        want: (block) => wanted.push(block),
        forget: () => assert(false, "nothing is let go here"),
      });
    }
    this.options = runOptions(cluster, {
      kernels: kernels ?? portableRunKernels,
      blockEntriesShort: blockEntries,
      blockEntriesLong: blockEntries,
      writeBlocks: 16,
    });
    this.cache = new BlockCache(this.file, 0, cachedReadsMax);
    const reader = new CachedReader(this.grid, this.cache, (block) => this.damaged.push(block));
    this.writes = new RunWrites(this.grid, this.options.writeBlocks);
    this.fetcher = new BlockFetcher(this.grid, this.cache, reader, this.writes);
  }

  index(id: number, segmentEntries = 32): SortedIndex {
    const index = new SortedIndex(id, this.options, allocateWords);
    index.active = this.buffer(index, segmentEntries);
    return index;
  }

  buffer(index: SortedIndex, segmentEntries: number): EntryBuffer {
    return new EntryBuffer(index.entryWords, this.options.kernels, allocateWords, segmentEntries);
  }

  /** Adds a complete run of `entries`, in any order, as the youngest of its level. */
  addRun(
    index: SortedIndex,
    level: number,
    first: CutPosition,
    end: CutPosition,
    entries: readonly Entry[],
  ): void {
    if (entries.length === 0) return;
    const { entryWords, blockEntries } = index;
    const { kernels, filterSeed } = this.options;
    const words = Uint32Array.from(entries.flatMap(entryOf));
    kernels.sortEntries(words, 0, entries.length, entryWords, new Uint32Array(words.length));
    const run = index.createRun(level, first, end);
    const builder = new RunBuilder(this.writes, kernels, filterSeed);
    for (let from = 0; from < entries.length; from += blockEntries) {
      const count = Math.min(blockEntries, entries.length - from);
      const block = words.subarray(from * entryWords, (from + count) * entryWords);
      if (!builder.hasRoom()) this.write();
      this.writes.buffer.words.set(block, this.writes.nextPayloadAt());
      builder.addBlock(run, count, from + count === entries.length, 1);
    }
    run.complete = true;
    index.level(level).push(run);
  }

  /** Everything that is sealed gets to the disk. */
  write(): void {
    this.writes.writeSealed();
    this.file.until(() => {
      this.writes.writeSealed();
      return this.writes.writtenBelow === this.writes.sealedBlocks;
    });
  }

  /** Calls `start`, and waits if that says so. */
  wait(start: (onDone: () => void) => boolean): void {
    let done = false;
    let inside = true;
    const started = start(() => {
      assert(!inside, "not called from inside");
      done = true;
    });
    inside = false;
    if (!started) this.file.until(() => done);
    else assert(!done, "called back or done at once");
  }
}

/** Cuts `count` rows in up to `partsMax` parts at random; levels that fall, as those of runs do. */
export function drawParts(
  random: Prng,
  count: number,
  partsMax: number,
): { first: number; end: number; level: number }[] {
  const cuts = new Set([0, count]);
  for (let part = random.below(partsMax); part > 0; part -= 1) cuts.add(random.below(count + 1));
  const ends = [...cuts].sort((a, b) => a - b);
  let level = 4;
  return ends.slice(1).map((end, index) => {
    level = Math.max(0, level - random.below(2));
    return { first: ends[index]!, end, level };
  });
}
