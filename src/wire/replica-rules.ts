/**
 * The rules of messages between replicas (layouts: replica-headers.ts), for messages whose frame
 * and body have been found good. A message that breaks one is dropped: it comes from a replica of
 * another make, or from nobody who belongs to the cluster.
 *
 * Only what a message says about itself is judged here. Whether it fits the log of the one that
 * receives it (views, chains, checkpoints) is the replica's to decide.
 */
import {
  checkpointStateSize,
  headerSize,
  replicasMax,
  standbysMax,
  viewHeadersMax,
} from "../core/limits.ts";
import { u64ReadNumber, u128IsZero } from "../core/u128.ts";
import { zeroWords } from "./frame-rule.ts";
import { Command, frame, prepareHeader } from "./header.ts";
import { bodyHeaderHolds, prepareRuleHolds } from "./prepare-rule.ts";
import {
  blockHeader,
  blockMessageSize,
  blockRequest,
  blockRequestsMax,
  commitHeader,
  exitViewHeader,
  getBlocksHeader,
  getHeadersHeader,
  getPrepareHeader,
  getReplyHeader,
  getViewHeader,
  headersHeader,
  headersMax,
  joinHeadersMax,
  joinViewHeader,
  pingHeader,
  pongHeader,
  prepareOkHeader,
  viewHeader,
} from "./replica-headers.ts";

const headerWords = headerSize / 4;
const opWord = prepareHeader.word.op;

/** False also for commands that are not between replicas. */
export function replicaRuleHolds(bytes: Uint8Array, words: Uint32Array, at: number): boolean {
  const command = bytes[at + frame.at.command];
  // Views count up by one: so high a one is nobody's, and the next one has to fit as well.
  if (words[(at >>> 2) + frame.word.view]! >= 0x8000_0000) return false;
  if (command === Command.prepare) return prepareRuleHolds(bytes, words, at);
  if (words[(at >>> 2) + frame.word.release] !== 0) return false;
  if (bytes[at + frame.at.replica]! >= replicasMax + standbysMax) return false;
  switch (command) {
    case Command.ping:
      return pingRuleHolds(bytes, words, at);
    case Command.pong:
      return pongRuleHolds(bytes, words, at);
    case Command.prepareOk:
      return prepareOkRuleHolds(bytes, words, at);
    case Command.commit:
      return commitRuleHolds(bytes, words, at);
    case Command.exitView:
      return exitViewRuleHolds(bytes, words, at);
    case Command.joinView:
      return joinViewRuleHolds(bytes, words, at);
    case Command.view:
      return viewRuleHolds(bytes, words, at);
    case Command.getView:
      return getViewRuleHolds(bytes, words, at);
    case Command.getHeaders:
      return getHeadersRuleHolds(bytes, words, at);
    case Command.headers:
      return headersRuleHolds(bytes, words, at);
    case Command.getPrepare:
      return getPrepareRuleHolds(bytes, words, at);
    case Command.getReply:
      return getReplyRuleHolds(bytes, words, at);
    case Command.getBlocks:
      return getBlocksRuleHolds(bytes, words, at);
    case Command.block:
      return blockRuleHolds(bytes, words, at);
    default:
      return false;
  }
}

export function pingRuleHolds(bytes: Uint8Array, words: Uint32Array, at: number): boolean {
  const word = at >>> 2;
  if (words[word + frame.word.size] !== headerSize) return false;
  const replicaCount = bytes[at + pingHeader.at.replicaCount]!;
  if (replicaCount === 0 || replicaCount > replicasMax) return false;
  if (!isOp(words, word + pingHeader.word.checkpointOp)) return false;
  if (bytes[at + pingHeader.at.voteless]! > 1) return false;
  // 78 reserved bytes: two beside the replica count, then 19 words.
  const count = word + (pingHeader.at.replicaCount >>> 2);
  return words[count]! >>> 16 === 0 && zeroWords(words, count + 1, 19);
}

export function pongRuleHolds(_bytes: Uint8Array, words: Uint32Array, at: number): boolean {
  const word = at >>> 2;
  if (words[word + frame.word.size] !== headerSize) return false;
  return zeroWords(words, word + pongHeader.word.reserved, 28);
}

