/** The journal while it runs: order of writes, limits, reads, states of slots, failures. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { headerSize, sectorSize } from "../../src/core/limits.ts";
import type { IoBuffer } from "../../src/io/io.ts";
import { DataFileLayout } from "../../src/wal/data-file.ts";
import { headerIntact, headerOp, headerWords, isReserved } from "../../src/wal/headers.ts";
import { type Journal, journalWritesMax } from "../../src/wal/journal.ts";
import { PrepareRead } from "../../src/wal/prepare-reads.ts";
import {
  failOnFatal,
  formatted,
  makePrepare,
  openJournal,
  openSuperblock,
  smallFormat,
} from "./harness.ts";
import { type MemoryFileIo, memoryBuffer } from "./memory-file-io.ts";

const layout = new DataFileLayout(smallFormat);
const { slotCount } = layout;
const image = formatted();
const ordered = { ordered: true };

function open(io: MemoryFileIo, onFatal = failOnFatal, single = true, ticks = false): Journal {
  return openJournal(io, openSuperblock(io), single, onFatal, ticks).journal;
}

/** Prepares that chain from the root on. */
class Chain {
  private readonly parent = new Uint32Array(headerWords);

  constructor(journal: Journal) {
    const at = journal.headerAt(0);
    this.parent.set(journal.headers.subarray(at, at + headerWords));
  }

  next(bodySize = 1000, view = 1, salt = 0): IoBuffer {
    const buffer = memoryBuffer(1024 * 1024 + sectorSize);
    const op = headerOp(this.parent, 0) + 1;
    makePrepare(buffer, op, view, op - 1, this.parent, bodySize, salt);
    this.parent.set(buffer.words.subarray(0, headerWords));
    return buffer;
  }
}

const nothing = (): void => undefined;

function read(io: MemoryFileIo, journal: Journal, like: IoBuffer): [PrepareRead, IoBuffer] {
  const target = memoryBuffer(1024 * 1024);
  let result = 0;
  journal.readPrepare(headerOp(like.words, 0), like.words, 0, target, (found) => {
    result = found;
  });
  expect(result).toBe(0); // Never from inside the call.
  io.run();
  return [result as PrepareRead, target];
}

