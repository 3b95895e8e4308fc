/**
 * Decides one transfer event: a pure function of the event, its timestamp and what it may look up.
 * It returns the status, and for a created transfer everything that changes with it.
 */
import {
  type Account,
  AccountFlag,
  ChangeEventType,
  created,
  type Transfer,
  TransferFlag,
  TransferStatus,
  timestampMax,
  transferFlagsDefined,
  u128Max,
} from "./records.ts";

export type PendingState = "pending" | "posted" | "voided" | "expired";

export interface TransferView {
  account(id: bigint): Account | undefined;
  transfer(id: bigint): Transfer | undefined;
  pendingState(id: bigint): PendingState | undefined;
  isBurnt(id: bigint): boolean;
  /** Not above every transfer's timestamp, or exactly that of an account. */
  timestampRegresses(timestamp: bigint): boolean;
}

interface Refusal {
  readonly status: number;
  /** Timestamp of the existing transfer, when the status is exists. */
  readonly objectTimestamp?: bigint;
}

interface Creation {
  readonly status: typeof created;
  readonly type: number;
  readonly transfer: Transfer;
  /** The accounts as they are afterwards. */
  readonly debit: Account;
  readonly credit: Account;
  /** The pending transfer that this one posts or voids. */
  readonly settles: { readonly id: bigint; readonly state: PendingState } | null;
}

const S = TransferStatus;
const F = TransferFlag;

function isSet(flags: number, flag: number): boolean {
  return (flags & flag) !== 0;
}

function refuse(status: number): Refusal {
  return { status };
}

/** @param eventTimestamp - The event's place in time; not the timestamp an import supplies. */
export function checkTransfer(
  event: Transfer,
  eventTimestamp: bigint,
  view: TransferView,
): Refusal | Creation {
  if (isSet(event.flags, ~transferFlagsDefined)) return refuse(S.reserved_flag);
  if (event.id === 0n) return refuse(S.id_must_not_be_zero);
  if (event.id === u128Max) return refuse(S.id_must_not_be_int_max);
  const settling = isSet(event.flags, F.postPendingTransfer | F.voidPendingTransfer);
  const existing = view.transfer(event.id);
  if (existing !== undefined) return transferExists(event, existing, settling, view);
  if (view.isBurnt(event.id)) return refuse(S.id_already_failed);
  return settling
    ? checkSettling(event, eventTimestamp, view)
    : checkOrdinary(event, eventTimestamp, view);
}

/** An ordinary or a pending transfer. */
function checkOrdinary(
  event: Transfer,
  eventTimestamp: bigint,
  view: TransferView,
): Refusal | Creation {
  const flags = event.flags;
  const pending = isSet(flags, F.pending);
  const imported = isSet(flags, F.imported);
  const timestamp = imported ? event.timestamp : eventTimestamp;

  if (event.debit_account_id === 0n) return refuse(S.debit_account_id_must_not_be_zero);
  if (event.debit_account_id === u128Max) return refuse(S.debit_account_id_must_not_be_int_max);
  if (event.credit_account_id === 0n) return refuse(S.credit_account_id_must_not_be_zero);
  if (event.credit_account_id === u128Max) return refuse(S.credit_account_id_must_not_be_int_max);
  if (event.debit_account_id === event.credit_account_id) {
    return refuse(S.accounts_must_be_different);
  }
  if (event.pending_id !== 0n) return refuse(S.pending_id_must_be_zero);
  if (!pending && event.timeout !== 0) return refuse(S.timeout_reserved_for_pending_transfer);
  if (!pending && isSet(flags, F.closingDebit | F.closingCredit)) {
    return refuse(S.closing_transfer_must_be_pending);
  }
  if (event.ledger === 0) return refuse(S.ledger_must_not_be_zero);
  if (event.code === 0) return refuse(S.code_must_not_be_zero);

  const debit = view.account(event.debit_account_id);
  if (debit === undefined) return refuse(S.debit_account_not_found);
  const credit = view.account(event.credit_account_id);
  if (credit === undefined) return refuse(S.credit_account_not_found);
  if (debit.ledger !== credit.ledger) return refuse(S.accounts_must_have_the_same_ledger);
  if (event.ledger !== debit.ledger) {
    return refuse(S.transfer_must_have_the_same_ledger_as_accounts);
  }

  if (imported) {
    if (view.timestampRegresses(timestamp)) {
      return refuse(S.imported_event_timestamp_must_not_regress);
    }
    if (timestamp <= debit.timestamp) {
      return refuse(S.imported_event_timestamp_must_postdate_debit_account);
    }
    if (timestamp <= credit.timestamp) {
      return refuse(S.imported_event_timestamp_must_postdate_credit_account);
    }
    if (event.timeout !== 0) return refuse(S.imported_event_timeout_must_be_zero);
  }
  if (isSet(debit.flags, AccountFlag.closed)) return refuse(S.debit_account_already_closed);
  if (isSet(credit.flags, AccountFlag.closed)) return refuse(S.credit_account_already_closed);

  const amount = balancedAmount(event, debit, credit);

  if (pending && amount + debit.debits_pending > u128Max) {
    return refuse(S.overflows_debits_pending);
  }
  if (pending && amount + credit.credits_pending > u128Max) {
    return refuse(S.overflows_credits_pending);
  }
  if (amount + debit.debits_posted > u128Max) return refuse(S.overflows_debits_posted);
  if (amount + credit.credits_posted > u128Max) return refuse(S.overflows_credits_posted);
  if (amount + debit.debits_pending + debit.debits_posted > u128Max) {
    return refuse(S.overflows_debits);
  }
  if (amount + credit.credits_pending + credit.credits_posted > u128Max) {
    return refuse(S.overflows_credits);
  }
  if (timestamp + BigInt(event.timeout) * 1_000_000_000n > timestampMax) {
    return refuse(S.overflows_timeout);
  }
  if (
    isSet(debit.flags, AccountFlag.debitsMustNotExceedCredits) &&
    debit.debits_pending + debit.debits_posted + amount > debit.credits_posted
  ) {
    return refuse(S.exceeds_credits);
  }
  if (
    isSet(credit.flags, AccountFlag.creditsMustNotExceedDebits) &&
    credit.credits_pending + credit.credits_posted + amount > credit.debits_posted
  ) {
    return refuse(S.exceeds_debits);
  }

  return {
    status: created,
    type: pending ? ChangeEventType.pending : ChangeEventType.singlePhase,
    transfer: { ...event, amount, timestamp },
    debit: {
      ...debit,
      debits_pending: debit.debits_pending + (pending ? amount : 0n),
      debits_posted: debit.debits_posted + (pending ? 0n : amount),
      flags: debit.flags | (isSet(flags, F.closingDebit) ? AccountFlag.closed : 0),
    },
    credit: {
      ...credit,
      credits_pending: credit.credits_pending + (pending ? amount : 0n),
      credits_posted: credit.credits_posted + (pending ? 0n : amount),
      flags: credit.flags | (isSet(flags, F.closingCredit) ? AccountFlag.closed : 0),
    },
    settles: null,
  };
}

