/**
 * Memory for replicas that come and go by the thousand: what one incarnation had is handed to the
 * next of the same size. A replica is never told that it is dead, so `begin` takes everything back
 * that its place handed out before.
 *
 * Memory is zeroed, as io.ts promises, but for messages, whose content is arbitrary by contract:
 * there the remains of other messages are the better test.
 */
import type { IoBuffer } from "../../src/io/io.ts";
import { largeMessageSize, smallMessageSize } from "../../src/io/message-pool.ts";
import { memoryBuffer } from "../wal/memory-file-io.ts";

/** Buffers by size, of all places and all seeds. */
export class SharedMemory {
  private readonly free = new Map<number, IoBuffer[]>();

  take(sizeBytes: number): IoBuffer {
    const buffer = this.free.get(sizeBytes)?.pop();
    if (buffer === undefined) return memoryBuffer(sizeBytes);
    if (sizeBytes !== smallMessageSize && sizeBytes !== largeMessageSize) buffer.words.fill(0);
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

  constructor(private readonly shared: SharedMemory) {}

  allocate(sizeBytes: number): IoBuffer {
    const buffer = this.shared.take(sizeBytes);
    this.taken.push(buffer);
    return buffer;
  }

  allocateWords(count: number): Uint32Array {
    return this.allocate(count * 4).words;
  }

  /** The incarnation is gone. */
  release(): void {
    this.shared.give(this.taken);
    this.taken.length = 0;
  }
}
