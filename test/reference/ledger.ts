/**
 * The reference ledger: what the accounting semantics say, in Maps, bigint and plain objects, and
 * slowly. It shares no code with src/, so that a mistake would have to be made twice to go unseen.
 *
 * The caller chooses the timestamp P of every operation, as the primary of a cluster does, and
 * gives the same operations in the order of the log:
 *
 *     const ledger = new ReferenceLedger();
 *     ledger.createAccounts([[account, …]], P);   // sub-batches in, results per sub-batch out
 *     ledger.createTransfers([[…], […]], P);
 *     ledger.pulse(P);                            // releases what has expired by P
 *     ledger.lookupAccounts(ids); ledger.queryTransfers(filter); …
 *
 * Fields have the names of the official API; objects that come out are copies. For whole request
 * and reply bodies as bytes see operations.ts (`executeRequest`); for objects to bytes codec.ts.
 *
 * Invariants: accounts and transfers are stored in ascending order of their timestamps; the undo
 * list is empty between events that belong to no chain.
 */
import {
  type ChangeRecord,
  changeEventOf,
  matches,
  rangeIsValid,
  selectInRange,
} from "./queries.ts";
import {
  type Account,
  type AccountBalance,
  type AccountFilter,
  AccountFlag,
  AccountStatus,
  accountFlagsDefined,
  type ChangeEvent,
  type ChangeEventsFilter,
  ChangeEventType,
  type CreateResult,
  created,
  FilterFlag,
  linkedEventChainOpen,
  linkedEventFailed,
  type QueryFilter,
  QueryFlag,
  type Transfer,
  TransferFlag,
  TransferStatus,
  timestampMax,
  timestampMustBeZero,
  transientStatuses,
  u128Max,
} from "./records.ts";
import { checkTransfer, type PendingState } from "./transfers.ts";

/** What one create operation does differently for accounts and for transfers. */
interface CreateKind<Event> {
  readonly importedFlag: number;
  readonly importedExpected: number;
  readonly importedNotExpected: number;
  readonly timestampOutOfRange: number;
  readonly timestampMustNotAdvance: number;
  /** Status, and the timestamp of the object that was created or exists. */
  create(event: Event, timestamp: bigint): Outcome;
  /** Called for every event that was not created, after its chain was undone. */
  failed(event: Event, status: number): void;
}

export interface Outcome {
  readonly status: number;
  /** Set when the status is created or exists. */
  readonly objectTimestamp?: bigint;
}

export class ReferenceLedger {
  readonly accounts = new Map<bigint, Account>();
  readonly transfers = new Map<bigint, Transfer>();
  /** State of each transfer that was created with the pending flag. */
  readonly pendingStates = new Map<bigint, PendingState>();
  /** Ids of transfers that failed transiently; never usable again. */
  readonly burntIds = new Set<bigint>();
  /** Every transfer and every expiry with both accounts as they were right after it. */
  readonly changes: ChangeRecord[] = [];

  private readonly changeOfTransfer = new Map<bigint, ChangeRecord>();
  private readonly accountTimestamps = new Set<bigint>();
  private readonly transferTimestamps = new Set<bigint>();
  private accountTimestampMax = 0n;
  private transferTimestampMax = 0n;

  /** How to take back everything since the open chain's savepoint, newest last. */
  private undo: (() => void)[] = [];

  /**
   * @param pulseMax - Transfers that one pulse expires at most.
   * @param changeEventsMax - Events that one get_change_events returns at most.
   */
  constructor(
    readonly pulseMax = 8190,
    readonly changeEventsMax = 2730,
  ) {}

  // ---------------------------------------------------------------------------------- creation

  createAccounts(batches: readonly (readonly Account[])[], timestamp: bigint): CreateResult[][] {
    return this.createAll(batches, timestamp, {
      importedFlag: AccountFlag.imported,
      importedExpected: AccountStatus.imported_event_expected,
      importedNotExpected: AccountStatus.imported_event_not_expected,
      timestampOutOfRange: AccountStatus.imported_event_timestamp_out_of_range,
      timestampMustNotAdvance: AccountStatus.imported_event_timestamp_must_not_advance,
      create: (event, eventTimestamp) => this.createAccount(event, eventTimestamp),
      failed: () => {},
    });
  }

