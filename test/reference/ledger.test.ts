/** The reference ledger where the recordings do not reach: imports, expiry, chains, change events. */
import { expect, test } from "vitest";
import { decodeMultiBatch, encodeArray, encodeMultiBatch, transferCodec } from "./codec.ts";
import { ReferenceLedger } from "./ledger.ts";
import { makeAccount, makeAccountFilter, makeSettling, makeTransfer } from "./make.ts";
import { executeRequest, isValidBody, Operation, timestampDelta } from "./operations.ts";
import {
  type Account,
  AccountFlag,
  AccountStatus as AS,
  type CreateResult,
  created,
  type Transfer,
  TransferFlag,
  TransferStatus as TS,
  timestampMax,
  u128Max,
} from "./records.ts";

const start = 10n ** 18n;
const second = 10n ** 9n;

/** A ledger with its own clock: 1 ms between operations. */
class Book {
  readonly ledger = new ReferenceLedger();
  now = start;

  private tick(): bigint {
    this.now += 1_000_000n;
    return this.now;
  }
  accounts(...events: Account[]): number[] {
    return statuses(this.ledger.createAccounts([events], this.tick())[0]!);
  }
  transfers(...events: Transfer[]): number[] {
    const result = statuses(this.ledger.createTransfers([events], this.tick())[0]!);
    this.ledger.checkInvariants();
    return result;
  }
  balance(id: bigint): bigint[] {
    const a = this.ledger.lookupAccounts([id])[0]!;
    return [a.debits_pending, a.debits_posted, a.credits_pending, a.credits_posted];
  }
}

function statuses(results: readonly CreateResult[]): number[] {
  return results.map(({ status }) => status);
}

function bookWithAccounts(...flags: number[]): Book {
  const book = new Book();
  const events = flags.map((flag, i) => makeAccount(BigInt(i + 1), { flags: flag }));
  expect(book.accounts(...events).every((status) => status === created)).toBe(true);
  return book;
}

const { linked, pending, imported, closingDebit } = TransferFlag;
const post = TransferFlag.postPendingTransfer;
const voiding = TransferFlag.voidPendingTransfer;

test("accounts: checks in order of precedence", () => {
  const book = new Book();
  const rejected: [Partial<Account>, number][] = [
    [{ reserved: 1, flags: 64, id: 0n }, AS.reserved_field],
    [{ flags: 64, id: 0n }, AS.reserved_flag],
    [{ id: 0n, flags: 6 }, AS.id_must_not_be_zero],
    [{ id: u128Max, flags: 6 }, AS.id_must_not_be_int_max],
    [{ flags: 6, debits_pending: 1n }, AS.flags_are_mutually_exclusive],
    [{ debits_pending: 1n, debits_posted: 1n }, AS.debits_pending_must_be_zero],
    [{ debits_posted: 1n, credits_pending: 1n }, AS.debits_posted_must_be_zero],
    [{ credits_pending: 1n, credits_posted: 1n }, AS.credits_pending_must_be_zero],
    [{ credits_posted: 1n, ledger: 0 }, AS.credits_posted_must_be_zero],
    [{ ledger: 0, code: 0 }, AS.ledger_must_not_be_zero],
    [{ code: 0 }, AS.code_must_not_be_zero],
    [{ timestamp: 1n, code: 0 }, AS.timestamp_must_be_zero],
  ];
  for (const [fields, status] of rejected) {
    expect(book.accounts(makeAccount(7n, fields))).toEqual([status]);
  }
});

test("imported accounts", () => {
  const book = new Book();
  const importing = (id: bigint, timestamp: bigint): Account =>
    makeAccount(id, { flags: AccountFlag.imported, timestamp });
  expect(
    book.accounts(
      importing(1n, 100n),
      importing(2n, 100n),
      makeAccount(3n),
      importing(4n, 0n),
      importing(5n, timestampMax + 1n),
      importing(6n, start + second),
      importing(7n, 200n),
    ),
  ).toEqual([
    created,
    AS.imported_event_timestamp_must_not_regress,
    AS.imported_event_expected,
    AS.imported_event_timestamp_out_of_range,
    AS.imported_event_timestamp_out_of_range,
    AS.imported_event_timestamp_must_not_advance,
    created,
  ]);
  expect(book.accounts(makeAccount(8n), importing(9n, 300n))).toEqual([
    created,
    AS.imported_event_not_expected,
  ]);
  expect(book.accounts(importing(9n, 300n))).toEqual([
    AS.imported_event_timestamp_must_not_regress,
  ]);
  // An existing account is compared before its new timestamp.
  const again = book.ledger.createAccounts([[importing(1n, 300n)]], book.now + 1n)[0]![0]!;
  expect(again).toEqual({ timestamp: 100n, status: AS.exists, reserved: 0 });
});

