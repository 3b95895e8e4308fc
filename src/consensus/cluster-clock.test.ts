/**
 * Clocks of a cluster that ping each other in a world with one true time: what they agree on, when
 * they lose it, and that a wrong clock among them moves nothing.
 */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Prng } from "../core/prng.ts";
import type { Time } from "../io/io.ts";
import { ClusterClock } from "./cluster-clock.ts";
import { quorumsFor } from "./quorums.ts";

const ms = 1_000_000n;
const second = 1000n * ms;

function write(target: Uint32Array, at: number, value: bigint): void {
  target[at] = Number(value & 0xffff_ffffn);
  target[at + 1] = Number((value >> 32n) & 0xffff_ffffn);
}

function read(words: Uint32Array): bigint {
  return (BigInt(words[1]!) << 32n) | BigInt(words[0]!);
}

class WorldTime implements Time {
  /** How far the wall clock is off. May be changed: the clock is set. */
  error: bigint;

  constructor(
    private readonly world: World,
    error: bigint,
    private readonly boot: bigint,
  ) {
    this.error = error;
  }

  get monotonic(): bigint {
    return this.world.now - this.boot;
  }

  get wall(): bigint {
    return this.world.now + this.error;
  }

  monotonicNs(target: Uint32Array, at: number): void {
    write(target, at, this.monotonic);
  }

  wallNs(target: Uint32Array, at: number): void {
    write(target, at, this.wall);
  }

  monotonicMs(): number {
    return Number(this.monotonic / ms);
  }
}

/** Replicas that ping each other once a second over a network with delays. */
class World {
  /** The true time. Begins just below where the low word overflows. */
  now = (0x18a4_0000n << 32n) - 300n * ms;
  readonly times: WorldTime[];
  readonly clocks: ClusterClock[];
  /** Replicas that hear nobody. */
  readonly cutOff = new Set<number>();
  private readonly random: Prng;
  private readonly delayNsMax: number;
  private arrivals: { at: bigint; act: () => void }[] = [];
  private ticks = 0;

  constructor(errors: readonly bigint[], delayNsMax = Number(ms), seed = 1) {
    this.random = new Prng(seed);
    this.delayNsMax = delayNsMax;
    const start = this.now;
    this.times = errors.map(
      (error, replica) => new WorldTime(this, error, start - second * BigInt(1 + replica * 977)),
    );
    this.clocks = this.times.map(
      (time, replica) =>
        new ClusterClock({
          replica,
          replicaCount: errors.length,
          replicationQuorum: quorumsFor(errors.length).replication,
          time,
        }),
    );
  }

  /** Lets so many milliseconds pass, in ticks of 10 ms. */
  run(milliseconds: number): void {
    for (let tick = 0; tick < milliseconds / 10; tick += 1) {
      if (this.ticks % 100 === 0) this.pingAll();
      this.ticks += 1;
      const end = this.now + 10n * ms;
      this.deliverUntil(end);
      this.now = end;
      for (const clock of this.clocks) clock.tick();
    }
  }

  /** Cluster time of a replica less the true time; null when it has none. */
  offset(replica: number): number | null {
    const words = new Uint32Array(2);
    const clock = this.clocks[replica]!;
    const ok = clock.wallNs(words, 0);
    expect(ok).toBe(clock.synchronized);
    return ok ? Number(read(words) - this.now) : null;
  }

  /** What the replica's cluster time may be at most and at least: by setting its wall clock. */
  bounds(replica: number): { lower: number; upper: number } {
    const time = this.times[replica]!;
    const { error } = time;
    time.error = -this.now;
    const lower = this.offset(replica)!;
    time.error = 10n ** 18n;
    const upper = this.offset(replica)!;
    time.error = error;
    return { lower, upper };
  }

  private delay(): bigint {
    return BigInt(this.random.below(this.delayNsMax + 1));
  }

  private pingAll(): void {
    for (let from = 0; from < this.clocks.length; from += 1) {
      for (let to = 0; to < this.clocks.length; to += 1) if (from !== to) this.ping(from, to);
    }
  }

  private ping(from: number, to: number): void {
    const m0 = new Uint32Array(2);
    this.times[from]!.monotonicNs(m0, 0);
    const there = this.now + this.delay();
    this.arrivals.push({
      at: there,
      act: () => {
        const wall = new Uint32Array(2);
        this.times[to]!.wallNs(wall, 0);
        this.arrivals.push({
          at: there + this.delay(),
          act: () => {
            if (this.cutOff.has(from) || this.cutOff.has(to)) return;
            this.clocks[from]!.onPong(to, m0[0]!, m0[1]!, wall[0]!, wall[1]!);
          },
        });
      },
    });
  }

