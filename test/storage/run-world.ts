/**
 * A storage engine on a memory file whose transfers have entries in sorted indexes, beside `RunModel`.
 * What an op does depends on (seed, op) and the rows before it alone. At the end of every op the
 * indexes are held against the model: which runs there are, and each block when it appears.
 */
import { assert } from "../../src/core/assert.ts";
import { Prng } from "../../src/core/prng.ts";
import { portableRunKernels, runKernels } from "../../src/native/sorted-runs/kernels.ts";
import { filterWords } from "../../src/native/sorted-runs/run-kernels.ts";
import { StorageEngine } from "../../src/storage/engine.ts";
import { blockHeaderWords, rootWords } from "../../src/storage/format.ts";
import type { DamagedBlock, FatalCode, StorageOptions } from "../../src/storage/options.ts";
import type { IndexGroup } from "../../src/storage/runs/index-group.ts";
import { burntBit, IndexId, type RunConstants } from "../../src/storage/runs/options.ts";
import type { Run } from "../../src/storage/runs/run.ts";
import { MemoryFile, PowerFailure } from "./memory-file.ts";
import { type ModelRun, RunModel } from "./run-model.ts";
import { clusterId } from "./world.ts";

export interface RunLoad extends RunConstants {
  readonly seed: number;
  /** Transfers and burnt ids per op, at most. */
  readonly rowsMax: number;
  readonly interval: number;
  /** Different keys of the indexes but for ids. */
  readonly keys: number;
  /** Ids ascend, or are random. */
  readonly ascending: boolean;
}

/** What may differ between replicas. */
export interface RunMachine {
  readonly seed: number;
  readonly ticksMax: number;
  readonly writeBlocks: number;
  readonly portable: boolean;
}

const indexWords = [6, 4, 6, 4, 4, 4, 4];

export class RunWorld {
  readonly file: MemoryFile;
  engine: StorageEngine;
  model: RunModel;
  op = 0;
  readonly damaged: DamagedBlock[] = [];
  readonly fatal: { text: string; code: FatalCode }[] = [];
  /** Per op: all references of all runs. */
  readonly digests: string[] = [];
  /** Ops that did not end inside of `compact`. */
  waits = 0;
  private verified = new Map<Run, number>();
  private readonly random: Prng;
  private writing = false;
  /** The checkpoint that the superblock refers to, and the one that is being written. */
  private readonly root = new Uint32Array(rootWords);
  private durable: { op: number; model: RunModel };
  private frozen: { op: number; model: RunModel };

  constructor(
    readonly load: RunLoad,
    readonly machine: RunMachine,
    readonly changes: Partial<StorageOptions> = {},
    readonly attach: (engine: StorageEngine) => void = () => {},
  ) {
    this.random = new Prng(machine.seed);
    this.file = new MemoryFile(machine.seed + 1);
    this.model = new RunModel(load);
    this.durable = { op: 0, model: this.model.copy() };
    this.frozen = this.durable;
    this.engine = this.start();
  }

  get group(): IndexGroup {
    return this.engine.indexes.group;
  }

  private start(): StorageEngine {
    const { barOps, cutRows, blockEntriesShort, blockEntriesLong } = this.load;
    const engine = new StorageEngine({
      io: this.file,
      file: 0,
      gridAt: 8192,
      gridBytes: 0,
      gridBlocksMax: 20_000,
      cluster: clusterId,
      checkpointInterval: this.load.interval,
      opRowsMax: this.load.rowsMax,
      recentBlocks: 0,
      cacheBytes: 0,
      pageCopyBytes: 1 << 20,
      allocateWords: (count) => new Uint32Array(count),
      extend: null,
      onDamaged: (block) => this.damaged.push(block),
      onFatal: (text, code) => this.fatal.push({ text, code }),
      runs: {
        barOps,
        cutRows,
        blockEntriesShort,
        blockEntriesLong,
        writeBlocks: this.machine.writeBlocks,
        kernels: this.machine.portable ? portableRunKernels : runKernels(),
      },
      ...this.changes,
    });
    this.attach(engine);
    let error: string | null | undefined;
    engine.open(this.root, (result) => {
      error = result;
    });
    this.file.until(() => error !== undefined);
    assert(error === null, `the checkpoint opens: ${error}`);
    return engine;
  }

