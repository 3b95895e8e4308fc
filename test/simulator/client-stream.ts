/**
 * A client's connections over simulated byte streams: one to each replica, made when there is
 * something to send, and made again when it broke. Cuts what arrives into frames.
 */
import { headerSize } from "../../src/core/limits.ts";
import { Completion, type IoBuffer, type SocketHandle } from "../../src/io/io.ts";
import type { BusIo } from "../../src/io/message-bus.ts";
import { checkBody, checkFrame, FrameVerdict } from "../../src/wire/frame-check.ts";
import { frame } from "../../src/wire/header.ts";
import { memoryBuffer } from "../wal/memory-file-io.ts";
import { hostOf, portOf, type SocketHost, type Sockets } from "./sockets.ts";

/** Messages that wait to be sent on one connection. */
const queueMax = 8;

/** Pause after a connection that could not be made, or broke. Microseconds. */
const redialUs = 100_000;

export interface ClientStreamOwner {
  /**
   * @param size - 0: what arrived is not sound.
   * @returns false when the connection is to be closed.
   */
  onFrame(replica: number, bytes: Uint8Array, words: Uint32Array, size: number): boolean;
  onBroken(replica: number): void;
}

export class ClientStreams implements SocketHost {
  readonly generation = 0;
  private readonly streams: Stream[] = [];

  constructor(
    readonly end: number,
    sockets: Sockets,
    replicas: number,
    cluster: Uint32Array,
    owner: ClientStreamOwner,
  ) {
    const io = sockets.open(this);
    for (let replica = 0; replica < replicas; replica += 1) {
      const after = (delayUs: number, run: () => void): void => sockets.after(delayUs, run);
      this.streams.push(new Stream(io, replica, cluster, owner, after));
    }
  }

  allocate(sizeBytes: number): IoBuffer {
    return memoryBuffer(sizeBytes);
  }

  complete(completion: Completion): void {
    completion.busy = false;
    completion.onDone(completion);
  }

  send(replica: number, message: Uint8Array): void {
    this.streams[replica]!.send(message);
  }
}

const State = { idle: 0, connecting: 1, open: 2, closing: 3 } as const;

class Stream {
  private state: number = State.idle;
  private socket: SocketHandle = -1;
  private readonly waiting: Uint8Array[] = [];
  /** Bytes [0, filled) are the beginning of a frame. */
  private buffer = memoryBuffer(4096);
  private filled = 0;
  private sendBuffer = memoryBuffer(4096);
  private readonly connecting: Completion;
  private readonly receiving: Completion;
  private readonly sending: Completion;
  private readonly closing: Completion;

  constructor(
    private readonly io: BusIo,
    private readonly replica: number,
    private readonly cluster: Uint32Array,
    private readonly owner: ClientStreamOwner,
    private readonly after: (delayUs: number, run: () => void) => void,
  ) {
    this.connecting = new Completion(({ result }) => this.onConnected(result));
    this.receiving = new Completion(({ result }) => this.onReceived(result));
    this.sending = new Completion(({ result }) => this.onSent(result));
    this.closing = new Completion(() => this.onClosed());
  }

  send(message: Uint8Array): void {
    if (this.waiting.length >= queueMax) return;
    this.waiting.push(message.slice());
    if (this.state === State.idle) this.connect();
    else if (this.state === State.open && !this.sending.busy) this.sendNext();
  }

  private connect(): void {
    this.state = State.connecting;
    this.io.connect(this.connecting, hostOf(this.replica), portOf(this.replica));
  }

  private onConnected(result: number): void {
    if (result < 0) {
      this.pause();
      return;
    }
    this.state = State.open;
    this.socket = result;
    this.filled = 0;
    this.receive();
    if (this.waiting.length > 0) this.sendNext();
  }

  /** What waited is given up, as a client does whose connection broke; then it may try again. */
  private pause(): void {
    this.waiting.length = 0;
    this.after(redialUs, () => {
      this.state = State.idle;
      if (this.waiting.length > 0) this.connect();
    });
  }

  private sendNext(): void {
    const message = this.waiting.shift()!;
    if (message.length > this.sendBuffer.sizeBytes)
      this.sendBuffer = memoryBuffer(roomFor(message));
    this.sendBuffer.bytes.set(message);
    this.io.send(this.sending, this.socket, this.sendBuffer, 0, message.length);
  }

  private onSent(result: number): void {
    if (this.state !== State.open) return;
    if (result < 0) this.close();
    else if (this.waiting.length > 0) this.sendNext();
  }

  private receive(): void {
    const room = this.buffer.sizeBytes - this.filled;
    this.io.receive(this.receiving, this.socket, this.buffer, this.filled, room, false);
  }

  private onReceived(result: number): void {
    if (this.state !== State.open) return;
    if (result <= 0) {
      this.close();
      return;
    }
    this.filled += result;
    while (this.filled >= headerSize) {
      const { bytes, words } = this.buffer;
      const good = checkFrame(bytes, words, 0, this.cluster) === FrameVerdict.ok;
      const size = words[frame.word.size]!;
      if (good && this.filled < size) {
        this.makeRoom(size);
        break;
      }
      const sound = good && checkBody(bytes, 0, size);
      if (!this.owner.onFrame(this.replica, bytes, words, sound ? size : 0)) {
        this.close();
        return;
      }
      this.buffer.bytes.copyWithin(0, size, this.filled);
      this.filled -= size;
    }
    this.receive();
  }

  private makeRoom(size: number): void {
    if (size <= this.buffer.sizeBytes) return;
    const larger = memoryBuffer(Math.ceil(size / 4096) * 4096);
    larger.bytes.set(this.buffer.bytes.subarray(0, this.filled));
    this.buffer = larger;
  }

  private close(): void {
    this.state = State.closing;
    this.owner.onBroken(this.replica);
    this.io.closeSocket(this.closing, this.socket);
  }

  private onClosed(): void {
    this.pause();
  }
}

function roomFor(message: Uint8Array): number {
  return Math.ceil(message.length / 4096) * 4096;
}
