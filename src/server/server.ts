/**
 * A replica as a process: opens the data file, picks a backend, opens the replica over it, listens,
 * and drives ticks until it is stopped. A fatal error stops it at once: nothing that is in flight
 * is acknowledged any more.
 */
import { openReplica, type ReplicaParts } from "../consensus/open-replica.ts";
import type { Replica } from "../consensus/replica.ts";
import { type DataFileError, DataFileErrorCode, lossRemedy } from "../core/data-file-error.ts";
import { blockSize, tickMs } from "../core/limits.ts";
import { Completion, type Io, type IoStats } from "../io/io.ts";
import { MessageBus } from "../io/message-bus.ts";
import { openIo } from "../io/open-io.ts";
import { formatAddress } from "../io/socket-address.ts";
import { systemTime } from "../native/clocks.ts";
import { closeDataFile, type DataFile, openDataFile } from "../native/files.ts";
import { allocateLarge, commitPages } from "../native/memory.ts";
import { DataFileLayout, superblockCopies, superblockCopySpacing } from "../wal/data-file.ts";
import { Superblock } from "../wal/superblock.ts";
import { ownRelease } from "../wire/release.ts";
import {
  composeReplica,
  connectionsMaxFor,
  type MemoryOptions,
  memoryDefault,
  memoryDevelopment,
} from "./compose.ts";
import { gridGrowth } from "./grid-growth.ts";
import { type NamedAddress, ReplicaAddresses } from "./replica-addresses.ts";
import { warmUp } from "./warm-up.ts";
import { wordArena } from "./word-arena.ts";

export type ServerLogLevel = "error" | "warn" | "info" | "debug";

export interface ServerOptions {
  readonly path: string;
  /**
   * Of every replica of the cluster, by index; this one listens on its own. Port 0, which picks a
   * free one, is for a cluster of one.
   */
  readonly addresses: readonly NamedAddress[];
  /** Of every standby, by index. */
  readonly standbys: readonly NamedAddress[];
  readonly backend: "auto" | "uring" | "portable";
  /** Owned for a process of its own; guest beside an application. */
  readonly drive: "owned" | "guest";
  readonly directIo: boolean;
  readonly grouping: boolean;
  readonly development: boolean;
  /** Another server of this process had these options before: its code is fast already. Default: no. */
  readonly reopened?: boolean;
  /** Bytes; undefined takes the default. */
  readonly cacheGridBytes: number | undefined;
}

export interface ServerEvents {
  readonly onLog: (level: ServerLogLevel, text: string) => void;
  /** Clients can connect. */
  readonly onListening: (host: string, port: number) => void;
  /**
   * The end of this server, but not of the process: the replica has moved to a checkpoint of its
   * cluster. Everything is closed; make another server with the same options.
   */
  readonly onMoved: () => void;
  /** The end: null after `stop`, otherwise one sentence that says why. */
  readonly onStopped: (error: string | null) => void;
}

/** Grid blocks that a data file may have: 16 TiB. */
const gridBlocksMax = 2 ** 28 - 1;

/** A data file is longer than its superblock. Bytes. */
const smallestFile = superblockCopies * superblockCopySpacing;

/** Large frames that may be arriving at once, and messages kept back for the replica itself. */
const largeReceivesMax = 8;
const smallReserve = 16;
const largeReserve = 10;

export class Server {
  private readonly options: ServerOptions;
  private readonly events: ServerEvents;
  private readonly file: DataFile;
  private readonly io: Io;
  private readonly tickCompletion: Completion;
  /** Of the replicas, then of the standbys. */
  private readonly members: readonly NamedAddress[];
  private readonly addresses: ReplicaAddresses;
  private parts: ReplicaParts | null = null;
  private bus: MessageBus | null = null;
  private stopping = false;
  private stopped = false;
  private failed = false;
  private opened = false;
  private moved = false;

  /**
   * Begins to open the replica; what follows is told through `events`, never from inside.
   * @throws {DataFileError} The data file cannot be opened.
   * @throws {Error} The backend that was asked for is not available here.
   */
  constructor(options: ServerOptions, events: ServerEvents) {
    this.options = options;
    this.events = events;
    this.file = openDataFile(options.path, { directIo: options.directIo });
    this.tickCompletion = new Completion(() => this.onTick());
    this.members = [...options.addresses, ...options.standbys];
    this.addresses = new ReplicaAddresses(this.members);
    try {
      const { backend, drive } = options;
      const { io, note } = openIo({ backend, drive, files: [this.file.fd] });
      this.io = io;
      events.onLog("info", note);
    } catch (error) {
      closeDataFile(this.file);
      throw error;
    }
    this.io.start(() => this.parts?.replica.turn());
    this.openSuperblock();
  }

