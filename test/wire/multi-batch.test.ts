/** The multi-batch codec against a model written from protocol/operations.md §2 alone. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  multiBatchCheck,
  multiBatchCount,
  multiBatchElements,
  multiBatchElementsTotal,
  multiBatchFinish,
  multiBatchTrailerSize,
} from "../../src/wire/multi-batch.ts";
import { hex } from "./bytes.ts";

/** Builds a body as an array of bytes. */
function modelEncode(elementSize: number, counts: readonly number[], fill = 7): number[] {
  const trailer: number[] = [];
  const u16 = (value: number): number[] => [value % 256, Math.floor(value / 256)];
  for (const count of [...counts].reverse()) trailer.push(...u16(count));
  trailer.push(...u16(counts.length));
  while (trailer.length % elementSize !== 0) trailer.unshift(0xff);
  const elements = counts.reduce((sum, count) => sum + count, 0);
  return [...new Array<number>(elements * elementSize).fill(fill), ...trailer];
}

/** The counts of a body, or null for a malformed one: the four steps, one after the other. */
function modelDecode(elementSize: number, body: readonly number[]): number[] | null {
  const u16 = (at: number): number => body[at]! + body[at + 1]! * 256;
  if (body.length < 2) return null;
  const n = u16(body.length - 2);
  if (n < 1 || n > 65_534) return null;
  const trailerSize = Math.ceil((2 * n + 2) / elementSize) * elementSize;
  if (trailerSize > body.length) return null;
  const counts: number[] = [];
  for (let i = 0; i < n; i += 1) counts.push(u16(body.length - 4 - 2 * i));
  const filler = body.slice(body.length - trailerSize, body.length - 2 - 2 * n);
  if (filler.some((byte) => byte !== 0xff)) return null;
  const sum = counts.reduce((total, count) => total + count, 0);
  return sum * elementSize + trailerSize === body.length ? counts : null;
}

function check(elementSize: number, body: readonly number[], at = 0): number[] | null {
  const bytes = new Uint8Array(at + body.length + 3).fill(0xc3);
  bytes.set(body, at);
  const n = multiBatchCheck(bytes, at, body.length, elementSize);
  if (n === 0) return null;
  expect(multiBatchCount(bytes, at, body.length)).toBe(n);
  const counts = Array.from({ length: n }, (_, i) => multiBatchElements(bytes, at, body.length, i));
  const total = counts.reduce((sum, count) => sum + count, 0);
  expect(multiBatchElementsTotal(bytes, at, body.length, elementSize)).toBe(total);
  return counts;
}

const elementSizes = fc.constantFrom(2, 8, 16, 64, 128, 384);
const countLists = fc.array(fc.integer({ min: 0, max: 40 }), { minLength: 1, maxLength: 80 });

describe("round trip", () => {
  test("bodies are those of the model, at any offset", () => {
    fc.assert(
      fc.property(elementSizes, countLists, fc.nat(9), (elementSize, counts, at) => {
        const wanted = modelEncode(elementSize, counts);
        const elements = counts.reduce((sum, count) => sum + count, 0);
        const bytes = new Uint8Array(at + wanted.length + 5).fill(7);
        const length = multiBatchFinish(
          bytes,
          at,
          elements * elementSize,
          elementSize,
          Uint32Array.from(counts),
          counts.length,
        );
        expect(length).toBe(wanted.length);
        expect(hex(bytes.subarray(at, at + length))).toBe(hex(Uint8Array.from(wanted)));
        expect(
          [...bytes.subarray(0, at), ...bytes.subarray(at + length)].every((b) => b === 7),
        ).toBe(true);
        expect(check(elementSize, wanted, at)).toEqual(counts);
      }),
    );
  });

  test("the most sub-batches there can be", () => {
    const counts = new Uint16Array(65_534);
    counts[0] = 3;
    counts[65_533] = 2;
    const bytes = new Uint8Array(200_000);
    const length = multiBatchFinish(bytes, 0, 5 * 8, 8, counts, counts.length);
    expect(multiBatchCheck(bytes, 0, length, 8)).toBe(65_534);
    expect(multiBatchElements(bytes, 0, length, 0)).toBe(3);
    expect(multiBatchElements(bytes, 0, length, 1)).toBe(0);
    expect(multiBatchElements(bytes, 0, length, 65_533)).toBe(2);
    const tooMany = new Uint16Array(65_535);
    expect(() => multiBatchFinish(bytes, 0, 0, 8, tooMany, 65_535)).toThrow(/filler/);
    expect(() => multiBatchFinish(bytes, 0, 0, 8, tooMany, 0)).toThrow(/has a sub-batch/);
    expect(() => multiBatchFinish(bytes, 0, 16, 8, counts, 1)).toThrow(/those of the elements/);
  });
});

