/**
 * How many replicas it takes to decide. Sizes are flexible quorums: a replication quorum is kept
 * small, since every request waits for one, and a view change, which is rare, pays for it.
 *
 * Invariants, asserted for every size of cluster:
 * - replication + view change > n: whatever committed is seen by every view change.
 * - replication + nack > n: what `nack` replicas certainly never acknowledged cannot have committed.
 * - twice the view change > n: two views never begin from separate halves of a cluster.
 */
import { assert } from "../core/assert.ts";
import { replicasMax } from "../core/limits.ts";

export interface Quorums {
  /** Acknowledgements that commit a prepare, the primary's own among them. */
  readonly replication: number;
  /** Votes to leave a view, and logs told before the next begins; own ones among them. */
  readonly viewChange: number;
  /** Replicas that certainly never acknowledged an op, before it may be dropped. */
  readonly nack: number;
}

/** More acknowledgements would cost latency and gain little: three copies are enough to commit. */
const replicationQuorumMax = 3;

/** One vote would do for safety, but a replica cut off from its pair would change views alone. */
const viewChangeQuorumOfTwo = 2;

function compute(replicaCount: number): Quorums {
  const replication =
    replicaCount === 2 ? 2 : Math.min(replicationQuorumMax, Math.ceil(replicaCount / 2));
  const nack = replicaCount - replication + 1;
  const viewChange = replicaCount === 2 ? viewChangeQuorumOfTwo : nack;
  assert(replication <= replicaCount, "a cluster can commit");
  assert(viewChange <= replicaCount, "a cluster can change its view");
  assert(replication + viewChange > replicaCount, "a view change sees what committed");
  assert(replication + nack > replicaCount, "what is nacked cannot have committed");
  assert(2 * viewChange > replicaCount, "view changes see each other");
  return { replication, viewChange, nack };
}

const table: readonly Quorums[] = Array.from({ length: replicasMax }, (_, index) =>
  compute(index + 1),
);

/** @param replicaCount - Voting replicas, 1 to `replicasMax`. */
export function quorumsFor(replicaCount: number): Quorums {
  const quorums = table[replicaCount - 1];
  assert(quorums !== undefined, "a cluster has 1 to 6 replicas");
  return quorums;
}
