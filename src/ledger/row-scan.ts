/**
 * The rows that meet all conditions of a filter, one after the other, from the in-memory indexes
 * alone: each condition has a cursor over its posting list, and the cursors leapfrog, the shortest
 * list first. Without a condition every row in the range of time qualifies.
 *
 * Yields a superset: lists of some attributes may mix keys (see posting-index.ts).
 */
import { assert } from "../core/assert.ts";
import { u128IsZero } from "../core/u128.ts";
import type { Filter } from "./filter.ts";
import { noRow, PostingCursor } from "./indexes/posting-cursor.ts";
import type { AttributeIndexes } from "./indexes/posting-index.ts";
import type { PostingLists } from "./indexes/posting-lists.ts";
import type { TimestampIndex } from "./indexes/timestamp-index.ts";

/** Account, three kinds of user data, ledger, code. */
const conditionsMax = 6;

export class RowScan {
  /** One cursor per condition; the first condition may have two lists, of which either counts. */
  private readonly cursors: PostingCursor[] = [];
  private readonly either = new PostingCursor();
  /** The condition that `either` belongs to, or −1. */
  private eitherOf = -1;
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
    const first = filter.hasMin ? times.firstAtOrAbove(filter.minLow, filter.minHigh) : 0;
    const last = filter.hasMax
      ? times.lastAtOrBelow(filter.maxLow, filter.maxHigh)
      : times.count - 1;
    this.ascending = !filter.reversed;
    this.next = this.ascending ? first : last;
    this.last = this.ascending ? last : first;
    this.finished = first > last;
    this.conditions = 0;
    this.eitherOf = -1;
  }

  /** Rows of the transfers that debit or credit an account, as the filter says. */
  addAccount(filter: Filter, lists: PostingLists, accountRow: number): void {
    assert(this.conditions === 0, "the account comes first");
    const debits = accountRow * 2;
    const credits = debits + 1;
    const entry = filter.debits ? debits : credits;
    this.cursors[0]!.openList(lists, entry, this.ascending, this.next);
    let count = lists.count(entry);
    if (filter.debits && filter.credits) {
      this.either.openList(lists, credits, this.ascending, this.next);
      this.eitherOf = 0;
      count += lists.count(credits);
    }
    this.addCondition(count);
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
      const row = this.seek(this.order[turn]!, target);
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

  private seek(condition: number, target: number): number {
    const row = this.cursors[condition]!.seek(target);
    if (condition !== this.eitherOf) return row;
    const other = this.either.seek(target);
    if (row === noRow) return other;
    if (other === noRow) return row;
    return this.ascending ? Math.min(row, other) : Math.max(row, other);
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
