/**
 * What the parts of a replica share: where it stands in the log and in the views. The parts
 * (execution, repair, view change) read it; who may change a field is said at the field.
 *
 * Invariants:
 * - commitMin ≤ commitMax; commitMin ≤ op.
 * - logView ≤ view. In normal status they are equal, and durable in the superblock.
 * - headChecksum and lastTimestamp are those of the prepare of `op`.
 * - Without the state of its checkpoint a replica executes nothing, leads no view and answers no client.
 * - A standby follows the log like a backup, and counts for nothing: it acknowledges nothing, has no
 *   vote and is nobody's primary.
 */
import { assert } from "../core/assert.ts";
import { u128Copy } from "../core/u128.ts";
import type { Journal } from "../wal/journal.ts";
import type { Superblock } from "../wal/superblock.ts";
import { frame, prepareHeader } from "../wire/header.ts";
import { type Quorums, quorumsFor } from "./quorums.ts";

export const Status = {
  /** Opening: reads its data file; a cluster of one replays its log. */
  recovering: 0,
  normal: 1,
  /** A fatal error was reported, or a stop was asked for: does nothing more. */
  stopped: 2,
  /** Between views: knows its view, not yet the log of it. */
  viewChange: 3,
  /** The journal cannot say where its log ends: takes part in nothing until a primary tells. */
  recoveringHead: 4,
} as const;

export interface ReplicaIdentity {
  readonly cluster: Uint32Array;
  /** Index in the cluster: voting replicas come first, standbys after them. */
  readonly replica: number;
  /** Voting replicas. */
  readonly replicaCount: number;
  /** Replicas and standbys together. */
  readonly memberCount: number;
}

export class ReplicaState {
  readonly cluster: Uint32Array;
  readonly replica: number;
  readonly replicaCount: number;
  readonly memberCount: number;
  readonly quorums: Quorums;
  readonly journal: Journal;
  readonly superblock: Superblock;
  status: number = Status.recovering;
  /** The checkpoint's state is open. Without it, journal and superblock are enough to vote and acknowledge. */
  stateOpen = true;
  view = 0;
  logView = 0;
  /** The head: highest op of the log as far as it is known here. */
  op = 0;
  readonly headChecksum = new Uint32Array(4);
  /** Timestamp of the head, or what the clock has overtaken it with. */
  readonly lastTimestamp = new Uint32Array(2);
  /** Highest op executed here, and the checksum of its prepare. Changed by execution. */
  commitMin = 0;
  readonly executedChecksum = new Uint32Array(4);
  /** Highest op known to be committed. May be above the head. */
  commitMax = 0;

  constructor(identity: ReplicaIdentity, journal: Journal, superblock: Superblock) {
    assert(identity.replica < identity.memberCount, "a replica is in its cluster");
    assert(identity.replicaCount <= identity.memberCount, "standbys come after the replicas");
    this.cluster = identity.cluster;
    this.replica = identity.replica;
    this.replicaCount = identity.replicaCount;
    this.memberCount = identity.memberCount;
    this.quorums = quorumsFor(identity.replicaCount);
    this.journal = journal;
    this.superblock = superblock;
  }

  /** Index of the primary of a view. */
  primaryOf(view: number): number {
    return view % this.replicaCount;
  }

  get isStandby(): boolean {
    return this.replica >= this.replicaCount;
  }

  get isPrimary(): boolean {
    return this.primaryOf(this.view) === this.replica;
  }

  get isNormalPrimary(): boolean {
    return this.status === Status.normal && this.isPrimary;
  }

  get isNormalBackup(): boolean {
    return this.status === Status.normal && !this.isPrimary;
  }

  /** The log up to the head is that of the present view. */
  get hasLog(): boolean {
    return this.logView === this.view && this.status !== Status.recoveringHead;
  }

  /** View and log view are on disk as they are here. */
  get viewDurable(): boolean {
    const { superblock } = this;
    return superblock.view === this.view && superblock.logView === this.logView;
  }

  /** Makes the prepare whose header is at words[at] the head. */
  adoptHead(op: number, words: Uint32Array, at: number): void {
    this.op = op;
    u128Copy(this.headChecksum, 0, words, at + frame.word.checksum);
    this.lastTimestamp[0] = words[at + prepareHeader.word.timestamp]!;
    this.lastTimestamp[1] = words[at + prepareHeader.word.timestamp + 1]!;
  }

  learnCommit(op: number): void {
    if (op > this.commitMax) this.commitMax = op;
  }
}
