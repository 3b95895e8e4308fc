/** Filters of the reference ledger, and the change event made from a recorded change. */
import { type Account, type ChangeEvent, type Transfer, timestampMax } from "./records.ts";

/** A transfer or an expiry, with both accounts as they were right after it. */
export interface ChangeRecord {
  readonly type: number;
  readonly timestamp: bigint;
  readonly transfer: Transfer;
  readonly debit: Account;
  readonly credit: Account;
}

interface Range {
  readonly timestamp_min: bigint;
  readonly timestamp_max: bigint;
  readonly limit: number;
  readonly reserved?: bigint;
}

export function rangeIsValid(filter: Range): boolean {
  return (
    filter.timestamp_min <= timestampMax &&
    filter.timestamp_max <= timestampMax &&
    (filter.timestamp_max === 0n || filter.timestamp_min <= filter.timestamp_max) &&
    filter.limit !== 0 &&
    (filter.reserved ?? 0n) === 0n
  );
}

interface Conditions {
  readonly user_data_128: bigint;
  readonly user_data_64: bigint;
  readonly user_data_32: number;
  readonly code: number;
}

/** A condition of 0 is no condition. */
export function matches(filter: Conditions, object: Conditions): boolean {
  return (
    (filter.user_data_128 === 0n || filter.user_data_128 === object.user_data_128) &&
    (filter.user_data_64 === 0n || filter.user_data_64 === object.user_data_64) &&
    (filter.user_data_32 === 0 || filter.user_data_32 === object.user_data_32) &&
    (filter.code === 0 || filter.code === object.code)
  );
}

/** Copies of the objects in range that pass, by timestamp, as many as the limits allow. */
export function selectInRange<T extends { readonly timestamp: bigint }>(
  objects: Iterable<T>,
  range: Range,
  reversed: boolean,
  resultMax: number,
  accept: (object: T) => boolean,
): T[] {
  const found: T[] = [];
  for (const object of objects) {
    if (object.timestamp < range.timestamp_min) continue;
    if (range.timestamp_max !== 0n && object.timestamp > range.timestamp_max) continue;
    if (accept(object)) found.push(object);
  }
  found.sort((a, b) => (a.timestamp < b.timestamp ? -1 : 1));
  if (reversed) found.reverse();
  return found.slice(0, Math.min(range.limit, resultMax)).map((object) => ({ ...object }));
}

export function changeEventOf(change: ChangeRecord): ChangeEvent {
  const { transfer, debit, credit } = change;
  return {
    transfer_id: transfer.id,
    transfer_amount: transfer.amount,
    transfer_pending_id: transfer.pending_id,
    transfer_user_data_128: transfer.user_data_128,
    transfer_user_data_64: transfer.user_data_64,
    transfer_user_data_32: transfer.user_data_32,
    transfer_timeout: transfer.timeout,
    transfer_code: transfer.code,
    transfer_flags: transfer.flags,
    ledger: debit.ledger,
    type: change.type,
    debit_account_id: debit.id,
    debit_account_debits_pending: debit.debits_pending,
    debit_account_debits_posted: debit.debits_posted,
    debit_account_credits_pending: debit.credits_pending,
    debit_account_credits_posted: debit.credits_posted,
    debit_account_user_data_128: debit.user_data_128,
    debit_account_user_data_64: debit.user_data_64,
    debit_account_user_data_32: debit.user_data_32,
    debit_account_code: debit.code,
    debit_account_flags: debit.flags,
    credit_account_id: credit.id,
    credit_account_debits_pending: credit.debits_pending,
    credit_account_debits_posted: credit.debits_posted,
    credit_account_credits_pending: credit.credits_pending,
    credit_account_credits_posted: credit.credits_posted,
    credit_account_user_data_128: credit.user_data_128,
    credit_account_user_data_64: credit.user_data_64,
    credit_account_user_data_32: credit.user_data_32,
    credit_account_code: credit.code,
    credit_account_flags: credit.flags,
    timestamp: change.timestamp,
    transfer_timestamp: transfer.timestamp,
    debit_account_timestamp: debit.timestamp,
    credit_account_timestamp: credit.timestamp,
  };
}
