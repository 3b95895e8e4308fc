/**
 * What the ledger must know of an operation's body: which work it asks for, how large its elements
 * are, and the multi-batch trailer that says how many elements each sub-batch has
 * (protocol/operations.md §1–§4). `wire/` states the same facts for clients and the replica; the
 * ledger may not import it, so the facts that it needs are here.
 *
 * A body is [at, at + length) of a byte array. Only bodies that `validateBody` accepts are read
 * any further: everything below it asserts.
 */
import { assert } from "../core/assert.ts";
import { bodySizeMax, pulseTransfersMax } from "./records.ts";

/** The work behind an operation number; variants of one operation share it. */
export const Action = {
  /** Not an operation of the ledger's. */
  none: 0,
  noop: 1,
  pulse: 2,
  createAccounts: 3,
  createTransfers: 4,
  lookupAccounts: 5,
  lookupTransfers: 6,
  getAccountTransfers: 7,
  getAccountBalances: 8,
  queryAccounts: 9,
  queryTransfers: 10,
  getChangeEvents: 11,
} as const;

/** Why a body is refused: reasons of the protocol's eviction message. */
export const bodyValid = 0;
export const evictionUnknownOperation = 4;
export const evictionInvalidBody = 5;

export const operationPulse = 4;
export const operationNoop = 6;

/** Facts per operation number. */
export const operationAction = new Uint8Array(256);
const multiBatch = new Uint8Array(256);
const eventSizes = new Uint16Array(256);
const resultSizes = new Uint16Array(256);

function define(
  operation: number,
  action: number,
  isMultiBatch: boolean,
  eventSize: number,
  resultSize: number,
): void {
  assert(operationAction[operation] === Action.none, "an operation is defined once");
  operationAction[operation] = action;
  multiBatch[operation] = isMultiBatch ? 1 : 0;
  eventSizes[operation] = eventSize;
  resultSizes[operation] = resultSize;
}

define(operationPulse, Action.pulse, false, 0, 0);
define(operationNoop, Action.noop, false, 0, 0);
define(129, Action.createAccounts, false, 128, 8);
define(130, Action.createTransfers, false, 128, 8);
define(131, Action.lookupAccounts, false, 16, 128);
define(132, Action.lookupTransfers, false, 16, 128);
define(133, Action.getAccountTransfers, false, 128, 128);
define(134, Action.getAccountBalances, false, 128, 128);
define(135, Action.queryAccounts, false, 64, 128);
define(136, Action.queryTransfers, false, 64, 128);
define(137, Action.getChangeEvents, false, 64, 384);
define(138, Action.createAccounts, true, 128, 8);
define(139, Action.createTransfers, true, 128, 8);
define(140, Action.lookupAccounts, true, 16, 128);
define(141, Action.lookupTransfers, true, 16, 128);
define(142, Action.getAccountTransfers, true, 128, 128);
define(143, Action.getAccountBalances, true, 128, 128);
define(144, Action.queryAccounts, true, 64, 128);
define(145, Action.queryTransfers, true, 64, 128);
define(146, Action.createAccounts, true, 128, 16);
define(147, Action.createTransfers, true, 128, 16);

/** Most events in one sub-batch of any operation: sizes the ledger's scratch memory. */
export const eventsMax = 8190;
/** Most events of one create operation, all sub-batches together. */
export const createEventsMax = eventsMax;

export function isMultiBatch(operation: number): boolean {
  return multiBatch[operation] === 1;
}

export function eventSize(operation: number): number {
  return eventSizes[operation]!;
}

export function resultSize(operation: number): number {
  return resultSizes[operation]!;
}

export function isCreate(operation: number): boolean {
  const action = operationAction[operation];
  return action === Action.createAccounts || action === Action.createTransfers;
}

/** True for create operations that answer with the events that failed, and only with those. */
export function isSparse(operation: number): boolean {
  return isCreate(operation) && resultSizes[operation] === 8;
}

function isQuery(operation: number): boolean {
  const action = operationAction[operation]!;
  return action >= Action.getAccountTransfers && action <= Action.getChangeEvents;
}

/** Bytes of the trailer of `count` sub-batches of elements of `elementSize` bytes. */
export function trailerSize(elementSize: number, count: number): number {
  return Math.ceil((2 * count + 2) / elementSize) * elementSize;
}

/** Most events that one sub-batch may carry (operations.md §4). */
export function eventMax(operation: number, batchSizeLimit: number): number {
  if (isQuery(operation)) return 1;
  const event = eventSizes[operation]!;
  const result = resultSizes[operation]!;
  const trailers = multiBatch[operation] === 1;
  const eventRoom = batchSizeLimit - (trailers ? trailerSize(event, 1) : 0);
  const resultRoom = bodySizeMax - (trailers ? trailerSize(result, 1) : 0);
  return Math.max(0, Math.min(Math.floor(eventRoom / event), Math.floor(resultRoom / result)));
}

/** Most results that one sub-batch may yield (operations.md §4). */
export function resultMax(operation: number, batchSizeLimit: number): number {
  const result = resultSizes[operation]!;
  if (operationAction[operation] === Action.getChangeEvents) {
    // Each event shows a transfer and two accounts, as many as lookups may bring in at once.
    const lookups = Math.min(eventMax(140, batchSizeLimit), eventMax(141, batchSizeLimit));
    return Math.min(Math.floor(bodySizeMax / result), lookups, Math.floor(lookups / 2));
  }
  if (!isQuery(operation)) return eventMax(operation, batchSizeLimit);
  const trailer = multiBatch[operation] === 1 ? trailerSize(result, 1) : 0;
  return Math.floor((bodySizeMax - trailer) / result);
}

