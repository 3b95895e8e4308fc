/** A replica opens anew in its process: what the old one had in flight lands, and nothing after it. */
import { describe, expect, test } from "vitest";
import { replySlotSize } from "../../src/core/limits.ts";
import { Prng } from "../../src/core/prng.ts";
import { ClientReplies } from "../../src/wal/client-replies.ts";
import { DataFileLayout } from "../../src/wal/data-file.ts";
import { headerWords } from "../../src/wal/headers.ts";
import { Journal } from "../../src/wal/journal.ts";
import { PrepareRead } from "../../src/wal/prepare-reads.ts";
import {
  failOnFatal,
  file,
  formatted,
  Model,
  makePrepare,
  makeReply,
  openJournal,
  openSuperblock,
  smallFormat,
} from "./harness.ts";
import { type MemoryFileIo, memoryBuffer } from "./memory-file-io.ts";

const image = formatted();
const layout = new DataFileLayout(smallFormat);
const noHeaders = new Uint32Array(0);

function calledAfterTheEnd(): never {
  throw new Error("called back after the end");
}

function steps(io: MemoryFileIo, count: number): void {
  for (let step = 0; step < count; step += 1) if (!io.step()) return;
}

test("one life after the other over one file, each parted from at any moment", () => {
  for (let seed = 1; seed <= 12; seed += 1) {
    const random = new Prng(seed);
    const io = image.clone(seed);
    const acknowledged = new Map<number, string>();
    let busy = 0;
    for (let life = 0; life < 8; life += 1) {
      const model = new Model(io, seed * 100 + life, acknowledged);
      model.open();
      model.serve(1 + random.below(30));
      if (io.inFlight > 0) busy += 1;
      let quiet = 0;
      const known = acknowledged.size;
      const onQuiet = (): void => {
        quiet += 1;
      };
      model.journal.quiesce(onQuiet);
      model.superblock.quiesce(onQuiet);
      expect(model.journal.canWrite(known + 1)).toBe(false);
      io.run();
      expect(quiet).toBe(2);
      expect(acknowledged.size).toBe(known); // Nobody was called back.
    }
    expect(busy).toBeGreaterThan(3);
  }
});

function header(op: number): Uint32Array {
  const buffer = memoryBuffer(4096);
  makePrepare(buffer, op, 1, op - 1, new Uint32Array(4), 0, 1);
  return buffer.words.slice(0, headerWords);
}

describe("the journal", () => {
  test("has landed what it took, headers included, when it is quiet", () => {
    for (let after = 0; after < 14; after += 1) {
      const io = image.clone(after, { ordered: after % 2 === 0 });
      const superblock = openSuperblock(io);
      const { journal } = openJournal(io, superblock, true);
      const buffers = [1, 2, 3, 4, 5].map((op) => {
        const buffer = memoryBuffer(8192);
        makePrepare(buffer, op, 1, 0, superblock.checkpointHeader, 100, op);
        return buffer;
      });
      let parted = false;
      const onDurable = (): void => {
        if (parted) calledAfterTheEnd();
      };
      for (const buffer of buffers) journal.writePrepare(buffer, onDurable);
      steps(io, after);
      parted = true;
      let quiet = false;
      journal.quiesce(() => {
        expect(io.inFlight).toBe(0);
        quiet = true;
      });
      io.run();
      expect(quiet).toBe(true);
      const writes = io.writes;
      for (const buffer of buffers) buffer.bytes.fill(0xff); // The owner's again.
      io.run();
      expect(io.writes).toBe(writes);
      for (let op = 1; op <= 5; op += 1) {
        const header = io.peek(layout.headerRingAt + op * headerWords * 4, 256);
        expect(Buffer.compare(header, io.peek(layout.prepareAt(op), 256))).toBe(0);
      }
    }
  });

  test("waits for its recovery and its reads, and tells nobody of them", () => {
    const superblock = openSuperblock(image.clone(1));
    const start = {
      checkpointOp: 0,
      checkpointHeader: superblock.checkpointHeader,
      checkpointHeaderAt: 0,
      commitMax: 0,
      single: true,
    };
    for (let after = 0; after < 60; after += 3) {
      const io = image.clone(after);
      const journal = new Journal({ io, file, layout, onFatal: failOnFatal });
      let opened = false;
      let parted = false;
      journal.open(start, () => {
        if (parted) calledAfterTheEnd();
        opened = true;
      });
      steps(io, after);
      let quiet = false;
      if (opened) {
        const header = superblock.checkpointHeader;
        journal.readPrepare(0, header, 0, memoryBuffer(8192), (result) => {
          if (result !== PrepareRead.ok) throw new Error("the root prepare is here");
          calledAfterTheEnd();
        });
      }
      parted = true;
      journal.quiesce(() => {
        expect(io.inFlight).toBe(0);
        quiet = true;
      });
      expect(quiet).toBe(false);
      io.run();
      expect(quiet).toBe(true);
      expect(journal.canRead).toBe(false);
    }
  });
});

