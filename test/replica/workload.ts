/**
 * Random requests that collide: few accounts, few ids, chains, two-phase transfers with short
 * timeouts, balancing, closing, and every query. Deterministic for a seed.
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
import {
  makeAccount,
  makeAccountFilter,
  makeQueryFilter,
  makeTransfer,
} from "../reference/make.ts";
import { encodeRequest, Operation } from "../reference/operations.ts";
import { TransferFlag } from "../reference/records.ts";

export interface GeneratedRequest {
  readonly operation: number;
  readonly body: Uint8Array;
}

export class Workload {
  private readonly random: Prng;
  private nextTransfer = 1;

  constructor(
    seed: number,
    private readonly accounts = 12,
    private readonly eventsMax = 20,
  ) {
    this.random = new Prng(seed);
  }

  /** A request of any kind; mostly transfers. */
  next(): GeneratedRequest {
    const kind = this.random.below(20);
    if (kind < 3) return this.createAccounts();
    if (kind < 15) return this.createTransfers(1 + this.random.below(this.eventsMax));
    return this.read();
  }

  createAccounts(): GeneratedRequest {
    const events = Array.from({ length: 1 + this.random.below(5) }, () =>
      makeAccount(BigInt(1 + this.random.below(this.accounts)), {
        ledger: this.random.chance(0.9) ? 1 : 2,
        flags: this.accountFlags(),
        user_data_64: BigInt(this.random.below(3)),
        user_data_32: this.random.below(2),
      }),
    );
    const operation = this.random.chance(0.8) ? Operation.createAccounts : 138;
    return this.batch(operation, encodeArray(accountCodec, events));
  }

  private accountFlags(): number {
    const roll = this.random.below(10);
    if (roll < 2) return 8;
    if (roll === 2) return 2;
    if (roll === 3) return 4 | 8;
    return roll === 4 ? 1 : 0;
  }

  createTransfers(count: number): GeneratedRequest {
    const events = Array.from({ length: count }, () => this.transfer());
    const operation = this.random.chance(0.8) ? Operation.createTransfers : 139;
    return this.batch(operation, encodeArray(transferCodec, events));
  }

  private transfer() {
    const { random } = this;
    const fresh = random.chance(0.85);
    const id = fresh ? this.nextTransfer++ : 1 + random.below(this.nextTransfer);
    const debit = BigInt(1 + random.below(this.accounts));
    const credit = BigInt(1 + random.below(this.accounts));
    const amount = BigInt(random.below(30));
    const fields = {
      user_data_128: BigInt(random.below(3)),
      user_data_32: random.below(3),
      code: 1 + random.below(2),
      flags: random.chance(0.1) ? TransferFlag.linked : 0,
    };
    const roll = random.below(12);
    if (roll < 3) {
      fields.flags |= TransferFlag.pending;
      const timeout = random.chance(0.5) ? 1 + random.below(3) : 0;
      if (random.chance(0.05)) fields.flags |= TransferFlag.closingDebit;
      return makeTransfer(BigInt(id), debit, credit, amount, { ...fields, timeout });
    }
    if (roll < 6) {
      const settle = random.chance(0.6)
        ? TransferFlag.postPendingTransfer
        : TransferFlag.voidPendingTransfer;
      return makeTransfer(BigInt(id), 0n, 0n, random.chance(0.7) ? (1n << 128n) - 1n : amount, {
        ...fields,
        pending_id: BigInt(1 + random.below(this.nextTransfer)),
        flags: fields.flags | settle,
        ledger: 0,
        code: 0,
      });
    }
    if (roll === 6) fields.flags |= TransferFlag.balancingDebit;
    return makeTransfer(BigInt(id), debit, credit, amount, fields);
  }

  /** Splits whole events into one to three sub-batches. */
  private batch(operation: number, events: Uint8Array): GeneratedRequest {
    const size = 128;
    const count = events.length / size;
    const batches: Uint8Array[] = [];
    let from = 0;
    while (from < count) {
      const take = this.random.chance(0.7) ? count - from : 1 + this.random.below(count - from);
      batches.push(events.subarray(from * size, (from + take) * size));
      from += take;
    }
    return { operation, body: encodeRequest(operation, batches) };
  }

  private read(): GeneratedRequest {
    const { random } = this;
    const limit = 1 + random.below(40);
    const flags = random.below(8);
    switch (random.below(6)) {
      case 0: {
        const ids = Array.from({ length: 8 }, () => BigInt(random.below(this.accounts + 2)));
        return single(Operation.lookupAccounts, encodeArray(idCodec, ids));
      }
      case 1: {
        const ids = Array.from({ length: 8 }, () => BigInt(random.below(this.nextTransfer + 2)));
        return single(Operation.lookupTransfers, encodeArray(idCodec, ids));
      }
      case 2:
      case 3: {
        const operation = random.chance(0.5)
          ? Operation.getAccountTransfers
          : Operation.getAccountBalances;
        const filter = makeAccountFilter({
          account_id: BigInt(1 + random.below(this.accounts)),
          user_data_32: random.below(3),
          limit,
          flags,
        });
        return single(operation, encodeArray(accountFilterCodec, [filter]));
      }
      case 4: {
        const operation = random.chance(0.5) ? Operation.queryAccounts : Operation.queryTransfers;
        const filter = makeQueryFilter({
          user_data_128: BigInt(random.below(3)),
          code: random.below(3),
          ledger: random.below(3),
          limit,
          flags: flags & 1,
        });
        return single(operation, encodeArray(queryFilterCodec, [filter]));
      }
      default:
        return changeEvents(limit);
    }
  }
}

function single(operation: number, body: Uint8Array): GeneratedRequest {
  return { operation, body: encodeRequest(operation, [body]) };
}

export function changeEvents(limit: number): GeneratedRequest {
  const filter = { timestamp_min: 0n, timestamp_max: 0n, limit };
  return single(Operation.getChangeEvents, encodeArray(changeEventsFilterCodec, [filter]));
}
