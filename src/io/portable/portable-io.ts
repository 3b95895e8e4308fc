/**
 * The portable backend: `node:fs` over libuv's thread pool and `node:net`, for systems without
 * io_uring. It needs no addon. The buffers are page-aligned, so files opened with O_DIRECT work.
 *
 * libuv's thread pool has 4 threads unless UV_THREADPOOL_SIZE is set in the environment before the
 * process starts. All of them but one are used for file operations; the last is left to the rest
 * of the process (DNS, the application's own file calls). A server on a fast disk gains from
 * UV_THREADPOOL_SIZE=8 or more.
 *
 * A `FileHandle` is a file descriptor; its owner opened it and closes it, when no operation on it
 * is in flight. Both drive modes are the same here: Node's loop waits for everything.
 */
import * as fs from "node:fs";
import { assert } from "../../core/assert.ts";
import { allocatePages } from "../../native/memory.ts";
import type { Completion, FileHandle, Io, IoBuffer, IoStats, SocketHandle } from "../io.ts";
import { Errno } from "../io.ts";
import { type FileCalls, FileQueue } from "./file-queue.ts";
import { Sockets } from "./sockets.ts";
import { createStats } from "./stats.ts";
import { Turn } from "./turn.ts";

/** Node turns a longer delay into 1 ms. Milliseconds. */
const timeoutMsMax = 0x7fff_ffff;

/** The operations that libuv's pool gets at a time: one thread is left to others. */
function poolShare(): number {
  const size = Number(process.env["UV_THREADPOOL_SIZE"] ?? 4);
  return Number.isInteger(size) && size > 1 ? size - 1 : 1;
}

export class PortableIo implements Io {
  readonly name = "portable";
  readonly stats: IoStats = createStats();
  private readonly turn = new Turn(this.stats);
  private readonly files: FileQueue;
  private readonly sockets = new Sockets(this.turn, this.stats);
  private readonly timers = new Map<Completion, NodeJS.Timeout>();

  /** @param calls - The file system; tests give one with faults. */
  constructor(calls: FileCalls = fs) {
    this.files = new FileQueue(this.turn, this.stats, calls, poolShare());
  }

  allocate(sizeBytes: number): IoBuffer {
    return allocatePages(sizeBytes);
  }

  read(
    completion: Completion,
    file: FileHandle,
    buffer: IoBuffer,
    bufferAt: number,
    length: number,
    fileAt: number,
  ): void {
    this.files.read(completion, file, buffer, bufferAt, length, fileAt);
  }

  write(
    completion: Completion,
    file: FileHandle,
    buffer: IoBuffer,
    bufferAt: number,
    length: number,
    fileAt: number,
    durable: boolean,
  ): void {
    this.files.write(completion, file, buffer, bufferAt, length, fileAt, durable);
  }

  sync(completion: Completion, file: FileHandle): void {
    this.files.sync(completion, file);
  }

  listen(host: string, port: number): { readonly listener: SocketHandle; readonly port: number } {
    return this.sockets.listen(host, port);
  }

  accept(completion: Completion, listener: SocketHandle): void {
    this.sockets.accept(completion, listener);
  }

  connect(completion: Completion, host: string, port: number): void {
    this.sockets.connect(completion, host, port);
  }

  receive(
    completion: Completion,
    socket: SocketHandle,
    buffer: IoBuffer,
    bufferAt: number,
    length: number,
    whole: boolean,
  ): void {
    this.sockets.receive(completion, socket, buffer, bufferAt, length, whole);
  }

  send(
    completion: Completion,
    socket: SocketHandle,
    buffer: IoBuffer,
    bufferAt: number,
    length: number,
  ): void {
    this.sockets.send(completion, socket, buffer, bufferAt, length);
  }

  closeSocket(completion: Completion, socket: SocketHandle): void {
    this.sockets.close(completion, socket);
  }

  timeout(completion: Completion, milliseconds: number): void {
    assert(milliseconds >= 0, "a delay is not negative");
    assert(milliseconds <= timeoutMsMax, "a delay is within the limit");
    if (!this.turn.begin(completion)) return;
    if (milliseconds === 0) this.turn.end(completion, 0);
    else this.timers.set(completion, setTimeout(this.onTimeout, milliseconds, completion));
  }

  private readonly onTimeout = (completion: Completion): void => {
    this.timers.delete(completion);
    this.turn.end(completion, 0);
  };

  start(onTurn: () => void): void {
    this.turn.start(onTurn);
  }

  stop(onStopped: () => void): void {
    this.turn.stop(onStopped);
    for (const [completion, timer] of this.timers) {
      clearTimeout(timer);
      this.turn.end(completion, Errno.canceled);
    }
    this.timers.clear();
    this.files.cancelQueued();
    this.sockets.closeAll();
  }
}
