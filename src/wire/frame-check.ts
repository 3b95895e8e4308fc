/**
 * What is checked about a frame before anyone acts on it (protocol/wire.md §1.1, §3, §4). Two
 * steps with different outcomes:
 *
 * - `checkFrame` and `checkBody`: is this a message of this cluster at all? If not, the stream
 *   can no longer be trusted and the connection is closed.
 * - `headerRule`: does the header (and between replicas the body) obey the rules of its command?
 *   If not, the message is dropped and the connection lives on.
 *
 * The order in `checkFrame` is part of the protocol: nothing in a header means anything before
 * its checksum has been verified. No function allocates; verdicts are small integers.
 */
import { headerSize, messageSizeMax } from "../core/limits.ts";
import { u128Equal, u128IsZero } from "../core/u128.ts";
import { checksumMatches } from "../native/checksum.ts";
import { frameRuleHolds, zeroWords } from "./frame-rule.ts";
import {
  Command,
  commandMax,
  EvictionReason,
  evictionHeader,
  frame,
  pingClientHeader,
  pongClientHeader,
  replyHeader,
  requestHeader,
} from "./header.ts";
import { Operation, registerBodySize, registerReplyBodySize } from "./operations.ts";
import { replicaRuleHolds } from "./replica-rules.ts";

export const FrameVerdict = {
  ok: 0,
  headerChecksum: 1,
  command: 2,
  size: 3,
  cluster: 4,
} as const;

/** Where the checksummed part of a header begins. */
const checkedAt = frame.at.checksumPadding;

/**
 * Judges the header at byte `at`, which is a multiple of 4.
 * @param cluster - Own cluster id, four words.
 * @returns A `FrameVerdict`.
 */
export function checkFrame(
  bytes: Uint8Array,
  words: Uint32Array,
  at: number,
  cluster: Uint32Array,
): number {
  if (!checksumMatches(bytes, at, bytes, at + checkedAt, headerSize - checkedAt)) {
    return FrameVerdict.headerChecksum;
  }
  const command = bytes[at + frame.at.command]!;
  if (command === Command.reserved || command > commandMax) return FrameVerdict.command;
  const word = at >>> 2;
  const size = words[word + frame.word.size]!;
  if (size < headerSize || size > messageSizeMax) return FrameVerdict.size;
  if (!u128Equal(words, word + frame.word.cluster, cluster, 0)) return FrameVerdict.cluster;
  return FrameVerdict.ok;
}

/** True when the body at `at` + header is the one that the header names. */
export function checkBody(bytes: Uint8Array, at: number, size: number): boolean {
  const bodyAt = at + headerSize;
  return checksumMatches(bytes, at + frame.at.checksumBody, bytes, bodyAt, size - headerSize);
}

export const HeaderRule = {
  ok: 0,
  /** A command number that was given up: understood by nobody. */
  deprecated: 1,
  /** A field that must be zero is not, or one that must not be zero is. */
  violated: 2,
} as const;

/**
 * Judges the message at byte `at`, whose frame and body have been found ok.
 * @returns A `HeaderRule`.
 */
export function headerRule(bytes: Uint8Array, words: Uint32Array, at: number): number {
  const word = at >>> 2;
  if (!frameRuleHolds(words, word)) return HeaderRule.violated;
  switch (bytes[at + frame.at.command]) {
    case Command.request:
      return verdict(requestRuleHolds(bytes, words, at));
    case Command.pingClient:
      return verdict(pingClientRuleHolds(bytes, words, at));
    case Command.reply:
      return verdict(replyRuleHolds(bytes, words, at));
    case Command.pongClient:
      return verdict(pongClientRuleHolds(words, word));
    case Command.eviction:
      return verdict(evictionRuleHolds(bytes, words, at));
    case 12:
    case 21:
    case 22:
    case 23:
      return HeaderRule.deprecated;
    default:
      return verdict(replicaRuleHolds(bytes, words, at));
  }
}

function verdict(holds: boolean): number {
  return holds ? HeaderRule.ok : HeaderRule.violated;
}

