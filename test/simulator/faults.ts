/**
 * What goes wrong, and when: for each kind of fault a stream of moments, with exponential pauses
 * between them, until the cluster is to be healed. Faults of disks ask the atlas first.
 */
import { assert } from "../../src/core/assert.ts";
import { sectorSize } from "../../src/core/limits.ts";
import type { Prng } from "../../src/core/prng.ts";
import {
  type DataFileLayout,
  headersPerSector,
  superblockCopies,
  superblockCopySize,
  superblockCopySpacing,
} from "../../src/wal/data-file.ts";
import { headerOp } from "../../src/wal/headers.ts";
import { superblockLayout } from "../../src/wal/superblock-layout.ts";
import { Command, frame } from "../../src/wire/header.ts";
import { Ambush, ambushDownUs } from "./ambush.ts";
import { type Atlas, Zone } from "./atlas.ts";
import { skewUsMax } from "./clock.ts";
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

/** Places looked at for one that may be damaged. */
const attemptsMax = 12;

const sectorWords = sectorSize / 4;

/** Where the part of a superblock begins in which its copies are alike. Words. */
const coveredFrom = superblockLayout.word.magic;

export class Faults {
  active = false;
  private readonly ambush: Ambush;
  private readonly one = new Uint32Array(sectorWords);
  private readonly oneBytes = new Uint8Array(this.one.buffer);
  private readonly other = new Uint32Array(sectorWords);

