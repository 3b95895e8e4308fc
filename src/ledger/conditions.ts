/**
 * The conditions of a filter as cursors over indexes, for a scan of rows: accounts have posting
 * lists in memory, transfers sorted indexes of the storage. The cursors are kept and opened again.
 */
import { u128IsZero } from "../core/u128.ts";
import { AccountCursor } from "./account-cursor.ts";
import type { Filter } from "./filter.ts";
import { PostingCursor } from "./indexes/posting-cursor.ts";
import type { AttributeIndexes } from "./indexes/posting-index.ts";
import type { RowScan } from "./row-scan.ts";
import type { IndexCursor, SortedIndex, TransferIndexes } from "./store.ts";

export class AccountConditions {
  private readonly userData128 = new PostingCursor();
  private readonly userData64 = new PostingCursor();
  private readonly userData32 = new PostingCursor();
  private readonly ledger = new PostingCursor();
  private readonly code = new PostingCursor();

  constructor(private readonly indexes: AttributeIndexes) {}

  add(filter: Filter, scan: RowScan): void {
    const { indexes } = this;
    const { ascending, start } = scan;
    if (!u128IsZero(filter.userData128, 0)) {
      const cursor = this.userData128;
      const count = indexes.openUserData128(cursor, filter.userData128, 0, ascending, start);
      scan.add(cursor, count, false);
    }
    if ((filter.userData64Low | filter.userData64High) !== 0) {
      const cursor = this.userData64;
      const { userData64Low, userData64High } = filter;
      scan.add(
        cursor,
        indexes.openUserData64(cursor, userData64Low, userData64High, ascending, start),
        false,
      );
    }
    if (filter.userData32 !== 0) {
      const cursor = this.userData32;
      scan.add(cursor, indexes.openUserData32(cursor, filter.userData32, ascending, start), false);
    }
    if (filter.ledger !== 0) {
      const cursor = this.ledger;
      scan.add(cursor, indexes.openLedger(cursor, filter.ledger, ascending, start), false);
    }
    if (filter.code !== 0) {
      const cursor = this.code;
      scan.add(cursor, indexes.openCode(cursor, filter.code, ascending, start), false);
    }
  }
}

export class TransferConditions {
  private readonly account: AccountCursor;
  private readonly userData128: IndexCursor;
  private readonly userData64: IndexCursor;
  private readonly userData32: IndexCursor;
  private readonly ledger: IndexCursor;
  private readonly code: IndexCursor;
  private readonly key = new Uint32Array(2);

  constructor(private readonly indexes: TransferIndexes) {
    this.account = new AccountCursor(indexes);
    this.userData128 = indexes.createCursor();
    this.userData64 = indexes.createCursor();
    this.userData32 = indexes.createCursor();
    this.ledger = indexes.createCursor();
    this.code = indexes.createCursor();
  }

  /** Rows of the transfers that debit or credit an account, as the filter says. */
  addAccount(filter: Filter, accountRow: number, scan: RowScan): void {
    const { account } = this;
    account.open(accountRow, filter.debits, filter.credits, scan.ascending, scan.start);
    scan.add(account, account.estimate, true);
  }

  /** The filter's conditions on attributes. */
  addAttributes(filter: Filter, scan: RowScan): void {
    const { indexes } = this;
    if (!u128IsZero(filter.userData128, 0)) {
      const cursor = this.userData128;
      cursor.open(indexes.userData128, filter.userData128, 0, scan.ascending, scan.start);
      scan.add(cursor, cursor.estimate, false);
    }
    const { userData64Low, userData64High } = filter;
    if ((userData64Low | userData64High) !== 0) {
      this.addShort(this.userData64, indexes.userData64, userData64Low, userData64High, scan);
    }
    if (filter.userData32 !== 0) {
      this.addShort(this.userData32, indexes.userData32, filter.userData32, 0, scan);
    }
    if (filter.ledger !== 0) this.addShort(this.ledger, indexes.ledger, filter.ledger, 0, scan);
    if (filter.code !== 0) this.addShort(this.code, indexes.code, filter.code, 0, scan);
  }

  private addShort(
    cursor: IndexCursor,
    index: SortedIndex,
    low: number,
    high: number,
    scan: RowScan,
  ): void {
    this.key[0] = low;
    this.key[1] = high;
    cursor.open(index, this.key, 0, scan.ascending, scan.start);
    scan.add(cursor, cursor.estimate, false);
  }
}
