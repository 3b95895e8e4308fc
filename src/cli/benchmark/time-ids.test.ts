/** Ids that rise with time, against the same arithmetic in bigints. */
import { expect, test } from "vitest";
import { Prng } from "../../core/prng.ts";
import { TimeIds } from "./time-ids.ts";

function drawIds(clock: readonly number[], random = new Prng(7)): bigint[] {
  let tick = 0;
  const ids = new TimeIds(random, () => clock[tick]!);
  const words = new Uint32Array(6);
  return clock.map((_, index) => {
    tick = index;
    words.fill(0xabcd_ef01);
    ids.next(words, 1);
    expect([words[0], words[5]]).toEqual([0xabcd_ef01, 0xabcd_ef01]);
    return [4, 3, 2, 1].reduce((value, word) => (value << 32n) | BigInt(words[word]!), 0n);
  });
}

const nowMs = 1_763_762_400_123;
const randomBits = (1n << 80n) - 1n;

test("the upper 48 bits are the clock, the lower 80 are drawn anew with each millisecond", () => {
  const ids = drawIds([nowMs, nowMs + 1, nowMs + 70_000]);
  expect(ids.map((id) => id >> 80n)).toEqual([
    BigInt(nowMs),
    BigInt(nowMs + 1),
    BigInt(nowMs + 70_000),
  ]);
  expect(new Set(ids.map((id) => id & randomBits)).size).toBe(3);
  for (const id of ids) expect((id & randomBits) >> 64n).toBeGreaterThan(0n);
});

test("within a millisecond, and when the clock goes back, ids count up", () => {
  const ids = drawIds([nowMs, nowMs, nowMs - 5000, nowMs, nowMs + 1]);
  expect(ids.slice(1, 4)).toEqual([ids[0]! + 1n, ids[0]! + 2n, ids[0]! + 3n]);
  expect(ids[4]! >> 80n).toBe(BigInt(nowMs + 1));
});

test("carries reach every word, and the clock's bits when the random ones are used up", () => {
  const words = [0xffff_ffff, 0xffff_ffff, 0xffff_fffe];
  const drawn = new Prng(1);
  let next = 0;
  drawn.u32 = () => words[next++] ?? 0xffff_ffff;
  const [first, second] = drawIds([nowMs, nowMs], drawn) as [bigint, bigint];
  expect(first & randomBits).toBe(randomBits);
  expect(second).toBe(BigInt(nowMs + 1) << 80n);

  const small = new Prng(1);
  const others = [0xffff_ffff, 5, 0];
  small.u32 = () => others.shift()!;
  const [before, after] = drawIds([nowMs, nowMs], small) as [bigint, bigint];
  expect(before & randomBits).toBe(0x5_ffff_ffffn);
  expect(after).toBe(before + 1n);
});
