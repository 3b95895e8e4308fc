/**
 * What every query must show after each op, from the reference ledger. Transfers, balances and
 * events are only ever added, so that the whole answer to a query as of op n is the beginning of
 * the one as of a later op: one list per query, and per op how much of it there is. A comparison
 * of the whole state then costs no more than comparing bytes, at any op that was executed.
 */
import {
  accountBalanceCodec,
  accountCodec,
  accountFilterCodec,
  type Codec,
  changeEventCodec,
  encodeArray,
  queryFilterCodec,
  transferCodec,
} from "../reference/codec.ts";
import { ReferenceLedger } from "../reference/ledger.ts";
import { makeAccountFilter, makeQueryFilter } from "../reference/make.ts";
import {
  encodeRequest,
  executeRequest,
  Operation,
  resultMax,
  splitReply,
} from "../reference/operations.ts";
import type { Account, QueryFilter } from "../reference/records.ts";
import type { LoggedRequest } from "./log.ts";
import { changeEvents } from "./workload.ts";

/** Bytes that grow at the end. */
class Growing {
  length = 0;
  private bytes = new Uint8Array(4096);

  append(more: Uint8Array): void {
    if (this.length + more.length > this.bytes.length) {
      const larger = new Uint8Array(2 * (this.length + more.length));
      larger.set(this.bytes);
      this.bytes = larger;
    }
    this.bytes.set(more, this.length);
    this.length += more.length;
  }

  prefix(length: number): Uint8Array {
    return this.bytes.subarray(0, length);
  }
}

/** A query whose answer grows. */
interface Growth {
  readonly name: string;
  readonly operation: number;
  readonly body: Uint8Array;
  readonly limitBytes: number;
  readonly answer: Growing;
}

export interface Mismatch {
  readonly what: string;
  /** First byte that differs, or the length of the shorter one. */
  readonly at: number;
}

/** All that the workload gives its transfers. */
const indexedFields: readonly Partial<QueryFilter>[] = [
  ...[1n, 2n].map((user_data_128) => ({ user_data_128 })),
  ...[1, 2].map((user_data_32) => ({ user_data_32 })),
  ...[1, 2].map((ledger) => ({ ledger })),
  ...[1, 2].map((code) => ({ code })),
];

export class ExpectedState {
  readonly reference = new ReferenceLedger();
  /** The op executed last. */
  op = 0;
  private timestamp = 0n;
  private readonly transfers: Growth;
  private readonly events: Growth;
  /** Per account id − 1. */
  private readonly accountTransfers: Growth[] = [];
  private readonly accountBalances: Growth[] = [];
  /** Transfers by one field each: what the sorted indexes are asked for. */
  private readonly indexed: { readonly only: Partial<QueryFilter>; readonly growth: Growth }[] = [];
  private readonly growths: readonly Growth[];
  /** Per op: the length of each answer, and the accounts, of which a change makes new objects. */
  private readonly lengths: number[][] = [];
  private readonly accountsAt: (readonly Account[])[] = [];
  private readonly accountsBody: Uint8Array;

  /** @param accounts - The ids that the workload uses are 1 … accounts. */
  constructor(readonly accounts: number) {
    const all = encodeArray(queryFilterCodec, [makeQueryFilter({})]);
    this.accountsBody = encodeRequest(Operation.queryAccounts, [all]);
    this.transfers = growth("transfers", Operation.queryTransfers, all, transferCodec);
    const events = changeEvents(2730).body;
    this.events = growth("change events", Operation.getChangeEvents, events, changeEventCodec);
    for (let id = 1; id <= accounts; id += 1) {
      const filter = encodeArray(accountFilterCodec, [
        makeAccountFilter({ account_id: BigInt(id) }),
      ]);
      const { getAccountTransfers, getAccountBalances } = Operation;
      this.accountTransfers.push(
        growth(`transfers of account ${id}`, getAccountTransfers, filter, transferCodec),
      );
      this.accountBalances.push(
        growth(`balances of account ${id}`, getAccountBalances, filter, accountBalanceCodec),
      );
    }
    for (const only of indexedFields) {
      const filter = encodeArray(queryFilterCodec, [makeQueryFilter(only)]);
      const [[field, value]] = Object.entries(only) as [[string, unknown]];
      const name = `transfers with ${field} ${value}`;
      this.indexed.push({
        only,
        growth: growth(name, Operation.queryTransfers, filter, transferCodec),
      });
    }
    const { accountTransfers, accountBalances } = this;
    const byField = this.indexed.map((one) => one.growth);
    this.growths = [
      this.transfers,
      this.events,
      ...accountTransfers,
      ...accountBalances,
      ...byField,
    ];
    this.mark(true);
  }

