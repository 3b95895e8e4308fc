/**
 * A simulated disk with one file, and what it does to the process that uses it: latency, reordering,
 * and at a crash torn and lost writes. It keeps what io.ts promises and nothing more:
 *
 *   in flight ── completed ──▶ volatile ── a sync that began later completed ──▶ stable
 *             ── completed, durable ───────────────────────────────────────────▶ stable
 *
 * When power is cut, a write in flight leaves each of its sectors old, new or torn, and a volatile
 * write leaves each of its sectors old or new. When the process alone dies, volatile writes stay
 * volatile. The content of a write is taken when it is submitted and compared when it completes:
 * the range belongs to the disk until then. Writes to one sector are never in flight together;
 * what they would leave is not defined.
 *
 * Faults (rot, latent errors, misdirection) are done to a disk by faults.ts.
 */
import { sectorSize } from "../../src/core/limits.ts";
import type { Prng } from "../../src/core/prng.ts";
import { type Completion, Errno, type IoBuffer } from "../../src/io/io.ts";
import { FileOperation, SubmittedFileIo } from "../wal/submitted-file-io.ts";
import { type EventQueue, SimulatedEvent } from "./event-queue.ts";
import type { SectorPool } from "./sector-pool.ts";
import { exponential } from "./streams.ts";

const sectorWords = sectorSize / 4;

/** Mean times of an operation. Microseconds. */
export interface DiskTiming {
  readonly readUs: number;
  readonly writeUs: number;
  readonly syncUs: number;
}

/** The process that uses the disk, and the keeper of the faults' budget. */
export interface DiskHost {
  /** Hands an ended operation back, now or when the process runs again. */
  complete(completion: Completion): void;
  /** Whether a crash may leave a write to this range partly done, rather than old or new. */
  mayTear(fileAt: number, length: number): boolean;
  /** What is at this place now was written whole: damage to it is gone. */
  onRewritten(fileAt: number): void;
  fail(reason: string): never;
}

class DiskOperation extends SimulatedEvent {
  kind: number = FileOperation.read;
  completion: Completion | null = null;
  buffer: IoBuffer | null = null;
  bufferAt = 0;
  length = 0;
  fileAt = 0;
  durable = false;
  /** The process that began it is gone. */
  dead = false;
  /** What a write writes: sectors of the pool. */
  readonly sectors: number[] = [];
  /** For a sync: writes completed before it began. */
  completedBefore = 0;

  constructor(private readonly disk: { finish(operation: DiskOperation): void }) {
    super();
  }

  run(): void {
    this.disk.finish(this);
  }
}

export class SimulatedDisk {
  readonly sectorsMax: number;
  timing: DiskTiming = { readUs: 0, writeUs: 0, syncUs: 0 };
  /** Multiplies the times while the disk is slow. */
  slowness = 1;
  /** The next write, or sync, fails with −EIO, and every one after it. */
  failing = false;
  /** The next read returns what lies elsewhere: given its offset, that of another place, or −1. */
  misdirectRead: ((fileAt: number, length: number) => number) | null = null;
  /** The next write goes elsewhere, likewise. */
  misdirectWrite: ((fileAt: number, length: number) => number) | null = null;
  /** Told of every write that is submitted. */
  onWrite: ((fileAt: number) => void) | null = null;
  reads = 0;
  writes = 0;
  syncs = 0;

  /** Per sector: what is on stable storage. */
  private readonly stable: Int32Array;
  /** Per sector: the newest volatile write to it, as index + 1 into the three below; 0: none. */
  private readonly newest: Int32Array;
  /** Volatile writes, sector by sector, in the order of their completion; −1: superseded. */
  private volatileSector: number[] = [];
  private volatileContent: number[] = [];
  private volatileWrite: number[] = [];
  /** 1: written there by mistake. */
  private volatileAstray: number[] = [];
  /** Sectors that cannot be read until they are written. */
  private readonly unreadable: Uint8Array;
  private completedWrites = 0;
  private readonly inFlight: DiskOperation[] = [];
  private readonly free: DiskOperation[] = [];

  constructor(
    private readonly queue: EventQueue,
    private readonly pool: SectorPool,
    private readonly random: Prng,
    private readonly host: DiskHost,
    sizeBytes: number,
  ) {
    this.sectorsMax = sizeBytes / sectorSize;
    this.stable = new Int32Array(this.sectorsMax);
    this.newest = new Int32Array(this.sectorsMax);
    this.unreadable = new Uint8Array(this.sectorsMax);
  }

