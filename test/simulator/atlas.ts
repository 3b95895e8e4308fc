/**
 * The budget of damage to disks. A cluster survives any one fault anywhere, and more only where
 * enough sound copies remain; the atlas knows which places are damaged on which replicas and says
 * whether one more may be. What it guarantees:
 *
 * - What a replication quorum holds stays intact on at least one of them: each journal slot, grid
 *   block and reply slot is damaged on at most (replication quorum − 1) replicas at a time. So a
 *   cluster of one suffers no damage at all beyond what a crash does to writes in flight.
 * - A journal slot's prepare and its redundant header are never both damaged on one replica: that
 *   double fault looks like an op that never was.
 *
 * A torn write of a prepare counts as damage: a replica that finds one may not say that it never
 * acknowledged the op, and with too many such replicas a cluster rightly waits for ever.
 *
 * A disk that is lost whole is damage to every place at once, until the replica has been rebuilt.
 *
 * Damage ends when the place is written again, whole and durably. Standbys are outside of the
 * budget: nobody depends on what they hold.
 */
import { assert } from "../../src/core/assert.ts";
import { replySlotSize, sectorSize } from "../../src/core/limits.ts";
import { type DataFileLayout, headersPerSector, prepareSlotSize } from "../../src/wal/data-file.ts";

export const Zone = { superblock: 0, headers: 1, prepares: 2, replies: 3, grid: 4 } as const;

/** A place in the data file that is damaged and repaired as a whole. */
export interface Area {
  zone: number;
  /** Header sector, journal slot, reply slot, or block address − 1. */
  index: number;
}

export class Atlas {
  /** Replicas on which one place may be damaged at a time. */
  private readonly damagedMax: number;
  private readonly votersMask: number;
  /** Per place: one bit per replica. */
  private readonly damage: readonly Uint8Array[];
  /** Bit per replica: its whole disk was lost, and it has not caught up. */
  private lost = 0;
  /** Damaged places per replica. */
  private readonly counts: number[];
  private readonly area: Area = { zone: 0, index: 0 };

  constructor(
    private readonly layout: DataFileLayout,
    replicaCount: number,
    replicaTotal: number,
    replicationQuorum: number,
    gridBlocks: number,
  ) {
    assert(replicaTotal <= 8, "one bit per replica");
    this.damagedMax = replicationQuorum - 1;
    this.votersMask = (1 << replicaCount) - 1;
    const { slotCount, clientsMax } = layout;
    this.damage = [
      new Uint8Array(1),
      new Uint8Array(slotCount / headersPerSector),
      new Uint8Array(slotCount),
      new Uint8Array(clientsMax),
      new Uint8Array(gridBlocks),
    ];
    this.counts = new Array<number>(replicaTotal).fill(0);
  }

  /** The place at a file offset. Valid until the next call. */
  areaAt(fileAt: number): Area {
    const { layout, area } = this;
    if (fileAt < layout.headerRingAt) {
      area.zone = Zone.superblock;
      area.index = 0;
    } else if (fileAt < layout.prepareRingAt) {
      area.zone = Zone.headers;
      area.index = Math.floor((fileAt - layout.headerRingAt) / sectorSize);
    } else if (fileAt < layout.repliesAt) {
      area.zone = Zone.prepares;
      area.index = Math.floor((fileAt - layout.prepareRingAt) / prepareSlotSize);
    } else if (fileAt < layout.gridAt) {
      area.zone = Zone.replies;
      area.index = Math.floor((fileAt - layout.repliesAt) / replySlotSize);
    } else {
      area.zone = Zone.grid;
      area.index = Math.floor((fileAt - layout.gridAt) / layout.blockSize);
    }
    return area;
  }

  /** Offset of a place. */
  startOf(zone: number, index: number): number {
    const { layout } = this;
    if (zone === Zone.headers) return layout.headerRingAt + index * sectorSize;
    if (zone === Zone.prepares) return layout.prepareAt(index);
    if (zone === Zone.replies) return layout.replyAt(index);
    if (zone === Zone.grid) return layout.blockAt(index + 1);
    return layout.superblockAt;
  }

  places(zone: number): number {
    return this.damage[zone]!.length;
  }

  /** Whether a replica may lose what it has at this place. The superblock has rules of its own. */
  mayDamage(replica: number, zone: number, index: number): boolean {
    if (zone === Zone.superblock) return false;
    const bit = 1 << replica;
    if (zone === Zone.headers) {
      const first = index * headersPerSector;
      for (let slot = first; slot < first + headersPerSector; slot += 1) {
        if ((this.damage[Zone.prepares]![slot]! & bit) !== 0) return false;
        if (!this.fits(this.slotDamage(slot), bit)) return false;
      }
      return true;
    }
    if (zone === Zone.prepares) {
      const sector = Math.floor(index / headersPerSector);
      if ((this.damage[Zone.headers]![sector]! & bit) !== 0) return false;
      return this.fits(this.slotDamage(index), bit);
    }
    return this.fits(this.damage[zone]![index]!, bit);
  }

  private slotDamage(slot: number): number {
    const sector = Math.floor(slot / headersPerSector);
    return this.damage[Zone.prepares]![slot]! | this.damage[Zone.headers]![sector]!;
  }

  private fits(damaged: number, bit: number): boolean {
    if ((bit & this.votersMask) === 0) return true;
    return bitCount((damaged | this.lost | bit) & this.votersMask) <= this.damagedMax;
  }

  add(replica: number, zone: number, index: number): void {
    const places = this.damage[zone]!;
    const bit = 1 << replica;
    if ((places[index]! & bit) !== 0) return;
    places[index]! |= bit;
    this.counts[replica]! += 1;
  }

  /** The place that begins at this offset was written again. */
  rewritten(replica: number, fileAt: number): void {
    if (this.counts[replica] === 0) return;
    const { zone, index } = this.areaAt(fileAt);
    if (zone === Zone.superblock || this.startOf(zone, index) !== fileAt) return;
    const places = this.damage[zone]!;
    const bit = 1 << replica;
    if ((places[index]! & bit) === 0) return;
    places[index]! &= ~bit;
    this.counts[replica]! -= 1;
  }

  /** Damaged places of a replica. */
  damaged(replica: number): number {
    return this.counts[replica]!;
  }

  isDamaged(replica: number, zone: number, index: number): boolean {
    return (this.damage[zone]![index]! & (1 << replica)) !== 0;
  }

  /** The replica's disk is gone: until `found` every place counts as damaged on it. */
  lose(replica: number): void {
    for (const places of this.damage) {
      for (let index = 0; index < places.length; index += 1) places[index]! &= ~(1 << replica);
    }
    this.counts[replica] = 0;
    this.lost |= 1 << replica;
  }

  found(replica: number): void {
    this.lost &= ~(1 << replica);
  }

  isLost(replica: number): boolean {
    return (this.lost & (1 << replica)) !== 0;
  }

  /** Whether the replica may lose its disk: the others have a copy of everything. */
  mayLose(replica: number): boolean {
    if (this.damagedMax < 1 || ((1 << replica) & this.votersMask) === 0) return false;
    if ((this.lost & this.votersMask) !== 0) return false;
    for (let other = 0; other < this.counts.length; other += 1) {
      if (other !== replica && this.counts[other]! > 0) return false;
    }
    return true;
  }
}

function bitCount(mask: number): number {
  let count = 0;
  for (let rest = mask; rest !== 0; rest &= rest - 1) count += 1;
  return count;
}
