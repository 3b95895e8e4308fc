/**
 * Buffers whose pages the kernel keeps at hand, so that it need not look them up and hold them for
 * every read and write. They count as locked memory, of which a user that is not root may have
 * little: the first refusal for want of room ends the attempts, is kept in the statistics, and the
 * buffers work without.
 *
 * A registered buffer stays mapped until the ring is closed, whatever becomes of its owner.
 */
import type { IoBuffer } from "../io.ts";
import type { Engine } from "./engine.ts";
import { registrationRefusal } from "./errors.ts";

/** Places in the ring's table: more than a server's pools have buffers. */
const placesMax = 8192;

const noMemory = -12;
const tableFull = -28;

export class RegisteredBuffers {
  private open: boolean;

  constructor(private readonly engine: Engine) {
    this.open = this.accepted(engine.addon.ringReserveBuffers(engine.ringId, placesMax));
  }

  register(buffer: IoBuffer): void {
    if (!this.open || buffer.id < 0 || this.engine.isStopped) return;
    const { addon, ringId, stats } = this.engine;
    const error = addon.ringRegisterBuffer(ringId, buffer.id);
    if (this.accepted(error)) {
      stats.registered.buffers += 1;
      stats.registered.bufferBytes += buffer.sizeBytes;
    } else if (error === noMemory || error === tableFull) {
      this.open = false;
    }
  }

  private accepted(error: number): boolean {
    if (error < 0) this.engine.stats.registered.buffersRefusal = registrationRefusal(error);
    return error >= 0;
  }
}
