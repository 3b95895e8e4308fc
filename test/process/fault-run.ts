/**
 * A cluster of three under load while everything around it fails: processes are killed, frozen and
 * restarted, data files rot, and links lose connections, stall, slow down, and flip bits. In rounds:
 * faults for a while, then all is healed, every request is brought to its end, each replica must catch
 * up, and the judge compares the cluster with the reference ledger.
 *
 * The budget: at most one replica at a time is dead, frozen, or has rot that it has not repaired. Links
 * may fail beside that in any way, which may stop the cluster for a while and may harm nothing.
 */
import { Prng } from "../../src/core/prng.ts";
import { ClusterSession } from "./cluster-session.ts";
import { FaultCluster, replicaCount } from "./fault-cluster.ts";
import { FaultLoad, type LoadCounts, pause } from "./fault-load.ts";
import { type FaultyLink, Way } from "./fault-proxy.ts";
import { checkpointOf, damage, lostPlaces, type RotKind } from "./file-damage.ts";
import { Judge } from "./judge.ts";
import { OfficialClient } from "./official-client.ts";
import { Workload } from "./workload.ts";

export interface FaultOptions {
  readonly seed: number;
  readonly durationMs: number;
  /** From one comparison with the reference ledger to the next. */
  readonly roundMs: number;
  readonly sessions: number;
  readonly officialClients: number;
  /** Between two requests of one client. */
  readonly pauseMs: number;
  /** Rot as well that only the scrubber finds, which takes it minutes. */
  readonly lazyRot: boolean;
}

export interface FaultSummary extends LoadCounts {
  readonly seed: number;
  readonly seconds: number;
  readonly rounds: number;
  readonly faults: Readonly<Record<string, number>>;
  readonly faultsTotal: number;
  readonly rottenPlaces: number;
  readonly viewChanges: number;
  readonly ops: number;
  readonly expired: number;
  /** Longest time that a replica took to catch up once it ran again. Milliseconds. */
  readonly longestCatchUpMs: number;
  readonly checkpointsCompared: number;
}

const catchUpLimitMs = 90_000;
const repairLimitMs = 240_000;
/** A replica that has not caught up by then gets a sound network, and less load to run after. */
const calmAfterMs = 6_000;
const rotKinds: readonly RotKind[] = ["prepares", "headers", "replies", "blocks", "superblock"];

class FaultRun {
  private readonly judge = new Judge();
  private readonly workload: Workload;
  private readonly load: FaultLoad;
  private readonly faults: Record<string, number> = {};
  private readonly began = performance.now();
  /** What was done when, for whoever looks into a failure. */
  readonly events: string[] = [];
  private sessions: ClusterSession[] = [];
  private officialClients: OfficialClient[] = [];
  private readonly counts = { rounds: 0, rottenPlaces: 0, longestCatchUpMs: 0, compared: 0 };
  /** No new faults of links: a replica is behind. */
  private calm = false;
  private over = false;

  constructor(
    private readonly options: FaultOptions,
    private readonly cluster: FaultCluster,
    /** Reaches the replicas past the links. */
    private readonly probe: ClusterSession,
  ) {
    this.workload = new Workload(new Prng(options.seed + 2));
    this.load = new FaultLoad(this.workload, this.judge, options.pauseMs);
  }

  async run(): Promise<FaultSummary> {
    const { options, cluster, probe, began } = this;
    const clientPorts = cluster.clientLinks.map(({ port }) => port);
    for (let index = 0; index < options.sessions; index += 1) {
      this.sessions.push(await ClusterSession.register(clientPorts));
    }
    for (let index = 0; index < options.officialClients; index += 1) {
      this.officialClients.push(new OfficialClient(clientPorts));
    }
    try {
      await this.load.prepare(probe);
      while (performance.now() - began < options.durationMs) await this.round();
      await this.judge.verify(probe, true);
      await this.compareFiles();
    } finally {
      this.over = true;
      for (const client of this.officialClients) client.close();
      for (const session of this.sessions) session.close();
    }
    return this.summary(performance.now() - began);
  }

  private async round(): Promise<void> {
    const phase = { stop: false };
    this.over = false;
    this.load.begin();
    const clients = [
      ...this.sessions.map((session) => this.load.runSession(session, phase)),
      ...this.officialClients.map((client) => this.load.runOfficial(client, phase)),
    ];
    const failing = [this.failReplicas(), this.failLinks(0), this.failLinks(1)];
    const timer = setTimeout(() => {
      this.over = true;
    }, this.options.roundMs);
    try {
      await Promise.all([
        this.watch(phase),
        ...clients,
        Promise.all(failing).then(() => {
          this.cluster.heal();
          phase.stop = true;
        }),
      ]);
    } finally {
      clearTimeout(timer);
      this.over = true;
      phase.stop = true;
    }
    for (let replica = 0; replica < replicaCount; replica += 1) await this.untilCaughtUp(replica);
    await this.judge.verify(this.probe, false);
    this.counts.rounds += 1;
  }

