/**
 * Writes headers. Every builder writes all 256 bytes, whatever lay there before, and leaves the
 * message sealed: the body must be in place first, at `at` + 256.
 *
 * `at` is a byte offset, a multiple of 4; 128-bit fields come as four words in arrays of the
 * caller. The structures of fields are made once by the caller and filled again for each message,
 * so that building allocates nothing.
 */
import { assert } from "../core/assert.ts";
import { headerSize, messageSizeMax } from "../core/limits.ts";
import { u64WriteNumber, u128Copy, u128IsZero } from "../core/u128.ts";
import { checksum, checksumOfEmpty } from "../native/checksum.ts";
import {
  Command,
  evictionHeader,
  frame,
  pingClientHeader,
  pongClientHeader,
  replyHeader,
  requestHeader,
} from "./header.ts";

const headerWords = headerSize / 4;
const checkedAt = frame.at.checksumPadding;

/** Zeroes the header and writes what all messages have in common. Leaves it unsealed. */
export function beginHeader(
  bytes: Uint8Array,
  words: Uint32Array,
  at: number,
  command: number,
  cluster: Uint32Array,
  bodySize: number,
): void {
  assert(at % 4 === 0, "headers are read as words");
  assert(headerSize + bodySize <= messageSizeMax, "a message has a largest size");
  const word = at >>> 2;
  words.fill(0, word, word + headerWords);
  u128Copy(words, word + frame.word.cluster, cluster, 0);
  words[word + frame.word.size] = headerSize + bodySize;
  bytes[at + frame.at.command] = command;
}

/** Writes both checksums, of the body first, since the header's covers it. */
export function sealHeader(bytes: Uint8Array, words: Uint32Array, at: number): void {
  const bodySize = words[(at >>> 2) + frame.word.size]! - headerSize;
  if (bodySize === 0) {
    for (let index = 0; index < 16; index += 1) {
      bytes[at + frame.at.checksumBody + index] = checksumOfEmpty[index]!;
    }
  } else {
    checksum(bytes, at + frame.at.checksumBody, bytes, at + headerSize, bodySize);
  }
  resealHeader(bytes, at);
}

/** Writes the header's checksum alone: the body and its checksum have not changed. */
export function resealHeader(bytes: Uint8Array, at: number): void {
  checksum(bytes, at, bytes, at + checkedAt, headerSize - checkedAt);
}

export class RequestFields {
  readonly cluster = new Uint32Array(4);
  readonly client = new Uint32Array(4);
  /** Context of the reply before; zero for `register`. */
  readonly parent = new Uint32Array(4);
  view = 0;
  release = 0;
  session = 0;
  request = 0;
  operation = 0;
  previousRequestLatencyUs = 0;
  bodySize = 0;
}

export function writeRequest(
  bytes: Uint8Array,
  words: Uint32Array,
  at: number,
  fields: RequestFields,
): void {
  const word = at >>> 2;
  beginHeader(bytes, words, at, Command.request, fields.cluster, fields.bodySize);
  words[word + frame.word.view] = fields.view;
  words[word + frame.word.release] = fields.release;
  u128Copy(words, word + requestHeader.word.parent, fields.parent, 0);
  u128Copy(words, word + requestHeader.word.client, fields.client, 0);
  u64WriteNumber(words, word + requestHeader.word.session, fields.session);
  words[word + requestHeader.word.request] = fields.request;
  bytes[at + requestHeader.at.operation] = fields.operation;
  words[word + requestHeader.word.previousRequestLatency] = fields.previousRequestLatencyUs;
  sealHeader(bytes, words, at);
}

export class ReplyFields {
  readonly cluster = new Uint32Array(4);
  readonly client = new Uint32Array(4);
  readonly requestChecksum = new Uint32Array(4);
  view = 0;
  /** Repeats the release of the request. */
  release = 0;
  /** Index of the primary that prepared the request. */
  replica = 0;
  op = 0;
  timestampLow = 0;
  timestampHigh = 0;
  request = 0;
  operation = 0;
  bodySize = 0;
}