  private deliverUntil(end: bigint): void {
    for (;;) {
      let next: { at: bigint; act: () => void } | null = null;
      for (const arrival of this.arrivals) {
        if (arrival.at <= end && (next === null || arrival.at < next.at)) next = arrival;
      }
      if (next === null) return;
      this.arrivals = this.arrivals.filter((arrival) => arrival !== next);
      this.now = next.at;
      next.act();
    }
  }
}

test("a cluster of one takes its wall clock as it is", () => {
  const world = new World([5n * second]);
  expect(world.clocks[0]!.synchronized).toBe(true);
  expect(world.offset(0)).toBe(Number(5n * second));
  world.run(100_000);
  world.times[0]!.error = -7n;
  expect(world.offset(0)).toBe(-7);
});

describe("three replicas", () => {
  test("agree half a second after they first hear of each other", () => {
    const world = new World([0n, 0n, 0n]);
    world.run(490);
    expect(world.clocks.map((clock) => clock.synchronized)).toEqual([false, false, false]);
    expect(world.offset(0)).toBe(null);
    world.run(20);
    expect(world.clocks.map((clock) => clock.synchronized)).toEqual([true, true, true]);
    expect(world.offset(0)).toBe(0);
  });

  test("keep agreeing, and follow a clock that is set", () => {
    const world = new World([0n, 3n * ms, -2n * ms]);
    for (let round = 0; round < 100; round += 1) {
      world.run(1000);
      if (round === 50) world.times[2]!.error = 2n * ms;
      for (let replica = 0; replica < 3; replica += 1) {
        expect(Math.abs(world.offset(replica)!)).toBeLessThan(Number(8n * ms));
      }
    }
  });

  test("hold one whose wall clock jumps to the time agreed on", () => {
    const world = new World([0n, 0n, 0n]);
    world.run(1000);
    for (const jump of [3600n * second, -3600n * second, -world.now]) {
      world.times[1]!.error = jump;
      expect(Math.abs(world.offset(1)!)).toBeLessThan(Number(3n * ms));
      // Also when its next windows begin with the wrong clock.
      for (let round = 0; round < 30; round += 1) {
        world.run(1000);
        if (jump > -world.now / 2n) {
          expect(Math.abs(world.offset(1)!)).toBeLessThan(Number(3n * ms));
        }
        expect(Math.abs(world.offset(0)!)).toBeLessThan(Number(3n * ms));
      }
    }
  });

  test("one that is cut off loses the time within a minute, and has it for half of one", () => {
    const world = new World([0n, 0n, 0n]);
    world.run(10_000);
    world.cutOff.add(2);
    world.run(30_000);
    expect(world.clocks[2]!.synchronized).toBe(true);
    expect(Math.abs(world.offset(2)!)).toBeLessThan(Number(3n * ms));
    world.run(30_000);
    expect(world.clocks[2]!.synchronized).toBe(false);
    expect(world.offset(2)).toBe(null);
    expect(world.clocks[0]!.synchronized).toBe(true);
    expect(world.clocks[2]!.describe()).toBe(
      "nothing heard from replica 0, nothing heard from replica 1",
    );
    world.cutOff.clear();
    world.run(2000);
    expect(world.clocks[2]!.synchronized).toBe(true);
  });

  test("time runs out between ticks, too", () => {
    const world = new World([0n, 0n, 0n]);
    world.run(1000);
    world.now += 58n * second;
    expect(world.clocks[0]!.wallNs(new Uint32Array(2), 0)).toBe(true);
    world.now += 2n * second;
    expect(world.clocks[0]!.wallNs(new Uint32Array(2), 0)).toBe(false);
  });
});

describe("two replicas", () => {
  test("agree while their clocks are less than 20 s apart", () => {
    const near = new World([0n, 19n * second]);
    near.run(1000);
    expect(near.clocks[0]!.synchronized).toBe(true);
    const far = new World([0n, -21n * second]);
    far.run(1000);
    expect(far.clocks[0]!.synchronized).toBe(false);
    expect(far.clocks[0]!.describe()).toMatch(/^replica 1 is (20999|21000|21001) ms behind$/);
    expect(far.clocks[1]!.describe()).toMatch(/^replica 0 is (20999|21000|21001) ms ahead$/);
    far.times[1]!.error = 0n;
    far.run(22_000);
    expect(far.clocks[0]!.synchronized).toBe(true);
  });
});

