/**
 * The manifest: the content of a checkpoint as references. And the root, which refers to the
 * manifest from the superblock and carries its BLAKE3 digest: two replicas whose digests agree
 * have the same state in the same blocks.
 */
import { blake3 } from "@noble/hashes/blake3.js";
import { assert } from "../core/assert.ts";
import { blockSize } from "../core/limits.ts";
import { u64ReadNumber, u64WriteNumber } from "../core/u128.ts";
import {
  type AppendPart,
  type CheckpointState,
  type PagedPart,
  trailersMax,
} from "./checkpoint-state.ts";
import { indexRefs, refWords, rootWords } from "./format.ts";
import type { RefList } from "./ref-list.ts";
import {
  decodeIndexes,
  encodeIndexes,
  indexesWords,
  type RunEntry,
} from "./runs/index-manifest.ts";

const manifestVersion = 2;
/** version, op, numbers of append tables, paged tables and trailers. */
const fixedWords = 6;
/** id, row size, rows, index blocks; then the index blocks' references. */
const tableWords = 4;
/** length in bytes, blocks, reference to the first block. */
const chainEntryWords = 2 + refWords;

/** Words of the manifest for the numbers that stand in `state`. */
export function manifestWords(state: CheckpointState): number {
  let words = fixedWords + (state.trailerCount + 1) * chainEntryWords;
  for (const part of state.append) {
    words += tableWords + refWords + part.indexRefs.length * refWords;
  }
  for (const part of state.paged) words += tableWords + part.indexRefs.length * refWords;
  return words + indexesWords(state.indexes);
}

/** Fills the manifest's chain, which was sized by `manifestWords`. */
export function encodeManifest(state: CheckpointState): void {
  const words = state.manifest.words;
  words[0] = manifestVersion;
  u64WriteNumber(words, 1, state.op);
  words[3] = state.append.length;
  words[4] = state.paged.length;
  words[5] = state.trailerCount;
  let at = fixedWords;
  for (const part of state.append) {
    words.set(part.tailRef, at + tableWords);
    at = encodeTable(words, at, part, refWords);
  }
  for (const part of state.paged) at = encodeTable(words, at, part, 0);
  at = encodeIndexes(words, at, state.indexes);
  for (let index = 0; index <= state.trailerCount; index += 1) {
    const chain = index < state.trailerCount ? state.trailers[index]! : state.freeSet;
    words[at] = chain.length;
    words[at + 1] = chain.blocks;
    chain.copyHead(words, at + 2);
    at += chainEntryWords;
  }
  assert(at * 4 === state.manifest.length, "the manifest is as long as announced");
}

function encodeTable(
  words: Uint32Array,
  at: number,
  part: AppendPart | PagedPart,
  extraWords: number,
): number {
  words[at] = part.id;
  words[at + 1] = part.rowSize;
  words[at + 2] = part.rows;
  words[at + 3] = part.indexRefs.length;
  let next = at + tableWords + extraWords;
  for (let index = 0; index < part.indexRefs.length; index += 1) {
    part.indexRefs.copy(index, words, next);
    next += refWords;
  }
  return next;
}

/** Where a chain's content is found: decoded before the chain is read. */
export interface ChainEntry {
  readonly length: number;
  readonly blocks: number;
  readonly head: Uint32Array;
}

/** What the manifest refers to and does not take along. */
export interface ManifestEntries {
  /** The trailers and, last, the free set. */
  readonly chains: readonly ChainEntry[];
  readonly runs: readonly RunEntry[];
}

const otherFormat =
  "the checkpoint's manifest does not have the format that this release reads; start the " +
  "version that wrote it.";

/** Takes the manifest's numbers and references over into `state`; or a sentence that says why not. */
export function decodeManifest(state: CheckpointState): ManifestEntries | string {
  const chain = state.manifest;
  const end = chain.length / 4;
  const words = chain.words.subarray(0, end);
  if (end < fixedWords || words[0] !== manifestVersion) return otherFormat;
  state.op = u64ReadNumber(words, 1);
  if (words[3] !== state.append.length || words[4] !== state.paged.length) return otherFormat;
  const trailers = words[5]!;
  if (trailers > trailersMax) return otherFormat;
  state.trailerCount = trailers;
  let at = fixedWords;
  for (const part of state.append) {
    if (at + tableWords + refWords > end) return otherFormat;
    part.tailRef.set(words.subarray(at + tableWords, at + tableWords + refWords));
    at = decodeTable(words, at, part, refWords);
    if (at < 0) return otherFormat;
    if (part.indexRefs.length !== Math.ceil(part.fullBlocks / indexRefs)) return otherFormat;
    if ((part.tailRows === 0) !== (part.tailRef[0] === 0)) return otherFormat;
  }
  for (const part of state.paged) {
    if (at + tableWords > end) return otherFormat;
    at = decodeTable(words, at, part, 0);
    if (at < 0) return otherFormat;
    if (part.indexRefs.length !== Math.ceil(part.pages / indexRefs)) return otherFormat;
  }
  const runs: RunEntry[] = [];
  const indexesEnd = decodeIndexes(words, at, state.indexes, state.position, runs);
  if (typeof indexesEnd === "string") return indexesEnd;
  if (indexesEnd < 0) return otherFormat;
  at = indexesEnd;
  if (at + (trailers + 1) * chainEntryWords !== end) return otherFormat;
  const chains: ChainEntry[] = [];
  for (let index = 0; index <= trailers; index += 1) {
    chains.push({
      length: words[at]!,
      blocks: words[at + 1]!,
      head: words.slice(at + 2, at + chainEntryWords),
    });
    at += chainEntryWords;
  }
  return { chains, runs };
}

