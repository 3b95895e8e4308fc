/**
 * Ids that rise with time, as the official clients make them: milliseconds since 1970 in the upper
 * 48 bits, 80 random bits below. Ids of the same millisecond count up from the first one's random
 * bits, and a clock that goes back stands still: every id is above the one before.
 */
import type { Prng } from "../../core/prng.ts";

export class TimeIds {
  private lastMs = -1;
  /** The random part of the last id, from its low bits up: 32, 32 and 16. */
  private low = 0;
  private middle = 0;
  private high = 0;

  /** @param nowMs - Whole milliseconds since 1970. */
  constructor(
    private readonly random: Prng,
    private readonly nowMs: () => number,
  ) {}

  /** Writes the next id's four words to words[at …). */
  next(words: Uint32Array, at: number): void {
    const nowMs = this.nowMs();
    if (nowMs > this.lastMs) {
      this.lastMs = nowMs;
      this.low = this.random.u32();
      this.middle = this.random.u32();
      this.high = this.random.u32() >>> 16;
    } else {
      this.countUp();
    }
    const lastMs = this.lastMs;
    words[at] = this.low;
    words[at + 1] = this.middle;
    words[at + 2] = this.high + (lastMs % 0x1_0000) * 0x1_0000;
    words[at + 3] = Math.floor(lastMs / 0x1_0000);
  }

  private countUp(): void {
    this.low = (this.low + 1) >>> 0;
    if (this.low > 0) return;
    this.middle = (this.middle + 1) >>> 0;
    if (this.middle > 0) return;
    this.high = (this.high + 1) & 0xffff;
    // All 80 bits are used up: the millisecond that follows lends its own.
    if (this.high === 0) this.lastMs += 1;
  }
}
