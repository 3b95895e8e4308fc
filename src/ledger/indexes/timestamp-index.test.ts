import fc from "fast-check";
import { expect, test } from "vitest";
import { allocateOnHeap } from "./slabs.ts";
import { TimestampIndex } from "./timestamp-index.ts";

function words(value: bigint): Uint32Array {
  return new Uint32Array([Number(value & 0xffff_ffffn), Number(value >> 32n)]);
}

test("finds rows by time as a search through all of them would", () => {
  const gap = fc.constantFrom(1n, 2n, 1n << 31n, 1n << 32n);
  fc.assert(
    fc.property(fc.array(gap, { maxLength: 60 }), (gaps) => {
      const index = new TimestampIndex(allocateOnHeap);
      const times: bigint[] = [];
      for (const distance of gaps) {
        const time = (times[times.length - 1] ?? 0n) + distance;
        times.push(time);
        index.append(words(time), 0);
      }
      expect(index.count).toBe(times.length);
      const probes = times.flatMap((time) => [time - 1n, time, time + 1n]);
      for (const probe of [0n, (1n << 63n) - 1n, ...probes]) {
        const first = times.findIndex((time) => time >= probe);
        expect(index.firstAtOrAbove(words(probe), 0)).toBe(first < 0 ? times.length : first);
        expect(index.lastAtOrBelow(words(probe), 0)).toBe(
          times.findLastIndex((time) => time <= probe),
        );
        expect(index.has(words(probe), 0)).toBe(times.includes(probe));
      }
    }),
    { numRuns: 200, seed: 8 },
  );
});

test("timestamps ascend", () => {
  const index = new TimestampIndex(allocateOnHeap);
  index.append(words(5n), 0);
  expect(() => index.append(words(5n), 0)).toThrow("ascend");
  index.append(words(1n << 32n), 0);
  expect(() => index.append(words(6n), 0)).toThrow("ascend");
});

test("crosses slabs", () => {
  const index = new TimestampIndex(allocateOnHeap);
  for (let row = 0; row < 40_000; row += 1) index.append(new Uint32Array([row * 2, 1]), 0);
  for (const row of [0, 16_383, 16_384, 32_768, 39_999]) {
    expect(index.firstAtOrAbove(new Uint32Array([row * 2, 1]), 0)).toBe(row);
    expect(index.lastAtOrBelow(new Uint32Array([row * 2 + 1, 1]), 0)).toBe(row);
  }
  const other = new TimestampIndex(allocateOnHeap);
  other.append(new Uint32Array([9, 1]), 0);
  expect(index.isBefore(4, other, 0)).toBe(true);
  expect(index.isBefore(5, other, 0)).toBe(false);
});
