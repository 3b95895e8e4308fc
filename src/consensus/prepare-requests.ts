/**
 * Reads the requests out of a prepare: one for a plain prepare, several for a group. The executor
 * walks them in order; for each, this cursor tells client, request number, checksum, release,
 * operation, where the body lies, and the timestamp as if the request were an op of its own.
 *
 * A prepare may come from a disk or from a peer, so `open` checks every length and count before
 * any of it is used; it has been checksummed by then, hence a failure is a bug or a foreign format.
 */
import { assert } from "../core/assert.ts";
import { groupRequestsMax, headerSize } from "../core/limits.ts";
import { u64AddNumber } from "../core/u128.ts";
import type { IoBuffer } from "../io/io.ts";
import { frame, groupEntry, prepareHeader } from "../wire/header.ts";
import { Operation } from "../wire/operations.ts";

/** How far a request moves the log's timestamp: its number of events (semantics.md §1.1). */
export interface TimestampDeltas {
  timestampDelta(
    operation: number,
    words: Uint32Array,
    bytes: Uint8Array,
    bodyAt: number,
    bodySize: number,
  ): number;
}

const entryWords = groupEntry.size / 4;
const none = new Uint32Array(0);

export class PrepareRequests {
  /** Words that hold the current request's facts: the prepare's own, or its group table. */
  words: Uint32Array = none;
  clientAt = 0;
  requestChecksumAt = 0;
  request = 0;
  release = 0;
  operation = 0;
  /** Byte offset and length of the current request's body in the prepare. */
  bodyAt = 0;
  bodySize = 0;
  /** Timestamp of the current request, low and high word. */
  readonly timestamp = new Uint32Array(2);
  count = 0;

  private prepare: IoBuffer | null = null;
  private index = 0;
  private tableWord = 0;
  private deltas: TimestampDeltas;
  private group = false;

  constructor(deltas: TimestampDeltas) {
    this.deltas = deltas;
  }

  /**
   * Starts with a verified prepare. `next` must be called before the first request is read.
   * @returns false when the group table contradicts the message's size.
   */
  open(prepare: IoBuffer): boolean {
    const words = prepare.words;
    const size = words[frame.word.size]!;
    const operation = prepare.bytes[prepareHeader.at.operation]!;
    const requests = prepare.bytes[prepareHeader.at.requests]!;
    this.prepare = prepare;
    this.words = words;
    this.index = -1;
    this.count = requests;
    this.group = operation === Operation.group;
    if (!this.group) {
      this.count = 1;
      this.timestamp[0] = words[prepareHeader.word.timestamp]!;
      this.timestamp[1] = words[prepareHeader.word.timestamp + 1]!;
      return requests <= 1;
    }
    if (requests < 2 || requests > groupRequestsMax) return false;
    const tableSize = requests * groupEntry.size;
    const tableAt = size - tableSize;
    if (tableAt < headerSize || tableAt % 4 !== 0) return false;
    this.tableWord = tableAt / 4;
    return this.checkTable(tableAt) && this.rewindTimestamp();
  }

  private checkTable(tableAt: number): boolean {
    let bodies = 0;
    for (let index = 0; index < this.count; index += 1) {
      const at = this.tableWord + index * entryWords;
      const bodySize = this.words[at + groupEntry.word.bodySize]!;
      if (bodySize % 4 !== 0 || bodySize > tableAt) return false;
      const operation = this.words[at + groupEntry.word.operation]!;
      if (operation > 0xff || operation === Operation.group) return false;
      bodies += bodySize;
    }
    return headerSize + bodies === tableAt;
  }

  /** Sets `timestamp` to the group's base: the prepare's timestamp is that of its last request. */
  private rewindTimestamp(): boolean {
    assert(this.prepare !== null, "a prepare is open");
    const words = this.words;
    let span = this.count - 1;
    let bodyAt = headerSize;
    for (let index = 0; index < this.count; index += 1) {
      const at = this.tableWord + index * entryWords;
      const bodySize = words[at + groupEntry.word.bodySize]!;
      const operation = words[at + groupEntry.word.operation]!;
      span += this.deltas.timestampDelta(operation, words, this.prepare.bytes, bodyAt, bodySize);
      bodyAt += bodySize;
    }
    const low = words[prepareHeader.word.timestamp]! - span;
    const high = words[prepareHeader.word.timestamp + 1]! - (low < 0 ? 1 : 0);
    // One less, since each request first takes one nanosecond.
    const lowBefore = (low < 0 ? low + 0x1_0000_0000 : low) - 1;
    const highBefore = high - (lowBefore < 0 ? 1 : 0);
    this.timestamp[0] = lowBefore;
    this.timestamp[1] = highBefore;
    return highBefore >= 0;
  }

  /** Moves to the next request; false when there is none. */
  next(): boolean {
    this.index += 1;
    if (this.index === this.count) return false;
    assert(this.prepare !== null, "a prepare is open");
    const words = this.words;
    if (!this.group) {
      this.clientAt = prepareHeader.word.client;
      this.requestChecksumAt = prepareHeader.word.requestChecksum;
      this.request = words[prepareHeader.word.request]!;
      this.release = words[frame.word.release]!;
      this.operation = this.prepare.bytes[prepareHeader.at.operation]!;
      this.bodyAt = headerSize;
      this.bodySize = words[frame.word.size]! - headerSize;
      return true;
    }
    this.bodyAt = this.index === 0 ? headerSize : this.bodyAt + this.bodySize;
    const at = this.tableWord + this.index * entryWords;
    this.clientAt = at + groupEntry.word.client;
    this.requestChecksumAt = at + groupEntry.word.requestChecksum;
    this.request = words[at + groupEntry.word.request]!;
    this.release = words[at + groupEntry.word.release]!;
    this.operation = words[at + groupEntry.word.operation]!;
    this.bodySize = words[at + groupEntry.word.bodySize]!;
    const delta = this.deltas.timestampDelta(
      this.operation,
      words,
      this.prepare.bytes,
      this.bodyAt,
      this.bodySize,
    );
    u64AddNumber(this.timestamp, 0, this.timestamp[0]!, this.timestamp[1]!, 1 + delta);
    return true;
  }

  close(): void {
    this.prepare = null;
    this.words = none;
  }
}
