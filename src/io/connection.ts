/**
 * One TCP connection of the message bus: cuts the byte stream into frames, checks them, puts each
 * into a message and hands it to the bus; sends messages one after the other.
 *
 *     free ──open──▶ open ──close──▶ closing ──all completions reaped──▶ free
 *
 * Receiving. Bytes arrive in a small buffer of the connection's own. Small frames are complete
 * there and are copied into a small message. A larger frame gets a large message once its header
 * was found good; the rest is received straight into it, in chunks, so that progress can be seen.
 * When no message is free the connection stands in the pool's line and does not read.
 *
 * Invariants:
 * - At most one receive, one send and one close are in flight, each with its own completion.
 * - The socket is closed once; nothing of the connection is used again before the close has
 *   completed, which comes after the completions of receive and send.
 * - Each queued message holds one reference, given up when it was sent or the connection freed.
 * - Frames are judged in order; after a bad one no byte of the connection is looked at.
 */
import { assert } from "../core/assert.ts";
import { headerSize } from "../core/limits.ts";
import { RingQueue } from "../core/ring-queue.ts";
import { u128Copy } from "../core/u128.ts";
import { checkBody, checkFrame, FrameVerdict } from "../wire/frame-check.ts";
import { Command, frame } from "../wire/header.ts";
import { CloseCause } from "./bus-counters.ts";
import { Completion, type IoBuffer, type SocketHandle, type SocketIo } from "./io.ts";
import { type Message, type MessagePool, MessageWaiter, smallMessageSize } from "./message-pool.ts";

/** Bytes of a connection's own buffer: the largest small frame. */
export const receiveBufferSize = smallMessageSize;

/** A large body is received, and a large message sent, in steps of at most this. Bytes. */
export const transferChunkSize = 256 * 1024;

/** Messages that wait to be sent. */
export const sendQueueClientMax = 4;
/** A pipeline's prepares, its acknowledgements, and as much again of repair. */
export const sendQueueReplicaMax = 32;
/** Of those, large ones: they are few. */
export const sendQueueReplicaLargeMax = 8;

export const ConnectionState = { free: 0, open: 1, closing: 2 } as const;

export const Peer = {
  unknown: 0,
  /** It sent a request: a client, or a replica that forwards one. */
  clientLikely: 1,
  client: 2,
  replica: 3,
} as const;

/** The bus, as its connections see it. */
export interface ConnectionOwner {
  readonly io: SocketIo;
  readonly pool: MessagePool;
  readonly cluster: Uint32Array;
  /** Ticks since start. */
  readonly ticks: number;
  /** Bytes have arrived on the connection. */
  onBytes(connection: Connection, count: number): void;
  /** A message to receive a frame of `size` into, or null when the connection has to wait. */
  takeMessage(connection: Connection, size: number): Message | null;
  /** The connection has received, or given up, the large frame that it took a message for. */
  endLargeReceive(connection: Connection): void;
  onReceiveWait(connection: Connection): void;
  /** A whole frame with good checksums. The owner of the reference is the connection. */
  onFrame(connection: Connection, message: Message): void;
  onSent(connection: Connection, size: number): void;
  /** The connection stops: forget who it was. `error` is a negative errno or 0. */
  onClosing(connection: Connection, cause: number, error: number): void;
  /** The connection may be used again. */
  onFree(connection: Connection): void;
}

const sizeWord = frame.word.size;

/** Above this a copy is left to the platform, which then allocates a view. Bytes. */
const wordCopyMax = 4096;

export class Connection {
  readonly index: number;
  state: number = ConnectionState.free;
  /** Counts uses of this object, so that a holder can tell that its connection is gone. */
  generation = 0;
  /** A `Peer`. */
  peer: number = Peer.unknown;
  /** Index of the replica when `peer` is one. */
  replica = -1;
  /** Id of the client when `peer` is one, certain or likely. */
  readonly client = new Uint32Array(4);
  /** What the message that closed it said of its sender; `replica` is −1 where it said nothing. */
  readonly stated = { cluster: new Uint32Array(4), replica: -1 };
  /** True when replies to `client` go to this connection. Kept by the bus. */
  routed = false;
  /** True when this side dialled. */
  dialled = false;
  /** True while it holds one of the bus's permits for large receives. Kept by the bus. */
  largePermit = false;
  /** Messages received since it was opened. */
  messages = 0;
  openedTick = 0;
  private socket: SocketHandle = -1;
  private readonly owner: ConnectionOwner;
  private readonly buffer: IoBuffer;
  /** Bytes [at, end) of the buffer have arrived and are not yet consumed. */
  private at = 0;
  private end = 0;
  /** The header at `at` has been found good. */
  private headerGood = false;
  /** The small frame at `at` is complete and its body has been found good. */
  private bodyGood = false;
  /** The message that the pool's line gave to the frame at `at`. Null but inside `proceed`. */
  private granted: Message | null = null;
  /** The message of the large frame being received. */
  private large: Message | null = null;
  private largeFilled = 0;
  private largeSize = 0;
  /** Tick since which the frame being received has made no progress; −1 between frames. */
  private receiveTick = -1;
  /** Tick at which the large frame got its message. */
  private largeTick = 0;
  private readonly queue: RingQueue<Message>;
  private largeQueued = 0;
  /** Bytes of the queue's head that have been sent, and its size. */
  private sendAt = 0;
  private sendSize = 0;
  private sendTick = 0;
  /** When the message being sent came to the head of the queue. */
  private headTick = 0;
  private readonly receiveCompletion: Completion;
  private readonly sendCompletion: Completion;
  private readonly closeCompletion: Completion;
  private readonly waiter: MessageWaiter;

