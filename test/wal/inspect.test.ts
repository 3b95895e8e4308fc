/** Files at rest: summaries, and every damaged place named. */
import { describe, expect, test } from "vitest";
import { headerSize, replySlotSize, sectorSize } from "../../src/core/limits.ts";
import { ClientReplies } from "../../src/wal/client-replies.ts";
import { DataFileLayout, sectorCeil } from "../../src/wal/data-file.ts";
import {
  type FileReader,
  inspectJournal,
  inspectReplies,
  inspectSuperblock,
  verifyDataFile,
} from "../../src/wal/inspect.ts";
import { failOnFatal, file, formatted, Model, makeReply, smallFormat } from "./harness.ts";
import { type MemoryFileIo, memoryBuffer } from "./memory-file-io.ts";

const layout = new DataFileLayout(smallFormat);

function readerOf(io: MemoryFileIo): FileReader {
  return {
    read(target, length, fileAt) {
      if (fileAt + length > io.sizeBytes) return false;
      for (let at = 0; at < length; at += sectorSize) {
        if (io.unreadable.has((fileAt + at) / sectorSize)) return false;
      }
      target.set(io.peek(fileAt, length));
      return true;
    },
  };
}

/** 75 ops: the ring has wrapped twice, ops 73 … 75 are live; replies in slots 0 and 2. */
const served = ((): MemoryFileIo => {
  const io = formatted(5);
  const model = new Model(io, 5, new Map());
  model.open();
  model.serve(75);
  model.stop();
  const replies = new ClientReplies({ io, file, layout, onFatal: failOnFatal });
  const buffer = memoryBuffer(replySlotSize);
  for (const slot of [0, 2]) {
    makeReply(buffer, 0, slot + 1, 70 + slot, 5000 * slot + 64);
    replies.write(slot, buffer, 0, () => undefined);
    io.run();
  }
  return io.afterKill(1);
})();

function journalOf(io: MemoryFileIo): ReturnType<typeof inspectJournal> {
  const reader = readerOf(io);
  return inspectJournal(reader, layout, inspectSuperblock(reader).current!);
}

describe("a sound file", () => {
  test("superblock", () => {
    const summary = inspectSuperblock(readerOf(served));
    expect(summary.error).toBeNull();
    expect(summary.copies.map((copy) => copy.state)).toEqual(new Array(4).fill("is intact"));
    const current = summary.current!;
    expect(current.cluster).toBe("00000001000000000000000000000007");
    expect(current.checkpointOp).toBe(72);
    // 18 checkpoints, and the view that was raised.
    expect(current.sequence).toBe(1 + 18 + 1);
    expect([current.view, current.logView]).toEqual([1, 1]);
    expect(current.format).toEqual(smallFormat);
    expect(current.checkpointId).toMatch(/^[0-9a-f]{32}$/);
    expect(current.parentCheckpointId).not.toBe(current.checkpointId);
  });

  test("journal", () => {
    const journal = journalOf(served);
    expect(journal.damaged).toEqual([]);
    expect(journal.fatal).toBeNull();
    expect([journal.checkpointOp, journal.opHead]).toEqual([72, 75]);
    expect(journal.slots.length).toBe(smallFormat.slotCount);
    const decisions = journal.slots.map((slot) => slot.decision);
    expect(decisions.filter((decision) => decision === "good").length).toBe(3);
    expect(decisions.filter((decision) => decision === "old").length).toBe(29);
    const newest = journal.slots[75 % smallFormat.slotCount]!;
    expect(newest.prepare).toEqual(newest.header);
    expect([newest.prepare!.op, newest.prepare!.view]).toEqual([75, 1]);
  });

  test("replies", () => {
    const { slots, damaged } = inspectReplies(readerOf(served), layout);
    expect(damaged).toEqual([]);
    expect(slots.map((slot) => slot.state)).toEqual(["good", "empty", "good", "empty"]);
    expect([slots[2]!.op, slots[2]!.size]).toEqual([72, headerSize + 10_064]);
    expect(slots[2]!.client).toBe("00000000000000000000000000000003");
  });

  test("nothing is damaged", () => {
    expect(verifyDataFile(readerOf(served))).toEqual([]);
    expect(verifyDataFile(readerOf(formatted()))).toEqual([]);
  });
});

