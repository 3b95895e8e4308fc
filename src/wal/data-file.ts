/**
 * The data file's zones: where everything lies, computed from the format options that the
 * superblock records. Nothing else in the program knows an offset.
 *
 *     superblock · header ring · prepare ring · client replies · grid
 *
 * Invariants:
 * - Every zone starts at a multiple of its own unit and of the sector size; the grid, which grows
 *   with the file, is last.
 * - Options that change where bytes lie or what replicas write are format constants: all replicas
 *   of a cluster share them (they are part of the root prepare, see headers.ts), and a file keeps
 *   them for life.
 */
import { assert } from "../core/assert.ts";
import {
  blockSize,
  clientsMaxDefault,
  clientsMaxLimit,
  headerSize,
  messageSizeMax,
  pageSize,
  pipelinePrepareMax,
  replicasMax,
  replySlotSize,
  sectorSize,
  standbysMax,
} from "../core/limits.ts";

/** Version of everything that this file and its neighbours lay out. Raised by any change to it. */
export const formatVersion = 1;

/** Copies of the superblock, their size in use, and their distance. Bytes. */
export const superblockCopies = 4;
export const superblockCopySize = 8 * 1024;
/** Apart, so that one damaged stretch of the disk takes few copies. */
export const superblockCopySpacing = 16 * 1024;

/** A slot of the prepare ring holds the largest message. Bytes. */
export const prepareSlotSize = messageSizeMax;

/** Redundant headers that share a sector. */
export const headersPerSector = sectorSize / headerSize;

/** The grid starts at a multiple of this, whatever the block size. Bytes. */
export const gridAlignment = 64 * 1024;

const slotCountMax = 64 * 1024;

export interface FormatOptions {
  /** 128-bit id of the cluster: four words. */
  readonly cluster: Uint32Array;
  /** Index of this replica: voting ones 0 … replicaCount − 1, standbys after them. */
  readonly replica: number;
  readonly replicaCount: number;
  /** Slots of the journal ring. */
  readonly slotCount: number;
  /** Ops from one checkpoint to the next. */
  readonly checkpointInterval: number;
  /** Ops per bar, the unit in which background work is scheduled. */
  readonly barOps: number;
  /** Client sessions. */
  readonly clientsMax: number;
  readonly blockSize: number;
  readonly pageSize: number;
  readonly formatVersion: number;
}

/** The options that a preset fixes; the caller adds who the replica is. */
export type FormatPreset = Omit<FormatOptions, "cluster" | "replica" | "replicaCount">;

export const defaultPreset: FormatPreset = {
  slotCount: 1024,
  checkpointInterval: 480,
  barOps: 32,
  clientsMax: clientsMaxDefault,
  blockSize,
  pageSize,
  formatVersion,
};

/** Small and quick to create; the same code with the same rules. */
export const developmentPreset: FormatPreset = {
  slotCount: 64,
  checkpointInterval: 20,
  barOps: 4,
  clientsMax: 64,
  blockSize,
  pageSize,
  formatVersion,
};

/** Says what is wrong with the options, or null: they come from users and from disks. */
export function checkFormatOptions(options: FormatOptions): string | null {
  const { slotCount, checkpointInterval, barOps, clientsMax, replica, replicaCount } = options;
  if (options.cluster.length !== 4) return "the cluster id is not 128 bits";
  if (options.formatVersion !== formatVersion) {
    return `format version ${options.formatVersion}, this program writes ${formatVersion}`;
  }
  if (!inRange(replicaCount, 1, replicasMax)) return `replica count ${replicaCount} is not 1…6`;
  if (!inRange(replica, 0, replicaCount + standbysMax - 1)) {
    return `replica ${replica} is outside a cluster of ${replicaCount}`;
  }
  if (!inRange(slotCount, headersPerSector, slotCountMax) || slotCount % headersPerSector !== 0) {
    return `${slotCount} journal slots: not a multiple of ${headersPerSector} up to ${slotCountMax}`;
  }
  if (!inRange(barOps, 1, slotCount)) return `bar of ${barOps} ops`;
  if (!inRange(checkpointInterval, 1, slotCount) || checkpointInterval % barOps !== 0) {
    return `checkpoint interval of ${checkpointInterval} ops is not a multiple of the bar, ${barOps}`;
  }
  const slotsNeeded = 2 * checkpointInterval + barOps + 2 * pipelinePrepareMax;
  if (slotCount < slotsNeeded) {
    return `${slotCount} journal slots are too few for this checkpoint interval: ${slotsNeeded} needed`;
  }
  if (!inRange(clientsMax, 1, clientsMaxLimit)) return `${clientsMax} clients: not 1…4096`;
  if (options.blockSize !== blockSize) return `block size ${options.blockSize} is not ${blockSize}`;
  if (options.pageSize !== pageSize) return `page size ${options.pageSize} is not ${pageSize}`;
  return null;
}

function inRange(value: number, min: number, max: number): boolean {
  return Number.isInteger(value) && value >= min && value <= max;
}

