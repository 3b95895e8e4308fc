/**
 * Recovery of journals that were left in a given state. A journal is written as a line, one letter
 * per op above the checkpoint:
 *
 *   P  prepare and header landed        p  prepare landed, header did not
 *   t  prepare torn, no header          T  header landed, prepare damaged
 *   b  header damaged, prepare landed   x  both damaged
 *   .  never written                    d  header damaged, prepare never written
 *   s  header landed, prepare stale     o  good, but of an older view and another history
 *   n  header of an older view, prepare rewritten in a newer one
 *   v  the other way around             m  prepare of another slot (misdirected), header landed
 *   f  prepare of another cluster, header landed
 *
 * The result names the head, ops to be cleared, faulty ops, and whether the head is uncertain; for a
 * cluster of one, what it refuses to start with.
 */
import { describe, expect, test } from "vitest";
import { headerSize } from "../../src/core/limits.ts";
import { DataFileLayout, type FormatOptions } from "../../src/wal/data-file.ts";
import { copyHeader, headerWords, scratchMemory } from "../../src/wal/headers.ts";
import { Journal } from "../../src/wal/journal.ts";
import type { Recovery } from "../../src/wal/journal-scan.ts";
import { failOnFatal, file, formatted, makePrepare, smallFormat } from "./harness.ts";
import { type MemoryFileIo, memoryBuffer } from "./memory-file-io.ts";

const layout = new DataFileLayout(smallFormat);
const { slotCount } = layout;
const image = formatted();
const bodySizeDefault = 6000;

interface Setting {
  /** Several replicas instead of one. */
  readonly cluster?: boolean;
  readonly checkpointOp?: number;
  /** Each prepare says that ops up to this many before it were committed. */
  readonly lag?: number;
  readonly commitMax?: number;
  readonly bodySize?: number;
}

/** Writes a journal in the described state. */
class Disk {
  readonly io: MemoryFileIo;
  readonly checkpointHeader = new Uint32Array(headerWords);
  private readonly buffer = memoryBuffer(64 * 1024);
  private readonly parent = new Uint32Array(headerWords);
  private readonly bodySize: number;

  constructor(
    readonly setting: Setting,
    line: string,
    seed = 1,
  ) {
    this.io = image.clone(seed);
    this.bodySize = setting.bodySize ?? bodySizeDefault;
    const checkpointOp = setting.checkpointOp ?? 0;
    copyHeader(this.parent, 0, bytesToWords(this.io.peek(layout.prepareAt(0), headerSize)), 0);
    for (let op = 1; op <= checkpointOp; op += 1) this.write("P", op);
    copyHeader(this.checkpointHeader, 0, this.parent, 0);
    for (let index = 0; index < line.length; index += 1) {
      this.write(line[index]!, checkpointOp + 1 + index);
    }
  }

  private make(op: number, view: number, salt: number, parent: Uint32Array = this.parent): void {
    const commit = Math.max(0, op - (this.setting.lag ?? 8));
    makePrepare(this.buffer, op, view, commit, parent, this.bodySize, salt);
  }

  private putHeader(op: number): void {
    this.io.poke(this.headerAt(op), this.buffer.bytes.subarray(0, headerSize));
  }
  private putPrepare(op: number, from = 0): void {
    const bytes = this.buffer.bytes.subarray(from, headerSize + this.bodySize);
    this.io.poke(layout.prepareAt(op % slotCount) + from, bytes);
  }
  private headerAt(op: number): number {
    return layout.headerRingAt + (op % slotCount) * headerSize;
  }

