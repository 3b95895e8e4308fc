/**
 * A backup that is cut off from a primary whom enough others hear: it cannot depose it, and has to catch
 * up with what the others know.
 */
import { describe, expect, test } from "vitest";
import { assert } from "../../src/core/assert.ts";
import { sectorSize } from "../../src/core/limits.ts";
import { DataFileLayout } from "../../src/wal/data-file.ts";
import { Command } from "../../src/wire/header.ts";
import { tinyFormat } from "../replica/harness.ts";
import { TestClient } from "../replica/test-client.ts";
import { Cluster, fromClient, type Node } from "./cluster.ts";

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

/** The process is killed before the prepares that it was writing since `before` are durable. */
function stopWithJournalOf(node: Node, before: Uint8Array, journalAt: number): void {
  node.stop();
  node.io.poke(journalAt, before);
}

test("the commits of a checkpoint of a later view are not told as those of the log of an earlier one", () => {
  const { slotCount, checkpointInterval, blockSize } = tinyFormat;
  const layout = new DataFileLayout(tinyFormat);
  const journalAt = layout.headerRingAt;
  const journalSize = layout.prepareAt(slotCount - 1) + sectorSize - journalAt;
  const cluster = new Cluster(5);
  const all = cluster.nodes.map(({ index }) => index);
  do cluster.ask();
  while ((cluster.primary?.replica.commitMin ?? 0) < 2 * checkpointInterval + 2);
  expect(cluster.until(() => cluster.level(all))).toBe(true);
  const primary = cluster.primary!;
  const others = [1, 2, 3, 4].map((step) => cluster.nodes[(primary.index + step) % 5]!);
  const [next, third, damaged, cutOff] = others;
  assert(next !== undefined && third !== undefined, "five");
  assert(damaged !== undefined && cutOff !== undefined, "five");
  const { commitMin, view } = primary.replica;
  const checkpointOp = 3 * checkpointInterval;
  damaged.stop();
  for (const { at, length } of [...damaged.io.writeLog]) {
    if (at >= layout.gridAt && length === blockSize) damaged.io.flip(at + blockSize / 2, 3);
  }
  // Ops up to beyond that checkpoint come to one backup alone, and the primary that made them loses them.
  const before = primary.io.peek(journalAt, journalSize);
  cluster.cutBetween(primary.index, next.index);
  cluster.cutBetween(primary.index, third.index);
  for (let id = 2; id <= 6; id += 1) primary.receive(new TestClient(id).register(), fromClient);
  expect(cluster.until(() => cutOff.replica.op > checkpointOp, 0.4)).toBe(true);
  stopWithJournalOf(primary, before, journalAt);
  cluster.cut.clear();
  for (const node of [primary, next, third]) cluster.cutBetween(cutOff.index, node.index);
  primary.start();
  // The others commit other ops there.
  const durable = (): number[] =>
    [primary, next, third].map(({ parts }) => parts!.superblock.checkpointOp);
  while (durable().some((op) => op < checkpointOp)) cluster.ask();
  expect(durable()).toEqual([checkpointOp, checkpointOp, checkpointOp]);
  // The damaged one moves to their checkpoint, and hears nothing of their view.
  const { commit, prepare, exitView, joinView, getBlocks } = Command;
  for (const command of [commit, prepare, exitView, joinView, getBlocks]) cluster.lost.add(command);
  damaged.start();
  const moves = (): boolean => damaged.notes.some((note) => note.startsWith("moving to"));
  expect(cluster.until(moves)).toBe(true);
  cluster.lost.delete(getBlocks);
  expect(cluster.until(() => damaged.opened)).toBe(true);
  for (const node of [primary, next, third]) cluster.cutBetween(damaged.index, node.index);
  cluster.lost.clear();
  expect([damaged.replica.view, damaged.replica.commitMax]).toEqual([view, checkpointOp]);
  for (let tick = 0; tick < 300; tick += 1) cluster.tick();
  expect([cutOff.replica.view, cutOff.replica.commitMin]).toEqual([view, commitMin]);
  cluster.cut.clear();
  expect(cluster.until(() => cluster.level(all))).toBe(true);
});
