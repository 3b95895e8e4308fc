/**
 * Three replicas as processes, with a faulty link (fault-proxy.ts) on every way between two of them
 * and between clients and each of them. A replica's list of addresses names the links to the others
 * and, at its own place, where it listens.
 */
import { join } from "node:path";
import type { Prng } from "../../src/core/prng.ts";
import { freePorts } from "./cluster.ts";
import { FaultyLink } from "./fault-proxy.ts";
import { format, ServerProcess, temporaryFolder } from "./server.ts";

export const replicaCount = 3;

const backends = ["uring", "portable"] as const;

export class FaultCluster {
  readonly servers: (ServerProcess | null)[] = Array.from({ length: replicaCount }, () => null);
  /** What processes that are gone have said last. */
  private readonly formerLogs: string[] = Array.from({ length: replicaCount }, () => "");
  starts = 0;

  private constructor(
    readonly files: readonly string[],
    /** Where the replicas listen. */
    readonly ports: readonly number[],
    /** From replica i to replica j above it, at [i][j]. */
    private readonly peerLinks: readonly (readonly (FaultyLink | null)[])[],
    readonly clientLinks: readonly FaultyLink[],
    private readonly random: Prng,
  ) {}

  /** Formats the data files; starts nothing. */
  static async format(random: Prng): Promise<FaultCluster> {
    const folder = temporaryFolder();
    const files = Array.from({ length: replicaCount }, (_, replica) => {
      const path = join(folder, `${replica}.pacioli`);
      format(path, { replica, replicaCount });
      return path;
    });
    const ports = await freePorts(replicaCount);
    const peerLinks = await Promise.all(
      ports.map((_, from) =>
        Promise.all(
          ports.map((port, to) =>
            to > from ? FaultyLink.open(`${from}-${to}`, port, random) : null,
          ),
        ),
      ),
    );
    const clientLinks = await Promise.all(
      ports.map((port, to) => FaultyLink.open(`clients-${to}`, port, random)),
    );
    return new FaultCluster(files, ports, peerLinks, clientLinks, random);
  }

  get links(): readonly FaultyLink[] {
    const peers = this.peerLinks.flat().filter((link) => link !== null);
    return [...peers, ...this.clientLinks];
  }

  peerLinksOf(replica: number): readonly FaultyLink[] {
    return this.peerLinks.flatMap((row, from) =>
      row.filter((link, to) => link !== null && (from === replica || to === replica)),
    ) as FaultyLink[];
  }

  /** Of a replica: replicas below it dial it, so their entries are only there to be distinct. */
  private addresses(replica: number): string {
    return this.ports
      .map((port, other) => {
        if (other === replica) return port;
        const link = this.peerLinks[Math.min(other, replica)]![Math.max(other, replica)]!;
        return link.port;
      })
      .join();
  }

  /** Resolves when the replica has opened. */
  async start(replica: number): Promise<void> {
    const server = this.spawn(replica);
    await server.untilListening();
  }

  spawn(replica: number): ServerProcess {
    const backend = backends[this.random.below(backends.length)]!;
    const addresses = this.addresses(replica);
    const server = ServerProcess.spawn(this.files[replica]!, { addresses, backend });
    this.servers[replica] = server;
    this.starts += 1;
    return server;
  }

  async kill(replica: number): Promise<void> {
    const server = this.take(replica);
    await server.kill();
    this.keepLog(replica, server, "killed");
  }

  /** A clean stop. */
  async stop(replica: number): Promise<void> {
    const server = this.take(replica);
    await server.stop();
    this.keepLog(replica, server, "stopped");
  }

  private take(replica: number): ServerProcess {
    const server = this.servers[replica]!;
    this.servers[replica] = null;
    return server;
  }

  private keepLog(replica: number, server: ServerProcess, end: string): void {
    const all = `${this.formerLogs[replica]}${server.log}--- ${end}\n`;
    this.formerLogs[replica] = all.slice(-16_384);
  }

  freeze(replica: number): void {
    process.kill(this.servers[replica]!.processId, "SIGSTOP");
  }

  thaw(replica: number): void {
    process.kill(this.servers[replica]!.processId, "SIGCONT");
  }

  /** Throws when a replica that should run has ended by itself. */
  assertAlive(): void {
    for (const server of this.servers) server?.assertAlive();
  }

  heal(): void {
    for (const link of this.links) link.heal();
  }

  get logs(): string {
    return this.servers
      .map((server, replica) => {
        const now = server === null ? "not running" : server.log;
        return `replica ${replica}:\n${this.formerLogs[replica]}${now}`;
      })
      .join("\n");
  }

  async close(): Promise<void> {
    await Promise.all(this.links.map((link) => link.close()));
  }
}
