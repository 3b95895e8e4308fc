/** The superblock: quorum of copies, crash at every write, damage in every byte, refusals. */
import { describe, expect, test } from "vitest";
import { DataFileError } from "../../src/core/data-file-error.ts";
import { headerSize } from "../../src/core/limits.ts";
import { superblockCopySize } from "../../src/wal/data-file.ts";
import { headerWords, scratchMemory } from "../../src/wal/headers.ts";
import { Superblock } from "../../src/wal/superblock.ts";
import { sealSuperblock, superblockLayout } from "../../src/wal/superblock-layout.ts";
import { chooseSuperblock } from "../../src/wal/superblock-quorum.ts";
import {
  crashes,
  failOnFatal,
  file,
  formatInto,
  formatted,
  makePrepare,
  openSuperblock,
  release,
  smallFormat,
} from "./harness.ts";
import { type MemoryFileIo, memoryBuffer } from "./memory-file-io.ts";

const image = formatted();
const noHeaders = new Uint32Array(0);

function headerOf(op: number): Uint32Array {
  const buffer = memoryBuffer(4096);
  makePrepare(buffer, op, 1, op - 1, new Uint32Array(4), 0, 1);
  return buffer.words.slice(0, headerWords);
}

function openError(io: MemoryFileIo): DataFileError {
  try {
    openSuperblock(io);
  } catch (error) {
    if (error instanceof DataFileError) return error;
    throw error;
  }
  throw new Error("it opened");
}

describe("fresh file", () => {
  test("opens as it was formatted", () => {
    const superblock = openSuperblock(image.clone(1));
    expect(superblock.formatOptions).toEqual(smallFormat);
    expect(superblock.sequence).toBe(1);
    expect(superblock.view).toBe(0);
    expect(superblock.checkpointOp).toBe(0);
    expect(superblock.viewHeaderCount).toBe(0);
    expect(superblock.storageRoot.every((word) => word === 0)).toBe(true);
  });

  test("an interrupted format is refused or complete, never in between", () => {
    let crashAt = 0;
    let refused = 0;
    for (; ; crashAt += 1) {
      // Over a valid older file, which must not show through.
      const io = image.clone(crashAt, { garbage: true });
      io.crashAtWrite = crashAt;
      const crashed = crashes(() => formatAgain(io));
      const after = io.afterCrash(crashAt);
      if (!crashed) break;
      // The first write clears the old superblocks and may itself be interrupted.
      if (crashAt === 0) continue;
      let opened: Superblock | null = null;
      try {
        opened = openSuperblock(after);
      } catch (error) {
        expect(error).toBeInstanceOf(DataFileError);
        refused += 1;
      }
      if (opened !== null) {
        // Then every write before is durable: all slots show a header of the new cluster.
        expect(opened.formatOptions.cluster[0]).toBe(otherCluster[0]);
        for (let slot = 0; slot < smallFormat.slotCount; slot += 1) {
          const at = 64 * 1024 + smallFormat.slotCount * headerSize + slot * 1024 * 1024;
          expect(after.peek(at + 80, 4)[0]).toBe(otherCluster[0]);
        }
      }
    }
    // 1 clearing, 32 slots, 1 for replies, 1 header ring, and copies until two agree.
    expect(crashAt).toBe(39);
    expect(refused).toBeGreaterThanOrEqual(35);
  });
});

const otherCluster = Uint32Array.of(99, 0, 0, 0);

function formatAgain(io: MemoryFileIo): void {
  formatInto(io, { ...smallFormat, cluster: otherCluster });
}

