/**
 * Every point at which the code that keeps the data file waits, for the disk or for itself, before
 * it goes on; and what takes the point away. A point that no crash needs says why (`redundant`),
 * and a further row takes away what stands in for it as well.
 */
import type { ReplicaParts } from "../../src/consensus/open-replica.ts";
import { BlockType, blockLayout } from "../../src/storage/format.ts";
import type { CrashRunOptions } from "./crash-run.ts";
import { notLastCopy, type Purpose, type Treatment, type Weakness } from "./weakened-io.ts";
import * as change from "./weakened-replica.ts";

/** How the replica lives: what brings it to a point often. */
export type Load = Pick<
  CrashRunOptions,
  "kills" | "short" | "shortWrites" | "quiet" | "eventsMax" | "journalTicks" | "stepsPerTick"
>;

export interface Point {
  readonly where: string;
  /** What the code keeps to. */
  readonly holds: string;
  /** What is done in its place. */
  readonly instead: string;
  /** Breaks a promise of the file I/O. */
  readonly io?: readonly Weakness[];
  /** Changes a method of the replica's. */
  readonly replica?: (parts: ReplicaParts) => void;
  /** Of the load: a slow disk, which breaks no promise. */
  readonly slow?: readonly Weakness[];
  readonly load?: Load;
  /** Seeds within which the judge sees it; of a redundant point, seeds that are tried. */
  readonly seeds: number;
  /** Why a crash cannot show it. */
  readonly redundant?: string;
}

function weak(purpose: Purpose, treatment: Treatment, only?: Weakness["only"]): Weakness {
  return only === undefined ? { purpose, treatment } : { purpose, treatment, only };
}

/** Most lives end while the replica starts. */
const short: Load = { short: 0.8 };
/** Half of the crashes kill the process and leave the disk its cache. */
const kills: Load = { kills: 0.5, short: 0.6 };
/** Nearly all lives end while the replica makes its file whole, and headers land soon. */
const repairs: Load = { short: 0.9, shortWrites: 8, stepsPerTick: 1 };
/** A disk that takes its time for the superblock, and clients that do not wait for it. */
const slowSuperblock: readonly Weakness[] = [weak("superblock: checkpoint", "slow")];
const hasty: Load = { short: 0.2, quiet: 0.05 };
/** Blocks full of rows, which the disk takes its time for. */
const slowRows: readonly Weakness[] = [
  weak("block", "slow", (_fileAt, words, wordAt) => {
    return words[wordAt + blockLayout.word.type] === BlockType.rows;
  }),
];
const manyRows: Load = { quiet: 0.05, eventsMax: 150 };

const slotsOrView =
  "a cluster of one tells dead prepares from live ones twice: they are overwritten before it " +
  "serves, and they are of an older view than what follows";

const twoIntervals =
  "the next freeze waits for the superblock, so ops run at most two intervals and a pipeline " +
  "ahead of it, and formats have more slots than that";

const journal: readonly Point[] = [
  {
    where: "wal/journal.ts",
    holds: "a prepare's write is durable",
    instead: "volatile",
    io: [weak("prepare", "undurable")],
    seeds: 12,
  },
  {
    where: "wal/journal.ts",
    holds: "a prepare is acknowledged when it is written",
    instead: "when its write is submitted",
    io: [weak("prepare", "late")],
    seeds: 12,
  },
  {
    where: "consensus/replica.ts",
    holds: "ops are committed in order",
    instead: "with the first that is durable, those before it",
    replica: change.commitOutOfOrder,
    seeds: 12,
  },
  {
    where: "wal/journal.ts",
    holds: "a prepare's redundant header is written after it",
    instead: "beside it",
    replica: change.headerBesidePrepare,
    seeds: 12,
  },
  {
    where: "wal/journal.ts",
    holds: "a header joins the image of its sector when its prepare is durable",
    instead: "when it is submitted",
    replica: change.headerPutEarly,
    seeds: 12,
  },
  {
    where: "wal/journal.ts",
    holds: "one write per slot at a time",
    instead: "any number",
    replica: change.slotsShared,
    seeds: 3,
    redundant: "two ops of one slot are a ring apart, and the pipeline is shorter",
  },
  {
    where: "wal/journal.ts",
    holds: "a slot is overwritten when a durable checkpoint covers its op",
    instead: "at once",
    replica: change.anySlot,
    slow: slowSuperblock,
    load: hasty,
    seeds: 3,
    redundant: twoIntervals,
  },
  {
    where: "consensus/checkpointer.ts",
    holds: "the journal hears of a checkpoint when it is durable",
    instead: "when it is frozen",
    replica: change.journalHearsAtFreeze,
    slow: slowSuperblock,
    load: hasty,
    seeds: 3,
    redundant: twoIntervals,
  },
  {
    where: "consensus/checkpointer.ts",
    holds: "a freeze waits for the checkpoint before",
    instead: "it is left out, and ops go on",
    replica: change.freezeLeftOut,
    slow: slowSuperblock,
    load: hasty,
    seeds: 20,
  },
  {
    where: "both",
    holds: "slots are reused, and freezes begin, after a checkpoint is durable",
    instead: "at once, and a freeze that would have to wait is left out",
    replica: (parts) => {
      change.anySlot(parts);
      change.freezeLeftOut(parts);
    },
    slow: slowSuperblock,
    load: hasty,
    seeds: 20,
  },
];

