/**
 * What a seed is like: sizes of the cluster and its memory, the network, the disks, which faults
 * happen and how often. Every seed draws its own mix, since faults that always come together hide
 * each other's bugs.
 */
import { quorumsFor } from "../../src/consensus/quorums.ts";
import { blockSize, pageSize, replicasMax } from "../../src/core/limits.ts";
import type { Prng } from "../../src/core/prng.ts";
import type { ChecksumImplementation } from "../../src/native/checksum.ts";
import { portableRunKernels, runKernels } from "../../src/native/sorted-runs/kernels.ts";
import { filterWords, type RunKernels } from "../../src/native/sorted-runs/run-kernels.ts";
import type { MemoryOptions } from "../../src/server/compose.ts";
import type { RunConstants, RunOptions } from "../../src/storage/runs/options.ts";
import { type FormatPreset, formatVersion } from "../../src/wal/data-file.ts";
import type { DiskTiming } from "./disk.ts";
import type { LoadOptions } from "./interfaces.ts";
import type { NetworkOptions } from "./network.ts";
import { logarithmicRange, Stream, stream } from "./streams.ts";

/** Mean time between faults of a kind, over the whole cluster. Microseconds; 0: never. */
export interface FaultOptions {
  readonly crashUs: number;
  /** Share of the crashes that cut the power; in others the process alone dies. */
  readonly powerShare: number;
  /** A replica dies at a delicate moment: while it writes, or after it has sent something. */
  readonly ambushUs: number;
  /** All at once lose their power. */
  readonly outageUs: number;
  readonly downMeanUs: number;
  /** Share of the starts after which a replica dies at once again. */
  readonly relapseShare: number;
  /** Replicas that may be down or paused at a time, outages aside. */
  readonly downMax: number;
  readonly pauseUs: number;
  readonly pauseMeanUs: number;
  readonly partitionUs: number;
  readonly partitionMeanUs: number;
  readonly clogUs: number;
  readonly clogMeanUs: number;
  readonly clockJumpUs: number;
  readonly clockJumpMaxUs: number;
  readonly slowDiskUs: number;
  readonly rotUs: number;
  readonly latentUs: number;
  /** Share of the crashes after which the newest prepare is damaged. */
  readonly tailRotShare: number;
  readonly misdirectedReadUs: number;
  readonly misdirectedWriteUs: number;
  readonly superblockUs: number;
  readonly diskErrorUs: number;
  readonly diskFullUs: number;
  /** A whole disk is lost, and replaced by an empty one that `pacioli recover` has formatted. */
  readonly diskLossUs: number;
  /** Connections are reset, where there are byte streams. */
  readonly resetUs: number;
}

export interface ReplicaOptions {
  readonly memory: MemoryOptions;
  /** Who computes on sorted runs, and the memory for it. */
  readonly runs: Pick<RunOptions, "kernels" | "writeBlocks">;
  readonly grouping: boolean;
  readonly checksum: ChecksumImplementation;
  readonly turnUs: number;
  readonly driftPpm: number;
  readonly skewUs: number;
  readonly timing: DiskTiming;
}

export interface Swarm {
  readonly replicaCount: number;
  readonly standbys: number;
  readonly preset: FormatPreset;
  /** Part of the format, as the preset is. */
  readonly runs: Omit<RunConstants, "barOps"> & { readonly crowdedFilters: boolean };
  readonly load: LoadOptions;
  /** Ops that the log must reach before the seed is content: twice around the journal. */
  readonly opsMin: number;
  /** The safety phase takes at most so long. Microseconds. */
  readonly safetyUs: number;
  readonly network: NetworkOptions;
  /** The real message bus over simulated byte streams, instead of packets. */
  readonly streams: boolean;
  readonly faults: FaultOptions;
  readonly replicas: readonly ReplicaOptions[];
}

export interface SwarmOverrides {
  readonly replicas?: number;
  readonly standbys?: number;
  /** No faults at all. */
  readonly calm?: boolean;
  readonly streams?: boolean;
  /** Of all replicas. */
  readonly checksum?: ChecksumImplementation;
  /** Kinds that are left out, by the names of `faultNames`; everything else is drawn as ever. */
  readonly without?: readonly string[];
}

/** Kinds of faults by name: the field of `FaultOptions`, or of `NetworkOptions`, that rules them. */
export const faultNames = {
  crash: "crashUs",
  ambush: "ambushUs",
  outage: "outageUs",
  relapse: "relapseShare",
  pause: "pauseUs",
  partition: "partitionUs",
  clog: "clogUs",
  "clock-jump": "clockJumpUs",
  "slow-disk": "slowDiskUs",
  rot: "rotUs",
  latent: "latentUs",
  "tail-rot": "tailRotShare",
  "misdirected-read": "misdirectedReadUs",
  "misdirected-write": "misdirectedWriteUs",
  superblock: "superblockUs",
  "disk-error": "diskErrorUs",
  "disk-full": "diskFullUs",
  "disk-loss": "diskLossUs",
  reset: "resetUs",
  loss: "loss",
  duplication: "duplication",
  reordering: "reordering",
  corruption: "corruption",
} as const;

