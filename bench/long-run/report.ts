/** What a long run found: the file that the plot reads, and the tables that people read. */
import {
  formatBytes,
  formatCount,
  formatFacts,
  formatMilliseconds,
  formatTable,
} from "../../src/cli/output.ts";
import type { QuestionFigures } from "./questions.ts";
import type { Sample, Summary } from "./samples.ts";

export interface LongRun {
  /** For people: order of ids, accounts, batch, clients. */
  readonly name: string;
  readonly load: {
    readonly accounts: number;
    readonly batch: number;
    readonly clients: number;
    readonly idOrder: string;
    readonly seed: number;
    readonly minutes: number | null;
    readonly startOptions: readonly string[];
  };
  readonly transfers: number;
  readonly durationMs: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** Bytes of the data file as formatted, and when the transfers began. */
  readonly fileBytesFormatted: number;
  readonly fileBytesBefore: number;
  readonly samples: readonly Sample[];
  readonly summary: Summary | null;
  readonly restart: {
    readonly listeningMs: number;
    /** Ops of the log after the checkpoint, which a start executes again. */
    readonly opsReplayed: number;
    readonly residentBytes: number;
  };
  readonly questions: readonly QuestionFigures[];
  /** What `pacioli inspect tables` says in the end: as of the last checkpoint. */
  readonly tables: unknown;
  readonly tablesText: string;
  /** A sentence when the answers or the books were wrong. */
  readonly complaint: string | null;
}

const mebibytes = (bytes: number): string => formatCount(bytes / 2 ** 20);

export function runText(run: LongRun): string {
  const parts = [`${run.name}\n`, samplesText(run), factsText(run)];
  if (run.questions.length > 0) parts.push(questionsText(run.questions));
  parts.push(run.tablesText);
  return parts.join("\n");
}

function samplesText({ samples, load }: LongRun): string {
  const head = ["transfers", "per second", "p50", "p99", "slowest", "memory MiB", "file MiB"];
  if (load.minutes !== null) head.unshift("minute");
  head.push("written MiB");
  let elapsedMs = 0;
  const rows = samples.map((sample) => {
    elapsedMs += sample.durationMs;
    const cells = [
      formatCount(sample.transfers),
      formatCount(sample.transfersPerSecond),
      formatMilliseconds(sample.p50Ms),
      formatMilliseconds(sample.p99Ms),
      formatMilliseconds(sample.slowestMs),
      mebibytes(sample.residentBytes),
      mebibytes(sample.fileBytes),
      sample.writtenBytes === null ? "" : mebibytes(sample.writtenBytes),
    ];
    if (load.minutes !== null) cells.unshift((elapsedMs / 60_000).toFixed(1));
    return cells;
  });
  return formatTable(head, rows);
}

function factsText(run: LongRun): string {
  const { summary, restart } = run;
  const facts: [string, string][] = [];
  if (summary !== null) {
    const { writtenBytesPerTransfer, writeAmplification } = summary;
    facts.push(
      [
        "throughput",
        `${formatCount((run.transfers * 1000) / run.durationMs)} transfers/s; first ` +
          `${formatCount(summary.transfersPerSecondFirst)}, last ` +
          `${formatCount(summary.transfersPerSecondLast)}: ${percent(summary.lastToFirst)} of it`,
      ],
      [
        "slowest batch",
        `${formatMilliseconds(summary.slowestMs)}, ${summary.slowestToMedian.toFixed(1)} × the median ` +
          `(${formatMilliseconds(run.p50Ms)}); p99 ${formatMilliseconds(run.p99Ms)}`,
      ],
      ["memory", `at most ${formatBytes(summary.residentBytesMax)}`],
      [
        "data file",
        `${summary.fileBytesPerTransfer.toFixed(0)} bytes per transfer, up to 256 MiB of them allocated ahead; ` +
          `${formatBytes(run.fileBytesFormatted)} when formatted, ` +
          `${formatBytes(run.fileBytesBefore)} with the accounts`,
      ],
    );
    if (writtenBytesPerTransfer !== null && writeAmplification !== null) {
      facts.push([
        "written",
        `${formatCount(writtenBytesPerTransfer)} bytes per transfer, journal included: ` +
          `${writeAmplification.toFixed(1)} × its 128`,
      ]);
    }
  }
  facts.push([
    "restart",
    `${formatMilliseconds(restart.listeningMs)} until it listened, with ` +
      `${formatCount(restart.opsReplayed)} ops executed again; ` +
      `${formatBytes(restart.residentBytes)} of memory then`,
  ]);
  facts.push(["checked", run.complaint ?? "every event created, the books balance"]);
  return formatFacts(facts);
}

function questionsText(questions: readonly QuestionFigures[]): string {
  const rows = questions.map((figures) => [
    figures.question,
    figures.when,
    formatCount(figures.asked),
    formatCount(figures.rows),
    formatMilliseconds(figures.p50Ms),
    formatMilliseconds(figures.p99Ms),
    formatMilliseconds(figures.slowestMs),
  ]);
  const head = ["question", "server", "asked", "rows each", "p50", "p99", "slowest"];
  return (
    formatTable(head, rows) +
    "first: by the server that took the load; warm: the same again; cold: the same after a restart.\n"
  );
}

function percent(share: number): string {
  return `${(share * 100).toFixed(0)} %`;
}