  private write(letter: string, op: number): void {
    const { io } = this;
    const prepareAt = layout.prepareAt(op % slotCount);
    const headerAt = this.headerAt(op);
    const older = scratchMemory(headerSize).words;
    if (letter === "n" || letter === "v") {
      this.make(op, letter === "n" ? 1 : 3, 9);
      this.putHeader(op);
    }
    this.make(op, letter === "o" ? 1 : 2, 1, letter === "o" ? older : this.parent);
    // The chain goes on as it would have, whatever became of this prepare.
    copyHeader(this.parent, 0, this.buffer.words, 0);
    switch (letter) {
      case ".":
        return;
      case "s":
        this.putHeader(op);
        return;
      case "t":
        // The end landed, the start did not.
        this.putPrepare(op, 4096);
        io.flip(prepareAt + 100, 2);
        return;
      case "x":
        this.putPrepare(op);
        io.flip(prepareAt + 300, 1);
        io.flip(headerAt + 100, 1);
        return;
      case "d":
        io.flip(headerAt + 100, 1);
        return;
      case "m":
        this.putHeader(op);
        this.make(op + 1, 2, 1);
        this.putPrepare(op);
        return;
      case "f":
        this.putHeader(op);
        makePrepare(this.buffer, op, 2, 0, older, this.bodySize, 1, Uint32Array.of(8, 0, 0, 1));
        this.putPrepare(op);
        return;
    }
    this.putPrepare(op);
    if ("PTbo".includes(letter)) this.putHeader(op);
    if (letter === "T") io.flip(prepareAt + headerSize + this.bodySize - 1, 7);
    if (letter === "b") io.flip(headerAt + 17, 0);
  }

  /**
   * Opens it. A journal that opens must open again with the same result, and with nothing left to
   * restore, when power is lost the moment it has opened.
   */
  open(): Recovery {
    const first = this.openOnce(this.io);
    if (first.fatal !== null) return first;
    const again = this.openOnce(this.io.afterCrash(2));
    expect(describeRecovery(again, true)).toBe(describeRecovery(first, true));
    expect(again.slotsToClear).toEqual([]);
    return first;
  }

  openOnce(io: MemoryFileIo): Recovery {
    const journal = new Journal({ io, file, layout, onFatal: failOnFatal });
    let recovery: Recovery | null = null;
    const start = {
      checkpointOp: this.setting.checkpointOp ?? 0,
      checkpointHeader: this.checkpointHeader,
      checkpointHeaderAt: 0,
      commitMax: this.setting.commitMax ?? 0,
      single: this.setting.cluster !== true,
    };
    journal.open(start, (result) => {
      recovery = result;
    });
    io.run();
    return recovery!;
  }
}

function bytesToWords(bytes: Uint8Array): Uint32Array {
  return new Uint32Array(bytes.slice().buffer);
}

function describeRecovery(recovery: Recovery, afterwards = false): string {
  if (recovery.fatal !== null) {
    const match =
      /Op (\d+) (?:is|may be) lost|between op \d+ and op (\d+)|older than the journal/.exec(
        recovery.fatal,
      );
    expect(match, recovery.fatal).not.toBeNull();
    return `fatal ${match![1] ?? match![2] ?? "beyond"}`;
  }
  const parts = [`head ${recovery.opHead}`];
  const { checkpointOp } = recovery;
  const cleared = recovery.slotsToClear
    .map((slot) => checkpointOp + 1 + ((slot - (checkpointOp + 1) + 8 * slotCount) % slotCount))
    .sort((a, b) => a - b);
  if (cleared.length > 0 && !afterwards) parts.push(`clear ${cleared.join(" ")}`);
  const faulty = [...recovery.faultyOps].filter((op) => op >= 0).sort((a, b) => a - b);
  if (faulty.length > 0) parts.push(`faulty ${faulty.join(" ")}`);
  if (recovery.headUncertain) parts.push("uncertain");
  return parts.join(", ");
}

function check(line: string, setting: Setting): string {
  return describeRecovery(new Disk(setting, line).open());
}

