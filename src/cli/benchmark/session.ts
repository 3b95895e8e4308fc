/**
 * One client of the benchmark: a TCP connection with one session and at most one request in
 * flight. It speaks the official clients' protocol over the I/O seam and is made to cost little
 * CPU: requests are sent from the buffers that they were built in, replies are received into one
 * buffer and checked there, and nothing is allocated per request.
 *
 * Everything that is wrong with a reply (checksums, identity, length) ends the benchmark: its
 * figures would mean nothing. A request that was dropped is sent again, as every client does.
 *
 * Invariants: one receive is in flight at all times from the connection on, but while a message
 * that has arrived is being looked at; a reply is handed on only when no copy of its request is
 * being sent any more, so that the owner may then write into the request's buffer.
 */
import { randomBytes } from "node:crypto";
import { getSystemErrorMap } from "node:util";
import { assert } from "../../core/assert.ts";
import { headerSize } from "../../core/limits.ts";
import { u64ReadNumber, u128Copy, u128Equal } from "../../core/u128.ts";
import { Completion, Errno, type Io, type IoBuffer, type SocketHandle } from "../../io/io.ts";
import { formatAddress } from "../../io/socket-address.ts";
import { checksumMatches } from "../../native/checksum.ts";
import { Command, EvictionReason, evictionHeader, frame, replyHeader } from "../../wire/header.ts";
import { multiBatchCheck, multiBatchElementsTotal } from "../../wire/multi-batch.ts";
import { Operation, operationResultSize } from "../../wire/operations.ts";
import { ownRelease } from "../../wire/release.ts";
import type { SocketAddress } from "../values.ts";
import { RequestBuffer } from "./request-buffer.ts";

/** First wait before a request is sent again; doubled each time up to the longest. Milliseconds. */
const retryAfterMs = 600;
const retryAfterMsMax = 10_000;

/** A request without a reply for so long ends the benchmark. Milliseconds. */
const giveUpAfterMs = 60_000;

export interface SessionEvents {
  /** The session is registered: `batchSizeLimit` is known and requests may be sent. */
  onRegistered(session: Session): void;
  /** The kernel has taken the whole request in flight. */
  onSent(session: Session): void;
  /** The reply to the request in flight lies in `replyWords`, valid until this returns. */
  onReply(session: Session): void;
  onFailure(sentence: string): void;
}

export class Session {
  /** Most bytes of a request's body, as the server says. */
  batchSizeLimit = 0;
  /** Requests sent again because no reply came. */
  retries = 0;
  /** When the last request was sent, by `performance.now`. */
  sentAtMs = 0;
  /** From sending the last request to its whole reply. Milliseconds. */
  latencyMs = 0;

  /** What has arrived: a message at the start, and what follows it. */
  private readonly reply: IoBuffer;
  private replySize = 0;
  private filled = 0;
  /** The header at the start of `reply` has been found good. */
  private headerGood = false;
  /** A good reply waits until the copy of its request that is being sent is sent. */
  private replyWaits = false;

  private readonly client = new Uint32Array(4);
  private readonly context = new Uint32Array(4);
  private session = 0;
  private request = 0;
  private view = 0;

  private socket: SocketHandle = -1;
  private readonly connectCompletion: Completion;
  private readonly sendCompletion: Completion;
  private readonly receiveCompletion: Completion;
  private inFlight: RequestBuffer | undefined;
  /** The copy being sent is not the first. */
  private resending = false;
  private retryAtMs = 0;
  private retryWaitMs = 0;
  private ended = false;

  /**
   * @param index - For the owner: which of its sessions this is.
   * @param replySizeMax - Header and body of the largest reply that it can get.
   */
  constructor(
    readonly index: number,
    private readonly io: Io,
    private readonly address: SocketAddress,
    private readonly cluster: Uint32Array,
    replySizeMax: number,
    private readonly events: SessionEvents,
  ) {
    this.reply = io.allocate(replySizeMax);
    new Uint8Array(this.client.buffer).set(randomBytes(16));
    this.client[0] = this.client[0]! | 1; // Never zero.
    this.connectCompletion = new Completion((completion) => this.onConnected(completion.result));
    this.sendCompletion = new Completion((completion) => this.onSent(completion.result));
    this.receiveCompletion = new Completion((completion) => this.onReceived(completion.result));
  }

  get replyWords(): Uint32Array {
    return this.reply.words;
  }

  /** Connects and registers. */
  start(): void {
    this.io.connect(this.connectCompletion, this.address.host, this.address.port);
  }

  /** Sends a request whose body is sealed. The buffer must stay untouched until its reply. */
  send(buffer: RequestBuffer): void {
    assert(this.inFlight === undefined, "one request in flight");
    buffer.sealHeader(
      this.cluster,
      this.client,
      this.context,
      this.session,
      this.request,
      this.view,
    );
    this.inFlight = buffer;
    this.resending = false;
    this.sentAtMs = performance.now();
    this.retryWaitMs = retryAfterMs;
    this.retryAtMs = this.sentAtMs + retryAfterMs;
    this.sendCopy(buffer);
  }

  private sendCopy(buffer: RequestBuffer): void {
    this.io.send(this.sendCompletion, this.socket, buffer.memory, 0, buffer.size);
  }

