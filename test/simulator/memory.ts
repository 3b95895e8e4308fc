/**
 * Memory for replicas that come and go by the thousand: what one incarnation had is handed to the
 * next of the same size. A replica is never told that it is dead, so `begin` takes everything back
 * that its place handed out before.
 *
 * Tables are zeroed, and so are buffers, as io.ts promises, but for messages and rows of blocks: those
 * are used again and again by one replica, so that the remains of another one are the better test. The
 * kept replies are no such thing: what was never read into them must not look like a reply.
 */
import { blockSize } from "../../src/core/limits.ts";
import type { IoBuffer } from "../../src/io/io.ts";
import { largeMessageSize, smallMessageSize } from "../../src/io/message-pool.ts";
import { memoryBuffer } from "../wal/memory-file-io.ts";

/** Buffers by size, of all places and all seeds. */
export class SharedMemory {
  private readonly free = new Map<number, IoBuffer[]>();

  take(sizeBytes: number, zeroed: boolean): IoBuffer {
    const buffer = this.free.get(sizeBytes)?.pop();
    if (buffer === undefined) return memoryBuffer(sizeBytes);
    if (zeroed) buffer.words.fill(0);
    return buffer;
  }

  give(buffers: readonly IoBuffer[]): void {
    for (const buffer of buffers) {
      const list = this.free.get(buffer.sizeBytes);
      if (list === undefined) this.free.set(buffer.sizeBytes, [buffer]);
      else list.push(buffer);
    }
  }
}

/** The memory of one replica's place. */
export class PlaceMemory {
  private readonly taken: IoBuffer[] = [];

  /** @param repliesSize - Bytes of the kept replies. */
  constructor(
    private readonly shared: SharedMemory,
    private readonly repliesSize: number,
  ) {}

  /** Messages, and room for many blocks. */
  private isReused(sizeBytes: number): boolean {
    if (sizeBytes === smallMessageSize || sizeBytes === largeMessageSize) return true;
    if (sizeBytes === this.repliesSize) return false;
    return sizeBytes > 8 * blockSize && sizeBytes % blockSize === 0;
  }

  allocate(sizeBytes: number): IoBuffer {
    return this.take(sizeBytes, !this.isReused(sizeBytes));
  }

  /** For tables. */
  allocateWords(count: number): Uint32Array {
    return this.take(count * 4, true).words;
  }

  private take(sizeBytes: number, zeroed: boolean): IoBuffer {
    const buffer = this.shared.take(sizeBytes, zeroed);
    this.taken.push(buffer);
    return buffer;
  }

  /** The incarnation is gone. */
  release(): void {
    this.shared.give(this.taken);
    this.taken.length = 0;
  }
}
