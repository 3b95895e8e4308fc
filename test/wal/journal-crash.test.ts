/**
 * Power lost at any write: after recovery everything acknowledged is there, and recovery may be
 * interrupted just as well.
 */
import { expect, test } from "vitest";
import { Prng } from "../../src/core/prng.ts";
import { crashes, formatted, Model, openJournal, openSuperblock, smallFormat } from "./harness.ts";
import type { MemoryFileIo } from "./memory-file-io.ts";

/** Serves, crashes at the given write, recovers. Returns false when the end came first. */
function crashOnce(image: MemoryFileIo, seed: number, crashAt: number, ticks: boolean): boolean {
  const acknowledged = new Map<number, string>();
  const io = image.clone(seed, { garbage: true });
  io.crashAtWrite = crashAt;
  const model = new Model(io, seed, acknowledged, smallFormat.checkpointInterval, ticks);
  const crashed = crashes(() => {
    model.open();
    model.serve(40);
    model.stop();
  });
  if (!crashed) return false;
  const again = new Model(io.afterCrash(seed + 1), seed + 1, acknowledged);
  again.open();
  again.serve(10);
  return true;
}

test("every write of a run over the whole ring can be the last", () => {
  const image = formatted();
  for (let seed = 1; seed <= 4; seed += 1) {
    let crashAt = 0;
    while (crashOnce(image, seed, crashAt, false)) crashAt += 1;
    // 40 ops, their headers, ten checkpoints of four copies, and the view.
    expect(crashAt).toBeGreaterThan(100);
  }
});

test("so can it while headers wait for ticks", () => {
  const image = formatted();
  for (let seed = 1; seed <= 4; seed += 1) {
    let crashAt = 0;
    while (crashOnce(image, seed, crashAt, true)) crashAt += 1;
    expect(crashAt).toBeGreaterThan(85);
  }
});

test("many lives of one file, each cut short, recoveries included", () => {
  const image = formatted();
  let ops = 0;
  for (let seed = 1; seed <= 150; seed += 1) {
    const random = new Prng(seed);
    const acknowledged = new Map<number, string>();
    let io = image.clone(seed, { garbage: random.chance(0.5), ordered: random.chance(0.2) });
    for (let life = 0; life < 12; life += 1) {
      // Often while opening: that takes four writes and what there is to restore.
      io.crashAtWrite = random.chance(0.4) ? random.below(12) : random.below(240);
      const ticks = random.chance(0.5);
      const model = new Model(io, random.u32(), acknowledged, random.range(1, 4), ticks);
      const crashed = crashes(() => {
        model.open();
        model.serve(random.range(1, 80));
        if (random.chance(0.5)) model.stop();
      });
      const killed = !crashed && io.inFlight === 0;
      io = killed ? io.afterKill(random.u32()) : io.afterCrash(random.u32());
    }
    const last = new Model(io, seed, acknowledged);
    last.open();
    ops += acknowledged.size;
  }
  // Three turns of the ring per file, on average: an idle life proves nothing.
  expect(ops / 150).toBeGreaterThan(3 * smallFormat.slotCount);
});

test("several replicas: a crash alone loses nothing acknowledged and leaves the head certain", () => {
  const image = formatted();
  for (let seed = 1; seed <= 300; seed += 1) {
    const random = new Prng(seed);
    const acknowledged = new Map<number, string>();
    const io = image.clone(seed, { garbage: true });
    io.crashAtWrite = random.below(200);
    const model = new Model(io, seed, acknowledged, 4, random.chance(0.5));
    crashes(() => {
      model.open();
      model.serve(60);
    });
    const after = io.afterCrash(seed);
    const superblock = openSuperblock(after);
    const { journal, recovery } = openJournal(after, superblock, false);
    expect(recovery.fatal).toBeNull();
    expect(recovery.headUncertain).toBe(false);
    for (const op of acknowledged.keys()) {
      if (op > superblock.checkpointOp) expect(journal.hasPrepare(op)).toBe(true);
    }
    for (let op = superblock.checkpointOp + 1; op <= recovery.opHead; op += 1) {
      // A gap is a torn prepare, which one disk cannot tell from rot.
      if (!journal.hasPrepare(op)) expect(acknowledged.has(op)).toBe(false);
    }
  }
});