  /** Begins with a copy of this content. Sectors of the image are shared, not copied. */
  load(image: readonly number[]): void {
    for (let index = 0; index < image.length; index += 2) {
      this.stable[image[index]!] = this.pool.ref(image[index + 1]!);
    }
  }

  /** Gives all content back: nothing is left on the disk. Its process is dead. */
  clear(): void {
    for (const operation of this.inFlight) this.recycleContent(operation);
    this.inFlight.length = 0;
    for (const content of this.volatileContent) this.pool.unref(content);
    this.volatileSector.length = 0;
    this.volatileContent.length = 0;
    this.volatileWrite.length = 0;
    this.volatileAstray.length = 0;
    this.newest.fill(0);
    this.unreadable.fill(0);
    for (let sector = 0; sector < this.sectorsMax; sector += 1) {
      this.pool.unref(this.stable[sector]!);
      this.stable[sector] = 0;
    }
  }

  // ── Operations ───────────────────────────────────────────────────────────────────────────────

  submit(
    kind: number,
    completion: Completion,
    buffer: IoBuffer | null,
    bufferAt: number,
    length: number,
    fileAt: number,
    durable: boolean,
  ): void {
    const operation = this.free.pop() ?? new DiskOperation(this);
    operation.kind = kind;
    operation.completion = completion;
    operation.buffer = buffer;
    operation.bufferAt = bufferAt;
    operation.length = length;
    operation.fileAt = fileAt;
    operation.durable = durable;
    operation.dead = false;
    operation.completedBefore = this.completedWrites;
    if (kind === FileOperation.write) this.takeContent(operation);
    this.inFlight.push(operation);
    this.queue.schedule(operation, this.latency(kind, length));
    if (kind === FileOperation.write && this.onWrite !== null) this.onWrite(fileAt);
  }

  private latency(kind: number, length: number): number {
    const { readUs, writeUs, syncUs } = this.timing;
    const mean =
      kind === FileOperation.read ? readUs : kind === FileOperation.write ? writeUs : syncUs;
    // A gigabyte per second beside the time that a small one takes.
    const transfer = Math.floor(length / 1000);
    const time = Math.floor(mean / 2) + exponential(this.random, mean / 2) + transfer;
    return Math.floor(time * this.slowness);
  }

  private takeContent(operation: DiskOperation): void {
    const { fileAt, length } = operation;
    for (const other of this.inFlight) {
      if (other.kind !== FileOperation.write || other.dead) continue;
      if (other.fileAt < fileAt + length && fileAt < other.fileAt + other.length) {
        this.host.fail(`two writes in flight overlap at file offset ${fileAt}`);
      }
    }
    const words = operation.buffer!.words;
    const first = operation.bufferAt / 4;
    for (let at = 0; at < length / 4; at += sectorWords) {
      operation.sectors.push(this.pool.store(words, first + at));
    }
  }

  /** Internal: the time of an operation has come. */
  finish(operation: DiskOperation): void {
    if (operation.dead) {
      this.free.push(operation);
      return;
    }
    const completion = operation.completion!;
    completion.result = this.carryOut(operation);
    this.forget(operation);
    this.free.push(operation);
    this.host.complete(completion);
  }

  private forget(operation: DiskOperation): void {
    const last = this.inFlight.pop()!;
    if (last !== operation) this.inFlight[this.inFlight.indexOf(operation)] = last;
    operation.completion = null;
    operation.buffer = null;
  }

  private carryOut(operation: DiskOperation): number {
    if (operation.kind === FileOperation.read) return this.read(operation);
    if (operation.kind === FileOperation.write) return this.write(operation);
    this.syncs += 1;
    if (this.failing) return Errno.io;
    this.settle(operation.completedBefore);
    return 0;
  }

  private read(operation: DiskOperation): number {
    this.reads += 1;
    let { fileAt } = operation;
    const { length, buffer } = operation;
    if (this.misdirectRead !== null) {
      const elsewhere = this.misdirectRead(fileAt, length);
      if (elsewhere !== -1) {
        this.misdirectRead = null;
        fileAt = elsewhere;
      }
    }
    const words = buffer!.words;
    const target = operation.bufferAt / 4;
    const first = fileAt / sectorSize;
    for (let index = 0; index < length / sectorSize; index += 1) {
      if (this.unreadable[first + index] === 1) return Errno.io;
      this.pool.load(this.content(first + index), words, target + index * sectorWords);
    }
    return length;
  }

