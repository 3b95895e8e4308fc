/**
 * The storage engine alone, in process: what a row, a block, a touch, a freeze and a fetch cost the
 * main thread when the disk costs nothing. Prints one table.
 *
 * Usage: node scripts/bench.mjs storage [--ops=400] [--accounts=3000000] [--checksum=portable]
 */
import { parseArgs } from "node:util";
import { formatCount, formatTable } from "../src/cli/output.ts";
import { blockSize } from "../src/core/limits.ts";
import { Prng } from "../src/core/prng.ts";
import { RingQueue } from "../src/core/ring-queue.ts";
import type { Completion, FileIo, IoBuffer } from "../src/io/io.ts";
import { checksumImplementation, useChecksumImplementation } from "../src/native/checksum.ts";
import { StorageEngine } from "../src/storage/engine.ts";
import { rootWords } from "../src/storage/format.ts";

const { values } = parseArgs({
  options: {
    ops: { type: "string", default: "400" },
    accounts: { type: "string", default: "3000000" },
    checksum: { type: "string", default: "native" },
  },
});
if (values.checksum === "portable") useChecksumImplementation("portable");

const batch = 8189;
const interval = 480;

/** A disk that takes no time. It keeps blocks only when told to, by copying them. */
class NullFile implements FileIo {
  private readonly pending = new RingQueue<Completion>(256);
  private readonly blocks = new Map<number, Uint8Array>();
  keep = false;
  bytesWritten = 0;

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
    const block = this.blocks.get(fileAt);
    if (block !== undefined) buffer.bytes.set(block, bufferAt);
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
    if (this.keep) this.blocks.set(fileAt, buffer.bytes.slice(bufferAt, bufferAt + length));
    this.bytesWritten += length;
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

function start(file: NullFile, recentBlocks = 64): StorageEngine {
  const engine = new StorageEngine({
    io: file,
    file: 0,
    gridAt: 0,
    gridBytes: 0,
    gridBlocksMax: 2 ** 24,
    cluster: new Uint32Array(4),
    checkpointInterval: interval,
    opRowsMax: 8190,
    recentBlocks,
    cacheBytes: 256 * 2 ** 20,
    pageCopyBytes: 256 * 2 ** 20,
    allocateWords: (count) => new Uint32Array(count),
    extend: null,
    onDamaged: (block) => {
      throw new Error(`${block.name}: ${block.reason}`);
    },
    onFatal: (text) => {
      throw new Error(text);
    },
  });
  engine.open(new Uint32Array(rootWords), () => {});
  return engine;
}

const rows: string[][] = [];

function report(what: string, count: number, nanoseconds: number, remark = ""): void {
  const each = nanoseconds / count;
  const text = each < 10_000 ? `${each.toFixed(1)} ns` : `${(each / 1000).toFixed(1)} µs`;
  rows.push([what, formatCount(count), text, remark]);
}

/** CPU time, since the machine may do other work at the same time. Microsecond steps. */
const clock = (): number => {
  const { user, system } = process.cpuUsage();
  return (user + system) * 1000;
};

function nothing(): void {}

function appends(): void {
  const file = new NullFile();
  const engine = start(file);
  const { transfers, balances } = engine;
  const ops = Number(values.ops);
  let appendNs = 0;
  let compactNs = 0;
  let blocks = 0;
  const row = new Uint32Array(32).fill(7);
  const run = (op: number): void => {
    const began = clock();
    for (let index = 0; index < batch; index += 1) {
      transfers.append();
      const words = transfers.tailWords;
      let at = transfers.tailAt;
      for (let word = 0; word < 32; word += 1) words[at + word] = row[word]!;
      balances.append();
      at = balances.tailAt;
      for (let word = 0; word < 32; word += 1) balances.tailWords[at + word] = row[word]!;
    }
    const appended = clock();
    engine.compact(op, nothing);
    file.drain();
    appendNs += appended - began;
    compactNs += clock() - appended;
  };
  for (let op = 1; op <= 40; op += 1) run(op);
  appendNs = 0;
  compactNs = 0;
  file.bytesWritten = 0;
  blocks = transfers.sealedBlocks + balances.sealedBlocks;
  const heap = process.memoryUsage().heapUsed;
  for (let op = 41; op <= 40 + ops; op += 1) run(op);
  const heapBytes = process.memoryUsage().heapUsed - heap;
  blocks = transfers.sealedBlocks + balances.sealedBlocks - blocks;
  report("append a row of 128 bytes and fill it", ops * batch * 2, appendNs);
  report(
    "seal and write a block",
    blocks,
    compactNs,
    `${formatCount((file.bytesWritten / compactNs) * 1000)} MB/s`,
  );
  report(
    "append, seal and write a block of rows",
    blocks,
    compactNs + appendNs,
    `${formatCount((file.bytesWritten / (compactNs + appendNs)) * 1000)} MB/s, ` +
      `heap ${formatCount(heapBytes / ops)} bytes/op`,
  );
}

function pages(): void {
  const file = new NullFile();
  const engine = start(file);
  const { accounts } = engine;
  const count = Number(values.accounts);
  let op = 0;
  const end = (): void => {
    op += 1;
    engine.compact(op, nothing);
    file.drain();
  };
  const root = new Uint32Array(rootWords);
  const checkpoint = (): void => {
    engine.checkpointWrite(nothing);
    file.drain();
    engine.checkpointRoot(root, 0);
    engine.checkpointDurable();
  };
  while (accounts.count < count) {
    for (let index = 0; index < 8190 && accounts.count < count; index += 1) {
      const row = accounts.append();
      const slab = accounts.slabWords[row >>> accounts.slabShift]!;
      slab[(row & (2 ** accounts.slabShift - 1)) * 32] = row;
    }
    end();
  }
  const pageCount = Math.ceil(count / 32);
  const timed = (what: string, of: number, run: () => void, remark = ""): void => {
    const began = clock();
    run();
    report(what, of, clock() - began, remark);
  };
  const remark = `${formatCount(pageCount)} pages`;
  timed("first freeze, per page", pageCount, () => engine.freeze(op, []), remark);
  timed("first write-out, per page", pageCount, checkpoint, remark);
  timed("touch of a clean page", pageCount, () => {
    for (let row = 0; row < count; row += 32) accounts.touch(row);
  });
  const random = new Prng(1);
  const touched = Uint32Array.from({ length: 1_000_000 }, () => random.below(count));
  const touchAll = (): void => {
    for (let index = 0; index < touched.length; index += 1) accounts.touch(touched[index]!);
  };
  touchAll();
  timed("touch of a dirty page, random rows", touched.length, touchAll);
  end();
  timed("freeze, per dirty page", pageCount, () => engine.freeze(op, []), remark);
  timed("write-out, per page", pageCount, checkpoint, remark);
  touchAll();
  end();
  engine.freeze(op, []);
  const copied = Math.min(20_000, pageCount);
  const touchFrozen = (): void => {
    for (let page = 0; page < copied; page += 1) accounts.touch(page * 32);
  };
  timed("touch of a frozen page: it is copied, to new memory", copied, touchFrozen);
  checkpoint();
  end();
  engine.freeze(op, []);
  timed("touch of a frozen page: it is copied", copied, touchFrozen);
  checkpoint();
  // One page in ten dirty.
  for (let page = 0; page < pageCount; page += 10) accounts.touch(page * 32);
  end();
  const some = Math.ceil(pageCount / 10);
  timed("freeze, per dirty page, 1 in 10 dirty", some, () => engine.freeze(op, []));
  checkpoint();
}

function fetches(): void {
  const file = new NullFile();
  file.keep = true;
  const engine = start(file);
  const { transfers } = engine;
  for (let op = 1; op <= 200; op += 1) {
    for (let index = 0; index < batch; index += 1) transfers.append();
    engine.compact(op, nothing);
    file.drain();
  }
  const target = new Uint32Array(batch * 32);
  const random = new Prng(2);
  const timed = (what: string, rounds: number, firstRow: number, lastRow: number): void => {
    let total = 0;
    for (let round = 0; round < rounds; round += 1) {
      const wanted = Uint32Array.from({ length: batch }, () => random.range(firstRow, lastRow));
      const began = clock();
      if (!engine.fetch(transfers, wanted, batch, target, nothing)) file.drain();
      total += clock() - began;
    }
    report(what, rounds * batch, total);
  };
  const last = transfers.count - 1;
  timed("fetch a row from memory", 40, last - 20_000, last);
  timed("fetch a row from disk: all other blocks", 1, 0, last - 60_000);
  timed("fetch a row from the cache", 40, 0, last - 60_000);
}

appends();
pages();
fetches();
process.stdout.write(
  `Checksum: ${checksumImplementation()}. Block: ${formatCount(blockSize)} bytes.\n\n` +
    formatTable(["what", "times", "each", ""], rows),
);
