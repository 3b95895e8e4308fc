/**
 * Every status code of the create operations, each produced by a script; and the check that the
 * list is complete, so that no status can be added or lost unnoticed.
 */
import { describe, expect, test } from "vitest";
import * as source from "../../src/ledger/status.ts";
import { Harness } from "./harness.ts";
import { accountStatuses, Script, transferStatuses } from "./script.ts";

/** Later, every timeout of 2^32 − 1 seconds ends beyond 2^63 ns. */
const lateClock = 6_000_000_000_000_000_000n;

const accountCases: Readonly<Record<string, string>> = {
  created: "account A1 => created",
  linked_event_failed: `
    account A1 linked    => linked_event_failed
    account A0           => id_must_not_be_zero
    absent A1`,
  linked_event_chain_open: "account A1 linked => linked_event_chain_open",
  timestamp_must_be_zero: "account A1 timestamp=1 => timestamp_must_be_zero",
  reserved_field: "account A1 reserved=1 => reserved_field",
  reserved_flag: `
    account A1 flags=64     => reserved_flag
    account A1 flags=32768  => reserved_flag`,
  id_must_not_be_zero: "account 0 => id_must_not_be_zero",
  id_must_not_be_int_max: "account max => id_must_not_be_int_max",
  flags_are_mutually_exclusive: "account A1 flags=6 => flags_are_mutually_exclusive",
  debits_pending_must_be_zero: "account A1 debits_pending=1 => debits_pending_must_be_zero",
  debits_posted_must_be_zero: "account A1 debits_posted=max => debits_posted_must_be_zero",
  credits_pending_must_be_zero: "account A1 credits_pending=1 => credits_pending_must_be_zero",
  credits_posted_must_be_zero: "account A1 credits_posted=1 => credits_posted_must_be_zero",
  ledger_must_not_be_zero: "account A1 ledger=0 => ledger_must_not_be_zero",
  code_must_not_be_zero: "account A1 code=0 => code_must_not_be_zero",
  exists_with_different_flags: `
    account A1          => created
    account A1 history  => exists_with_different_flags

    # Once a transfer has closed it, its flags are not those it was created with.
    account A2  => created
    pending T1 A1 A2 0 closing_debit  => created
    account A1                        => exists_with_different_flags
    account A1 closed                 => exists`,
  exists_with_different_user_data_128: `
    account A1                    => created
    account A1 user_data_128=max  => exists_with_different_user_data_128`,
  exists_with_different_user_data_64: `
    account A1 user_data_64=4294967296  => created
    account A1 user_data_64=1           => exists_with_different_user_data_64`,
  exists_with_different_user_data_32: `
    account A1                 => created
    account A1 user_data_32=7  => exists_with_different_user_data_32`,
  exists_with_different_ledger: `
    account A1           => created
    account A1 ledger=2  => exists_with_different_ledger`,
  exists_with_different_code: `
    account A1         => created
    account A1 code=2  => exists_with_different_code`,
  exists: `
    account A1  => created
    account A1  => exists`,
  imported_event_expected: `
    account A1 imported timestamp=5  => created
    account A2                       => imported_event_expected`,
  imported_event_not_expected: `
    account A1                       => created
    account A2 imported timestamp=5  => imported_event_not_expected`,
  imported_event_timestamp_out_of_range: `
    account A1 imported timestamp=0                     => imported_event_timestamp_out_of_range
    account A1 imported timestamp=9223372036854775808   => imported_event_timestamp_out_of_range
    account A1 imported timestamp=18446744073709551615  => imported_event_timestamp_out_of_range`,
  imported_event_timestamp_must_not_advance: `
    account A1 imported timestamp=9223372036854775807 => imported_event_timestamp_must_not_advance`,
  imported_event_timestamp_must_not_regress: `
    account A1 imported timestamp=5  => created
    account A2 imported timestamp=5  => imported_event_timestamp_must_not_regress
    account A2 imported timestamp=6  => created

    # Nor may it be that of a transfer.
    transfer T1 A1 A2 1 imported timestamp=9  => created
    account A3 imported timestamp=9           => imported_event_timestamp_must_not_regress
    account A3 imported timestamp=10          => created`,
};

const accounts = `
    account A1           => created
    account A2           => created
    account A3 ledger=2  => created
`;

