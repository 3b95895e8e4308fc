/**
 * The cluster's time. The primary's wall clock alone decides over expiry of transfers, and any
 * clock may be wrong; so a replica compares its own with the others' and serves as primary only
 * while a replication quorum agrees on an interval, which its own clock is then clamped to.
 *
 * A ping carries the sender's monotonic clock (m0), the pong gives it back beside the other's wall
 * clock. When it arrives at m2, half of m2 − m0 bounds how old that wall clock is:
 *
 *     other's clock now = wall + delay ± delay,  delay = (m2 − m0) / 2
 *
 * Samples are gathered in a *window*, as offsets from the own wall clock at its opening, carried on
 * by the monotonic clock; per replica the one with the least delay counts. Each source then states
 * [offset − delay − tolerance, offset + delay + tolerance], the own clock [−tolerance, tolerance].
 * The tolerance starts at 10 s and is halved for as long as a quorum agrees (marzullo.ts). The last
 * agreement becomes the *epoch*, which counts until one of a later window replaces it, or until 60 s
 * after its window was opened: a replica that hears nobody loses the cluster's time.
 *
 * Invariants:
 * - Differences of times are numbers of nanoseconds, below 2^53; times themselves are two words.
 * - Cluster time is within the epoch's interval, whatever the own wall clock does meanwhile.
 * - Two clocks of a cluster that are both wrong can agree; one cannot decide anything alone.
 */
import { assert } from "../core/assert.ts";
import { replicasMax } from "../core/limits.ts";
import { u64AddNumber, u64Compare } from "../core/u128.ts";
import type { Time } from "../io/io.ts";
import { Agreement } from "./marzullo.ts";

const nsPerMs = 1_000_000;

/** A window is tried from this age on; sooner while there is no cluster time. Nanoseconds. */
const windowNsMin = 2000 * nsPerMs;
const windowNsMinUnsynchronized = 500 * nsPerMs;
/** A window without agreement is given up at this age. */
const windowNsMax = 20_000 * nsPerMs;
/** How long an epoch counts, from the opening of its window. */
const epochNsMax = 60_000 * nsPerMs;
/** What clocks may be apart at most, each to its side, to be taken for agreeing. */
const toleranceNsMax = 10_000 * nsPerMs;
/** Below this, clocks that count milliseconds and drift would be called wrong. */
const toleranceNsMin = nsPerMs;
/** Clocks further apart (52 days) are not compared: differences stay exact. */
const offsetNsMax = Number.MAX_SAFE_INTEGER / 2;

const wordRange = 0x1_0000_0000;
const noSample = -1;

export interface ClusterClockOptions {
  /** Own index. */
  readonly replica: number;
  /** Voting replicas. */
  readonly replicaCount: number;
  /** Sources that have to agree; see quorums.ts. */
  readonly replicationQuorum: number;
  readonly time: Time;
}

/** When a window was opened, by both own clocks. */
class Opening {
  readonly monotonic = new Uint32Array(2);
  readonly wall = new Uint32Array(2);

  copyFrom(other: Opening): void {
    this.monotonic.set(other.monotonic);
    this.wall.set(other.wall);
  }
}

export class ClusterClock {
  private readonly replica: number;
  private readonly replicaCount: number;
  private readonly quorum: number;
  private readonly time: Time;

  private readonly window = new Opening();
  /** Samples have come since the window was last tried. */
  private fresh = false;
  /** Per replica, the best sample of the window; `noSample` in `delays` is none. Nanoseconds. */
  private readonly offsets = new Float64Array(replicasMax);
  private readonly delays = new Float64Array(replicasMax);

  private readonly epoch = new Opening();
  private epochLower = 0;
  private epochUpper = 0;
  private inEpoch = false;

  private readonly agreement = new Agreement();
  private readonly lowers = new Float64Array(replicasMax);
  private readonly uppers = new Float64Array(replicasMax);
  private readonly now = new Uint32Array(2);
  private readonly bound = new Uint32Array(2);

  constructor(options: ClusterClockOptions) {
    assert(options.replicaCount >= 1, "a cluster has a replica");
    assert(options.replicaCount <= replicasMax, "a cluster has a largest size");
    assert(options.replica >= 0, "replicas are numbered from 0");
    assert(options.replicationQuorum >= 1, "a source has to agree");
    assert(options.replicationQuorum <= options.replicaCount, "a quorum can be reached");
    this.replica = options.replica;
    this.replicaCount = options.replicaCount;
    this.quorum = options.replicationQuorum;
    this.time = options.time;
    this.openWindow();
  }

  /** A quorum agrees on the time, as of the last tick. A cluster of one agrees with itself. */
  get synchronized(): boolean {
    return this.replicaCount === 1 || this.inEpoch;
  }

  /**
   * A replica has answered a ping.
   * @param m0Low - m0, the own monotonic clock when the ping was sent: low and high word.
   * @param wallLow - The replica's wall clock when it answered: low and high word.
   */
  onPong(replica: number, m0Low: number, m0High: number, wallLow: number, wallHigh: number): void {
    if (replica === this.replica || replica >= this.replicaCount) return;
    const { now, window } = this;
    this.time.monotonicNs(now, 0);
    const roundTrip = difference(now[0]!, now[1]!, m0Low, m0High);
    const elapsed = difference(now[0]!, now[1]!, window.monotonic[0]!, window.monotonic[1]!);
    // From the future, or an answer to a ping that was sent before the window.
    if (roundTrip < 0 || roundTrip > elapsed) return;
    const delay = roundTrip / 2;
    const apart = difference(wallLow, wallHigh, window.wall[0]!, window.wall[1]!);
    const offset = apart + delay - elapsed;
    if (Math.abs(offset) > offsetNsMax) return;
    const best = this.delays[replica]!;
    if (best !== noSample && best <= delay) return;
    this.offsets[replica] = offset;
    this.delays[replica] = delay;
    this.fresh = true;
  }