  /** A replica that ends by itself is a failure, however well the others go on. */
  private async watch(phase: { readonly stop: boolean }): Promise<void> {
    while (!phase.stop) {
      this.cluster.assertAlive();
      await pause(100);
    }
  }

  // Links.

  private async failLinks(task: number): Promise<void> {
    const random = new Prng(this.options.seed + 10 + task + 100 * this.counts.rounds);
    const { links } = this.cluster;
    while (!this.over) {
      await pause(random.range(50, 1200));
      if (this.calm || this.over) continue;
      if (random.chance(0.15)) await this.cutOff(random.chance(0.7) ? this.primary : 0, random);
      else await this.failLink(links[random.below(links.length)]!, random);
    }
  }

  /** Clients still reach the replica, and it no other one, or none of them it. */
  private async cutOff(replica: number, random: Prng): Promise<void> {
    this.count("cut off", `replica ${replica}`);
    const links = this.cluster.peerLinksOf(replica);
    const ways = random.chance(0.7) ? [Way.forth, Way.back] : [random.below(2) as Way];
    for (const link of links) for (const way of ways) link.set(way, { held: true });
    await pause(random.range(500, 4000));
    // What it has sent meanwhile may never arrive.
    const lost = random.chance(0.5);
    for (const link of links) {
      if (lost) link.reset();
      for (const way of ways) link.set(way, { held: false });
    }
    this.note(`lifted, replica ${replica}`);
  }

  private async failLink(link: FaultyLink, random: Prng): Promise<void> {
    const way = random.below(2) as Way;
    const other = (1 - way) as Way;
    const { name } = link;
    const directed = `${name} ${way === Way.forth ? "forth" : "back"}`;
    switch (random.below(6)) {
      case 0:
        if (link.reset() > 0) this.count("connections lost", name);
        return;
      case 1:
        this.count("one way cut", directed);
        link.set(way, { held: true });
        await pause(random.range(100, 4000));
        link.set(way, { held: false });
        break;
      case 2:
        this.count("black hole", name);
        link.set(way, { held: true });
        link.set(other, { held: true });
        await pause(random.range(100, 4000));
        link.set(way, { held: false });
        link.set(other, { held: false });
        break;
      case 3:
        this.count("delay", directed);
        link.set(way, { delayMs: random.range(5, 400) });
        if (random.chance(0.5)) link.set(other, { delayMs: random.range(5, 400) });
        await pause(random.range(500, 3000));
        link.set(way, { delayMs: 0 });
        link.set(other, { delayMs: 0 });
        break;
      case 4:
        this.count("trickle", directed);
        link.set(way, { slowBytes: random.range(20, 2000) });
        await pause(random.range(500, 3000));
        link.set(way, { slowBytes: 0 });
        break;
      default: {
        const before = link.flips[way]!;
        link.set(way, { corrupt: true });
        await pause(random.range(100, 1000));
        link.set(way, { corrupt: false });
        if (link.flips[way]! > before) this.count("bytes changed", directed);
        return;
      }
    }
    this.note(`lifted, ${name}`);
    // What was held up may also never arrive.
    if (random.chance(0.3)) link.reset();
  }

  // Replicas.

  private async failReplicas(): Promise<void> {
    const random = new Prng(this.options.seed + 1000 + this.counts.rounds);
    while (!this.over) {
      await pause(random.range(100, 2000));
      if (this.over) return;
      const replica = random.chance(0.5) ? this.primary : random.below(replicaCount);
      const roll = random.below(100);
      if (roll < 40) await this.killReplica(replica, random);
      else if (roll < 60) await this.freezeReplica(replica, random);
      else if (roll < 70) await this.stopReplica(replica, random);
      else await this.rotReplica(replica, random);
    }
  }

  /** As clients have heard. */
  private get primary(): number {
    return this.view % replicaCount;
  }

  private get view(): number {
    return Math.max(...[this.probe, ...this.sessions].map(({ view }) => view));
  }

  private async killReplica(replica: number, random: Prng): Promise<void> {
    await this.cluster.kill(replica);
    this.count("kill -9", `replica ${replica}`);
    await pause(random.chance(0.3) ? 0 : random.range(0, 3000));
    while (random.chance(0.2)) {
      this.cluster.spawn(replica);
      await pause(random.range(50, 800));
      await this.cluster.kill(replica);
      this.count("kill -9 at the start", `replica ${replica}`);
    }
    await this.startReplica(replica);
  }

  private async stopReplica(replica: number, random: Prng): Promise<void> {
    await this.cluster.stop(replica);
    this.count("clean stop", `replica ${replica}`);
    await pause(random.range(0, 2000));
    await this.startReplica(replica);
  }

  private async freezeReplica(replica: number, random: Prng): Promise<void> {
    this.cluster.freeze(replica);
    this.count("freeze", `replica ${replica}`);
    await pause(random.range(50, 5000));
    this.cluster.thaw(replica);
    this.note(`thawed, replica ${replica}`);
    await this.untilCaughtUp(replica);
  }

  private async startReplica(replica: number): Promise<void> {
    this.note(`starts, replica ${replica}`);
    await this.cluster.start(replica);
    this.note(`has opened, replica ${replica}`);
    await this.untilCaughtUp(replica);
  }

