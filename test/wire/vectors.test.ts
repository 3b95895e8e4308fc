/**
 * Every captured message is accepted, decoded, and built again from the decoded fields: the bytes
 * must be those captured, checksums included.
 */
import { describe, expect, test } from "vitest";
import { u64ReadNumber, u128Copy } from "../../src/core/u128.ts";
import { checksum } from "../../src/native/checksum.ts";
import {
  beginHeader,
  ReplyFields,
  RequestFields,
  resealHeader,
  sealHeader,
  writeEviction,
  writePingClient,
  writePongClient,
  writeReply,
  writeRequest,
} from "../../src/wire/build.ts";
import {
  checkBody,
  checkFrame,
  FrameVerdict,
  HeaderRule,
  headerRule,
} from "../../src/wire/frame-check.ts";
import {
  Command,
  evictionHeader,
  frame,
  pingClientHeader,
  replyHeader,
  requestHeader,
} from "../../src/wire/header.ts";
import {
  multiBatchCheck,
  multiBatchElements,
  multiBatchFinish,
} from "../../src/wire/multi-batch.ts";
import {
  operationEventSize,
  operationMultiBatch,
  operationResultSize,
} from "../../src/wire/operations.ts";
import { bodyFault, eventCount, replyBodySizeMax } from "../../src/wire/validate-body.ts";
import { type Frame, frameOf, hex, readVector, vectorNamed, vectors } from "./bytes.ts";

const limit = 1_048_320;

function clusterOf(group: string): Uint32Array {
  return Uint32Array.of(group === "R" ? 7 : 0, 0, 0, 0);
}

/** A frame full of garbage but for the body, as a reused buffer has it. */
function dirtyCopy(source: Frame): Frame {
  const copy = frameOf(source.bytes.length);
  copy.bytes.fill(0xa5, 0, 256);
  copy.bytes.set(source.bytes.subarray(256), 256);
  return copy;
}

function rebuildRequest(source: Frame): Frame {
  const { bytes, words } = source;
  const fields = new RequestFields();
  u128Copy(fields.cluster, 0, words, frame.word.cluster);
  u128Copy(fields.client, 0, words, requestHeader.word.client);
  u128Copy(fields.parent, 0, words, requestHeader.word.parent);
  fields.view = words[frame.word.view]!;
  fields.release = words[frame.word.release]!;
  fields.session = u64ReadNumber(words, requestHeader.word.session);
  fields.request = words[requestHeader.word.request]!;
  fields.operation = bytes[requestHeader.at.operation]!;
  fields.previousRequestLatencyUs = words[requestHeader.word.previousRequestLatency]!;
  fields.bodySize = words[frame.word.size]! - 256;
  const target = dirtyCopy(source);
  writeRequest(target.bytes, target.words, 0, fields);
  return target;
}

function rebuildReply(source: Frame): Frame {
  const { bytes, words } = source;
  const fields = new ReplyFields();
  u128Copy(fields.cluster, 0, words, frame.word.cluster);
  u128Copy(fields.client, 0, words, replyHeader.word.client);
  u128Copy(fields.requestChecksum, 0, words, replyHeader.word.requestChecksum);
  fields.view = words[frame.word.view]!;
  fields.release = words[frame.word.release]!;
  fields.replica = bytes[frame.at.replica]!;
  fields.op = u64ReadNumber(words, replyHeader.word.op);
  fields.timestampLow = words[replyHeader.word.timestamp]!;
  fields.timestampHigh = words[replyHeader.word.timestamp + 1]!;
  fields.request = words[replyHeader.word.request]!;
  fields.operation = bytes[replyHeader.at.operation]!;
  fields.bodySize = words[frame.word.size]! - 256;
  const target = dirtyCopy(source);
  writeReply(target.bytes, target.words, 0, fields);
  // Our context is another one (of the same request, op and timestamp) than the reference's.
  expect(headerRule(target.bytes, target.words, 0)).toBe(HeaderRule.ok);
  u128Copy(target.words, replyHeader.word.context, words, replyHeader.word.context);
  resealHeader(target.bytes, 0);
  return target;
}

