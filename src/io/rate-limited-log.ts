/**
 * A log that peers cannot flood: at most so many lines per second, and one line that tells how
 * many were left out. Time is counted in ticks of 10 ms.
 */

export type LogLevel = "info" | "warn" | "error";

const windowTicks = 100;
const linesPerWindow = 10;

export class RateLimitedLog {
  /** Lines left out in this window. */
  private suppressed = 0;
  private lines = 0;
  private ticks = 0;
  private readonly sink: (level: LogLevel, text: string) => void;

  constructor(sink: (level: LogLevel, text: string) => void) {
    this.sink = sink;
  }

  /** True when a line would be written now; otherwise it counts as left out. Spares building it. */
  allowed(): boolean {
    if (this.lines < linesPerWindow) return true;
    this.suppressed += 1;
    return false;
  }

  /** Writes a line that was found `allowed`. */
  write(level: LogLevel, text: string): void {
    this.lines += 1;
    this.sink(level, text);
  }

  tick(): void {
    this.ticks += 1;
    if (this.ticks < windowTicks) return;
    this.ticks = 0;
    this.lines = 0;
    if (this.suppressed === 0) return;
    this.sink("warn", `${this.suppressed} more lines about connections were left out`);
    this.suppressed = 0;
  }
}
