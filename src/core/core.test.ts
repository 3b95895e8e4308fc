import fc from "fast-check";
import { expect, test } from "vitest";
import { defineLayout } from "./layout.ts";
import { Prng } from "./prng.ts";
import { RingQueue } from "./ring-queue.ts";
import {
  u64AddNumber,
  u64Compare,
  u64ReadNumber,
  u64WriteNumber,
  u128Add,
  u128Compare,
  u128IsMax,
  u128IsZero,
  u128Subtract,
  u128SumOverflows,
} from "./u128.ts";
import { U128Map } from "./u128-map.ts";

const u128 = fc.oneof(
  fc.bigInt({ min: 0n, max: (1n << 128n) - 1n }),
  fc.constantFrom(0n, 1n, 0xffff_ffffn, 1n << 32n, (1n << 64n) - 1n, 1n << 96n, (1n << 128n) - 1n),
);

function write(words: Uint32Array, at: number, value: bigint): void {
  for (let index = 0; index < 4; index += 1) {
    words[at + index] = Number((value >> BigInt(32 * index)) & 0xffff_ffffn);
  }
}

function read(words: Uint32Array, at: number): bigint {
  let value = 0n;
  for (let index = 3; index >= 0; index -= 1) value = (value << 32n) | BigInt(words[at + index]!);
  return value;
}

test("128-bit arithmetic on words equals bigint arithmetic", () => {
  const words = new Uint32Array(12);
  const modulus = 1n << 128n;
  fc.assert(
    fc.property(u128, u128, (a, b) => {
      write(words, 0, a);
      write(words, 4, b);
      expect(u128Add(words, 8, words, 0, words, 4)).toBe(a + b >= modulus ? 1 : 0);
      expect(read(words, 8)).toBe((a + b) % modulus);
      expect(u128SumOverflows(words, 0, words, 4)).toBe(a + b >= modulus);
      expect(u128Subtract(words, 8, words, 0, words, 4)).toBe(a < b ? 1 : 0);
      expect(read(words, 8)).toBe((a - b + modulus) % modulus);
      expect(Math.sign(u128Compare(words, 0, words, 4))).toBe(a < b ? -1 : a > b ? 1 : 0);
      expect(u128IsZero(words, 0)).toBe(a === 0n);
      expect(u128IsMax(words, 0)).toBe(a === modulus - 1n);
    }),
    { numRuns: 2000 },
  );
});

test("64-bit helpers equal bigint arithmetic", () => {
  const words = new Uint32Array(2);
  fc.assert(
    fc.property(
      fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }),
      fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER }),
      fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }),
      (a, delta, b) => {
        const low = Number(a & 0xffff_ffffn);
        const high = Number(a >> 32n);
        const carry = u64AddNumber(words, 0, low, high, delta);
        const sum = a + BigInt(delta);
        expect(carry).toBe(sum >> 64n === 0n ? 0 : 1);
        expect((BigInt(words[1]!) << 32n) | BigInt(words[0]!)).toBe(sum & ((1n << 64n) - 1n));
        const order = u64Compare(low, high, Number(b & 0xffff_ffffn), Number(b >> 32n));
        expect(Math.sign(order)).toBe(a < b ? -1 : a > b ? 1 : 0);
        u64WriteNumber(words, 0, delta);
        expect(u64ReadNumber(words, 0)).toBe(delta);
      },
    ),
    { numRuns: 2000 },
  );
});

test("the 128-bit map equals a Map under random insertions and deletions", () => {
  const prng = new Prng(7);
  const map = new U128Map(64);
  const model = new Map<number, number>();
  const words = new Uint32Array(4);
  for (let step = 0; step < 20_000; step += 1) {
    const key = prng.below(100);
    words[0] = key;
    words[3] = key * 3;
    if (prng.chance(0.5) && (model.size < 64 || model.has(key))) {
      map.set(words, 0, step);
      model.set(key, step);
    } else {
      expect(map.delete(words, 0)).toBe(model.delete(key));
    }
    expect(map.count).toBe(model.size);
    const probe = prng.below(100);
    words[0] = probe;
    words[3] = probe * 3;
    expect(map.get(words, 0)).toBe(model.get(probe) ?? -1);
  }
});

test("a ring queue keeps order across its wrap", () => {
  const queue = new RingQueue<number>(4);
  let next = 0;
  let expected = 0;
  for (let round = 0; round < 50; round += 1) {
    while (!queue.full) queue.push(next++);
    expect(queue.peek()).toBe(expected);
    expect(queue.peekLast()).toBe(next - 1);
    for (let taken = 0; taken < 1 + (round % 4); taken += 1) expect(queue.shift()).toBe(expected++);
  }
});

test("layouts refuse fields that do not add up, repeat or are misaligned", () => {
  expect(() => defineLayout("short", 16, [["a", 8]])).toThrow("add up");
  expect(() =>
    defineLayout("twice", 16, [
      ["a", 8],
      ["a", 8],
    ]),
  ).toThrow("unique");
  expect(() =>
    defineLayout("crooked", 8, [
      ["a", 1],
      ["b", 4],
      ["c", 3],
    ]),
  ).toThrow("aligned");
});

test("the generator repeats itself for a seed and spreads evenly", () => {
  const a = new Prng(12345);
  const b = new Prng(12345);
  const counts = new Array<number>(10).fill(0);
  for (let index = 0; index < 10_000; index += 1) {
    const value = a.below(10);
    expect(b.below(10)).toBe(value);
    counts[value]! += 1;
  }
  for (const count of counts) expect(count).toBeGreaterThan(850);
  expect(new Prng(12346).u32()).not.toBe(new Prng(12345).u32());
});
