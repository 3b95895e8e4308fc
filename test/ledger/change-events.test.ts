/** The change feed (protocol/semantics.md §7.6). */
import { expect, test } from "vitest";
import { Prng } from "../../src/core/prng.ts";
import { makeAccount, makeQueryFilter, makeSettling, makeTransfer } from "../reference/make.ts";
import type { ChangeEvent, Transfer } from "../reference/records.ts";
import { Harness } from "./harness.ts";
import { MachineClient } from "./machine-client.ts";

const all = { timestamp_min: 0n, timestamp_max: 0n, limit: 2730 };
const second = 1_000_000_000n;

function ledger(clock?: bigint): { client: MachineClient; harness: Harness } {
  const harness = new Harness(51);
  if (clock !== undefined) harness.clock = clock;
  const client = new MachineClient(harness);
  client.createAccounts([
    makeAccount(1n, { user_data_128: 5n, user_data_64: 6n, user_data_32: 7, code: 8, flags: 8 }),
    makeAccount(2n, { code: 9 }),
  ]);
  return { client, harness };
}

test("shows each kind of event with both accounts as they were right after it", () => {
  const { client, harness } = ledger();
  client.createTransfers([
    makeTransfer(10n, 1n, 2n, 100n, { user_data_32: 3 }),
    makeTransfer(11n, 1n, 2n, 10n, { flags: 2 }),
    makeTransfer(12n, 1n, 2n, 20n, { flags: 2 | 64, timeout: 1, code: 4 }),
    makeTransfer(13n, 2n, 2n, 1n),
    makeSettling(14n, 11n, 10n, 8),
  ]);
  harness.sleep(2n * second);
  client.createTransfers([
    makeTransfer(15n, 1n, 2n, 5n, { flags: 2 }),
    makeSettling(16n, 15n, 4n, 4),
  ]);
  const events = client.getChangeEvents(all);
  const shown = (one: ChangeEvent): unknown[] => [
    one.transfer_id,
    one.type,
    one.transfer_amount,
    one.debit_account_debits_pending,
    one.debit_account_debits_posted,
    one.credit_account_credits_pending,
    one.credit_account_credits_posted,
    one.debit_account_flags,
    one.credit_account_flags,
  ];
  expect(events.map(shown)).toEqual([
    [10n, 0, 100n, 0n, 100n, 0n, 100n, 8, 0],
    [11n, 1, 10n, 10n, 100n, 10n, 100n, 8, 0],
    [12n, 1, 20n, 30n, 100n, 30n, 100n, 8 | 32, 0],
    // A void, while the debit account is closed still.
    [14n, 3, 10n, 20n, 100n, 20n, 100n, 8 | 32, 0],
    // The expiry reopens it.
    [12n, 4, 20n, 0n, 100n, 0n, 100n, 8, 0],
    [15n, 1, 5n, 5n, 100n, 5n, 100n, 8, 0],
    [16n, 2, 4n, 0n, 104n, 0n, 104n, 8, 0],
  ]);
  const [first] = events;
  expect(first).toMatchObject({
    ledger: 1,
    transfer_user_data_32: 3,
    transfer_code: 1,
    transfer_flags: 0,
    debit_account_id: 1n,
    debit_account_user_data_128: 5n,
    debit_account_user_data_64: 6n,
    debit_account_user_data_32: 7,
    debit_account_code: 8,
    credit_account_id: 2n,
    credit_account_code: 9,
  });
  const accounts = client.lookupAccounts([1n, 2n]);
  for (const event of events) {
    expect(event.debit_account_timestamp).toBe(accounts[0]!.timestamp);
    expect(event.credit_account_timestamp).toBe(accounts[1]!.timestamp);
    const [transfer] = client.lookupTransfers([event.transfer_id]);
    expect(event.transfer_timestamp).toBe(transfer!.timestamp);
    expect(event.transfer_flags).toBe(transfer!.flags);
    expect(event.transfer_timeout).toBe(transfer!.timeout);
    expect(event.transfer_pending_id).toBe(transfer!.pending_id);
    if (event.type === 4) expect(event.timestamp).toBeGreaterThan(event.transfer_timestamp);
    else expect(event.timestamp).toBe(event.transfer_timestamp);
  }
});

