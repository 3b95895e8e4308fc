/**
 * The ledger's records as bytes: wire structures (protocol/operations.md §5), rows that only the
 * ledger's tables hold, flags, and the bits that never leave it.
 *
 * Records are read as 32-bit words: `words[at + transferRecord.word.amount]`. Two fields of 16
 * bits share a word: `code` is its lower half and `flags` its upper one, in accounts and
 * transfers alike.
 */
import { assert } from "../core/assert.ts";
import { defineLayout } from "../core/layout.ts";

export const accountRecord = defineLayout("Account", 128, [
  ["id", 16],
  ["debitsPending", 16],
  ["debitsPosted", 16],
  ["creditsPending", 16],
  ["creditsPosted", 16],
  ["userData128", 16],
  ["userData64", 8],
  ["userData32", 4],
  ["reserved", 4],
  ["ledger", 4],
  ["code", 2],
  ["flags", 2],
  ["timestamp", 8],
]);

export const transferRecord = defineLayout("Transfer", 128, [
  ["id", 16],
  ["debitAccountId", 16],
  ["creditAccountId", 16],
  ["amount", 16],
  ["pendingId", 16],
  ["userData128", 16],
  ["userData64", 8],
  ["userData32", 4],
  ["timeout", 4],
  ["ledger", 4],
  ["code", 2],
  ["flags", 2],
  ["timestamp", 8],
]);

/** What create_accounts and create_transfers answer for each event. */
export const createResultRecord = defineLayout("CreateResult", 16, [
  ["timestamp", 8],
  ["status", 4],
  ["reserved", 4],
]);

/** What the deprecated create operations answer for each event that was not created. */
export const errorResultRecord = defineLayout("ErrorResult", 8, [
  ["index", 4],
  ["result", 4],
]);

export const accountBalanceRecord = defineLayout("AccountBalance", 128, [
  ["debitsPending", 16],
  ["debitsPosted", 16],
  ["creditsPending", 16],
  ["creditsPosted", 16],
  ["timestamp", 8],
  ["reserved", 56],
]);

export const accountFilterRecord = defineLayout("AccountFilter", 128, [
  ["accountId", 16],
  ["userData128", 16],
  ["userData64", 8],
  ["userData32", 4],
  ["code", 2],
  ["reserved", 58],
  ["timestampMin", 8],
  ["timestampMax", 8],
  ["limit", 4],
  ["flags", 4],
]);

export const queryFilterRecord = defineLayout("QueryFilter", 64, [
  ["userData128", 16],
  ["userData64", 8],
  ["userData32", 4],
  ["ledger", 4],
  ["code", 2],
  ["reserved", 6],
  ["timestampMin", 8],
  ["timestampMax", 8],
  ["limit", 4],
  ["flags", 4],
]);

export const changeEventsFilterRecord = defineLayout("ChangeEventsFilter", 64, [
  ["timestampMin", 8],
  ["timestampMax", 8],
  ["limit", 4],
  ["reserved", 44],
]);

export const changeEventRecord = defineLayout("ChangeEvent", 384, [
  ["transferId", 16],
  ["transferAmount", 16],
  ["transferPendingId", 16],
  ["transferUserData128", 16],
  ["transferUserData64", 8],
  ["transferUserData32", 4],
  ["transferTimeout", 4],
  ["transferCode", 2],
  ["transferFlags", 2],
  ["ledger", 4],
  ["type", 1],
  ["reserved", 39],
  ["debitAccountId", 16],
  ["debitAccountBalances", 64],
  ["debitAccountUserData128", 16],
  ["debitAccountUserData64", 8],
  ["debitAccountUserData32", 4],
  ["debitAccountCode", 2],
  ["debitAccountFlags", 2],
  ["creditAccountId", 16],
  ["creditAccountBalances", 64],
  ["creditAccountUserData128", 16],
  ["creditAccountUserData64", 8],
  ["creditAccountUserData32", 4],
  ["creditAccountCode", 2],
  ["creditAccountFlags", 2],
  ["timestamp", 8],
  ["transferTimestamp", 8],
  ["debitAccountTimestamp", 8],
  ["creditAccountTimestamp", 8],
]);

/** Row of the balances table: both accounts right after the transfer with the same row number. */
export const balancesRecord = defineLayout("Balances", 128, [
  ["debit", 64],
  ["credit", 64],
]);

/** Row of the expiries table. */
export const expiryRecord = defineLayout("Expiry", 160, [
  /** As in `balancesRecord`, right after the expiry. */
  ["debit", 64],
  ["credit", 64],
  /** Of the expiry: not the transfer's. */
  ["timestamp", 8],
  ["transferRow", 4],
  /** `expiryDebitClosed` | `expiryCreditClosed`: accounts closed right after the expiry. */
  ["closed", 4],
  ["reserved", 16],
]);

export const expiryDebitClosed = 1;
export const expiryCreditClosed = 2;

/** Words of one account's four balances, in accounts, balances and expiries alike. */
export const balanceWords = 16;

export const AccountFlag = {
  linked: 1,
  debitsMustNotExceedCredits: 2,
  creditsMustNotExceedDebits: 4,
  history: 8,
  imported: 16,
  closed: 32,
} as const;

/** Flag bits of an account that have no meaning. */
export const accountFlagsUndefined = 0xffc0;

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

/** Flag bits of a transfer that have no meaning. */
export const transferFlagsUndefined = 0xfe00;

/**
 * Internal bits of the flags of a stored transfer: was the debit (credit) account closed right
 * after the event? The change feed tells it. They lie among the undefined bits and are masked out
 * of every row that leaves the ledger.
 */
export const transferDebitClosed = 0x4000;
export const transferCreditClosed = 0x8000;
/** For the word that holds code and flags. */
export const transferCodeFlagsMask = 0x3fff_ffff;

assert(
  ((transferDebitClosed | transferCreditClosed) & transferFlagsUndefined) ===
    (transferDebitClosed | transferCreditClosed),
  "internal bits are none that a client may set",
);

/** Row of the pending-status table: what became of a transfer. */
export const PendingStatus = {
  /** Not a pending transfer. */
  none: 0,
  pending: 1,
  posted: 2,
  voided: 3,
  expired: 4,
} as const;

export const ChangeEventType = {
  singlePhase: 0,
  twoPhasePending: 1,
  twoPhasePosted: 2,
  twoPhaseVoided: 3,
  twoPhaseExpired: 4,
} as const;

export const AccountFilterFlag = { debits: 1, credits: 2, reversed: 4 } as const;
export const accountFilterFlagsUndefined = 0xffff_fff8;

export const QueryFilterFlag = { reversed: 1 } as const;
export const queryFilterFlagsUndefined = 0xffff_fffe;

/** Upper word of the largest valid timestamp, 2^63 − 1. */
export const timestampHighMax = 0x7fff_ffff;

/** Largest body of a request or reply. Bytes. */
export const bodySizeMax = 1_048_320;

/** Most transfers that one pulse expires, and what it advances time by. Nanoseconds. */
export const pulseTransfersMax = 8190;
