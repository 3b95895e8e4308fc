/**
 * Reading sorted runs, in process, on a disk that takes no time: lookups of ids in runs, and pages of
 * a key's rows. Prints one table; each figure is the best of several rounds, of CPU time.
 *
 * Usage: node scripts/bench.mjs run-reads [--runs=12] [--rounds=5]
 */
import { parseArgs } from "node:util";
import { formatTable } from "../src/cli/output.ts";
import { blockSize } from "../src/core/limits.ts";
import { Prng } from "../src/core/prng.ts";
import { RingQueue } from "../src/core/ring-queue.ts";
import type { Completion, FileIo, IoBuffer } from "../src/io/io.ts";
import { BlockCache } from "../src/storage/block-cache.ts";
import { CachedReader } from "../src/storage/cached-reader.ts";
import { Grid } from "../src/storage/grid.ts";
import { BlockFetcher } from "../src/storage/runs/block-fetcher.ts";
import { IdFinder } from "../src/storage/runs/id-finder.ts";
import { IndexCursor, noRow, unread } from "../src/storage/runs/index-cursor.ts";
import { IndexId, runOptions } from "../src/storage/runs/options.ts";
import { RunBuilder } from "../src/storage/runs/run-builder.ts";
import { RunWrites } from "../src/storage/runs/run-writes.ts";
import { SortedIndex } from "../src/storage/runs/sorted-index.ts";

const { values } = parseArgs({
  options: {
    runs: { type: "string", default: "12" },
    rounds: { type: "string", default: "5" },
  },
});
const runCount = Number(values.runs);
const rounds = Number(values.rounds);
const runRows = 262_080;
const batch = 8189;
const pageRows = 100;

/** A disk that takes no time, and keeps its blocks in memory. */
class MemoryDisk implements FileIo {
  private readonly pending = new RingQueue<Completion>(256);
  private readonly blocks = new Map<number, Uint8Array>();
  reads = 0;

  allocate(sizeBytes: number): IoBuffer {
    const memory = new ArrayBuffer(sizeBytes);
    return { sizeBytes, bytes: new Uint8Array(memory), words: new Uint32Array(memory), id: 0 };
  }

  read(
    completion: Completion,
    _file: number,
    buffer: IoBuffer,
    bufferAt: number,
    length: number,
    fileAt: number,
  ): void {
    buffer.bytes.set(this.blocks.get(fileAt)!, bufferAt);
    this.reads += 1;
    completion.result = length;
    this.pending.push(completion);
  }

  write(
    completion: Completion,
    _file: number,
    buffer: IoBuffer,
    bufferAt: number,
    length: number,
    fileAt: number,
  ): void {
    this.blocks.set(fileAt, buffer.bytes.slice(bufferAt, bufferAt + length));
    completion.result = length;
    this.pending.push(completion);
  }

  sync(completion: Completion): void {
    completion.result = 0;
    this.pending.push(completion);
  }

  drain(): void {
    for (;;) {
      const completion = this.pending.shift();
      if (completion === undefined) return;
      completion.onDone(completion);
    }
  }
}

const random = new Prng(1);
const cluster = new Uint32Array(4);
const allocateWords = (count: number): Uint32Array => new Uint32Array(count);
const disk = new MemoryDisk();
const grid = new Grid({
  io: disk,
  file: 0,
  gridAt: 0,
  gridBytes: 0,
  gridBlocksMax: 2 ** 20,
  cluster,
  extend: null,
  onFatal: (text) => {
    throw new Error(text);
  },
});
const options = runOptions(cluster);
const writes = new RunWrites(grid, options.writeBlocks);
const builder = new RunBuilder(writes, options.kernels, options.filterSeed);

/** A run of each `runRows` rows; the key of row r of all is keys[r · keyWords …). */
function build(id: number, keys: Uint32Array): SortedIndex {
  const index = new SortedIndex(id, options, allocateWords);
  const { entryWords, keyWords, blockEntries } = index;
  const entries = new Uint32Array(runRows * entryWords);
  const scratch = new Uint32Array(entries.length);
  for (let run = 0; run < runCount; run += 1) {
    for (let row = 0; row < runRows; row += 1) {
      const from = (run * runRows + row) * keyWords;
      entries[row * entryWords] = run * runRows + row;
      entries[row * entryWords + 1] = 0;
      entries.set(keys.subarray(from, from + keyWords), row * entryWords + 2);
    }
    options.kernels.sortEntries(entries, 0, runRows, entryWords, scratch);
    const at = (transfers: number) => ({ transfers, failedIds: 0 });
    const built = index.createRun(0, at(run * runRows), at((run + 1) * runRows));
    for (let first = 0; first < runRows; first += blockEntries) {
      const count = Math.min(blockEntries, runRows - first);
      const from = first * entryWords;
      if (!builder.hasRoom()) flush();
      const payloadAt = writes.nextPayloadAt();
      writes.buffer.words.set(entries.subarray(from, from + count * entryWords), payloadAt);
      builder.addBlock(built, count, first + count === runRows, 1);
    }
    built.complete = true;
    index.level(0).push(built);
  }
  flush();
  return index;
}

