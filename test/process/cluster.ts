/** Clusters of several server processes on this machine, each with a data file of its own. */
import { randomInt } from "node:crypto";
import { constants, copyFileSync, existsSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { join } from "node:path";
import { encodeRequest, Operation } from "../reference/operations.ts";
import { ClusterSession } from "./cluster-session.ts";
import {
  format,
  removeDataFile,
  ServerProcess,
  type StartOptions,
  temporaryFolder,
} from "./server.ts";

const waitLimitMs = 60_000;

/**
 * Ports are drawn from here, where systems do not take those of outgoing connections from: one that
 * a replica has left for a moment, to be restarted, is not gone when it comes back.
 */
const [portMin, portMax] = [10_000, 32_000];
const drawsMax = 100;

/**
 * Ports that nothing listened on a moment ago.
 * @param port - Insists on this one; rejects when it is taken.
 */
export async function freePorts(count: number, port = 0): Promise<number[]> {
  const servers: Server[] = [];
  for (let index = 0; index < count; index += 1) {
    servers.push(await (port === 0 ? listenAnywhere() : listen(port)));
  }
  const ports = servers.map((server) => (server.address() as { port: number }).port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

async function listenAnywhere(): Promise<Server> {
  for (let draws = 0; ; draws += 1) {
    try {
      return await listen(randomInt(portMin, portMax));
    } catch (error) {
      const taken = (error as { code?: string }).code === "EADDRINUSE";
      if (!taken || draws === drawsMax) throw error;
    }
  }
}

function listen(port: number): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.on("error", reject);
    server.listen(port, "127.0.0.1", () => resolve(server));
  });
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

/** Data files of a cluster as they were formatted, by index; to save their writes. */
const templates = new Map<number, readonly string[]>();

function formatAll(replicaCount: number, development: boolean): readonly string[] {
  const folder = temporaryFolder();
  return Array.from({ length: replicaCount }, (_, replica) => {
    const path = join(folder, `${replica}.pacioli`);
    format(path, { replica, replicaCount, development });
    return path;
  });
}

function freshFiles(replicaCount: number, development: boolean): readonly string[] {
  // Others have files of a gigabyte each, which are no less work to copy.
  if (!development) return formatAll(replicaCount, false);
  let files = templates.get(replicaCount);
  if (files === undefined || !files.every((path) => existsSync(path))) {
    files = formatAll(replicaCount, true);
    templates.set(replicaCount, files);
  }
  const folder = temporaryFolder();
  return files.map((template, replica) => {
    const path = join(folder, `${replica}.pacioli`);
    copyFileSync(template, path, constants.COPYFILE_FICLONE);
    return path;
  });
}

export class ClusterProcesses {
  readonly servers: (ServerProcess | null)[];

  private constructor(
    readonly ports: readonly number[],
    readonly files: readonly string[],
    /** Of every start. */
    private readonly options: StartOptions,
  ) {
    this.servers = ports.map(() => null);
  }

  /** Makes the data files; starts nothing. */
  static async format(replicaCount: number, options: StartOptions = {}): Promise<ClusterProcesses> {
    const files = freshFiles(replicaCount, options.development ?? true);
    return new ClusterProcesses(await freePorts(replicaCount), files, options);
  }

  /** Makes the data files and starts every replica. */
  static async start(replicaCount: number, options: StartOptions = {}): Promise<ClusterProcesses> {
    const cluster = await ClusterProcesses.format(replicaCount, options);
    await Promise.all(cluster.files.map((_, replica) => cluster.startReplica(replica)));
    return cluster;
  }

  /** Removes the data files, which nobody needs any more. */
  remove(): void {
    removeDataFile(this.files[0]!);
  }

  get addresses(): string {
    return this.ports.join();
  }

  /** @param addresses - Its list, if it is not everybody's. */
  async startReplica(replica: number, addresses = this.addresses): Promise<ServerProcess> {
    const server = await ServerProcess.start(this.files[replica]!, {
      ...this.options,
      addresses,
    });
    this.servers[replica] = server;
    return server;
  }

  async kill(replica: number): Promise<void> {
    await this.servers[replica]!.kill();
    this.servers[replica] = null;
  }

  /** Resolves when the replica has executed an op that is numbered now, and takes part. */
  async untilCaughtUp(replica: number): Promise<void> {
    const session = await ClusterSession.register(this.ports);
    try {
      const body = encodeRequest(Operation.createAccounts, [new Uint8Array(0)]);
      const message = session.build(Operation.createAccounts, body);
      await session.roundTrip(message);
      await until(
        () => session.hasExecuted(message, replica, 200),
        () => `replica ${replica} to catch up\n${this.logs}`,
      );
    } finally {
      session.close();
    }
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
