/**
 * One TCP connection over `node:net`, turned from a stream that pushes into one that is pulled.
 *
 * The stream flows only while a receive waits. A chunk that holds more than the receive asked for
 * is kept as `carry`, and the stream is paused until the carry is used up. So what a peer can make
 * us buffer is bounded: one chunk here, and what Node reads ahead (its high-water mark and one
 * chunk); the rest stays in the kernel and closes the peer's window.
 *
 * Life: connecting (for `connect` alone) → open → closing → closed. Invariants: while the stream
 * flows, `carry` is null. Bytes that have arrived are received before an end of stream or an error
 * is reported. A send's buffer is the kernel's until Node calls back; a connection counts as closed
 * only after that.
 */
import type { Socket } from "node:net";
import { assert } from "../../core/assert.ts";
import type { Completion, IoBuffer, IoStats, SocketHandle } from "../io.ts";
import { Errno } from "../io.ts";
import { errnoOf } from "./errno.ts";
import type { Turn } from "./turn.ts";

export class Connection {
  /** −1 until it is given out. */
  handle: SocketHandle = -1;
  closing = false;

  private connecting: Completion | null = null;

  private receiving: Completion | null = null;
  private target: IoBuffer | null = null;
  private targetAt = 0;
  private length = 0;
  private received = 0;
  private whole = false;

  private sending: Completion | null = null;
  private sendLength = 0;

  private carry: Uint8Array | null = null;
  private carryAt = 0;
  private flowing = false;

  private streamEnded = false;
  /** The errno that ended the connection; 0 while it is sound. */
  private failed = 0;
  /** Node has closed its handle. */
  private destroyed = false;
  private closed = false;

  /**
   * @param socket - With no listeners but ours.
   * @param onClosed - Called once, after `close`, when nothing of the connection is left.
   */
  constructor(
    private readonly socket: Socket,
    private readonly turn: Turn,
    private readonly stats: IoStats,
    private readonly onClosed: (connection: Connection) => void,
  ) {
    // Paused first: a listener for data would make the stream flow.
    socket.pause();
    socket.on("connect", () => this.onConnect());
    socket.on("data", (chunk: Uint8Array) => this.onData(chunk));
    socket.on("end", () => this.onEnd());
    socket.on("error", (error: NodeJS.ErrnoException) => this.onError(error));
    socket.on("close", () => this.onDestroyed());
  }

  /** True while the owner does not know of the handle yet. */
  get isConnecting(): boolean {
    return this.connecting !== null;
  }

  awaitConnect(completion: Completion): void {
    this.connecting = completion;
  }

  receive(
    completion: Completion,
    buffer: IoBuffer,
    bufferAt: number,
    length: number,
    whole: boolean,
  ): void {
    assert(this.receiving === null, "one receive at a time per socket");
    assert(length > 0, "a receive asks for something");
    assert(bufferAt >= 0, "a receive starts inside its buffer");
    assert(bufferAt + length <= buffer.sizeBytes, "a receive ends inside its buffer");
    this.receiving = completion;
    this.target = buffer;
    this.targetAt = bufferAt;
    this.length = length;
    this.received = 0;
    this.whole = whole;
    if (this.carry !== null) {
      this.carryAt += this.take(this.carry, this.carryAt);
      if (this.carryAt === this.carry.length) this.carry = null;
    }
    if (this.receiving === null) return;
    if (this.streamEnded) this.endReceive(this.received);
    else if (this.failed !== 0) this.endReceive(this.failed);
    else this.setFlowing(true);
  }

  send(completion: Completion, buffer: IoBuffer, bufferAt: number, length: number): void {
    assert(this.sending === null, "one send at a time per socket");
    assert(length > 0, "a send has something to send");
    assert(bufferAt >= 0, "a send starts inside its buffer");
    assert(bufferAt + length <= buffer.sizeBytes, "a send ends inside its buffer");
    if (this.failed !== 0 || this.destroyed) {
      this.turn.end(completion, this.failed !== 0 ? this.failed : Errno.pipe);
      return;
    }
    this.sending = completion;
    this.sendLength = length;
    this.stats.systemCalls += 1;
    this.socket.write(buffer.bytes.subarray(bufferAt, bufferAt + length), this.onSent);
  }

