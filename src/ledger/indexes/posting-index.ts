/**
 * Which accounts have a given value in an attribute: user data, ledger, code. Those of transfers lie in
 * sorted indexes of the storage.
 *
 * A key is found by a 32-bit hash alone, so rows of different keys may share a list: what a cursor
 * yields is a superset, and queries check every row that they return. For ledger, code and
 * user_data_32 the hash is one-to-one and the list exact.
 *
 * Zero user data is not indexed: it can not be asked for.
 */
import { assert } from "../../core/assert.ts";
import { accountRecord } from "../records.ts";
import { HashSlots } from "./hash-slots.ts";
import { hashId, rowsMax } from "./id-table.ts";
import type { PostingCursor } from "./posting-cursor.ts";
import { type PostingArena, PostingLists } from "./posting-lists.ts";
import type { Recycler } from "./recycler.ts";

const userData128Word = accountRecord.word.userData128;
const userData64Word = accountRecord.word.userData64;
const userData32Word = accountRecord.word.userData32;
const ledgerWord = accountRecord.word.ledger;
const codeWord = accountRecord.word.code;

/** Mixes 32 bits into 32 bits, one-to-one. Signed. */
export function hash32(value: number, seed: number): number {
  let mixed = value ^ seed;
  mixed = Math.imul(mixed ^ (mixed >>> 16), 0x85eb_ca6b);
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2_ae35);
  return mixed ^ (mixed >>> 16);
}

export function hash64(low: number, high: number, seed: number): number {
  return hash32(low ^ hash32(high, seed), seed ^ 0x9e37_79b9);
}

/**
 * Hash → the rows that have it. A slot refers to a list (entry + 1), or to the only row of its key
 * so far (−1 − row), which needs no list.
 */
export class KeyedPostings {
  private readonly slots: HashSlots;
  private readonly lists: PostingLists;
  private entries = 0;
  /** Neighbouring rows often share a key: the one appended to last, while it has a list. */
  private lastHash = 0;
  private lastEntry = -1;

  constructor(arena: PostingArena, memory: Recycler) {
    this.slots = new HashSlots(8, memory);
    this.lists = new PostingLists(arena, memory.allocate);
  }

  append(hash: number, row: number): void {
    if (this.lastEntry >= 0 && hash === this.lastHash) {
      this.lists.append(this.lastEntry, row);
      return;
    }
    const reference = this.slots.first(hash);
    if (reference === 0) {
      assert(row <= rowsMax, "row numbers have 31 bits");
      this.slots.insert(hash, -1 - row);
      this.slots.settle();
      return;
    }
    let entry = reference - 1;
    if (reference < 0) {
      entry = this.entries;
      this.entries += 1;
      this.slots.replace(entry + 1);
      this.lists.append(entry, -1 - reference);
    }
    this.lists.append(entry, row);
    this.lastHash = hash;
    this.lastEntry = entry;
  }

  /** Opens a cursor over the rows. Returns their number (a lower bound when above 4 million). */
  open(cursor: PostingCursor, hash: number, ascending: boolean, start: number): number {
    const reference = this.slots.first(hash);
    if (reference === 0) {
      cursor.openEmpty();
      return 0;
    }
    if (reference < 0) {
      cursor.openSingle(-1 - reference, ascending);
      return 1;
    }
    cursor.openList(this.lists, reference - 1, ascending, start);
    return this.lists.count(reference - 1);
  }

  clear(): void {
    this.slots.clear();
    this.lists.clear();
    this.entries = 0;
    this.lastEntry = -1;
  }
}

/** The attribute indexes of accounts. */
export class AttributeIndexes {
  private readonly userData128: KeyedPostings;
  private readonly userData64: KeyedPostings;
  private readonly userData32: KeyedPostings;
  private readonly ledger: KeyedPostings;
  private readonly code: KeyedPostings;

  constructor(
    arena: PostingArena,
    private readonly seed: number,
    memory: Recycler,
  ) {
    this.userData128 = new KeyedPostings(arena, memory);
    this.userData64 = new KeyedPostings(arena, memory);
    this.userData32 = new KeyedPostings(arena, memory);
    this.ledger = new KeyedPostings(arena, memory);
    this.code = new KeyedPostings(arena, memory);
  }

  /** Adds a row. Rows are added in ascending order. */
  append(words: Uint32Array, at: number, row: number): void {
    const seed = this.seed;
    const tag = at + userData128Word;
    if ((words[tag]! | words[tag + 1]! | words[tag + 2]! | words[tag + 3]!) !== 0) {
      this.userData128.append(hashId(words, tag, seed), row);
    }
    const tag64 = at + userData64Word;
    if ((words[tag64]! | words[tag64 + 1]!) !== 0) {
      this.userData64.append(hash64(words[tag64]!, words[tag64 + 1]!, seed), row);
    }
    const tag32 = words[at + userData32Word]!;
    if (tag32 !== 0) this.userData32.append(hash32(tag32, seed), row);
    this.ledger.append(hash32(words[at + ledgerWord]!, seed), row);
    this.code.append(hash32(words[at + codeWord]! & 0xffff, seed), row);
  }

  openUserData128(
    cursor: PostingCursor,
    words: Uint32Array,
    at: number,
    ascending: boolean,
    start: number,
  ): number {
    return this.userData128.open(cursor, hashId(words, at, this.seed), ascending, start);
  }

  openUserData64(
    cursor: PostingCursor,
    low: number,
    high: number,
    ascending: boolean,
    start: number,
  ): number {
    return this.userData64.open(cursor, hash64(low, high, this.seed), ascending, start);
  }

  openUserData32(cursor: PostingCursor, value: number, ascending: boolean, start: number): number {
    return this.userData32.open(cursor, hash32(value, this.seed), ascending, start);
  }

  openLedger(cursor: PostingCursor, value: number, ascending: boolean, start: number): number {
    return this.ledger.open(cursor, hash32(value, this.seed), ascending, start);
  }

  openCode(cursor: PostingCursor, value: number, ascending: boolean, start: number): number {
    return this.code.open(cursor, hash32(value, this.seed), ascending, start);
  }

  clear(): void {
    this.userData128.clear();
    this.userData64.clear();
    this.userData32.clear();
    this.ledger.clear();
    this.code.clear();
  }
}
