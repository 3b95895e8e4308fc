/**
 * The table of sockets and listeners: handles are indexes into it. A handle is given out again
 * only after its `closeSocket` has completed, and the one that was free for longest comes first.
 * A handle that is not open ends every operation with −EBADF.
 */
import * as net from "node:net";
import { assert } from "../../core/assert.ts";
import { RingQueue } from "../../core/ring-queue.ts";
import type { Completion, IoBuffer, IoStats, SocketHandle } from "../io.ts";
import { Errno } from "../io.ts";
import { Connection } from "./connection.ts";
import { badHandle, tooManyHandles } from "./errno.ts";
import { type Arrivals, Listener } from "./listener.ts";
import type { Turn } from "./turn.ts";

/** Sockets and listeners open at a time. */
export const socketsMax = 16_384;

export class Sockets implements Arrivals {
  private readonly entries: (Connection | Listener | null)[] = [];
  /** Per handle: the `closeSocket` in flight. */
  private readonly closes: (Completion | null)[] = [];
  private readonly free = new RingQueue<SocketHandle>(socketsMax);

  constructor(
    private readonly turn: Turn,
    private readonly stats: IoStats,
  ) {}

  listen(host: string, port: number): { readonly listener: SocketHandle; readonly port: number } {
    assert(!this.turn.stopping, "a stopped backend does not listen");
    const listener = new Listener(host, port, this.turn, this.stats, this);
    const handle = this.give(listener);
    return { listener: handle, port: listener.port };
  }

  accept(completion: Completion, handle: SocketHandle): void {
    if (!this.turn.begin(completion)) return;
    const listener = this.entries[handle];
    if (listener instanceof Listener) listener.accept(completion);
    else this.turn.end(completion, badHandle);
  }

  connect(completion: Completion, host: string, port: number): void {
    if (!this.turn.begin(completion)) return;
    assert(port > 0 && port < 65_536, "a port is a port");
    if (net.isIP(host) === 0) {
      this.turn.end(completion, Errno.invalid);
      return;
    }
    if (this.full) {
      this.turn.end(completion, tooManyHandles);
      return;
    }
    this.stats.systemCalls += 2;
    const options = { host, port, allowHalfOpen: true, noDelay: true, keepAlive: true };
    const connection = this.adopt(net.connect(options));
    connection.handle = this.give(connection);
    connection.awaitConnect(completion);
  }

  receive(
    completion: Completion,
    handle: SocketHandle,
    buffer: IoBuffer,
    bufferAt: number,
    length: number,
    whole: boolean,
  ): void {
    if (!this.turn.begin(completion)) return;
    const connection = this.find(handle);
    if (connection === null) this.turn.end(completion, badHandle);
    else connection.receive(completion, buffer, bufferAt, length, whole);
  }

  send(
    completion: Completion,
    handle: SocketHandle,
    buffer: IoBuffer,
    bufferAt: number,
    length: number,
  ): void {
    if (!this.turn.begin(completion)) return;
    const connection = this.find(handle);
    if (connection === null) this.turn.end(completion, badHandle);
    else connection.send(completion, buffer, bufferAt, length);
  }

  close(completion: Completion, handle: SocketHandle): void {
    if (!this.turn.begin(completion)) return;
    const entry = this.entries[handle];
    if (entry instanceof Listener) {
      entry.close(Errno.canceled);
      this.take(handle);
      this.turn.end(completion, 0);
      return;
    }
    const connection = this.find(handle);
    if (connection === null) {
      this.turn.end(completion, badHandle);
      return;
    }
    this.closes[handle] = completion;
    connection.close();
  }

  /** Ends what is in flight; the backend has stopped when all connections have closed. */
  closeAll(): void {
    for (let handle = 0; handle < this.entries.length; handle += 1) {
      const entry = this.entries[handle];
      if (entry instanceof Listener) {
        entry.close(Errno.canceled);
        this.take(handle);
      } else if (entry instanceof Connection && !entry.closing) {
        entry.close();
      }
    }
  }

  adopt(socket: net.Socket): Connection {
    this.turn.hold();
    return new Connection(socket, this.turn, this.stats, this.onClosed);
  }

  accepted(accept: Completion, connection: Connection): void {
    if (this.full) {
      connection.close();
      this.turn.end(accept, tooManyHandles);
      return;
    }
    this.stats.accepts += 1;
    connection.handle = this.give(connection);
    this.turn.end(accept, connection.handle);
  }

  private readonly onClosed = (connection: Connection): void => {
    this.turn.release();
    const handle = connection.handle;
    if (handle < 0) return;
    this.take(handle);
    const completion = this.closes[handle] ?? null;
    this.closes[handle] = null;
    if (completion !== null) this.turn.end(completion, 0);
  };

  private get full(): boolean {
    return this.free.length === 0 && this.entries.length === socketsMax;
  }

  private give(entry: Connection | Listener): SocketHandle {
    assert(!this.full, "a handle is free");
    const handle = this.free.shift() ?? this.entries.length;
    this.entries[handle] = entry;
    return handle;
  }

  private take(handle: SocketHandle): void {
    this.entries[handle] = null;
    this.free.push(handle);
  }

  /** The open connection; null when the handle is not one that its owner may use. */
  private find(handle: SocketHandle): Connection | null {
    const entry = this.entries[handle];
    if (!(entry instanceof Connection)) return null;
    return entry.closing || entry.isConnecting ? null : entry;
  }
}
