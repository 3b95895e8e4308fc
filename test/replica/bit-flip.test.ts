/**
 * One bit flips in the file of a stopped replica, in any byte. `inspect` names the place. A start
 * refuses and names it too; or it heals the place; or what it serves is right in every query and
 * every repeated reply, until a request needs the place: then it stops, and names it. Bytes that nobody reads are tried as well: `file-map.ts`
 * says which they are, and why.
 *
 * PACIOLI_TABLE=1 prints how many flips each kind of place took.
 */
import { afterAll, describe, expect, test } from "vitest";
import type { ReplicaParts } from "../../src/consensus/open-replica.ts";
import { sectorSize } from "../../src/core/limits.ts";
import { Prng } from "../../src/core/prng.ts";
import type { BlockRequest } from "../../src/storage/block-reader.ts";
import { blockName } from "../../src/storage/format.ts";
import { IntegrityCheck } from "../../src/storage/integrity-check.ts";
import { Scrubber } from "../../src/storage/scrubber.ts";
import { DataFileLayout } from "../../src/wal/data-file.ts";
import { inspectSuperblock, verifyDataFile } from "../../src/wal/inspect.ts";
import { encodeArray, idCodec } from "../reference/codec.ts";
import { encodeRequest, executeRequest, Operation } from "../reference/operations.ts";
import type { MemoryFileIo } from "../wal/memory-file-io.ts";
import { CrashRun } from "./crash-run.ts";
import {
  blockKindNames,
  blocksOf,
  deadKinds,
  type Fate,
  mapFile,
  type Region,
  readerOf,
} from "./file-map.ts";
import { Harness, TestTime, tinyFormat, tinyRuns } from "./harness.ts";
import { JudgementError } from "./judge.ts";
import { Log } from "./log.ts";
import { ReusedMemory, ReusingIo } from "./reused-memory.ts";

/** Larger blocks than in crash tests: each of them is flipped, and read for every flip. */
const runs = { ...tinyRuns, cutRows: 300, blockEntriesShort: 600, blockEntriesLong: 400 };

const reused = new ReusedMemory();
const layout = new DataFileLayout(tinyFormat);

/** A file at rest, and what a replica must make of it. */
class Specimen {
  readonly image: MemoryFileIo;
  readonly regions: readonly Region[];
  readonly opLast: number;
  readonly checkpointOp: number;
  private readonly run: CrashRun;

  /**
   * @param rounds - Of requests, before a clean stop.
   * @param last - Clients, by their place, that then ask for something, one after the other.
   */
  constructor(seed: number, rounds: number, eventsMax: number, last: readonly number[]) {
    let image: MemoryFileIo | null = null;
    this.run = new CrashRun({
      seed,
      crashes: 0,
      roundsLast: rounds,
      eventsMax,
      runs,
      wrap: (io) => {
        image = io;
        return Object.assign(io, { beforeCrash: () => {} });
      },
    });
    const harness = this.run.run();
    this.ask(harness, eventsMax, last);
    harness.stop();
    this.image = image!;
    this.opLast = harness.replica.commitMin;
    this.checkpointOp = harness.parts.superblock.checkpointOp;
    const blocks: BlockRequest[] = [];
    const readAtStart = new Set<number>();
    const opened = this.start(this.image.clone(seed), ({ storage }) => {
      const { grid } = storage;
      const read = grid.read.bind(grid);
      grid.read = (completion, buffer, bufferAt, address) => {
        readAtStart.add(address);
        read(completion, buffer, bufferAt, address);
      };
      // What the checkpoint refers to, before replay goes beyond it.
      const open = storage.open.bind(storage);
      storage.open = (root, onDone) => {
        open(root, (error) => {
          blocks.push(...blocksOf(storage.state));
          onDone(error);
        });
      };
    });
    expect(opened.open()).toBe(true);
    this.regions = mapFile(this.image, opened.parts, blocks, readAtStart);
  }

  private ask(harness: Harness, events: number, clients: readonly number[]): void {
    const { judge, workload } = this.run;
    for (const index of clients) {
      const { operation, body } = workload.createTransfers(events);
      harness.deliver(this.run.clients[index]!.request(operation, body));
      harness.settle();
      judge.takeReplies(harness, this.run.clients);
    }
    judge.verify(harness);
  }

  flipped(at: number, bit: number): MemoryFileIo {
    const disk = this.image.clone(at);
    disk.flip(at, bit);
    return disk;
  }

  /** A replica over the disk, not opened; it prepares nothing by itself. */
  start(disk: MemoryFileIo, onComposed: (parts: ReplicaParts) => void = () => {}): Harness {
    return new Harness(disk, new Log(), new TestTime(), {
      reused,
      runs,
      onComposed: (parts) => {
        parts.stateMachine.pulseDue = () => false;
        onComposed(parts);
      },
    });
  }

