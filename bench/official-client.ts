/**
 * The rate of transfers through the official Node client: batches of 8,189, two calls under way, so
 * that the client builds one request while the server works on the other. What it shows is mostly
 * the client, which spends more CPU time on a transfer than the server does.
 *
 * Usage: node scripts/bench.mjs official-client [--backend=auto|uring|portable]
 *          [--transfers=N] [--batch=N] [--json]
 */
import { tmpdir } from "node:os";
import { parseArgs } from "node:util";
import { type Account, createClient, type Transfer } from "tigerbeetle-node";
import { Latencies } from "../src/cli/benchmark/latencies.ts";
import { processUsage } from "../src/cli/benchmark/process-usage.ts";
import { startTemporaryServer } from "../src/cli/benchmark/temporary-server.ts";
import { formatCount, formatMilliseconds } from "../src/cli/output.ts";

const accounts = 10_000;
const created = 0xffff_ffff;

const { values } = parseArgs({
  options: {
    backend: { type: "string", default: "auto" },
    transfers: { type: "string", default: "1000000" },
    batch: { type: "string", default: "8189" },
    json: { type: "boolean", default: false },
  },
});
const transfers = Number(values.transfers);
const batch = Number(values.batch);

function makeAccount(id: number): Account {
  return {
    id: BigInt(id),
    debits_pending: 0n,
    debits_posted: 0n,
    credits_pending: 0n,
    credits_posted: 0n,
    user_data_128: 0n,
    user_data_64: 0n,
    user_data_32: 0,
    reserved: 0,
    ledger: 1,
    code: 1,
    flags: 0,
    timestamp: 0n,
  };
}

function makeTransfer(id: number): Transfer {
  return {
    id: BigInt(id),
    debit_account_id: BigInt(1 + (id % accounts)),
    credit_account_id: BigInt(1 + ((id * 7 + 1) % accounts)),
    amount: 1n,
    pending_id: 0n,
    user_data_128: 0n,
    user_data_64: 0n,
    user_data_32: 0,
    timeout: 0,
    ledger: 1,
    code: 1,
    flags: 0,
    timestamp: 0n,
  };
}

function checkCreated(results: readonly { readonly status: number }[], count: number): void {
  const ok = results.length === count && results.every((result) => result.status === created);
  if (!ok) throw new Error("the server did not create every event");
}

/** Both sides differ for every id: 6·id + 1 is no multiple of the number of accounts here. */
function* batches(): Generator<Transfer[]> {
  for (let first = 1; first <= transfers; first += batch) {
    const count = Math.min(batch, transfers - first + 1);
    yield Array.from({ length: count }, (_, index) => makeTransfer(first + index));
  }
}

const server = await startTemporaryServer({
  directory: tmpdir(),
  formatOptions: [],
  startOptions: [`--backend=${values.backend}`],
});
const client = createClient({ cluster_id: 0n, replica_addresses: [String(server.address.port)] });
try {
  for (let first = 1; first <= accounts; first += 5000) {
    const list = Array.from({ length: 5000 }, (_, index) => makeAccount(first + index));
    checkCreated(await client.createAccounts(list), list.length);
  }

  const latencies = new Latencies();
  const serverBefore = processUsage(server.pid);
  const cpuBefore = process.cpuUsage();
  const startMs = performance.now();
  const work = batches();
  const worker = async (): Promise<void> => {
    for (const list of work) {
      const sentMs = performance.now();
      checkCreated(await client.createTransfers(list), list.length);
      latencies.add(performance.now() - sentMs);
    }
  };
  await Promise.all([worker(), worker()]);
  const elapsedMs = performance.now() - startMs;
  const cpu = process.cpuUsage(cpuBefore);
  const usage = processUsage(server.pid);

  const [p50, p99, max] = latencies.percentiles([0.5, 0.99, 1]) as [number, number, number];
  const figures = {
    transfers,
    transfersPerSecond: Math.round(transfers / (elapsedMs / 1000)),
    latencyMs: { p50, p99, max },
    generatorCpuS: (cpu.user + cpu.system) / 1e6,
    server:
      usage === undefined
        ? null
        : {
            startMs: server.startMs,
            cpuS: usage.cpuS - (serverBefore?.cpuS ?? 0),
            residentBytesMax: usage.residentBytesMax,
          },
  };
  if (values.json) {
    console.log(JSON.stringify(figures));
  } else {
    console.log(
      `official Node client: ${formatCount(figures.transfersPerSecond)} transfers/s, ` +
        `p50 ${formatMilliseconds(p50)}, p99 ${formatMilliseconds(p99)}, ` +
        `client CPU ${((figures.generatorCpuS * 1e6) / transfers).toFixed(2)} µs per transfer`,
    );
  }
} finally {
  client.destroy();
  await server.stop();
}
