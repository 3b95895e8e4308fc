/**
 * What becomes of acknowledged prepares that rot before the start which follows a power cut. A redundant
 * header that landed proves that its prepare was whole, and so does a commit number in what is left;
 * without either, one disk cannot tell rot from a torn write. The rule, in the words of docs/internals/
 * data-file.md, is applied here to the bytes of the disk, and every start must follow it:
 *
 * - where there is proof, it refuses and names a slot;
 * - where there is none, the log ends before the first of them, and a note says so; or the start refuses
 *   since a reply is newer than that log. Of a single one this can only be one of the last eight ops.
 *
 * The last is the price of headers that wait. The same lives are led with headers that follow their
 * prepares at once: there it is paid less often, but it is not nothing either.
 */
import { describe, expect, test } from "vitest";
import { headerSize, pipelinePrepareMax } from "../../src/core/limits.ts";
import { Prng } from "../../src/core/prng.ts";
import { DataFileLayout, prepareSlotSize } from "../../src/wal/data-file.ts";
import {
  bodyIntact,
  headerCommit,
  headerIntact,
  headerMessageSize,
  headerOp,
  isReserved,
} from "../../src/wal/headers.ts";
import { inspectSuperblock } from "../../src/wal/inspect.ts";
import type { MemoryFileIo } from "../wal/memory-file-io.ts";
import { CrashRun } from "./crash-run.ts";
import { readerOf } from "./file-map.ts";
import { Harness, TestTime, tinyFormat } from "./harness.ts";
import { Log } from "./log.ts";
import { ReusedMemory } from "./reused-memory.ts";

const layout = new DataFileLayout(tinyFormat);
const { slotCount } = layout;
const reused = new ReusedMemory();

/** An intact copy of an op above the checkpoint. */
interface Copy {
  readonly op: number;
  readonly commit: number;
  readonly size: number;
}

/** What a power cut left of the journal. */
class Left {
  readonly checkpointOp: number;
  private readonly commitMax: number;
  /** By op. */
  readonly headers = new Map<number, Copy>();
  readonly prepares = new Map<number, Copy>();
  /** Slots whose prepare is neither whole nor reserved. */
  private readonly torn = new Set<number>();

  constructor(readonly disk: MemoryFileIo) {
    const { current } = inspectSuperblock(readerOf(disk));
    this.checkpointOp = current!.checkpointOp;
    this.commitMax = current!.commitMax;
    for (let slot = 0; slot < slotCount; slot += 1) {
      this.add(this.headers, disk.peek(layout.headerRingAt + slot * headerSize, headerSize));
      const header = disk.peek(layout.prepareAt(slot), headerSize);
      const whole = headerIntact(header, 0) ? this.whole(slot, header) : null;
      if (whole === null) this.torn.add(slot);
      else this.add(this.prepares, whole);
    }
  }

  /** Null: the body is damaged. Of an op that the checkpoint covers it does not count. */
  private whole(slot: number, header: Uint8Array): Uint8Array | null {
    const words = new Uint32Array(header.buffer);
    if (isReserved(header, 0) || headerOp(words, 0) <= this.checkpointOp) return header;
    const bytes = this.disk.peek(layout.prepareAt(slot), headerMessageSize(words, 0));
    return bodyIntact(bytes, 0, bytes.length) ? header : null;
  }

  private add(copies: Map<number, Copy>, bytes: Uint8Array): void {
    if (!headerIntact(bytes, 0) || isReserved(bytes, 0)) return;
    const words = new Uint32Array(bytes.buffer);
    const op = headerOp(words, 0);
    if (op <= this.checkpointOp) return;
    copies.set(op, { op, commit: headerCommit(words, 0), size: headerMessageSize(words, 0) });
  }

  get newest(): number {
    return Math.max(this.checkpointOp, ...this.prepares.keys());
  }

  /** Something that is left says that one of these, now rotten, was durable once. */
  proven(rotten: ReadonlySet<number>): boolean {
    let committed = this.commitMax;
    for (const { commit } of this.headers.values()) committed = Math.max(committed, commit);
    for (const { op, commit } of this.prepares.values()) {
      if (!rotten.has(op)) committed = Math.max(committed, commit);
    }
    for (const op of rotten) {
      if (this.headers.has(op) || op <= committed) return true;
    }
    return this.tooMany(rotten);
  }

  /** More in a row than a power cut catches in flight. */
  private tooMany(rotten: ReadonlySet<number>): boolean {
    const first = Math.min(...rotten);
    if (first + pipelinePrepareMax > this.checkpointOp + slotCount) return false;
    for (let op = first; op <= first + pipelinePrepareMax; op += 1) {
      const damaged = rotten.has(op) || this.torn.has(op % slotCount);
      if (!damaged || this.headers.has(op)) return false;
    }
    return true;
  }
}

