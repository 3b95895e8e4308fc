/**
 * The rows that meet all conditions of a filter, one after the other, from the indexes alone: each
 * condition has a cursor over the rows that meet it, and the cursors leapfrog in the order of rows,
 * the shortest first. Without a condition every row in the range of time qualifies.
 *
 * Yields a superset: conditions on attributes are checked on the row once more. So the index of an
 * attribute may mix keys (see posting-index.ts), and one that is long beside another is left out.
 *
 * A cursor may need a block that lies on disk. The scan then stands still in the middle of a step:
 * `read` brings the block, and `nextRow` goes on where it was.
 */
import { assert } from "../core/assert.ts";
import { noRow, unread } from "./store.ts";

/** Account, three kinds of user data, ledger, code. */
const conditionsMax = 6;

/**
 * A condition this many times as long as the shortest is left to the check of rows: blocks of an
 * index are read one after the other, rows many at a time.
 */
const longFactor = 64;

/** A walk over the rows that meet a condition, in one direction; as `IndexCursor` of store.ts. */
export interface RowCursor {
  /** The nearest row at or beyond `target` in the direction of the walk, `noRow`, or `unread`. */
  seek(target: number): number;
  read(onDone: () => void): boolean;
}

export class RowScan {
  /** Direction of the walk, and where cursors are to be opened. */
  ascending = true;
  start = 0;

  /** One per condition, those in use in the order of their lengths. */
  private readonly cursors: (RowCursor | null)[] = [];
  private readonly counts = new Float64Array(conditionsMax);
  private readonly needed = new Uint8Array(conditionsMax);
  private readonly order = new Uint8Array(conditionsMax);
  private conditions = 0;
  private last = 0;
  private finished = true;
  /** The row sought, how many cursors stand on it, and whose turn it is. */
  private target = 0;
  private agreed = 0;
  private turn = 0;

  constructor() {
    for (let index = 0; index < conditionsMax; index += 1) this.cursors.push(null);
  }

  /** Starts a scan over the rows from `first` to `last`, as yet without conditions. */
  begin(first: number, last: number, ascending: boolean): void {
    this.ascending = ascending;
    this.start = this.ascending ? first : last;
    this.last = this.ascending ? last : first;
    this.finished = first > last;
    this.conditions = 0;
    this.target = this.start;
    this.agreed = 0;
    this.turn = 0;
  }

  /**
   * Adds a condition.
   * @param cursor - Opened at `start`.
   * @param count - About how many rows meet it.
   * @param needed - It is not checked on the row.
   */
  add(cursor: RowCursor, count: number, needed: boolean): void {
    const condition = this.conditions;
    assert(condition < conditionsMax, "there are so many conditions");
    this.cursors[condition] = cursor;
    this.counts[condition] = count;
    this.needed[condition] = needed ? 1 : 0;
    let place = condition;
    while (place > 0 && this.counts[this.order[place - 1]!]! > count) {
      this.order[place] = this.order[place - 1]!;
      place -= 1;
    }
    this.order[place] = condition;
    this.conditions += 1;
  }

  /** After the last condition: leaves out those that cost more than they spare. */
  leaveOutLong(): void {
    const countMax = longFactor * this.counts[this.order[0]!]!;
    let kept = 0;
    for (let place = 0; place < this.conditions; place += 1) {
      const condition = this.order[place]!;
      if (place > 0 && this.needed[condition] === 0 && this.counts[condition]! > countMax) continue;
      this.order[kept] = condition;
      kept += 1;
    }
    this.conditions = kept;
  }

  /** The next row, `noRow`, or `unread`: then `read` comes first. */
  nextRow(): number {
    if (this.finished) return noRow;
    while (this.agreed < this.conditions) {
      const row = this.cursors[this.order[this.turn]!]!.seek(this.target);
      if (row === unread) return unread;
      if (row === noRow || (this.ascending ? row > this.last : row < this.last)) {
        this.finished = true;
        return noRow;
      }
      if (row === this.target) {
        this.agreed += 1;
      } else {
        this.target = row;
        this.agreed = 1;
      }
      this.turn = this.turn + 1 === this.conditions ? 0 : this.turn + 1;
    }
    const row = this.target;
    if (row === this.last) this.finished = true;
    this.target = this.ascending ? row + 1 : row - 1;
    this.agreed = 0;
    this.turn = 0;
    return row;
  }

  /**
   * After `unread`: brings the block that is needed. True when it is there at once; otherwise
   * `onDone` is called later, not from inside.
   */
  read(onDone: () => void): boolean {
    return this.cursors[this.order[this.turn]!]!.read(onDone);
  }
}
