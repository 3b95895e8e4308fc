/**
 * Random requests over a small set of accounts: every kind of transfer, chains, retried and burnt
 * ids, several sub-batches, timeouts, and reads of everything. Ids stay few enough that events meet
 * each other.
 */
import type { Prng } from "../../src/core/prng.ts";
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
  makeSettling,
  makeTransfer,
} from "../reference/make.ts";
import { encodeRequest, Operation } from "../reference/operations.ts";
import { AccountFlag, type Transfer, TransferFlag, u128Max } from "../reference/records.ts";

export interface LoadRequest {
  readonly operation: number;
  readonly body: Uint8Array;
}

const accountsMax = 200n;
const recentMax = 400;

export class Workload {
  private accounts = 0n;
  private nextTransfer = 1n;
  /** Ids of transfers sent lately, whatever became of them. */
  private readonly recent: bigint[] = [];
  private readonly recentPending: bigint[] = [];

  constructor(private readonly random: Prng) {}

  next(): LoadRequest {
    const random = this.random;
    if (this.accounts < 16n || (this.accounts < accountsMax && random.chance(0.03))) {
      return this.createAccounts();
    }
    const roll = random.below(100);
    if (roll < 75) return this.createTransfers();
    if (roll < 82) return this.lookup();
    return this.query();
  }

  private createAccounts(): LoadRequest {
    const random = this.random;
    const flags = [0, 0, 0, AccountFlag.history, AccountFlag.debitsMustNotExceedCredits, 4, 8 | 2];
    const batch = Array.from({ length: random.range(1, 16) }, () => {
      this.accounts += 1n;
      return makeAccount(this.accounts, {
        ledger: this.accounts % 10n === 0n ? 2 : 1,
        code: random.range(1, 3),
        flags: flags[random.below(flags.length)]!,
        user_data_64: BigInt(random.below(3)),
        user_data_32: random.below(3),
      });
    });
    return {
      operation: Operation.createAccounts,
      body: encodeRequest(Operation.createAccounts, [encodeArray(accountCodec, batch)]),
    };
  }

  private createTransfers(): LoadRequest {
    const random = this.random;
    const count = random.chance(0.8) ? 1 : random.range(2, 4);
    const batches = Array.from({ length: count }, () => {
      const size = random.chance(0.5) ? random.range(1, 3) : random.range(1, 40);
      return encodeArray(
        transferCodec,
        Array.from({ length: size }, () => this.transfer()),
      );
    });
    const operation = random.chance(0.9) ? Operation.createTransfers : 139;
    return { operation, body: encodeRequest(operation, batches) };
  }

  private transfer(): Transfer {
    const random = this.random;
    const linked = random.chance(0.15) ? TransferFlag.linked : 0;
    let id = this.nextTransfer;
    if (this.recent.length > 0 && random.chance(0.05)) id = this.pick(this.recent);
    else this.nextTransfer += 1n;
    this.remember(this.recent, id);

    if (this.recentPending.length > 0 && random.chance(0.3)) {
      const posting = random.chance(0.6);
      const amounts = posting ? [u128Max, 0n, 1n] : [0n, 0n, 1n];
      const flags = posting ? TransferFlag.postPendingTransfer : TransferFlag.voidPendingTransfer;
      const pendingId = this.pick(this.recentPending);
      return makeSettling(id, pendingId, this.pick(amounts), flags | linked);
    }
    const debit = this.account();
    let credit = this.account();
    if (credit === debit && random.chance(0.9)) credit = (debit % this.accounts) + 1n;
    const amount = random.chance(0.02) ? u128Max : BigInt(random.below(100));
    const fields = { code: random.range(1, 3), user_data_64: BigInt(random.below(3)) };
    if (random.chance(0.35)) {
      this.remember(this.recentPending, id);
      const closing = random.chance(0.05) ? TransferFlag.closingDebit : 0;
      return makeTransfer(id, debit, credit, amount, {
        ...fields,
        flags: TransferFlag.pending | closing | linked,
        timeout: random.chance(0.4) ? random.range(1, 3) : 0,
      });
    }
    const balancing = random.chance(0.1) ? TransferFlag.balancingDebit : 0;
    return makeTransfer(id, debit, credit, amount, { ...fields, flags: balancing | linked });
  }

  private account(): bigint {
    // Now and then one that does not exist: the id of that transfer is burnt.
    if (this.random.chance(0.02)) return this.accounts + 1_000_000n;
    return BigInt(this.random.below(Number(this.accounts))) + 1n;
  }

  private lookup(): LoadRequest {
    const transfers = this.random.chance(0.6) && this.recent.length > 0;
    const ids = Array.from({ length: this.random.range(1, 20) }, () =>
      transfers ? this.pick(this.recent) : this.account(),
    );
    const operation = transfers ? Operation.lookupTransfers : Operation.lookupAccounts;
    return { operation, body: encodeRequest(operation, [encodeArray(idCodec, ids)]) };
  }

  private query(): LoadRequest {
    const random = this.random;
    const limit = random.range(1, 100);
    const accountFilter = accountFilterCodec.encode(
      makeAccountFilter({
        account_id: this.account(),
        limit,
        flags: random.range(1, 7),
        code: random.below(3),
      }),
    );
    const queryFilter = queryFilterCodec.encode(
      makeQueryFilter({
        limit,
        flags: random.below(2),
        ledger: random.below(3),
        code: random.below(3),
        user_data_64: BigInt(random.below(3)),
      }),
    );
    const operation = random.range(Operation.getAccountTransfers, Operation.queryTransfers + 1);
    if (operation > Operation.queryTransfers) {
      const body = changeEventsFilterCodec.encode({ timestamp_min: 0n, timestamp_max: 0n, limit });
      return { operation: Operation.getChangeEvents, body };
    }
    const byAccount = operation <= Operation.getAccountBalances;
    const body = encodeRequest(operation, [byAccount ? accountFilter : queryFilter]);
    return { operation, body };
  }

  private pick(list: readonly bigint[]): bigint {
    return list[this.random.below(list.length)]!;
  }

  private remember(list: bigint[], id: bigint): void {
    list.push(id);
    if (list.length > recentMax) list.shift();
  }
}