  /** Executes ops up to `op`, each to its end. */
  until(op: number): void {
    while (this.op < op) this.step();
  }

  step(): void {
    this.addOp();
    this.ticks();
    this.endOp();
    this.ticks();
    if (this.op % this.load.interval === 0) this.checkpoint();
  }

  /** The rows and entries of the next op. */
  addOp(): void {
    this.op += 1;
    const random = new Prng(this.load.seed * 65_537 + this.op);
    // Now and then an op without rows, and some in a row that fill a bar.
    const most = random.chance(0.2) ? 0 : this.load.rowsMax;
    for (let left = random.below(most + 1); left > 0; left -= 1) {
      if (random.chance(0.15)) this.burn();
      else this.transfer();
    }
  }

  private transfer(): void {
    const row = appendRow(this.engine.transfers);
    this.model.transfers += 1;
    this.addEntries(row);
    const keys = this.keysOf(row);
    for (const [index, key] of keys) this.model.add(index, entryOf(row, 0, key));
  }

  private burn(): void {
    const number = appendRow(this.engine.failedIds);
    this.model.burnt += 1;
    this.addBurntEntry(number);
    this.model.add(IndexId.ids, entryOf(number, burntBit, this.burntId(number)));
  }

  /** Into the engine's indexes. */
  private addEntries(row: number): void {
    for (const [index, key] of this.keysOf(row)) {
      const target = this.group.indexes[index]!;
      if (key.length === 2) target.addShort(row, key[0]!, key[1]!);
      else target.addLong(row, key, 0);
    }
  }

  private addBurntEntry(number: number): void {
    this.engine.indexes.addBurnt(number, this.burntId(number), 0);
  }

  /** [index, key] of the entries of a row: one of most indexes, two or none of some. */
  private keysOf(row: number): [number, Uint32Array][] {
    const random = new Prng(this.load.seed * 1_000_003 + row);
    const keys: [number, Uint32Array][] = [[IndexId.ids, this.idOf(row, random, 0)]];
    const account = random.below(this.load.keys) * 2;
    keys.push([IndexId.accounts, Uint32Array.of(account, 0)]);
    keys.push([IndexId.accounts, Uint32Array.of(account + 1, 0)]);
    if (random.chance(0.3)) keys.push([IndexId.userData128, this.idOf(row % 5, random, 7)]);
    if (random.chance(0.3)) {
      keys.push([IndexId.userData64, Uint32Array.of(random.below(3), random.below(3))]);
    }
    // Rows in the thousands alone: an index that has nothing in many cuts.
    if (row % 100 < 20) keys.push([IndexId.userData32, Uint32Array.of(random.below(3), 0)]);
    keys.push([IndexId.ledger, Uint32Array.of(1 + random.below(2), 0)]);
    keys.push([IndexId.code, Uint32Array.of(1, 0)]);
    return keys;
  }

  private idOf(number: number, random: Prng, kind: number): Uint32Array {
    if (this.load.ascending) return Uint32Array.of(number + 1, 0, kind, 0);
    return Uint32Array.of(number + 1, random.below(9), kind, random.u32());
  }

  private burntId(number: number): Uint32Array {
    return this.idOf(number, new Prng(this.load.seed * 1_000_033 + number), 1);
  }

  /** Ends the op, waits for as long as that takes, and compares. */
  endOp(): void {
    let ready = false;
    ready = this.engine.compact(this.op, () => {
      ready = true;
    });
    if (!ready) this.waits += 1;
    this.file.until(
      () => ready || this.fatal.length > 0 || (this.damaged.length > 0 && this.file.idle),
    );
    if (!ready) return;
    this.model.endOp(this.op);
    this.check();
  }

  ticks(): void {
    for (let left = this.random.below(this.machine.ticksMax + 1); left > 0; left -= 1) {
      if (!this.file.tick()) return;
    }
  }

