/** What a row of the tables of weakened points says, and the loads that bring a replica to a point often. */
import type { ReplicaParts } from "../../src/consensus/open-replica.ts";
import { BlockType, blockLayout } from "../../src/storage/format.ts";
import type { CrashRunOptions } from "./crash-run.ts";
import type { Purpose, Treatment, Weakness } from "./weakened-io.ts";

/** How the replica lives: what brings it to a point often. */
export type Load = Pick<
  CrashRunOptions,
  | "kills"
  | "short"
  | "shortWrites"
  | "quiet"
  | "eventsMax"
  | "journalTicks"
  | "stepsPerTick"
  | "runs"
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

export function weak(purpose: Purpose, treatment: Treatment, only?: Weakness["only"]): Weakness {
  return only === undefined ? { purpose, treatment } : { purpose, treatment, only };
}

/** Most lives end while the replica starts. */
export const short: Load = { short: 0.8 };
/** Half of the crashes kill the process and leave the disk its cache. */
export const kills: Load = { kills: 0.5, short: 0.6 };
/** Nearly all lives end while the replica makes its file whole, and headers land soon. */
export const repairs: Load = { short: 0.9, shortWrites: 8, stepsPerTick: 1 };
/** A disk that takes its time for the superblock, and clients that do not wait for it. */
export const slowSuperblock: readonly Weakness[] = [weak("superblock: checkpoint", "slow")];
export const hasty: Load = { short: 0.2, quiet: 0.05 };
/** Blocks full of rows, which the disk takes its time for. */
export const slowRows: readonly Weakness[] = [
  weak("block", "slow", (_fileAt, words, wordAt) => {
    return words[wordAt + blockLayout.word.type] === BlockType.rows;
  }),
];
/** The same for blocks of sorted runs. */
export const slowRuns: readonly Weakness[] = [
  weak("block", "slow", (_fileAt, words, wordAt) => {
    const type = words[wordAt + blockLayout.word.type];
    return type === BlockType.run || type === BlockType.filter;
  }),
];
export const manyRows: Load = { quiet: 0.05, eventsMax: 150 };
/** Nearly all that is written is rows, and a start reads them all: nothing is cut. */
export const rowsAlone: Load = { ...manyRows, runs: { cutRows: 2 ** 17 } };

export const slotsOrView =
  "a cluster of one tells dead prepares from live ones twice: they are overwritten before it " +
  "serves, and they are of an older view than what follows";

export const twoIntervals =
  "the next freeze waits for the superblock, so ops run at most two intervals and a pipeline " +
  "ahead of it, and formats have more slots than that";