test("a sub-batch decides by itself whether it imports, and ends its chains", () => {
  const ledger = new ReferenceLedger();
  const results = ledger.createAccounts(
    [
      [makeAccount(1n, { flags: AccountFlag.imported, timestamp: 5n })],
      [makeAccount(2n)],
      [makeAccount(3n, { flags: AccountFlag.linked })],
      [],
      [makeAccount(4n)],
    ],
    start,
  );
  expect(results).toEqual([
    [{ timestamp: 5n, status: created, reserved: 0 }],
    [{ timestamp: start - 2n, status: created, reserved: 0 }],
    [{ timestamp: start - 1n, status: AS.linked_event_chain_open, reserved: 0 }],
    [],
    [{ timestamp: start, status: created, reserved: 0 }],
  ]);
});

test("imported transfers", () => {
  const book = new Book();
  const flags = AccountFlag.imported;
  book.accounts(
    makeAccount(1n, { flags, timestamp: 100n }),
    makeAccount(2n, { flags, timestamp: 200n }),
  );
  const importing = (id: bigint, timestamp: bigint, fields: Partial<Transfer> = {}): Transfer =>
    makeTransfer(id, 1n, 2n, 5n, { flags: imported, timestamp, ...fields });
  expect(
    book.transfers(
      importing(1n, 100n),
      importing(2n, 99n),
      importing(3n, 150n),
      importing(4n, 300n, { flags: imported | pending, timeout: 1 }),
      importing(5n, start + second),
      importing(6n, 300n),
      importing(7n, 300n),
      makeTransfer(8n, 1n, 2n, 1n),
    ),
  ).toEqual([
    TS.imported_event_timestamp_must_not_regress,
    TS.imported_event_timestamp_must_postdate_debit_account,
    TS.imported_event_timestamp_must_postdate_credit_account,
    TS.imported_event_timeout_must_be_zero,
    TS.imported_event_timestamp_must_not_advance,
    created,
    TS.imported_event_timestamp_must_not_regress,
    TS.imported_event_expected,
  ]);
  expect(book.ledger.lookupTransfers([6n])[0]!.timestamp).toBe(300n);
});

test("a failed link undoes its chain but not the id that it burnt", () => {
  const book = bookWithAccounts(AccountFlag.debitsMustNotExceedCredits, 0);
  const chain = (): Transfer[] => [
    makeTransfer(1n, 2n, 1n, 4n, { flags: linked }),
    makeTransfer(2n, 1n, 2n, 7n, { flags: linked }),
    makeTransfer(3n, 2n, 1n, 1n),
    makeTransfer(4n, 2n, 1n, 1n),
  ];
  expect(book.transfers(...chain())).toEqual([1, TS.exceeds_credits, 1, created]);
  expect(book.balance(1n)).toEqual([0n, 0n, 0n, 1n]);
  expect(book.transfers(...chain())).toEqual([1, TS.id_already_failed, 1, TS.exists]);
  expect(book.transfers(makeTransfer(1n, 2n, 1n, 4n))).toEqual([created]);
  expect(book.transfers(makeTransfer(9n, 2n, 1n, 4n, { flags: linked }))).toEqual([2]);
});

test("a rolled-back settlement can be made again", () => {
  const book = bookWithAccounts(0, 0);
  book.transfers(makeTransfer(1n, 1n, 2n, 10n, { flags: pending }));
  expect(
    book.transfers(
      makeSettling(2n, 1n, 4n, post | linked),
      makeTransfer(3n, 1n, 1n, 1n),
      makeSettling(4n, 1n, 0n, voiding),
      makeSettling(5n, 1n, 0n, voiding),
      makeSettling(6n, 1n, u128Max, post),
    ),
  ).toEqual([
    1,
    TS.accounts_must_be_different,
    created,
    TS.pending_transfer_already_voided,
    TS.pending_transfer_already_voided,
  ]);
  expect(book.balance(1n)).toEqual([0n, 0n, 0n, 0n]);
});