describe("a cluster of one", () => {
  test.each([
    ["nothing written", "", 8, "head 0"],
    ["all landed", "PPPPPP", 8, "head 6"],
    ["headers behind", "PPPppp", 8, "head 6"],
    ["header of k + 1 landed, that of k did not", "PPpP", 8, "head 4"],
    ["torn newest", "PPPt", 8, "head 3, clear 4"],
    ["torn, later ones landed", "PPtpPppp", 8, "head 2, clear 3 4 5 6 7 8"],
    ["never arrived, later ones landed", "PP.pPp.p", 8, "head 2, clear 4 5 6 8"],
    ["two torn in a row", "PPttp", 8, "head 2, clear 3 4 5"],
    ["torn header sector", "PPbbp", 8, "head 5"],
    ["torn header sector, torn prepares", "PPbx", 8, "head 3, clear 4"],
    ["torn header sector over slots never used", "PPbdd", 8, "head 3"],
    ["rot with its header landed", "PPTPP", 8, "fatal 3"],
    ["rot of the newest with its header landed", "PPPT", 8, "fatal 4"],
    ["rot beyond the end of the log, header landed", "PPtT", 8, "fatal 4"],
    ["lost write", "PPsP", 8, "fatal 3"],
    ["rot without header, committed says a later prepare", "Pptpppp", 3, "fatal 3"],
    ["rot without header, committed says a later header", "PptP", 1, "fatal 3"],
    ["hole that was committed", "PP.p", 1, "fatal 3"],
    ["rot of a newest without header looks torn", "PPPpt", 1, "head 4, clear 5"],
    ["both damaged, and committed", "PPxP", 1, "fatal 3"],
    ["as many torn as can be in flight", "PPtttttttt", 8, "head 2, clear 3 4 5 6 7 8 9 10"],
    ["both damaged, no more than in flight", "PPxxxxxxxx", 8, "head 2, clear 3 4 5 6 7 8 9 10"],
    ["both damaged, more than can be in flight", "PPxxxxxxxxx", 8, "fatal 3"],
    ["everything damaged", "x".repeat(31), 8, "fatal 1"],
    [
      "a damaged stretch that an intact slot cuts off",
      "PPtt.xxxxxxxxxx",
      20,
      "head 2, clear 3 4 6 7 8 9 10 11 12 13 14 15",
    ],
    ["misdirected over it", "PPmP", 8, "fatal 3"],
    ["another cluster's over it", "PPfP", 8, "fatal 3"],
    ["rewritten in a newer view, header behind", "PPnP", 8, "head 4"],
    ["newer header, older prepare", "PPvP", 8, "fatal 3"],
    ["leftover of an older history at the end", "PPo", 8, "head 2, clear 3"],
    ["leftover of an older history, but committed", "PPoPP", 1, "fatal 3"],
  ])("%s: %s", (_name, line, lag, expected) => {
    expect(check(line, { lag })).toBe(expected);
    // The same after the ring has wrapped: expired prepares and headers lie underneath.
    const wrapped = check(line, { lag, checkpointOp: 64 });
    expect(wrapped).toBe(expected.replace(/\d+/g, (op) => String(Number(op) + 64)));
    const between = check(line, { lag, checkpointOp: 41 });
    expect(between).toBe(expected.replace(/\d+/g, (op) => String(Number(op) + 41)));
  });

  test("bodies are verified whether or not they reach beyond the first sector", () => {
    for (const bodySize of [1, 500, 3840, 3841, 60_000]) {
      expect(check("PPTP", { bodySize })).toBe("fatal 3");
      expect(check("PPPP", { bodySize })).toBe("head 4");
    }
  });

  test("what the superblock knows to be committed must be there", () => {
    expect(check("PPt", { commitMax: 2 })).toBe("head 2, clear 3");
    expect(check("PPt", { commitMax: 3 })).toBe("fatal 3");
    expect(check("PP", { commitMax: 3 })).toBe("fatal 3");
  });

  test("a chain that breaks within one incarnation is refused", () => {
    const disk = new Disk({}, "PPP");
    // Op 3 again, same view, with another predecessor.
    const buffer = memoryBuffer(64 * 1024);
    makePrepare(buffer, 3, 2, 0, new Uint32Array(4), bodySizeDefault, 5);
    disk.io.poke(layout.prepareAt(3), buffer.bytes.subarray(0, headerSize + bodySizeDefault));
    disk.io.poke(layout.headerRingAt + 3 * headerSize, buffer.bytes.subarray(0, headerSize));
    const { fatal } = disk.open();
    expect(fatal).toContain("The log is broken between op 2 and op 3: journal slot 3 (prepare)");
  });

  test("a full ring of live prepares is read to its end", () => {
    expect(check("P".repeat(slotCount), { checkpointOp: 41 })).toBe(`head ${41 + slotCount}`);
  });

  test("a journal newer than its superblock is refused", () => {
    const disk = new Disk({ checkpointOp: 41 }, "PPPP");
    const older = new Disk({ checkpointOp: 4 }, "");
    for (const part of [layout.headerRingAt, layout.prepareAt(42 % slotCount)]) {
      older.io.poke(part, disk.io.peek(part, 8192));
    }
    expect(older.open().fatal).toContain("the superblock is older than the journal");
  });

  test("damage below the checkpoint is no error", () => {
    for (const letter of "tTxms") {
      const disk = new Disk({ checkpointOp: 10 }, "PP");
      for (let op = 1; op <= 10; op += 1) {
        if (letter !== "s") disk.io.flip(layout.prepareAt(op) + 50, 1);
        if (letter !== "T") disk.io.flip(layout.headerRingAt + op * headerSize + 50, 1);
      }
      expect(disk.open().opHead).toBe(12);
    }
  });

  test("the text names op, slot, and what is wrong", () => {
    const text = (line: string, lag: number): string => {
      return new Disk({ lag, checkpointOp: 64 }, line).open().fatal!;
    };
    expect(text("PPT", 8)).toBe(
      "Op 67 is lost: journal slot 3 (prepare) has a body with a wrong checksum, and its " +
        "redundant header proves that it was written. A cluster of one cannot repair its " +
        "journal: restore the data file from a copy.",
    );
    expect(text("PPtppp", 2)).toContain(
      "Op 67 is lost: journal slot 3 (prepare) has a header with a wrong checksum, and the log " +
        "says that ops up to 68 were committed.",
    );
    expect(text("PPm", 8)).toContain("belongs to another slot (a misdirected write)");
    expect(text("PPf", 8)).toContain("belongs to another cluster");
    expect(text("PPv", 8)).toContain("holds another prepare");
    expect(text("PPttttttttt", 20)).toContain(
      "Op 67 may be lost: journal slot 3 (prepare) has a header with a wrong checksum, and the 8 " +
        "slots after it are damaged too, more than a power cut leaves.",
    );
  });

  test("an unreadable sector is damage of that place alone", () => {
    const disk = new Disk({ checkpointOp: 64 }, "PPPpp");
    disk.io.unreadable.add(layout.headerRingAt / 4096);
    expect(disk.openOnce(disk.io).opHead).toBe(69);
    const first = new Disk({}, "PPPP");
    first.io.unreadable.add(layout.prepareAt(2) / 4096);
    expect(first.open().fatal).toContain("Op 2 is lost: journal slot 2 (prepare) cannot be read");
    const second = new Disk({}, "PPPP");
    second.io.unreadable.add(layout.prepareAt(2) / 4096 + 1);
    expect(second.open().fatal).toContain("Op 2 is lost: journal slot 2 (prepare) cannot be read");
  });
});

