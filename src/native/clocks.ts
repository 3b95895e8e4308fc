/**
 * The real clocks, in the shape of `Time` of the I/O seam. With the addon a reading has
 * nanoseconds and allocates nothing; without it the wall clock has milliseconds.
 *
 * Nanoseconds since the epoch do not fit a double, so they are written as two words.
 */
import { loadAddon, type NativeAddon } from "./addon.ts";

const wordRange = 0x1_0000_0000;
const nsPerMs = 1_000_000;

export interface SystemTime {
  monotonicNs(target: Uint32Array, at: number): void;
  wallNs(target: Uint32Array, at: number): void;
  monotonicMs(): number;
}

class NativeTime implements SystemTime {
  private readonly words: Uint32Array;

  constructor(private readonly addon: NativeAddon) {
    this.words = new Uint32Array(addon.clockMemory, 0, 2);
  }

  monotonicNs(target: Uint32Array, at: number): void {
    this.addon.clockMonotonic();
    target[at] = this.words[0];
    target[at + 1] = this.words[1];
  }

  wallNs(target: Uint32Array, at: number): void {
    this.addon.clockWall();
    target[at] = this.words[0];
    target[at + 1] = this.words[1];
  }

  monotonicMs(): number {
    this.addon.clockMonotonic();
    return Math.floor((this.words[1] * wordRange + this.words[0]) / nsPerMs);
  }
}

class PortableTime implements SystemTime {
  monotonicNs(target: Uint32Array, at: number): void {
    const [seconds, nanoseconds] = process.hrtime();
    writeProduct(target, at, seconds, 1_000_000_000, nanoseconds);
  }

  wallNs(target: Uint32Array, at: number): void {
    writeProduct(target, at, Date.now(), nsPerMs, 0);
  }

  monotonicMs(): number {
    return Math.floor(performance.now());
  }
}

/**
 * target := count · unit + rest, exactly, as two words. `count` is below 2^45 and `unit` below
 * 2^30; the product may exceed 2^53, so the count is taken in two halves.
 */
export function writeProduct(
  target: Uint32Array,
  at: number,
  count: number,
  unit: number,
  rest: number,
): void {
  const half = 0x40_0000; // 2^22: both partial products stay below 2^53.
  const low = (count % half) * unit + rest;
  const high = Math.floor(count / half) * unit;
  // high · 2^22 + low, cut at bit 32.
  const highLow = (high % 1024) * half;
  const sum = highLow + (low % wordRange);
  target[at] = sum % wordRange;
  target[at + 1] =
    Math.floor(high / 1024) + Math.floor(low / wordRange) + Math.floor(sum / wordRange);
}

/** The clocks of this machine; `portable` forces the way without the addon. */
export function systemTime(portable = false): SystemTime {
  const addon = portable ? null : loadAddon();
  return addon === null ? new PortableTime() : new NativeTime(addon);
}