/** `accounts` run first. */
const transferCases: Readonly<Record<string, string>> = {
  created: "transfer T1 A1 A2 5 => created",
  linked_event_failed: `
    transfer T1 A1 A2 5 linked  => linked_event_failed
    transfer T2 A1 A1 5         => accounts_must_be_different
    absent T1`,
  linked_event_chain_open: "transfer T1 A1 A2 5 linked => linked_event_chain_open",
  timestamp_must_be_zero: "transfer T1 A1 A2 5 timestamp=1 => timestamp_must_be_zero",
  reserved_flag: `
    transfer T1 A1 A2 5 flags=512    => reserved_flag
    transfer T1 A1 A2 5 flags=16384  => reserved_flag
    transfer T1 A1 A2 5 flags=32768  => reserved_flag`,
  id_must_not_be_zero: "transfer 0 A1 A2 5 => id_must_not_be_zero",
  id_must_not_be_int_max: "transfer max A1 A2 5 => id_must_not_be_int_max",
  flags_are_mutually_exclusive: `
    post T2 T1 void             => flags_are_mutually_exclusive
    post T2 T1 pending          => flags_are_mutually_exclusive
    post T2 T1 balancing_debit  => flags_are_mutually_exclusive
    void T2 T1 balancing_credit => flags_are_mutually_exclusive
    void T2 T1 closing_debit    => flags_are_mutually_exclusive
    void T2 T1 closing_credit   => flags_are_mutually_exclusive`,
  debit_account_id_must_not_be_zero: "transfer T1 0 A2 5 => debit_account_id_must_not_be_zero",
  debit_account_id_must_not_be_int_max:
    "transfer T1 max A2 5 => debit_account_id_must_not_be_int_max",
  credit_account_id_must_not_be_zero: "transfer T1 A1 0 5 => credit_account_id_must_not_be_zero",
  credit_account_id_must_not_be_int_max:
    "transfer T1 A1 max 5 => credit_account_id_must_not_be_int_max",
  accounts_must_be_different: "transfer T1 A1 A1 5 => accounts_must_be_different",
  pending_id_must_be_zero: "transfer T1 A1 A2 5 pending_id=9 => pending_id_must_be_zero",
  pending_id_must_not_be_zero: "post T1 0 => pending_id_must_not_be_zero",
  pending_id_must_not_be_int_max: "void T1 max => pending_id_must_not_be_int_max",
  pending_id_must_be_different: "post T1 T1 => pending_id_must_be_different",
  timeout_reserved_for_pending_transfer: `
    transfer T1 A1 A2 5 timeout=1  => timeout_reserved_for_pending_transfer
    pending  T1 A1 A2 5            => created
    post     T2 T1 timeout=1       => timeout_reserved_for_pending_transfer`,
  ledger_must_not_be_zero: "transfer T1 A1 A2 5 ledger=0 => ledger_must_not_be_zero",
  code_must_not_be_zero: "transfer T1 A1 A2 5 code=0 => code_must_not_be_zero",
  debit_account_not_found: "transfer T1 A9 A2 5 => debit_account_not_found",
  credit_account_not_found: "transfer T1 A1 A9 5 => credit_account_not_found",
  accounts_must_have_the_same_ledger: "transfer T1 A1 A3 5 => accounts_must_have_the_same_ledger",
  transfer_must_have_the_same_ledger_as_accounts:
    "transfer T1 A1 A2 5 ledger=2 => transfer_must_have_the_same_ledger_as_accounts",
  pending_transfer_not_found: "post T2 T1 => pending_transfer_not_found",
  pending_transfer_not_pending: `
    transfer T1 A1 A2 5  => created
    post     T2 T1       => pending_transfer_not_pending`,
  pending_transfer_has_different_debit_account_id: `
    pending T1 A1 A2 5              => created
    post    T2 T1 debit_account_id=2  => pending_transfer_has_different_debit_account_id`,
  pending_transfer_has_different_credit_account_id: `
    pending T1 A1 A2 5               => created
    post    T2 T1 credit_account_id=1  => pending_transfer_has_different_credit_account_id`,
  pending_transfer_has_different_ledger: `
    pending T1 A1 A2 5     => created
    void    T2 T1 ledger=2 => pending_transfer_has_different_ledger`,
  pending_transfer_has_different_code: `
    pending T1 A1 A2 5   => created
    void    T2 T1 code=2 => pending_transfer_has_different_code`,
  exceeds_pending_transfer_amount: `
    pending T1 A1 A2 5  => created
    post    T2 T1 6     => exceeds_pending_transfer_amount
    void    T2 T1 max   => exceeds_pending_transfer_amount`,
  pending_transfer_has_different_amount: `
    pending T1 A1 A2 5  => created
    void    T2 T1 4     => pending_transfer_has_different_amount`,
  pending_transfer_already_posted: `
    pending T1 A1 A2 5  => created
    post    T2 T1       => created
    void    T3 T1       => pending_transfer_already_posted`,
  pending_transfer_already_voided: `
    pending T1 A1 A2 5  => created
    void    T2 T1       => created
    post    T3 T1       => pending_transfer_already_voided`,
  pending_transfer_expired: `
    pending T1 A1 A2 5 timeout=1  => created
    sleep   2s
    post    T2 T1                 => pending_transfer_expired

    # Time alone decides: whether or not a pulse has released the balances.
    pending T3 A1 A2 5 timeout=1  => created
    balance A1 debits_pending=5
    wait    2s
    void    T4 T3                 => pending_transfer_expired`,
  exists_with_different_flags: `
    transfer T1 A1 A2 5  => created
    pending  T1 A1 A2 5  => exists_with_different_flags`,
  exists_with_different_pending_id: `
    pending T1 A1 A2 5  => created
    post    T2 T1       => created
    post    T2 T3       => exists_with_different_pending_id`,
  exists_with_different_timeout: `
    pending T1 A1 A2 5            => created
    pending T1 A1 A2 5 timeout=1  => exists_with_different_timeout`,
  exists_with_different_debit_account_id: `
    transfer T1 A1 A2 5  => created
    transfer T1 A2 A2 5  => exists_with_different_debit_account_id`,
  exists_with_different_credit_account_id: `
    transfer T1 A1 A2 5  => created
    transfer T1 A1 A1 5  => exists_with_different_credit_account_id`,
  exists_with_different_amount: `
    transfer T1 A1 A2 5  => created
    transfer T1 A1 A2 6  => exists_with_different_amount`,
  exists_with_different_user_data_128: `
    transfer T1 A1 A2 5                  => created
    transfer T1 A1 A2 5 user_data_128=1  => exists_with_different_user_data_128`,
  exists_with_different_user_data_64: `
    transfer T1 A1 A2 5                 => created
    transfer T1 A1 A2 5 user_data_64=1  => exists_with_different_user_data_64`,
  exists_with_different_user_data_32: `
    transfer T1 A1 A2 5                 => created
    transfer T1 A1 A2 5 user_data_32=1  => exists_with_different_user_data_32`,
  exists_with_different_ledger: `
    transfer T1 A1 A2 5           => created
    transfer T1 A1 A2 5 ledger=2  => exists_with_different_ledger`,
  exists_with_different_code: `
    transfer T1 A1 A2 5         => created
    transfer T1 A1 A2 5 code=2  => exists_with_different_code`,
  exists: `
    transfer T1 A1 A2 5  => created
    transfer T1 A1 A2 5  => exists`,
  overflows_debits_pending: `
    pending T1 A1 A2 1    => created
    pending T2 A1 A2 max  => overflows_debits_pending`,
  overflows_credits_pending: `
    account A4              => created
    pending T1 A1 A2 1      => created
    pending T2 A4 A2 max    => overflows_credits_pending`,
  overflows_debits_posted: `
    transfer T1 A1 A2 1    => created
    transfer T2 A1 A2 max  => overflows_debits_posted`,
  overflows_credits_posted: `
    account  A4            => created
    transfer T1 A1 A2 1    => created
    transfer T2 A4 A2 max  => overflows_credits_posted`,
  overflows_debits: `
    pending  T1 A1 A2 1    => created
    transfer T2 A1 A2 max  => overflows_debits`,
  overflows_credits: `
    account  A4            => created
    pending  T1 A1 A2 1    => created
    transfer T2 A4 A2 max  => overflows_credits`,
  overflows_timeout: `
    pending T1 A1 A2 1 timeout=4294967295  => overflows_timeout
    pending T1 A1 A2 1 timeout=3000000000  => created`,
  exceeds_credits: `
    account  A4 debits_must_not_exceed_credits  => created
    transfer T1 A2 A4 5                         => created
    transfer T2 A4 A2 6                         => exceeds_credits
    transfer T3 A4 A2 5                         => created`,
  exceeds_debits: `
    account  A4 credits_must_not_exceed_debits  => created
    transfer T1 A2 A4 1                         => exceeds_debits`,
  imported_event_expected: `
    transfer T1 A1 A2 5 imported timestamp=1  => imported_event_timestamp_must_postdate_debit_account
    transfer T2 A1 A2 5                       => imported_event_expected`,
  imported_event_not_expected: `
    transfer T1 A1 A2 5                       => created
    transfer T2 A1 A2 5 imported timestamp=1  => imported_event_not_expected`,
  imported_event_timestamp_out_of_range: `
    transfer T1 A1 A2 5 imported                                => imported_event_timestamp_out_of_range
    transfer T1 A1 A2 5 imported timestamp=9223372036854775808  => imported_event_timestamp_out_of_range`,
  imported_event_timestamp_must_not_advance: `
    transfer T1 A1 A2 5 imported timestamp=9223372036854775807 => imported_event_timestamp_must_not_advance`,
  imported_event_timestamp_must_not_regress: `
    transfer T1 A1 A2 5  => created

    transfer T2 A1 A2 5 imported timestamp=9  => imported_event_timestamp_must_not_regress`,
  imported_event_timestamp_must_postdate_debit_account:
    "transfer T1 A1 A2 5 imported timestamp=9 => imported_event_timestamp_must_postdate_debit_account",
  // `importedAccounts` are there instead.
  imported_event_timestamp_must_postdate_credit_account: `
    transfer T1 A5 A7 5 imported timestamp=55  => imported_event_timestamp_must_postdate_credit_account
    transfer T1 A5 A7 5 imported timestamp=71  => created`,
  imported_event_timeout_must_be_zero: `
    pending T1 A5 A6 5 imported timestamp=71 timeout=1  => imported_event_timeout_must_be_zero
    pending T1 A5 A6 5 imported timestamp=71            => created`,
  closing_transfer_must_be_pending: `
    transfer T1 A1 A2 5 closing_debit   => closing_transfer_must_be_pending
    transfer T1 A1 A2 5 closing_credit  => closing_transfer_must_be_pending`,
  debit_account_already_closed: `
    pending  T1 A1 A2 5 closing_debit  => created
    transfer T2 A1 A2 0                => debit_account_already_closed`,
  credit_account_already_closed: `
    pending  T1 A1 A2 5 closing_credit  => created
    transfer T2 A1 A2 0                 => credit_account_already_closed`,
  id_already_failed: `
    transfer T1 A1 A9 5  => credit_account_not_found
    account  A9          => created
    transfer T1 A1 A9 5  => id_already_failed
    transfer T2 A1 A9 5  => created`,
};

