/**
 * A whole replica in one thread over any file I/O: the code that the server runs, less sockets and
 * clocks. Requests go in as messages, replies are collected; every prepare that is handed to the
 * journal is kept in a log, so that after any crash the reference ledger can be brought to the op
 * that the replica recovered to.
 *
 * `ReplicaHost` leaves it to its owner how operations complete (a real backend does it by itself);
 * `Harness` runs one over a file in memory, step by step.
 */
import { openReplica, type ReplicaParts } from "../../src/consensus/open-replica.ts";
import type { Replica } from "../../src/consensus/replica.ts";
import { headerSize, pipelinePrepareMax } from "../../src/core/limits.ts";
import { u64ReadNumber } from "../../src/core/u128.ts";
import { type Connection, Peer } from "../../src/io/connection.ts";
import type { FileHandle, FileIo, Time } from "../../src/io/io.ts";
import type { Message } from "../../src/io/message-pool.ts";
import { composeReplica, type MemoryOptions } from "../../src/server/compose.ts";
import type { RunOptions } from "../../src/storage/runs/options.ts";
import { DataFileLayout, type FormatOptions, formatVersion } from "../../src/wal/data-file.ts";
import { formatDataFile } from "../../src/wal/format.ts";
import { Superblock } from "../../src/wal/superblock.ts";
import { frame, replyHeader } from "../../src/wire/header.ts";
import { operationMutates } from "../../src/wire/operations.ts";
import { ownRelease } from "../../src/wire/release.ts";
import { type Faults, MemoryFileIo } from "../wal/memory-file-io.ts";
import type { Log } from "./log.ts";
import { type ReusedMemory, ReusingIo } from "./reused-memory.ts";

/** A journal so small that a test wraps it many times. */
export const tinyFormat: FormatOptions = {
  cluster: new Uint32Array([7, 0, 0, 0]),
  replica: 0,
  replicaCount: 1,
  slotCount: 32,
  checkpointInterval: 6,
  barOps: 2,
  clientsMax: 6,
  blockSize: 64 * 1024,
  pageSize: 4096,
  formatVersion,
};

/** So little that starting a replica costs next to nothing: restarts are what these tests do. */
export const tinyMemory: MemoryOptions = {
  cacheGridBytes: 0,
  recentBlocks: 0,
  pageCopyBytes: 1024 * 1024,
  messagesLarge: 2,
  repliesLarge: 2,
  messagesSmall: 4 * pipelinePrepareMax,
};

/**
 * A cut every few ops, runs of several blocks, and merges almost always: filters and levels are there
 * after a dozen checkpoints.
 */
export const tinyRuns: Partial<RunOptions> = {
  cutRows: 100,
  blockEntriesShort: 60,
  blockEntriesLong: 40,
  writeBlocks: 24,
};

export const memoryFileSize = 160 * 1024 * 1024;

export class TestTime implements Time {
  now = 1_700_000_000_000_000_000n;
  monotonicNs(target: Uint32Array, at: number): void {
    this.wallNs(target, at);
  }
  wallNs(target: Uint32Array, at: number): void {
    target[at] = Number(this.now & 0xffff_ffffn);
    target[at + 1] = Number(this.now >> 32n);
  }
  monotonicMs(): number {
    return Number(this.now / 1_000_000n);
  }
}

export interface Reply {
  readonly client: number;
  readonly request: number;
  readonly op: number;
  readonly operation: number;
  readonly bytes: Uint8Array;
  readonly body: Uint8Array;
  /** Made by running a query of an earlier incarnation again: shows a later state than its op's. */
  readonly again: boolean;
}

export interface HostOptions {
  readonly grouping?: boolean;
  readonly memory?: MemoryOptions;
  /** In place of some of `tinyRuns`; constants have to be those that the file was written with. */
  readonly runs?: Partial<RunOptions>;
  /**
   * The journal works as the server's does in a cluster of one: headers wait for ticks, which the owner
   * gives. Default: yes. Otherwise as in a larger cluster: they follow their prepares at once.
   */
  readonly journalTicks?: boolean;
  /** Where the replica's memory comes from: all that earlier replicas had of it is taken back. */
  readonly reused?: ReusedMemory;
  /** Called with the parts before they are opened; a test may replace some of their methods. */
  readonly onComposed?: (parts: ReplicaParts) => void;
}

/** What a request came on, as far as a replica looks at it. */
const fromClient = { peer: Peer.client } as Connection;

