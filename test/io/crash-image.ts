/**
 * What a disk may hold after a crash, from the log of a run (recording-io.ts).
 *
 * A write is *stable* once it ended well and was durable, or a sync that began after its end ended
 * well. After a crash every stable write is there unless a later write to the sector is. A write
 * that began but is not stable may be there or not, sector by sector: torn, lost, or kept while an
 * earlier one is lost. A write that failed never becomes stable.
 *
 * Writes to one sector are never in flight together, so they have an order: that of their numbers
 * in the log. Hence a state of the disk is one number per sector, the write that is seen there, and
 * −1 for the base image:
 *
 *     stable[s] ≤ seen[s], and seen[s] is stable[s] or an unstable write to s that has begun
 *
 * `CrashImages` moves through the crash points in rising order and keeps `stable` up to date, so
 * that a thousand points cost little more than one pass over the log.
 */
import { closeSync, ftruncateSync, openSync, readSync, rmSync, writeSync } from "node:fs";
import { assert } from "../../src/core/assert.ts";
import { sectorSize } from "../../src/core/limits.ts";
import type { Prng } from "../../src/core/prng.ts";
import type { FileHandle } from "../../src/io/io.ts";
import type { IoLog, RecordedSync, RecordedWrite } from "./recording-io.ts";

const fromBase = -1;

/** A file's content before the run, without its zero sectors. */
export class BaseImage {
  private readonly sectors = new Map<number, Uint8Array>();

  constructor(readonly sizeBytes: number) {
    assert(sizeBytes % sectorSize === 0, "an image is whole sectors");
  }

  static fromFile(path: string, sizeBytes: number): BaseImage {
    const image = new BaseImage(sizeBytes);
    const chunk = new Uint8Array(1024 * 1024);
    const fd = openSync(path, "r");
    try {
      for (let at = 0; at < sizeBytes; ) {
        const count = readSync(fd, chunk, 0, Math.min(chunk.length, sizeBytes - at), at);
        assert(count > 0 && count % sectorSize === 0, "the file has the size of the image");
        image.set(at, chunk.subarray(0, count));
        at += count;
      }
    } finally {
      closeSync(fd);
    }
    return image;
  }

  set(fileAt: number, bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; at += sectorSize) {
      const sector = bytes.subarray(at, at + sectorSize);
      const index = (fileAt + at) / sectorSize;
      if (sector.every((byte) => byte === 0)) this.sectors.delete(index);
      else this.sectors.set(index, sector.slice());
    }
  }

  /** The sector's bytes; null for zeros. */
  sector(index: number): Uint8Array | null {
    return this.sectors.get(index) ?? null;
  }

  get sectorsUsed(): Iterable<number> {
    return this.sectors.keys();
  }
}

/** Sectors gathered for one write call. */
const stageSectors = 256;

/** One state of the file after a crash. */
export class CrashImage {
  constructor(
    private readonly log: IoLog,
    private readonly base: BaseImage,
    /** Per sector: the write that is seen there. */
    readonly seen: Int32Array,
    /** Per sector: 1 when the base image or a write has anything there. */
    private readonly used: Uint8Array,
  ) {}

  /** The bytes of a sector, without zeros at its end; null for zeros alone. */
  sector(index: number): Uint8Array | null {
    const number = this.seen[index] as number;
    if (number === fromBase) return this.base.sector(index);
    const write = this.log.writes[number] as RecordedWrite;
    const at = index * sectorSize - write.fileAt;
    if (at >= write.bytes.length) return null;
    return write.bytes.subarray(at, at + sectorSize);
  }

  /** The whole image; for small ones. */
  toBytes(): Uint8Array {
    const bytes = new Uint8Array(this.base.sizeBytes);
    for (let index = 0; index < this.seen.length; index += 1) {
      const sector = this.sector(index);
      if (sector !== null) bytes.set(sector, index * sectorSize);
    }
    return bytes;
  }

  /** Makes `path` hold the image, as a sparse file. */
  writeTo(path: string): void {
    const stage = new Uint8Array(stageSectors * sectorSize);
    // A new file: ext4 writes out at once what replaces a truncated one.
    rmSync(path, { force: true });
    const fd = openSync(path, "wx", 0o600);
    let staged = 0;
    const flush = (end: number): void => {
      const size = staged * sectorSize;
      const written = writeSync(fd, stage, 0, size, end * sectorSize - size);
      assert(written === size, "the image is written whole");
      stage.fill(0, 0, size);
      staged = 0;
    };
    try {
      ftruncateSync(fd, this.base.sizeBytes);
      for (let index = 0; index < this.used.length; index += 1) {
        const sector = this.used[index] === 1 ? this.sector(index) : null;
        if (staged === stageSectors || (sector === null && staged > 0)) flush(index);
        if (sector === null) continue;
        stage.set(sector, staged * sectorSize);
        staged += 1;
      }
      if (staged > 0) flush(this.used.length);
    } finally {
      closeSync(fd);
    }
  }
}

