/**
 * Randomness of a seed, cut into streams by name: what one concern draws never shifts another, so
 * that a change to the workload leaves the faults of a seed where they were, and the reverse.
 */
import { blake3 } from "@noble/hashes/blake3.js";
import { Prng } from "../../src/core/prng.ts";

/** Streams of the world's own. Those of a load begin with "load". */
export const Stream = {
  /** Sizes, rates and the mix of faults. */
  swarm: "swarm",
  network: "network",
  disk: "disk",
  crash: "crash",
  clock: "clock",
  /** When which fault happens. */
  faults: "faults",
  /** The message bus's and the byte streams' own. */
  socket: "socket",
} as const;

/** A seed is 64 bits: written in decimal, read by `parseSeed`. */
export const seedMax = (1n << 64n) - 1n;

/** The stream of this name; `index` tells the streams of several replicas apart. */
export function stream(seed: bigint, name: string, index = 0): Prng {
  const digest = blake3(new TextEncoder().encode(`${seed}/${name}/${index}`), { dkLen: 8 });
  const view = new DataView(digest.buffer, digest.byteOffset);
  // All that a generator takes: 53 bits.
  return new Prng((view.getUint32(0, true) & 0x1f_ffff) * 0x1_0000_0000 + view.getUint32(4, true));
}

/**
 * A non-negative whole number with this mean, exponentially distributed and cut at 20 means: the
 * pause between events that do not know of each other.
 */
export function exponential(random: Prng, mean: number): number {
  if (mean <= 0) return 0;
  const uniform = (random.u32() + 1) / 0x1_0000_0001;
  return Math.min(Math.floor(-logarithm(uniform) * mean), Math.floor(20 * mean));
}

/** `range` on a logarithmic scale: as likely between 1 and 10 as between 10 and 100. */
export function logarithmicRange(random: Prng, min: number, max: number): number {
  const share = random.u32() / 0x1_0000_0000;
  const low = logarithm(min);
  return Math.min(max, Math.max(min, Math.round(power(low + share * (logarithm(max) - low)))));
}

// `Math.log` and `Math.exp` may differ in the last bit between machines; these may not.

const ln2 = Math.LN2;

/** Natural logarithm of a positive number, to about ten digits, by arithmetic alone. */
export function logarithm(value: number): number {
  let exponent = 0;
  let mantissa = value;
  while (mantissa >= 1.5) {
    mantissa /= 2;
    exponent += 1;
  }
  while (mantissa < 0.75) {
    mantissa *= 2;
    exponent -= 1;
  }
  const z = (mantissa - 1) / (mantissa + 1);
  const square = z * z;
  let term = z;
  let sum = 0;
  for (let odd = 1; odd <= 19; odd += 2) {
    sum += term / odd;
    term *= square;
  }
  return 2 * sum + exponent * ln2;
}

/** e to the power of `value`, likewise. */
export function power(value: number): number {
  const doublings = Math.floor(value / ln2);
  const rest = value - doublings * ln2;
  let term = 1;
  let sum = 1;
  for (let step = 1; step <= 16; step += 1) {
    term *= rest / step;
    sum += term;
  }
  let factor = 1;
  for (let step = 0; step < Math.abs(doublings); step += 1) factor *= 2;
  return doublings < 0 ? sum / factor : sum * factor;
}
