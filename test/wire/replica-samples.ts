/** One sound message between replicas of every kind, and the prepare headers for their bodies. */
import { checkpointStateSize, headerSize } from "../../src/core/limits.ts";
import { u64WriteNumber } from "../../src/core/u128.ts";
import { sealHeader } from "../../src/wire/build.ts";
import { Command, frame, prepareHeader } from "../../src/wire/header.ts";
import { Operation } from "../../src/wire/operations.ts";
import { blockMessageSize, headersMax } from "../../src/wire/replica-headers.ts";
import {
  bodyHeaderAt,
  JoinViewFields,
  PingFields,
  ViewFields,
  viewBodyHeaderAt,
  writeBlankHeader,
  writeBlock,
  writeBlockRequest,
  writeCommit,
  writeExitView,
  writeGetBlocks,
  writeGetHeaders,
  writeGetPrepare,
  writeGetReply,
  writeGetView,
  writeHeaders,
  writeJoinView,
  writeNoBlock,
  writePing,
  writePong,
  writePrepareOk,
  writeView,
} from "../../src/wire/replica-messages.ts";
import { type Frame, frameOf } from "./bytes.ts";

export const cluster = Uint32Array.of(11, 22, 33, 44);
export const view = 7;
export const replica = 2;

/** Memory full of garbage, as a reused buffer is. */
function dirty(size: number): Frame {
  const target = frameOf(size);
  target.bytes.fill(0xa5);
  return target;
}

const four = (seed: number): Uint32Array => Uint32Array.of(seed, seed + 1, seed + 2, seed + 3);

/** A sealed prepare: one create_transfers of a client, unless the caller changes it and reseals. */
export function prepare(op: number, bodySize = 0, act?: (target: Frame) => void): Frame {
  const target = frameOf(headerSize + bodySize);
  const { bytes, words } = target;
  words.set(cluster, frame.word.cluster);
  words[frame.word.size] = headerSize + bodySize;
  words[frame.word.view] = view - 1;
  words[frame.word.release] = 0x1109;
  bytes[frame.at.command] = Command.prepare;
  bytes[frame.at.replica] = 1;
  words.set(four(100), prepareHeader.word.parent);
  words.set(four(200), prepareHeader.word.requestChecksum);
  words.set(four(300), prepareHeader.word.client);
  u64WriteNumber(words, prepareHeader.word.op, op);
  u64WriteNumber(words, prepareHeader.word.commit, Math.max(0, op - 3));
  u64WriteNumber(words, prepareHeader.word.timestamp, 1_000_000 + op);
  words[prepareHeader.word.request] = 9;
  bytes[prepareHeader.at.operation] = Operation.createTransfers;
  bytes[prepareHeader.at.requests] = 1;
  act?.(target);
  sealHeader(bytes, words, 0);
  return target;
}

export function prepareOfClient(): Frame {
  return prepare(70, 128);
}

/** A sealed pulse, as the primary prepares it by itself. */
export function pulse(op: number): Frame {
  return prepare(op, 0, ({ bytes, words }) => {
    words[frame.word.release] = 0;
    words.fill(0, prepareHeader.word.requestChecksum, prepareHeader.word.requestChecksum + 4);
    words.fill(0, prepareHeader.word.client, prepareHeader.word.client + 4);
    words[prepareHeader.word.request] = 0;
    bytes[prepareHeader.at.operation] = Operation.pulse;
  });
}

/** A sealed prepare of two requests. */
export function group(op: number, bodySize = 512): Frame {
  return prepare(op, bodySize, ({ bytes, words }) => {
    words[frame.word.release] = 0;
    words.fill(0, prepareHeader.word.requestChecksum, prepareHeader.word.requestChecksum + 4);
    words.fill(0, prepareHeader.word.client, prepareHeader.word.client + 4);
    words[prepareHeader.word.request] = 0;
    bytes[prepareHeader.at.operation] = Operation.group;
    bytes[prepareHeader.at.requests] = 2;
  });
}

/** A sealed register. */
export function register(op: number): Frame {
  return prepare(op, 256, ({ bytes, words }) => {
    words[prepareHeader.word.request] = 0;
    bytes[prepareHeader.at.operation] = Operation.register;
  });
}

export function ping(): Frame {
  const fields = new PingFields();
  fields.checkpointId.set(four(1));
  fields.checkpointOp = 959;
  fields.monotonic.set([5, 6]);
  fields.formatId.set(four(7));
  fields.replicaCount = 3;
  fields.voteless = true;
  const target = dirty(headerSize);
  writePing(target.bytes, target.words, cluster, view, replica, fields);
  return target;
}

export function pong(): Frame {
  const target = dirty(headerSize);
  const wall = Uint32Array.of(8, 9);
  writePong(target.bytes, target.words, cluster, view, replica, ping().words, wall);
  return target;
}