  /** Executes the next op. Returns the body of each request's reply; registrations have none. */
  execute(requests: readonly LoggedRequest[]): Uint8Array[] {
    const { reference } = this;
    const before = reference.changes.length + reference.accounts.size;
    const replies = requests.map(({ operation, body, timestamp }) => {
      if (operation === Operation.register) return new Uint8Array(0);
      return executeRequest(reference, operation, body, timestamp);
    });
    this.op += 1;
    const changed = reference.changes.length + reference.accounts.size > before;
    if (changed) this.grow();
    for (const { timestamp } of requests) this.timestamp = timestamp;
    this.mark(changed);
    return replies;
  }

  private grow(): void {
    const { reference } = this;
    const range = { timestamp_min: this.timestamp + 1n };
    const transfers = reference.queryTransfers(
      makeQueryFilter(range),
      resultMax(Operation.queryTransfers),
    );
    this.transfers.answer.append(encodeArray(transferCodec, transfers));
    const events = reference.getChangeEvents({ ...range, timestamp_max: 0n, limit: 8189 });
    this.events.answer.append(encodeArray(changeEventCodec, events));
    for (const { only, growth: found } of this.indexed) {
      const some = reference.queryTransfers(makeQueryFilter({ ...range, ...only }), 8189);
      found.answer.append(encodeArray(transferCodec, some));
    }
    const touched = new Set<bigint>();
    for (const { debit_account_id, credit_account_id } of transfers) {
      touched.add(debit_account_id);
      touched.add(credit_account_id);
    }
    for (const id of touched) {
      const filter = makeAccountFilter({ ...range, account_id: id });
      const index = Number(id) - 1;
      const some = reference.getAccountTransfers(filter, 8189);
      this.accountTransfers[index]!.answer.append(encodeArray(transferCodec, some));
      const balances = reference.getAccountBalances(filter, 8189);
      this.accountBalances[index]!.answer.append(encodeArray(accountBalanceCodec, balances));
    }
  }

  private mark(changed: boolean): void {
    if (!changed) {
      this.lengths.push(this.lengths.at(-1)!);
      this.accountsAt.push(this.accountsAt.at(-1)!);
      return;
    }
    this.lengths.push(this.growths.map(({ answer }) => answer.length));
    this.accountsAt.push(this.reference.queryAccounts(makeQueryFilter({}), 8189));
  }

  /** Compares every query with what it must show after `op`; null when all agree. */
  compare(op: number, query: (operation: number, body: Uint8Array) => Uint8Array): Mismatch | null {
    const accounts = query(Operation.queryAccounts, this.accountsBody);
    const expected = encodeArray(accountCodec, this.accountsAt[op]!);
    const inAccounts = difference(Operation.queryAccounts, accounts, expected);
    if (inAccounts !== -1) return { what: "accounts", at: inAccounts };
    for (const [index, { name, operation, body, answer, limitBytes }] of this.growths.entries()) {
      const length = Math.min(this.lengths[op]![index]!, limitBytes);
      const at = difference(operation, query(operation, body), answer.prefix(length));
      if (at !== -1) return { what: name, at };
    }
    return null;
  }
}

function growth<T>(name: string, operation: number, filter: Uint8Array, codec: Codec<T>): Growth {
  const limit = operation === Operation.getChangeEvents ? 2730 : 8189;
  return {
    name,
    operation,
    body: encodeRequest(operation, [filter]),
    limitBytes: limit * codec.size,
    answer: new Growing(),
  };
}

/** −1: the reply's only batch holds exactly these bytes. */
function difference(operation: number, reply: Uint8Array, expected: Uint8Array): number {
  const actual = splitReply(operation, reply)?.[0] ?? new Uint8Array(0);
  if (Buffer.compare(actual, expected) === 0) return -1;
  const shorter = Math.min(actual.length, expected.length);
  for (let at = 0; at < shorter; at += 1) if (actual[at] !== expected[at]) return at;
  return shorter;
}
