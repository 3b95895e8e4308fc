/** Events for tests, with the fields that do not matter filled in. */
import type { Account, AccountFilter, QueryFilter, Transfer } from "./records.ts";

export function makeAccount(id: bigint, fields: Partial<Account> = {}): Account {
  return {
    id,
    debits_pending: 0n,
    debits_posted: 0n,
    credits_pending: 0n,
    credits_posted: 0n,
    user_data_128: 0n,
    user_data_64: 0n,
    user_data_32: 0,
    reserved: 0,
    ledger: 1,
    code: 1,
    flags: 0,
    timestamp: 0n,
    ...fields,
  };
}

export function makeTransfer(
  id: bigint,
  debit: bigint,
  credit: bigint,
  amount: bigint,
  fields: Partial<Transfer> = {},
): Transfer {
  return {
    id,
    debit_account_id: debit,
    credit_account_id: credit,
    amount,
    pending_id: 0n,
    user_data_128: 0n,
    user_data_64: 0n,
    user_data_32: 0,
    timeout: 0,
    ledger: 1,
    code: 1,
    flags: 0,
    timestamp: 0n,
    ...fields,
  };
}

/** Posts or voids `pendingId`; accounts, ledger and code are left to the pending transfer. */
export function makeSettling(
  id: bigint,
  pendingId: bigint,
  amount: bigint,
  flags: number,
  fields: Partial<Transfer> = {},
): Transfer {
  return makeTransfer(id, 0n, 0n, amount, {
    pending_id: pendingId,
    ledger: 0,
    code: 0,
    flags,
    ...fields,
  });
}

export function makeAccountFilter(fields: Partial<AccountFilter>): AccountFilter {
  return {
    account_id: 0n,
    user_data_128: 0n,
    user_data_64: 0n,
    user_data_32: 0,
    code: 0,
    timestamp_min: 0n,
    timestamp_max: 0n,
    limit: 8189,
    flags: 3,
    ...fields,
  };
}

export function makeQueryFilter(fields: Partial<QueryFilter> = {}): QueryFilter {
  return {
    user_data_128: 0n,
    user_data_64: 0n,
    user_data_32: 0,
    ledger: 0,
    code: 0,
    timestamp_min: 0n,
    timestamp_max: 0n,
    limit: 8189,
    flags: 0,
    ...fields,
  };
}
