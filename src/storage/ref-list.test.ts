import { expect, test } from "vitest";
import { indexRefs, payloadWords, refWords } from "./format.ts";
import { RefList } from "./ref-list.ts";

function entry(index: number): number[] {
  return [index + 1, index * 3, index ^ 0x5555, index + 7, ~index >>> 0];
}

test("holds what was pushed, through chunks that grow, in the shape of index blocks", () => {
  const list = new RefList();
  const lengths = new Set<number>();
  for (let index = 0; index < indexRefs + 100; index += 1) {
    list.push(entry(index)[0]!, new Uint32Array(entry(index)), 1);
    expect(list.length).toBe(index + 1);
    lengths.add(list.chunks[list.chunks.length - 1]!.length);
  }
  expect(list.chunks.length).toBe(2);
  expect(list.chunks[0]!.length).toBe(payloadWords);
  expect(Math.min(...lengths)).toBeLessThan(payloadWords / 100);
  const copy = new Uint32Array(refWords);
  for (let index = 0; index < list.length; index += 1) {
    list.copy(index, copy, 0);
    expect([...copy]).toEqual(entry(index));
    expect(list.address(index)).toBe(index + 1);
  }
});

test("is extended by zeros, over several chunks at once", () => {
  const list = new RefList();
  list.push(9, new Uint32Array([1, 2, 3, 4]), 0);
  list.extend(2 * indexRefs + 1);
  list.extend(5);
  expect(list.length).toBe(2 * indexRefs + 1);
  expect(list.chunks.length).toBe(3);
  expect(list.address(0)).toBe(9);
  for (const index of [1, indexRefs - 1, indexRefs, 2 * indexRefs]) {
    expect(list.address(index)).toBe(0);
    list.set(index, 5, new Uint32Array([6, 7, 8, 9]), 0);
    expect(list.address(index)).toBe(5);
  }
});
