/**
 * The deterministic generator behind jitter, tests and the simulator: xoshiro128** (Blackman and
 * Vigna, public domain), seeded through splitmix32. Same seed, same sequence, on every machine.
 */
export class Prng {
  private a = 0;
  private b = 0;
  private c = 0;
  private d = 0;

  /** @param seed - Any number; its low and high 32 bits are used. */
  constructor(seed: number) {
    let state = (seed >>> 0) ^ Math.imul(Math.floor(seed / 0x1_0000_0000) >>> 0, 0x9e37_79b9);
    const next = (): number => {
      state = (state + 0x9e37_79b9) | 0;
      let mixed = state ^ (state >>> 16);
      mixed = Math.imul(mixed, 0x21f0_aaad);
      mixed ^= mixed >>> 15;
      mixed = Math.imul(mixed, 0x735a_2d97);
      return mixed ^ (mixed >>> 15);
    };
    this.a = next();
    this.b = next();
    this.c = next();
    this.d = next() | 1; // Never the all-zero state.
  }

  /** Uniform in 0 … 2^32 − 1. */
  u32(): number {
    const product = Math.imul(this.b, 5);
    const result = Math.imul((product << 7) | (product >>> 25), 9) >>> 0;
    const shifted = this.b << 9;
    this.c ^= this.a;
    this.d ^= this.b;
    this.b ^= this.c;
    this.a ^= this.d;
    this.c ^= shifted;
    this.d = (this.d << 11) | (this.d >>> 21);
    return result;
  }

  /** Uniform in 0 … bound − 1, for 1 ≤ bound ≤ 2^32. */
  below(bound: number): number {
    return Math.floor((this.u32() / 0x1_0000_0000) * bound);
  }

  /** Uniform in min … max, both included. */
  range(min: number, max: number): number {
    return min + this.below(max - min + 1);
  }

  /** True with the given probability (0 … 1). */
  chance(probability: number): boolean {
    return this.u32() / 0x1_0000_0000 < probability;
  }
}
