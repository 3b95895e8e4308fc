/**
 * A storage engine on a memory file, driven op by op from a seed, beside a model of plain arrays.
 * What an op does depends on (seed, op) and the state before it alone, so that it can be replayed
 * after a crash and on a twin.
 */
import { assert } from "../../src/core/assert.ts";
import { Prng } from "../../src/core/prng.ts";
import type { AppendTable } from "../../src/storage/append-table.ts";
import { BlockRequest } from "../../src/storage/block-reader.ts";
import { StorageEngine } from "../../src/storage/engine.ts";
import { rootWords } from "../../src/storage/format.ts";
import { IntegrityCheck, type IntegrityReport } from "../../src/storage/integrity-check.ts";
import type { DamagedBlock, FatalCode, StorageOptions } from "../../src/storage/options.ts";
import { type PagedTable, slabSizeLog2Default } from "../../src/storage/paged-table.ts";
import { RefCursor, visitAll } from "../../src/storage/ref-cursor.ts";
import type { RunOptions } from "../../src/storage/runs/options.ts";
import { addEntries, checkRuns, type IndexedRows } from "./index-model.ts";
import { MemoryFile, PowerFailure } from "./memory-file.ts";

export const clusterId = new Uint32Array([1, 2, 3, 4]);

/** What the workload is like: part of the seed's meaning. */
export interface Load {
  readonly seed: number;
  readonly interval: number;
  /** Rows appended per op and table at most. */
  readonly rowsMax: number;
  /** Rows of paged tables changed per op at most. */
  readonly touchesMax: number;
  readonly accountsMax: number;
  /** Constants of sorted runs that differ from `runsDefault`. */
  readonly runs?: Partial<RunOptions>;
}

/** Small enough for merges of two levels within some twenty ops of a few hundred rows. */
export const runsDefault: Partial<RunOptions> = {
  barOps: 2,
  cutRows: 500,
  blockEntriesShort: 400,
  blockEntriesLong: 250,
};

/** What may differ between replicas. */
export interface Machine {
  readonly seed: number;
  readonly cacheBytes: number;
  readonly pageCopyBytes: number;
  readonly recentBlocks: number;
  /** Completions between two calls into the engine, at most. */
  readonly ticksMax: number;
}

/** Rows as the numbers that their content is computed from. */
class Model {
  readonly append: number[][] = [[], [], [], []];
  readonly paged: number[][] = [[], []];

  get indexed(): IndexedRows {
    return { transfers: this.append[0]!, failedIds: this.append[3]! };
  }

  copy(): Model {
    const copy = new Model();
    for (const [index, rows] of this.append.entries()) copy.append[index] = rows.slice();
    for (const [index, rows] of this.paged.entries()) copy.paged[index] = rows.slice();
    return copy;
  }
}

export interface Checkpoint {
  readonly op: number;
  readonly root: Uint32Array;
  readonly model: Model;
  readonly trailers: readonly Uint8Array[];
  /** File offsets of all blocks that it needs. */
  readonly offsets: ReadonlySet<number>;
}

/** Word `word` of a row whose number is `salt`. */
function content(salt: number, word: number): number {
  return (Math.imul(salt ^ 0x5bd1_e995, word + 0x9e37) ^ (salt + word)) >>> 0;
}

const zeros = new Uint8Array(2 ** slabSizeLog2Default);

export class World {
  readonly file: MemoryFile;
  engine: StorageEngine;
  op = 0;
  readonly damaged: DamagedBlock[] = [];
  readonly fatal: { text: string; code: FatalCode }[] = [];
  /** The checkpoint that the superblock refers to. */
  durable: Checkpoint = {
    op: 0,
    root: new Uint32Array(rootWords),
    model: new Model(),
    trailers: [],
    offsets: new Set(),
  };
  frozen: Checkpoint | null = null;
  private writing = false;
  model = new Model();
  /** Roots by checkpoint op: what twins are compared by. */
  readonly roots = new Map<number, Uint32Array>();
  private readonly random: Prng;

