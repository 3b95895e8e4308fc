/**
 * One client of the benchmark: a TCP connection with one session and at most one request in
 * flight. It speaks the official clients' protocol and is made to cost little CPU: requests are
 * sent from the buffers that they were built in, replies are received into one buffer and checked
 * there.
 *
 * Everything that is wrong with a reply (checksums, identity, length) ends the benchmark: its
 * figures would mean nothing. A request that was dropped is sent again, as every client does.
 */
import { randomBytes } from "node:crypto";
import { connect, type Socket } from "node:net";
import { headerSize, messageSizeMax } from "../../core/limits.ts";
import { u64ReadNumber, u128Copy, u128Equal } from "../../core/u128.ts";
import { checksumMatches } from "../../native/checksum.ts";
import { Command, EvictionReason, evictionHeader, frame, replyHeader } from "../../wire/header.ts";
import { multiBatchCheck, multiBatchElementsTotal } from "../../wire/multi-batch.ts";
import { Operation, operationResultSize } from "../../wire/operations.ts";
import { ownRelease } from "../../wire/release.ts";
import { formatAddress, type SocketAddress } from "../values.ts";
import { RequestBuffer } from "./request-buffer.ts";

/** First wait before a request is sent again; doubled each time. Milliseconds. */
const retryAfterMs = 600;

/** A request without a reply for so long ends the benchmark. Milliseconds. */
const giveUpAfterMs = 60_000;

const receiveBufferSize = 256 * 1024;

export interface SessionEvents {
  /** The session is registered: `batchSizeLimit` is known and requests may be sent. */
  onRegistered(session: Session): void;
  /** The reply to the request in flight lies in `replyWords`, valid until this returns. */
  onReply(session: Session): void;
  onFailure(sentence: string): void;
}

export class Session {
  /** Most bytes of a request's body, as the server says. */
  batchSizeLimit = 0;
  /** Requests sent again because no reply came. */
  retries = 0;
  /** From sending the last request to its whole reply. Milliseconds. */
  latencyMs = 0;

  private readonly replyBytes: Uint8Array;
  readonly replyWords: Uint32Array;
  replySize = 0;
  private filled = 0;

  private readonly client = new Uint32Array(4);
  private readonly context = new Uint32Array(4);
  private session = 0;
  private request = 0;
  private view = 0;

  private socket: Socket | undefined;
  private inFlight: RequestBuffer | undefined;
  private sentAtMs = 0;
  private retryAtMs = 0;
  private retryWaitMs = 0;
  private ended = false;

  constructor(
    private readonly address: SocketAddress,
    private readonly cluster: Uint32Array,
    private readonly events: SessionEvents,
  ) {
    const memory = new ArrayBuffer(messageSizeMax);
    this.replyBytes = new Uint8Array(memory);
    this.replyWords = new Uint32Array(memory);
    new Uint8Array(this.client.buffer).set(randomBytes(16));
    this.client[0] = this.client[0]! | 1; // Never zero.
  }

  /** Connects and registers. */
  start(): void {
    this.socket = connect({
      host: this.address.host,
      port: this.address.port,
      noDelay: true,
      onread: {
        buffer: new Uint8Array(receiveBufferSize),
        callback: (length, chunk) => {
          this.receive(chunk, length);
          return true;
        },
      },
    });
    this.socket.on("connect", () => {
      const register = new RequestBuffer(Operation.register, 0);
      register.sealRegister();
      this.send(register, () => {});
    });
    this.socket.on("error", (error: NodeJS.ErrnoException) => {
      this.fail(
        error.code === "ECONNREFUSED"
          ? `nothing listens on ${formatAddress(this.address)}; start a server there first, or leave out --addresses.`
          : `the connection to ${formatAddress(this.address)} failed: ${error.message}.`,
      );
    });
    this.socket.on("close", () => {
      this.fail(`the server at ${formatAddress(this.address)} closed the connection.`);
    });
  }

  /**
   * Sends a request whose body is sealed. The buffer must stay untouched until its reply.
   *
   * @param onWritten - Called when the kernel has taken the whole message.
   */
  send(buffer: RequestBuffer, onWritten: () => void): void {
    buffer.sealHeader(
      this.cluster,
      this.client,
      this.context,
      this.session,
      this.request,
      this.view,
    );
    this.inFlight = buffer;
    this.sentAtMs = performance.now();
    this.retryWaitMs = retryAfterMs;
    this.retryAtMs = this.sentAtMs + retryAfterMs;
    this.socket!.write(buffer.message(), onWritten);
  }

