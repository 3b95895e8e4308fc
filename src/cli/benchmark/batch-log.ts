/**
 * Every batch of a run as one line of a file, for finding out what the slow ones have in common.
 * Kept in memory, 24 bytes each, until the run is over: writing meanwhile would slow batches down.
 * The file is made first, so that a run is not measured in vain.
 */
import { closeSync, openSync, rmSync, writeFileSync } from "node:fs";
import { CommandError } from "../command-error.ts";

/** Lines that are put together for one write. */
const linesPerWrite = 4096;

/** Batches that there is room for at first. */
const initialLength = 65_536;

export class BatchLog {
  private readonly fd: number;
  private count = 0;
  private sentMs = new Float64Array(initialLength);
  private latencyMs = new Float64Array(initialLength);
  private clients = new Uint32Array(initialLength);
  private events = new Uint32Array(initialLength);

  /**
   * @param path - Must not exist yet: a file that somebody needs is not written over.
   * @throws {CommandError} when it cannot be made.
   */
  constructor(private readonly path: string) {
    try {
      this.fd = openSync(path, "wx");
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      throw new CommandError(
        code === "EEXIST"
          ? `--latencies: '${path}' exists already; remove it or give another name.`
          : `--latencies: '${path}' cannot be made (${message}).`,
      );
    }
  }

  add(client: number, sentMs: number, latencyMs: number, events: number): void {
    if (this.count === this.sentMs.length) this.grow();
    this.sentMs[this.count] = sentMs;
    this.latencyMs[this.count] = latencyMs;
    this.clients[this.count] = client;
    this.events[this.count] = events;
    this.count += 1;
  }

  private grow(): void {
    const length = 2 * this.count;
    this.sentMs = copyOf(this.sentMs, new Float64Array(length));
    this.latencyMs = copyOf(this.latencyMs, new Float64Array(length));
    this.clients = copyOf(this.clients, new Uint32Array(length));
    this.events = copyOf(this.events, new Uint32Array(length));
  }

  /** Writes the lines, in the order of the replies; without any there is no file. @throws {CommandError} */
  finish(): void {
    try {
      if (this.count === 0) {
        closeSync(this.fd);
        rmSync(this.path);
        return;
      }
      let text = "client,sent_ms,latency_ms,transfers\n";
      for (let index = 0; index < this.count; index += 1) {
        text +=
          `${this.clients[index]},${this.sentMs[index]!.toFixed(3)},` +
          `${this.latencyMs[index]!.toFixed(3)},${this.events[index]}\n`;
        if ((index + 1) % linesPerWrite > 0) continue;
        writeFileSync(this.fd, text);
        text = "";
      }
      writeFileSync(this.fd, text);
      closeSync(this.fd);
    } catch (error) {
      throw new CommandError(
        `--latencies: '${this.path}' cannot be written (${(error as Error).message}).`,
      );
    }
  }
}

function copyOf<Values extends Float64Array | Uint32Array>(from: Values, to: Values): Values {
  to.set(from);
  return to;
}
