/**
 * The rules of a prepare: of its header, wherever it stands (in a prepare, in the bodies of
 * messages between replicas), and of the table at the end of a group's body. They follow what the
 * primary writes: one request of a client, a group of them, or a pulse of the primary's own.
 */
import { groupRequestsMax, headerSize, messageSizeMax, replicasMax } from "../core/limits.ts";
import { u64ReadNumber, u128Equal, u128IsZero } from "../core/u128.ts";
import { checksumMatches } from "../native/checksum.ts";
import { frameRuleHolds } from "./frame-rule.ts";
import { Command, frame, groupEntry, prepareHeader } from "./header.ts";
import { Operation, operationFromClients, registerBodySize } from "./operations.ts";

const checkedAt = frame.at.checksumPadding;
const entryWords = groupEntry.size / 4;

/** Timestamps stay below 2^63, so that signed arithmetic of others holds them. */
const timestampHighMax = 0x7fff_ffff;

/** A prepare that came as a message: its frame was checked, its body's checksum too. */
export function prepareRuleHolds(bytes: Uint8Array, words: Uint32Array, at: number): boolean {
  const word = at >>> 2;
  // The root is made from the format options by each replica, and never sent.
  if (bytes[at + prepareHeader.at.operation] === Operation.root) return false;
  if (!fieldsHold(bytes, words, at)) return false;
  return bytes[at + prepareHeader.at.operation] !== Operation.group || tableHolds(words, word);
}

/**
 * A prepare's header in the body of a message, of which nothing is known yet.
 * @param cluster - Own cluster id, four words at `clusterAt`.
 */
export function bodyHeaderHolds(
  bytes: Uint8Array,
  words: Uint32Array,
  at: number,
  cluster: Uint32Array,
  clusterAt: number,
): boolean {
  const word = at >>> 2;
  if (!u128Equal(words, word + frame.word.cluster, cluster, clusterAt)) return false;
  if (bytes[at + frame.at.command] !== Command.prepare) return false;
  if (!frameRuleHolds(words, word)) return false;
  if (!fieldsHold(bytes, words, at)) return false;
  return checksumMatches(bytes, at, bytes, at + checkedAt, headerSize - checkedAt);
}

function fieldsHold(bytes: Uint8Array, words: Uint32Array, at: number): boolean {
  const word = at >>> 2;
  const size = words[word + frame.word.size]!;
  if (size < headerSize || size > messageSizeMax) return false;
  if (bytes[at + frame.at.replica]! >= replicasMax) return false;
  if (!u128IsZero(words, word + prepareHeader.word.parentPadding)) return false;
  if (!u128IsZero(words, word + prepareHeader.word.requestChecksumPadding)) return false;
  // The two reserved bytes share a word with operation and requests.
  if (words[word + prepareHeader.word.operation]! >>> 16 !== 0) return false;
  const operation = bytes[at + prepareHeader.at.operation]!;
  if (operation === Operation.root) return rootHolds(bytes, words, at);

  const op = u64ReadNumber(words, word + prepareHeader.word.op);
  const commit = u64ReadNumber(words, word + prepareHeader.word.commit);
  if (!Number.isSafeInteger(op) || commit >= op) return false;
  const timestamp = word + prepareHeader.word.timestamp;
  if (words[timestamp + 1]! > timestampHighMax) return false;
  if ((words[timestamp]! | words[timestamp + 1]!) === 0) return false;

  const requests = bytes[at + prepareHeader.at.requests]!;
  if (operation === Operation.pulse) {
    return requests === 1 && size === headerSize && requestBlank(words, word);
  }
  if (operation === Operation.group) {
    if (requests < 2 || requests > groupRequestsMax) return false;
    return size >= headerSize + requests * groupEntry.size && requestBlank(words, word);
  }
  if (requests !== 1 || operationFromClients[operation] === 0) return false;
  if (words[word + frame.word.release] === 0) return false;
  if (u128IsZero(words, word + prepareHeader.word.client)) return false;
  const numbered = words[word + prepareHeader.word.request] !== 0;
  if (operation === Operation.register) return !numbered && size === headerSize + registerBodySize;
  return numbered && (operation !== Operation.noop || size === headerSize);
}

/** Op 0. What its body says enters the cluster's format id, which pings compare. */
function rootHolds(bytes: Uint8Array, words: Uint32Array, at: number): boolean {
  const word = at >>> 2;
  if (words[word + frame.word.view] !== 0 || bytes[at + frame.at.replica] !== 0) return false;
  if (bytes[at + prepareHeader.at.requests] !== 0) return false;
  if (!u128IsZero(words, word + prepareHeader.word.parent)) return false;
  if (!u128IsZero(words, word + prepareHeader.word.checkpointId)) return false;
  const op = word + prepareHeader.word.op;
  const commit = word + prepareHeader.word.commit;
  const timestamp = word + prepareHeader.word.timestamp;
  if ((words[op]! | words[op + 1]! | words[commit]! | words[commit + 1]!) !== 0) return false;
  if ((words[timestamp]! | words[timestamp + 1]!) !== 0) return false;
  return requestBlank(words, word);
}

/** Nobody's request: a group's are in its table, a pulse has none. */
function requestBlank(words: Uint32Array, word: number): boolean {
  if (words[word + frame.word.release] !== 0) return false;
  if (words[word + prepareHeader.word.request] !== 0) return false;
  if (!u128IsZero(words, word + prepareHeader.word.requestChecksum)) return false;
  return u128IsZero(words, word + prepareHeader.word.client);
}

/** The group's entries are requests of clients, and their bodies fill what precedes the table. */
function tableHolds(words: Uint32Array, word: number): boolean {
  const size = words[word + frame.word.size]!;
  if (size % 4 !== 0) return false;
  const requests = (words[word + prepareHeader.word.operation]! >>> 8) & 0xff;
  const tableAt = size - requests * groupEntry.size;
  let bodies = 0;
  for (let index = 0; index < requests; index += 1) {
    const entry = word + tableAt / 4 + index * entryWords;
    // The reserved bytes begin in the operation's word, so that a larger word breaks the rule.
    const operation = words[entry + groupEntry.word.operation]!;
    if (operation > 0xff || operation === Operation.register) return false;
    if (operationFromClients[operation] === 0) return false;
    if ((words[entry + groupEntry.word.operation + 1]! | words[entry + entryWords - 1]!) !== 0) {
      return false;
    }
    if (words[entry + groupEntry.word.request] === 0) return false;
    if (words[entry + groupEntry.word.release] === 0) return false;
    if (u128IsZero(words, entry + groupEntry.word.client)) return false;
    const session = entry + groupEntry.word.session;
    if ((words[session]! | words[session + 1]!) === 0) return false;
    const bodySize = words[entry + groupEntry.word.bodySize]!;
    if (bodySize % 4 !== 0 || bodySize > tableAt) return false;
    bodies += bodySize;
  }
  return headerSize + bodies === tableAt;
}
