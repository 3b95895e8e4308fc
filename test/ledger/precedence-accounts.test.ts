/** The order of the checks of create_accounts (protocol/semantics.md §2.2 and §3), pair by pair. */
import { expect, test } from "vitest";
import { makeAccount } from "../reference/make.ts";
import type { Account } from "../reference/records.ts";
import { Harness } from "./harness.ts";
import { MachineClient } from "./machine-client.ts";
import {
  batchViolations,
  type Combined,
  statusName,
  summary,
  tryPairs,
  type Violation,
} from "./precedence.ts";
import { accountStatuses } from "./script.ts";

const imported = 16;
const max = 2n ** 128n - 1n;
const existingId = 100n;
const exists = { id: [existingId] };

/** In order of precedence. */
const violations: readonly Violation[] = [
  ...batchViolations(imported),
  { status: "reserved_field", fields: { reserved: [1] } },
  { status: "reserved_flag", flags: 64 },
  { status: "id_must_not_be_zero", fields: { id: [0n] } },
  { status: "id_must_not_be_int_max", fields: { id: [max] } },
  { status: "exists_with_different_flags", exists: true, fields: exists, flags: 8 },
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
  { status: "exists_with_different_ledger", exists: true, fields: { ...exists, ledger: [2, 0] } },
  { status: "exists_with_different_code", exists: true, fields: { ...exists, code: [2, 0] } },
  { status: "exists", exists: true, fields: exists },
  { status: "flags_are_mutually_exclusive", flags: 6 },
  { status: "debits_pending_must_be_zero", fields: { debits_pending: [1n] } },
  { status: "debits_posted_must_be_zero", fields: { debits_posted: [1n] } },
  { status: "credits_pending_must_be_zero", fields: { credits_pending: [1n] } },
  { status: "credits_posted_must_be_zero", fields: { credits_posted: [1n] } },
  { status: "ledger_must_not_be_zero", fields: { ledger: [0] } },
  { status: "code_must_not_be_zero", fields: { code: [0] } },
  {
    status: "imported_event_timestamp_must_not_regress",
    flags: imported,
    fields: { timestamp: [1n] },
  },
];

test("of any two checks that an account violates, the earlier one answers", () => {
  const client = new MachineClient(new Harness(31));
  client.createAccounts([makeAccount(existingId)]);
  let nextId = 1000n;

  const accountOf = ({ fields, flags }: Combined): Account => {
    nextId += 1n;
    return makeAccount(nextId, { flags, ...fields } as Partial<Account>);
  };
  const statusOf = (event: Combined): string => {
    const prefix = {
      none: [],
      plain: [makeAccount(0n)],
      imported: [makeAccount(0n, { flags: imported, timestamp: 5n })],
      "broken chain": [makeAccount(0n, { flags: 1 })],
      "broken imported chain": [makeAccount(0n, { flags: 1 | imported, timestamp: 5n })],
    }[event.prefix];
    const account = accountOf(event);
    if (account.timestamp === 0n && event.fields["timestamp"] === undefined) {
      // An imported event needs some timestamp to get beyond the batch checks.
      if ((event.flags & imported) !== 0) account.timestamp = 7n;
    }
    const results = client.createAccounts([...prefix, account]);
    return statusName(accountStatuses, results[results.length - 1]!.status);
  };
  const existing = ({ fields, flags }: Combined): string => {
    if (flags !== 0) return "exists_with_different_flags";
    for (const field of ["user_data_128", "user_data_64", "user_data_32", "ledger", "code"]) {
      if (fields[field] !== undefined) return `exists_with_different_${field}`;
    }
    return "exists";
  };
  const before = client.lookupAccounts([existingId]);
  const rules = {
    importedFlag: imported,
    mixing: ["imported_event_expected", "imported_event_not_expected"],
  };
  const { report, wrong } = tryPairs(violations, rules, statusOf, existing);
  expect(wrong).toEqual([]);
  expect(client.lookupAccounts([existingId])).toEqual(before);

  // Pairs that no event can violate together, by what they disagree on; all others were tried.
  expect(summary(report)).toEqual({
    // Imported and not imported.
    flags: 8,
    // Zero, the maximum, and one that exists.
    id: 15,
    // Out of range, too late, and too early.
    timestamp: 3,
  });
  expect(report.tested).toBe(325);
});
