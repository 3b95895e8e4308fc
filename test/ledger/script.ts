/**
 * A small language for scenarios, one line per event:
 *
 *     account  A1 history                      => created
 *     account  A2 flags=2 ledger=7             => created
 *
 *     transfer T1 A1 A2 10 linked              => linked_event_failed
 *     transfer T2 A1 A9 10                     => debit_account_not_found
 *
 *     pending  T3 A1 A2 10 timeout=5           => created
 *     post     T4 T3 7                         => created
 *     void     T5 T3                           => pending_transfer_already_posted
 *     balance  A1 debits=7 debits_pending=0
 *     found    T4 amount=7 ledger=1
 *     absent   T5
 *     sleep    5s                              (time passes; the timer sends pulses)
 *     wait     5s                              (time passes, but no pulse is sent)
 *     cut                                      (the sorted indexes begin a new generation)
 *     restart
 *
 * Neighbouring lines of events are one batch; a line with ";" begins another sub-batch of the same
 * request, an empty line another request. Ids are numbers with or without a letter in front;
 * numbers may be "max" and "max-1". Options are names of flags, or field=value. Besides the status
 * of every event its timestamp is checked.
 */
import { expect } from "vitest";
import {
  accountCodec,
  createResultCodec,
  decodeArray,
  encodeArray,
  transferCodec,
} from "../reference/codec.ts";
import { makeAccount, makeTransfer } from "../reference/make.ts";
import { encodeRequest, Operation, splitReply } from "../reference/operations.ts";
import {
  type Account,
  AccountStatus,
  type Transfer,
  TransferStatus,
} from "../reference/records.ts";
import { Harness } from "./harness.ts";
import { MachineClient } from "./machine-client.ts";

const u128Max = 2n ** 128n - 1n;

export const accountFlagBits: Readonly<Record<string, number>> = {
  linked: 1,
  debits_must_not_exceed_credits: 2,
  credits_must_not_exceed_debits: 4,
  history: 8,
  imported: 16,
  closed: 32,
};
export const transferFlagBits: Readonly<Record<string, number>> = {
  linked: 1,
  pending: 2,
  post: 4,
  void: 8,
  balancing_debit: 16,
  balancing_credit: 32,
  closing_debit: 64,
  closing_credit: 128,
  imported: 256,
};

export const accountStatuses: Readonly<Record<string, number>> = AccountStatus;
export const transferStatuses: Readonly<Record<string, number>> = TransferStatus;

interface Line<Event> {
  readonly text: string;
  readonly event: Event;
  readonly status: string;
}

type Kind = "accounts" | "transfers";

export class Script {
  readonly harness: Harness;
  readonly client: MachineClient;
  /** Statuses that events got, by name: "accounts/exists". */
  readonly seen = new Set<string>();
  private kind: Kind = "accounts";
  private batches: Line<Account | Transfer>[][] = [];

  constructor(harness = new Harness()) {
    this.harness = harness;
    this.client = new MachineClient(harness);
  }

  run(text: string): this {
    for (const raw of text.split("\n")) this.line(raw.trim());
    this.flush();
    return this;
  }

  private line(text: string): void {
    if (text.startsWith("#")) return;
    if (text === "") {
      this.flush();
      return;
    }
    if (text === ";") {
      this.batches.push([]);
      return;
    }
    const [left, right] = text.split("=>").map((part) => part.trim());
    const [word, ...args] = left!.split(/\s+/);
    if (right !== undefined) {
      const event = this.parseEvent(word!, args);
      const kind = word === "account" ? "accounts" : "transfers";
      if (this.batches.length > 0 && kind !== this.kind) this.flush();
      this.kind = kind;
      if (this.batches.length === 0) this.batches.push([]);
      this.batches[this.batches.length - 1]!.push({ text, event, status: right });
      return;
    }
    this.flush();
    this.check(word!, args, text);
  }

  private parseEvent(word: string, args: string[]): Account | Transfer {
    const [id, ...rest] = args;
    if (word === "account") return withOptions(makeAccount(number(id!)), rest, accountFlagBits);
    if (word === "transfer" || word === "pending") {
      const [debit, credit, amount, ...options] = rest;
      const transfer = makeTransfer(number(id!), number(debit!), number(credit!), number(amount!));
      if (word === "pending") transfer.flags = 2;
      return withOptions(transfer, options, transferFlagBits);
    }
    if (word !== "post" && word !== "void") throw new Error(`no such event: ${word}`);
    const [pendingId, ...options] = rest;
    // Without an amount: all of it.
    const given = options[0] !== undefined && /^(\d+|max(-\d+)?)$/.test(options[0]);
    const all = word === "post" ? u128Max : 0n;
    const settling = makeTransfer(number(id!), 0n, 0n, given ? number(options.shift()!) : all, {
      pending_id: number(pendingId!),
      ledger: 0,
      code: 0,
      flags: word === "post" ? 4 : 8,
    });
    return withOptions(settling, options, transferFlagBits);
  }