function rebuildPing(source: Frame): Frame {
  const { words } = source;
  const target = dirtyCopy(source);
  const client = words.slice(pingClientHeader.word.client, pingClientHeader.word.client + 4);
  const cluster = words.slice(frame.word.cluster, frame.word.cluster + 4);
  writePingClient(
    target.bytes,
    target.words,
    0,
    client,
    cluster,
    words[frame.word.release]!,
    u64ReadNumber(words, pingClientHeader.word.session),
    words[pingClientHeader.word.pingTimestampMonotonic]!,
    words[pingClientHeader.word.pingTimestampMonotonic + 1]!,
  );
  return target;
}

function rebuildPong(source: Frame): Frame {
  const { bytes, words } = source;
  const ping = vectorNamed("A-21");
  const target = dirtyCopy(source);
  writePongClient(
    target.bytes,
    target.words,
    0,
    ping.words,
    0,
    words.slice(frame.word.cluster, frame.word.cluster + 4),
    words[frame.word.view]!,
    words[frame.word.release]!,
    bytes[frame.at.replica]!,
  );
  return target;
}

function rebuildEviction(source: Frame): Frame {
  const { bytes, words } = source;
  const target = dirtyCopy(source);
  writeEviction(
    target.bytes,
    target.words,
    0,
    words,
    evictionHeader.word.client,
    words.slice(frame.word.cluster, frame.word.cluster + 4),
    words[frame.word.view]!,
    words[frame.word.release]!,
    bytes[frame.at.replica]!,
    bytes[evictionHeader.at.reason]!,
  );
  return target;
}

/** For commands between replicas: the frame's fields, and the rest as it is. */
function rebuildInternal(source: Frame): Frame {
  const { bytes, words } = source;
  const target = dirtyCopy(source);
  const cluster = words.slice(frame.word.cluster, frame.word.cluster + 4);
  beginHeader(
    target.bytes,
    target.words,
    0,
    bytes[frame.at.command]!,
    cluster,
    words[frame.word.size]! - 256,
  );
  target.words[frame.word.view] = words[frame.word.view]!;
  target.words[frame.word.release] = words[frame.word.release]!;
  target.bytes[frame.at.replica] = bytes[frame.at.replica]!;
  target.bytes.set(bytes.subarray(128, 256), 128);
  sealHeader(target.bytes, target.words, 0);
  return target;
}

function rebuild(source: Frame): Frame {
  switch (source.bytes[frame.at.command]) {
    case Command.request:
      return rebuildRequest(source);
    case Command.reply:
      return rebuildReply(source);
    case Command.pingClient:
      return rebuildPing(source);
    case Command.pongClient:
      return rebuildPong(source);
    case Command.eviction:
      return rebuildEviction(source);
    default:
      return rebuildInternal(source);
  }
}

test("there are as many vectors as the index lists", () => {
  expect(vectors.length).toBe(53);
});

describe.each(vectors.map((vector) => [vector.file, vector] as const))("%s", (file, vector) => {
  const source = readVector(file);
  const { bytes, words } = source;

  test("is accepted", () => {
    expect(bytes.length).toBe(vector.size);
    expect(words[frame.word.size]).toBe(vector.size);
    expect(hex(bytes.subarray(0, 16))).toBe(vector.checksum_hex);
    expect(hex(bytes.subarray(32, 48))).toBe(vector.checksum_body_hex);
    expect(bytes[frame.at.command]).toBe(vector.command);
    expect(checkFrame(bytes, words, 0, clusterOf(vector.group))).toBe(FrameVerdict.ok);
    expect(checkBody(bytes, 0, vector.size)).toBe(true);
    // What captured replicas say to each other is laid out otherwise than ours.
    if (vector.group === "R" && vector.command !== Command.request) return;
    expect(headerRule(bytes, words, 0)).toBe(HeaderRule.ok);
  });

  test("is built again to the same bytes", () => {
    expect(hex(rebuild(source).bytes)).toBe(hex(bytes));
  });
});

