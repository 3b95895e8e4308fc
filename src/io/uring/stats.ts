/** Counters of the ring backend. */
import type { IoRegistered, IoStats } from "../io.ts";

/** Classes of write latency: below 1 µs, and per power of two up to 2^30 µs. */
const latencyClasses = 32;

export class UringStats implements IoStats {
  reads = 0;
  readBytes = 0;
  writes = 0;
  writeBytes = 0;
  syncs = 0;
  receives = 0;
  receiveBytes = 0;
  sends = 0;
  sendBytes = 0;
  accepts = 0;
  connects = 0;
  systemCalls = 0;
  inFlight = 0;
  inFlightMax = 0;
  readonly writeLatencyLog2Us = new Float64Array(latencyClasses);
  readonly registered: IoRegistered = {
    files: 0,
    filesRefusal: null,
    buffers: 0,
    bufferBytes: 0,
    buffersRefusal: null,
  };

  constructor(readonly backend: string) {}

  started(): void {
    this.inFlight += 1;
    if (this.inFlight > this.inFlightMax) this.inFlightMax = this.inFlight;
  }

  ended(): void {
    this.inFlight -= 1;
  }

  wrote(durationUs: number): void {
    const log2 = durationUs < 1 ? 0 : 32 - Math.clz32(Math.min(durationUs, 0x7fff_ffff));
    this.writeLatencyLog2Us[log2] += 1;
  }
}
