/** The portable backend's counters. */
import type { IoStats } from "../io.ts";

const latencyBuckets = 32;

export function createStats(): IoStats {
  return {
    backend: "portable",
    reads: 0,
    readBytes: 0,
    writes: 0,
    writeBytes: 0,
    syncs: 0,
    receives: 0,
    receiveBytes: 0,
    sends: 0,
    sendBytes: 0,
    accepts: 0,
    connects: 0,
    systemCalls: 0,
    inFlight: 0,
    inFlightMax: 0,
    writeLatencyLog2Us: new Float64Array(latencyBuckets),
  };
}

/** Bucket 0 counts writes below 1 µs; bucket n those of 2^(n−1) up to below 2^n µs. */
export function countWriteLatency(stats: IoStats, milliseconds: number): void {
  const microseconds = Math.min(milliseconds * 1000, 0x7fff_ffff);
  stats.writeLatencyLog2Us[32 - Math.clz32(microseconds)]! += 1;
}