  /** Sends the batches gathered so far. */
  private flush(): void {
    const { batches, kind } = this;
    this.batches = [];
    if (batches.length === 0) return;
    const accounts = kind === "accounts";
    const operation = accounts ? Operation.createAccounts : Operation.createTransfers;
    const body = encodeRequest(
      operation,
      batches.map((lines) => {
        const events = lines.map(({ event }) => event);
        return accounts
          ? encodeArray(accountCodec, events as Account[])
          : encodeArray(transferCodec, events as Transfer[]);
      }),
    );
    const reply = splitReply(operation, this.harness.execute(operation, body))!;
    this.harness.endOp();
    const timestamp = this.harness.timestamp;
    const lines = batches.flat();
    const results = reply.flatMap((part) => decodeArray(createResultCodec, part));
    expect(results.length).toBe(lines.length);
    const names = accounts ? accountStatuses : transferStatuses;
    for (const [index, { text, event, status }] of lines.entries()) {
      const result = results[index]!;
      const name = Object.keys(names).find((key) => names[key] === result.status);
      expect(`${text} got ${name ?? result.status}`).toBe(`${text} got ${status}`);
      expect(result.reserved).toBe(0);
      this.seen.add(`${kind}/${name}`);
      const eventTimestamp = timestamp - BigInt(lines.length - 1 - index);
      this.checkTimestamp(text, event, status, result.timestamp, eventTimestamp);
    }
    this.harness.pulseWhileDue();
  }

  /** semantics.md §2.4 */
  private checkTimestamp(
    text: string,
    event: Account | Transfer,
    status: string,
    actual: bigint,
    eventTimestamp: bigint,
  ): void {
    const imported = event.timestamp !== 0n;
    if (status === "exists") {
      const [stored] =
        this.kind === "accounts"
          ? this.client.lookupAccounts([event.id])
          : this.client.lookupTransfers([event.id]);
      expect(`${text} @${actual}`).toBe(`${text} @${stored?.timestamp}`);
    } else if (status === "linked_event_failed" && imported) {
      // Depends on whether the event had succeeded.
      expect([event.timestamp, eventTimestamp]).toContain(actual);
    } else {
      const expected = status === "created" && imported ? event.timestamp : eventTimestamp;
      expect(`${text} @${actual}`).toBe(`${text} @${expected}`);
    }
  }

  private check(word: string, args: string[], text: string): void {
    switch (word) {
      case "sleep":
        this.harness.sleep(duration(args[0]!));
        return;
      case "wait":
        this.harness.clock += duration(args[0]!);
        return;
      case "cut":
        this.harness.store.indexes.cutNow();
        return;
      case "restart":
        this.harness.restart();
        return;
      case "balance": {
        const [account] = this.client.lookupAccounts([number(args[0]!)]);
        if (account === undefined) throw new Error(`${text}: no such account`);
        const fields: Record<string, bigint> = {
          debits: account.debits_posted,
          credits: account.credits_posted,
          debits_pending: account.debits_pending,
          credits_pending: account.credits_pending,
          closed: BigInt((account.flags >> 5) & 1),
        };
        this.compareFields(text, fields, args.slice(1));
        return;
      }
      case "found":
      case "absent": {
        const [name, ...options] = args;
        const [object] = name!.startsWith("A")
          ? this.client.lookupAccounts([number(name!)])
          : this.client.lookupTransfers([number(name!)]);
        expect(`${text}: ${object === undefined ? "absent" : "found"}`).toBe(`${text}: ${word}`);
        if (object !== undefined) {
          this.compareFields(text, object as unknown as Record<string, bigint>, options);
        }
        return;
      }
      default:
        throw new Error(`no such line: ${text}`);
    }
  }

  private compareFields(
    text: string,
    fields: Readonly<Record<string, bigint | number>>,
    options: readonly string[],
  ): void {
    for (const option of options) {
      const [name, value] = option.split("=");
      const actual = fields[name!];
      if (actual === undefined) throw new Error(`${text}: no field ${name}`);
      expect(`${text}: ${name}=${actual}`).toBe(`${text}: ${name}=${number(value!)}`);
    }
  }
}

/** Runs a script on a fresh ledger. */
export function check(text: string): Script {
  return new Script().run(text);
}

function number(text: string): bigint {
  const digits = /^[A-Z](?=\d)/.test(text) ? text.slice(1) : text;
  const max = /^max(?:-(\d+))?$/.exec(digits);
  return max === null ? BigInt(digits) : u128Max - BigInt(max[1] ?? 0);
}

function duration(text: string): bigint {
  const match = /^(\d+)(ns|s)$/.exec(text);
  if (match === null) throw new Error(`no duration: ${text}`);
  return BigInt(match[1]!) * (match[2] === "s" ? 1_000_000_000n : 1n);
}

function withOptions<Event extends Account | Transfer>(
  event: Event,
  options: readonly string[],
  flags: Readonly<Record<string, number>>,
): Event {
  const fields = event as unknown as Record<string, bigint | number>;
  for (const option of options) {
    const [name, value] = option.split("=");
    if (value === undefined) {
      const bit = flags[name!];
      if (bit === undefined) throw new Error(`no flag ${name}`);
      event.flags |= bit;
    } else {
      const field = fields[name!];
      if (field === undefined) throw new Error(`no field ${name}`);
      fields[name!] = typeof field === "bigint" ? number(value) : Number(value);
    }
  }
  return event;
}
