/**
 * Runs seeds one after the other and reports: what the `simulate` command does once it has loaded
 * the simulator. A seed that fails is run again with its column log, whose end is printed with the
 * command that repeats it.
 */
import { randomBytes } from "node:crypto";
import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { Packr } from "msgpackr";
import type { Terminal } from "../../src/cli/command.ts";
import { formatJson, formatTable } from "../../src/cli/output.ts";
import { Progress } from "../../src/cli/progress.ts";
import {
  type ChecksumImplementation,
  useChecksumImplementation,
} from "../../src/native/checksum.ts";
import { canaries } from "./canaries/all.ts";
import type { Canary } from "./canaries/canary.ts";
import { createLoad } from "./clients/load.ts";
import { Simulation, type SimulationOptions, type SimulationResult } from "./simulation.ts";
import { seedMax } from "./streams.ts";
import { faultNames, type SwarmOverrides } from "./swarm.ts";
import {
  addSummaries,
  parseSummary,
  type Summary,
  summaryJson,
  summaryText,
  Totals,
} from "./totals.ts";
import { type LogEvent, logLine } from "./trace.ts";

export interface DriverOptions {
  /** One seed; the rest is left out then. */
  readonly seed: bigint | undefined;
  readonly seeds: number;
  /** The first of consecutive seeds; undefined draws every seed afresh. */
  readonly firstSeed: bigint | undefined;
  /** Ends after this time, if not undefined, whatever `seeds` says. */
  readonly minutes: number | undefined;
  /** Replicas of every cluster; undefined lets seeds draw. */
  readonly replicas: number | undefined;
  /** Kinds of faults that are left out. */
  readonly without: readonly string[];
  readonly canary: string | undefined;
  readonly canaries: boolean;
  /** Of all replicas; undefined lets seeds draw. */
  readonly checksum: ChecksumImplementation | undefined;
  /** The summary as JSON. */
  readonly json: boolean;
  /** A file with a summary to which this run's is added. */
  readonly addTo: string | undefined;
  /** Every seed twice, comparing the digests. */
  readonly twice: boolean;
  readonly log: boolean;
  /** Where the events of the seed go as MessagePack. */
  readonly trace: string | undefined;
  /** How to write the command that repeats a seed. */
  readonly command: string;
}

/** Lines of the column log that are shown of a seed that failed. */
const tailLines = 40;

/** Seeds that a canary is given to be found. */
const canarySeedsMax = 500;

/** Fewer committed operations per second of processor time prove too little. */
const opsPerSecondMin = 50;

/** With checksums in TypeScript, which take most of the time: 48 where the addon's had 108. */
const opsPerSecondMinTypescript = 15;

export const faultKinds: readonly string[] = Object.keys(faultNames);
export const canaryNames: readonly string[] = canaries.map((canary) => canary.name);

interface Outcome {
  readonly result: SimulationResult | null;
  readonly failure: Error | null;
  readonly simulatedUs: number;
}

/** @returns The exit code. */
export async function drive(options: DriverOptions, terminal: Terminal): Promise<number> {
  if (options.checksum === "native" && !useChecksumImplementation("native")) {
    terminal.error("pacioli: the addon, whose checksums are asked for, is not there.\n");
    return 1;
  }
  const { addTo } = options;
  try {
    if (addTo !== undefined && existsSync(addTo)) parseSummary(readFileSync(addTo, "utf8"));
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    terminal.error(`pacioli: '${addTo}' is no summary of a simulation: ${reason}.\n`);
    return 1;
  }
  if (options.canaries) return new Driver(options, terminal).runCanaries();
  if (options.seed !== undefined) return new Driver(options, terminal).runOne(options.seed);
  return new Driver(options, terminal).runMany();
}

class Driver {
  private readonly totals = new Totals();

  constructor(
    private readonly options: DriverOptions,
    private readonly terminal: Terminal,
  ) {}

  private overrides(): SwarmOverrides {
    const { replicas, without, checksum } = this.options;
    return {
      without,
      ...(replicas === undefined ? {} : { replicas }),
      ...(checksum === undefined ? {} : { checksum }),
    };
  }

  private chosenCanary(): Canary | null {
    return canaries.find((canary) => canary.name === this.options.canary) ?? null;
  }

