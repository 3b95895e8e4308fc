/**
 * Sorted indexes in memory, as unhelpful as the interface allows: cursors ask at random for blocks,
 * which may come later; estimates are wrong; cuts come at the ends of random ops, and what lies before
 * `covered` is found by `findIds` alone. Every rule that the ledger must keep is asserted.
 */
import { assert } from "../../src/core/assert.ts";
import type { Prng } from "../../src/core/prng.ts";
import {
  type CutPosition,
  type IndexCursor,
  noRow,
  type SortedIndex,
  type TransferIndexes,
  unread,
} from "../../src/ledger/store.ts";

/** What the indexes need of the store that they are part of. */
export interface IndexedStore {
  readonly transfers: { readonly count: number; readonly opFirstRow: number };
  readonly failedIds: { readonly count: number; readonly opFirstRow: number };
  readonly random: Prng;
  /** Does the work now, or when the store delivers; the one fetch of the store. */
  deliverLater(garble: () => void, work: () => void, onDone: () => void): boolean;
}

const keyText = (key: Uint32Array, at: number, words: number): string =>
  key.subarray(at, at + words).join();

const samePosition = (a: CutPosition, b: CutPosition): boolean =>
  a.transfers === b.transfers && a.failedIds === b.failedIds;

class MemoryIndex implements SortedIndex {
  /** Per key its rows. */
  rows = new Map<string, number[]>();
  entries = 0;
  private lastRow = -1;

  constructor(
    readonly name: string,
    readonly keyWords: number,
    private readonly owner: MemoryIndexes,
  ) {}

  addShort(row: number, keyLow: number, keyHigh: number): void {
    assert(this.keyWords === 2, `${this.name}: keys have two words`);
    this.add(row, keyText(Uint32Array.of(keyLow, keyHigh), 0, 2));
  }

  addLong(row: number, key: Uint32Array, keyAt: number): void {
    assert(this.keyWords === 4, `${this.name}: keys have four words`);
    assert(keyAt + 4 <= key.length, `${this.name}: the key lies in its memory`);
    this.add(row, keyText(key, keyAt, 4));
  }

  private add(row: number, key: string): void {
    this.owner.adding(row);
    assert(row >= this.lastRow, `${this.name}: rows never descend`);
    this.lastRow = row;
    const rows = this.rows.get(key) ?? [];
    assert(rows.at(-1) !== row, `${this.name}: each pair is added once`);
    rows.push(row);
    this.rows.set(key, rows);
    this.entries += 1;
  }

  /** Forgets the rows from `end` on. */
  truncate(end: number): void {
    this.entries = 0;
    for (const [key, rows] of this.rows) {
      const kept = rows.filter((row) => row < end);
      this.rows.set(key, kept);
      this.entries += kept.length;
    }
    this.lastRow = end - 1;
  }
}

class MemoryCursor implements IndexCursor {
  estimate = 0;
  private rows: readonly number[] = [];
  private ascending = true;
  private target = 0;
  private version = -1;
  private waiting = false;

  constructor(private readonly owner: MemoryIndexes) {}

  open(
    index: SortedIndex,
    key: Uint32Array,
    keyAt: number,
    ascending: boolean,
    start: number,
  ): void {
    const { owner } = this;
    assert(owner.ready, "nothing is sought before all was added again");
    const known = owner.all.find((other) => other === index);
    assert(known !== undefined, "the index is this store's");
    assert(keyAt + index.keyWords <= key.length, "the key lies in its memory");
    this.rows = known.rows.get(keyText(key, keyAt, index.keyWords)) ?? [];
    this.ascending = ascending;
    this.target = start;
    this.version = owner.version;
    this.waiting = false;
    this.estimate = owner.store.random.below(2 * this.rows.length + 1);
  }

  seek(target: number): number {
    const { ascending, owner } = this;
    assert(
      this.version === owner.version,
      "a cursor is good until something is added or an op ends",
    );
    assert(!this.waiting, "what is unread is read before it is sought again");
    assert(ascending ? target >= this.target : target <= this.target, "targets move with the walk");
    this.target = target;
    if (this.rows.length > 0 && owner.store.random.chance(0.2)) {
      this.waiting = true;
      return unread;
    }
    const found = ascending
      ? this.rows.find((row) => row >= target)
      : this.rows.findLast((row) => row <= target);
    return found ?? noRow;
  }

  read(onDone: () => void): boolean {
    assert(this.version === this.owner.version, "a cursor is good until something is added");
    assert(this.waiting, "only what is unread is read");
    return this.owner.store.deliverLater(
      () => {},
      () => {
        this.waiting = false;
      },
      onDone,
    );
  }
}

