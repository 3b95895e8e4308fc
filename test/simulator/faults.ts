/**
 * What goes wrong, and when: for each kind of fault a stream of moments, with exponential pauses
 * between them, until the cluster is to be healed. Faults of disks ask the atlas first.
 */
import { assert } from "../../src/core/assert.ts";
import type { Prng } from "../../src/core/prng.ts";
import type { DataFileLayout } from "../../src/wal/data-file.ts";
import { Ambush, ambushDownUs } from "./ambush.ts";
import type { Atlas } from "./atlas.ts";
import { skewUsMax } from "./clock.ts";
import { DiskDamage } from "./disk-damage.ts";
import type { Callbacks, EventQueue } from "./event-queue.ts";
import type { Network } from "./network.ts";
import { type Place, PlaceState } from "./place.ts";
import type { Sockets } from "./sockets.ts";
import { exponential, logarithmicRange } from "./streams.ts";
import type { FaultOptions } from "./swarm.ts";
import { type Counts, Kind, type Trace } from "./trace.ts";

export interface FaultsOwner {
  readonly queue: EventQueue;
  readonly callbacks: Callbacks;
  readonly network: Network;
  readonly sockets: Sockets | null;
  readonly trace: Trace;
  readonly faultCounts: Counts;
  readonly places: readonly Place[];
  readonly replicaCount: number;
  readonly atlas: Atlas;
  readonly layout: DataFileLayout;
  crash(place: Place, power: boolean, downUs: number): void;
  loseDisk(place: Place, downUs: number): void;
}

/** A slow disk is slower by a factor up to this, for up to this time. Microseconds. */
const slownessMax = 50;
const slowUsMax = 10_000_000;

/** A full disk gets room again after up to this time. Microseconds. */
const fullUsMax = 10_000_000;

/** Mean time between the returns of replicas after an outage. Microseconds. */
const apartUsMax = 5_000_000;

/** Who dies after a partition does so within this time. Microseconds. */
const backUsMax = 2_000_000;

export class Faults {
  active = false;
  private readonly ambush: Ambush;
  private readonly damage: DiskDamage;

  constructor(
    private readonly owner: FaultsOwner,
    readonly options: FaultOptions,
    readonly random: Prng,
  ) {
    this.ambush = new Ambush(this);
    this.damage = new DiskDamage(this);
  }

  get world(): FaultsOwner {
    return this.owner;
  }

  start(): void {
    this.active = true;
    const { options } = this;
    this.repeat(options.crashUs, () => this.crash());
    this.repeat(options.ambushUs, () => this.ambush.lay(this.pick()));
    this.repeat(options.outageUs, () => this.outage("outages", ""));
    this.repeat(options.pauseUs, () => this.pause());
    this.repeat(options.partitionUs, () => this.partition());
    this.repeat(options.clogUs, () => this.clog());
    this.repeat(options.clockJumpUs, () => this.jumpClock());
    this.repeat(options.slowDiskUs, () => this.slowDisk());
    this.repeat(options.rotUs, () => this.damage.strike(this.pick(), "rot"));
    this.repeat(options.latentUs, () => this.damage.strike(this.pick(), "latent"));
    this.repeat(options.misdirectedReadUs, () => this.damage.misdirectRead(this.pick()));
    this.repeat(options.misdirectedWriteUs, () => this.damage.misdirectWrite(this.pick()));
    this.repeat(options.superblockUs, () => this.damage.strikeSuperblock(this.pick()));
    this.repeat(options.diskErrorUs, () => this.failDisk());
    this.repeat(options.diskFullUs, () => this.fillDisk());
    this.repeat(options.diskLossUs, () => this.loseDisk());
    if (this.owner.sockets !== null)
      this.repeat(options.resetUs, () => this.owner.sockets!.resetSome());
  }

  stop(): void {
    this.active = false;
  }

  private repeat(meanUs: number, strike: () => void): void {
    if (meanUs === 0) return;
    const next = (): void => {
      this.owner.callbacks.after(exponential(this.random, meanUs) + 1, () => {
        if (!this.active) return;
        strike();
        next();
      });
    };
    next();
  }

