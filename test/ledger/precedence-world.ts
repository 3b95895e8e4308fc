/**
 * A ledger on which every check of create_transfers can fail: accounts and transfers in all the
 * states that the order of checks distinguishes.
 */
import { expect } from "vitest";
import { makeAccount, makeSettling, makeTransfer } from "../reference/make.ts";
import { type Account, created, type Transfer } from "../reference/records.ts";
import { Harness } from "./harness.ts";
import { MachineClient } from "./machine-client.ts";
import { type Combined, statusName } from "./precedence.ts";
import { transferStatuses } from "./script.ts";

export const imported = 256;
export const max = 2n ** 128n - 1n;
export const timeoutMax = 0xffff_ffff;
export const rules = {
  importedFlag: imported,
  mixing: ["imported_event_expected", "imported_event_not_expected"],
};

// Accounts. "Limit" accounts stand at their limit, with something pending and posted, so that large
// amounts also overflow: 1 and 1 in debits, 2 and 1 in credits. "Late" ones are younger than any transfer.
export const debit = 1n;
export const credit = 2n;
export const funds = 3n;
export const closedDebit = 4n;
export const closedCredit = 5n;
export const limitDebit = 6n;
export const limitCredit = 7n;
export const limitClosedDebit = 8n;
export const limitClosedCredit = 9n;
export const foreignFunds = 20n;
export const foreignCredit = 21n;
export const foreignClosedCredit = 22n;
export const foreignLimitCredit = 23n;
export const foreignLimitClosedCredit = 24n;
export const lateDebit = 30n;
export const lateClosedDebit = 31n;
export const lateCredit = 32n;
export const lateClosedCredit = 33n;
export const lateForeignCredit = 34n;
export const settleDebit = 40n;
export const settleCredit = 41n;
export const settleClosedDebit = 42n;
export const settleClosedCredit = 43n;
export const postedDebit = 50n;
export const pendingDebit = 51n;
export const postedCredit = 52n;
export const emptyLimitDebit = 53n;
export const emptyLimitCredit = 54n;
export const missingAccount = 999n;
export const otherMissingAccount = 998n;

// Transfers.
export const existing = 100n;
export const settled = 101n;
export const burnt = 102n;
export const missingTransfer = 888n;
export const fresh = 777n;
export const notPending = [existing, 110n, 111n, 112n];
/** Per kind of pending transfer: open accounts, debit closed, credit closed, both closed. */
export const open = [120n, 121n, 122n, 123n];
export const posted = [130n, 131n, 132n, 133n];
export const voided = [140n, 141n, 142n, 143n];
export const expired = [150n, 151n, 152n, 153n];
export const overdue = [160n, 161n, 162n, 163n];
export const settledPending = 170n;

export const anyDebit = [
  funds,
  0n,
  max,
  missingAccount,
  postedDebit,
  pendingDebit,
  emptyLimitDebit,
  closedDebit,
  limitDebit,
  limitClosedDebit,
  lateDebit,
  lateClosedDebit,
];
export const foreign = [
  foreignCredit,
  foreignClosedCredit,
  foreignLimitCredit,
  foreignLimitClosedCredit,
  lateForeignCredit,
];
export const anyCredit = [
  funds,
  0n,
  max,
  otherMissingAccount,
  missingAccount,
  postedCredit,
  emptyLimitCredit,
  closedCredit,
  limitCredit,
  limitClosedCredit,
  lateCredit,
  lateClosedCredit,
  ...foreign,
];

export class World {
  readonly harness = new Harness(33);
  readonly client = new MachineClient(this.harness);
  /** A time after every transfer and before the late accounts. */
  readonly between: bigint;
  private nextId = 10_000n;

  constructor() {
    const { client, harness } = this;
    // So late that the longest timeout overflows.
    harness.clock = 6_000_000_000_000_000_000n;
    const limited = (id: bigint, flags: number, ledger = 1): Account =>
      makeAccount(id, { flags, ledger });
    this.accounts([
      ...[debit, credit, funds, settleDebit, settleCredit].map((id) => makeAccount(id)),
      ...[postedDebit, pendingDebit, postedCredit].map((id) => makeAccount(id)),
      ...[settleClosedDebit, settleClosedCredit].map((id) => makeAccount(id)),
      limited(closedDebit, 32),
      limited(closedCredit, 32),
      limited(limitDebit, 2),
      limited(emptyLimitDebit, 2),
      limited(emptyLimitCredit, 4),
      limited(limitClosedDebit, 2),
      limited(limitCredit, 4),
      limited(limitClosedCredit, 4),
      limited(foreignFunds, 0, 2),
      limited(foreignCredit, 0, 2),
      limited(foreignClosedCredit, 32, 2),
      limited(foreignLimitCredit, 4, 2),
      limited(foreignLimitClosedCredit, 4, 2),
    ]);
    let id = 200n;
    const transfer = (from: bigint, to: bigint, amount: bigint, fields: Partial<Transfer> = {}) => {
      id += 1n;
      return makeTransfer(id, from, to, amount, fields);
    };
    const pending = { flags: 2 };
    for (const account of [limitDebit, limitClosedDebit]) {
      this.transfers([
        transfer(funds, account, 2n),
        transfer(account, funds, 1n),
        transfer(account, funds, 1n, pending),
      ]);
    }
    for (const [account, from, ledger] of [
      [limitCredit, funds, 1],
      [limitClosedCredit, funds, 1],
      [foreignLimitCredit, foreignFunds, 2],
      [foreignLimitClosedCredit, foreignFunds, 2],
    ] as const) {
      this.transfers([
        transfer(account, from, 3n, { ledger }),
        transfer(from, account, 1n, { ledger }),
        transfer(from, account, 2n, { ledger, flags: 2 }),
      ]);
    }
    this.transfers([
      transfer(postedDebit, postedCredit, 1n),
      transfer(pendingDebit, funds, 1n, pending),
    ]);
    this.transfers([makeTransfer(existing, debit, credit, 0n)]);
    this.settling();
    this.transfers([
      transfer(limitClosedDebit, limitClosedCredit, 0n, { flags: 2 | 64 | 128 }),
      transfer(foreignFunds, foreignLimitClosedCredit, 0n, { ledger: 2, flags: 2 | 128 }),
    ]);
    const missing = makeTransfer(burnt, debit, missingAccount, 0n);
    expect(client.createTransfers([missing])[0]!.status).toBe(22);

    harness.clock += 1_000_000_000n;
    this.between = harness.clock - 1000n;
    this.accounts([
      limited(lateDebit, 2),
      limited(lateClosedDebit, 2 | 32),
      limited(lateCredit, 4),
      limited(lateClosedCredit, 4 | 32),
      limited(lateForeignCredit, 4 | 32, 2),
    ]);
  }