describe("updates", () => {
  test("a checkpoint carries op, header, root and the ids of its ancestors", () => {
    const io = image.clone(1);
    const superblock = openSuperblock(io);
    const ids: string[] = [];
    const idText = (): string => {
      const id = new Uint32Array(4);
      superblock.copyCheckpointId(id, 0);
      return id.join(",");
    };
    ids.push(idText());
    for (const op of [4, 8]) {
      superblock.pendingStorageRoot.fill(op);
      superblock.updateCheckpoint(op, headerOf(op), () => ids.push(idText()));
      io.run();
    }
    expect(new Set(ids).size).toBe(3);
    const again = openSuperblock(io.afterKill(2));
    expect(again.checkpointOp).toBe(8);
    expect(again.commitMax).toBe(8);
    expect(again.sequence).toBe(3);
    expect(again.checkpointHeader).toEqual(headerOf(8));
    expect(again.storageRoot.every((word) => word === 8)).toBe(true);
    expect(again.checkpointState.slice(64, 68).join(",")).toBe(ids[1]);
    expect(again.checkpointState.slice(68, 72).join(",")).toBe(ids[0]);
  });

  test("changes asked for meanwhile share the next update, in order", () => {
    const io = image.clone(1);
    const superblock = openSuperblock(io);
    const done: string[] = [];
    superblock.updateView(1, 0, 0, noHeaders, 0, () => done.push("view 1"));
    superblock.updateCheckpoint(4, headerOf(4), () => done.push("checkpoint 4"));
    expect(superblock.view).toBe(0);
    expect(superblock.busy).toBe(true);
    while (done.length === 0) io.step();
    // What waited is not durable yet, and does not show.
    expect(superblock.view).toBe(1);
    expect(superblock.checkpointOp).toBe(0);
    superblock.updateView(2, 2, 9, headerOf(9), 1, () => done.push("view 2"));
    io.run();
    expect(done).toEqual(["view 1", "checkpoint 4", "view 2"]);
    expect(superblock.busy).toBe(false);
    const again = openSuperblock(io.afterKill(2));
    expect([again.view, again.logView, again.checkpointOp, again.commitMax]).toEqual([2, 2, 4, 9]);
    expect(again.viewHeaderCount).toBe(1);
    expect(again.viewHeaders).toEqual(headerOf(9));
  });

  test("a crash at any write leaves the old or the new one, and what was called back stays", () => {
    for (let seed = 1; seed <= 20; seed += 1) {
      let crashAt = 0;
      for (; ; crashAt += 1) {
        const io = image.clone(seed, { garbage: true });
        io.crashAtWrite = crashAt;
        let durableView = 0;
        let askedView = 0;
        const crashed = crashes(() => {
          const superblock = openSuperblock(io);
          for (let view = 1; view <= 4; view += 1) {
            askedView = view;
            superblock.updateView(view, view, 0, noHeaders, 0, () => {
              durableView = view;
            });
            io.run();
          }
        });
        if (!crashed) break;
        // The next process may be interrupted while it rewrites copies, too.
        const second = io.afterCrash(seed + 1);
        second.crashAtWrite = seed % 5;
        crashes(() => openSuperblock(second));
        const superblock = openSuperblock(second.afterCrash(seed + 2));
        expect(superblock.view).toBeGreaterThanOrEqual(durableView);
        expect(superblock.view).toBeLessThanOrEqual(askedView);
      }
      expect(crashAt).toBe(16);
    }
  });

  test("after a crash and a new update, the abandoned one does not come back", () => {
    for (let crashAt = 0; crashAt < 4; crashAt += 1) {
      const io = image.clone(crashAt, {});
      io.crashAtWrite = crashAt;
      crashes(() => {
        openSuperblock(io).updateView(7, 7, 0, noHeaders, 0, () => undefined);
        io.run();
      });
      const second = io.afterCrash(1);
      const superblock = openSuperblock(second);
      const view = superblock.view;
      superblock.updateView(view + 1, view + 1, 0, noHeaders, 0, () => undefined);
      second.run();
      for (const copy of [0, 1, 2, 3]) {
        const third = second.afterKill(1);
        third.flip(copy * 16 * 1024 + 200, 3);
        expect(openSuperblock(third).view).toBe(view + 1);
      }
    }
  });

  test("a failed write stops the replica", () => {
    for (let write = 1; write <= 4; write += 1) {
      const io = image.clone(1);
      io.failAtWrite = write;
      const texts: string[] = [];
      const superblock = openSuperblock(io, (text) => texts.push(text));
      superblock.updateView(1, 1, 0, noHeaders, 0, () => texts.push("durable"));
      io.run();
      expect(texts).toEqual([`cannot write superblock copy ${write - 1}: error 5.`]);
    }
  });

  test.each([
    [1, "durable"],
    [2, "only 2 of 4"],
  ])("%i copies that read back wrong: %s", (count, expected) => {
    const io = image.clone(1);
    const texts: string[] = [];
    const superblock = openSuperblock(io, (text) => texts.push(text));
    superblock.updateView(1, 1, 0, noHeaders, 0, () => texts.push("durable"));
    for (let step = 0; step < 4; step += 1) io.step();
    for (let copy = 0; copy < count; copy += 1) io.flip(copy * 16 * 1024 + 999, 1);
    io.run();
    expect(texts.length).toBe(1);
    expect(texts[0]).toContain(expected);
  });
});