  /** Ends the operations in flight; `onClosed` follows. */
  close(): void {
    assert(!this.closing, "a connection is closed once");
    this.closing = true;
    if (this.connecting !== null) this.endConnect(Errno.canceled);
    if (this.receiving !== null) this.endReceive(Errno.canceled);
    this.carry = null;
    this.setFlowing(false);
    this.stats.systemCalls += 1;
    this.socket.destroy();
    // It may have broken down long before its owner closes it.
    this.closeWhenDone();
  }

  /** Moves what fits from chunk[at…] into the waiting receive. Returns the bytes moved. */
  private take(chunk: Uint8Array, at: number): number {
    const count = Math.min(chunk.length - at, this.length - this.received);
    const target = this.target as IoBuffer;
    const part = count === chunk.length ? chunk : chunk.subarray(at, at + count);
    target.bytes.set(part, this.targetAt + this.received);
    this.received += count;
    if (!this.whole || this.received === this.length) this.endReceive(this.received);
    return count;
  }

  private endReceive(result: number): void {
    const completion = this.receiving as Completion;
    this.receiving = null;
    this.target = null;
    if (result >= 0) {
      this.stats.receives += 1;
      this.stats.receiveBytes += result;
    }
    this.turn.end(completion, result);
  }

  private endConnect(result: number): void {
    const completion = this.connecting as Completion;
    this.connecting = null;
    if (result >= 0) this.stats.connects += 1;
    this.turn.end(completion, result);
  }

  private setFlowing(flowing: boolean): void {
    if (this.flowing === flowing) return;
    this.flowing = flowing;
    if (flowing) this.socket.resume();
    else this.socket.pause();
  }

  private onConnect(): void {
    if (this.connecting !== null) this.endConnect(this.handle);
  }

  private onData(chunk: Uint8Array): void {
    if (this.closing) return;
    assert(this.carry === null, "the stream is paused while a carry is left");
    this.stats.systemCalls += 1;
    const used = this.receiving === null ? 0 : this.take(chunk, 0);
    if (used === chunk.length) return;
    this.carry = chunk;
    this.carryAt = used;
    this.setFlowing(false);
  }

  private onEnd(): void {
    this.streamEnded = true;
    if (this.receiving !== null) this.endReceive(this.received);
  }

  private onError(error: NodeJS.ErrnoException): void {
    if (this.failed === 0) this.failed = errnoOf(error);
    if (this.receiving !== null) this.endReceive(this.failed);
    if (this.connecting !== null) {
      // The owner never learns of the handle, so nobody else closes it.
      this.closing = true;
      this.endConnect(this.failed);
    }
  }

  private readonly onSent = (error?: NodeJS.ErrnoException | null): void => {
    const completion = this.sending as Completion;
    this.sending = null;
    let result = this.sendLength;
    // Node reports a write that it canceled as a success.
    if (this.closing) result = Errno.canceled;
    else if (this.failed !== 0) result = this.failed;
    else if (error) result = errnoOf(error);
    if (result >= 0) {
      this.stats.sends += 1;
      this.stats.sendBytes += result;
    }
    this.turn.end(completion, result);
    this.closeWhenDone();
  };

  private onDestroyed(): void {
    this.destroyed = true;
    if (this.failed === 0) this.failed = Errno.connectionReset;
    if (this.receiving !== null) this.endReceive(this.failed);
    this.closeWhenDone();
  }

  private closeWhenDone(): void {
    if (!this.closing || !this.destroyed || this.sending !== null || this.closed) return;
    this.closed = true;
    this.onClosed(this);
  }
}