  createTransfers(batches: readonly (readonly Transfer[])[], timestamp: bigint): CreateResult[][] {
    return this.createAll(batches, timestamp, {
      importedFlag: TransferFlag.imported,
      importedExpected: TransferStatus.imported_event_expected,
      importedNotExpected: TransferStatus.imported_event_not_expected,
      timestampOutOfRange: TransferStatus.imported_event_timestamp_out_of_range,
      timestampMustNotAdvance: TransferStatus.imported_event_timestamp_must_not_advance,
      create: (event, eventTimestamp) => this.createTransfer(event, eventTimestamp),
      failed: (event, status) => {
        if (transientStatuses.has(status)) this.burntIds.add(event.id);
      },
    });
  }

  private createAll<Event extends { flags: number; timestamp: bigint }>(
    batches: readonly (readonly Event[])[],
    timestamp: bigint,
    kind: CreateKind<Event>,
  ): CreateResult[][] {
    let eventsLeft = 0;
    for (const batch of batches) eventsLeft += batch.length;
    return batches.map((batch) => {
      eventsLeft -= batch.length;
      return this.createBatch(batch, timestamp - BigInt(eventsLeft), kind);
    });
  }

  /** One sub-batch, whose last event has the timestamp `last`. */
  private createBatch<Event extends { flags: number; timestamp: bigint }>(
    events: readonly Event[],
    last: bigint,
    kind: CreateKind<Event>,
  ): CreateResult[] {
    const results: CreateResult[] = [];
    let chainStart: number | null = null;
    let chainBroken = false;

    for (const [index, event] of events.entries()) {
      const linked = (event.flags & 1) !== 0;
      const isLast = index === events.length - 1;
      const eventTimestamp = last - BigInt(events.length - 1 - index);

      if (linked && chainStart === null) {
        chainStart = index;
        chainBroken = false;
        this.undo = [];
      }
      const outcome = this.createEvent(
        event,
        events[0]!,
        last,
        eventTimestamp,
        linked && isLast,
        chainStart !== null && chainBroken,
        kind,
      );
      const status = outcome.status;

      if (status !== created && chainStart !== null && !chainBroken) {
        chainBroken = true;
        for (const takeBack of this.undo.reverse()) takeBack();
        for (let i = chainStart; i < index; i += 1) results[i]!.status = linkedEventFailed;
      }
      if (status !== created) kind.failed(event, status);
      results.push({
        timestamp: outcome.objectTimestamp ?? eventTimestamp,
        status,
        reserved: 0,
      });
      if (chainStart !== null && (!linked || status === linkedEventChainOpen)) chainStart = null;
      if (chainStart === null || chainBroken) this.undo = [];
    }
    return results;
  }

  private createEvent<Event extends { flags: number; timestamp: bigint }>(
    event: Event,
    first: Event,
    last: bigint,
    eventTimestamp: bigint,
    chainStaysOpen: boolean,
    chainBroken: boolean,
    kind: CreateKind<Event>,
  ): Outcome {
    if (chainStaysOpen) return { status: linkedEventChainOpen };
    if (chainBroken) return { status: linkedEventFailed };

    const imported = (event.flags & kind.importedFlag) !== 0;
    const importedFirst = (first.flags & kind.importedFlag) !== 0;
    if (imported !== importedFirst) {
      return { status: imported ? kind.importedNotExpected : kind.importedExpected };
    }
    if (imported) {
      if (event.timestamp < 1n || event.timestamp > timestampMax) {
        return { status: kind.timestampOutOfRange };
      }
      if (event.timestamp >= last) return { status: kind.timestampMustNotAdvance };
    } else if (event.timestamp !== 0n) {
      return { status: timestampMustBeZero };
    }
    return kind.create(event, eventTimestamp);
  }

