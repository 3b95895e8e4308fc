/**
 * One connection of a benchmark's client to one replica: finds the messages in what arrives and
 * checks their checksums, sends one thing at a time. It decides nothing: who owns it says what a
 * message means and what follows when the connection ends.
 *
 *   idle ── connect ──▶ connecting ──▶ ready ── drop ──▶ closing ──▶ idle
 *             └─ failed ──▶ idle
 *
 * Invariant: one receive is in flight at all times while it is ready, but while a message that has
 * arrived is being looked at, or is held.
 */
import { assert } from "../../core/assert.ts";
import { headerSize } from "../../core/limits.ts";
import { Completion, type Io, type IoBuffer, type SocketHandle } from "../../io/io.ts";
import { formatAddress } from "../../io/socket-address.ts";
import { checksumMatches } from "../../native/checksum.ts";
import { frame } from "../../wire/header.ts";
import type { SocketAddress } from "../values.ts";

export interface LinkOwner {
  linkReady(link: Link): void;
  /**
   * A message with good checksums stands at the start of the link's buffer. False: it is to be held
   * there until `release`.
   */
  messageArrived(link: Link): boolean;
  /**
   * What was given to `send` is not needed any more.
   * @param whole - The kernel has taken all of it.
   */
  sendEnded(link: Link, tag: number, whole: boolean): void;
  /** The other end sends what is no message. */
  linkBroken(link: Link, sentence: string): void;
  /** It could not be made or has ended: a negative errno, or 0 for an end of the stream. */
  linkLost(link: Link, error: number): void;
}

const State = { idle: 0, connecting: 1, ready: 2, closing: 3 } as const;

export class Link {
  /** For the owner: when it may be connected again, by `performance.now`. */
  reconnectAtMs = 0;
  private state: number = State.idle;
  private socket: SocketHandle = -1;
  /** What has arrived: a message at the start, and what follows it. */
  private readonly buffer: IoBuffer;
  /** Bytes of the message at the start, once its header has been found good. */
  messageSize = 0;
  private headerGood = false;
  private filled = 0;
  private held = false;
  private sendTag = 0;
  private readonly connectCompletion: Completion;
  private readonly sendCompletion: Completion;
  private readonly receiveCompletion: Completion;
  private readonly closeCompletion: Completion;
  private ended = false;

  /** @param messageSizeMax - Bytes of the largest message that may arrive. */
  constructor(
    readonly index: number,
    private readonly io: Io,
    private readonly address: SocketAddress,
    messageSizeMax: number,
    private readonly owner: LinkOwner,
  ) {
    this.buffer = io.allocate(messageSizeMax);
    this.connectCompletion = new Completion((completion) => this.onConnected(completion.result));
    this.sendCompletion = new Completion((completion) => this.onSent(completion.result));
    this.receiveCompletion = new Completion((completion) => this.onReceived(completion.result));
    this.closeCompletion = new Completion(() => this.onClosed());
  }

  get words(): Uint32Array {
    return this.buffer.words;
  }

  get bytes(): Uint8Array {
    return this.buffer.bytes;
  }

  /** It may be connected. */
  get idle(): boolean {
    return this.state === State.idle && !this.held;
  }

  get ready(): boolean {
    return this.state === State.ready;
  }

  get sending(): boolean {
    return this.sendCompletion.busy;
  }

  get addressText(): string {
    return formatAddress(this.address.host, this.address.port);
  }

  connect(): void {
    assert(this.idle, "connected once at a time");
    this.state = State.connecting;
    this.io.connect(this.connectCompletion, this.address.host, this.address.port);
  }

  /** The memory must stay as it is until `sendEnded` tells its tag. */
  send(buffer: IoBuffer, size: number, tag: number): void {
    assert(this.state === State.ready && !this.sending, "one thing is sent at a time");
    this.sendTag = tag;
    this.io.send(this.sendCompletion, this.socket, buffer, 0, size);
  }

  /** The message that was held is done with. */
  release(): void {
    assert(this.held, "a message is held");
    this.held = false;
    if (this.state !== State.ready || this.ended) return;
    this.removeMessage();
    this.consume();
  }

  /** Ends the connection; what is being sent ends with it. */
  drop(): void {
    if (this.state !== State.ready) return;
    this.state = State.closing;
    this.io.closeSocket(this.closeCompletion, this.socket);
  }

  /** Nothing more is told. The connection ends with its I/O backend. */
  end(): void {
    this.ended = true;
  }

  private onConnected(result: number): void {
    if (this.ended) return;
    if (result < 0) {
      this.state = State.idle;
      this.owner.linkLost(this, result);
      return;
    }
    this.state = State.ready;
    this.socket = result;
    this.filled = 0;
    this.headerGood = false;
    this.receive();
    this.owner.linkReady(this);
  }

  private onClosed(): void {
    this.state = State.idle;
  }

  private onSent(result: number): void {
    if (this.ended) return;
    this.owner.sendEnded(this, this.sendTag, result >= 0);
    if (result >= 0 || this.ended || this.state !== State.ready) return;
    // The stream may hold an eviction that says why: the receive ends with what there is.
    if (!this.receiveCompletion.busy) this.owner.linkLost(this, result);
  }

  private receive(): void {
    // The size of a message is known once its header is there: then its rest comes at one go.
    const whole = this.headerGood;
    const end = whole ? this.messageSize : this.buffer.sizeBytes;
    const length = end - this.filled;
    this.io.receive(this.receiveCompletion, this.socket, this.buffer, this.filled, length, whole);
  }

  private onReceived(result: number): void {
    if (this.ended || this.state !== State.ready) return;
    if (result < 0) {
      this.owner.linkLost(this, result);
      return;
    }
    this.filled += result;
    if (result === 0 || (this.headerGood && this.filled < this.messageSize)) {
      this.owner.linkLost(this, 0);
      return;
    }
    this.consume();
  }

  /** Looks at the messages that are complete, then receives on. */
  private consume(): void {
    while (this.filled >= headerSize) {
      if (!this.headerGood && !this.checkHeader()) return;
      if (this.filled < this.messageSize) break;
      if (!this.checkBody()) return;
      this.held = !this.owner.messageArrived(this);
      if (this.held || this.ended || this.state !== State.ready) return;
      this.removeMessage();
    }
    this.receive();
  }

  /** Moves what came behind the message at the start there. */
  private removeMessage(): void {
    if (this.filled > this.messageSize) this.bytes.copyWithin(0, this.messageSize, this.filled);
    this.filled -= this.messageSize;
    this.headerGood = false;
  }

  private checkHeader(): boolean {
    if (!checksumMatches(this.bytes, 0, this.bytes, 16, headerSize - 16)) {
      this.owner.linkBroken(this, "the server sent a header with a wrong checksum.");
      return false;
    }
    this.messageSize = this.words[frame.word.size]!;
    if (this.messageSize < headerSize || this.messageSize > this.buffer.sizeBytes) {
      this.owner.linkBroken(
        this,
        `the server sent a message of ${this.messageSize} bytes, which no answer here can have.`,
      );
      return false;
    }
    this.headerGood = true;
    return true;
  }

  private checkBody(): boolean {
    const { bytes } = this;
    const size = this.messageSize - headerSize;
    if (checksumMatches(bytes, frame.at.checksumBody, bytes, headerSize, size)) return true;
    this.owner.linkBroken(this, "the server sent a body with a wrong checksum.");
    return false;
  }
}
