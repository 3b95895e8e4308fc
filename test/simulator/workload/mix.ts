/**
 * What one seed's workload is like: each seed draws its own shares and sizes, so that over many
 * seeds every combination has its turn, and within one seed some things happen often that would be
 * rare in an average.
 */
import type { Prng } from "../../../src/core/prng.ts";
import { Operation } from "../../reference/operations.ts";

/** A choice with weights; those of 0 are never chosen. */
export class Choice<T> {
  private readonly total: number;

  constructor(private readonly options: readonly (readonly [T, number])[]) {
    let total = 0;
    for (const [, weight] of options) total += weight;
    this.total = total;
  }

  pick(random: Prng): T {
    let at = (random.u32() / 2 ** 32) * this.total;
    for (const [value, weight] of this.options) {
      at -= weight;
      if (at < 0 && weight > 0) return value;
    }
    return this.options.find(([, weight]) => weight > 0)![0];
  }
}

export const TransferKind = {
  plain: 0,
  pending: 1,
  post: 2,
  void: 3,
  balancing: 4,
  closing: 5,
} as const;

export const IdPattern = { rising: 0, falling: 1, random: 2, time: 3 } as const;

export const SizePattern = { one: 0, uniform: 1, mostlySmall: 2, largest: 3 } as const;

export interface Mix {
  readonly operations: Choice<number>;
  readonly transferKinds: Choice<number>;
  readonly accountFlags: Choice<number>;
  readonly idPattern: number;
  readonly sizePattern: number;
  readonly ledgers: number;
  /** Values that each user_data field and code take. */
  readonly tags: number;
  /** Accounts that `hotShare` of the transfers touch. */
  readonly hotAccounts: number;
  readonly hotShare: number;
  /** Share of events that are made to fail, and of those that repeat one that exists. */
  readonly badShare: number;
  readonly repeatShare: number;
  /** Share of transfers with an id that failed before. */
  readonly burntShare: number;
  /** Share of sub-batches with chains, of imported ones, and of requests with more sub-batches. */
  readonly chainShare: number;
  readonly importShare: number;
  readonly subBatchShare: number;
  readonly subBatchesMax: number;
  /** Share of pending transfers that expire, and their timeouts. Seconds. */
  readonly timeoutShare: number;
  readonly timeoutMax: number;
  /** Share of amounts near the ends of 128 bits, and the usual ones. */
  readonly extremeShare: number;
  readonly amountMax: number;
  /** Share of query limits that are as large as they may be. */
  readonly wideShare: number;
}

/** Now and then a share is 0, or large. */
function share(random: Prng, usual: number): number {
  const draw = random.below(8);
  if (draw === 0) return 0;
  return draw === 1 ? Math.min(0.9, 4 * usual) : usual * (0.3 + (1.4 * random.u32()) / 2 ** 32);
}

export function drawMix(random: Prng): Mix {
  const weight = (usual: number): number => share(random, usual);
  /** Needed in every seed, since all else lives on them. */
  const always = (usual: number): number => usual * (0.5 + random.u32() / 2 ** 32);
  const old = random.chance(0.5) ? 1 : 0;
  const operations = new Choice<number>([
    [Operation.createAccounts, always(4)],
    [Operation.createAccountsSparse, old * weight(1)],
    [Operation.createAccountsUnbatched, old * weight(1)],
    [Operation.createTransfers, always(40)],
    [Operation.createTransfersSparse, old * weight(4)],
    [Operation.createTransfersUnbatched, old * weight(4)],
    [Operation.lookupAccounts, weight(5)],
    [Operation.lookupTransfers, weight(5)],
    [Operation.getAccountTransfers, weight(3)],
    [Operation.getAccountBalances, weight(3)],
    [Operation.queryAccounts, weight(2)],
    [Operation.queryTransfers, weight(3)],
    [Operation.getChangeEvents, weight(3)],
    [Operation.lookupAccountsUnbatched, old * weight(1)],
    [Operation.lookupTransfersUnbatched, old * weight(1)],
    [Operation.getAccountTransfersUnbatched, old * weight(1)],
    [Operation.getAccountBalancesUnbatched, old * weight(1)],
    [Operation.queryAccountsUnbatched, old * weight(1)],
    [Operation.queryTransfersUnbatched, old * weight(1)],
    [Operation.noop, weight(1)],
  ]);
  const transferKinds = new Choice<number>([
    [TransferKind.plain, always(10)],
    [TransferKind.pending, weight(6)],
    [TransferKind.post, weight(3)],
    [TransferKind.void, weight(2)],
    [TransferKind.balancing, weight(1)],
    [TransferKind.closing, weight(0.2)],
  ]);
  const accountFlags = new Choice<number>([
    [0, always(4)],
    [8, weight(4)],
    [2, weight(1)],
    [4, weight(1)],
    [10, weight(1)],
    [12, weight(1)],
    [32, weight(0.1)],
  ]);
  return {
    operations,
    transferKinds,
    accountFlags,
    idPattern: random.below(4),
    sizePattern: random.below(4),
    ledgers: random.range(1, 3),
    tags: random.range(1, 6),
    hotAccounts: random.range(1, 4),
    hotShare: share(random, 0.3),
    badShare: share(random, 0.05),
    repeatShare: share(random, 0.04),
    chainShare: share(random, 0.15),
    importShare: share(random, 0.04),
    subBatchShare: share(random, 0.2),
    subBatchesMax: random.range(2, 6),
    timeoutShare: share(random, 0.4),
    timeoutMax: random.range(1, 20),
    extremeShare: random.chance(0.25) ? 0.004 : 0,
    amountMax: 10 ** random.range(1, 6),
    wideShare: share(random, 0.02),
    burntShare: share(random, 0.04),
  };
}
