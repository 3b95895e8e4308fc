/**
 * The open-addressing part of the hash indexes: slots of two words, a 32-bit hash and a reference
 * (0: empty slot). What a reference means, and whether equal hashes are equal keys, is the
 * caller's business. Both are signed: V8 holds 32-bit signed integers without allocating.
 *
 * Linear probing from home = upper bits of the hash. There is no wrap-around: slack behind the
 * last home takes what overflows, and its last slot stays empty, so that every probe ends there.
 *
 * Growth never stops the world. When the table fills up, one of twice the size is allocated, and
 * every `settle` moves a few slots into it, in order. A move ends only behind an empty slot, so
 * that `moved` is a border between runs: keys with a home below it are in the new table, the
 * others in the old one, and a probe looks into exactly one of them. Moved slots are not cleared;
 * nothing probes them again, and the old table's memory is recycled at the end.
 *
 * `remove` undoes the newest inserts, newest first, and only those since the last `settle`: then
 * no other key was placed past the slot that becomes empty.
 */
import { assert } from "../../core/assert.ts";
import type { Recycler } from "./recycler.ts";

/** Fill at which growth starts. Probes grow long well above this. */
const loadMax = 0.6;
/** Old slots moved per insert: growth that starts at 0.6 is over by 0.6 + 1/8. */
const movesPerInsert = 8;
const slackMin = 64;

const none = new Int32Array(0);

export class HashSlots {
  private shift: number;
  private home: Int32Array;
  private next: Int32Array = none;
  private growing = false;
  private moved = 0;
  private size = 0;
  private insertsUnsettled = 0;
  /** The table and word index where the last probe ended. */
  private table: Int32Array;
  private at = 0;

  constructor(
    private readonly slotsLog2: number,
    private readonly memory: Recycler,
  ) {
    assert(slotsLog2 >= 4, "a table has some slots");
    assert(slotsLog2 <= 28, "slots are addressed with 31 bits");
    this.shift = 32 - slotsLog2;
    this.home = this.allocate(2 * (2 ** slotsLog2 + slackMin));
    this.table = this.home;
  }

  get count(): number {
    return this.size;
  }

  /** Words of memory held. */
  get words(): number {
    return this.home.length + this.next.length;
  }

  /**
   * Reads the slot where a probe for the hash begins, so that it is in the processor's cache when
   * the probe comes. Without a branch on what it reads, the misses of many calls overlap.
   */
  warm(hash: number): number {
    const place = hash >>> this.shift;
    if (this.growing && place < this.moved) return this.next[(hash >>> (this.shift - 1)) * 2 + 1]!;
    return this.home[place * 2 + 1]!;
  }

  /** Reference of the first key with this hash, or 0. */
  first(hash: number): number {
    const place = hash >>> this.shift;
    if (this.growing && place < this.moved) {
      this.table = this.next;
      return this.scan(hash, (hash >>> (this.shift - 1)) * 2);
    }
    this.table = this.home;
    return this.scan(hash, place * 2);
  }

  /** Reference of the next key with the hash that `first` was called with, or 0. */
  after(hash: number): number {
    return this.scan(hash, this.at + 2);
  }

  /** Replaces the reference that `first` or `after` returned last. */
  replace(reference: number): void {
    assert(reference !== 0, "0 marks an empty slot");
    assert(this.table[this.at + 1] !== 0, "the last probe found a key");
    this.table[this.at + 1] = reference;
  }

  /** Adds a key where the probe for its hash, which found nothing, has just ended. */
  insertHere(hash: number, reference: number): void {
    const { table, at } = this;
    assert(table[at + 1] === 0, "the last probe ended at an empty slot");
    if (at + 4 > table.length) {
      this.insert(hash, reference);
      return;
    }
    table[at] = hash;
    table[at + 1] = reference;
    this.size += 1;
    this.insertsUnsettled += 1;
  }

  insert(hash: number, reference: number): void {
    assert(reference !== 0, "0 marks an empty slot");
    const place = hash >>> this.shift;
    if (this.growing && place < this.moved) {
      this.next = this.put(this.next, hash >>> (this.shift - 1), hash, reference);
    } else {
      this.home = this.put(this.home, place, hash, reference);
    }
    this.size += 1;
    this.insertsUnsettled += 1;
  }