describe("writes", () => {
  test("one durable write, then the callback, then the header, durable too", () => {
    const io = image.clone(1, ordered);
    const journal = open(io);
    const chain = new Chain(journal);
    const prepare = chain.next(6000);
    const before = io.writes;
    let durableAfter = 0;
    journal.writePrepare(prepare, () => {
      durableAfter = io.writes - before;
      expect(journal.hasPrepare(1)).toBe(true);
    });
    expect(journal.hasPrepare(1)).toBe(false);
    expect(journal.isDirty(1)).toBe(true);
    expect(journal.isWriting(1)).toBe(true);
    io.run();
    expect(durableAfter).toBe(1);
    expect(io.writeLog.slice(before)).toEqual([
      { at: layout.prepareAt(1), length: 8192, durable: true },
      { at: layout.headerRingAt, length: sectorSize, durable: true },
    ]);
  });

  test("the padding is zeroed, in memory and on disk", () => {
    const io = image.clone(1);
    const journal = open(io);
    const prepare = new Chain(journal).next(1000);
    journal.writePrepare(prepare, nothing);
    io.run();
    const padding = io.peek(layout.prepareAt(1) + headerSize + 1000, sectorSize - 1256);
    expect(padding.every((byte) => byte === 0)).toBe(true);
  });

  test("the header ring never names a prepare that is not durable", () => {
    for (let seed = 1; seed <= 30; seed += 1) {
      const io = image.clone(seed);
      const journal = open(io);
      const chain = new Chain(journal);
      const durable = new Set<number>();
      let next = 1;
      let widest = 0;
      while (durable.size < 30) {
        while (next <= 30 && journal.canWrite(next) && io.inFlight < 10) {
          const op = next;
          journal.writePrepare(chain.next(5000), () => durable.add(op));
          next += 1;
        }
        widest = Math.max(widest, io.inFlight);
        io.step();
        for (let slot = 1; slot < slotCount; slot += 1) {
          const memory = { bytes: io.peek(layout.headerRingAt + slot * headerSize, headerSize) };
          expect(headerIntact(memory.bytes, 0)).toBe(true);
          if (!isReserved(memory.bytes, 0)) expect(durable.has(slot)).toBe(true);
        }
      }
      expect(widest).toBeGreaterThanOrEqual(8);
      io.run();
      expect(journal.busy).toBe(false);
      // Headers share sector writes.
      expect(journal.headerWrites).toBeLessThanOrEqual(30);
      expect(journal.prepareWrites).toBe(30);
    }
  });

  test("headers that come while their sector is written share the next write", () => {
    const io = image.clone(1, ordered);
    const journal = open(io);
    const chain = new Chain(journal);
    for (let count = 0; count < 12; count += 1) journal.writePrepare(chain.next(), nothing);
    io.run();
    expect(journal.headerWrites).toBe(2);
  });

  describe("where the owner ticks", () => {
    const openTicked = (io: MemoryFileIo): Journal => open(io, failOnFatal, true, true);
    const headerOnDisk = (io: MemoryFileIo, slot: number): boolean =>
      !isReserved(io.peek(layout.headerRingAt + slot * headerSize, headerSize), 0);

    test("a header waits for the others of its sector", () => {
      const io = image.clone(1, ordered);
      const journal = openTicked(io);
      const chain = new Chain(journal);
      for (let op = 1; op <= 15; op += 1) {
        expect(journal.headerWrites).toBe(0);
        journal.writePrepare(chain.next(), nothing);
        io.run();
        expect(journal.hasPrepare(op)).toBe(true);
      }
      expect(journal.headerWrites).toBe(1);
      for (let slot = 1; slot <= 15; slot += 1) expect(headerOnDisk(io, slot)).toBe(true);
      journal.tick();
      journal.tick();
      io.run();
      expect(journal.headerWrites).toBe(1);
    });

    test("or for the second tick, however many come meanwhile", () => {
      const io = image.clone(1, ordered);
      const journal = openTicked(io);
      const chain = new Chain(journal);
      journal.writePrepare(chain.next(), nothing);
      io.run();
      journal.tick();
      journal.writePrepare(chain.next(), nothing);
      io.run();
      expect(journal.headerWrites).toBe(0);
      expect(journal.busy).toBe(true);
      journal.tick();
      io.run();
      expect(journal.headerWrites).toBe(1);
      expect(headerOnDisk(io, 1)).toBe(true);
      expect(headerOnDisk(io, 2)).toBe(true);
      expect(io.writeLog.at(-1)).toEqual({
        at: layout.headerRingAt,
        length: sectorSize,
        durable: true,
      });
      expect(journal.busy).toBe(false);
    });

    test("a flush and an end wait for no tick", () => {
      for (const end of ["flush", "quiesce"] as const) {
        const io = image.clone(1, ordered);
        const journal = openTicked(io);
        const chain = new Chain(journal);
        journal.writePrepare(chain.next(), nothing);
        io.run();
        journal.writePrepare(chain.next(), nothing);
        let ended = false;
        journal[end](() => {
          ended = true;
        });
        io.run();
        expect(ended).toBe(true);
        expect(headerOnDisk(io, 1)).toBe(true);
        expect(headerOnDisk(io, 2)).toBe(true);
        expect(journal.busy).toBe(false);
      }
    });
  });

  test("a slot is free again only when its op is covered by a checkpoint", () => {
    const io = image.clone(1);
    const journal = open(io);
    const chain = new Chain(journal);
    for (let op = 1; op <= slotCount; op += 1) {
      expect(journal.canWrite(op)).toBe(true);
      journal.writePrepare(chain.next(), nothing);
      io.run();
    }
    expect(journal.opMax).toBe(slotCount);
    expect(journal.canWrite(slotCount + 1)).toBe(false);
    const tooFar = chain.next();
    expect(() => journal.writePrepare(tooFar, nothing)).toThrow("asked first");
    journal.checkpointDurable(4);
    expect(journal.canWrite(slotCount + 4)).toBe(true);
    expect(journal.canWrite(slotCount + 5)).toBe(false);
    expect(journal.canWrite(4)).toBe(false);
    journal.writePrepare(tooFar, nothing);
    io.run();
    expect(journal.hasHeader(1)).toBe(false);
    expect(journal.hasPrepare(slotCount + 1)).toBe(true);
    expect(journal.chainIntact(slotCount + 1)).toBe(true);
  });

  test("one write per slot, and as many in all as the journal has room for", () => {
    const io = image.clone(1);
    const journal = open(io);
    const chain = new Chain(journal);
    for (let op = 1; op <= journalWritesMax; op += 1) {
      expect(journal.canWrite(op)).toBe(true);
      journal.writePrepare(chain.next(), nothing);
      expect(journal.canWrite(op)).toBe(false);
    }
    expect(journal.canWrite(journalWritesMax + 1)).toBe(false);
    io.run();
    expect(journal.canWrite(journalWritesMax + 1)).toBe(true);
  });

  test("an unsealed prepare is refused", () => {
    const io = image.clone(1);
    const journal = open(io);
    const prepare = new Chain(journal).next();
    prepare.bytes[200]! ^= 1;
    expect(() => journal.writePrepare(prepare, nothing)).toThrow("checksum is set");
  });

  test("a failed prepare or header write stops the replica, and nothing is acknowledged after", () => {
    for (const [failing, text] of [
      [1, "cannot write op 1 to journal slot 1: error 5"],
      [2, "cannot write journal headers 0 and following: error 5"],
    ] as const) {
      const io = image.clone(1, ordered);
      const texts: string[] = [];
      const journal = open(io, (fatal) => texts.push(fatal));
      const chain = new Chain(journal);
      io.failAtWrite = io.writes + failing;
      let acknowledged = 0;
      const count = (): void => {
        acknowledged += 1;
      };
      journal.writePrepare(chain.next(), count);
      io.step();
      if (failing === 2) journal.writePrepare(chain.next(), count);
      io.run();
      expect(texts.length).toBe(1);
      expect(texts[0]).toContain(text);
      expect(acknowledged).toBe(failing === 1 ? 0 : 1);
      const next = chain.next();
      expect(() => journal.writePrepare(next, count)).toThrow();
    }
  });

  test("flush waits for headers", () => {
    const io = image.clone(1);
    const journal = open(io);
    const chain = new Chain(journal);
    for (let count = 0; count < 8; count += 1) journal.writePrepare(chain.next(), nothing);
    let flushed = false;
    journal.flush(() => {
      flushed = true;
      expect(journal.busy).toBe(false);
    });
    while (!flushed) expect(io.step()).toBe(true);
    const after = io.afterCrash(1);
    // All headers are there: every slot is good without any restoring.
    const { recovery } = openJournal(after, openSuperblock(after), true);
    expect(recovery.opHead).toBe(8);
    expect(recovery.sectorsToWrite.every((sector) => sector === 0)).toBe(true);
    journal.flush(() => {
      flushed = false;
    });
    expect(flushed).toBe(true);
    io.run();
    expect(flushed).toBe(false);
  });
});

