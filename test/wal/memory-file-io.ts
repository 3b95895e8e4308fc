/**
 * A data file in memory with the faults of a disk. Operations wait in a queue; `step` carries one
 * out, in an order drawn from a seed. A write that was carried out without `durable` is *volatile*
 * until a sync. At a crash
 * - each sector of a write in flight is old, new, a mixture of both in units of 512 bytes, or
 *   garbage;
 * - each volatile sector is old or new;
 * - what was durable stays.
 * Sectors are never changed in place, so images share them; sectors of zeros are not stored.
 */
import { assert } from "../../src/core/assert.ts";
import { sectorSize } from "../../src/core/limits.ts";
import { Prng } from "../../src/core/prng.ts";
import { type Completion, Errno, type IoBuffer } from "../../src/io/io.ts";
import { FileOperation, SubmittedFileIo } from "./submitted-file-io.ts";

type Sectors = Map<number, Uint8Array>;

interface Operation {
  readonly kind: number;
  readonly completion: Completion;
  readonly buffer: IoBuffer | null;
  readonly bufferAt: number;
  readonly length: number;
  readonly fileAt: number;
  readonly durable: boolean;
  /** What a write was asked to write: the range belongs to the disk until it is done. */
  readonly content: Uint8Array | null;
}

const zeros = new Uint8Array(sectorSize);
let bufferIds = 0;

export function memoryBuffer(sizeBytes: number): IoBuffer {
  const bytes = new Uint8Array(sizeBytes);
  bufferIds += 1;
  return { sizeBytes, bytes, words: new Uint32Array(bytes.buffer), id: bufferIds };
}

export class Crash extends Error {}

export interface Faults {
  /** Complete operations in the order of submission instead of a drawn one. */
  readonly ordered?: boolean;
  /** A crash may leave garbage where a sector was being written. */
  readonly garbage?: boolean;
}

export class MemoryFileIo extends SubmittedFileIo {
  /** Writes carried out so far. */
  writes = 0;
  syncs = 0;
  /** The crash comes when this many writes were carried out, with the next still in flight. */
  crashAtWrite = Number.POSITIVE_INFINITY;
  /** Write number that fails, and what it fails with. */
  failAtWrite = Number.POSITIVE_INFINITY;
  /** Sectors (by number) that cannot be read. */
  readonly unreadable = new Set<number>();
  /** Offsets of all writes carried out, in order. */
  readonly writeLog: { at: number; length: number; durable: boolean }[] = [];

  private readonly queue: Operation[] = [];
  private readonly volatile: Sectors = new Map();
  private readonly random: Prng;

  constructor(
    readonly sizeBytes: number,
    seed: number,
    private readonly stable: Sectors = new Map(),
    private readonly faults: Faults = {},
  ) {
    super();
    this.random = new Prng(seed);
  }

  allocate(sizeBytes: number): IoBuffer {
    return memoryBuffer(sizeBytes);
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
    const content =
      kind === FileOperation.write ? buffer!.bytes.slice(bufferAt, bufferAt + length) : null;
    this.queue.push({ kind, completion, buffer, bufferAt, length, fileAt, durable, content });
  }

  /** Carries out one operation and calls back. False when there is none. */
  step(): boolean {
    if (this.queue.length === 0) return false;
    const index = this.faults.ordered === true ? 0 : this.random.below(this.queue.length);
    const operation = this.queue[index]!;
    if (operation.kind === FileOperation.write && this.writes === this.crashAtWrite)
      throw new Crash();
    this.queue.splice(index, 1);
    operation.completion.result = this.carryOut(operation);
    operation.completion.busy = false;
    operation.completion.onDone(operation.completion);
    return true;
  }

  /** Until nothing is in flight. */
  run(): void {
    while (this.step()) {
      // Each step may submit more.
    }
  }

  get inFlight(): number {
    return this.queue.length;
  }

  private carryOut(operation: Operation): number {
    const { kind, buffer, bufferAt, length, fileAt, durable } = operation;
    if (kind === FileOperation.sync) {
      this.syncs += 1;
      for (const [sector, bytes] of this.volatile) this.store(this.stable, sector, bytes);
      this.volatile.clear();
      return 0;
    }
    const first = fileAt / sectorSize;
    if (kind === FileOperation.read) {
      for (let index = 0; index < length / sectorSize; index += 1) {
        if (this.unreadable.has(first + index)) return Errno.io;
        buffer!.bytes.set(this.sector(first + index), bufferAt + index * sectorSize);
      }
      return length;
    }
    this.checkUnchanged(operation);
    this.writes += 1;
    this.writeLog.push({ at: fileAt, length, durable });
    if (this.writes === this.failAtWrite) return Errno.io;
    for (let index = 0; index < length / sectorSize; index += 1) {
      const from = bufferAt + index * sectorSize;
      const bytes = buffer!.bytes.slice(from, from + sectorSize);
      if (durable) {
        this.volatile.delete(first + index);
        this.store(this.stable, first + index, bytes);
      } else {
        this.volatile.set(first + index, bytes);
      }
    }
    return length;
  }