test("pages through transfers and expiries in order of time, across chunks", () => {
  const { client, harness } = ledger();
  let id = 100n;
  for (let round = 0; round < 6; round += 1) {
    const batch: Transfer[] = [];
    for (let count = 0; count < 150; count += 1) {
      id += 1n;
      batch.push(
        makeTransfer(id, 1n, 2n, 1n, id % 3n === 0n ? { flags: 2, timeout: 1 + (round % 2) } : {}),
      );
    }
    client.createTransfers(batch);
    harness.sleep(second + 1_000_000n);
  }
  harness.sleep(3n * second);
  const events = client.getChangeEvents(all);
  expect(events.length).toBe(900 + 300);
  expect(events.filter(({ type }) => type === 4).length).toBe(300);
  for (const [index, event] of events.entries()) {
    if (index > 0) expect(event.timestamp > events[index - 1]!.timestamp).toBe(true);
  }
  const paged: ChangeEvent[] = [];
  let timestamp_min = 0n;
  for (;;) {
    const page = client.getChangeEvents({ ...all, timestamp_min, limit: 77 });
    paged.push(...page);
    if (page.length < 77) break;
    timestamp_min = page[page.length - 1]!.timestamp + 1n;
  }
  expect(paged).toEqual(events);
  const [from, to] = [events[300]!.timestamp, events[800]!.timestamp];
  expect(client.getChangeEvents({ timestamp_min: from, timestamp_max: to, limit: 2730 })).toEqual(
    events.slice(300, 801),
  );
});

test("any range of time is found among more events than lie between two marks, also after a restart", () => {
  const { client, harness } = ledger();
  const pending = Array.from({ length: 1300 }, (_, index) =>
    makeTransfer(BigInt(100 + index), 1n, 2n, 1n, { flags: 2, timeout: 1 }),
  );
  client.createTransfers(pending);
  harness.sleep(2n * second);
  const events = client.getChangeEvents(all);
  expect(events.length).toBe(2600);
  const random = new Prng(53);
  for (const restarted of [false, true]) {
    if (restarted) harness.restart();
    for (let round = 0; round < 40; round += 1) {
      const first = random.below(events.length);
      const last = Math.min(events.length - 1, first + random.below(30));
      const timestamp_min = events[first]!.timestamp;
      const timestamp_max = events[last]!.timestamp;
      const expected = events.slice(first, last + 1);
      expect(client.getChangeEvents({ ...all, timestamp_min, timestamp_max })).toEqual(expected);
      const transfers = client.queryTransfers(makeQueryFilter({ timestamp_min, timestamp_max }));
      expect(transfers.map(({ timestamp }) => timestamp)).toEqual(
        expected.filter(({ type }) => type === 1).map(({ timestamp }) => timestamp),
      );
    }
  }
});

test("an expiry may come between imported transfers that were created later", () => {
  const { client, harness } = ledger(1_000_000n);
  client.createTransfers([makeTransfer(10n, 1n, 2n, 1n, { flags: 2, timeout: 1 })]);
  harness.sleep(2n * second);
  const [expired] = client.getChangeEvents(all).filter(({ type }) => type === 4);
  const time = expired!.timestamp;
  harness.clock += second;
  const imported = { flags: 256 };
  const results = client.createTransfers([
    makeTransfer(11n, 1n, 2n, 1n, { ...imported, timestamp: time - 5n }),
    makeTransfer(12n, 1n, 2n, 1n, { ...imported, timestamp: time + 5n }),
  ]);
  expect(results.map(({ status }) => status)).toEqual([0xffff_ffff, 0xffff_ffff]);
  const order = client.getChangeEvents(all).map(({ transfer_id, type }) => [transfer_id, type]);
  expect(order).toEqual([
    [10n, 1],
    [11n, 0],
    [10n, 4],
    [12n, 0],
  ]);
});

test("gives at most 2,730 events, and fewer on a server with a smaller limit", () => {
  const { client } = ledger();
  client.createTransfers(
    Array.from({ length: 3000 }, (_, index) => makeTransfer(BigInt(100 + index), 1n, 2n, 1n)),
  );
  expect(client.getChangeEvents({ ...all, limit: 0xffff_ffff }).length).toBe(2730);

  const small = new MachineClient(new Harness(52, 4096));
  small.createAccounts([makeAccount(1n), makeAccount(2n)]);
  for (let batch = 0; batch < 6; batch += 1) {
    small.createTransfers(
      Array.from({ length: 31 }, (_, index) =>
        makeTransfer(BigInt(100 + batch * 31 + index), 1n, 2n, 1n),
      ),
    );
  }
  // 4,096 bytes of ids are 255 lookups; an event shows two accounts.
  expect(small.getChangeEvents(all).length).toBe(127);
});