  constructor(
    readonly load: Load,
    readonly machine: Machine,
    private readonly changes: Partial<StorageOptions> = {},
    /** Called with each engine before it is opened. */
    private readonly attach: (engine: StorageEngine) => void = () => {},
  ) {
    this.random = new Prng(machine.seed);
    this.file = new MemoryFile(machine.seed + 1);
    this.engine = this.start();
  }

  options(): StorageOptions {
    return {
      io: this.file,
      file: 0,
      gridAt: 8192,
      gridBytes: 0,
      gridBlocksMax: 20_000,
      cluster: clusterId,
      checkpointInterval: this.load.interval,
      opRowsMax: this.load.rowsMax,
      recentBlocks: this.machine.recentBlocks,
      cacheBytes: this.machine.cacheBytes,
      pageCopyBytes: this.machine.pageCopyBytes,
      runs: { ...runsDefault, writeBlocks: 4 + 8 * (this.machine.seed % 3), ...this.load.runs },
      allocateWords: (count) => new Uint32Array(count),
      extend: null,
      onDamaged: (block) => this.damaged.push(block),
      onFatal: (text, code) => this.fatal.push({ text, code }),
      ...this.changes,
    };
  }

  private start(): StorageEngine {
    const engine = new StorageEngine(this.options());
    this.attach(engine);
    let error: string | null | undefined;
    engine.open(this.durable.root, (result) => {
      error = result;
    });
    this.file.until(() => error !== undefined);
    assert(error === null, `the durable checkpoint opens: ${error}`);
    addEntries(engine, this.durable.model.indexed, engine.indexes.covered);
    engine.indexes.rebuilt();
    return engine;
  }

  /** What another engine, with these options changed, says of the durable checkpoint. */
  openError(changes: Partial<StorageOptions>, root = this.durable.root): string | null {
    const engine = new StorageEngine({ ...this.options(), ...changes });
    let error: string | null | undefined;
    engine.open(root, (result) => {
      error = result;
    });
    this.file.until(() => error !== undefined);
    return error ?? null;
  }

  /** Power fails; the replica starts again from the durable checkpoint and replays to `op`. */
  crash(): void {
    const until = this.op;
    this.file.ticksUntilFailure = -1;
    // Perhaps the superblock was just being written, and made it.
    this.noteSynced();
    this.file.crash();
    this.reopen();
    this.checkAll();
    this.checkTrailers(this.durable);
    while (this.op < until && this.fatal.length === 0) this.step();
  }

  /** A new engine, opened at the durable checkpoint. Nothing is in flight. */
  reopen(): void {
    assert(this.file.idle, "a stopped replica has nothing in flight");
    this.frozen = null;
    this.writing = false;
    this.fatal.length = 0;
    this.engine = this.start();
    this.model = this.durable.model.copy();
    this.op = this.durable.op;
  }

  /** Executes ops up to `op`. Returns false when power failed on the way. */
  tryUntil(op: number): boolean {
    try {
      while (this.op < op) this.step();
      this.finishCheckpoint();
      return true;
    } catch (error) {
      if (!(error instanceof PowerFailure)) throw error;
      this.op -= 1; // The op that was cut short; the log may hold it or not.
      return false;
    }
  }

  /** Executes the next op, and what a replica does around it. */
  step(): void {
    this.op += 1;
    const random = new Prng(this.load.seed * 65_537 + this.op);
    this.fetchSome(random);
    this.changeTables(random);
    this.ticks();
    let ready = false;
    ready = this.engine.compact(this.op, () => {
      ready = true;
    });
    if (this.fatal.length > 0) return;
    this.file.until(() => ready || this.fatal.length > 0);
    if (this.fatal.length > 0) return;
    this.ticks();
    const since = this.op - this.durable.op;
    if (this.frozen !== null && since % this.load.interval > (this.load.interval * 3) / 4) {
      this.beginWrite();
      this.ticks();
    }
    if (this.op % this.load.interval === 0) this.checkpoint();
  }

