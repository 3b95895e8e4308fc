/**
 * A storage in memory that is as unhelpful as the interface allows: rows of the current op lie in
 * small blocks scattered over one array, full of garbage before they are written; earlier rows can
 * be had by `fetch` alone, which now and then, under a seed, delivers later; every rule that the
 * ledger must keep (touch before change, truncate only this op's rows, one fetch at a time) is
 * asserted.
 */
import { assert } from "../../src/core/assert.ts";
import { Prng } from "../../src/core/prng.ts";
import type { AppendTable, LedgerStore, PagedTable } from "../../src/ledger/store.ts";
import { MemoryIndexes } from "./memory-indexes.ts";

const garbage = 0xdead_beef;

/** Room for the rows of one op. */
const opRowsMax = 1 << 15;

class MemoryAppendTable implements AppendTable {
  count = 0;
  opFirstRow = 0;
  tailAt = 0;
  readonly tailWords: Uint32Array;
  readonly foundWords: Uint32Array;
  /** Rows of ended ops. */
  private readonly old: Uint32Array[] = [];
  /** Where each row of the current op lies, and which places are taken. */
  private places: number[] = [];
  private readonly taken = new Uint8Array(opRowsMax + 1);
  private lastPlace = 0;

  constructor(
    readonly name: string,
    readonly rowWords: number,
    private readonly random: Prng,
  ) {
    this.tailWords = new Uint32Array(opRowsMax * rowWords);
    this.foundWords = this.tailWords;
  }

  append(): number {
    assert(this.places.length < opRowsMax / 2, `${this.name}: an op has a bounded number of rows`);
    // Rows of an op need not be neighbours, though they often are.
    let place = this.lastPlace + 1;
    while (place >= opRowsMax || this.taken[place] === 1 || this.random.chance(0.1)) {
      place = this.random.below(opRowsMax);
    }
    this.lastPlace = place;
    this.taken[place] = 1;
    this.places.push(place);
    this.tailAt = place * this.rowWords;
    this.tailWords.fill(garbage, this.tailAt, this.tailAt + this.rowWords);
    this.count += 1;
    return this.count - 1;
  }

  find(row: number): number {
    assert(row >= this.opFirstRow && row < this.count, `${this.name}: row of the current op`);
    return this.places[row - this.opFirstRow]! * this.rowWords;
  }

  truncate(count: number): void {
    assert(count >= this.opFirstRow, `${this.name}: only rows of the current op are undone`);
    assert(count <= this.count, `${this.name}: truncation removes rows`);
    while (this.count > count) {
      this.release(this.places.pop()!);
      this.count -= 1;
    }
  }

  /** A row by number, for `fetch` and for tests. */
  row(row: number): Uint32Array {
    assert(row < this.count, `${this.name}: the row exists`);
    if (row < this.opFirstRow) return this.old[row]!;
    const at = this.find(row);
    return this.tailWords.slice(at, at + this.rowWords);
  }

  endOp(): void {
    for (let row = this.opFirstRow; row < this.count; row += 1) this.old.push(this.row(row));
    for (const place of this.places) this.release(place);
    this.places = [];
    this.opFirstRow = this.count;
  }

  private release(place: number): void {
    this.taken[place] = 0;
    this.tailWords.fill(garbage, place * this.rowWords, (place + 1) * this.rowWords);
  }
}

class MemoryPagedTable implements PagedTable {
  count = 0;
  readonly slabWords: Uint32Array[] = [];
  readonly slabBytes: Uint8Array[] = [];
  readonly slabShift = 4;
  opFirstRow = 0;
  private readonly touched = new Set<number>();
  /** Content of each slab at the end of the last op. */
  private readonly shadow: Uint8Array[] = [];

  constructor(
    readonly name: string,
    readonly rowSize: number,
  ) {}

  append(): number {
    const row = this.count;
    if (row >>> this.slabShift === this.slabBytes.length) {
      const bytes = new Uint8Array(this.rowSize << this.slabShift);
      this.slabBytes.push(bytes);
      this.slabWords.push(new Uint32Array(bytes.buffer));
      this.shadow.push(new Uint8Array(bytes.length));
    }
    this.count += 1;
    this.touched.add(row);
    assert(
      this.bytesOf(row).every((byte) => byte === 0),
      `${this.name}: a new row is zero`,
    );
    return row;
  }

  touch(row: number): void {
    assert(row < this.count, `${this.name}: the row exists`);
    this.touched.add(row);
  }

  truncate(count: number): void {
    assert(count >= this.opFirstRow, `${this.name}: only rows of the current op are undone`);
    assert(count <= this.count, `${this.name}: truncation removes rows`);
    while (this.count > count) {
      this.count -= 1;
      this.bytesOf(this.count).fill(0);
    }
  }

