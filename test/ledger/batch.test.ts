/** Request bodies as the ledger sees them: limits, validation, timestamps, trailers. */
import { describe, expect, test } from "vitest";
import { Prng } from "../../src/core/prng.ts";
import {
  eventMax,
  resultMax,
  timestampDelta,
  totalEvents,
  validateBody,
  writeTrailer,
} from "../../src/ledger/batch.ts";
import { encodeMultiBatch } from "../reference/codec.ts";
import * as reference from "../reference/operations.ts";

const { Operation, bodySizeMax } = reference;
const all = Object.values(Operation).filter((operation) => operation >= 129);
const unbatched = all.filter((operation) => operation <= 137);
const queries = [133, 134, 135, 136, 137, 142, 143, 144, 145];

function validate(operation: number, body: Uint8Array, limit = bodySizeMax): number {
  // The body lies somewhere in a buffer; what is around it must not matter.
  const bytes = new Uint8Array(body.length + 512).fill(0xff);
  bytes.set(body, 256);
  return validateBody(operation, bytes, 256, body.length, limit);
}

describe("limits", () => {
  test.each([
    [Operation.createAccounts, 8189],
    [Operation.createTransfers, 8189],
    [Operation.createAccountsSparse, 8189],
    [Operation.createTransfersSparse, 8189],
    [Operation.lookupAccounts, 8189],
    [Operation.lookupTransfers, 8189],
    [Operation.createAccountsUnbatched, 8190],
    [Operation.createTransfersUnbatched, 8190],
    [Operation.lookupAccountsUnbatched, 8190],
    [Operation.lookupTransfersUnbatched, 8190],
    [Operation.getAccountTransfers, 1],
    [Operation.getChangeEvents, 1],
  ])("operation %i takes %i events", (operation, events) => {
    expect(eventMax(operation, bodySizeMax)).toBe(events);
  });

  test.each([
    [Operation.getAccountTransfers, 8189],
    [Operation.getAccountBalances, 8189],
    [Operation.queryAccounts, 8189],
    [Operation.queryTransfers, 8189],
    [Operation.getAccountTransfersUnbatched, 8190],
    [Operation.queryTransfersUnbatched, 8190],
    [Operation.getChangeEvents, 2730],
  ])("operation %i gives %i results", (operation, results) => {
    expect(resultMax(operation, bodySizeMax)).toBe(results);
  });

  test("a development server takes 253 creations, and shows fewer change events", () => {
    expect(eventMax(Operation.createTransfers, 32_512)).toBe(253);
    expect(resultMax(Operation.getChangeEvents, 32_512)).toBe(1015);
    expect(resultMax(Operation.queryTransfers, 32_512)).toBe(8189);
  });
});