describe("opening", () => {
  test("any flipped bit in a copy is found, named, and healed from the others", () => {
    for (let at = 0; at < superblockCopySize; at += 1) {
      // All of the header; then a sample.
      if (at > 300 && at % 61 !== 0) continue;
      const copy = at % 4;
      const io = image.clone(1);
      io.flip(copy * 16 * 1024 + at, at % 8);
      const superblock = openSuperblock(io);
      expect(superblock.sequence).toBe(1);
      expect(superblock.rewritten?.damaged).toBe(true);
      expect(superblock.rewritten?.text).toMatch(
        new RegExp(`^superblock copy ${copy} .*: rewritten from the others$`),
      );
      // Healed: the other three may break now, one after the other, but for one.
      for (const other of [0, 1, 2, 3].filter((index) => index !== copy).slice(0, 2)) {
        io.flip(other * 16 * 1024 + 100, 0);
      }
      expect(openSuperblock(io.afterKill(1)).sequence).toBe(1);
    }
  });

  test("copies that an interrupted update left behind are told apart from damage", () => {
    const io = image.clone(1);
    expect(openSuperblock(io).rewritten).toBeNull();
    io.crashAtWrite = 2; // The first two of an update are there, or the first three.
    const superblock = openSuperblock(io);
    crashes(() => {
      superblock.updateView(1, 1, 0, noHeaders, 0, () => {});
      io.run();
    });
    const rewritten = openSuperblock(io.afterKill(1)).rewritten;
    expect(rewritten?.damaged).toBe(false);
    expect(rewritten?.text).toMatch(
      /^superblock copy 3 is left behind by an interrupted update: rewritten from the others$/,
    );
  });

  test("too few copies: says which are bad and why", () => {
    const io = image.clone(1);
    io.flip(100, 0);
    io.flip(16 * 1024 + 32, 0);
    io.unreadable.add(8);
    const error = openError(io);
    expect(error.code).toBe("ERR_SUPERBLOCK");
    expect(error.message).toBe(
      "No two superblock copies agree: copy 0 has a wrong checksum, copy 1 does not begin like " +
        "a superblock, copy 2 cannot be read, copy 3 alone has sequence 1.",
    );
  });

  test("an unreadable copy is healed", () => {
    const io = image.clone(1);
    io.unreadable.add(4);
    io.unreadable.add(5);
    const texts: string[] = [];
    // The sectors stay unreadable here, so three of four verify.
    openSuperblock(io, (text) => texts.push(text));
    expect(texts).toEqual([]);
    expect(io.writes).toBe(1);
  });

  test("a copy in another copy's place is a misdirected write", () => {
    const io = image.clone(1);
    io.poke(3 * 16 * 1024, io.peek(0, superblockCopySize));
    openSuperblock(io);
    expect(io.writes).toBe(1);
    expect(io.peek(3 * 16 * 1024 + 16, 1)[0]).toBe(3);
  });

  test("another file is not ours", () => {
    const io = image.clone(1);
    const noise = new Uint8Array(64 * 1024).fill(0x41);
    io.poke(0, noise);
    const error = openError(io);
    expect(error.code).toBe("ERR_NOT_DATA_FILE");
    expect(error.message).toContain("not a Pacioli data file");
  });

  test("another format version is named", () => {
    const io = image.clone(1);
    for (const copy of [0, 1, 2, 3]) {
      io.poke(copy * 16 * 1024 + superblockLayout.at.formatVersion, Uint8Array.of(9, 0, 0, 0));
    }
    const error = openError(io);
    expect(error.code).toBe("ERR_FORMAT_VERSION");
    expect(error.message).toBe("The data file has format version 9, this program reads 1.");
  });

  test("options that this program cannot run are refused", () => {
    const io = image.clone(1);
    editAll(io, (words) => {
      words[superblockLayout.word.clientsMax] = 0;
    });
    const error = openError(io);
    expect(error.code).toBe("ERR_FORMAT_OPTIONS");
    expect(error.message).toContain("0 clients");
  });

  test("a checkpoint that does not match its prepare header is refused", () => {
    const io = image.clone(1);
    editAll(io, (words) => {
      words[superblockLayout.word.checkpoint + 4] = 1;
    });
    expect(openError(io).code).toBe("ERR_SUPERBLOCK");
  });
});

