/** When timers fire: periods, doubling, jitter, and that a seed repeats them. */
import { expect, test } from "vitest";
import { InvariantError } from "../core/assert.ts";
import { Prng } from "../core/prng.ts";
import { Timer } from "./timers.ts";

test("a timer fires once per period until it is stopped", () => {
  const timer = new Timer({ ticks: 3 });
  expect(firings(timer, 9)).toEqual([]);
  timer.start();
  expect(timer.running).toBe(true);
  expect(firings(timer, 9)).toEqual([3, 6, 9]);
  expect(timer.attempts).toBe(3);
  timer.stop();
  expect(timer.running).toBe(false);
  expect(firings(timer, 9)).toEqual([]);
});

test("a period of one tick fires in every tick", () => {
  const timer = new Timer({ ticks: 1 });
  timer.start();
  expect(firings(timer, 3)).toEqual([1, 2, 3]);
});

test("reset begins a running timer's period again and leaves a stopped one alone", () => {
  const timer = new Timer({ ticks: 3 });
  timer.reset();
  expect(timer.running).toBe(false);
  timer.start();
  expect(firings(timer, 2)).toEqual([]);
  timer.reset();
  expect(firings(timer, 3)).toEqual([3]);
});

test("a timer that is hastened fires sooner, and then as ever", () => {
  const timer = new Timer({ ticks: 5 });
  timer.hasten(2);
  expect(timer.running).toBe(false);
  timer.start();
  timer.hasten(2);
  timer.hasten(4);
  expect(firings(timer, 8)).toEqual([2, 7]);
  timer.reset();
  expect(firings(timer, 5)).toEqual([5]);
});

test("periods double up to the longest and begin again with a reset", () => {
  const timer = new Timer({ ticks: 2, ticksMax: 10 });
  timer.start();
  expect(firings(timer, 44)).toEqual([2, 6, 14, 24, 34, 44]);
  timer.reset();
  expect(timer.attempts).toBe(0);
  expect(firings(timer, 6)).toEqual([2, 6]);
});

test("doubling never overflows", () => {
  const timer = new Timer({ ticks: 1, ticksMax: 2 });
  timer.start();
  expect(firings(timer, 4001)).toHaveLength(2001);
});

test("jittered periods stay within their bounds, differ, and repeat with the seed", () => {
  const run = (seed: number): number[] => {
    const timer = new Timer({ ticks: 10, jitterPercent: 50 }, new Prng(seed));
    timer.start();
    return firings(timer, 5000);
  };
  const first = run(1);
  const periods = first.map((at, index) => at - (first[index - 1] ?? 0));
  expect(Math.min(...periods)).toBe(5);
  expect(Math.max(...periods)).toBe(15);
  expect(run(1)).toEqual(first);
  expect(run(2)).not.toEqual(first);
});

test("a changed period holds from the next one on", () => {
  const timer = new Timer({ ticks: 2 });
  timer.start();
  timer.setTicks(5);
  expect(firings(timer, 12)).toEqual([2, 7, 12]);
});

test("timers that cannot work are refused", () => {
  expect(() => new Timer({ ticks: 0 })).toThrow(InvariantError);
  expect(() => new Timer({ ticks: 1.5 })).toThrow(InvariantError);
  expect(() => new Timer({ ticks: 4, ticksMax: 3 })).toThrow(InvariantError);
  expect(() => new Timer({ ticks: 4, jitterPercent: 10 })).toThrow(InvariantError);
  expect(() => new Timer({ ticks: 4, jitterPercent: 100 }, new Prng(1))).toThrow(InvariantError);
  expect(() => new Timer({ ticks: 4, ticksMax: 8 }).setTicks(5)).toThrow(InvariantError);
});

/** The ticks, counted from 1, in which the timer fires. */
function firings(timer: Timer, ticks: number): number[] {
  const at: number[] = [];
  for (let tick = 1; tick <= ticks; tick += 1) if (timer.tick()) at.push(tick);
  return at;
}
