/**
 * Walks the transfers of an account: those that debit it, those that credit it, or both, which are
 * two keys of one index. No transfer has the same account on both sides, so that the union of the
 * two has each row once.
 */
import { type IndexCursor, noRow, type TransferIndexes, unread } from "./store.ts";

export class AccountCursor {
  /** After `open`: about how many transfers there are. */
  estimate = 0;

  private readonly cursors: readonly [IndexCursor, IndexCursor];
  private readonly key = new Uint32Array(2);
  private ascending = true;
  /** The row that each side stands on, or `noRow` at its end. */
  private debitRow = noRow;
  private creditRow = noRow;
  /** A side is walked and has more rows. */
  private debits = false;
  private credits = false;
  /** The side that needs a block. */
  private waiting = 0;

  constructor(private readonly indexes: TransferIndexes) {
    this.cursors = [indexes.createCursor(), indexes.createCursor()];
  }

  open(
    accountRow: number,
    debits: boolean,
    credits: boolean,
    ascending: boolean,
    start: number,
  ): void {
    this.ascending = ascending;
    this.debits = debits;
    this.credits = credits;
    this.debitRow = noRow;
    this.creditRow = noRow;
    this.estimate = 0;
    if (debits) this.openSide(0, accountRow, start);
    if (credits) this.openSide(1, accountRow, start);
  }

  /** The nearest row at or beyond `target` in the direction of the walk, `noRow`, or `unread`. */
  seek(target: number): number {
    if (this.debits && this.isBehind(this.debitRow, target)) {
      const row = this.cursors[0].seek(target);
      if (row === unread) return this.wait(0);
      this.debitRow = row;
      this.debits = row !== noRow;
    }
    if (this.credits && this.isBehind(this.creditRow, target)) {
      const row = this.cursors[1].seek(target);
      if (row === unread) return this.wait(1);
      this.creditRow = row;
      this.credits = row !== noRow;
    }
    const { debitRow, creditRow } = this;
    if (debitRow === noRow) return creditRow;
    if (creditRow === noRow) return debitRow;
    return this.ascending ? Math.min(debitRow, creditRow) : Math.max(debitRow, creditRow);
  }

  /** After `unread`: as `IndexCursor.read`. */
  read(onDone: () => void): boolean {
    return this.cursors[this.waiting]!.read(onDone);
  }

  private openSide(side: number, accountRow: number, start: number): void {
    const cursor = this.cursors[side]!;
    this.key[0] = accountRow * 2 + side;
    cursor.open(this.indexes.accounts, this.key, 0, this.ascending, start);
    this.estimate += cursor.estimate;
  }

  private isBehind(row: number, target: number): boolean {
    return row === noRow || (this.ascending ? row < target : row > target);
  }

  private wait(side: number): number {
    this.waiting = side;
    return unread;
  }
}
