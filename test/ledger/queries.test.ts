/** Queries, lookups and history over more rows than one fetch brings (protocol/semantics.md §6, §7). */
import { beforeAll, describe, expect, test } from "vitest";
import {
  accountFilterCodec,
  decodeArray,
  encodeArray,
  encodeMultiBatch,
  idCodec,
  queryFilterCodec,
  transferCodec,
} from "../reference/codec.ts";
import {
  makeAccount,
  makeAccountFilter,
  makeQueryFilter,
  makeTransfer,
} from "../reference/make.ts";
import { encodeRequest, Operation, splitReply } from "../reference/operations.ts";
import type { AccountFilter, QueryFilter, Transfer } from "../reference/records.ts";
import { Harness } from "./harness.ts";
import { MachineClient } from "./machine-client.ts";

const accounts = 20n;
const transfers = 3000;
const harness = new Harness(41);
const client = new MachineClient(harness);
let all: Transfer[] = [];

beforeAll(() => {
  client.createAccounts(
    Array.from({ length: Number(accounts) }, (_, index) =>
      makeAccount(BigInt(index + 1), {
        flags: index === 0 ? 8 : 0,
        user_data_64: BigInt(index % 3),
        code: 1 + (index % 4),
      }),
    ),
  );
  const batches = 7;
  let id = 0n;
  for (let batch = 0; batch < batches; batch += 1) {
    const events: Transfer[] = [];
    while (events.length < transfers / batches) {
      id += 1n;
      const debit = id % 5n === 0n ? 1n : 1n + (id % accounts);
      const credit = debit === 2n ? 1n : 2n;
      events.push(
        makeTransfer(1000n + id, debit, credit, id, {
          user_data_128: id % 7n,
          user_data_64: id % 2n,
          user_data_32: Number(id % 100n),
          code: 1 + Number(id % 3n),
        }),
      );
    }
    client.createTransfers(events);
  }
  all = client.queryTransfers(makeQueryFilter());
  expect(all.length).toBe(Number(id));
  harness.store.fetchedRowsMax = 0;
});

const matches = (filter: QueryFilter, one: Transfer): boolean =>
  (filter.user_data_128 === 0n || filter.user_data_128 === one.user_data_128) &&
  (filter.user_data_64 === 0n || filter.user_data_64 === one.user_data_64) &&
  (filter.user_data_32 === 0 || filter.user_data_32 === one.user_data_32) &&
  (filter.ledger === 0 || filter.ledger === one.ledger) &&
  (filter.code === 0 || filter.code === one.code) &&
  one.timestamp >= filter.timestamp_min &&
  (filter.timestamp_max === 0n || one.timestamp <= filter.timestamp_max);

const ids = (list: readonly { id: bigint }[]): bigint[] => list.map(({ id }) => id);

describe("query_transfers", () => {
  test.each<Partial<QueryFilter>>([
    {},
    { user_data_128: 3n },
    { user_data_64: 1n },
    { user_data_32: 42 },
    { code: 2 },
    { ledger: 1 },
    { ledger: 2 },
    { user_data_128: 3n, user_data_64: 1n, user_data_32: 17, ledger: 1, code: 1 },
    { user_data_128: 6n, code: 3 },
    { user_data_64: 1n, code: 3, limit: 7 },
    { user_data_128: 5n, limit: 300 },
  ])("%o, both ways", (fields) => {
    const filter = makeQueryFilter(fields);
    const expected = all.filter((one) => matches(filter, one));
    expect(client.queryTransfers(filter)).toEqual(expected.slice(0, filter.limit));
    const reversed = { ...filter, flags: 1 };
    expect(client.queryTransfers(reversed)).toEqual(expected.reverse().slice(0, filter.limit));
  });

  test("ranges of time include both ends", () => {
    const min = all[100]!.timestamp;
    const max = all[700]!.timestamp;
    for (const [timestamp_min, timestamp_max] of [
      [min, max],
      [min, min],
      [min + 1n, max - 1n],
      [0n, min],
      [max, 0n],
      [all[all.length - 1]!.timestamp, 0n],
      [all[all.length - 1]!.timestamp + 1n, 0n],
      [1n, all[0]!.timestamp - 1n],
    ] as const) {
      for (const flags of [0, 1]) {
        const filter = makeQueryFilter({ code: 2, timestamp_min, timestamp_max, flags });
        const expected = all.filter((one) => matches(filter, one));
        if (flags === 1) expected.reverse();
        expect(ids(client.queryTransfers(filter))).toEqual(ids(expected));
      }
    }
  });

  test("pages through in either direction without loss or repetition", () => {
    for (const flags of [0, 1]) {
      const seen: bigint[] = [];
      let bounds: Partial<QueryFilter> = {};
      for (;;) {
        const page = client.queryTransfers(
          makeQueryFilter({ user_data_64: 1n, limit: 97, flags, ...bounds }),
        );
        seen.push(...ids(page));
        if (page.length < 97) break;
        const last = page[page.length - 1]!.timestamp;
        bounds = flags === 0 ? { timestamp_min: last + 1n } : { timestamp_max: last - 1n };
      }
      const expected = ids(all.filter((one) => one.user_data_64 === 1n));
      expect(seen).toEqual(flags === 0 ? expected : expected.reverse());
    }
  });
});