describe("untrusted bodies", () => {
  test("a changed byte is judged as by the model", () => {
    fc.assert(
      fc.property(
        elementSizes,
        countLists,
        fc.nat(),
        fc.integer({ min: 0, max: 255 }),
        (elementSize, counts, where, value) => {
          const body = modelEncode(elementSize, counts);
          const trailerSize = multiBatchTrailerSize(elementSize, counts.length);
          // In the trailer, where it matters.
          body[body.length - 1 - (where % trailerSize)] = value;
          expect(check(elementSize, body)).toEqual(modelDecode(elementSize, body));
        },
      ),
      { numRuns: 3000 },
    );
  });

  test("a changed length is judged as by the model", () => {
    fc.assert(
      fc.property(
        elementSizes,
        countLists,
        fc.integer({ min: -300, max: 300 }),
        (size, counts, by) => {
          let body = modelEncode(size, counts);
          if (by < 0) body = body.slice(Math.min(-by, body.length));
          else body = [...new Array<number>(by).fill(0xff), ...body];
          expect(check(size, body)).toEqual(modelDecode(size, body));
        },
      ),
      { numRuns: 1000 },
    );
  });

  test("noise is judged as by the model", () => {
    const noise = fc.array(fc.constantFrom(0, 1, 2, 3, 0xff), { maxLength: 64 });
    fc.assert(
      fc.property(fc.constantFrom(2, 8, 16), noise, (elementSize, body) => {
        expect(check(elementSize, body)).toEqual(modelDecode(elementSize, body));
      }),
      { numRuns: 5000 },
    );
  });

  const ff = (count: number): number[] => new Array<number>(count).fill(0xff);
  const malformed: [string, number, number[]][] = [
    ["empty", 16, []],
    ["one byte", 16, [1]],
    ["n = 0", 16, [...ff(14), 0, 0]],
    ["n = 65,535", 16, ff(16)],
    ["n = 65,535, long enough for it", 16, ff(131_072)],
    ["the trailer is longer than the body", 16, [...ff(8), 0, 0, 0, 0, 7, 0]],
    ["a byte of filler", 16, [...ff(11), 0xfe, 0, 0, 1, 0]],
    ["the first byte of filler", 16, [0, ...ff(11), 0, 0, 1, 0]],
    ["an element too few", 16, [...ff(12), 1, 0, 1, 0]],
    ["an element too many", 16, [...new Array<number>(16).fill(1), ...ff(12), 0, 0, 1, 0]],
    ["half an element", 16, [...new Array<number>(8).fill(1), ...ff(12), 1, 0, 1, 0]],
    ["the trailer's filler left out", 16, [0, 0, 1, 0]],
    ["a count of 65,535", 16, [...ff(12), 0xff, 0xff, 1, 0]],
  ];
  test.each(malformed)("%s", (_, elementSize, body) => {
    expect(check(elementSize, body)).toBeNull();
    expect(modelDecode(elementSize, body)).toBeNull();
  });
});

describe("examples of the protocol", () => {
  const parse = (text: string): number[] =>
    text.split(" ").map((byte) => Number.parseInt(byte, 16));
  const examples: [string, number, number[], string][] = [
    ["no ids", 16, [0], "ff ff ff ff ff ff ff ff ff ff ff ff 00 00 01 00"],
    ["1, 0 and 2 ids", 16, [1, 0, 2], "ff ff ff ff ff ff ff ff 02 00 00 00 01 00 03 00"],
    [
      "results of 2, 0 and 1 events",
      16,
      [2, 0, 1],
      "ff ff ff ff ff ff ff ff 01 00 00 00 02 00 03 00",
    ],
    ["one failure of 8 bytes", 8, [1], "ff ff ff ff 01 00 01 00"],
  ];
  test.each(examples)("%s", (_, elementSize, counts, trailer) => {
    const body = modelEncode(elementSize, counts);
    expect(body.slice(-parse(trailer).length)).toEqual(parse(trailer));
    expect(check(elementSize, body)).toEqual(counts);
  });

  const trailers: [number, number, number][] = [
    [128, 1, 128],
    [128, 63, 128],
    [128, 64, 256],
    [128, 127, 256],
    [128, 128, 384],
    [64, 31, 64],
    [64, 32, 128],
    [16, 7, 16],
    [16, 8, 32],
    [16, 15, 32],
    [8, 3, 8],
    [8, 4, 16],
  ];
  test.each(trailers)("elements of %i bytes, %i sub-batches: trailer of %i", (size, n, trailer) => {
    expect(multiBatchTrailerSize(size, n)).toBe(trailer);
  });

  test("element sizes that the protocol does not have are refused", () => {
    expect(() => multiBatchTrailerSize(0, 1)).toThrow();
    expect(() => multiBatchTrailerSize(1, 1)).toThrow();
    expect(() => multiBatchTrailerSize(9, 1)).toThrow();
  });
});
