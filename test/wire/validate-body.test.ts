/** Which bodies are accepted (protocol/operations.md §3), at and beyond every limit. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { EvictionReason } from "../../src/wire/header.ts";
import { multiBatchFinish, multiBatchTrailerSize } from "../../src/wire/multi-batch.ts";
import {
  operationEventSize,
  operationFromClients,
  queryLimitAt,
} from "../../src/wire/operations.ts";
import {
  bodyFault,
  eventCount,
  replyBodySizeMax,
  timestampDelta,
} from "../../src/wire/validate-body.ts";

const limit = 1_048_320;
const ok = 0;
const invalid = EvictionReason.invalidRequestBody;

/** A body of sub-batches with zeroed events, longer than a message if need be. */
function batches(operation: number, counts: readonly number[]): Uint8Array {
  const eventSize = operationEventSize[operation]!;
  const elements = counts.reduce((sum, count) => sum + count, 0);
  const size = elements * eventSize + multiBatchTrailerSize(eventSize, counts.length);
  const bytes = new Uint8Array(size);
  multiBatchFinish(
    bytes,
    0,
    elements * eventSize,
    eventSize,
    Uint32Array.from(counts),
    counts.length,
  );
  return bytes;
}

/** A multi-batch body of filters with these limits, one per sub-batch. */
function queries(operation: number, limits: readonly number[]): Uint8Array {
  const bytes = batches(
    operation,
    limits.map(() => 1),
  );
  const view = new DataView(bytes.buffer);
  limits.forEach((value, index) => {
    const at = index * operationEventSize[operation]! + queryLimitAt(operation);
    view.setUint32(at, value, true);
  });
  return bytes;
}

function fault(operation: number, body: Uint8Array, batchSizeLimit = limit): number {
  // Away from the start of its memory, as in a message.
  const bytes = new Uint8Array(256 + body.length + 1);
  bytes.set(body, 256);
  return bodyFault(operation, bytes, 256, body.length, batchSizeLimit);
}

const repeat = (count: number, value: number): number[] => new Array<number>(count).fill(value);

describe("batches in sub-batches", () => {
  const cases: [string, number, number[], number, number][] = [
    ["the most transfers", 147, [8189], limit, ok],
    ["one transfer, one sub-batch", 147, [1], limit, ok],
    ["no transfer", 147, [0], limit, ok],
    ["many empty sub-batches", 147, repeat(1000, 0), limit, ok],
    ["8,063 sub-batches of one", 147, repeat(8063, 1), limit, ok],
    ["8,063 accounts, sparse results", 138, repeat(8063, 1), limit, ok],
    ["the most in development mode", 146, [253], 32_512, ok],
    ["the most lookups", 140, [8189], limit, ok],
    ["the most lookups in two", 141, [8000, 189], limit, ok],
    ["one lookup too many", 140, [8190], limit, invalid],
    ["one lookup too many in two", 141, [8000, 190], limit, invalid],
    ["lookups limited by the request", 140, [2031], 32_512, ok],
    ["accounts sparse", 138, [8189], limit, ok],
  ];
  test.each(cases)("%s", (_, operation, counts, batchSizeLimit, wanted) => {
    expect(fault(operation, batches(operation, counts), batchSizeLimit)).toBe(wanted);
  });

  test.each([
    ["one transfer too many", 147, [8190], limit],
    ["8,064 sub-batches of one", 147, repeat(8064, 1), limit],
    ["one too many in development mode", 146, [254], 32_512],
    ["one lookup more than the request limit", 140, [2032], 32_512],
  ])("%s is larger than the largest body", (_, operation, counts, batchSizeLimit) => {
    expect(fault(operation, batches(operation, counts), batchSizeLimit)).toBe(
      EvictionReason.invalidRequestBodySize,
    );
  });

  test("a reply of sub-batches of lookups has to fit with its own trailer", () => {
    // Every 64th sub-batch costs a unit of trailer, in place of one result.
    const most = (n: number): number => (limit - multiBatchTrailerSize(128, n)) / 128;
    for (const n of [1, 63, 64, 127, 128, 1000]) {
      const counts = repeat(n, 0);
      counts[n - 1] = Math.min(most(n), 8189);
      expect(fault(140, batches(140, counts)), `n = ${n}`).toBe(ok);
      counts[0]! += 1;
      expect(fault(140, batches(140, counts)), `n = ${n}, one more`).toBe(invalid);
    }
  });

  test("malformed bodies", () => {
    expect(fault(147, new Uint8Array(0))).toBe(invalid);
    expect(fault(147, new Uint8Array(128))).toBe(invalid);
    const body = batches(147, [2]);
    expect(fault(147, body.subarray(128))).toBe(invalid);
    body[256] = 0;
    expect(fault(147, body)).toBe(invalid);
  });
});

describe("queries in sub-batches", () => {
  const cases: [string, number, number[], number][] = [
    ["limits 8,188 and 1 fit together", 142, [8188, 1], ok],
    ["limits 8,189 and 1 do not", 142, [8189, 1], invalid],
    ["a single query may ask for anything", 145, [0xffff_ffff], ok],
    ["a single query may ask for nothing", 145, [0], ok],
    ["two, one of which asks for anything", 144, [0xffff_ffff, 1], invalid],
    ["63 sub-batches, one unit of trailer", 143, [8189, ...repeat(62, 0)], ok],
    ["64 sub-batches, two units of trailer", 143, [8189, ...repeat(63, 0)], invalid],
    ["64 sub-batches that leave room for it", 143, [8188, ...repeat(63, 0)], ok],
  ];
  test.each(cases)("%s", (_, operation, limits, wanted) => {
    expect(fault(operation, queries(operation, limits))).toBe(wanted);
  });

  test("exactly one filter per sub-batch", () => {
    for (const operation of [142, 143, 144, 145]) {
      for (const counts of [[0], [2], [1, 0], [0, 1], [2, 0], [1, 2]]) {
        expect(fault(operation, batches(operation, counts)), `${operation} ${counts}`).toBe(
          invalid,
        );
      }
      expect(fault(operation, batches(operation, [1, 1]))).toBe(ok);
    }
  });
});

