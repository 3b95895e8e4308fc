/**
 * The whole state of a replica at rest, as far as queries show it, against the reference ledger:
 * all accounts, transfers and change events, page by page, in both directions, and of every account
 * its transfers and balances. The accounts shown are also summed up by themselves.
 */
import {
  accountCodec,
  accountFilterCodec,
  changeEventsFilterCodec,
  decodeArray,
  queryFilterCodec,
} from "../../reference/codec.ts";
import type { ReferenceLedger } from "../../reference/ledger.ts";
import { makeAccountFilter, makeQueryFilter } from "../../reference/make.ts";
import {
  encodeRequest,
  executeRequest,
  Operation,
  resultMax,
  splitReply,
} from "../../reference/operations.ts";
import type { Account } from "../../reference/records.ts";
import type { Fail } from "./history.ts";
import type { Money } from "./money.ts";

/** Executes a query on a replica's state; valid until the next call. */
export type Query = (operation: number, body: Uint8Array) => Uint8Array;

/** Where the timestamp of a result lies. */
const accountTimestampAt = 120;
const transferTimestampAt = 120;
const changeTimestampAt = 352;

export class FinalState {
  /** Answers of the reference, by query: the same for all replicas. */
  private readonly expected = new Map<string, Uint8Array>();

  constructor(
    private readonly ledger: ReferenceLedger,
    private readonly money: Money,
    private readonly fail: Fail,
  ) {}

  /** @param who - For the report: "replica 1". */
  compare(who: string, query: Query): void {
    const accounts = this.compareAccounts(who, query);
    this.money.audit(who, accounts);
    this.compareTransfers(who, query, 0);
    this.compareTransfers(who, query, 1);
    this.compareChanges(who, query);
    for (const { id } of accounts) this.compareHistory(who, query, id);
  }

  private compareAccounts(who: string, query: Query): Account[] {
    const accounts: Account[] = [];
    let from = 1n;
    for (;;) {
      const filter = queryFilterCodec.encode(makeQueryFilter({ timestamp_min: from }));
      const page = this.ask(who, query, Operation.queryAccounts, filter);
      accounts.push(...decodeArray(accountCodec, page));
      if (page.length === 0) return accounts;
      from = lastTimestamp(page, 128, accountTimestampAt) + 1n;
    }
  }

  private compareTransfers(who: string, query: Query, flags: number): void {
    let bound = 0n;
    for (;;) {
      const range = flags === 0 ? { timestamp_min: bound } : { timestamp_max: bound };
      const filter = queryFilterCodec.encode(makeQueryFilter({ ...range, flags }));
      const page = this.ask(who, query, Operation.queryTransfers, filter);
      if (page.length / 128 < resultMax(Operation.queryTransfers)) return;
      bound = lastTimestamp(page, 128, transferTimestampAt) + (flags === 0 ? 1n : -1n);
    }
  }

  private compareChanges(who: string, query: Query): void {
    let from = 1n;
    for (;;) {
      const filter = { timestamp_min: from, timestamp_max: 0n, limit: 8189 };
      const body = changeEventsFilterCodec.encode(filter);
      const page = this.ask(who, query, Operation.getChangeEvents, body);
      if (page.length === 0) return;
      from = lastTimestamp(page, 384, changeTimestampAt) + 1n;
    }
  }

  private compareHistory(who: string, query: Query, id: bigint): void {
    const filter = accountFilterCodec.encode(makeAccountFilter({ account_id: id }));
    this.ask(who, query, Operation.getAccountTransfers, filter);
    this.ask(who, query, Operation.getAccountBalances, filter);
  }

  /** The only sub-batch of the answer, after it has been compared. */
  private ask(who: string, query: Query, operation: number, filter: Uint8Array): Uint8Array {
    const body = encodeRequest(operation, [filter]);
    const key = `${operation}/${Buffer.from(filter).toString("latin1")}`;
    let expected = this.expected.get(key);
    if (expected === undefined) {
      expected = executeRequest(this.ledger, operation, body, 0n);
      this.expected.set(key, expected);
    }
    const actual = query(operation, body);
    if (Buffer.compare(actual, expected) !== 0) {
      let at = 0;
      while (at < actual.length && actual[at] === expected[at]) at += 1;
      this.fail(
        `${who}: operation ${operation} (filter ${Buffer.from(filter).toString("hex")}) answers ` +
          `${actual.length} bytes instead of ${expected.length}, which differ from byte ${at}`,
      );
    }
    return splitReply(operation, expected)![0]!;
  }
}

function lastTimestamp(page: Uint8Array, size: number, at: number): bigint {
  const view = new DataView(page.buffer, page.byteOffset, page.length);
  return view.getBigUint64(page.length - size + at, true);
}
