/**
 * The data file of a stopped replica: locked while it is looked at, so that no replica starts on
 * it meanwhile, and only ever read. Where the user may not write, a file that nobody has locked is
 * read without a lock of our own.
 */
import { readSync } from "node:fs";
import { unreachable } from "../../core/assert.ts";
import { DataFileError, DataFileErrorCode } from "../../core/data-file-error.ts";
import { type Completion, Errno, type FileIo, type IoBuffer } from "../../io/io.ts";
import { closeDataFile, type DataFile, fileInUse, openDataFile } from "../../native/files.ts";
import { readLockFile } from "../../native/lock-file.ts";
import type { FileReader } from "../../wal/inspect.ts";

export class FileAtRest implements FileReader {
  private readonly file: DataFile;

  /** @throws {DataFileError} when a process has it open, or it cannot be read. */
  constructor(path: string) {
    this.file = open(path);
  }

  get sizeBytes(): number {
    return this.file.sizeBytes;
  }

  close(): void {
    closeDataFile(this.file);
  }

  read(target: Uint8Array, length: number, fileAt: number): boolean {
    let at = 0;
    while (at < length) {
      let count = 0;
      try {
        count = readSync(this.file.fd, target, at, length - at, fileAt + at);
      } catch (error) {
        // A sector that the disk cannot read is damage to be named, not a reason to stop.
        if ((error as NodeJS.ErrnoException).code === "EIO") return false;
        throw error;
      }
      if (count === 0) return false;
      at += count;
    }
    return true;
  }
}

/** The I/O seam over a file at rest, for the storage layer's readers. */
export class FileIoAtRest implements FileIo {
  private readonly ended: Completion[] = [];
  private buffers = 0;

  constructor(private readonly file: FileAtRest) {}

  allocate(sizeBytes: number): IoBuffer {
    const memory = new ArrayBuffer(sizeBytes);
    this.buffers += 1;
    return {
      id: this.buffers,
      sizeBytes,
      bytes: new Uint8Array(memory),
      words: new Uint32Array(memory),
    };
  }

  read(
    completion: Completion,
    _file: number,
    buffer: IoBuffer,
    bufferAt: number,
    length: number,
    fileAt: number,
  ): void {
    const target = buffer.bytes.subarray(bufferAt, bufferAt + length);
    completion.busy = true;
    completion.result = this.file.read(target, length, fileAt) ? length : Errno.io;
    this.ended.push(completion);
    // Completions come in a turn of their own, never from inside the call.
    if (this.ended.length === 1) setImmediate(() => this.complete());
  }

  private complete(): void {
    for (const completion of this.ended.splice(0)) {
      completion.busy = false;
      completion.onDone(completion);
    }
  }

  write(): void {
    unreachable("a file at rest is not written");
  }

  sync(): void {
    unreachable("a file at rest is not written");
  }
}

function open(path: string): DataFile {
  try {
    return openDataFile(path, { directIo: false });
  } catch (error) {
    if (!(error instanceof DataFileError) || error.code !== DataFileErrorCode.permission) {
      throw error;
    }
  }
  const file = openDataFile(path, { directIo: false, readOnly: true });
  const holder = readLockFile(`${path}.lock`);
  if (holder === null) return file;
  closeDataFile(file);
  throw fileInUse(path, holder.pid);
}