  /** Pending transfers in every state, between accounts of which either, or both, get closed. */
  private settling(): void {
    const { harness } = this;
    const sides = [
      [settleDebit, settleCredit],
      [settleClosedDebit, settleCredit],
      [settleDebit, settleClosedCredit],
      [settleClosedDebit, settleClosedCredit],
    ] as const;
    const each = (ids: readonly bigint[], fields: Partial<Transfer>): Transfer[] =>
      ids.map((id, index) => makeTransfer(id, sides[index]![0], sides[index]![1], 5n, fields));
    this.transfers(each(notPending.slice(1), {}).map((one) => ({ ...one, amount: 5n })));
    this.transfers(each(expired, { flags: 2, timeout: 1 }));
    harness.sleep(2_000_000_000n);
    this.transfers([
      ...each(open, { flags: 2 }),
      ...each(posted, { flags: 2 }),
      ...each(voided, { flags: 2 }),
      makeTransfer(settledPending, settleDebit, settleCredit, 5n, { flags: 2 }),
      ...posted.map((id) => makeSettling(id + 1000n, id, 5n, 4)),
      ...voided.map((id) => makeSettling(id + 1000n, id, 5n, 8)),
      makeSettling(settled, settledPending, 5n, 4),
    ]);
    this.transfers([
      ...each(overdue, { flags: 2, timeout: 3 }),
      makeTransfer(300n, settleClosedDebit, settleClosedCredit, 0n, { flags: 2 | 64 | 128 }),
    ]);
    // Time runs out for the overdue ones, and no pulse comes.
    harness.clock += 5_000_000_000n;
  }

  private accounts(events: Account[]): void {
    for (const { status } of this.client.createAccounts(events)) expect(status).toBe(created);
  }

  private transfers(events: Transfer[]): void {
    for (const { status } of this.client.createTransfers(events)) expect(status).toBe(created);
  }

  /** Executes the event, without pulses. Returns the name of its status. */
  statusOf(base: Transfer, { fields, flags, prefix }: Combined): string {
    this.nextId += 1n;
    const event = { ...base, id: this.nextId, ...fields } as Transfer;
    event.flags = base.flags | flags;
    // A void is not a post.
    if ((flags & 8) !== 0 && (flags & 4) === 0) event.flags &= ~4;
    // Equal to what exists, unless it is to differ.
    if (event.id === settled && fields["pending_id"] === undefined)
      event.pending_id = settledPending;
    if ((event.flags & imported) !== 0 && fields["timestamp"] === undefined) {
      event.timestamp = this.between;
    }
    const before = {
      none: [],
      plain: [makeTransfer(0n, 1n, 2n, 0n)],
      imported: [makeTransfer(0n, 1n, 2n, 0n, { flags: imported, timestamp: 5n })],
      "broken chain": [makeTransfer(0n, 1n, 2n, 0n, { flags: 1 })],
      "broken imported chain": [
        makeTransfer(0n, 1n, 2n, 0n, { flags: 1 | imported, timestamp: 5n }),
      ],
    }[prefix];
    const results = this.client.executeTransfers([...before, event]);
    return statusName(transferStatuses, results[results.length - 1]!.status);
  }

  /** Everything that an event which was not created must leave alone. */
  dump(): unknown {
    const filter = { timestamp_min: 0n, timestamp_max: 0n, limit: 2730 };
    const events = this.client.getChangeEvents(filter);
    return [
      events.length,
      this.client.lookupAccounts(Array.from({ length: 60 }, (_, i) => BigInt(i))),
    ];
  }
}

export const limitCredits = [
  limitCredit,
  limitClosedCredit,
  foreignLimitCredit,
  foreignLimitClosedCredit,
];
