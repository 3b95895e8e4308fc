import { expect, test } from "vitest";
import { warmUp } from "./warm-up.ts";

test("runs its load to the end where time allows", () => {
  expect(warmUp(() => 1000)).toBe(8);
});

test("ends when its time is over", () => {
  let nowMs = 5000;
  const batches = warmUp(() => {
    nowMs += 60;
    return nowMs;
  });
  // Looked at when it began and before each batch.
  expect(batches).toBe(2);
});
