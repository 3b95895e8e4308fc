/** The verdicts of protocol/wire.md §1.1 in their order, and every header rule of §3 and §4. */
import { describe, expect, test } from "vitest";
import { resealHeader, sealHeader } from "../../src/wire/build.ts";
import {
  checkBody,
  checkFrame,
  FrameVerdict,
  HeaderRule,
  headerRule,
} from "../../src/wire/frame-check.ts";
import { Command } from "../../src/wire/header.ts";
import { type Frame, frameFrom, frameOf, readVector, vectorNamed, vectors } from "./bytes.ts";

const cluster0 = new Uint32Array(4);

function verdictOf(target: Frame): number {
  return checkFrame(target.bytes, target.words, 0, cluster0);
}

function ruleOf(target: Frame): number {
  return headerRule(target.bytes, target.words, 0);
}

function copyOf(name: string): Frame {
  return frameFrom(vectorNamed(name).bytes);
}

describe("the byte stream", () => {
  test("any flipped bit of a header is noticed", () => {
    const target = copyOf("A-03");
    for (let bit = 0; bit < 256 * 8; bit += 1) {
      target.bytes[bit >>> 3]! ^= 1 << (bit & 7);
      expect(verdictOf(target)).toBe(FrameVerdict.headerChecksum);
      target.bytes[bit >>> 3]! ^= 1 << (bit & 7);
    }
    expect(verdictOf(target)).toBe(FrameVerdict.ok);
  });

  test("any flipped bit of a body is noticed", () => {
    const target = copyOf("A-03");
    for (let bit = 256 * 8; bit < 768 * 8; bit += 7) {
      target.bytes[bit >>> 3]! ^= 1 << (bit & 7);
      expect(checkBody(target.bytes, 0, 768)).toBe(false);
      target.bytes[bit >>> 3]! ^= 1 << (bit & 7);
    }
    expect(checkBody(target.bytes, 0, 768)).toBe(true);
    expect(checkBody(target.bytes, 0, 767)).toBe(false);
  });

  test("only commands 1 to 24 exist", () => {
    const target = copyOf("A-21");
    for (let command = 0; command < 256; command += 1) {
      target.bytes[114] = command;
      resealHeader(target.bytes, 0);
      const known = command >= 1 && command <= 24;
      expect(verdictOf(target), `command ${command}`).toBe(
        known ? FrameVerdict.ok : FrameVerdict.command,
      );
    }
  });

  test.each([
    [0, FrameVerdict.size],
    [255, FrameVerdict.size],
    [256, FrameVerdict.ok],
    [257, FrameVerdict.ok],
    [1_048_576, FrameVerdict.ok],
    [1_048_577, FrameVerdict.size],
    [0xffff_ffff, FrameVerdict.size],
  ])("size %i", (size, verdict) => {
    const target = copyOf("A-21");
    target.words[24] = size;
    resealHeader(target.bytes, 0);
    expect(verdictOf(target)).toBe(verdict);
  });

  test("each word of the cluster counts", () => {
    for (let word = 20; word < 24; word += 1) {
      const target = copyOf("A-21");
      target.words[word] = 1;
      resealHeader(target.bytes, 0);
      expect(verdictOf(target)).toBe(FrameVerdict.cluster);
    }
  });

  test("the order of the checks", () => {
    const target = copyOf("A-21");
    target.words[20] = 1; // Another cluster,
    target.words[24] = 5; // an impossible size,
    target.bytes[114] = 25; // an unknown command,
    expect(verdictOf(target)).toBe(FrameVerdict.headerChecksum); // and a bad checksum.
    resealHeader(target.bytes, 0);
    expect(verdictOf(target)).toBe(FrameVerdict.command);
    target.bytes[114] = 3;
    resealHeader(target.bytes, 0);
    expect(verdictOf(target)).toBe(FrameVerdict.size);
    target.words[24] = 256;
    resealHeader(target.bytes, 0);
    expect(verdictOf(target)).toBe(FrameVerdict.cluster);
  });
});

describe("header rules of all commands", () => {
  const zeroRanges: [string, number, number][] = [
    ["checksum_padding", 16, 32],
    ["checksum_body_padding", 48, 64],
    ["nonce_reserved", 64, 80],
    ["epoch", 100, 104],
    ["protocol", 112, 114],
    ["reserved_frame", 116, 128],
  ];
  test.each(zeroRanges)("%s is zero", (_, from, to) => {
    for (const vector of vectors) {
      // What captured replicas say to each other is laid out otherwise than ours.
      if (vector.group === "R" && vector.command !== Command.request) continue;
      const target = readVector(vector.file);
      for (let at = from; at < to; at += 1) {
        target.bytes[at] = 1;
        expect(ruleOf(target), `${vector.file} byte ${at}`).toBe(HeaderRule.violated);
        target.bytes[at] = 0;
      }
      expect(ruleOf(target)).toBe(HeaderRule.ok);
    }
  });

  test.each([12, 21, 22, 23])("command %i is deprecated", (command) => {
    const target = frameOf(256);
    target.words[24] = 256;
    target.bytes[114] = command;
    expect(ruleOf(target)).toBe(HeaderRule.deprecated);
  });
});

