/**
 * Several replicas as processes: an official client's money survives the loss of any one of them,
 * and every mistake in putting a cluster together is named in one line.
 */
import { copyFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { type Client, createClient } from "tigerbeetle-node";
import { afterAll, afterEach, describe, expect, test } from "vitest";
import { Prng } from "../../src/core/prng.ts";
import { makeAccount, makeTransfer } from "../reference/make.ts";
import { ClusterProcesses, freePorts } from "./cluster.ts";
import { damage } from "./file-damage.ts";
import { cleanUp, format, pacioli, ServerProcess, temporaryFolder } from "./server.ts";

afterAll(cleanUp);

let client: Client | null = null;
afterEach(() => {
  client?.destroy();
  client = null;
});

function connect(addresses: readonly (number | string)[]): Client {
  client = createClient({ cluster_id: 0n, replica_addresses: addresses.map(String) });
  return client;
}

const batchSize = 100;

/** The n-th batch of transfers of one unit from account 1 to account 2. */
async function transfer(client: Client, n: number): Promise<void> {
  const batch = Array.from({ length: batchSize }, (_, index) =>
    makeTransfer(BigInt(n * batchSize + index + 1), 1n, 2n, 1n),
  );
  const results = await client.createTransfers(batch);
  expect(results.length).toBe(batchSize);
}

async function debits(client: Client): Promise<bigint> {
  const [account] = await client.lookupAccounts([1n]);
  return account!.debits_posted;
}

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

describe("three replicas", () => {
  test("go on without any one of them, and lose nothing", async () => {
    const cluster = await ClusterProcesses.start(3);
    const client = connect(cluster.ports);
    await client.createAccounts([makeAccount(1n), makeAccount(2n)]);
    let batches = 0;
    for (let killed = 0; killed < 3; killed += 1) {
      await transfer(client, batches++);
      await cluster.kill(killed);
      // With the primary gone, the client waits for the next view.
      await transfer(client, batches++);
      expect(await debits(client), cluster.logs).toBe(BigInt(batches * batchSize));
      await cluster.startReplica(killed);
      await transfer(client, batches++);
    }
    expect(await debits(client)).toBe(BigInt(batches * batchSize));
    await cluster.stop();
    for (const file of cluster.files) {
      expect(pacioli(["inspect", "integrity", file]).stdout).toMatch(/everything is intact$/m);
    }
  });

  test("one that was away for longer than the journals reach moves to a checkpoint and serves", async () => {
    const cluster = await ClusterProcesses.start(3);
    const client = connect(cluster.ports);
    await client.createAccounts([makeAccount(1n), makeAccount(2n)]);
    let batches = 0;
    await transfer(client, batches++);
    await cluster.kill(2);
    // More ops than a development journal has slots.
    while (batches < 100) await transfer(client, batches++);
    await cluster.startReplica(2);
    await cluster.untilLog(2, /moving to the cluster's checkpoint \d+/);
    // Without one of the others, nothing is answered but with the one that came back.
    await cluster.kill(0);
    while (batches < 110) await transfer(client, batches++);
    expect(await debits(client), cluster.logs).toBe(BigInt(batches * batchSize));
    await cluster.stop();
    for (const file of cluster.files.slice(1)) {
      expect(pacioli(["inspect", "integrity", file]).stdout).toMatch(/everything is intact$/m);
    }
  });

  test("a replica whose data file is gone is rebuilt from the others", async () => {
    const cluster = await ClusterProcesses.start(3);
    const client = connect(cluster.ports);
    await client.createAccounts([makeAccount(1n), makeAccount(2n)]);
    let batches = 0;
    while (batches < 100) await transfer(client, batches++);
    await cluster.kill(1);
    rmSync(cluster.files[1]!);
    const where = ["--cluster=0", "--replica=1", "--replica-count=3", "--development"];
    expect(pacioli(["recover", ...where, cluster.files[1]!]).status).toBe(0);
    await cluster.startReplica(1);
    while (batches < 110) await transfer(client, batches++);
    await cluster.untilLog(1, /takes full part from now on/);
    // Without one of the others, nothing is answered but with the one that was rebuilt.
    await cluster.kill(0);
    while (batches < 120) await transfer(client, batches++);
    expect(await debits(client), cluster.logs).toBe(BigInt(batches * batchSize));
    await cluster.stop();
    for (const file of cluster.files.slice(1)) {
      expect(pacioli(["inspect", "integrity", file]).stdout).toMatch(/everything is intact$/m);
    }
  });

  test("journals that have rotted are mended from the others", async () => {
    const random = new Prng(7);
    const cluster = await ClusterProcesses.start(3);
    const client = connect(cluster.ports);
    await client.createAccounts([makeAccount(1n), makeAccount(2n)]);
    let batches = 0;
    for (const [victim, kind] of (["prepares", "headers", "prepares"] as const).entries()) {
      const upTo = batches + 15;
      while (batches < upTo) await transfer(client, batches++);
      await cluster.kill(victim);
      const rot = await damage(cluster.files[victim]!, { kind, lazyBlocks: false }, random);
      expect(rot?.flips, "the file was intact, and is not any more").toBeGreaterThan(0);
      expect(rot?.places.join()).toMatch(/journal slot \d+/);
      await cluster.startReplica(victim);
      await transfer(client, batches++);
      // Without one of the others, nothing is answered but with the one that has mended its log.
      const other = (victim + 1) % 3;
      await cluster.kill(other);
      await transfer(client, batches++);
      expect(await debits(client), cluster.logs).toBe(BigInt(batches * batchSize));
      await cluster.startReplica(other);
    }
    // More ops than the journal has slots: each was written again.
    const upTo = batches + 70;
    while (batches < upTo) await transfer(client, batches++);
    expect(await debits(client), cluster.logs).toBe(BigInt(batches * batchSize));
    for (const replica of [0, 1, 2]) await cluster.untilCaughtUp(replica);
    await cluster.stop();
    for (const file of cluster.files) {
      expect(pacioli(["inspect", "integrity", file]).stdout).toMatch(/everything is intact$/m);
    }
  });

  test("killed at random under load, each acknowledged batch is there once", async () => {
    const random = new Prng(5);
    const cluster = await ClusterProcesses.start(3);
    const client = connect(cluster.ports);
    await client.createAccounts([makeAccount(1n), makeAccount(2n)]);
    let batches = 0;
    let stop = false;
    const load = (async () => {
      // Development checkpoints come every 20 ops; one that opens has to get hold of one of them.
      while (!stop) {
        await transfer(client, batches++);
        await pause(20);
      }
    })();
    load.catch(() => {}); // Awaited below; until then its failure is no unhandled one.
    for (let round = 0; round < 8; round += 1) {
      const replica = random.below(3);
      await pause(random.range(50, 1500));
      await cluster.kill(replica);
      await pause(random.range(0, 1000));
      // Once it listens it has opened; the next kill may find it still catching up.
      await cluster.startReplica(replica);
    }
    stop = true;
    await load;
    expect(await debits(client), cluster.logs).toBe(BigInt(batches * batchSize));
    await cluster.stop();
  });

  test("one alone answers nothing, two do", async () => {
    const cluster = await ClusterProcesses.format(3);
    await cluster.startReplica(1);
    const client = connect(cluster.ports);
    let created = false;
    const creating = client.createAccounts([makeAccount(1n)]).then(() => {
      created = true;
    });
    await pause(2000);
    expect(created).toBe(false);
    await cluster.startReplica(2);
    await creating;
    await cluster.stop();
  });
});

test("addresses may be names", async () => {
  const cluster = await ClusterProcesses.format(2);
  const names = cluster.ports.map((port) => `localhost:${port}`).join();
  await Promise.all([cluster.startReplica(0, names), cluster.startReplica(1, names)]);
  await connect(cluster.ports).createAccounts([makeAccount(1n)]);
  await cluster.stop();
});

describe("mistakes are named", () => {
  /** What `start` says, which refuses. */
  async function refusal(path: string, addresses: string): Promise<string> {
    const server = ServerProcess.spawn(path, { addresses });
    const exit = await server.untilEnded();
    expect(exit.code, server.log).toBe(1);
    return server.log.trim().split("\n").at(-1)!;
  }

  test("a list of addresses that does not suit the data file", async () => {
    const folder = temporaryFolder();
    const [one, three] = [join(folder, "one.pacioli"), join(folder, "three.pacioli")];
    format(one);
    format(three, { replica: 2, replicaCount: 3 });
    expect(await refusal(one, "3001,3002")).toMatch(
      /belongs to a cluster of 1 replica, but 2 addresses are given; give the address of every/,
    );
    expect(await refusal(three, "3001")).toMatch(
      /belongs to a cluster of 3 replicas, but 1 address is given; give the address of every/,
    );
    expect(await refusal(three, "3001,3002,0")).toMatch(/port 0 is for a cluster of one/);
    expect(await refusal(three, "3001,3002,ledger-2.invalid")).toMatch(
      /the name 'ledger-2\.invalid' of this replica's address cannot be looked up \(\w+\)/,
    );
  });

  test("two processes with data files of the same index", async () => {
    const cluster = await ClusterProcesses.format(3);
    await Promise.all([cluster.startReplica(1), cluster.startReplica(2)]);
    const copy = join(temporaryFolder(), "copy.pacioli");
    format(copy, { replica: 1, replicaCount: 3 });
    expect(await refusal(copy, cluster.addresses)).toMatch(
      /cannot listen on .* \(EADDRINUSE\), the address of replica 1, which this data file is;/,
    );
    // With a port of its own it gets as far as the other replicas.
    const [port] = await freePorts(1);
    const addresses = [cluster.ports[0], port, cluster.ports[2]].join();
    const double = await ServerProcess.start(copy, { addresses });
    await cluster.untilLog(2, /error two processes say by turns that they are replica 1;/);
    await double.stop();
    await cluster.stop();
  });

  test("the data file of another cluster", async () => {
    const cluster = await ClusterProcesses.format(2);
    const foreign = join(temporaryFolder(), "foreign.pacioli");
    format(foreign, { cluster: 77n, replica: 1, replicaCount: 2 });
    copyFileSync(foreign, cluster.files[1]!);
    await Promise.all([cluster.startReplica(0), cluster.startReplica(1)]);
    await cluster.untilLog(
      1,
      /error a replica with index 0 that has connected is of cluster 0, and this one of cluster 77;/,
    );
    await cluster.untilLog(0, /error replica 1 at 127\.0\.0\.1:\d+ ends every connection without/);
    await cluster.stop();
  });

  test("a data file that was formatted with other options", async () => {
    const cluster = await ClusterProcesses.format(2);
    const other = join(temporaryFolder(), "other.pacioli");
    format(other, { replica: 1, replicaCount: 2, args: ["--clients-max=5"] });
    copyFileSync(other, cluster.files[1]!);
    await Promise.all([cluster.startReplica(0), cluster.startReplica(1)]);
    await cluster.untilLog(0, /replica 1 was formatted with other options than this one/);
    await cluster.untilLog(1, /replica 0 was formatted with other options than this one/);
    await cluster.stop();
  });

  test("a data file that was formatted for another number of replicas", async () => {
    const cluster = await ClusterProcesses.format(3);
    const other = join(temporaryFolder(), "other.pacioli");
    format(other, { replica: 1, replicaCount: 2 });
    copyFileSync(other, cluster.files[1]!);
    await cluster.startReplica(0);
    await cluster.startReplica(1, cluster.ports.slice(0, 2).join());
    await cluster.untilLog(
      0,
      /replica 1 was formatted for a cluster of 2 replicas, this one for 3/,
    );
    await cluster.untilLog(
      1,
      /replica 0 was formatted for a cluster of 3 replicas, this one for 2/,
    );
    await cluster.stop();
  });

  test("addresses in another order", async () => {
    const cluster = await ClusterProcesses.format(3);
    const [zero, one, two] = cluster.ports;
    await Promise.all([cluster.startReplica(1), cluster.startReplica(2)]);
    await cluster.startReplica(0, [zero, two, one].join());
    await cluster.untilLog(
      0,
      /error at 127\.0\.0\.1:\d+ answers replica 2, where replica 1 should be; give --addresses/,
    );
    await cluster.stop();
  });
});