describe("reads", () => {
  test("what was written comes back, whatever its size (property)", () => {
    const io = image.clone(1);
    const journal = open(io);
    const chain = new Chain(journal);
    let op = 0;
    fc.assert(
      fc.property(
        fc.oneof(fc.integer({ min: 0, max: 9000 }), fc.constant(1024 * 1024 - headerSize)),
        (bodySize) => {
          op += 1;
          if (op > 8) journal.checkpointDurable(op - 8);
          const prepare = chain.next(bodySize);
          journal.writePrepare(prepare, nothing);
          io.run();
          const [result, target] = read(io, journal, prepare);
          expect(result).toBe(PrepareRead.ok);
          const size = headerSize + bodySize;
          const same = Buffer.compare(
            target.bytes.subarray(0, size),
            prepare.bytes.subarray(0, size),
          );
          expect(same).toBe(0);
        },
      ),
      { numRuns: 60, seed: 7 },
    );
  });

  test("another prepare than the slot's is missing, without damage", () => {
    const io = image.clone(1);
    const journal = open(io);
    const chain = new Chain(journal);
    const prepare = chain.next();
    journal.writePrepare(prepare, nothing);
    io.run();
    const other = memoryBuffer(8192);
    makePrepare(other, 1, 9, 0, new Uint32Array(4), 0, 0);
    expect(read(io, journal, other)[0]).toBe(PrepareRead.missing);
    makePrepare(other, 1 + slotCount, 9, 0, new Uint32Array(4), 0, 0);
    expect(read(io, journal, other)[0]).toBe(PrepareRead.missing);
    expect(journal.isFaulty(1)).toBe(false);
  });

  test("a prepare that is still being written is missing, never damaged", () => {
    for (let seed = 1; seed <= 20; seed += 1) {
      const io = image.clone(seed);
      const journal = open(io);
      const prepare = new Chain(journal).next(9000);
      journal.writePrepare(prepare, nothing);
      expect(read(io, journal, prepare)[0]).toBe(PrepareRead.missing);
      expect(read(io, journal, prepare)[0]).toBe(PrepareRead.ok);
    }
  });

  test("a slot that is given another prepare during the read is missing", () => {
    for (let seed = 1; seed <= 20; seed += 1) {
      const io = image.clone(seed);
      const journal = open(io);
      const chain = new Chain(journal);
      const prepare = chain.next(50_000);
      journal.writePrepare(prepare, nothing);
      io.run();
      for (let op = 2; op <= slotCount; op += 1) {
        journal.writePrepare(chain.next(), nothing);
        io.run();
      }
      journal.checkpointDurable(2);
      let result = 0;
      journal.readPrepare(1, prepare.words, 0, memoryBuffer(65536), (found) => {
        result = found;
      });
      journal.writePrepare(chain.next(), nothing);
      io.run();
      expect(result).toBe(PrepareRead.missing);
      expect(journal.isFaulty(slotCount + 1)).toBe(false);
    }
  });

  test("every flipped bit of header and body is damage, and makes the slot faulty", () => {
    const io = image.clone(1);
    const journal = open(io);
    const prepare = new Chain(journal).next(400);
    journal.writePrepare(prepare, nothing);
    io.run();
    const at = layout.prepareAt(1);
    for (let byte = 0; byte < headerSize + 400; byte += 1) {
      io.flip(at + byte, byte % 8);
      expect(read(io, journal, prepare)[0]).toBe(PrepareRead.damaged);
      expect(journal.isFaulty(1)).toBe(true);
      expect(journal.hasPrepare(1)).toBe(false);
      io.flip(at + byte, byte % 8);
      // Repaired: written again.
      expect(journal.canWrite(1)).toBe(true);
      journal.writePrepare(prepare, nothing);
      io.run();
      expect(journal.isFaulty(1)).toBe(false);
    }
  });

  test("an unreadable sector is damage", () => {
    const io = image.clone(1);
    const journal = open(io);
    const prepare = new Chain(journal).next(9000);
    journal.writePrepare(prepare, nothing);
    io.run();
    io.unreadable.add(layout.prepareAt(1) / sectorSize + 2);
    expect(read(io, journal, prepare)[0]).toBe(PrepareRead.damaged);
  });
});

