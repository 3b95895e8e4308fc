/**
 * One client session over all replicas of a cluster, at the level of bytes. It keeps a connection to
 * each, sends a request to the primary that it believes in and, while no answer comes, again to all
 * of them; in contrast to the official client it does not wait long for that.
 *
 * What comes over a link that flips bits need not be a message: a connection with a bad frame is
 * ended and counted. A frame that is whole must be one that the official client would accept.
 */
import { createConnection, type Socket } from "node:net";
import {
  at,
  command,
  equalBytes,
  faultOf,
  field,
  headerSize,
  makePing,
  makeRequest,
  messageSizeMax,
} from "../interop/messages.ts";
import { checkReply, EvictedError, isEviction, randomClientId } from "../interop/raw-client.ts";
import { readInteger } from "../reference/codec.ts";
import { encodeRequest } from "../reference/operations.ts";

const reconnectMs = 50;

/** Keeps one connection to a replica, and cuts what comes into messages. */
class ReplicaConnection {
  private socket: Socket | null = null;
  private received = Buffer.alloc(0);
  private closed = false;
  badFrames = 0;

  constructor(
    private readonly port: number,
    private readonly greeting: () => Uint8Array,
    private readonly onMessage: (message: Uint8Array) => void,
  ) {
    this.connect();
  }

  private connect(): void {
    const socket = createConnection({ port: this.port, host: "127.0.0.1", noDelay: true });
    this.received = Buffer.alloc(0);
    socket.on("error", () => {}); // "close" follows.
    socket.on("connect", () => {
      this.socket = socket;
      // It tells the replica where this client's replies go.
      socket.write(this.greeting());
    });
    socket.on("data", (bytes) => this.take(socket, bytes));
    socket.on("close", () => {
      this.socket = null;
      if (!this.closed) setTimeout(() => !this.closed && this.connect(), reconnectMs);
    });
  }

  private take(socket: Socket, bytes: Buffer): void {
    this.received = Buffer.concat([this.received, bytes]);
    while (this.received.length >= headerSize) {
      const size = Number(readInteger(this.received, at.size, 4));
      const possible = size >= headerSize && size <= messageSizeMax;
      if (possible && this.received.length < size) return;
      const message = possible ? new Uint8Array(this.received.subarray(0, size)) : null;
      if (message === null || faultOf(message) !== null) {
        this.badFrames += 1;
        socket.destroy();
        return;
      }
      this.received = this.received.subarray(size);
      this.onMessage(message);
    }
  }

  send(message: Uint8Array): void {
    this.socket?.write(message);
  }

  close(): void {
    this.closed = true;
    this.socket?.destroy();
  }
}

export interface Answer {
  readonly reply: Uint8Array;
  /** The request went out more than once. */
  readonly resent: boolean;
  /** Who sent the reply. */
  readonly replica: number;
}

export class ClusterSession {
  readonly client = randomClientId();
  session = 0n;
  /** Highest view that a replica has shown. */
  view = 0;
  private request = 0;
  private parent: Uint8Array = new Uint8Array(16);
  private readonly connections: ReplicaConnection[];
  private wanted: Uint8Array | null = null;
  private answer: { readonly reply: Uint8Array; readonly replica: number } | null = null;
  private wake: (() => void) | null = null;
  private fault: Error | null = null;

  /**
   * @param ports - Of every replica, by index.
   * @param retryMs - No answer for so long, and the request goes to all.
   */
  constructor(
    ports: readonly number[],
    private readonly retryMs = 250,
  ) {
    this.connections = ports.map(
      (port, replica) =>
        new ReplicaConnection(
          port,
          () => makePing(this.client, this.session),
          (message) => this.take(message, replica),
        ),
    );
  }

  static async register(ports: readonly number[], retryMs?: number): Promise<ClusterSession> {
    const session = new ClusterSession(ports, retryMs);
    await session.roundTrip(
      makeRequest({
        client: session.client,
        session: 0n,
        request: 0,
        operation: 2,
        body: new Uint8Array(256),
      }),
    );
    return session;
  }

  /** Frames that were no messages. */
  get badFrames(): number {
    return this.connections.reduce((sum, { badFrames }) => sum + badFrames, 0);
  }

  private take(message: Uint8Array, replica: number): void {
    this.view = Math.max(this.view, Number(field(message, at.view, 4)));
    if (message[at.command] === command.pongClient || this.wanted === null) return;
    if (isEviction(message)) {
      this.fault = new EvictedError(message[at.eviction.reason]!);
    } else if (equalBytes(message.subarray(128, 144), this.wanted.subarray(0, 16))) {
      this.answer = { reply: message, replica };
    } else {
      return; // A reply to a request before this one.
    }
    this.wake?.();
  }

  /** The next request of the session. The same state gives the same bytes again. */
  build(operation: number, body: Uint8Array): Uint8Array {
    return makeRequest({
      client: this.client,
      session: this.session,
      request: this.request + 1,
      parent: this.parent,
      operation,
      body,
    });
  }

  buildBatches(operation: number, batches: readonly Uint8Array[]): Uint8Array {
    return this.build(operation, encodeRequest(operation, batches));
  }

  /** Sends until the answer comes; rejects when it does not in `limitMs`. */
  async roundTrip(message: Uint8Array, limitMs = 120_000): Promise<Answer> {
    const deadline = performance.now() + limitMs;
    this.sendTo(this.view % this.connections.length, message);
    let sent = 1;
    for (;;) {
      const answer = await this.await(message, this.retryMs);
      if (answer !== null) {
        this.adopt(message, answer.reply);
        return { ...answer, resent: sent > 1 };
      }
      if (performance.now() > deadline) {
        throw new Error(`request ${field(message, at.request.request, 4)} is never answered`);
      }
      for (let to = 0; to < this.connections.length; to += 1) this.sendTo(to, message);
      sent += 1;
    }
  }

  /**
   * Asks one replica for the reply to the session's last request, which changed something: only one
   * that has executed it has the reply. True when it comes in time.
   */
  async hasExecuted(message: Uint8Array, replica: number, limitMs: number): Promise<boolean> {
    this.sendTo(replica, message);
    const deadline = performance.now() + limitMs;
    for (;;) {
      const answer = await this.await(message, deadline - performance.now());
      // Others answer as well: the replica may pass the request on.
      if (answer === null || answer.replica === replica) return answer !== null;
    }
  }

  private sendTo(replica: number, message: Uint8Array): void {
    this.connections[replica]!.send(message);
  }

  private async await(
    message: Uint8Array,
    limitMs: number,
  ): Promise<{ readonly reply: Uint8Array; readonly replica: number } | null> {
    this.answer = null;
    this.wanted = message;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, Math.max(0, limitMs));
      this.wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    this.wake = null;
    this.wanted = null;
    if (this.fault !== null) throw this.fault;
    return this.answer;
  }

  private adopt(message: Uint8Array, reply: Uint8Array): void {
    checkReply(message, reply);
    this.parent = reply.slice(at.reply.context, at.reply.context + 16);
    this.request = Number(field(reply, at.reply.request, 4));
    if (reply[at.reply.operation] === 2) this.session = field(reply, at.reply.commit, 8);
  }

  /** For the judge. */
  async roundTripRetrying(message: Uint8Array): Promise<Uint8Array> {
    return (await this.roundTrip(message)).reply;
  }

  close(): void {
    for (const connection of this.connections) connection.close();
  }
}
