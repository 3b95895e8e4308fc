/**
 * Records what a run asked of its files, so that a crash can be tried at any point of it.
 *
 * `RecordingIo` wraps a backend and notes the begin and the end of every write and sync as events
 * numbered from 0. A crash point p is a moment between events: events below p have happened. From
 * the log, `CrashImages` (crash-image.ts) builds what a disk may hold after a crash at p.
 *
 * A write's bytes are copied when it begins: until it ends the buffer belongs to the backend, so
 * they cannot differ from what was written. Two writes in flight to one sector have no order that
 * anybody could rely on; that is a bug of the caller's and asserted here.
 *
 * Faults: a `FileFaults` may end operations with an error instead of having them done.
 */
import { assert } from "../../src/core/assert.ts";
import { sectorSize } from "../../src/core/limits.ts";
import type { FileHandle, Io, IoBuffer, IoStats, SocketHandle } from "../../src/io/io.ts";
import { Completion } from "../../src/io/io.ts";

export interface RecordedWrite {
  readonly file: FileHandle;
  readonly fileAt: number;
  readonly length: number;
  /** What was written, without the zeros at its end. */
  readonly bytes: Uint8Array;
  readonly durable: boolean;
  /** Event numbers; `endedAt` is infinite while in flight. */
  readonly begunAt: number;
  endedAt: number;
  /** As in the completion; valid once it ended. */
  result: number;
}

export interface RecordedSync {
  readonly file: FileHandle;
  readonly begunAt: number;
  endedAt: number;
  result: number;
}

export class IoLog {
  /** In the order in which they began. */
  readonly writes: RecordedWrite[] = [];
  readonly syncs: RecordedSync[] = [];
  /** Events so far: the crash point that is now. Read it when something is acknowledged. */
  position = 0;
  /** Copies of data held by the log. Bytes. */
  bytesKept = 0;

  beginWrite(file: FileHandle, fileAt: number, data: Uint8Array, durable: boolean): RecordedWrite {
    assert(fileAt % sectorSize === 0, "writes start on a sector");
    assert(data.length % sectorSize === 0, "writes are whole sectors");
    const bytes = data.slice(0, lengthWithoutZeros(data));
    const write: RecordedWrite = {
      file,
      fileAt,
      length: data.length,
      bytes,
      durable,
      begunAt: this.position,
      endedAt: Number.POSITIVE_INFINITY,
      result: 0,
    };
    this.writes.push(write);
    this.bytesKept += bytes.length;
    this.position += 1;
    return write;
  }

  beginSync(file: FileHandle): RecordedSync {
    const begunAt = this.position;
    const sync: RecordedSync = { file, begunAt, endedAt: Number.POSITIVE_INFINITY, result: 0 };
    this.syncs.push(sync);
    this.position += 1;
    return sync;
  }

  end(record: RecordedWrite | RecordedSync, result: number): void {
    assert(record.endedAt === Number.POSITIVE_INFINITY, "an operation ends once");
    record.endedAt = this.position;
    record.result = result;
    this.position += 1;
  }
}

function lengthWithoutZeros(bytes: Uint8Array): number {
  let length = bytes.length;
  while (length > 0 && bytes[length - 1] === 0) length -= 1;
  return length;
}

/** Which file operations fail: a negative errno to end one with, 0 to have it done. */
export interface FileFaults {
  onRead(file: FileHandle, fileAt: number, length: number): number;
  onWrite(file: FileHandle, fileAt: number, length: number): number;
  onSync(file: FileHandle): number;
}

export const noFaults: FileFaults = { onRead: () => 0, onWrite: () => 0, onSync: () => 0 };

export class RecordingIo implements Io {
  private readonly writing = new Set<RecordedWrite>();

  constructor(
    private readonly inner: Io,
    readonly log: IoLog,
    private readonly faults: FileFaults = noFaults,
  ) {}

  get name(): Io["name"] {
    return this.inner.name;
  }

  get stats(): IoStats {
    return this.inner.stats;
  }

  allocate(sizeBytes: number): IoBuffer {
    return this.inner.allocate(sizeBytes);
  }

  read(
    completion: Completion,
    file: FileHandle,
    buffer: IoBuffer,
    bufferAt: number,
    length: number,
    fileAt: number,
  ): void {
    const fault = this.faults.onRead(file, fileAt, length);
    if (fault === 0) this.inner.read(completion, file, buffer, bufferAt, length, fileAt);
    else this.run(completion, fault, null, () => {});
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
    for (const other of this.writing) {
      const apart = other.fileAt >= fileAt + length || other.fileAt + other.length <= fileAt;
      assert(other.file !== file || apart, "no two writes are in flight to one sector");
    }
    const data = buffer.bytes.subarray(bufferAt, bufferAt + length);
    const write = this.log.beginWrite(file, fileAt, data, durable);
    this.writing.add(write);
    const fault = this.faults.onWrite(file, fileAt, length);
    this.run(completion, fault, write, (c) =>
      this.inner.write(c, file, buffer, bufferAt, length, fileAt, durable),
    );
  }

  sync(completion: Completion, file: FileHandle): void {
    const sync = this.log.beginSync(file);
    const fault = this.faults.onSync(file);
    this.run(completion, fault, sync, (c) => this.inner.sync(c, file));
  }

  /** Has the operation done, or fails it from a later turn; notes its end, then calls back. */
  private run(
    completion: Completion,
    fault: number,
    record: RecordedWrite | RecordedSync | null,
    begin: (inner: Completion) => void,
  ): void {
    assert(!completion.busy, "a completion serves one operation at a time");
    completion.busy = true;
    const inner = new Completion((done) => {
      completion.result = fault === 0 ? done.result : fault;
      if (record !== null) {
        this.log.end(record, completion.result);
        this.writing.delete(record as RecordedWrite);
      }
      completion.busy = false;
      completion.onDone(completion);
    });
    if (fault === 0) begin(inner);
    else this.inner.timeout(inner, 0);
  }

  listen(host: string, port: number): { readonly listener: SocketHandle; readonly port: number } {
    return this.inner.listen(host, port);
  }

  accept(completion: Completion, listener: SocketHandle): void {
    this.inner.accept(completion, listener);
  }

  connect(completion: Completion, host: string, port: number): void {
    this.inner.connect(completion, host, port);
  }

  receive(
    completion: Completion,
    socket: SocketHandle,
    buffer: IoBuffer,
    bufferAt: number,
    length: number,
    whole: boolean,
  ): void {
    this.inner.receive(completion, socket, buffer, bufferAt, length, whole);
  }

  send(
    completion: Completion,
    socket: SocketHandle,
    buffer: IoBuffer,
    bufferAt: number,
    length: number,
  ): void {
    this.inner.send(completion, socket, buffer, bufferAt, length);
  }

  closeSocket(completion: Completion, socket: SocketHandle): void {
    this.inner.closeSocket(completion, socket);
  }

  timeout(completion: Completion, milliseconds: number): void {
    this.inner.timeout(completion, milliseconds);
  }

  start(onTurn: () => void): void {
    this.inner.start(onTurn);
  }

  stop(onStopped: () => void): void {
    this.inner.stop(onStopped);
  }
}