  private ticks(): void {
    for (let left = this.random.below(this.machine.ticksMax + 1); left > 0; left -= 1) {
      if (!this.file.tick()) return;
    }
  }

  private synced = false;

  private beginWrite(): void {
    if (this.writing || this.frozen === null) return;
    this.writing = true;
    this.synced = false;
    this.engine.checkpointWrite(() => {
      this.synced = true;
    });
  }

  /** The superblock is written: at once, and whole. */
  private noteSynced(): void {
    if (!this.writing || !this.synced || this.frozen === null) return;
    if (this.random.chance(0.5)) this.superblockDurable();
  }

  private superblockDurable(): void {
    const frozen = this.frozen;
    assert(frozen !== null, "a checkpoint was frozen");
    this.engine.checkpointRoot(frozen.root, 0);
    this.engine.checkpointDurable();
    const before = this.roots.get(frozen.op);
    if (before !== undefined) {
      assert(sameWords(before, frozen.root), "a replay makes the same checkpoint");
    }
    this.roots.set(frozen.op, frozen.root);
    this.durable = frozen;
    this.file.protectedBlocks = this.checksums(frozen.offsets);
    this.frozen = null;
    this.writing = false;
  }

  /** Waits for the checkpoint before, then freezes. */
  checkpoint(): void {
    this.finishCheckpoint();
    if (this.fatal.length > 0) return;
    const random = new Prng(this.load.seed * 131 + this.op);
    const trailers = [random.below(3) * 70_001, random.below(200), 0].map((length) => {
      const bytes = new Uint8Array(length);
      for (let at = 0; at < length; at += 1) bytes[at] = content(this.op, at);
      return bytes;
    });
    const given = trailers.map((bytes) => {
      const words = new Uint32Array(Math.ceil(bytes.length / 4) + 1).fill(0xffff_ffff);
      new Uint8Array(words.buffer).set(bytes);
      return { words, length: bytes.length };
    });
    this.engine.freeze(this.op, given);
    for (const { words } of given) words.fill(0); // They were copied.
    this.frozen = {
      op: this.op,
      root: new Uint32Array(rootWords),
      model: this.model.copy(),
      trailers,
      offsets: new Set(this.liveAddresses().map((address) => this.engine.grid.fileOffset(address))),
    };
  }

  /** The checksums in the references to these blocks, by offset. */
  private checksums(offsets: ReadonlySet<number>): ReadonlyMap<number, string> {
    const checksums = new Map<number, string>();
    const cursor = new RefCursor(this.engine.state, visitAll);
    const request = new BlockRequest();
    while (cursor.next(request)) {
      const offset = this.engine.grid.fileOffset(request.ref[0]!);
      if (!offsets.has(offset)) continue;
      checksums.set(offset, Buffer.from(request.ref.slice(1).buffer).toString("hex"));
    }
    assert(checksums.size === offsets.size, "what was frozen is referred to");
    return checksums;
  }

  /** Addresses of all blocks that the engine's state refers to. */
  liveAddresses(): number[] {
    const cursor = new RefCursor(this.engine.state, visitAll);
    const request = new BlockRequest();
    const addresses: number[] = [];
    while (cursor.next(request)) addresses.push(request.ref[0]!);
    return addresses;
  }

  /** Waits until the frozen checkpoint, if any, is durable. */
  finishCheckpoint(): void {
    if (this.frozen === null) return;
    this.beginWrite();
    this.file.until(() => this.synced || this.fatal.length > 0);
    if (this.fatal.length === 0) this.superblockDurable();
  }

  appendTables(): readonly AppendTable[] {
    const { transfers, balances, expiries, failedIds } = this.engine;
    return [transfers, balances, expiries, failedIds];
  }

