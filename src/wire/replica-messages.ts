/**
 * Writes the messages between replicas, each at the start of its memory. As in build.ts a builder
 * writes all 256 bytes of the header and leaves the message sealed, so that a body must be in place
 * first: in bodies that are lists, entry i at its own place (`bodyHeaderAt` and the like).
 *
 * 128-bit values come as four words at an index of an array of the caller's, never from the header
 * that is being written.
 */
import { assert } from "../core/assert.ts";
import { blockSize, checkpointStateSize, headerSize, viewHeadersMax } from "../core/limits.ts";
import { u64WriteNumber, u128Copy } from "../core/u128.ts";
import { beginHeader, sealHeader } from "./build.ts";
import { Command, frame, prepareHeader } from "./header.ts";
import {
  blockHeader,
  blockRequest,
  blockRequestsMax,
  commitHeader,
  getHeadersHeader,
  getPrepareHeader,
  getReplyHeader,
  getViewHeader,
  headersMax,
  joinHeadersMax,
  joinViewHeader,
  pingHeader,
  pongHeader,
  prepareOkHeader,
  viewHeader,
} from "./replica-headers.ts";

const headerWords = headerSize / 4;
const blockRequestWords = blockRequest.size / 4;

function begin(
  bytes: Uint8Array,
  words: Uint32Array,
  command: number,
  cluster: Uint32Array,
  view: number,
  replica: number,
  bodySize: number,
): void {
  beginHeader(bytes, words, 0, command, cluster, bodySize);
  words[frame.word.view] = view;
  bytes[frame.at.replica] = replica;
}

export class PingFields {
  readonly checkpointId = new Uint32Array(4);
  checkpointOp = 0;
  /** Low and high word, nanoseconds. */
  readonly monotonic = new Uint32Array(2);
  /** Checksum of the root prepare. */
  readonly formatId = new Uint32Array(4);
  replicaCount = 0;
  voteless = false;
}

export function writePing(
  bytes: Uint8Array,
  words: Uint32Array,
  cluster: Uint32Array,
  view: number,
  replica: number,
  fields: PingFields,
): void {
  begin(bytes, words, Command.ping, cluster, view, replica, 0);
  u128Copy(words, pingHeader.word.checkpointId, fields.checkpointId, 0);
  u64WriteNumber(words, pingHeader.word.checkpointOp, fields.checkpointOp);
  words[pingHeader.word.monotonic] = fields.monotonic[0]!;
  words[pingHeader.word.monotonic + 1] = fields.monotonic[1]!;
  u128Copy(words, pingHeader.word.formatId, fields.formatId, 0);
  bytes[pingHeader.at.replicaCount] = fields.replicaCount;
  bytes[pingHeader.at.voteless] = fields.voteless ? 1 : 0;
  sealHeader(bytes, words, 0);
}

/**
 * @param pingWords - The header of the ping that is answered.
 * @param wall - Low and high word, nanoseconds.
 */
export function writePong(
  bytes: Uint8Array,
  words: Uint32Array,
  cluster: Uint32Array,
  view: number,
  replica: number,
  pingWords: Uint32Array,
  wall: Uint32Array,
): void {
  assert(words !== pingWords, "the ping does not lie in the header being cleared");
  begin(bytes, words, Command.pong, cluster, view, replica, 0);
  words[pongHeader.word.monotonic] = pingWords[pingHeader.word.monotonic]!;
  words[pongHeader.word.monotonic + 1] = pingWords[pingHeader.word.monotonic + 1]!;
  words[pongHeader.word.wall] = wall[0]!;
  words[pongHeader.word.wall + 1] = wall[1]!;
  sealHeader(bytes, words, 0);
}

/** @param prepareWords - The prepare's header, at `prepareAt` (an index of words). */
export function writePrepareOk(
  bytes: Uint8Array,
  words: Uint32Array,
  cluster: Uint32Array,
  view: number,
  replica: number,
  prepareWords: Uint32Array,
  prepareAt: number,
  commitMin: number,
  checkpointOp: number,
): void {
  assert(words !== prepareWords, "the prepare does not lie in the header being cleared");
  begin(bytes, words, Command.prepareOk, cluster, view, replica, 0);
  const checksumAt = prepareAt + frame.word.checksum;
  u128Copy(words, prepareOkHeader.word.prepareChecksum, prepareWords, checksumAt);
  const opAt = prepareAt + prepareHeader.word.op;
  words[prepareOkHeader.word.op] = prepareWords[opAt]!;
  words[prepareOkHeader.word.op + 1] = prepareWords[opAt + 1]!;
  u64WriteNumber(words, prepareOkHeader.word.commitMin, commitMin);
  u64WriteNumber(words, prepareOkHeader.word.checkpointOp, checkpointOp);
  sealHeader(bytes, words, 0);
}