  private write(operation: DiskOperation): number {
    this.writes += 1;
    this.checkUnchanged(operation);
    const { length, durable, sectors } = operation;
    if (this.failing) {
      this.leaveUnfinished(operation, true);
      return Errno.io;
    }
    let { fileAt } = operation;
    if (this.misdirectWrite !== null) {
      const elsewhere = this.misdirectWrite(fileAt, length);
      if (elsewhere !== -1) {
        this.misdirectWrite = null;
        fileAt = elsewhere;
      }
    }
    this.completedWrites += 1;
    const first = fileAt / sectorSize;
    for (let index = 0; index < sectors.length; index += 1) {
      const content = sectors[index]!;
      if (durable) this.setStable(first + index, content);
      else this.setVolatile(first + index, content, fileAt !== operation.fileAt);
    }
    sectors.length = 0;
    if (durable && fileAt === operation.fileAt) this.host.onRewritten(fileAt);
    return length;
  }

  private checkUnchanged(operation: DiskOperation): void {
    const { buffer, bufferAt, sectors, fileAt } = operation;
    const { bytes, words } = buffer!;
    for (let index = 0; index < sectors.length; index += 1) {
      const at = bufferAt / 4 + index * sectorWords;
      if (this.pool.equals(sectors[index]!, bytes, words, at)) continue;
      this.host.fail(`a buffer changed while it was written to file offset ${fileAt}`);
    }
  }

  private recycleContent(operation: DiskOperation): void {
    for (const content of operation.sectors) this.pool.unref(content);
    operation.sectors.length = 0;
  }

  // ── Sectors ──────────────────────────────────────────────────────────────────────────────────

  /** What a reader sees: a sector of the pool. */
  content(sector: number): number {
    const newest = this.newest[sector]!;
    return newest === 0 ? this.stable[sector]! : this.volatileContent[newest - 1]!;
  }

  /** Takes over the reference. */
  private setStable(sector: number, content: number): void {
    if (this.newest[sector] !== 0) this.supersede(sector);
    this.pool.unref(this.stable[sector]!);
    this.stable[sector] = content;
    this.unreadable[sector] = 0;
  }

  private setVolatile(sector: number, content: number, astray: boolean): void {
    if (content === 0 && this.newest[sector] === 0 && this.stable[sector] === 0) {
      this.unreadable[sector] = 0;
      return;
    }
    this.volatileSector.push(sector);
    this.volatileContent.push(content);
    this.volatileWrite.push(this.completedWrites);
    this.volatileAstray.push(astray ? 1 : 0);
    this.newest[sector] = this.volatileSector.length;
    this.unreadable[sector] = 0;
  }

  /** A durable write replaces all volatile ones of its sector. */
  private supersede(sector: number): void {
    for (let index = 0; index < this.volatileSector.length; index += 1) {
      if (this.volatileSector[index] !== sector) continue;
      this.pool.unref(this.volatileContent[index]!);
      this.volatileContent[index] = 0;
      this.volatileSector[index] = -1;
    }
    this.newest[sector] = 0;
  }

  /** Makes the volatile writes up to this one stable. */
  private settle(completedBefore: number): void {
    let settled = 0;
    while (
      settled < this.volatileSector.length &&
      this.volatileWrite[settled]! <= completedBefore
    ) {
      const sector = this.volatileSector[settled]!;
      if (sector !== -1) {
        this.pool.unref(this.stable[sector]!);
        this.stable[sector] = this.volatileContent[settled]!;
        if (this.newest[sector] === settled + 1) this.newest[sector] = 0;
        if (this.volatileAstray[settled] === 0) this.host.onRewritten(sector * sectorSize);
      }
      settled += 1;
    }
    if (settled === 0) return;
    this.volatileSector = this.volatileSector.slice(settled);
    this.volatileContent = this.volatileContent.slice(settled);
    this.volatileWrite = this.volatileWrite.slice(settled);
    this.volatileAstray = this.volatileAstray.slice(settled);
    for (let index = 0; index < this.volatileSector.length; index += 1) {
      const sector = this.volatileSector[index]!;
      if (sector !== -1) this.newest[sector] = index + 1;
    }
  }

  // ── Crashes ──────────────────────────────────────────────────────────────────────────────────