const start: readonly Point[] = [
  {
    where: "wal/journal-restore.ts",
    holds: "what recovery read is synced before anything is acknowledged on it",
    instead: "not synced",
    io: [weak("restore: sync", "dropped")],
    load: kills,
    seeds: 40,
  },
  {
    where: "wal/journal-restore.ts",
    holds: "recovery waits for that sync",
    instead: "it goes on meanwhile",
    io: [weak("restore: sync", "early")],
    load: kills,
    seeds: 40,
  },
  {
    where: "wal/journal-restore.ts",
    holds: "header sectors are durable before slots are cleared",
    instead: "volatile",
    io: [weak("restore: header", "undurable")],
    seeds: 60,
    load: repairs,
  },
  {
    where: "wal/journal-restore.ts",
    holds: "headers are written before slots are cleared",
    instead: "at any time",
    io: [weak("restore: header", "late")],
    seeds: 60,
    load: repairs,
  },
  {
    where: "wal/journal-restore.ts",
    holds: "slots are cleared durably",
    instead: "volatile",
    io: [weak("restore: slot", "undurable")],
    load: repairs,
    seeds: 12,
    redundant: slotsOrView,
  },
  {
    where: "wal/journal-restore.ts",
    holds: "slots are cleared before the replica serves",
    instead: "at any time",
    io: [weak("restore: slot", "late")],
    load: repairs,
    seeds: 12,
    redundant: slotsOrView,
  },
  {
    where: "consensus/open-replica.ts",
    holds: "the view rises at each start",
    instead: "it stays",
    replica: change.viewStays,
    load: repairs,
    seeds: 12,
    redundant: slotsOrView,
  },
  {
    where: "consensus/open-replica.ts",
    holds: "the risen view is durable before the replica serves",
    instead: "it is written meanwhile",
    replica: change.viewNotAwaited,
    load: repairs,
    seeds: 12,
    redundant: slotsOrView,
  },
  {
    where: "both",
    holds: "slots are cleared durably, and the view rises",
    instead: "volatile, and it stays",
    io: [weak("restore: slot", "undurable")],
    replica: change.viewStays,
    seeds: 60,
    load: repairs,
  },
];

const superblock: readonly Point[] = [
  {
    where: "wal/superblock.ts",
    holds: "the copies of a checkpoint's superblock are durable",
    instead: "volatile",
    io: [weak("superblock: checkpoint", "undurable")],
    seeds: 20,
  },
  {
    where: "wal/superblock.ts",
    holds: "the copies of a checkpoint's superblock are written one by one",
    instead: "together",
    io: [weak("superblock: checkpoint", "late", notLastCopy)],
    seeds: 60,
  },
  {
    where: "consensus/checkpointer.ts",
    holds: "a checkpoint counts when its superblock is durable",
    instead: "when it begins to be written",
    replica: change.superblockNotAwaited,
    slow: slowSuperblock,
    load: hasty,
    seeds: 20,
  },
  {
    where: "wal/superblock.ts",
    holds: "the copies of a view's superblock are durable",
    instead: "volatile",
    io: [weak("superblock: view", "undurable")],
    load: repairs,
    seeds: 12,
    redundant:
      "the next update follows a sync (the grid's) or a start, which writes the copies again; " +
      `that the view itself may be lost is harmless, since ${slotsOrView}`,
  },
  {
    where: "wal/superblock.ts",
    holds: "the copies of a view's superblock are written one by one",
    instead: "together",
    io: [weak("superblock: view", "late", notLastCopy)],
    load: short,
    seeds: 60,
  },
  {
    where: "wal/superblock.ts",
    holds: "copies that were left behind are rewritten durably at a start",
    instead: "volatile",
    io: [weak("superblock: rewrite", "undurable")],
    load: repairs,
    seeds: 12,
    redundant: "recovery syncs the file before the view is raised, which is the next update",
  },
  {
    where: "both",
    holds: "copies that were left behind are durable before the next update",
    instead: "volatile, and recovery's sync is left out",
    io: [weak("superblock: rewrite", "undurable"), weak("restore: sync", "dropped")],
    load: repairs,
    seeds: 100,
  },
  {
    where: "wal/superblock.ts",
    holds: "copies that were left behind are rewritten one by one",
    instead: "together",
    io: [weak("superblock: rewrite", "late")],
    load: repairs,
    seeds: 12,
    redundant:
      "the two copies that agree are not touched, and the next update waits until all were read " +
      "back",
  },
];

