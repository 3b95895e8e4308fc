/**
 * Headers as the journal stores them: which are sound and belong here, the reserved header that
 * marks a slot as holding nothing, and the root prepare with which every log begins.
 *
 * A slot that holds nothing carries a checksummed header that says so. A sector of zeros is
 * therefore never mistaken for an empty slot: it is damage, like any other.
 *
 * The root prepare (op 0) states the cluster and the format constants in its body. It is the same
 * on all replicas of a cluster, and the first link of the hash chain; replicas that were formatted
 * differently have different chains and refuse each other's prepares.
 */
import { assert } from "../core/assert.ts";
import { headerSize, messageSizeMax } from "../core/limits.ts";
import { u64ReadNumber, u64WriteNumber, u128Equal } from "../core/u128.ts";
import { checksum, checksumMatches, checksumSize } from "../native/checksum.ts";
import { Command, frame, prepareHeader } from "../wire/header.ts";
import { Operation } from "../wire/operations.ts";
import type { FormatOptions } from "./data-file.ts";

/** 32-bit words of a header. */
export const headerWords = headerSize / 4;

/** Memory seen as bytes and as words: an `IoBuffer`, a message, a scratch pair. */
export interface Memory {
  readonly bytes: Uint8Array;
  readonly words: Uint32Array;
}

/** Bytes of the root prepare's body. */
const rootBodySize = 256;
export const rootPrepareSize = headerSize + rootBodySize;

/** What is wrong with a header, prepare or reply where it was found. */
export const Fault = {
  none: 0,
  /** The read failed: a latent sector error. */
  unreadable: 1,
  headerChecksum: 2,
  bodyChecksum: 3,
  cluster: 4,
  /** Valid checksum, but not what this place holds: another command, an impossible size or op. */
  identity: 5,
  /** A valid prepare or header of another slot: a misdirected write. */
  misdirected: 6,
  /** Bytes after the message, up to the sector's end, that should be zero. */
  padding: 7,
} as const;
export type Fault = (typeof Fault)[keyof typeof Fault];

const faultTexts: readonly string[] = [
  "intact",
  "cannot be read",
  "has a header with a wrong checksum",
  "has a body with a wrong checksum",
  "belongs to another cluster",
  "holds something that does not belong there",
  "belongs to another slot (a misdirected write)",
  "has padding that is not zero",
];

/** Completes a sentence that begins with the name of a place. */
export function faultText(fault: Fault): string {
  return faultTexts[fault]!;
}

const opWord = prepareHeader.word.op;
const commitWord = prepareHeader.word.commit;
const sizeWord = frame.word.size;
const viewWord = frame.word.view;
const clusterWord = frame.word.cluster;
const parentWord = prepareHeader.word.parent;

/** All of these take the index of the header's first word. */
export function headerOp(words: Uint32Array, at: number): number {
  return u64ReadNumber(words, at + opWord);
}
export function headerCommit(words: Uint32Array, at: number): number {
  return u64ReadNumber(words, at + commitWord);
}
export function headerView(words: Uint32Array, at: number): number {
  return words[at + viewWord]!;
}
export function headerMessageSize(words: Uint32Array, at: number): number {
  return words[at + sizeWord]!;
}

/** True when `next` names `previous` as its predecessor in the hash chain. */
export function chainConnects(
  previous: Uint32Array,
  previousAt: number,
  next: Uint32Array,
  nextAt: number,
): boolean {
  return (
    headerOp(previous, previousAt) + 1 === headerOp(next, nextAt) &&
    u128Equal(previous, previousAt, next, nextAt + parentWord)
  );
}

/** True when the two headers carry the same checksum, hence are the same prepare. */
export function sameHeader(a: Uint32Array, aAt: number, b: Uint32Array, bAt: number): boolean {
  return u128Equal(a, aAt, b, bAt);
}

export function copyHeader(
  target: Uint32Array,
  targetAt: number,
  source: Uint32Array,
  sourceAt: number,
): void {
  for (let word = 0; word < headerWords; word += 1) {
    target[targetAt + word] = source[sourceAt + word]!;
  }
}