describe("the superblock", () => {
  test("carries out what is in flight, forgets what waits, and serves its next owner", () => {
    for (let after = 0; after < 12; after += 1) {
      const io = image.clone(after);
      const superblock = openSuperblock(io);
      const done: string[] = [];
      superblock.updateCheckpoint(4, header(4), () => done.push("checkpoint 4"));
      superblock.updateView(2, 2, 0, noHeaders, 0, () => done.push("view 2"));
      steps(io, after);
      const before = done.slice();
      const { sequence } = superblock;
      let next = false;
      superblock.quiesce(() => {
        expect(io.inFlight).toBe(0);
        expect(superblock.busy).toBe(false);
        superblock.updateView(9, 9, 0, noHeaders, 0, () => {
          next = true;
        });
      });
      io.run();
      expect(done).toEqual(before);
      expect(next).toBe(true);
      expect(superblock.view).toBe(9);
      // At most the one that was in flight came before it.
      expect(superblock.sequence - sequence).toBeLessThanOrEqual(2);
      expect(openSuperblock(io.clone(1)).view).toBe(9);
    }
  });

  test("does not call an owner that parted in the callback before", () => {
    const io = image.clone(1);
    const superblock = openSuperblock(io);
    superblock.updateCheckpoint(4, header(4), () => {});
    io.run();
    const state = superblock.checkpointState.slice();
    const other = openSuperblock(image.clone(1));
    const otherIo = other["io"] as MemoryFileIo;
    other.updateSync(state, 0, 1, 1, 0, noHeaders, 0, () => {});
    otherIo.run();
    other.updateSyncComplete(() => {});
    other.updateView(2, 2, 0, noHeaders, 0, () => other.quiesce(() => {}));
    other.updateCheckpoint(8, header(8), calledAfterTheEnd);
    otherIo.run();
    expect([other.view, other.checkpointOp]).toEqual([2, 8]);
  });
});

test("the replies zone ends when its writes and reads have", () => {
  for (let after = 0; after < 8; after += 1) {
    const io = image.clone(after);
    const replies = new ClientReplies({ io, file, layout, onFatal: failOnFatal });
    const buffer = memoryBuffer(3 * replySlotSize);
    let before = 0;
    let parted = false;
    const onDone = (): void => {
      if (parted) calledAfterTheEnd();
      before += 1;
    };
    for (let slot = 0; slot < 3; slot += 1) {
      makeReply(buffer, slot * replySlotSize, slot + 1, slot + 10, 20_000);
      replies.write(slot, buffer, slot * replySlotSize, onDone);
    }
    replies.read(3, memoryBuffer(replySlotSize), onDone);
    steps(io, after);
    parted = true;
    let quiet = false;
    replies.quiesce(() => {
      expect(io.inFlight).toBe(0);
      quiet = true;
    });
    expect([replies.canRead, replies.canWrite(3)]).toEqual([false, false]);
    io.run();
    expect(quiet).toBe(true);
    expect(io.writes).toBe(3);
    expect(before).toBe(Math.min(after, 4));
  }
});
