/**
 * Brings rows of append tables from memory, cache or disk into the caller's memory. Rows are
 * grouped by block first, so that each block is read once however the rows are ordered; reads go
 * out many at a time. One fetch runs at a time; a fetch allocates nothing. A damaged block is
 * waited for while another replica has it; otherwise the fetch stays open for ever, and its owner
 * stops the replica.
 */
import { assert } from "../core/assert.ts";
import { blockSize } from "../core/limits.ts";
import { Completion, Errno } from "../io/io.ts";
import type { AppendTable } from "./append-table.ts";
import type { BlockCache } from "./block-cache.ts";
import { BlockRequest, damagedBlock, readFailure } from "./block-reader.ts";
import { RepairWaiter } from "./block-repairs.ts";
import { BlockType, blockHeaderWords } from "./format.ts";
import type { Grid } from "./grid.ts";
import type { DamagedBlock } from "./options.ts";

/** Blocks read at the same time by a fetch. */
export const fetchReadsMax = 32;

class Read {
  readonly request = new BlockRequest();
  readonly completion: Completion;
  readonly waiter: RepairWaiter;
  cacheSlot = 0;
  /** First of the rows, as an index into the fetch's rows, that wait for this block. */
  head = 0;

  constructor(fetcher: RowFetcher) {
    this.completion = new Completion(() => fetcher.readDone(this));
    this.waiter = new RepairWaiter(() => fetcher.arrived(this));
  }
}

export class RowFetcher {
  private readonly idle: Read[] = [];
  /** Blocks to be read: number, and first waiting row. */
  private groupBlock: Uint32Array = new Uint32Array(1024);
  private groupHead: Int32Array = new Int32Array(1024);
  private groupCount = 0;
  private groupNext = 0;
  /** Per row of the fetch: the next one that waits for the same block, or −1. */
  private nextRow: Int32Array = new Int32Array(1024);
  /** Block → group, by open addressing; an entry counts if its stamp is the fetch's. */
  private hashGroup: Int32Array = new Int32Array(2048);
  private hashStamp: Uint32Array = new Uint32Array(2048);
  private stamp = 0;

  private table: AppendTable | null = null;
  private rows: Uint32Array | null = null;
  private target: Uint32Array | null = null;
  private onDone: (() => void) | null = null;

  constructor(
    private readonly grid: Grid,
    private readonly cache: BlockCache,
    private readonly onDamaged: (block: DamagedBlock) => void,
  ) {
    assert(cache.slots >= fetchReadsMax, "every read has a cache slot");
    for (let index = 0; index < fetchReadsMax; index += 1) this.idle.push(new Read(this));
  }

  fetch(
    table: AppendTable,
    rows: Uint32Array,
    count: number,
    target: Uint32Array,
    onDone: () => void,
  ): boolean {
    assert(this.table === null, "one fetch at a time");
    assert(rows.length >= count, "as many rows as said");
    assert(target.length >= count * table.rowWords, "the rows fit the target");
    this.begin(count);
    const rowWords = table.rowWords;
    const rowsPerBlock = table.rowsPerBlock;
    // Neighbouring rows often lie in one block: the block found last is tried first.
    let lastBlock = -1;
    let lastSlot = 0;
    for (let index = 0; index < count; index += 1) {
      const row = rows[index]!;
      assert(row < table.count, "the row exists");
      const inMemory = table.locate(row);
      if (inMemory >= 0) {
        copyRow(target, index * rowWords, table.foundWords, inMemory, rowWords);
        continue;
      }
      const block = Math.floor(row / rowsPerBlock);
      if (block !== lastBlock) {
        lastSlot = this.cache.find(table.refs.address(block));
        lastBlock = block;
      }
      if (lastSlot < 0) {
        this.addToGroup(block, index);
        continue;
      }
      const at = this.cache.wordAt(lastSlot);
      const from = at + blockHeaderWords + (row - block * rowsPerBlock) * rowWords;
      copyRow(target, index * rowWords, this.cache.piece(lastSlot).words, from, rowWords);
    }
    if (this.groupCount === 0) return true;
    this.table = table;
    this.rows = rows;
    this.target = target;
    this.onDone = onDone;
    this.startReads();
    return false;
  }

