/**
 * Random requests that collide: few ids, few attribute values, amounts at the edges, timestamps
 * close to each other. Most events are such that they can succeed, since only a ledger with
 * content has anything to collide with; others repeat what is stored, with a field changed. A
 * request is a function of a seed and of the ledger so far, so that a failing script shrinks to
 * fewer requests.
 */
import { Prng } from "../../src/core/prng.ts";
import {
  accountCodec,
  accountFilterCodec,
  changeEventsFilterCodec,
  encodeArray,
  idCodec,
  queryFilterCodec,
  transferCodec,
} from "../reference/codec.ts";
import type { ReferenceLedger } from "../reference/ledger.ts";
import { makeAccount, makeTransfer } from "../reference/make.ts";
import { encodeRequest, Operation } from "../reference/operations.ts";
import type { Account, AccountFilter, QueryFilter, Transfer } from "../reference/records.ts";

const u128Max = 2n ** 128n - 1n;

export interface World {
  /** Ids run from 1 to this. */
  readonly accounts: number;
  readonly transfers: number;
  /** Share of sub-batches whose events are imported. */
  readonly imports: number;
}

export interface RandomRequest {
  readonly operation: number;
  readonly body: Uint8Array;
  readonly events: number;
}

const creates = [
  Operation.createAccounts,
  Operation.createAccounts,
  Operation.createAccountsSparse,
  Operation.createAccountsUnbatched,
  Operation.createTransfers,
  Operation.createTransfers,
  Operation.createTransfers,
  Operation.createTransfers,
  Operation.createTransfers,
  Operation.createTransfers,
  Operation.createTransfersSparse,
  Operation.createTransfersUnbatched,
];
const reads = [
  Operation.lookupAccounts,
  Operation.lookupTransfers,
  Operation.getAccountTransfers,
  Operation.getAccountBalances,
  Operation.queryAccounts,
  Operation.queryTransfers,
  Operation.getChangeEvents,
  Operation.lookupAccountsUnbatched,
  Operation.lookupTransfersUnbatched,
  Operation.getAccountTransfersUnbatched,
  Operation.getAccountBalancesUnbatched,
  Operation.queryAccountsUnbatched,
  Operation.queryTransfersUnbatched,
];
const unbatched: ReadonlySet<number> = new Set([129, 130, 131, 132, 133, 134, 135, 136, 137]);

/** Shares of transfer flags. */
const ordinaryFlags = [0, 0, 0, 0, 2, 2, 2, 2, 2, 16, 32, 48, 18, 34];
const closingFlags = [66, 130, 194, 82];
const settlingFlags = [4, 4, 4, 8, 8];
const accountFlags = [0, 0, 0, 8, 8, 8, 8, 2, 4, 10, 12];

export class RequestMaker {
  private readonly random: Prng;
  private plain = false;

  /** @param now - The clock: imported timestamps lie around it. */
  constructor(
    seed: number,
    private readonly world: World,
    private readonly now: bigint,
    private readonly ledger: ReferenceLedger,
  ) {
    this.random = new Prng(seed);
  }

  make(): RandomRequest {
    const { random } = this;
    const operation = this.pick(random.chance(0.65) ? creates : reads);
    const subBatches = unbatched.has(operation) ? 1 : random.chance(0.7) ? 1 : random.range(1, 4);
    const parts: Uint8Array[] = [];
    let events = 0;
    for (let index = 0; index < subBatches; index += 1) {
      const part = this.part(operation);
      events += part.events;
      parts.push(part.bytes);
    }
    return { operation, body: encodeRequest(operation, parts), events };
  }