  happened(name: string, place: Place | null, detail: () => string, a = 0, b = 0): void {
    const { faultCounts, trace } = this.owner;
    faultCounts[name] = (faultCounts[name] ?? 0) + 1;
    trace.record(Kind.fault, place?.index ?? 255, a, b);
    if (trace.logging) trace.log(place?.name ?? "-", name, detail());
  }

  // ── Processes ────────────────────────────────────────────────────────────────────────────────

  private pick(): Place {
    return this.owner.places[this.random.below(this.owner.places.length)]!;
  }

  private unavailable(): number {
    let count = 0;
    for (const place of this.owner.places) {
      if (!place.standby && (place.state !== PlaceState.up || place.paused)) count += 1;
    }
    return count;
  }

  /** Whether it may be stopped: so many voters at most are. */
  mayStop(place: Place): boolean {
    const counted = !place.standby && place.state === PlaceState.up && !place.paused;
    return !counted || this.unavailable() < this.options.downMax;
  }

  private crash(): void {
    const place = this.pick();
    const power = this.random.chance(this.options.powerShare);
    const downUs = exponential(this.random, this.options.downMeanUs);
    if (place.state === PlaceState.down || !this.mayStop(place)) return;
    this.happened(power ? "power cuts" : "kills", place, () => `for ${downUs} µs`);
    this.owner.crash(place, power, downUs);
  }

  /** A replica begins to open its file: some die again before they have. */
  onStart(place: Place): void {
    const { random, owner } = this;
    if (!this.active || !random.chance(this.options.relapseShare)) return;
    const delayUs = random.below(place.disk.timing.readUs * 40);
    const power = random.chance(this.options.powerShare);
    const downUs = exponential(random, ambushDownUs);
    const { generation } = place;
    owner.callbacks.after(delayUs, () => {
      if (!this.active || place.generation !== generation) return;
      this.happened("relapses", place, () => `for ${downUs} µs`);
      owner.crash(place, power, downUs);
    });
  }

  /** All lose their power at once, and come back one after the other. */
  outage(name: string, cause: string): void {
    const downUs = exponential(this.random, this.options.downMeanUs);
    const apartUs = logarithmicRange(this.random, 10_000, apartUsMax);
    this.happened(name, null, () => `${cause}for about ${downUs} µs`);
    for (const place of this.owner.places) {
      const extraUs = exponential(this.random, apartUs);
      if (place.state !== PlaceState.down) this.owner.crash(place, true, downUs + extraUs);
    }
  }

  private pause(): void {
    const place = this.pick();
    const durationUs = exponential(this.random, this.options.pauseMeanUs) + 1;
    if (place.state !== PlaceState.up || place.paused || !this.mayStop(place)) return;
    this.happened("pauses", place, () => `for ${durationUs} µs`);
    place.pause(durationUs);
  }

  // ── Network ──────────────────────────────────────────────────────────────────────────────────

  private partition(): void {
    const { network, callbacks, places } = this.owner;
    const { random } = this;
    const durationUs = exponential(random, this.options.partitionMeanUs);
    const oneWay = random.chance(0.3);
    const clientsToo = random.chance(0.3);
    const ends = clientsToo ? network.ends : places.length;
    const side: number[] = [];
    for (let end = 0; end < ends; end += 1) side.push(random.below(2));
    const alone = random.chance(0.4) ? places[random.below(places.length)] : undefined;
    // A primary that goes on with some of the clients, and numbers what will not be the log's.
    const primary = random.chance(0.3) ? this.primary() : undefined;
    const one = primary ?? alone;
    if (one !== undefined) {
      for (let end = 0; end < places.length; end += 1) side[end] = 0;
      if (!clientsToo) side.fill(0);
      side[one.index] = 1;
    }
    const cut: [number, number][] = [];
    for (let from = 0; from < ends; from += 1) {
      for (let to = 0; to < ends; to += 1) {
        if (from === to || side[from] === side[to]) continue;
        if (oneWay && side[from] === 0) continue;
        if (network.isCut(from, to)) continue;
        network.cutLink(from, to);
        cut.push([from, to]);
      }
    }
    if (cut.length === 0) return;
    this.happened(oneWay ? "one-way partitions" : "partitions", null, () => {
      return `${side.join("")} for ${durationUs} µs`;
    });
    callbacks.after(durationUs, () => {
      for (const [from, to] of cut) network.restoreLink(from, to);
      if (one !== undefined) this.onBack(one);
    });
  }

