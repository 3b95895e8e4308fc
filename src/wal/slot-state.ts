/**
 * What a journal slot means after a crash: a pure decision from what its two copies show, the
 * redundant header in the header ring and the prepare in the prepare ring.
 *
 * Our order of writes (one difference from the table in protocol/vsr.md §6.2): a prepare is
 * acknowledged when its own write is durable, and its redundant header follows. So
 *
 * - a live header in the ring proves that its prepare was durable once: if the prepare is not
 *   there any more, it was lost, and may have been acknowledged;
 * - no live header proves nothing: a bad prepare then is a torn write, or (the accepted double
 *   fault) rot of a newest prepare whose header had not landed.
 *
 * *Live* are ops above the checkpoint that the superblock names, up to one ring further; at most
 * one live op belongs to a slot. *Expired* ops, at or below the checkpoint, are needed no more:
 * an expired header says as little about a bad prepare as a reserved one.
 */
import { assert } from "../core/assert.ts";

/** What one of the two copies shows. */
export const SlotContent = {
  /** Wrong checksum, unreadable, of another cluster or another slot. */
  bad: 0,
  /** The header that says: nothing here. */
  reserved: 1,
  /** A valid op at or below the checkpoint. */
  expired: 2,
  /** A valid op above the checkpoint. */
  live: 3,
  /** A valid op too far above the checkpoint to have been written under it. */
  beyond: 4,
} as const;
export type SlotContent = (typeof SlotContent)[keyof typeof SlotContent];

/** How the two copies compare when both are live: they then have the same op. */
export const Agreement = {
  /** Not both live. */
  none: 0,
  identical: 1,
  /** The prepare is of a newer view than the header: rewritten, its header had not landed. */
  prepareNewer: 2,
  /** The prepare is of an older view, or another one of the same view. */
  prepareOlder: 3,
} as const;
export type Agreement = (typeof Agreement)[keyof typeof Agreement];

export const Decision = {
  /** Nothing live here. */
  empty: 0,
  /** Nothing live, but an expired prepare that peers may still ask for. */
  old: 1,
  /** The prepare is good and its header in place. */
  use: 2,
  /** The prepare is good; its header is to be written. */
  useFixHeader: 3,
  /** A bad prepare without a live header. Whether it ends the log, its neighbours decide. */
  hole: 4,
  /** Nothing live in the prepare, and a bad header that might have said otherwise. */
  doubtful: 5,
  /** Both bad: an op that we may have acknowledged could be hidden here. */
  unknown: 6,
  /** A prepare that was durable is gone. To be fetched from others. */
  lost: 7,
  /** Never acknowledged, since it lies beyond what may be: to be removed. */
  cut: 8,
  /** Not to be repaired from this disk alone: refuse to start. */
  fatal: 9,
} as const;
export type Decision = (typeof Decision)[keyof typeof Decision];

type Row = readonly [
  header: SlotContent,
  prepare: SlotContent,
  agreement: Agreement,
  cluster: Decision,
  single: Decision,
];

const { bad, reserved, expired, live, beyond } = SlotContent;
const { none, identical, prepareNewer, prepareOlder } = Agreement;
const D = Decision;

/**
 * Every combination, one row each. Last two columns: several replicas, cluster of one.
 * Beyond: a cluster withholds prepare_ok for such ops, so they can go, but never a live one with
 * them; a cluster of one never writes them, so the superblock must be older than the journal.
 */
export const decisionTable: readonly Row[] = [
  [bad, bad, none, D.unknown, D.hole],
  [bad, reserved, none, D.doubtful, D.empty],
  [bad, expired, none, D.doubtful, D.old],
  [bad, live, none, D.useFixHeader, D.useFixHeader],
  [bad, beyond, none, D.cut, D.fatal],

  [reserved, bad, none, D.hole, D.hole],
  [reserved, reserved, none, D.empty, D.empty],
  [reserved, expired, none, D.old, D.old],
  [reserved, live, none, D.useFixHeader, D.useFixHeader],
  [reserved, beyond, none, D.cut, D.fatal],

  [expired, bad, none, D.hole, D.hole],
  [expired, reserved, none, D.empty, D.empty],
  [expired, expired, none, D.old, D.old],
  [expired, live, none, D.useFixHeader, D.useFixHeader],
  [expired, beyond, none, D.cut, D.fatal],

  [live, bad, none, D.lost, D.fatal],
  [live, reserved, none, D.lost, D.fatal],
  [live, expired, none, D.lost, D.fatal],
  [live, live, identical, D.use, D.use],
  [live, live, prepareNewer, D.useFixHeader, D.useFixHeader],
  [live, live, prepareOlder, D.lost, D.fatal],
  [live, beyond, none, D.lost, D.fatal],

  [beyond, bad, none, D.cut, D.fatal],
  [beyond, reserved, none, D.cut, D.fatal],
  [beyond, expired, none, D.cut, D.fatal],
  [beyond, live, none, D.useFixHeader, D.fatal],
  [beyond, beyond, none, D.cut, D.fatal],
];

const contents = 5;
const agreements = 4;
const decisionsCluster = new Int8Array(contents * contents * agreements).fill(-1);
const decisionsSingle = new Int8Array(contents * contents * agreements).fill(-1);
for (const [header, prepare, agreement, cluster, single] of decisionTable) {
  const index = (header * contents + prepare) * agreements + agreement;
  assert(decisionsCluster[index] === -1, "one row per combination");
  decisionsCluster[index] = cluster;
  decisionsSingle[index] = single;
}

/** @param single - A cluster of one: nothing can be fetched from others. */
export function decideSlot(
  header: SlotContent,
  prepare: SlotContent,
  agreement: Agreement,
  single: boolean,
): Decision {
  const bothLive = header === live && prepare === live;
  assert(bothLive === (agreement !== none), "copies are compared when both are live");
  const index = (header * contents + prepare) * agreements + agreement;
  const decision = (single ? decisionsSingle : decisionsCluster)[index]!;
  assert(decision >= 0, "the table has a row for every combination");
  return decision as Decision;
}