/** Sets the fields of the kinds that are left out to 0. */
function leaveOut<T extends object>(options: T, without: readonly string[]): T {
  const fields = without.map((name) => faultNames[name as keyof typeof faultNames] as string);
  const entries = Object.entries(options).map(([field, value]) => [
    field,
    fields.includes(field) ? 0 : value,
  ]);
  return Object.fromEntries(entries) as T;
}

/** Slots, checkpoint interval and bar: small enough to wrap often, in the relations asserted. */
const journals = [
  { slotCount: 32, checkpointInterval: 4, barOps: 2 },
  { slotCount: 32, checkpointInterval: 6, barOps: 2 },
  { slotCount: 48, checkpointInterval: 12, barOps: 4 },
  { slotCount: 64, checkpointInterval: 20, barOps: 4 },
] as const;

/** Few, so that formatted disks are used again. */
const clientsMaxes = [2, 3, 5, 8] as const;

const second = 1_000_000;

/** Index of the stream that draws standbys: beyond those of the replicas. */
const standbyStream = 100;
/** And of the one that draws the constants of sorted runs. */
const runsStream = 101;

/** Most clusters have none. */
function drawStandbys(seed: bigint, replicaCount: number): number {
  const random = stream(seed, Stream.swarm, standbyStream);
  return replicaCount === 1 || random.chance(0.75) ? 0 : random.range(1, 2);
}

/**
 * Small, so that entries are cut and merged through several levels within a seed. What a seed writes
 * grows with its requests, and so do the blocks: their number is bounded by the grid.
 */
function drawRuns(random: Prng, eventsMax: number): Swarm["runs"] {
  const few = Math.max(2, Math.ceil(eventsMax / 2));
  const many = 16 + 4 * eventsMax;
  return {
    cutRows: logarithmicRange(random, 4, many),
    blockEntriesShort: logarithmicRange(random, few, many),
    blockEntriesLong: logarithmicRange(random, few, many),
    crowdedFilters: random.chance(0.5),
  };
}

/**
 * The same kernels with filters that let half of all ids pass: as they are, so small blocks have
 * filters that are never mistaken.
 */
export function crowdFilters(kernels: RunKernels): RunKernels {
  const { sortEntries, mergeEntries, probeFilter, probeRuns, searchEntries } = kernels;
  return {
    sortEntries,
    mergeEntries,
    probeFilter,
    probeRuns,
    searchEntries,
    buildFilter(filters, filterAt, ...rest) {
      kernels.buildFilter(filters, filterAt, ...rest);
      filters.fill(0xffff_ffff, filterAt, filterAt + filterWords / 2);
    },
  };
}

export function drawSwarm(seed: bigint, overrides: SwarmOverrides): Swarm {
  const random = stream(seed, Stream.swarm);
  const drawnReplicas = random.range(1, replicasMax);
  const replicaCount = overrides.replicas ?? drawnReplicas;
  const standbys = overrides.standbys ?? drawStandbys(seed, replicaCount);
  const journal = journals[random.below(journals.length)]!;
  const clientsMax = clientsMaxes[random.below(clientsMaxes.length)]!;
  const opsMin = 2 * journal.slotCount + random.below(2 * journal.slotCount);

  const calm = overrides.calm === true;
  const without = overrides.without ?? [];
  const streamsDrawn = stream(seed, Stream.socket).chance(0.2);
  const load = drawLoad(random, clientsMax);
  const replicas: ReplicaOptions[] = [];
  for (let index = 0; index < replicaCount + standbys; index += 1) {
    const drawn = drawReplica(stream(seed, Stream.swarm, index + 1), load.eventsMax);
    replicas.push({ ...drawn, checksum: overrides.checksum ?? drawn.checksum });
  }
  return {
    replicaCount,
    standbys,
    streams: overrides.streams ?? streamsDrawn,
    preset: { ...journal, clientsMax, blockSize, pageSize, formatVersion },
    runs: drawRuns(stream(seed, Stream.swarm, runsStream), load.eventsMax),
    load,
    opsMin,
    safetyUs: random.range(60, 600) * second,
    network: leaveOut(drawNetwork(random, calm), without),
    faults: leaveOut(calm ? noFaults : drawFaults(random, replicaCount), without),
    replicas,
  };
}

function drawLoad(random: Prng, clientsMax: number): LoadOptions {
  return {
    clientsMax,
    clients: clientsMax + (random.chance(0.3) ? random.range(1, 2) : 0),
    accounts: random.range(2, 40),
    eventsMax: logarithmicRange(random, 1, random.chance(0.1) ? 400 : 40),
    thinkUs: logarithmicRange(random, second / 2, 30 * second),
    burst: random.chance(0.3) ? 0 : random.range(1, 9) / 10,
    retryUs: logarithmicRange(random, second / 4, 4 * second),
  };
}

