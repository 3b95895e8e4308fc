/**
 * The pending transfers that will expire, by (time of expiry, transfer row): a binary min-heap
 * that also knows the place of every transfer in it, so that posting or voiding one removes its
 * entry at once.
 *
 * Entries of finished transfers must not linger: a pulse that had to skip them would take a time
 * without bound, and one that skipped a bounded number would depend on when the process was
 * started, since a start rebuilds the queue from the pending ones alone. Replicas would diverge.
 */
import { assert } from "../../core/assert.ts";
import { type AllocateWords, Slabs } from "./slabs.ts";

/** Words of an entry: time of expiry (low, high), row. */
const entryWords = 3;

export class ExpiryQueue {
  private readonly entries: Slabs;
  /** By transfer row: place in the heap + 1; 0 when it is not there. */
  private readonly places: Slabs;
  private size = 0;

  constructor(allocateWords: AllocateWords) {
    this.entries = new Slabs(entryWords, 12, allocateWords);
    this.places = new Slabs(1, 14, allocateWords);
  }

  get count(): number {
    return this.size;
  }

  get topLow(): number {
    assert(this.size > 0, "an empty queue has no top");
    return this.entries.slabs[0]![0]!;
  }

  get topHigh(): number {
    assert(this.size > 0, "an empty queue has no top");
    return this.entries.slabs[0]![1]!;
  }

  get topRow(): number {
    assert(this.size > 0, "an empty queue has no top");
    return this.entries.slabs[0]![2]!;
  }

  insert(low: number, high: number, row: number): void {
    this.places.reserve(row);
    assert(this.placeOf(row) === 0, "a transfer expires once");
    this.entries.reserve(this.size);
    this.size += 1;
    this.rise(this.size - 1, low, high, row);
  }

  /** Removes the entry of a transfer that was posted or voided. */
  remove(row: number): void {
    assert(this.places.has(row), "the transfer is in the queue");
    const place = this.placeOf(row) - 1;
    assert(place >= 0, "the transfer is in the queue");
    this.removeAt(place);
  }

  /** Removes the top. */
  pop(): void {
    assert(this.size > 0, "an empty queue has no top");
    this.removeAt(0);
  }

  clear(): void {
    this.entries.clear();
    this.places.clear();
    this.size = 0;
  }

  private placeOf(row: number): number {
    return this.places.slabs[row >>> this.places.shift]![row & this.places.mask]!;
  }

  private removeAt(place: number): void {
    this.setPlace(this.row(place), 0);
    this.size -= 1;
    const last = this.size;
    if (place === last) return;
    // The last entry fills the hole, then moves up or down to where it belongs.
    const low = this.low(last);
    const high = this.high(last);
    const row = this.row(last);
    if (place > 0 && this.isBefore(low, high, row, (place - 1) >>> 1)) {
      this.rise(place, low, high, row);
    } else {
      this.sink(place, low, high, row);
    }
  }

  /** Puts an entry at a hole or above it. */
  private rise(hole: number, low: number, high: number, row: number): void {
    let place = hole;
    while (place > 0) {
      const parent = (place - 1) >>> 1;
      if (!this.isBefore(low, high, row, parent)) break;
      this.write(place, this.low(parent), this.high(parent), this.row(parent));
      place = parent;
    }
    this.write(place, low, high, row);
  }

  /** Puts an entry at a hole or below it. */
  private sink(hole: number, low: number, high: number, row: number): void {
    let place = hole;
    for (;;) {
      let child = 2 * place + 1;
      if (child >= this.size) break;
      if (
        child + 1 < this.size &&
        this.isBefore(this.low(child + 1), this.high(child + 1), this.row(child + 1), child)
      ) {
        child += 1;
      }
      if (this.isBefore(low, high, row, child)) break;
      this.write(place, this.low(child), this.high(child), this.row(child));
      place = child;
    }
    this.write(place, low, high, row);
  }

  /** True when (low, high, row) comes before the entry at `place`. */
  private isBefore(low: number, high: number, row: number, place: number): boolean {
    const slab = this.entries.slabs[place >>> this.entries.shift]!;
    const at = (place & this.entries.mask) * entryWords;
    if (slab[at + 1] !== high) return high < slab[at + 1]!;
    if (slab[at] !== low) return low < slab[at]!;
    return row < slab[at + 2]!;
  }

  private low(place: number): number {
    const at = (place & this.entries.mask) * entryWords;
    return this.entries.slabs[place >>> this.entries.shift]![at]!;
  }

  private high(place: number): number {
    const at = (place & this.entries.mask) * entryWords;
    return this.entries.slabs[place >>> this.entries.shift]![at + 1]!;
  }

  private row(place: number): number {
    const at = (place & this.entries.mask) * entryWords;
    return this.entries.slabs[place >>> this.entries.shift]![at + 2]!;
  }

  private write(place: number, low: number, high: number, row: number): void {
    const slab = this.entries.slabs[place >>> this.entries.shift]!;
    const at = (place & this.entries.mask) * entryWords;
    slab[at] = low;
    slab[at + 1] = high;
    slab[at + 2] = row;
    this.setPlace(row, place + 1);
  }

  private setPlace(row: number, value: number): void {
    this.places.slabs[row >>> this.places.shift]![row & this.places.mask] = value;
  }
}
