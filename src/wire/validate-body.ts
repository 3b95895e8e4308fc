/**
 * Which request bodies a server accepts for an operation (protocol/operations.md §3, §4), and how
 * far they move the log's clock. The content of events is not judged here: it leads to statuses.
 *
 * Everything is computed from bytes and lengths of an untrusted body; nothing is allocated. The
 * counts of one body are read at most twice.
 */
import { messageBodySizeMax } from "../core/limits.ts";
import { EvictionReason } from "./header.ts";
import {
  multiBatchCheck,
  multiBatchCount,
  multiBatchElements,
  multiBatchElementsTotal,
  multiBatchTrailerSize,
} from "./multi-batch.ts";
import {
  eventMax,
  Operation,
  OperationKind,
  operationCreates,
  operationEventSize,
  operationFromClients,
  operationKind,
  operationMultiBatch,
  operationResultSize,
  pulseExpiryMax,
  queryLimitAt,
  registerBodySize,
  registerReplyBodySize,
  resultMax,
} from "./operations.ts";

/**
 * @param batchSizeLimit - Largest body that this server takes. Bytes.
 * @returns 0 for a body that may be executed, otherwise the `EvictionReason` for its sender.
 */
export function bodyFault(
  operation: number,
  bytes: Uint8Array,
  at: number,
  length: number,
  batchSizeLimit: number,
): number {
  if (length > batchSizeLimit) return EvictionReason.invalidRequestBodySize;
  if (operationFromClients[operation] === 0) return EvictionReason.invalidRequestOperation;
  if (operation === Operation.register) return registerFault(bytes, at, length);
  const fits = bodyFits(operation, bytes, at, length, batchSizeLimit);
  return fits ? 0 : EvictionReason.invalidRequestBody;
}

/** The reserved bytes and the limit, which the server fills in, are zero. */
function registerFault(bytes: Uint8Array, at: number, length: number): number {
  if (length !== registerBodySize) return EvictionReason.invalidRequestBodySize;
  let any = 0;
  for (let index = at; index < at + length; index += 1) any |= bytes[index]!;
  return any === 0 ? 0 : EvictionReason.invalidRequestBody;
}

function bodyFits(
  operation: number,
  bytes: Uint8Array,
  at: number,
  length: number,
  batchSizeLimit: number,
): boolean {
  if (operation === Operation.noop) return length === 0;
  const eventSize = operationEventSize[operation]!;
  const query = operationKind[operation] === OperationKind.query;
  if (operationMultiBatch[operation] === 1) {
    return query
      ? queriesFit(operation, bytes, at, length)
      : batchesFit(operation, bytes, at, length);
  }
  if (query) return length === eventSize;
  if (length % eventSize !== 0) return false;
  return length / eventSize <= eventMax(operation, batchSizeLimit);
}

/**
 * That no sub-batch has more than `eventMax` events needs no check of its own: they lie in a body
 * of at most the limit, and their results in a reply of at most a message.
 */
function batchesFit(operation: number, bytes: Uint8Array, at: number, length: number): boolean {
  const eventSize = operationEventSize[operation]!;
  const subBatches = multiBatchCheck(bytes, at, length, eventSize);
  if (subBatches === 0) return false;
  const events = multiBatchElementsTotal(bytes, at, length, eventSize);
  return replyFits(operation, events, subBatches);
}

function queriesFit(operation: number, bytes: Uint8Array, at: number, length: number): boolean {
  const eventSize = operationEventSize[operation]!;
  const subBatches = multiBatchCheck(bytes, at, length, eventSize);
  if (subBatches === 0) return false;
  const most = resultMax(operation, messageBodySizeMax);
  const limitAt = queryLimitAt(operation);
  let results = 0;
  for (let index = 0; index < subBatches; index += 1) {
    if (multiBatchElements(bytes, at, length, index) !== 1) return false;
    // Clients before 0.17.0 ask for more than fits; they get what fits.
    results += Math.min(limitOf(bytes, at + index * eventSize + limitAt), most);
  }
  return replyFits(operation, results, subBatches);
}

function replyFits(operation: number, results: number, subBatches: number): boolean {
  return multiBatchReplySize(operation, results, subBatches) <= messageBodySizeMax;
}

function multiBatchReplySize(operation: number, results: number, subBatches: number): number {
  const resultSize = operationResultSize[operation]!;
  return resultSize * results + multiBatchTrailerSize(resultSize, subBatches);
}

function limitOf(bytes: Uint8Array, at: number): number {
  const low = bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16);
  return low + bytes[at + 3]! * 0x100_0000;
}

/** Number of events, all sub-batches together, of a body that was found valid. */
export function eventCount(
  operation: number,
  bytes: Uint8Array,
  at: number,
  length: number,
): number {
  const eventSize = operationEventSize[operation]!;
  if (eventSize === 0) return 0;
  if (operationMultiBatch[operation] === 0) return length / eventSize;
  return multiBatchElementsTotal(bytes, at, length, eventSize);
}

/**
 * Nanoseconds between the base of a prepare's timestamp and the timestamp: one per event that may
 * become an object, so that each has its own (protocol/semantics.md §1.1).
 */
export function timestampDelta(
  operation: number,
  bytes: Uint8Array,
  at: number,
  length: number,
): number {
  if (operationCreates[operation] === 1) return eventCount(operation, bytes, at, length);
  return operation === Operation.pulse || operation === Operation.pulseReserved
    ? pulseExpiryMax
    : 0;
}

/** Largest reply body that a valid request can lead to. Bytes. */
export function replyBodySizeMax(
  operation: number,
  bytes: Uint8Array,
  at: number,
  length: number,
): number {
  if (operation === Operation.register) return registerReplyBodySize;
  const kind = operationKind[operation];
  if (kind === OperationKind.none) return 0;
  const resultSize = operationResultSize[operation]!;
  if (kind === OperationKind.batch) {
    const events = eventCount(operation, bytes, at, length);
    if (operationMultiBatch[operation] === 0) return events * resultSize;
    return multiBatchReplySize(operation, events, multiBatchCount(bytes, at, length));
  }
  const eventSize = operationEventSize[operation]!;
  const limitAt = queryLimitAt(operation);
  const most = resultMax(operation, messageBodySizeMax);
  if (operationMultiBatch[operation] === 0) {
    return Math.min(limitOf(bytes, at + limitAt), most) * resultSize;
  }
  const subBatches = multiBatchCount(bytes, at, length);
  let results = 0;
  for (let index = 0; index < subBatches; index += 1) {
    results += Math.min(limitOf(bytes, at + index * eventSize + limitAt), most);
  }
  return multiBatchReplySize(operation, results, subBatches);
}
