/**
 * The io_uring backend: all file and socket operations of a replica through one ring, which the
 * addon drives with one call per turn. Linux 5.11 and newer; best from 6.1 on.
 *
 * A `FileHandle` is a file descriptor; its owner opened it and closes it, when no operation on it
 * is in flight. See docs/internals/io.md.
 */
import { assert } from "../../core/assert.ts";
import { allocatePages } from "../../native/memory.ts";
import type { Completion, FileHandle, Io, IoBuffer, IoStats, SocketHandle } from "../io.ts";
import { type Drive, GuestDrive, OwnedDrive } from "./drive.ts";
import { completionsMax, Engine } from "./engine.ts";
import { FileOperations } from "./file-operations.ts";
import { probeUring, uringRefusal } from "./probe.ts";
import { RegisteredBuffers } from "./registered-buffers.ts";
import { SocketOperations } from "./socket-operations.ts";
import { UringStats } from "./stats.ts";

export interface UringOptions {
  /** Owned: this process is the server's. Guest: it is an application's. */
  readonly drive: "owned" | "guest";
  /** Size of the kernel's submission ring: a power of two, 1…4096. Default 256. */
  readonly entries?: number;
  /** Operations in flight at most: a power of two, 8…16,384. Default 8,192. */
  readonly operationsMax?: number;
  /**
   * Open files that the kernel shall keep at hand. Their descriptors stay open until `stop` has
   * called back, or `unregisterFile` was called.
   */
  readonly files?: readonly FileHandle[];
  /**
   * Let the kernel keep the memory of `allocate` at hand. Default: no, since it counts as locked
   * memory, of which a user that is not root may have 8 MiB in all.
   */
  readonly registeredBuffers?: boolean;
  /**
   * Owned drive: while a write of a file is in flight, a wait asks for completions this long before
   * it sleeps, where the machine has processors to spare. Microseconds; 0 sleeps at once. Default 200.
   */
  readonly pollUs?: number;
  /** For tests: behave as on a kernel not newer than this. */
  readonly kernel?: keyof typeof kernelLevels;
  /** For tests: as where no single write can be made durable. Default: what the probe found. */
  readonly durableWrite?: boolean;
}

/** How completions are delivered: RingLevel of native/uring/uring_queue.h. */
const kernelLevels = { "6.1": 0, "5.19": 1, "5.11": 2 } as const;

/** A backend, or one clause that says why there is none. */
export type UringResult =
  | { readonly io: UringIo; readonly reason: null }
  | { readonly io: null; readonly reason: string };

/** Two small durable writes of a fast disk. Waking up costs 15 to 30 µs on a virtual machine. */
const pollUsDefault = 200;

const isPowerOfTwo = (value: number): boolean => value > 0 && (value & (value - 1)) === 0;

/** Opens a ring where the kernel allows it. Never throws for want of io_uring. */
export function createUringIo(options: UringOptions): UringResult {
  const { drive, entries = 256, operationsMax = 8192, kernel = "6.1" } = options;
  assert(isPowerOfTwo(entries) && entries <= 4096, "entries is a power of two up to 4,096");
  assert(isPowerOfTwo(operationsMax), "operationsMax is a power of two");
  assert(operationsMax >= 8 && operationsMax <= 16_384, "operationsMax is 8…16,384");
  const capabilities = probeUring();
  if (typeof capabilities === "string") return { io: null, reason: capabilities };
  const { addon } = capabilities;
  const pollUs = drive === "owned" ? (options.pollUs ?? pollUsDefault) : 0;
  const level = kernelLevels[kernel];
  const ring = addon.ringOpen(entries, 2 * operationsMax, completionsMax, level, pollUs);
  if (typeof ring === "number") return { io: null, reason: uringRefusal(ring) };
  const stats = new UringStats(`uring (${drive})`);
  const engine = new Engine(addon, ring, stats, operationsMax);
  const durableWrite = options.durableWrite ?? capabilities.durableWrite;
  const buffers = options.registeredBuffers === true ? new RegisteredBuffers(engine) : null;
  const io = new UringIo(engine, drive, durableWrite, buffers);
  for (const file of options.files ?? []) io.registerFile(file);
  return { io, reason: null };
}

export class UringIo implements Io {
  readonly name = "uring";
  readonly stats: IoStats;
  private readonly engine: Engine;
  private readonly files: FileOperations;
  private readonly sockets: SocketOperations;
  private readonly drive: Drive;
  private started = false;

  constructor(
    engine: Engine,
    drive: "owned" | "guest",
    durableWrite: boolean,
    private readonly buffers: RegisteredBuffers | null,
  ) {
    this.engine = engine;
    this.stats = engine.stats;
    this.files = new FileOperations(engine, durableWrite);
    this.sockets = new SocketOperations(engine);
    this.drive = drive === "owned" ? new OwnedDrive(engine) : new GuestDrive(engine);
    engine.attach(this.files, this.sockets);
  }

  allocate(sizeBytes: number): IoBuffer {
    const buffer = allocatePages(sizeBytes);
    this.buffers?.register(buffer);
    return buffer;
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

  /**
   * Lets the kernel keep the file at hand. The owner takes it out again before closing it, unless
   * this backend was stopped before. False when the kernel refuses or there is no place left; the
   * file works all the same.
   */
  registerFile(file: FileHandle): boolean {
    return this.files.register(file);
  }

  unregisterFile(file: FileHandle): void {
    this.files.unregister(file);
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
    this.sockets.closeSocket(completion, socket);
  }

  timeout(completion: Completion, milliseconds: number): void {
    this.engine.timeout(completion, milliseconds);
  }

  start(onTurn: () => void): void {
    assert(!this.started, "a backend is started once");
    this.started = true;
    this.drive.start(onTurn);
  }

  stop(onStopped: () => void): void {
    if (!this.started) this.start(() => {});
    this.engine.stop(onStopped);
  }
}
