import { Buffer } from "node:buffer";
import fc from "fast-check";
import { afterEach, describe, expect, test } from "vitest";
import { loadAddon } from "./addon.ts";
import {
  checksum,
  checksumImplementation,
  checksumMatches,
  checksumOfEmpty,
  checksumPortable,
  useChecksumImplementation,
} from "./checksum.ts";

const counting = (length: number): Uint8Array =>
  Uint8Array.from({ length }, (_, index) => index & 255);

/** Vectors of the protocol: input, checksum bytes in wire order. */
const vectors: [string, Uint8Array, string][] = [
  ["empty", new Uint8Array(0), "83cc600dc4e3e7e62d4055826174f149"],
  ["16 zeros", new Uint8Array(16), "f72ad48dd05dd1656133101cd4be3a26"],
  ["1 zero", new Uint8Array(1), "6e12b8774264fed574e418fe77b706bc"],
  ["31 zeros", new Uint8Array(31), "6b89371cd295fca16ac3213f93a68315"],
  ["32 zeros", new Uint8Array(32), "087545991d8771ea723fef90d9f515cd"],
  ["33 zeros", new Uint8Array(33), "6e8e73d4abef7c822c07fa88b3e9ae71"],
  ["256 zeros", new Uint8Array(256), "651b82f3ddd4fcbf2deb8496e8ff613c"],
  ["31 counting", counting(31), "419e43b0a730e59ecedf48700b4d97ba"],
  ["32 counting", counting(32), "2a7ca5353eba9161dc6c83c36d2e6adb"],
  ["64 counting", counting(64), "b4e8e46cee04a401ec67bad73df4aa60"],
  ["256 counting", counting(256), "d6ba1c495ca4c976f5d0993644aa9acd"],
  ["1000 counting", counting(1000), "8466d68cd1f58e7f5c2a4b57c021f56d"],
];

describe.each([
  ["chosen", checksum],
  ["portable", checksumPortable],
])("%s", (_, compute) => {
  test.each(vectors)("%s", (_, input, expected) => {
    const target = new Uint8Array(16);
    compute(target, 0, input, 0, input.length);
    expect(Buffer.from(target).toString("hex")).toBe(expected);
  });

  test("offsets of source and target are honoured", () => {
    const bytes = new Uint8Array(100 + 1000 + 40);
    bytes.set(counting(1000), 101);
    compute(bytes, 5, bytes, 101, 1000);
    expect(Buffer.from(bytes.subarray(5, 21)).toString("hex")).toBe(
      "8466d68cd1f58e7f5c2a4b57c021f56d",
    );
    expect(bytes.subarray(0, 5).every((byte) => byte === 0)).toBe(true);
    expect(bytes.subarray(21, 101).every((byte) => byte === 0)).toBe(true);
  });

  test("ranges outside the arrays are refused", () => {
    const bytes = new Uint8Array(64);
    expect(() => compute(bytes, 0, bytes, 0, 65)).toThrow();
    expect(() => compute(bytes, 0, bytes, 60, 5)).toThrow();
    expect(() => compute(bytes, 49, bytes, 0, 1)).toThrow();
    expect(() => compute(bytes, -1, bytes, 0, 1)).toThrow();
    expect(() => compute(bytes, 0, bytes, -1, 1)).toThrow();
  });
});

test("a match is told from any single changed bit", () => {
  const bytes = counting(48);
  const expected = new Uint8Array(20);
  checksum(expected, 4, bytes, 0, 48);
  expect(checksumMatches(expected, 4, bytes, 0, 48)).toBe(true);
  for (let bit = 0; bit < 48 * 8; bit += 1) {
    bytes[bit >> 3] ^= 1 << (bit & 7);
    expect(checksumMatches(expected, 4, bytes, 0, 48)).toBe(false);
    bytes[bit >> 3] ^= 1 << (bit & 7);
  }
  for (let bit = 0; bit < 128; bit += 1) {
    expected[4 + (bit >> 3)] ^= 1 << (bit & 7);
    expect(checksumMatches(expected, 4, bytes, 0, 48)).toBe(false);
    expected[4 + (bit >> 3)] ^= 1 << (bit & 7);
  }
});

test("the constant of the empty input", () => {
  expect(Buffer.from(checksumOfEmpty).toString("hex")).toBe("83cc600dc4e3e7e62d4055826174f149");
});

describe("the choice of the implementation", () => {
  const preferred = loadAddon() === null ? "portable" : "native";
  afterEach(() => {
    useChecksumImplementation(preferred);
  });

  test("is the addon where it loads, and can be changed", () => {
    expect(checksumImplementation()).toBe(preferred);
    expect(useChecksumImplementation("portable")).toBe(true);
    expect(checksumImplementation()).toBe("portable");
    expect(checksumMatches(checksumOfEmpty, 0, checksumOfEmpty, 0, 0)).toBe(true);
    expect(useChecksumImplementation("native")).toBe(preferred === "native");
    expect(checksumImplementation()).toBe(preferred);
  });
});

test("twin and addon agree at every length and alignment", () => {
  const bytes = new Uint8Array(72_000);
  for (let at = 0; at < bytes.length; at += 1) bytes[at] = Math.imul(at, 0x9e37_79b1) >>> 24;
  const expected = new Uint8Array(20);
  const actual = new Uint8Array(20);
  const length = fc.oneof(
    fc.nat(70_000),
    fc.nat(100),
    fc.nat(2000).map((chunks) => chunks * 32),
  );
  fc.assert(
    fc.property(length, fc.nat(1000), fc.nat(4), fc.nat(255), (length, at, targetAt, byte) => {
      bytes[at + (length >> 1)] = byte;
      checksumPortable(expected, targetAt, bytes, at, length);
      checksum(actual, targetAt, bytes, at, length);
      expect(actual).toEqual(expected);
    }),
    { numRuns: 500 },
  );
});