  /** Undoes the newest insert that was not undone yet. */
  remove(hash: number, reference: number): void {
    let found = this.first(hash);
    while (found !== reference) {
      assert(found !== 0, "only a key that is present can be undone");
      found = this.after(hash);
    }
    assert(this.insertsUnsettled > 0, "only inserts since the last settle can be undone");
    this.table[this.at] = 0;
    this.table[this.at + 1] = 0;
    this.size -= 1;
    this.insertsUnsettled -= 1;
  }

  /** Does the share of growth that the inserts since the last call owe. */
  settle(): void {
    const inserts = this.insertsUnsettled;
    this.insertsUnsettled = 0;
    if (!this.growing) {
      if (this.size <= loadMax * 2 ** (32 - this.shift)) return;
      assert(this.shift > 4, "slots are addressed with 31 bits");
      this.next = this.allocate(2 * (2 ** (33 - this.shift) + slackMin));
      this.growing = true;
      this.moved = 0;
    }
    this.move(inserts * movesPerInsert + movesPerInsert);
    assert(
      this.growing || this.size <= 0.75 * 2 ** (32 - this.shift),
      "growth keeps pace with inserts",
    );
  }

  private scan(hash: number, from: number): number {
    const table = this.table;
    let at = from;
    for (;;) {
      const reference = table[at + 1]!;
      if (reference === 0 || table[at] === hash) {
        this.at = at;
        return reference;
      }
      at += 2;
    }
  }

  /** Returns the table, or the larger copy that replaces it when its slack was used up. */
  private put(table: Int32Array, place: number, hash: number, reference: number): Int32Array {
    let at = place * 2;
    while (table[at + 1] !== 0) at += 2;
    let target = table;
    if (at + 2 >= table.length) {
      // Takes keys chosen for their hashes. Slow then, but correct.
      target = this.allocate(table.length + 2 * Math.max(slackMin, table.length >>> 5));
      target.set(table);
      this.give(table);
    }
    target[at] = hash;
    target[at + 1] = reference;
    return target;
  }

  private move(budget: number): void {
    const homes = 2 ** (32 - this.shift);
    const table = this.home;
    const nextShift = this.shift - 1;
    const stopFrom = Math.min(this.moved + budget, homes);
    let place = this.moved;
    for (;;) {
      assert(place * 2 < table.length, "the last slot is empty");
      const reference = table[place * 2 + 1]!;
      if (reference === 0) {
        place += 1;
        if (place >= stopFrom) break;
        continue;
      }
      const hash = table[place * 2]!;
      this.next = this.put(this.next, hash >>> nextShift, hash, reference);
      place += 1;
    }
    this.moved = place;
    if (place < homes) return;
    this.give(table);
    this.home = this.next;
    this.next = none;
    this.table = this.home;
    this.shift = nextShift;
    this.growing = false;
    this.moved = 0;
  }

  clear(): void {
    this.give(this.home);
    if (this.growing) this.give(this.next);
    this.shift = 32 - this.slotsLog2;
    this.home = this.allocate(2 * (2 ** this.slotsLog2 + slackMin));
    this.next = none;
    this.table = this.home;
    this.growing = false;
    this.moved = 0;
    this.size = 0;
    this.insertsUnsettled = 0;
  }

  /** Removes all keys. Keeps the room for as many: no growth follows until there are more. */
  empty(): void {
    if (this.growing) {
      this.give(this.home);
      this.home = this.next;
      this.next = none;
      this.shift -= 1;
      this.growing = false;
      this.moved = 0;
    }
    this.home.fill(0);
    this.table = this.home;
    this.size = 0;
    this.insertsUnsettled = 0;
  }

  private allocate(words: number): Int32Array {
    const memory = this.memory.allocate(words);
    return new Int32Array(memory.buffer, memory.byteOffset, memory.length);
  }

  private give(table: Int32Array): void {
    this.memory.give(new Uint32Array(table.buffer, table.byteOffset, table.length));
  }
}