/** A replica over some file I/O, and what it said. */
export class ReplicaHost {
  readonly replies: Reply[] = [];
  readonly evictions: { readonly client: number; readonly reason: number }[] = [];
  readonly notes: string[] = [];
  fatal: string | null = null;
  error: string | null = null;
  parts!: ReplicaParts;
  opened = false;
  /** The op that the log was replayed to. */
  openedAt = 0;
  readonly io: FileIo;

  constructor(
    io: FileIo,
    readonly file: FileHandle,
    readonly log: Log,
    readonly time: Time,
    private readonly options: HostOptions = {},
  ) {
    const { reused } = options;
    reused?.begin();
    this.io = reused === undefined ? io : new ReusingIo(io, reused);
  }

  get replica(): Replica {
    return this.parts.replica;
  }

  /** Opens the file and replays the log; then `opened`, or `error` or `fatal` says why not. */
  begin(onDone: () => void): void {
    const superblock = new Superblock({
      io: this.io,
      file: this.file,
      release: ownRelease,
      onFatal: (text) => this.onFatal(text),
    });
    superblock.open((error) => {
      if (error !== null) {
        this.error = error.message;
        onDone();
        return;
      }
      this.compose(superblock);
      openReplica(this.parts, (problem) => {
        this.error = problem;
        this.opened = problem === null;
        this.openedAt = this.replica.commitMin;
        onDone();
      });
    });
  }

  private compose(superblock: Superblock): void {
    const { gridAt } = new DataFileLayout(superblock.formatOptions);
    const bus = {
      sendToClient: (_words: Uint32Array, _at: number, message: Message) => this.onReply(message),
      sendOn: (_connection: Connection, message: Message) => this.onEviction(message),
      sendToReplica: () => false,
      relieve: () => {},
    };
    this.parts = composeReplica({
      io: this.io,
      file: this.file,
      fileSize: memoryFileSize,
      time: this.time,
      superblock,
      createBus: () => bus,
      memory: this.options.memory ?? tinyMemory,
      runs: { ...tinyRuns, ...this.options.runs },
      grouping: this.options.grouping ?? true,
      journalTicks: this.options.journalTicks ?? true,
      allocateWords: (count) => this.allocateWords(count),
      extend: null,
      gridBlocksMax: Math.floor((memoryFileSize - gridAt) / (64 * 1024)),
      log: (text) => this.notes.push(text),
      onMoved: () => this.onFatal("a cluster of one moved to another checkpoint"),
      onFatal: (text) => this.onFatal(text),
    });
    const { journal } = this.parts;
    const writePrepare = journal.writePrepare.bind(journal);
    journal.writePrepare = (buffer, onDurable) => {
      this.log.record(buffer.bytes.subarray(0, buffer.words[frame.word.size]!));
      writePrepare(buffer, onDurable);
    };
    this.options.onComposed?.(this.parts);
  }

  private allocateWords(count: number): Uint32Array {
    const { reused } = this.options;
    return reused === undefined ? new Uint32Array(count) : reused.allocate(count * 4).words;
  }

  /** As the server does: when unsure, nothing is acknowledged any more. */
  private onFatal(text: string): void {
    this.fatal ??= text;
    this.parts?.replica.stop();
  }

  protected onReply(message: Message): boolean {
    const size = message.words[frame.word.size]!;
    const bytes = message.bytes.slice(0, size);
    const op = u64ReadNumber(message.words, replyHeader.word.op);
    const operation = message.bytes[replyHeader.at.operation]!;
    this.replies.push({
      client: message.words[replyHeader.word.client]!,
      request: message.words[replyHeader.word.request]!,
      op,
      operation,
      bytes,
      body: bytes.subarray(headerSize),
      again: op <= this.openedAt && operationMutates[operation] === 0,
    });
    return true;
  }

  private onEviction(message: Message): boolean {
    this.evictions.push({ client: message.words[32]!, reason: message.bytes[255]! });
    return true;
  }

  /** Delivers a request; it is prepared at the next `turn`. */
  deliver(request: Uint8Array): void {
    const { pool } = this.parts;
    const message = pool.get(request.length);
    if (message === null) return; // As a bus would: the client's retry brings it.
    message.bytes.set(request);
    this.replica.onMessage(message, fromClient);
    pool.unref(message);
  }
}

/** The replica stopped in the middle of a query. */
export class StoppedError extends Error {
  override name = "StoppedError";
}