describe("headers of others", () => {
  test("an installed header is dirty until its prepare is written", () => {
    const io = image.clone(1);
    const journal = open(io, failOnFatal, false);
    const prepare = new Chain(journal).next();
    journal.installHeader(prepare.words, 0);
    expect(journal.hasHeader(1)).toBe(true);
    expect(journal.isDirty(1)).toBe(true);
    expect(journal.isFaulty(1)).toBe(false);
    expect(read(io, journal, prepare)[0]).toBe(PrepareRead.missing);
    journal.writePrepare(prepare, nothing);
    io.run();
    expect(journal.isDirty(1)).toBe(false);
    journal.installHeader(prepare.words, 0);
    expect(journal.hasPrepare(1)).toBe(true);
  });

  test("a header that replaces another and comes back finds its prepare", () => {
    const io = image.clone(1);
    const journal = open(io, failOnFatal, false);
    const prepare = new Chain(journal).next();
    const other = new Chain(journal).next(1000, 2, 5);
    journal.writePrepare(prepare, nothing);
    io.run();
    journal.installHeader(other.words, 0);
    expect(journal.isDirty(1)).toBe(true);
    expect(journal.hasPrepareOf(1, prepare.words, 0)).toBe(false);
    journal.installHeader(prepare.words, 0);
    expect(journal.hasPrepareOf(1, prepare.words, 0)).toBe(true);
  });

  test("a header that changes under a write stays dirty after it", () => {
    const io = image.clone(1);
    const journal = open(io, failOnFatal, false);
    const prepare = new Chain(journal).next();
    const other = new Chain(journal).next(1000, 2, 5);
    journal.writePrepare(prepare, nothing);
    journal.installHeader(other.words, 0);
    io.run();
    expect(journal.isDirty(1)).toBe(true);
    journal.writePrepare(other, nothing);
    io.run();
    expect(journal.hasPrepareOf(1, other.words, 0)).toBe(true);
  });

  test("a lost prepare stays faulty until it is written, whatever header comes", () => {
    const io = image.clone(1);
    const first = open(io, failOnFatal, false);
    const prepare = new Chain(first).next();
    first.writePrepare(prepare, nothing);
    io.run();
    io.flip(layout.prepareAt(1) + 30, 1);
    const journal = open(io.afterKill(1), failOnFatal, false);
    expect([journal.isFaulty(1), journal.isDirty(1), journal.hasHeader(1)]).toEqual([
      true,
      true,
      true,
    ]);
    journal.installHeader(new Chain(journal).next(1000, 2, 5).words, 0);
    expect(journal.isFaulty(1)).toBe(true);
    journal.installHeader(prepare.words, 0);
    expect([journal.isFaulty(1), journal.isDirty(1)]).toEqual([true, true]);
  });

  test("a lost prepare stays lost when a log ends before it and the next one has it again", () => {
    const io = image.clone(1);
    const first = open(io, failOnFatal, false);
    const chain = new Chain(first);
    const prepares = [chain.next(), chain.next()].map((prepare) => {
      first.writePrepare(prepare, nothing);
      return prepare.words.slice();
    });
    io.run();
    io.flip(layout.prepareAt(2) + 30, 1);
    for (const forget of ["above", "stale"]) {
      const journal = open(io.afterKill(1), failOnFatal, false);
      if (forget === "above") journal.removeAbove(1);
      else journal.removeStale(1, 9);
      expect(journal.hasHeader(2)).toBe(false);
      journal.installHeader(prepares[1]!, 0);
      expect([journal.hasPrepare(2), journal.isFaulty(2)]).toEqual([false, true]);
    }
  });

  test("what was prepared after the log view is not of its log", () => {
    const io = image.clone(1);
    const journal = open(io, failOnFatal, false);
    const chain = new Chain(journal);
    for (const view of [1, 1, 2, 3]) journal.writePrepare(chain.next(0, view), nothing);
    io.run();
    journal.removeStale(1, 2);
    expect([1, 2, 3, 4].map((op) => journal.hasHeader(op))).toEqual([true, false, true, false]);
  });

  test("a log that ends earlier forgets what lay beyond", () => {
    const io = image.clone(1);
    const journal = open(io, failOnFatal, false);
    const chain = new Chain(journal);
    for (let op = 1; op <= 6; op += 1) journal.writePrepare(chain.next(), nothing);
    io.run();
    journal.removeAbove(4);
    expect([4, 5, 6].map((op) => journal.hasHeader(op))).toEqual([true, false, false]);
    expect(journal.hasPrepare(5)).toBe(false);
    expect(journal.chainIntact(4)).toBe(true);
    expect(journal.chainIntact(5)).toBe(false);
  });
});
