/**
 * Damage to simulated disks: sectors that rot or cannot be read, reads and writes that go astray, the end
 * of a journal, a copy of a superblock. The atlas is asked first, and told afterwards.
 */
import { sectorSize } from "../../src/core/limits.ts";
import type { Prng } from "../../src/core/prng.ts";
import {
  headersPerSector,
  superblockCopies,
  superblockCopySize,
  superblockCopySpacing,
} from "../../src/wal/data-file.ts";
import { headerOp } from "../../src/wal/headers.ts";
import { superblockLayout } from "../../src/wal/superblock-layout.ts";
import { Command, frame } from "../../src/wire/header.ts";
import { Zone } from "./atlas.ts";
import type { FaultsOwner } from "./faults.ts";
import { type Place, PlaceState } from "./place.ts";

/** Places looked at for one that may be damaged. */
const attemptsMax = 12;

const sectorWords = sectorSize / 4;

/** Where the part of a superblock begins in which its copies are alike. Words. */
const coveredFrom = superblockLayout.word.magic;

/** What `Faults` does for damage. */
export interface DamageOwner {
  readonly world: FaultsOwner;
  readonly random: Prng;
  happened(name: string, place: Place | null, detail: () => string, a?: number, b?: number): void;
}

export class DiskDamage {
  private readonly world: FaultsOwner;
  private readonly random: Prng;
  private readonly one = new Uint32Array(sectorWords);
  private readonly oneBytes = new Uint8Array(this.one.buffer);
  private readonly other = new Uint32Array(sectorWords);

  constructor(private readonly owner: DamageOwner) {
    this.world = owner.world;
    this.random = owner.random;
  }

  /** Finds a place in use that may be damaged on this replica, or −1. */
  private findVictim(place: Place, zone: number): number {
    const { atlas } = this.world;
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
    const { layout } = this.world;
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

  strike(place: Place, kind: "rot" | "latent"): void {
    const zone = this.zones[this.random.below(this.zones.length)]!;
    const index = this.findVictim(place, zone);
    if (index === -1) return;
    const { atlas } = this.world;
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
    this.owner.happened(name, place, () => this.describe(sector * sectorSize), zone, index);
  }

  /** The newest prepare of a dead process. */
  strikeTail(place: Place): void {
    const { atlas, layout } = this.world;
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
    this.owner.happened("rotten tails", place, () => `op ${newestOp} in slot ${newest}`, newest);
  }

  /** One of the sectors of a place that are in use. */
  private sectorWithin(place: Place, zone: number, first: number): number {
    if (zone === Zone.headers) return 0;
    if (zone === Zone.grid) return this.random.below(this.world.layout.blockSize / sectorSize);
    let used = 1;
    while (used < 16 && !place.disk.isBlank(first + used)) used += 1;
    return this.random.below(used);
  }

  private describe(fileAt: number): string {
    return this.world.layout.describeOffset(fileAt);
  }

  misdirectRead(place: Place): void {
    if (place.disk.misdirectRead !== null) return;
    const { atlas } = this.world;
    place.disk.misdirectRead = (fileAt, length) => {
      const { zone, index } = atlas.areaAt(fileAt);
      if (!atlas.mayDamage(place.index, zone, index)) return -1;
      // What is read wrongly counts as lost: the replica may say so and write it again.
      const elsewhere = this.elsewhere(place, zone, index, length);
      if (elsewhere === -1 || !this.mayStrike(place, zone, index)) return -1;
      atlas.add(place.index, zone, index);
      this.owner.happened("misdirected reads", place, () => this.describe(fileAt), zone, index);
      return elsewhere;
    };
  }

  private elsewhere(place: Place, zone: number, index: number, length: number): number {
    const { atlas } = this.world;
    for (let attempt = 0; attempt < attemptsMax; attempt += 1) {
      const other = this.random.below(atlas.places(zone));
      const at = atlas.startOf(zone, other);
      if (other === index || place.disk.isBlank(at / sectorSize)) continue;
      if (at + length > place.disk.sectorsMax * sectorSize) continue;
      return at;
    }
    return -1;
  }

  misdirectWrite(place: Place): void {
    if (place.disk.misdirectWrite !== null) return;
    const { atlas } = this.world;
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
      this.owner.happened("misdirected writes", place, () => this.describe(fileAt), zone, index);
      return elsewhere;
    };
  }

  /** One copy, and only while all are sound and nobody writes them: two more would be too many. */
  strikeSuperblock(place: Place): void {
    const copy = this.random.below(superblockCopies);
    const latent = this.random.chance(0.5);
    if (this.world.atlas.damaged(place.index) > 0 || !this.superblockSound(place)) return;
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
    this.owner.happened("superblock copies", place, () => `copy ${copy}`, copy);
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
}
