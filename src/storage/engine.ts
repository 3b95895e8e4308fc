/**
 * The storage engine as the replica sees it: the ledger's tables, kept in a grid of checksummed
 * blocks, with a checkpoint every `checkpointInterval` ops.
 *
 * Order of calls, which is asserted:
 *
 *   open → ( op: append, touch, fetch … → compact )*            every op
 *        → freeze → ( op → compact )* → checkpointWrite         every checkpointInterval ops
 *        → checkpointRoot → (superblock made durable) → checkpointDurable → next freeze
 *
 * Addresses are handed out in `compact` (full blocks, table by table; blocks of runs) and in `freeze`, from the
 * sequence of ops alone: never by completion order, cache size or time. So replicas that executed
 * the same ops hold the same blocks at the same addresses, and a replica that restarts from a
 * checkpoint writes the same blocks to the same addresses again.
 *
 * The tables satisfy `LedgerStore` of `ledger/store.ts`: neither layer may import the other, and a
 * test holds them compatible.
 */
import { assert } from "../core/assert.ts";
import { pageSize } from "../core/limits.ts";
import type { IoBuffer } from "../io/io.ts";
import { AppendTable } from "./append-table.ts";
import { BlockCache } from "./block-cache.ts";
import { BlockReader } from "./block-reader.ts";
import { BlockRepairs } from "./block-repairs.ts";
import { CachedReader, cachedReadsMax } from "./cached-reader.ts";
import { CheckpointReader } from "./checkpoint-reader.ts";
import { CheckpointState } from "./checkpoint-state.ts";
import { CheckpointWriter } from "./checkpoint-writer.ts";
import { appendTableFormats, pagedTableFormats, rootWords } from "./format.ts";
import { Grid } from "./grid.ts";
import { encodeRoot, rootIsEmpty } from "./manifest.ts";
import { MissingBlocks } from "./missing-blocks.ts";
import type { BlockRepairer, StorageOptions, StorageSummary, Trailer } from "./options.ts";
import { PageCopies } from "./page-copies.ts";
import { PageSpace } from "./page-space.ts";
import { PagedTable, slabSizeLog2Default } from "./paged-table.ts";
import { RowFetcher } from "./row-fetcher.ts";
import { BlockFetcher } from "./runs/block-fetcher.ts";
import { FilterLoader } from "./runs/filter-loader.ts";
import { filterMemoryWords } from "./runs/filter-memory.ts";
import { IndexGroup } from "./runs/index-group.ts";
import { restoreIndexes } from "./runs/index-snapshot.ts";
import { IndexesState } from "./runs/index-state.ts";
import { runOptions } from "./runs/options.ts";
import { TransferIndexes } from "./runs/transfer-indexes.ts";
import { StateLoader } from "./state-loader.ts";

export type { StorageOptions, StorageSummary, Trailer } from "./options.ts";

export class StorageEngine {
  readonly accounts: PagedTable;
  readonly pendingStatus: PagedTable;
  readonly transfers: AppendTable;
  readonly balances: AppendTable;
  readonly expiries: AppendTable;
  readonly failedIds: AppendTable;
  readonly transferMarks: AppendTable;
  readonly expiryMarks: AppendTable;

  readonly indexes: TransferIndexes;

  /** For the scrubber and for checkers in tests. */
  readonly grid: Grid;
  readonly state: CheckpointState;
  private readonly append: readonly AppendTable[];
  private readonly paged: readonly PagedTable[];
  private readonly options: StorageOptions;
  private readonly copies: PageCopies;
  private readonly space: PageSpace;
  private readonly cache: BlockCache;
  private readonly fetcher: RowFetcher;
  private readonly writer: CheckpointWriter;
  private readonly group: IndexGroup;
  private opened = false;
  /** The blocks of runs that the op that ended last is to write are sealed. */
  private runsAdvanced = true;
  /** The op that `compact` ended last. */
  private op = 0;
  private onCompacted: (() => void) | null = null;