  // ---------------------------------------------------------------------------------- accounts

  private createAccount(event: Account, eventTimestamp: bigint): Outcome {
    const S = AccountStatus;
    const fail = (status: number): Outcome => ({ status });
    const bothLimits =
      AccountFlag.debitsMustNotExceedCredits | AccountFlag.creditsMustNotExceedDebits;
    const imported = (event.flags & AccountFlag.imported) !== 0;

    if (event.reserved !== 0) return fail(S.reserved_field);
    if ((event.flags & ~accountFlagsDefined) !== 0) return fail(S.reserved_flag);
    if (event.id === 0n) return fail(S.id_must_not_be_zero);
    if (event.id === u128Max) return fail(S.id_must_not_be_int_max);
    const existing = this.accounts.get(event.id);
    if (existing !== undefined) return this.accountExists(event, existing);
    if ((event.flags & bothLimits) === bothLimits) return fail(S.flags_are_mutually_exclusive);
    if (event.debits_pending !== 0n) return fail(S.debits_pending_must_be_zero);
    if (event.debits_posted !== 0n) return fail(S.debits_posted_must_be_zero);
    if (event.credits_pending !== 0n) return fail(S.credits_pending_must_be_zero);
    if (event.credits_posted !== 0n) return fail(S.credits_posted_must_be_zero);
    if (event.ledger === 0) return fail(S.ledger_must_not_be_zero);
    if (event.code === 0) return fail(S.code_must_not_be_zero);
    if (
      imported &&
      (event.timestamp <= this.accountTimestampMax || this.transferTimestamps.has(event.timestamp))
    ) {
      return fail(S.imported_event_timestamp_must_not_regress);
    }

    const account = { ...event, timestamp: imported ? event.timestamp : eventTimestamp };
    const timestampMaxBefore = this.accountTimestampMax;
    this.accounts.set(account.id, account);
    this.accountTimestamps.add(account.timestamp);
    this.accountTimestampMax = account.timestamp;
    this.undo.push(() => {
      this.accounts.delete(account.id);
      this.accountTimestamps.delete(account.timestamp);
      this.accountTimestampMax = timestampMaxBefore;
    });
    return { status: created, objectTimestamp: account.timestamp };
  }

  private accountExists(event: Account, existing: Account): Outcome {
    const S = AccountStatus;
    if (event.flags !== existing.flags) return { status: S.exists_with_different_flags };
    if (event.user_data_128 !== existing.user_data_128) {
      return { status: S.exists_with_different_user_data_128 };
    }
    if (event.user_data_64 !== existing.user_data_64) {
      return { status: S.exists_with_different_user_data_64 };
    }
    if (event.user_data_32 !== existing.user_data_32) {
      return { status: S.exists_with_different_user_data_32 };
    }
    if (event.ledger !== existing.ledger) return { status: S.exists_with_different_ledger };
    if (event.code !== existing.code) return { status: S.exists_with_different_code };
    return { status: S.exists, objectTimestamp: existing.timestamp };
  }

  // --------------------------------------------------------------------------------- transfers

  private createTransfer(event: Transfer, eventTimestamp: bigint): Outcome {
    const decision = checkTransfer(event, eventTimestamp, {
      account: (id) => this.accounts.get(id),
      transfer: (id) => this.transfers.get(id),
      pendingState: (id) => this.pendingStates.get(id),
      isBurnt: (id) => this.burntIds.has(id),
      timestampRegresses: (timestamp) =>
        timestamp <= this.transferTimestampMax || this.accountTimestamps.has(timestamp),
    });
    if (!("transfer" in decision)) return decision;
    const { transfer, debit, credit, settles } = decision;

    const timestampMaxBefore = this.transferTimestampMax;
    this.transfers.set(transfer.id, transfer);
    this.transferTimestamps.add(transfer.timestamp);
    this.transferTimestampMax = transfer.timestamp;
    this.undo.push(() => {
      this.transfers.delete(transfer.id);
      this.transferTimestamps.delete(transfer.timestamp);
      this.transferTimestampMax = timestampMaxBefore;
    });

    this.changeAccount(debit);
    this.changeAccount(credit);
    if (settles !== null) this.setPendingState(settles.id, settles.state);
    if (decision.type === ChangeEventType.pending) this.setPendingState(transfer.id, "pending");
    this.recordChange(decision.type, transfer.timestamp, transfer);
    return { status: created, objectTimestamp: transfer.timestamp };
  }

