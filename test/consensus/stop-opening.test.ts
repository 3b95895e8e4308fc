/** A stop may come while the replica opens: what it has begun to read then ends, and nothing follows. */
import { expect, test } from "vitest";
import { Status } from "../../src/consensus/replica-state.ts";
import { Cluster } from "./cluster.ts";

test.each([1, 3])("of %d: stopped after any number of steps", (replicaCount) => {
  const cluster = new Cluster(replicaCount);
  cluster.askTimes(3);
  const node = cluster.nodes[0]!;
  for (let steps = 0, opens = true; opens; steps += 1) {
    node.restart();
    for (let step = 0; step < steps && opens; step += 1) opens = node.io.step();
    node.replica.stop();
    node.io.run();
    expect(node.replica.status).toBe(Status.stopped);
  }
  expect(node.opened).toBe(true);
});
