/**
 * A client of a few lines for tests at the level of bytes. `RawConnection` is a socket that sends
 * what it is given and hands out whole messages, each checked against the rules that the official
 * client would abort on. `RawSession` is one session on top of it, which builds its requests in
 * order and can send the same bytes again, on the same or on another connection.
 */
import { randomBytes } from "node:crypto";
import { createConnection, type Socket } from "node:net";
import { readInteger } from "../reference/codec.ts";
import { encodeRequest, splitReply } from "../reference/operations.ts";
import {
  at,
  bodyOf,
  command,
  equalBytes,
  faultOf,
  field,
  headerSize,
  makeRequest,
  messageSizeMax,
  type RequestFields,
} from "./messages.ts";

export const replyLimitMs = 20_000;

export class RawConnection {
  readonly closed: Promise<void>;
  isClosed = false;
  private readonly messages: Uint8Array[] = [];
  private chunks: Buffer[] = [];
  private buffered = 0;
  private wake: (() => void) | null = null;
  /** A message that broke the protocol; thrown at the next `receive`. */
  private fault: string | null = null;

  private constructor(readonly socket: Socket) {
    this.closed = new Promise((resolve) => {
      socket.on("close", () => {
        this.isClosed = true;
        this.wakeUp();
        resolve();
      });
    });
    socket.on("error", () => {}); // "close" follows.
    socket.on("data", (chunk) => this.take(chunk));
  }

  static open(port: number): Promise<RawConnection> {
    return new Promise((resolve, reject) => {
      const socket = createConnection({ port, host: "127.0.0.1", noDelay: true });
      const connection = new RawConnection(socket);
      socket.once("connect", () => resolve(connection));
      socket.once("error", reject);
    });
  }

  send(message: Uint8Array): void {
    this.socket.write(message);
  }

  /** Drops the connection without a word. */
  destroy(): void {
    this.socket.destroy();
  }

  private take(chunk: Buffer): void {
    this.chunks.push(chunk);
    this.buffered += chunk.length;
    while (this.buffered >= headerSize) {
      let bytes = this.gathered();
      const size = Number(readInteger(bytes, at.size, 4));
      if (size < headerSize || size > messageSizeMax) {
        this.fault ??= `message of ${size} bytes`;
        this.chunks = [];
        this.buffered = 0;
        break;
      }
      if (this.buffered < size) break;
      const message = new Uint8Array(bytes.subarray(0, size));
      bytes = bytes.subarray(size);
      this.chunks = bytes.length === 0 ? [] : [bytes];
      this.buffered = bytes.length;
      this.fault ??= faultOf(message);
      this.messages.push(message);
    }
    this.wakeUp();
  }

  private gathered(): Buffer {
    if (this.chunks.length > 1) this.chunks = [Buffer.concat(this.chunks)];
    return this.chunks[0]!;
  }

  private wakeUp(): void {
    this.wake?.();
    this.wake = null;
  }

  /** The next message that passes, or null when none comes in time or the connection closed. */
  async receive(
    wanted: (message: Uint8Array) => boolean = () => true,
    limitMs = replyLimitMs,
  ): Promise<Uint8Array | null> {
    const deadline = performance.now() + limitMs;
    for (;;) {
      if (this.fault !== null) throw new Error(`the server broke the protocol: ${this.fault}`);
      const index = this.messages.findIndex(wanted);
      if (index >= 0) return this.messages.splice(index, 1)[0]!;
      const left = deadline - performance.now();
      if (this.isClosed || left <= 0) return null;
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, left);
        this.wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }
}

export function isReply(message: Uint8Array): boolean {
  return message[at.command] === command.reply;
}

export function isEviction(message: Uint8Array): boolean {
  return message[at.command] === command.eviction;
}

/** Throws unless `reply` is one that the official client would take for this request. */
export function checkReply(request: Uint8Array, reply: Uint8Array): void {
  const check = (ok: boolean, what: string): void => {
    if (!ok) throw new Error(`the official client would abort on this reply: ${what}`);
  };
  const operation = request[at.request.operation]!;
  check(isReply(reply), `command ${reply[at.command]}`);
  check(equalBytes(reply.subarray(128, 144), request.subarray(0, 16)), "request_checksum");
  check(field(reply, at.release, 4) === field(request, at.release, 4), "release");
  check(field(reply, at.cluster, 16) === field(request, at.cluster, 16), "cluster");
  check(field(reply, 192, 16) === field(request, at.request.client, 16), "client");
  check(field(reply, 232, 4) === field(request, at.request.request, 4), "request");
  check(reply[at.reply.operation] === operation, "operation");
  check(field(reply, at.reply.op, 8) === field(reply, at.reply.commit, 8), "op and commit");
  check(field(reply, at.reply.op, 8) !== 0n, "op");
  check(field(reply, at.reply.timestamp, 8) !== 0n, "timestamp");
  check(field(reply, at.reply.context, 16) !== 0n, "context");
  check(field(reply, 144, 16) === 0n && field(reply, 176, 16) === 0n, "padding");
  check(field(reply, 237, 19) === 0n, "reserved");
  if (operation === 2) {
    check(reply.length === 320, "size of a register reply");
    const limit = field(reply, 256, 4);
    check(limit >= 1n && limit <= 1_048_320n, "batch_size_limit");
  } else if (operation >= 129) {
    const asked = splitReplyOfRequest(request);
    const batches = splitReply(operation, bodyOf(reply));
    check(batches !== null && batches.length === asked, "sub-batches");
  }
}