describe("validation", () => {
  test.each([0, 1, 2, 3, 4, 5, 7, 8, 127, 128, 148, 255])(
    "operation %i is unknown",
    (operation) => {
      expect(validate(operation, new Uint8Array(0))).toBe(4);
    },
  );

  test("noop has no body", () => {
    expect(validate(Operation.noop, new Uint8Array(0))).toBe(0);
    expect(validate(Operation.noop, new Uint8Array(1))).toBe(5);
  });

  test.each(all)("operation %i: one event too many is refused", (operation) => {
    const size = sizeOf(operation);
    const max = eventMax(operation, bodySizeMax);
    for (const events of [max, max + 1]) {
      const body = reference.encodeRequest(operation, [new Uint8Array(events * size)]);
      expect(validate(operation, body)).toBe(events === max ? 0 : 5);
    }
  });

  test.each(queries)("operation %i: a query has exactly one filter", (operation) => {
    const size = sizeOf(operation);
    for (const filters of [0, 1, 2]) {
      const body = reference.encodeRequest(operation, [new Uint8Array(filters * size)]);
      expect(validate(operation, body)).toBe(filters === 1 ? 0 : 5);
    }
  });

  test("limits of several queries must fit one reply", () => {
    const filter = (limit: number): Uint8Array => {
      const bytes = new Uint8Array(64);
      new DataView(bytes.buffer).setUint32(56, limit, true);
      return bytes;
    };
    const body = (...limits: number[]): Uint8Array =>
      reference.encodeRequest(Operation.queryTransfers, limits.map(filter));
    expect(validate(Operation.queryTransfers, body(8188, 1))).toBe(0);
    expect(validate(Operation.queryTransfers, body(8189, 1))).toBe(5);
    expect(validate(Operation.queryTransfers, body(0xffff_ffff))).toBe(0);
    expect(validate(Operation.queryTransfers, body(0xffff_ffff, 0))).toBe(0);
  });

  test("lookups share one reply", () => {
    const body = (...counts: number[]): Uint8Array =>
      reference.encodeRequest(
        Operation.lookupAccounts,
        counts.map((count) => new Uint8Array(count * 16)),
      );
    expect(validate(Operation.lookupAccounts, body(8000, 189))).toBe(0);
    expect(validate(Operation.lookupAccounts, body(8000, 190))).toBe(5);
  });

  test("random bodies get the verdict of the reference", () => {
    const random = new Prng(21);
    let valid = 0;
    for (let run = 0; run < 20_000; run += 1) {
      const operation = all[random.below(all.length)]!;
      const size = sizeOf(operation);
      const batches = Array.from({ length: random.range(1, 9) }, () => {
        const events = queries.includes(operation) && random.chance(0.9) ? 1 : random.below(4);
        const bytes = new Uint8Array(events * size);
        if (random.chance(0.3)) bytes.fill(random.below(256));
        return bytes;
      });
      const multi = !unbatched.includes(operation);
      let body = reference.encodeRequest(operation, multi ? batches : batches.slice(0, 1));
      if (random.chance(0.5) && body.length > 0) {
        // Damage near the end, where the trailer is, or cut.
        if (random.chance(0.3)) body = body.slice(0, random.below(body.length));
        for (let hits = random.range(1, 3); hits > 0 && body.length > 0; hits -= 1) {
          body[body.length - 1 - random.below(Math.min(40, body.length))] = random.below(256);
        }
      }
      const limit = random.chance(0.2) ? 512 : bodySizeMax;
      const expected = reference.isValidBody(operation, body, limit);
      if (expected) valid += 1;
      if ((validate(operation, body, limit) === 0) !== expected) {
        expect.fail(`operation ${operation}, limit ${limit}: ${Buffer.from(body).toString("hex")}`);
      }
      if (!expected) continue;
      const at = 64;
      const bytes = new Uint8Array(at + body.length);
      bytes.set(body, at);
      const delta = timestampDelta(operation, bytes, at, body.length);
      if (delta !== reference.timestampDelta(operation, body)) expect.fail(`delta ${delta}`);
    }
    expect(valid).toBeGreaterThan(5000);
    expect(valid).toBeLessThan(15_000);
  });
});

test("a pulse advances time by as many transfers as it may expire", () => {
  expect(timestampDelta(4, new Uint8Array(0), 0, 0)).toBe(8190);
  expect(timestampDelta(6, new Uint8Array(0), 0, 0)).toBe(0);
});

test("events are counted through all sub-batches", () => {
  const parts = [3, 0, 5].map((count) => new Uint8Array(count * 128));
  const body = encodeMultiBatch(128, parts);
  expect(totalEvents(Operation.createTransfers, body, 0, body.length)).toBe(8);
});

test.each([8, 16, 64, 128])("trailers of elements of %i bytes", (size) => {
  const random = new Prng(size);
  for (let count = 1; count < 70; count += 1) {
    const parts = Array.from({ length: count }, () => new Uint8Array(random.below(3) * size));
    const expected = encodeMultiBatch(size, parts);
    const counts = Uint16Array.from(parts, (part) => part.length / size);
    const elements = parts.reduce((sum, part) => sum + part.length, 0);
    const bytes = new Uint8Array(32 + expected.length);
    expect(writeTrailer(bytes, 32, elements, size, counts, count)).toBe(expected.length);
    expect(Buffer.compare(bytes.subarray(32), expected)).toBe(0);
  }
});

function sizeOf(operation: number): number {
  if ([131, 132, 140, 141].includes(operation)) return 16;
  return [135, 136, 137, 144, 145].includes(operation) ? 64 : 128;
}
