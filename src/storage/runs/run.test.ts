import { expect, test } from "vitest";
import { sameCut } from "./run.ts";

test("cuts differ by burnt ids alone, and by transfers alone", () => {
  const cut = { transfers: 3, failedIds: 5 };
  expect(sameCut(cut, { transfers: 3, failedIds: 5 })).toBe(true);
  expect(sameCut(cut, { transfers: 3, failedIds: 6 })).toBe(false);
  expect(sameCut(cut, { transfers: 4, failedIds: 5 })).toBe(false);
});
