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
}