  private checkUnchanged(operation: Operation): void {
    const { buffer, bufferAt, length, content } = operation;
    const now = buffer!.bytes.subarray(bufferAt, bufferAt + length);
    assert(Buffer.compare(now, content!) === 0, "a buffer does not change while it is written");
  }

  private store(sectors: Sectors, sector: number, bytes: Uint8Array): void {
    if (Buffer.compare(bytes, zeros) === 0) sectors.delete(sector);
    else sectors.set(sector, bytes);
  }

  private sector(sector: number): Uint8Array {
    return this.volatile.get(sector) ?? this.stable.get(sector) ?? zeros;
  }

  /** The file as the next process finds it after power was lost now. */
  afterCrash(seed: number): MemoryFileIo {
    const survived: Sectors = new Map(this.stable);
    for (const [sector, bytes] of this.volatile) {
      if (this.random.chance(0.5)) this.store(survived, sector, bytes);
    }
    // In flight: writes that overlap never happen (one per slot and sector), so any order will do.
    for (const operation of this.queue) {
      if (operation.kind !== FileOperation.write) continue;
      this.checkUnchanged(operation);
      for (let index = 0; index < operation.length / sectorSize; index += 1) {
        const sector = operation.fileAt / sectorSize + index;
        const from = operation.bufferAt + index * sectorSize;
        const after = operation.buffer!.bytes.slice(from, from + sectorSize);
        const before = survived.get(sector) ?? zeros;
        this.store(survived, sector, this.tear(before, after));
      }
    }
    const next = new MemoryFileIo(this.sizeBytes, seed, survived, this.faults);
    for (const sector of this.unreadable) next.unreadable.add(sector);
    return next;
  }

  private tear(before: Uint8Array, after: Uint8Array): Uint8Array {
    const outcome = this.random.below(this.faults.garbage === true ? 8 : 6);
    if (outcome < 2) return before;
    if (outcome < 4) return after;
    const torn = before.slice();
    if (outcome < 6) {
      for (let at = 0; at < sectorSize; at += 512) {
        if (this.random.chance(0.5)) torn.set(after.subarray(at, at + 512), at);
      }
      return torn;
    }
    for (let at = 0; at < sectorSize; at += 1) torn[at] = this.random.below(256);
    return torn;
  }

  /**
   * The file as the next process finds it after this one was killed: the caches live on, and what
   * they hold is no more durable than before. Each sector of a write in flight is old or new, and
   * volatile if new: its sync died with the process.
   */
  afterKill(seed: number): MemoryFileIo {
    const next = new MemoryFileIo(this.sizeBytes, seed, new Map(this.stable), this.faults);
    for (const [sector, bytes] of this.volatile) next.volatile.set(sector, bytes);
    for (const operation of this.queue) {
      if (operation.kind !== FileOperation.write) continue;
      this.checkUnchanged(operation);
      for (let index = 0; index < operation.length / sectorSize; index += 1) {
        if (this.random.chance(0.3)) continue;
        const from = operation.bufferAt + index * sectorSize;
        const bytes = operation.buffer!.bytes.slice(from, from + sectorSize);
        next.volatile.set(operation.fileAt / sectorSize + index, bytes);
      }
    }
    for (const sector of this.unreadable) next.unreadable.add(sector);
    return next;
  }

  /** A copy that shares nothing that changes. Nothing may be in flight. */
  clone(seed: number, faults: Faults = this.faults): MemoryFileIo {
    assert(this.queue.length === 0, "nothing is in flight");
    assert(this.volatile.size === 0, "everything is durable");
    return new MemoryFileIo(this.sizeBytes, seed, new Map(this.stable), faults);
  }

  /** Flips one bit on stable storage. */
  flip(at: number, bit: number): void {
    const sector = Math.floor(at / sectorSize);
    const bytes = this.sector(sector).slice();
    bytes[at % sectorSize]! ^= 1 << bit;
    this.volatile.delete(sector);
    this.store(this.stable, sector, bytes);
  }

  /** Direct access for tests. */
  peek(at: number, length: number): Uint8Array {
    const bytes = new Uint8Array(length);
    for (let done = 0; done < length; ) {
      const from = (at + done) % sectorSize;
      const count = Math.min(length - done, sectorSize - from);
      const sector = this.sector(Math.floor((at + done) / sectorSize));
      bytes.set(sector.subarray(from, from + count), done);
      done += count;
    }
    return bytes;
  }

  poke(at: number, source: Uint8Array): void {
    for (let done = 0; done < source.length; ) {
      const number = Math.floor((at + done) / sectorSize);
      const from = (at + done) % sectorSize;
      const count = Math.min(source.length - done, sectorSize - from);
      const bytes = this.sector(number).slice();
      bytes.set(source.subarray(done, done + count), from);
      this.volatile.delete(number);
      this.store(this.stable, number, bytes);
      done += count;
    }
  }
}
