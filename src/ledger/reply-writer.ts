/**
 * Writes the reply of a read-only operation: elements one after the other, then, for multi-batch
 * operations, the trailer that says how many each sub-batch has.
 */
import { assert } from "../core/assert.ts";
import { isMultiBatch, resultSize, writeTrailer } from "./batch.ts";
import { bodySizeMax } from "./records.ts";
import type { Request } from "./request.ts";

export class ReplyWriter {
  words: Uint32Array = new Uint32Array(0);
  /** Where the next element goes. */
  wordAt = 0;
  private bytes: Uint8Array = new Uint8Array(0);
  private byteAt = 0;
  private operation = 0;
  private elementSize = 0;
  private elements = 0;
  private subBatches = 0;
  private readonly counts = new Uint16Array(0x1_0000);

  begin(request: Request): void {
    this.words = request.reply;
    this.bytes = request.replyBytes;
    this.byteAt = request.replyByteAt;
    this.wordAt = request.replyWordAt;
    this.operation = request.operation;
    this.elementSize = resultSize(request.operation);
    this.elements = 0;
    this.subBatches = 0;
    this.counts[0] = 0;
  }

  /** Elements of the sub-batch in progress. */
  get count(): number {
    return this.counts[this.subBatches]!;
  }

  /** Counts the element just written at `wordAt`. */
  advance(): void {
    this.elements += 1;
    this.counts[this.subBatches] = this.counts[this.subBatches]! + 1;
    this.wordAt += this.elementSize / 4;
    assert(this.elements * this.elementSize <= bodySizeMax, "the reply fits a message");
  }

  /** Copies a record as the next element. */
  copy(source: Uint32Array, at: number): void {
    const words = this.elementSize / 4;
    for (let word = 0; word < words; word += 1) {
      this.words[this.wordAt + word] = source[at + word]!;
    }
    this.advance();
  }

  endSubBatch(): void {
    this.subBatches += 1;
    assert(this.subBatches <= 0xffff, "sub-batches are counted in 16 bits");
    this.counts[this.subBatches] = 0;
  }

  /** Returns the length of the reply. */
  finish(): number {
    const size = this.elements * this.elementSize;
    if (!isMultiBatch(this.operation)) return size;
    return writeTrailer(
      this.bytes,
      this.byteAt,
      size,
      this.elementSize,
      this.counts,
      this.subBatches,
    );
  }
}
