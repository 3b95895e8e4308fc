/**
 * A network in memory for tests of the message bus: deterministic from one seed, one step per
 * `turn`. Streams are cut anywhere, completions of different sockets come in any order, and the
 * rules of `src/io/io.ts` are checked as they are used: one operation per completion, at most one
 * receive and one send per socket, no use of a closed handle, completions reaped before a close.
 * Memory that a receive may write is filled with noise first, since it is the backend's to scribble on.
 */
import { assert } from "../../src/core/assert.ts";
import type { Prng } from "../../src/core/prng.ts";
import { type Completion, Errno, type IoBuffer, type SocketHandle } from "../../src/io/io.ts";
import type { BusIo } from "../../src/io/message-bus.ts";
import { allocate } from "./bytes.ts";

/** One direction of a stream: what was written and not yet read. */
class Pipe {
  private bytes = new Uint8Array(1024);
  private start = 0;
  private end = 0;
  private readonly capacity: number;

  constructor(capacity: number) {
    this.capacity = capacity;
  }

  get length(): number {
    return this.end - this.start;
  }

  get room(): number {
    return this.capacity - this.length;
  }

  write(source: Uint8Array): void {
    assert(source.length <= this.room, "no more than there is room for");
    if (this.end + source.length > this.bytes.length) {
      const grown =
        this.length + source.length > this.bytes.length
          ? new Uint8Array(2 * (this.length + source.length))
          : this.bytes;
      grown.set(this.bytes.subarray(this.start, this.end), 0);
      this.end -= this.start;
      this.start = 0;
      this.bytes = grown;
    }
    this.bytes.set(source, this.end);
    this.end += source.length;
  }

  read(target: Uint8Array): void {
    assert(target.length <= this.length, "no more than there is");
    target.set(this.bytes.subarray(this.start, this.start + target.length));
    this.start += target.length;
    if (this.start === this.end) {
      this.start = 0;
      this.end = 0;
    }
  }
}

interface Transfer {
  readonly completion: Completion;
  readonly buffer: IoBuffer;
  readonly at: number;
  readonly length: number;
  readonly whole: boolean;
  done: number;
}

class Socket {
  readonly inbox: Pipe;
  peer: Socket | null = null;
  /** The other side writes no more. */
  ended = false;
  /** The connection broke. */
  broken = false;
  closed = false;
  receiving: Transfer | null = null;
  sending: Transfer | null = null;
  closing: Completion | null = null;

  constructor(capacity: number) {
    this.inbox = new Pipe(capacity);
  }
}

interface Listener {
  readonly port: number;
  readonly backlog: Socket[];
  accepting: Completion | null;
  closing: Completion | null;
}

/** The test's end of a connection: bytes in, bytes out, at once. */
export class FakePeer {
  private readonly socket: Socket;

  constructor(socket: Socket) {
    this.socket = socket;
  }

  /** Queues bytes; returns how many found room. */
  write(bytes: Uint8Array): number {
    const other = this.socket.peer;
    if (other === null || other.closed || this.socket.broken) return 0;
    const count = Math.min(bytes.length, other.inbox.room);
    other.inbox.write(bytes.subarray(0, count));
    return count;
  }

  /** Takes what has arrived. */
  read(): Uint8Array {
    const bytes = new Uint8Array(this.socket.inbox.length);
    this.socket.inbox.read(bytes);
    return bytes;
  }

  /** Half-closes: the other side reads what is there, then the end. */
  end(): void {
    if (this.socket.peer !== null) this.socket.peer.ended = true;
  }

  /** Breaks the connection; what was not yet read is lost. */
  reset(): void {
    if (this.socket.peer !== null) this.socket.peer.broken = true;
    this.socket.closed = true;
  }

  /** The other side has taken everything that was written. */
  get drained(): boolean {
    return this.socket.peer === null || this.socket.peer.inbox.length === 0;
  }

  /** The other side has closed, or is about to be told so. */
  get ended(): boolean {
    return this.socket.ended || this.socket.broken;
  }
}

export class FakeIo implements BusIo {
  /** The next so many accepts fail. */
  acceptFailures = 0;
  /** Bytes that a stream holds before a sender has to wait. */
  capacity = 4 * 1024 * 1024;
  /** Chance that a socket rests in a turn. */
  stallChance = 0.1;
  /** Chance that a transfer moves only a part of what it could. */
  fragmentChance = 0.5;
  private readonly random: Prng;
  private readonly sockets: (Socket | null)[] = [];
  private readonly freeHandles: number[] = [];
  private readonly listeners = new Map<SocketHandle, Listener>();
  private connecting: { completion: Completion; port: number }[] = [];
  private timers: { completion: Completion; turns: number }[] = [];
  private nextPort = 3001;

  constructor(random: Prng) {
    this.random = random;
  }

  allocate(sizeBytes: number): IoBuffer {
    return allocate(sizeBytes);
  }