  private part(operation: number): { bytes: Uint8Array; events: number } {
    switch (operation) {
      case Operation.createAccounts:
      case Operation.createAccountsSparse:
      case Operation.createAccountsUnbatched: {
        const events = this.events((imported) => this.account(imported));
        return { bytes: encodeArray(accountCodec, events), events: events.length };
      }
      case Operation.createTransfers:
      case Operation.createTransfersSparse:
      case Operation.createTransfersUnbatched: {
        const events = this.events((imported) => this.transfer(imported));
        return { bytes: encodeArray(transferCodec, events), events: events.length };
      }
      case Operation.lookupAccounts:
      case Operation.lookupAccountsUnbatched:
        return this.ids(this.world.accounts);
      case Operation.lookupTransfers:
      case Operation.lookupTransfersUnbatched:
        return this.ids(this.world.transfers);
      case Operation.getAccountTransfers:
      case Operation.getAccountTransfersUnbatched:
      case Operation.getAccountBalances:
      case Operation.getAccountBalancesUnbatched:
        return { bytes: accountFilterCodec.encode(this.accountFilter()), events: 0 };
      case Operation.queryAccounts:
      case Operation.queryAccountsUnbatched:
      case Operation.queryTransfers:
      case Operation.queryTransfersUnbatched:
        return { bytes: queryFilterCodec.encode(this.queryFilter()), events: 0 };
      default: {
        const filter = {
          timestamp_min: this.edge(),
          timestamp_max: this.edge(),
          limit: this.limit(),
          reserved: this.rarely(1n, 0n),
        };
        return { bytes: changeEventsFilterCodec.encode(filter), events: 0 };
      }
    }
  }

  private events<Event extends { flags: number }>(make: (imported: boolean) => Event): Event[] {
    const { random } = this;
    const imported = random.chance(this.world.imports);
    const events: Event[] = [];
    // Batches without any flag are a path of their own.
    this.plain = random.chance(0.25);
    const linked = random.chance(0.5) ? 0.25 : 0;
    for (let count = random.below(14); count > 0; count -= 1) {
      const event = make(random.chance(0.01) ? !imported : imported);
      if (this.plain) event.flags = 0;
      else if (random.chance(linked)) event.flags |= 1;
      events.push(event);
    }
    return events;
  }

  private account(imported: boolean): Account {
    const { random } = this;
    if (this.ledger.accounts.size > 0 && random.chance(0.3)) return this.repeatedAccount();
    let flags = this.pick(accountFlags);
    if (imported) flags |= 16;
    if (random.chance(0.01)) flags |= 32;
    if (random.chance(0.02)) flags |= this.pick([6, 64, 0x8000]);
    const bad = random.below(120);
    return makeAccount(this.id(this.world.accounts), {
      flags,
      user_data_128: this.tag128(),
      user_data_64: this.tag64(),
      user_data_32: this.tag32(),
      ledger: this.ledgerNumber(),
      code: this.code(),
      timestamp: this.eventTimestamp(imported),
      debits_pending: bad === 0 ? 1n : 0n,
      debits_posted: bad === 1 ? 1n << 127n : 0n,
      credits_pending: bad === 2 ? 1n << 64n : 0n,
      credits_posted: bad === 3 ? 1n << 32n : 0n,
      reserved: bad === 4 ? 1 : 0,
    });
  }

  /** An account that exists, perhaps with a field changed. */
  private repeatedAccount(): Account {
    const stored = this.pick([...this.ledger.accounts.values()]);
    const account = makeAccount(stored.id, {
      flags: stored.flags,
      user_data_128: stored.user_data_128,
      user_data_64: stored.user_data_64,
      user_data_32: stored.user_data_32,
      ledger: stored.ledger,
      code: stored.code,
      timestamp: (stored.flags & 16) === 0 ? 0n : this.eventTimestamp(true),
    });
    const changes: Partial<Account>[] = [
      {},
      { flags: account.flags ^ 8 },
      { user_data_128: this.tag128() },
      { user_data_64: this.tag64() },
      { user_data_32: this.tag32() },
      { ledger: this.ledgerNumber() },
      { code: this.code() },
    ];
    return { ...account, ...this.pick(changes), ...this.pick(changes) };
  }

  private transfer(imported: boolean): Transfer {
    const { random } = this;
    const choice = random.below(100);
    if (choice < 12 && this.ledger.transfers.size > 0) return this.repeatedTransfer();
    if (choice < 45 && !this.plain) return this.settling(imported);
    let flags = this.pick(random.chance(0.04) ? closingFlags : ordinaryFlags);
    if (this.plain) flags = 0;
    if (imported) flags |= 256;
    if (random.chance(0.02)) flags ^= this.pick([2, 4, 8, 16, 32, 64, 128, 0x200, 0x4000, 0x8000]);
    const debit = this.id(this.world.accounts);
    let credit = this.id(this.world.accounts);
    if (credit === debit && random.chance(0.9)) credit = debit === 1n ? 2n : debit - 1n;
    const pending = (flags & 2) !== 0 && !imported;
    return makeTransfer(this.newId(), debit, credit, this.amount(), {
      flags,
      pending_id: this.rarely(1n, 0n),
      user_data_128: this.tag128(),
      user_data_64: this.tag64(),
      user_data_32: this.tag32(),
      timeout: pending || random.chance(0.01) ? this.timeout() : 0,
      ledger: this.ledgerNumber(),
      code: this.code(),
      timestamp: this.eventTimestamp(imported),
    });
  }

