/**
 * Proof that each sync and each ordering matters. `weakened-points.ts` lists every point at which
 * the code that keeps the data file waits for the disk or for itself; here each is taken away, and
 * power is cut until the judge of crashes sees it: an acknowledged op is lost, a start is refused,
 * a state is wrong. The same lives with nothing taken away must end without a word.
 *
 * PACIOLI_TABLE=1 prints how many crashes each point took, as docs/internals/crash-tests.md has it.
 */
import { readFileSync } from "node:fs";
import { afterAll, describe, expect, test } from "vitest";
import type { ReplicaParts } from "../../src/consensus/open-replica.ts";
import { InvariantError } from "../../src/core/assert.ts";
import { headerSize } from "../../src/core/limits.ts";
import { Prng } from "../../src/core/prng.ts";
import { DataFileLayout, headersPerSector } from "../../src/wal/data-file.ts";
import { headerMessageSize, headerOp, headerWords, isReserved } from "../../src/wal/headers.ts";
import { Crash, type MemoryFileIo } from "../wal/memory-file-io.ts";
import { CrashRun } from "./crash-run.ts";
import {
  formatMemoryFile,
  formatThrough,
  Harness,
  StoppedError,
  TestTime,
  tinyFormat,
} from "./harness.ts";
import { JudgementError } from "./judge.ts";
import { Log } from "./log.ts";
import { TestClient } from "./test-client.ts";
import { WeakenedIo } from "./weakened-io.ts";
import { formatPoints, headerPoints, idlePoints, stopPoints } from "./weakened-other-points.ts";
import type { Point } from "./weakened-point.ts";
import { crashPoints } from "./weakened-points.ts";

const layout = new DataFileLayout(tinyFormat);

/** What became of one seed. */
interface Outcome {
  /** What the judge said, or null. */
  readonly said: string | null;
  readonly crashes: number;
  /** Operations that were treated otherwise than the contract says. */
  readonly treated: number;
}

type Attempt = (point: Point, seed: number) => Outcome;

function verdict(run: () => void): string | null {
  try {
    run();
    return null;
  } catch (error) {
    // A replica that stops, or finds itself contradicted, is seen as well.
    const seen = [JudgementError, StoppedError, InvariantError].some(
      (kind) => error instanceof kind,
    );
    if (seen) return (error as Error).message;
    throw error;
  }
}

/** Stands between a point's replica, in all of its lives, and its disks. */
class Weakener {
  /** Of the present life. */
  io!: WeakenedIo;
  private before = 0;

  constructor(
    private readonly point: Point,
    private readonly seed: number,
  ) {}

  readonly wrap = (inner: MemoryFileIo): WeakenedIo => {
    this.before = this.treated;
    const { io = [], slow = [] } = this.point;
    this.io = new WeakenedIo(inner, [...io, ...slow], this.seed);
    return this.io;
  };

  readonly onComposed = (parts: ReplicaParts): void => {
    this.io.parts = parts;
    this.point.replica?.(parts);
  };

  get treated(): number {
    return this.before + (this.io?.treated ?? 0);
  }
}

// ── Lives that end in power cuts ────────────────────────────────────────────────────────────────

const crashesPerSeed = 20;

function attemptCrashes(point: Point, seed: number): Outcome {
  const weakener = new Weakener(point, seed);
  const { wrap, onComposed } = weakener;
  const garbage = seed % 2 === 0;
  const common = { seed, crashes: crashesPerSeed, garbage, wrap, onComposed };
  const run = new CrashRun({ ...common, ...point.load });
  const said = verdict(() => run.run());
  return { said, crashes: run.crashes, treated: weakener.treated };
}

// ── Power cuts, and a flipped bit ───────────────────────────────────────────────────────────────

/** The op's prepare rots on a copy of the disk: a start must refuse and name it. */
function rot(left: MemoryFileIo, op: number, size: number, random: Prng): void {
  const slot = op % layout.slotCount;
  const rotten = left.clone(random.u32());
  rotten.flip(layout.prepareAt(slot) + random.below(size), random.below(8));
  const harness = new Harness(rotten, new Log(), new TestTime());
  if (harness.open()) {
    if (harness.parts.superblock.checkpointOp >= op) return; // The crash let the checkpoint pass.
    throw new JudgementError(`op ${op} has rotted, its header had landed, and nobody says so`);
  }
  expect(harness.error).toContain(`journal slot ${slot} (prepare)`);
}

