/**
 * The order of the checks of create_transfers for posting and voiding (protocol/semantics.md §2.2,
 * §4.4, §4.6), pair by pair.
 */
import { expect, test } from "vitest";
import { makeSettling } from "../reference/make.ts";
import { batchViolations, type Combined, summary, tryPairs, type Violation } from "./precedence.ts";
import {
  burnt,
  expired,
  fresh,
  funds,
  imported,
  max,
  missingTransfer,
  notPending,
  open,
  overdue,
  posted,
  rules,
  settled,
  voided,
  World,
} from "./precedence-world.ts";

function settlingViolations(): Violation[] {
  const exists = { id: [settled] };
  const post = 4;
  const isVoid = 8;
  const closedOnDebit = (ids: readonly bigint[]): bigint[] => [ids[1]!, ids[3]!];
  const closedOnCredit = (ids: readonly bigint[]): bigint[] => [ids[2]!, ids[3]!];
  const every = [open, posted, voided, expired, overdue, notPending];
  return [
    ...batchViolations(imported),
    { status: "reserved_flag", flags: 0x4000 },
    { status: "id_must_not_be_zero", fields: { id: [0n] } },
    { status: "id_must_not_be_int_max", fields: { id: [max] } },
    { status: "exists_with_different_flags", exists: true, fields: exists, flags: 2 },
    {
      status: "exists_with_different_pending_id",
      exists: true,
      fields: { ...exists, pending_id: [0n, max, settled, missingTransfer, ...every.flat()] },
    },
    { status: "exists_with_different_timeout", exists: true, fields: { ...exists, timeout: [1] } },
    {
      status: "exists_with_different_debit_account_id",
      exists: true,
      fields: { ...exists, debit_account_id: [funds] },
    },
    {
      status: "exists_with_different_credit_account_id",
      exists: true,
      fields: { ...exists, credit_account_id: [funds] },
    },
    {
      status: "exists_with_different_amount",
      exists: true,
      fields: { ...exists, amount: [6n, 4n] },
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
    { status: "exists_with_different_ledger", exists: true, fields: { ...exists, ledger: [7] } },
    { status: "exists_with_different_code", exists: true, fields: { ...exists, code: [7] } },
    { status: "exists", exists: true, fields: exists },
    { status: "id_already_failed", fields: { id: [burnt] } },
    { status: "flags_are_mutually_exclusive", variant: "both", flags: post | isVoid },
    ...[2, 16, 32, 64, 128].map((flags) => ({
      status: "flags_are_mutually_exclusive",
      variant: `flag ${flags}`,
      flags,
    })),
    { status: "pending_id_must_not_be_zero", fields: { pending_id: [0n] } },
    { status: "pending_id_must_not_be_int_max", fields: { pending_id: [max] } },
    {
      status: "pending_id_must_be_different",
      same: ["id", "pending_id"],
      fields: {
        id: [fresh, burnt, 0n, max, settled],
        pending_id: [fresh, burnt, 0n, max, settled],
      },
      // The same then holds for the id, which is checked first.
      excludes: ["pending_id_must_not_be_zero", "pending_id_must_not_be_int_max"],
    },
    { status: "timeout_reserved_for_pending_transfer", fields: { timeout: [1] } },
    {
      status: "pending_transfer_not_found",
      fields: { pending_id: [missingTransfer, fresh, burnt] },
    },
    { status: "pending_transfer_not_pending", fields: { pending_id: notPending } },
    {
      status: "pending_transfer_has_different_debit_account_id",
      fields: { debit_account_id: [funds] },
    },
    {
      status: "pending_transfer_has_different_credit_account_id",
      fields: { credit_account_id: [funds] },
    },
    { status: "pending_transfer_has_different_ledger", fields: { ledger: [7] } },
    { status: "pending_transfer_has_different_code", fields: { code: [7] } },
    { status: "exceeds_pending_transfer_amount", fields: { amount: [6n] } },
    { status: "pending_transfer_has_different_amount", flags: isVoid, fields: { amount: [4n] } },
    { status: "pending_transfer_already_posted", fields: { pending_id: posted } },
    { status: "pending_transfer_already_voided", fields: { pending_id: voided } },
    { status: "pending_transfer_expired", variant: "by a pulse", fields: { pending_id: expired } },
    { status: "pending_transfer_expired", variant: "by time", fields: { pending_id: overdue } },
    {
      status: "imported_event_timestamp_must_not_regress",
      flags: imported,
      fields: { timestamp: [1n] },
    },
    {
      status: "debit_account_already_closed",
      withoutFlags: isVoid,
      fields: { pending_id: every.flatMap(closedOnDebit) },
    },
    {
      status: "credit_account_already_closed",
      withoutFlags: isVoid,
      fields: { pending_id: every.flatMap(closedOnCredit) },
    },
  ];
}

test("of any two checks that a post or void violates, the earlier one answers", () => {
  const world = new World();
  // Leaves to the pending transfer whatever it may.
  const base = makeSettling(0n, open[0]!, 5n, 4);
  const order = ["timeout", "debit_account_id", "credit_account_id", "amount", "user_data_128"];
  const rest = ["user_data_64", "user_data_32", "ledger", "code"];
  const existingStatus = ({ fields, flags }: Combined): string => {
    if (flags !== 0) return "exists_with_different_flags";
    if (fields["pending_id"] !== undefined) return "exists_with_different_pending_id";
    const differs = [...order, ...rest].find((field) => fields[field] !== undefined);
    return differs === undefined ? "exists" : `exists_with_different_${differs}`;
  };
  const before = world.dump();
  const { report, wrong } = tryPairs(
    settlingViolations(),
    rules,
    (event) => world.statusOf(base, event),
    existingStatus,
  );
  expect(wrong).toEqual([]);
  expect(world.dump()).toEqual(before);
  expect(summary(report)).toEqual({
    // Imported and not imported; a void, which closed accounts do not hinder.
    flags: 12,
    // Zero, the maximum, one that exists, one that is burnt, and ids of pending transfers.
    id: 46,
    // A transfer has one state, and one that does not exist has none.
    pending_id: 33,
    timestamp: 3,
    // More and less than was pending.
    amount: 1,
    excluded: 2,
  });
  expect(report.tested).toBe(1063);
});
