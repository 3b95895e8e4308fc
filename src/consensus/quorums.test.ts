/** The table of quorum sizes, and by enumeration of all quorums what it promises. */
import { expect, test } from "vitest";
import { InvariantError } from "../core/assert.ts";
import { quorumsFor } from "./quorums.ts";

test("sizes are those of the table", () => {
  const rows = [1, 2, 3, 4, 5, 6].map((replicaCount) => {
    const { replication, viewChange, nack } = quorumsFor(replicaCount);
    return [replicaCount, replication, viewChange, nack];
  });
  expect(rows).toEqual([
    [1, 1, 1, 1],
    [2, 2, 2, 1],
    [3, 2, 2, 2],
    [4, 2, 3, 3],
    [5, 3, 3, 3],
    [6, 3, 4, 4],
  ]);
});

test("any two quorums that must meet share a replica", () => {
  for (let replicaCount = 1; replicaCount <= 6; replicaCount += 1) {
    const { replication, viewChange, nack } = quorumsFor(replicaCount);
    for (const one of setsOf(replicaCount, replication)) {
      for (const other of setsOf(replicaCount, viewChange)) expect(one & other).not.toBe(0);
      for (const other of setsOf(replicaCount, nack)) expect(one & other).not.toBe(0);
    }
    for (const one of setsOf(replicaCount, viewChange)) {
      for (const other of setsOf(replicaCount, viewChange)) expect(one & other).not.toBe(0);
    }
  }
});

test("a cluster without its replica of choice goes on, from three replicas on", () => {
  for (let replicaCount = 3; replicaCount <= 6; replicaCount += 1) {
    const { replication, viewChange } = quorumsFor(replicaCount);
    expect(replication).toBeLessThan(replicaCount);
    expect(viewChange).toBeLessThan(replicaCount);
  }
});

test("other sizes are refused", () => {
  for (const replicaCount of [0, 7, -1, 1.5, Number.NaN]) {
    expect(() => quorumsFor(replicaCount)).toThrow(InvariantError);
  }
});

/** Sets of `size` replicas out of `replicaCount`, as bits. */
function setsOf(replicaCount: number, size: number): number[] {
  const sets: number[] = [];
  for (let bits = 0; bits < 1 << replicaCount; bits += 1) {
    let count = 0;
    for (let rest = bits; rest !== 0; rest &= rest - 1) count += 1;
    if (count === size) sets.push(bits);
  }
  return sets;
}
