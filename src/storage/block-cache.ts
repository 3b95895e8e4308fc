/**
 * Blocks read back from disk, by address. CLOCK replacement over preallocated slots. What it holds
 * never decides an address or a byte that is written: its size may differ per replica.
 *
 * The slots lie in pieces of memory: no array is longer than 4 GiB on Node.js 20, and word indexes stay
 * small integers.
 */
import { assert } from "../core/assert.ts";
import { blockSize } from "../core/limits.ts";
import type { FileIo, IoBuffer } from "../io/io.ts";
import { blockWords } from "./format.ts";

/** Slots per piece: 1 GiB. A power of two. */
const pieceSlotsDefault = 2 ** 14;

/** The index, four times as long, still spreads over all bits of an address's hash. 256 GiB. */
const slotsMax = 2 ** 22;

/** The largest cache. Bytes. */
export const blockCacheSizeMax = slotsMax * blockSize;

export class BlockCache {
  readonly slots: number;
  private readonly pieces: IoBuffer[] = [];
  private readonly pieceShift: number;
  private readonly pieceMask: number;
  /** Address per slot; 0: empty, or being filled. */
  private readonly addresses: Uint32Array;
  private readonly referenced: Uint8Array;
  private readonly pinned: Uint8Array;
  /** Open addressing, linear probing: slot + 1, or 0. At most a quarter full. */
  private readonly index: Int32Array;
  private readonly indexMask: number;
  private hand = 0;
  hits = 0;
  misses = 0;

  /**
   * @param slotsMin - Slots that may be pinned at the same time.
   * @param pieceSlots - Slots per piece, a power of two; for tests.
   */
  constructor(io: FileIo, sizeBytes: number, slotsMin: number, pieceSlots = pieceSlotsDefault) {
    this.slots = Math.max(slotsMin, Math.floor(sizeBytes / blockSize));
    assert(this.slots <= slotsMax, "the hash reaches every place of the index");
    this.pieceShift = 31 - Math.clz32(pieceSlots);
    this.pieceMask = pieceSlots - 1;
    assert(1 << this.pieceShift === pieceSlots, "pieces are found by shifting");
    for (let first = 0; first < this.slots; first += pieceSlots) {
      this.pieces.push(io.allocate(Math.min(pieceSlots, this.slots - first) * blockSize));
    }
    this.addresses = new Uint32Array(this.slots);
    this.referenced = new Uint8Array(this.slots);
    this.pinned = new Uint8Array(this.slots);
    let size = 16;
    while (size < this.slots * 4) size *= 2;
    this.index = new Int32Array(size);
    this.indexMask = size - 1;
  }

  /** The memory that a slot lies in. */
  piece(slot: number): IoBuffer {
    return this.pieces[slot >>> this.pieceShift]!;
  }

  /** Where in its piece a slot's block begins, in words. */
  wordAt(slot: number): number {
    return (slot & this.pieceMask) * blockWords;
  }

  /** The slot of the block at `address`, or −1. */
  find(address: number): number {
    let at = this.home(address);
    while (this.index[at] !== 0) {
      const slot = this.index[at]! - 1;
      if (this.addresses[slot] === address) {
        this.referenced[slot] = 1;
        this.hits += 1;
        return slot;
      }
      at = (at + 1) & this.indexMask;
    }
    this.misses += 1;
    return -1;
  }

  /** True while `slot`, which `find` named, still has the block at `address`. */
  holds(slot: number, address: number): boolean {
    if (this.addresses[slot] !== address) return false;
    this.referenced[slot] = 1;
    return true;
  }

  /** The block at `address` is in use no more: another one may be written there. */
  forget(address: number): void {
    let at = this.home(address);
    while (this.index[at] !== 0) {
      const slot = this.index[at]! - 1;
      if (this.addresses[slot] === address) {
        this.remove(slot);
        this.referenced[slot] = 0;
        return;
      }
      at = (at + 1) & this.indexMask;
    }
  }

  /** An empty slot to read into; it stays pinned until `fill` or `abandon`. */
  take(): number {
    // Two rounds clear every mark; fewer slots than there are may be pinned.
    for (let step = 0; step <= 2 * this.slots; step += 1) {
      const slot = this.hand;
      this.hand = slot + 1 === this.slots ? 0 : slot + 1;
      if (this.pinned[slot] === 1) continue;
      if (this.referenced[slot] === 1) {
        this.referenced[slot] = 0;
        continue;
      }
      if (this.addresses[slot] !== 0) this.remove(slot);
      this.pinned[slot] = 1;
      return slot;
    }
    assert(false, "some slot is not pinned");
  }

  /** The slot now holds the verified block at `address`. */
  fill(slot: number, address: number): void {
    assert(this.pinned[slot] === 1, "the slot was taken");
    this.pinned[slot] = 0;
    this.referenced[slot] = 1;
    this.addresses[slot] = address;
    let at = this.home(address);
    while (this.index[at] !== 0) {
      assert(this.addresses[this.index[at]! - 1] !== address, "a block is cached once");
      at = (at + 1) & this.indexMask;
    }
    this.index[at] = slot + 1;
  }

  /** What was read into the slot is not to be served. */
  abandon(slot: number): void {
    assert(this.pinned[slot] === 1, "the slot was taken");
    this.pinned[slot] = 0;
  }

  private home(address: number): number {
    return (Math.imul(address, 0x9e37_79b1) >>> 8) & this.indexMask;
  }

  private remove(slot: number): void {
    let hole = this.home(this.addresses[slot]!);
    while (this.index[hole] !== slot + 1) hole = (hole + 1) & this.indexMask;
    this.addresses[slot] = 0;
    // Moves later entries of the probe sequence back, so that no tombstones are needed.
    let at = hole;
    for (;;) {
      at = (at + 1) & this.indexMask;
      const entry = this.index[at]!;
      if (entry === 0) break;
      const distanceHome = (at - this.home(this.addresses[entry - 1]!)) & this.indexMask;
      if (distanceHome < ((at - hole) & this.indexMask)) continue;
      this.index[hole] = entry;
      hole = at;
    }
    this.index[hole] = 0;
  }
}