  constructor(index: number, owner: ConnectionOwner, buffer: IoBuffer) {
    assert(buffer.sizeBytes >= receiveBufferSize, "the buffer holds any small frame");
    this.index = index;
    this.owner = owner;
    this.buffer = buffer;
    this.queue = new RingQueue<Message>(Math.max(sendQueueClientMax, sendQueueReplicaMax));
    this.receiveCompletion = new Completion((completion) => this.onReceived(completion.result));
    this.sendCompletion = new Completion((completion) => this.onSent(completion.result));
    this.closeCompletion = new Completion(() => this.onClosed());
    this.waiter = new MessageWaiter(() => this.proceed());
  }

  get isOpen(): boolean {
    return this.state === ConnectionState.open;
  }

  /** Begins to use a connected socket. */
  open(socket: SocketHandle, dialled: boolean): void {
    assert(this.state === ConnectionState.free, "only a free connection is opened");
    assert(this.queue.length === 0, "a free connection has nothing to send");
    assert(this.large === null, "a free connection holds no message");
    this.state = ConnectionState.open;
    this.generation += 1;
    this.peer = Peer.unknown;
    this.replica = -1;
    this.client.fill(0);
    this.stated.replica = -1;
    this.routed = false;
    this.dialled = dialled;
    this.messages = 0;
    this.openedTick = this.owner.ticks;
    this.socket = socket;
    this.at = 0;
    this.end = 0;
    this.headerGood = false;
    this.bodyGood = false;
    this.receiveTick = -1;
    this.sendAt = 0;
    this.sendSize = 0;
    this.receive();
  }

  /**
   * Queues a message, which must not change until it was sent. Takes a reference of its own; the
   * message may come from any pool.
   * @returns false when the queue is full: the message is dropped.
   */
  send(message: Message): boolean {
    assert(this.state === ConnectionState.open, "only an open connection sends");
    const toReplica = this.peer === Peer.replica;
    if (this.queue.length >= (toReplica ? sendQueueReplicaMax : sendQueueClientMax)) return false;
    if (toReplica && message.large && this.largeQueued >= sendQueueReplicaLargeMax) return false;
    message.pool.ref(message);
    this.queue.push(message);
    if (message.large) this.largeQueued += 1;
    if (this.queue.length === 1) this.sendNext();
    return true;
  }

  /** Stops using the socket. Harmless when it is closing already. */
  close(cause: number, error = 0): void {
    if (this.state !== ConnectionState.open) return;
    this.state = ConnectionState.closing;
    this.owner.onClosing(this, cause, error);
    this.owner.pool.cancelWait(this.waiter);
    this.owner.io.closeSocket(this.closeCompletion, this.socket);
  }

  /** Ticks since the message being sent was begun; 0 when there is none. */
  get sendingTicks(): number {
    if (this.state !== ConnectionState.open || this.queue.length === 0) return 0;
    return this.owner.ticks - this.headTick;
  }

  /** Closes the connection when the peer keeps it busy without moving on. */
  checkTimeouts(receiveTicks: number, sendTicks: number): void {
    if (this.state !== ConnectionState.open) return;
    const now = this.owner.ticks;
    if (this.queue.length > 0 && now - this.sendTick > sendTicks) {
      this.close(CloseCause.sendTimeout);
    } else if (now - this.receivingSince(now) > receiveTicks) {
      this.close(CloseCause.receiveTimeout);
    }
  }

  /** The tick from which the peer has to be measured; now when it owes nothing. */
  private receivingSince(now: number): number {
    if (this.large !== null) {
      // Slow but moving is good enough only while nobody waits for the memory.
      return this.owner.pool.waiters(true) > 0 ? this.largeTick : this.receiveTick;
    }
    // A frame that waits for a message of ours is not the peer's fault.
    return this.receiveTick === -1 || this.waiter.waiting ? now : this.receiveTick;
  }

