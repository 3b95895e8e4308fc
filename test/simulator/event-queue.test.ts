import { expect, test } from "vitest";
import { Prng } from "../../src/core/prng.ts";
import { Callbacks, EventQueue } from "./event-queue.ts";

test("events happen in the order of their times, and of scheduling within one", () => {
  const queue = new EventQueue();
  const callbacks = new Callbacks(queue);
  const random = new Prng(1);
  const expected: [number, number][] = [];
  const happened: [number, number][] = [];
  for (let index = 0; index < 500; index += 1) {
    const at = random.below(50);
    expected.push([at, index]);
    callbacks.after(at, () => happened.push([queue.nowUs, index]));
  }
  while (queue.runNext()) {
    // To the end.
  }
  expected.sort((a, b) => a[0] - b[0] || a[1] - b[1]);
  expect(happened).toEqual(expected);
});

test("what an event schedules for now comes after all that waits for now", () => {
  const queue = new EventQueue();
  const callbacks = new Callbacks(queue);
  const happened: string[] = [];
  callbacks.after(5, () => {
    happened.push("first");
    callbacks.after(0, () => happened.push("third"));
  });
  callbacks.after(5, () => happened.push("second"));
  while (queue.runNext()) {
    // To the end.
  }
  expect(happened).toEqual(["first", "second", "third"]);
  expect(queue.nowUs).toBe(5);
});
