/** CPU, memory and writes of another process, as Linux shows them under /proc. */
import { readFileSync } from "node:fs";

export interface ProcessUsage {
  /** User and system time so far. Seconds. */
  readonly cpuS: number;
  readonly residentBytes: number;
  readonly residentBytesMax: number;
}

/** The kernel's clock ticks per second in /proc/PID/stat: 100 on every Linux that Node runs on. */
const ticksPerSecond = 100;

/** Undefined where there is no /proc, or no such process. */
export function processUsage(pid: number): ProcessUsage | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    // The name stands in parentheses and may hold anything: count fields after the last one.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    const status = readFileSync(`/proc/${pid}/status`, "utf8");
    return {
      cpuS: (Number(fields[11]) + Number(fields[12])) / ticksPerSecond,
      residentBytes: kibibytes(status, "VmRSS"),
      residentBytesMax: kibibytes(status, "VmHWM"),
    };
  } catch {
    return undefined;
  }
}

/** Bytes that a process has had written to disks, or null where the system does not tell. */
export function processWrittenBytes(pid: number): number | null {
  try {
    const match = /^write_bytes: ([0-9]+)$/m.exec(readFileSync(`/proc/${pid}/io`, "utf8"));
    return match === null ? null : Number(match[1]);
  } catch {
    return null;
  }
}

function kibibytes(status: string, name: string): number {
  const match = new RegExp(`^${name}:\\s+([0-9]+) kB`, "m").exec(status);
  return match === null ? 0 : Number(match[1]) * 1024;
}
