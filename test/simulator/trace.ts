/**
 * What happened in a run, three ways: a digest of every event, so that two runs of a seed can be
 * compared; counts of what was done to the cluster; and, when asked for, the column log, one line
 * per event, cheap to read and dear to make.
 */
import { createHash } from "node:crypto";
import type { EventQueue } from "./event-queue.ts";

/** Kinds of records in the digest, and events in the log. */
export const Kind = {
  send: 1,
  deliver: 2,
  disk: 3,
  execute: 4,
  checkpoint: 5,
  start: 6,
  open: 7,
  crash: 8,
  fault: 9,
  phase: 10,
  /** From here on: a load's. */
  load: 32,
} as const;

const recordWords = 5;
const bufferRecords = 1024;

export interface LogEvent {
  readonly timeUs: number;
  readonly who: string;
  readonly event: string;
  readonly detail: string;
}

export class Trace {
  /** Gets every line, while there is someone to read it. */
  onLog: ((event: LogEvent) => void) | null = null;
  records = 0;
  private readonly hash = createHash("sha256");
  private readonly words = new Uint32Array(bufferRecords * recordWords);
  private readonly bytes = new Uint8Array(this.words.buffer);
  private used = 0;

  constructor(private readonly queue: EventQueue) {}

  get logging(): boolean {
    return this.onLog !== null;
  }

  record(kind: number, a: number, b: number, c: number): void {
    const words = this.words;
    const at = this.used;
    const now = this.queue.nowUs;
    words[at] = kind;
    words[at + 1] = now % 0x1_0000_0000;
    words[at + 2] = a;
    words[at + 3] = b;
    words[at + 4] = c;
    this.used = at + recordWords;
    this.records += 1;
    if (this.used === words.length) this.flush();
  }

  private flush(): void {
    this.hash.update(this.bytes.subarray(0, this.used * 4));
    this.used = 0;
  }

  log(who: string, event: string, detail: string): void {
    this.onLog?.({ timeUs: this.queue.nowUs, who, event, detail });
  }

  /** Ends the trace. */
  digest(): string {
    this.flush();
    return this.hash.digest("hex").slice(0, 32);
  }
}

/** A line of the column log. */
export function logLine({ timeUs, who, event, detail }: LogEvent): string {
  const seconds = (timeUs / 1_000_000).toFixed(6).padStart(12);
  return `${seconds}  ${who.padEnd(4)} ${event.padEnd(14)} ${detail}`.trimEnd();
}

/** What was done to the cluster and what it did; added up over seeds. */
export interface Counts {
  [name: string]: number;
}

export function addCounts(into: Counts, counts: Readonly<Counts>): void {
  for (const [name, count] of Object.entries(counts)) into[name] = (into[name] ?? 0) + count;
}
