/**
 * The reference ledger's own vocabulary: plain objects with the field names of the official API
 * (u128 and u64 are bigint, smaller integers are number), flags and status codes. Written from the
 * protocol documents; shares nothing with src/.
 */

export interface Account {
  id: bigint;
  debits_pending: bigint;
  debits_posted: bigint;
  credits_pending: bigint;
  credits_posted: bigint;
  user_data_128: bigint;
  user_data_64: bigint;
  user_data_32: number;
  reserved: number;
  ledger: number;
  code: number;
  flags: number;
  timestamp: bigint;
}

export interface Transfer {
  id: bigint;
  debit_account_id: bigint;
  credit_account_id: bigint;
  amount: bigint;
  pending_id: bigint;
  user_data_128: bigint;
  user_data_64: bigint;
  user_data_32: number;
  timeout: number;
  ledger: number;
  code: number;
  flags: number;
  timestamp: bigint;
}

export interface CreateResult {
  timestamp: bigint;
  status: number;
  reserved: number;
}

/** An entry of the deprecated replies, which list only events that were not created. */
export interface ErrorResult {
  index: number;
  result: number;
}

export interface AccountBalance {
  debits_pending: bigint;
  debits_posted: bigint;
  credits_pending: bigint;
  credits_posted: bigint;
  timestamp: bigint;
}

/** `reserved` (here and below): all reserved bytes as one number; valid only when 0. */
export interface AccountFilter {
  account_id: bigint;
  user_data_128: bigint;
  user_data_64: bigint;
  user_data_32: number;
  code: number;
  reserved?: bigint;
  timestamp_min: bigint;
  timestamp_max: bigint;
  limit: number;
  flags: number;
}

export interface QueryFilter {
  user_data_128: bigint;
  user_data_64: bigint;
  user_data_32: number;
  ledger: number;
  code: number;
  reserved?: bigint;
  timestamp_min: bigint;
  timestamp_max: bigint;
  limit: number;
  flags: number;
}

export interface ChangeEventsFilter {
  timestamp_min: bigint;
  timestamp_max: bigint;
  limit: number;
  reserved?: bigint;
}

export interface ChangeEvent {
  transfer_id: bigint;
  transfer_amount: bigint;
  transfer_pending_id: bigint;
  transfer_user_data_128: bigint;
  transfer_user_data_64: bigint;
  transfer_user_data_32: number;
  transfer_timeout: number;
  transfer_code: number;
  transfer_flags: number;
  ledger: number;
  type: number;
  debit_account_id: bigint;
  debit_account_debits_pending: bigint;
  debit_account_debits_posted: bigint;
  debit_account_credits_pending: bigint;
  debit_account_credits_posted: bigint;
  debit_account_user_data_128: bigint;
  debit_account_user_data_64: bigint;
  debit_account_user_data_32: number;
  debit_account_code: number;
  debit_account_flags: number;
  credit_account_id: bigint;
  credit_account_debits_pending: bigint;
  credit_account_debits_posted: bigint;
  credit_account_credits_pending: bigint;
  credit_account_credits_posted: bigint;
  credit_account_user_data_128: bigint;
  credit_account_user_data_64: bigint;
  credit_account_user_data_32: number;
  credit_account_code: number;
  credit_account_flags: number;
  timestamp: bigint;
  transfer_timestamp: bigint;
  debit_account_timestamp: bigint;
  credit_account_timestamp: bigint;
}

export const u128Max = (1n << 128n) - 1n;
export const timestampMax = (1n << 63n) - 1n;

export const AccountFlag = {
  linked: 1,
  debitsMustNotExceedCredits: 2,
  creditsMustNotExceedDebits: 4,
  history: 8,
  imported: 16,
  closed: 32,
} as const;
export const accountFlagsDefined = 63;

export const TransferFlag = {
  linked: 1,
  pending: 2,
  postPendingTransfer: 4,
  voidPendingTransfer: 8,
  balancingDebit: 16,
  balancingCredit: 32,
  closingDebit: 64,
  closingCredit: 128,
  imported: 256,
} as const;
export const transferFlagsDefined = 511;

export const FilterFlag = { debits: 1, credits: 2, reversed: 4 } as const;
export const QueryFlag = { reversed: 1 } as const;

export const ChangeEventType = {
  singlePhase: 0,
  pending: 1,
  posted: 2,
  voided: 3,
  expired: 4,
} as const;

/** Statuses that both create operations share. */
export const created = 0xffff_ffff;
export const linkedEventFailed = 1;
export const linkedEventChainOpen = 2;
export const timestampMustBeZero = 3;

