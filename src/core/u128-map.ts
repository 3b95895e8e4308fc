/**
 * A map from 128-bit keys to small numbers with a fixed capacity: open addressing, linear probing,
 * deletion by shifting back (no tombstones, so that it stays fast for ever). Allocates only when
 * it is made. Used where peers choose the keys (client ids), hence the mixing of all four words.
 *
 * Invariant: the table is at most half full, so that every probe ends at an empty place.
 */
import { assert } from "./assert.ts";

export class U128Map {
  readonly capacity: number;
  private size = 0;
  private readonly mask: number;
  private readonly keys: Uint32Array;
  /** Value + 1; 0 marks an empty place. */
  private readonly values: Uint32Array;

  /** @param capacity - Most keys that it will hold at once. */
  constructor(capacity: number) {
    this.capacity = capacity;
    let places = 16;
    while (places < capacity * 2) places *= 2;
    this.mask = places - 1;
    this.keys = new Uint32Array(places * 4);
    this.values = new Uint32Array(places);
  }

  get count(): number {
    return this.size;
  }

  /** The value of the key at words[at…at+3], or −1. */
  get(words: Uint32Array, at: number): number {
    const place = this.find(words, at);
    return this.values[place]! - 1;
  }

  /** Adds a key or replaces its value (0 … 2^32 − 2). */
  set(words: Uint32Array, at: number, value: number): void {
    const place = this.find(words, at);
    if (this.values[place] === 0) {
      assert(this.size < this.capacity, "the map has room");
      this.size += 1;
      const keyAt = place * 4;
      this.keys[keyAt] = words[at]!;
      this.keys[keyAt + 1] = words[at + 1]!;
      this.keys[keyAt + 2] = words[at + 2]!;
      this.keys[keyAt + 3] = words[at + 3]!;
    }
    this.values[place] = value + 1;
  }

  /** Removes a key; returns whether it was there. */
  delete(words: Uint32Array, at: number): boolean {
    let hole = this.find(words, at);
    if (this.values[hole] === 0) return false;
    this.size -= 1;
    let place = hole;
    for (;;) {
      place = (place + 1) & this.mask;
      if (this.values[place] === 0) break;
      const home = hash(this.keys, place * 4) & this.mask;
      // Move an entry back only when its home does not lie cyclically after the hole.
      if (((place - home) & this.mask) >= ((place - hole) & this.mask)) {
        this.keys.copyWithin(hole * 4, place * 4, place * 4 + 4);
        this.values[hole] = this.values[place]!;
        hole = place;
      }
    }
    this.values[hole] = 0;
    return true;
  }

  clear(): void {
    this.values.fill(0);
    this.size = 0;
  }

  private find(words: Uint32Array, at: number): number {
    let place = hash(words, at) & this.mask;
    while (this.values[place] !== 0) {
      const keyAt = place * 4;
      if (
        this.keys[keyAt] === words[at] &&
        this.keys[keyAt + 1] === words[at + 1] &&
        this.keys[keyAt + 2] === words[at + 2] &&
        this.keys[keyAt + 3] === words[at + 3]
      ) {
        return place;
      }
      place = (place + 1) & this.mask;
    }
    return place;
  }
}

/** Mixes four words into 32 bits (multiply and xor-shift rounds, as in murmur finalisers). */
function hash(words: Uint32Array, at: number): number {
  let mixed = Math.imul(words[at]! ^ 0x9e37_79b9, 0x85eb_ca6b);
  mixed = Math.imul((mixed ^ (mixed >>> 15)) + words[at + 1]!, 0xc2b2_ae35);
  mixed = Math.imul((mixed ^ (mixed >>> 13)) + words[at + 2]!, 0x27d4_eb2f);
  mixed = Math.imul((mixed ^ (mixed >>> 15)) + words[at + 3]!, 0x1656_67b1);
  mixed ^= mixed >>> 16;
  mixed = Math.imul(mixed, 0x85eb_ca6b);
  return (mixed ^ (mixed >>> 13)) >>> 0;
}