/** The newest op whose header the journal took for landed, or 0. */
function newestLanded({ journal }: ReplicaParts): number {
  const headers = journal["headerRing"];
  let newest = 0;
  const ring = headers["ring"];
  for (let slot = 0; slot < journal.slotCount; slot += 1) {
    if (isReserved(ring.bytes, slot * headerSize)) continue;
    const sector = Math.floor(slot / headersPerSector);
    // A crash may tear the sector that is being written.
    if (headers["sectorQueued"][sector] === 1 || headers["sectorWriting"][sector] === 1) continue;
    if (headers["sectorWaiting"][sector] !== 0) continue;
    newest = Math.max(newest, headerOp(ring.words, slot * headerWords));
  }
  return newest;
}

function attemptRot(point: Point, seed: number): Outcome {
  const random = new Prng(seed);
  const weakener = new Weakener(point, seed);
  const { wrap, onComposed } = weakener;
  const run = new CrashRun({
    seed,
    crashes: crashesPerSeed,
    wrap,
    onComposed,
    ...point.load,
    onCrash: (left) => {
      const { parts } = weakener.io;
      if (parts === null) return;
      const { journal, superblock } = parts;
      const op = newestLanded(parts);
      if (op <= superblock.checkpointOp) return;
      const at = (op % journal.slotCount) * headerWords;
      rot(left, op, headerMessageSize(journal["headerRing"]["ring"].words, at), random);
    },
  });
  const said = verdict(() => run.run());
  return { said, crashes: run.crashes, treated: weakener.treated };
}

type End = (harness: Harness, random: Prng) => void;

/** A request comes, and the life ends; then a power cut, then rot of the newest prepare. */
function attemptEnd(point: Point, seed: number, end: End): Outcome {
  const random = new Prng(seed);
  const weakener = new Weakener(point, seed);
  const { wrap, onComposed } = weakener;
  const run = new CrashRun({ seed, crashes: 0, roundsLast: random.range(2, 12), wrap, onComposed });
  const said = verdict(() => {
    const harness = run.run();
    harness.deliver(new TestClient(6).register());
    harness.replica.turn();
    end(harness, random);
    weakener.io.beforeCrash();
    const { journal, replica, superblock } = harness.parts;
    const { op } = replica;
    const left = weakener.io.inner.afterCrash(seed);
    if (op <= superblock.checkpointOp || !journal.hasPrepare(op)) return;
    rot(left, op, headerMessageSize(journal.headers, journal.headerAt(op)), random);
  });
  return { said, crashes: 1, treated: weakener.treated };
}

/** A clean stop while a prepare is on its way. */
function attemptStop(point: Point, seed: number): Outcome {
  return attemptEnd(point, seed, (harness, random) => {
    harness.pump(random.below(4));
    if (!harness.tryStop()) throw new JudgementError("a clean stop hangs");
  });
}

/** No more than two ticks. */
function attemptIdle(point: Point, seed: number): Outcome {
  return attemptEnd(point, seed, (harness) => {
    harness.settle();
    harness.idle();
  });
}

// ── Formatting the file of an earlier replica, of the same cluster ──────────────────────────────

/** A file with a journal, replies and a grid. */
let earlier: MemoryFileIo | null = null;

function earlierFile(): MemoryFileIo {
  if (earlier !== null) return earlier;
  const io = formatMemoryFile(1);
  const run = new CrashRun({
    seed: 1,
    crashes: 0,
    roundsLast: 40,
    wrap: () => Object.assign(io, { beforeCrash: () => {} }),
  });
  run.run().stop();
  earlier = io;
  return io;
}

/** Null: what a crash left is as it should be. */
function attemptFormat(point: Point, seed: number): Outcome {
  const random = new Prng(seed);
  const disk = earlierFile().clone(seed, { garbage: random.chance(0.5) });
  const weakener = new Weakener(point, seed);
  const io = weakener.wrap(disk);
  io.formatting = true;
  disk.crashAtWrite = random.chance(0.4) ? Number.POSITIVE_INFINITY : random.below(45);
  let formatted = false;
  try {
    formatThrough(io);
    formatted = true;
  } catch (error) {
    if (!(error instanceof Crash)) throw error;
  }
  const untouched = disk.writes === 0;
  io.beforeCrash();
  const harness = new Harness(disk.afterCrash(seed), new Log(), new TestTime());
  const said = verdict(() => {
    if (!harness.open()) {
      if (formatted) throw new JudgementError(harness.error ?? harness.fatal ?? "the start hangs");
    } else if (!untouched && harness.replica.commitMin > 0) {
      throw new JudgementError(`op ${harness.replica.commitMin} of the former file is served`);
    }
  });
  return { said, crashes: 1, treated: weakener.treated };
}

