/**
 * The reference ledger as it was after an earlier op. A query that is repeated runs again at some
 * state between its own op and the present; to judge its answer the state must be had again.
 *
 * Accounts, transfers and changes are only ever added at their ends, and a change holds both
 * accounts as they were after it. So an earlier state is the beginning of each list: per op three
 * lengths are remembered, and a state is built from them when it is asked for.
 */
import { ReferenceLedger } from "../../reference/ledger.ts";
import type { ChangeRecord } from "../../reference/queries.ts";
import {
  type Account,
  type AccountBalance,
  type AccountFilter,
  AccountFlag,
  ChangeEventType,
  type Transfer,
} from "../../reference/records.ts";

/** How much of each list there was. */
interface Mark {
  readonly accounts: number;
  readonly transfers: number;
  readonly changes: number;
}

export class PastStates {
  private readonly marks: Mark[] = [{ accounts: 0, transfers: 0, changes: 0 }];
  /** Accounts as they were at the end of the op that created them. */
  private readonly first: Account[] = [];
  /** The state asked for last: the next one is often the same. */
  private built: { readonly mark: Mark; readonly ledger: ReferenceLedger } | null = null;

  constructor(private readonly present: ReferenceLedger) {}

  get op(): number {
    return this.marks.length - 1;
  }

  /** The next op has been executed. */
  mark(): void {
    const { accounts, transfers, changes } = this.present;
    const last = this.marks.at(-1)!;
    const same =
      last.accounts === accounts.size &&
      last.transfers === transfers.size &&
      last.changes === changes.length;
    if (accounts.size > last.accounts) {
      let index = 0;
      for (const account of accounts.values()) {
        if (index >= last.accounts) this.first.push(account);
        index += 1;
      }
    }
    const mark = { accounts: accounts.size, transfers: transfers.size, changes: changes.length };
    this.marks.push(same ? last : mark);
  }

  /** Whether the state after `op` is the same as after the op before it. */
  unchangedBy(op: number): boolean {
    return op > 0 && this.marks[op] === this.marks[op - 1];
  }

  /** The ledger after `op`; for reading only. */
  after(op: number): ReferenceLedger {
    const mark = this.marks[op]!;
    if (mark === this.marks.at(-1)) return this.present;
    if (this.built?.mark !== mark) this.built = { mark, ledger: this.build(mark) };
    return this.built.ledger;
  }

  private build(mark: Mark): ReferenceLedger {
    const past = new PastLedger();
    for (const account of this.first.slice(0, mark.accounts)) {
      past.accounts.set(account.id, account);
    }
    let left = mark.transfers;
    for (const transfer of this.present.transfers.values()) {
      if (left === 0) break;
      left -= 1;
      past.transfers.set(transfer.id, transfer);
    }
    for (const change of this.present.changes.slice(0, mark.changes)) past.add(change);
    return past;
  }
}

class PastLedger extends ReferenceLedger {
  private readonly changeOf = new Map<Transfer, ChangeRecord>();

  add(change: ChangeRecord): void {
    this.changes.push(change);
    this.accounts.set(change.debit.id, change.debit);
    this.accounts.set(change.credit.id, change.credit);
    if (change.type !== ChangeEventType.expired) this.changeOf.set(change.transfer, change);
  }

  override getAccountBalances(filter: AccountFilter, resultMax = 8189): AccountBalance[] {
    const account = this.accounts.get(filter.account_id);
    if (account === undefined || (account.flags & AccountFlag.history) === 0) return [];
    return this.getAccountTransfers(filter, resultMax).map((found) => {
      const change = this.changeOf.get(this.transfers.get(found.id)!)!;
      const after = change.debit.id === account.id ? change.debit : change.credit;
      return {
        debits_pending: after.debits_pending,
        debits_posted: after.debits_posted,
        credits_pending: after.credits_pending,
        credits_posted: after.credits_posted,
        timestamp: found.timestamp,
      };
    });
  }
}