  /** Called several times a second: sends again what was not answered. */
  tick(nowMs: number): void {
    if (this.ended || this.inFlight === undefined || this.replyWaits) return;
    if (nowMs - this.sentAtMs > giveUpAfterMs) {
      this.fail(
        `no reply came from ${formatAddress(this.address.host, this.address.port)} for a minute.`,
      );
      return;
    }
    // While a copy is still on its way another one helps nobody.
    if (nowMs < this.retryAtMs || this.sendCompletion.busy) return;
    this.retries += 1;
    this.resending = true;
    this.retryWaitMs = Math.min(2 * this.retryWaitMs, retryAfterMsMax);
    this.retryAtMs = nowMs + this.retryWaitMs;
    this.sendCopy(this.inFlight);
  }

  /** Nothing more is told or sent. The connection ends with its I/O backend. */
  close(): void {
    this.ended = true;
  }

  private fail(sentence: string): void {
    if (this.ended) return;
    this.close();
    this.events.onFailure(sentence);
  }

  private failConnection(error: number): void {
    const address = formatAddress(this.address.host, this.address.port);
    if (error === Errno.connectionRefused) {
      this.fail(
        `nothing listens on ${address}; start a server there first, or leave out --addresses.`,
      );
    } else if (error === Errno.connectionReset || error === Errno.pipe) {
      this.failClosed();
    } else {
      const [name, text] = getSystemErrorMap().get(error) ?? [`error ${error}`, "unknown"];
      this.fail(`the connection to ${address} failed: ${text} (${name}).`);
    }
  }

  private failClosed(): void {
    this.fail(
      `the server at ${formatAddress(this.address.host, this.address.port)} closed the connection.`,
    );
  }

  private onConnected(result: number): void {
    if (this.ended) return;
    if (result < 0) {
      this.failConnection(result);
      return;
    }
    this.socket = result;
    this.receive();
    const register = new RequestBuffer(this.io, Operation.register, 0);
    register.sealRegister();
    this.send(register);
  }

  private onSent(result: number): void {
    if (this.ended) return;
    if (result < 0) {
      // The stream may hold an eviction that says why: the receive ends with what there is.
      if (!this.receiveCompletion.busy) this.failConnection(result);
      return;
    }
    if (!this.resending) this.events.onSent(this);
    if (this.replyWaits) {
      this.replyWaits = false;
      this.handOn();
      this.removeMessage();
      this.consume();
    }
  }

  private receive(): void {
    // The size of a message is known once its header is there: then its rest comes at one go.
    const whole = this.headerGood;
    const end = whole ? this.replySize : this.reply.sizeBytes;
    const length = end - this.filled;
    this.io.receive(this.receiveCompletion, this.socket, this.reply, this.filled, length, whole);
  }

  private onReceived(result: number): void {
    if (this.ended) return;
    if (result < 0) {
      this.failConnection(result);
      return;
    }
    this.filled += result;
    if (result === 0 || (this.headerGood && this.filled < this.replySize)) {
      this.failClosed();
      return;
    }
    this.consume();
  }

  /** Looks at the messages that are complete, then receives on. */
  private consume(): void {
    while (!this.ended && this.filled >= headerSize) {
      if (!this.headerGood && !this.checkHeader()) return;
      if (this.filled < this.replySize) break;
      this.messageArrived();
      if (this.replyWaits) return;
      this.removeMessage();
    }
    if (!this.ended) this.receive();
  }

  /** Moves what came behind the message at the start there. */
  private removeMessage(): void {
    if (this.filled > this.replySize) {
      this.reply.bytes.copyWithin(0, this.replySize, this.filled);
    }
    this.filled -= this.replySize;
    this.headerGood = false;
  }

  private checkHeader(): boolean {
    const { bytes } = this.reply;
    if (!checksumMatches(bytes, 0, bytes, 16, headerSize - 16)) {
      this.fail("the server sent a header with a wrong checksum.");
      return false;
    }
    this.replySize = this.replyWords[frame.word.size]!;
    if (this.replySize < headerSize || this.replySize > this.reply.sizeBytes) {
      this.fail(
        `the server sent a message of ${this.replySize} bytes, which no answer here can have.`,
      );
      return false;
    }
    this.headerGood = true;
    return true;
  }

  private messageArrived(): void {
    const { bytes } = this.reply;
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
      this.reply.bytes[replyHeader.at.operation] === buffer.operation &&
      u128Equal(words, frame.word.cluster, this.cluster, 0) &&
      u128Equal(words, replyHeader.word.client, this.client, 0) &&
      u128Equal(words, replyHeader.word.requestChecksum, buffer.words, frame.word.checksum);
    if (!matches) {
      this.fail("the server sent a reply that does not belong to the request in flight.");
      return;
    }
    this.latencyMs = performance.now() - this.sentAtMs;
    if (this.sendCompletion.busy) this.replyWaits = true;
    else this.handOn();
  }

  private handOn(): void {
    const words = this.replyWords;
    const buffer = this.inFlight;
    assert(buffer !== undefined, "a reply answers a request in flight");
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
    const { bytes } = this.reply;
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
