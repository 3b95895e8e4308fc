/**
 * File operations over libuv's thread pool.
 *
 * The pool is shared by the whole process (DNS, the application's own file calls) and runs first
 * come, first served; so only a few operations are handed to it at a time and the rest wait here.
 * Syncs are handed out first, since an acknowledgement waits for them.
 *
 * A durable write is a write followed by an fdatasync. One fdatasync makes durable every write that
 * had completed before it began; those that complete while it runs wait for the next one. Hence
 * per file: `waiting` (written, or a `sync` asked for; no fdatasync begun since) → `covered` (the
 * running fdatasync began after them) → ended.
 *
 * When fdatasync fails, the kernel may have dropped the dirty pages, and a second fdatasync would
 * report success over lost data. The file is failed from then on: its writes and syncs end with
 * the same error, for as long as this backend lives.
 */
import { assert } from "../../core/assert.ts";
import { RingQueue } from "../../core/ring-queue.ts";
import type { Completion, FileHandle, IoBuffer, IoStats } from "../io.ts";
import { Errno } from "../io.ts";
import { badHandle, errnoOf } from "./errno.ts";
import { countWriteLatency } from "./stats.ts";
import { operationsMax, type Turn } from "./turn.ts";

type Moved = (error: NodeJS.ErrnoException | null, bytes: number) => void;

/** The calls of `node:fs` that are used, replaceable by tests that inject faults. */
export interface FileCalls {
  read(fd: number, bytes: Uint8Array, at: number, length: number, from: number, done: Moved): void;
  write(fd: number, bytes: Uint8Array, at: number, length: number, to: number, done: Moved): void;
  fdatasync(fd: number, done: (error: NodeJS.ErrnoException | null) => void): void;
}

/** Calls in a row that may be interrupted without any progress before the error is reported. */
const interruptionsMax = 16;

const Kind = { read: 0, write: 1, sync: 2 } as const;
type Kind = (typeof Kind)[keyof typeof Kind];

/** One read, write or sync on its way; made once and used again and again. */
class FileOperation {
  kind: Kind = Kind.read;
  completion: Completion | null = null;
  file: FileState | null = null;
  buffer: IoBuffer | null = null;
  bufferAt = 0;
  length = 0;
  fileAt = 0;
  durable = false;
  /** Bytes read or written so far. */
  moved = 0;
  interruptions = 0;
  startedMs = 0;
  readonly onMoved: Moved;

  constructor(queue: FileQueue) {
    this.onMoved = (error, bytes) => queue.onMoved(this, error, bytes);
  }
}

class FileState {
  waiting: FileOperation[] = [];
  covered: FileOperation[] = [];
  /** An fdatasync is queued or running. */
  syncing = false;
  interruptions = 0;
  /** The errno of the fdatasync that failed; 0 while all went well. */
  failed = 0;
  readonly onSynced: (error: NodeJS.ErrnoException | null) => void;

  constructor(
    readonly fd: FileHandle,
    queue: FileQueue,
  ) {
    this.onSynced = (error) => queue.onSynced(this, error);
  }
}

export class FileQueue {
  private readonly free: FileOperation[] = [];
  private readonly files = new Map<FileHandle, FileState>();
  private readonly queue = new RingQueue<FileOperation>(operationsMax);
  private readonly syncQueue = new RingQueue<FileState>(operationsMax);
  /** Calls handed to the pool and not returned. */
  private running = 0;

  constructor(
    private readonly turn: Turn,
    private readonly stats: IoStats,
    private readonly calls: FileCalls,
    private readonly runningMax: number,
  ) {
    assert(runningMax > 0, "the pool may run something");
  }

  read(
    completion: Completion,
    fd: FileHandle,
    buffer: IoBuffer,
    bufferAt: number,
    length: number,
    fileAt: number,
  ): void {
    const file = this.begin(completion, fd);
    if (file === null) return;
    this.enqueue(Kind.read, completion, file, buffer, bufferAt, length, fileAt, false);
  }