// ── The tests ───────────────────────────────────────────────────────────────────────────────────

/** What an operator is told, of no use in a table. */
const advice = /( A cluster of one cannot|; restore the data file| and no other replica has).*$/;

const lines: string[] = [];

function note({ where, holds, instead, redundant }: Point, crashes: number, said: string): void {
  const found =
    redundant === undefined
      ? `${crashes} | ${said.replace(advice, "")}`
      : `— | redundant: ${redundant}`;
  lines.push(`| \`${where}\` | ${holds} | ${instead} | ${found} |`);
}

/** Seeds that were tried with the point taken away are tried with it in place. */
class Control {
  /** Per way to live: seeds 1 … n. */
  private readonly seeds = new Map<string, { readonly point: Point; seeds: number }>();

  add({ where, holds, slow, load }: Point, seeds: number): void {
    const key = JSON.stringify([load, slow?.map(({ purpose }) => purpose)]);
    const before = this.seeds.get(key)?.seeds ?? 0;
    const point: Point = { where, holds, instead: "", seeds, slow: slow ?? [], load: load ?? {} };
    this.seeds.set(key, { point, seeds: Math.max(before, seeds) });
  }

  run(attempt: Attempt): number {
    let crashes = 0;
    for (const { point, seeds } of this.seeds.values()) {
      for (let seed = 1; seed <= seeds; seed += 1) {
        const outcome = attempt(point, seed);
        expect(outcome.said).toBeNull();
        crashes += outcome.crashes;
      }
    }
    return crashes;
  }
}

function testPoints(name: string, points: readonly Point[], attempt: Attempt): void {
  describe(name, () => {
    const control = new Control();
    for (const point of points) {
      const { where, holds, instead, redundant, seeds, io } = point;
      const kind = redundant === undefined ? "seen" : "not seen, for it is redundant";
      test(`${where}: ${holds} (instead: ${instead}) is ${kind}`, () => {
        let crashes = 0;
        let treated = 0;
        let said: string | null = null;
        let seed = 0;
        while (said === null && seed < seeds) {
          seed += 1;
          const outcome = attempt(point, seed);
          crashes += outcome.crashes;
          treated += outcome.treated;
          said = outcome.said;
        }
        control.add(point, seed);
        note(point, crashes, said ?? "");
        if (io !== undefined) expect(treated).toBeGreaterThan(0);
        if (redundant === undefined) expect(said).not.toBeNull();
        else expect(said).toBeNull();
      });
    }

    test("the same lives with every point in place end without a word", () => {
      expect(control.run(attempt)).toBeGreaterThan(0);
    });
  });
}

testPoints("a point taken away from a replica", crashPoints, attemptCrashes);
testPoints("a header that landed is proof that its prepare was whole", headerPoints, attemptRot);
testPoints(
  "and so is one that follows its prepare at once, as in larger clusters",
  headerPoints.map((point) => ({ ...point, load: { ...point.load, journalTicks: false } })),
  attemptRot,
);
testPoints("a header has landed after two ticks", idlePoints, attemptIdle);
testPoints("a header has landed after a clean stop", stopPoints, attemptStop);
testPoints("formatting leaves nothing of the file that was there", formatPoints, attemptFormat);

test("the documentation lists every point", () => {
  const path = new URL("../../docs/internals/crash-tests.md", import.meta.url);
  const text = readFileSync(path, "utf8");
  for (const { holds, instead } of [
    ...crashPoints,
    ...headerPoints,
    ...idlePoints,
    ...stopPoints,
    ...formatPoints,
  ]) {
    expect(text).toContain(`| ${holds} | ${instead} |`);
  }
});

afterAll(() => {
  if (process.env["PACIOLI_TABLE"] === undefined) return;
  console.log(["| Where | The point | Instead | Crashes | What is seen |", ...lines].join("\n"));
});
