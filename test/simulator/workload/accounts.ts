/** Events of create_accounts: mostly new accounts, some that exist, some that are wrong. */
import type { Prng } from "../../../src/core/prng.ts";
import { makeAccount } from "../../reference/make.ts";
import { type Account, AccountFlag, u128Max } from "../../reference/records.ts";
import { Identifiers } from "./identifiers.ts";
import type { Knowledge } from "./knowledge.ts";
import type { Mix } from "./mix.ts";

export class AccountMaker {
  private readonly ids: Identifiers;
  private importAt = 0n;

  constructor(
    private readonly random: Prng,
    private readonly mix: Mix,
    private readonly knowledge: Knowledge,
  ) {
    this.ids = new Identifiers(mix.idPattern, 1n << 20n, random);
  }

  /** The events of one sub-batch. */
  batch(count: number): Account[] {
    const { random, mix, knowledge } = this;
    const imported = random.chance(mix.importShare);
    this.importAt = knowledge.timestampMax;
    const events: Account[] = [];
    for (let index = 0; index < count; index += 1) events.push(this.event(imported));
    return events;
  }

  private event(imported: boolean): Account {
    const { random, mix } = this;
    if (random.chance(mix.repeatShare)) {
      const repeated = this.repeated(imported);
      if (repeated !== null) return repeated;
    }
    const account = makeAccount(this.ids.next(), {
      flags: mix.accountFlags.pick(random) | (imported ? AccountFlag.imported : 0),
      user_data_128: BigInt(random.below(mix.tags)),
      user_data_64: BigInt(random.below(mix.tags)),
      user_data_32: random.below(mix.tags),
      ledger: random.range(1, mix.ledgers),
      code: random.range(1, mix.tags),
      timestamp: imported ? this.importTime() : 0n,
    });
    if (random.chance(mix.badShare)) this.spoil(account);
    return account;
  }

  /** Above everything that exists, and below the time of the request. */
  private importTime(): bigint {
    this.importAt += BigInt(this.random.range(1, 3));
    return this.importAt;
  }

  /** One that exists, at times with a field changed. */
  private repeated(imported: boolean): Account | null {
    const { random, mix } = this;
    const { accounts } = this.knowledge;
    if (accounts.length === 0) return null;
    const stored = accounts[random.below(accounts.length)]!;
    const account = makeAccount(stored.id, {
      flags: stored.flags,
      user_data_128: stored.user_data_128,
      user_data_64: stored.user_data_64,
      user_data_32: stored.user_data_32,
      ledger: stored.ledger,
      code: stored.code,
      timestamp: imported ? this.importTime() : 0n,
    });
    switch (random.below(9)) {
      case 0:
        account.flags ^= AccountFlag.history;
        break;
      case 1:
        account.user_data_128 = BigInt(random.below(mix.tags));
        break;
      case 2:
        account.user_data_64 = BigInt(random.below(mix.tags));
        break;
      case 3:
        account.user_data_32 = random.below(mix.tags);
        break;
      case 4:
        account.ledger = random.range(1, mix.ledgers);
        break;
      case 5:
        account.code = random.range(1, mix.tags);
        break;
      default:
    }
    return account;
  }

  private spoil(account: Account): void {
    switch (this.random.below(10)) {
      case 0:
        account.id = 0n;
        break;
      case 1:
        account.id = u128Max;
        break;
      case 2:
        account.flags |= 6;
        break;
      case 3:
        account.flags |= 0x4000;
        break;
      case 4:
        account.ledger = 0;
        break;
      case 5:
        account.code = 0;
        break;
      case 6:
        account.reserved = 1;
        break;
      case 7:
        account.debits_posted = 1n;
        break;
      case 8:
        account.timestamp ^= 1n << 62n;
        break;
      default:
        account.flags ^= AccountFlag.imported;
    }
  }
}