  /** Some die soon after they can be reached again, with a log that others have gone on without. */
  onBack(place: Place): void {
    const { random, owner } = this;
    if (!this.active || !random.chance(0.4)) return;
    const { generation } = place;
    owner.callbacks.after(random.below(backUsMax), () => {
      if (!this.active || place.generation !== generation || !this.mayStop(place)) return;
      const power = random.chance(this.options.powerShare);
      const downUs = exponential(random, Math.min(this.options.downMeanUs, ambushDownUs));
      if (place.state === PlaceState.down) return;
      this.happened("kills after a partition", place, () => `for ${downUs} µs`);
      owner.crash(place, power, downUs);
    });
  }

  private primary(): Place | undefined {
    let primary: Place | undefined;
    let view = -1;
    for (const place of this.owner.places) {
      const replica = place.state === PlaceState.up ? place.parts!.replica : null;
      if (replica === null || !replica.isNormalPrimary || replica.view <= view) continue;
      primary = place;
      view = replica.view;
    }
    return primary;
  }

  private clog(): void {
    const { network, queue } = this.owner;
    const from = this.random.below(network.ends);
    const to = this.random.below(network.ends);
    const durationUs = exponential(this.random, this.options.clogMeanUs);
    if (from === to || Math.min(from, to) >= this.owner.places.length) return;
    network.clog(from, to, queue.nowUs + durationUs);
    this.happened("clogged links", null, () => `${from} to ${to} for ${durationUs} µs`);
  }

  // ── Clocks ───────────────────────────────────────────────────────────────────────────────────

  private jumpClock(): void {
    const place = this.pick();
    const max = this.options.clockJumpMaxUs;
    const jumpUs = this.random.range(-max, max);
    const skewUs = place.clock.skewUs + jumpUs;
    if (Math.abs(skewUs) >= skewUsMax) return;
    place.clock.skewUs = skewUs;
    this.happened("clock jumps", place, () => `${jumpUs} µs`);
  }

  // ── Disks ────────────────────────────────────────────────────────────────────────────────────

  private slowDisk(): void {
    const place = this.pick();
    const slowness = this.random.range(2, slownessMax);
    const durationUs = this.random.below(slowUsMax);
    if (place.disk.slowness !== 1) return;
    place.disk.slowness = slowness;
    this.owner.callbacks.after(durationUs, () => {
      place.disk.slowness = 1;
    });
    this.happened("slow disks", place, () => `${slowness} times for ${durationUs} µs`);
  }

  /** A machine has stopped: sometimes what it wrote last does not survive. */
  onCrash(place: Place): void {
    if (!this.active || !this.random.chance(this.options.tailRotShare)) return;
    this.damage.strikeTail(place);
  }

  private failDisk(): void {
    const place = this.pick();
    if (place.state === PlaceState.down) return;
    place.fatalAllowed = true;
    place.disk.failing = true;
    this.happened("disk errors", place, () => "");
  }

  private loseDisk(): void {
    const place = this.pick();
    const downUs = exponential(this.random, this.options.downMeanUs);
    if (!this.owner.atlas.mayLose(place.index)) return;
    if (this.owner.places.some(({ syncing }) => syncing)) return;
    this.happened("disks lost", place, () => `for ${downUs} µs`);
    this.owner.loseDisk(place, downUs);
  }

  private fillDisk(): void {
    const place = this.pick();
    const durationUs = this.random.below(fullUsMax);
    if (place.diskFull) return;
    place.diskFull = true;
    place.fatalAllowed = true;
    this.owner.callbacks.after(durationUs, () => {
      place.diskFull = false;
    });
    this.happened("full disks", place, () => `for ${durationUs} µs`);
  }

  /** Ends what lasts: paused, slow, full and failing machines, cut and clogged links. */
  heal(): void {
    this.active = false;
    this.ambush.disarm();
    const { network, places } = this.owner;
    network.healed = true;
    network.restoreLinks();
    network.unclog();
    for (const place of places) {
      place.disk.slowness = 1;
      place.diskFull = false;
      place.disk.misdirectRead = null;
      place.disk.misdirectWrite = null;
      assert(place.disk.timing.readUs > 0, "disks take time");
    }
  }
}