function decodeTable(
  words: Uint32Array,
  at: number,
  part: AppendPart | PagedPart,
  extraWords: number,
): number {
  if (words[at] !== part.id || words[at + 1] !== part.rowSize) return -1;
  part.rows = words[at + 2]!;
  const indexBlocks = words[at + 3]!;
  let next = at + tableWords + extraWords;
  if (next + indexBlocks * refWords > words.length) return -1;
  for (let index = 0; index < indexBlocks; index += 1) {
    if (!pushRef(part.indexRefs, words, next)) return -1;
    next += refWords;
  }
  return next;
}

function pushRef(list: RefList, words: Uint32Array, at: number): boolean {
  if (words[at] === 0) return false;
  list.push(words[at]!, words, at + 1);
  return true;
}

/** "PCST", little-endian. */
const rootMagic = 0x5453_4350;
const rootVersion = 1;
const digestAt = 16;
const digestWords = 8;

export function encodeRoot(state: CheckpointState, target: Uint32Array, at: number): void {
  assert(target.length >= at + rootWords, "the root fits the target");
  const manifest = state.manifest;
  target.fill(0, at, at + rootWords);
  target[at] = rootMagic;
  target[at + 1] = rootVersion;
  u64WriteNumber(target, at + 2, state.op);
  target[at + 4] = blockSize;
  target[at + 5] = manifest.length;
  target[at + 6] = manifest.blocks;
  manifest.copyHead(target, at + 7);
  const content = new Uint8Array(manifest.words.buffer, manifest.words.byteOffset, manifest.length);
  const digest = blake3(content);
  for (let word = 0; word < digestWords; word += 1) {
    target[at + digestAt + word] =
      (digest[word * 4]! |
        (digest[word * 4 + 1]! << 8) |
        (digest[word * 4 + 2]! << 16) |
        (digest[word * 4 + 3]! << 24)) >>>
      0;
  }
}

export function rootIsEmpty(root: Uint32Array): boolean {
  for (let word = 0; word < rootWords; word += 1) {
    if (root[word] !== 0) return false;
  }
  return true;
}

/** The manifest's place, or a sentence saying why this root cannot be used. */
export function decodeRoot(root: Uint32Array): ChainEntry | string {
  if (root[0] !== rootMagic)
    return "the superblock does not refer to a storage checkpoint: this is a bug, please report it.";
  if (root[1] !== rootVersion) {
    return `the checkpoint has format version ${root[1]}; this release reads ${rootVersion}: start the version that wrote it.`;
  }
  if (root[4] !== blockSize) {
    return `the grid has blocks of ${root[4]} bytes; this release reads blocks of ${blockSize}: start the version that wrote it.`;
  }
  return { length: root[5]!, blocks: root[6]!, head: root.slice(7, 7 + refWords) };
}

/** Bytes of a manifest beyond any that a grid can need: one that a peer names is not believed. */
const manifestBytesMax = 256 * 1024 * 1024;

/** Whether a root that another replica sent can be used, as far as it shows itself; blocks aside. */
export function rootIsSound(root: Uint32Array): boolean {
  const entry = decodeRoot(root);
  if (typeof entry === "string") return false;
  return entry.length <= manifestBytesMax && entry.blocks * blockSize <= 2 * manifestBytesMax;
}

/** The digest as 64 hexadecimal digits: what people compare. */
export function rootDigest(root: Uint32Array, at: number): string {
  let text = "";
  for (let word = 0; word < digestWords; word += 1) {
    const value = root[at + digestAt + word]!;
    for (let byte = 0; byte < 4; byte += 1) {
      text += ((value >>> (8 * byte)) & 0xff).toString(16).padStart(2, "0");
    }
  }
  return text;
}
