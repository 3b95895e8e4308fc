/**
 * File operations of the ring. A file operation ends with its whole length or with an error:
 * short results are resumed where they ended.
 *
 * A durable write is one operation with RWF_DSYNC. Where the file system refuses the flag, it is a
 * write and an fdatasync behind it, in the same slot.
 *
 * When a sync fails, the kernel may have dropped dirty pages, and the next sync would report success
 * over lost data. The file is failed from then on: its writes and syncs end with the same error, for
 * as long as this backend lives.
 */
import { assert } from "../../core/assert.ts";
import { nativeLayout } from "../../native/layout.ts";
import { type Completion, Errno, type FileHandle, type IoBuffer } from "../io.ts";
import type { Engine, Kind } from "./engine.ts";
import { again, badHandle, interrupted, notSupported, registrationRefusal } from "./errors.ts";
import { SyncAfter } from "./slots.ts";

const { opcodeRead, opcodeWrite, opcodeSync, flagDurable, flagFixedFile } = nativeLayout;

/** Results in a row without progress, before the error is reported. */
const retriesMax = 100;

/** Files that can be registered with the kernel at a time: files_max of native/uring/ring.h. */
const registeredMax = 16;

export class FileOperations implements Kind {
  /** errno of the sync that failed, per file. */
  private readonly failed = new Map<FileHandle, number>();
  /** Descriptors by their place in the ring's table; −1 is free. */
  private readonly registered = new Int32Array(registeredMax).fill(-1);
  private registeredCount = 0;

  constructor(
    private readonly engine: Engine,
    private durableByFlag: boolean,
  ) {}

  read(
    completion: Completion,
    file: FileHandle,
    buffer: IoBuffer,
    bufferAt: number,
    length: number,
    fileAt: number,
  ): void {
    assert(length > 0, "a file operation moves something");
    if (!this.engine.begin(completion)) return;
    this.move(opcodeRead, completion, file, buffer, bufferAt, length, fileAt, false);
  }

  write(
    completion: Completion,
    file: FileHandle,
    buffer: IoBuffer,
    bufferAt: number,
    length: number,
    fileAt: number,
    durable: boolean,
  ): void {
    assert(length > 0, "a file operation moves something");
    if (!this.engine.begin(completion)) return;
    if (this.endIfFailed(completion, file)) return;
    this.move(opcodeWrite, completion, file, buffer, bufferAt, length, fileAt, durable);
  }

  sync(completion: Completion, file: FileHandle): void {
    if (!this.engine.begin(completion)) return;
    if (this.endIfFailed(completion, file)) return;
    const { slots } = this.engine;
    const slot = slots.take(opcodeSync, file, completion);
    this.setFile(slot, file, 0);
    this.engine.queue(slot);
  }

  private endIfFailed(completion: Completion, file: FileHandle): boolean {
    if (this.failed.size === 0) return false;
    const error = this.failed.get(file);
    if (error === undefined) return false;
    this.engine.endWith(completion, error);
    return true;
  }

  private move(
    opcode: number,
    completion: Completion,
    file: FileHandle,
    buffer: IoBuffer,
    bufferAt: number,
    length: number,
    fileAt: number,
    durable: boolean,
  ): void {
    const { slots } = this.engine;
    const slot = slots.take(opcode, file, completion);
    slots.setRange(slot, buffer, bufferAt, length);
    slots.setOffset(slot, fileAt);
    this.setFile(slot, file, durable && this.durableByFlag ? flagDurable : 0);
    if (durable && !this.durableByFlag) slots.syncAfter[slot] = SyncAfter.wanted;
    this.engine.queue(slot);
  }

  private setFile(slot: number, file: FileHandle, flags: number): void {
    const { slots } = this.engine;
    const index = this.registeredCount === 0 ? -1 : this.registered.indexOf(file);
    slots.setHandle(slot, index === -1 ? file : index);
    slots.setFlags(slot, index === -1 ? flags : flags | flagFixedFile);
  }