/** Byte offset of the limit inside a query's filter. */
function filterLimitAt(operation: number): number {
  if (operationAction[operation] === Action.getChangeEvents) return 16;
  return eventSizes[operation] === 128 ? 120 : 56;
}

function u16(bytes: Uint8Array, at: number): number {
  return bytes[at]! | (bytes[at + 1]! << 8);
}

function u32(bytes: Uint8Array, at: number): number {
  return (u16(bytes, at) | (u16(bytes, at + 2) << 16)) >>> 0;
}

/** Number of sub-batches of a valid body. */
export function subBatchCount(
  operation: number,
  bytes: Uint8Array,
  at: number,
  length: number,
): number {
  return multiBatch[operation] === 1 ? u16(bytes, at + length - 2) : 1;
}

/** Events in sub-batch `index` of a valid body. */
export function subBatchEvents(
  operation: number,
  bytes: Uint8Array,
  at: number,
  length: number,
  index: number,
): number {
  if (multiBatch[operation] === 1) return u16(bytes, at + length - 4 - 2 * index);
  return length / eventSizes[operation]!;
}

/** Events of all sub-batches of a valid body together. */
export function totalEvents(
  operation: number,
  bytes: Uint8Array,
  at: number,
  length: number,
): number {
  const size = eventSizes[operation]!;
  if (multiBatch[operation] === 0) return length / size;
  return (length - trailerSize(size, u16(bytes, at + length - 2))) / size;
}

/** semantics.md §1.1: how far the operation's timestamp lies behind its base. */
export function timestampDelta(
  operation: number,
  bytes: Uint8Array,
  at: number,
  length: number,
): number {
  if (isCreate(operation)) return totalEvents(operation, bytes, at, length);
  return operationAction[operation] === Action.pulse ? pulseTransfersMax : 0;
}

/**
 * Checks an untrusted body (operations.md §3).
 * @returns `bodyValid`, or the reason to evict the client for.
 */
export function validateBody(
  operation: number,
  bytes: Uint8Array,
  at: number,
  length: number,
  batchSizeLimit: number,
): number {
  const action = operationAction[operation] ?? Action.none;
  if (action === Action.none || action === Action.pulse) return evictionUnknownOperation;
  if (action === Action.noop) return length === 0 ? bodyValid : evictionInvalidBody;
  const size = eventSizes[operation]!;
  if (multiBatch[operation] === 0) {
    if (length % size !== 0) return evictionInvalidBody;
    return eventCountValid(operation, length / size, batchSizeLimit)
      ? bodyValid
      : evictionInvalidBody;
  }
  return multiBatchValid(operation, bytes, at, length, batchSizeLimit)
    ? bodyValid
    : evictionInvalidBody;
}

function eventCountValid(operation: number, events: number, batchSizeLimit: number): boolean {
  if (isQuery(operation)) return events === 1;
  return events <= eventMax(operation, batchSizeLimit);
}

function multiBatchValid(
  operation: number,
  bytes: Uint8Array,
  at: number,
  length: number,
  batchSizeLimit: number,
): boolean {
  if (length < 2) return false;
  const end = at + length;
  const count = u16(bytes, end - 2);
  if (count === 0 || count === 0xffff) return false;
  const size = eventSizes[operation]!;
  const trailer = trailerSize(size, count);
  if (trailer > length) return false;
  const countsAt = end - 2 - 2 * count;
  for (let filler = end - trailer; filler < countsAt; filler += 1) {
    if (bytes[filler] !== 0xff) return false;
  }
  const query = isQuery(operation);
  // The reply's cap on results, whatever the server's own limit on request bodies.
  const resultsMax = resultMax(operation, bodySizeMax);
  let eventAt = at;
  let results = 0;
  for (let index = 0; index < count; index += 1) {
    const events = u16(bytes, end - 4 - 2 * index);
    if (!eventCountValid(operation, events, batchSizeLimit)) return false;
    const next = eventAt + events * size;
    // Checked before the filter is read: counts of a malformed body may point anywhere.
    if (next > end - trailer) return false;
    const expected = query ? u32(bytes, eventAt + filterLimitAt(operation)) : events;
    results += Math.min(expected, resultsMax);
    eventAt = next;
  }
  if (eventAt !== end - trailer) return false;
  const result = resultSizes[operation]!;
  return results * result + trailerSize(result, count) <= bodySizeMax;
}

/**
 * Ends a reply: writes the trailer after its elements.
 * @param counts - Elements of each sub-batch.
 * @returns The length of the whole body.
 */
export function writeTrailer(
  bytes: Uint8Array,
  at: number,
  elementsSize: number,
  elementSize: number,
  counts: Uint16Array,
  count: number,
): number {
  const length = elementsSize + trailerSize(elementSize, count);
  assert(length <= bodySizeMax, "the reply fits a message");
  const end = at + length;
  assert(end <= bytes.length, "the reply fits its buffer");
  bytes[end - 2] = count & 0xff;
  bytes[end - 1] = count >>> 8;
  let countAt = end - 2;
  let elements = 0;
  for (let index = 0; index < count; index += 1) {
    countAt -= 2;
    bytes[countAt] = counts[index]! & 0xff;
    bytes[countAt + 1] = counts[index]! >>> 8;
    elements += counts[index]!;
  }
  assert(elements * elementSize === elementsSize, "the counts are those of the elements");
  bytes.fill(0xff, at + elementsSize, countAt);
  return length;
}
