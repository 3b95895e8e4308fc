/** A bar on the error stream, drawn over itself; nothing at all where that stream is a file. */
import type { Terminal } from "./command.ts";

const barWidth = 30;

export class Progress {
  private drawn = false;

  constructor(private readonly terminal: Terminal) {}

  show(what: string, done: number, all: number, perSecond: number): void {
    if (!this.terminal.interactive) return;
    const share = all === 0 ? 1 : Math.min(1, done / all);
    const full = Math.round(share * barWidth);
    const bar = "#".repeat(full) + ".".repeat(barWidth - full);
    const rate = perSecond > 0 ? `  ${Math.round(perSecond).toLocaleString("en-US")}/s` : "";
    const percent = `${Math.floor(share * 100)}%`.padStart(4);
    this.terminal.error(`\r\x1b[K${what.padEnd(9)} [${bar}]${percent}${rate}`);
    this.drawn = true;
  }

  clear(): void {
    if (this.drawn) this.terminal.error("\r\x1b[K");
    this.drawn = false;
  }
}