  constructor(
    private readonly owner: FaultsOwner,
    readonly options: FaultOptions,
    readonly random: Prng,
  ) {
    this.ambush = new Ambush(this);
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
    this.repeat(options.rotUs, () => this.damage("rot"));
    this.repeat(options.latentUs, () => this.damage("latent"));
    this.repeat(options.misdirectedReadUs, () => this.misdirectRead());
    this.repeat(options.misdirectedWriteUs, () => this.misdirectWrite());
    this.repeat(options.superblockUs, () => this.damageSuperblock());
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

  /** Finds a place in use that may be damaged on this replica, or −1. */
  private findVictim(place: Place, zone: number): number {
    const { atlas } = this.owner;
    for (let attempt = 0; attempt < attemptsMax; attempt += 1) {
      const index = this.random.below(atlas.places(zone));
      if (!atlas.mayDamage(place.index, zone, index)) continue;
      const fileAt = atlas.startOf(zone, index);
      if (place.disk.isBlank(fileAt / sectorSize)) continue;
      if (!this.mayStrike(place, zone, index)) continue;
      return index;
    }
    return -1;
  }

  /** Header and prepare of a slot must both say the same, or damage to one looks like a torn write. */
  private mayStrike(place: Place, zone: number, index: number): boolean {
    if (zone === Zone.prepares) return this.slotSettled(place, index);
    if (zone !== Zone.headers) return true;
    const first = index * headersPerSector;
    for (let slot = first; slot < first + headersPerSector; slot += 1) {
      if (!this.slotSettled(place, slot)) return false;
    }
    return true;
  }

  private slotSettled(place: Place, slot: number): boolean {
    const { layout } = this.owner;
    const headerAt = layout.headerSectorAt(slot);
    const prepareAt = layout.prepareAt(slot);
    if (!place.disk.isQuiet(headerAt, sectorSize)) return false;
    if (!place.disk.isQuiet(prepareAt, sectorSize)) return false;
    place.disk.peek(headerAt / sectorSize, this.one, 0);
    place.disk.peek(prepareAt / sectorSize, this.other, 0);
    const at = (slot % headersPerSector) * 64;
    for (let word = 0; word < 64; word += 1) {
      if (this.one[at + word] !== this.other[word]) return false;
    }
    return true;
  }

  private readonly zones = [Zone.headers, Zone.prepares, Zone.prepares, Zone.replies, Zone.grid];

  private damage(kind: "rot" | "latent"): void {
    const place = this.pick();
    const zone = this.zones[this.random.below(this.zones.length)]!;
    const index = this.findVictim(place, zone);
    if (index === -1) return;
    const { atlas } = this.owner;
    const first = atlas.startOf(zone, index) / sectorSize;
    const sector = first + this.sectorWithin(place, zone, first);
    if (kind === "latent") {
      place.disk.makeUnreadable(sector);
    } else {
      place.disk.peek(sector, this.one, 0);
      const flips = this.random.range(1, 8);
      for (let flip = 0; flip < flips; flip += 1) {
        this.one[this.random.below(sectorWords)]! ^= 1 << this.random.below(32);
      }
      place.disk.overwrite(sector, this.one);
    }
    atlas.add(place.index, zone, index);
    const name = kind === "rot" ? "rotten sectors" : "unreadable sectors";
    this.happened(name, place, () => this.describe(sector * sectorSize), zone, index);
  }

  /** A machine has stopped: sometimes what it wrote last does not survive. */
  onCrash(place: Place): void {
    if (!this.active || !this.random.chance(this.options.tailRotShare)) return;
    const { atlas, layout } = this.owner;
    let newest = -1;
    let newestOp = 0;
    for (let slot = 0; slot < layout.slotCount; slot += 1) {
      place.disk.peek(layout.prepareAt(slot) / sectorSize, this.one, 0);
      if (this.oneBytes[frame.at.command] !== Command.prepare) continue;
      const op = headerOp(this.one, 0);
      if (op <= newestOp || !this.slotSettled(place, slot)) continue;
      newest = slot;
      newestOp = op;
    }
    if (newest === -1 || !atlas.mayDamage(place.index, Zone.prepares, newest)) return;
    const sector = atlas.startOf(Zone.prepares, newest) / sectorSize;
    place.disk.peek(sector, this.one, 0);
    this.one[this.random.below(64)]! ^= 1 << this.random.below(32);
    place.disk.overwrite(sector, this.one);
    atlas.add(place.index, Zone.prepares, newest);
    this.happened("rotten tails", place, () => `op ${newestOp} in slot ${newest}`, newest);
  }

  /** One of the sectors of a place that are in use. */
  private sectorWithin(place: Place, zone: number, first: number): number {
    if (zone === Zone.headers) return 0;
    if (zone === Zone.grid) return this.random.below(this.owner.layout.blockSize / sectorSize);
    let used = 1;
    while (used < 16 && !place.disk.isBlank(first + used)) used += 1;
    return this.random.below(used);
  }

  private describe(fileAt: number): string {
    return this.owner.layout.describeOffset(fileAt);
  }

  private misdirectRead(): void {
    const place = this.pick();
    if (place.disk.misdirectRead !== null) return;
    const { atlas } = this.owner;
    place.disk.misdirectRead = (fileAt, length) => {
      const { zone, index } = atlas.areaAt(fileAt);
      if (!atlas.mayDamage(place.index, zone, index)) return -1;
      // What is read wrongly counts as lost: the replica may say so and write it again.
      const elsewhere = this.elsewhere(place, zone, index, length);
      if (elsewhere === -1 || !this.mayStrike(place, zone, index)) return -1;
      atlas.add(place.index, zone, index);
      this.happened("misdirected reads", place, () => this.describe(fileAt), zone, index);
      return elsewhere;
    };
  }

  private elsewhere(place: Place, zone: number, index: number, length: number): number {
    const { atlas } = this.owner;
    for (let attempt = 0; attempt < attemptsMax; attempt += 1) {
      const other = this.random.below(atlas.places(zone));
      const at = atlas.startOf(zone, other);
      if (other === index || place.disk.isBlank(at / sectorSize)) continue;
      if (at + length > place.disk.sectorsMax * sectorSize) continue;
      return at;
    }
    return -1;
  }

  private misdirectWrite(): void {
    const place = this.pick();
    if (place.disk.misdirectWrite !== null) return;
    const { atlas } = this.owner;
    place.disk.misdirectWrite = (fileAt, length) => {
      const { zone, index } = atlas.areaAt(fileAt);
      // A prepare that never reached its slot, in a crash before its header, would look like one
      // that never was. Blocks and replies are only ever read by reference.
      if (zone !== Zone.grid && zone !== Zone.replies) return -1;
      if (!atlas.mayDamage(place.index, zone, index)) return -1;
      const victim = this.findVictim(place, zone);
      if (victim === -1 || victim === index) return -1;
      const elsewhere = atlas.startOf(zone, victim);
      if (!place.disk.isQuiet(elsewhere, length)) return -1;
      atlas.add(place.index, zone, index);
      atlas.add(place.index, zone, victim);
      this.happened("misdirected writes", place, () => this.describe(fileAt), zone, index);
      return elsewhere;
    };
  }

  /** One copy, and only while all are sound and nobody writes them: two more would be too many. */
  private damageSuperblock(): void {
    const place = this.pick();
    const copy = this.random.below(superblockCopies);
    const latent = this.random.chance(0.5);
    if (this.owner.atlas.damaged(place.index) > 0 || !this.superblockSound(place)) return;
    const sector =
      (copy * superblockCopySpacing) / sectorSize +
      this.random.below(superblockCopySize / sectorSize);
    if (latent) {
      place.disk.makeUnreadable(sector);
    } else {
      place.disk.peek(sector, this.one, 0);
      this.one[this.random.below(sectorWords)]! ^= 1 << this.random.below(32);
      place.disk.overwrite(sector, this.one);
    }
    this.happened("superblock copies", place, () => `copy ${copy}`, copy);
  }

  /** True when the process is dead and its superblocks are all the same. */
  private superblockSound(place: Place): boolean {
    if (place.state !== PlaceState.down) return false;
    const sectors = superblockCopySize / sectorSize;
    for (let copy = 1; copy < superblockCopies; copy += 1) {
      for (let sector = 0; sector < sectors; sector += 1) {
        const there = (copy * superblockCopySpacing) / sectorSize + sector;
        if (place.disk.isUnreadable(sector) || place.disk.isUnreadable(there)) return false;
        place.disk.peek(sector, this.one, 0);
        place.disk.peek(there, this.other, 0);
        // Checksum and copy number differ; what the checksum covers must not.
        for (let word = sector === 0 ? coveredFrom : 0; word < sectorWords; word += 1) {
          if (this.one[word] !== this.other[word]) return false;
        }
      }
    }
    return true;
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