const importedAccounts = `
    account A5 imported timestamp=50  => created
    account A6 imported timestamp=60  => created
    account A7 imported timestamp=70  => created
`;

function setUp(name: string): string {
  const imports =
    name === "imported_event_timestamp_must_postdate_credit_account" ||
    name === "imported_event_timeout_must_be_zero";
  return imports ? importedAccounts : accounts;
}

describe("create_accounts", () => {
  test.each(Object.entries(accountCases))("%s", (name, text) => {
    const script = new Script(new Harness(1));
    script.run(text);
    expect([...script.seen]).toContain(`accounts/${name}`);
  });

  test("every status is among the cases", () => {
    expect(Object.keys(accountCases).sort()).toEqual(Object.keys(accountStatuses).sort());
    const numbers = Object.keys(accountCases).map((name) => accountStatuses[name]!);
    expect(numbers.sort((a, b) => a - b)).toEqual([...range(1, 26), 0xffff_ffff]);
  });
});

describe("create_transfers", () => {
  test.each(Object.entries(transferCases))("%s", (name, text) => {
    const harness = new Harness(2);
    if (name === "overflows_timeout") harness.clock = lateClock;
    const script = new Script(harness);
    script.run(setUp(name));
    script.run(text);
    expect([...script.seen]).toContain(`transfers/${name}`);
  });

  test("every status is among the cases", () => {
    expect(Object.keys(transferCases).sort()).toEqual(Object.keys(transferStatuses).sort());
    const numbers = Object.keys(transferCases).map((name) => transferStatuses[name]!);
    // 18 was removed from the protocol and is never sent.
    const expected = [...range(1, 17), ...range(19, 68), 0xffff_ffff];
    expect(numbers.sort((a, b) => a - b)).toEqual(expected);
  });
});

test("names and numbers in the source are the protocol's", () => {
  const byName = (table: typeof source.AccountStatus | typeof source.TransferStatus) =>
    Object.fromEntries(
      Object.values(table).map((status) => [source.statusName(table, status), status]),
    );
  expect(byName(source.AccountStatus)).toEqual(accountStatuses);
  expect(byName(source.TransferStatus)).toEqual(transferStatuses);
  expect(source.statusName(source.TransferStatus, 18)).toBeUndefined();
});

function range(first: number, last: number): number[] {
  return Array.from({ length: last - first + 1 }, (_, index) => first + index);
}