  write(
    completion: Completion,
    fd: FileHandle,
    buffer: IoBuffer,
    bufferAt: number,
    length: number,
    fileAt: number,
    durable: boolean,
  ): void {
    const file = this.begin(completion, fd);
    if (file === null) return;
    if (file.failed !== 0) {
      this.turn.end(completion, file.failed);
      return;
    }
    this.enqueue(Kind.write, completion, file, buffer, bufferAt, length, fileAt, durable);
  }

  sync(completion: Completion, fd: FileHandle): void {
    const file = this.begin(completion, fd);
    if (file === null) return;
    if (file.failed !== 0) {
      this.turn.end(completion, file.failed);
      return;
    }
    const operation = this.free.pop() ?? new FileOperation(this);
    operation.kind = Kind.sync;
    operation.completion = completion;
    operation.file = file;
    this.awaitSync(operation);
    this.fillPool();
  }

  /** Ends what the pool has not got yet; what it has ends by itself. */
  cancelQueued(): void {
    for (let left = this.queue.length; left > 0; left -= 1) {
      this.end(this.queue.shift() as FileOperation, Errno.canceled);
    }
    for (let left = this.syncQueue.length; left > 0; left -= 1) {
      (this.syncQueue.shift() as FileState).syncing = false;
    }
    for (const file of this.files.values()) {
      for (const operation of file.waiting) this.end(operation, Errno.canceled);
      file.waiting.length = 0;
    }
  }

  private begin(completion: Completion, fd: FileHandle): FileState | null {
    if (!this.turn.begin(completion)) return null;
    // Node throws at what cannot be a descriptor; the contract has a result.
    if (fd < 0 || fd !== (fd | 0)) {
      this.turn.end(completion, badHandle);
      return null;
    }
    let file = this.files.get(fd);
    if (file === undefined) {
      file = new FileState(fd, this);
      this.files.set(fd, file);
    }
    return file;
  }

  private enqueue(
    kind: Kind,
    completion: Completion,
    file: FileState,
    buffer: IoBuffer,
    bufferAt: number,
    length: number,
    fileAt: number,
    durable: boolean,
  ): void {
    assert(length > 0, "a file operation moves something");
    assert(bufferAt >= 0, "a file operation starts inside its buffer");
    assert(bufferAt + length <= buffer.sizeBytes, "a file operation ends inside its buffer");
    assert(fileAt >= 0, "a file operation starts inside the file");
    const operation = this.free.pop() ?? new FileOperation(this);
    operation.kind = kind;
    operation.completion = completion;
    operation.file = file;
    operation.buffer = buffer;
    operation.bufferAt = bufferAt;
    operation.length = length;
    operation.fileAt = fileAt;
    operation.durable = durable;
    operation.moved = 0;
    operation.interruptions = 0;
    operation.startedMs = performance.now();
    this.queue.push(operation);
    this.fillPool();
  }

  private fillPool(): void {
    while (this.running < this.runningMax) {
      const file = this.syncQueue.shift();
      if (file !== undefined) {
        this.callSync(file);
        continue;
      }
      const operation = this.queue.shift();
      if (operation === undefined) return;
      this.call(operation);
    }
  }

  private call(operation: FileOperation): void {
    const { kind, moved } = operation;
    const bytes = (operation.buffer as IoBuffer).bytes;
    const fd = (operation.file as FileState).fd;
    const at = operation.bufferAt + moved;
    const length = operation.length - moved;
    const position = operation.fileAt + moved;
    this.running += 1;
    this.stats.systemCalls += 1;
    if (kind === Kind.read) this.calls.read(fd, bytes, at, length, position, operation.onMoved);
    else this.calls.write(fd, bytes, at, length, position, operation.onMoved);
  }

