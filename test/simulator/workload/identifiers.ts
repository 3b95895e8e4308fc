/** New ids of accounts and transfers, in a pattern that the indexes may like or not. */
import type { Prng } from "../../../src/core/prng.ts";
import { IdPattern } from "./mix.ts";

export function u64(random: Prng): bigint {
  return (BigInt(random.u32()) << 32n) | BigInt(random.u32());
}

export function u128(random: Prng): bigint {
  return (u64(random) << 64n) | u64(random);
}

export class Identifiers {
  private count = 0n;

  /** @param first - Two sequences of one seed start apart. */
  constructor(
    private readonly pattern: number,
    private readonly first: bigint,
    private readonly random: Prng,
  ) {}

  /** Never 0, never 2^128 − 1, and never the same again. */
  next(): bigint {
    this.count += 1n;
    switch (this.pattern) {
      case IdPattern.rising:
        return this.first + this.count;
      case IdPattern.falling:
        return (1n << 127n) - this.first - this.count;
      case IdPattern.time:
        // As the official clients make them: a clock above, random bits below.
        return ((this.first + this.count / 3n) << 80n) | (u128(this.random) >> 48n) | 1n;
      default:
        return (u128(this.random) >> 1n) | 1n;
    }
  }
}
