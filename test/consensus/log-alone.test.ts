/**
 * A replica that can not open, since what is damaged of its checkpoint nobody else has, and that the others
 * can not do without: they need its vote, or what only its journal holds.
 */
import { expect, test, vi } from "vitest";
import { Status } from "../../src/consensus/replica-state.ts";
import { assert } from "../../src/core/assert.ts";
import { DataFileLayout } from "../../src/wal/data-file.ts";
import { Command } from "../../src/wire/header.ts";
import { tinyFormat } from "../replica/harness.ts";
import { TestClient } from "../replica/test-client.ts";
import { Cluster, fromClient, type Node } from "./cluster.ts";

const { slotCount, checkpointInterval, blockSize } = tinyFormat;
const layout = new DataFileLayout(tinyFormat);
/** The checkpoint that one replica alone has. */
const checkpointOp = 2 * checkpointInterval;

/** All are down, and of their files `ahead` alone has this checkpoint: the others were slow to execute. */
function oneAhead(replicaCount: number): { cluster: Cluster; ahead: Node; others: Node[] } {
  const cluster = new Cluster(replicaCount);
  while (!cluster.nodes.every(({ replica }) => replica.commitMin >= checkpointOp - 1))
    cluster.ask();
  const ahead = cluster.primary!;
  const others = cluster.nodes.filter((node) => node !== ahead);
  for (const { replica } of others) replica.executor.execute = () => false;
  const durable = (node: Node): number => node.parts!.superblock.checkpointOp;
  while (durable(ahead) < checkpointOp) cluster.ask();
  expect(others.map(durable)).toEqual(others.map(() => checkpointOp - checkpointInterval));
  for (const node of cluster.nodes) node.stop();
  return { cluster, ahead, others };
}

/** As `oneAhead`, of three, but the primary has it too, and is down for good. */
function backupAhead(): { cluster: Cluster; ahead: Node; behind: Node } {
  const cluster = new Cluster(3);
  while (!cluster.nodes.every(({ replica }) => replica.commitMin >= checkpointOp - 1))
    cluster.ask();
  const primary = cluster.primary!;
  const [ahead, behind] = cluster.nodes.filter((node) => node !== primary);
  assert(ahead !== undefined && behind !== undefined, "two of three are backups");
  behind.replica.executor.execute = () => false;
  while (ahead.parts!.superblock.checkpointOp < checkpointOp) cluster.ask();
  expect(behind.parts!.superblock.checkpointOp).toBeLessThan(checkpointOp);
  for (const node of cluster.nodes) node.stop();
  return { cluster, ahead, behind };
}

/** The last block of its checkpoint that was written nowhere else. */
function rotBlock({ io }: Node, others: readonly Node[]): void {
  const lies = (where: Node, at: number): boolean => {
    const own = Buffer.from(io.peek(at, blockSize));
    return own.equals(where.io.peek(at, blockSize));
  };
  const alone = io.writeLog.findLast(
    ({ at, length }) =>
      at >= layout.gridAt && length === blockSize && !others.some((other) => lies(other, at)),
  );
  assert(alone !== undefined, "a block lies here alone");
  io.flip(alone.at + blockSize / 2, 3);
}

function rotPrepare({ io }: Node, op: number): void {
  io.flip(layout.prepareAt(op % slotCount) + 100, 3);
}

function takesPart({ notes }: Node): boolean {
  return notes.some((note) => note.includes("with its journal alone"));
}

test("of two: the other one has lost an op before that checkpoint", () => {
  const { cluster, ahead, others } = oneAhead(2);
  rotBlock(ahead, others);
  rotPrepare(others[0]!, checkpointOp - 1);
  for (const node of cluster.nodes) node.start();
  expect(cluster.until(() => cluster.level([0, 1]), 60)).toBe(true);
  expect(cluster.primary!.replica.commitMin).toBeGreaterThanOrEqual(checkpointOp);
  expect(takesPart(ahead)).toBe(true);
  cluster.askTimes(20);
  expect(cluster.until(() => cluster.level([0, 1]))).toBe(true);
});

test("of three: another one is down, so that its vote is needed", () => {
  const { cluster, ahead, others } = oneAhead(3);
  rotBlock(ahead, others);
  const [other] = others;
  ahead.start();
  other!.start();
  expect(cluster.until(() => cluster.level([ahead.index, other!.index]), 60)).toBe(true);
  cluster.askTimes(20);
  others[1]!.start();
  expect(cluster.until(() => cluster.level([0, 1, 2]))).toBe(true);
});

test("of three: the other one makes the checkpoint from its journal, and does not move there", () => {
  const { cluster, ahead, behind } = backupAhead();
  rotBlock(ahead, [behind]);
  rotPrepare(behind, checkpointOp - 1);
  behind.start();
  for (let tick = 0; tick < 600; tick += 1) cluster.tick();
  ahead.start();
  expect(cluster.until(() => cluster.level([ahead.index, behind.index]), 60)).toBe(true);
  expect(takesPart(ahead)).toBe(true);
  cluster.askTimes(3);
});

test("while it is not open it acknowledges, and neither executes nor leads nor answers", () => {
  const { cluster, ahead, others } = oneAhead(3);
  rotBlock(ahead, others);
  const [other] = others;
  cluster.lost.add(Command.getBlocks);
  ahead.start();
  other!.start();
  expect(cluster.until(() => cluster.primary === other, 60)).toBe(true);
  const before = other!.replica.commitMin;
  cluster.askTimes(3);
  expect(other!.replica.commitMin).toBeGreaterThan(before);
  // Views in which it would be the primary pass.
  for (let times = 0; times < 3; times += 1) {
    const { view } = other!.replica;
    other!.restart();
    expect(cluster.until(() => cluster.primary === other, 60)).toBe(true);
    expect(other!.replica.view).toBeGreaterThan(view);
    cluster.ask();
  }
  const { replica } = ahead;
  expect([ahead.opened, replica.stateOpen, replica.status]).toEqual([false, false, Status.normal]);
  expect([replica.commitMin, replica.executor.op]).toEqual([checkpointOp, checkpointOp]);
  expect(replica.op).toBe(other!.replica.op);
  ahead.receive(new TestClient(2).register(), fromClient);
  expect(replica.requests.counters.forwarded).toBe(0);
  // It asks on for a checkpoint to open with instead.
  const { questions } = replica.viewChange;
  const tickOpening = vi.spyOn(questions, "tickOpening");
  cluster.tick();
  expect(tickOpening).toHaveBeenCalledTimes(1);
  cluster.lost.clear();
  expect(cluster.until(() => cluster.level([ahead.index, other!.index]), 60)).toBe(true);
});

test("it moves to a newer checkpoint when others have one", () => {
  const { cluster, ahead, others } = oneAhead(3);
  rotBlock(ahead, others);
  cluster.lost.add(Command.getBlocks);
  for (const node of cluster.nodes) node.start();
  expect(cluster.until(() => takesPart(ahead), 60)).toBe(true);
  cluster.askTimes(2 * checkpointInterval);
  expect(cluster.until(() => ahead.notes.some((note) => note.startsWith("moving to")))).toBe(true);
  cluster.lost.clear();
  expect(cluster.until(() => cluster.level([0, 1, 2]), 60)).toBe(true);
  expect(ahead.parts!.superblock.checkpointOp).toBeGreaterThan(checkpointOp);
});
