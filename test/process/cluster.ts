/** Clusters of several server processes on this machine, each with a data file of its own. */
import { createServer } from "node:net";
import { join } from "node:path";
import { format, ServerProcess, temporaryFolder } from "./server.ts";

const waitLimitMs = 60_000;

/**
 * Ports that nothing listened on a moment ago.
 * @param port - Insists on this one; rejects when it is taken.
 */
export async function freePorts(count: number, port = 0): Promise<number[]> {
  const servers = await Promise.all(
    Array.from(
      { length: count },
      () =>
        new Promise<ReturnType<typeof createServer>>((resolve, reject) => {
          const server = createServer();
          server.on("error", reject);
          server.listen(port, "127.0.0.1", () => resolve(server));
        }),
    ),
  );
  const ports = servers.map((server) => (server.address() as { port: number }).port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

/** Resolves when the condition holds; rejects with what `explain` says when it never does. */
export async function until(
  holds: () => boolean | Promise<boolean>,
  explain: () => string,
): Promise<void> {
  const deadline = performance.now() + waitLimitMs;
  while (!(await holds())) {
    if (performance.now() > deadline) throw new Error(`not in time: ${explain()}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

export class ClusterProcesses {
  readonly servers: (ServerProcess | null)[];

  private constructor(
    readonly ports: readonly number[],
    readonly files: readonly string[],
  ) {
    this.servers = ports.map(() => null);
  }

  /** Formats the data files; starts nothing. */
  static async format(replicaCount: number): Promise<ClusterProcesses> {
    const folder = temporaryFolder();
    const files = Array.from({ length: replicaCount }, (_, replica) => {
      const path = join(folder, `${replica}.pacioli`);
      format(path, { replica, replicaCount });
      return path;
    });
    return new ClusterProcesses(await freePorts(replicaCount), files);
  }

  /** Formats the data files and starts every replica. */
  static async start(replicaCount: number): Promise<ClusterProcesses> {
    const cluster = await ClusterProcesses.format(replicaCount);
    await Promise.all(cluster.files.map((_, replica) => cluster.startReplica(replica)));
    return cluster;
  }

  get addresses(): string {
    return this.ports.join();
  }

  /** @param addresses - Its list, if it is not everybody's. */
  async startReplica(replica: number, addresses = this.addresses): Promise<ServerProcess> {
    const server = await ServerProcess.start(this.files[replica]!, { addresses });
    this.servers[replica] = server;
    return server;
  }

  async kill(replica: number): Promise<void> {
    await this.servers[replica]!.kill();
    this.servers[replica] = null;
  }

  /** Stops all that run, and insists that they stop cleanly. */
  async stop(): Promise<void> {
    await Promise.all(this.servers.map((server) => server?.stop()));
  }

  /** What the replicas have said. */
  get logs(): string {
    return this.servers
      .map((server, replica) => `replica ${replica}: ${server?.log ?? "not running"}`)
      .join("\n");
  }

  untilLog(replica: number, pattern: RegExp): Promise<void> {
    const server = this.servers[replica]!;
    return until(
      () => pattern.test(server.log),
      () => `replica ${replica} to say ${pattern}\n${this.logs}`,
    );
  }
}
