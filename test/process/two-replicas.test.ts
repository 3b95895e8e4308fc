/** A cluster of two, one of which loses its data file: the other's log is all that there is, and enough. */
import { rmSync } from "node:fs";
import { createClient } from "tigerbeetle-node";
import { afterAll, expect, test } from "vitest";
import { makeAccount, makeTransfer } from "../reference/make.ts";
import { ClusterProcesses } from "./cluster.ts";
import { cleanUp, pacioli } from "./server.ts";

afterAll(cleanUp);

test("either one is rebuilt, also when the other restarts meanwhile", async () => {
  const cluster = await ClusterProcesses.start(2);
  const client = createClient({ cluster_id: 0n, replica_addresses: cluster.ports.map(String) });
  await client.createAccounts([makeAccount(1n), makeAccount(2n)]);
  let sent = 0;
  const transfer = async (count: number): Promise<void> => {
    for (let end = sent + count; sent < end; ) {
      await client.createTransfers([makeTransfer(BigInt(++sent), 1n, 2n, 1n)]);
    }
  };
  await transfer(30);
  for (const lost of [0, 1]) {
    const file = cluster.files[lost]!;
    await cluster.kill(lost);
    rmSync(file);
    const where = ["--cluster=0", `--replica=${lost}`, "--replica-count=2", "--development"];
    expect(pacioli(["recover", ...where, file]).status).toBe(0);
    await cluster.kill(1 - lost);
    await cluster.startReplica(lost);
    await cluster.startReplica(1 - lost);
    await transfer(10);
    await cluster.untilLog(lost, /takes full part from now on/);
  }
  const [account] = await client.lookupAccounts([1n]);
  expect(account!.debits_posted, cluster.logs).toBe(BigInt(sent));
  client.destroy();
  await cluster.stop();
});
