/**
 * A backup that is cut off from a primary whom enough others hear: it cannot depose it, and has to catch
 * up with what the others know.
 */
import { describe, expect, test } from "vitest";
import { Cluster } from "./cluster.ts";

/** A cluster at work, and of its backups the one that is to be cut off. */
function atWork(replicaCount: number): { cluster: Cluster; primary: number; backup: number } {
  const cluster = new Cluster(replicaCount);
  cluster.askTimes(3);
  const all = cluster.nodes.map(({ index }) => index);
  expect(cluster.until(() => cluster.level(all))).toBe(true);
  const primary = cluster.primary!.index;
  return { cluster, primary, backup: (primary + replicaCount - 1) % replicaCount };
}

describe.each([3, 4, 5])("of %d", (replicaCount) => {
  test.each([
    ["is not heard by", false],
    ["neither hears nor is heard by", true],
  ])("one that the primary does not reach, and that it %s", (_, bothWays) => {
    const { cluster, primary, backup } = atWork(replicaCount);
    const { view } = cluster.primary!.replica;
    cluster.cut.add(`${primary} ${backup}`);
    if (bothWays) cluster.cutBetween(primary, backup);
    cluster.askTimes(12);
    expect(cluster.until(() => cluster.level([backup]), 10)).toBe(true);
    expect(cluster.primary!.replica.view).toBe(view);
    expect(cluster.nodes[backup]!.replica.commitMin).toBeGreaterThanOrEqual(15);
  });

  test("one whom the log of a view never reached", () => {
    const { cluster, primary } = atWork(replicaCount);
    const next = (primary + 1) % replicaCount;
    const backup = (primary + 2) % replicaCount;
    cluster.cutBetween(next, backup);
    cluster.nodes[primary]!.restart();
    const begun = (): boolean => cluster.primary?.index === next;
    expect(cluster.until(begun, 10)).toBe(true);
    cluster.askTimes(12);
    expect(cluster.until(() => cluster.level([backup]), 10)).toBe(true);
    expect(cluster.primary!.index).toBe(next);
  });

  test("one that has moved on to no view while others began one without it", () => {
    const { cluster, primary } = atWork(replicaCount);
    const next = (primary + 1) % replicaCount;
    const stale = cluster.nodes[primary]!;
    const { view } = stale.replica;
    for (const { index } of cluster.nodes) {
      if (index !== primary) cluster.cutBetween(primary, index);
    }
    expect(cluster.until(() => cluster.nodes[next]!.replica.isNormalPrimary, 10)).toBe(true);
    expect([stale.replica.isNormalPrimary, stale.replica.view]).toEqual([true, view]);
    cluster.cut.clear();
    cluster.cutBetween(primary, next);
    cluster.askTimes(12);
    expect(cluster.until(() => cluster.level([primary]), 10)).toBe(true);
    expect(cluster.primary!.index).toBe(next);
  });

  test("one that has fallen behind by more than a journal moves to a checkpoint that a backup tells", () => {
    const { cluster, primary, backup } = atWork(replicaCount);
    for (const { index } of cluster.nodes) {
      if (index !== backup) cluster.cutBetween(backup, index);
    }
    cluster.askTimes(48);
    cluster.cut.clear();
    cluster.cutBetween(primary, backup);
    expect(cluster.until(() => cluster.level([backup]), 20)).toBe(true);
    expect(cluster.primary!.index).toBe(primary);
    const moved = cluster.nodes[backup]!.notes.filter((note) => note.startsWith("moving to"));
    expect(moved.length).toBeGreaterThan(0);
  });
});