/** @param commitChecksum - Checksum of the prepare of op `commit`, in four words at `checksumAt`. */
export function writeCommit(
  bytes: Uint8Array,
  words: Uint32Array,
  cluster: Uint32Array,
  view: number,
  replica: number,
  commitChecksum: Uint32Array,
  checksumAt: number,
  commit: number,
  checkpointId: Uint32Array,
  checkpointOp: number,
): void {
  begin(bytes, words, Command.commit, cluster, view, replica, 0);
  u128Copy(words, commitHeader.word.commitChecksum, commitChecksum, checksumAt);
  u64WriteNumber(words, commitHeader.word.commit, commit);
  u64WriteNumber(words, commitHeader.word.checkpointOp, checkpointOp);
  u128Copy(words, commitHeader.word.checkpointId, checkpointId, 0);
  sealHeader(bytes, words, 0);
}

export function writeExitView(
  bytes: Uint8Array,
  words: Uint32Array,
  cluster: Uint32Array,
  view: number,
  replica: number,
): void {
  begin(bytes, words, Command.exitView, cluster, view, replica, 0);
  sealHeader(bytes, words, 0);
}

/** First word of the header at `index` of the body of a join_view or headers message. */
export function bodyHeaderAt(index: number): number {
  return headerWords * (1 + index);
}

/** First word of the header at `index` of a view's body, behind its checkpoint state. */
export function viewBodyHeaderAt(index: number): number {
  return checkpointStateSize / 4 + headerWords * (1 + index);
}

/** Writes what stands for an unknown header in a join_view, from word `at` on. */
export function writeBlankHeader(words: Uint32Array, at: number, op: number): void {
  words.fill(0, at, at + headerWords);
  u64WriteNumber(words, at + prepareHeader.word.op, op);
}

/** True for a blank among the headers of a join_view, whose rules were checked. */
export function isBlankHeader(words: Uint32Array, at: number): boolean {
  return words[at + frame.word.size] === 0;
}

export class JoinViewFields {
  op = 0;
  commitMin = 0;
  commitMax = 0;
  checkpointOp = 0;
  logView = 0;
  /** Bit i speaks of header i of the body. */
  present = 0;
  nack = 0;
}

/** @param headerCount - Headers in the body: of `fields.op`, the op before it, and so on. */
export function writeJoinView(
  bytes: Uint8Array,
  words: Uint32Array,
  cluster: Uint32Array,
  view: number,
  replica: number,
  fields: JoinViewFields,
  headerCount: number,
): void {
  assert(headerCount >= 1, "a join_view has a header");
  assert(headerCount <= joinHeadersMax, "headers of a join_view are limited");
  begin(bytes, words, Command.joinView, cluster, view, replica, headerCount * headerSize);
  u64WriteNumber(words, joinViewHeader.word.op, fields.op);
  u64WriteNumber(words, joinViewHeader.word.commitMin, fields.commitMin);
  u64WriteNumber(words, joinViewHeader.word.commitMax, fields.commitMax);
  u64WriteNumber(words, joinViewHeader.word.checkpointOp, fields.checkpointOp);
  words[joinViewHeader.word.logView] = fields.logView;
  words[joinViewHeader.word.present] = fields.present;
  words[joinViewHeader.word.nack] = fields.nack;
  sealHeader(bytes, words, 0);
}

export class ViewFields {
  /** Of the get_view that is answered; zero when nobody asked. */
  readonly nonce = new Uint32Array(4);
  op = 0;
  commitMax = 0;
  checkpointOp = 0;
  checkpointOnly = false;
}

/** @param headerCount - Headers in the body, after the checkpoint state. */
export function writeView(
  bytes: Uint8Array,
  words: Uint32Array,
  cluster: Uint32Array,
  view: number,
  replica: number,
  fields: ViewFields,
  headerCount: number,
): void {
  assert(headerCount >= 1, "a view has a header");
  assert(headerCount <= viewHeadersMax, "headers of a view are limited");
  const bodySize = checkpointStateSize + headerCount * headerSize;
  begin(bytes, words, Command.view, cluster, view, replica, bodySize);
  u128Copy(words, viewHeader.word.nonce, fields.nonce, 0);
  u64WriteNumber(words, viewHeader.word.op, fields.op);
  u64WriteNumber(words, viewHeader.word.commitMax, fields.commitMax);
  u64WriteNumber(words, viewHeader.word.checkpointOp, fields.checkpointOp);
  words[viewHeader.word.checkpointOnly] = fields.checkpointOnly ? 1 : 0;
  sealHeader(bytes, words, 0);
}

/** @param nonce - Not zero: it tells the answer from a `view` that nobody asked for. */
export function writeGetView(
  bytes: Uint8Array,
  words: Uint32Array,
  cluster: Uint32Array,
  view: number,
  replica: number,
  nonce: Uint32Array,
  opening: boolean,
): void {
  begin(bytes, words, Command.getView, cluster, view, replica, 0);
  u128Copy(words, getViewHeader.word.nonce, nonce, 0);
  words[getViewHeader.word.opening] = opening ? 1 : 0;
  sealHeader(bytes, words, 0);
}

