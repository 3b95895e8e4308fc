/**
 * Status codes of the create operations (protocol/operations.md §6): wire values, never reused.
 * The order in which they are checked is not the numeric one; see accounts.ts and transfers.ts.
 */

/** Both operations; 0 is no status, so that a zeroed buffer does not read as an answer. */
export const statusCreated = 0xffff_ffff;
/**
 * The same word, signed: what the functions that decide on an event return. A number that needs
 * 32 bits unsigned would be allocated on return.
 */
export const decidedCreated = -1;
export const statusLinkedEventFailed = 1;
export const statusLinkedEventChainOpen = 2;
export const statusTimestampMustBeZero = 3;

export const AccountStatus = {
  created: statusCreated,
  linkedEventFailed: statusLinkedEventFailed,
  linkedEventChainOpen: statusLinkedEventChainOpen,
  timestampMustBeZero: statusTimestampMustBeZero,
  reservedField: 4,
  reservedFlag: 5,
  idMustNotBeZero: 6,
  idMustNotBeIntMax: 7,
  flagsAreMutuallyExclusive: 8,
  debitsPendingMustBeZero: 9,
  debitsPostedMustBeZero: 10,
  creditsPendingMustBeZero: 11,
  creditsPostedMustBeZero: 12,
  ledgerMustNotBeZero: 13,
  codeMustNotBeZero: 14,
  existsWithDifferentFlags: 15,
  existsWithDifferentUserData128: 16,
  existsWithDifferentUserData64: 17,
  existsWithDifferentUserData32: 18,
  existsWithDifferentLedger: 19,
  existsWithDifferentCode: 20,
  exists: 21,
  importedEventExpected: 22,
  importedEventNotExpected: 23,
  importedEventTimestampOutOfRange: 24,
  importedEventTimestampMustNotAdvance: 25,
  importedEventTimestampMustNotRegress: 26,
} as const;

export const TransferStatus = {
  created: statusCreated,
  linkedEventFailed: statusLinkedEventFailed,
  linkedEventChainOpen: statusLinkedEventChainOpen,
  timestampMustBeZero: statusTimestampMustBeZero,
  reservedFlag: 4,
  idMustNotBeZero: 5,
  idMustNotBeIntMax: 6,
  flagsAreMutuallyExclusive: 7,
  debitAccountIdMustNotBeZero: 8,
  debitAccountIdMustNotBeIntMax: 9,
  creditAccountIdMustNotBeZero: 10,
  creditAccountIdMustNotBeIntMax: 11,
  accountsMustBeDifferent: 12,
  pendingIdMustBeZero: 13,
  pendingIdMustNotBeZero: 14,
  pendingIdMustNotBeIntMax: 15,
  pendingIdMustBeDifferent: 16,
  timeoutReservedForPendingTransfer: 17,
  // 18 was amount_must_not_be_zero: removed from the protocol, never sent.
  ledgerMustNotBeZero: 19,
  codeMustNotBeZero: 20,
  debitAccountNotFound: 21,
  creditAccountNotFound: 22,
  accountsMustHaveTheSameLedger: 23,
  transferMustHaveTheSameLedgerAsAccounts: 24,
  pendingTransferNotFound: 25,
  pendingTransferNotPending: 26,
  pendingTransferHasDifferentDebitAccountId: 27,
  pendingTransferHasDifferentCreditAccountId: 28,
  pendingTransferHasDifferentLedger: 29,
  pendingTransferHasDifferentCode: 30,
  exceedsPendingTransferAmount: 31,
  pendingTransferHasDifferentAmount: 32,
  pendingTransferAlreadyPosted: 33,
  pendingTransferAlreadyVoided: 34,
  pendingTransferExpired: 35,
  existsWithDifferentFlags: 36,
  existsWithDifferentDebitAccountId: 37,
  existsWithDifferentCreditAccountId: 38,
  existsWithDifferentAmount: 39,
  existsWithDifferentPendingId: 40,
  existsWithDifferentUserData128: 41,
  existsWithDifferentUserData64: 42,
  existsWithDifferentUserData32: 43,
  existsWithDifferentTimeout: 44,
  existsWithDifferentCode: 45,
  exists: 46,
  overflowsDebitsPending: 47,
  overflowsCreditsPending: 48,
  overflowsDebitsPosted: 49,
  overflowsCreditsPosted: 50,
  overflowsDebits: 51,
  overflowsCredits: 52,
  overflowsTimeout: 53,
  exceedsCredits: 54,
  exceedsDebits: 55,
  importedEventExpected: 56,
  importedEventNotExpected: 57,
  importedEventTimestampOutOfRange: 58,
  importedEventTimestampMustNotAdvance: 59,
  importedEventTimestampMustNotRegress: 60,
  importedEventTimestampMustPostdateDebitAccount: 61,
  importedEventTimestampMustPostdateCreditAccount: 62,
  importedEventTimeoutMustBeZero: 63,
  closingTransferMustBePending: 64,
  debitAccountAlreadyClosed: 65,
  creditAccountAlreadyClosed: 66,
  existsWithDifferentLedger: 67,
  idAlreadyFailed: 68,
} as const;

export const transferStatusMax = 68;

/**
 * 1 for statuses that depend on the ledger's state and not on the event alone: the id of such an
 * event is burnt, so that a retry cannot succeed later.
 */
export const transferStatusTransient = new Uint8Array(transferStatusMax + 1);
transferStatusTransient[TransferStatus.debitAccountNotFound] = 1;
transferStatusTransient[TransferStatus.creditAccountNotFound] = 1;
transferStatusTransient[TransferStatus.pendingTransferNotFound] = 1;
transferStatusTransient[TransferStatus.exceedsCredits] = 1;
transferStatusTransient[TransferStatus.exceedsDebits] = 1;
transferStatusTransient[TransferStatus.debitAccountAlreadyClosed] = 1;
transferStatusTransient[TransferStatus.creditAccountAlreadyClosed] = 1;

/** The protocol's name of a status (`exists_with_different_flags`), or undefined. For tools. */
export function statusName(
  table: typeof AccountStatus | typeof TransferStatus,
  status: number,
): string | undefined {
  for (const [name, value] of Object.entries(table)) {
    if (value === status)
      return name.replace(/[A-Z]|(?<=[a-z])\d+/g, (part) => `_${part.toLowerCase()}`);
  }
  return undefined;
}
