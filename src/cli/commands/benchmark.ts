/** `pacioli benchmark`: load over TCP from this process, against a server of its own or a given one. */

import { randomInt } from "node:crypto";
import { tmpdir } from "node:os";
import { clientsMaxLimit } from "../../core/limits.ts";
import { openIo } from "../../io/open-io.ts";
import { BatchLog } from "../benchmark/batch-log.ts";
import { processUsage } from "../benchmark/process-usage.ts";
import {
  complaint,
  type Report,
  reportJson,
  reportText,
  type ServerFigures,
} from "../benchmark/report.ts";
import { Runner, type RunOptions, type RunResult } from "../benchmark/runner.ts";
import { startTemporaryServer, type TemporaryServer } from "../benchmark/temporary-server.ts";
import { idOrders } from "../benchmark/workload.ts";
import { defineCommand, type Terminal } from "../command.ts";
import { CommandError } from "../command-error.ts";
import { addresses, choice, flag, integer, type OptionValues, text, u128 } from "../options.ts";
import { userPath } from "../paths.ts";
import { Progress } from "../progress.ts";
import { commonOptions, numericAddress } from "../server-options.ts";

/** With small batches a transfer takes as long as a batch: fewer of them tell as much. */
const smallBatch = 100;
const transfersDefault = 1_000_000;
const transfersDefaultSmall = 50_000;

const options = {
  accounts: integer({ help: "Accounts", min: 2, max: 100_000_000, initial: 10_000 }),
  transfers: integer({
    help: "Transfers",
    min: 1,
    max: 10_000_000_000,
    defaultText: "1000000, or 50000 with a --batch below 100",
  }),
  batch: integer({ help: "Transfers in one request", min: 1, max: 8189, initial: 8189 }),
  clients: integer({
    help: "Clients, each with a session, a connection and one request in flight",
    min: 1,
    max: 4096,
    initial: 1,
  }),
  "id-order": choice(idOrders, {
    help: "Order of the transfers' ids; time makes them as the official clients do",
    initial: "sequential",
  }),
  "pending-share": integer({
    help: "Percent of the transfers that are pending; each is posted in its client's next batch",
    min: 0,
    max: 100,
    initial: 0,
  }),
  "hot-accounts": integer({
    help: "Every transfer debits one of so many accounts; 0 draws from all",
    min: 0,
    max: 100_000_000,
    initial: 0,
  }),
  seed: integer({ help: "Seed of the load", min: 0, max: 2 ** 53 - 1, initial: 42 }),
  addresses: addresses({
    help: "Load the server that listens there, or a cluster of all of these, instead of a temporary one",
  }),
  cluster: u128({ help: "Cluster id of that server", initial: 0n }),
  directory: text({
    help: "Folder for the temporary data file",
    valueName: "PATH",
    defaultText: "the system's",
  }),
  development: flag("Format and start the temporary server with --development"),
  backend: commonOptions.backend,
  "direct-io": commonOptions["direct-io"],
  "request-grouping": commonOptions["request-grouping"],
  "clients-max": integer({
    help: "Format the temporary data file for so many sessions",
    min: 1,
    max: clientsMaxLimit,
    defaultText: "the server's",
  }),
  latencies: text({
    help: "Write a line for every batch of transfers: client, when sent, latency, transfers",
    valueName: "FILE",
  }),
  json: flag("One JSON object instead of text"),
};

/** They say how the temporary server is made, and nothing about one that runs already. */
const ownServerOptions = [
  "directory",
  "development",
  "backend",
  "direct-io",
  "request-grouping",
  "clients-max",
] as const;

type Values = OptionValues<typeof options>;

