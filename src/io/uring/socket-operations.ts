/**
 * Sockets and listeners of the ring. Handles are places in a table; the one that was free for
 * longest is given out first, and never before its close has completed. A handle that is not open
 * ends every operation with −EBADF.
 *
 * Closing: the operations in flight on the socket are canceled, each completes, and when the last
 * one has, the kernel closes the descriptor.
 */
import { getSystemErrorName } from "node:util";
import { assert } from "../../core/assert.ts";
import { RingQueue } from "../../core/ring-queue.ts";
import { nativeLayout } from "../../native/layout.ts";
import { type Completion, Errno, type IoBuffer, type SocketHandle } from "../io.ts";
import type { Engine, SocketKind } from "./engine.ts";
import { again, badHandle, goneBeforeAccept, interrupted, tooManyHandles } from "./errors.ts";
import { noSlot } from "./slots.ts";

const { opcodeAccept, opcodeConnect, opcodeReceive, opcodeSend, opcodeClose, flagWhole } =
  nativeLayout;

/** Sockets and listeners open at a time. */
const socketsMax = 16_384;

/** Connections that the kernel keeps until they are accepted. */
const backlog = 512;

/** Results in a row without progress, before the error is reported. */
const retriesMax = 100;

class Socket {
  /** Head of the list of slots in flight. */
  first = noSlot;
  closing: Completion | null = null;

  constructor(readonly fd: number) {}
}

export class SocketOperations implements SocketKind {
  private readonly table: (Socket | null)[] = [];
  private readonly free = new RingQueue<SocketHandle>(socketsMax);

  constructor(private readonly engine: Engine) {}

  listen(host: string, port: number): { readonly listener: SocketHandle; readonly port: number } {
    const { addon } = this.engine;
    assert(port >= 0 && port < 65_536, "a port is a port");
    const fd = this.full ? tooManyHandles : addon.socketListen(host, port, backlog);
    if (fd < 0) throw listenError(fd, host, port);
    const bound = addon.socketPort(fd);
    if (bound < 0) {
      addon.socketDiscard(fd);
      throw listenError(bound, host, port);
    }
    return { listener: this.add(fd), port: bound };
  }

  accept(completion: Completion, listener: SocketHandle): void {
    const socket = this.begin(completion, listener);
    if (socket === null) return;
    this.engine.queue(this.take(opcodeAccept, completion, listener, socket));
  }

  connect(completion: Completion, host: string, port: number): void {
    assert(port > 0 && port < 65_536, "a port is a port");
    const { engine } = this;
    if (!engine.begin(completion)) return;
    if (this.full) {
      engine.endWith(completion, tooManyHandles);
      return;
    }
    const slot = engine.slots.take(opcodeConnect, 0, completion);
    const fd = engine.addon.ringConnect(engine.ringId, slot, host, port);
    const error = fd < 0 ? fd : engine.addon.socketConfigure(fd);
    if (error < 0) {
      if (fd >= 0) engine.addon.socketDiscard(fd);
      engine.slots.detach(slot);
      engine.slots.release(slot);
      engine.endWith(completion, error);
      return;
    }
    engine.slots.setHandle(slot, fd);
    engine.queue(slot);
  }

  receive(
    completion: Completion,
    handle: SocketHandle,
    buffer: IoBuffer,
    bufferAt: number,
    length: number,
    whole: boolean,
  ): void {
    assert(length > 0, "a receive has room for something");
    const socket = this.begin(completion, handle);
    if (socket === null) return;
    const slot = this.take(opcodeReceive, completion, handle, socket);
    this.engine.slots.setRange(slot, buffer, bufferAt, length);
    this.engine.slots.setFlags(slot, whole ? flagWhole : 0);
    this.engine.queue(slot);
  }

  send(
    completion: Completion,
    handle: SocketHandle,
    buffer: IoBuffer,
    bufferAt: number,
    length: number,
  ): void {
    assert(length > 0, "a send moves something");
    const socket = this.begin(completion, handle);
    if (socket === null) return;
    const slot = this.take(opcodeSend, completion, handle, socket);
    this.engine.slots.setRange(slot, buffer, bufferAt, length);
    this.engine.queue(slot);
  }

  closeSocket(completion: Completion, handle: SocketHandle): void {
    const socket = this.begin(completion, handle);
    if (socket === null) return;
    const { slots } = this.engine;
    socket.closing = completion;
    for (let slot = socket.first; slot !== noSlot; slot = slots.next[slot]) {
      this.engine.cancel(slot);
    }
    this.closeIfUnused(handle, socket);
  }

  /** The open socket of a handle; null when the operation ends without one. */
  private begin(completion: Completion, handle: SocketHandle): Socket | null {
    if (!this.engine.begin(completion)) return null;
    const socket = this.table[handle] ?? null;
    if (socket !== null && socket.closing === null) return socket;
    this.engine.endWith(completion, badHandle);
    return null;
  }

  private take(
    opcode: number,
    completion: Completion,
    handle: SocketHandle,
    socket: Socket,
  ): number {
    const { slots } = this.engine;
    const slot = slots.take(opcode, socket.fd, completion);
    slots.owner[slot] = handle;
    slots.previous[slot] = noSlot;
    slots.next[slot] = socket.first;
    if (socket.first !== noSlot) slots.previous[socket.first] = slot;
    socket.first = slot;
    return slot;
  }

  private unlink(slot: number, socket: Socket): void {
    const { slots } = this.engine;
    const next = slots.next[slot];
    const previous = slots.previous[slot];
    if (next !== noSlot) slots.previous[next] = previous;
    if (previous !== noSlot) slots.next[previous] = next;
    else socket.first = next;
  }

