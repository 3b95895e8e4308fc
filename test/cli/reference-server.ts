/**
 * A server over the reference ledger, for testing what talks to servers: it speaks the client
 * protocol as far as well-behaved clients need it, slowly, and can be told to misbehave.
 */
import { createServer, type Server, type Socket } from "node:net";
import { headerSize } from "../../src/core/limits.ts";
import { checksum, checksumMatches } from "../../src/native/checksum.ts";
import { writePongClient } from "../../src/wire/build.ts";
import {
  Command,
  evictionHeader,
  frame,
  replyHeader,
  requestHeader,
} from "../../src/wire/header.ts";
import { Operation } from "../../src/wire/operations.ts";
import { ownRelease } from "../../src/wire/release.ts";
import { readInteger, writeInteger } from "../reference/codec.ts";
import { ReferenceLedger } from "../reference/ledger.ts";
import { executeRequest } from "../reference/operations.ts";

export interface Misbehaviour {
  /** Ignores the first copy of every so-many-th request. */
  dropEvery?: number;
  /** Changes the reply to this request number before it is sent; the checksums are made after. */
  alterReply?: (message: Buffer, operation: number) => void;
  /** Changes the message after its checksums were made. */
  corrupt?: (message: Buffer) => void;
  /** Answers every request but `register` with an eviction for this reason. */
  evict?: number;
  /** Closes the connection instead of answering the first transfer. */
  closeOnTransfers?: boolean;
  /** Most bytes of a request's body, as `register` says. */
  batchSizeLimit?: number;
  /** Sends replies in pieces of so many bytes. */
  pieceSize?: number;
}

export interface ReferenceServer {
  readonly port: number;
  readonly ledger: ReferenceLedger;
  /** Reads nothing any more, and leaves its connections open: a process that was stopped. */
  pause(): void;
  close(): Promise<void>;
}

/** What the servers of one cluster have in common; as if every answer were with all of them at once. */
export class ReferenceCluster {
  readonly ledger = new ReferenceLedger();
  /** Replica `view mod count` answers requests; the others drop them. */
  view = 0;
  op = 1;
  timestamp = BigInt(Date.now()) * 1_000_000n;
  /** The last reply of each client. */
  readonly sessions = new Map<string, Buffer>();
  requests = 0;
  /** Called before a request is answered, with how many there were. */
  onRequest: (requests: number) => void = () => {};

  constructor(readonly count = 1) {}
}

