/** Lookups and queries, mostly of what exists. */
import type { Prng } from "../../../src/core/prng.ts";
import {
  accountFilterCodec,
  changeEventsFilterCodec,
  encodeArray,
  idCodec,
  queryFilterCodec,
} from "../../reference/codec.ts";
import { makeAccountFilter, makeQueryFilter } from "../../reference/make.ts";
import { u128 } from "./identifiers.ts";
import type { Knowledge } from "./knowledge.ts";
import type { Mix } from "./mix.ts";

interface Stamped {
  readonly id: bigint;
  readonly timestamp: bigint;
}

export class ReadMaker {
  constructor(
    private readonly random: Prng,
    private readonly mix: Mix,
    private readonly knowledge: Knowledge,
  ) {}

  /** Ids of one lookup. */
  ids(transfers: boolean, count: number): Uint8Array {
    const { random, mix } = this;
    const objects = transfers ? this.knowledge.transfers : this.knowledge.accounts;
    const { burnt } = this.knowledge;
    const ids: bigint[] = [];
    for (let index = 0; index < count; index += 1) {
      const unknown = objects.length === 0 || random.chance(mix.badShare);
      if (!unknown) ids.push(objects[random.below(objects.length)]!.id);
      else if (burnt.length === 0 || random.chance(0.5)) ids.push(u128(random));
      else ids.push(burnt[random.below(burnt.length)]!);
    }
    return encodeArray(idCodec, ids);
  }

  /** @param limitMax - Results that the query may ask for. */
  accountFilter(limitMax: number): Uint8Array {
    const { random, mix } = this;
    const { accounts, transfers } = this.knowledge;
    const unknown = accounts.length === 0 || random.chance(mix.badShare);
    const hot = random.chance(mix.hotShare);
    const among = hot ? Math.min(mix.hotAccounts, accounts.length) : accounts.length;
    return accountFilterCodec.encode(
      makeAccountFilter({
        account_id: unknown ? u128(random) : accounts[random.below(among)]!.id,
        ...this.conditions(),
        ...this.range(transfers),
        limit: this.limit(limitMax),
        flags: random.chance(mix.badShare) ? random.below(16) : random.range(1, 7),
      }),
    );
  }

  queryFilter(transfers: boolean, limitMax: number): Uint8Array {
    const { random, mix } = this;
    return queryFilterCodec.encode(
      makeQueryFilter({
        ...this.conditions(),
        ...this.range(transfers ? this.knowledge.transfers : this.knowledge.accounts),
        ledger: random.chance(0.3) ? random.range(1, mix.ledgers) : 0,
        limit: this.limit(limitMax),
        flags: random.chance(mix.badShare) ? random.below(4) : random.below(2),
      }),
    );
  }

  changesFilter(limitMax: number): Uint8Array {
    const range = this.range(this.knowledge.transfers);
    return changeEventsFilterCodec.encode({ ...range, limit: this.limit(limitMax) });
  }

  /** Mostly none: several together seldom match anything. */
  private conditions() {
    const { random, mix } = this;
    const tag = (): number => (random.chance(0.2) ? random.below(mix.tags) : 0);
    return {
      user_data_128: BigInt(tag()),
      user_data_64: BigInt(tag()),
      user_data_32: tag(),
      code: tag(),
    };
  }

  /** Both ends at times of objects, or open. */
  private range(objects: readonly Stamped[]) {
    const { random, mix } = this;
    const end = (): bigint => {
      if (objects.length === 0 || random.chance(0.4)) return 0n;
      return objects[random.below(objects.length)]!.timestamp;
    };
    const [one, other] = [end(), end()];
    const swapped = other !== 0n && one > other && !random.chance(mix.badShare);
    return swapped
      ? { timestamp_min: other, timestamp_max: one }
      : { timestamp_min: one, timestamp_max: other };
  }

  private limit(max: number): number {
    const { random, mix } = this;
    if (random.chance(mix.wideShare)) return max;
    if (random.chance(mix.badShare / 4)) return 0;
    return Math.min(max, random.range(1, random.chance(0.5) ? 5 : 60));
  }
}
