/**
 * A whole replica in one thread over a data file in memory: the code that the server runs, less
 * sockets and clocks. Requests go in as messages, replies are collected; every prepare that is
 * handed to the journal is kept, so that after any crash the reference ledger can be brought to
 * the op that the replica recovered to.
 */
import { openReplica, type ReplicaParts } from "../../src/consensus/open-replica.ts";
import { PrepareRequests } from "../../src/consensus/prepare-requests.ts";
import type { Replica } from "../../src/consensus/replica.ts";
import { headerSize } from "../../src/core/limits.ts";
import { u64ReadNumber } from "../../src/core/u128.ts";
import type { Connection } from "../../src/io/connection.ts";
import type { FileIo, Time } from "../../src/io/io.ts";
import type { Message, MessagePool } from "../../src/io/message-pool.ts";
import { composeReplica, memoryDevelopment } from "../../src/server/compose.ts";
import { DataFileLayout, type FormatOptions, formatVersion } from "../../src/wal/data-file.ts";
import { formatDataFile } from "../../src/wal/format.ts";
import { Superblock } from "../../src/wal/superblock.ts";
import { RequestFields, writeRequest } from "../../src/wire/build.ts";
import { frame, prepareHeader, replyHeader } from "../../src/wire/header.ts";
import { Operation, operationMutates } from "../../src/wire/operations.ts";
import { ownRelease } from "../../src/wire/release.ts";
import { ReferenceLedger } from "../reference/ledger.ts";
import { executeRequest, timestampDelta } from "../reference/operations.ts";
import { MemoryFileIo } from "../wal/memory-file-io.ts";

