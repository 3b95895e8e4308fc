/**
 * Events of create_transfers: mostly such that they succeed on the ledger as it is known, on a few
 * hot accounts more often than on others; some repeat a transfer that exists, some are wrong.
 */
import type { Prng } from "../../../src/core/prng.ts";
import { makeSettling, makeTransfer } from "../../reference/make.ts";
import {
  type Account,
  AccountFlag,
  type Transfer,
  TransferFlag,
  u128Max,
} from "../../reference/records.ts";
import { Identifiers } from "./identifiers.ts";
import type { Knowledge } from "./knowledge.ts";
import { type Mix, TransferKind } from "./mix.ts";

export class TransferMaker {
  private readonly ids: Identifiers;
  private importAt = 0n;
  /** Pending transfers that this batch settles already. */
  private readonly settled = new Set<bigint>();

  constructor(
    private readonly random: Prng,
    private readonly mix: Mix,
    private readonly knowledge: Knowledge,
  ) {
    this.ids = new Identifiers(mix.idPattern, 1n << 21n, random);
  }

  /** The events of one sub-batch. */
  batch(count: number): Transfer[] {
    const { random, mix, knowledge } = this;
    const imported = random.chance(mix.importShare);
    this.importAt = knowledge.timestampMax;
    this.settled.clear();
    const events: Transfer[] = [];
    for (let index = 0; index < count; index += 1) events.push(this.event(imported));
    return events;
  }

  private event(imported: boolean): Transfer {
    const { random, mix } = this;
    if (random.chance(mix.repeatShare)) {
      const repeated = this.repeated(imported);
      if (repeated !== null) return repeated;
    }
    const kind = mix.transferKinds.pick(random);
    const settles = kind === TransferKind.post || kind === TransferKind.void;
    const settling = settles ? this.settling(kind === TransferKind.post) : null;
    const transfer = settling ?? this.moving(kind, imported);
    if (imported) {
      transfer.flags |= TransferFlag.imported;
      this.importAt += BigInt(random.range(1, 3));
      transfer.timestamp = this.importAt;
    }
    if (random.chance(mix.badShare)) this.spoil(transfer);
    const { burnt } = this.knowledge;
    if (burnt.length > 0 && random.chance(mix.burntShare)) {
      transfer.id = burnt[random.below(burnt.length)]!;
    }
    return transfer;
  }

  /** Anything but a post or a void. */
  private moving(kind: number, imported: boolean): Transfer {
    const { random, mix } = this;
    const [debit, credit] = this.accounts();
    const transfer = makeTransfer(this.ids.next(), debit.id, credit.id, this.amount(), {
      user_data_128: BigInt(random.below(mix.tags)),
      user_data_64: BigInt(random.below(mix.tags)),
      user_data_32: random.below(mix.tags),
      ledger: debit.ledger,
      code: random.range(1, mix.tags),
    });
    if (kind === TransferKind.balancing) {
      const { balancingDebit, balancingCredit } = TransferFlag;
      const both = balancingDebit | balancingCredit;
      transfer.flags = [balancingDebit, balancingCredit, both][random.below(3)]!;
      if (random.chance(0.4)) transfer.amount = u128Max;
      if (random.chance(0.2)) transfer.flags |= TransferFlag.pending;
    }
    const closing = kind === TransferKind.closing;
    if (closing) {
      const { closingDebit, closingCredit } = TransferFlag;
      transfer.flags |= random.chance(0.5) ? closingDebit : closingCredit;
    }
    if (closing || kind === TransferKind.pending) {
      transfer.flags |= TransferFlag.pending;
      // An account that nobody reopens is lost to the workload.
      if (!imported && random.chance(closing ? 0.9 : mix.timeoutShare)) {
        transfer.timeout = random.range(1, mix.timeoutMax);
      }
    }
    return transfer;
  }

  /** Posts or voids something that is pending. */
  private settling(posts: boolean): Transfer | null {
    const { random, mix } = this;
    const { live } = this.knowledge;
    if (live.length === 0) return null;
    const p = live[random.below(live.length)]!;
    if (this.settled.has(p.id) && !random.chance(mix.badShare)) return null;
    this.settled.add(p.id);
    const flag = posts ? TransferFlag.postPendingTransfer : TransferFlag.voidPendingTransfer;
    let amount = posts ? u128Max : 0n;
    if (random.chance(0.3)) amount = p.amount;
    else if (posts && random.chance(0.2)) amount = p.amount / 2n;
    const transfer = makeSettling(this.ids.next(), p.id, amount, flag);
    if (random.chance(0.3)) {
      transfer.debit_account_id = p.debit_account_id;
      transfer.credit_account_id = p.credit_account_id;
      transfer.ledger = p.ledger;
      transfer.code = p.code;
    }
    if (random.chance(0.3)) transfer.user_data_64 = BigInt(random.below(mix.tags));
    return transfer;
  }

