/**
 * The most bytes that a request's reply may have, judged from the request alone. Requests share a
 * prepare only while the sum of these stays bounded (design: a group's replies are all made by one
 * op). Validation has passed, so the body's shape is known to be sound.
 */
import { messageBodySizeMax } from "../core/limits.ts";
import {
  multiBatchCount,
  multiBatchElementsTotal,
  multiBatchTrailerSize,
} from "../wire/multi-batch.ts";
import {
  Operation,
  OperationKind,
  operationEventSize,
  operationKind,
  operationMultiBatch,
  operationResultSize,
  queryLimitAt,
  registerReplyBodySize,
} from "../wire/operations.ts";

export function replyBytesMax(
  operation: number,
  words: Uint32Array,
  bytes: Uint8Array,
  bodyAt: number,
  bodySize: number,
): number {
  if (operation === Operation.register) return registerReplyBodySize;
  const kind = operationKind[operation];
  if (kind === OperationKind.none) return 0;
  const resultSize = operationResultSize[operation]!;
  if (operationMultiBatch[operation] === 0) {
    const results =
      kind === OperationKind.batch
        ? Math.floor(bodySize / operationEventSize[operation]!)
        : words[(bodyAt + queryLimitAt(operation)) / 4]!;
    return Math.min(messageBodySizeMax, results * resultSize);
  }
  const subBatches = multiBatchCount(bytes, bodyAt, bodySize);
  const trailer = multiBatchTrailerSize(resultSize, subBatches);
  let results = 0;
  if (kind === OperationKind.batch) {
    const eventSize = operationEventSize[operation]!;
    results = multiBatchElementsTotal(bytes, bodyAt, bodySize, eventSize);
  } else {
    const eventSize = operationEventSize[operation]!;
    for (let index = 0; index < subBatches; index += 1) {
      results += words[(bodyAt + index * eventSize + queryLimitAt(operation)) / 4]!;
    }
  }
  return Math.min(messageBodySizeMax, results * resultSize + trailer);
}