  get stats(): IoStats {
    return this.io.stats;
  }

  private openSuperblock(): void {
    const superblock = new Superblock({
      io: this.io,
      file: this.file.fd,
      release: ownRelease,
      onFatal: (text) => this.fail(text),
    });
    superblock.open((error) => {
      if (error === null) this.compose(superblock);
      else if (this.file.sizeBytes < smallestFile) this.fail(this.tooSmall());
      else this.fail(`'${this.options.path}': ${error.message}${remedyFor(error)}`);
    });
  }

  private tooSmall(): string {
    return (
      `'${this.options.path}' is no data file, or only the beginning of one: it has ` +
      `${this.file.sizeBytes} bytes, and the superblock alone takes ${smallestFile}; 'pacioli format' ` +
      "makes a new data file, and a copy that broke off must be made again."
    );
  }

  private compose(superblock: Superblock): void {
    const { options, file, io } = this;
    const { rewritten } = superblock;
    if (rewritten !== null) {
      this.events.onLog(rewritten.damaged ? "warn" : "info", rewritten.text);
    }
    const format = superblock.formatOptions;
    const misfit = this.addressesMisfit(format.replica, format.replicaCount);
    if (misfit !== null) {
      this.fail(misfit);
      return;
    }
    const { gridAt } = new DataFileLayout(format);
    if (file.sizeBytes < gridAt) {
      this.fail(
        `'${options.path}' is truncated: ${file.sizeBytes} bytes, and journal and replies alone take ` +
          `${gridAt}; ${lossRemedy(format.replicaCount)}.`,
      );
      return;
    }
    const time = systemTime();
    // An application does not want to be held up; nor does a replica that has moved to a checkpoint, which
    // its peers keep for some ops only.
    if (options.drive === "owned" && options.reopened !== true) warmUp(() => time.monotonicMs());
    const parts = composeReplica({
      io,
      file: file.fd,
      fileSize: file.sizeBytes,
      time,
      superblock,
      standbyCount: options.standbys.length,
      createBus: (pool, replica) => {
        const bus = new MessageBus(
          io,
          pool,
          {
            onMessage: (message, connection) => replica().onMessage(message, connection),
            onReplicaConnected: () => replica().onPeerConnected(),
            onReplicaLost: (peer) => replica().onPeerLost(peer),
            onDialFailed: (peer) => this.addresses.refresh(peer),
          },
          {
            cluster: format.cluster,
            replica: format.replica,
            replicaCount: this.members.length,
            connectionsMax: connectionsMaxFor(format.clientsMax),
            largeReceivesMax,
            smallReserve,
            largeReserve,
            seed: superblock.sequence,
            log: (level, text) => this.events.onLog(level, text),
          },
        );
        this.bus = bus;
        return bus;
      },
      memory: this.memory(),
      grouping: options.grouping,
      journalTicks: true,
      allocateWords: wordArena(allocateLarge, commitPages),
      extend: gridGrowth(file.fd, gridAt, (run) => this.defer(run)),
      gridBlocksMax: Math.min(gridBlocksMax, Math.floor(Number.MAX_SAFE_INTEGER / blockSize)),
      log: (text) => this.events.onLog("info", text),
      warn: (text) => this.events.onLog("warn", text),
      onMoved: () => this.move(),
      onFatal: (text) => this.fail(text),
    });
    this.parts = parts;
    // One of several may need the others to open: it talks to them before it serves anybody.
    if (format.replicaCount > 1) {
      this.listen(parts, (host, port) => {
        this.open(parts, () => this.events.onListening(host, port));
      });
    } else {
      this.open(parts, () => this.listen(parts, this.events.onListening));
    }
  }

  private open(parts: ReplicaParts, onOpened: () => void): void {
    openReplica(parts, (error) => {
      if (error !== null) {
        this.fail(`'${this.options.path}': ${error}`);
      } else if (!this.stopping) {
        this.opened = true;
        onOpened();
      }
    });
  }

  private memory(): MemoryOptions {
    const base = this.options.development ? memoryDevelopment : memoryDefault;
    return { ...base, cacheGridBytes: this.options.cacheGridBytes ?? base.cacheGridBytes };
  }

  private defer(run: () => void): void {
    // Made anew: growth happens once in some hundred megabytes.
    const once = new Completion(() => run());
    this.io.timeout(once, 0);
  }

