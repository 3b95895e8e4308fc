/**
 * The operations of the wire on the reference ledger, body bytes in, body bytes out:
 *
 *     const body = encodeRequest(Operation.createTransfers, [transferBytes, …]);
 *     if (isValidBody(operation, body)) reply = executeRequest(ledger, operation, body, P);
 *
 * A body that is not valid gets an eviction (reason 5) from a server. `timestampDelta` says how
 * far the operation's timestamp lies above its base.
 */
import {
  accountBalanceCodec,
  accountCodec,
  accountFilterCodec,
  type Codec,
  changeEventCodec,
  changeEventsFilterCodec,
  createResultCodec,
  decodeArray,
  decodeMultiBatch,
  encodeArray,
  encodeMultiBatch,
  errorResultCodec,
  idCodec,
  queryFilterCodec,
  readInteger,
  trailerSize,
  transferCodec,
} from "./codec.ts";
import type { ReferenceLedger } from "./ledger.ts";
import { type CreateResult, created, type ErrorResult } from "./records.ts";

export const Operation = {
  register: 2,
  pulse: 4,
  noop: 6,
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

/** Bytes of a request body, and of a reply body, at most. */
export const bodySizeMax = 1_048_320;

interface Shape {
  readonly multiBatch: boolean;
  readonly kind: "batch" | "query";
  readonly eventSize: number;
  readonly resultSize: number;
  /** Byte offset of `limit` in the filter of a query. */
  readonly limitAt: number;
  readonly creates: boolean;
  /**
   * Executes the sub-batches in order.
   * @param resultMax - Results of one query at most.
   */
  run(
    ledger: ReferenceLedger,
    batches: readonly Uint8Array[],
    timestamp: bigint,
    resultMax: number,
  ): Uint8Array[];
}

function failuresOf(results: readonly CreateResult[]): ErrorResult[] {
  return results.flatMap(({ status }, index) =>
    status === created ? [] : [{ index, result: status }],
  );
}

function createShape<E>(
  event: Codec<E>,
  sparse: boolean,
  multiBatch: boolean,
  create: (ledger: ReferenceLedger, batches: E[][], timestamp: bigint) => CreateResult[][],
): Shape {
  return {
    multiBatch,
    kind: "batch",
    eventSize: event.size,
    resultSize: sparse ? errorResultCodec.size : createResultCodec.size,
    limitAt: -1,
    creates: true,
    run: (ledger, batches, timestamp) =>
      create(
        ledger,
        batches.map((batch) => decodeArray(event, batch)),
        timestamp,
      ).map((results) =>
        sparse
          ? encodeArray(errorResultCodec, failuresOf(results))
          : encodeArray(createResultCodec, results),
      ),
  };
}

function lookupShape<R>(
  result: Codec<R>,
  multiBatch: boolean,
  lookup: (ledger: ReferenceLedger, ids: bigint[]) => R[],
): Shape {
  return {
    multiBatch,
    kind: "batch",
    eventSize: idCodec.size,
    resultSize: result.size,
    limitAt: -1,
    creates: false,
    run: (ledger, batches) =>
      batches.map((batch) => encodeArray(result, lookup(ledger, decodeArray(idCodec, batch)))),
  };
}

function queryShape<E, R>(
  filter: Codec<E>,
  result: Codec<R>,
  limitAt: number,
  multiBatch: boolean,
  query: (ledger: ReferenceLedger, filter: E, resultMax: number) => R[],
): Shape {
  return {
    multiBatch,
    kind: "query",
    eventSize: filter.size,
    resultSize: result.size,
    limitAt,
    creates: false,
    run: (ledger, batches, _timestamp, resultMax) =>
      batches.map((batch) => encodeArray(result, query(ledger, filter.decode(batch), resultMax))),
  };
}

const createAccounts = (sparse: boolean, multiBatch: boolean): Shape =>
  createShape(accountCodec, sparse, multiBatch, (ledger, batches, timestamp) =>
    ledger.createAccounts(batches, timestamp),
  );
const createTransfers = (sparse: boolean, multiBatch: boolean): Shape =>
  createShape(transferCodec, sparse, multiBatch, (ledger, batches, timestamp) =>
    ledger.createTransfers(batches, timestamp),
  );
const lookupAccounts = (multiBatch: boolean): Shape =>
  lookupShape(accountCodec, multiBatch, (ledger, ids) => ledger.lookupAccounts(ids));
const lookupTransfers = (multiBatch: boolean): Shape =>
  lookupShape(transferCodec, multiBatch, (ledger, ids) => ledger.lookupTransfers(ids));
const getAccountTransfers = (multiBatch: boolean): Shape =>
  queryShape(accountFilterCodec, transferCodec, 120, multiBatch, (ledger, filter, resultMax) =>
    ledger.getAccountTransfers(filter, resultMax),
  );
const getAccountBalances = (multiBatch: boolean): Shape =>
  queryShape(
    accountFilterCodec,
    accountBalanceCodec,
    120,
    multiBatch,
    (ledger, filter, resultMax) => ledger.getAccountBalances(filter, resultMax),
  );
const queryAccounts = (multiBatch: boolean): Shape =>
  queryShape(queryFilterCodec, accountCodec, 56, multiBatch, (ledger, filter, resultMax) =>
    ledger.queryAccounts(filter, resultMax),
  );
const queryTransfers = (multiBatch: boolean): Shape =>
  queryShape(queryFilterCodec, transferCodec, 56, multiBatch, (ledger, filter, resultMax) =>
    ledger.queryTransfers(filter, resultMax),
  );

const shapes: ReadonlyMap<number, Shape> = new Map<number, Shape>([
  [Operation.createAccountsUnbatched, createAccounts(true, false)],
  [Operation.createTransfersUnbatched, createTransfers(true, false)],
  [Operation.lookupAccountsUnbatched, lookupAccounts(false)],
  [Operation.lookupTransfersUnbatched, lookupTransfers(false)],
  [Operation.getAccountTransfersUnbatched, getAccountTransfers(false)],
  [Operation.getAccountBalancesUnbatched, getAccountBalances(false)],
  [Operation.queryAccountsUnbatched, queryAccounts(false)],
  [Operation.queryTransfersUnbatched, queryTransfers(false)],
  [
    Operation.getChangeEvents,
    queryShape(changeEventsFilterCodec, changeEventCodec, 16, false, (ledger, filter) =>
      ledger.getChangeEvents(filter),
    ),
  ],
  [Operation.createAccountsSparse, createAccounts(true, true)],
  [Operation.createTransfersSparse, createTransfers(true, true)],
  [Operation.lookupAccounts, lookupAccounts(true)],
  [Operation.lookupTransfers, lookupTransfers(true)],
  [Operation.getAccountTransfers, getAccountTransfers(true)],
  [Operation.getAccountBalances, getAccountBalances(true)],
  [Operation.queryAccounts, queryAccounts(true)],
  [Operation.queryTransfers, queryTransfers(true)],
  [Operation.createAccounts, createAccounts(false, true)],
  [Operation.createTransfers, createTransfers(false, true)],
]);

function shapeOf(operation: number): Shape {
  const shape = shapes.get(operation);
  if (shape === undefined) throw new RangeError(`operation ${operation}`);
  return shape;
}

/** The sub-batches of a request body, or null when it is malformed. */
function splitRequest(shape: Shape, body: Uint8Array): Uint8Array[] | null {
  return shape.multiBatch ? decodeMultiBatch(shape.eventSize, body) : [body];
}

/** Events that one sub-batch may have, when the server takes bodies of `limit` bytes. */
export function eventMax(operation: number, limit = bodySizeMax): number {
  const { eventSize, resultSize, multiBatch } = shapeOf(operation);
  const eventTrailer = multiBatch ? trailerSize(eventSize, 1) : 0;
  const resultTrailer = multiBatch ? trailerSize(resultSize, 1) : 0;
  return Math.min(
    Math.floor((limit - eventTrailer) / eventSize),
    Math.floor((bodySizeMax - resultTrailer) / resultSize),
  );
}

/** Results that one query may have. */
export function resultMax(operation: number): number {
  const { resultSize, multiBatch } = shapeOf(operation);
  return Math.floor((bodySizeMax - (multiBatch ? trailerSize(resultSize, 1) : 0)) / resultSize);
}

export function isKnownOperation(operation: number): boolean {
  return shapes.has(operation);
}

/** @param limit - The server's batch_size_limit. */
export function isValidBody(operation: number, body: Uint8Array, limit = bodySizeMax): boolean {
  if (operation === Operation.noop) return body.length === 0;
  const shape = shapeOf(operation);
  const batches = splitRequest(shape, body);
  if (batches === null) return false;
  let results = 0;
  for (const batch of batches) {
    if (shape.kind === "query") {
      if (batch.length !== shape.eventSize) return false;
      const filterLimit = Number(readInteger(batch, shape.limitAt, 4));
      results += Math.min(filterLimit, resultMax(operation));
    } else {
      if (batch.length % shape.eventSize !== 0) return false;
      const events = batch.length / shape.eventSize;
      if (events > eventMax(operation, limit)) return false;
      results += events;
    }
  }
  if (!shape.multiBatch) return true;
  const reply = results * shape.resultSize + trailerSize(shape.resultSize, batches.length);
  return reply <= bodySizeMax;
}

/** How far the timestamp of this operation lies above its base: the events that it creates. */
export function timestampDelta(operation: number, body: Uint8Array): number {
  if (operation === Operation.pulse) return 8190;
  if (operation === Operation.noop || operation === Operation.register) return 0;
  const shape = shapeOf(operation);
  if (!shape.creates) return 0;
  let events = 0;
  for (const batch of splitRequest(shape, body)!) events += batch.length / shape.eventSize;
  return events;
}

/** A request body of this operation from sub-batches of whole events. */
export function encodeRequest(operation: number, batches: readonly Uint8Array[]): Uint8Array {
  const shape = shapeOf(operation);
  if (shape.multiBatch) return encodeMultiBatch(shape.eventSize, batches);
  if (batches.length !== 1) throw new RangeError("this operation takes one batch");
  return batches[0]!;
}

/** The sub-batches of a reply body, or null when it is malformed. */
export function splitReply(operation: number, body: Uint8Array): Uint8Array[] | null {
  const shape = shapeOf(operation);
  return shape.multiBatch ? decodeMultiBatch(shape.resultSize, body) : [body];
}

/**
 * Executes one operation with timestamp P and returns the body of its reply.
 * @throws {RangeError} The body is not valid, or the operation unknown.
 */
export function executeRequest(
  ledger: ReferenceLedger,
  operation: number,
  body: Uint8Array,
  timestamp: bigint,
): Uint8Array {
  if (operation === Operation.pulse) {
    ledger.pulse(timestamp);
    return new Uint8Array(0);
  }
  if (operation === Operation.noop) return new Uint8Array(0);
  const shape = shapeOf(operation);
  if (!isValidBody(operation, body)) throw new RangeError("invalid request body");
  const batches = splitRequest(shape, body)!;
  const replies = shape.run(ledger, batches, timestamp, resultMax(operation));
  return shape.multiBatch ? encodeMultiBatch(shape.resultSize, replies) : replies[0]!;
}