  pagedTables(): readonly PagedTable[] {
    return [this.engine.accounts, this.engine.pendingStatus];
  }

  private changeTables(random: Prng): void {
    const { transfers, failedIds } = this.engine;
    const before = { transfers: transfers.count, failedIds: failedIds.count };
    for (const [index, table] of this.appendTables().entries()) {
      const rows = this.model.append[index]!;
      const first = rows.length;
      for (let chain = random.range(1, 3); chain > 0; chain -= 1) {
        this.appendRows(table, rows, random, random.below(this.load.rowsMax / 3));
        // A chain that fails is undone.
        if (random.chance(0.3)) {
          const kept = first + random.below(rows.length - first + 1);
          table.truncate(kept);
          rows.length = kept;
        }
      }
      for (let row = first; row < rows.length; row += 1) {
        this.checkRow(table.foundWords, table.find(row), table.rowWords, rows[row]!, table.name);
      }
    }
    addEntries(this.engine, this.model.indexed, before);
    this.changePaged(
      0,
      random,
      Math.min(random.below(50), this.load.accountsMax - this.model.paged[0]!.length),
    );
    this.changePaged(1, random, random.below(this.load.rowsMax));
  }

  private appendRows(table: AppendTable, rows: number[], random: Prng, count: number): void {
    for (let left = count; left > 0; left -= 1) {
      const salt = random.u32();
      const row = table.append();
      assert(row === rows.length, "rows are dense");
      for (let word = 0; word < table.rowWords; word += 1) {
        table.tailWords[table.tailAt + word] = content(salt, word);
      }
      rows.push(salt);
    }
  }

  /** An op that adds accounts, each with content. */
  addAccounts(count: number): void {
    this.op += 1;
    for (let row = 0; row < count; row += 1) {
      this.engine.accounts.append();
      this.model.paged[0]!.push(0);
      this.writePagedRow(0, row, row + 1);
    }
    this.compactNow();
  }

  /** An op that appends many rows to one table. */
  bulkAppend(index: number, count: number): void {
    this.op += 1;
    this.appendRows(
      this.appendTables()[index]!,
      this.model.append[index]!,
      new Prng(this.op),
      count,
    );
    this.compactNow();
  }

  private compactNow(): void {
    let ready = false;
    ready = this.engine.compact(this.op, () => {
      ready = true;
    });
    this.file.until(() => ready);
  }

  private changePaged(index: number, random: Prng, added: number): void {
    const table = this.pagedTables()[index]!;
    const rows = this.model.paged[index]!;
    const first = rows.length;
    for (let left = added; left > 0; left -= 1) {
      const row = table.append();
      assert(row === rows.length, "rows are dense");
      rows.push(0);
      this.checkPagedRow(table, row, 0); // New rows are zero.
      this.writePagedRow(index, row, random.u32());
    }
    if (added > 0 && random.chance(0.3)) {
      const kept = first + random.below(added + 1);
      table.truncate(kept);
      rows.length = kept;
    }
    if (rows.length === 0) return;
    const hot = Math.max(1, Math.floor(rows.length * random.below(100) * 0.01));
    for (let left = random.below(this.load.touchesMax + 1); left > 0; left -= 1) {
      const row = random.chance(0.5) ? random.below(hot) : random.below(rows.length);
      table.touch(row);
      this.writePagedRow(index, row, random.u32());
    }
  }

  private writePagedRow(index: number, row: number, salt: number): void {
    const table = this.pagedTables()[index]!;
    const bytes = table.slabBytes[row >>> table.slabShift]!;
    const at = (row & (2 ** table.slabShift - 1)) * table.rowSize;
    for (let byte = 0; byte < table.rowSize; byte += 1) bytes[at + byte] = pagedByte(salt, byte);
    this.model.paged[index]![row] = salt;
  }