  /** Operations in flight. */
  get pending(): number {
    let count = this.connecting.length + this.timers.length;
    for (const listener of this.listeners.values()) {
      count += (listener.accepting === null ? 0 : 1) + (listener.closing === null ? 0 : 1);
    }
    for (const socket of this.sockets) {
      if (socket === null) continue;
      count += socket.receiving === null ? 0 : 1;
      count += socket.sending === null ? 0 : 1;
      count += socket.closing === null ? 0 : 1;
    }
    return count;
  }

  /** Handles that have not been closed, listeners included. */
  get handlesOpen(): number {
    return this.sockets.filter((socket) => socket !== null).length + this.listeners.size;
  }

  /** A connection of the test's to a listening port. */
  dial(port: number): FakePeer {
    const near = new Socket(this.capacity);
    const far = new Socket(this.capacity);
    near.peer = far;
    far.peer = near;
    const listener = this.listenerAt(port);
    assert(listener !== null, "something listens there");
    listener.backlog.push(far);
    return new FakePeer(near);
  }

  listen(_host: string, port: number): { listener: SocketHandle; port: number } {
    const chosen = port === 0 ? this.nextPort++ : port;
    assert(this.listenerAt(chosen) === null, "a port is listened to once");
    const handle = this.handle(null);
    this.listeners.set(handle, { port: chosen, backlog: [], accepting: null, closing: null });
    return { listener: handle, port: chosen };
  }

  accept(completion: Completion, handle: SocketHandle): void {
    begin(completion);
    const listener = this.listeners.get(handle);
    assert(listener !== undefined, "the listener is open");
    assert(listener.accepting === null, "one accept at a time");
    assert(listener.closing === null, "a closing listener accepts nothing");
    listener.accepting = completion;
  }

  connect(completion: Completion, _host: string, port: number): void {
    begin(completion);
    this.connecting.push({ completion, port });
  }

  receive(
    completion: Completion,
    handle: SocketHandle,
    buffer: IoBuffer,
    at: number,
    length: number,
    whole: boolean,
  ): void {
    begin(completion);
    const socket = this.socketAt(handle);
    assert(socket.receiving === null, "one receive at a time");
    assert(length > 0, "a receive asks for something");
    assert(at + length <= buffer.sizeBytes, "the range lies in the buffer");
    buffer.bytes.fill(this.random.u32() & 0xff, at, at + length);
    socket.receiving = { completion, buffer, at, length, whole, done: 0 };
  }

  send(
    completion: Completion,
    handle: SocketHandle,
    buffer: IoBuffer,
    at: number,
    length: number,
  ): void {
    begin(completion);
    const socket = this.socketAt(handle);
    assert(socket.sending === null, "one send at a time");
    assert(length > 0, "a send has something");
    assert(at + length <= buffer.sizeBytes, "the range lies in the buffer");
    socket.sending = { completion, buffer, at, length, whole: true, done: 0 };
  }

  closeSocket(completion: Completion, handle: SocketHandle): void {
    begin(completion);
    const listener = this.listeners.get(handle);
    if (listener !== undefined) {
      assert(listener.closing === null, "a listener is closed once");
      listener.closing = completion;
      return;
    }
    const socket = this.socketAt(handle);
    socket.closing = completion;
  }

  timeout(completion: Completion, milliseconds: number): void {
    begin(completion);
    this.timers.push({ completion, turns: milliseconds });
  }

  /** Lets things happen once. */
  turn(): void {
    const timersFirst = this.random.chance(0.5);
    if (timersFirst) this.turnTimers();
    this.turnConnects();
    for (const [handle, listener] of [...this.listeners]) this.turnListener(handle, listener);
    const count = this.sockets.length;
    const first = count === 0 ? 0 : this.random.below(count);
    for (let step = 0; step < count; step += 1) {
      const handle = (first + step) % count;
      const socket = this.sockets[handle];
      if (socket === null || socket === undefined) continue;
      if (socket.closing !== null) this.turnClose(handle, socket, socket.closing);
      else if (!this.random.chance(this.stallChance)) this.turnSocket(socket);
    }
    if (!timersFirst) this.turnTimers();
  }

  private turnTimers(): void {
    const due = this.timers.filter((timer) => timer.turns <= 0);
    this.timers = this.timers.filter((timer) => timer.turns > 0);
    for (const timer of this.timers) timer.turns -= 1;
    if (this.random.chance(0.5)) due.reverse();
    for (const timer of due) end(timer.completion, 0);
  }

  private turnConnects(): void {
    const connecting = this.connecting;
    this.connecting = [];
    for (const { completion, port } of connecting) {
      const listener = this.listenerAt(port);
      if (listener === null) {
        end(completion, Errno.connectionRefused);
        continue;
      }
      const near = new Socket(this.capacity);
      const far = new Socket(this.capacity);
      near.peer = far;
      far.peer = near;
      listener.backlog.push(far);
      end(completion, this.handle(near));
    }
  }

