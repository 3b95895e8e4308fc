/**
 * Money is neither made nor lost: in every ledger total debits equal total credits, pending and
 * posted alike, after every op. What is posted never shrinks, and no side of an account exceeds
 * 128 bits. Followed from the versions that accounts take, and at rest from the accounts as a
 * replica shows them.
 */
import type { Account } from "../../reference/records.ts";
import type { Fail } from "./history.ts";

interface Totals {
  /** Debits less credits. */
  pending: bigint;
  posted: bigint;
}

const u128Max = (1n << 128n) - 1n;

export class Money {
  private readonly accounts = new Map<bigint, Account>();
  private readonly ledgers = new Map<number, Totals>();

  constructor(private readonly fail: Fail) {}

  /** An account has this state now. */
  apply(account: Account): void {
    const before = this.accounts.get(account.id);
    this.accounts.set(account.id, account);
    const totals = this.totalsOf(account.ledger);
    totals.pending += account.debits_pending - account.credits_pending;
    totals.posted += account.debits_posted - account.credits_posted;
    if (before === undefined) return;
    totals.pending -= before.debits_pending - before.credits_pending;
    totals.posted -= before.debits_posted - before.credits_posted;
    if (account.debits_posted < before.debits_posted) this.fail(`${name(account)}: debits shrink`);
    if (account.credits_posted < before.credits_posted) {
      this.fail(`${name(account)}: credits shrink`);
    }
    if (account.ledger !== before.ledger) this.fail(`${name(account)} has changed its ledger`);
  }

  private totalsOf(ledger: number): Totals {
    let totals = this.ledgers.get(ledger);
    if (totals === undefined) {
      totals = { pending: 0n, posted: 0n };
      this.ledgers.set(ledger, totals);
    }
    return totals;
  }

  /** Between ops. */
  check(op: number): void {
    for (const [ledger, { pending, posted }] of this.ledgers) {
      if (pending !== 0n) this.fail(unequal(`op ${op}`, ledger, "pending", pending));
      if (posted !== 0n) this.fail(unequal(`op ${op}`, ledger, "posted", posted));
    }
  }

  /**
   * All accounts as someone shows them.
   * @param who - For the report: "replica 1 after op 20".
   */
  audit(who: string, accounts: readonly Account[]): void {
    const shown = new Money((reason) => this.fail(`${who}: ${reason}`));
    for (const account of accounts) {
      if (account.debits_pending + account.debits_posted > u128Max) {
        this.fail(`${who}: ${name(account)} has more debits than 128 bits hold`);
      }
      if (account.credits_pending + account.credits_posted > u128Max) {
        this.fail(`${who}: ${name(account)} has more credits than 128 bits hold`);
      }
      shown.apply(account);
    }
    for (const [ledger, { pending, posted }] of shown.ledgers) {
      if (pending !== 0n) this.fail(unequal(who, ledger, "pending", pending));
      if (posted !== 0n) this.fail(unequal(who, ledger, "posted", posted));
    }
  }
}

function name(account: Account): string {
  return `account ${account.id} of ledger ${account.ledger}`;
}

function unequal(when: string, ledger: number, what: string, difference: bigint): string {
  return `${when}: ${what} debits of ledger ${ledger} exceed its credits by ${difference}`;
}
