/**
 * Operation numbers and the facts about each that the protocol fixes (protocol/operations.md §1,
 * §4): element sizes, how the body is built, how many elements fit. Facts are flat arrays indexed
 * by the operation's byte, so that reading one needs no branch and no object.
 */
import { assert } from "../core/assert.ts";
import { messageBodySizeMax } from "../core/limits.ts";
import { multiBatchTrailerSize } from "./multi-batch.ts";

export const Operation = {
  /** Never valid: a zeroed byte must not read as an operation. */
  reserved: 0,
  /** Op 0 of a cluster. */
  root: 1,
  register: 2,
  reconfigure: 3,
  /** Expires pending transfers; only a replica asks for it, and only itself. */
  pulse: 4,
  upgrade: 5,
  noop: 6,
  /** Ours: a prepare that carries several requests. Never in a request. */
  group: 8,
  /** The state machine's own number of `pulse`; never valid from outside. */
  pulseReserved: 128,
  createAccountsUnbatched: 129,
  createTransfersUnbatched: 130,
  lookupAccountsUnbatched: 131,
  lookupTransfersUnbatched: 132,
  getAccountTransfersUnbatched: 133,
  getAccountBalancesUnbatched: 134,
  queryAccountsUnbatched: 135,
  queryTransfersUnbatched: 136,
  getChangeEvents: 137,
  createAccountsSparse: 138,
  createTransfersSparse: 139,
  lookupAccounts: 140,
  lookupTransfers: 141,
  getAccountTransfers: 142,
  getAccountBalances: 143,
  queryAccounts: 144,
  queryTransfers: 145,
  createAccounts: 146,
  createTransfers: 147,
} as const;

export const OperationKind = {
  /** Not made of events: the control operations. */
  none: 0,
  /** Any number of events, each yields at most one result. */
  batch: 1,
  /** One filter per sub-batch, which yields 0…limit results. */
  query: 2,
} as const;

/** Size of a register request's body and of its reply's. Bytes. */
export const registerBodySize = 256;
export const registerReplyBodySize = 64;

/** What the timestamp advances by for a pulse: the most transfers that one pulse may expire. */
export const pulseExpiryMax = 8190;

const bytes = (): Uint8Array => new Uint8Array(256);
const halfWords = (): Uint16Array => new Uint16Array(256);

/** 1: the number means something to this server, whoever may send it. */
export const operationKnown = bytes();
/** 1: a client may send it. The rest is refused as an unknown operation. */
export const operationFromClients = bytes();
/** 1: bodies of request and reply end in a multi-batch trailer. */
export const operationMultiBatch = bytes();
/** `OperationKind`. */
export const operationKind = bytes();
/** Bytes of one event of the request. */
export const operationEventSize = halfWords();
/** Bytes of one result of the reply. */
export const operationResultSize = halfWords();
/** 1: executing it may change the ledger or the session table, so that its reply must be kept. */
export const operationMutates = bytes();
/** 1: every event takes one nanosecond of the log's time. */
export const operationCreates = bytes();

function defineControl(operation: number, fromClients: boolean, mutates: boolean): void {
  operationKnown[operation] = 1;
  operationFromClients[operation] = fromClients ? 1 : 0;
  operationMutates[operation] = mutates ? 1 : 0;
}

function defineEvents(
  operation: number,
  multiBatch: boolean,
  eventSize: number,
  resultSize: number,
  kind: number,
  creates: boolean,
): void {
  assert(operationKnown[operation] === 0, "an operation is defined once");
  operationKnown[operation] = 1;
  operationFromClients[operation] = 1;
  operationMultiBatch[operation] = multiBatch ? 1 : 0;
  operationEventSize[operation] = eventSize;
  operationResultSize[operation] = resultSize;
  operationKind[operation] = kind;
  operationMutates[operation] = creates ? 1 : 0;
  operationCreates[operation] = creates ? 1 : 0;
}

defineControl(Operation.root, false, false);
defineControl(Operation.register, true, true);
defineControl(Operation.pulse, false, true);
defineControl(Operation.noop, true, false);
defineControl(Operation.group, false, true);

const { batch, query } = OperationKind;
defineEvents(Operation.createAccountsUnbatched, false, 128, 8, batch, true);
defineEvents(Operation.createTransfersUnbatched, false, 128, 8, batch, true);
defineEvents(Operation.lookupAccountsUnbatched, false, 16, 128, batch, false);
defineEvents(Operation.lookupTransfersUnbatched, false, 16, 128, batch, false);
defineEvents(Operation.getAccountTransfersUnbatched, false, 128, 128, query, false);
defineEvents(Operation.getAccountBalancesUnbatched, false, 128, 128, query, false);
defineEvents(Operation.queryAccountsUnbatched, false, 64, 128, query, false);
defineEvents(Operation.queryTransfersUnbatched, false, 64, 128, query, false);
defineEvents(Operation.getChangeEvents, false, 64, 384, query, false);
defineEvents(Operation.createAccountsSparse, true, 128, 8, batch, true);
defineEvents(Operation.createTransfersSparse, true, 128, 8, batch, true);
defineEvents(Operation.lookupAccounts, true, 16, 128, batch, false);
defineEvents(Operation.lookupTransfers, true, 16, 128, batch, false);
defineEvents(Operation.getAccountTransfers, true, 128, 128, query, false);
defineEvents(Operation.getAccountBalances, true, 128, 128, query, false);
defineEvents(Operation.queryAccounts, true, 64, 128, query, false);
defineEvents(Operation.queryTransfers, true, 64, 128, query, false);
defineEvents(Operation.createAccounts, true, 128, 16, batch, true);
defineEvents(Operation.createTransfers, true, 128, 16, batch, true);

/**
 * Byte offset of the limit in the filter of a query: the AccountFilter of 128 bytes holds it at
 * 120, the QueryFilter at 56, the ChangeEventsFilter at 16.
 */
export function queryLimitAt(operation: number): number {
  assert(operationKind[operation] === OperationKind.query, "only queries have a filter");
  if (operation === Operation.getChangeEvents) return 16;
  return operationEventSize[operation] === 128 ? 120 : 56;
}

/**
 * Most events that one sub-batch may carry.
 * @param batchSizeLimit - Largest request body that the server takes. Bytes.
 */
export function eventMax(operation: number, batchSizeLimit: number): number {
  if (operationKind[operation] === OperationKind.query) return 1;
  return elementMax(operation, batchSizeLimit);
}

/** Most results that one sub-batch may yield. */
export function resultMax(operation: number, batchSizeLimit: number): number {
  if (operationKind[operation] === OperationKind.query) {
    const size = operationResultSize[operation]!;
    const trailer = operationMultiBatch[operation] === 1 ? multiBatchTrailerSize(size, 1) : 0;
    return Math.floor((messageBodySizeMax - trailer) / size);
  }
  return elementMax(operation, batchSizeLimit);
}

function elementMax(operation: number, batchSizeLimit: number): number {
  assert(operationKind[operation] === OperationKind.batch, "a batch of events");
  assert(batchSizeLimit <= messageBodySizeMax, "a body fits a message");
  const eventSize = operationEventSize[operation]!;
  const resultSize = operationResultSize[operation]!;
  let eventRoom = batchSizeLimit;
  let resultRoom = messageBodySizeMax;
  if (operationMultiBatch[operation] === 1) {
    eventRoom -= multiBatchTrailerSize(eventSize, 1);
    resultRoom -= multiBatchTrailerSize(resultSize, 1);
  }
  return Math.max(
    0,
    Math.min(Math.floor(eventRoom / eventSize), Math.floor(resultRoom / resultSize)),
  );
}