/** Sub-batches of a request; 1 for operations without a trailer. */
function splitReplyOfRequest(request: Uint8Array): number {
  const operation = request[at.request.operation]!;
  if (operation < 138) return 1;
  return Number(readInteger(request, request.length - 2, 2));
}

export function randomClientId(): bigint {
  return readInteger(randomBytes(16), 0, 16) | 1n;
}

export class EvictedError extends Error {
  constructor(readonly reason: number) {
    super(`evicted, reason ${reason}`);
  }
}

export class NoReplyError extends Error {}

export class RawSession {
  session = 0n;
  /** Number of the last request that was answered. */
  request = 0;
  parent: Uint8Array = new Uint8Array(16);
  batchSizeLimit = 0;

  constructor(
    public connection: RawConnection,
    readonly client: bigint = randomClientId(),
    readonly cluster: bigint = 0n,
  ) {}

  static async register(port: number, client?: bigint): Promise<RawSession> {
    const session = new RawSession(await RawConnection.open(port), client);
    await session.register();
    return session;
  }

  async register(): Promise<Uint8Array> {
    return this.roundTrip(this.registerRequest());
  }

  registerRequest(fields: Partial<RequestFields> = {}): Uint8Array {
    return makeRequest({
      cluster: this.cluster,
      client: this.client,
      session: 0n,
      request: 0,
      operation: 2,
      body: new Uint8Array(256),
      ...fields,
    });
  }

  /** The next request of the session. The same state gives the same bytes again. */
  build(operation: number, body: Uint8Array, fields: Partial<RequestFields> = {}): Uint8Array {
    return makeRequest({
      cluster: this.cluster,
      client: this.client,
      session: this.session,
      request: this.request + 1,
      parent: this.parent,
      operation,
      body,
      ...fields,
    });
  }

  buildBatches(operation: number, batches: readonly Uint8Array[]): Uint8Array {
    return this.build(operation, encodeRequest(operation, batches));
  }

  /** Sends and waits for the answer to exactly this request; adopts it as the session's latest. */
  async roundTrip(message: Uint8Array, limitMs = replyLimitMs): Promise<Uint8Array> {
    this.connection.send(message);
    return this.await(message, limitMs);
  }

  /** Sends again every second until the answer comes, as every client does. */
  async roundTripRetrying(message: Uint8Array, limitMs = 60_000): Promise<Uint8Array> {
    for (const deadline = performance.now() + limitMs; ; ) {
      try {
        return await this.roundTrip(message, 1000);
      } catch (error) {
        const over = performance.now() > deadline || this.connection.isClosed;
        if (over || !(error instanceof NoReplyError)) throw error;
      }
    }
  }

  async await(message: Uint8Array, limitMs = replyLimitMs): Promise<Uint8Array> {
    const answer = await this.connection.receive(
      (candidate) => this.isAnswer(message, candidate),
      limitMs,
    );
    if (answer === null) {
      throw new NoReplyError(
        `no answer to request ${field(message, at.request.request, 4)}, ` +
          `operation ${message[at.request.operation]}` +
          (this.connection.isClosed ? ": the connection was closed" : ` in ${limitMs} ms`),
      );
    }
    if (isEviction(answer)) throw new EvictedError(answer[at.eviction.reason]!);
    checkReply(message, answer);
    this.adopt(answer);
    return answer;
  }

  private isAnswer(message: Uint8Array, candidate: Uint8Array): boolean {
    if (isEviction(candidate)) return field(candidate, at.eviction.client, 16) === this.client;
    return isReply(candidate) && equalBytes(candidate.subarray(128, 144), message.subarray(0, 16));
  }

  private adopt(reply: Uint8Array): void {
    this.parent = reply.slice(at.reply.context, at.reply.context + 16);
    this.request = Number(field(reply, at.reply.request, 4));
    if (reply[at.reply.operation] === 2) {
      this.session = field(reply, at.reply.commit, 8);
      this.batchSizeLimit = Number(field(reply, headerSize, 4));
    }
  }

  /** A request and its reply's body. */
  async call(operation: number, batches: readonly Uint8Array[]): Promise<Uint8Array> {
    return bodyOf(await this.roundTrip(this.buildBatches(operation, batches)));
  }

  close(): void {
    this.connection.destroy();
  }
}