/** The event's amount, capped by what balancing leaves. */
function balancedAmount(event: Transfer, debit: Account, credit: Account): bigint {
  let amount = event.amount;
  if (isSet(event.flags, F.balancingDebit)) {
    const room = debit.credits_posted - (debit.debits_posted + debit.debits_pending);
    amount = min(amount, room < 0n ? 0n : room);
  }
  if (isSet(event.flags, F.balancingCredit)) {
    const room = credit.debits_posted - (credit.credits_posted + credit.credits_pending);
    amount = min(amount, room < 0n ? 0n : room);
  }
  return amount;
}

function min(a: bigint, b: bigint): bigint {
  return a < b ? a : b;
}

/** A transfer that posts or voids a pending one. */
function checkSettling(
  event: Transfer,
  eventTimestamp: bigint,
  view: TransferView,
): Refusal | Creation {
  const flags = event.flags;
  const posting = isSet(flags, F.postPendingTransfer);
  const voiding = isSet(flags, F.voidPendingTransfer);
  const imported = isSet(flags, F.imported);
  const timestamp = imported ? event.timestamp : eventTimestamp;
  const excluded =
    F.pending | F.balancingDebit | F.balancingCredit | F.closingDebit | F.closingCredit;

  if ((posting && voiding) || isSet(flags, excluded)) {
    return refuse(S.flags_are_mutually_exclusive);
  }
  if (event.pending_id === 0n) return refuse(S.pending_id_must_not_be_zero);
  if (event.pending_id === u128Max) return refuse(S.pending_id_must_not_be_int_max);
  if (event.pending_id === event.id) return refuse(S.pending_id_must_be_different);
  if (event.timeout !== 0) return refuse(S.timeout_reserved_for_pending_transfer);

  const p = view.transfer(event.pending_id);
  if (p === undefined) return refuse(S.pending_transfer_not_found);
  if (!isSet(p.flags, F.pending)) return refuse(S.pending_transfer_not_pending);
  if (event.debit_account_id !== 0n && event.debit_account_id !== p.debit_account_id) {
    return refuse(S.pending_transfer_has_different_debit_account_id);
  }
  if (event.credit_account_id !== 0n && event.credit_account_id !== p.credit_account_id) {
    return refuse(S.pending_transfer_has_different_credit_account_id);
  }
  if (event.ledger !== 0 && event.ledger !== p.ledger) {
    return refuse(S.pending_transfer_has_different_ledger);
  }
  if (event.code !== 0 && event.code !== p.code) {
    return refuse(S.pending_transfer_has_different_code);
  }

  const amountIsWhole = posting ? event.amount === u128Max : event.amount === 0n;
  const amount = amountIsWhole ? p.amount : event.amount;
  if (amount > p.amount) return refuse(S.exceeds_pending_transfer_amount);
  if (voiding && amount < p.amount) return refuse(S.pending_transfer_has_different_amount);

  const state = view.pendingState(p.id);
  if (state === "posted") return refuse(S.pending_transfer_already_posted);
  if (state === "voided") return refuse(S.pending_transfer_already_voided);
  if (state === "expired") return refuse(S.pending_transfer_expired);
  if (p.timeout !== 0 && p.timestamp + BigInt(p.timeout) * 1_000_000_000n <= eventTimestamp) {
    return refuse(S.pending_transfer_expired);
  }
  if (imported && view.timestampRegresses(timestamp)) {
    return refuse(S.imported_event_timestamp_must_not_regress);
  }
  const debit = view.account(p.debit_account_id)!;
  const credit = view.account(p.credit_account_id)!;
  if (posting && isSet(debit.flags, AccountFlag.closed)) {
    return refuse(S.debit_account_already_closed);
  }
  if (posting && isSet(credit.flags, AccountFlag.closed)) {
    return refuse(S.credit_account_already_closed);
  }

  const reopensDebit = voiding && isSet(p.flags, F.closingDebit);
  const reopensCredit = voiding && isSet(p.flags, F.closingCredit);
  const postedAmount = posting ? amount : 0n;
  return {
    status: created,
    type: posting ? ChangeEventType.posted : ChangeEventType.voided,
    transfer: {
      ...event,
      debit_account_id: p.debit_account_id,
      credit_account_id: p.credit_account_id,
      ledger: p.ledger,
      code: p.code,
      user_data_128: event.user_data_128 === 0n ? p.user_data_128 : event.user_data_128,
      user_data_64: event.user_data_64 === 0n ? p.user_data_64 : event.user_data_64,
      user_data_32: event.user_data_32 === 0 ? p.user_data_32 : event.user_data_32,
      amount,
      timestamp,
    },
    debit: {
      ...debit,
      debits_pending: debit.debits_pending - p.amount,
      debits_posted: debit.debits_posted + postedAmount,
      flags: reopensDebit ? debit.flags & ~AccountFlag.closed : debit.flags,
    },
    credit: {
      ...credit,
      credits_pending: credit.credits_pending - p.amount,
      credits_posted: credit.credits_posted + postedAmount,
      flags: reopensCredit ? credit.flags & ~AccountFlag.closed : credit.flags,
    },
    settles: { id: p.id, state: posting ? "posted" : "voided" },
  };
}