  /** Says how the list of addresses does not suit the data file, or null. */
  private addressesMisfit(replica: number, replicaCount: number): string | null {
    const { path, addresses, standbys } = this.options;
    const count = addresses.length;
    if (count !== replicaCount) {
      return (
        `'${path}' belongs to a cluster of ${replicaCount} replica${replicaCount === 1 ? "" : "s"}, but ` +
        `${count} address${count === 1 ? " is" : "es are"} given; give the address of every replica, in ` +
        "the order of their indexes."
      );
    }
    if (replicaCount === 1 && standbys.length > 0) {
      return "a cluster of one has no standbys; leave --standbys away, or make a cluster of three.";
    }
    if (replica >= this.members.length) {
      return (
        `'${path}' is the data file of standby ${replica}; give the addresses of all standbys up to that ` +
        `one, the first of which has index ${replicaCount}, with --standbys.`
      );
    }
    if (replicaCount > 1 && this.members.some(({ port }) => port === 0)) {
      return "port 0 is for a cluster of one; the other replicas would not know where to connect.";
    }
    return null;
  }

  private listen(parts: ReplicaParts, onListening: (host: string, port: number) => void): void {
    const { replica } = parts.replica;
    this.addresses.resolve(replica, (host, code) => {
      if (this.stopping) return;
      if (host !== null) {
        this.listenOn(parts, host, onListening);
        return;
      }
      const name = this.members[replica]!.host;
      this.fail(`the name '${name}' of this replica's address cannot be looked up (${code}).`);
    });
  }

  private listenOn(
    parts: ReplicaParts,
    host: string,
    onListening: (host: string, port: number) => void,
  ): void {
    const { replica, replicaCount } = parts.replica;
    const bus = this.bus!;
    let { port } = this.members[replica]!;
    try {
      port = bus.listen(host, port);
    } catch (error) {
      const code = (error as { code?: string }).code ?? String(error);
      const remedy = code === "EADDRINUSE" ? " or stop what uses it" : "";
      const place =
        replicaCount === 1 ? "" : `, the address of replica ${replica}, which this data file is`;
      this.fail(
        `cannot listen on ${formatAddress(host, port)} (${code})${place}; choose another address${remedy}.`,
      );
      return;
    }
    if (replicaCount > 1) bus.dialReplicas(this.addresses.list);
    this.io.timeout(this.tickCompletion, tickMs);
    onListening(host, port);
  }

  private onTick(): void {
    if (this.stopping) return;
    this.io.timeout(this.tickCompletion, tickMs);
    this.parts?.replica.tick();
    this.parts?.journal.tick();
    this.bus?.tick();
  }

  get replica(): Replica | null {
    return this.parts?.replica ?? null;
  }

  /**
   * A clean stop: no more requests, what was journaled is flushed with its headers, then the file
   * is released. Requests without a reply may or may not have been executed; clients retry.
   */
  stop(): void {
    if (this.stopping) return;
    this.stopping = true;
    const { parts, bus } = this;
    if (parts === null || bus === null) {
      this.finish(null);
      return;
    }
    parts.replica.stop();
    bus.close(() => {
      if (this.opened) parts.journal.flush(() => this.finish(null));
      else this.finish(null);
    });
  }

  /** The superblock is another one now: closes everything, for the file to be opened anew. */
  private move(): void {
    if (this.stopping) return;
    this.stopping = true;
    this.moved = true;
    this.bus!.close(() => this.finish(null));
  }

  /**
   * When unsure, stop: nothing is acknowledged any more. Connections are closed before the backend
   * is, so that none of their operations outlives its socket.
   */
  private fail(text: string): void {
    if (this.failed || this.stopped) return;
    this.failed = true;
    this.parts?.replica.stop();
    if (this.bus === null || this.stopping) {
      this.stopping = true;
      this.finish(text);
      return;
    }
    this.stopping = true;
    this.bus.close(() => this.finish(text));
  }

  private finish(error: string | null): void {
    if (this.stopped) return;
    this.stopped = true;
    this.io.stop(() => {
      closeDataFile(this.file);
      if (this.moved && error === null) this.events.onMoved();
      else this.events.onStopped(error);
    });
  }
}

/** What to do when the superblock cannot be opened: a sentence more, or nothing. */
function remedyFor(error: DataFileError): string {
  switch (error.code) {
    case DataFileErrorCode.notDataFile:
      return " Check the path; 'pacioli format' makes a new data file.";
    case DataFileErrorCode.formatVersion:
      return " Start the version of Pacioli that formatted it.";
    case DataFileErrorCode.superblock:
      return ` What is left: 'pacioli inspect superblock'. To go on, ${lossRemedy(null)}.`;
    default:
      return "";
  }
}
