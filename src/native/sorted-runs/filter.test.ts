import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { implementations, native, portable, putWords } from "../../../test/support/run-entries.ts";
import { Prng } from "../../core/prng.ts";
import { checksumPortable } from "../checksum.ts";
import { filterIdsMax, filterWords, idWords } from "./run-kernels.ts";

describe.each(implementations)("%s", (_, kernels) => {
  test("every id of a filter is found, wherever filter and ids lie", () => {
    const drawn = fc.record({
      count: fc.oneof(fc.nat(50), fc.constant(filterIdsMax)),
      at: fc.nat(9),
      stride: fc.integer({ min: idWords, max: 32 }),
      filterAt: fc.nat(9),
      seed: fc.nat(2 ** 32 - 1),
    });
    fc.assert(
      fc.property(drawn, ({ count, at, stride, filterAt, seed }) => {
        const random = new Prng(seed);
        const ids = new Uint32Array(at + count * stride + idWords).map(() => random.u32());
        const filters = new Uint32Array(filterAt + filterWords + 3).map(() => 77);
        kernels.buildFilter(filters, filterAt, ids, at, stride, count, seed);
        let found = 0;
        for (let index = 0; index < count; index += 1) {
          const idAt = at + index * stride;
          found += kernels.probeFilter(filters, filterAt, ids, idAt, seed) ? 1 : 0;
        }
        expect(found).toBe(count);
        expect(filters.subarray(0, filterAt).every((word) => word === 77)).toBe(true);
        expect(filters.subarray(filterAt + filterWords).every((word) => word === 77)).toBe(true);
        if (count > 0) return;
        expect(kernels.probeFilter(filters, filterAt, ids, at, seed)).toBe(false);
      }),
      { numRuns: 60 },
    );
  });

  test("the bits of a filter are part of the file format", () => {
    const ids = new Uint32Array(filterIdsMax * idWords);
    for (let index = 0; index < filterIdsMax; index += 1) {
      putWords(ids, index * idWords, BigInt(index + 1) * 0x1_0000_0001_0000_0001_0003n, idWords);
    }
    const filter = new Uint32Array(filterWords);
    kernels.buildFilter(filter, 0, ids, 0, idWords, filterIdsMax, 0xdead_beef);
    const sum = new Uint8Array(16);
    checksumPortable(sum, 0, new Uint8Array(filter.buffer), 0, filterWords * 4);
    expect(Buffer.from(sum).toString("hex")).toBe("150119b2e7b5c633234fa96fb3591856");
  });

  test("refuses ranges outside the arrays, overlaps, too many ids and seeds that are no words", () => {
    const filter = new Uint32Array(filterWords);
    const ids = new Uint32Array(filterIdsMax * 4 + 4);
    const build = (filterAt: number, at: number, stride: number, count: number, seed = 1): void =>
      kernels.buildFilter(filter, filterAt, ids, at, stride, count, seed);
    build(0, 4, 4, filterIdsMax);
    build(0, ids.length, 4, 0);
    build(0, 0, 2 ** 40, 1);
    expect(() => build(1, 0, 4, 1)).toThrow();
    expect(() => build(0, 5, 4, filterIdsMax)).toThrow();
    expect(() => build(0, 0, 4, filterIdsMax + 1)).toThrow();
    expect(() => build(0, 0, 3, 1)).toThrow();
    expect(() => build(0, 0, ids.length, 2)).toThrow();
    expect(() => build(0, 0, 2 ** 53 - 1, 2720)).toThrow();
    expect(() => build(0, ids.length + 1, 4, 0)).toThrow();
    expect(() => build(0, ids.length - 3, 4, 1)).toThrow();
    for (const seed of [-1, 2 ** 32, 0.5, Number.NaN]) {
      expect(() => build(0, 0, 4, 1, seed)).toThrow();
      expect(() => kernels.probeFilter(filter, 0, ids, 0, seed)).toThrow();
    }
    expect(() => kernels.buildFilter(filter, 0, filter, 2300, 4, 1, 0)).toThrow();
    expect(() => kernels.probeFilter(filter, 1, ids, 0, 0)).toThrow();
    expect(() => kernels.probeFilter(filter, 0, ids, ids.length - 3, 0)).toThrow();
  });
});

test("both set the same bits and give the same answers", () => {
  fc.assert(
    fc.property(fc.nat(filterIdsMax), fc.nat(2 ** 32 - 1), fc.boolean(), (count, seed, narrow) => {
      const random = new Prng(seed);
      const ids = new Uint32Array((count + 50) * idWords);
      for (let at = 0; at < ids.length; at += 1) ids[at] = narrow ? random.below(3) : random.u32();
      const filter = new Uint32Array(filterWords);
      const twin = new Uint32Array(filterWords);
      native.buildFilter(filter, 0, ids, 0, idWords, count, seed);
      portable.buildFilter(twin, 0, ids, 0, idWords, count, seed);
      expect(Buffer.compare(new Uint8Array(filter.buffer), new Uint8Array(twin.buffer))).toBe(0);
      for (let index = count; index < count + 50; index += 1) {
        const answer = native.probeFilter(filter, 0, ids, index * idWords, seed);
        expect(portable.probeFilter(twin, 0, ids, index * idWords, seed)).toBe(answer);
      }
    }),
    { numRuns: 60 },
  );
});

/** The id with number `index` of a family; those from 2,720 on are not in the filter. */
const families: Readonly<Record<string, (index: number, random: Prng) => readonly number[]>> = {
  random: (_, random) => [random.u32(), random.u32(), random.u32(), random.u32()],
  sequential: (index) => [index + 1, 0, 0, 0],
  "multiples of 2^32": (index) => [0, index + 1, 0, 0],
  "multiples of 2^64": (index) => [0, 0, index + 1, 0],
  "highest word only": (index) => [0, 0, 0, index + 1],
  "high words at random": (_, random) => [0, 0, random.u32(), random.u32()],
  "high bits of the highest word": (index) => [0, 0, 0, (index << 10) >>> 0],
  "four equal words": (index) => [index, index, index, index],
  "word and complement": (index) => [index, ~index >>> 0, index, ~index >>> 0],
  "multiples of an odd number": (index) => [Math.imul(index, 0x9e37_79b1) >>> 0, 0, 0, 0],
  "a thousand clients' sequences": (index) => [Math.floor(index / 1000), 0, 0, index % 1000],
  // 48 bits of milliseconds, 80 at random.
  "time-ordered": (index, random) => [
    random.u32(),
    random.u32(),
    (random.below(65_536) | ((index / 8) << 16)) >>> 0,
    0x0190_0000 + (index >>> 19),
  ],
};

test.each(Object.entries(families))("false positives: %s", (_, idOf) => {
  const rounds = 4;
  const probes = 250_000;
  const ids = new Uint32Array(filterIdsMax * idWords);
  const filter = new Uint32Array(filterWords);
  let found = 0;
  for (let seed = 1; seed <= rounds; seed += 1) {
    const random = new Prng(seed);
    for (let index = 0; index < filterIdsMax; index += 1) {
      ids.set(idOf(index, random), index * idWords);
    }
    native.buildFilter(filter, 0, ids, 0, idWords, filterIdsMax, seed);
    const id = new Uint32Array(idWords);
    for (let index = filterIdsMax; index < filterIdsMax + probes; index += 1) {
      id.set(idOf(index, random));
      if (native.probeFilter(filter, 0, id, 0, seed)) found += 1;
    }
  }
  // In theory 86 in a million; the sample's deviation is about 10.
  expect(found).toBeGreaterThan(40);
  expect(found).toBeLessThan(170);
});