  private async rotReplica(replica: number, random: Prng): Promise<void> {
    const file = this.cluster.files[replica]!;
    const kind = rotKinds[random.below(rotKinds.length)]!;
    await this.endReplica(replica, random);
    const rot = await damage(file, { kind, lazyBlocks: this.options.lazyRot }, random);
    if (rot !== null) {
      this.count(`rot of ${kind}`, `replica ${replica}: ${rot.places.join(", ")}`);
      this.counts.rottenPlaces += rot.places.length;
    }
    await this.startReplica(replica);
    if (rot !== null) await this.untilRepaired(replica, random);
  }

  private async endReplica(replica: number, random: Prng): Promise<void> {
    if (random.chance(0.5)) {
      await this.cluster.kill(replica);
      this.count("kill -9", `replica ${replica}`);
    } else {
      await this.cluster.stop(replica);
      this.count("clean stop", `replica ${replica}`);
    }
  }

  /** Looks into the file from time to time, for which the replica must not run. */
  private async untilRepaired(replica: number, random: Prng): Promise<void> {
    // Longer each time: the scrubber needs to get around.
    for (let upToMs = 2000; ; upToMs *= 2) {
      await pause(random.range(500, upToMs));
      await this.endReplica(replica, random);
      const lost = await lostPlaces(this.cluster.files[replica]!);
      await this.startReplica(replica);
      if (lost.length === 0) return;
      this.note(`replica ${replica} still has damage: ${lost.join(", ")}`);
      if (upToMs > repairLimitMs) throw new Error(`replica ${replica} does not repair its file`);
    }
  }

  /** Waits until the replica has executed an op that was numbered now, and says so. */
  private async untilCaughtUp(replica: number): Promise<void> {
    const began = performance.now();
    const { operation, body } = this.load.markerRequest();
    const calm = setTimeout(() => {
      this.calm = true;
      this.load.slow = true;
      this.note(`calm, for replica ${replica}`);
    }, calmAfterMs);
    try {
      const message = await this.load.request(this.probe, operation, body);
      while (!(await this.probe.hasExecuted(message, replica, 100))) {
        this.cluster.assertAlive();
        if (performance.now() - began > catchUpLimitMs) {
          throw new Error(`replica ${replica} does not catch up`);
        }
        await pause(20);
      }
    } finally {
      clearTimeout(calm);
      this.calm = false;
      this.load.slow = false;
    }
    const tookMs = Math.round(performance.now() - began);
    this.note(`caught up in ${tookMs} ms, replica ${replica}`);
    this.counts.longestCatchUpMs = Math.max(this.counts.longestCatchUpMs, tookMs);
  }

  // The end.

  /** All files are intact, and replicas at the same checkpoint have the same one. */
  private async compareFiles(): Promise<void> {
    const { cluster, counts } = this;
    for (let replica = 0; replica < replicaCount; replica += 1) await cluster.stop(replica);
    const ids = new Map<number, string>();
    for (const file of cluster.files) {
      const lost = await lostPlaces(file);
      if (lost.length > 0) throw new Error(`${file} is damaged: ${lost.join(", ")}`);
      const { op, id } = checkpointOf(file);
      const other = ids.get(op);
      if (other !== undefined && other !== id) throw new Error(`checkpoints at op ${op} differ`);
      if (other !== undefined) counts.compared += 1;
      ids.set(op, id);
    }
  }

  private count(kind: string, where: string): void {
    this.faults[kind] = (this.faults[kind] ?? 0) + 1;
    this.note(`${kind}, ${where}`);
  }

  private note(event: string): void {
    const seconds = ((performance.now() - this.began) / 1000).toFixed(2);
    this.events.push(`${seconds} ${event}`);
  }

  private summary(tookMs: number): FaultSummary {
    const { counts, judge, options } = this;
    return {
      seed: options.seed,
      seconds: Math.round(tookMs / 1000),
      rounds: counts.rounds,
      faults: this.faults,
      faultsTotal: Object.values(this.faults).reduce((sum, count) => sum + count, 0),
      rottenPlaces: counts.rottenPlaces,
      viewChanges: this.view,
      ...this.load.counts,
      ops: Number(judge.opsSeen),
      expired: judge.expired,
      longestCatchUpMs: counts.longestCatchUpMs,
      checkpointsCompared: counts.compared,
    };
  }
}

export async function faultRun(options: FaultOptions): Promise<FaultSummary> {
  const cluster = await FaultCluster.format(new Prng(options.seed));
  let probe: ClusterSession | null = null;
  let run: FaultRun | null = null;
  try {
    await Promise.all(cluster.files.map((_, replica) => cluster.start(replica)));
    probe = await ClusterSession.register(cluster.ports);
    run = new FaultRun(options, cluster, probe);
    return await run.run();
  } catch (error) {
    const events = run?.events.slice(-100).join("\n") ?? "";
    const { stack } = error as Error;
    throw new Error(`seed ${options.seed}: ${stack}\nevents:\n${events}\n${cluster.logs}`);
  } finally {
    probe?.close();
    await cluster.close();
  }
}