  /** Two accounts of one ledger; made-up ones while there are none. */
  private accounts(): [{ id: bigint; ledger: number }, { id: bigint }] {
    const { random } = this;
    const { accounts, byLedger } = this.knowledge;
    if (accounts.length < 2) return [{ id: 1n, ledger: 1 }, { id: 2n }];
    const one = this.pick(accounts);
    const peers = byLedger.get(one.ledger)!;
    let other = this.pick(peers);
    for (let tries = 0; tries < 4 && other.id === one.id; tries += 1) {
      other = peers[random.below(peers.length)]!;
    }
    // Accounts with a limit have to be given something before they can give.
    const gives = isSet(one, AccountFlag.creditsMustNotExceedDebits);
    const takes = isSet(one, AccountFlag.debitsMustNotExceedCredits);
    if (gives !== takes && random.chance(0.6)) return gives ? [one, other] : [other, one];
    return random.chance(0.5) ? [one, other] : [other, one];
  }

  /** Mostly one that is open; a hot one more often than others. */
  private pick(accounts: readonly Account[]): Account {
    const { random, mix, knowledge } = this;
    const hot = random.chance(mix.hotShare);
    const among = hot ? Math.min(mix.hotAccounts, accounts.length) : accounts.length;
    let account = accounts[random.below(among)]!;
    for (let tries = 0; tries < 4 && knowledge.isClosed(account.id); tries += 1) {
      if (random.chance(mix.badShare)) break;
      account = accounts[random.below(accounts.length)]!;
    }
    return account;
  }

  private amount(): bigint {
    const { random, mix } = this;
    if (!random.chance(mix.extremeShare)) return BigInt(random.below(mix.amountMax));
    return [u128Max, u128Max - 1n, 1n << 127n, 1n << 64n, (1n << 64n) - 1n][random.below(5)]!;
  }

  /** One that exists, at times with a field changed. */
  private repeated(imported: boolean): Transfer | null {
    const { random, mix } = this;
    const { transfers } = this.knowledge;
    if (transfers.length === 0) return null;
    const transfer = { ...transfers[random.below(transfers.length)]! };
    if ((transfer.flags & TransferFlag.imported) === 0 || !imported) transfer.timestamp = 0n;
    switch (random.below(12)) {
      case 0:
        transfer.flags ^= TransferFlag.pending;
        break;
      case 1:
        transfer.debit_account_id ^= 1n;
        break;
      case 2:
        transfer.credit_account_id ^= 1n;
        break;
      case 3:
        transfer.amount ^= 1n;
        break;
      case 4:
        transfer.user_data_128 ^= BigInt(random.below(mix.tags));
        break;
      case 5:
        transfer.user_data_64 ^= BigInt(random.below(mix.tags));
        break;
      case 6:
        transfer.user_data_32 ^= random.below(mix.tags);
        break;
      case 7:
        transfer.code ^= 1;
        break;
      default:
    }
    return transfer;
  }

  private spoil(transfer: Transfer): void {
    const { random } = this;
    switch (random.below(14)) {
      case 0:
        transfer.id = random.chance(0.5) ? 0n : u128Max;
        break;
      case 1:
        // An account that does not exist: the id is burnt.
        transfer.debit_account_id ^= 1n << 100n;
        break;
      case 2:
        transfer.credit_account_id ^= 1n << 100n;
        break;
      case 3:
        transfer.credit_account_id = transfer.debit_account_id;
        break;
      case 4:
        transfer.ledger = 0;
        break;
      case 5:
        transfer.code = 0;
        break;
      case 6:
        transfer.ledger += 1;
        break;
      case 7:
        transfer.flags |= 0x8000;
        break;
      case 8:
        transfer.flags ^= TransferFlag.postPendingTransfer;
        break;
      case 9:
        transfer.pending_id ^= 1n << 90n;
        break;
      case 10:
        transfer.timeout = 0xffff_ffff;
        break;
      case 11:
        transfer.timestamp ^= 1n << 62n;
        break;
      case 12:
        transfer.flags ^= TransferFlag.imported;
        break;
      default:
        transfer.amount = u128Max;
    }
  }
}

function isSet(account: Account, flag: number): boolean {
  return (account.flags & flag) !== 0;
}
