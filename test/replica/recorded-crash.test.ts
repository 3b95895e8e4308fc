/**
 * A whole replica runs over a real file and a real backend; from the record of what it wrote and
 * synced, images are built that the disk could hold after a crash at any moment (what was durable
 * at that point, and of the rest any sectors), and a replica is started on each. It must hold what
 * had been acknowledged at that point, and nothing that the run's log does not have.
 */
import { describe, expect, test } from "vitest";
import { sectorSize } from "../../src/core/limits.ts";
import { Prng } from "../../src/core/prng.ts";
import type { Io } from "../../src/io/io.ts";
import { PortableIo } from "../../src/io/portable/portable-io.ts";
import { createUringIo } from "../../src/io/uring/uring-io.ts";
import { type CrashImage, CrashImages } from "../io/crash-image.ts";
import { Crash, MemoryFileIo } from "../wal/memory-file-io.ts";
import { Harness, TestTime } from "./harness.ts";
import { JudgementError } from "./judge.ts";
import { Log } from "./log.ts";
import { type RecordedRun, recordedFileSize, recordedRuns, recordRun } from "./recorded-run.ts";
import { ReusedMemory } from "./reused-memory.ts";

/** One replica is started after the other. */
const reused = new ReusedMemory();

/** Images in memory: sectors as the recording has them, padded once and shared. */
class ImageLoader {
  private readonly padded = new Map<string, Uint8Array>();

  load(image: CrashImage, seed: number): MemoryFileIo {
    const sectors = new Map<number, Uint8Array>();
    for (let index = 0; index < image.seen.length; index += 1) {
      const bytes = image.sector(index);
      if (bytes === null) continue;
      sectors.set(
        index,
        bytes.length === sectorSize ? bytes : this.pad(image.seen[index]!, index, bytes),
      );
    }
    return new MemoryFileIo(recordedFileSize, seed, sectors);
  }

  private pad(write: number, index: number, bytes: Uint8Array): Uint8Array {
    const key = `${write}/${index}`;
    let whole = this.padded.get(key);
    if (whole === undefined) {
      whole = new Uint8Array(sectorSize);
      whole.set(bytes);
      this.padded.set(key, whole);
    }
    return whole;
  }
}

interface Figures {
  images: number;
  refusedBeforeFormatted: number;
  crashedAgain: number;
  checkpoints: Set<number>;
  heads: Set<number>;
  replayed: number;
}

class Trial {
  readonly figures: Figures = {
    images: 0,
    refusedBeforeFormatted: 0,
    crashedAgain: 0,
    checkpoints: new Set(),
    heads: new Set(),
    replayed: 0,
  };
  private acknowledged = 0;
  private nextAcknowledgement = 0;

  constructor(
    private readonly run: RecordedRun,
    private readonly random: Prng,
  ) {}

  /** @param crashPoint - Not below that of the call before. */
  judge(io: MemoryFileIo, crashPoint: number): void {
    const { run, figures } = this;
    const { acknowledgements } = run;
    for (; this.nextAcknowledgement < acknowledgements.length; this.nextAcknowledgement += 1) {
      const { op, position } = acknowledgements[this.nextAcknowledgement]!;
      if (position > crashPoint) break;
      this.acknowledged = Math.max(this.acknowledged, op);
    }
    figures.images += 1;
    let disk = io;
    // Some starts are cut short themselves, once or twice.
    while (this.random.chance(0.25)) {
      disk.crashAtWrite = this.random.below(12);
      try {
        this.start(disk).open();
      } catch (error) {
        if (!(error instanceof Crash)) throw error;
        figures.crashedAgain += 1;
      }
      disk = disk.afterCrash(this.random.u32());
    }
    const harness = this.start(disk);
    if (!harness.open()) {
      const why = harness.error ?? harness.fatal ?? "the start hangs";
      if (crashPoint >= run.formattedAt) throw new JudgementError(`crash at ${crashPoint}: ${why}`);
      expect(why).toMatch(/not a Pacioli data file|No two superblock copies agree/);
      figures.refusedBeforeFormatted += 1;
      return;
    }
    this.compare(harness, crashPoint);
  }

  /** Without pulses of its own: they would add ops that the run's log does not have. */
  private start(disk: MemoryFileIo): Harness {
    return new Harness(disk, new Log(), new TestTime(), {
      reused,
      runs: recordedRuns,
      onComposed: ({ stateMachine }) => {
        stateMachine.pulseDue = () => false;
      },
    });
  }

  private compare(harness: Harness, crashPoint: number): void {
    const { run, figures } = this;
    const op = harness.replica.commitMin;
    if (op < this.acknowledged) {
      throw new JudgementError(
        `crash at ${crashPoint}: op ${this.acknowledged} was answered, the log ends at op ${op}`,
      );
    }
    run.judge.compareState(harness);
    run.judge.verifyRepeatsAt(harness, op, run.requests);
    figures.heads.add(op);
    figures.checkpoints.add(harness.parts.superblock.checkpointOp);
    figures.replayed += op - harness.parts.superblock.checkpointOp;
  }
}

/** Crash points all over the run; the formatting gets a small part of them. */
function drawPoints(run: RecordedRun, count: number, random: Prng): number[] {
  const points: number[] = [];
  for (let index = 0; index < count; index += 1) {
    if (index % 25 === 0) points.push(random.below(run.formattedAt + 1));
    else points.push(random.range(run.formattedAt, run.log.position));
  }
  return points.sort((a, b) => a - b);
}

function crashEverywhere(run: RecordedRun, points: number, seed: number): Figures {
  const random = new Prng(seed);
  const images = new CrashImages(run.log, run.file, run.base);
  const loader = new ImageLoader();
  const trial = new Trial(run, random);
  for (const point of drawPoints(run, points, random)) {
    trial.judge(loader.load(images.build(point, random), random.u32()), point);
  }
  return trial.figures;
}

interface Backend {
  readonly name: string;
  /** Null where there is none. */
  readonly make: () => Io | null;
}

const backends: readonly Backend[] = [
  { name: "portable", make: () => new PortableIo() },
  { name: "uring", make: () => createUringIo({ drive: "guest" }).io },
];

/** Where there is no io_uring, the portable backend runs a second time. */
const imagesPerBackend = 550;

describe("what a crash leaves of a recorded run holds all that was acknowledged", () => {
  for (const [index, { name, make }] of backends.entries()) {
    test(`over the ${name} backend`, async () => {
      const io = make() ?? new PortableIo();
      const run = await recordRun(io, { seed: 11 + index, ops: 400, eventsMax: 120 });
      expect(run.opLast).toBeGreaterThan(10 * 32);
      expect(run.checkpointOpLast).toBeGreaterThan(run.opLast - 20);
      const figures = crashEverywhere(run, imagesPerBackend, 21 + index);
      expect(figures.images).toBe(imagesPerBackend);
      expect(figures.checkpoints.size).toBeGreaterThan(40);
      expect(figures.heads.size).toBeGreaterThan(200);
      expect(figures.crashedAgain).toBeGreaterThan(50);
      expect(figures.refusedBeforeFormatted).toBeGreaterThan(0);
    });
  }
});