  constructor(options: StorageOptions) {
    this.options = options;
    this.grid = new Grid(options);
    this.copies = new PageCopies(
      Math.floor(options.pageCopyBytes / pageSize),
      options.allocateWords,
    );
    this.space = new PageSpace(this.grid.freeSet);
    const paged = pagedTableFormats.map(
      (format) =>
        new PagedTable(
          format.id,
          format.name,
          format.rowSize,
          this.copies,
          options.allocateWords,
          options.slabSizeLog2 ?? slabSizeLog2Default,
        ),
    );
    const append = appendTableFormats.map(
      (format) =>
        new AppendTable(
          this.grid,
          format.id,
          format.name,
          format.rowSize,
          options.opRowsMax,
          options.recentBlocks,
        ),
    );
    this.paged = paged;
    this.append = append;
    this.accounts = paged[0]!;
    this.pendingStatus = paged[1]!;
    this.transfers = append[0]!;
    this.balances = append[1]!;
    this.expiries = append[2]!;
    this.failedIds = append[3]!;
    this.transferMarks = append[4]!;
    this.expiryMarks = append[5]!;
    const tables = [...paged, ...append];
    this.cache = new BlockCache(options.io, options.cacheBytes, cachedReadsMax);
    const reader = new CachedReader(this.grid, this.cache, options.onDamaged);
    this.fetcher = new RowFetcher(this.cache, reader);
    this.group = new IndexGroup(
      this.grid,
      runOptions(options.cluster, options.runs),
      this.transfers,
      this.failedIds,
      options.allocateWords,
      options.onDamaged,
    );
    const blocks = new BlockFetcher(this.grid, this.cache, reader, this.group.writes);
    this.indexes = new TransferIndexes(this.group, blocks);
    this.state = new CheckpointState(
      (id) => tables.find((table) => table.id === id)!.refs,
      new IndexesState(this.group.options, (count) =>
        options.allocateWords(filterMemoryWords(count)),
      ),
    );
    this.writer = new CheckpointWriter(
      this.grid,
      this.state,
      append,
      paged,
      this.group,
      this.space,
      options.checkpointInterval,
    );
    this.grid.onProgress = () => this.progress();
    this.grid.onAcquired = (address) => this.cache.forget(address);
    this.group.onProgress = () => this.progress();
  }

  /** Before `open`: damaged blocks are waited for, while `repairer` gets them from elsewhere. */
  repairFrom(repairer: BlockRepairer): void {
    assert(!this.opened, "told before it opens");
    assert(this.grid.repairs === null, "one repairer");
    this.grid.repairs = new BlockRepairs(this.grid, repairer);
  }

  /**
   * A block that the repairer got. False: it is not wanted, or not the one that is wanted.
   * @param wordAt - Where it stands in `buffer`. Copied.
   */
  offerBlock(address: number, buffer: IoBuffer, wordAt: number): boolean {
    return this.grid.repairs?.offer(address, buffer, wordAt) ?? false;
  }

  /**
   * Loads the checkpoint that `root` (at least `rootWords` words; all zero is the empty state)
   * refers to. `onDone(null)`, or a sentence that says what is wrong; damaged blocks are reported
   * through `onDamaged` too. With a repairer they are waited for instead. `onDone` may be called from
   * inside.
   */
  open(root: Uint32Array, onDone: (error: string | null) => void): void {
    assert(!this.opened, "opened once");
    assert(root.length >= rootWords, "a root has rootWords words");
    this.opened = true;
    if (rootIsEmpty(root)) {
      onDone(null);
      return;
    }
    const { onDamaged } = this.options;
    const blockReader = new BlockReader(this.grid, this.grid.staging, this.grid.repairs);
    const reader = new CheckpointReader(blockReader, this.state, this.grid.freeSet, onDamaged);
    reader.read(root, (error) => {
      if (error !== null) {
        onDone(error);
        return;
      }
      const loader = new StateLoader(this.state, this.append, this.paged, this.space, onDamaged);
      blockReader.run(loader, () => {
        const missing = loader.result();
        if (missing === null) this.openIndexes(blockReader, onDone);
        else onDone(missing);
      });
    });
  }

  /** The last part of `open`. */
  private openIndexes(blockReader: BlockReader, onDone: (error: string | null) => void): void {
    const { kernels, filterSeed } = this.group.options;
    const { indexes } = this.state;
    const filters = new FilterLoader(indexes, kernels, filterSeed, this.options.onDamaged);
    blockReader.run(filters, () => {
      this.op = this.state.op;
      restoreIndexes(this.group, indexes);
      this.group.restored();
      onDone(filters.result());
    });
  }

  /**
   * After `open`, before the first op: reads what `open` left alone of ops from `opMin` on, which has
   * what is damaged or missing repaired, and makes the grid durable as it is. A state sync is
   * complete then.
   */
  fetchMissing(opMin: number, onDone: () => void): void {
    assert(this.opened, "opened first");
    assert(this.op === this.state.op, "before the first op");
    const { repairs } = this.grid;
    assert(repairs !== null, "others have what is missing");
    const reader = new BlockReader(this.grid, this.grid.staging, repairs);
    reader.run(new MissingBlocks(this.state, opMin), () => {
      repairs.whenIdle(() => this.grid.sync(onDone));
    });
  }

  /**
   * The end: no more I/O is started and nobody is called back any more but `onQuiet`, when none is
   * in flight; perhaps from inside. The engine is of no use after that.
   */
  quiesce(onQuiet: () => void): void {
    this.grid.quiesce(onQuiet);
  }

  /** A trailer of the checkpoint that was opened or frozen last; length 0 if there is none. */
  trailer(index: number): Trailer {
    const chain = this.state.trailers[index];
    assert(chain !== undefined, "trailers are numbered from 0");
    return { words: chain.words, length: index < this.state.trailerCount ? chain.length : 0 };
  }