const grid: readonly Point[] = [
  {
    where: "storage/checkpoint-writer.ts",
    holds: "the grid is synced before the superblock moves",
    instead: "not synced",
    io: [weak("grid: sync", "dropped")],
    seeds: 12,
  },
  {
    where: "storage/checkpoint-writer.ts",
    holds: "the superblock moves after the grid's sync",
    instead: "beside it",
    io: [weak("grid: sync", "early")],
    seeds: 60,
  },
  {
    where: "storage/grid.ts",
    holds: "the grid's sync begins after the blocks are written",
    instead: "beside them",
    io: [weak("block", "late")],
    seeds: 12,
  },
  {
    where: "storage/checkpoint-writer.ts",
    holds: "the sync waits for every step of the write-out",
    instead: "for its start",
    replica: change.stepsNotAwaited,
    seeds: 20,
  },
  {
    where: "storage/checkpoint-writer.ts",
    holds: "the sync waits for row blocks sealed before the freeze",
    instead: "for none",
    replica: change.sealedNotAwaited,
    slow: slowRows,
    load: manyRows,
    seeds: 24,
  },
  {
    where: "storage/free-set.ts",
    holds: "a block let go is needed by the checkpoint before until the next one is durable",
    instead: "free after the freeze",
    replica: change.blocksReusedEarly,
    seeds: 24,
    load: manyRows,
    slow: slowSuperblock,
  },
  {
    where: "storage/free-set.ts",
    holds: "a block let go is not free before the next freeze",
    instead: "free at once",
    replica: change.blocksFreeAtOnce,
    seeds: 20,
  },
  {
    where: "storage/paged-table.ts",
    holds: "a frozen page is copied before it changes",
    instead: "changed where it is",
    replica: change.frozenPagesChange,
    seeds: 20,
  },
  {
    where: "storage/checkpoint-writer.ts",
    holds: "a partial block is copied at the freeze",
    instead: "taken when it is written",
    replica: change.tailsTakenLate,
    load: manyRows,
    seeds: 24,
  },
  {
    where: "consensus/checkpointer.ts",
    holds: "the session table is copied at the freeze",
    instead: "taken when it is written",
    replica: change.sessionsTakenLate,
    seeds: 20,
  },
  {
    where: "consensus/checkpointer.ts",
    holds: "the ledger's state is copied at the freeze",
    instead: "taken when it is written",
    replica: change.ledgerTakenLate,
    seeds: 3,
    redundant:
      "it says when the next pulse is due, and replaying the ops up to that moment ends with the same",
  },
];

const replies: readonly Point[] = [
  {
    where: "consensus/checkpointer.ts",
    holds: "replies of sessions that moved are written at each checkpoint",
    instead: "not written",
    replica: change.repliesNotWritten,
    seeds: 20,
  },
  {
    where: "consensus/checkpointer.ts",
    holds: "kept replies are synced before the superblock moves",
    instead: "not by themselves",
    io: [weak("replies: sync", "dropped")],
    seeds: 24,
  },
  {
    where: "consensus/checkpointer.ts",
    holds: "the superblock moves after the sync of the replies",
    instead: "beside it",
    io: [weak("replies: sync", "early")],
    seeds: 60,
  },
  {
    where: "consensus/checkpointer.ts",
    holds: "the sync of the replies begins after they are written",
    instead: "beside them",
    io: [weak("reply", "late")],
    seeds: 40,
  },
];

export const crashPoints: readonly Point[] = [
  ...journal,
  ...start,
  ...superblock,
  ...grid,
  ...replies,
];

/**
 * A redundant header proves that a prepare was whole: what no crash alone needs. These trials also
 * flip a bit of the newest prepare whose header had landed before the crash.
 */
