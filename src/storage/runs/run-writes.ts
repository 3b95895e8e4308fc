/**
 * Sealed blocks of runs on their way to disk: a ring of memory, the n-th block sealed since start
 * in slot n mod slots. Blocks are built in the slot that they are written from.
 *
 *   … on disk │ sealed, being written │ free
 *       writtenBelow               sealedBlocks
 *
 * A slot keeps its block until it is built in again, so that the youngest blocks are found here by
 * address even when they have been written.
 */
import { assert } from "../../core/assert.ts";
import { blockSize } from "../../core/limits.ts";
import type { IoBuffer } from "../../io/io.ts";
import { type BlockType, blockHeaderWords, blockWords, payloadWords } from "../format.ts";
import type { Grid, GridClient } from "../grid.ts";

export class RunWrites implements GridClient {
  /** Blocks sealed since start. */
  sealedBlocks = 0;
  /** The first so many of them are on disk. */
  writtenBelow = 0;
  /** The sealed block whose write starts next. */
  private writeNext = 0;
  readonly slots: number;
  readonly buffer: IoBuffer;
  /** Per slot: the address of its block, or 0. */
  private readonly addresses: Uint32Array;
  /** Per slot: 1 when the write of its block has completed out of order. */
  private readonly slotWritten: Uint8Array;

  /** @param slots - Blocks in memory: 4 at least. */
  constructor(
    private readonly grid: Grid,
    slots: number,
  ) {
    assert(slots >= 4, "a block of entries and one of filters, twice");
    this.slots = slots;
    this.buffer = grid.io.allocate(slots * blockSize);
    this.addresses = new Uint32Array(slots);
    this.slotWritten = new Uint8Array(slots);
  }

  /** True when `blocks` more can be sealed. */
  hasRoom(blocks: number): boolean {
    return this.sealedBlocks + blocks <= this.writtenBelow + this.slots;
  }

  /** Where the payload of the next block to be sealed is to be built, in words of `buffer`. */
  nextPayloadAt(): number {
    assert(this.hasRoom(1), "a slot is built in again after it was written");
    const slot = this.sealedBlocks % this.slots;
    this.addresses[slot] = 0;
    return slot * blockWords + blockHeaderWords;
  }

  /**
   * Seals the block whose payload, `usedWords` words, was built at `nextPayloadAt`. Returns its
   * address; its checksum is at buffer.words[`sealedAt`].
   */
  seal(
    type: BlockType,
    index: number,
    op: number,
    first: number,
    count: number,
    usedWords: number,
  ): number {
    const slot = this.sealedBlocks % this.slots;
    const wordAt = slot * blockWords;
    const payloadAt = wordAt + blockHeaderWords;
    this.buffer.words.fill(0, payloadAt + usedWords, payloadAt + payloadWords);
    const address = this.grid.acquire();
    this.forget(address);
    this.grid.seals.seal(
      this.buffer,
      wordAt,
      address,
      type,
      index,
      op,
      first,
      count,
      usedWords * 4,
    );
    this.addresses[slot] = address;
    this.sealedBlocks += 1;
    return address;
  }

  /** Where the block that was sealed last begins, in words of `buffer`. */
  get sealedAt(): number {
    return ((this.sealedBlocks - 1) % this.slots) * blockWords;
  }

  /** Where the block at `address` begins in `buffer`, in words, or −1. Valid until the op ends. */
  find(address: number): number {
    for (let slot = 0; slot < this.slots; slot += 1) {
      if (this.addresses[slot] === address) return slot * blockWords;
    }
    return -1;
  }

  /** What lay at `address` before was written and let go, but its slot may not be in use again yet. */
  private forget(address: number): void {
    const before = this.find(address);
    if (before >= 0) this.addresses[before / blockWords] = 0;
  }

  /** Starts writes of sealed blocks, in order, for as long as the grid takes them. */
  writeSealed(): void {
    while (this.writeNext < this.sealedBlocks) {
      const slot = this.writeNext % this.slots;
      const address = this.addresses[slot]!;
      if (!this.grid.canWrite(address)) return;
      this.grid.write(this.buffer, slot * blockWords, address, this, slot);
      this.writeNext += 1;
    }
  }

  blockWritten(slot: number): void {
    this.slotWritten[slot] = 1;
    for (;;) {
      const oldest = this.writtenBelow % this.slots;
      if (this.writtenBelow === this.writeNext || this.slotWritten[oldest] === 0) return;
      this.slotWritten[oldest] = 0;
      this.writtenBelow += 1;
    }
  }
}