/** File I/O whose operations are carried out one by one, when asked. */
export type SteppedIo = FileIo & {
  /** Carries one out and calls back; false when there is none. */
  step(): boolean;
};

/** Replies to queries of the tests' own; large enough for any. */
const queryReply = new Uint32Array((1024 * 1024) / 4);
const queryReplyBytes = new Uint8Array(queryReply.buffer);

export interface HarnessOptions extends HostOptions {
  /** The journal's ticks come between events: one after so many steps of the I/O. Default 20. */
  readonly stepsPerTick?: number;
}

export class Harness extends ReplicaHost {
  private readonly stepsPerTick: number;
  private stepsToTick: number;

  constructor(
    private readonly stepped: SteppedIo,
    log: Log,
    time: Time,
    options: HarnessOptions = {},
  ) {
    super(stepped, 0, log, time, options);
    this.stepsPerTick = options.stepsPerTick ?? 20;
    this.stepsToTick = this.stepsPerTick;
  }

  /** One step of the I/O, and sometimes a tick. As in the server, none before it is open. */
  private step(): boolean {
    this.stepsToTick -= 1;
    if (this.stepsToTick <= 0 && this.opened) {
      this.stepsToTick = this.stepsPerTick;
      this.parts.journal.tick();
    }
    return this.stepped.step();
  }

  /** Two ticks in which nothing else happens: what waited for them has landed. */
  idle(): void {
    for (let tick = 0; tick < 2; tick += 1) {
      this.parts.journal.tick();
      while (this.fatal === null && this.stepped.step()) {
        // Until nothing is in flight.
      }
    }
  }

  /** Opens the file and replays the log; false: `error` or `fatal` says why not. */
  open(): boolean {
    this.begin(() => {});
    while (this.fatal === null && this.stepped.step()) {
      // Until nothing is in flight.
    }
    return this.opened && this.fatal === null;
  }

  /** Runs turns and I/O until nothing moves any more. */
  settle(): void {
    for (;;) {
      this.replica.turn();
      if (this.fatal !== null || !this.step()) return;
    }
  }

  /** At most so many I/O completions, with turns between them. */
  pump(steps: number): void {
    for (let count = 0; count < steps; count += 1) {
      this.replica.turn();
      if (this.fatal !== null || !this.step()) return;
    }
  }

  /** A clean stop, as the server's. */
  stop(): void {
    if (!this.tryStop()) throw new Error("a clean stop hangs");
  }

  /** False: it does not come to its end. As in the server, nothing ticks meanwhile. */
  tryStop(): boolean {
    let flushed = false;
    this.replica.stop();
    this.parts.journal.flush(() => {
      flushed = true;
    });
    while (!flushed && this.stepped.step()) {
      // Until the journal has landed.
    }
    return flushed;
  }

  /** Executes a read-only operation on the state as it is. Valid until the next call. */
  query(operation: number, body: Uint8Array): Uint8Array {
    const { stateMachine } = this.parts;
    const bytes = new Uint8Array(Math.ceil(Math.max(16, body.length) / 16) * 16);
    bytes.set(body);
    const words = new Uint32Array(bytes.buffer);
    let ready = stateMachine.prefetch(
      operation,
      0,
      0x7000_0000,
      words,
      bytes,
      0,
      body.length,
      queryReply,
      queryReplyBytes,
      0,
      () => {
        ready = true;
      },
    );
    while (!ready && this.fatal === null && this.stepped.step()) {
      // The prefetch reads.
    }
    if (!ready) throw new StoppedError(this.fatal ?? "a query waits for nothing");
    return queryReplyBytes.subarray(0, stateMachine.commit());
  }
}

/** A file in memory, formatted. */
export function formatMemoryFile(seed: number, faults: Faults = {}): MemoryFileIo {
  formatted ??= formatOnce();
  return formatted.clone(seed, faults);
}

let formatted: MemoryFileIo | null = null;

function formatOnce(): MemoryFileIo {
  const io = new MemoryFileIo(memoryFileSize, 0);
  formatThrough(io);
  return io;
}

export function formatThrough(io: SteppedIo): void {
  let failed: string | null = "formatting did not finish";
  formatDataFile(io, 0, tinyFormat, ownRelease, (error) => {
    failed = error === null ? null : error.message;
  });
  while (io.step()) {
    // Until nothing is in flight.
  }
  if (failed !== null) throw new Error(failed);
}
