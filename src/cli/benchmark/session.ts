/**
 * One client of the benchmark: a session with at most one request in flight, and a TCP connection to
 * each replica of the cluster (link.ts). It speaks the official clients' protocol over the I/O seam and
 * is made to cost little CPU: requests are sent from the buffers that they were built in, replies are
 * received into one buffer and checked there, and nothing is allocated per request.
 *
 * Everything that is wrong with a reply (checksums, identity, length) ends the benchmark: its
 * figures would mean nothing. A request that was dropped is sent again, as every client does.
 *
 * Which replica is the primary is learnt from what replicas say of their view; until then it is taken
 * to be the one that answered last. While an answer is late they are asked, several times a second, so that a load
 * goes on as soon as the cluster does. With one address a connection that ends is the end; with
 * several it is made anew.
 *
 * Invariant: a reply is handed on only when no copy of its request is being sent any more, so that
 * the owner may then write into the request's buffer.
 */
import { randomBytes } from "node:crypto";
import { getSystemErrorMap } from "node:util";
import { assert } from "../../core/assert.ts";
import { headerSize } from "../../core/limits.ts";
import { u64ReadNumber, u128Copy, u128Equal } from "../../core/u128.ts";
import { Errno, type Io, type IoBuffer } from "../../io/io.ts";
import { writePingClient } from "../../wire/build.ts";
import { Command, EvictionReason, evictionHeader, frame, replyHeader } from "../../wire/header.ts";
import { multiBatchCheck, multiBatchElementsTotal } from "../../wire/multi-batch.ts";
import { Operation, operationResultSize } from "../../wire/operations.ts";
import { ownRelease } from "../../wire/release.ts";
import type { SocketAddress } from "../values.ts";
import { Link, type LinkOwner } from "./link.ts";
import { RequestBuffer } from "./request-buffer.ts";

/** First wait before a request is sent again; doubled each time up to the longest. Milliseconds. */
const retryAfterMs = 600;
const retryAfterMsMax = 10_000;

/** A request without a reply for so long ends the benchmark. Milliseconds. */
const giveUpAfterMs = 60_000;

/** With several replicas, milliseconds: */
/** An answer is late; the replicas are asked for their view at each tick. */
const askAfterMs = 100;
/** A copy that a replica does not take, while another has answered, ends with its connection. */
const stuckAfterMs = 50;
/** A connection that has ended is made anew. */
const reconnectAfterMs = 200;
/** So long after the start a session registers with the replicas that are there. */
const registerAfterMs = 500;

/** What is sent. */
const Tag = { request: 0, ping: 1 } as const;

export interface SessionEvents {
  /** The session is registered: `batchSizeLimit` is known and requests may be sent. */
  onRegistered(session: Session): void;
  /** The kernel has taken the whole request in flight. */
  onSent(session: Session): void;
  /** The reply to the request in flight lies in `replyWords`, valid until this returns. */
  onReply(session: Session): void;
  onFailure(sentence: string): void;
}

export class Session implements LinkOwner {
  /** Most bytes of a request's body, as the server says. */
  batchSizeLimit = 0;
  /** Requests sent again because no reply came. */
  retries = 0;
  /** When the last request was sent, by `performance.now`. */
  sentAtMs = 0;
  /** From sending the last request to its whole reply. Milliseconds. */
  latencyMs = 0;

  private readonly links: Link[] = [];
  /** Holds the last reply. */
  private answered: Link;
  /** A good reply waits until the copies of its request that are being sent are sent. */
  private replyWaits = false;
  /** Copies of the request in flight that are being sent. */
  private copies = 0;

  private readonly client = new Uint32Array(4);
  private readonly context = new Uint32Array(4);
  private session = 0;
  private request = 0;
  private view = 0;
  /** Index of the primary, as far as is known. */
  private primary = 0;

  private inFlight: RequestBuffer | undefined;
  /** Requests are sent from the first to `register` on. */
  private begun = false;
  private startedAtMs = 0;
  /** Bit per replica that has answered a ping, or was lost. */
  private heardBits = 0;
  /** How often the request in flight was sent since the primary is known. */
  private attempts = 0;
  /** The copy being sent is not the first. */
  private resending = false;
  private retryAtMs = 0;
  private retryWaitMs = 0;
  private ended = false;
  /** Asks a replica for its view. */
  private readonly ping: IoBuffer | null = null;

