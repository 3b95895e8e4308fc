/**
 * Ids are looked up in the generation that grows, in the one that is being written, and in runs:
 * each scenario with its first part in every one of them, before and after a restart. And what else a
 * start has to find again: the newest times, the transfers that will expire.
 */
import { describe, expect, test } from "vitest";
import { makeAccount, makeTransfer } from "../reference/make.ts";
import {
  type Account,
  AccountStatus,
  type Transfer,
  TransferStatus,
} from "../reference/records.ts";
import { Harness } from "./harness.ts";
import { MachineClient } from "./machine-client.ts";
import { check } from "./script.ts";

const past = `
  account A1  => created
  account A2  => created

  transfer T1 A1 A2 1               => created
  pending  T2 A1 A2 2               => created
  pending  T3 A1 A2 3               => created
  pending  T4 A1 A2 4               => created
  post     T5 T2 1 user_data_64=9   => created
  transfer T6 A1 A9 1               => credit_account_not_found
`;

describe.each([
  ["in memory, growing", ""],
  ["in memory, sealed", "cut"],
  ["in runs", "cut\ncut"],
  ["in runs, with newer generations", "cut\ntransfer T90 A1 A2 1 => created\n\ncut"],
])("ids %s", (_name, cuts) => {
  describe.each([
    ["", ""],
    ["after a restart", "restart"],
  ])("%s", (_restarted, restart) => {
    const before = `${past}\n${cuts}\n${restart}`;

    test("exist, and burnt ones stay burnt", () =>
      check(`
        ${before}
        transfer T1 A1 A2 1              => exists
        transfer T1 A1 A2 2              => exists_with_different_amount
        transfer T6 A1 A2 1              => id_already_failed
        transfer T7 A1 A2 1              => created
        transfer T7 A1 A2 1              => exists
        post     T5 T2 1 user_data_64=9  => exists
        post     T5 T2 1 user_data_64=8  => exists_with_different_user_data_64
        post     T5 T3 1                 => exists_with_different_pending_id
        found    T1 amount=1
        found    T5 amount=1
        found    T7 amount=1
        absent   T6
        absent   T8
      `));

    test("of pending transfers are posted and voided, with others of the same request", () =>
      check(
        `
        ${before}
        pending  T10 A1 A2 5  => created
        post     T11 T10      => created
        post     T12 T3       => created
        post     T13 T2       => pending_transfer_already_posted
        void     T14 T4       => created
        void     T14 T4       => exists
        post     T12 T3       => exists
        post     T15 T1       => pending_transfer_not_pending
        post     T16 T6       => pending_transfer_not_found
        post     T17 T99      => pending_transfer_not_found
        balance  A1 debits_pending=0
        found    T12 amount=3
        found    T14 amount=4

        post     T11 T10      => exists
      `,
      ));

    test("of pending transfers among others expire, if nothing becomes of them", () =>
      check(`
        account  A1  => created
        account  A2  => created

        pending  T1 A1 A2 1 timeout=5  => created
        transfer T2 A1 A2 1            => created
        pending  T3 A1 A2 2 timeout=5  => created
        pending  T4 A1 A2 4            => created
        pending  T5 A1 A2 8 timeout=5  => created
        pending  T6 A1 A2 3 timeout=5  => created
        post     T7 T3                 => created
        ${cuts}
        ${restart}
        void     T8 T5                 => created
        balance  A1 debits_pending=8
        sleep    6s
        balance  A1 debits_pending=4
        post     T9 T6                 => pending_transfer_expired
        post     T10 T4                => created
      `));

    test("of what a broken chain undid are free again, but for the one that broke it", () =>
      check(`
        ${before}
        transfer T20 A1 A2 1 linked  => linked_event_failed
        post     T21 T3 linked       => linked_event_failed
        transfer T22 A1 A9 1         => credit_account_not_found
        transfer T20 A1 A2 1         => created
        void     T21 T3              => created
        transfer T22 A1 A2 1         => id_already_failed

        cut
        transfer T20 A1 A2 1         => exists
        transfer T22 A1 A2 1         => id_already_failed
        cut
        restart
        void     T21 T3              => exists
        transfer T22 A1 A2 1         => id_already_failed
      `));
  });
});