/** Sets `checksumBody` and then `checksum` of the message at byte `at`. */
export function sealMessage(bytes: Uint8Array, at: number, size: number): void {
  assert(size >= headerSize, "a message has a header");
  checksum(bytes, at + frame.at.checksumBody, bytes, at + headerSize, size - headerSize);
  checksum(bytes, at, bytes, at + checksumSize, headerSize - checksumSize);
}

/** The header's own checksum. */
export function headerIntact(bytes: Uint8Array, at: number): boolean {
  return checksumMatches(bytes, at, bytes, at + checksumSize, headerSize - checksumSize);
}

/** The body's checksum, for a message whose header is intact and says `size`. */
export function bodyIntact(bytes: Uint8Array, at: number, size: number): boolean {
  const bodyAt = at + headerSize;
  return checksumMatches(bytes, at + frame.at.checksumBody, bytes, bodyAt, size - headerSize);
}

/**
 * Checks the header at byte `at` as one found in journal slot `slot`: checksum, cluster, that it
 * is a prepare's (or reserved) header of possible size, and that its op belongs to the slot.
 */
export function checkSlotHeader(
  memory: Memory,
  at: number,
  cluster: Uint32Array,
  slot: number,
  slotCount: number,
): Fault {
  const { bytes, words } = memory;
  const word = at / 4;
  if (!headerIntact(bytes, at)) return Fault.headerChecksum;
  if (!u128Equal(words, word + clusterWord, cluster, 0)) return Fault.cluster;
  if (bytes[at + frame.at.command] !== Command.prepare) return Fault.identity;
  const size = words[word + sizeWord]!;
  if (size < headerSize || size > messageSizeMax) return Fault.identity;
  const op = headerOp(words, word);
  if (!Number.isSafeInteger(op)) return Fault.identity;
  if (isReserved(bytes, at)) return op === slot ? Fault.none : Fault.misdirected;
  return op % slotCount === slot ? Fault.none : Fault.misdirected;
}

/** True for a header (already checked) that marks its slot as holding nothing. */
export function isReserved(bytes: Uint8Array, at: number): boolean {
  return bytes[at + prepareHeader.at.operation] === Operation.reserved;
}

/** Writes the header that marks `slot` as holding nothing. */
export function writeReservedHeader(
  memory: Memory,
  at: number,
  cluster: Uint32Array,
  slot: number,
): void {
  writeFrame(memory, at, cluster, headerSize);
  u64WriteNumber(memory.words, at / 4 + opWord, slot);
  memory.bytes[at + prepareHeader.at.operation] = Operation.reserved;
  sealMessage(memory.bytes, at, headerSize);
}

/**
 * Writes the root prepare, `rootPrepareSize` bytes: everything that replicas of one cluster must
 * have been formatted with alike. Who this replica is does not enter.
 */
export function writeRootPrepare(memory: Memory, at: number, options: FormatOptions): void {
  const { words } = memory;
  writeFrame(memory, at, options.cluster, rootPrepareSize);
  memory.bytes[at + prepareHeader.at.operation] = Operation.root;
  const body = (at + headerSize) / 4;
  words.fill(0, body, body + rootBodySize / 4);
  words[body] = options.formatVersion;
  words[body + 1] = options.replicaCount;
  words[body + 2] = options.slotCount;
  words[body + 3] = options.checkpointInterval;
  words[body + 4] = options.barOps;
  words[body + 5] = options.clientsMax;
  words[body + 6] = options.blockSize;
  words[body + 7] = options.pageSize;
  sealMessage(memory.bytes, at, rootPrepareSize);
}

function writeFrame(memory: Memory, at: number, cluster: Uint32Array, size: number): void {
  assert(at % 4 === 0, "headers are aligned to words");
  const { bytes, words } = memory;
  const word = at / 4;
  words.fill(0, word, word + headerWords);
  words.set(cluster, word + clusterWord);
  words[word + sizeWord] = size;
  bytes[at + frame.at.command] = Command.prepare;
}

/** Memory for one header or small message, outside the I/O buffers. */
export function scratchMemory(sizeBytes: number): Memory {
  const words = new Uint32Array(sizeBytes / 4);
  return { words, bytes: new Uint8Array(words.buffer) };
}
