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
import { u64CompareAt } from "../../core/u128.ts";
import { type AllocateWords, Slabs } from "./slabs.ts";

/** Words of an entry: time of expiry (low, high), row. */
const entryWords = 3;

export class ExpiryQueue {
  private readonly entries: Slabs;
  /** By transfer row: place in the heap + 1; 0 when it is not there. */
  private readonly places: Slabs;
  private size = 0;
  /** The entry on its way to its place. */
  private readonly moving = new Uint32Array(entryWords);

  constructor(allocateWords: AllocateWords) {
    this.entries = new Slabs(entryWords, 12, allocateWords);
    this.places = new Slabs(1, 14, allocateWords);
  }

  get count(): number {
    return this.size;
  }

  /** True when there is a top and its time is at or below the one at time[at]. */
  topIsDue(time: Uint32Array, at: number): boolean {
    return this.size > 0 && u64CompareAt(this.entries.slabs[0]!, 0, time, at) <= 0;
  }

  copyTopTime(target: Uint32Array): void {
    assert(this.size > 0, "an empty queue has no top");
    target[0] = this.entries.slabs[0]![0]!;
    target[1] = this.entries.slabs[0]![1]!;
  }

  get topRow(): number {
    assert(this.size > 0, "an empty queue has no top");
    return this.entries.slabs[0]![2]!;
  }

  /** Adds a transfer that expires at the time at time[at]. */
  insert(time: Uint32Array, at: number, row: number): void {
    this.places.reserve(row);
    assert(this.placeOf(row) === 0, "a transfer expires once");
    this.entries.reserve(this.size);
    this.moving[0] = time[at]!;
    this.moving[1] = time[at + 1]!;
    this.moving[2] = row;
    this.size += 1;
    this.rise(this.size - 1);
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
    const slab = this.entries.slabs[last >>> this.entries.shift]!;
    const at = (last & this.entries.mask) * entryWords;
    for (let word = 0; word < entryWords; word += 1) this.moving[word] = slab[at + word]!;
    if (place > 0 && this.movesBefore((place - 1) >>> 1)) this.rise(place);
    else this.sink(place);
  }

  /** Puts the moving entry at a hole or above it. */
  private rise(hole: number): void {
    let place = hole;
    while (place > 0) {
      const parent = (place - 1) >>> 1;
      if (!this.movesBefore(parent)) break;
      this.copy(parent, place);
      place = parent;
    }
    this.land(place);
  }

  /** Puts the moving entry at a hole or below it. */
  private sink(hole: number): void {
    let place = hole;
    for (;;) {
      let child = 2 * place + 1;
      if (child >= this.size) break;
      if (child + 1 < this.size && this.isBefore(child + 1, child)) child += 1;
      if (this.movesBefore(child)) break;
      this.copy(child, place);
      place = child;
    }
    this.land(place);
  }

  /** True when the moving entry comes before the one at `place`. */
  private movesBefore(place: number): boolean {
    const slab = this.entries.slabs[place >>> this.entries.shift]!;
    return before(this.moving, 0, slab, (place & this.entries.mask) * entryWords);
  }

  private isBefore(place: number, other: number): boolean {
    return before(
      this.entries.slabs[place >>> this.entries.shift]!,
      (place & this.entries.mask) * entryWords,
      this.entries.slabs[other >>> this.entries.shift]!,
      (other & this.entries.mask) * entryWords,
    );
  }

  private row(place: number): number {
    const at = (place & this.entries.mask) * entryWords;
    return this.entries.slabs[place >>> this.entries.shift]![at + 2]!;
  }

  private copy(from: number, to: number): void {
    const slab = this.entries.slabs[from >>> this.entries.shift]!;
    this.write(to, slab, (from & this.entries.mask) * entryWords);
  }

  private land(place: number): void {
    this.write(place, this.moving, 0);
  }

  private write(place: number, source: Uint32Array, sourceAt: number): void {
    const slab = this.entries.slabs[place >>> this.entries.shift]!;
    const at = (place & this.entries.mask) * entryWords;
    slab[at] = source[sourceAt]!;
    slab[at + 1] = source[sourceAt + 1]!;
    slab[at + 2] = source[sourceAt + 2]!;
    this.setPlace(source[sourceAt + 2]!, place + 1);
  }

  private setPlace(row: number, value: number): void {
    this.places.slabs[row >>> this.places.shift]![row & this.places.mask] = value;
  }
}

/** Order of entries: time of expiry, then row, hence time of creation. */
function before(a: Uint32Array, aAt: number, b: Uint32Array, bAt: number): boolean {
  const compared = u64CompareAt(a, aAt, b, bAt);
  return compared !== 0 ? compared < 0 : a[aAt + 2]! < b[bAt + 2]!;
}
