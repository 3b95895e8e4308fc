/** Expiry and the pulse (protocol/semantics.md §5), imported events (§2.3, §3.1, §4.1). */
import { describe, expect, test } from "vitest";
import { makeAccount, makeTransfer } from "../reference/make.ts";
import type { Transfer } from "../reference/records.ts";
import { Harness, operationPulse } from "./harness.ts";
import { MachineClient } from "./machine-client.ts";
import { check } from "./script.ts";

const second = 1_000_000_000n;

/** A ledger of two accounts, with the pulses that it was sent. */
function ledger(seed = 5): { client: MachineClient; harness: Harness; pulses: bigint[] } {
  const harness = new Harness(seed);
  const client = new MachineClient(harness);
  const pulses: bigint[] = [];
  harness.onOperation = (operation, _body, timestamp) => {
    if (operation === operationPulse) pulses.push(timestamp);
  };
  client.createAccounts([makeAccount(1n), makeAccount(2n)]);
  pulses.length = 0;
  return { client, harness, pulses };
}

function pending(id: bigint, timeout: number, fields: Partial<Transfer> = {}): Transfer {
  return makeTransfer(id, 1n, 2n, 1n, { flags: 2, timeout, ...fields });
}

const allEvents = { timestamp_min: 0n, timestamp_max: 0n, limit: 2730 };

describe("pulse", () => {
  test("expires in order of time, then of creation, with consecutive timestamps", () => {
    const { client, harness, pulses } = ledger();
    client.createTransfers([pending(10n, 3), pending(11n, 2), pending(12n, 2)]);
    harness.sleep(2n * second + 100_000n);
    const first = client.getChangeEvents(allEvents).filter(({ type }) => type === 4);
    expect(first.map(({ transfer_id }) => transfer_id)).toEqual([11n, 12n]);
    expect(first[1]!.timestamp - first[0]!.timestamp).toBe(1n);
    expect(first[1]!.timestamp).toBe(pulses[0]);
    harness.sleep(second);
    const all = client.getChangeEvents(allEvents).filter(({ type }) => type === 4);
    expect(all.map(({ transfer_id }) => transfer_id)).toEqual([11n, 12n, 10n]);
  });

  test("is due when the first timeout runs out, not before, and never without one", () => {
    const { client, harness, pulses } = ledger();
    expect(harness.pulseDue((1n << 63n) - 1n)).toBe(false);
    client.createTransfers([pending(10n, 0)]);
    expect(harness.pulseDue((1n << 63n) - 1n)).toBe(false);
    client.createTransfers([pending(11n, 5), pending(12n, 3)]);
    const created = client.lookupTransfers([12n])[0]!.timestamp;
    expect(harness.pulseDue(created + 3n * second - 1n)).toBe(false);
    expect(harness.pulseDue(created + 3n * second)).toBe(true);
    expect(pulses).toEqual([]);
  });

  test("is asked for again when the transfer that expires next was resolved", () => {
    const { client, harness } = ledger();
    client.createTransfers([pending(10n, 3), pending(11n, 5)]);
    client.createTransfers([
      makeTransfer(20n, 0n, 0n, 0n, { pending_id: 10n, flags: 8, ledger: 0, code: 0 }),
    ]);
    // The pulse that followed looked, and found the other one.
    const created = client.lookupTransfers([11n])[0]!.timestamp;
    expect(harness.pulseDue(created + 5n * second - 1n)).toBe(false);
    expect(harness.pulseDue(created + 5n * second)).toBe(true);
  });

  test("expires 8,190 at a time; the next follows at once", () => {
    const { client, harness, pulses } = ledger();
    const batch = (first: bigint, count: number): Transfer[] =>
      Array.from({ length: count }, (_, index) => pending(first + BigInt(index), 1));
    client.createTransfers(batch(1000n, 8000));
    client.createTransfers(batch(20_000n, 500));
    harness.sleep(3n * second);
    expect(pulses.length).toBe(2);
    const [account] = client.lookupAccounts([1n]);
    expect(account!.debits_pending).toBe(0n);
    const last = { timestamp_min: pulses[0]! - 8189n, timestamp_max: pulses[0]!, limit: 2730 };
    expect(client.getChangeEvents(last).every(({ type }) => type === 4)).toBe(true);
    const second2 = { timestamp_min: pulses[0]! + 1n, timestamp_max: 0n, limit: 2730 };
    expect(client.getChangeEvents(second2).length).toBe(310);
    expect(harness.pulseDue((1n << 63n) - 1n)).toBe(false);
  });

  test("survives a restart: what was pending expires, in the same order", () => {
    const { client, harness } = ledger();
    client.createTransfers([pending(10n, 2), pending(11n, 1), pending(12n, 1)]);
    client.createTransfers([
      makeTransfer(20n, 0n, 0n, 0n, { pending_id: 12n, flags: 8, ledger: 0, code: 0 }),
    ]);
    harness.restart();
    harness.sleep(3n * second);
    const expired = client.getChangeEvents(allEvents).filter(({ type }) => type === 4);
    expect(expired.map(({ transfer_id }) => transfer_id)).toEqual([11n, 10n]);
  });
});