/** Vector, [from, to) that must be zero, and ranges that must not be all zero. */
const fields: [string, string, [number, number][], [number, number][]][] = [
  [
    "ping_client",
    "A-21",
    [
      [104, 108],
      [115, 116],
      [160, 256],
    ],
    [
      [108, 112],
      [128, 144],
    ],
  ],
  ["pong_client", "A-22", [[136, 256]], [[108, 112]]],
  [
    "request",
    "A-03",
    [
      [115, 116],
      [144, 160],
      [197, 200],
      [204, 256],
    ],
    [
      [108, 112],
      [160, 176],
      [176, 184],
      [192, 196],
    ],
  ],
  [
    "register",
    "A-01",
    [
      [115, 116],
      [128, 160],
      [176, 184],
      [192, 196],
      [197, 200],
      [204, 256],
    ],
    [
      [108, 112],
      [160, 176],
    ],
  ],
  [
    "reply",
    "A-04",
    [
      [144, 160],
      [176, 192],
      [237, 256],
    ],
    [
      [108, 112],
      [192, 208],
      [224, 232],
      [232, 236],
    ],
  ],
  [
    "register reply",
    "A-02",
    [
      [144, 160],
      [176, 192],
      [232, 236],
      [237, 256],
    ],
    [
      [108, 112],
      [192, 208],
      [224, 232],
    ],
  ],
  [
    "eviction",
    "E-01",
    [[144, 255]],
    [
      [108, 112],
      [128, 144],
      [255, 256],
    ],
  ],
];

describe.each(fields)("header rules of %s", (_, name, zero, notZero) => {
  test("reserved bytes are zero", () => {
    const target = copyOf(name);
    expect(ruleOf(target)).toBe(HeaderRule.ok);
    for (const [from, to] of zero) {
      for (let at = from; at < to; at += 1) {
        for (const value of [1, 0x80, 0xff]) {
          target.bytes[at] = value;
          expect(ruleOf(target), `byte ${at}`).toBe(HeaderRule.violated);
        }
        target.bytes[at] = 0;
      }
    }
    expect(ruleOf(target)).toBe(HeaderRule.ok);
  });

  test("required fields are not zero", () => {
    for (const [from, to] of notZero) {
      const target = copyOf(name);
      target.bytes.fill(0, from, to);
      expect(ruleOf(target), `bytes ${from}…${to}`).toBe(HeaderRule.violated);
      // A single byte of it is enough.
      target.bytes[to - 1] = 1;
      expect(ruleOf(target), `byte ${to - 1}`).toBe(HeaderRule.ok);
    }
  });
});

describe("single rules", () => {
  const change = (name: string, act: (target: Frame) => void): number => {
    const target = copyOf(name);
    act(target);
    return ruleOf(target);
  };
  const size = (value: number) => (target: Frame) => {
    target.words[24] = value;
  };
  const operation = (value: number) => (target: Frame) => {
    target.bytes[196] = value;
  };

  test.each(["A-21", "A-22", "E-01"])("%s has no body", (name) => {
    expect(change(name, size(257))).toBe(HeaderRule.violated);
  });

  test("operations that may be requested at all", () => {
    for (let code = 0; code < 256; code += 1) {
      // With a session and a request number: right for 3, 6 and all of the state machine's.
      const sized = code === 3 ? 512 : code === 6 ? 256 : 768;
      const verdict = change("A-03", (target) => {
        operation(code)(target);
        size(sized)(target);
      });
      const valid = code === 3 || code === 6 || code >= 128;
      expect(verdict, `operation ${code}`).toBe(valid ? HeaderRule.ok : HeaderRule.violated);
    }
  });

  test("pulse and upgrade are never requested over a connection", () => {
    for (const [code, sized] of [
      [4, 256],
      [5, 272],
    ] as const) {
      const target = frameOf(512);
      target.words[24] = sized;
      target.words[27] = 0x1109;
      target.bytes[114] = 5;
      operation(code)(target);
      expect(ruleOf(target)).toBe(HeaderRule.violated);
    }
  });

  test("sizes of control requests", () => {
    expect(change("A-01", size(256))).toBe(HeaderRule.ok);
    expect(change("A-01", size(512))).toBe(HeaderRule.ok);
    expect(change("A-01", size(511))).toBe(HeaderRule.violated);
    expect(change("A-01", size(768))).toBe(HeaderRule.violated);
    expect(change("C-05", size(272))).toBe(HeaderRule.violated);
    const reconfigure = (value: number) => (target: Frame) => {
      operation(3)(target);
      size(value)(target);
    };
    expect(change("A-03", reconfigure(512))).toBe(HeaderRule.ok);
    expect(change("A-03", reconfigure(256))).toBe(HeaderRule.violated);
  });

  test("a reply's op equals its commit", () => {
    for (const at of [208, 215, 216, 223]) {
      const verdict = change("A-04", (target) => {
        target.bytes[at]! ^= 0x40;
      });
      expect(verdict, `byte ${at}`).toBe(HeaderRule.violated);
    }
    const zero = change("A-04", (target) => target.bytes.fill(0, 208, 224));
    expect(zero).toBe(HeaderRule.violated);
  });

  test("a register reply has its size and no request number; others have one", () => {
    expect(change("A-02", size(256))).toBe(HeaderRule.violated);
    expect(change("A-02", size(336))).toBe(HeaderRule.violated);
    expect(change("A-04", (target) => target.words.fill(0, 58, 59))).toBe(HeaderRule.violated);
  });

  test("eviction reasons are 1 to 8", () => {
    for (let reason = 0; reason < 256; reason += 1) {
      const verdict = change("E-01", (target) => {
        target.bytes[255] = reason;
      });
      expect(verdict).toBe(reason >= 1 && reason <= 8 ? HeaderRule.ok : HeaderRule.violated);
    }
  });
});

test("sealing covers body, then header", () => {
  const target = copyOf("A-03");
  target.bytes[300]! ^= 1;
  expect(checkBody(target.bytes, 0, 768)).toBe(false);
  sealHeader(target.bytes, target.words, 0);
  expect(checkBody(target.bytes, 0, 768)).toBe(true);
  expect(verdictOf(target)).toBe(FrameVerdict.ok);
});