export function prepareOkRuleHolds(_bytes: Uint8Array, words: Uint32Array, at: number): boolean {
  const word = at >>> 2;
  if (words[word + frame.word.size] !== headerSize) return false;
  const op = u64ReadNumber(words, word + prepareOkHeader.word.op);
  const commitMin = u64ReadNumber(words, word + prepareOkHeader.word.commitMin);
  const checkpointOp = u64ReadNumber(words, word + prepareOkHeader.word.checkpointOp);
  if (!Number.isSafeInteger(op) || op === 0) return false;
  if (!Number.isSafeInteger(commitMin) || checkpointOp > commitMin) return false;
  return zeroWords(words, word + prepareOkHeader.word.reserved, 22);
}

export function commitRuleHolds(_bytes: Uint8Array, words: Uint32Array, at: number): boolean {
  const word = at >>> 2;
  if (words[word + frame.word.size] !== headerSize) return false;
  const commit = u64ReadNumber(words, word + commitHeader.word.commit);
  const checkpointOp = u64ReadNumber(words, word + commitHeader.word.checkpointOp);
  if (!Number.isSafeInteger(commit) || checkpointOp > commit) return false;
  return zeroWords(words, word + commitHeader.word.reserved, 20);
}

export function exitViewRuleHolds(_bytes: Uint8Array, words: Uint32Array, at: number): boolean {
  const word = at >>> 2;
  if (words[word + frame.word.size] !== headerSize) return false;
  return zeroWords(words, word + exitViewHeader.word.reserved, 32);
}

export function joinViewRuleHolds(bytes: Uint8Array, words: Uint32Array, at: number): boolean {
  const word = at >>> 2;
  const count = headersInBody(words, word, 0, joinHeadersMax);
  if (count === 0) return false;
  if (!zeroWords(words, word + joinViewHeader.word.reserved, 21)) return false;
  if (words[word + joinViewHeader.word.logView]! >= words[word + frame.word.view]!) return false;
  const op = u64ReadNumber(words, word + joinViewHeader.word.op);
  const commitMin = u64ReadNumber(words, word + joinViewHeader.word.commitMin);
  const commitMax = u64ReadNumber(words, word + joinViewHeader.word.commitMax);
  const checkpointOp = u64ReadNumber(words, word + joinViewHeader.word.checkpointOp);
  if (!Number.isSafeInteger(op) || !Number.isSafeInteger(commitMax)) return false;
  if (checkpointOp > commitMin || commitMin > commitMax || commitMax > op) return false;

  const present = words[word + joinViewHeader.word.present]!;
  const nack = words[word + joinViewHeader.word.nack]!;
  if ((present | nack) >>> count !== 0) return false;
  if ((present & nack) !== 0) return false;
  let blanks = 0;
  for (let index = 0; index < count; index += 1) {
    const header = word + headerWords * (1 + index);
    if (u64ReadNumber(words, header + opWord) !== op - index) return false;
    if (blankHolds(words, header)) blanks |= 1 << index;
    else if (!bodyHeaderHolds(bytes, words, header * 4, words, word + frame.word.cluster)) {
      return false;
    }
  }
  return (present & blanks) === 0;
}

export function viewRuleHolds(bytes: Uint8Array, words: Uint32Array, at: number): boolean {
  const word = at >>> 2;
  const count = headersInBody(words, word, checkpointStateSize, viewHeadersMax);
  if (count === 0) return false;
  if (words[word + viewHeader.word.checkpointOnly]! > 1) return false;
  if (!zeroWords(words, word + viewHeader.word.reserved, 21)) return false;
  const op = u64ReadNumber(words, word + viewHeader.word.op);
  const commitMax = u64ReadNumber(words, word + viewHeader.word.commitMax);
  const checkpointOp = u64ReadNumber(words, word + viewHeader.word.checkpointOp);
  if (!Number.isSafeInteger(op)) return false;
  if (checkpointOp > commitMax || commitMax > op) return false;
  const first = word + headerWords + checkpointStateSize / 4;
  if (u64ReadNumber(words, first + opWord) !== op) return false;
  return headersHold(bytes, words, word, first, count, true);
}

export function getViewRuleHolds(_bytes: Uint8Array, words: Uint32Array, at: number): boolean {
  const word = at >>> 2;
  if (words[word + frame.word.size] !== headerSize) return false;
  if (u128IsZero(words, word + getViewHeader.word.nonce)) return false;
  if (words[word + getViewHeader.word.opening]! > 1) return false;
  return zeroWords(words, word + getViewHeader.word.reserved, 27);
}

