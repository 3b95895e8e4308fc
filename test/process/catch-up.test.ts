/** A replica that was away catches up while clients go on, as fast as they can or steadily. */
import { type Client, createClient } from "tigerbeetle-node";
import { afterAll, expect, test } from "vitest";
import { makeAccount, makeTransfer } from "../reference/make.ts";
import { ClusterProcesses, until } from "./cluster.ts";
import { cleanUp } from "./server.ts";

afterAll(cleanUp);

/** Several times what a development journal holds. */
const opsAway = 2000;
const opsStayed = 1000;
const clientCount = 12;

/** Each of its clients makes one transfer after the other until it is stopped, one in `everyMs` at most. */
class Load {
  sent = 0;
  private stopped = false;
  private readonly clients: Client[] = [];
  private readonly runs: Promise<void>[] = [];

  constructor(
    addresses: string[],
    private readonly everyMs: number,
  ) {
    for (let index = 0; index < clientCount; index += 1) {
      this.clients.push(createClient({ cluster_id: 0n, replica_addresses: addresses }));
    }
  }

  async begin(): Promise<void> {
    await this.clients[0]!.createAccounts([makeAccount(1n), makeAccount(2n)]);
    for (const client of this.clients) this.runs.push(this.run(client));
  }

  private async run(client: Client): Promise<void> {
    while (!this.stopped) {
      this.sent += 1;
      const due = new Promise((resolve) => setTimeout(resolve, this.everyMs));
      await client.createTransfers([makeTransfer(BigInt(this.sent), 1n, 2n, 1n)]);
      if (this.everyMs > 0) await due;
    }
  }

  async end(): Promise<bigint> {
    this.stopped = true;
    await Promise.all(this.runs);
    const [account] = await this.clients[0]!.lookupAccounts([1n]);
    for (const client of this.clients) client.destroy();
    return account!.debits_posted;
  }
}

test.each([
  // Checkpoints may follow each other faster than it can fetch them, until it is needed and they wait for it.
  ["when it is needed, under all the load that there can be", 0, 0],
  ["under a steady load", 40, opsStayed],
])(
  "a replica that was away for longer than the journals reach follows again, %s",
  async (_, everyMs, stayed) => {
    const cluster = await ClusterProcesses.start(3);
    const load = new Load(cluster.ports.map(String), everyMs);
    await load.begin();
    await cluster.kill(2);
    const away = load.sent;
    await until(
      () => load.sent > away + opsAway,
      () => cluster.logs,
    );
    const server = await cluster.startReplica(2);
    const moves = () => server.log.match(/moving to the cluster's checkpoint/g)?.length ?? 0;
    // It has caught up when it needs no other checkpoint for several journals' lengths: a few seconds.
    let since = { moves: moves(), sent: load.sent };
    await until(
      () => {
        if (moves() !== since.moves) since = { moves: moves(), sent: load.sent };
        return since.moves > 0 && load.sent >= since.sent + stayed;
      },
      () => cluster.logs,
    );
    // Now it is needed.
    await cluster.kill(0);
    const needed = load.sent;
    await until(
      () => load.sent > needed + 50,
      () => cluster.logs,
    );
    // Nothing is damaged.
    expect(server.log).toMatch(/fetching what the checkpoint at op \d+ has/);
    expect(server.log).not.toMatch(/ warn .*other replica/);
    expect(await load.end(), cluster.logs).toBe(BigInt(load.sent));
    await cluster.stop();
  },
);
