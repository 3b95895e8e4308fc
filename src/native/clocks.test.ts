import { expect, test } from "vitest";
import { systemTime, writeProduct } from "./clocks.ts";

const asBigint = (words: Uint32Array, at = 0): bigint =>
  (BigInt(words[at + 1]) << 32n) | BigInt(words[at]);

test.each([
  ["native", false],
  ["portable", true],
])("%s clocks tell the time and go forward", (_, portable) => {
  const time = systemTime(portable);
  const words = new Uint32Array(6);

  const before = BigInt(Date.now()) * 1_000_000n;
  time.wallNs(words, 2);
  const after = BigInt(Date.now() + 1) * 1_000_000n;
  expect(asBigint(words, 2)).toBeGreaterThanOrEqual(before);
  expect(asBigint(words, 2)).toBeLessThanOrEqual(after);
  expect([words[0], words[1], words[4], words[5]]).toEqual([0, 0, 0, 0]);

  let lastNs = 0n;
  let lastMs = 0;
  for (let reading = 0; reading < 1000; reading += 1) {
    time.monotonicNs(words, 0);
    expect(asBigint(words)).toBeGreaterThanOrEqual(lastNs);
    lastNs = asBigint(words);
    const ms = time.monotonicMs();
    expect(Number.isInteger(ms)).toBe(true);
    expect(ms).toBeGreaterThanOrEqual(lastMs);
    lastMs = ms;
  }
  expect(lastNs).toBeGreaterThan(0n);
});

test("both implementations measure the same time", () => {
  const words = new Uint32Array(4);
  const native = systemTime();
  const portable = systemTime(true);
  native.wallNs(words, 0);
  portable.wallNs(words, 2);
  const difference = asBigint(words, 2) - asBigint(words, 0);
  expect(difference > -1_000_000_000n && difference < 1_000_000_000n).toBe(true);
});

test("products are exact beyond 2^53", () => {
  const words = new Uint32Array(2);
  for (const [count, unit, rest] of [
    [0, 1_000_000, 0],
    [1_800_000_000_123, 1_000_000, 0],
    [4_294_967_295, 1_000_000_000, 999_999_999],
    [4_194_303, 1_000_000_000, 999_999_999],
    [2 ** 45 - 1, 2 ** 19 - 1, 17],
  ] as const) {
    writeProduct(words, 0, count, unit, rest);
    expect(asBigint(words)).toBe(BigInt(count) * BigInt(unit) + BigInt(rest));
  }
});
