/**
 * A table of immutable rows. Row → block by division; block → reference by an array; no search.
 *
 * The newest blocks lie in a ring of memory, block b in slot b mod slots:
 *
 *   … on disk only │ written, still in memory │ sealed, being written │ filling
 *                  memoryFirst                writtenBelow            sealedBlocks
 *
 * Rows are written into the ring where the block is written to disk from: no copy. Blocks are
 * sealed at the end of an op only, so a rolled-back row never meets a write already issued. A
 * slot is filled again only after its block was written (`hasRoom` is asked between ops).
 */
import { assert } from "../core/assert.ts";
import { blockSize } from "../core/limits.ts";
import type { IoBuffer } from "../io/io.ts";
import { BlockType, blockHeaderWords, blockWords, payloadSize } from "./format.ts";
import type { Grid, GridClient } from "./grid.ts";
import { RefList } from "./ref-list.ts";

export class AppendTable implements GridClient {
  readonly rowWords: number;
  readonly rowsPerBlock: number;
  /** Rows in the table, those appended by the current op included. */
  count = 0;
  /** First row of the current op. */
  opFirstRow = 0;
  /** Word index in `tailWords` of the row that `append` handed out last. */
  tailAt = 0;
  readonly tailWords: Uint32Array;
  readonly foundWords: Uint32Array;

  /** Full blocks that have an address: the first floor(count / rowsPerBlock) after `seal`. */
  sealedBlocks = 0;
  /** References of the sealed blocks. */
  readonly refs = new RefList();
  /** Every block below it is on disk. */
  writtenBelow = 0;
  /** The sealed block whose write starts next. */
  private writeNext = 0;

  /** Row at which the block being filled ends. */
  private blockEndRow = 0;
  private nextAt = 0;
  /** Blocks from here on are in memory. */
  private memoryFirst = 0;
  private readonly slotMask: number;
  /** Per slot: 1 when the write of its block has completed out of order. */
  private readonly slotWritten: Uint8Array;
  private readonly buffer: IoBuffer;
  private readonly blocksPerOp: number;

  /**
   * @param opRowsMax - Rows that one op appends at most.
   * @param recentBlocks - Blocks kept in memory beyond what writing needs.
   */
  constructor(
    readonly grid: Grid,
    readonly id: number,
    readonly name: string,
    rowSize: number,
    opRowsMax: number,
    recentBlocks: number,
  ) {
    this.rowWords = rowSize / 4;
    this.rowsPerBlock = payloadSize / rowSize;
    this.blocksPerOp = Math.ceil(opRowsMax / this.rowsPerBlock);
    // The blocks of an op, those of the op before still being written, and the one in between.
    let slots = 4;
    while (slots < 2 * this.blocksPerOp + 2 + recentBlocks) slots *= 2;
    this.slotMask = slots - 1;
    this.slotWritten = new Uint8Array(slots);
    this.buffer = grid.io.allocate(slots * blockSize);
    this.tailWords = this.buffer.words;
    this.foundWords = this.buffer.words;
  }

  append(): number {
    const row = this.count;
    if (row === this.blockEndRow) this.beginBlock(row);
    this.tailAt = this.nextAt;
    this.nextAt += this.rowWords;
    this.count = row + 1;
    return row;
  }

  private beginBlock(row: number): void {
    assert(row < 0xffff_ffff - this.rowsPerBlock, "row numbers fit 32 bits");
    const block = row / this.rowsPerBlock;
    const slots = this.slotMask + 1;
    assert(block < this.writtenBelow + slots, "a slot is filled again after it was written");
    this.nextAt = (block & this.slotMask) * blockWords + blockHeaderWords;
    this.blockEndRow = row + this.rowsPerBlock;
    if (block - slots + 1 > this.memoryFirst) this.memoryFirst = block - slots + 1;
  }

  find(row: number): number {
    assert(row >= this.opFirstRow, "the row is of the current op");
    assert(row < this.count, "the row exists");
    return this.locate(row);
  }

  /** Word index in `foundWords` of a row whose block is in memory, or −1. */
  locate(row: number): number {
    const block = Math.floor(row / this.rowsPerBlock);
    if (block < this.memoryFirst) return -1;
    return (
      (block & this.slotMask) * blockWords +
      blockHeaderWords +
      (row - block * this.rowsPerBlock) * this.rowWords
    );
  }