  onMoved(operation: FileOperation, error: NodeJS.ErrnoException | null, bytes: number): void {
    this.running -= 1;
    this.account(operation, error, bytes);
    this.fillPool();
  }

  private account(
    operation: FileOperation,
    error: NodeJS.ErrnoException | null,
    bytes: number,
  ): void {
    if (error !== null) {
      const errno = errnoOf(error);
      if (errno === -4 || errno === Errno.again) {
        operation.interruptions += 1;
        if (operation.interruptions <= interruptionsMax) this.call(operation);
        else this.end(operation, errno);
        return;
      }
      // Direct I/O: a read that met the end of the file cannot go on from inside a sector.
      const inSector = operation.moved > 0 && errno === Errno.invalid;
      this.end(operation, inSector ? Errno.io : errno);
      return;
    }
    assert(bytes <= operation.length - operation.moved, "no more is moved than was asked for");
    if (bytes === 0) {
      this.end(operation, Errno.io);
      return;
    }
    operation.moved += bytes;
    operation.interruptions = 0;
    if (operation.moved < operation.length) this.call(operation);
    else if (operation.kind === Kind.write && operation.durable) this.awaitSync(operation);
    else this.end(operation, operation.length);
  }

  private awaitSync(operation: FileOperation): void {
    const file = operation.file as FileState;
    if (file.failed !== 0) {
      this.end(operation, file.failed);
      return;
    }
    if (this.turn.stopping) {
      this.end(operation, Errno.canceled);
      return;
    }
    file.waiting.push(operation);
    if (file.syncing) return;
    file.syncing = true;
    this.syncQueue.push(file);
  }

  private callSync(file: FileState): void {
    assert(file.covered.length === 0, "one fdatasync at a time per file");
    const covered = file.covered;
    file.covered = file.waiting;
    file.waiting = covered;
    file.interruptions = 0;
    this.running += 1;
    this.stats.systemCalls += 1;
    this.calls.fdatasync(file.fd, file.onSynced);
  }

  onSynced(file: FileState, error: NodeJS.ErrnoException | null): void {
    this.running -= 1;
    const errno = error === null ? 0 : errnoOf(error);
    if (errno === -4 && file.interruptions < interruptionsMax) {
      // Interrupted before anything was decided: no data was given up.
      file.interruptions += 1;
      this.running += 1;
      this.stats.systemCalls += 1;
      this.calls.fdatasync(file.fd, file.onSynced);
      return;
    }
    // A wrong handle says nothing about the data; every other failure does.
    if (errno !== 0 && errno !== badHandle && errno !== Errno.invalid) file.failed = errno;
    const covered = file.covered;
    for (let at = 0; at < covered.length; at += 1) {
      const operation = covered[at] as FileOperation;
      this.end(
        operation,
        errno !== 0 ? errno : operation.kind === Kind.sync ? 0 : operation.length,
      );
    }
    covered.length = 0;
    file.syncing = false;
    if (file.failed !== 0) {
      for (const operation of file.waiting) this.end(operation, file.failed);
      file.waiting.length = 0;
    } else if (file.waiting.length > 0) {
      file.syncing = true;
      this.syncQueue.push(file);
    }
    this.fillPool();
  }

  private end(operation: FileOperation, result: number): void {
    if (result >= 0) this.count(operation);
    const completion = operation.completion as Completion;
    operation.completion = null;
    operation.buffer = null;
    operation.file = null;
    operation.moved = 0;
    this.free.push(operation);
    this.turn.end(completion, result);
  }

  private count(operation: FileOperation): void {
    const stats = this.stats;
    if (operation.kind === Kind.sync) {
      stats.syncs += 1;
    } else if (operation.kind === Kind.read) {
      stats.reads += 1;
      stats.readBytes += operation.length;
    } else {
      stats.writes += 1;
      stats.writeBytes += operation.length;
      countWriteLatency(stats, performance.now() - operation.startedMs);
    }
  }
}
