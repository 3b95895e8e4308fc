/**
 * The load of one seed: its clients, what they ask for, and the checkers that judge the answers.
 * Made once per seed by the world, which tells it what replicas do.
 */
import { Command, frame } from "../../../src/wire/header.ts";
import { Checkers } from "../checkers/checkers.ts";
import type { CreateLoad, Load, World } from "../interfaces.ts";
import { Workload } from "../workload/workload.ts";
import { Client, ClientCounts } from "./client.ts";
import { clockRange } from "./clock-range.ts";
import { drawManners } from "./mischief.ts";

/** A request of the liveness phase that takes longer has been forgotten. Simulated time. */
const waitMaxUs = 120_000_000;

export const createLoad: CreateLoad = (world) => new SimulatedLoad(world);

class SimulatedLoad implements Load {
  private readonly checkers: Checkers;
  private readonly workload: Workload;
  private readonly clients: Client[] = [];
  private readonly counts = new ClientCounts();

  constructor(private readonly world: World) {
    const { clientsMax, clients } = world.options;
    this.checkers = new Checkers({
      clientsMax,
      waitMaxUs,
      fail: (reason) => world.fail(reason),
      clocks: clockRange,
    });
    const manners = drawManners(world.random("load.manners"));
    this.workload = new Workload(
      world.random("load.workload"),
      world.options,
      this.checkers.ledger,
    );
    const { workload, checkers, counts } = this;
    const house = { world, workload, checkers, manners, counts };
    for (let endpoint = 0; endpoint < clients; endpoint += 1) {
      this.clients.push(new Client(endpoint, house, world.random(`load.client.${endpoint}`)));
    }
  }

  start(): void {
    for (const client of this.clients) client.start();
  }

  onMessage(client: number, replica: number, message: Uint8Array): void {
    // Every reply is judged, also those that nobody waits for any more.
    if (message[frame.at.command] === Command.reply) this.checkers.replies.onReply(message);
    this.clients[client]!.onMessage(replica, message);
  }

  onDisconnect(client: number, replica: number): void {
    this.clients[client]!.onDisconnect(replica);
  }

  onPrepareWritten(): void {
    // What is executed is judged; what was only written may be replaced.
  }

  onPrepareExecuted(replica: number, _op: number, prepare: Uint8Array): void {
    this.checkers.onExecuted(replica, prepare, this.world.nowUs);
  }

  onCheckpoint(replica: number, op: number, id: Uint32Array): void {
    this.checkers.checkpoints.durable(replica, op, id);
  }

  onStateSync(replica: number, op: number): void {
    this.checkers.history.synced(replica, op);
  }

  onReplicaStart(replica: number): void {
    this.checkers.history.restarted(replica);
  }

  onReplicaOpen(replica: number): void {
    const { commitMin } = this.world.replica(replica);
    const { history } = this.checkers;
    history.standsAt(replica, commitMin);
    if (this.world.replicaCount === 1 && commitMin < history.head) {
      this.world.fail(`op ${history.head} was executed, and only ${commitMin} ops are left`);
    }
  }

  onReplicaCrash(replica: number): void {
    this.checkers.history.restarted(replica);
  }

  get answered(): number {
    return this.counts.answered;
  }

  get idle(): boolean {
    return this.checkers.liveness.idle;
  }

  onHealed(): void {
    this.checkers.liveness.healed(this.world.nowUs);
  }

  finish(core: readonly number[]): void {
    this.checkers.finish(
      core.map((index) => {
        const replica = this.world.replica(index);
        return {
          index,
          commitMin: replica.commitMin,
          query: (operation: number, body: Uint8Array) => replica.query(operation, body),
          sessions: replica.parts?.sessions ?? null,
        };
      }),
    );
  }

  get figures(): Readonly<Record<string, number>> {
    const { checkers, counts } = this;
    const { ledger, replay, replies, sessions } = checkers;
    return {
      "sessions begun": counts.sessions,
      "sessions pushed out": sessions.evictions,
      "clients evicted": counts.evictions,
      "clients crashed": counts.crashes,
      "requests repeated": counts.repeats,
      "old requests sent again": counts.echoes,
      "requests to be dropped": counts.strays,
      "requests to be evicted for": counts.offences,
      "requests in groups": replay.counts.grouped,
      "replies judged": replies.counts.replies,
      "replies ahead of their op": replies.counts.early,
      "queries judged": replay.counts.queries,
      "queries answered anew": replies.counts.repeatedQueries,
      "pulses judged": replay.counts.pulses,
      "accounts created": ledger.accounts.size,
      "transfers created": ledger.transfers.size,
      "transfers expired": replay.expired,
      "transfer ids burnt": ledger.burntIds.size,
    };
  }
}