export function prepareOk(): Frame {
  const target = dirty(headerSize);
  const header = prepare(70).words;
  writePrepareOk(target.bytes, target.words, cluster, view, replica, header, 0, 65, 40);
  return target;
}

export function commit(): Frame {
  const { bytes, words } = dirty(headerSize);
  writeCommit(bytes, words, cluster, view, replica, four(10), 0, 66, four(20), 60);
  return { bytes, words };
}

export function exitView(): Frame {
  const target = dirty(headerSize);
  writeExitView(target.bytes, target.words, cluster, view, replica);
  return target;
}

/** Of ops `op`, `op` − 1 …; those in `blanks` (places in the body) are unknown. */
export function joinView(op = 70, count = 9, blanks: readonly number[] = []): Frame {
  const target = dirty(headerSize * (1 + count));
  const fields = new JoinViewFields();
  fields.op = op;
  fields.commitMin = Math.max(0, op - 8);
  fields.commitMax = fields.commitMin + 1;
  fields.checkpointOp = Math.min(40, fields.commitMin);
  fields.logView = view - 1;
  for (let index = 0; index < count; index += 1) {
    const at = bodyHeaderAt(index);
    if (blanks.includes(index)) writeBlankHeader(target.words, at, op - index);
    else target.words.set(prepare(op - index, 64).words.subarray(0, 64), at);
    if (index % 2 === 1) fields.nack |= 1 << index;
    else if (!blanks.includes(index)) fields.present |= 1 << index;
  }
  writeJoinView(target.bytes, target.words, cluster, view, replica, fields, count);
  return target;
}

export function viewMessage(op = 70, count = 11): Frame {
  const target = dirty(headerSize * (1 + count) + checkpointStateSize);
  const fields = new ViewFields();
  fields.nonce.set(four(50));
  fields.op = op;
  fields.commitMax = op - 2;
  fields.checkpointOp = 40;
  fields.checkpointOnly = true;
  for (let index = 0; index < count; index += 1) {
    target.words.set(prepare(op - index).words, viewBodyHeaderAt(index));
  }
  writeView(target.bytes, target.words, cluster, view, replica, fields, count);
  return target;
}

export function getView(): Frame {
  const target = dirty(headerSize);
  writeGetView(target.bytes, target.words, cluster, view, replica, four(50), true);
  return target;
}

export function getHeaders(): Frame {
  const target = dirty(headerSize);
  writeGetHeaders(target.bytes, target.words, cluster, view, replica, 61, 70);
  return target;
}

export function headers(op = 70, count = headersMax): Frame {
  const target = dirty(headerSize * (1 + count));
  for (let index = 0; index < count; index += 1) {
    target.words.set(prepare(op - index).words, bodyHeaderAt(index));
  }
  writeHeaders(target.bytes, target.words, cluster, view, replica, count);
  return target;
}

export function getPrepare(): Frame {
  const target = dirty(headerSize);
  writeGetPrepare(target.bytes, target.words, cluster, view, replica, prepare(70).words, 0, 70);
  return target;
}

export function getReply(): Frame {
  const { bytes, words } = dirty(headerSize);
  writeGetReply(bytes, words, cluster, view, replica, four(60), 0, four(300), 0, 70);
  return { bytes, words };
}

export function getBlocks(count = 4): Frame {
  const target = dirty(headerSize + 32 * count);
  for (let index = 0; index < count; index += 1) {
    writeBlockRequest(target.words, index, four(70 + index), 0, 1000 + index);
  }
  writeGetBlocks(target.bytes, target.words, cluster, view, replica, count);
  return target;
}

export function block(): Frame {
  const target = dirty(blockMessageSize);
  const checksumAt = headerSize / 4;
  const { bytes, words } = target;
  writeBlock(bytes, words, cluster, view, replica, words, checksumAt, 1000);
  return target;
}

export function noBlock(): Frame {
  const target = dirty(headerSize);
  writeNoBlock(target.bytes, target.words, cluster, view, replica, four(70), 0, 1000);
  return target;
}

/** Every kind, by its command. */
export const samples: readonly (readonly [string, number, () => Frame])[] = [
  ["ping", Command.ping, ping],
  ["pong", Command.pong, pong],
  ["prepare", Command.prepare, prepareOfClient],
  ["prepare_ok", Command.prepareOk, prepareOk],
  ["commit", Command.commit, commit],
  ["exit_view", Command.exitView, exitView],
  ["join_view", Command.joinView, joinView],
  ["view", Command.view, viewMessage],
  ["get_view", Command.getView, getView],
  ["get_headers", Command.getHeaders, getHeaders],
  ["headers", Command.headers, headers],
  ["get_prepare", Command.getPrepare, getPrepare],
  ["get_reply", Command.getReply, getReply],
  ["get_blocks", Command.getBlocks, getBlocks],
  ["block", Command.block, block],
  ["block that is not there", Command.block, noBlock],
];