test("posting: amounts", () => {
  const book = bookWithAccounts(0, 0);
  for (const id of [1n, 2n, 3n, 4n]) {
    book.transfers(makeTransfer(id, 1n, 2n, 10n, { flags: pending }));
  }
  expect(
    book.transfers(
      makeSettling(11n, 1n, 0n, post),
      makeSettling(12n, 2n, u128Max, post),
      makeSettling(13n, 3n, 11n, post),
      makeSettling(13n, 3n, 4n, post),
      makeSettling(14n, 4n, u128Max, voiding),
      makeSettling(14n, 4n, 9n, voiding),
      makeSettling(4n, 4n, 0n, voiding),
      makeSettling(15n, 15n, 0n, voiding),
    ),
  ).toEqual([
    created,
    created,
    TS.exceeds_pending_transfer_amount,
    created,
    TS.exceeds_pending_transfer_amount,
    TS.pending_transfer_has_different_amount,
    TS.exists_with_different_flags,
    TS.pending_id_must_be_different,
  ]);
  expect(book.balance(1n)).toEqual([10n, 14n, 0n, 0n]);
  expect(book.ledger.lookupTransfers([11n, 12n, 13n]).map(({ amount }) => amount)).toEqual([
    0n,
    10n,
    4n,
  ]);
});

test("overflows", () => {
  const book = bookWithAccounts(0, 0, 0, 0);
  book.transfers(makeTransfer(1n, 1n, 2n, u128Max - 1n));
  expect(
    book.transfers(
      makeTransfer(2n, 1n, 3n, 1n, { flags: pending }),
      makeTransfer(3n, 1n, 3n, 1n),
      makeTransfer(4n, 3n, 2n, 1n, { flags: pending }),
      makeTransfer(5n, 3n, 2n, 1n),
      makeTransfer(6n, 3n, 4n, 1n, { flags: pending, timeout: 0xffff_ffff }),
      makeTransfer(7n, 3n, 4n, u128Max, { flags: pending }),
    ),
  ).toEqual([
    created,
    TS.overflows_debits,
    created,
    TS.overflows_credits,
    created,
    TS.overflows_debits_pending,
  ]);
  const late = new ReferenceLedger();
  late.createAccounts([[makeAccount(1n), makeAccount(2n)]], timestampMax - 2n);
  expect(
    statuses(
      late.createTransfers(
        [[makeTransfer(1n, 1n, 2n, 1n, { flags: pending, timeout: 1 })]],
        timestampMax,
      )[0]!,
    ),
  ).toEqual([TS.overflows_timeout]);
});

test("a pulse expires what is due, in order, and reopens accounts", () => {
  const book = bookWithAccounts(0, 0);
  book.transfers(
    makeTransfer(1n, 1n, 2n, 3n, { flags: pending, timeout: 2 }),
    makeTransfer(2n, 1n, 2n, 4n, { flags: pending, timeout: 1 }),
    makeTransfer(3n, 1n, 2n, 5n, { flags: pending | closingDebit, timeout: 1 }),
    makeTransfer(4n, 1n, 2n, 6n),
  );
  expect(book.ledger.nextExpiry()).toBe(book.now - 2n + second);
  expect(book.transfers(makeTransfer(5n, 1n, 2n, 6n))).toEqual([TS.debit_account_already_closed]);
  book.now += second;
  // The time has passed, the pulse has not come.
  expect(book.transfers(makeSettling(6n, 2n, 0n, voiding))).toEqual([TS.pending_transfer_expired]);
  expect(book.balance(1n)).toEqual([12n, 0n, 0n, 0n]);
  expect(book.ledger.pulse(book.now + 10n)).toBe(2);
  expect(book.balance(1n)).toEqual([3n, 0n, 0n, 0n]);
  expect(book.transfers(makeTransfer(7n, 1n, 2n, 6n))).toEqual([created]);
  const events = book.ledger.getChangeEvents({ timestamp_min: 0n, timestamp_max: 0n, limit: 99 });
  expect(events.map(({ type, transfer_id }) => [type, transfer_id])).toEqual([
    [1, 1n],
    [1, 2n],
    [1, 3n],
    [4, 2n],
    [4, 3n],
    [0, 7n],
  ]);
  expect(events[2]!.debit_account_flags).toBe(AccountFlag.closed);
  expect(events[3]!.debit_account_flags).toBe(AccountFlag.closed);
  expect(events[4]!.debit_account_flags).toBe(0);
  expect(events.slice(3, 5).map(({ timestamp }) => timestamp)).toEqual([
    book.now - 1_000_000n + 9n,
    book.now - 1_000_000n + 10n,
  ]);
});

