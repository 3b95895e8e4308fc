/** The benchmark's result as a page for people and as one JSON object for programs. */
import {
  formatBytes,
  formatCount,
  formatFacts,
  formatJson,
  formatMilliseconds,
} from "../output.ts";
import type { ProcessUsage } from "./process-usage.ts";
import type { RunOptions, RunResult } from "./runner.ts";

export interface ServerFigures {
  /** From starting the process until it listened. Milliseconds. */
  readonly startMs: number;
  /** While the transfers ran. Seconds. */
  readonly cpuS: number;
  readonly usage: ProcessUsage;
}

export interface Report {
  readonly options: RunOptions;
  readonly result: RunResult;
  /** Known when the benchmark started the server itself, on a system with /proc. */
  readonly server: ServerFigures | undefined;
}

export function transfersPerSecond(report: Report): number {
  return report.options.transfers / (report.result.transfersMs / 1000);
}

/** A sentence for the user when the run's answers were not all as they must be. */
export function complaint(report: Report): string | undefined {
  const { refused, imbalance } = report.result;
  if (imbalance !== undefined) return `the books do not balance: ${imbalance}.`;
  if (refused.size === 0) return undefined;
  const counts = [...refused].map(
    ([status, count]) => `${formatCount(count)} with status ${status}`,
  );
  return (
    `the server refused events: ${counts.join(", ")} (the statuses of create_accounts and ` +
    "create_transfers are listed in docs)."
  );
}

export function reportText(report: Report): string {
  const { options, result, server } = report;
  const count = formatCount;
  const perTransfer = (cpuS: number): string =>
    `${((cpuS * 1e6) / options.transfers).toFixed(2)} µs per transfer`;
  const facts: [string, string][] = [
    [
      "load",
      `${count(options.transfers)} transfers, ${count(options.accounts)} accounts, ` +
        `${plural(options.clients, "client")}, batches of ${count(options.batch)}, ` +
        `${options.idOrder} ids` +
        (options.pendingShare > 0 ? `, ${options.pendingShare} % pending` : "") +
        (options.hotAccounts > 0 ? `, ${plural(options.hotAccounts, "hot account")}` : ""),
    ],
    ["throughput", `${count(transfersPerSecond(report))} transfers/s`],
    [
      "latency",
      `p50 ${formatMilliseconds(result.latencyP50Ms)}, p99 ${formatMilliseconds(result.latencyP99Ms)}, ` +
        `max ${formatMilliseconds(result.latencyMaxMs)} (${plural(result.batches, "batch", "batches")})`,
    ],
    [
      "longest gap",
      `${formatMilliseconds(result.gapMs)} without a reply, ${formatMilliseconds(result.gapAtMs)} after the start`,
    ],
    [
      "time",
      `${formatMilliseconds(result.transfersMs)} (accounts: ${formatMilliseconds(result.accountsMs)})`,
    ],
  ];
  if (server !== undefined) {
    facts.push([
      "server",
      `CPU ${server.cpuS.toFixed(2)} s (${perTransfer(server.cpuS)}), ` +
        `memory ${formatBytes(server.usage.residentBytes)} (at most ${formatBytes(server.usage.residentBytesMax)}), ` +
        `started in ${formatMilliseconds(server.startMs)}`,
    ]);
  }
  facts.push([
    "generator",
    `CPU ${result.generatorCpuS.toFixed(2)} s (${perTransfer(result.generatorCpuS)})` +
      (result.retries > 0 ? `, ${plural(result.retries, "request")} sent again` : ""),
  ]);
  if (complaint(report) === undefined) {
    const { totals } = result;
    facts.push([
      "checked",
      `every event created; debits = credits = ${count(totals.debitsPosted)} posted` +
        (totals.debitsPending > 0n ? `, ${count(totals.debitsPending)} pending` : ""),
    ]);
  }
  return formatFacts(facts);
}

export function reportJson(report: Report): string {
  const { options, result, server } = report;
  return formatJson({
    transfers: options.transfers,
    accounts: options.accounts,
    clients: options.clients,
    batch: options.batch,
    idOrder: options.idOrder,
    pendingShare: options.pendingShare,
    hotAccounts: options.hotAccounts,
    seed: options.seed,
    transfersPerSecond: Math.round(transfersPerSecond(report)),
    transfersMs: result.transfersMs,
    accountsMs: result.accountsMs,
    batches: result.batches,
    latencyMs: { p50: result.latencyP50Ms, p99: result.latencyP99Ms, max: result.latencyMaxMs },
    longestGap: { ms: result.gapMs, atMs: result.gapAtMs },
    generatorCpuS: result.generatorCpuS,
    retries: result.retries,
    server:
      server === undefined
        ? null
        : {
            startMs: server.startMs,
            cpuS: server.cpuS,
            residentBytes: server.usage.residentBytes,
            residentBytesMax: server.usage.residentBytesMax,
          },
    totals: result.totals,
    refused: Object.fromEntries(result.refused),
    ok: complaint(report) === undefined,
  });
}

function plural(count: number, one: string, many = `${one}s`): string {
  return `${formatCount(count)} ${count === 1 ? one : many}`;
}
