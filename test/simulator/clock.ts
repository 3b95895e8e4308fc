/**
 * A replica's clocks: both run a little too fast or too slow, and the wall clock is off and may
 * jump. Monotonic time survives a restart of the process, as the kernel's does.
 */
import { u64AddNumber } from "../../src/core/u128.ts";
import type { Time } from "../../src/io/io.ts";
import type { EventQueue } from "./event-queue.ts";

/** What a right wall clock shows at the start of every seed, less `skewUsMax`: nanoseconds. */
const wallBaseNs = 1_700_000_000_000_000_000n;
const wallBaseLow = Number(wallBaseNs & 0xffff_ffffn);
const wallBaseHigh = Number(wallBaseNs >> 32n);

/** Skew and jumps together stay below it, to either side. Microseconds. */
export const skewUsMax = 86_400_000_000;

export class ReplicaClock implements Time {
  /** How fast it runs: parts per million too fast, negative for too slow. */
  driftPpm = 0;
  /** How far the wall clock is ahead. Microseconds, may be negative. */
  skewUs = 0;

  constructor(private readonly queue: EventQueue) {}

  private localUs(): number {
    const now = this.queue.nowUs;
    return now + Math.floor((now * this.driftPpm) / 1_000_000);
  }

  monotonicNs(target: Uint32Array, at: number): void {
    u64AddNumber(target, at, 0, 0, (this.localUs() + 1_000_000) * 1000);
  }

  wallNs(target: Uint32Array, at: number): void {
    const us = this.localUs() + skewUsMax + this.skewUs;
    u64AddNumber(target, at, wallBaseLow, wallBaseHigh, us * 1000);
  }

  monotonicMs(): number {
    return Math.floor(this.localUs() / 1000) + 1000;
  }

  /** Local microseconds as the queue counts them, for timers of the replica's. */
  toQueueUs(localUs: number): number {
    return Math.max(1, localUs - Math.floor((localUs * this.driftPpm) / 1_000_000));
  }
}