test("a pulse takes at most its limit", () => {
  const ledger = new ReferenceLedger(2);
  ledger.createAccounts([[makeAccount(1n), makeAccount(2n)]], start);
  const events = [1n, 2n, 3n].map((id) =>
    makeTransfer(id, 1n, 2n, 1n, { flags: pending, timeout: 1 }),
  );
  ledger.createTransfers([events], start + 10n);
  expect(ledger.pulse(start + 2n * second)).toBe(2);
  expect(ledger.pulse(start + 2n * second + 10n)).toBe(1);
  expect(ledger.nextExpiry()).toBe(null);
});

test("balances are kept for accounts with history", () => {
  const book = bookWithAccounts(AccountFlag.history, 0);
  book.transfers(
    makeTransfer(1n, 1n, 2n, 3n),
    makeTransfer(2n, 2n, 1n, 4n),
    makeTransfer(3n, 1n, 2n, 5n, { flags: pending }),
  );
  const pick = (id: bigint, flags: number): bigint[][] =>
    book.ledger
      .getAccountBalances(makeAccountFilter({ account_id: id, flags }))
      .map((b) => [b.debits_pending, b.debits_posted, b.credits_pending, b.credits_posted]);
  expect(pick(1n, 1)).toEqual([
    [0n, 3n, 0n, 0n],
    [5n, 3n, 0n, 4n],
  ]);
  expect(pick(1n, 2 | 4)).toEqual([[0n, 3n, 0n, 4n]]);
  expect(pick(2n, 3)).toEqual([]);
});

test("sparse replies list what failed", () => {
  const ledger = new ReferenceLedger();
  ledger.createAccounts([[makeAccount(1n), makeAccount(2n)]], start);
  const batch = encodeArray(transferCodec, [
    makeTransfer(1n, 1n, 2n, 3n),
    makeTransfer(2n, 1n, 2n, 3n, { flags: linked }),
    makeTransfer(3n, 1n, 9n, 3n),
  ]);
  const body = encodeMultiBatch(128, [batch, new Uint8Array(0)]);
  expect(timestampDelta(Operation.createTransfersSparse, body)).toBe(3);
  const reply = executeRequest(ledger, Operation.createTransfersSparse, body, start + 9n);
  const expected = [1, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 22, 0, 0, 0];
  expect([...decodeMultiBatch(8, reply)![0]!]).toEqual(expected);
  expect(decodeMultiBatch(8, reply)![1]!.length).toBe(0);
  const again = executeRequest(ledger, Operation.createTransfersUnbatched, batch, start + 19n);
  expect([...again].filter((_, i) => i % 4 === 0)).toEqual([0, 46, 1, 1, 2, 68]);
});

test("malformed bodies are refused", () => {
  const valid = encodeMultiBatch(16, [new Uint8Array(16), new Uint8Array(0)]);
  const operation = Operation.lookupAccounts;
  expect(isValidBody(operation, valid)).toBe(true);
  expect(isValidBody(operation, new Uint8Array(0))).toBe(false);
  for (const [at, value] of [
    [valid.length - 1, 1],
    [valid.length - 2, 0],
    [valid.length - 2, 3],
    [valid.length - 4, 2],
    [valid.length - 7, 0xfe],
    [16, 0],
  ] as const) {
    const broken = valid.slice();
    broken[at] = value;
    expect(isValidBody(operation, broken), `byte ${at} = ${value}`).toBe(false);
  }
  const filters = encodeMultiBatch(64, [new Uint8Array(64), new Uint8Array(64)]);
  expect(isValidBody(Operation.queryAccounts, filters)).toBe(true);
  expect(isValidBody(Operation.queryAccounts, encodeMultiBatch(64, [new Uint8Array(128)]))).toBe(
    false,
  );
  expect(isValidBody(Operation.getChangeEvents, new Uint8Array(128))).toBe(false);
  const many = encodeMultiBatch(16, [new Uint8Array(16 * 8000), new Uint8Array(16 * 190)]);
  expect(isValidBody(operation, many)).toBe(false);
});