  private turnListener(handle: SocketHandle, listener: Listener): void {
    if (listener.closing !== null) {
      const { accepting, closing } = listener;
      listener.accepting = null;
      // A connection that came just before the close is still handed over.
      const late = this.random.chance(0.5) ? listener.backlog.shift() : undefined;
      if (accepting !== null) {
        end(accepting, late === undefined ? Errno.canceled : this.handle(late));
      } else if (late !== undefined) {
        listener.backlog.push(late);
      }
      for (const socket of listener.backlog) {
        if (socket.peer !== null) socket.peer.broken = true;
      }
      this.listeners.delete(handle);
      this.freeHandles.push(handle);
      end(closing, 0);
      return;
    }
    if (listener.accepting === null || listener.backlog.length === 0) return;
    const completion = listener.accepting;
    listener.accepting = null;
    if (this.acceptFailures > 0) {
      this.acceptFailures -= 1;
      end(completion, -24);
      return;
    }
    const socket = listener.backlog.shift();
    assert(socket !== undefined, "the backlog is not empty");
    end(completion, this.handle(socket));
  }

  private turnClose(handle: SocketHandle, socket: Socket, closing: Completion): void {
    // What is in flight ends first, in either order.
    const transfers = [socket.receiving, socket.sending];
    if (this.random.chance(0.5)) transfers.reverse();
    socket.receiving = null;
    socket.sending = null;
    for (const transfer of transfers)
      if (transfer !== null) end(transfer.completion, Errno.canceled);
    socket.closed = true;
    if (socket.peer !== null) {
      // Closing with unread bytes resets the connection.
      if (socket.inbox.length > 0) socket.peer.broken = true;
      else socket.peer.ended = true;
    }
    this.sockets[handle] = null;
    this.freeHandles.push(handle);
    end(closing, 0);
  }

  private turnSocket(socket: Socket): void {
    const sendFirst = this.random.chance(0.5);
    if (sendFirst && socket.sending !== null) this.turnSend(socket, socket.sending);
    if (socket.receiving !== null && socket.closing === null) {
      this.turnReceive(socket, socket.receiving);
    }
    if (!sendFirst && socket.sending !== null && socket.closing === null) {
      this.turnSend(socket, socket.sending);
    }
  }

  private turnReceive(socket: Socket, transfer: Transfer): void {
    if (socket.broken) {
      socket.receiving = null;
      end(transfer.completion, Errno.connectionReset);
      return;
    }
    const count = this.part(Math.min(transfer.length - transfer.done, socket.inbox.length));
    if (count > 0) {
      const from = transfer.at + transfer.done;
      socket.inbox.read(transfer.buffer.bytes.subarray(from, from + count));
      transfer.done += count;
    }
    const complete = transfer.whole ? transfer.done === transfer.length : transfer.done > 0;
    if (!complete && !(socket.ended && socket.inbox.length === 0)) return;
    socket.receiving = null;
    end(transfer.completion, transfer.done);
  }

  private turnSend(socket: Socket, transfer: Transfer): void {
    const peer = socket.peer;
    if (socket.broken || peer === null || peer.closed) {
      socket.sending = null;
      end(transfer.completion, Errno.pipe);
      return;
    }
    const count = this.part(Math.min(transfer.length - transfer.done, peer.inbox.room));
    const from = transfer.at + transfer.done;
    peer.inbox.write(transfer.buffer.bytes.subarray(from, from + count));
    transfer.done += count;
    if (transfer.done < transfer.length) return;
    socket.sending = null;
    end(transfer.completion, transfer.length);
  }

  private part(most: number): number {
    if (most <= 1 || !this.random.chance(this.fragmentChance)) return most;
    // Small cuts are the interesting ones, but a megabyte must get through as well.
    return this.random.chance(0.5)
      ? this.random.range(1, Math.min(most, 300))
      : this.random.range(1, most);
  }

  private handle(socket: Socket | null): SocketHandle {
    const free = this.freeHandles.pop();
    if (free !== undefined) {
      this.sockets[free] = socket;
      return free;
    }
    this.sockets.push(socket);
    return this.sockets.length - 1;
  }

  private socketAt(handle: SocketHandle): Socket {
    const socket = this.sockets[handle];
    assert(socket !== null && socket !== undefined, "the handle is open");
    assert(socket.closing === null, "a closing socket is left alone");
    return socket;
  }

  private listenerAt(port: number): Listener | null {
    for (const listener of this.listeners.values()) {
      if (listener.port === port && listener.closing === null) return listener;
    }
    return null;
  }
}

function begin(completion: Completion): void {
  assert(!completion.busy, "a completion serves one operation at a time");
  completion.busy = true;
}

function end(completion: Completion, result: number): void {
  assert(completion.busy, "an operation ends once");
  completion.busy = false;
  completion.result = result;
  completion.onDone(completion);
}