  /** An open replica at rest. */
  openClone(): { readonly harness: Harness; readonly disk: MemoryFileIo } {
    const disk = this.image.clone(1);
    const harness = this.start(disk);
    expect(harness.open()).toBe(true);
    harness.settle();
    return { harness, disk };
  }

  /**
   * Asks an open replica for everything: false when it stopped instead of answering. Throws if an
   * answer is wrong.
   */
  served(harness: Harness): boolean {
    expect(harness.replica.commitMin).toBe(this.opLast);
    try {
      this.run.judge.compareState(harness);
      this.run.judge.verifyRepeats(harness, this.run.clients);
      this.compareLookups(harness);
    } catch (error) {
      if (error instanceof JudgementError || harness.fatal === null) throw error;
      expect(String(error)).toContain(harness.fatal);
    }
    return harness.fatal === null;
  }

  /** Looks every id up that a transfer may have. */
  private compareLookups(harness: Harness): void {
    const { judge, workload } = this.run;
    const ids = Array.from({ length: workload["nextTransfer"] }, (_, index) => BigInt(index));
    for (let from = 0; from < ids.length; from += lookupMax) {
      const events = encodeArray(idCodec, ids.slice(from, from + lookupMax));
      const body = encodeRequest(Operation.lookupTransfers, [events]);
      const found = harness.query(Operation.lookupTransfers, body);
      const expected = executeRequest(judge.state.reference, Operation.lookupTransfers, body, 0n);
      if (Buffer.compare(found, expected) !== 0) throw new JudgementError("transfers by id differ");
    }
  }
}

/** Ids that are looked up at a time. */
const lookupMax = 4000;

/** What `inspect integrity` says of the file: the names of all damaged places. */
function inspect(disk: MemoryFileIo): string[] {
  return verifyDataFile(readerOf(disk)).map(({ place }) => place);
}

/** The same for the grid. */
function inspectGrid(disk: MemoryFileIo): string[] {
  reused.begin();
  const { current } = inspectSuperblock(readerOf(disk));
  const check = new IntegrityCheck(
    {
      io: new ReusingIo(disk, reused),
      file: 0,
      gridAt: layout.gridAt,
      gridBlocksMax: Math.floor((disk.sizeBytes - layout.gridAt) / layout.blockSize),
      cluster: layout.options.cluster,
      runs: { ...runs, barOps: layout.options.barOps },
    },
    current!.storageRoot,
  );
  let names: string[] | null = null;
  check.run(
    () => {},
    ({ damaged, problems }) => {
      names = [...damaged.map(({ name }) => name), ...problems];
    },
  );
  disk.run();
  return names!;
}

/** Tries one flip; throws unless the region's fate is what follows. */
function tryFlip(specimen: Specimen, region: Region, at: number, bit: number): void {
  const { fate, place } = region;
  const disk = specimen.flipped(at, bit);
  const names = at < layout.gridAt ? inspect(disk) : inspectGrid(disk);
  expect(names).toEqual(fate === "dead" ? [] : [place]);
  const harness = specimen.start(disk);
  if (harness.open()) {
    expect(fate).not.toBe("refuses");
    const served = specimen.served(harness);
    if (fate !== "stops") expect(served).toBe(true);
    else expect(harness.fatal ?? "served").toContain(place);
    if (fate === "heals") expect(inspect(disk)).toEqual([]);
  } else {
    expect(fate).toBe("refuses");
    expect((harness.error ?? harness.fatal)?.toLowerCase()).toContain(place.toLowerCase());
  }
}

/** Flips of one kind of region. */
interface Tally {
  readonly fate: Fate;
  readonly bytes: number;
  flips: number;
}

const tallies = new Map<string, Tally>();

/** How many places of each region of a kind are tried: of its edges, and anywhere in it. */
type Effort = readonly [kind: string, edgesMax: number, anywhere: number];

function tryKinds(specimen: Specimen, efforts: readonly Effort[], random: Prng): void {
  for (const [kind, edgesMax, anywhere] of efforts) {
    const regions = specimen.regions.filter((region) => region.kind === kind);
    const bytes = regions.reduce((sum, { from, to }) => sum + to - from, 0);
    for (const region of regions) {
      const places = new Set([region.from, region.to - 1]);
      const edges = [...region.edges];
      while (edges.length > edgesMax) edges.splice(random.below(edges.length), 1);
      for (const edge of edges) places.add(edge);
      for (let count = 0; count < anywhere; count += 1) {
        places.add(random.range(region.from, region.to - 1));
      }
      for (const at of places) tryFlip(specimen, region, at, random.below(8));
      const tally = tallies.get(kind) ?? { fate: region.fate, bytes, flips: 0 };
      expect(tally.fate).toBe(region.fate);
      tally.flips += places.size;
      tallies.set(kind, tally);
    }
  }
}

