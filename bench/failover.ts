/**
 * How long clients wait when the primary of three replicas is killed (-9) under load: from the kill to
 * the first answer that comes after it, for the official client, which sends a request again after
 * 600 ms at first, and for one that does so after 50 ms. Between two trials the killed replica comes
 * back and catches up, without load, so that all trials begin alike.
 *
 * Usage: node scripts/bench.mjs failover [--trials=N] [--development] [--sessions=N] [--json]
 *   --development  small data files: quick to make, with a journal of 64 ops
 *   --sessions=N   more clients, each with one request of 10 transfers under way; 3 by default
 */
import { parseArgs } from "node:util";
import { createClient } from "tigerbeetle-node";
import { formatMilliseconds, formatTable } from "../src/cli/output.ts";
import { ClusterProcesses } from "../test/process/cluster.ts";
import { ClusterSession } from "../test/process/cluster-session.ts";
import { cleanUp } from "../test/process/server.ts";
import { accountCodec, encodeArray, transferCodec } from "../test/reference/codec.ts";
import { makeAccount, makeTransfer } from "../test/reference/make.ts";
import { Operation } from "../test/reference/operations.ts";

const { values } = parseArgs({
  options: {
    trials: { type: "string", default: "20" },
    sessions: { type: "string", default: "3" },
    development: { type: "boolean", default: false },
    json: { type: "boolean", default: false },
  },
});
const trials = Number(values.trials);

const batch = 10;
const pauseMs = 5;
/** What arrives so soon after the kill was sent before it. */
const underwayMs = 20;
const retryAtOnceMs = 50;

let nextId = 1n;
let resting = false;
let stopped = false;

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

function transfers() {
  return Array.from({ length: batch }, () => makeTransfer(nextId++, 1n, 2n, 1n));
}

/** Answers of one client: when the first one came after the kill. */
class Served {
  private killedAt = Number.POSITIVE_INFINITY;
  private onServed: ((waitedMs: number) => void) | null = null;

  answered(): void {
    const waitedMs = performance.now() - this.killedAt;
    if (waitedMs < underwayMs || this.onServed === null) return;
    this.onServed(waitedMs);
    this.onServed = null;
  }

  /** Resolves with how long the client waited. */
  killed(): Promise<number> {
    this.killedAt = performance.now();
    return new Promise((resolve) => {
      this.onServed = (waitedMs) => {
        this.killedAt = Number.POSITIVE_INFINITY;
        resolve(waitedMs);
      };
    });
  }
}

async function loadSession(session: ClusterSession, served: Served): Promise<void> {
  while (!stopped) {
    if (resting) {
      await pause(pauseMs);
      continue;
    }
    const body = encodeArray(transferCodec, transfers());
    await session.roundTrip(session.buildBatches(Operation.createTransfers, [body]));
    served.answered();
    await pause(pauseMs);
  }
}

async function loadOfficial(ports: readonly number[], served: Served): Promise<void> {
  const client = createClient({ cluster_id: 0n, replica_addresses: ports.map(String) });
  try {
    while (!stopped) {
      if (resting) {
        await pause(pauseMs);
        continue;
      }
      await client.createTransfers(transfers());
      served.answered();
      await pause(pauseMs);
    }
  } finally {
    client.destroy();
  }
}

interface Trial {
  readonly officialMs: number;
  readonly atOnceMs: number;
  readonly views: number;
  readonly catchUpMs: number;
}

const cluster = await ClusterProcesses.start(3, { development: values.development });
const probe = await ClusterSession.register(cluster.ports, retryAtOnceMs);
const accounts = encodeArray(accountCodec, [makeAccount(1n), makeAccount(2n)]);
await probe.roundTrip(probe.buildBatches(Operation.createAccounts, [accounts]));

/** Sends one transfer; returns the request, by which a replica can be asked whether it has it. */
async function probeOnce(): Promise<Uint8Array> {
  const body = encodeArray(transferCodec, [makeTransfer(nextId++, 1n, 2n, 1n)]);
  const message = probe.buildBatches(Operation.createTransfers, [body]);
  await probe.roundTrip(message);
  return message;
}

async function catchUp(replica: number): Promise<number> {
  const began = performance.now();
  const message = await probeOnce();
  while (!(await probe.hasExecuted(message, replica, 100))) {
    if (performance.now() - began > 120_000) {
      throw new Error(`replica ${replica} does not catch up\n${cluster.logs}`);
    }
  }
  return performance.now() - began;
}

async function trial(official: Served, atOnce: Served): Promise<Trial> {
  await pause(500 + Math.random() * 1000);
  await probeOnce();
  const { view } = probe;
  const primary = view % 3;
  const waits = [official.killed(), atOnce.killed()];
  await cluster.kill(primary);
  const [officialMs, atOnceMs] = (await Promise.all(waits)) as [number, number];
  await probeOnce();
  const views = probe.view - view;
  resting = true;
  await cluster.startReplica(primary);
  const catchUpMs = await catchUp(primary);
  resting = false;
  return { officialMs, atOnceMs, views, catchUpMs };
}

const results: Trial[] = [];
try {
  const [official, atOnce] = [new Served(), new Served()];
  const sessions = [await ClusterSession.register(cluster.ports, retryAtOnceMs)];
  for (let index = 0; index < Number(values.sessions); index += 1) {
    sessions.push(await ClusterSession.register(cluster.ports, retryAtOnceMs));
  }
  const load = Promise.all([
    loadOfficial(cluster.ports, official),
    ...sessions.map((session, index) => loadSession(session, index === 0 ? atOnce : new Served())),
  ]);
  const measure = async (): Promise<void> => {
    for (let index = 0; index < trials; index += 1) {
      const result = await trial(official, atOnce);
      results.push(result);
      process.stderr.write(`${JSON.stringify(result)}\n`);
    }
    stopped = true;
  };
  await Promise.all([measure(), load]);
  for (const session of [...sessions, probe]) session.close();
  await cluster.stop();
} finally {
  await cleanUp();
}

function distribution(of: (trial: Trial) => number): number[] {
  const sorted = results.map(of).sort((a, b) => a - b);
  return [0, 0.5, 0.9, 1].map((share) => sorted[Math.round(share * (sorted.length - 1))]!);
}

if (values.json) {
  console.log(JSON.stringify(results));
} else {
  const row = (name: string, of: (trial: Trial) => number): string[] => [
    name,
    ...distribution(of).map(formatMilliseconds),
  ];
  process.stdout.write(
    formatTable(
      [`after the kill, ${trials} trials`, "least", "median", "90 %", "most"],
      [
        row("official client served again", ({ officialMs }) => officialMs),
        row("client that retries at once", ({ atOnceMs }) => atOnceMs),
        row("killed replica has caught up", ({ catchUpMs }) => catchUpMs),
      ],
    ),
  );
  const more = results.filter(({ views }) => views !== 1).length;
  console.log(`Trials that took more than one change of the view: ${more}.`);
}
