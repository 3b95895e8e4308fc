/**
 * What many seeds came to: figures that can be added up over runs, for people as tables and for
 * programs as JSON.
 */
import { createHash } from "node:crypto";
import { formatCount, formatFacts, formatJson, formatTable } from "../../src/cli/output.ts";
import type { SimulationResult } from "./simulation.ts";
import { addCounts, type Counts } from "./trace.ts";

/** What is written as JSON. Everything but the digest is added up. */
export interface Summary {
  /** First seeds of the runs and how many they ran; an empty first seed: drawn afresh. */
  readonly runs: readonly { readonly firstSeed: string; readonly seeds: number }[];
  readonly seeds: number;
  readonly failures: readonly { readonly seed: string; readonly reason: string }[];
  readonly simulatedSeconds: number;
  readonly processorSeconds: number;
  readonly realSeconds: number;
  readonly operationsCommitted: number;
  readonly requestsAnswered: number;
  /** Faults that were injected on purpose, but for those of single messages. */
  readonly faultsInjected: number;
  readonly faults: Counts;
  readonly messageFaults: Counts;
  readonly replicas: Counts;
  readonly load: Counts;
  /** Of the digests of all seeds that passed, in their order; empty for a sum of several runs. */
  readonly digest: string;
}

export class Totals {
  seeds = 0;
  simulatedUs = 0;
  processorSeconds = 0;
  operationsCommitted = 0;
  readonly failures: { seed: bigint; reason: string }[] = [];
  private requestsAnswered = 0;
  private readonly faults: Counts = {};
  private readonly messageFaults: Counts = {};
  private readonly replicas: Counts = {};
  private readonly load: Counts = {};
  private readonly digests = createHash("sha256");

  add(result: SimulationResult): void {
    this.operationsCommitted += result.committedOps;
    this.requestsAnswered += result.answered;
    addCounts(this.faults, result.faults);
    addCounts(this.messageFaults, result.messageFaults);
    addCounts(this.replicas, result.replicas);
    addCounts(this.load, result.load);
    this.digests.update(result.digest);
  }

  get operationsPerSecond(): number {
    return this.operationsCommitted / Math.max(this.processorSeconds, 1e-3);
  }

  /** @param firstSeed - Of consecutive seeds; undefined: drawn afresh. */
  summary(firstSeed: bigint | undefined, realSeconds: number): Summary {
    return {
      runs: [{ firstSeed: firstSeed === undefined ? "" : String(firstSeed), seeds: this.seeds }],
      seeds: this.seeds,
      failures: this.failures.map(({ seed, reason }) => ({ seed: String(seed), reason })),
      simulatedSeconds: this.simulatedUs / 1e6,
      processorSeconds: this.processorSeconds,
      realSeconds,
      operationsCommitted: this.operationsCommitted,
      requestsAnswered: this.requestsAnswered,
      faultsInjected: sum(this.faults),
      faults: this.faults,
      messageFaults: this.messageFaults,
      replicas: this.replicas,
      load: this.load,
      digest: this.digests.copy().digest("hex").slice(0, 32),
    };
  }
}

export function addSummaries(a: Summary, b: Summary): Summary {
  const counts = (x: Counts, y: Counts): Counts => {
    const both = { ...x };
    addCounts(both, y);
    return both;
  };
  return {
    runs: [...a.runs, ...b.runs],
    seeds: a.seeds + b.seeds,
    failures: [...a.failures, ...b.failures],
    simulatedSeconds: a.simulatedSeconds + b.simulatedSeconds,
    processorSeconds: a.processorSeconds + b.processorSeconds,
    realSeconds: a.realSeconds + b.realSeconds,
    operationsCommitted: a.operationsCommitted + b.operationsCommitted,
    requestsAnswered: a.requestsAnswered + b.requestsAnswered,
    faultsInjected: a.faultsInjected + b.faultsInjected,
    faults: counts(a.faults, b.faults),
    messageFaults: counts(a.messageFaults, b.messageFaults),
    replicas: counts(a.replicas, b.replicas),
    load: counts(a.load, b.load),
    digest: "",
  };
}

function sum(counts: Counts): number {
  return Object.values(counts).reduce((total, count) => total + count, 0);
}

export function summaryJson(summary: Summary): string {
  return formatJson(summary);
}

/** Throws when the text is not a summary's. */
export function parseSummary(text: string): Summary {
  const summary = JSON.parse(text) as Partial<Summary>;
  for (const field of ["faults", "messageFaults", "replicas", "load"] as const) {
    if (typeof summary[field] !== "object") throw new Error(`it has no '${field}'`);
  }
  if (!Array.isArray(summary.runs) || !Array.isArray(summary.failures)) {
    throw new Error("it has no 'runs' or no 'failures'");
  }
  return summary as Summary;
}

export function summaryText(summary: Summary): string {
  const processor = Math.max(summary.processorSeconds, 1e-3);
  const per = (count: number): string => formatCount(count / processor);
  const facts: [string, string][] = [
    ["seeds", formatCount(summary.seeds)],
    ["failed", formatCount(summary.failures.length)],
    ["simulated", `${formatCount(summary.simulatedSeconds)} s`],
    ["real time", `${summary.realSeconds.toFixed(1)} s`],
    ["processor time", `${summary.processorSeconds.toFixed(1)} s`],
    ["operations committed", formatCount(summary.operationsCommitted)],
    ["faults injected", formatCount(summary.faultsInjected)],
    ["per second of processor time:", ""],
    ["  simulated", `${per(summary.simulatedSeconds)} s`],
    ["  operations committed", per(summary.operationsCommitted)],
    ["  faults injected", per(summary.faultsInjected)],
    ["seeds per minute of it", per(summary.seeds * 60)],
  ];
  const tables = [
    table("faults", summary.faults),
    table("faults of messages", summary.messageFaults),
    table("what replicas did", summary.replicas),
    table("what clients did and checkers saw", summary.load),
  ];
  return [formatFacts(facts), ...tables].join("\n");
}

function table(head: string, counts: Counts): string {
  const rows = Object.entries(counts)
    .filter(([, count]) => count > 0)
    .map(([name, count]) => [name, formatCount(count)]);
  return rows.length === 0 ? `${head}: none\n` : formatTable([head, "times"], rows);
}