describe.each([
  ["", ""],
  ["after a restart", "restart"],
])("%s", (_restarted, restart) => {
  test("runs may have burnt ids alone", () =>
    check(`
      account  A1  => created
      account  A2  => created

      transfer T1 A1 A9 1  => credit_account_not_found
      cut
      cut
      ${restart}
      transfer T1 A1 A2 1  => id_already_failed
      transfer T2 A1 A2 1  => created
    `));

  test("imported events have a time of their own, and none before the newest of their kind", () =>
    check(`
      account  A1 imported timestamp=5  => created
      account  A2 imported timestamp=6  => created

      transfer T1 A1 A2 1 imported timestamp=10  => created
      transfer T2 A1 A2 1 imported timestamp=20  => created
      cut
      cut
      ${restart}
      transfer T3 A1 A2 1 imported timestamp=20  => imported_event_timestamp_must_not_regress
      transfer T3 A1 A2 1 imported timestamp=15  => imported_event_timestamp_must_not_regress

      account  A3 imported timestamp=6   => imported_event_timestamp_must_not_regress
      account  A3 imported timestamp=10  => imported_event_timestamp_must_not_regress
      account  A3 imported timestamp=11  => created
      account  A4 imported timestamp=20  => imported_event_timestamp_must_not_regress
      account  A4 imported timestamp=21  => created

      transfer T3 A1 A2 1 imported timestamp=21  => imported_event_timestamp_must_not_regress
      transfer T3 A1 A2 1 imported timestamp=22  => created
    `));
});

test("imported accounts that are sent again have nothing read for their times", () => {
  const client = new MachineClient(new Harness(62));
  const { store } = client.harness;
  const imports = (ids: readonly bigint[], first: bigint): Account[] =>
    ids.map((id) => makeAccount(id, { flags: 16, timestamp: first + id }));
  client.createAccounts(imports([1n, 2n], 0n));
  client.createTransfers([
    makeTransfer(1n, 1n, 2n, 1n, { flags: 256, timestamp: 50n }),
    makeTransfer(2n, 1n, 2n, 1n, { flags: 256, timestamp: 100n }),
  ]);
  const accounts = imports([3n, 4n, 5n], 60n);
  const create = (): { statuses: number[]; fetches: number } => {
    const before = store.fetches;
    const statuses = client.createAccounts(accounts).map(({ status }) => status);
    return { statuses, fetches: store.fetches - before };
  };
  const first = create();
  expect(first.statuses).toEqual(accounts.map(() => AccountStatus.created));
  expect(first.fetches).toBeGreaterThan(0);
  const statuses = accounts.map(() => AccountStatus.exists);
  expect(create()).toEqual({ statuses, fetches: 0 });
});

test.each([0, 1, 2])(
  "a start takes up thousands of transfers and burnt ids, after %d cuts",
  (cuts) => {
    const client = new MachineClient(new Harness(61));
    const { harness } = client;
    client.createAccounts([makeAccount(1n), makeAccount(2n)]);
    const count = 2500;
    const transfers = Array.from({ length: count }, (_, index) =>
      makeTransfer(BigInt(100 + index), 1n, 2n, 1n, { flags: 2, timeout: 5 }),
    );
    const burnt = transfers.map(({ id }) => makeTransfer(id + 10_000n, 1n, 9n, 1n));
    client.createTransfers(transfers);
    client.createTransfers(burnt);
    for (let cut = 0; cut < cuts; cut += 1) harness.store.indexes.cutNow();
    harness.restart();
    const statuses = (batch: readonly Transfer[]): Set<number> =>
      new Set(client.createTransfers(batch).map(({ status }) => status));
    expect([...statuses(transfers)]).toEqual([TransferStatus.exists]);
    expect([...statuses(burnt)]).toEqual([TransferStatus.id_already_failed]);
    harness.sleep(6_000_000_000n);
    expect(client.lookupAccounts([1n])[0]!.debits_pending).toBe(0n);
  },
);