  /**
   * @param index - For the owner: which of its sessions this is.
   * @param addresses - Of the cluster's replicas, by index.
   * @param replySizeMax - Header and body of the largest reply that it can get.
   */
  constructor(
    readonly index: number,
    private readonly io: Io,
    addresses: readonly SocketAddress[],
    private readonly cluster: Uint32Array,
    replySizeMax: number,
    private readonly events: SessionEvents,
  ) {
    new Uint8Array(this.client.buffer).set(randomBytes(16));
    this.client[0] = this.client[0]! | 1; // Never zero.
    for (const [replica, address] of addresses.entries()) {
      this.links.push(new Link(replica, io, address, replySizeMax, this));
    }
    this.answered = this.links[0]!;
    if (!this.several) return;
    this.ping = io.allocate(headerSize);
    const { bytes, words } = this.ping;
    // A ping without a session's number asks for nothing but the view.
    writePingClient(bytes, words, 0, this.client, cluster, ownRelease, 0, 0, 0);
  }

  private get several(): boolean {
    return this.links.length > 1;
  }

  get replyWords(): Uint32Array {
    return this.answered.words;
  }

  /** Connects and registers. */
  start(): void {
    this.startedAtMs = performance.now();
    for (const link of this.links) link.connect();
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
    this.attempts = 0;
    this.sentAtMs = performance.now();
    this.retryWaitMs = retryAfterMs;
    this.retryAtMs = this.sentAtMs + retryAfterMs;
    // Otherwise the first tick that finds a replica sends it.
    if (!this.sendCopy(buffer)) this.retryAtMs = this.sentAtMs;
  }

  /** To the primary; the copies after that go to the others by turns, which pass them on. */
  private sendCopy(buffer: RequestBuffer): boolean {
    const { links } = this;
    const first = this.primary + this.attempts;
    for (let step = 0; step < links.length; step += 1) {
      const link = links[(first + step) % links.length]!;
      if (!link.ready || link.sending) continue;
      this.attempts += 1;
      this.copies += 1;
      link.send(buffer.memory, buffer.size, Tag.request);
      return true;
    }
    return false;
  }

  /** Called several times a second: connects, asks, and sends again what was not answered. */
  tick(nowMs: number): void {
    if (this.ended) return;
    if (this.several) this.tendLinks(nowMs);
    const buffer = this.inFlight;
    if (buffer === undefined || this.replyWaits) return;
    const waitedMs = nowMs - this.sentAtMs;
    if (waitedMs > giveUpAfterMs) {
      this.fail(`no reply came from ${this.addressesText} for a minute.`);
      return;
    }
    // First: a copy is not to wait until a question is sent.
    if (nowMs >= this.retryAtMs) this.sendAgain(buffer, nowMs);
    if (!this.several || waitedMs < askAfterMs) return;
    for (const link of this.links) this.askForView(link);
  }

  private sendAgain(buffer: RequestBuffer, nowMs: number): void {
    // While a copy is still on its way there another one helps nobody.
    if (!this.sendCopy(buffer)) return;
    this.retries += 1;
    this.resending = true;
    this.retryWaitMs = Math.min(2 * this.retryWaitMs, retryAfterMsMax);
    this.retryAtMs = nowMs + this.retryWaitMs;
  }

  private tendLinks(nowMs: number): void {
    const answeredAtMs = this.sentAtMs + this.latencyMs;
    for (const link of this.links) {
      if (link.idle && nowMs >= link.reconnectAtMs) link.connect();
      else if (this.replyWaits && link.sending && nowMs - answeredAtMs > stuckAfterMs) link.drop();
    }
    if (!this.begun && nowMs - this.startedAtMs > registerAfterMs) this.register();
  }

  private askForView(link: Link): void {
    if (link.ready && !link.sending) link.send(this.ping!, headerSize, Tag.ping);
  }

  private learnView(view: number): void {
    if (view <= this.view) return;
    this.view = view;
    this.primary = view % this.links.length;
    this.attempts = 0;
    const buffer = this.inFlight;
    if (buffer === undefined || this.replyWaits) return;
    this.retryWaitMs = retryAfterMs;
    this.retryAtMs = 0;
    if (this.links[this.primary]!.ready) this.sendAgain(buffer, performance.now());
  }

  /** Nothing more is told or sent. The connections end with their I/O backend. */
  close(): void {
    this.ended = true;
    for (const link of this.links) link.end();
  }

