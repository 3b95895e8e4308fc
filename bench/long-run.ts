/**
 * A long load and its curve: whether a server is as fast, and as small, after many millions of
 * transfers as it was after the first. It formats a data file, starts `pacioli start` on it, drives it
 * with the load of `pacioli benchmark` and takes a sample per so many transfers, or per minute. Then it
 * asks questions, starts the server again, and asks them of one whose caches are empty.
 *
 * Usage: node scripts/bench.mjs long-run -- [OPTIONS]
 *   --transfers=40000000 --accounts=1000000 --id-order=sequential|reversed|random|time
 *   --batch=N --clients=N --seed=N
 *   --sample=N             transfers per sample
 *   --minutes=M            instead of --transfers: so long, with a sample per minute and no questions
 *   --questions=N          queries of each kind, before and after the restart; 0 asks none
 *   --user-data            the account that a transfer debits is its user_data_64, and queries ask for it
 *   --directory=PATH       for the data file; the system's folder otherwise
 *   --out=FILE             writes the figures as JSON, for long-run-plot
 *   --format-option=…, --start-option=…   passed on, such as --start-option=--cache-grid=1GiB
 */
import { spawnSync } from "node:child_process";
import { statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { parseArgs } from "node:util";
import { processUsage, processWrittenBytes } from "../src/cli/benchmark/process-usage.ts";
import { complaint } from "../src/cli/benchmark/report.ts";
import { Runner, type RunOptions, type RunResult } from "../src/cli/benchmark/runner.ts";
import {
  startTemporaryServer,
  type TemporaryServer,
} from "../src/cli/benchmark/temporary-server.ts";
import { type IdOrder, idOrders } from "../src/cli/benchmark/workload.ts";
import { CommandError } from "../src/cli/command-error.ts";
import { formatCount, formatJson, formatMilliseconds } from "../src/cli/output.ts";
import { mainScript } from "../src/cli/paths.ts";
import { Prng } from "../src/core/prng.ts";
import { openIo } from "../src/io/open-io.ts";
import { IdSample } from "./long-run/id-sample.ts";
import { lookupIds, type QuestionFigures, Questions } from "./long-run/questions.ts";
import { type LongRun, runText } from "./long-run/report.ts";
import { type Probe, type Sample, Sampler, summarise } from "./long-run/samples.ts";

const { values } = parseArgs({
  options: {
    transfers: { type: "string", default: "5000000" },
    accounts: { type: "string", default: "100000" },
    "id-order": { type: "string", default: "sequential" },
    batch: { type: "string", default: "8189" },
    clients: { type: "string", default: "1" },
    seed: { type: "string", default: "42" },
    sample: { type: "string", default: "1000000" },
    minutes: { type: "string" },
    "user-data": { type: "boolean", default: false },
    questions: { type: "string", default: "500" },
    directory: { type: "string", default: tmpdir() },
    out: { type: "string" },
    "format-option": { type: "string", multiple: true, default: [] },
    "start-option": { type: "string", multiple: true, default: [] },
  },
});

/** Lookups of each time: as many ids of the load are remembered. */
const lookups = 8;
const minuteMs = 60_000;
/** More than any load by time sends: ids of other orders than `reversed` do not depend on it. */
const transfersUnlimited = 2 ** 32 - 1;

function number(name: keyof typeof values): number {
  const value = Number(values[name]);
  if (Number.isFinite(value) && value >= 0) return value;
  throw new CommandError(`--${name}=${String(values[name])} is no number.`);
}

function idOrder(): IdOrder {
  const found = idOrders.find((order) => order === values["id-order"]);
  if (found !== undefined) return found;
  throw new CommandError(`--id-order takes ${idOrders.join(", ")}.`);
}

function probeOf(server: TemporaryServer): Probe {
  const usage = processUsage(server.pid);
  return {
    residentBytes: usage?.residentBytes ?? 0,
    residentBytesMax: usage?.residentBytesMax ?? 0,
    fileBytes: fileBytes(server),
    writtenBytes: processWrittenBytes(server.pid),
  };
}

/** What the data file takes on disk. */
function fileBytes(server: TemporaryServer): number {
  return statSync(server.file).blocks * 512;
}

/** What each table and index of the file takes, for people and for programs. */
function inspectTables({ file }: TemporaryServer): { text: string; json: unknown } {
  const inspect = (...options: string[]): string => {
    const args = [mainScript, "inspect", "tables", ...options, file];
    const { status, stdout, stderr } = spawnSync(process.execPath, args, { encoding: "utf8" });
    if (status !== 0) throw new Error(`the data file cannot be inspected: ${stderr}`);
    return stdout;
  };
  return { text: inspect(), json: JSON.parse(inspect("--json")) };
}

/** By what the server said when it started. */
function opsReplayed(text: string): number {
  const match = /replaying ops ([0-9]+) to ([0-9]+)/.exec(text);
  return match === null ? 0 : Number(match[2]) - Number(match[1]) + 1;
}

function showSample(sample: Sample): void {
  process.stderr.write(
    `${formatCount(sample.transfers)} transfers: ${formatCount(sample.transfersPerSecond)}/s, ` +
      `slowest ${formatMilliseconds(sample.slowestMs)}\n`,
  );
}

interface Loaded {
  readonly options: RunOptions;
  readonly result: RunResult;
  readonly before: Probe;
  readonly sampler: Sampler;
  readonly ids: IdSample;
}

async function drive(server: TemporaryServer, minutes: number | null): Promise<Loaded> {
  const options: RunOptions = {
    addresses: [server.address],
    cluster: 0n,
    accounts: number("accounts"),
    transfers: minutes === null ? number("transfers") : transfersUnlimited,
    batch: number("batch"),
    clients: number("clients"),
    idOrder: idOrder(),
    pendingShare: 0,
    hotAccounts: 0,
    accountInUserData: values["user-data"],
    seed: number("seed"),
    idSpace: 0,
  };
  const known = minutes === null && number("questions") > 0 ? lookups * lookupIds : 0;
  const ids = new IdSample(
    options.transfers,
    Math.min(known, options.transfers),
    new Prng(options.seed + 1),
  );
  const sampler = new Sampler(
    {
      transfers: minutes === null ? number("sample") : Number.POSITIVE_INFINITY,
      durationMs: minutes === null ? Number.POSITIVE_INFINITY : minuteMs,
    },
    () => probeOf(server),
    showSample,
  );
  let before: Probe | undefined;
  const runner = new Runner(openIo({ backend: "auto", drive: "owned" }).io, options, {
    onPhase(phase) {
      if (phase === "transfers") before = probeOf(server);
      if (phase === "balances") sampler.finish();
    },
    onProgress() {},
    onBatch(_client, sentMs, latencyMs, events) {
      const atMs = sentMs + latencyMs;
      sampler.add(atMs, latencyMs, events);
      if (minutes !== null && atMs >= minutes * minuteMs) runner.endTransfers();
    },
    onMade(words, at, first, events) {
      ids.add(words, at, first, events);
    },
  });
  const result = await runner.run();
  return { options, result, before: before!, sampler, ids };
}

async function measure(server: TemporaryServer): Promise<LongRun> {
  const minutes = values.minutes === undefined ? null : number("minutes");
  const fileBytesFormatted = fileBytes(server);
  const { options, result, before, sampler, ids } = await drive(server, minutes);
  const { samples } = sampler;
  const transfers = samples[samples.length - 1]?.transfers ?? 0;

  const figures: QuestionFigures[] = [];
  const count = minutes === null ? number("questions") : 0;
  const questions = new Questions(
    count,
    options.accounts,
    values["user-data"],
    ids,
    new Prng(options.seed + 2),
  );
  if (count > 0) figures.push(...(await questions.ask(server.address, ["first", "warm"])));
  process.stderr.write("restart …\n");
  await server.restart();
  const residentBytes = processUsage(server.pid)?.residentBytes ?? 0;
  if (count > 0) figures.push(...(await questions.ask(server.address, ["cold"])));

  await server.stopProcess();
  const tables = inspectTables(server);

  const clients = options.clients === 1 ? "1 client" : `${formatCount(options.clients)} clients`;
  return {
    name:
      `${options.idOrder} ids, ${formatCount(options.accounts)} accounts, ${clients}, ` +
      `batches of ${formatCount(options.batch)}` +
      (values["user-data"] ? ", accounts in user_data_64" : ""),
    load: {
      accounts: options.accounts,
      batch: options.batch,
      clients: options.clients,
      idOrder: options.idOrder,
      seed: options.seed,
      minutes,
      startOptions: values["start-option"],
    },
    transfers,
    durationMs: result.transfersMs,
    p50Ms: result.latencyP50Ms,
    p99Ms: result.latencyP99Ms,
    fileBytesFormatted,
    fileBytesBefore: before.fileBytes,
    samples,
    summary: summarise(samples, before, result.latencyP50Ms),
    restart: {
      listeningMs: server.startMs,
      opsReplayed: opsReplayed(server.startText),
      residentBytes,
    },
    questions: figures,
    tables: tables.json,
    tablesText: tables.text,
    complaint: complaint({ options, result, server: undefined }) ?? null,
  };
}

const server = await startTemporaryServer({
  directory: values.directory,
  formatOptions: values["format-option"],
  startOptions: values["start-option"],
});
// Ctrl-C must not leave the server and its file behind.
const onSignal = (): void => {
  void server.stop().then(() => process.exit(130));
};
process.once("SIGINT", onSignal);
process.once("SIGTERM", onSignal);
try {
  const run = await measure(server);
  if (values.out !== undefined) writeFileSync(values.out, formatJson(run));
  process.stdout.write(runText(run));
  if (run.complaint !== null) process.exitCode = 1;
} finally {
  await server.stop();
}