  /** Posts or voids, mostly something that is pending. */
  private settling(imported: boolean): Transfer {
    const { random } = this;
    let flags = this.pick(settlingFlags);
    if (imported) flags |= 256;
    if (random.chance(0.02)) flags |= this.pick([2, 4, 8, 16, 64, 0x4000]);
    const pendingIds = [...this.ledger.pendingStates.keys()];
    const live = pendingIds.filter((id) => this.ledger.pendingStates.get(id) === "pending");
    let pendingId = this.id(this.world.transfers);
    if (live.length > 0 && random.chance(0.75)) pendingId = this.pick(live);
    else if (pendingIds.length > 0 && random.chance(0.6)) pendingId = this.pick(pendingIds);
    const p = this.ledger.transfers.get(pendingId);
    // A field may be left out, repeated, or made up.
    const field = <T>(left: T, repeated: T | undefined, other: () => T): T => {
      const choice = random.below(20);
      if (choice < 12) return left;
      return choice < 19 && repeated !== undefined ? repeated : other();
    };
    const amounts = [0n, u128Max, p?.amount ?? 1n, p?.amount ?? 2n];
    return makeTransfer(
      this.newId(),
      field(0n, p?.debit_account_id, () => this.id(this.world.accounts)),
      field(0n, p?.credit_account_id, () => this.id(this.world.accounts)),
      random.chance(0.75) ? this.pick(amounts) : this.amount(),
      {
        flags,
        pending_id: pendingId,
        user_data_128: field(0n, p?.user_data_128, () => this.tag128()),
        user_data_64: field(0n, p?.user_data_64, () => this.tag64()),
        user_data_32: field(0, p?.user_data_32, () => this.tag32()),
        timeout: this.rarely(1, 0),
        ledger: field(0, p?.ledger, () => 2),
        code: field(0, p?.code, () => this.code()),
        timestamp: this.eventTimestamp(imported),
      },
    );
  }

  /** A transfer that exists, perhaps with a field changed. */
  private repeatedTransfer(): Transfer {
    const stored = this.pick([...this.ledger.transfers.values()]);
    const imported = (stored.flags & 256) !== 0;
    const changes: Partial<Transfer>[] = [
      {},
      { flags: stored.flags ^ this.pick([1, 2, 4, 16]) },
      { debit_account_id: this.pick([0n, this.id(this.world.accounts)]) },
      { credit_account_id: this.pick([0n, this.id(this.world.accounts)]) },
      { amount: this.pick([0n, u128Max, stored.amount + 1n, this.amount()]) & u128Max },
      { pending_id: this.id(this.world.transfers) },
      { user_data_128: this.tag128() },
      { user_data_64: this.tag64() },
      { user_data_32: this.tag32() },
      { timeout: this.timeout() },
      { ledger: this.pick([0, 2]) },
      { code: this.pick([0, this.code()]) },
    ];
    const timestamp = imported ? this.eventTimestamp(true) : 0n;
    return { ...stored, timestamp, ...this.pick(changes), ...this.pick(changes) };
  }

  /** Mostly an id that is not in use. */
  private newId(): bigint {
    let id = this.id(this.world.transfers);
    for (let tries = 0; tries < 6; tries += 1) {
      if (!this.ledger.transfers.has(id) && !this.ledger.burntIds.has(id)) break;
      id = this.id(this.world.transfers);
    }
    return id;
  }

  private ids(max: number): { bytes: Uint8Array; events: number } {
    const ids: bigint[] = [];
    for (let count = this.random.below(20); count > 0; count -= 1) ids.push(this.id(max));
    return { bytes: encodeArray(idCodec, ids), events: 0 };
  }