export class MemoryIndexes implements TransferIndexes {
  covered: CutPosition = { transfers: 0, failedIds: 0 };
  cut: CutPosition = { transfers: 0, failedIds: 0 };
  readonly ids = new MemoryIndex("ids", 4, this);
  readonly accounts = new MemoryIndex("accounts", 2, this);
  readonly userData128 = new MemoryIndex("userData128", 4, this);
  readonly userData64 = new MemoryIndex("userData64", 2, this);
  readonly userData32 = new MemoryIndex("userData32", 2, this);
  readonly ledger = new MemoryIndex("ledger", 2, this);
  readonly code = new MemoryIndex("code", 2, this);
  readonly all: readonly MemoryIndex[] = [
    this.ids,
    this.accounts,
    this.userData128,
    this.userData64,
    this.userData32,
    this.ledger,
    this.code,
  ];
  /** All that was added is there. */
  ready = false;
  /** Changes with all that ends the use of cursors. */
  version = 0;
  /** Burnt ids in the order of their numbers. */
  private readonly burnt: string[] = [];

  constructor(readonly store: IndexedStore) {}

  /** Asserts that an entry of the row may be added now. */
  adding(row: number): void {
    const { transfers } = this.store;
    assert(row < transfers.count, "entries are of rows that exist");
    const first = this.ready ? transfers.opFirstRow : this.covered.transfers;
    assert(row >= first, "entries are added at the end of their request, or at a start");
    this.version += 1;
  }

  addBurnt(number: number, key: Uint32Array, keyAt: number): void {
    const { failedIds } = this.store;
    assert(number < failedIds.count, "burnt ids are in their table");
    assert(number === this.burnt.length, "burnt ids are added in the order of their numbers");
    if (this.ready) assert(number >= failedIds.opFirstRow, "burnt ids are added by their request");
    this.burnt.push(keyText(key, keyAt, 4));
    this.version += 1;
  }

  rebuilt(): void {
    assert(!this.ready, "all is added again once");
    this.ready = true;
    this.checkComplete();
  }

  findIds(
    words: Uint32Array,
    offsets: Uint32Array,
    count: number,
    references: Int32Array,
    onDone: () => void,
  ): boolean {
    assert(count > 0 && count <= offsets.length, "as many offsets as said");
    assert(count <= references.length, "the references fit");
    const find = (): void => {
      for (let index = 0; index < count; index += 1) {
        const id = keyText(words, offsets[index]!, 4);
        const row = this.ids.rows.get(id)?.[0] ?? noRow;
        const number = this.burnt.indexOf(id);
        if (row !== noRow && row < this.covered.transfers) references[index] = row + 1;
        else if (number >= 0 && number < this.covered.failedIds) references[index] = -1 - number;
        else references[index] = 0;
      }
    };
    return this.store.deliverLater(() => references.fill(0x5a5a_5a5a, 0, count), find, onDone);
  }

  createCursor(): IndexCursor {
    return new MemoryCursor(this);
  }

  endOp(): void {
    assert(this.ready, "no op ends before all was added again");
    this.checkComplete();
    this.version += 1;
    const { random, transfers, failedIds } = this.store;
    if (!samePosition(this.covered, this.cut)) {
      if (random.chance(0.3)) this.covered = this.cut;
    } else if (random.chance(0.2)) {
      this.cut = { transfers: transfers.count, failedIds: failedIds.count };
    }
  }

  /** Cuts after all there is. What was cut before is in complete runs then. */
  cutNow(): void {
    const { transfers, failedIds } = this.store;
    assert(transfers.count === transfers.opFirstRow, "cuts are between ops");
    this.covered = this.cut;
    this.cut = { transfers: transfers.count, failedIds: failedIds.count };
  }

  /** A restart: what is in complete runs stays. */
  reopen(): void {
    for (const index of this.all) index.truncate(this.covered.transfers);
    this.burnt.length = this.covered.failedIds;
    this.ready = false;
    this.version += 1;
  }

  /** Some entries every row has. */
  private checkComplete(): void {
    assert(this.burnt.length === this.store.failedIds.count, "burnt ids are indexed");
    const { count } = this.store.transfers;
    assert(this.ids.entries === count, "transfers are indexed by id");
    assert(this.accounts.entries === 2 * count, "transfers are indexed by both accounts");
    assert(this.ledger.entries === count, "transfers are indexed by ledger");
    assert(this.code.entries === count, "transfers are indexed by code");
  }
}