  /** Waits for the checkpoint before, then freezes. */
  private checkpoint(): void {
    this.finishCheckpoint();
    this.engine.freeze(this.op, []);
    this.frozen = { op: this.op, model: this.model.copy() };
    this.writing = true;
  }

  /** Waits until the frozen checkpoint is durable. */
  finishCheckpoint(): void {
    if (!this.writing) return;
    let synced = false;
    this.engine.checkpointWrite(() => {
      synced = true;
    });
    this.file.until(() => synced);
    this.engine.checkpointRoot(this.root, 0);
    this.engine.checkpointDurable();
    this.durable = this.frozen;
    this.writing = false;
  }

  /** Executes ops up to `op`, with a power failure after so many completions; then again, to the end. */
  untilWithFailure(op: number, ticks: number): boolean {
    this.file.ticksUntilFailure = ticks;
    try {
      this.until(op);
      this.file.ticksUntilFailure = -1;
      return false;
    } catch (error) {
      if (!(error instanceof PowerFailure)) throw error;
    }
    this.crash();
    this.until(op);
    return true;
  }

  /** Power fails; starts again from the durable checkpoint, and adds the entries again. */
  private crash(): void {
    this.file.ticksUntilFailure = -1;
    this.file.crash();
    this.writing = false;
    this.op = this.durable.op;
    this.model = this.durable.model.copy();
    this.verified = new Map();
    this.engine = this.start();
    const { covered } = this.group;
    for (let row = covered.transfers; row < this.model.transfers; row += 1) this.addEntries(row);
    for (let number = covered.failedIds; number < this.model.burnt; number += 1) {
      this.addBurntEntry(number);
    }
    this.engine.indexes.rebuilt();
    if (this.op > 0) this.check();
  }

  check(): void {
    const { group, model } = this;
    const position = (at: { transfers: number; failedIds: number }): string =>
      `${at.transfers},${at.failedIds}`;
    assert(position(group.cut) === model.cut, "cut where the model cuts");
    assert(position(group.covered) === model.covered, "covered as the model");
    const digest: number[] = [];
    for (const [id, index] of group.indexes.entries()) {
      const expected = model.indexes[id]!;
      const levels = index.levels.map((runs) => runs.length);
      const levelsExpected = expected.levels.map((runs) => runs.length);
      // A level may be known before it has a run.
      while (levels.length > levelsExpected.length && levels.at(-1) === 0) levels.pop();
      assert(`${levels}` === `${levelsExpected}`, `${index.name}: complete runs per level`);
      assert(index.merges.length === expected.merges.length, `${index.name}: merges`);
      assert(index.active.count === expected.active.length, `${index.name}: active entries`);
      const runs = [...index.runs()];
      const runsExpected = expected.runs();
      assert(runs.length === runsExpected.length, `${index.name}: runs`);
      for (const [at, run] of runs.entries()) {
        const name = `${index.name}, op ${this.op}, run ${at}`;
        this.checkRun(run, runsExpected[at]!, expected.blockEntries, name);
        assert(run.index === id && position(run.first) === runsExpected[at]!.first, name);
        assert(position(run.end) === runsExpected[at]!.end, name);
        digest.push(run.level, run.blocks, ...addresses(run));
      }
      // Oldest to youngest, runs follow one another and leave no gap where there were entries.
      const complete = index.levels.toReversed().flat();
      for (const [at, run] of complete.entries()) {
        if (at === 0) continue;
        const before = complete[at - 1]!.end;
        assert(run.first.transfers >= before.transfers, `${index.name}: rows are disjoint`);
        assert(run.first.failedIds >= before.failedIds, `${index.name}: burnt ids are disjoint`);
      }
    }
    const before = this.digests[this.op];
    this.digests[this.op] = digest.join(" ");
    assert(before === undefined || before === this.digests[this.op], "a replay takes what it took");
  }