/** Builds images of one file at rising crash points. */
export class CrashImages {
  private readonly stable: Int32Array;
  private readonly used: Uint8Array;
  /** Event at which each write of the log became stable; infinite for never. */
  private readonly stableAt: Float64Array;
  /** Numbers of this file's writes that have begun and are not stable, rising. */
  private unstable: number[] = [];
  private nextWrite = 0;
  private crashPoint = 0;

  constructor(
    private readonly log: IoLog,
    private readonly file: FileHandle,
    private readonly base: BaseImage,
  ) {
    const sectors = base.sizeBytes / sectorSize;
    this.stable = new Int32Array(sectors).fill(fromBase);
    this.used = new Uint8Array(sectors);
    for (const index of base.sectorsUsed) this.used[index] = 1;
    this.stableAt = stableEvents(log, file);
  }

  /** @param crashPoint - Not below that of the call before. */
  build(crashPoint: number, random: Prng): CrashImage {
    this.advance(crashPoint);
    const seen = this.stable.slice();
    const fate = random.below(10);
    for (const number of this.unstable) {
      const write = this.log.writes[number] as RecordedWrite;
      // Some crashes lose, and some keep, all that was in flight.
      const keep = fate === 0 ? Keep.none : fate === 1 ? Keep.all : drawKeep(random);
      this.keepPart(seen, number, write, keep, random);
    }
    return new CrashImage(this.log, this.base, seen, this.used.slice());
  }

  /** Writes of this file that may be lost or torn at the crash point of the last image. */
  get unstableCount(): number {
    return this.unstable.length;
  }

  private advance(crashPoint: number): void {
    assert(crashPoint >= this.crashPoint, "crash points rise");
    assert(crashPoint <= this.log.position, "a crash point lies in the log");
    this.crashPoint = crashPoint;
    for (; this.nextWrite < this.log.writes.length; this.nextWrite += 1) {
      const write = this.log.writes[this.nextWrite] as RecordedWrite;
      if (write.begunAt >= crashPoint) break;
      if (write.file !== this.file) continue;
      assert(write.fileAt + write.length <= this.base.sizeBytes, "writes lie in the image");
      this.unstable.push(this.nextWrite);
      const first = write.fileAt / sectorSize;
      this.used.fill(1, first, first + write.length / sectorSize);
    }
    this.unstable = this.unstable.filter((number) => {
      if ((this.stableAt[number] as number) >= crashPoint) return true;
      this.settle(number);
      return false;
    });
  }

  private settle(number: number): void {
    const write = this.log.writes[number] as RecordedWrite;
    const first = write.fileAt / sectorSize;
    for (let index = first; index < first + write.length / sectorSize; index += 1) {
      // A later write may have become stable first.
      if ((this.stable[index] as number) < number) this.stable[index] = number;
    }
  }

  private keepPart(
    seen: Int32Array,
    number: number,
    write: RecordedWrite,
    keep: Keep,
    random: Prng,
  ): void {
    const first = write.fileAt / sectorSize;
    const count = write.length / sectorSize;
    const prefix = keep === Keep.prefix ? random.below(count + 1) : 0;
    for (let at = 0; at < count; at += 1) {
      const kept = keep === Keep.all || (keep === Keep.some ? random.chance(0.5) : at < prefix);
      // Never over a later write that is stable.
      if (kept && (seen[first + at] as number) < number) seen[first + at] = number;
    }
  }
}

/** How much of an unstable write is there after the crash. */
const Keep = { none: 0, all: 1, prefix: 2, some: 3 } as const;
type Keep = (typeof Keep)[keyof typeof Keep];

function drawKeep(random: Prng): Keep {
  return random.below(4) as Keep;
}

/** Per write of the log: the event that made it stable, for the writes to `file`. */
function stableEvents(log: IoLog, file: FileHandle): Float64Array {
  const syncs = log.syncs.filter((sync) => sync.file === file && sync.result === 0);
  // earliest[i]: the first end among syncs[i…], which are in the order of their begin.
  const earliest = new Float64Array(syncs.length + 1).fill(Number.POSITIVE_INFINITY);
  for (let at = syncs.length - 1; at >= 0; at -= 1) {
    earliest[at] = Math.min((syncs[at] as RecordedSync).endedAt, earliest[at + 1] as number);
  }
  const stableAt = new Float64Array(log.writes.length).fill(Number.POSITIVE_INFINITY);
  for (const [number, write] of log.writes.entries()) {
    if (write.file !== file || write.result !== write.length) continue;
    stableAt[number] = write.durable
      ? write.endedAt
      : (earliest[firstBegunAfter(syncs, write.endedAt)] as number);
  }
  return stableAt;
}

function firstBegunAfter(syncs: readonly RecordedSync[], event: number): number {
  let low = 0;
  let high = syncs.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((syncs[middle] as RecordedSync).begunAt > event) high = middle;
    else low = middle + 1;
  }
  return low;
}

/** One image; for many of the same log, `CrashImages` is the cheaper way. */
export function buildCrashImage(
  log: IoLog,
  file: FileHandle,
  crashPoint: number,
  random: Prng,
  base: BaseImage,
): CrashImage {
  return new CrashImages(log, file, base).build(crashPoint, random);
}