describe("several replicas", () => {
  test.each([
    ["all landed", "PPpp", "head 4"],
    ["torn newest", "PPPt", "head 3, clear 4"],
    ["several torn at the end", "PPPttt", "head 3, clear 4 5 6"],
    ["torn below the head", "PPtp", "head 4, faulty 3"],
    ["a gap was never here", "PP.p", "head 4"],
    ["rot with its header landed", "PPTP", "head 4, faulty 3"],
    ["rot of the newest with its header landed", "PPPT", "head 4, faulty 4"],
    ["lost write of the newest", "PPPs", "head 4, faulty 4"],
    ["rewritten in a newer view", "PPnP", "head 4"],
    ["newer header, older prepare", "PPvP", "head 4, faulty 3"],
    ["misdirected", "PPmP", "head 4, faulty 3"],
    ["another cluster's", "PPfP", "head 4, faulty 3"],
    ["bad header over a gap", "PPdP", "head 4, faulty 3"],
    ["bad header over an unused slot", "PPPd", "head 3"],
    ["both damaged below the head", "PPxP", "head 4, faulty 3"],
    ["both damaged at the end", "PPPx", "head 3, faulty 4, uncertain"],
    ["both damaged, far beyond", "PP...........x", "head 2, faulty 14, uncertain"],
    ["header damaged", "PPbP", "head 4"],
  ])("%s: %s", (_name, line, expected) => {
    expect(check(line, { cluster: true })).toBe(expected);
    const wrapped = check(line, { cluster: true, checkpointOp: 64 });
    expect(wrapped).toBe(expected.replace(/\d+/g, (op) => String(Number(op) + 64)));
  });

  test("a header sector that is damaged as a whole is what a crash leaves", () => {
    const setting = { cluster: true, checkpointOp: 47 };
    // Ops 64 … 79 share a header sector. In the first line two of its headers are sound.
    const rotten = `PP${"b".repeat(6)}xx${"d".repeat(6)}`.padStart(32, "P");
    expect(check(rotten, setting)).toBe("head 71, faulty 72 73, uncertain");
    const torn = ("b".repeat(8) + "xx" + "d".repeat(6)).padStart(32, "P");
    expect(check(torn, setting)).toBe("head 71, clear 72 73");
    const far = ("b".repeat(4) + "d".repeat(9) + "xdd").padStart(32, "P");
    expect(check(far, setting)).toBe("head 67, faulty 77, uncertain");
  });

  test("the header of a lost prepare still says what was committed", () => {
    const { commitKnown } = new Disk({ cluster: true, lag: 1 }, "PPT").open();
    expect(commitKnown).toBe(2);
  });

  test("ops beyond the ring are cut, and never take a live one with them", () => {
    const disk = new Disk({ cluster: true, checkpointOp: 41 }, "PPPP");
    const older = new Disk({ cluster: true, checkpointOp: 4 }, "");
    const part = layout.prepareAt(42 % slotCount);
    older.io.poke(part, disk.io.peek(part, 8192));
    expect(describeRecovery(older.open())).toBe("head 4, clear 10");
    // A live header whose slot holds an op from beyond.
    const live = new Disk({ cluster: true, checkpointOp: 4 }, "PPPPPPP");
    live.io.poke(part, disk.io.peek(part, 8192));
    expect(describeRecovery(live.open())).toBe("head 11, faulty 10");
  });
});