  private simulate(
    seed: bigint,
    canary: Canary | null,
    onLog: SimulationOptions["onLog"],
    overrides = this.overrides(),
  ): Outcome {
    let simulation: Simulation | null = null;
    try {
      simulation = new Simulation({ seed, overrides, createLoad, canary, onLog });
      const result = simulation.run();
      return { result, failure: null, simulatedUs: result.simulatedUs };
    } catch (error) {
      const failure = error instanceof Error ? error : new Error(String(error));
      return { result: null, failure, simulatedUs: simulation?.nowUs ?? 0 };
    }
  }

  // ── One seed ─────────────────────────────────────────────────────────────────────────────────

  runOne(seed: bigint): number {
    const { terminal, options } = this;
    const trace: LogEvent[] = [];
    const wanted = options.log || options.trace !== undefined;
    const onLog = (event: LogEvent): void => {
      if (options.log) terminal.out(`${logLine(event)}\n`);
      if (options.trace !== undefined) trace.push(event);
    };
    const startMs = performance.now();
    this.run(seed, wanted ? onLog : null);
    const summary = this.totals.summary(seed, (performance.now() - startMs) / 1000);
    if (options.trace !== undefined) this.writeTrace(options.trace, summary, trace);
    this.report(summary);
    return this.totals.failures.length === 0 ? 0 : 1;
  }

  private writeTrace(path: string, summary: Summary, events: readonly LogEvent[]): void {
    const packr = new Packr({ useRecords: true });
    writeFileSync(path, packr.pack({ summary, events }));
  }

  /** Runs a seed, adds up what it did, and explains its failure. */
  private run(seed: bigint, onLog: SimulationOptions["onLog"]): Outcome {
    const { totals } = this;
    const canary = this.chosenCanary();
    const before = process.cpuUsage();
    const outcome = this.simulate(seed, canary, onLog);
    const usage = process.cpuUsage(before);
    totals.seeds += 1;
    totals.processorSeconds += (usage.user + usage.system) / 1e6;
    totals.simulatedUs += outcome.simulatedUs;
    const { result } = outcome;
    if (result === null) {
      this.explain(seed, outcome, onLog === null);
    } else {
      totals.add(result);
      if (this.options.twice) this.compare(seed, canary, result);
      const one = this.options.seed !== undefined && !this.options.json;
      if (one) this.terminal.out(`digest ${result.digest}\n`);
    }
    return outcome;
  }

  private compare(seed: bigint, canary: Canary | null, first: SimulationResult): void {
    const again = this.simulate(seed, canary, null).result?.digest;
    if (again === first.digest) return;
    this.failed(seed, `two runs differ: digests ${first.digest} and ${again ?? "none"}`);
  }

  private failed(seed: bigint, reason: string): void {
    this.totals.failures.push({ seed, reason });
    this.terminal.error(`\nseed ${seed} failed: ${reason}\n`);
    this.terminal.error(`  ${this.repeat(seed)}\n`);
  }

  private repeat(seed: bigint): string {
    const { replicas, without, canary, checksum, command } = this.options;
    const words = [`${command} --seed=${seed}`];
    if (replicas !== undefined) words.push(`--replicas=${replicas}`);
    if (without.length > 0) words.push(`--without=${without.join(",")}`);
    if (canary !== undefined) words.push(`--canary=${canary}`);
    if (checksum !== undefined) words.push(`--checksum=${checksumNames[checksum]}`);
    return [...words, "--log"].join(" ");
  }

  private explain(seed: bigint, outcome: Outcome, again: boolean): void {
    const failure = outcome.failure!;
    const first = this.totals.failures.length === 0;
    const when = `after ${(outcome.simulatedUs / 1e6).toFixed(3)} simulated seconds`;
    if (first && again) {
      const tail: LogEvent[] = [];
      this.simulate(seed, this.chosenCanary(), (event) => {
        tail.push(event);
        if (tail.length > 2 * tailLines) tail.splice(0, tailLines);
      });
      const lines = tail.slice(-tailLines).map(logLine);
      this.terminal.error(`\n${lines.join("\n")}\n`);
    }
    const stack = failure.name === "SimulationFailure" ? "" : `\n${failure.stack ?? ""}`;
    this.failed(seed, `${failure.message} (${when})${stack}`);
  }

  // ── Many seeds ───────────────────────────────────────────────────────────────────────────────

