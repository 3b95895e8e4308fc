/** Header layouts against the protocol's tables, builders against an independent reader. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Layout } from "../../src/core/layout.ts";
import {
  ReplyFields,
  RequestFields,
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
  groupEntry,
  pingClientHeader,
  pongClientHeader,
  prepareHeader,
  replyHeader,
  requestHeader,
} from "../../src/wire/header.ts";
import { Operation } from "../../src/wire/operations.ts";
import { type Frame, frameFrom, frameOf, hex, u128 } from "./bytes.ts";

/** Offsets and sizes from protocol/wire.md §3 and §4, typed by hand from its tables. */
const tables: [string, Layout<string>, number, Record<string, [number, number]>][] = [
  [
    "frame",
    frame,
    0,
    {
      checksum: [0, 16],
      checksumPadding: [16, 16],
      checksumBody: [32, 16],
      checksumBodyPadding: [48, 16],
      nonceReserved: [64, 16],
      cluster: [80, 16],
      size: [96, 4],
      epoch: [100, 4],
      view: [104, 4],
      release: [108, 4],
      protocol: [112, 2],
      command: [114, 1],
      replica: [115, 1],
      reservedFrame: [116, 12],
    },
  ],
  [
    "ping_client",
    pingClientHeader,
    128,
    {
      client: [128, 16],
      pingTimestampMonotonic: [144, 8],
      session: [152, 8],
      reserved: [160, 96],
    },
  ],
  [
    "pong_client",
    pongClientHeader,
    128,
    { pingTimestampMonotonic: [128, 8], reserved: [136, 120] },
  ],
  [
    "request",
    requestHeader,
    128,
    {
      parent: [128, 16],
      parentPadding: [144, 16],
      client: [160, 16],
      session: [176, 8],
      timestamp: [184, 8],
      request: [192, 4],
      operation: [196, 1],
      previousRequestLatencyPadding: [197, 3],
      previousRequestLatency: [200, 4],
      reserved: [204, 52],
    },
  ],
  [
    "reply",
    replyHeader,
    128,
    {
      requestChecksum: [128, 16],
      requestChecksumPadding: [144, 16],
      context: [160, 16],
      contextPadding: [176, 16],
      client: [192, 16],
      op: [208, 8],
      commit: [216, 8],
      timestamp: [224, 8],
      request: [232, 4],
      operation: [236, 1],
      reserved: [237, 19],
    },
  ],
  ["eviction", evictionHeader, 128, { client: [128, 16], reserved: [144, 111], reason: [255, 1] }],
];

test.each(tables)("%s lies as the protocol says", (_, layout, _base, table) => {
  expect(layout.fields.map((field) => field.name)).toEqual(Object.keys(table));
  for (const field of layout.fields) expect([field.at, field.size]).toEqual(table[field.name]);
});

const layouts: [string, Layout<string>, number][] = [
  ...tables.map(([name, layout, base]): [string, Layout<string>, number] => [name, layout, base]),
  ["prepare", prepareHeader, 128],
  ["group entry", groupEntry, 0],
];

test.each(layouts)(
  "%s: what is written to its fields is all there is, and is read back",
  (...row) => {
    const [, layout, base] = row;
    const total = layout.size;
    fc.assert(
      fc.property(fc.uint8Array({ minLength: total, maxLength: total }), (content) => {
        const source = frameOf(base + total);
        source.bytes.set(content, base);
        const target = frameOf(base + total);
        target.bytes.fill(0x5a, base);
        for (const field of layout.fields) {
          const at = layout.at[field.name]!;
          if (field.size % 4 === 0 && layout.word[field.name] !== -1) {
            // By words, as the code reads integers.
            const word = layout.word[field.name]!;
            for (let index = 0; index < field.size / 4; index += 1) {
              target.words[word + index] = source.words[word + index]!;
            }
          } else {
            for (let index = at; index < at + field.size; index += 1) {
              target.bytes[index] = source.bytes[index]!;
            }
          }
        }
        expect(hex(target.bytes)).toBe(hex(source.bytes));
      }),
    );
  },
);

const u32 = fc.integer({ min: 0, max: 0xffff_ffff });
const u32NotZero = fc.integer({ min: 1, max: 0xffff_ffff });
const u8 = fc.integer({ min: 0, max: 255 });
const id = fc.bigInt({ min: 1n, max: (1n << 128n) - 1n });
const anyU128 = fc.bigInt({ min: 0n, max: (1n << 128n) - 1n });
const exact = fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER });
const body = fc.uint8Array({ maxLength: 300 });

/** Reads a field with DataView and bigint, sharing no code with the builders. */
function read(target: Frame, at: number, size: number): bigint {
  const view = new DataView(target.bytes.buffer);
  let value = 0n;
  for (let index = size - 1; index >= 0; index -= 1) {
    value = (value << 8n) | BigInt(view.getUint8(at + index));
  }
  return value;
}

