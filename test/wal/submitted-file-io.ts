/**
 * What files of tests have in common: every operation passes one place, where the rules of `FileIo` are
 * asserted, and is then the file's own to carry out, fail or forget.
 */
import { assert } from "../../src/core/assert.ts";
import { sectorSize } from "../../src/core/limits.ts";
import type { Completion, FileHandle, FileIo, IoBuffer } from "../../src/io/io.ts";

export const FileOperation = { read: 0, write: 1, sync: 2 } as const;

export abstract class SubmittedFileIo implements FileIo {
  abstract readonly sizeBytes: number;

  abstract allocate(sizeBytes: number): IoBuffer;

  /** Takes an operation that keeps the rules. */
  protected abstract submit(
    kind: number,
    completion: Completion,
    buffer: IoBuffer | null,
    bufferAt: number,
    length: number,
    fileAt: number,
    durable: boolean,
  ): void;

  read(
    completion: Completion,
    _file: FileHandle,
    buffer: IoBuffer,
    bufferAt: number,
    length: number,
    fileAt: number,
  ): void {
    this.check(completion, buffer, bufferAt, length, fileAt);
    this.submit(FileOperation.read, completion, buffer, bufferAt, length, fileAt, false);
  }

  write(
    completion: Completion,
    _file: FileHandle,
    buffer: IoBuffer,
    bufferAt: number,
    length: number,
    fileAt: number,
    durable: boolean,
  ): void {
    this.check(completion, buffer, bufferAt, length, fileAt);
    this.submit(FileOperation.write, completion, buffer, bufferAt, length, fileAt, durable);
  }

  sync(completion: Completion, _file: FileHandle): void {
    assert(!completion.busy, "a completion is used once at a time");
    completion.busy = true;
    this.submit(FileOperation.sync, completion, null, 0, 0, 0, false);
  }

  private check(
    completion: Completion,
    buffer: IoBuffer,
    bufferAt: number,
    length: number,
    fileAt: number,
  ): void {
    assert(!completion.busy, "a completion is used once at a time");
    assert(length > 0, "something moves");
    assert(fileAt % sectorSize === 0, "offsets are whole sectors");
    assert(length % sectorSize === 0, "lengths are whole sectors");
    assert(bufferAt % sectorSize === 0, "memory is aligned");
    assert(bufferAt + length <= buffer.sizeBytes, "the buffer holds the range");
    assert(fileAt + length <= this.sizeBytes, "inside the file");
    completion.busy = true;
  }
}