  private checkRun(run: Run, expected: ModelRun, blockEntries: number, name: string): void {
    const total = Math.ceil(expected.entries.length / blockEntries);
    assert(run.blocks === expected.blocks, `${name}: ${run.blocks} of ${expected.blocks} blocks`);
    assert(run.entries === Math.min(run.blocks * blockEntries, expected.entries.length), name);
    for (let block = this.verified.get(run) ?? 0; block < run.blocks; block += 1) {
      this.checkBlock(run, block, expected, blockEntries, name);
    }
    this.verified.set(run, run.blocks);
    if (!run.filtered) {
      assert(run.filterRefs.length === 0, `${name}: no filters`);
      return;
    }
    const filterBlocks = run.blocks === total ? Math.ceil(total / 7) : Math.floor(run.blocks / 7);
    assert(run.filterRefs.length === filterBlocks, `${name}: filter blocks`);
  }

  private checkBlock(
    run: Run,
    block: number,
    expected: ModelRun,
    blockEntries: number,
    name: string,
  ): void {
    const words = this.blockWords(run.refs.address(block));
    const first = block * blockEntries;
    const count = Math.min(blockEntries, expected.entries.length - first);
    assert(run.entriesIn(block) === count, `${name}: entries in block ${block}`);
    const { entryWords } = run;
    assert(entryWords === indexWords[run.index], name);
    for (let entry = 0; entry < count; entry += 1) {
      const at = blockHeaderWords + entry * entryWords;
      const value = integerAt(words, at, entryWords);
      assert(value === expected.entries[first + entry], `${name}: entry ${first + entry}`);
      if (run.filtered) {
        const { kernels, filterSeed } = this.group.options;
        const found = kernels.probeFilter(
          run.filters,
          block * filterWords,
          words,
          at + 2,
          filterSeed,
        );
        assert(found, `${name}: filter of block ${block}`);
      }
    }
    const end = blockHeaderWords + count * entryWords;
    assert(
      words.subarray(end).every((word) => word === 0),
      `${name}: the rest of block ${block} is zero`,
    );
    const fence = integerAt(run.fences, block * entryWords, entryWords);
    assert(fence === expected.entries[first], `${name}: fence ${block}`);
    if (block + 1 < run.blocks) return;
    const last = integerAt(run.fences, (block + 1) * entryWords, entryWords);
    assert(last === expected.entries[first + count - 1], `${name}: last entry`);
  }

  /** The content of a block, which may still be on its way to the file. */
  blockWords(address: number): Uint32Array {
    const { writes } = this.group;
    const at = writes.find(address);
    if (at >= 0) return writes.buffer.words.slice(at, at + 16_384);
    const content = this.file.content(this.engine.grid.fileOffset(address), 65_536);
    return new Uint32Array(content.buffer);
  }

  /** Everything again, from the file, filters included. */
  checkAll(): void {
    this.file.settle();
    for (const run of this.group.runs()) {
      for (let at = 0; at < run.filterRefs.length; at += 1) {
        const words = this.blockWords(run.filterRefs.address(at));
        const from = at * 7 * filterWords;
        const count = Math.min(7, run.blocks - at * 7) * filterWords;
        for (let word = 0; word < count; word += 1) {
          assert(words[blockHeaderWords + word] === run.filters[from + word], "a filter is stored");
        }
      }
    }
    this.verified = new Map();
    this.check();
  }
}

interface Appendable {
  append(): number;
  readonly rowWords: number;
  readonly tailWords: Uint32Array;
  readonly tailAt: number;
}

function appendRow(table: Appendable): number {
  const row = table.append();
  table.tailWords.fill(row, table.tailAt, table.tailAt + table.rowWords);
  return row;
}

function entryOf(row: number, rowHigh: number, key: Uint32Array): bigint {
  return integerAt(Uint32Array.of(row, rowHigh, ...key), 0, key.length + 2);
}

function integerAt(words: Uint32Array, at: number, count: number): bigint {
  let value = 0n;
  for (let word = count - 1; word >= 0; word -= 1)
    value = (value << 32n) | BigInt(words[at + word]!);
  return value;
}

/** Of all blocks of a run. */
export function addresses(run: Run): number[] {
  const of = (list: Run["refs"]): number[] =>
    Array.from({ length: list.length }, (_, at) => list.address(at));
  return [...of(run.refs), ...of(run.filterRefs)];
}
