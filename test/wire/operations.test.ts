/** The operation table and its limits against the figures of protocol/operations.md. */
import { describe, expect, test } from "vitest";
import {
  eventMax,
  Operation,
  OperationKind,
  operationCreates,
  operationEventSize,
  operationFromClients,
  operationKind,
  operationKnown,
  operationMultiBatch,
  operationMutates,
  operationResultSize,
  queryLimitAt,
  resultMax,
} from "../../src/wire/operations.ts";
import {
  clientReleaseMax,
  clientReleaseMin,
  ownRelease,
  releaseNumber,
  releaseText,
} from "../../src/wire/release.ts";

const limit = 1_048_320;
const batch = OperationKind.batch;
const query = OperationKind.query;

/** Number, multi-batch, event size, result size, kind: the table of §1, typed by hand. */
const table: [number, number, number, number, number][] = [
  [129, 0, 128, 8, batch],
  [130, 0, 128, 8, batch],
  [131, 0, 16, 128, batch],
  [132, 0, 16, 128, batch],
  [133, 0, 128, 128, query],
  [134, 0, 128, 128, query],
  [135, 0, 64, 128, query],
  [136, 0, 64, 128, query],
  [137, 0, 64, 384, query],
  [138, 1, 128, 8, batch],
  [139, 1, 128, 8, batch],
  [140, 1, 16, 128, batch],
  [141, 1, 16, 128, batch],
  [142, 1, 128, 128, query],
  [143, 1, 128, 128, query],
  [144, 1, 64, 128, query],
  [145, 1, 64, 128, query],
  [146, 1, 128, 16, batch],
  [147, 1, 128, 16, batch],
];

test.each(table)("operation %i", (operation, multiBatch, eventSize, resultSize, kind) => {
  expect(operationMultiBatch[operation]).toBe(multiBatch);
  expect(operationEventSize[operation]).toBe(eventSize);
  expect(operationResultSize[operation]).toBe(resultSize);
  expect(operationKind[operation]).toBe(kind);
  expect(operationFromClients[operation]).toBe(1);
  const creates = [129, 130, 138, 139, 146, 147].includes(operation) ? 1 : 0;
  expect(operationCreates[operation]).toBe(creates);
  expect(operationMutates[operation]).toBe(creates);
});

test("nothing else is known from clients but register and noop", () => {
  for (let operation = 0; operation < 256; operation += 1) {
    const fromClients =
      operation === 2 || operation === 6 || (operation >= 129 && operation <= 147);
    expect(operationFromClients[operation], `operation ${operation}`).toBe(fromClients ? 1 : 0);
    const internal = operation === 1 || operation === 4 || operation === 8;
    expect(operationKnown[operation]).toBe(fromClients || internal ? 1 : 0);
  }
});

test("names are unique numbers", () => {
  const numbers = Object.values(Operation);
  expect(new Set(numbers).size).toBe(numbers.length);
});

describe("limits of §4", () => {
  const events: [number, number, number][] = [
    [146, limit, 8189],
    [147, limit, 8189],
    [138, limit, 8189],
    [139, limit, 8189],
    [140, limit, 8189],
    [141, limit, 8189],
    [129, limit, 8190],
    [130, limit, 8190],
    [131, limit, 8190],
    [132, limit, 8190],
    [137, limit, 1],
    [142, limit, 1],
    [146, 32_512, 253],
    [147, 32_512, 253],
    [130, 32_512, 254],
    [140, 32_512, 2031],
    [147, 256, 1],
    [147, 255, 0],
    [147, 64, 0],
  ];
  test.each(events)("operation %i, limit %i: %i events", (operation, batchSizeLimit, most) => {
    expect(eventMax(operation, batchSizeLimit)).toBe(most);
    if (operationKind[operation] === batch) {
      expect(resultMax(operation, batchSizeLimit)).toBe(most);
    }
  });

  test.each([
    [142, 8189],
    [143, 8189],
    [144, 8189],
    [145, 8189],
    [137, 2730],
    [133, 8190],
    [134, 8190],
    [135, 8190],
    [136, 8190],
  ])("operation %i: at most %i results, whatever the request limit", (operation, most) => {
    expect(resultMax(operation, limit)).toBe(most);
    expect(resultMax(operation, 32_512)).toBe(most);
  });

  test("where filters hold their limit", () => {
    expect([133, 134, 142, 143].map(queryLimitAt)).toEqual([120, 120, 120, 120]);
    expect([135, 136, 144, 145].map(queryLimitAt)).toEqual([56, 56, 56, 56]);
    expect(queryLimitAt(137)).toBe(16);
    expect(() => queryLimitAt(146)).toThrow();
  });
});

test("releases", () => {
  expect(ownRelease).toBe(0x1109);
  expect(releaseNumber(0, 16, 4)).toBe(clientReleaseMin);
  expect(clientReleaseMax).toBe(ownRelease);
  expect(releaseNumber(65_535, 0, 0)).toBe(0xffff_0000);
  expect(releaseText(releaseNumber(1, 22, 33))).toBe("1.22.33");
  expect(releaseNumber(0, 16, 78)).toBeGreaterThan(clientReleaseMin);
  expect(releaseNumber(0, 16, 78)).toBeLessThan(releaseNumber(0, 17, 0));
});