describe("a flipped bit is found and named", () => {
  /** Offset and length of what is live, by the name of the place. */
  function livePlaces(): [place: string, at: number, length: number, serious: boolean][] {
    const places: [string, number, number, boolean][] = [];
    for (let copy = 0; copy < 4; copy += 1) {
      places.push([`superblock copy ${copy}`, layout.superblockCopyAt(copy), 8192, false]);
    }
    for (const slot of journalOf(served).slots) {
      const headerAt = layout.headerRingAt + slot.slot * headerSize;
      places.push([`journal slot ${slot.slot} (header)`, headerAt, headerSize, false]);
      const live = slot.prepare!.op > 72;
      const length = sectorCeil(slot.prepare!.size);
      const at = layout.prepareAt(slot.slot);
      places.push([`journal slot ${slot.slot} (prepare)`, at, length, live]);
    }
    for (const reply of inspectReplies(readerOf(served), layout).slots) {
      if (reply.state !== "good") continue;
      const length = sectorCeil(reply.size!);
      places.push([`client reply slot ${reply.slot}`, layout.replyAt(reply.slot), length, true]);
    }
    return places;
  }

  test("in every place that counts, header and body and padding", () => {
    let places = 0;
    for (const [place, at, length, serious] of livePlaces()) {
      places += 1;
      const samples = [0, 16, 100, 255, 256, 300, length >> 1, length - 1];
      for (const sample of samples) {
        if (sample >= length) continue;
        const io = served.afterKill(1);
        io.flip(at + sample, (sample + places) % 8);
        const damaged = verifyDataFile(readerOf(io));
        expect(damaged.map((damage) => damage.place)).toEqual([place]);
        expect(layout.describeOffset(damaged[0]!.offset)).toBe(place);
        if (!serious) expect(damaged[0]!.serious).toBe(false);
      }
    }
    expect(places).toBe(4 + 2 * 32 + 2);
  });

  test("every byte of one live prepare's header, and its body, is serious", () => {
    const at = layout.prepareAt(74 % smallFormat.slotCount);
    for (let byte = 0; byte < headerSize; byte += 1) {
      const io = served.afterKill(1);
      io.flip(at + byte, byte % 8);
      const damaged = verifyDataFile(readerOf(io));
      expect(damaged.length).toBe(1);
      expect(damaged[0]!.place).toBe(`journal slot ${74 % smallFormat.slotCount} (prepare)`);
      expect(damaged[0]!.serious).toBe(true);
    }
  });

  test("an unreadable sector is named", () => {
    const io = served.afterKill(1);
    io.unreadable.add(layout.prepareAt(9) / sectorSize);
    io.unreadable.add(layout.replyAt(2) / sectorSize);
    expect(verifyDataFile(readerOf(io)).map((damage) => [damage.place, damage.what])).toEqual([
      ["journal slot 9 (prepare)", "cannot be read"],
      ["client reply slot 2", "cannot be read"],
    ]);
  });
});

describe("a file that does not open", () => {
  test("says why, and which copies are bad", () => {
    const io = served.afterKill(1);
    for (const copy of [0, 1, 3]) io.flip(layout.superblockCopyAt(copy) + 500, 0);
    const summary = inspectSuperblock(readerOf(io));
    expect(summary.error).toContain("No two superblock copies agree");
    expect(summary.current).toBeNull();
    expect(verifyDataFile(readerOf(io)).map((damage) => [damage.place, damage.serious])).toEqual([
      ["superblock copy 0", true],
      ["superblock copy 1", true],
      ["superblock copy 3", true],
    ]);
  });

  test("a copy left behind by an interrupted update is no damage", () => {
    const io = served.afterKill(1);
    const model = new Model(io, 1, new Map());
    io.crashAtWrite = 2;
    expect(() => model.open()).toThrow();
    const summary = inspectSuperblock(readerOf(io.afterCrash(2)));
    expect(summary.error).toBeNull();
    expect(
      summary.copies.filter((copy) => copy.state.includes("left behind")).length,
    ).toBeGreaterThan(0);
  });
});

test("a torn write is told apart from damage that matters", () => {
  const io = served.afterKill(1);
  const slot = 76 % smallFormat.slotCount;
  io.flip(layout.prepareAt(slot) + 9, 1);
  const journal = journalOf(io);
  expect(journal.fatal).toBeNull();
  expect(journal.opHead).toBe(75);
  expect(journal.damaged.map((damage) => [damage.place, damage.serious])).toEqual([
    [`journal slot ${slot} (prepare)`, false],
  ]);
});
