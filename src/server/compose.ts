/**
 * Puts a replica together over any I/O: the server does it with a real backend and message bus,
 * tests and the simulator with theirs. Nothing here opens a file or a socket.
 */
import { BlockRepair } from "../consensus/block-repair.ts";
import { Checkpointer } from "../consensus/checkpointer.ts";
import { ClientSessions } from "../consensus/client-sessions.ts";
import { keptLargeMax, keptSmallMax } from "../consensus/kept-requests.ts";
import type { ReplicaParts } from "../consensus/open-replica.ts";
import { Replica } from "../consensus/replica.ts";
import type { ReplicaBus } from "../consensus/replica-bus.ts";
import { lossRemedy } from "../core/data-file-error.ts";
import {
  clientsMaxLimit,
  headerSize,
  messageSizeMax,
  pipelinePrepareMax,
  pipelineRequestQueueMax,
  replySlotSize,
} from "../core/limits.ts";
import { Prng } from "../core/prng.ts";
import type { FileHandle, FileIo, Time } from "../io/io.ts";
import { MessagePool } from "../io/message-pool.ts";
import { StateMachine } from "../ledger/state-machine.ts";
import { StorageEngine } from "../storage/engine.ts";
import type { RunOptions } from "../storage/runs/options.ts";
import { ClientReplies } from "../wal/client-replies.ts";
import { DataFileLayout, type FormatOptions } from "../wal/data-file.ts";
import { rootPrepareSize, scratchMemory, writeRootPrepare } from "../wal/headers.ts";
import { Journal } from "../wal/journal.ts";
import type { Superblock } from "../wal/superblock.ts";

/** How much memory a replica takes. Never part of the format. */
export interface MemoryOptions {
  /** Blocks of the grid that are kept after they were read. Bytes. */
  readonly cacheGridBytes: number;
  /** Blocks per table that stay in memory after they were written. */
  readonly recentBlocks: number;
  /** Pages that may be copied because they changed while a checkpoint wrote them. Bytes. */
  readonly pageCopyBytes: number;
  /** Messages of 1 MiB for requests and prepares, and for replies. */
  readonly messagesLarge: number;
  readonly repliesLarge: number;
  readonly messagesSmall: number;
  /** Rows that one op may append to a table; default: as many as fit a message. */
  readonly opRowsMax?: number;
  /** log2 of the bytes by which tables of mutable rows grow. */
  readonly slabSizeLog2?: number;
}

export const memoryDefault: MemoryOptions = {
  cacheGridBytes: 128 * 1024 * 1024,
  recentBlocks: 64,
  pageCopyBytes: 64 * 1024 * 1024,
  messagesLarge: pipelinePrepareMax + 32,
  repliesLarge: 16,
  messagesSmall: 512,
};

export const memoryDevelopment: MemoryOptions = {
  cacheGridBytes: 16 * 1024 * 1024,
  recentBlocks: 16,
  pageCopyBytes: 16 * 1024 * 1024,
  messagesLarge: pipelinePrepareMax + 24,
  repliesLarge: 8,
  messagesSmall: 256,
};

export interface ComposeOptions {
  readonly io: FileIo;
  readonly file: FileHandle;
  /** Bytes of the data file. */
  readonly fileSize: number;
  readonly time: Time;
  /** Opened. */
  readonly superblock: Superblock;
  /** Makes the bus, given the pool that it receives into and who handles its messages. */
  readonly createBus: (pool: MessagePool, replica: () => Replica) => ReplicaBus;
  readonly memory: MemoryOptions;
  /** Standbys beside the replicas; default none. */
  readonly standbyCount?: number;
  readonly grouping: boolean;
  /** The owner calls `journal.tick` with each tick: headers wait for it in a cluster of one. Default: no. */
  readonly journalTicks?: boolean;
  readonly allocateWords: (count: number) => Uint32Array;
  readonly extend: ((gridBytes: number, onDone: (result: number) => void) => void) | null;
  readonly gridBlocksMax: number;
  /** Constants of sorted runs, the bar aside; for tests and the simulator. Default: a server's. */
  readonly runs?: Partial<RunOptions> | undefined;
  readonly log: (text: string) => void;
  /** Of what an operator should look into; default: `log`. */
  readonly warn?: (text: string) => void;
  /**
   * The replica has moved to the cluster's checkpoint, durably: nothing of these parts is of use any
   * more. Open the file anew, as after a crash. Never called in a cluster of one.
   */
  readonly onMoved: () => void;
  /** Something that no replica may go on after. */
  readonly onFatal: (text: string) => void;
}

/** Events of one op: a message full of 128-byte events, or a pulse's. */
const opRowsMax = 8192;

