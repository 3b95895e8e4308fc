/** Standbys: they follow the log of their cluster, on disk and in the ledger, and count for nothing. */
import { copyFileSync } from "node:fs";
import { join } from "node:path";
import { createClient } from "tigerbeetle-node";
import { afterAll, expect, test } from "vitest";
import { makeAccount, makeTransfer } from "../reference/make.ts";
import { freePorts, until } from "./cluster.ts";
import { cleanUp, format, pacioli, ServerProcess, temporaryFolder } from "./server.ts";

afterAll(cleanUp);

const replicaCount = 3;
const standby = replicaCount;

interface Checkpoint {
  readonly checkpointOp: number;
  readonly checkpointId: string;
}

/** Of a file that may be in use: of a copy of it. */
function checkpointOf(used: string): Checkpoint {
  const file = `${used}.copy`;
  copyFileSync(used, file);
  const { stdout, stderr, status } = pacioli(["inspect", "superblock", "--json", file]);
  expect(status, stderr).toBe(0);
  const { checkpointOp, checkpointId } = JSON.parse(stdout).current as Checkpoint;
  return { checkpointOp, checkpointId };
}

test("a standby holds what the replicas hold, also after a time away and a view change", async () => {
  const folder = temporaryFolder();
  const ports = await freePorts(replicaCount + 1);
  const files = ports.map((_, index) => join(folder, `${index}.pacioli`));
  files.slice(0, standby).forEach((file, replica) => {
    format(file, { replica, replicaCount });
  });
  const made = ["--cluster=0", `--standby=${standby}`, `--replica-count=${replicaCount}`];
  const result = pacioli(["format", ...made, "--development", files[standby]!]);
  expect(result.stdout, result.stderr).toContain(`standby ${standby} of a cluster of 3, cluster 0`);

  const addresses = ports.slice(0, standby).join();
  const args = [`--standbys=${ports[standby]}`];
  const start = (index: number) => ServerProcess.start(files[index]!, { addresses, args });
  const servers = await Promise.all(files.map((_, index) => start(index)));
  const client = createClient({ cluster_id: 0n, replica_addresses: addresses.split(",") });
  await client.createAccounts([makeAccount(1n), makeAccount(2n)]);
  let sent = 0;
  const transfer = async (count: number): Promise<void> => {
    for (let end = sent + count; sent < end; ) {
      const results = await client.createTransfers([makeTransfer(BigInt(++sent), 1n, 2n, 1n)]);
      expect(results.length).toBe(1);
    }
  };
  const logs = () => servers.map((server, index) => `${index}: ${server.log}`).join("\n");

  await transfer(30);
  await servers[0]!.kill();
  await transfer(30);
  servers[0] = await start(0);
  // Away for longer than a development journal reaches, it moves to a checkpoint.
  await servers[standby]!.stop();
  await transfer(150);
  servers[standby] = await start(standby);
  await until(async () => {
    await transfer(5);
    return checkpointOf(files[standby]!).checkpointOp > 200;
  }, logs);
  client.destroy();
  await until(
    () => checkpointOf(files[standby]!).checkpointOp === checkpointOf(files[1]!).checkpointOp,
    logs,
  );
  await Promise.all(servers.map((server) => server.stop()));
  const ids = files.map((file) => checkpointOf(file));
  expect(ids[standby]).toEqual(ids[1]);
  const shown = pacioli(["inspect", files[standby]!]);
  expect(shown.stdout).toContain("standby 3 of a cluster of 3");
  expect(pacioli(["inspect", "integrity", files[standby]!]).stdout).toMatch(
    /everything is intact$/m,
  );
});

test("mistakes with standbys are named", async () => {
  const folder = temporaryFolder();
  const file = join(folder, "standby.pacioli");
  const made = (...args: string[]) =>
    pacioli(["format", "--cluster=0", "--development", ...args, file]);
  expect(made("--replica-count=3", "--standby=2").stderr).toContain("give --standby=3 to 8.");
  expect(made("--replica-count=3", "--standby=3", "--replica=1").stderr).toContain(
    "give one of them.",
  );
  expect(made("--standby=3").stderr).toContain("a cluster of one has no standbys");
  expect(made("--replica-count=3", "--standby=4").status).toBe(0);
  const started = (...args: string[]) => pacioli(["start", "--addresses=1,2,3", ...args, file]);
  expect(started("--standbys=4").stderr).toContain(
    "the data file of standby 4; give the addresses",
  );
  expect(started().status).not.toBe(0);
  const one = join(folder, "one.pacioli");
  format(one);
  const lone = pacioli(["start", "--addresses=1", "--standbys=2", one]);
  expect(lone.stderr).toContain("a cluster of one has no standbys; leave --standbys away");
});