  private receive(): void {
    const io = this.owner.io;
    const message = this.large;
    if (message !== null) {
      const missing = this.largeSize - this.largeFilled;
      assert(missing > 0, "an incomplete frame misses something");
      const length = Math.min(missing, transferChunkSize);
      io.receive(
        this.receiveCompletion,
        this.socket,
        message.buffer,
        this.largeFilled,
        length,
        true,
      );
      return;
    }
    const room = receiveBufferSize - this.end;
    assert(room > 0, "an incomplete small frame leaves room for its rest");
    io.receive(this.receiveCompletion, this.socket, this.buffer, this.end, room, false);
  }

  private onReceived(result: number): void {
    if (this.state !== ConnectionState.open) return;
    if (result <= 0) {
      this.close(result === 0 ? CloseCause.peerClosed : CloseCause.socketError, result);
      return;
    }
    this.owner.onBytes(this, result);
    const message = this.large;
    if (message === null) {
      this.end += result;
      assert(this.end <= receiveBufferSize, "no more arrives than was asked for");
    } else {
      this.largeFilled += result;
      assert(this.largeFilled <= this.largeSize, "no more arrives than was asked for");
      this.receiveTick = this.owner.ticks;
      if (this.largeFilled === this.largeSize) this.finishLarge(message);
    }
    this.consume();
  }

  /** Takes all frames out of the buffer, then receives on. */
  private consume(): void {
    while (this.state === ConnectionState.open && this.large === null) {
      if (this.end - this.at < headerSize) break;
      if (!this.headerGood && !this.checkHeader()) return;
      const size = this.buffer.words[(this.at >>> 2) + sizeWord]!;
      if (size > smallMessageSize) {
        if (!this.beginLarge(size)) return;
      } else {
        if (this.end - this.at < size) break;
        if (!this.takeSmall(size)) return;
      }
    }
    if (this.state !== ConnectionState.open) return;
    if (this.large === null) {
      this.compact();
      if (this.end === 0) this.receiveTick = -1;
      else if (this.receiveTick === -1) this.receiveTick = this.owner.ticks;
    }
    this.receive();
  }

  /** Moves what is left to the front of the buffer, where there is room for the rest of it. */
  private compact(): void {
    if (this.at === 0) return;
    if (this.end > this.at) this.buffer.bytes.copyWithin(0, this.at, this.end);
    this.end -= this.at;
    this.at = 0;
  }

  /** Judges the header at `at`; closes on a bad one. */
  private checkHeader(): boolean {
    // Sizes are arbitrary, so that a header may begin off a word.
    if ((this.at & 3) !== 0) this.compact();
    const { bytes, words } = this.buffer;
    const verdict = checkFrame(bytes, words, this.at, this.owner.cluster);
    if (verdict === FrameVerdict.ok) {
      this.headerGood = true;
      return true;
    }
    if (verdict === FrameVerdict.cluster) this.noteStated();
    this.close(closeCauseOf(verdict));
    return false;
  }

  /** Keeps of a sound header from another cluster who sent it. */
  private noteStated(): void {
    const { bytes, words } = this.buffer;
    u128Copy(this.stated.cluster, 0, words, (this.at >>> 2) + frame.word.cluster);
    const command = bytes[this.at + frame.at.command];
    const fromClient = command === Command.request || command === Command.pingClient;
    this.stated.replica = fromClient ? -1 : bytes[this.at + frame.at.replica]!;
  }

  /** Delivers the complete small frame at `at`. Returns false when it has to wait or was bad. */
  private takeSmall(size: number): boolean {
    if (!this.bodyGood) {
      if (!checkBody(this.buffer.bytes, this.at, size)) {
        this.close(CloseCause.bodyChecksum);
        return false;
      }
      this.bodyGood = true;
    }
    const message = this.messageFor(size);
    if (message === null) return false;
    copyFrame(message, this.buffer, this.at, size);
    this.at += size;
    this.headerGood = false;
    this.bodyGood = false;
    this.receiveTick = -1;
    this.deliver(message);
    return true;
  }

  /** Moves what has arrived of a large frame into a large message; false when it has to wait. */
  private beginLarge(size: number): boolean {
    const message = this.messageFor(size);
    if (message === null) return false;
    const arrived = this.end - this.at;
    assert(arrived < size, "a large frame does not fit the small buffer");
    copyFrame(message, this.buffer, this.at, arrived);
    this.at = 0;
    this.end = 0;
    this.headerGood = false;
    this.large = message;
    this.largeFilled = arrived;
    this.largeSize = size;
    this.largeTick = this.owner.ticks;
    this.receiveTick = this.owner.ticks;
    return true;
  }