function flush(): void {
  while (writes.writtenBelow < writes.sealedBlocks) {
    writes.writeSealed();
    disk.drain();
  }
}

function fetcherWith(cacheBytes: number): BlockFetcher {
  const cache = new BlockCache(disk, cacheBytes, 32);
  const reader = new CachedReader(grid, cache, (block) => {
    throw new Error(`${block.name}: ${block.reason}`);
  });
  return new BlockFetcher(grid, cache, reader, writes);
}

const table: string[][] = [];

/** Adds a line: the best of the rounds. What `prepare` does is not counted. */
function measure(what: string, each: string, count: number, prepare: () => void, run: () => void) {
  let best = Number.POSITIVE_INFINITY;
  let readsBest = 0;
  for (let round = 0; round < rounds; round += 1) {
    prepare();
    const reads = disk.reads;
    const { user, system } = process.cpuUsage();
    run();
    const now = process.cpuUsage();
    const took = now.user + now.system - user - system;
    if (took < best) {
      best = took;
      readsBest = disk.reads - reads;
    }
  }
  table.push([what, each, `${(best / count).toFixed(2)} µs`, (readsBest / count).toFixed(2)]);
}

function lookups(): void {
  const total = runCount * runRows;
  const ids = new Uint32Array(total * 4);
  for (let word = 0; word < ids.length; word += 1) ids[word] = random.u32();
  const index = build(IndexId.ids, ids);
  const asked = new Uint32Array(batch * 4);
  const offsets = Uint32Array.from({ length: batch }, (_, at) => at * 4);
  const references = new Int32Array(batch);
  const known = (share: number) => () => {
    for (let id = 0; id < batch; id += 1) {
      const from = random.below(total) * 4;
      for (let word = 0; word < 4; word += 1) {
        asked[id * 4 + word] = id < batch * share ? ids[from + word]! : random.u32();
      }
    }
  };
  const finderWith = (fetcher: BlockFetcher) => {
    const finder = new IdFinder(index, options, fetcher);
    return () => {
      let done = false;
      done = finder.find(asked, offsets, batch, references, () => {
        done = true;
      });
      while (!done) disk.drain();
    };
  };
  const warm = finderWith(fetcherWith(total * 40));
  for (let round = 0; round < 4; round += 1) {
    known(1)();
    warm();
  }
  measure(`look up ${batch} ids, none known`, "id", batch, known(0), warm);
  measure("… one in a hundred known, blocks in the cache", "id", batch, known(0.01), warm);
  measure("… all known, blocks in the cache", "id", batch, known(1), warm);
  if (references.some((reference) => reference === 0)) throw new Error("an id was not found");
  const cold = finderWith(fetcherWith(32 * blockSize));
  measure("… one in a hundred known, blocks on disk", "id", batch, known(0.01), cold);
  measure("… all known, blocks on disk", "id", batch, known(1), cold);
}

function pages(): void {
  const total = runCount * runRows;
  const keys = new Uint32Array(total * 2);
  // A third of the rows has key 1, one in a thousand key 2, the rest keys of their own.
  for (let row = 0; row < total; row += 1) {
    keys[row * 2] = row % 3 === 0 ? 1 : random.chance(0.001) ? 2 : 3 + row;
  }
  const index = build(IndexId.userData64, keys);
  const key = new Uint32Array(2);
  const count = 500;
  const walk = (fetcher: BlockFetcher, of: number, ascending: boolean) => {
    const cursor = new IndexCursor(fetcher);
    return () => {
      key[0] = of;
      for (let page = 0; page < count; page += 1) {
        let target = random.below(total);
        cursor.open(index, key, 0, ascending, target);
        for (let rows = 0; rows < pageRows; rows += 1) {
          let row = cursor.seek(target);
          while (row === unread) {
            let done = false;
            done = cursor.read(() => {
              done = true;
            });
            while (!done) disk.drain();
            row = cursor.seek(target);
          }
          if (row === noRow) break;
          target = ascending ? row + 1 : row - 1;
          if (target < 0) break;
        }
      }
    };
  };
  const nothing = (): void => {};
  const fetcher = fetcherWith(total * 32);
  const cold = fetcherWith(32 * blockSize);
  for (const of of [1, 2]) walk(fetcher, of, true)();
  const many = `${pageRows} rows of ${Math.floor(total / 3)}`;
  const few = `${pageRows} rows of ${Math.floor(total / 1500)}`;
  measure(`page of ${many}, from anywhere`, "page", count, nothing, walk(fetcher, 1, true));
  measure("… backwards", "page", count, nothing, walk(fetcher, 1, false));
  measure("… blocks on disk", "page", count, nothing, walk(cold, 1, true));
  measure(`page of ${few}`, "page", count, nothing, walk(fetcher, 2, true));
}

lookups();
pages();
process.stdout.write(formatTable(["what", "of", "CPU", "blocks read"], table));