  async runMany(): Promise<number> {
    const { options, totals, terminal } = this;
    const progress = new Progress(terminal);
    const startMs = performance.now();
    const limitMs = (options.minutes ?? Number.POSITIVE_INFINITY) * 60_000;
    const timed = options.minutes !== undefined;
    for (;;) {
      const tookMs = performance.now() - startMs;
      if (timed ? tookMs >= limitMs : totals.seeds >= options.seeds) break;
      const done = timed ? tookMs : totals.seeds;
      progress.show("seeds", done, timed ? limitMs : options.seeds, (totals.seeds * 1000) / tookMs);
      const failures = totals.failures.length;
      const seed = this.nextSeed();
      this.run(seed, null);
      if (totals.failures.length > failures) progress.clear();
      // Signals get their turn.
      await new Promise((resume) => setImmediate(resume));
    }
    progress.clear();
    this.report(totals.summary(options.firstSeed, (performance.now() - startMs) / 1000));
    return this.verdict();
  }

  private nextSeed(): bigint {
    const { firstSeed } = this.options;
    if (firstSeed !== undefined) return (firstSeed + BigInt(this.totals.seeds)) & seedMax;
    return randomBytes(8).readBigUInt64LE();
  }

  private report(summary: Summary): void {
    const { addTo, json } = this.options;
    let shown = summary;
    if (addTo !== undefined) {
      if (existsSync(addTo))
        shown = addSummaries(parseSummary(readFileSync(addTo, "utf8")), summary);
      // A run that is killed here leaves the sum as it was.
      writeFileSync(`${addTo}.new`, summaryJson(shown));
      renameSync(`${addTo}.new`, addTo);
    }
    this.terminal.out(json ? summaryJson(shown) : summaryText(shown));
  }

  private verdict(): number {
    const { totals, terminal } = this;
    if (totals.failures.length > 0) {
      const seeds = totals.failures.map(({ seed }) => String(seed)).slice(0, 20);
      terminal.error(`\n${totals.failures.length} seeds failed: ${seeds.join(" ")}\n`);
      return 1;
    }
    const rate = totals.operationsPerSecond;
    const portable = this.overrides().checksum === "portable";
    if (totals.seeds > 0 && rate < (portable ? opsPerSecondMinTypescript : opsPerSecondMin)) {
      terminal.error(
        `\nonly ${rate.toFixed(0)} operations per second of processor time were committed: seeds ` +
          "that hardly do anything prove nothing.\n",
      );
      return 1;
    }
    return 0;
  }

  // ── Canaries ─────────────────────────────────────────────────────────────────────────────────

  async runCanaries(): Promise<number> {
    const { terminal, options } = this;
    const progress = new Progress(terminal);
    const chosen = canaries.filter((canary) => [undefined, canary.name].includes(options.canary));
    const rows: string[][] = [];
    let missed = 0;
    for (const canary of chosen) {
      const overrides = { ...this.overrides() };
      const replicas = Math.max(canary.replicasMin, options.replicas ?? canary.replicasMin);
      let found: { seeds: number; reason: string } | null = null;
      for (let index = 0; index < canarySeedsMax && found === null; index += 1) {
        progress.show(canary.name, index, canarySeedsMax, 0);
        const seed = (options.firstSeed ?? 1n) + BigInt(index);
        const { failure } = this.simulate(seed, canary, null, { ...overrides, replicas });
        if (failure !== null) found = { seeds: index + 1, reason: failure.message };
        await new Promise((resume) => setImmediate(resume));
      }
      progress.clear();
      if (found === null) missed += 1;
      rows.push([canary.name, found === null ? "never" : String(found.seeds), found?.reason ?? ""]);
      const verdict = found === null ? "NOT FOUND" : `found in seed ${found.seeds}`;
      terminal.error(`${canary.name}: ${canary.what}: ${verdict}\n`);
    }
    if (options.json) {
      const found = rows.map(([name, seeds, reason]) => ({ name, seeds, reason }));
      terminal.out(formatJson(found));
    } else {
      const width = 100;
      const shown = rows.map(([name, seeds, reason]) => [name!, seeds!, reason!.slice(0, width)]);
      terminal.out(formatTable(["canary", "seeds", "found by"], shown));
    }
    return missed === 0 ? 0 : 1;
  }
}

/** How the implementations are called on the command line. */
export const checksumNames = { native: "addon", portable: "typescript" } as const;