  private finishLarge(message: Message): void {
    this.large = null;
    this.owner.endLargeReceive(this);
    if (checkBody(message.bytes, 0, this.largeSize)) {
      this.deliver(message);
    } else {
      message.pool.unref(message);
      this.close(CloseCause.bodyChecksum);
    }
  }

  private deliver(message: Message): void {
    this.messages += 1;
    this.owner.onFrame(this, message);
    message.pool.unref(message);
  }

  /** A message for the frame at `at`; null when the connection has to wait for one. */
  private messageFor(size: number): Message | null {
    const granted = this.granted;
    this.granted = null;
    if (granted !== null) return granted;
    const { pool } = this.owner;
    const large = size > smallMessageSize;
    // Those in line come first.
    const message = pool.waiters(large) > 0 ? null : this.owner.takeMessage(this, size);
    if (message === null) {
      pool.wait(this.waiter, large);
      this.owner.onReceiveWait(this);
    }
    return message;
  }

  /** The pool's line has reached this connection. */
  private proceed(): boolean {
    assert(this.state === ConnectionState.open, "a closing connection leaves the line");
    const size = this.buffer.words[(this.at >>> 2) + sizeWord]!;
    const message = this.owner.takeMessage(this, size);
    if (message === null) return false;
    this.owner.pool.cancelWait(this.waiter);
    this.granted = message;
    this.consume();
    assert(this.granted === null, "the frame that waited took its message");
    return true;
  }

  private sendNext(): void {
    const message = this.queue.peek();
    assert(message !== undefined, "there is something to send");
    this.sendAt = 0;
    this.headTick = this.owner.ticks;
    this.sendSize = message.size;
    assert(this.sendSize >= headerSize, "a message has a header");
    assert(this.sendSize <= message.buffer.sizeBytes, "a message fits its buffer");
    this.sendChunk(message);
  }

  private sendChunk(message: Message): void {
    const length = Math.min(this.sendSize - this.sendAt, transferChunkSize);
    this.sendTick = this.owner.ticks;
    this.owner.io.send(this.sendCompletion, this.socket, message.buffer, this.sendAt, length);
  }

  private onSent(result: number): void {
    if (this.state !== ConnectionState.open) return;
    const message = this.queue.peek();
    assert(message !== undefined, "the message being sent heads the queue");
    const length = Math.min(this.sendSize - this.sendAt, transferChunkSize);
    if (result !== length) {
      this.close(CloseCause.socketError, Math.min(result, 0));
      return;
    }
    this.sendAt += length;
    if (this.sendAt < this.sendSize) {
      this.sendChunk(message);
      return;
    }
    this.queue.shift();
    if (message.large) this.largeQueued -= 1;
    this.owner.onSent(this, this.sendSize);
    message.pool.unref(message);
    // The receiver of the wake-up may have closed this connection.
    if (this.state === ConnectionState.open && this.queue.length > 0) this.sendNext();
  }

  private onClosed(): void {
    assert(this.state === ConnectionState.closing, "only a closing connection is closed");
    assert(!this.receiveCompletion.busy, "the receive was reaped before the close");
    assert(!this.sendCompletion.busy, "the send was reaped before the close");
    if (this.large !== null) {
      this.owner.endLargeReceive(this);
      this.owner.pool.unref(this.large);
      this.large = null;
    }
    for (let message = this.queue.shift(); message !== undefined; message = this.queue.shift()) {
      message.pool.unref(message);
    }
    this.largeQueued = 0;
    this.socket = -1;
    this.state = ConnectionState.free;
    this.owner.onFree(this);
  }
}

function closeCauseOf(verdict: number): number {
  switch (verdict) {
    case FrameVerdict.headerChecksum:
      return CloseCause.headerChecksum;
    case FrameVerdict.command:
      return CloseCause.command;
    case FrameVerdict.size:
      return CloseCause.size;
    default:
      assert(verdict === FrameVerdict.cluster, "every verdict has a cause");
      return CloseCause.cluster;
  }
}

/** Copies the frame's first `length` bytes, rounded up to words, to the start of a message. */
function copyFrame(message: Message, source: IoBuffer, at: number, length: number): void {
  if (length > wordCopyMax) {
    message.bytes.set(source.bytes.subarray(at, at + length), 0);
    return;
  }
  const target = message.words;
  const from = source.words;
  const word = at >>> 2;
  const count = (length + 3) >>> 2;
  for (let index = 0; index < count; index += 1) target[index] = from[word + index]!;
}