export class DataFileLayout {
  readonly slotCount: number;
  readonly clientsMax: number;
  readonly blockSize: number;

  readonly superblockAt = 0;
  readonly headerRingAt: number;
  readonly headerRingSize: number;
  readonly prepareRingAt: number;
  readonly prepareRingSize: number;
  readonly repliesAt: number;
  readonly repliesSize: number;
  /** Everything up to here is written when the file is formatted. */
  readonly gridAt: number;

  /** @param options - Checked by `checkFormatOptions`. */
  constructor(readonly options: FormatOptions) {
    assert(checkFormatOptions(options) === null, "format options were checked");
    this.slotCount = options.slotCount;
    this.clientsMax = options.clientsMax;
    this.blockSize = options.blockSize;
    this.headerRingAt = superblockCopies * superblockCopySpacing;
    this.headerRingSize = this.slotCount * headerSize;
    this.prepareRingAt = this.headerRingAt + this.headerRingSize;
    this.prepareRingSize = this.slotCount * prepareSlotSize;
    this.repliesAt = this.prepareRingAt + this.prepareRingSize;
    this.repliesSize = this.clientsMax * replySlotSize;
    const repliesEnd = this.repliesAt + this.repliesSize;
    this.gridAt = Math.ceil(repliesEnd / gridAlignment) * gridAlignment;
    assert(this.headerRingSize % sectorSize === 0, "the header ring is whole sectors");
    assert(this.prepareRingAt % sectorSize === 0, "prepares start at sectors");
    assert(this.repliesAt % sectorSize === 0, "replies start at sectors");
    assert(this.gridAt % this.blockSize === 0, "blocks are aligned to their size");
  }

  /** The one slot of an op. */
  slotOf(op: number): number {
    return op % this.slotCount;
  }

  superblockCopyAt(copy: number): number {
    assert(copy >= 0 && copy < superblockCopies, "superblock copy exists");
    return this.superblockAt + copy * superblockCopySpacing;
  }

  /** Offset of the sector that holds the redundant header of `slot`. */
  headerSectorAt(slot: number): number {
    assert(slot >= 0 && slot < this.slotCount, "journal slot exists");
    return this.headerRingAt + Math.floor(slot / headersPerSector) * sectorSize;
  }

  prepareAt(slot: number): number {
    assert(slot >= 0 && slot < this.slotCount, "journal slot exists");
    return this.prepareRingAt + slot * prepareSlotSize;
  }

  replyAt(slot: number): number {
    assert(slot >= 0 && slot < this.clientsMax, "reply slot exists");
    return this.repliesAt + slot * replySlotSize;
  }

  /** Offset of a grid block. Addresses start at 1, so that 0 can mean none. */
  blockAt(address: number): number {
    assert(address >= 1, "block addresses start at 1");
    return this.gridAt + (address - 1) * this.blockSize;
  }

  /** Size of a file that holds grid blocks 1 … `blocks`. */
  fileSize(blocks: number): number {
    return this.gridAt + blocks * this.blockSize;
  }

  /** The name of the place at a file offset, for messages to people. */
  describeOffset(offset: number): string {
    if (offset < this.headerRingAt) {
      const within = offset % superblockCopySpacing;
      const copy = Math.floor(offset / superblockCopySpacing);
      if (within >= superblockCopySize) return `unused space after superblock copy ${copy}`;
      return `superblock copy ${copy}`;
    }
    if (offset < this.prepareRingAt) {
      return `journal slot ${Math.floor((offset - this.headerRingAt) / headerSize)} (header)`;
    }
    if (offset < this.repliesAt) {
      return `journal slot ${Math.floor((offset - this.prepareRingAt) / prepareSlotSize)} (prepare)`;
    }
    if (offset < this.repliesAt + this.repliesSize) {
      return `client reply slot ${Math.floor((offset - this.repliesAt) / replySlotSize)}`;
    }
    if (offset < this.gridAt) return "unused space before the grid";
    return `grid block ${Math.floor((offset - this.gridAt) / this.blockSize) + 1}`;
  }
}

/** Rounds a length up to whole sectors. */
export function sectorCeil(length: number): number {
  return Math.ceil(length / sectorSize) * sectorSize;
}

/** A cluster id, checksum or other 128-bit number for messages to people: hexadecimal. */
export function u128Text(words: Uint32Array, at: number): string {
  let text = "";
  for (let word = 3; word >= 0; word -= 1) text += words[at + word]!.toString(16).padStart(8, "0");
  return text;
}

assert(superblockCopySize <= superblockCopySpacing, "superblock copies do not overlap");
assert(superblockCopySpacing % sectorSize === 0, "superblock copies start at sectors");
assert(prepareSlotSize % sectorSize === 0, "slots are whole sectors");
assert(sectorSize % headerSize === 0, "headers pack into sectors");
assert(gridAlignment % blockSize === 0, "the grid's start is aligned for blocks");