/** Changes all copies and seals them again. */
function editAll(io: MemoryFileIo, edit: (words: Uint32Array) => void): void {
  const memory = scratchMemory(superblockCopySize);
  memory.bytes.set(io.peek(0, superblockCopySize));
  edit(memory.words);
  for (const copy of [0, 1, 2, 3]) {
    sealSuperblock(memory, copy);
    io.poke(copy * 16 * 1024, memory.bytes);
  }
}

describe("quorum", () => {
  const copyWords = superblockCopySize / 4;

  /**
   * Copies from a line such as "5a 5a 4 bad": sequence and history. Sequence n of history h has
   * sequence n − 1 of h as its parent; histories share nothing.
   */
  function choose(line: string): ReturnType<typeof chooseSuperblock> {
    const copies = scratchMemory(4 * superblockCopySize);
    line.split(" ").forEach((word, copy) => {
      if (word === "bad") return;
      const sequence = Number.parseInt(word, 10);
      const history = word.replace(/\d+/, "");
      const memory = scratchMemory(superblockCopySize);
      const parent = new Uint32Array(4);
      for (let index = 1; index <= sequence; index += 1) {
        memory.bytes.set(image.peek(0, superblockCopySize));
        memory.words[superblockLayout.word.sequence] = index;
        memory.words[superblockLayout.word.view] = history === "" ? 0 : history.charCodeAt(0);
        memory.words.set(parent, superblockLayout.word.parent);
        sealSuperblock(memory, copy);
        parent.set(memory.words.subarray(0, 4));
      }
      copies.words.set(memory.words, copy * copyWords);
    });
    return chooseSuperblock(copies, [false, false, false, false]);
  }

  test.each([
    ["3 3 3 3", "0, rewrite none"],
    ["4 3 3 3", "1, rewrite 0"],
    ["4 bad 3 3", "2, rewrite 0 1"],
    ["4 4 3 3", "0, rewrite 2 3"],
    ["4 4 bad 3", "0, rewrite 2 3"],
    ["4 4 4 bad", "0, rewrite 3"],
    ["bad bad 4 4", "2, rewrite 0 1"],
    ["4 4 2 1", "0, rewrite 2 3"],
    ["4 bad bad 3", "ERR_SUPERBLOCK"],
    ["4 bad bad bad", "ERR_SUPERBLOCK"],
    ["4 3 2 1", "ERR_SUPERBLOCK"],
    ["4 4 4 4x", "ERR_SUPERBLOCK contradict"],
    ["4 4 4x 4x", "ERR_SUPERBLOCK contradict"],
    ["4 4x 3 3", "ERR_SUPERBLOCK contradict"],
    ["5 3 3 3", "ERR_SUPERBLOCK history"],
    ["4x 3 3 3", "ERR_SUPERBLOCK history"],
    ["4 4 4 3x", "ERR_SUPERBLOCK history"],
    ["bad bad bad bad", "ERR_NOT_DATA_FILE"],
  ])("%s: %s", (line, expected) => {
    const choice = choose(line);
    if (choice.error === null) {
      const rewrite = choice.rewrite.length === 0 ? "none" : choice.rewrite.join(" ");
      expect(`${choice.winner}, rewrite ${rewrite}`).toBe(expected);
      return;
    }
    const [code, word] = expected.split(" ");
    expect(choice.error.code).toBe(code);
    if (word !== undefined) expect(choice.error.message).toContain(word);
  });
});

test("a superblock is opened once, and not before", () => {
  const io = image.clone(1);
  const superblock = new Superblock({ io, file, release, onFatal: failOnFatal });
  expect(() => superblock.updateView(1, 1, 0, noHeaders, 0, () => undefined)).toThrow("is open");
  expect(() => superblock.formatOptions).toThrow("is open");
});