class Tally {
  crashes = 0;
  refused = 0;
  refusedForReply = 0;
  takenForTorn = 0;
  /** Acknowledged ops that are gone because one was damaged, or several, at most at once. */
  goneMax = 0;
  goneMaxOfSeveral = 0;
  /** Headers that had not landed, at most at once. */
  waitingMax = 0;
}

/** A bit of each of these ops' prepares flips; then a start. */
function rot(
  left: Left,
  rotten: ReadonlySet<number>,
  acknowledged: number,
  random: Prng,
  tally: Tally,
) {
  const disk = left.disk.clone(random.u32());
  for (const op of rotten) {
    const { size } = left.prepares.get(op)!;
    expect(size).toBeLessThanOrEqual(prepareSlotSize);
    disk.flip(layout.prepareAt(op % slotCount) + random.below(size), random.below(8));
  }
  const harness = new Harness(disk, new Log(), new TestTime(), { reused });
  const opened = harness.open();
  const first = Math.min(...rotten);
  if (left.proven(rotten)) {
    expect(opened).toBe(false);
    const named = /journal slot (\d+) \(prepare\)/.exec(harness.error ?? "");
    expect([...rotten].map((op) => op % slotCount)).toContain(Number(named?.[1]));
    tally.refused += 1;
    return;
  }
  if (rotten.size === 1) expect(first).toBeGreaterThan(left.newest - pipelinePrepareMax);
  if (!opened) {
    // The next checkpoint had begun, and wrote a reply of an op that the log does not have any more.
    expect(harness.error).toMatch(/^Client reply slot \d+ is damaged/);
    tally.refusedForReply += 1;
    return;
  }
  expect(harness.openedAt).toBe(first - 1);
  const place = `op ${first} was torn: journal slot ${first % slotCount} (prepare)`;
  expect(harness.notes.filter((note) => note.startsWith(place))).toHaveLength(1);
  tally.takenForTorn += 1;
  const gone = acknowledged - first + 1;
  if (rotten.size === 1) tally.goneMax = Math.max(tally.goneMax, gone);
  else tally.goneMaxOfSeveral = Math.max(tally.goneMaxOfSeveral, gone);
}

/** Every acknowledged op rots by itself, and some of the last together. */
function rotAll(left: Left, acknowledged: number, random: Prng, tally: Tally): void {
  const live: number[] = [];
  for (let op = left.checkpointOp + 1; op <= acknowledged; op += 1) live.push(op);
  tally.crashes += 1;
  const waiting = live.filter((op) => !left.headers.has(op));
  tally.waitingMax = Math.max(tally.waitingMax, waiting.length);
  for (const op of live) rot(left, new Set([op]), acknowledged, random, tally);
  for (let count = 2; count <= waiting.length; count += 1) {
    rot(left, new Set(waiting.slice(-count)), acknowledged, random, tally);
    const some = waiting.filter(() => random.chance(0.5));
    if (some.length > 0) rot(left, new Set(some), acknowledged, random, tally);
  }
}

function lead(seeds: number, journalTicks: boolean): Tally {
  const tally = new Tally();
  for (let seed = 1; seed <= seeds; seed += 1) {
    const random = new Prng(seed);
    const run: CrashRun = new CrashRun({
      seed,
      crashes: 12,
      journalTicks,
      garbage: seed % 2 === 0,
      onCrash: (disk) => rotAll(new Left(disk), run.judge.opAcknowledged, random, tally),
    });
    run.run();
  }
  return tally;
}

describe("a start after a power cut and rot of what was acknowledged refuses where there is proof", () => {
  test("while headers wait for ticks", () => {
    const tally = lead(6, true);
    expect(tally.refused).toBeGreaterThan(300);
    expect(tally.waitingMax).toBeGreaterThan(pipelinePrepareMax);
    expect(tally.takenForTorn).toBeGreaterThan(50);
    expect(tally.goneMax).toBeLessThanOrEqual(pipelinePrepareMax);
    expect(tally.goneMaxOfSeveral).toBeLessThanOrEqual(tally.waitingMax);
  });

  test("where headers follow their prepares at once", () => {
    const tally = lead(4, false);
    expect(tally.refused).toBeGreaterThan(300);
    expect(tally.takenForTorn).toBeGreaterThan(0);
    expect(tally.goneMax).toBeLessThanOrEqual(pipelinePrepareMax);
    // Headers land in any order: there may be ops between those whose headers had not.
    expect(tally.goneMaxOfSeveral).toBeLessThanOrEqual(pipelinePrepareMax);
  });
});
