/**
 * The order of the checks of create_transfers for ordinary and pending transfers
 * (protocol/semantics.md §2.2, §4.1, §4.6), pair by pair.
 */
import { expect, test } from "vitest";
import { makeTransfer } from "../reference/make.ts";
import { batchViolations, type Combined, summary, tryPairs, type Violation } from "./precedence.ts";
import {
  anyCredit,
  anyDebit,
  burnt,
  closedCredit,
  closedDebit,
  credit,
  debit,
  emptyLimitCredit,
  emptyLimitDebit,
  existing,
  foreign,
  foreignClosedCredit,
  foreignLimitClosedCredit,
  imported,
  lateClosedCredit,
  lateClosedDebit,
  lateCredit,
  lateDebit,
  lateForeignCredit,
  limitClosedCredit,
  limitClosedDebit,
  limitCredits,
  limitDebit,
  max,
  missingAccount,
  otherMissingAccount,
  pendingDebit,
  postedCredit,
  postedDebit,
  rules,
  timeoutMax,
  World,
} from "./precedence-world.ts";

const late = (world: World): readonly bigint[] => [world.between, 1n];

function ordinaryViolations(world: World): Violation[] {
  const exists = { id: [existing] };
  const pending = 2;
  return [
    ...batchViolations(imported),
    { status: "reserved_flag", flags: 0x200 },
    { status: "id_must_not_be_zero", fields: { id: [0n] } },
    { status: "id_must_not_be_int_max", fields: { id: [max] } },
    { status: "exists_with_different_flags", exists: true, fields: exists, flags: 16 },
    {
      status: "exists_with_different_pending_id",
      exists: true,
      fields: { ...exists, pending_id: [7n] },
    },
    {
      status: "exists_with_different_timeout",
      exists: true,
      fields: { ...exists, timeout: [1, timeoutMax] },
    },
    {
      status: "exists_with_different_debit_account_id",
      exists: true,
      fields: { ...exists, debit_account_id: anyDebit },
    },
    {
      status: "exists_with_different_credit_account_id",
      exists: true,
      fields: { ...exists, credit_account_id: anyCredit },
    },
    {
      status: "exists_with_different_amount",
      exists: true,
      fields: { ...exists, amount: [1n, max - 2n, max - 1n, max] },
    },
    {
      status: "exists_with_different_user_data_128",
      exists: true,
      fields: { ...exists, user_data_128: [9n] },
    },
    {
      status: "exists_with_different_user_data_64",
      exists: true,
      fields: { ...exists, user_data_64: [9n] },
    },
    {
      status: "exists_with_different_user_data_32",
      exists: true,
      fields: { ...exists, user_data_32: [9] },
    },
    { status: "exists_with_different_ledger", exists: true, fields: { ...exists, ledger: [7, 0] } },
    { status: "exists_with_different_code", exists: true, fields: { ...exists, code: [7, 0] } },
    { status: "exists", exists: true, fields: exists },
    { status: "id_already_failed", fields: { id: [burnt] } },
    { status: "debit_account_id_must_not_be_zero", fields: { debit_account_id: [0n] } },
    { status: "debit_account_id_must_not_be_int_max", fields: { debit_account_id: [max] } },
    { status: "credit_account_id_must_not_be_zero", fields: { credit_account_id: [0n] } },
    { status: "credit_account_id_must_not_be_int_max", fields: { credit_account_id: [max] } },
    {
      status: "accounts_must_be_different",
      same: ["debit_account_id", "credit_account_id"],
      fields: {
        debit_account_id: [debit, ...anyDebit, ...anyCredit],
        credit_account_id: [debit, ...anyDebit, ...anyCredit],
      },
      // One account is in one ledger.
      excludes: [
        "accounts_must_have_the_same_ledger",
        // The same then holds for the other side, which is checked first.
        "credit_account_id_must_not_be_zero",
        "credit_account_id_must_not_be_int_max",
      ],
    },
    { status: "pending_id_must_be_zero", fields: { pending_id: [7n] } },
    {
      status: "timeout_reserved_for_pending_transfer",
      withoutFlags: pending,
      fields: { timeout: [1, timeoutMax] },
    },
    { status: "closing_transfer_must_be_pending", flags: 64, withoutFlags: pending },
    { status: "ledger_must_not_be_zero", fields: { ledger: [0] } },
    { status: "code_must_not_be_zero", fields: { code: [0] } },
    { status: "debit_account_not_found", fields: { debit_account_id: [missingAccount] } },
    {
      status: "credit_account_not_found",
      fields: { credit_account_id: [otherMissingAccount, missingAccount] },
    },
    { status: "accounts_must_have_the_same_ledger", fields: { credit_account_id: foreign } },
    { status: "transfer_must_have_the_same_ledger_as_accounts", fields: { ledger: [7, 0] } },
    {
      status: "imported_event_timestamp_must_not_regress",
      flags: imported,
      fields: { timestamp: [1n] },
    },
    {
      status: "imported_event_timestamp_must_postdate_debit_account",
      flags: imported,
      fields: { timestamp: late(world), debit_account_id: [lateDebit, lateClosedDebit] },
    },
    {
      status: "imported_event_timestamp_must_postdate_credit_account",
      flags: imported,
      fields: {
        timestamp: late(world),
        credit_account_id: [lateCredit, lateClosedCredit, lateForeignCredit],
      },
    },
    {
      status: "imported_event_timeout_must_be_zero",
      flags: imported | pending,
      fields: { timeout: [1, timeoutMax] },
    },
    {
      status: "debit_account_already_closed",
      fields: { debit_account_id: [closedDebit, limitClosedDebit, lateClosedDebit] },
    },
    {
      status: "credit_account_already_closed",
      fields: {
        credit_account_id: [
          closedCredit,
          limitClosedCredit,
          lateClosedCredit,
          foreignClosedCredit,
          foreignLimitClosedCredit,
          lateForeignCredit,
        ],
      },
    },
    {
      status: "overflows_debits_pending",
      flags: pending,
      fields: { amount: [max], debit_account_id: [limitDebit, limitClosedDebit] },
    },
    {
      status: "overflows_credits_pending",
      flags: pending,
      fields: { amount: [max, max - 1n], credit_account_id: limitCredits },
    },
    {
      status: "overflows_debits_posted",
      fields: { amount: [max], debit_account_id: [postedDebit, limitDebit, limitClosedDebit] },
    },
    {
      status: "overflows_credits_posted",
      fields: { amount: [max], credit_account_id: [postedCredit, ...limitCredits] },
    },
    {
      status: "overflows_debits",
      variant: "posted and pending",
      fields: { amount: [max - 1n], debit_account_id: [limitDebit, limitClosedDebit] },
    },
    {
      status: "overflows_debits",
      variant: "pending alone",
      withoutFlags: pending,
      fields: { amount: [max], debit_account_id: [pendingDebit] },
      // With this amount credits_posted overflows; the other variant meets it.
      excludes: ["overflows_credits"],
    },
    {
      status: "overflows_credits",
      fields: { amount: [max - 2n, max - 1n, max], credit_account_id: limitCredits },
    },
    { status: "overflows_timeout", flags: pending, fields: { timeout: [timeoutMax] } },
    {
      status: "exceeds_credits",
      fields: {
        amount: [1n, max - 2n, max - 1n, max],
        debit_account_id: [
          emptyLimitDebit,
          limitDebit,
          limitClosedDebit,
          lateDebit,
          lateClosedDebit,
        ],
      },
    },
    {
      status: "exceeds_debits",
      fields: {
        amount: [1n, max - 2n, max - 1n, max],
        credit_account_id: [
          emptyLimitCredit,
          ...limitCredits,
          lateCredit,
          lateClosedCredit,
          lateForeignCredit,
        ],
      },
    },
  ];
}

