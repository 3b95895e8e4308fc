/**
 * A cluster of three under what was made for TigerBeetle: the official client's own test program,
 * unmodified, with all replicas up and with one of them after the other killed and restarted; and the
 * recordings of conformance/, each on a cluster of its own.
 */

import { createClient } from "tigerbeetle-node";
import { afterAll, describe, expect, test } from "vitest";
import { readRecording, recordingNames } from "../conformance/recording.ts";
import {
  type ReplayClient,
  realPace,
  replay,
  sleepReally,
  TooSlowError,
} from "../conformance/replay.ts";
import { ClusterProcesses } from "../process/cluster.ts";
import { ClusterSession } from "../process/cluster-session.ts";
import { cleanUp, pacioli } from "../process/server.ts";
import { makeAccount, makeQueryFilter, makeTransfer } from "../reference/make.ts";
import { created } from "../reference/records.ts";
import { runSuite, suiteTests } from "./official-suite.ts";

afterAll(cleanUp);

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** The view that the cluster works in, as it tells clients. */
async function viewOf(cluster: ClusterProcesses): Promise<number> {
  const session = new ClusterSession(cluster.ports);
  // One that has just been restarted may know of an older view.
  for (let tries = 0; tries < 50 && (session.view === 0 || tries < 2); tries += 1) await pause(50);
  session.close();
  return session.view;
}

async function stopIntact(cluster: ClusterProcesses): Promise<void> {
  for (const replica of [0, 1, 2]) await cluster.untilCaughtUp(replica);
  await cluster.stop();
  for (const file of cluster.files) {
    expect(pacioli(["inspect", "integrity", file]).stdout).toMatch(/everything is intact$/m);
  }
  cluster.remove();
}

describe("the official client's tests", () => {
  test("pass against three replicas", async () => {
    const cluster = await ClusterProcesses.start(3);
    const { code, output, passed } = await runSuite(cluster.addresses);
    expect(code, `${output}\n${cluster.logs}`).toBe(0);
    expect(passed, output).toBe(suiteTests.length);
    await stopIntact(cluster);
  });

  test("pass while one replica after the other is killed, the primary included", async () => {
    // In this one a transfer expires after a second, which a change of the primary may take up.
    const timed = suiteTests.indexOf("cannot void an expired transfer");
    expect(timed).toBeGreaterThan(0);
    const cluster = await ClusterProcesses.start(3);
    let passed = 0;
    let over = false;
    const kills = { all: 0, primary: 0 };
    const suite = runSuite(cluster.addresses, (count) => {
      passed = count;
    }).finally(() => {
      over = true;
    });
    while (!over) {
      await pause(100);
      if (over || passed === timed) continue;
      const primary = (await viewOf(cluster)) % 3;
      // Two times in three the primary; in the third the one after it.
      const replica = kills.all % 3 === 2 ? (primary + 1) % 3 : primary;
      await cluster.kill(replica);
      kills.all += 1;
      if (replica === primary) kills.primary += 1;
      await pause(500);
      await cluster.startReplica(replica);
      // Two of three must have the log before the next one is killed.
      await pause(500);
    }
    const { code, output } = await suite;
    expect(code, `${output}\n${cluster.logs}`).toBe(0);
    expect(passed, output).toBe(suiteTests.length);
    console.log(`killed under the official client's tests: ${JSON.stringify(kills)}`);
    expect(kills.primary).toBeGreaterThan(0);
    expect(await viewOf(cluster)).toBeGreaterThan(1);
    await stopIntact(cluster);
  });
});

test("a client that knows nobody but a backup is answered", async () => {
  const cluster = await ClusterProcesses.start(3);
  const primary = (await viewOf(cluster)) % 3;
  const backup = (primary + 1) % 3;
  const client = createClient({
    cluster_id: 0n,
    replica_addresses: [String(cluster.ports[backup])],
  });
  try {
    expect((await client.createAccounts([makeAccount(1n), makeAccount(2n)])).length).toBe(2);
    const results = await client.createTransfers([makeTransfer(1n, 1n, 2n, 5n)]);
    expect(results.map(({ status }) => status)).toEqual([created]);
    const [debited] = await client.lookupAccounts([1n]);
    expect(debited!.debits_posted).toBe(5n);
    const found = await client.queryTransfers(makeQueryFilter({ limit: 10 }));
    expect(found.map(({ id }) => id)).toEqual([1n]);
  } finally {
    client.destroy();
  }
  await stopIntact(cluster);
});

/** See conformance.test.ts. */
const stretches = [1, 1, 4, 16];
const stretchesWithoutSleep = [1, 1, 1000];

async function replayOnce(name: string, stretch: number): Promise<number> {
  const cluster = await ClusterProcesses.start(3);
  const client = createClient({
    cluster_id: 0n,
    replica_addresses: cluster.ports.map(String),
  });
  try {
    return await replay(
      name,
      readRecording(name),
      client as unknown as ReplayClient,
      () => sleepReally(stretch),
      (error) => (error as { code?: string }).code === "ERR_TOO_MUCH_DATA",
      realPace(stretch),
    );
  } finally {
    client.destroy();
    await cluster.stop();
    cluster.remove();
  }
}

async function replayUntilFastEnough(name: string): Promise<number> {
  for (const stretch of sleeps(name) ? stretches : stretchesWithoutSleep) {
    try {
      return await replayOnce(name, stretch);
    } catch (failure) {
      if (!(failure instanceof TooSlowError)) throw failure;
    }
  }
  throw new Error(`recording ${name}: something always expired too early`);
}

function sleeps(name: string): boolean {
  return readRecording(name).some(({ op }) => op === "sleep");
}

// Those that sleep leave the machine free for each other.
describe.concurrent("three replicas, sleeping", () => {
  test.each(recordingNames.filter(sleeps))("answer recording %s", async (name) => {
    expect(await replayUntilFastEnough(name)).toBe(150);
  });
});

describe("three replicas", () => {
  test.each(recordingNames.filter((name) => !sleeps(name)))("answer recording %s", async (name) => {
    expect(await replayUntilFastEnough(name)).toBe(150);
  });
});
