/**
 * 128-bit id → transfer or burnt id, for the youngest of them: those that the storage has not
 * covered with complete runs yet. Older ids lie on disk alone (`TransferIndexes.findIds`).
 *
 *         on disk          sealed generation      active generation
 *     ────────────── covered ──────────────── cut ─────────────────▶ rows, numbers of burnt ids
 *
 * Each generation is a hash table with the ids it refers to, numbered from its own first row and
 * first burnt id on. The storage moves both borders at the ends of ops; `follow` catches up: at a cut the active
 * generation becomes the sealed one, and the memory of what was sealed before, emptied but of full
 * size, becomes the active one. So memory is bounded by what two generations hold.
 *
 * Invariants: an id is in at most one generation; what is undone was added since the last `settle`,
 * hence is in the active generation; the sealed one never changes.
 */
import { assert } from "../../core/assert.ts";
import type { CutPosition } from "../store.ts";
import { hashId, IdTable, rowsMax } from "./id-table.ts";
import type { Recycler } from "./recycler.ts";
import { Slabs } from "./slabs.ts";

const idWords = 4;

class Generation {
  firstRow = 0;
  firstBurnt = 0;
  readonly table: IdTable;
  private readonly rows: Slabs;
  private readonly burnt: Slabs;

  constructor(seed: number, slotsLog2: number, memory: Recycler) {
    this.rows = new Slabs(idWords, 14, memory.allocate);
    this.burnt = new Slabs(idWords, 12, memory.allocate);
    this.table = new IdTable(this.rows, this.burnt, seed, slotsLog2, memory);
  }

  beginsAt(border: CutPosition): boolean {
    return this.firstRow === border.transfers && this.firstBurnt === border.failedIds;
  }

  /** Empties the generation. Its memory is kept: the next one will need as much. */
  restart(border: CutPosition): void {
    this.table.empty();
    this.firstRow = border.transfers;
    this.firstBurnt = border.failedIds;
  }

  /** The reference of an id: 0 when it is unknown here, row + 1, or −1 − number of a burnt id. */
  find(hash: number, words: Uint32Array, at: number): number {
    const reference = this.table.find(hash, words, at);
    if (reference === 0) return 0;
    return reference > 0 ? reference + this.firstRow : reference - this.firstBurnt;
  }

  /** Writes the id of a row to where the table finds it. Returns the row's number in here. */
  keep(words: Uint32Array, at: number, row: number): number {
    assert(row >= this.firstRow, "the row is of this generation");
    assert(row <= rowsMax, "row numbers have 31 bits");
    const local = row - this.firstRow;
    const rows = this.rows;
    const slabAt = (local & rows.mask) * idWords;
    if (slabAt === 0) rows.reserve(local);
    copyId(rows.slabs[local >>> rows.shift]!, slabAt, words, at);
    return local;
  }

  burn(hash: number, words: Uint32Array, at: number, number: number): void {
    assert(number >= this.firstBurnt, "the burnt id is of this generation");
    assert(number <= rowsMax, "numbers of burnt ids have 31 bits");
    const local = number - this.firstBurnt;
    const burnt = this.burnt;
    burnt.reserve(local);
    copyId(burnt.slabs[local >>> burnt.shift]!, (local & burnt.mask) * idWords, words, at);
    this.table.insertBurnt(hash, local);
  }
}

export class TransferIds {
  private active: Generation;
  private sealed: Generation;
  /** The sealed generation has ids: it is not worth a look otherwise. */
  private sealedInUse = false;

  /**
   * @param seed - Varies the hash; see IdTable.
   * @param slotsLog2 - Slots to start with, per generation.
   */
  constructor(
    private readonly seed: number,
    slotsLog2: number,
    memory: Recycler,
  ) {
    this.active = new Generation(seed, slotsLog2, memory);
    this.sealed = new Generation(seed, slotsLog2, memory);
  }

  hash(words: Uint32Array, at: number): number {
    return hashId(words, at, this.seed);
  }

  /** Forgets all ids: those from `covered` on will be added again. */
  reset(covered: CutPosition, cut: CutPosition): void {
    this.sealed.restart(covered);
    this.active.restart(cut);
    this.sealedInUse = !this.sealed.beginsAt(cut);
  }

  /** Follows the storage. All ids up to the cut, if it has moved, are in the active generation. */
  follow(covered: CutPosition, cut: CutPosition): void {
    if (!this.active.beginsAt(cut)) {
      const active = this.sealed;
      this.sealed = this.active;
      this.active = active;
      active.restart(cut);
      this.sealedInUse = true;
    }
    if (this.sealed.beginsAt(covered)) return;
    assert(this.active.beginsAt(covered), "a generation is covered as a whole");
    this.sealed.restart(covered);
    this.sealedInUse = false;
  }

  /** The reference of an id in the active generation: see Generation.find. */
  findActive(hash: number, words: Uint32Array, at: number): number {
    return this.active.find(hash, words, at);
  }

  findSealed(hash: number, words: Uint32Array, at: number): number {
    return this.sealedInUse ? this.sealed.find(hash, words, at) : 0;
  }

  /** The reference of an id in either generation. */
  find(hash: number, words: Uint32Array, at: number): number {
    const reference = this.active.find(hash, words, at);
    return reference !== 0 ? reference : this.findSealed(hash, words, at);
  }

  /**
   * Brings an id's slot into the processor's cache. The result means nothing, but must go
   * somewhere, lest the compiler drop the read.
   */
  warmActive(hash: number): number {
    return this.active.table.warm(hash);
  }

  /** The same for both generations. */
  warm(hash: number): number {
    const read = this.active.table.warm(hash);
    return this.sealedInUse ? read ^ this.sealed.table.warm(hash) : read;
  }

  /**
   * Adds the transfer in `row`, whose id at words[at…at+3] is known to be absent.
   * @param sought - The last `findActive` was for this id.
   */
  insert(hash: number, words: Uint32Array, at: number, row: number, sought: boolean): void {
    const { active } = this;
    const local = active.keep(words, at, row);
    if (sought) active.table.insertHere(hash, local);
    else active.table.insert(hash, local);
  }

  /** Adds the burnt id at words[at…at+3], known to be absent. */
  burn(words: Uint32Array, at: number, number: number): void {
    this.active.burn(this.hash(words, at), words, at, number);
  }

  /** Adds a transfer again, after `reset`. */
  restore(hash: number, words: Uint32Array, at: number, row: number): void {
    const generation = row < this.active.firstRow ? this.sealed : this.active;
    generation.table.insert(hash, generation.keep(words, at, row));
  }

  /** Adds a burnt id again, after `reset`. */
  restoreBurnt(words: Uint32Array, at: number, number: number): void {
    const generation = number < this.active.firstBurnt ? this.sealed : this.active;
    generation.burn(this.hash(words, at), words, at, number);
  }

  /** Undoes the newest insert, that of `row`. */
  remove(row: number): void {
    const { active } = this;
    assert(row >= active.firstRow, "only the current request's inserts are undone");
    active.table.remove(row - active.firstRow);
  }

  /** After each request: does the growth that its inserts owe. */
  settle(): void {
    this.active.table.settle();
  }

  /** The same after a part of what is added again. */
  settleRestored(): void {
    this.active.table.settle();
    this.sealed.table.settle();
  }
}

function copyId(target: Uint32Array, to: number, source: Uint32Array, at: number): void {
  target[to] = source[at]!;
  target[to + 1] = source[at + 1]!;
  target[to + 2] = source[at + 2]!;
  target[to + 3] = source[at + 3]!;
}
