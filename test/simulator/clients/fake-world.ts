/**
 * A world for tests of the clients alone: one ideal replica that moves from place to place with the
 * view, and a network that loses, doubles and delays. Everything that is executed is told at once.
 */
import type { Prng } from "../../../src/core/prng.ts";
import { executeRequest } from "../../reference/operations.ts";
import { Violation } from "../checkers/course.ts";
import { IdealReplica } from "../checkers/ideal.ts";
import type { Load, LoadOptions, ReplicaView, World } from "../interfaces.ts";
import { stream } from "../streams.ts";
import { createLoad } from "./load.ts";

export interface FakeOptions {
  readonly seed: number;
  readonly replicas?: number;
  readonly load?: Partial<LoadOptions>;
  readonly loss?: number;
  readonly duplication?: number;
  readonly delayUsMax?: number;
}

interface Timed {
  readonly atUs: number;
  readonly order: number;
  readonly run: () => void;
}

const usual: LoadOptions = {
  clientsMax: 8,
  clients: 5,
  accounts: 12,
  eventsMax: 10,
  thinkUs: 200_000,
  burst: 0.2,
  retryUs: 400_000,
};

export class FakeWorld implements World {
  readonly seed: bigint;
  readonly options: LoadOptions;
  readonly cluster = new Uint32Array([9, 0, 0, 0]);
  readonly replicaCount: number;
  readonly replicaTotal: number;
  nowUs = 0;
  enough = false;
  readonly ideal: IdealReplica;
  readonly load: Load;
  /** Everything that the load told the digest. */
  readonly digests: number[] = [];
  /** Replicas at which nothing arrives. */
  readonly deaf = new Set<number>();
  /** What a client is about to be sent, as a test wants it. */
  bend: (message: Uint8Array) => Uint8Array = (message) => message;
  private readonly network: Prng;
  private readonly queue: Timed[] = [];
  private order = 0;

  constructor(private readonly fake: FakeOptions) {
    this.seed = BigInt(fake.seed);
    this.options = { ...usual, ...fake.load };
    this.replicaCount = fake.replicas ?? 1;
    this.replicaTotal = this.replicaCount;
    this.network = stream(this.seed, "network");
    this.ideal = new IdealReplica(this.cluster, this.options.clientsMax);
    this.load = createLoad(this);
    this.ideal.onExecuted = (op, prepare) => {
      this.load.onPrepareExecuted(0, op, prepare, false);
    };
  }

  get primary(): number {
    return this.ideal.view % this.replicaCount;
  }

  /** The primary gives way to the next one. */
  changeView(): void {
    this.ideal.view += 1;
  }

  run(untilUs: number): void {
    while (this.queue.length > 0 && this.queue[0]!.atUs <= untilUs) {
      const next = this.queue.shift()!;
      this.ideal.now += BigInt(next.atUs - this.nowUs) * 1000n;
      this.nowUs = next.atUs;
      next.run();
    }
  }

  /** A whole seed: safety with loss, then none, to the end. */
  runAll(untilUs: number): void {
    this.load.start();
    this.run(untilUs);
    this.heal();
    this.run(this.nowUs + 600_000_000);
    if (!this.load.idle) this.fail("a client still waits");
    this.load.finish([0]);
  }

  heal(): void {
    this.enough = true;
    this.load.onHealed();
  }

  random(name: string): Prng {
    return stream(this.seed, name);
  }

  after(delayUs: number, callback: () => void): void {
    const timed = { atUs: this.nowUs + delayUs, order: this.order, run: callback };
    this.order += 1;
    let at = this.queue.length;
    while (at > 0 && this.queue[at - 1]!.atUs > timed.atUs) at -= 1;
    this.queue.splice(at, 0, timed);
  }

  private travel(deliver: () => void): void {
    const { network, fake } = this;
    const copies = network.chance(this.enough ? 0 : (fake.duplication ?? 0)) ? 2 : 1;
    for (let copy = 0; copy < copies; copy += 1) {
      if (!this.enough && network.chance(fake.loss ?? 0)) continue;
      this.after(network.below(fake.delayUsMax ?? 2000), deliver);
    }
  }

  sendToReplica(client: number, replica: number, message: Uint8Array): void {
    const copy = message.slice();
    this.travel(() => {
      if (this.deaf.has(replica)) return;
      const ping = copy[114] === 3;
      if (replica !== this.primary && !ping) return;
      const answer = this.ideal.receive(copy);
      // Only a primary tells of evictions.
      if (answer === null || (replica !== this.primary && answer[114] !== 4)) return;
      const sent = this.bend(answer.slice());
      this.travel(() => this.load.onMessage(client, replica, sent));
    });
  }

  note(): void {}

  digest(kind: number, a: number, b: number, c: number): void {
    this.digests.push(kind, a, b, c, this.nowUs);
  }

  fail(reason: string): never {
    throw new Violation(reason);
  }

  replica(index: number): ReplicaView {
    const { op, view } = this.ideal;
    return {
      index,
      standby: false,
      up: true,
      parts: null,
      starts: 1,
      view,
      op,
      commitMin: op,
      commitMax: op,
      query: (operation, body) => executeRequest(this.ideal.ledger, operation, body, 0n),
    };
  }
}