function requestRuleHolds(bytes: Uint8Array, words: Uint32Array, at: number): boolean {
  const word = at >>> 2;
  if (words[word + frame.word.release] === 0) return false;
  if (bytes[at + frame.at.replica] !== 0) return false;
  if (!u128IsZero(words, word + requestHeader.word.parentPadding)) return false;
  // The three bytes of padding share a word with the operation.
  if (words[word + requestHeader.word.operation]! >>> 8 !== 0) return false;
  if (!zeroWords(words, word + requestHeader.word.reserved, 13)) return false;
  if (u128IsZero(words, word + requestHeader.word.client)) return false;

  const operation = bytes[at + requestHeader.at.operation]!;
  const size = words[word + frame.word.size]!;
  const sessionAt = word + requestHeader.word.session;
  const noSession = (words[sessionAt]! | words[sessionAt + 1]!) === 0;
  const noRequest = words[word + requestHeader.word.request] === 0;
  if (operation === Operation.register) {
    if (!u128IsZero(words, word + requestHeader.word.parent)) return false;
    if (!noSession || !noRequest) return false;
    // Without a body only so that very old clients can be told that they are too old.
    return size === headerSize + registerBodySize || size === headerSize;
  }
  // Pulse and upgrade come from the replica itself and never over a connection.
  const fromNetwork =
    operation === Operation.reconfigure || operation === Operation.noop || operation >= 128;
  if (!fromNetwork) return false;
  if (noSession || noRequest) return false;
  if (operation === Operation.reconfigure) return size === headerSize + 256;
  if (operation === Operation.noop) return size === headerSize;
  return true;
}

function pingClientRuleHolds(bytes: Uint8Array, words: Uint32Array, at: number): boolean {
  const word = at >>> 2;
  if (words[word + frame.word.size] !== headerSize) return false;
  if (words[word + frame.word.view] !== 0) return false;
  if (words[word + frame.word.release] === 0) return false;
  if (bytes[at + frame.at.replica] !== 0) return false;
  if (u128IsZero(words, word + pingClientHeader.word.client)) return false;
  return zeroWords(words, word + pingClientHeader.word.reserved, 24);
}

function pongClientRuleHolds(words: Uint32Array, word: number): boolean {
  if (words[word + frame.word.size] !== headerSize) return false;
  if (words[word + frame.word.release] === 0) return false;
  return zeroWords(words, word + pongClientHeader.word.reserved, 30);
}

function replyRuleHolds(bytes: Uint8Array, words: Uint32Array, at: number): boolean {
  const word = at >>> 2;
  if (words[word + frame.word.release] === 0) return false;
  if (!u128IsZero(words, word + replyHeader.word.requestChecksumPadding)) return false;
  if (!u128IsZero(words, word + replyHeader.word.contextPadding)) return false;
  if (u128IsZero(words, word + replyHeader.word.client)) return false;
  const op = word + replyHeader.word.op;
  const commit = word + replyHeader.word.commit;
  if (words[op] !== words[commit] || words[op + 1] !== words[commit + 1]) return false;
  if ((words[commit]! | words[commit + 1]!) === 0) return false;
  const timestamp = word + replyHeader.word.timestamp;
  if ((words[timestamp]! | words[timestamp + 1]!) === 0) return false;
  // Nineteen reserved bytes: three beside the operation, then four words.
  if (words[word + replyHeader.word.operation]! >>> 8 !== 0) return false;
  if (!zeroWords(words, word + replyHeader.word.operation + 1, 4)) return false;
  const noRequest = words[word + replyHeader.word.request] === 0;
  if (bytes[at + replyHeader.at.operation] === Operation.register) {
    return noRequest && words[word + frame.word.size] === headerSize + registerReplyBodySize;
  }
  return !noRequest;
}

function evictionRuleHolds(bytes: Uint8Array, words: Uint32Array, at: number): boolean {
  const word = at >>> 2;
  if (words[word + frame.word.size] !== headerSize) return false;
  if (words[word + frame.word.release] === 0) return false;
  if (u128IsZero(words, word + evictionHeader.word.client)) return false;
  const reason = bytes[at + evictionHeader.at.reason]!;
  if (reason === 0 || reason > EvictionReason.sessionReleaseMismatch) return false;
  // 111 reserved bytes: 27 words, and three bytes beside the reason.
  const reserved = word + evictionHeader.word.reserved;
  return zeroWords(words, reserved, 27) && (words[reserved + 27]! & 0xff_ffff) === 0;
}
