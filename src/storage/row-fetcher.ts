/**
 * Brings rows of append tables from memory, cache or disk into the caller's memory. Rows are
 * grouped by block first, so that each block is read once however the rows are ordered; reads go
 * out many at a time. One fetch runs at a time; a fetch allocates nothing.
 */
import { assert } from "../core/assert.ts";
import type { AppendTable } from "./append-table.ts";
import type { BlockCache } from "./block-cache.ts";
import { BlockGroups } from "./block-groups.ts";
import type { BlockRequest } from "./block-reader.ts";
import type { CachedReader, CachedSource } from "./cached-reader.ts";
import { BlockType, blockHeaderWords } from "./format.ts";

export class RowFetcher implements CachedSource {
  /** Blocks to be read, with the rows that wait for them as indexes into the fetch's rows. */
  private readonly groups = new BlockGroups(1024);
  private groupNext = 0;

  private table: AppendTable | null = null;
  private rows: Uint32Array | null = null;
  private target: Uint32Array | null = null;
  private onDone: (() => void) | null = null;
  private readonly onRead: () => void;

  constructor(
    private readonly cache: BlockCache,
    private readonly reader: CachedReader,
  ) {
    this.onRead = () => this.finish();
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
    this.groups.begin(count);
    this.groupNext = 0;
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
        this.groups.add(block, index);
        continue;
      }
      const at = this.cache.wordAt(lastSlot);
      const from = at + blockHeaderWords + (row - block * rowsPerBlock) * rowWords;
      copyRow(target, index * rowWords, this.cache.piece(lastSlot).words, from, rowWords);
    }
    if (this.groups.length === 0) return true;
    this.table = table;
    this.rows = rows;
    this.target = target;
    this.onDone = onDone;
    this.reader.run(this, this.onRead);
    return false;
  }

  next(request: BlockRequest): boolean {
    const table = this.table;
    assert(table !== null, "a fetch is running");
    if (this.groupNext === this.groups.length) return false;
    const block = this.groups.block[this.groupNext]!;
    table.refs.copy(block, request.ref, 0);
    request.type = BlockType.rows;
    request.table = table.id;
    request.first = block * table.rowsPerBlock;
    request.count = table.rowsPerBlock;
    request.tag = this.groupNext;
    this.groupNext += 1;
    return true;
  }

  received(request: BlockRequest, words: Uint32Array, at: number): void {
    const { table, rows, target, groups } = this;
    assert(table !== null && rows !== null && target !== null, "a fetch is running");
    const rowWords = table.rowWords;
    for (let index = groups.head[request.tag]!; index >= 0; index = groups.next[index]!) {
      const from = at + blockHeaderWords + (rows[index]! - request.first) * rowWords;
      copyRow(target, index * rowWords, words, from, rowWords);
    }
  }

  private finish(): void {
    const onDone = this.onDone;
    assert(onDone !== null, "a running fetch has an owner");
    this.table = null;
    this.rows = null;
    this.target = null;
    this.onDone = null;
    onDone();
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
