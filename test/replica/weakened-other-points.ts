/**
 * Points that a crash alone does not show: what headers prove, what an idle replica and a clean stop have
 * finished, and what a new file must be.
 */
import { type Point, weak } from "./weakened-point.ts";
import * as change from "./weakened-replica.ts";

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