  private checkPagedRow(table: PagedTable, row: number, salt: number): void {
    const bytes = table.slabBytes[row >>> table.slabShift]!;
    const at = (row & (2 ** table.slabShift - 1)) * table.rowSize;
    for (let byte = 0; byte < table.rowSize; byte += 1) {
      assert(bytes[at + byte] === pagedByte(salt, byte), `${table.name} row ${row} is as written`);
    }
  }

  private checkRow(
    words: Uint32Array,
    at: number,
    length: number,
    salt: number,
    what: string,
  ): void {
    for (let word = 0; word < length; word += 1) {
      assert(words[at + word] === content(salt, word), `a row of ${what} is as written`);
    }
  }

  private fetchSome(random: Prng): void {
    const index = random.below(4);
    const rows = this.model.append[index]!;
    if (rows.length === 0) return;
    const wanted = Uint32Array.from({ length: random.below(300) }, () => random.below(rows.length));
    this.fetch(index, wanted);
  }

  fetch(index: number, wanted: Uint32Array): void {
    const table = this.appendTables()[index]!;
    const target = new Uint32Array(wanted.length * table.rowWords);
    let done = false;
    let called = false;
    done = this.engine.fetch(table, wanted, wanted.length, target, () => {
      called = true;
      done = true;
    });
    assert(!called || done, "a fetch calls back only when it was not done at once");
    this.file.until(() => done);
    for (const [at, row] of wanted.entries()) {
      const salt = this.model.append[index]![row]!;
      this.checkRow(target, at * table.rowWords, table.rowWords, salt, table.name);
    }
  }

  /** Every row of every table, and every entry of every run, is what the model says. */
  checkAll(): void {
    checkRuns(this.engine, this.file, this.model.indexed);
    for (const [index, table] of this.appendTables().entries()) {
      const rows = this.model.append[index]!;
      assert(table.count === rows.length, `${table.name} has as many rows as the model`);
      for (let first = 0; first < rows.length; first += 2000) {
        const count = Math.min(2000, rows.length - first);
        this.fetch(
          index,
          Uint32Array.from({ length: count }, (_, at) => first + at),
        );
      }
    }
    for (const [index, table] of this.pagedTables().entries()) {
      const rows = this.model.paged[index]!;
      assert(table.count === rows.length, `${table.name} has as many rows as the model`);
      for (const [row, salt] of rows.entries()) this.checkPagedRow(table, row, salt);
      // What lies beyond is zero: a row appended later starts so.
      const slab = table.slabBytes[rows.length >>> table.slabShift];
      const at = (rows.length & (2 ** table.slabShift - 1)) * table.rowSize;
      if (slab !== undefined)
        assert(
          Buffer.compare(slab.subarray(at), zeros.subarray(0, slab.length - at)) === 0,
          "the rest is zero",
        );
    }
  }

  private checkTrailers(checkpoint: Checkpoint): void {
    for (const [index, bytes] of checkpoint.trailers.entries()) {
      const { words, length } = this.engine.trailer(index);
      assert(length === bytes.length, "a trailer keeps its length");
      const read = new Uint8Array(words.buffer, 0, length);
      assert(Buffer.compare(read, bytes) === 0, "a trailer keeps its content");
    }
  }

  integrity(): IntegrityReport {
    const check = new IntegrityCheck(this.options(), this.durable.root);
    let report: IntegrityReport | null = null;
    check.run(
      () => {},
      (result) => {
        report = result;
      },
    );
    this.file.until(() => report !== null);
    assert(report !== null, "the check ended");
    return report;
  }
}

function pagedByte(salt: number, byte: number): number {
  return salt === 0 ? 0 : (content(salt, byte >>> 2) >>> (8 * (byte & 3))) & 0xff;
}

function sameWords(a: Uint32Array, b: Uint32Array): boolean {
  return a.length === b.length && a.every((word, index) => word === b[index]);
}