  /** Every 10 ms. */
  tick(): void {
    if (this.replicaCount === 1) return;
    this.time.monotonicNs(this.now, 0);
    if (this.inEpoch && this.sinceNow(this.epoch) >= epochNsMax) this.inEpoch = false;
    const age = this.sinceNow(this.window);
    const ageMin = this.inEpoch ? windowNsMin : windowNsMinUnsynchronized;
    if (age >= ageMin && this.fresh) {
      this.fresh = false;
      if (this.agree()) {
        this.openWindow();
        return;
      }
    }
    if (age >= windowNsMax) this.openWindow();
  }

  /**
   * Cluster time in target[at], target[at + 1]: the own wall clock, clamped to what is agreed on.
   * @returns false, with nothing written, when no time is agreed on.
   */
  wallNs(target: Uint32Array, at: number): boolean {
    if (this.replicaCount === 1) {
      this.time.wallNs(target, at);
      return true;
    }
    if (!this.inEpoch) return false;
    this.time.monotonicNs(this.now, 0);
    const elapsed = this.sinceNow(this.epoch);
    if (elapsed >= epochNsMax) return false;
    this.time.wallNs(target, at);
    const { bound, epoch } = this;
    addSigned(bound, epoch.wall, elapsed + this.epochLower);
    if (u64Compare(target[at]!, target[at + 1]!, bound[0]!, bound[1]!) < 0) {
      target[at] = bound[0]!;
      target[at + 1] = bound[1]!;
    }
    addSigned(bound, epoch.wall, elapsed + this.epochUpper);
    if (u64Compare(target[at]!, target[at + 1]!, bound[0]!, bound[1]!) > 0) {
      target[at] = bound[0]!;
      target[at + 1] = bound[1]!;
    }
    return true;
  }

  /** For the log: how far the others' clocks are from the own one, as heard in this window. */
  describe(): string {
    const parts: string[] = [];
    for (let replica = 0; replica < this.replicaCount; replica += 1) {
      if (replica === this.replica) continue;
      if (this.delays[replica] === noSample) {
        parts.push(`nothing heard from replica ${replica}`);
        continue;
      }
      const offset = this.offsets[replica]!;
      const ms = Math.round(Math.abs(offset) / nsPerMs);
      parts.push(`replica ${replica} is ${ms} ms ${offset < 0 ? "behind" : "ahead"}`);
    }
    return parts.join(", ");
  }

  private openWindow(): void {
    this.time.monotonicNs(this.window.monotonic, 0);
    this.time.wallNs(this.window.wall, 0);
    this.delays.fill(noSample);
    this.fresh = false;
  }

  /** Nanoseconds from the opening to `now`. */
  private sinceNow(opening: Opening): number {
    const { now } = this;
    const { monotonic } = opening;
    const elapsed = difference(now[0]!, now[1]!, monotonic[0]!, monotonic[1]!);
    assert(elapsed >= 0, "the monotonic clock does not go back");
    return elapsed;
  }

  /** Makes the window's agreement the epoch, if a quorum agrees. */
  private agree(): boolean {
    const { agreement } = this;
    let agreed = false;
    for (
      let tolerance = toleranceNsMax;
      tolerance >= toleranceNsMin && this.agreeWithin(tolerance);
      tolerance /= 2
    ) {
      agreed = true;
      this.epochLower = agreement.lower;
      this.epochUpper = agreement.upper;
    }
    if (!agreed) return false;
    this.epoch.copyFrom(this.window);
    this.inEpoch = true;
    return true;
  }

  private agreeWithin(tolerance: number): boolean {
    let count = 0;
    for (let replica = 0; replica < this.replicaCount; replica += 1) {
      const own = replica === this.replica;
      if (!own && this.delays[replica] === noSample) continue;
      const offset = own ? 0 : this.offsets[replica]!;
      const radius = own ? tolerance : this.delays[replica]! + tolerance;
      this.lowers[count] = offset - radius;
      this.uppers[count] = offset + radius;
      count += 1;
    }
    this.agreement.find(this.lowers, this.uppers, count);
    return this.agreement.sources >= this.quorum;
  }
}

/** a − b, exact while it is below 2^53 to either side. */
function difference(aLow: number, aHigh: number, bLow: number, bHigh: number): number {
  return (aHigh - bHigh) * wordRange + (aLow - bLow);
}

/** target := base + delta, and not below 0. */
function addSigned(target: Uint32Array, base: Uint32Array, delta: number): void {
  const whole = Math.floor(delta);
  if (whole >= 0) {
    u64AddNumber(target, 0, base[0]!, base[1]!, whole);
    return;
  }
  const back = difference(base[0]!, base[1]!, 0, 0) + whole < 0;
  const high = Math.floor(whole / wordRange);
  const low = base[0]! + (whole - high * wordRange);
  // Words keep the low 32 bits; the high one of a negative number takes away.
  target[0] = back ? 0 : low;
  target[1] = back ? 0 : base[1]! + high + (low >= wordRange ? 1 : 0);
}
