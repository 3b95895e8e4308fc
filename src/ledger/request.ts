/**
 * The request in progress: one object, filled at prefetch and read until the end of commit. Bodies
 * lie in a message's buffer, seen both as bytes and as words.
 */
export class Request {
  operation = 0;
  /** The operation's timestamp. */
  readonly timestamp = new Uint32Array(2);
  words: Uint32Array = new Uint32Array(0);
  bytes: Uint8Array = new Uint8Array(0);
  byteAt = 0;
  wordAt = 0;
  byteLength = 0;
  /** Events of all sub-batches together. */
  events = 0;
  reply: Uint32Array = new Uint32Array(0);
  replyBytes: Uint8Array = new Uint8Array(0);
  replyByteAt = 0;
  replyWordAt = 0;

  /**
   * Copies the timestamp of an event: event i of N has P − N + 1 + i, where P is the operation's,
   * so that the last event gets exactly P (semantics.md §1.2).
   */
  copyEventTime(event: number, target: Uint32Array): void {
    const low = this.timestamp[0]! - (this.events - 1 - event);
    target[0] = low;
    target[1] = low < 0 ? this.timestamp[1]! - 1 : this.timestamp[1]!;
  }
}