test("of any two checks that a transfer violates, the earlier one answers", () => {
  const world = new World();
  const base = makeTransfer(0n, debit, credit, 0n);
  const order = [
    ["flags", 0],
    ["pending_id", 0n],
    ["timeout", 0],
    ["debit_account_id", debit],
    ["credit_account_id", credit],
    ["amount", 0n],
    ["user_data_128", 0n],
    ["user_data_64", 0n],
    ["user_data_32", 0],
    ["ledger", 1],
    ["code", 1],
  ] as const;
  const existingStatus = ({ fields, flags }: Combined): string => {
    if (flags !== 0) return "exists_with_different_flags";
    const differs = order.find(
      ([field, value]) => fields[field] !== undefined && fields[field] !== value,
    );
    return differs === undefined ? "exists" : `exists_with_different_${differs[0]}`;
  };
  const before = world.dump();
  const { report, wrong } = tryPairs(
    ordinaryViolations(world),
    rules,
    (event) => world.statusOf(base, event),
    existingStatus,
  );
  expect(wrong).toEqual([]);
  expect(world.dump()).toEqual(before);
  expect(summary(report)).toEqual({
    // Imported and not imported; pending and not pending.
    flags: 26,
    // Zero, the maximum, one that exists, one that is burnt.
    id: 39,
    // Out of range, too late, too early.
    timestamp: 7,
    // No account, and what only an account can do; no transfer is older than a balance.
    debit_account_id: 31,
    credit_account_id: 27,
    amount: 3,
    excluded: 4,
  });
  expect(report.tested).toBe(1293);
});