  truncate(count: number): void {
    assert(count >= this.opFirstRow, "only rows of the current op are undone");
    assert(count <= this.count, "truncation removes rows");
    this.count = count;
    this.place();
  }

  /** Derives the place of the next row from `count`. */
  private place(): void {
    const block = Math.floor(this.count / this.rowsPerBlock);
    const inBlock = this.count - block * this.rowsPerBlock;
    if (inBlock === 0) {
      this.blockEndRow = this.count; // The next append begins a block.
      return;
    }
    this.blockEndRow = (block + 1) * this.rowsPerBlock;
    this.nextAt = (block & this.slotMask) * blockWords + blockHeaderWords + inBlock * this.rowWords;
  }

  /** Blocks that `seal` will need addresses for. */
  blocksToSeal(): number {
    return Math.floor(this.count / this.rowsPerBlock) - this.sealedBlocks;
  }

  /** At the end of an op: gives every full block its address and its checksum. */
  seal(op: number): void {
    const full = Math.floor(this.count / this.rowsPerBlock);
    while (this.sealedBlocks < full) {
      const block = this.sealedBlocks;
      const wordAt = (block & this.slotMask) * blockWords;
      const address = this.grid.acquire();
      this.grid.seals.seal(
        this.buffer,
        wordAt,
        address,
        BlockType.rows,
        this.id,
        op,
        block * this.rowsPerBlock,
        this.rowsPerBlock,
        payloadSize,
      );
      this.refs.push(address, this.buffer.words, wordAt);
      this.sealedBlocks = block + 1;
    }
    this.opFirstRow = this.count;
  }

  /** Starts writes of sealed blocks, in order, for as long as the grid takes them. */
  writeSealed(): void {
    while (this.writeNext < this.sealedBlocks) {
      const address = this.refs.address(this.writeNext);
      if (!this.grid.canWrite(address)) return;
      const wordAt = (this.writeNext & this.slotMask) * blockWords;
      this.grid.write(this.buffer, wordAt, address, this, this.writeNext);
      this.writeNext += 1;
    }
  }

  blockWritten(block: number): void {
    this.slotWritten[block & this.slotMask] = 1;
    while (
      this.writtenBelow < this.writeNext &&
      this.slotWritten[this.writtenBelow & this.slotMask] === 1
    ) {
      this.slotWritten[this.writtenBelow & this.slotMask] = 0;
      this.writtenBelow += 1;
    }
  }

  /** True when an op of the largest size would fill no slot whose block is not on disk. */
  hasRoom(): boolean {
    const block = Math.floor(this.count / this.rowsPerBlock);
    return block + this.blocksPerOp < this.writtenBelow + this.slotMask + 1;
  }

  /** Rows in the partial block after the sealed ones. */
  tailRows(): number {
    return this.count - this.sealedBlocks * this.rowsPerBlock;
  }

  /** Copies the partial block's payload to target[targetAt …), zeros after its rows. */
  copyTail(target: Uint32Array, targetAt: number): void {
    const from = (this.sealedBlocks & this.slotMask) * blockWords + blockHeaderWords;
    const used = this.tailRows() * this.rowWords;
    target.set(this.tailWords.subarray(from, from + used), targetAt);
    target.fill(0, targetAt + used, targetAt + blockWords - blockHeaderWords);
  }

  /** At start: rows, then references through `refs`, come from a checkpoint. */
  restore(count: number): void {
    assert(this.count === 0, "restored once, at start");
    this.count = count;
    this.opFirstRow = count;
    this.sealedBlocks = Math.floor(count / this.rowsPerBlock);
    this.writtenBelow = this.sealedBlocks;
    this.writeNext = this.sealedBlocks;
    this.memoryFirst = this.sealedBlocks;
    this.place();
  }

  /** At start: the partial block's payload, from source[sourceAt …). */
  restoreTail(source: Uint32Array, sourceAt: number): void {
    const to = (this.sealedBlocks & this.slotMask) * blockWords + blockHeaderWords;
    const used = this.tailRows() * this.rowWords;
    this.tailWords.set(source.subarray(sourceAt, sourceAt + used), to);
  }
}