export function writeGetHeaders(
  bytes: Uint8Array,
  words: Uint32Array,
  cluster: Uint32Array,
  view: number,
  replica: number,
  opMin: number,
  opMax: number,
): void {
  assert(opMin <= opMax, "a range has an op");
  begin(bytes, words, Command.getHeaders, cluster, view, replica, 0);
  u64WriteNumber(words, getHeadersHeader.word.opMin, opMin);
  u64WriteNumber(words, getHeadersHeader.word.opMax, opMax);
  sealHeader(bytes, words, 0);
}

/** @param headerCount - Headers in the body, highest op first. */
export function writeHeaders(
  bytes: Uint8Array,
  words: Uint32Array,
  cluster: Uint32Array,
  view: number,
  replica: number,
  headerCount: number,
): void {
  assert(headerCount >= 1, "headers are at least one");
  assert(headerCount <= headersMax, "headers of one message are limited");
  begin(bytes, words, Command.headers, cluster, view, replica, headerCount * headerSize);
  sealHeader(bytes, words, 0);
}

/** @param checksum - Of the prepare, in four words at `checksumAt`. */
export function writeGetPrepare(
  bytes: Uint8Array,
  words: Uint32Array,
  cluster: Uint32Array,
  view: number,
  replica: number,
  checksum: Uint32Array,
  checksumAt: number,
  op: number,
): void {
  begin(bytes, words, Command.getPrepare, cluster, view, replica, 0);
  u128Copy(words, getPrepareHeader.word.prepareChecksum, checksum, checksumAt);
  u64WriteNumber(words, getPrepareHeader.word.op, op);
  sealHeader(bytes, words, 0);
}

/**
 * @param checksum - Of the reply, in four words at `checksumAt`.
 * @param client - Whose reply it is, in four words at `clientAt`.
 */
export function writeGetReply(
  bytes: Uint8Array,
  words: Uint32Array,
  cluster: Uint32Array,
  view: number,
  replica: number,
  checksum: Uint32Array,
  checksumAt: number,
  client: Uint32Array,
  clientAt: number,
  op: number,
): void {
  begin(bytes, words, Command.getReply, cluster, view, replica, 0);
  u128Copy(words, getReplyHeader.word.replyChecksum, checksum, checksumAt);
  u128Copy(words, getReplyHeader.word.client, client, clientAt);
  u64WriteNumber(words, getReplyHeader.word.op, op);
  sealHeader(bytes, words, 0);
}

/** First word of the request at `index` of the body of a get_blocks. */
export function blockRequestAt(index: number): number {
  return headerWords + blockRequestWords * index;
}

/** Writes the block request at `index` of a get_blocks that is being made. */
export function writeBlockRequest(
  words: Uint32Array,
  index: number,
  checksum: Uint32Array,
  checksumAt: number,
  address: number,
): void {
  assert(index < blockRequestsMax, "blocks of one request are limited");
  const at = blockRequestAt(index);
  words.fill(0, at, at + blockRequestWords);
  u128Copy(words, at + blockRequest.word.checksum, checksum, checksumAt);
  u64WriteNumber(words, at + blockRequest.word.address, address);
}

/** @param requestCount - Block requests in the body. */
export function writeGetBlocks(
  bytes: Uint8Array,
  words: Uint32Array,
  cluster: Uint32Array,
  view: number,
  replica: number,
  requestCount: number,
): void {
  assert(requestCount >= 1, "a block is asked for");
  assert(requestCount <= blockRequestsMax, "blocks of one request are limited");
  const bodySize = requestCount * blockRequest.size;
  begin(bytes, words, Command.getBlocks, cluster, view, replica, bodySize);
  sealHeader(bytes, words, 0);
}

/**
 * The block is in place, all `blockSize` bytes of it.
 * @param checksum - As the request named it, in four words at `checksumAt`.
 */
export function writeBlock(
  bytes: Uint8Array,
  words: Uint32Array,
  cluster: Uint32Array,
  view: number,
  replica: number,
  checksum: Uint32Array,
  checksumAt: number,
  address: number,
): void {
  const inBody = checksumAt >= headerWords;
  assert(words !== checksum || inBody, "the checksum does not lie in the header being cleared");
  beginBlock(bytes, words, cluster, view, replica, checksum, checksumAt, address, blockSize);
  sealHeader(bytes, words, 0);
}

/** Says that the sender does not have the block. Parameters as of `writeBlock`. */
export function writeNoBlock(
  bytes: Uint8Array,
  words: Uint32Array,
  cluster: Uint32Array,
  view: number,
  replica: number,
  checksum: Uint32Array,
  checksumAt: number,
  address: number,
): void {
  assert(words !== checksum, "the checksum does not lie in the header being cleared");
  beginBlock(bytes, words, cluster, view, replica, checksum, checksumAt, address, 0);
  sealHeader(bytes, words, 0);
}

function beginBlock(
  bytes: Uint8Array,
  words: Uint32Array,
  cluster: Uint32Array,
  view: number,
  replica: number,
  checksum: Uint32Array,
  checksumAt: number,
  address: number,
  bodySize: number,
): void {
  begin(bytes, words, Command.block, cluster, view, replica, bodySize);
  u128Copy(words, blockHeader.word.blockChecksum, checksum, checksumAt);
  u64WriteNumber(words, blockHeader.word.address, address);
}
