/** What the builders write: every field in its place, the rest zero, body and header sealed. */
import { describe, expect, test } from "vitest";
import * as samples from "../../test/wire/replica-samples.ts";
import type { Layout } from "../core/layout.ts";
import { headerSize } from "../core/limits.ts";
import { checkBody, checkFrame, FrameVerdict } from "./frame-check.ts";
import { Command, frame } from "./header.ts";
import * as layouts from "./replica-headers.ts";
import {
  blockRequestAt,
  bodyHeaderAt,
  isBlankHeader,
  viewBodyHeaderAt,
} from "./replica-messages.ts";

const { cluster } = samples;

describe.each(samples.samples)("%s", (_, command, make) => {
  test("is a message of the cluster, from its sender and view", () => {
    const { bytes, words } = make();
    expect(checkFrame(bytes, words, 0, cluster)).toBe(FrameVerdict.ok);
    expect(checkBody(bytes, 0, words[frame.word.size]!)).toBe(true);
    expect(bytes[frame.at.command]).toBe(command);
    expect(words[frame.word.size]).toBe(bytes.length);
    if (command === Command.prepare) return; // Made by the samples alone.
    expect(bytes[frame.at.replica]).toBe(samples.replica);
    expect(words[frame.word.view]).toBe(samples.view);
    expect(words[frame.word.release]).toBe(0);
  });
});

const { prepare } = samples;
const cases: readonly (readonly [string, Layout<string>, { words: Uint32Array }, object])[] = [
  [
    "ping",
    layouts.pingHeader,
    samples.ping(),
    {
      checkpointId: [1, 2, 3, 4],
      checkpointOp: [959, 0],
      monotonic: [5, 6],
      formatId: [7, 8, 9, 10],
      replicaCount: [3],
      voteless: [1],
    },
  ],
  ["pong", layouts.pongHeader, samples.pong(), { monotonic: [5, 6], wall: [8, 9] }],
  [
    "prepare_ok",
    layouts.prepareOkHeader,
    samples.prepareOk(),
    {
      prepareChecksum: [...prepare(70).words.subarray(0, 4)],
      op: [70, 0],
      commitMin: [65, 0],
      checkpointOp: [40, 0],
    },
  ],
  [
    "commit",
    layouts.commitHeader,
    samples.commit(),
    {
      commitChecksum: [10, 11, 12, 13],
      commit: [66, 0],
      checkpointOp: [60, 0],
      checkpointId: [20, 21, 22, 23],
    },
  ],
  ["exit_view", layouts.exitViewHeader, samples.exitView(), {}],
  [
    "join_view",
    layouts.joinViewHeader,
    samples.joinView(),
    {
      op: [70, 0],
      commitMin: [62, 0],
      commitMax: [63, 0],
      checkpointOp: [40, 0],
      logView: [6],
      present: [0b1_0101_0101],
      nack: [0b0_1010_1010],
    },
  ],
  [
    "view",
    layouts.viewHeader,
    samples.viewMessage(),
    {
      nonce: [50, 51, 52, 53],
      op: [70, 0],
      commitMax: [68, 0],
      checkpointOp: [40, 0],
      checkpointOnly: [1],
    },
  ],
  ["get_view", layouts.getViewHeader, samples.getView(), { nonce: [50, 51, 52, 53], opening: [1] }],
  [
    "get_headers",
    layouts.getHeadersHeader,
    samples.getHeaders(),
    { opMin: [61, 0], opMax: [70, 0] },
  ],
  ["headers", layouts.headersHeader, samples.headers(), {}],
  [
    "get_prepare",
    layouts.getPrepareHeader,
    samples.getPrepare(),
    { prepareChecksum: [...prepare(70).words.subarray(0, 4)], op: [70, 0] },
  ],
  [
    "get_reply",
    layouts.getReplyHeader,
    samples.getReply(),
    { replyChecksum: [60, 61, 62, 63], client: [300, 301, 302, 303], op: [70, 0] },
  ],
  ["get_blocks", layouts.getBlocksHeader, samples.getBlocks(), {}],
  [
    "block",
    layouts.blockHeader,
    samples.block(),
    { blockChecksum: [0xa5a5a5a5, 0xa5a5a5a5, 0xa5a5a5a5, 0xa5a5a5a5], address: [1000, 0] },
  ],
  [
    "block that is not there",
    layouts.blockHeader,
    samples.noBlock(),
    { blockChecksum: [70, 71, 72, 73], address: [1000, 0] },
  ],
];

test.each(cases)("the fields of %s", (_, layout, { words }, expected) => {
  const fields = new Map<string, number[]>(Object.entries(expected));
  for (const { name, at, size } of layout.fields) {
    const bytes = new Uint8Array(words.buffer, at, size);
    const value = fields.get(name);
    if (value === undefined) expect(bytes.every((byte) => byte === 0)).toBe(true);
    else if (size === 1) expect([...bytes]).toEqual(value);
    else expect([...words.subarray(at / 4, (at + size) / 4)]).toEqual(value);
  }
});

test("ops beyond 32 bits keep all their bits", () => {
  const op = 2 ** 52 + 2 ** 31 + 5;
  const { words } = samples.joinView(op, 1);
  const at = layouts.joinViewHeader.word.op;
  expect(words[at + 1]! * 2 ** 32 + words[at]!).toBe(op);
});

test("headers and requests lie where their places say", () => {
  const joined = samples.joinView(70, 3, [1]);
  expect(isBlankHeader(joined.words, bodyHeaderAt(0))).toBe(false);
  expect(isBlankHeader(joined.words, bodyHeaderAt(1))).toBe(true);
  expect(bodyHeaderAt(0)).toBe(headerSize / 4);
  expect(viewBodyHeaderAt(0)).toBe((headerSize + 1024) / 4);
  const asked = samples.getBlocks(2);
  const at = blockRequestAt(1);
  expect([...asked.words.subarray(at, at + 8)]).toEqual([71, 72, 73, 74, 1001, 0, 0, 0]);
});