export const AccountStatus = {
  created,
  linked_event_failed: 1,
  linked_event_chain_open: 2,
  timestamp_must_be_zero: 3,
  reserved_field: 4,
  reserved_flag: 5,
  id_must_not_be_zero: 6,
  id_must_not_be_int_max: 7,
  flags_are_mutually_exclusive: 8,
  debits_pending_must_be_zero: 9,
  debits_posted_must_be_zero: 10,
  credits_pending_must_be_zero: 11,
  credits_posted_must_be_zero: 12,
  ledger_must_not_be_zero: 13,
  code_must_not_be_zero: 14,
  exists_with_different_flags: 15,
  exists_with_different_user_data_128: 16,
  exists_with_different_user_data_64: 17,
  exists_with_different_user_data_32: 18,
  exists_with_different_ledger: 19,
  exists_with_different_code: 20,
  exists: 21,
  imported_event_expected: 22,
  imported_event_not_expected: 23,
  imported_event_timestamp_out_of_range: 24,
  imported_event_timestamp_must_not_advance: 25,
  imported_event_timestamp_must_not_regress: 26,
} as const;

export const TransferStatus = {
  created,
  linked_event_failed: 1,
  linked_event_chain_open: 2,
  timestamp_must_be_zero: 3,
  reserved_flag: 4,
  id_must_not_be_zero: 5,
  id_must_not_be_int_max: 6,
  flags_are_mutually_exclusive: 7,
  debit_account_id_must_not_be_zero: 8,
  debit_account_id_must_not_be_int_max: 9,
  credit_account_id_must_not_be_zero: 10,
  credit_account_id_must_not_be_int_max: 11,
  accounts_must_be_different: 12,
  pending_id_must_be_zero: 13,
  pending_id_must_not_be_zero: 14,
  pending_id_must_not_be_int_max: 15,
  pending_id_must_be_different: 16,
  timeout_reserved_for_pending_transfer: 17,
  ledger_must_not_be_zero: 19,
  code_must_not_be_zero: 20,
  debit_account_not_found: 21,
  credit_account_not_found: 22,
  accounts_must_have_the_same_ledger: 23,
  transfer_must_have_the_same_ledger_as_accounts: 24,
  pending_transfer_not_found: 25,
  pending_transfer_not_pending: 26,
  pending_transfer_has_different_debit_account_id: 27,
  pending_transfer_has_different_credit_account_id: 28,
  pending_transfer_has_different_ledger: 29,
  pending_transfer_has_different_code: 30,
  exceeds_pending_transfer_amount: 31,
  pending_transfer_has_different_amount: 32,
  pending_transfer_already_posted: 33,
  pending_transfer_already_voided: 34,
  pending_transfer_expired: 35,
  exists_with_different_flags: 36,
  exists_with_different_debit_account_id: 37,
  exists_with_different_credit_account_id: 38,
  exists_with_different_amount: 39,
  exists_with_different_pending_id: 40,
  exists_with_different_user_data_128: 41,
  exists_with_different_user_data_64: 42,
  exists_with_different_user_data_32: 43,
  exists_with_different_timeout: 44,
  exists_with_different_code: 45,
  exists: 46,
  overflows_debits_pending: 47,
  overflows_credits_pending: 48,
  overflows_debits_posted: 49,
  overflows_credits_posted: 50,
  overflows_debits: 51,
  overflows_credits: 52,
  overflows_timeout: 53,
  exceeds_credits: 54,
  exceeds_debits: 55,
  imported_event_expected: 56,
  imported_event_not_expected: 57,
  imported_event_timestamp_out_of_range: 58,
  imported_event_timestamp_must_not_advance: 59,
  imported_event_timestamp_must_not_regress: 60,
  imported_event_timestamp_must_postdate_debit_account: 61,
  imported_event_timestamp_must_postdate_credit_account: 62,
  imported_event_timeout_must_be_zero: 63,
  closing_transfer_must_be_pending: 64,
  debit_account_already_closed: 65,
  credit_account_already_closed: 66,
  exists_with_different_ledger: 67,
  id_already_failed: 68,
} as const;

/** A transfer that ends with one of these burns its id. */
export const transientStatuses: ReadonlySet<number> = new Set([
  TransferStatus.debit_account_not_found,
  TransferStatus.credit_account_not_found,
  TransferStatus.pending_transfer_not_found,
  TransferStatus.exceeds_credits,
  TransferStatus.exceeds_debits,
  TransferStatus.debit_account_already_closed,
  TransferStatus.credit_account_already_closed,
]);
