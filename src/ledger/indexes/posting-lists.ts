/**
 * Lists of ascending postings, one list per key of an index: "the accounts of ledger 7".
 * Appended to, never changed otherwise, walked in both directions. A posting is the number of a row.
 *
 * A list is a chain of blocks that grow with it, 8 … 1024 words each, so that short lists waste
 * little and long ones are crossed in few hops:
 *
 *     block = previous block ‖ next block ‖ postings…   (32-bit words; every block full but the last)
 *     entry = first block ‖ last block ‖ count and used ‖ last posting
 *
 * Blocks are cut from slabs that never move, in ascending order, and never freed. A reference to a
 * block is its word index in the arena (a multiple of 8) plus its size class in the lower three bits;
 * 0 is no block. A list of one posting has no block: the posting stands in the entry.
 */
import { assert } from "../../core/assert.ts";
import { type AllocateWords, Slabs } from "./slabs.ts";

export const entryWords = 4;
/** Words in front of the postings of a block: references to its neighbours. */
export const blockHeaderWords = 2;

const slabWordsLog2 = 18;
export const arenaSlabShift = slabWordsLog2;
export const arenaSlabMask = (1 << slabWordsLog2) - 1;
const blockWordsMin = 8;
const classMax = 7;

/** `count and used`: postings in the last block, and above them those of the list, saturating. */
const usedBits = 10;
const usedMask = (1 << usedBits) - 1;
const countMax = 2 ** (32 - usedBits) - 1;

assert(
  blockWordsMin << classMax <= usedMask + 1,
  "`used` counts the postings of the largest block",
);

export function blockWords(reference: number): number {
  return blockWordsMin << (reference & 7);
}

/** Memory of blocks, shared by all the lists of a ledger. */
export class PostingArena {
  readonly slabs: Uint32Array[] = [];
  /** Word index of the first free word. Starts at 8: 0 is no reference. */
  private free = blockWordsMin;

  constructor(private readonly allocateWords: AllocateWords) {}

  /** Returns the reference of a new block, its header zero. */
  allocate(sizeClass: number): number {
    const words = blockWordsMin << sizeClass;
    const room = (1 << slabWordsLog2) - (this.free & arenaSlabMask);
    // A block does not cross slabs; what is left of this one stays unused.
    if (room < words) this.free += room;
    const at = this.free;
    assert(at + words <= 2 ** 32, "the arena is addressed with 32 bits");
    this.free += words;
    const index = Math.floor(at / 2 ** slabWordsLog2);
    if (index === this.slabs.length) this.slabs.push(this.allocateWords(1 << slabWordsLog2));
    return at + sizeClass;
  }

  get words(): number {
    return this.slabs.length << slabWordsLog2;
  }

  clear(): void {
    this.slabs.length = 0;
    this.free = blockWordsMin;
  }
}

/** The entries of the lists of one index. Entry numbers are the caller's. */
export class PostingLists {
  readonly entries: Slabs;

  constructor(
    readonly arena: PostingArena,
    allocateWords: AllocateWords,
  ) {
    this.entries = new Slabs(entryWords, 12, allocateWords);
  }

  /** Number of postings; a lower bound when it is above four million. */
  count(entry: number): number {
    if (!this.entries.has(entry)) return 0;
    const slab = this.entries.slabs[entry >>> this.entries.shift]!;
    return slab[(entry & this.entries.mask) * entryWords + 2]! >>> usedBits;
  }

  /** Postings in the last block of a list. */
  used(entry: number): number {
    const slab = this.entries.slabs[entry >>> this.entries.shift]!;
    return slab[(entry & this.entries.mask) * entryWords + 2]! & usedMask;
  }

  /** Appends a posting, which is above all postings of the list. */
  append(entry: number, posting: number): void {
    const entries = this.entries;
    const slabIndex = entry >>> entries.shift;
    if (slabIndex >= entries.slabs.length || entries.slabs[slabIndex]!.length === 0) {
      entries.reserve(entry);
    }
    const slab = entries.slabs[slabIndex]!;
    const at = (entry & entries.mask) * entryWords;
    const countUsed = slab[at + 2]!;
    const count = countUsed >>> usedBits;
    if (count === 0) {
      slab[at] = posting;
      slab[at + 2] = 1 << usedBits;
      slab[at + 3] = posting;
      return;
    }
    assert(posting > slab[at + 3]!, "postings ascend in a list");
    slab[at + 3] = posting;
    if (count === 1) {
      const block = this.arena.allocate(0);
      const words = this.arena.slabs[block >>> arenaSlabShift]!;
      const blockAt = block & arenaSlabMask & ~7;
      words[blockAt + blockHeaderWords] = slab[at]!;
      words[blockAt + blockHeaderWords + 1] = posting;
      slab[at] = block;
      slab[at + 1] = block;
      slab[at + 2] = (2 << usedBits) | 2;
      return;
    }
    const counted = count < countMax ? 1 << usedBits : 0;
    const last = slab[at + 1]!;
    const used = countUsed & usedMask;
    const lastWords = this.arena.slabs[last >>> arenaSlabShift]!;
    const lastAt = last & arenaSlabMask & ~7;
    if (used < blockWords(last) - blockHeaderWords) {
      lastWords[lastAt + blockHeaderWords + used] = posting;
      slab[at + 2] = countUsed + counted + 1;
      return;
    }
    // The new block holds up to a third of what the list has.
    const sizeClass = Math.max(0, Math.min(classMax, 31 - Math.clz32(count / 24)));
    const block = this.arena.allocate(sizeClass);
    const words = this.arena.slabs[block >>> arenaSlabShift]!;
    const blockAt = block & arenaSlabMask & ~7;
    words[blockAt] = last;
    words[blockAt + blockHeaderWords] = posting;
    lastWords[lastAt + 1] = block;
    slab[at + 1] = block;
    slab[at + 2] = countUsed - used + counted + 1;
  }

  clear(): void {
    this.entries.clear();
  }
}
