/** Agreement of intervals, by example and against counting every point. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { Agreement } from "./marzullo.ts";

type Interval = readonly [number, number];

function agree(intervals: readonly Interval[]): [number, number, number] {
  const agreement = new Agreement();
  const lowers = Float64Array.from(intervals, ([lower]) => lower);
  const uppers = Float64Array.from(intervals, ([, upper]) => upper);
  agreement.find(lowers, uppers, intervals.length);
  return [agreement.sources, agreement.lower, agreement.upper];
}

test.each<[string, Interval[], [number, number, number]]>([
  ["nobody", [], [0, 0, 0]],
  ["one", [[3, 5]], [1, 3, 5]],
  [
    "all share a part",
    [
      [8, 12],
      [11, 13],
      [10, 12],
    ],
    [3, 11, 12],
  ],
  [
    "one is wrong",
    [
      [8, 12],
      [11, 13],
      [14, 15],
    ],
    [2, 11, 12],
  ],
  [
    "they touch in a point",
    [
      [0, 5],
      [5, 9],
    ],
    [2, 5, 5],
  ],
  [
    "one lies within another",
    [
      [0, 9],
      [2, 3],
    ],
    [2, 2, 3],
  ],
  [
    "two groups of two: the narrower",
    [
      [0, 4],
      [1, 5],
      [20, 22],
      [21, 23],
    ],
    [2, 21, 22],
  ],
  [
    "two groups alike: the lower",
    [
      [20, 22],
      [21, 23],
      [0, 2],
      [1, 3],
    ],
    [2, 1, 2],
  ],
  [
    "nobody shares: the narrowest",
    [
      [0, 3],
      [10, 12],
      [20, 29],
    ],
    [1, 10, 12],
  ],
  [
    "points",
    [
      [4, 4],
      [4, 4],
      [5, 5],
    ],
    [2, 4, 4],
  ],
])("%s", (_, intervals, expected) => {
  expect(agree(intervals)).toEqual(expected);
});

/** Asks every point that could matter who contains it; stretches of one answer are the parts. */
function slowly(intervals: readonly Interval[]): [number, number, number] {
  const containing = (point: number): string =>
    intervals.map(([lower, upper]) => (lower <= point && point <= upper ? "1" : "0")).join("");
  let best: [number, number, number] = [0, 0, 0];
  let from = 0;
  // Half steps, so that intervals that do not touch are seen apart.
  for (let point = 0; point <= 20; point += 0.5) {
    if (point > 0 && containing(point) !== containing(point - 0.5)) from = point;
    if (containing(point + 0.5) === containing(point)) continue;
    const sources = containing(point).replaceAll("0", "").length;
    const wider = point - from >= best[2] - best[1];
    if (sources > best[0] || (sources === best[0] && !wider)) best = [sources, from, point];
  }
  return best;
}

const interval = fc
  .tuple(fc.integer({ min: 0, max: 20 }), fc.integer({ min: 0, max: 20 }))
  .map(([a, b]): Interval => [Math.min(a, b), Math.max(a, b)]);

test("as counting every point finds it", () => {
  const property = fc.property(fc.array(interval, { minLength: 1, maxLength: 6 }), (intervals) => {
    expect(agree(intervals)).toEqual(slowly(intervals));
  });
  fc.assert(property, { numRuns: 5000, seed: 1 });
});

test("the order of the sources decides nothing", () => {
  const shuffled = fc
    .array(interval, { minLength: 1, maxLength: 6 })
    .chain((intervals) =>
      fc.tuple(
        fc.constant(intervals),
        fc.shuffledSubarray(intervals, { minLength: intervals.length }),
      ),
    );
  const property = fc.property(shuffled, ([intervals, other]) => {
    expect(agree(other)).toEqual(agree(intervals));
  });
  fc.assert(property, { numRuns: 2000, seed: 2 });
});