  private fail(sentence: string): void {
    if (this.ended) return;
    this.close();
    this.events.onFailure(sentence);
  }

  private get addressesText(): string {
    return this.links.map((link) => link.addressText).join(", ");
  }

  private failConnection(address: string, error: number): void {
    if (error === Errno.connectionRefused) {
      this.fail(
        `nothing listens on ${address}; start a server there first, or leave out --addresses.`,
      );
    } else if (error === 0 || error === Errno.connectionReset || error === Errno.pipe) {
      this.fail(`the server at ${address} closed the connection.`);
    } else {
      const [name, text] = getSystemErrorMap().get(error) ?? [`error ${error}`, "unknown"];
      this.fail(`the connection to ${address} failed: ${text} (${name}).`);
    }
  }

  linkReady(link: Link): void {
    if (this.several) {
      // The replica learns where this client is, and this client which view it is in.
      this.askForView(link);
    } else if (!this.begun) {
      this.register();
    }
  }

  /** Registers once every replica has told its view, or cannot be reached. */
  private heard(link: Link): void {
    this.heardBits |= 1 << link.index;
    if (this.begun || !this.several) return;
    if (this.links.every(({ index, idle }) => idle || (this.heardBits & (1 << index)) !== 0)) {
      this.register();
    }
  }

  private register(): void {
    if (!this.links.some((link) => link.ready)) return;
    this.begun = true;
    const register = new RequestBuffer(this.io, Operation.register, 0);
    register.sealRegister();
    this.send(register);
  }

  linkLost(link: Link, error: number): void {
    if (!this.several) {
      this.failConnection(link.addressText, error);
      return;
    }
    link.drop();
    link.reconnectAtMs = performance.now() + reconnectAfterMs;
    if (this.begun) return;
    if (this.links.every(({ idle }) => idle)) this.failConnection(this.addressesText, error);
    else this.heard(link);
  }

  linkBroken(_link: Link, sentence: string): void {
    this.fail(sentence);
  }

  sendEnded(_link: Link, tag: number, whole: boolean): void {
    if (tag === Tag.ping) return;
    this.copies -= 1;
    if (whole && !this.resending) this.events.onSent(this);
    if (!this.replyWaits || this.copies > 0) return;
    this.replyWaits = false;
    const { answered } = this;
    this.handOn();
    answered.release();
  }

  messageArrived(link: Link): boolean {
    const { bytes, words } = link;
    switch (bytes[frame.at.command]) {
      case Command.reply:
        return this.replyArrived(link);
      case Command.pongClient:
        this.learnView(words[frame.word.view]!);
        this.heard(link);
        return true;
      case Command.eviction:
        this.fail(
          `the server evicted the session: ${evictionName(bytes[evictionHeader.at.reason]!)}.`,
        );
        return true;
      default:
        return true;
    }
  }

  /** False: the reply waits in the link. */
  private replyArrived(link: Link): boolean {
    const { words } = link;
    const buffer = this.inFlight;
    // The answer to a request that was sent twice may come twice.
    if (buffer === undefined || this.replyWaits) return true;
    if (words[replyHeader.word.request]! < this.request) return true;
    const matches =
      words[replyHeader.word.request] === this.request &&
      words[frame.word.release] === ownRelease &&
      link.bytes[replyHeader.at.operation] === buffer.operation &&
      u128Equal(words, frame.word.cluster, this.cluster, 0) &&
      u128Equal(words, replyHeader.word.client, this.client, 0) &&
      u128Equal(words, replyHeader.word.requestChecksum, buffer.words, frame.word.checksum);
    if (!matches) {
      this.fail("the server sent a reply that does not belong to the request in flight.");
      return true;
    }
    this.latencyMs = performance.now() - this.sentAtMs;
    this.answered = link;
    this.replyWaits = this.copies > 0;
    if (!this.replyWaits) this.handOn();
    return !this.replyWaits;
  }

  private handOn(): void {
    const words = this.replyWords;
    const buffer = this.inFlight;
    assert(buffer !== undefined, "a reply answers a request in flight");
    this.inFlight = undefined;
    this.request += 1;
    const view = words[frame.word.view]!;
    if (view >= this.view) {
      this.view = view;
      this.primary = this.answered.index;
    }
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
    const { bytes, messageSize } = this.answered;
    const length = messageSize - headerSize;
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
