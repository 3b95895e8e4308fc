/**
 * 128-bit id → row number, for accounts and transfers; for transfers also the ids that are burnt
 * (they failed transiently and may never be used again).
 *
 * A slot holds 32 bits of the id's hash and a reference: row + 1, or −1 − number of the burnt id.
 * The ids themselves lie in rows (the accounts' own rows, or 16-byte rows kept for the purpose),
 * so that growth moves 8 bytes per id and reads no id.
 *
 * Invariants: an id is in the table at most once; rows are added in ascending order and removed
 * only from the end, to undo a broken chain; a burnt id is never removed.
 */
import { assert } from "../../core/assert.ts";
import { HashSlots } from "./hash-slots.ts";
import type { Recycler } from "./recycler.ts";
import type { Slabs } from "./slabs.ts";

export const rowsMax = 0x7fff_fffe;

/** Where the ids of rows are: the first four words of each row. */
export interface IdRows {
  readonly slabs: readonly Uint32Array[];
  readonly shift: number;
  readonly rowWords: number;
}

/**
 * Mixes the four words of an id into 32 bits (multiply and xor-shift rounds): clients choose ids,
 * and both counters and time-ordered ids must spread evenly. Signed.
 */
export function hashId(words: Uint32Array, at: number, seed: number): number {
  let mixed = Math.imul(words[at]! ^ seed, 0x85eb_ca6b);
  mixed = Math.imul((mixed ^ (mixed >>> 15)) + words[at + 1]!, 0xc2b2_ae35);
  mixed = Math.imul((mixed ^ (mixed >>> 13)) + words[at + 2]!, 0x27d4_eb2f);
  mixed = Math.imul((mixed ^ (mixed >>> 15)) + words[at + 3]!, 0x1656_67b1);
  mixed ^= mixed >>> 16;
  mixed = Math.imul(mixed, 0x85eb_ca6b);
  return mixed ^ (mixed >>> 13);
}

export class IdTable {
  private readonly slots: HashSlots;

  /**
   * @param rows - The ids of rows. Written by the owner before `insert`.
   * @param burnt - The burnt ids, or null where there are none.
   * @param seed - Varies the hash, so that ids chosen for one seed's collisions meet another.
   * @param slotsLog2 - Slots to start with; must take one operation's inserts without growing.
   */
  constructor(
    private readonly rows: IdRows,
    private readonly burnt: Slabs | null,
    private readonly seed: number,
    slotsLog2: number,
    memory: Recycler,
  ) {
    this.slots = new HashSlots(slotsLog2, memory);
  }

  hash(words: Uint32Array, at: number): number {
    return hashId(words, at, this.seed);
  }

  /**
   * The reference of the id at words[at…at+3], whose hash is given: 0 when it is unknown, row + 1,
   * or below 0 when it is burnt.
   */
  find(hash: number, words: Uint32Array, at: number): number {
    let reference = this.slots.first(hash);
    while (reference !== 0 && !this.isIdOf(reference, words, at)) {
      reference = this.slots.after(hash);
    }
    return reference;
  }

  /** The row of an id, or −1 when there is none. */
  findRow(words: Uint32Array, at: number): number {
    const reference = this.find(hashId(words, at, this.seed), words, at);
    return reference > 0 ? reference - 1 : -1;
  }

  /**
   * Brings the slot of an id into the processor's cache. The result means nothing, but must go
   * somewhere, lest the compiler drop the read.
   */
  warm(hash: number): number {
    return this.slots.warm(hash);
  }

  /** The reference that an id with this hash most likely has: `confirm` tells. */
  guess(hash: number): number {
    return this.slots.first(hash);
  }

  /** The row of an id, or −1, given what `guess` said. */
  confirm(guess: number, hash: number, words: Uint32Array, at: number): number {
    if (guess === 0) return -1;
    const reference = this.isIdOf(guess, words, at) ? guess : this.find(hash, words, at);
    return reference > 0 ? reference - 1 : -1;
  }

  /** Adds a row, by the hash of its id. The id is known to be absent. */
  insert(hash: number, row: number): void {
    assert(row <= rowsMax, "row numbers have 31 bits");
    this.slots.insert(hash, row + 1);
  }

  /** The same where `find` for this hash was the last call and found nothing. */
  insertHere(hash: number, row: number): void {
    assert(row <= rowsMax, "row numbers have 31 bits");
    this.slots.insertHere(hash, row + 1);
  }

  insertBurnt(hash: number, number: number): void {
    assert(number <= rowsMax, "numbers of burnt ids have 31 bits");
    this.slots.insert(hash, -1 - number);
  }

  /** Undoes the newest insert, that of `row`. Its id is still in the rows. */
  remove(row: number): void {
    const slab = this.rows.slabs[row >>> this.rows.shift]!;
    const at = (row & ((1 << this.rows.shift) - 1)) * this.rows.rowWords;
    this.slots.remove(hashId(slab, at, this.seed), row + 1);
  }

  /** After each operation: does the growth that its inserts owe. */
  settle(): void {
    this.slots.settle();
  }

  clear(): void {
    this.slots.clear();
  }

  /** Removes all ids, and keeps the memory. */
  empty(): void {
    this.slots.empty();
  }

  private isIdOf(reference: number, words: Uint32Array, at: number): boolean {
    let slab: Uint32Array;
    let from: number;
    if (reference > 0) {
      const row = reference - 1;
      const rows = this.rows;
      slab = rows.slabs[row >>> rows.shift]!;
      from = (row & ((1 << rows.shift) - 1)) * rows.rowWords;
    } else {
      assert(this.burnt !== null, "only a table with burnt ids refers to one");
      const number = -1 - reference;
      slab = this.burnt.slabs[number >>> this.burnt.shift]!;
      from = (number & this.burnt.mask) * 4;
    }
    return (
      slab[from] === words[at] &&
      slab[from + 1] === words[at + 1] &&
      slab[from + 2] === words[at + 2] &&
      slab[from + 3] === words[at + 3]
    );
  }
}