  private accountFilter(): AccountFilter {
    const { random } = this;
    return {
      account_id: this.id(this.world.accounts),
      user_data_128: this.sometimes(() => this.tag128(), 0n),
      user_data_64: this.sometimes(() => this.tag64(), 0n),
      user_data_32: this.sometimes(() => this.tag32(), 0),
      code: this.sometimes(() => this.code(), 0),
      timestamp_min: this.edge(),
      timestamp_max: this.edge(),
      limit: this.limit(),
      flags: random.chance(0.03) ? this.pick([0, 8, 4]) : random.range(1, 3) | this.pick([0, 4]),
      ...(random.chance(0.02) ? { reserved: 1n << BigInt(random.below(464)) } : {}),
    };
  }

  private queryFilter(): QueryFilter {
    const { random } = this;
    return {
      user_data_128: this.sometimes(() => this.tag128(), 0n),
      user_data_64: this.sometimes(() => this.tag64(), 0n),
      user_data_32: this.sometimes(() => this.tag32(), 0),
      ledger: this.sometimes(() => this.ledgerNumber(), 0),
      code: this.sometimes(() => this.code(), 0),
      timestamp_min: this.edge(),
      timestamp_max: this.edge(),
      limit: this.limit(),
      flags: random.chance(0.03) ? 2 : random.below(2),
      ...(random.chance(0.02) ? { reserved: 1n << BigInt(random.below(48)) } : {}),
    };
  }

  private id(max: number): bigint {
    const { random } = this;
    if (random.chance(0.004)) return this.pick([0n, u128Max, u128Max - 1n, 1n << 64n]);
    return BigInt(random.range(1, max));
  }

  private amount(): bigint {
    const { random } = this;
    const choice = random.below(60);
    if (choice === 0) return u128Max;
    if (choice === 1) return this.pick([u128Max - 1n, 1n << 127n, 1n << 126n]);
    if (choice === 2) return this.pick([1n << 64n, (1n << 64n) - 1n, (1n << 96n) - 1n]);
    if (choice < 6) return (1n << 32n) - BigInt(random.below(3));
    return BigInt(random.below(12));
  }

  private timeout(): number {
    return this.random.chance(0.05) ? 0xffff_ffff : this.random.below(4);
  }

  private eventTimestamp(imported: boolean): bigint {
    if (!imported) return this.rarely(1n, 0n);
    return this.random.chance(0.03) ? this.pick([0n, 1n << 63n, (1n << 63n) - 1n]) : this.near();
  }

  /** A time not long before the clock's, or a little after. */
  private near(): bigint {
    const distance = BigInt(
      this.random.below(2) === 0 ? this.random.below(50) : this.random.below(4000),
    );
    const time = this.now - distance + BigInt(this.random.below(8));
    return time > 0n ? time : 1n;
  }

  /** An end of a range of time. */
  private edge(): bigint {
    const { random } = this;
    const choice = random.below(40);
    if (choice === 0) return this.pick([1n << 63n, (1n << 64n) - 1n, (1n << 63n) - 1n]);
    if (choice < 24) return 0n;
    return choice < 32 ? this.near() : BigInt(random.below(Number(this.now % 1_000_000_007n)) + 1);
  }

  private limit(): number {
    const { random } = this;
    return this.pick([1, 2, 3, 10, 1000, random.below(30), random.chance(0.1) ? 0xffff_ffff : 5]);
  }

  private tag128(): bigint {
    return this.pick([0n, 0n, 1n, 2n, 1n << 64n, u128Max]);
  }
  private tag64(): bigint {
    return this.pick([0n, 0n, 1n, 2n, 1n << 32n, (1n << 64n) - 1n]);
  }
  private tag32(): number {
    return this.pick([0, 0, 1, 2, 0xffff_ffff]);
  }
  private ledgerNumber(): number {
    return this.random.chance(0.005) ? 0 : this.random.chance(0.02) ? 2 : 1;
  }
  private code(): number {
    return this.random.chance(0.005) ? 0 : this.random.chance(0.1) ? 0xffff : this.pick([1, 2]);
  }

  private sometimes<T>(make: () => T, otherwise: T): T {
    return this.random.chance(0.3) ? make() : otherwise;
  }
  private rarely<T>(value: T, otherwise: T): T {
    return this.random.chance(0.01) ? value : otherwise;
  }
  private pick<T>(values: readonly T[]): T {
    return values[this.random.below(values.length)]!;
  }
}