test("an expired transfer leaves no transfer, and no balance in the history but the next one", () => {
  const { client, harness } = ledger();
  client.createAccounts([makeAccount(3n, { flags: 8 })]);
  client.createTransfers([
    makeTransfer(10n, 3n, 2n, 7n, { flags: 2, timeout: 1 }),
    makeTransfer(11n, 3n, 2n, 1n),
  ]);
  harness.sleep(2n * second);
  client.createTransfers([makeTransfer(12n, 3n, 2n, 1n)]);
  const filter = {
    account_id: 3n,
    user_data_128: 0n,
    user_data_64: 0n,
    user_data_32: 0,
    code: 0,
    timestamp_min: 0n,
    timestamp_max: 0n,
    limit: 10,
    flags: 3,
  };
  expect(client.getAccountTransfers(filter).map(({ id }) => id)).toEqual([10n, 11n, 12n]);
  expect(client.getAccountBalances(filter).map((balance) => balance.debits_pending)).toEqual([
    7n,
    7n,
    0n,
  ]);
});

describe("imports", () => {
  test("bring their own time, in order, and meet real events later", () =>
    check(`
      account  A1 imported timestamp=10  => created
      account  A2 imported timestamp=20  => created
      account  A3 imported timestamp=20  => imported_event_timestamp_must_not_regress
      found    A2 timestamp=20 flags=16

      transfer T1 A1 A2 5 imported timestamp=30  => created
      transfer T2 A1 A2 5 imported timestamp=30  => imported_event_timestamp_must_not_regress
      transfer T3 A1 A2 5 imported timestamp=31  => created
      account  A3                                => created
      transfer T4 A1 A3 5                        => created
      balance  A1 debits=15

      # Later transfers do not matter for accounts; only an equal timestamp does.
      account  A4 imported timestamp=40          => imported_event_timestamp_must_not_regress
    `));

  test("an import that was undone leaves no trace in time", () =>
    check(`
      account  A1 imported timestamp=10  => created
      account  A2 imported timestamp=11  => created

      account  A3 imported timestamp=90 linked         => linked_event_failed
      account  A4 imported timestamp=91 ledger=0       => ledger_must_not_be_zero
      account  A5 imported timestamp=12                => created

      transfer T1 A1 A2 1 imported timestamp=70 linked  => linked_event_failed
      transfer T2 A1 A2 1 imported timestamp=71 code=0  => code_must_not_be_zero
      transfer T3 A1 A2 1 imported timestamp=13         => created
      found    T3 timestamp=13
    `));

  test("a repeated import is recognised, whatever its timestamp", () =>
    check(`
      account A1 imported timestamp=10  => created
      account A1 imported timestamp=99  => exists
      account A1                        => imported_event_expected
    `));

  test("posts and voids can be imported; pending ones have no timeout", () =>
    check(`
      account A1 imported timestamp=10                     => created
      account A2 imported timestamp=11                     => created
      pending T1 A1 A2 5 imported timestamp=20             => created
      pending T2 A1 A2 5 imported timestamp=21 timeout=1   => imported_event_timeout_must_be_zero
      post    T3 T1 imported timestamp=20                  => imported_event_timestamp_must_not_regress
      post    T3 T1 imported timestamp=22                  => created
      found   T3 timestamp=22 amount=5
    `));
});