  bytesOf(row: number): Uint8Array {
    const at = (row & ((1 << this.slabShift) - 1)) * this.rowSize;
    return this.slabBytes[row >>> this.slabShift]!.subarray(at, at + this.rowSize);
  }

  /** @param check - Compare every row that was not touched with what it was. */
  endOp(check: boolean): void {
    if (check) {
      for (let slab = 0; slab < this.slabBytes.length; slab += 1) {
        for (let at = 0; at < this.slabBytes[slab]!.length; at += 1) {
          if (this.slabBytes[slab]![at] === this.shadow[slab]![at]) continue;
          const row = (slab << this.slabShift) + Math.floor(at / this.rowSize);
          assert(this.touched.has(row), `${this.name}: touched before it is changed`);
        }
      }
    }
    for (const row of this.touched) {
      const at = (row & ((1 << this.slabShift) - 1)) * this.rowSize;
      const slab = row >>> this.slabShift;
      this.shadow[slab]!.set(this.slabBytes[slab]!.subarray(at, at + this.rowSize), at);
    }
    this.touched.clear();
    this.opFirstRow = this.count;
  }
}

export class MemoryStore implements LedgerStore {
  readonly accounts: MemoryPagedTable;
  readonly pendingStatus: MemoryPagedTable;
  readonly transfers: MemoryAppendTable;
  readonly balances: MemoryAppendTable;
  readonly expiries: MemoryAppendTable;
  readonly failedIds: MemoryAppendTable;
  readonly indexes: MemoryIndexes;
  readonly random: Prng;
  readonly transferMarks: MemoryAppendTable;
  readonly expiryMarks: MemoryAppendTable;
  fetches = 0;
  fetchedRowsMax = 0;

  private pending: (() => void) | null = null;

  /** @param delayed - Share of fetches that deliver later. */
  constructor(
    seed = 1,
    private readonly delayed = 0.5,
  ) {
    this.random = new Prng(seed);
    this.accounts = new MemoryPagedTable("accounts", 128);
    this.pendingStatus = new MemoryPagedTable("pendingStatus", 1);
    this.transfers = new MemoryAppendTable("transfers", 32, this.random);
    this.balances = new MemoryAppendTable("balances", 32, this.random);
    this.expiries = new MemoryAppendTable("expiries", 40, this.random);
    this.failedIds = new MemoryAppendTable("failedIds", 4, this.random);
    this.indexes = new MemoryIndexes(this);
    this.transferMarks = new MemoryAppendTable("transferMarks", 2, this.random);
    this.expiryMarks = new MemoryAppendTable("expiryMarks", 2, this.random);
  }

  fetch(
    table: AppendTable,
    rows: Uint32Array,
    count: number,
    target: Uint32Array,
    onDone: () => void,
  ): boolean {
    assert(count > 0 && count <= rows.length, "as many rows as said");
    assert(target.length >= count * table.rowWords, "the rows fit the target");
    const source = this.appendTables().find((known) => known === table);
    assert(source !== undefined, "the table is this store's");
    for (let index = 0; index < count; index += 1) {
      assert(rows[index]! < source.count, "rows are below the table's count");
    }
    this.fetches += 1;
    this.fetchedRowsMax = Math.max(this.fetchedRowsMax, count);
    const copy = (): void => {
      for (let index = 0; index < count; index += 1) {
        target.set(source.row(rows[index]!), index * source.rowWords);
      }
    };
    return this.deliverLater(() => target.fill(garbage, 0, count * table.rowWords), copy, onDone);
  }

  /** The one fetch of the store: `work` is done at once, or when it is delivered. */
  deliverLater(garble: () => void, work: () => void, onDone: () => void): boolean {
    assert(this.pending === null, "one fetch at a time");
    if (!this.random.chance(this.delayed)) {
      work();
      return true;
    }
    garble();
    this.pending = () => {
      work();
      onDone();
    };
    return false;
  }

  private appendTables(): readonly MemoryAppendTable[] {
    const { transfers, balances, expiries, failedIds, transferMarks, expiryMarks } = this;
    return [transfers, balances, expiries, failedIds, transferMarks, expiryMarks];
  }

  /** Delivers the fetch that is under way. False when there is none. */
  deliver(): boolean {
    const { pending } = this;
    if (pending === null) return false;
    this.pending = null;
    pending();
    return true;
  }

  /** The end of an op: what it appended can no longer be undone, nor found in memory. */
  endOp(check = true): void {
    assert(this.pending === null, "nothing is being fetched between ops");
    this.indexes.endOp();
    this.accounts.endOp(check);
    this.pendingStatus.endOp(check);
    this.transfers.endOp();
    this.balances.endOp();
    this.expiries.endOp();
    this.failedIds.endOp();
    this.transferMarks.endOp();
    this.expiryMarks.endOp();
  }

  /** A restart: indexes forget what is in no complete run. */
  reopen(): void {
    assert(this.pending === null, "nothing is being fetched");
    this.indexes.reopen();
  }
}