/** A journal so small that a test wraps it many times. */
export const tinyFormat: FormatOptions = {
  cluster: new Uint32Array([7, 0, 0, 0]),
  replica: 0,
  replicaCount: 1,
  slotCount: 32,
  checkpointInterval: 6,
  barOps: 2,
  clientsMax: 4,
  blockSize: 64 * 1024,
  pageSize: 4096,
  formatVersion,
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

/** One executed request of the log. */
export interface LoggedRequest {
  readonly operation: number;
  readonly body: Uint8Array;
  readonly timestamp: bigint;
  readonly client: number;
}

/** The log as it was handed to journals, by op; shared by all incarnations of a replica. */
export class Log {
  readonly ops = new Map<number, { readonly view: number; readonly requests: LoggedRequest[] }>();

  record(prepare: Uint8Array): void {
    const bytes = prepare.slice();
    const words = new Uint32Array(bytes.buffer, 0, Math.floor(bytes.length / 4));
    const cursor = new PrepareRequests({
      timestampDelta: (operation, _words, all, at, size) =>
        operation < 128 ? 0 : Number(timestampDelta(operation, all.subarray(at, at + size))),
    });
    if (!cursor.open({ sizeBytes: bytes.length, bytes, words, id: 0 })) throw new Error("table");
    const requests: LoggedRequest[] = [];
    while (cursor.next()) {
      requests.push({
        operation: cursor.operation,
        body: bytes.slice(cursor.bodyAt, cursor.bodyAt + cursor.bodySize),
        timestamp: (BigInt(cursor.timestamp[1]!) << 32n) | BigInt(cursor.timestamp[0]!),
        client: cursor.words[cursor.clientAt]!,
      });
    }
    const op = u64ReadNumber(words, prepareHeader.word.op);
    this.ops.set(op, { view: words[frame.word.view]!, requests });
  }

  /** The reference ledger after op `opHead`. */
  reference(opHead: number): ReferenceLedger {
    const ledger = new ReferenceLedger();
    for (let op = 1; op <= opHead; op += 1) {
      for (const request of this.ops.get(op)!.requests) {
        if (request.operation === Operation.register) continue;
        executeRequest(ledger, request.operation, request.body, request.timestamp);
      }
    }
    return ledger;
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

export function formatMemoryFile(seed: number, format: FormatOptions = tinyFormat): MemoryFileIo {
  const io = new MemoryFileIo(memoryFileSize, seed);
  let failed: string | null = "formatting did not finish";
  formatDataFile(io, 0, format, ownRelease, (error) => {
    failed = error === null ? null : error.message;
  });
  io.run();
  if (failed !== null) throw new Error(failed);
  return io;
}

export interface HarnessOptions {
  readonly grouping?: boolean;
  readonly cacheGridBytes?: number;
}

export class Harness {
  readonly replies: Reply[] = [];
  readonly evictions: { readonly client: number; readonly reason: number }[] = [];
  readonly notes: string[] = [];
  fatal: string | null = null;
  error: string | null = null;
  parts!: ReplicaParts;
  private opened = false;
  /** The op that the log was replayed to. */
  openedAt = 0;

  constructor(
    readonly io: FileIo & { step(): boolean },
    readonly log: Log,
    readonly time: TestTime,
    private readonly options: HarnessOptions = {},
  ) {}

  get replica(): Replica {
    return this.parts.replica;
  }

  /** Opens the file and replays the log; false: `error` or `fatal` says why not. */
  open(): boolean {
    const superblock = new Superblock({
      io: this.io,
      file: 0,
      release: ownRelease,
      onFatal: (text) => this.onFatal(text),
    });
    superblock.open((error) => {
      if (error !== null) {
        this.error = error.message;
        return;
      }
      this.compose(superblock);
      openReplica(this.parts, (problem) => {
        this.error = problem;
        this.opened = problem === null;
        this.openedAt = this.replica.commitMin;
      });
    });
    while (this.fatal === null && this.io.step()) {
      // Until nothing is in flight.
    }
    return this.opened && this.fatal === null;
  }

  private compose(superblock: Superblock): void {
    this.parts = composeReplica({
      io: this.io,
      file: 0,
      fileSize: memoryFileSize,
      time: this.time,
      superblock,
      createBus: () => ({
        sendToClient: (_words, _at, message) => this.onReply(message),
        sendOn: (_connection, message) => this.onEviction(message),
      }),
      memory: {
        ...memoryDevelopment,
        messagesSmall: 64,
        cacheGridBytes: this.options.cacheGridBytes ?? memoryDevelopment.cacheGridBytes,
      },
      grouping: this.options.grouping ?? true,
      allocateWords: (count) => new Uint32Array(count),
      extend: null,
      gridBlocksMax: Math.floor(
        (memoryFileSize - new DataFileLayout(superblock.formatOptions).gridAt) / (64 * 1024),
      ),
      log: (text) => this.notes.push(text),
      onFatal: (text) => this.onFatal(text),
    });
    const { journal } = this.parts;
    const writePrepare = journal.writePrepare.bind(journal);
    journal.writePrepare = (buffer, onDurable) => {
      this.log.record(buffer.bytes.subarray(0, buffer.words[frame.word.size]!));
      writePrepare(buffer, onDurable);
    };
  }

  private onFatal(text: string): void {
    this.fatal ??= text;
  }

  private onReply(message: Message): boolean {
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
    const pool: MessagePool = this.parts.pool;
    const message = pool.get(request.length);
    if (message === null) return; // As a bus would: the client's retry brings it.
    message.bytes.set(request);
    this.replica.onMessage(message, null as unknown as Connection);
    pool.unref(message);
  }

  /** Runs turns and I/O until nothing moves any more. */
  settle(): void {
    for (;;) {
      this.replica.turn();
      if (this.fatal !== null || !this.io.step()) return;
    }
  }

  /** Executes a read-only operation on the state machine as it is; for comparisons. */
  query(operation: number, body: Uint8Array): Uint8Array {
    const { stateMachine } = this.parts;
    const bytes = new Uint8Array(Math.ceil(Math.max(16, body.length) / 16) * 16);
    bytes.set(body);
    const words = new Uint32Array(bytes.buffer);
    const reply = new Uint32Array((1024 * 1024) / 4);
    const replyBytes = new Uint8Array(reply.buffer);
    let ready = stateMachine.prefetch(
      operation,
      0,
      0x7000_0000,
      words,
      bytes,
      0,
      body.length,
      reply,
      replyBytes,
      0,
      () => {
        ready = true;
      },
    );
    while (!ready && this.io.step()) {
      // The prefetch reads.
    }
    return replyBytes.slice(0, stateMachine.commit());
  }
}

/** A client with a session: builds its requests and follows its replies. */
export class TestClient {
  session = 0;
  number = 0;
  view = 0;
  parent = new Uint8Array(16);
  inFlight: Uint8Array | null = null;
  /** The request answered last. */
  lastRequest: Uint8Array | null = null;

  constructor(readonly id: number) {}

  register(): Uint8Array {
    return this.build(Operation.register, new Uint8Array(256), 0);
  }

  request(operation: number, body: Uint8Array): Uint8Array {
    return this.build(operation, body, this.number + 1);
  }

  private build(operation: number, body: Uint8Array, number: number): Uint8Array {
    const bytes = new Uint8Array(headerSize + body.length);
    const words = new Uint32Array(bytes.buffer);
    bytes.set(body, headerSize);
    const fields = new RequestFields();
    fields.cluster.set(tinyFormat.cluster);
    fields.client[0] = this.id;
    fields.release = ownRelease;
    fields.operation = operation;
    fields.request = number;
    fields.session = this.session;
    fields.view = this.view;
    fields.parent.set(new Uint32Array(this.parent.buffer));
    fields.bodySize = body.length;
    writeRequest(bytes, words, 0, fields);
    this.inFlight = bytes;
    return bytes;
  }

  /** Takes the reply to the request in flight. */
  accept(reply: Reply): void {
    const words = new Uint32Array(reply.bytes.buffer, 0, headerSize / 4);
    if (reply.operation === Operation.register) this.session = reply.op;
    this.number = reply.request;
    this.view = Math.max(this.view, words[frame.word.view]!);
    this.parent = reply.bytes.slice(replyHeader.at.context, replyHeader.at.context + 16);
    this.lastRequest = this.inFlight;
    this.inFlight = null;
  }
}