const requests = vectors.filter((v) => v.command === Command.request && v.group !== "R");

describe.each(requests.map((vector) => [vector.file, vector] as const))("%s", (file, vector) => {
  const { bytes } = readVector(file);
  const operation = vector.operation ?? -1;
  const length = vector.size - 256;

  test("its body is valid", () => {
    expect(bytes[requestHeader.at.operation]).toBe(operation);
    expect(bodyFault(operation, bytes, 256, length, limit)).toBe(0);
  });
});

const pairs = requests.flatMap((request) => {
  const next = `${request.group}-${String(Number(request.file.slice(2, 4)) + 1).padStart(2, "0")}`;
  const reply = vectors.find((v) => v.file.startsWith(next) && v.command === Command.reply);
  return reply === undefined ? [] : [[request.file, request, reply] as const];
});

test("most captured requests come with their reply", () => {
  expect(pairs.length).toBe(18);
});

test.each(pairs)("the reply to %s fits the size foreseen", (file, request, reply) => {
  const { bytes } = readVector(file);
  const replyMax = replyBodySizeMax(request.operation ?? -1, bytes, 256, request.size - 256);
  expect(reply.size - 256).toBeLessThanOrEqual(replyMax);
});

/** Vector, elements per sub-batch as described in vectors/INDEX.md. */
const batches: [string, number[]][] = [
  ["A-03", [3]],
  ["A-04", [3]],
  ["A-05", [1]],
  ["A-06", [1]],
  ["A-07", [2, 0, 1]],
  ["A-08", [2, 0, 1]],
  ["A-09", [3]],
  ["A-10", [2]],
  ["A-11", [2]],
  ["A-12", [2]],
  ["A-13", [1]],
  ["A-14", [3]],
  ["A-15", [1]],
  ["A-16", [3]],
  ["A-17", [1]],
  ["A-18", [2]],
  ["A-19", [1]],
  ["A-20", [3]],
  ["B-01", [0]],
  ["C-03", [1, 0, 2]],
  ["C-04", [1, 0, 2]],
  ["D-01", [2]],
  ["D-02", [1]],
  ["D-03", [2]],
  ["D-04", [1]],
];

test.each(batches)("%s has sub-batches of %j elements", (name, counts) => {
  const { bytes, words } = vectorNamed(name);
  const request = bytes[frame.at.command] === Command.request;
  const operation = bytes[(request ? requestHeader : replyHeader).at.operation]!;
  expect(operationMultiBatch[operation]).toBe(1);
  const elementSize = (request ? operationEventSize : operationResultSize)[operation]!;
  const length = words[frame.word.size]! - 256;
  expect(multiBatchCheck(bytes, 256, length, elementSize)).toBe(counts.length);
  const found = counts.map((_, index) => multiBatchElements(bytes, 256, length, index));
  expect(found).toEqual(counts);
  const total = counts.reduce((sum, count) => sum + count, 0);
  if (request) expect(eventCount(operation, bytes, 256, length)).toBe(total);

  const again = frameOf(bytes.length);
  again.bytes.set(bytes.subarray(0, 256 + total * elementSize));
  const finished = multiBatchFinish(
    again.bytes,
    256,
    total * elementSize,
    elementSize,
    Uint32Array.from(counts),
    counts.length,
  );
  expect(finished).toBe(length);
  expect(hex(again.bytes)).toBe(hex(bytes));
});

test("captured replies carry the reference's context, so that it is known what ours replaces", () => {
  for (const vector of vectors.filter((v) => v.command === Command.reply)) {
    const { bytes, words } = readVector(vector.file);
    const expected = words.slice(replyHeader.word.context, replyHeader.word.context + 4);
    words.fill(0, replyHeader.word.context, replyHeader.word.context + 4);
    const computed = new Uint32Array(4);
    checksum(new Uint8Array(computed.buffer), 0, bytes, 16, 240);
    expect(computed).toEqual(expected);
  }
});
