/**
 * A file in memory behind `FileIo`, with the ways in which a disk disappoints: completions in any
 * order, writes lost, torn or reordered at a crash when no sync covered them, bit flips, errors.
 *
 * It also checks its users: a buffer must not change while it is being written, a completion must
 * not be used twice, transfers must be whole sectors.
 */
import { assert } from "../../src/core/assert.ts";
import { sectorSize } from "../../src/core/limits.ts";
import { Prng } from "../../src/core/prng.ts";
import { type Completion, Errno, type FileIo, type IoBuffer } from "../../src/io/io.ts";

interface Operation {
  readonly kind: "read" | "write" | "sync";
  readonly completion: Completion;
  readonly buffer: IoBuffer | null;
  readonly bufferAt: number;
  readonly length: number;
  readonly fileAt: number;
  readonly durable: boolean;
  /** What a write was given when it started. */
  readonly content: Uint8Array | null;
  /** For a sync: writes completed before it started. */
  readonly covered: readonly Write[];
}

/** Power failed: thrown out of `tick` at the chosen moment. */
export class PowerFailure extends Error {}

interface Write {
  readonly fileAt: number;
  readonly content: Uint8Array;
}

export class MemoryFile implements FileIo {
  /** What a read sees. */
  private current: Uint8Array = new Uint8Array(1 << 20);
  /** What certainly survives a crash. */
  private stable: Uint8Array = new Uint8Array(1 << 20);
  length = 0;
  /** Writes completed and not covered by a sync. */
  private unsynced: Write[] = [];
  private inFlight: Operation[] = [];
  private readonly random: Prng;
  /** Oldest first, instead of at random. */
  inOrder = false;
  /** The write after so many more fails with `writeError`; −1: none does. */
  writesUntilError = -1;
  writeError: number = Errno.io;
  syncError = 0;
  /** Power fails instead of the completion after so many more; −1: it does not. */
  ticksUntilFailure = -1;
  /**
   * What must not be overwritten, but by itself: the first 16 bytes, in hexadecimal, of the blocks
   * that the durable checkpoint needs, by their offsets.
   */
  protectedBlocks: ReadonlyMap<number, string> = new Map();
  /** Writes beyond the end fail: the file is as long as `extend` made it. */
  fixedLength = false;
  /** Asked when nothing is in flight: true when it did something. */
  onIdle: () => boolean = () => false;
  writes = 0;
  syncs = 0;
  inFlightMax = 0;
  bytesAllocated = 0;

  constructor(seed: number) {
    this.random = new Prng(seed);
  }

  allocate(sizeBytes: number): IoBuffer {
    this.bytesAllocated += sizeBytes;
    const memory = new ArrayBuffer(sizeBytes);
    return {
      sizeBytes,
      bytes: new Uint8Array(memory),
      words: new Uint32Array(memory),
      id: 0,
    };
  }

  read(
    completion: Completion,
    _file: number,
    buffer: IoBuffer,
    bufferAt: number,
    length: number,
    fileAt: number,
  ): void {
    this.start({
      kind: "read",
      completion,
      buffer,
      bufferAt,
      length,
      fileAt,
      durable: false,
      content: null,
      covered: [],
    });
  }

  write(
    completion: Completion,
    _file: number,
    buffer: IoBuffer,
    bufferAt: number,
    length: number,
    fileAt: number,
    durable: boolean,
  ): void {
    const content = buffer.bytes.slice(bufferAt, bufferAt + length);
    const needed = this.protectedBlocks.get(fileAt);
    assert(
      needed === undefined || needed === Buffer.from(content.subarray(0, 16)).toString("hex"),
      "what the durable checkpoint needs is not overwritten",
    );
    this.start({
      kind: "write",
      completion,
      buffer,
      bufferAt,
      length,
      fileAt,
      durable,
      content,
      covered: [],
    });
  }

  sync(completion: Completion): void {
    this.start({
      kind: "sync",
      completion,
      buffer: null,
      bufferAt: 0,
      length: 0,
      fileAt: 0,
      durable: false,
      content: null,
      covered: this.unsynced.slice(),
    });
  }

  private start(operation: Operation): void {
    const { completion, bufferAt, length, fileAt, buffer } = operation;
    assert(!completion.busy, "a completion has one operation in flight");
    assert(bufferAt % sectorSize === 0, "buffers are aligned");
    assert(length % sectorSize === 0, "lengths are whole sectors");
    assert(fileAt % sectorSize === 0, "offsets are whole sectors");
    assert(fileAt >= 0, "offsets are inside the file");
    if (buffer !== null) assert(bufferAt + length <= buffer.sizeBytes, "inside the buffer");
    completion.busy = true;
    this.inFlight.push(operation);
    if (this.inFlight.length > this.inFlightMax) this.inFlightMax = this.inFlight.length;
  }

  get idle(): boolean {
    return this.inFlight.length === 0;
  }