describe("get_account_transfers", () => {
  test.each([1n, 2n, 7n])("account %i: debits, credits, both, with conditions, both ways", (id) => {
    for (const sides of [1, 2, 3]) {
      for (const fields of [
        {},
        { code: 2 },
        { user_data_128: 2n, limit: 5 },
        { user_data_32: 10, user_data_64: 1n },
        { timestamp_min: all[900]!.timestamp, timestamp_max: all[1500]!.timestamp, limit: 300 },
      ] as Partial<AccountFilter>[]) {
        const filter = makeAccountFilter({ account_id: id, ...fields, flags: sides });
        const expected = all.filter(
          (one) =>
            (((sides & 1) !== 0 && one.debit_account_id === id) ||
              ((sides & 2) !== 0 && one.credit_account_id === id)) &&
            matches(makeQueryFilter({ ...fields, flags: 0 }), one),
        );
        expect(client.getAccountTransfers(filter)).toEqual(expected.slice(0, filter.limit));
        const reversed = { ...filter, flags: sides | 4 };
        expect(ids(client.getAccountTransfers(reversed))).toEqual(
          ids(expected.reverse().slice(0, filter.limit)),
        );
      }
    }
  });

  test("an unknown account gives nothing", () => {
    expect(client.getAccountTransfers(makeAccountFilter({ account_id: 999n }))).toEqual([]);
  });
});

describe("get_account_balances", () => {
  test("follows the transfers of the account, whatever the filter leaves out", () => {
    let debits = 0n;
    let credits = 0n;
    const expected = all
      .filter((one) => one.debit_account_id === 1n || one.credit_account_id === 1n)
      .map((one) => {
        if (one.debit_account_id === 1n) debits += one.amount;
        else credits += one.amount;
        return {
          debits_pending: 0n,
          debits_posted: debits,
          credits_pending: 0n,
          credits_posted: credits,
          timestamp: one.timestamp,
        };
      });
    expect(expected.length).toBeGreaterThan(512);
    const filter = makeAccountFilter({ account_id: 1n });
    expect(client.getAccountBalances(filter)).toEqual(expected);
    const codes = makeAccountFilter({ account_id: 1n, code: 2, flags: 7 });
    const points = new Set(client.getAccountTransfers(codes).map(({ timestamp }) => timestamp));
    expect(client.getAccountBalances(codes)).toEqual(
      expected.filter(({ timestamp }) => points.has(timestamp)).reverse(),
    );
  });

  test("needs the history flag", () => {
    expect(client.getAccountBalances(makeAccountFilter({ account_id: 2n }))).toEqual([]);
  });
});

describe("query_accounts", () => {
  test("by attributes and time, both ways", () => {
    const every = client.queryAccounts(makeQueryFilter());
    expect(every.length).toBe(Number(accounts));
    for (const fields of [
      { user_data_64: 1n },
      { code: 3 },
      { user_data_64: 2n, code: 1, ledger: 1 },
      { ledger: 5 },
      { code: 2, limit: 2 },
      { timestamp_min: every[4]!.timestamp, timestamp_max: every[9]!.timestamp },
    ] as Partial<QueryFilter>[]) {
      const filter = makeQueryFilter(fields);
      const expected = every.filter((one) => matches(filter, one as unknown as Transfer));
      expect(client.queryAccounts(filter)).toEqual(expected.slice(0, filter.limit));
      expect(client.queryAccounts({ ...filter, flags: 1 })).toEqual(
        expected.reverse().slice(0, filter.limit),
      );
    }
  });
});

const invalidRanges: Partial<QueryFilter>[] = [
  { limit: 0 },
  { timestamp_min: 1n << 63n },
  { timestamp_max: 1n << 63n },
  { timestamp_min: (1n << 64n) - 1n },
  { timestamp_min: 5n, timestamp_max: 4n },
];

