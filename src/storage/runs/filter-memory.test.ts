import { expect, test } from "vitest";
import { filterWords } from "../../native/sorted-runs/run-kernels.ts";
import { FilterMemory } from "./filter-memory.ts";

test("has room for what is asked, little more, and none but what is in use is allocated", () => {
  let allocated = 0;
  const memory = new FilterMemory((count) => {
    allocated += count;
    return new Uint32Array(count);
  });
  for (let filters = 1; filters < 300; filters += 1) {
    const words = memory.take(filters * filterWords);
    expect(words.length).toBeGreaterThanOrEqual(filters * filterWords);
    expect(words.length).toBeLessThanOrEqual(filters * 1.25 * filterWords);
    memory.give(words);
  }
  const before = allocated;
  // Runs of about one size, a few at a time.
  const used: Uint32Array[] = [];
  for (let turn = 0; turn < 1000; turn += 1) {
    used.push(memory.take((129 + (turn % 30)) * filterWords));
    if (used.length === 7) for (const words of used.splice(0, 4)) memory.give(words);
    expect(new Set(used).size, "nothing is in use twice").toBe(used.length);
  }
  expect(allocated - before).toBeLessThanOrEqual(7 * 160 * filterWords);
});

test("what was allocated elsewhere is used for what fits into it", () => {
  const memory = new FilterMemory((count) => new Uint32Array(count));
  const words = new Uint32Array(107 * filterWords);
  memory.give(words);
  memory.give(new Uint32Array(0));
  expect(memory.take(110 * filterWords)).not.toBe(words);
  expect(memory.take(90 * filterWords)).toBe(words);
});
