/** The operations for older clients (protocol/semantics.md §8): same state, other forms. */
import { expect, test } from "vitest";
import {
  accountCodec,
  accountFilterCodec,
  decodeArray,
  encodeArray,
  encodeMultiBatch,
  errorResultCodec,
  idCodec,
  queryFilterCodec,
  transferCodec,
} from "../reference/codec.ts";
import {
  makeAccount,
  makeAccountFilter,
  makeQueryFilter,
  makeTransfer,
} from "../reference/make.ts";
import { Operation, splitReply } from "../reference/operations.ts";
import type { Transfer } from "../reference/records.ts";
import { Harness } from "./harness.ts";
import { MachineClient } from "./machine-client.ts";

const harness = new Harness(61);
const client = new MachineClient(harness);

function failures(operation: number, body: Uint8Array): { index: number; result: number }[][] {
  const reply = harness.submit(operation, body);
  return splitReply(operation, reply)!.map((part) => decodeArray(errorResultCodec, part));
}

test("creations without batches answer with failures alone", () => {
  const accounts = [
    makeAccount(1n),
    makeAccount(1n),
    makeAccount(2n),
    makeAccount(3n, { code: 0 }),
  ];
  expect(failures(Operation.createAccountsUnbatched, encodeArray(accountCodec, accounts))).toEqual([
    [
      { index: 1, result: 21 },
      { index: 3, result: 14 },
    ],
  ]);
  const good = encodeArray(transferCodec, [makeTransfer(1n, 1n, 2n, 5n)]);
  expect(harness.submit(Operation.createTransfersUnbatched, good).length).toBe(0);
  expect(harness.submit(Operation.createTransfersUnbatched, new Uint8Array(0)).length).toBe(0);
});

test("a broken chain is listed in order, per sub-batch", () => {
  const batch = (...events: Transfer[]): Uint8Array => encodeArray(transferCodec, events);
  const body = encodeMultiBatch(128, [
    batch(
      makeTransfer(10n, 1n, 2n, 1n),
      makeTransfer(11n, 1n, 2n, 1n, { flags: 1 }),
      makeTransfer(12n, 1n, 2n, 1n, { flags: 1 }),
      makeTransfer(13n, 1n, 1n, 1n),
      makeTransfer(14n, 1n, 2n, 1n),
    ),
    batch(),
    batch(makeTransfer(15n, 1n, 9n, 1n)),
    batch(makeTransfer(16n, 1n, 2n, 1n)),
  ]);
  expect(failures(Operation.createTransfersSparse, body)).toEqual([
    [
      { index: 1, result: 1 },
      { index: 2, result: 1 },
      { index: 3, result: 12 },
    ],
    [],
    [{ index: 0, result: 22 }],
    [],
  ]);
});

test("both forms act on the same state: burnt ids, repeated ids", () => {
  const again = [makeTransfer(15n, 1n, 2n, 1n), makeTransfer(16n, 1n, 2n, 1n)];
  expect(client.createTransfers(again).map(({ status }) => status)).toEqual([68, 46]);
  const body = encodeMultiBatch(128, [
    encodeArray(accountCodec, [makeAccount(2n), makeAccount(3n)]),
  ]);
  expect(failures(Operation.createAccountsSparse, body)).toEqual([[{ index: 0, result: 21 }]]);
  expect(client.lookupAccounts([3n]).length).toBe(1);
});

test("8,190 creations in one body without a trailer", () => {
  const events = Array.from({ length: 8190 }, (_, index) =>
    makeTransfer(BigInt(100_000 + index), 1n, index === 8189 ? 1n : 2n, 1n),
  );
  const body = encodeArray(transferCodec, events);
  expect(failures(Operation.createTransfersUnbatched, body)).toEqual([
    [{ index: 8189, result: 12 }],
  ]);
  expect(client.lookupTransfers([108_188n]).length).toBe(1);
});

test("reads without trailers", () => {
  const lookup = encodeArray(idCodec, [1n, 77n, 2n]);
  const accounts = decodeArray(
    accountCodec,
    harness.submit(Operation.lookupAccountsUnbatched, lookup),
  );
  expect(accounts).toEqual(client.lookupAccounts([1n, 2n]));
  const ids = encodeArray(idCodec, [10n, 11n]);
  const transfers = decodeArray(
    transferCodec,
    harness.submit(Operation.lookupTransfersUnbatched, ids),
  );
  expect(transfers).toEqual(client.lookupTransfers([10n, 11n]));
  expect(transfers.length).toBe(1);

  const query = queryFilterCodec.encode(makeQueryFilter({ limit: 0xffff_ffff }));
  const many = harness.submit(Operation.queryTransfersUnbatched, query);
  expect(many.length / 128).toBe(8190);
  const invalid = queryFilterCodec.encode(makeQueryFilter({ limit: 0 }));
  expect(harness.submit(Operation.queryTransfersUnbatched, invalid).length).toBe(0);
  expect(harness.submit(Operation.queryAccountsUnbatched, query).length).toBe(3 * 128);
  const filter = accountFilterCodec.encode(makeAccountFilter({ account_id: 1n, limit: 3 }));
  expect(harness.submit(Operation.getAccountTransfersUnbatched, filter).length).toBe(3 * 128);
  expect(harness.submit(Operation.getAccountBalancesUnbatched, filter).length).toBe(0);
});
