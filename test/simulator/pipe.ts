/**
 * One direction of a simulated connection: a ring that holds what was accepted from the sender and
 * not yet read by the receiver.
 *
 *   read ≤ arrived ≤ sent ≤ accepted ≤ read + capacity
 */
import type { Prng } from "../../src/core/prng.ts";

/** Positions count all bytes since the connection was made. */
export class Pipe<End> {
  private readonly ring: Uint8Array;
  /** Accepted from the sender, arrived at the receiver, read by it. */
  accepted = 0;
  arrived = 0;
  read = 0;
  /** Position of the last segment on its way, and when it arrives at the earliest. */
  sent = 0;
  lastArrivalUs = 0;
  /** The sender has closed; everything up to `accepted` arrives, then the end. */
  closed = false;
  /** The end is on its way, and has arrived. */
  endSent = false;
  ended = false;

  constructor(
    readonly from: End,
    readonly to: End,
    capacity: number,
  ) {
    this.ring = new Uint8Array(capacity);
  }

  /** Takes as many of the bytes as there is room for. */
  accept(source: Uint8Array, at: number, length: number): number {
    const room = this.ring.length - (this.accepted - this.read);
    const count = Math.min(room, length);
    for (let done = 0; done < count; ) {
      const place = this.accepted % this.ring.length;
      const step = Math.min(count - done, this.ring.length - place);
      this.ring.set(source.subarray(at + done, at + done + step), place);
      this.accepted += step;
      done += step;
    }
    return count;
  }

  take(target: Uint8Array, at: number, length: number): number {
    const count = Math.min(this.arrived - this.read, length);
    for (let done = 0; done < count; ) {
      const place = this.read % this.ring.length;
      const step = Math.min(count - done, this.ring.length - place);
      target.set(this.ring.subarray(place, place + step), at + done);
      this.read += step;
      done += step;
    }
    return count;
  }

  /** Changes one bit between two positions that have not been read. */
  damage(from: number, to: number, random: Prng): void {
    const position = from + random.below(to - from);
    this.ring[position % this.ring.length]! ^= 1 << random.below(8);
  }
}
