import fc from "fast-check";
import { expect, test } from "vitest";
import { FreeSet } from "./free-set.ts";

/** The same life by sets of addresses: slow and obvious. */
class Model {
  acquired = new Set<number>();
  released = new Set<number>();
  releasing = new Set<number>();

  acquire(): number {
    let address = 1;
    while (this.acquired.has(address)) address += 1;
    this.acquired.add(address);
    return address;
  }

  freeze(): void {
    for (const address of this.released) this.acquired.delete(address);
    this.released = new Set();
  }

  freezeEnd(): void {
    this.released = this.releasing;
    this.releasing = new Set();
  }
}

test("agrees with sets of addresses, also after a restart from a checkpoint", () => {
  fc.assert(
    fc.property(
      fc.array(fc.record({ acquire: fc.nat(70), release: fc.array(fc.nat(500)) }), {
        minLength: 1,
        maxLength: 30,
      }),
      (rounds) => {
        let set = new FreeSet(100_000);
        const model = new Model();
        for (const round of rounds) {
          for (let left = round.acquire; left > 0; left -= 1) {
            expect(set.acquire()).toBe(model.acquire());
          }
          const live = [...model.acquired].filter(
            (address) => !model.released.has(address) && !model.releasing.has(address),
          );
          for (const index of round.release) {
            const address = live[index];
            if (address === undefined || model.releasing.has(address)) continue;
            set.release(address);
            model.releasing.add(address);
          }
          set.freezeBegin();
          model.freeze();
          expect(set.acquire()).toBe(model.acquire());
          set.freezeEnd();
          model.freezeEnd();
          expect(set.high).toBe(Math.max(...model.acquired));
          expect(set.acquiredCount).toBe(model.acquired.size);
          expect(set.releasedCount).toBe(model.released.size);

          const words = set.words(set.high);
          const encoded = new Uint32Array(2 * words);
          set.encode(encoded, 0);
          const restarted = new FreeSet(100_000);
          expect(restarted.decode(encoded, 0, words)).toBe(true);
          expect(restarted.acquiredCount).toBe(set.acquiredCount);
          expect(restarted.releasedCount).toBe(set.releasedCount);
          expect(restarted.high).toBe(set.high);
          set = restarted;
        }
      },
    ),
  );
});

test("refuses a block twice, and one that is not in use", () => {
  const set = new FreeSet(10);
  expect(set.acquire()).toBe(1);
  set.release(1);
  expect(() => set.release(1)).toThrow("a block is released once");
  expect(() => set.release(2)).toThrow("only what is in use is released");
});

test("ends at the limit", () => {
  const set = new FreeSet(40);
  for (let address = 1; address <= 40; address += 1) expect(set.acquire()).toBe(address);
  expect(set.available).toBe(0);
  expect(() => set.acquire()).toThrow("a block is available");
});

test("refuses sets that contradict each other or the limit", () => {
  const decode = (acquired: number[], released: number[], limit: number) =>
    new FreeSet(limit).decode(Uint32Array.from([...acquired, ...released]), 0, acquired.length);
  expect(decode([0b1011], [0b0010], 32)).toBe(true);
  expect(decode([0b1011], [0b0100], 32)).toBe(false);
  expect(decode([0b1011], [0b0010], 3)).toBe(false);
  expect(decode([1, 0], [0, 0], 64)).toBe(false);
});
