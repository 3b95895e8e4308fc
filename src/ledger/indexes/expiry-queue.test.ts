import fc from "fast-check";
import { expect, test } from "vitest";
import { Prng } from "../../core/prng.ts";
import { ExpiryQueue } from "./expiry-queue.ts";
import { allocateOnHeap } from "./slabs.ts";

function time(value: bigint): Uint32Array {
  return new Uint32Array([Number(value & 0xffff_ffffn), Number(value >> 32n)]);
}

test("hands out transfers by time of expiry, then row, whatever is removed meanwhile", () => {
  fc.assert(
    fc.property(fc.integer(), (seed) => {
      const random = new Prng(seed);
      const queue = new ExpiryQueue(allocateOnHeap);
      const model: { at: bigint; row: number }[] = [];
      const order = (): void => {
        model.sort((a, b) => (a.at !== b.at ? (a.at < b.at ? -1 : 1) : a.row - b.row));
      };
      let row = 0;
      for (let step = 0; step < 600; step += 1) {
        const choice = random.below(10);
        if (choice < 6 || model.length === 0) {
          // Times around a multiple of 2^32, many of them equal.
          const at = (1n << 32n) * BigInt(random.below(3)) + BigInt(random.below(4));
          row += random.range(1, random.chance(0.05) ? 40_000 : 3);
          queue.insert(time(at), 0, row);
          model.push({ at, row });
        } else if (choice < 8) {
          const [removed] = model.splice(random.below(model.length), 1);
          queue.remove(removed!.row);
        } else {
          order();
          const top = model.shift()!;
          expect(queue.topRow).toBe(top.row);
          queue.pop();
        }
        order();
        const [first] = model;
        if (first === undefined) {
          expect(queue.count).toBe(0);
          continue;
        }
        const top = new Uint32Array(2);
        queue.copyTopTime(top);
        const same =
          queue.count === model.length &&
          queue.topRow === first.row &&
          top[0] === time(first.at)[0] &&
          top[1] === time(first.at)[1] &&
          queue.topIsDue(time(first.at), 0) &&
          (first.at === 0n || !queue.topIsDue(time(first.at - 1n), 0));
        if (!same) expect.fail(`top is not row ${first.row} at ${first.at}`);
      }
      order();
      for (const { row: expected } of model) {
        expect(queue.topRow).toBe(expected);
        queue.pop();
      }
      expect(queue.topIsDue(time(1n << 63n), 0)).toBe(false);
    }),
    { numRuns: 25, seed: 7 },
  );
});

test("a transfer is in the queue once, and can be removed only while it is there", () => {
  const queue = new ExpiryQueue(allocateOnHeap);
  queue.insert(time(5n), 0, 3);
  expect(() => queue.insert(time(6n), 0, 3)).toThrow("expires once");
  queue.remove(3);
  expect(() => queue.remove(3)).toThrow("is in the queue");
  expect(() => queue.remove(1_000_000)).toThrow("is in the queue");
  expect(() => queue.pop()).toThrow("no top");
});