function transferExists(
  event: Transfer,
  e: Transfer,
  settling: boolean,
  view: TransferView,
): Refusal {
  if (event.flags !== e.flags) return refuse(S.exists_with_different_flags);
  if (event.pending_id !== e.pending_id) return refuse(S.exists_with_different_pending_id);
  if (event.timeout !== e.timeout) return refuse(S.exists_with_different_timeout);
  const difference = settling
    ? settlingDifference(event, e, view.transfer(e.pending_id)!)
    : ordinaryDifference(event, e);
  if (difference !== null) return refuse(difference);
  return { status: S.exists, objectTimestamp: e.timestamp };
}

function ordinaryDifference(event: Transfer, e: Transfer): number | null {
  if (event.debit_account_id !== e.debit_account_id) {
    return S.exists_with_different_debit_account_id;
  }
  if (event.credit_account_id !== e.credit_account_id) {
    return S.exists_with_different_credit_account_id;
  }
  const balancing = isSet(event.flags, F.balancingDebit | F.balancingCredit);
  if (balancing ? event.amount < e.amount : event.amount !== e.amount) {
    return S.exists_with_different_amount;
  }
  if (event.user_data_128 !== e.user_data_128) return S.exists_with_different_user_data_128;
  if (event.user_data_64 !== e.user_data_64) return S.exists_with_different_user_data_64;
  if (event.user_data_32 !== e.user_data_32) return S.exists_with_different_user_data_32;
  if (event.ledger !== e.ledger) return S.exists_with_different_ledger;
  if (event.code !== e.code) return S.exists_with_different_code;
  return null;
}

function settlingDifference(event: Transfer, e: Transfer, p: Transfer): number | null {
  if (event.debit_account_id !== 0n && event.debit_account_id !== e.debit_account_id) {
    return S.exists_with_different_debit_account_id;
  }
  if (event.credit_account_id !== 0n && event.credit_account_id !== e.credit_account_id) {
    return S.exists_with_different_credit_account_id;
  }
  const whole = isSet(event.flags, F.voidPendingTransfer) ? 0n : u128Max;
  const amount = event.amount === whole ? p.amount : event.amount;
  if (amount !== e.amount) return S.exists_with_different_amount;
  if (orIfZero(event.user_data_128, p.user_data_128) !== e.user_data_128) {
    return S.exists_with_different_user_data_128;
  }
  if (orIfZero(event.user_data_64, p.user_data_64) !== e.user_data_64) {
    return S.exists_with_different_user_data_64;
  }
  if ((event.user_data_32 === 0 ? p.user_data_32 : event.user_data_32) !== e.user_data_32) {
    return S.exists_with_different_user_data_32;
  }
  if (event.ledger !== 0 && event.ledger !== e.ledger) return S.exists_with_different_ledger;
  if (event.code !== 0 && event.code !== e.code) return S.exists_with_different_code;
  return null;
}

function orIfZero(value: bigint, fallback: bigint): bigint {
  return value === 0n ? fallback : value;
}