describe("invalid filters find nothing", () => {
  test.each([...invalidRanges, { flags: 2 }, { flags: 0x8000_0000 }])("query %o", (fields) => {
    expect(client.queryTransfers(makeQueryFilter(fields))).toEqual([]);
    expect(client.queryAccounts(makeQueryFilter(fields))).toEqual([]);
  });

  test.each([
    ...invalidRanges,
    { account_id: 0n },
    { account_id: 2n ** 128n - 1n },
    { flags: 0 },
    { flags: 4 },
    { flags: 8 | 3 },
  ])("account %o", (fields) => {
    const filter = makeAccountFilter({ account_id: 1n, ...fields });
    expect(client.getAccountTransfers(filter)).toEqual([]);
    expect(client.getAccountBalances(filter)).toEqual([]);
  });

  test("every reserved byte counts", () => {
    for (let bit = 0; bit < 58; bit += 1) {
      const reserved = 1n << BigInt(bit * 8);
      expect(client.getAccountTransfers(makeAccountFilter({ account_id: 1n, reserved }))).toEqual(
        [],
      );
      if (bit < 6) expect(client.queryTransfers(makeQueryFilter({ reserved }))).toEqual([]);
      if (bit >= 44) continue;
      const filter = { timestamp_min: 0n, timestamp_max: 0n, limit: 5, reserved };
      expect(client.getChangeEvents(filter)).toEqual([]);
    }
  });

  test.each(invalidRanges)("change events %o", (fields) => {
    const filter = { timestamp_min: 0n, timestamp_max: 0n, limit: 5, ...fields };
    expect(client.getChangeEvents(filter)).toEqual([]);
  });

  test("only the sub-batch with the invalid filter is empty", () => {
    const filters = [{ code: 2, limit: 3 }, { limit: 0 }, { code: 3, limit: 2 }];
    const operation = Operation.queryTransfers;
    const body = encodeRequest(
      operation,
      filters.map((fields) => queryFilterCodec.encode(makeQueryFilter(fields))),
    );
    const parts = splitReply(operation, harness.submit(operation, body))!;
    expect(parts.map((part) => part.length / 128)).toEqual([3, 0, 2]);
    expect(ids(decodeArray(transferCodec, parts[2]!))).toEqual(
      ids(all.filter(({ code }) => code === 3).slice(0, 2)),
    );
  });
});

describe("lookups", () => {
  test("give what exists, in the order asked for, as often as asked for", () => {
    const some = [all[9]!, all[2900]!, all[9]!, all[1]!];
    const asked = [0n, some[0]!.id, 5n, some[1]!.id, some[2]!.id, 2n ** 128n - 1n, some[3]!.id];
    expect(client.lookupTransfers(asked)).toEqual(some);
    expect(ids(client.lookupAccounts([3n, 99n, 1n, 3n]))).toEqual([3n, 1n, 3n]);
    expect(client.lookupTransfers([])).toEqual([]);
  });

  test("as many as fit one reply, in sub-batches", () => {
    const operation = Operation.lookupTransfers;
    const counts = [4000, 0, 3000, 1189];
    const asked = counts.map((count, batch) =>
      Array.from({ length: count }, (_, index) =>
        // Every fourth id is unknown.
        index % 4 === 3 ? 7n : all[(index * 13 + batch) % all.length]!.id,
      ),
    );
    const body = encodeMultiBatch(
      16,
      asked.map((part) => encodeArray(idCodec, part)),
    );
    const parts = splitReply(operation, harness.submit(operation, body))!;
    for (const [batch, part] of parts.entries()) {
      const found = decodeArray(transferCodec, part);
      expect(ids(found)).toEqual(asked[batch]!.filter((id) => id !== 7n));
    }
  });
});

test("queries ask the storage for few rows at a time", () => {
  expect(harness.store.fetches).toBeGreaterThan(100);
  expect(harness.store.fetchedRowsMax).toBeLessThanOrEqual(256);
});

test("a query over several sub-batches sees each filter's own account", () => {
  const operation = Operation.getAccountBalances;
  const body = encodeRequest(
    operation,
    [1n, 2n, 1n].map((account_id) =>
      accountFilterCodec.encode(makeAccountFilter({ account_id, limit: 2 })),
    ),
  );
  const parts = splitReply(operation, harness.submit(operation, body))!;
  expect(parts.map((part) => part.length / 128)).toEqual([2, 0, 2]);
});
