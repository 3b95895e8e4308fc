/**
 * A checkpoint state that another replica sent: is it one that this replica's superblock could move
 * to? What it refers to in the grid is the storage layer's to judge. Whether it is the cluster's is
 * not to be seen in it: that follows from who sent it, and from the checkpoint ids in prepares.
 */
import { u64ReadNumber, u128Equal, u128IsZero } from "../core/u128.ts";
import { Command, frame, prepareHeader } from "../wire/header.ts";
import { Operation } from "../wire/operations.ts";
import type { FormatOptions } from "./data-file.ts";
import { headerIntact, headerOp, type Memory } from "./headers.ts";
import { checkpointLayout, computeCheckpointId } from "./superblock-layout.ts";

const word = checkpointLayout.word;

export function checkpointStateOp(words: Uint32Array, at: number): number {
  return u64ReadNumber(words, at + word.op);
}

/** Where the storage layer's references begin, for a state that begins at word `at`. */
export function checkpointStateRootAt(at: number): number {
  return at + word.storageRoot;
}

/** The id of the state at byte `at`: its checksum. */
export function checkpointStateId(
  target: Uint32Array,
  targetAt: number,
  bytes: Uint8Array,
  at: number,
): void {
  computeCheckpointId(target, targetAt, bytes, at);
}

/**
 * Judges the state at byte `at`, `checkpointStateWords` words.
 * @param format - The own file's, which the cluster shares.
 * @returns Null, or what is wrong with it, to follow "the checkpoint".
 */
export function checkpointStateFault(
  memory: Memory,
  at: number,
  format: FormatOptions,
): string | null {
  const { words, bytes } = memory;
  const first = at / 4;
  if (!headerIntact(bytes, at)) return "names no sound prepare";
  if (bytes[at + frame.at.command] !== Command.prepare) return "names no prepare";
  if (!u128Equal(words, first + frame.word.cluster, format.cluster, 0)) {
    return "belongs to another cluster";
  }
  const operation = bytes[at + prepareHeader.at.operation]!;
  if (operation === Operation.reserved || operation === Operation.root) {
    return "names a prepare that no checkpoint ends with";
  }
  const op = checkpointStateOp(words, first);
  if (headerOp(words, first) !== op) return "is of another op than its prepare";
  if (!Number.isSafeInteger(op) || op < 1 || op % format.checkpointInterval !== 0) {
    return "is of an op at which there is no checkpoint";
  }
  if (u128IsZero(words, first + word.parentId)) return "has no parent";
  // The first checkpoint's parent is the state of a new file, which has none.
  const isFirst = op === format.checkpointInterval;
  if (u128IsZero(words, first + word.grandparentId) !== isFirst) return "has no such grandparent";
  for (let index = word.reserved; index < word.storageRoot; index += 1) {
    if (words[first + index] !== 0) return "is laid out in another way";
  }
  return null;
}