const superblock: readonly Effort[] = [["superblock copy", 34, 24]];
const journal: readonly Effort[] = [
  ["redundant header", 2, 2],
  ["prepare in the log", 24, 16],
  ["empty prepare slot", 6, 2],
  ["header of an older prepare", 3, 2],
  ["body of an older prepare", 2, 2],
  ["padding of a prepare", 0, 1],
];
const replies: readonly Effort[] = [
  ["reply that a client may ask for", 24, 24],
  ["reply that the log makes again", 16, 8],
  ["empty reply slot", 2, 6],
  ["padding of a reply", 1, 2],
];
/** Of runs there are many blocks, all alike. */
const grid: readonly Effort[] = blockKindNames.map((kind) =>
  /run|filters/.test(kind) ? [kind, 2, 1] : [kind, 34, 30],
);
const dead: readonly Effort[] = Object.keys(deadKinds).map((kind) => [kind, 1, 1]);
const all = [...superblock, ...journal, ...replies, ...grid, ...dead];

describe("a flipped bit", () => {
  /**
   * With checkpoints, a full journal, and a log above the checkpoint; with replies that nothing but
   * their zone has (three clients fall silent), and with one that the log has as well. The log is
   * too short for the replay to freeze the next checkpoint.
   */
  const old = new Specimen(3, 20, 280, [1, 2, 3, ...Array<number>(12).fill(0), 3]);
  /** A few ops after it was formatted. */
  const young = new Specimen(2, 1, 10, []);
  const random = new Prng(1);

  test("has its place in one region, and regions of every kind are tried", () => {
    const kinds = new Set<string>();
    for (const { regions, image } of [old, young]) {
      let end = 0;
      for (const { kind, fate, from, to } of regions) {
        expect(from).toBe(end);
        end = to;
        kinds.add(kind);
        expect(kind in deadKinds).toBe(fate === "dead");
      }
      expect(end).toBe(image.sizeBytes);
    }
    expect([...kinds].sort()).toEqual(all.map(([kind]) => kind).sort());
    expect(old.opLast).toBe(old.checkpointOp + 5);
    expect(young.checkpointOp).toBe(0);
    const needed = old.regions.filter(({ kind }) => kind === "reply that a client may ask for");
    expect(needed.length).toBeGreaterThanOrEqual(3);
    const rows = old.regions.filter(({ place }) => /\(transfers rows/.test(place));
    expect(rows.length).toBeGreaterThan(0);
    expect(needed.some(({ from, to }) => to - from > sectorSize)).toBe(true);
  });

  test("in a superblock copy is healed", () => tryKinds(old, superblock, random));
  test("in the journal is healed, or the start refuses and names the slot", () => {
    tryKinds(old, journal, random);
  });
  test("in the client replies does no harm, or the start refuses and names the slot", () => {
    tryKinds(old, replies, random);
  });
  test("in the grid makes the start refuse, or stops who reads it, and the block is named", () => {
    tryKinds(old, grid, random);
  });
  test("in bytes that nobody reads does no harm", () => tryKinds(old, dead, random));
  test("in a file that was formatted a moment ago is no different", () => {
    tryKinds(
      young,
      all.map(([kind]) => [kind, 1, 1]),
      random,
    );
  });

  test("was tried often enough", () => {
    let flips = 0;
    for (const tally of tallies.values()) flips += tally.flips;
    expect(flips).toBeGreaterThan(2200);
  });

  test("in the grid of a running replica is found by the scrubber, and never served", () => {
    const { state, grid: blocks } = old.openClone().harness.parts.storage;
    const live = blocksOf(state).filter(({ ref }) => !blocks.isUnwritten(ref[0]!));
    let stopped = 0;
    for (const { ref, type, table, first, count } of live) {
      const address = ref[0]!;
      const name = blockName(address, type, table, first, count);
      for (let flip = 0; flip < 2; flip += 1) {
        const { harness, disk } = old.openClone();
        disk.flip(layout.blockAt(address) + random.below(layout.blockSize), random.below(8));
        expect(scrub(harness, disk)).toEqual([name]);
        if (old.served(harness)) continue;
        expect(harness.fatal).toContain(name);
        stopped += 1;
      }
    }
    const regions = old.regions.filter(({ kind }) => blockKindNames.includes(kind));
    expect(live.length).toBe(regions.length);
    expect(stopped).toBeGreaterThan(0);
  });
});

/** Names of the damaged blocks that a pass over the grid finds. */
function scrub(harness: Harness, disk: MemoryFileIo): string[] {
  const names: string[] = [];
  const scrubber = new Scrubber(harness.parts.storage, ({ name }) => names.push(name));
  while (scrubber.cycles === 0) {
    scrubber.tick();
    disk.run();
  }
  return names;
}

afterAll(() => {
  if (process.env["PACIOLI_TABLE"] === undefined) return;
  const lines = [...tallies].map(([kind, { fate, bytes, flips }]) => {
    return `| ${kind} | ${bytes} | ${flips} | ${fate === "dead" ? `dead: ${deadKinds[kind]}` : fate} |`;
  });
  console.log(["| Place | Bytes | Flips | The start |", ...lines].join("\n"));
});