  /**
   * Copies rows in the order of their numbers in rows[0 … count) into `target`. True when it is
   * done already; otherwise `onDone` is called later, not from inside. One fetch at a time.
   */
  fetch(
    table: AppendTable,
    rows: Uint32Array,
    count: number,
    target: Uint32Array,
    onDone: () => void,
  ): boolean {
    return this.fetcher.fetch(table, rows, count, target, onDone);
  }

  /**
   * Ends op `op`: gives full blocks their addresses, starts writes, paces the write-out of the
   * frozen state. True: the next op may start now. False: `onDone` is called when it may, not from
   * inside.
   */
  compact(op: number, onDone: () => void): boolean {
    assert(this.opened, "opened before the first op");
    assert(op > this.op, "ops rise");
    assert(this.onCompacted === null, "one op at a time");
    if (this.grid.halted) return false;
    this.op = op;
    let blocks = this.group.endOp(op);
    for (let index = 0; index < this.append.length; index += 1) {
      blocks += this.append[index]!.blocksToSeal();
    }
    if (blocks > this.grid.freeSet.available) {
      this.grid.failFull(blocks);
      return false;
    }
    for (let index = 0; index < this.append.length; index += 1) this.append[index]!.seal(op);
    for (let index = 0; index < this.paged.length; index += 1) this.paged[index]!.opEnded();
    this.runsAdvanced = this.group.advance();
    if (blocks > 0) this.grid.reserveFile();
    this.writer.pace(op);
    if (this.copies.overLimit) this.writer.hurry();
    this.startWrites();
    if (this.grid.halted) return false;
    if (this.runsAdvanced && this.hasRoom()) return true;
    this.onCompacted = onDone;
    return false;
  }

  /** True when memory holds the largest op on top of what is still being written. */
  private hasRoom(): boolean {
    if (this.copies.overLimit) return false;
    for (let index = 0; index < this.append.length; index += 1) {
      if (!this.append[index]!.hasRoom()) return false;
    }
    return true;
  }

  private startWrites(): void {
    for (let index = 0; index < this.append.length; index += 1) this.append[index]!.writeSealed();
    this.group.writes.writeSealed();
    this.writer.writeAllowed();
  }

  /** A write or a read ended, or the file grew: more may start, and whoever waits may go on. */
  private progress(): void {
    if (this.grid.halted) return;
    this.grid.repairs?.writeAllowed();
    if (!this.runsAdvanced) this.runsAdvanced = this.group.advance();
    this.startWrites();
    this.writer.syncWhenWritten();
    if (this.onCompacted === null || !this.runsAdvanced || !this.hasRoom()) return;
    const onDone = this.onCompacted;
    this.onCompacted = null;
    onDone();
  }

  /**
   * After `compact(op)`: the state as of `op` becomes a checkpoint. Synchronous; the trailers are
   * copied. The checkpoint before must be durable.
   */
  freeze(op: number, trailers: readonly Trailer[]): void {
    assert(op === this.op, "a freeze follows the end of its op");
    assert(this.onCompacted === null, "a freeze waits for compaction");
    if (this.grid.halted) return;
    if (!this.writer.freeze(op, trailers)) return;
    this.grid.reserveFile();
  }

  /**
   * Finishes the write-out of the frozen state and makes it durable, then calls back: from inside,
   * if that had happened already. Ops may go on meanwhile.
   */
  checkpointWrite(onDone: () => void): void {
    if (this.grid.halted) return;
    this.writer.finish(onDone);
    this.startWrites();
  }

  /** After `checkpointWrite` called back: the `rootWords` words for the superblock. */
  checkpointRoot(target: Uint32Array, at: number): void {
    assert(this.writer.synced, "a root refers to what is on stable storage");
    encodeRoot(this.state, target, at);
  }

  /** The superblock with that root is durable: the next freeze may reuse what it let go. */
  checkpointDurable(): void {
    this.writer.durable();
  }

  /** For `inspect grid`, status and metrics. Allocates. */
  summary(): StorageSummary {
    const freeSet = this.grid.freeSet;
    const tables = [];
    for (const table of this.paged) {
      tables.push({ name: table.name, rows: table.count, blocks: 0 });
    }
    for (const table of this.append) {
      tables.push({ name: table.name, rows: table.count, blocks: table.sealedBlocks });
    }
    return {
      checkpointOp: this.state.op,
      blocksMax: freeSet.blocksMax,
      blocksHigh: freeSet.high,
      blocksAcquired: freeSet.acquiredCount,
      blocksReleased: freeSet.releasedCount,
      pageBlocks: this.space.blocks,
      pagesLive: this.space.pages,
      pagesMoved: this.space.moved,
      pageCopies: this.copies.inUse,
      pageCopiesMax: this.copies.inUseMax,
      cacheHits: this.cache.hits,
      cacheMisses: this.cache.misses,
      blocksWritten: this.grid.blocksWritten,
      blocksRepaired: this.grid.repairs?.blocksRepaired ?? 0,
      tables,
      indexes: this.group.summary(),
    };
  }
}
