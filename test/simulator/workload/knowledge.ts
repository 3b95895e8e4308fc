/**
 * What the workload knows of the ledger, so that most of its events can succeed: it follows the
 * reference ledger of the checkers, which stands at the newest op that any replica has executed.
 * Lists grow only; `live` holds the pending transfers that can still be posted or voided.
 */
import type { ReferenceLedger } from "../../reference/ledger.ts";
import {
  type Account,
  AccountFlag,
  ChangeEventType,
  type Transfer,
} from "../../reference/records.ts";

export class Knowledge {
  /** As created; for what changes, ask the ledger. */
  readonly accounts: Account[] = [];
  readonly byLedger = new Map<number, Account[]>();
  readonly transfers: Transfer[] = [];
  readonly live: Transfer[] = [];
  /** Ids of transfers that failed for good. */
  readonly burnt: bigint[] = [];
  accountTimestampMax = 0n;
  transferTimestampMax = 0n;
  private readonly liveAt = new Map<bigint, number>();
  private changes = 0;

  constructor(private readonly ledger: ReferenceLedger) {}

  /** Catches up with the ledger. */
  learn(): void {
    const { accounts, burntIds, changes } = this.ledger;
    if (accounts.size > this.accounts.length) this.learnAccounts();
    if (burntIds.size > this.burnt.length) this.learnBurnt();
    for (; this.changes < changes.length; this.changes += 1) {
      const { type, transfer } = changes[this.changes]!;
      if (type === ChangeEventType.expired) {
        this.settle(transfer.id);
        continue;
      }
      this.transfers.push(transfer);
      this.transferTimestampMax = transfer.timestamp;
      if (type === ChangeEventType.pending) {
        this.liveAt.set(transfer.id, this.live.length);
        this.live.push(transfer);
      } else if (type !== ChangeEventType.singlePhase) {
        this.settle(transfer.pending_id);
      }
    }
  }

  private learnAccounts(): void {
    let index = 0;
    const known = this.accounts.length;
    for (const account of this.ledger.accounts.values()) {
      index += 1;
      if (index <= known) continue;
      this.accounts.push(account);
      this.accountTimestampMax = account.timestamp;
      const peers = this.byLedger.get(account.ledger);
      if (peers === undefined) this.byLedger.set(account.ledger, [account]);
      else peers.push(account);
    }
  }

  private learnBurnt(): void {
    let index = 0;
    const known = this.burnt.length;
    for (const id of this.ledger.burntIds) {
      index += 1;
      if (index > known) this.burnt.push(id);
    }
  }

  private settle(id: bigint): void {
    const at = this.liveAt.get(id);
    if (at === undefined) return;
    const last = this.live.pop()!;
    this.liveAt.delete(id);
    if (last.id === id) return;
    this.live[at] = last;
    this.liveAt.set(last.id, at);
  }

  isClosed(id: bigint): boolean {
    return (this.ledger.accounts.get(id)!.flags & AccountFlag.closed) !== 0;
  }

  /** Accounts that take transfers. */
  get open(): number {
    let open = 0;
    for (const { id } of this.accounts) if (!this.isClosed(id)) open += 1;
    return open;
  }

  /** The largest timestamp of an account or a transfer. */
  get timestampMax(): bigint {
    if (this.accountTimestampMax > this.transferTimestampMax) return this.accountTimestampMax;
    return this.transferTimestampMax;
  }
}