describe("bodies without sub-batches", () => {
  const cases: [string, number, number, number][] = [
    ["no transfer", 130, 0, ok],
    ["the most transfers", 130, 8190 * 128, ok],
    ["half a transfer", 130, 64, invalid],
    ["a transfer and a half", 130, 192, invalid],
    ["the most lookups", 131, 8190 * 16, ok],
    ["one lookup too many", 132, 8191 * 16, invalid],
    ["one filter", 133, 128, ok],
    ["no filter", 134, 0, invalid],
    ["two filters", 134, 256, invalid],
    ["half a filter", 135, 32, invalid],
    ["one query filter", 136, 64, ok],
    ["one change events filter", 137, 64, ok],
    ["no change events filter", 137, 0, invalid],
    ["two change events filters", 137, 128, invalid],
    ["a noop", 6, 0, ok],
    ["a noop with something in it", 6, 16, invalid],
  ];
  test.each(cases)("%s", (_, operation, length, wanted) => {
    expect(fault(operation, new Uint8Array(length))).toBe(wanted);
  });
});

test("register carries 256 zero bytes", () => {
  expect(fault(2, new Uint8Array(256))).toBe(ok);
  expect(fault(2, new Uint8Array(0))).toBe(EvictionReason.invalidRequestBodySize);
  expect(fault(2, new Uint8Array(255))).toBe(EvictionReason.invalidRequestBodySize);
  for (let at = 0; at < 256; at += 1) {
    const body = new Uint8Array(256);
    body[at] = 1;
    expect(fault(2, body), `byte ${at}`).toBe(invalid);
  }
});

test("operations that clients do not have are unknown, whatever their body", () => {
  for (let operation = 0; operation < 256; operation += 1) {
    if (operationFromClients[operation] === 1) continue;
    for (const length of [0, 128, 256]) {
      expect(fault(operation, new Uint8Array(length)), `operation ${operation}`).toBe(
        EvictionReason.invalidRequestOperation,
      );
    }
  }
});

test("no body makes validation throw", () => {
  const operation = fc.integer({ min: 0, max: 255 });
  const bytes = fc.array(fc.constantFrom(0, 1, 2, 16, 0x40, 0xff), { maxLength: 700 });
  fc.assert(
    fc.property(operation, bytes, fc.constantFrom(limit, 32_512, 300, 0), (code, content, most) => {
      const result = fault(code, Uint8Array.from(content), most);
      expect([0, 4, 5, 6]).toContain(result);
      if (result !== 0) return;
      const body = Uint8Array.from(content);
      const events = eventCount(code, body, 0, body.length);
      expect(Number.isInteger(events)).toBe(true);
      expect(replyBodySizeMax(code, body, 0, body.length)).toBeLessThanOrEqual(limit);
    }),
    { numRuns: 20_000 },
  );
});

describe("time that a request takes", () => {
  const cases: [string, number, Uint8Array, number][] = [
    ["create_transfers, all sub-batches", 147, batches(147, [2, 0, 1]), 3],
    ["create_accounts", 146, batches(146, [8189]), 8189],
    ["sparse", 139, batches(139, [5, 5]), 10],
    ["empty", 147, batches(147, [0]), 0],
    ["unbatched", 130, new Uint8Array(4 * 128), 4],
    ["lookups", 140, batches(140, [7]), 0],
    ["queries", 145, queries(145, [9]), 0],
    ["change events", 137, new Uint8Array(64), 0],
    ["register", 2, new Uint8Array(256), 0],
    ["noop", 6, new Uint8Array(0), 0],
    ["pulse", 4, new Uint8Array(0), 8190],
  ];
  test.each(cases)("%s", (_, operation, body, delta) => {
    expect(timestampDelta(operation, body, 0, body.length)).toBe(delta);
  });
});

describe("the largest reply", () => {
  const cases: [string, number, Uint8Array, number][] = [
    ["create", 147, batches(147, [2, 0, 1]), 3 * 16 + 16],
    ["create, the most", 147, batches(147, [8189]), 8189 * 16 + 16],
    ["sparse", 138, batches(138, [3]), 3 * 8 + 8],
    ["unbatched create", 130, new Uint8Array(256), 16],
    ["lookup", 141, batches(141, [1, 2]), 3 * 128 + 128],
    ["query", 142, queries(142, [10]), 10 * 128 + 128],
    ["query for anything", 142, queries(142, [0xffff_ffff]), limit],
    ["change events, no limit given", 137, new Uint8Array(64), 0],
    ["register", 2, new Uint8Array(256), 64],
    ["noop", 6, new Uint8Array(0), 0],
  ];
  test.each(cases)("%s", (_, operation, body, size) => {
    expect(replyBodySizeMax(operation, body, 0, body.length)).toBe(size);
  });

  test("change events are capped", () => {
    const body = new Uint8Array(64);
    new DataView(body.buffer).setUint32(16, 5000, true);
    expect(replyBodySizeMax(137, body, 0, 64)).toBe(2730 * 384);
  });
});