  /** The process has died; with `power`, the caches are gone as well. */
  crash(power: boolean): void {
    const fate = this.random.below(10);
    if (power) {
      // In the order of completion, so that a later write is seen over an earlier one.
      for (let index = 0; index < this.volatileSector.length; index += 1) {
        const sector = this.volatileSector[index]!;
        if (sector === -1) continue;
        const content = this.volatileContent[index]!;
        this.newest[sector] = 0;
        if (fate === 1 || (fate !== 0 && this.random.chance(0.5))) {
          this.pool.unref(this.stable[sector]!);
          this.stable[sector] = content;
        } else {
          this.pool.unref(content);
        }
      }
      this.volatileSector.length = 0;
      this.volatileContent.length = 0;
      this.volatileWrite.length = 0;
      this.volatileAstray.length = 0;
    }
    for (const operation of this.inFlight) {
      operation.dead = true;
      operation.completion = null;
      if (operation.kind === FileOperation.write) {
        this.checkUnchanged(operation);
        this.leaveUnfinished(operation, power);
      }
      operation.buffer = null;
    }
    this.inFlight.length = 0;
    this.failing = false;
    this.misdirectRead = null;
    this.misdirectWrite = null;
  }

  /** A write that did not end well: what of it is on the disk is drawn. */
  private leaveUnfinished(operation: DiskOperation, power: boolean): void {
    const { random } = this;
    const { sectors, fileAt, length } = operation;
    this.completedWrites += 1;
    const first = fileAt / sectorSize;
    const tear = this.host.mayTear(fileAt, length);
    const fate = random.below(tear ? 5 : 2);
    const prefix = fate === 2 ? random.below(sectors.length + 1) : 0;
    for (let index = 0; index < sectors.length; index += 1) {
      const content = sectors[index]!;
      const kept = fate === 1 || index < prefix || (fate >= 3 && random.chance(0.5));
      if (kept) {
        if (power) this.setStable(first + index, content);
        else this.setVolatile(first + index, content, false);
      } else if (power && fate === 4 && random.chance(0.3)) {
        this.setStable(first + index, this.mixture(this.content(first + index), content));
        this.pool.unref(content);
      } else {
        this.pool.unref(content);
      }
    }
    sectors.length = 0;
    if (fate === 1 && power) this.host.onRewritten(fileAt);
  }

  /** A sector of which some units of 512 bytes are old and some new. */
  private mixture(before: number, after: number): number {
    const words = mixtureWords;
    this.pool.load(before, words, 0);
    this.pool.load(after, mixtureOther, 0);
    for (let unit = 0; unit < sectorWords; unit += 128) {
      if (this.random.chance(0.5)) words.set(mixtureOther.subarray(unit, unit + 128), unit);
    }
    return this.pool.store(words, 0);
  }

  // ── For faults and checks ────────────────────────────────────────────────────────────────────

  /** True when nothing is being written to this range. */
  isQuiet(fileAt: number, length: number): boolean {
    for (const other of this.inFlight) {
      if (other.kind !== FileOperation.write) continue;
      if (other.fileAt < fileAt + length && fileAt < other.fileAt + other.length) return false;
    }
    return true;
  }

  /** Copies a sector as a reader would see it. */
  peek(sector: number, target: Uint32Array, at: number): void {
    this.pool.load(this.content(sector), target, at);
  }

  /** True when the sector has never been written, or with zeros, and cannot rot visibly. */
  isBlank(sector: number): boolean {
    return this.content(sector) === 0;
  }

  /** Replaces what is stored in a sector, caches included: rot. */
  overwrite(sector: number, words: Uint32Array): void {
    this.setStable(sector, this.pool.store(words, 0));
  }

  isUnreadable(sector: number): boolean {
    return this.unreadable[sector] === 1;
  }

  makeUnreadable(sector: number): void {
    this.unreadable[sector] = 1;
  }

  get writesInFlight(): number {
    let count = 0;
    for (const operation of this.inFlight) if (operation.kind === FileOperation.write) count += 1;
    return count;
  }
}

const mixtureWords = new Uint32Array(sectorWords);
const mixtureOther = new Uint32Array(sectorWords);

/** The disk as one incarnation of a process sees it. */
export class DiskIo extends SubmittedFileIo {
  readonly sizeBytes: number;

  constructor(
    private readonly disk: SimulatedDisk,
    private readonly memory: { allocate(sizeBytes: number): IoBuffer },
  ) {
    super();
    this.sizeBytes = disk.sectorsMax * sectorSize;
  }

  allocate(sizeBytes: number): IoBuffer {
    return this.memory.allocate(sizeBytes);
  }

  protected submit(
    kind: number,
    completion: Completion,
    buffer: IoBuffer | null,
    bufferAt: number,
    length: number,
    fileAt: number,
    durable: boolean,
  ): void {
    this.disk.submit(kind, completion, buffer, bufferAt, length, fileAt, durable);
  }
}
