/** The benchmark's load on a cluster whose primary changes: it goes on, and nothing happens twice. */
import { afterEach, expect, test } from "vitest";
import { complaint } from "../../src/cli/benchmark/report.ts";
import { Runner, type RunOptions, type RunResult } from "../../src/cli/benchmark/runner.ts";
import { openIo } from "../../src/io/open-io.ts";
import {
  ReferenceCluster,
  type ReferenceServer,
  startReferenceServer,
} from "./reference-server.ts";

const servers: ReferenceServer[] = [];

afterEach(async () => {
  await Promise.all(servers.splice(0).map((server) => server.close()));
});

async function startCluster(view: number): Promise<ReferenceCluster> {
  const cluster = new ReferenceCluster(3);
  cluster.view = view;
  for (let replica = 0; replica < 3; replica += 1) {
    servers.push(await startReferenceServer({}, cluster, replica));
  }
  return cluster;
}

/** Loads the cluster; the books must be right in the end, whatever has happened meanwhile. */
async function load(
  cluster: ReferenceCluster,
  changes: Partial<RunOptions> = {},
  backend: "auto" | "portable" = "auto",
): Promise<RunResult> {
  const options: RunOptions = {
    addresses: servers.map(({ port }) => ({ host: "127.0.0.1", port })),
    cluster: 0n,
    accounts: 20,
    transfers: 2000,
    batch: 50,
    clients: 2,
    idOrder: "sequential",
    pendingShare: 0,
    hotAccounts: 0,
    seed: 7,
    idSpace: 0,
    ...changes,
  };
  const { io } = openIo({ backend, drive: "guest" });
  const hooks = { onPhase: () => {}, onProgress: () => {}, onBatch: () => {} };
  const result = await new Runner(io, options, hooks).run();
  expect(complaint({ options, result, server: undefined })).toBeUndefined();
  expect(cluster.ledger.transfers.size).toBe(options.transfers);
  return result;
}

test.each([0, 1, 5, 300])("finds the primary of view %i, and sends nothing twice", async (view) => {
  const cluster = await startCluster(view);
  expect((await load(cluster)).retries).toBe(0);
});

test("does without replicas that are not there", async () => {
  const cluster = await startCluster(1);
  await servers[0]!.close();
  await servers[2]!.close();
  expect((await load(cluster)).retries).toBe(0);
});

test.each(["auto", "portable"] as const)("goes on when the primary ends (%s)", async (backend) => {
  const cluster = await startCluster(0);
  cluster.onRequest = (requests) => {
    if (requests !== 20) return;
    void servers[0]!.close();
    cluster.view = 1;
  };
  expect((await load(cluster, {}, backend)).retries).toBeGreaterThan(0);
});

test("goes on when the primary stands still, even in the middle of a request", async () => {
  const cluster = await startCluster(0);
  cluster.onRequest = (requests) => {
    if (requests !== 5) return;
    servers[0]!.pause();
    setTimeout(() => {
      cluster.view = 1;
    }, 300);
  };
  // Larger than what the kernel takes of a connection that is not read.
  const result = await load(cluster, { transfers: 16_378, batch: 8189, clients: 8, accounts: 100 });
  expect(result.retries).toBeGreaterThan(0);
});

test("goes on when the primaries end one after the other and come back", async () => {
  const cluster = await startCluster(0);
  const ports = servers.map(({ port }) => port);
  cluster.onRequest = (requests) => {
    if (requests % 10 !== 0 || cluster.view === 6) return;
    const primary = cluster.view % 3;
    const before = servers[primary]!;
    cluster.view += 1;
    void before.close().then(async () => {
      servers[primary] = await startReferenceServer({}, cluster, primary, ports[primary]!);
    });
  };
  expect((await load(cluster, { batch: 20 })).retries).toBeGreaterThan(0);
  expect(cluster.view).toBe(6);
});

test("a change of views without any loss", async () => {
  const cluster = await startCluster(0);
  cluster.onRequest = (requests) => {
    if (requests % 10 === 0) cluster.view += 1;
  };
  await load(cluster);
  expect(cluster.view).toBeGreaterThan(3);
});

test("says so when nobody is there", async () => {
  const cluster = await startCluster(0);
  const text = servers.map(({ port }) => `127.0.0.1:${port}`).join(", ");
  await Promise.all(servers.map((server) => server.close()));
  await expect(load(cluster)).rejects.toThrow(`nothing listens on ${text}; start a server`);
});