export const benchmarkCommand = defineCommand({
  name: "benchmark",
  summary: "Measure throughput and latency",
  description:
    "Creates accounts and transfers over TCP as fast as the server answers, checks that every " +
    "event was created and that debits equal credits, and prints throughput and the latency of " +
    "batches. Without --addresses it formats and starts a server of its own on a temporary data " +
    "file and removes it in the end.",
  options,
  positionals: [],
  examples: [
    "pacioli benchmark",
    "pacioli benchmark --transfers=5000000 --json",
    "pacioli benchmark --batch=1 --clients=32 --request-grouping=off",
    "pacioli benchmark --addresses=3001 --pending-share=50 --id-order=random",
    "pacioli benchmark --addresses=3001,3002,3003",
  ],
  async run(values, _positionals, terminal, parsed) {
    if (values["hot-accounts"] > values.accounts) {
      throw new CommandError(
        `--hot-accounts=${values["hot-accounts"]} is more than --accounts=${values.accounts}.`,
      );
    }
    const transfers =
      values.transfers ?? (values.batch < smallBatch ? transfersDefaultSmall : transfersDefault);
    const load = {
      cluster: values.cluster,
      accounts: values.accounts,
      transfers,
      batch: values.batch,
      clients: values.clients,
      idOrder: values["id-order"],
      pendingShare: values["pending-share"],
      hotAccounts: values["hot-accounts"],
      seed: values.seed,
    };
    if (values.addresses === undefined) {
      if (parsed.given.has("cluster")) {
        throw new CommandError("--cluster goes with --addresses; a temporary server is cluster 0.");
      }
      return onTemporaryServer(load, values, terminal);
    }
    const misplaced = ownServerOptions.find((name) => parsed.given.has(name));
    if (misplaced !== undefined) {
      throw new CommandError(
        `--${misplaced} says how a temporary server is made; it does not go with --addresses.`,
      );
    }
    const addresses = await Promise.all(values.addresses.map(numericAddress));
    // Ids that no earlier run against this server can have used.
    const idSpace = Date.now() * 1000 + randomInt(1000);
    const runOptions = { ...load, addresses, idSpace };
    return finish(await measure(runOptions, undefined, values, terminal), values.json, terminal);
  },
});

type Load = Omit<RunOptions, "addresses" | "idSpace">;

async function onTemporaryServer(load: Load, values: Values, terminal: Terminal): Promise<number> {
  const development = values.development ? ["--development"] : [];
  const clientsMax =
    values["clients-max"] === undefined ? [] : [`--clients-max=${values["clients-max"]}`];
  const server = await startTemporaryServer({
    directory: values.directory === undefined ? tmpdir() : userPath(values.directory),
    formatOptions: [...development, ...clientsMax],
    startOptions: [
      ...development,
      `--backend=${values.backend}`,
      `--direct-io=${values["direct-io"] ? "on" : "off"}`,
      `--request-grouping=${values["request-grouping"] ? "on" : "off"}`,
    ],
  });
  // Ctrl-C must not leave the server and its file behind.
  const onSignal = (): void => {
    void server.stop().then(() => process.exit(130));
  };
  process.once("SIGINT", onSignal);
  process.once("SIGTERM", onSignal);
  try {
    const runOptions = { ...load, addresses: [server.address], idSpace: 0 };
    return finish(await measure(runOptions, server, values, terminal), values.json, terminal);
  } finally {
    process.off("SIGINT", onSignal);
    process.off("SIGTERM", onSignal);
    await server.stop();
  }
}

async function measure(
  runOptions: RunOptions,
  server: TemporaryServer | undefined,
  values: Values,
  terminal: Terminal,
): Promise<Report> {
  const log = values.latencies === undefined ? null : new BatchLog(userPath(values.latencies));
  const progress = new Progress(terminal);
  let phaseStartMs = 0;
  let cpuBeforeS = 0;
  let figures: ServerFigures | undefined;
  // This process has nothing else to do than to wait for replies.
  const { io } = openIo({ backend: "auto", drive: "owned" });
  const runner = new Runner(io, runOptions, {
    onPhase(phase) {
      phaseStartMs = performance.now();
      const usage = server === undefined ? undefined : processUsage(server.pid);
      if (server === undefined || usage === undefined) return;
      if (phase === "transfers") cpuBeforeS = usage.cpuS;
      if (phase === "balances") {
        figures = { startMs: server.startMs, cpuS: usage.cpuS - cpuBeforeS, usage };
      }
    },
    onProgress(phase, done, all) {
      progress.show(phase, done, all, done / ((performance.now() - phaseStartMs) / 1000));
    },
    onBatch(client, sentMs, latencyMs, events) {
      log?.add(client, sentMs, latencyMs, events);
    },
  });
  let result: RunResult;
  try {
    result = await runner.run();
  } finally {
    progress.clear();
    log?.finish();
  }
  return { options: runOptions, result, server: figures };
}

function finish(report: Report, json: boolean, terminal: Terminal): number {
  terminal.out(json ? reportJson(report) : reportText(report));
  const wrong = complaint(report);
  if (wrong === undefined) return 0;
  terminal.error(`pacioli: ${wrong}\n`);
  return 1;
}