  private begin(count: number): void {
    this.groupCount = 0;
    this.groupNext = 0;
    this.stamp += 1;
    if (count > this.nextRow.length) {
      const length = 2 ** Math.ceil(Math.log2(count));
      this.groupBlock = new Uint32Array(length);
      this.groupHead = new Int32Array(length);
      this.nextRow = new Int32Array(length);
      this.hashGroup = new Int32Array(length * 2);
      this.hashStamp = new Uint32Array(length * 2);
      this.stamp = 1;
    } else if (this.stamp > 0xffff_ffff) {
      this.hashStamp.fill(0);
      this.stamp = 1;
    }
  }

  private addToGroup(block: number, index: number): void {
    const mask = this.hashGroup.length - 1;
    let at = (Math.imul(block, 0x9e37_79b1) >>> 8) & mask;
    while (this.hashStamp[at] === this.stamp) {
      const group = this.hashGroup[at]!;
      if (this.groupBlock[group] === block) {
        this.nextRow[index] = this.groupHead[group]!;
        this.groupHead[group] = index;
        return;
      }
      at = (at + 1) & mask;
    }
    const group = this.groupCount;
    this.groupCount = group + 1;
    this.hashStamp[at] = this.stamp;
    this.hashGroup[at] = group;
    this.groupBlock[group] = block;
    this.groupHead[group] = index;
    this.nextRow[index] = -1;
  }

  private startReads(): void {
    const table = this.table;
    assert(table !== null, "a fetch is running");
    while (this.groupNext < this.groupCount && this.idle.length > 0) {
      const read = this.idle.pop()!;
      const block = this.groupBlock[this.groupNext]!;
      const request = read.request;
      read.head = this.groupHead[this.groupNext]!;
      read.cacheSlot = this.cache.take();
      this.groupNext += 1;
      table.refs.copy(block, request.ref, 0);
      request.type = BlockType.rows;
      request.table = table.id;
      request.first = block * table.rowsPerBlock;
      request.count = table.rowsPerBlock;
      assert(!this.grid.isUnwritten(request.ref[0]!), "what is not on disk is in memory");
      const bufferAt = this.cache.wordAt(read.cacheSlot) * 4;
      const buffer = this.cache.piece(read.cacheSlot);
      this.grid.read(read.completion, buffer, bufferAt, request.ref[0]!);
    }
  }

  /** Internal: a read's completion. */
  readDone(read: Read): void {
    if (!this.grid.endRead()) return;
    const request = read.request;
    const address = request.ref[0]!;
    const wordAt = this.cache.wordAt(read.cacheSlot);
    const buffer = this.cache.piece(read.cacheSlot);
    const result = read.completion.result;
    // The backend is stopping: no verdict on the block. The fetch stays open.
    if (result === Errno.canceled) return;
    const reason =
      result === blockSize
        ? this.grid.seals.verify(buffer, wordAt, address, request.ref, 1, BlockType.rows)
        : readFailure(result);
    if (reason === null) {
      this.arrived(read);
      return;
    }
    const block = damagedBlock(request, reason);
    const { repairs } = this.grid;
    if (repairs !== null) {
      repairs.request(read.waiter, request, block, buffer, wordAt);
      return;
    }
    this.cache.abandon(read.cacheSlot);
    this.onDamaged(block);
  }

  /** Internal: the block stands in its cache slot, verified. */
  arrived(read: Read): void {
    this.copyRows(read);
    this.cache.fill(read.cacheSlot, read.request.ref[0]!);
    this.idle.push(read);
    this.startReads();
    if (this.idle.length < fetchReadsMax) return;
    const onDone = this.onDone;
    assert(onDone !== null, "a running fetch has an owner");
    this.table = null;
    this.rows = null;
    this.target = null;
    this.onDone = null;
    onDone();
  }

  private copyRows(read: Read): void {
    const table = this.table;
    const rows = this.rows;
    const target = this.target;
    assert(table !== null && rows !== null && target !== null, "a fetch is running");
    const { words } = this.cache.piece(read.cacheSlot);
    const wordAt = this.cache.wordAt(read.cacheSlot);
    const rowWords = table.rowWords;
    for (let index = read.head; index >= 0; index = this.nextRow[index]!) {
      const from = wordAt + blockHeaderWords + (rows[index]! - read.request.first) * rowWords;
      copyRow(target, index * rowWords, words, from, rowWords);
    }
  }
}

function copyRow(
  target: Uint32Array,
  targetAt: number,
  source: Uint32Array,
  at: number,
  words: number,
): void {
  for (let word = 0; word < words; word += 1) target[targetAt + word] = source[at + word]!;
}