  onResult(slot: number, result: number): void {
    if (result < 0) this.onError(slot, result);
    else if (this.engine.slots.opcode[slot] === opcodeSync) this.onSynced(slot);
    else if (this.engine.slots.syncAfter[slot] === SyncAfter.running) this.onMoved(slot);
    else this.onProgress(slot, result);
  }

  private onProgress(slot: number, result: number): void {
    const { engine } = this;
    const { slots } = engine;
    const left = slots.wanted[slot] - slots.moved[slot];
    assert(result <= left, "no more is moved than was asked for");
    if (result === 0) {
      engine.finish(slot, Errno.io); // The end of the file, or a device that takes nothing.
      return;
    }
    slots.advance(slot, result, true);
    if (result < left) {
      engine.queue(slot);
    } else if (slots.syncAfter[slot] === SyncAfter.wanted) {
      slots.syncAfter[slot] = SyncAfter.running;
      slots.setOpcode(slot, opcodeSync);
      engine.queue(slot);
    } else {
      this.onMoved(slot);
    }
  }

  private onMoved(slot: number): void {
    const { slots, stats } = this.engine;
    const length = slots.wanted[slot];
    if (slots.opcode[slot] === opcodeRead) {
      stats.reads += 1;
      stats.readBytes += length;
    } else {
      stats.writes += 1;
      stats.writeBytes += length;
      stats.wrote(slots.durationUs[slot]);
    }
    this.engine.finish(slot, length);
  }

  private onSynced(slot: number): void {
    this.engine.stats.syncs += 1;
    this.engine.finish(slot, 0);
  }

  private onError(slot: number, error: number): void {
    const { engine } = this;
    const { slots } = engine;
    if ((error === interrupted || error === again) && slots.retries[slot] < retriesMax) {
      slots.retries[slot] += 1;
      engine.queue(slot);
      return;
    }
    const flags = slots.flags(slot);
    if (error === notSupported && (flags & flagDurable) !== 0) {
      // This file system knows no RWF_DSYNC; nothing was written.
      this.durableByFlag = false;
      slots.setFlags(slot, flags & ~flagDurable);
      slots.syncAfter[slot] = SyncAfter.wanted;
      engine.queue(slot);
      return;
    }
    this.noteFailure(slot, error);
    // Direct I/O: a read that met the end of the file cannot go on from inside a sector.
    const inSector = error === Errno.invalid && slots.moved[slot] > 0;
    engine.finish(slot, inSector ? Errno.io : error);
  }

  /** A file whose sync failed is not trusted again. */
  private noteFailure(slot: number, error: number): void {
    if (error === badHandle || error === Errno.invalid || error === Errno.canceled) return;
    const { slots } = this.engine;
    const synced = slots.opcode[slot] === opcodeSync || slots.syncAfter[slot] === SyncAfter.running;
    const durable = (slots.flags(slot) & flagDurable) !== 0 && error === Errno.io;
    if (!synced && !durable) return;
    const fixed = (slots.flags(slot) & flagFixedFile) !== 0;
    const handle = slots.handle(slot);
    this.failed.set(fixed ? this.registered[handle] : handle, error);
  }

  /**
   * Lets the kernel keep the file at hand for every operation. The owner takes it out again, with
   * nothing in flight on it, before it closes the descriptor. False when there is no place for it.
   */
  register(file: FileHandle): boolean {
    assert(!this.registered.includes(file), "a file is registered once");
    const { addon, ringId, stats } = this.engine;
    const index = this.registered.indexOf(-1);
    const error = index === -1 ? Errno.noSpace : addon.ringRegisterFile(ringId, index, file);
    if (error < 0) {
      stats.registered.filesRefusal = registrationRefusal(error);
      return false;
    }
    this.registered[index] = file;
    this.registeredCount += 1;
    stats.registered.files += 1;
    return true;
  }

  unregister(file: FileHandle): void {
    const index = this.registered.indexOf(file);
    assert(index !== -1, "the file is registered");
    const { addon, ringId, stats } = this.engine;
    assert(addon.ringRegisterFile(ringId, index, -1) === 0, "an empty place is always taken");
    this.registered[index] = -1;
    this.registeredCount -= 1;
    stats.registered.files -= 1;
  }
}