describe("samples", () => {
  /** A clock of replica 0 whose pongs the test makes. */
  function alone(replicaCount: number): { world: World; clock: ClusterClock; pong: Pong } {
    const world = new World(Array.from({ length: replicaCount }, () => 0n));
    world.cutOff.add(0);
    const clock = world.clocks[0]!;
    const pong: Pong = (replica, error, roundTrip) => {
      const words = new Uint32Array(4);
      write(words, 0, world.times[0]!.monotonic - roundTrip);
      write(words, 2, world.now - roundTrip / 2n + error);
      clock.onPong(replica, words[0]!, words[1]!, words[2]!, words[3]!);
    };
    return { world, clock, pong };
  }
  type Pong = (replica: number, error: bigint, roundTrip: bigint) => void;

  test("of a window older than 20 s do not count", () => {
    for (const [wait, synchronized] of [
      [15_000, true],
      [25_000, false],
    ] as const) {
      const { world, clock, pong } = alone(5);
      world.run(100);
      pong(1, 0n, ms);
      world.run(wait);
      pong(2, 0n, ms);
      world.run(600);
      expect(clock.synchronized).toBe(synchronized);
    }
  });

  test("with less delay count, whenever they come", () => {
    for (const first of [4n * ms, 400n * ms]) {
      const { world, clock, pong } = alone(2);
      world.run(450);
      pong(1, first / 2n, first);
      pong(1, 202n * ms - first / 2n, 404n * ms - first);
      world.run(100);
      expect(clock.synchronized).toBe(true);
      // 2 ms ahead, give or take 2 ms and the tolerance; the other would be 200 ± 200.
      const { lower, upper } = world.bounds(0);
      expect(lower).toBeGreaterThan(Number(-4n * ms));
      expect(upper).toBeLessThan(Number(8n * ms));
    }
  });

  test("that make no sense are ignored", () => {
    const { world, clock, pong } = alone(2);
    world.run(600);
    pong(1, 0n, -1n); // From the future.
    pong(1, 0n, 601n * ms); // Older than the window.
    pong(1, 10n ** 17n, ms); // Three years off.
    pong(0, 0n, ms); // Its own.
    pong(2, 0n, ms); // Nobody's, or a standby's.
    clock.onPong(1, 0xffff_ffff, 0xffff_ffff, 0xffff_ffff, 0xffff_ffff);
    clock.onPong(1, 0, 0, 0xffff_ffff, 0xffff_ffff);
    world.run(100);
    expect(clock.synchronized).toBe(false);
    pong(1, 0n, ms);
    world.run(100);
    expect(clock.synchronized).toBe(true);
  });
});

test("cluster time is near the true one, and a wrong clock moves it nowhere", () => {
  const cluster = fc.record({
    replicaCount: fc.integer({ min: 2, max: 6 }),
    /** Of honest clocks. */
    errorMs: fc.integer({ min: 0, max: 200 }),
    delayMs: fc.integer({ min: 0, max: 100 }),
    /** Error of the wrong clock, if there is one. */
    wrongMs: fc.option(
      fc.oneof(
        fc.integer({ min: -1000, max: 1000 }),
        fc.integer({ min: -30_000, max: 30_000 }),
        fc.integer({ min: -2_000_000_000, max: 2_000_000_000 }),
      ),
    ),
    seed: fc.integer({ min: 1, max: 2 ** 30 }),
  });
  const property = fc.property(cluster, ({ replicaCount, errorMs, delayMs, wrongMs, seed }) => {
    const random = new Prng(seed);
    const errors = Array.from({ length: replicaCount }, () =>
      BigInt(random.range(-errorMs * 1000, errorMs * 1000) * 1000),
    );
    // Of two, nobody can say which one is wrong.
    const wrong = replicaCount > 2 && wrongMs !== null ? random.below(replicaCount) : -1;
    if (wrong !== -1) errors[wrong] = BigInt(wrongMs!) * ms;
    const world = new World(errors, delayMs * 1_000_000, seed);
    world.run(4000);
    // Every agreement has an honest source in it, whose statement reaches no further: its error,
    // twice the delay, and a tolerance at which honest ones agree, rounded up by halving.
    const reachMs = errorMs + 2 * delayMs + 2 * Math.max(errorMs, 1);
    for (let replica = 0; replica < replicaCount; replica += 1) {
      expect(world.clocks[replica]!.synchronized).toBe(true);
      const { lower, upper } = world.bounds(replica);
      expect(lower).toBeLessThanOrEqual(upper);
      expect(lower).toBeGreaterThanOrEqual(-reachMs * 1e6 - 1);
      expect(upper).toBeLessThanOrEqual(reachMs * 1e6 + 1);
      const offset = world.offset(replica)!;
      expect(offset).toBeGreaterThanOrEqual(lower);
      expect(offset).toBeLessThanOrEqual(upper);
    }
  });
  fc.assert(property, { numRuns: 300, seed: 3 });
});

test("the same world runs the same way", () => {
  const run = (): (number | null)[] => {
    const world = new World([0n, 40n * ms, -30n * ms, 900n * second], 50_000_000, 9);
    const offsets: (number | null)[] = [];
    for (let round = 0; round < 50; round += 1) {
      world.run(500);
      offsets.push(world.offset(round % 4));
    }
    return offsets;
  };
  expect(run()).toEqual(run());
});
