/**
 * Timeouts counted in ticks. Time is what `tick` says it is, and the only randomness comes from the
 * seeded generator, so that a run can be repeated tick by tick.
 *
 * A running timer fires once per period and goes on. With jitter each period is drawn anew, so that
 * replicas that began together do not stay in step; with a maximum above the period each firing
 * doubles the next one, until `start` or `reset` begins afresh.
 */
import { assert } from "../core/assert.ts";
import type { Prng } from "../core/prng.ts";

export interface TimerOptions {
  /** Ticks of the first period, 1 or more. */
  readonly ticks: number;
  /** Longest period that doubling reaches, before jitter. Default: `ticks`, no doubling. */
  readonly ticksMax?: number;
  /** How far a period may stray to either side, in percent of it: 0 (default) to 99. */
  readonly jitterPercent?: number;
}

export class Timer {
  private period: number;
  private periodMax: number;
  private readonly jitterPercent: number;
  private readonly prng: Prng | null;
  /** Ticks until it fires; 0 while stopped. */
  private left = 0;
  /** Firings since it began. */
  private firings = 0;

  /** @param prng - Needed by timers with jitter only. */
  constructor(options: TimerOptions, prng: Prng | null = null) {
    this.period = options.ticks;
    this.periodMax = options.ticksMax ?? options.ticks;
    this.jitterPercent = options.jitterPercent ?? 0;
    this.prng = prng;
    assert(isPeriod(this.period), "a period is 1 tick or more");
    assert(isPeriod(this.periodMax), "the longest period is 1 tick or more");
    assert(this.periodMax >= this.period, "periods only grow");
    assert(this.jitterPercent >= 0 && this.jitterPercent < 100, "jitter is 0 to 99 percent");
    assert(this.jitterPercent === 0 || prng !== null, "jitter needs a generator");
  }

  get running(): boolean {
    return this.left > 0;
  }

  /** Firings since `start` or `reset`: how often its owner has tried. */
  get attempts(): number {
    return this.firings;
  }

  /** Begins a first period, whether it was running or not. */
  start(): void {
    this.firings = 0;
    this.left = this.draw();
  }

  stop(): void {
    this.firings = 0;
    this.left = 0;
  }

  /** What it waits for has happened: a running timer begins a first period again. */
  reset(): void {
    if (this.left > 0) this.start();
  }

  /** A running timer fires after so many ticks, if it would not sooner. */
  hasten(ticks: number): void {
    assert(isPeriod(ticks), "a period is 1 tick or more");
    this.left = Math.min(this.left, ticks);
  }

  /** Changes the period from the next one on (`reset` makes it so at once). Not for doubling timers. */
  setTicks(ticks: number): void {
    assert(isPeriod(ticks), "a period is 1 tick or more");
    assert(this.period === this.periodMax, "a doubling timer keeps its periods");
    this.period = ticks;
    this.periodMax = ticks;
  }

  /** Lets one tick pass. @returns true when the timer fires, in this tick. */
  tick(): boolean {
    if (this.left === 0) return false;
    this.left -= 1;
    if (this.left > 0) return false;
    this.firings += 1;
    this.left = this.draw();
    return true;
  }

  private draw(): number {
    // Bounded doubling: 2^30 periods are longer than any maximum that makes sense.
    const doubled = this.period * 2 ** Math.min(this.firings, 30);
    const ticks = Math.min(doubled, this.periodMax);
    const stray = Math.floor((ticks * this.jitterPercent) / 100);
    if (stray === 0 || this.prng === null) return ticks;
    return this.prng.range(ticks - stray, ticks + stray);
  }
}

function isPeriod(ticks: number): boolean {
  return Number.isSafeInteger(ticks) && ticks >= 1;
}