/** Writes a reply whose `context` follows from request checksum, op and timestamp. */
export function writeReply(
  bytes: Uint8Array,
  words: Uint32Array,
  at: number,
  fields: ReplyFields,
): void {
  const word = at >>> 2;
  beginHeader(bytes, words, at, Command.reply, fields.cluster, fields.bodySize);
  words[word + frame.word.view] = fields.view;
  words[word + frame.word.release] = fields.release;
  bytes[at + frame.at.replica] = fields.replica;
  u128Copy(words, word + replyHeader.word.requestChecksum, fields.requestChecksum, 0);
  u128Copy(words, word + replyHeader.word.client, fields.client, 0);
  u64WriteNumber(words, word + replyHeader.word.op, fields.op);
  u64WriteNumber(words, word + replyHeader.word.commit, fields.op);
  words[word + replyHeader.word.timestamp] = fields.timestampLow;
  words[word + replyHeader.word.timestamp + 1] = fields.timestampHigh;
  words[word + replyHeader.word.request] = fields.request;
  bytes[at + replyHeader.at.operation] = fields.operation;
  writeContext(bytes, words, at);
  sealHeader(bytes, words, at);
}

/**
 * `context` := checksum of (request checksum, op, timestamp), never zero. It does not cover the
 * body, so that a query that runs again can repeat it (docs: client sessions).
 */
function writeContext(bytes: Uint8Array, words: Uint32Array, at: number): void {
  const word = at >>> 2;
  // The 32 bytes are gathered where the context and its padding will be.
  const contextWord = word + replyHeader.word.context;
  u128Copy(words, contextWord, words, word + replyHeader.word.requestChecksum);
  words[contextWord + 4] = words[word + replyHeader.word.op]!;
  words[contextWord + 5] = words[word + replyHeader.word.op + 1]!;
  words[contextWord + 6] = words[word + replyHeader.word.timestamp]!;
  words[contextWord + 7] = words[word + replyHeader.word.timestamp + 1]!;
  const contextAt = at + replyHeader.at.context;
  checksum(bytes, contextAt, bytes, contextAt, 32);
  words.fill(0, contextWord + 4, contextWord + 8);
  if (u128IsZero(words, contextWord)) words[contextWord] = 1;
}

/** Answers the ping_client whose header is at pingWords[pingAt >>> 2]. */
export function writePongClient(
  bytes: Uint8Array,
  words: Uint32Array,
  at: number,
  pingWords: Uint32Array,
  pingAt: number,
  cluster: Uint32Array,
  view: number,
  release: number,
  replica: number,
): void {
  const word = at >>> 2;
  const source = (pingAt >>> 2) + pingClientHeader.word.pingTimestampMonotonic;
  const timestampLow = pingWords[source]!;
  const timestampHigh = pingWords[source + 1]!;
  beginHeader(bytes, words, at, Command.pongClient, cluster, 0);
  words[word + frame.word.view] = view;
  words[word + frame.word.release] = release;
  bytes[at + frame.at.replica] = replica;
  words[word + pongClientHeader.word.pingTimestampMonotonic] = timestampLow;
  words[word + pongClientHeader.word.pingTimestampMonotonic + 1] = timestampHigh;
  sealHeader(bytes, words, at);
}

/** @param clientWords - The client addressed, in four words at `clientAt` (an index of words). */
export function writeEviction(
  bytes: Uint8Array,
  words: Uint32Array,
  at: number,
  clientWords: Uint32Array,
  clientAt: number,
  cluster: Uint32Array,
  view: number,
  release: number,
  replica: number,
  reason: number,
): void {
  assert(words !== clientWords, "the client does not lie in the header being cleared");
  const word = at >>> 2;
  beginHeader(bytes, words, at, Command.eviction, cluster, 0);
  words[word + frame.word.view] = view;
  words[word + frame.word.release] = release;
  bytes[at + frame.at.replica] = replica;
  u128Copy(words, word + evictionHeader.word.client, clientWords, clientAt);
  bytes[at + evictionHeader.at.reason] = reason;
  sealHeader(bytes, words, at);
}

/** @param session - The session's number, or 0 before registration. */
export function writePingClient(
  bytes: Uint8Array,
  words: Uint32Array,
  at: number,
  client: Uint32Array,
  cluster: Uint32Array,
  release: number,
  session: number,
  timestampLow: number,
  timestampHigh: number,
): void {
  const word = at >>> 2;
  beginHeader(bytes, words, at, Command.pingClient, cluster, 0);
  words[word + frame.word.release] = release;
  u128Copy(words, word + pingClientHeader.word.client, client, 0);
  words[word + pingClientHeader.word.pingTimestampMonotonic] = timestampLow;
  words[word + pingClientHeader.word.pingTimestampMonotonic + 1] = timestampHigh;
  u64WriteNumber(words, word + pingClientHeader.word.session, session);
  sealHeader(bytes, words, at);
}