export const headerPoints: readonly Point[] = [
  {
    where: "wal/header-ring.ts",
    holds: "a header sector is written durably",
    instead: "volatile",
    io: [weak("header", "undurable")],
    seeds: 12,
  },
  {
    where: "wal/header-ring.ts",
    holds: "a header has landed when its sector is written",
    instead: "when its write is submitted",
    io: [weak("header", "late")],
    seeds: 12,
  },
  {
    where: "wal/header-ring.ts",
    holds: "writes of one header sector follow each other",
    instead: "two at a time",
    replica: change.headerSectorsOverlap,
    seeds: 24,
  },
];

/**
 * Trials that leave the replica alone for two ticks, cut the power, and flip a bit of the newest
 * prepare.
 */
export const idlePoints: readonly Point[] = [
  {
    where: "wal/header-ring.ts",
    holds: "a header waits for two ticks at most",
    instead: "until its sector is full",
    replica: change.ticksNotHeard,
    seeds: 24,
  },
  {
    where: "wal/header-ring.ts",
    holds: "the wait ends two ticks after a sector's first header",
    instead: "after its latest",
    replica: change.waitBeginsAnew,
    seeds: 12,
    redundant:
      "each header that begins the wait anew is of a prepare that vouches for those before",
  },
  {
    where: "wal/header-ring.ts",
    holds: "the last header of a sector ends the wait",
    instead: "it waits like the others",
    replica: change.lastHeaderWaits,
    seeds: 12,
    redundant: "the second tick ends it all the same",
  },
];

/** Trials that stop the replica, cut the power, and flip a bit of the newest prepare. */
export const stopPoints: readonly Point[] = [
  {
    where: "wal/journal.ts",
    holds: "a clean stop waits for all headers",
    instead: "for none",
    replica: change.stopNotAwaited,
    seeds: 24,
  },
  {
    where: "wal/journal.ts",
    holds: "a clean stop ends the wait of headers",
    instead: "they wait on",
    replica: change.stopEndsNoWait,
    seeds: 24,
  },
  {
    where: "wal/journal.ts",
    holds: "headers of prepares that land during a clean stop do not wait",
    instead: "they wait",
    replica: change.waitDuringStop,
    seeds: 24,
  },
  {
    where: "wal/header-ring.ts",
    holds: "a header that waits is not taken for written",
    instead: "it is",
    replica: change.waitingTakenForWritten,
    seeds: 12,
    redundant: "a clean stop lets none wait",
  },
  {
    where: "both",
    holds: "a clean stop ends the wait, and a header that waits is not taken for written",
    instead: "they wait on, and it is",
    replica: (parts) => {
      change.stopEndsNoWait(parts);
      change.waitingTakenForWritten(parts);
    },
    seeds: 24,
  },
  {
    where: "wal/journal.ts",
    holds: "a clean stop syncs the file",
    instead: "not synced",
    io: [weak("journal: flush", "dropped")],
    seeds: 3,
    redundant: "prepares and headers are written durably, each by itself",
  },
];

/** Formatting, over the file of an earlier replica of the same cluster. */
export const formatPoints: readonly Point[] = [
  {
    where: "wal/format.ts",
    holds: "the superblock zone is cleared durably before all else",
    instead: "volatile",
    io: [weak("format: clear", "undurable")],
    seeds: 60,
  },
  {
    where: "wal/format.ts",
    holds: "the superblock zone is cleared before slots are written",
    instead: "beside them",
    io: [weak("format: clear", "late")],
    seeds: 60,
  },
  {
    where: "wal/format.ts",
    holds: "slots are written before the sync",
    instead: "beside it",
    io: [weak("format: slots", "late")],
    seeds: 24,
  },
  {
    where: "wal/format.ts",
    holds: "the header ring is written before the sync",
    instead: "beside it",
    io: [weak("format: header ring", "late")],
    seeds: 24,
  },
  {
    where: "wal/format.ts",
    holds: "all is synced before the superblock is written",
    instead: "not synced",
    io: [weak("format: sync", "dropped")],
    seeds: 24,
  },
  {
    where: "wal/format.ts",
    holds: "the superblock is written after the sync",
    instead: "beside it",
    io: [weak("format: sync", "early")],
    seeds: 60,
  },
  {
    where: "wal/format.ts",
    holds: "the first superblock's copies are durable",
    instead: "volatile",
    io: [weak("format: superblock", "undurable")],
    seeds: 24,
  },
];