  /** Puts the new version of an account in the place of the old one. */
  private changeAccount(account: Account): void {
    const before = this.accounts.get(account.id)!;
    this.accounts.set(account.id, account);
    this.undo.push(() => this.accounts.set(account.id, before));
  }

  private setPendingState(id: bigint, state: PendingState): void {
    const before = this.pendingStates.get(id);
    this.pendingStates.set(id, state);
    this.undo.push(() => {
      if (before === undefined) this.pendingStates.delete(id);
      else this.pendingStates.set(id, before);
    });
  }

  private recordChange(type: number, timestamp: bigint, transfer: Transfer): void {
    const record: ChangeRecord = {
      type,
      timestamp,
      transfer,
      debit: this.accounts.get(transfer.debit_account_id)!,
      credit: this.accounts.get(transfer.credit_account_id)!,
    };
    this.changes.push(record);
    if (type !== ChangeEventType.expired) this.changeOfTransfer.set(transfer.id, record);
    this.undo.push(() => {
      this.changes.pop();
      if (type !== ChangeEventType.expired) this.changeOfTransfer.delete(transfer.id);
    });
  }

  // ------------------------------------------------------------------------------------ expiry

  /** Pending transfers that expire, in the order in which a pulse takes them. */
  private expiring(): { expiresAt: bigint; transfer: Transfer }[] {
    const list: { expiresAt: bigint; transfer: Transfer }[] = [];
    for (const [id, state] of this.pendingStates) {
      const transfer = this.transfers.get(id)!;
      if (state !== "pending" || transfer.timeout === 0) continue;
      const expiresAt = transfer.timestamp + BigInt(transfer.timeout) * 1_000_000_000n;
      list.push({ expiresAt, transfer });
    }
    return list.sort((a, b) =>
      a.expiresAt !== b.expiresAt
        ? compare(a.expiresAt, b.expiresAt)
        : compare(a.transfer.timestamp, b.transfer.timestamp),
    );
  }

  /** The time at which the next pending transfer expires, or null when none will. */
  nextExpiry(): bigint | null {
    return this.expiring()[0]?.expiresAt ?? null;
  }

  /** Executes a pulse with the operation timestamp given; returns how many transfers expired. */
  pulse(timestamp: bigint): number {
    const due = this.expiring()
      .filter(({ expiresAt }) => expiresAt <= timestamp)
      .slice(0, this.pulseMax);
    for (const [index, { transfer }] of due.entries()) {
      const debit = this.accounts.get(transfer.debit_account_id)!;
      const credit = this.accounts.get(transfer.credit_account_id)!;
      this.changeAccount({
        ...debit,
        debits_pending: debit.debits_pending - transfer.amount,
        flags:
          (transfer.flags & TransferFlag.closingDebit) !== 0
            ? debit.flags & ~AccountFlag.closed
            : debit.flags,
      });
      this.changeAccount({
        ...credit,
        credits_pending: credit.credits_pending - transfer.amount,
        flags:
          (transfer.flags & TransferFlag.closingCredit) !== 0
            ? credit.flags & ~AccountFlag.closed
            : credit.flags,
      });
      this.setPendingState(transfer.id, "expired");
      const eventTimestamp = timestamp - BigInt(due.length - 1 - index);
      this.recordChange(ChangeEventType.expired, eventTimestamp, transfer);
    }
    this.undo = [];
    return due.length;
  }

  // ----------------------------------------------------------------------------------- reading

  lookupAccounts(ids: readonly bigint[]): Account[] {
    return ids.flatMap((id) => copyOf(this.accounts.get(id)));
  }