export function getHeadersRuleHolds(_bytes: Uint8Array, words: Uint32Array, at: number): boolean {
  const word = at >>> 2;
  if (words[word + frame.word.size] !== headerSize) return false;
  const opMin = u64ReadNumber(words, word + getHeadersHeader.word.opMin);
  const opMax = u64ReadNumber(words, word + getHeadersHeader.word.opMax);
  if (!Number.isSafeInteger(opMax) || opMin > opMax) return false;
  return zeroWords(words, word + getHeadersHeader.word.reserved, 28);
}

export function headersRuleHolds(bytes: Uint8Array, words: Uint32Array, at: number): boolean {
  const word = at >>> 2;
  const count = headersInBody(words, word, 0, headersMax);
  if (count === 0) return false;
  if (!zeroWords(words, word + headersHeader.word.reserved, 32)) return false;
  return headersHold(bytes, words, word, word + headerWords, count, false);
}

export function getPrepareRuleHolds(_bytes: Uint8Array, words: Uint32Array, at: number): boolean {
  const word = at >>> 2;
  if (words[word + frame.word.size] !== headerSize) return false;
  if (!isOpAbove0(words, word + getPrepareHeader.word.op)) return false;
  return zeroWords(words, word + getPrepareHeader.word.reserved, 26);
}

export function getReplyRuleHolds(_bytes: Uint8Array, words: Uint32Array, at: number): boolean {
  const word = at >>> 2;
  if (words[word + frame.word.size] !== headerSize) return false;
  if (u128IsZero(words, word + getReplyHeader.word.client)) return false;
  if (!isOpAbove0(words, word + getReplyHeader.word.op)) return false;
  return zeroWords(words, word + getReplyHeader.word.reserved, 22);
}

export function getBlocksRuleHolds(_bytes: Uint8Array, words: Uint32Array, at: number): boolean {
  const word = at >>> 2;
  const bodySize = words[word + frame.word.size]! - headerSize;
  if (bodySize === 0 || bodySize % blockRequest.size !== 0) return false;
  const count = bodySize / blockRequest.size;
  if (count > blockRequestsMax) return false;
  if (!zeroWords(words, word + getBlocksHeader.word.reserved, 32)) return false;
  for (let index = 0; index < count; index += 1) {
    const entry = word + headerWords + (index * blockRequest.size) / 4;
    if (!isOpAbove0(words, entry + blockRequest.word.address)) return false;
    if (!zeroWords(words, entry + blockRequest.word.reserved, 2)) return false;
  }
  return true;
}

export function blockRuleHolds(_bytes: Uint8Array, words: Uint32Array, at: number): boolean {
  const word = at >>> 2;
  const size = words[word + frame.word.size]!;
  if (size !== blockMessageSize && size !== headerSize) return false;
  if (!isOpAbove0(words, word + blockHeader.word.address)) return false;
  return zeroWords(words, word + blockHeader.word.reserved, 26);
}

/** Prepare headers in a body, behind `before` bytes; 0 when it is not 1 to `most` of them. */
function headersInBody(words: Uint32Array, word: number, before: number, most: number): number {
  const bodySize = words[word + frame.word.size]! - headerSize - before;
  if (bodySize <= 0 || bodySize % headerSize !== 0) return 0;
  const count = bodySize / headerSize;
  return count <= most ? count : 0;
}

/** Headers of descending ops, without blanks; with `consecutive`, no op is left out. */
function headersHold(
  bytes: Uint8Array,
  words: Uint32Array,
  word: number,
  first: number,
  count: number,
  consecutive: boolean,
): boolean {
  let above = -1;
  for (let index = 0; index < count; index += 1) {
    const header = first + headerWords * index;
    if (!bodyHeaderHolds(bytes, words, header * 4, words, word + frame.word.cluster)) return false;
    const op = u64ReadNumber(words, header + opWord);
    if (index > 0 && (op >= above || (consecutive && op !== above - 1))) return false;
    above = op;
  }
  return true;
}

/** All zero but for the op. */
function blankHolds(words: Uint32Array, header: number): boolean {
  return zeroWords(words, header, opWord) && zeroWords(words, header + opWord + 2, 6);
}

function isOp(words: Uint32Array, at: number): boolean {
  return Number.isSafeInteger(u64ReadNumber(words, at));
}

function isOpAbove0(words: Uint32Array, at: number): boolean {
  return isOp(words, at) && (words[at]! | words[at + 1]!) !== 0;
}