  /** Called several times a second: sends again what was not answered. */
  tick(nowMs: number): void {
    if (this.ended || this.inFlight === undefined || nowMs < this.retryAtMs) return;
    if (nowMs - this.sentAtMs > giveUpAfterMs) {
      this.fail(`no reply came from ${formatAddress(this.address)} for a minute.`);
      return;
    }
    if (this.socket!.writableLength > 0) return; // Still on its way for the first time.
    this.retries += 1;
    this.retryWaitMs *= 2;
    this.retryAtMs = nowMs + this.retryWaitMs;
    this.socket!.write(this.inFlight.message());
  }

  close(): void {
    this.ended = true;
    this.socket?.destroy();
  }

  private fail(sentence: string): void {
    if (this.ended) return;
    this.close();
    this.events.onFailure(sentence);
  }

  private receive(chunk: Uint8Array, length: number): void {
    let at = 0;
    while (at < length && !this.ended) {
      const target = this.filled < headerSize ? headerSize : this.replySize;
      const count = Math.min(length - at, target - this.filled);
      this.replyBytes.set(chunk.subarray(at, at + count), this.filled);
      at += count;
      this.filled += count;
      if (this.filled < target) return;
      if (target === headerSize && !this.headerArrived()) return;
      if (this.filled === this.replySize) {
        this.filled = 0;
        this.messageArrived();
      }
    }
  }

  private headerArrived(): boolean {
    const bytes = this.replyBytes;
    if (!checksumMatches(bytes, 0, bytes, 16, headerSize - 16)) {
      this.fail("the server sent a header with a wrong checksum.");
      return false;
    }
    this.replySize = this.replyWords[frame.word.size]!;
    if (this.replySize < headerSize || this.replySize > messageSizeMax) {
      this.fail(`the server sent a message of ${this.replySize} bytes, which no message can have.`);
      return false;
    }
    return true;
  }

  private messageArrived(): void {
    const bytes = this.replyBytes;
    const bodySize = this.replySize - headerSize;
    if (!checksumMatches(bytes, frame.at.checksumBody, bytes, headerSize, bodySize)) {
      this.fail("the server sent a body with a wrong checksum.");
      return;
    }
    const command = bytes[frame.at.command];
    if (command === Command.reply) this.replyArrived();
    else if (command === Command.eviction) {
      this.fail(
        `the server evicted the session: ${evictionName(bytes[evictionHeader.at.reason]!)}.`,
      );
    }
  }

  private replyArrived(): void {
    const words = this.replyWords;
    const buffer = this.inFlight;
    // The answer to a request that was sent twice may come twice.
    if (buffer === undefined || words[replyHeader.word.request]! < this.request) return;
    const matches =
      words[replyHeader.word.request] === this.request &&
      words[frame.word.release] === ownRelease &&
      this.replyBytes[replyHeader.at.operation] === buffer.operation &&
      u128Equal(words, frame.word.cluster, this.cluster, 0) &&
      u128Equal(words, replyHeader.word.client, this.client, 0) &&
      u128Equal(words, replyHeader.word.requestChecksum, buffer.words, frame.word.checksum);
    if (!matches) {
      this.fail("the server sent a reply that does not belong to the request in flight.");
      return;
    }
    this.latencyMs = performance.now() - this.sentAtMs;
    this.inFlight = undefined;
    this.request += 1;
    this.view = Math.max(this.view, words[frame.word.view]!);
    u128Copy(this.context, 0, words, replyHeader.word.context);
    if (buffer.operation === Operation.register) {
      this.session = u64ReadNumber(words, replyHeader.word.commit);
      this.batchSizeLimit = words[headerSize / 4]!;
      this.events.onRegistered(this);
    } else {
      this.events.onReply(this);
    }
  }

  /** Elements of the reply's body, or −1 if it is not one well-formed sub-batch. */
  replyElements(): number {
    const bytes = this.replyBytes;
    const length = this.replySize - headerSize;
    const size = operationResultSize[bytes[replyHeader.at.operation]!]!;
    return multiBatchCheck(bytes, headerSize, length, size) === 1
      ? multiBatchElementsTotal(bytes, headerSize, length, size)
      : -1;
  }
}

function evictionName(reason: number): string {
  const found = Object.entries(EvictionReason).find(([, value]) => value === reason);
  return found === undefined ? `reason ${reason}` : found[0];
}
