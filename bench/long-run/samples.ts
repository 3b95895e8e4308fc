/**
 * A load cut into samples: one whenever so many transfers were answered, or so much time has passed.
 * Every answer belongs to one sample, and a sample ends with the answer that fills it.
 */
import { Latencies } from "../../src/cli/benchmark/latencies.ts";

/** What is read of the server and its file when a sample ends. */
export interface Probe {
  readonly residentBytes: number;
  /** The most that it ever was. */
  readonly residentBytesMax: number;
  /** What the data file takes on disk. */
  readonly fileBytes: number;
  /** What the server's process wrote so far, to any file; null where the system does not tell. */
  readonly writtenBytes: number | null;
}

export interface Sample extends Probe {
  /** Transfers so far, and those of the sample. */
  readonly transfers: number;
  readonly added: number;
  readonly durationMs: number;
  readonly transfersPerSecond: number;
  /** Of its batches. */
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly slowestMs: number;
  /** It is as long as was asked for: what is left in the end may be less. */
  readonly whole: boolean;
}

export interface SampleLength {
  /** A sample ends with so many transfers or after so many milliseconds. */
  readonly transfers: number;
  readonly durationMs: number;
}

export class Sampler {
  readonly samples: Sample[] = [];
  private transfers = 0;
  private added = 0;
  private startMs = 0;
  private latestMs = 0;
  private latencies = new Latencies();

  constructor(
    private readonly length: SampleLength,
    private readonly probe: () => Probe,
    private readonly onSample: (sample: Sample) => void,
  ) {}

  /** @param atMs - When a batch was answered, since the load began. */
  add(atMs: number, latencyMs: number, transfers: number): void {
    this.transfers += transfers;
    this.added += transfers;
    // Answers that came at once may be told in another order than that of their clocks.
    this.latestMs = Math.max(this.latestMs, atMs);
    this.latencies.add(latencyMs);
    const { length } = this;
    const durationMs = this.latestMs - this.startMs;
    if (this.added >= length.transfers || durationMs >= length.durationMs) this.end(true);
  }

  /** The load is over: what is left becomes a sample that is not whole. */
  finish(): void {
    if (this.added > 0) this.end(false);
  }

  private end(whole: boolean): void {
    const durationMs = this.latestMs - this.startMs;
    const [p50Ms, p99Ms, slowestMs] = this.latencies.percentiles([0.5, 0.99, 1]) as [
      number,
      number,
      number,
    ];
    const sample: Sample = {
      transfers: this.transfers,
      added: this.added,
      durationMs,
      transfersPerSecond: durationMs === 0 ? 0 : (this.added * 1000) / durationMs,
      p50Ms,
      p99Ms,
      slowestMs,
      whole,
      ...this.probe(),
    };
    this.samples.push(sample);
    this.added = 0;
    this.startMs = this.latestMs;
    this.latencies = new Latencies();
    this.onSample(sample);
  }
}

export interface Summary {
  /** The last whole sample's throughput as a share of the first one's. */
  readonly lastToFirst: number;
  readonly transfersPerSecondFirst: number;
  readonly transfersPerSecondLast: number;
  readonly slowestMs: number;
  readonly slowestToMedian: number;
  readonly residentBytesMax: number;
  /** Growth of the data file and bytes written while the transfers ran, per transfer. */
  readonly fileBytesPerTransfer: number;
  readonly writtenBytesPerTransfer: number | null;
  /** Bytes written for each byte of a transfer's 128. */
  readonly writeAmplification: number | null;
}

const transferBytes = 128;

/**
 * @param before - As it was when the load began.
 * @param medianMs - Of all batches.
 */
export function summarise(
  samples: readonly Sample[],
  before: Probe,
  medianMs: number,
): Summary | null {
  const end = samples[samples.length - 1];
  if (end === undefined) return null;
  const wholes = samples.filter((sample) => sample.whole);
  const first = wholes[0] ?? end;
  const last = wholes[wholes.length - 1] ?? end;
  const slowestMs = Math.max(...samples.map((sample) => sample.slowestMs));
  const written =
    end.writtenBytes === null || before.writtenBytes === null
      ? null
      : (end.writtenBytes - before.writtenBytes) / end.transfers;
  return {
    lastToFirst: last.transfersPerSecond / first.transfersPerSecond,
    transfersPerSecondFirst: first.transfersPerSecond,
    transfersPerSecondLast: last.transfersPerSecond,
    slowestMs,
    slowestToMedian: slowestMs / medianMs,
    residentBytesMax: end.residentBytesMax,
    fileBytesPerTransfer: (end.fileBytes - before.fileBytes) / end.transfers,
    writtenBytesPerTransfer: written,
    writeAmplification: written === null ? null : written / transferBytes,
  };
}
