/**
 * The superblock on disk: one copy of 8 KiB, and the checkpoint state of 1 KiB inside it.
 *
 * The checksum covers everything after itself but the copy number, so copies of one superblock
 * carry the same checksum; the copy number is checked against the place instead. Magic number and
 * version come before all meaning: their places never change.
 *
 * The checkpoint state is what all replicas agree on at an op, byte for byte. Its checksum is the
 * checkpoint's id. It names the ids of its parent and grandparent.
 */
import { assert } from "../core/assert.ts";
import { defineLayout } from "../core/layout.ts";
import { checkpointStateSize, headerSize, viewHeadersMax } from "../core/limits.ts";
import { u64ReadNumber, u64WriteNumber } from "../core/u128.ts";
import { checksum, checksumMatches } from "../native/checksum.ts";
import {
  type FormatOptions,
  formatVersion,
  superblockCopySize,
  superblockCopySpacing,
} from "./data-file.ts";
import {
  copyHeader,
  type Memory,
  rootPrepareSize,
  scratchMemory,
  writeRootPrepare,
} from "./headers.ts";

/** The part of the checkpoint state that belongs to the storage layer. Bytes. */
export const storageRootSize = 640;
export const checkpointStateWords = checkpointStateSize / 4;
export const storageRootWords = storageRootSize / 4;

export const checkpointLayout = defineLayout("CheckpointState", checkpointStateSize, [
  /** Header of the last prepare that the checkpoint covers. */
  ["prepareHeader", headerSize],
  ["parentId", 16],
  ["grandparentId", 16],
  ["op", 8],
  ["reserved", 88],
  /** References into the grid: the storage layer's, opaque here. */
  ["storageRoot", storageRootSize],
]);

export const superblockLayout = defineLayout("Superblock", superblockCopySize, [
  /** Of everything from `magic` to the end. */
  ["checksum", 16],
  ["copy", 4],
  ["reservedCopy", 12],
  ["magic", 8],
  ["formatVersion", 4],
  /** Release of the program that wrote it: for people. */
  ["release", 4],
  ["cluster", 16],
  /** Checksum of the superblock before: the history is a chain. */
  ["parent", 16],
  ["sequence", 8],
  ["commitMax", 8],
  /** Ops whose blocks a state sync has yet to fetch. */
  ["syncOpMin", 8],
  ["syncOpMax", 8],
  ["view", 4],
  ["logView", 4],
  ["replica", 4],
  ["replicaCount", 4],
  ["slotCount", 4],
  ["checkpointInterval", 4],
  ["barOps", 4],
  ["clientsMax", 4],
  ["blockSize", 4],
  ["pageSize", 4],
  ["viewHeaderCount", 4],
  /** 1: the file was made to replace a lost one, and must not vote yet. */
  ["recovering", 4],
  ["reserved", 864],
  ["checkpoint", checkpointStateSize],
  ["viewHeaders", viewHeadersMax * headerSize],
  ["reservedTail", 3328],
]);

const word = superblockLayout.word;
const coveredAt = superblockLayout.at.magic;

/** "PACIOLI" and a line feed, which shows transfers in text mode. */
export const magicWords: readonly [number, number] = [0x4943_4150, 0x0a49_4c4f];

/** Sets the checksum, and the number of the copy that is to be written. */
export function sealSuperblock(memory: Memory, copy: number): void {
  memory.words[word.copy] = copy;
  checksum(memory.bytes, 0, memory.bytes, coveredAt, superblockCopySize - coveredAt);
}

/** What is wrong with a superblock copy. */
export const CopyFault = {
  none: 0,
  unreadable: 1,
  magic: 2,
  version: 3,
  checksum: 4,
  copyNumber: 5,
} as const;
export type CopyFault = (typeof CopyFault)[keyof typeof CopyFault];

const copyFaultTexts: readonly string[] = [
  "is intact",
  "cannot be read",
  "does not begin like a superblock",
  "has another format version",
  "has a wrong checksum",
  "has the number of another copy (a misdirected write)",
];

export function copyFaultText(fault: CopyFault): string {
  return copyFaultTexts[fault]!;
}

/** Judges the copy at byte `at` of the memory. */
export function checkSuperblockCopy(memory: Memory, at: number, copy: number): CopyFault {
  const { bytes, words } = memory;
  const first = at / 4;
  if (words[first + word.magic] !== magicWords[0]) return CopyFault.magic;
  if (words[first + word.magic + 1] !== magicWords[1]) return CopyFault.magic;
  if (words[first + word.formatVersion] !== formatVersion) return CopyFault.version;
  const covered = superblockCopySize - coveredAt;
  if (!checksumMatches(bytes, at, bytes, at + coveredAt, covered)) return CopyFault.checksum;
  if (words[first + word.copy] !== copy) return CopyFault.copyNumber;
  for (let index = 1; index < 4; index += 1) {
    if (words[first + word.copy + index] !== 0) return CopyFault.copyNumber;
  }
  return CopyFault.none;
}

export function superblockSequence(words: Uint32Array, first: number): number {
  return u64ReadNumber(words, first + word.sequence);
}

/** The format options of a valid copy; they are not yet checked. */
export function readFormatOptions(words: Uint32Array, first: number): FormatOptions {
  const at = first + word.cluster;
  return {
    cluster: words.slice(at, at + 4),
    replica: words[first + word.replica]!,
    replicaCount: words[first + word.replicaCount]!,
    slotCount: words[first + word.slotCount]!,
    checkpointInterval: words[first + word.checkpointInterval]!,
    barOps: words[first + word.barOps]!,
    clientsMax: words[first + word.clientsMax]!,
    blockSize: words[first + word.blockSize]!,
    pageSize: words[first + word.pageSize]!,
    formatVersion: words[first + word.formatVersion]!,
  };
}

/** Fills the first superblock of a file: sequence 1, view 0, checkpoint at the root prepare. */
export function writeFirstSuperblock(
  memory: Memory,
  options: FormatOptions,
  release: number,
  recovering: boolean,
): void {
  const { words } = memory;
  words.fill(0, 0, superblockCopySize / 4);
  words[word.magic] = magicWords[0];
  words[word.magic + 1] = magicWords[1];
  words[word.formatVersion] = options.formatVersion;
  words[word.release] = release;
  words.set(options.cluster, word.cluster);
  u64WriteNumber(words, word.sequence, 1);
  words[word.replica] = options.replica;
  words[word.replicaCount] = options.replicaCount;
  words[word.slotCount] = options.slotCount;
  words[word.checkpointInterval] = options.checkpointInterval;
  words[word.barOps] = options.barOps;
  words[word.clientsMax] = options.clientsMax;
  words[word.blockSize] = options.blockSize;
  words[word.pageSize] = options.pageSize;
  words[word.recovering] = recovering ? 1 : 0;
  const root = scratchMemory(rootPrepareSize);
  writeRootPrepare(root, 0, options);
  copyHeader(words, word.checkpoint + checkpointLayout.word.prepareHeader, root.words, 0);
  sealSuperblock(memory, 0);
}

/** Writes the id of the checkpoint state at byte `at` into target[targetAt … targetAt + 4). */
export function computeCheckpointId(
  target: Uint32Array,
  targetAt: number,
  bytes: Uint8Array,
  at: number,
): void {
  const targetBytes = new Uint8Array(target.buffer, target.byteOffset, target.byteLength);
  checksum(targetBytes, targetAt * 4, bytes, at, checkpointStateSize);
}

assert(superblockLayout.at.checkpoint === 1024, "the checkpoint state is aligned");
assert(superblockCopySize <= superblockCopySpacing, "copies do not overlap");