export function composeReplica(options: ComposeOptions): ReplicaParts {
  const { io, file, superblock, memory, onFatal } = options;
  const format = superblock.formatOptions;
  const memberCount = format.replicaCount + (options.standbyCount ?? 0);
  const layout = new DataFileLayout(format);
  // In a cluster an op that seems to be torn is not claimed: its header follows its prepare at once. A
  // cluster of one counts on the commit numbers of the prepares that follow.
  const ticks = options.journalTicks === true && format.replicaCount === 1;
  const journal = new Journal({ io, file, layout, ticks, onFatal });
  const replies = new ClientReplies({ io, file, layout, onFatal });
  const storage = new StorageEngine({
    io,
    file,
    gridAt: layout.gridAt,
    gridBytes: Math.max(0, options.fileSize - layout.gridAt),
    gridBlocksMax: options.gridBlocksMax,
    cluster: format.cluster,
    checkpointInterval: format.checkpointInterval,
    opRowsMax: memory.opRowsMax ?? opRowsMax,
    recentBlocks: memory.recentBlocks,
    cacheBytes: memory.cacheGridBytes,
    pageCopyBytes: memory.pageCopyBytes,
    slabSizeLog2: memory.slabSizeLog2,
    runs: { ...options.runs, barOps: format.barOps },
    allocateWords: options.allocateWords,
    extend: options.extend,
    onDamaged: (block) => {
      onFatal(
        `${block.name} is damaged (${block.reason}) and no other replica has a copy; ` +
          `${lossRemedy(format.replicaCount)}.`,
      );
    },
    onFatal,
  });
  const stateMachine = new StateMachine(storage, {
    batchSizeLimit: messageSizeMax - headerSize,
    allocateWords: options.allocateWords,
  });
  const sessions = new ClientSessions(
    format.clientsMax,
    io.allocate(format.clientsMax * replySlotSize),
  );
  const checkpointer = new Checkpointer({
    interval: format.checkpointInterval,
    superblock,
    journal,
    storage,
    stateMachine,
    sessions,
    replies,
    io,
    file,
    onFatal,
  });
  const allocate = (sizeBytes: number) => io.allocate(sizeBytes);
  const keeps = format.replicaCount > 1;
  const pool = new MessagePool(allocate, {
    small: memory.messagesSmall + (keeps ? keptSmallMax : 0),
    large: memory.messagesLarge + (keeps ? keptLargeMax : 0),
  });
  const replyPool = new MessagePool(allocate, {
    small: memory.messagesSmall,
    large: memory.repliesLarge,
  });
  const bus = options.createBus(pool, () => replica);
  const seed = startSeed(superblock.sequence * 16 + format.replica, options.time);
  const blockRepair =
    format.replicaCount === 1
      ? null
      : new BlockRepair({
          cluster: format.cluster,
          replica: format.replica,
          replicaCount: format.replicaCount,
          memberCount,
          bus,
          storage,
          sessions,
          pool: replyPool,
          allocate,
          prng: new Prng(seed),
          log: options.log,
          warn: options.warn ?? options.log,
        });
  if (blockRepair !== null) storage.repairFrom(blockRepair);
  const replica: Replica = new Replica({
    cluster: format.cluster,
    replica: format.replica,
    replicaCount: format.replicaCount,
    memberCount,
    journal,
    superblock,
    storage,
    stateMachine,
    sessions,
    checkpointer,
    checkpointInterval: format.checkpointInterval,
    formatId: formatIdOf(format),
    log: options.log,
    warn: options.warn ?? options.log,
    seed,
    quiesce: (onQuiet) => {
      quiesceAll([storage, checkpointer, replies, journal, superblock], onQuiet);
    },
    onMoved: options.onMoved,
    onFatal,
    bus,
    pool,
    replyPool,
    time: options.time,
    requestQueueMax: pipelineRequestQueueMax,
    requestSizeMax: messageSizeMax,
    grouping: options.grouping,
  });
  if (blockRepair !== null) replica.repairBlocksWith(blockRepair);
  return {
    superblock,
    journal,
    storage,
    stateMachine,
    sessions,
    replies,
    checkpointer,
    blockRepair,
    replica,
    pool,
    io,
    log: options.log,
  };
}

/**
 * Ends all of them at once, so that none of them can make another one work on, and calls back when the
 * last is quiet; perhaps from inside.
 */
function quiesceAll(
  parts: readonly { quiesce(onQuiet: () => void): void }[],
  onQuiet: () => void,
): void {
  let busy = parts.length;
  for (const part of parts) {
    part.quiesce(() => {
      busy -= 1;
      if (busy === 0) onQuiet();
    });
  }
}

/** What replicas of one cluster have in common: the checksum of their root prepare. */
function formatIdOf(format: FormatOptions): Uint32Array {
  const root = scratchMemory(rootPrepareSize);
  writeRootPrepare(root, 0, format);
  return root.words.slice(0, 4);
}

/** Connections of clients that a server keeps: its sessions and some that come and go. */
export function connectionsMaxFor(clientsMax: number): number {
  return Math.min(clientsMax, clientsMaxLimit) + 64;
}

/**
 * Differs between replicas and between starts, also between those that leave nothing in the data
 * file: what was asked for before a start must not pass for an answer after it.
 * @param number - Differs between replicas, and between states of the data file.
 */
function startSeed(number: number, time: Time): number {
  const clocks = new Uint32Array(4);
  time.monotonicNs(clocks, 0);
  time.wallNs(clocks, 2);
  let seed = number >>> 0;
  for (const word of clocks) seed = (Math.imul(seed, 0x9e37_79b1) ^ word) >>> 0;
  return seed;
}