test("a crash at any write of recovery, again and again, changes nothing", () => {
  const lines: readonly [string, number][] = [
    ["PPtpPppp", 8],
    ["PPppp", 8],
    ["Pb.ppP", 8],
    ["PPbbxpppp", 9],
  ];
  for (const [line, lag] of lines) {
    for (const checkpointOp of [0, 43]) {
      for (let seed = 1; seed <= 20; seed += 1) {
        const disk = new Disk({ lag, checkpointOp }, line, seed);
        const head = disk.openOnce(disk.io.clone(seed)).opHead;
        let io = disk.io.clone(seed, { garbage: true });
        for (let round = 0; round < 6; round += 1) {
          io.crashAtWrite = (seed + round) % 7;
          try {
            const recovery = disk.openOnce(io);
            expect(recovery.opHead).toBe(head);
          } catch (error) {
            if (!(error instanceof Error) || error.constructor.name !== "Crash") throw error;
          }
          io = io.afterCrash(seed * 10 + round);
        }
        expect(disk.openOnce(io).opHead).toBe(head);
      }
    }
  }
});

test("formats of other sizes recover alike", () => {
  const options: FormatOptions = {
    ...smallFormat,
    slotCount: 64,
    checkpointInterval: 20,
    barOps: 4,
  };
  const io = formatted(3, {}, options);
  const journal = new Journal({
    io,
    file,
    layout: new DataFileLayout(options),
    onFatal: failOnFatal,
  });
  const root = bytesToWords(io.peek(new DataFileLayout(options).prepareAt(0), headerSize));
  let head = -1;
  const start = {
    checkpointOp: 0,
    checkpointHeader: root,
    checkpointHeaderAt: 0,
    commitMax: 0,
    single: true,
  };
  journal.open(start, (recovery) => {
    head = recovery.opHead;
  });
  io.run();
  expect(head).toBe(0);
  expect(journal.hasPrepare(0)).toBe(true);
});
