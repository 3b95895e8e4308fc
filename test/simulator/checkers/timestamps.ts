/**
 * The time of the log: every event has a timestamp of its own, later than all before it, and it is
 * a time that some clock has shown. A prepare's requests take their timestamps from a base; the
 * base lies above the prepare before, and either right above it or at a clock's reading that was
 * possible when it was chosen, which is after the first of its requests was sent and before it was
 * executed.
 *
 * A pulse is stamped by the time that its primary's timer saw, or the log's; its base obeys the
 * same bounds.
 */
import type { Fail } from "./history.ts";
import type { ObservedPrepare } from "./prepare.ts";

/** What the clocks of replicas could show at a moment. Nanoseconds since the epoch. */
export interface ClockRange {
  readonly min: bigint;
  readonly max: bigint;
}

const timestampMax = (1n << 63n) - 1n;

export class Timestamps {
  /** Of the last op. */
  last = 0n;

  constructor(private readonly fail: Fail) {}

  /**
   * @param now - What clocks can show at most by now.
   * @param sent - What clocks showed at least when the last of its requests was sent first; null
   *   when nobody sent one, or when clocks may have been set back since.
   */
  execute(prepare: ObservedPrepare, now: bigint | null, sent: bigint | null): void {
    const { op, base, timestamp } = prepare;
    if (base <= this.last) {
      this.fail(`op ${op} begins at time ${base}, and op ${op - 1} ends at ${this.last}`);
    }
    if (timestamp > timestampMax) this.fail(`op ${op} has the timestamp ${timestamp}`);
    // Right above the log's own time, since no clock was ahead of it.
    const pushed = base === this.last + 1n;
    if (!pushed && now !== null && base > now) {
      this.fail(`op ${op} begins at time ${base}, and no clock shows more than ${now}`);
    }
    if (sent !== null && base < sent) {
      this.fail(`op ${op} begins at time ${base}, before its request was sent at ${sent}`);
    }
    this.last = timestamp;
  }
}