  lookupTransfers(ids: readonly bigint[]): Transfer[] {
    return ids.flatMap((id) => copyOf(this.transfers.get(id)));
  }

  /** @param resultMax - Results at most, whatever the filter's limit; 8190 for the old operations. */
  getAccountTransfers(filter: AccountFilter, resultMax = 8189): Transfer[] {
    const known = FilterFlag.debits | FilterFlag.credits | FilterFlag.reversed;
    if (!rangeIsValid(filter) || (filter.flags & ~known) !== 0) return [];
    if (filter.account_id === 0n || filter.account_id === u128Max) return [];
    const debits = (filter.flags & FilterFlag.debits) !== 0;
    const credits = (filter.flags & FilterFlag.credits) !== 0;
    if (!debits && !credits) return [];
    return selectInRange(
      this.transfers.values(),
      filter,
      (filter.flags & FilterFlag.reversed) !== 0,
      resultMax,
      (transfer) =>
        ((debits && transfer.debit_account_id === filter.account_id) ||
          (credits && transfer.credit_account_id === filter.account_id)) &&
        matches(filter, transfer),
    );
  }

  getAccountBalances(filter: AccountFilter, resultMax = 8189): AccountBalance[] {
    const account = this.accounts.get(filter.account_id);
    if (account === undefined || (account.flags & AccountFlag.history) === 0) return [];
    return this.getAccountTransfers(filter, resultMax).map((transfer) => {
      const change = this.changeOfTransfer.get(transfer.id)!;
      const after = change.debit.id === account.id ? change.debit : change.credit;
      return {
        debits_pending: after.debits_pending,
        debits_posted: after.debits_posted,
        credits_pending: after.credits_pending,
        credits_posted: after.credits_posted,
        timestamp: transfer.timestamp,
      };
    });
  }

  queryAccounts(filter: QueryFilter, resultMax = 8189): Account[] {
    return this.query(this.accounts.values(), filter, resultMax);
  }

  queryTransfers(filter: QueryFilter, resultMax = 8189): Transfer[] {
    return this.query(this.transfers.values(), filter, resultMax);
  }

  private query<T extends Account | Transfer>(
    objects: Iterable<T>,
    filter: QueryFilter,
    resultMax: number,
  ): T[] {
    if (!rangeIsValid(filter) || (filter.flags & ~QueryFlag.reversed) !== 0) return [];
    return selectInRange(
      objects,
      filter,
      (filter.flags & QueryFlag.reversed) !== 0,
      resultMax,
      (object) =>
        (filter.ledger === 0 || filter.ledger === object.ledger) && matches(filter, object),
    );
  }

  getChangeEvents(filter: ChangeEventsFilter): ChangeEvent[] {
    if (!rangeIsValid(filter)) return [];
    return selectInRange(this.changes, filter, false, this.changeEventsMax, () => true).map(
      changeEventOf,
    );
  }

  // -------------------------------------------------------------------------------- invariants

  /** Throws when the books do not balance. */
  checkInvariants(): void {
    const pending = new Map<number, bigint>();
    const posted = new Map<number, bigint>();
    for (const account of this.accounts.values()) {
      const { ledger } = account;
      const pendingDelta = account.debits_pending - account.credits_pending;
      const postedDelta = account.debits_posted - account.credits_posted;
      pending.set(ledger, (pending.get(ledger) ?? 0n) + pendingDelta);
      posted.set(ledger, (posted.get(ledger) ?? 0n) + postedDelta);
      if (account.debits_pending + account.debits_posted > u128Max) throw new Error("debits");
      if (account.credits_pending + account.credits_posted > u128Max) throw new Error("credits");
    }
    for (const sum of [...pending.values(), ...posted.values()]) {
      if (sum !== 0n) throw new Error("debits and credits of a ledger differ");
    }
  }
}

function copyOf<T extends object>(value: T | undefined): T[] {
  return value === undefined ? [] : [{ ...value }];
}

function compare(a: bigint, b: bigint): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