function drawReplica(random: Prng, eventsMax: number): ReplicaOptions {
  const ssd = random.chance(0.7);
  const unit = ssd ? 100 : 5000;
  return {
    memory: {
      cacheGridBytes: random.below(4) * 512 * 1024,
      recentBlocks: random.below(3) * 4,
      pageCopyBytes: 1024 * 1024,
      messagesLarge: random.range(12, 16),
      repliesLarge: random.range(2, 3),
      messagesSmall: random.range(48, 96),
      // Small, since all memory is zeroed at every start. An op's rows are few where requests are small.
      opRowsMax: eventsMax > 40 ? 8192 : 2048,
      slabSizeLog2: 12,
    },
    runs: {
      kernels: random.chance(0.5) ? portableRunKernels : runKernels(),
      writeBlocks: logarithmicRange(random, 8, 96),
    },
    grouping: random.chance(0.6),
    checksum: random.chance(0.02) ? "portable" : "native",
    turnUs: random.range(1, 300),
    driftPpm: random.range(-200, 200),
    skewUs: random.range(-second, second),
    timing: {
      readUs: logarithmicRange(random, unit, unit * 4),
      writeUs: logarithmicRange(random, unit, unit * 4),
      syncUs: logarithmicRange(random, unit, unit * 20),
    },
  };
}

function drawNetwork(random: Prng, calm: boolean): NetworkOptions {
  const delayMinUs = logarithmicRange(random, 50, 20_000);
  const some = (probability: number, max: number): number =>
    calm || !random.chance(probability) ? 0 : random.range(1, max) / 1000;
  return {
    delayMinUs,
    delayMeanUs: logarithmicRange(random, 20, 20_000),
    loss: some(0.5, random.chance(0.2) ? 300 : 50),
    duplication: some(0.5, 50),
    reordering: some(0.5, 200),
    corruption: some(0.3, 10),
    linkMessagesMax: random.range(8, 64),
  };
}

const noFaults: FaultOptions = {
  crashUs: 0,
  powerShare: 0,
  ambushUs: 0,
  outageUs: 0,
  downMeanUs: second,
  relapseShare: 0,
  downMax: 0,
  pauseUs: 0,
  pauseMeanUs: second,
  partitionUs: 0,
  partitionMeanUs: second,
  clogUs: 0,
  clogMeanUs: second,
  clockJumpUs: 0,
  clockJumpMaxUs: 0,
  slowDiskUs: 0,
  rotUs: 0,
  latentUs: 0,
  tailRotShare: 0,
  misdirectedReadUs: 0,
  misdirectedWriteUs: 0,
  superblockUs: 0,
  diskErrorUs: 0,
  diskFullUs: 0,
  diskLossUs: 0,
  resetUs: 0,
};

function drawFaults(random: Prng, replicaCount: number): FaultOptions {
  /** Mean time between two, or never. */
  const every = (probability: number, minSeconds: number, maxSeconds: number): number => {
    const drawn = logarithmicRange(random, minSeconds * second, maxSeconds * second);
    return random.chance(probability) ? drawn : 0;
  };
  const spare = replicaCount - quorumsFor(replicaCount).viewChange;
  return {
    crashUs: every(0.7, 3, 40),
    powerShare: random.range(0, 4) / 4,
    ambushUs: every(0.6, 0.5, 10),
    outageUs: every(0.3, 20, 200),
    downMeanUs: logarithmicRange(random, second / 10, 60 * second),
    relapseShare: random.chance(0.5) ? 0 : random.range(1, 5) / 10,
    downMax: random.chance(0.3) ? replicaCount : Math.max(1, spare),
    pauseUs: every(0.4, 3, 40),
    pauseMeanUs: logarithmicRange(random, second / 100, 10 * second),
    partitionUs: every(0.4, 5, 60),
    partitionMeanUs: logarithmicRange(random, second / 10, 90 * second),
    clogUs: every(0.4, 2, 30),
    clogMeanUs: logarithmicRange(random, second / 100, 10 * second),
    clockJumpUs: every(0.3, 5, 60),
    clockJumpMaxUs: logarithmicRange(random, second / 1000, 3600 * second),
    slowDiskUs: every(0.3, 5, 60),
    rotUs: every(0.4, 2, 20),
    latentUs: every(0.4, 2, 20),
    tailRotShare: random.chance(0.6) ? 0 : random.range(1, 5) / 10,
    misdirectedReadUs: every(0.3, 3, 30),
    misdirectedWriteUs: every(0.3, 5, 60),
    superblockUs: every(0.3, 5, 60),
    diskErrorUs: every(0.3, 10, 100),
    diskFullUs: every(0.2, 20, 200),
    diskLossUs: every(0.3, 10, 100),
    resetUs: every(0.5, 1, 20),
  };
}
