/**
 * The rows that meet all conditions of a filter, one after the other, from the in-memory indexes
 * alone: each condition has a cursor over its posting list, and the cursors leapfrog, the shortest
 * list first. Without a condition every row in the range of time qualifies.
 *
 * Yields a superset: lists of some attributes may mix keys (see posting-index.ts).
 */
import { u128IsZero } from "../core/u128.ts";
import type { Filter } from "./filter.ts";
import { noRow, PostingCursor, Sides } from "./indexes/posting-cursor.ts";
import type { AttributeIndexes } from "./indexes/posting-index.ts";
import type { PostingLists } from "./indexes/posting-lists.ts";
import type { TimestampIndex } from "./indexes/timestamp-index.ts";

/** Account, three kinds of user data, ledger, code. */
const conditionsMax = 6;

export class RowScan {
  /** One per condition. */
  private readonly cursors: PostingCursor[] = [];
  private readonly counts = new Float64Array(conditionsMax);
  private readonly order = new Uint8Array(conditionsMax);
  private conditions = 0;
  private ascending = true;
  private next = 0;
  private last = 0;
  private finished = true;

  constructor() {
    for (let index = 0; index < conditionsMax; index += 1) this.cursors.push(new PostingCursor());
  }

  /** Starts a scan over the rows in the filter's range of time, as yet without conditions. */
  begin(filter: Filter, times: TimestampIndex): void {
    const first = filter.hasMin ? times.firstAtOrAbove(filter.min, 0) : 0;
    const last = filter.hasMax ? times.lastAtOrBelow(filter.max, 0) : times.count - 1;
    this.ascending = !filter.reversed;
    this.next = this.ascending ? first : last;
    this.last = this.ascending ? last : first;
    this.finished = first > last;
    this.conditions = 0;
  }

  /** Rows of the transfers that debit or credit an account, as the filter says. */
  addAccount(filter: Filter, lists: PostingLists, accountRow: number): void {
    const { ascending, next } = this;
    const sides = (filter.debits ? Sides.first : 0) | (filter.credits ? Sides.second : 0);
    this.cursors[this.conditions]!.openList(lists, accountRow, ascending, sides, next);
    this.addCondition(lists.count(accountRow));
  }

  /** The filter's conditions on attributes. */
  addAttributes(filter: Filter, indexes: AttributeIndexes): void {
    const { ascending, next } = this;
    if (!u128IsZero(filter.userData128, 0)) {
      const cursor = this.cursors[this.conditions]!;
      this.addCondition(indexes.openUserData128(cursor, filter.userData128, 0, ascending, next));
    }
    if ((filter.userData64Low | filter.userData64High) !== 0) {
      const cursor = this.cursors[this.conditions]!;
      const { userData64Low, userData64High } = filter;
      this.addCondition(
        indexes.openUserData64(cursor, userData64Low, userData64High, ascending, next),
      );
    }
    if (filter.userData32 !== 0) {
      const cursor = this.cursors[this.conditions]!;
      this.addCondition(indexes.openUserData32(cursor, filter.userData32, ascending, next));
    }
    if (filter.ledger !== 0) {
      const cursor = this.cursors[this.conditions]!;
      this.addCondition(indexes.openLedger(cursor, filter.ledger, ascending, next));
    }
    if (filter.code !== 0) {
      const cursor = this.cursors[this.conditions]!;
      this.addCondition(indexes.openCode(cursor, filter.code, ascending, next));
    }
  }

  /** The next row, or `noRow`. */
  nextRow(): number {
    if (this.finished) return noRow;
    let target = this.next;
    let agreed = 0;
    let turn = 0;
    while (agreed < this.conditions) {
      const row = this.cursors[this.order[turn]!]!.seek(target);
      if (row === noRow) {
        this.finished = true;
        return noRow;
      }
      if (row === target) {
        agreed += 1;
      } else {
        target = row;
        agreed = 1;
      }
      turn = turn + 1 === this.conditions ? 0 : turn + 1;
    }
    if (this.ascending ? target > this.last : target < this.last) {
      this.finished = true;
      return noRow;
    }
    if (target === this.last) this.finished = true;
    this.next = this.ascending ? target + 1 : target - 1;
    return target;
  }

  /** Keeps the conditions in order of the length of their lists. */
  private addCondition(count: number): void {
    const condition = this.conditions;
    this.counts[condition] = count;
    let place = condition;
    while (place > 0 && this.counts[this.order[place - 1]!]! > count) {
      this.order[place] = this.order[place - 1]!;
      place -= 1;
    }
    this.order[place] = condition;
    this.conditions += 1;
  }
}