  /** Completes one operation. False: none is in flight. */
  tick(): boolean {
    if (this.inFlight.length === 0) return this.onIdle();
    if (this.ticksUntilFailure === 0) throw new PowerFailure("power failed");
    if (this.ticksUntilFailure > 0) this.ticksUntilFailure -= 1;
    const index = this.inOrder ? 0 : this.random.below(this.inFlight.length);
    const [operation] = this.inFlight.splice(index, 1);
    assert(operation !== undefined, "one was chosen");
    const { completion } = operation;
    completion.result = this.perform(operation);
    completion.busy = false;
    completion.onDone(completion);
    return true;
  }

  /** Keeps the write in flight to this place from completing, until it is released. */
  hold(fileAt: number): { readonly released: boolean; release(): boolean } {
    const index = this.inFlight.findIndex((one) => one.kind === "write" && one.fileAt === fileAt);
    assert(index !== -1, "such a write is in flight");
    const [operation] = this.inFlight.splice(index, 1);
    let released = false;
    return {
      get released() {
        return released;
      },
      release: () => {
        if (released) return false;
        released = true;
        this.inFlight.push(operation!);
        return true;
      },
    };
  }

  /** Completes operations until `done()`. */
  until(done: () => boolean): void {
    for (let steps = 0; !done(); steps += 1) {
      assert(steps < 1_000_000, "it ends");
      assert(this.tick(), "something is in flight for as long as somebody waits");
    }
  }

  private perform(operation: Operation): number {
    const { kind, buffer, bufferAt, length, fileAt, content } = operation;
    if (kind === "sync") {
      this.syncs += 1;
      if (this.syncError !== 0) return this.syncError;
      for (const write of operation.covered) put(this.stable, write);
      this.unsynced = this.unsynced.filter((write) => !operation.covered.includes(write));
      return 0;
    }
    assert(buffer !== null, "reads and writes have a buffer");
    if (kind === "read") {
      if (fileAt + length > this.length) return Errno.io;
      buffer.bytes.set(this.current.subarray(fileAt, fileAt + length), bufferAt);
      return length;
    }
    assert(content !== null, "writes have content");
    const now = buffer.bytes.subarray(bufferAt, bufferAt + length);
    assert(Buffer.compare(now, content) === 0, "a buffer does not change while it is written");
    if (this.writesUntilError === 0) return this.writeError;
    this.writesUntilError -= 1;
    this.writes += 1;
    assert(!this.fixedLength || fileAt + length <= this.length, "writes stay inside the file");
    this.grow(fileAt + length);
    const write = { fileAt, content };
    put(this.current, write);
    if (operation.durable) put(this.stable, write);
    else this.unsynced.push(write);
    return length;
  }

  private grow(length: number): void {
    if (length > this.length) this.length = length;
    if (length <= this.current.length) return;
    const size = 2 ** Math.ceil(Math.log2(length));
    this.current = larger(this.current, size);
    this.stable = larger(this.stable, size);
  }

  /** Makes the file at least that long, zero-filled. */
  extend(length: number): void {
    this.grow(length);
  }

  /**
   * Power fails. Of each write that no sync covered, finished or not, each sector is there, or not,
   * or is torn in the middle. What was in flight is never completed.
   */
  crash(): void {
    const writes = [...this.unsynced];
    for (const operation of this.inFlight) {
      operation.completion.busy = false;
      if (operation.kind !== "write" || operation.content === null) continue;
      this.grow(operation.fileAt + operation.length);
      writes.push({ fileAt: operation.fileAt, content: operation.content });
    }
    this.inFlight = [];
    this.unsynced = [];
    while (writes.length > 0) {
      const [write] = writes.splice(this.random.below(writes.length), 1);
      assert(write !== undefined, "one was chosen");
      for (let at = 0; at < write.content.length; at += sectorSize) {
        const fate = this.random.below(4);
        if (fate === 0) continue;
        const length = fate === 1 ? this.random.below(sectorSize) : sectorSize;
        this.stable.set(write.content.subarray(at, at + length), write.fileAt + at);
      }
    }
    this.current.set(this.stable);
  }

  /** A clean stop: all that was written is stable, nothing is in flight. */
  settle(): void {
    while (this.tick());
    this.unsynced = [];
    this.stable.set(this.current);
  }

  flipBit(fileAt: number, bit: number): void {
    for (const bytes of [this.current, this.stable]) bytes[fileAt] = bytes[fileAt]! ^ (1 << bit);
  }

  /** Puts the content of one place in another: a misdirected write. */
  copyWithin(fromAt: number, toAt: number, length: number): void {
    for (const bytes of [this.current, this.stable])
      bytes.copyWithin(toAt, fromAt, fromAt + length);
  }

  content(fileAt: number, length: number): Uint8Array {
    return this.current.slice(fileAt, fileAt + length);
  }

  restore(fileAt: number, content: Uint8Array): void {
    for (const bytes of [this.current, this.stable]) bytes.set(content, fileAt);
  }
}

function put(bytes: Uint8Array, write: Write): void {
  bytes.set(write.content, write.fileAt);
}

function larger(bytes: Uint8Array, size: number): Uint8Array {
  const result = new Uint8Array(size);
  result.set(bytes);
  return result;
}