  onResult(slot: number, result: number): void {
    const { slots } = this.engine;
    const opcode = slots.opcode[slot];
    if (opcode === opcodeConnect) {
      this.onConnected(slot, result);
      return;
    }
    const handle = slots.owner[slot];
    const socket = this.table[handle] ?? null;
    assert(socket !== null, "a socket outlives its operations");
    if (opcode === opcodeClose) {
      this.remove(handle);
      this.engine.finish(slot, result);
      return;
    }
    if (result < 0 && this.retry(slot, socket, result)) return;
    if (opcode === opcodeAccept) this.onAccepted(slot, handle, socket, result);
    else if (opcode === opcodeReceive) this.onReceived(slot, handle, socket, result);
    else this.onSent(slot, handle, socket, result);
  }

  private retry(slot: number, socket: Socket, error: number): boolean {
    const { engine } = this;
    if (socket.closing !== null || engine.slots.canceled[slot] === 1) return false;
    const passing =
      error === interrupted ||
      error === again ||
      (engine.slots.opcode[slot] === opcodeAccept && goneBeforeAccept.has(error));
    if (!passing || engine.slots.retries[slot] >= retriesMax) return false;
    engine.slots.retries[slot] += 1;
    engine.queue(slot);
    return true;
  }

  private onAccepted(slot: number, handle: SocketHandle, socket: Socket, result: number): void {
    if (result < 0) {
      this.end(slot, handle, socket, result);
      return;
    }
    const { addon, stats } = this.engine;
    const error = this.full ? tooManyHandles : addon.socketConfigure(result);
    if (error < 0) {
      addon.socketDiscard(result);
      // A connection that cannot be configured is broken already: the next one may be well.
      if (error !== tooManyHandles && this.retry(slot, socket, again)) return;
      this.end(slot, handle, socket, error);
      return;
    }
    stats.accepts += 1;
    this.end(slot, handle, socket, this.add(result));
  }

  private onConnected(slot: number, result: number): void {
    const { engine } = this;
    const fd = engine.slots.handle(slot);
    let outcome = result;
    if (outcome === 0 && this.full) outcome = tooManyHandles;
    if (outcome === 0) {
      engine.stats.connects += 1;
      outcome = this.add(fd);
    } else {
      engine.addon.socketDiscard(fd);
    }
    engine.finish(slot, outcome);
  }

  private onReceived(slot: number, handle: SocketHandle, socket: Socket, result: number): void {
    const { slots, stats } = this.engine;
    if (result < 0) {
      this.end(slot, handle, socket, result);
      return;
    }
    slots.advance(slot, result, false);
    const moved = slots.moved[slot];
    const whole = (slots.flags(slot) & flagWhole) !== 0;
    if (whole && result > 0 && moved < slots.wanted[slot]) {
      if (this.resume(slot, socket)) return;
      this.end(slot, handle, socket, Errno.canceled);
      return;
    }
    stats.receives += 1;
    stats.receiveBytes += moved;
    this.end(slot, handle, socket, moved);
  }

  private onSent(slot: number, handle: SocketHandle, socket: Socket, result: number): void {
    const { slots, stats } = this.engine;
    if (result < 0) {
      this.end(slot, handle, socket, result);
      return;
    }
    if (result === 0) {
      this.end(slot, handle, socket, Errno.io); // A stream that takes nothing is broken.
      return;
    }
    slots.advance(slot, result, false);
    if (slots.moved[slot] < slots.wanted[slot]) {
      if (!this.resume(slot, socket)) this.end(slot, handle, socket, Errno.canceled);
      return;
    }
    stats.sends += 1;
    stats.sendBytes += slots.wanted[slot];
    this.end(slot, handle, socket, slots.wanted[slot]);
  }

  /** Asks for the rest, unless the operation is being canceled. */
  private resume(slot: number, socket: Socket): boolean {
    const { engine } = this;
    if (socket.closing !== null || engine.slots.canceled[slot] === 1) return false;
    engine.queue(slot);
    return true;
  }

  /** Ends an operation on a socket, and then the socket if that was what its close waited for. */
  private end(slot: number, handle: SocketHandle, socket: Socket, result: number): void {
    this.unlink(slot, socket);
    this.engine.finish(slot, result);
    this.closeIfUnused(handle, socket);
  }

  private closeIfUnused(handle: SocketHandle, socket: Socket): void {
    const completion = socket.closing;
    if (completion === null || socket.first !== noSlot) return;
    const slot = this.take(opcodeClose, completion, handle, socket);
    this.engine.queue(slot);
  }

  onStuck(slot: number): void {
    const { slots, addon } = this.engine;
    if (slots.owner[slot] >= 0 || slots.opcode[slot] === opcodeConnect) {
      addon.socketShutdown(slots.handle(slot));
    }
  }

  /** At the end of the backend: what its owners have left open. Nothing is in flight. */
  closeAll(): void {
    for (const socket of this.table) {
      if (socket === null) continue;
      assert(socket.first === noSlot, "nothing is in flight");
      this.engine.addon.socketDiscard(socket.fd);
    }
    this.table.length = 0;
  }

  private get full(): boolean {
    return this.free.length === 0 && this.table.length === socketsMax;
  }

  private add(fd: number): SocketHandle {
    assert(!this.full, "there is a place for the socket");
    const handle = this.free.shift() ?? this.table.length;
    this.table[handle] = new Socket(fd);
    return handle;
  }

  private remove(handle: SocketHandle): void {
    this.table[handle] = null;
    this.free.push(handle);
  }
}

function listenError(error: number, host: string, port: number): Error {
  const code = getSystemErrorName(error);
  return Object.assign(new Error(`listen ${code}: ${host}:${port}`), { code });
}