/** @param port - 0 picks one. */
export async function startReferenceServer(
  misbehaviour: Misbehaviour = {},
  cluster = new ReferenceCluster(),
  replica = 0,
  port = 0,
): Promise<ReferenceServer> {
  const { ledger, sessions } = cluster;
  const sockets = new Set<Socket>();
  let paused = false;
  const dropped = new Set<string>();

  function answer(request: Buffer): Buffer | undefined {
    const operation = request[requestHeader.at.operation]!;
    const client = request.subarray(requestHeader.at.client, requestHeader.at.client + 16);
    const requestId = request.toString("hex", 0, 16);
    cluster.requests += 1;
    cluster.onRequest(cluster.requests);
    if (cluster.view % cluster.count !== replica) return undefined;
    const { dropEvery } = misbehaviour;
    if (dropEvery !== undefined && cluster.requests % dropEvery === 0) {
      if (!dropped.has(requestId)) {
        dropped.add(requestId);
        return undefined;
      }
    }
    const isRegister = operation === Operation.register;
    if (misbehaviour.evict !== undefined && !isRegister) {
      return eviction(client, misbehaviour.evict);
    }
    const stored = sessions.get(client.toString("hex"));
    if (stored?.toString("hex", 128, 144) === requestId) return stored;
    cluster.op += 1;
    // A request of n events takes n nanoseconds; 10,000 are more than any request has.
    cluster.timestamp += 10_000n;
    const { op, timestamp } = cluster;
    let body: Uint8Array;
    if (isRegister) {
      body = new Uint8Array(64);
      writeInteger(body, 0, 4, BigInt(misbehaviour.batchSizeLimit ?? 1_048_320));
    } else {
      body = executeRequest(ledger, operation, request.subarray(headerSize), timestamp);
    }
    const message = Buffer.alloc(headerSize + body.length);
    message.set(body, headerSize);
    request.copy(message, frame.at.release, frame.at.release, frame.at.release + 4);
    writeInteger(message, frame.at.view, 4, BigInt(cluster.view));
    message[frame.at.command] = Command.reply;
    request.copy(message, replyHeader.at.requestChecksum, 0, 16);
    client.copy(message, replyHeader.at.client);
    message.fill(0x5a, replyHeader.at.context, replyHeader.at.context + 16);
    writeInteger(message, replyHeader.at.op, 8, BigInt(op));
    writeInteger(message, replyHeader.at.commit, 8, BigInt(op));
    writeInteger(message, replyHeader.at.timestamp, 8, timestamp);
    request.copy(
      message,
      replyHeader.at.request,
      requestHeader.at.request,
      requestHeader.at.request + 4,
    );
    message[replyHeader.at.operation] = operation;
    misbehaviour.alterReply?.(message, operation);
    seal(message);
    misbehaviour.corrupt?.(message);
    sessions.set(client.toString("hex"), message);
    return message;
  }

  function pong(ping: Buffer): Buffer {
    const message = Buffer.alloc(headerSize);
    const words = new Uint32Array(message.buffer, message.byteOffset, headerSize / 4);
    const request = new Uint32Array(Uint8Array.from(ping).buffer);
    const id = new Uint32Array(4);
    writePongClient(message, words, 0, request, 0, id, cluster.view, ownRelease, replica);
    return message;
  }

  function serve(socket: Socket): void {
    sockets.add(socket);
    if (paused) socket.pause();
    socket.on("close", () => sockets.delete(socket));
    socket.on("error", () => {});
    let buffer = Buffer.alloc(0);
    socket.on("data", (chunk) => {
      buffer = Buffer.concat([buffer, chunk]);
      while (buffer.length >= headerSize) {
        const size = Number(readInteger(buffer, frame.at.size, 4));
        if (buffer.length < size) return;
        const message = Buffer.from(buffer.subarray(0, size));
        buffer = buffer.subarray(size);
        if (
          !checksumMatches(message, 0, message, 16, headerSize - 16) ||
          !checksumMatches(message, frame.at.checksumBody, message, headerSize, size - headerSize)
        ) {
          socket.destroy();
          return;
        }
        if (message[frame.at.command] === Command.pingClient) socket.write(pong(message));
        if (message[frame.at.command] !== Command.request) continue;
        const operation = message[requestHeader.at.operation];
        if (misbehaviour.closeOnTransfers && operation === Operation.createTransfers) {
          socket.destroy();
          return;
        }
        const reply = answer(message);
        if (reply !== undefined) sendInPieces(socket, reply, misbehaviour.pieceSize);
      }
    });
  }

  const server: Server = createServer({ noDelay: true }, serve);
  await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  return {
    port: address.port,
    ledger,
    pause() {
      paused = true;
      for (const socket of sockets) socket.pause();
    },
    close: () =>
      new Promise((resolve) => {
        for (const socket of sockets) socket.destroy();
        server.close(() => resolve());
      }),
  };
}

function seal(message: Buffer): void {
  writeInteger(message, frame.at.size, 4, BigInt(message.length));
  checksum(message, frame.at.checksumBody, message, headerSize, message.length - headerSize);
  checksum(message, 0, message, 16, headerSize - 16);
}

function eviction(client: Buffer, reason: number): Buffer {
  const message = Buffer.alloc(headerSize);
  message[frame.at.command] = Command.eviction;
  writeInteger(message, frame.at.release, 4, 0x1109n);
  client.copy(message, evictionHeader.at.client);
  message[evictionHeader.at.reason] = reason;
  seal(message);
  return message;
}

function sendInPieces(socket: Socket, message: Buffer, pieceSize = message.length): void {
  for (let at = 0; at < message.length; at += pieceSize) {
    socket.write(message.subarray(at, at + pieceSize));
  }
}
