/**
 * Memory for one replica after the other. A replica allocates what it needs when it starts, and is
 * never told that it is dead; tests that start thousands would leave the rest to the collector.
 * `begin` takes back all that was handed out before: no earlier replica may run any more.
 */
import type { Completion, FileHandle, FileIo, IoBuffer } from "../../src/io/io.ts";
import { memoryBuffer } from "../wal/memory-file-io.ts";

class Kept {
  readonly buffers: IoBuffer[] = [];
  taken = 0;
}

export class ReusedMemory {
  /** By size. */
  private readonly kept = new Map<number, Kept>();

  begin(): void {
    for (const kept of this.kept.values()) kept.taken = 0;
  }

  /** Zeroed. */
  allocate(sizeBytes: number): IoBuffer {
    let kept = this.kept.get(sizeBytes);
    if (kept === undefined) {
      kept = new Kept();
      this.kept.set(sizeBytes, kept);
    }
    kept.taken += 1;
    const again = kept.buffers[kept.taken - 1];
    if (again !== undefined) {
      clear(again.bytes);
      return again;
    }
    const buffer = memoryBuffer(sizeBytes);
    kept.buffers.push(buffer);
    return buffer;
  }
}

const zeros = new Uint8Array(64 * 1024);

/** Most of a replica's memory was never written to, and reading it costs less than writing it. */
function clear(bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length; at += zeros.length) {
    const some = bytes.subarray(at, at + zeros.length);
    const same = Buffer.compare(some, zeros.subarray(0, some.length)) === 0;
    if (!same) some.fill(0);
  }
}

/** File I/O whose buffers are reused. */
export class ReusingIo implements FileIo {
  constructor(
    private readonly inner: FileIo,
    private readonly memory: ReusedMemory,
  ) {}

  allocate(sizeBytes: number): IoBuffer {
    return this.memory.allocate(sizeBytes);
  }

  read(
    completion: Completion,
    file: FileHandle,
    buffer: IoBuffer,
    bufferAt: number,
    length: number,
    fileAt: number,
  ): void {
    this.inner.read(completion, file, buffer, bufferAt, length, fileAt);
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
    this.inner.write(completion, file, buffer, bufferAt, length, fileAt, durable);
  }

  sync(completion: Completion, file: FileHandle): void {
    this.inner.sync(completion, file);
  }
}
