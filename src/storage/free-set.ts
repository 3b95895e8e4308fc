/**
 * Which blocks of the grid are in use. Three bit sets over addresses (bit i is address i + 1):
 *
 * - *acquired*: not to be handed out.
 * - *released*: acquired, and not needed by the checkpoint frozen last; the one before it, which
 *   is what a restart would find until the superblock moves, may need them.
 * - *releasing*: let go since the last freeze; still needed by the checkpoint frozen last.
 *
 *   acquire: lowest free address         release: acquired → releasing
 *   freeze:  begin: released → free      end: releasing → released
 *
 * A freeze begins only when the checkpoint before it is durable, hence nothing that a restart
 * could need is ever handed out. The lowest free address depends on the sets alone, and the
 * first two travel in the checkpoint: a replica that restarts hands out the same addresses as
 * one that does not.
 */
import { assert } from "../core/assert.ts";

const initialWords = 512;

export class FreeSet {
  private acquired: Uint32Array = new Uint32Array(initialWords);
  private released: Uint32Array = new Uint32Array(initialWords);
  private releasing: Uint32Array = new Uint32Array(initialWords);
  /** No word below it has a free bit. */
  private hint = 0;
  private highest = 0;
  acquiredCount = 0;
  releasedCount = 0;
  private releasingCount = 0;

  constructor(readonly blocksMax: number) {}

  /** Highest address that was in use at the last freeze or since. */
  get high(): number {
    return this.highest;
  }

  /** Blocks that may still be acquired before the next freeze. */
  get available(): number {
    return this.blocksMax - this.acquiredCount;
  }

  /** The caller has checked `available`. */
  acquire(): number {
    assert(this.acquiredCount < this.blocksMax, "a block is available");
    let at = this.hint;
    while (at < this.acquired.length && this.acquired[at] === 0xffff_ffff) at += 1;
    if (at === this.acquired.length) this.grow(at + 1);
    this.hint = at;
    const word = this.acquired[at]!;
    const lowestFree = ~word & (word + 1);
    const address = at * 32 + (31 - Math.clz32(lowestFree)) + 1;
    assert(address <= this.blocksMax, "addresses are handed out from the lowest");
    this.acquired[at] = word | lowestFree;
    this.acquiredCount += 1;
    if (address > this.highest) this.highest = address;
    return address;
  }

  /** The block is free from the freeze after the next one on. */
  release(address: number): void {
    assert(this.isAcquired(address), "only what is in use is released");
    const at = (address - 1) >>> 5;
    const bit = 1 << ((address - 1) & 31);
    assert((this.released[at]! & bit) === 0, "a block is released once");
    assert((this.releasing[at]! & bit) === 0, "a block is released once");
    this.releasing[at] = this.releasing[at]! | bit;
    this.releasingCount += 1;
  }

  isAcquired(address: number): boolean {
    const at = (address - 1) >>> 5;
    return at < this.acquired.length && (this.acquired[at]! & (1 << ((address - 1) & 31))) !== 0;
  }

  /** True for blocks that the checkpoint frozen last does not need. */
  isReleased(address: number): boolean {
    const at = (address - 1) >>> 5;
    return at < this.released.length && (this.released[at]! & (1 << ((address - 1) & 31))) !== 0;
  }

  /** The checkpoint before is durable: what it does not need may be handed out again. */
  freezeBegin(): void {
    const words = this.words(this.highest);
    for (let at = 0; at < words; at += 1) {
      this.acquired[at] = this.acquired[at]! & ~this.released[at]!;
      this.released[at] = 0;
    }
    this.acquiredCount -= this.releasedCount;
    this.releasedCount = 0;
    this.hint = 0;
    this.lowerHighest();
  }

  freezeEnd(): void {
    const swap = this.released;
    this.released = this.releasing;
    this.releasing = swap; // All zero since freezeBegin.
    this.releasedCount = this.releasingCount;
    this.releasingCount = 0;
  }

  /** Words of each set that `encode` writes when the highest address is `high`. */
  words(high: number): number {
    return Math.ceil(high / 32);
  }

  /** Writes acquired, then released: words(high) words each. */
  encode(target: Uint32Array, at: number): void {
    assert(this.releasingCount === 0, "encoded at the end of a freeze");
    const words = this.words(this.highest);
    for (let index = 0; index < words; index += 1) {
      target[at + index] = this.acquired[index]!;
      target[at + words + index] = this.released[index]!;
    }
  }

  /** Takes the sets over from a checkpoint. False if they contradict each other or the limit. */
  decode(source: Uint32Array, at: number, words: number): boolean {
    assert(this.acquiredCount === 0, "decoded once, at start");
    if (words > this.words(this.blocksMax)) return false;
    if (words > this.acquired.length) this.grow(words);
    for (let index = 0; index < words; index += 1) {
      const acquired = source[at + index]!;
      const released = source[at + words + index]!;
      if ((released & ~acquired) !== 0) return false;
      this.acquired[index] = acquired;
      this.released[index] = released;
      this.acquiredCount += bitCount(acquired);
      this.releasedCount += bitCount(released);
    }
    this.highest = words * 32;
    this.lowerHighest();
    return this.words(this.highest) === words && this.highest <= this.blocksMax;
  }

  private lowerHighest(): void {
    let at = this.words(this.highest) - 1;
    while (at >= 0 && this.acquired[at] === 0) at -= 1;
    this.highest = at < 0 ? 0 : at * 32 + 32 - Math.clz32(this.acquired[at]!);
  }

  private grow(words: number): void {
    let length = this.acquired.length;
    while (length < words) length *= 2;
    this.acquired = grown(this.acquired, length);
    this.released = grown(this.released, length);
    this.releasing = grown(this.releasing, length);
  }
}

function grown(words: Uint32Array, length: number): Uint32Array {
  const larger = new Uint32Array(length);
  larger.set(words);
  return larger;
}

function bitCount(word: number): number {
  let count = 0;
  for (let rest = word; rest !== 0; rest &= rest - 1) count += 1;
  return count;
}