/** Garbage with the body in place. */
function dirty(content: Uint8Array): Frame {
  const target = frameOf(256 + content.length);
  target.bytes.fill(0xee);
  target.bytes.set(content, 256);
  return target;
}

function expectAccepted(target: Frame, cluster: bigint): void {
  expect(checkFrame(target.bytes, target.words, 0, u128(cluster))).toBe(FrameVerdict.ok);
  expect(checkBody(target.bytes, 0, target.bytes.length)).toBe(true);
  expect(headerRule(target.bytes, target.words, 0)).toBe(HeaderRule.ok);
}

/** Bytes outside [from, to) pairs must be zero. */
function expectZeroOutside(target: Frame, ranges: readonly [number, number][]): void {
  for (let at = 0; at < 256; at += 1) {
    if (ranges.some(([from, to]) => at >= from && at < to)) continue;
    expect(target.bytes[at], `byte ${at}`).toBe(0);
  }
}

const frameRanges: [number, number][] = [
  [0, 16],
  [32, 48],
  [80, 100],
  [104, 112],
  [114, 116],
];

describe("builders", () => {
  test("request", () => {
    const operation = fc.integer({ min: 128, max: 255 });
    const parts = fc.tuple(
      anyU128,
      id,
      anyU128,
      u32,
      u32NotZero,
      exact,
      u32NotZero,
      operation,
      u32,
      body,
    );
    fc.assert(
      fc.property(parts, (values) => {
        const [cluster, client, parent, view, release, session, request, op, latency, content] =
          values;
        const fields = new RequestFields();
        fields.cluster.set(u128(cluster));
        fields.client.set(u128(client));
        fields.parent.set(u128(parent));
        fields.view = view;
        fields.release = release;
        fields.session = session;
        fields.request = request;
        fields.operation = op;
        fields.previousRequestLatencyUs = latency;
        fields.bodySize = content.length;
        const target = dirty(content);
        writeRequest(target.bytes, target.words, 0, fields);
        expectAccepted(target, cluster);
        expect(read(target, 80, 16)).toBe(cluster);
        expect(read(target, 96, 4)).toBe(BigInt(256 + content.length));
        expect(read(target, 104, 4)).toBe(BigInt(view));
        expect(read(target, 108, 4)).toBe(BigInt(release));
        expect(target.bytes[114]).toBe(5);
        expect(read(target, 128, 16)).toBe(parent);
        expect(read(target, 160, 16)).toBe(client);
        expect(read(target, 176, 8)).toBe(BigInt(session));
        expect(read(target, 192, 4)).toBe(BigInt(request));
        expect(target.bytes[196]).toBe(op);
        expect(read(target, 200, 4)).toBe(BigInt(latency));
        expectZeroOutside(target, [...frameRanges, [128, 144], [160, 184], [192, 197], [200, 204]]);
      }),
    );
  });

  test("reply", () => {
    const operation = fc.integer({ min: 3, max: 255 });
    const parts = fc.tuple(
      anyU128,
      id,
      anyU128,
      u32,
      u32NotZero,
      u8,
      exact,
      u32NotZero,
      u32,
      u32NotZero,
      operation,
      body,
    );
    fc.assert(
      fc.property(parts, (values) => {
        const [
          cluster,
          client,
          requestChecksum,
          view,
          release,
          replica,
          op,
          low,
          high,
          request,
          code,
          content,
        ] = values;
        const fields = new ReplyFields();
        fields.cluster.set(u128(cluster));
        fields.client.set(u128(client));
        fields.requestChecksum.set(u128(requestChecksum));
        fields.view = view;
        fields.release = release;
        fields.replica = replica;
        fields.op = op;
        fields.timestampLow = low;
        fields.timestampHigh = high;
        fields.request = request;
        fields.operation = code;
        fields.bodySize = content.length;
        const target = dirty(content);
        writeReply(target.bytes, target.words, 0, fields);
        expectAccepted(target, cluster);
        expect(read(target, 104, 4)).toBe(BigInt(view));
        expect(read(target, 108, 4)).toBe(BigInt(release));
        expect(target.bytes[114]).toBe(8);
        expect(target.bytes[115]).toBe(replica);
        expect(read(target, 128, 16)).toBe(requestChecksum);
        expect(read(target, 160, 16)).not.toBe(0n);
        expect(read(target, 192, 16)).toBe(client);
        expect(read(target, 208, 8)).toBe(BigInt(op));
        expect(read(target, 216, 8)).toBe(BigInt(op));
        expect(read(target, 224, 8)).toBe((BigInt(high) << 32n) | BigInt(low));
        expect(read(target, 232, 4)).toBe(BigInt(request));
        expect(target.bytes[236]).toBe(code);
        expectZeroOutside(target, [...frameRanges, [128, 144], [160, 176], [192, 237]]);
      }),
    );
  });

  test("the context of a reply follows request checksum, op and timestamp, and nothing else", () => {
    const contextOf = (change: Partial<ReplyFields>, lastChecksumWord = 4): string => {
      const fields = new ReplyFields();
      fields.client.fill(5);
      fields.requestChecksum.set([1, 2, 3, lastChecksumWord]);
      fields.release = 0x1109;
      fields.op = 77;
      fields.timestampLow = 11;
      fields.timestampHigh = 12;
      fields.request = 3;
      fields.operation = Operation.queryAccounts;
      fields.bodySize = 8;
      Object.assign(fields, change);
      const target = dirty(new Uint8Array(fields.bodySize).fill(fields.bodySize));
      writeReply(target.bytes, target.words, 0, fields);
      return hex(target.bytes.subarray(160, 176));
    };
    const base = contextOf({});
    expect(contextOf({ bodySize: 64 })).toBe(base);
    expect(contextOf({ view: 9 })).toBe(base);
    expect(contextOf({ replica: 2 })).toBe(base);
    const others = [
      contextOf({ op: 78 }),
      contextOf({ timestampLow: 12 }),
      contextOf({ timestampHigh: 13 }),
      contextOf({}, 5),
    ];
    expect(new Set([base, ...others]).size).toBe(5);
  });

  test("ping_client and the pong that answers it", () => {
    const parts = fc.tuple(anyU128, id, u32NotZero, fc.nat(), u32, u32, u32, u8);
    fc.assert(
      fc.property(parts, ([cluster, client, release, session, low, high, view, replica]) => {
        const ping = dirty(new Uint8Array(0));
        writePingClient(
          ping.bytes,
          ping.words,
          0,
          u128(client),
          u128(cluster),
          release,
          session,
          low,
          high,
        );
        expectAccepted(ping, cluster);
        expect(ping.bytes[114]).toBe(3);
        expect(read(ping, 128, 16)).toBe(client);
        expect(read(ping, 144, 8)).toBe((BigInt(high) << 32n) | BigInt(low));
        expect(read(ping, 152, 8)).toBe(BigInt(session));
        expectZeroOutside(ping, [...frameRanges, [128, 160]]);

        // In place of the ping, as a replica does that answers with the message it received.
        const pong = frameFrom(ping.bytes);
        writePongClient(
          pong.bytes,
          pong.words,
          0,
          pong.words,
          0,
          u128(cluster),
          view,
          release,
          replica,
        );
        expectAccepted(pong, cluster);
        expect(pong.bytes[114]).toBe(4);
        expect(pong.bytes[115]).toBe(replica);
        expect(read(pong, 104, 4)).toBe(BigInt(view));
        expect(read(pong, 128, 8)).toBe((BigInt(high) << 32n) | BigInt(low));
        expectZeroOutside(pong, [...frameRanges, [128, 136]]);
      }),
    );
  });

  test("eviction, at an offset", () => {
    const parts = fc.tuple(anyU128, id, u32NotZero, u32, u8, fc.integer({ min: 1, max: 8 }));
    fc.assert(
      fc.property(parts, ([cluster, client, release, view, replica, reason]) => {
        const target = frameOf(64 + 256 + 16);
        target.bytes.fill(0xee);
        writeEviction(
          target.bytes,
          target.words,
          64,
          u128(client),
          0,
          u128(cluster),
          view,
          release,
          replica,
          reason,
        );
        expect(target.bytes.subarray(0, 64).every((byte) => byte === 0xee)).toBe(true);
        expect(target.bytes.subarray(320).every((byte) => byte === 0xee)).toBe(true);
        expect(checkFrame(target.bytes, target.words, 64, u128(cluster))).toBe(FrameVerdict.ok);
        expect(headerRule(target.bytes, target.words, 64)).toBe(HeaderRule.ok);
        const message = frameFrom(target.bytes.subarray(64, 320));
        expectAccepted(message, cluster);
        expect(read(message, 128, 16)).toBe(client);
        expect(message.bytes[255]).toBe(reason);
        expectZeroOutside(message, [...frameRanges, [128, 144], [255, 256]]);
      }),
    );
  });

  test("the largest body is sealed, one more byte is refused", () => {
    const target = frameOf(1_048_576 + 1);
    const fields = new RequestFields();
    fields.bodySize = 1_048_320;
    writeRequest(target.bytes, target.words, 0, fields);
    expect(checkBody(target.bytes, 0, 1_048_576)).toBe(true);
    fields.bodySize += 1;
    expect(() => writeRequest(target.bytes, target.words, 0, fields)).toThrow(/largest size/);
  });
});

test("command numbers are the protocol's", () => {
  expect(Object.values(Command).sort((a, b) => a - b)).toEqual([
    0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 14, 15, 16, 17, 18, 19, 20, 24,
  ]);
});
