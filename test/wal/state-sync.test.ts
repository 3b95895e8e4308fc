/** The superblock moves to another replica's checkpoint; a lost file's replacement does not vote. */
import { describe, expect, test } from "vitest";
import { superblockView } from "../../src/cli/inspect/views.ts";
import { assert } from "../../src/core/assert.ts";
import { u64WriteNumber } from "../../src/core/u128.ts";
import { checkpointStateFault, checkpointStateOp } from "../../src/wal/checkpoint-state.ts";
import type { FormatOptions } from "../../src/wal/data-file.ts";
import { formatDataFile } from "../../src/wal/format.ts";
import { headerWords, type Memory, scratchMemory, sealMessage } from "../../src/wal/headers.ts";
import { inspectSuperblock } from "../../src/wal/inspect.ts";
import type { Superblock } from "../../src/wal/superblock.ts";
import {
  checkpointLayout,
  checkpointStateWords,
  storageRootWords,
} from "../../src/wal/superblock-layout.ts";
import { frame, prepareHeader } from "../../src/wire/header.ts";
import {
  crashes,
  file,
  formatInto,
  formatted,
  makePrepare,
  openSuperblock,
  release,
  smallFormat,
} from "./harness.ts";
import { MemoryFileIo, memoryBuffer } from "./memory-file-io.ts";

const several: FormatOptions = { ...smallFormat, replicaCount: 3, replica: 1 };
const image = formatted(1, {}, several);
const noHeaders = new Uint32Array(0);

function prepareOf(op: number): Memory {
  const buffer = memoryBuffer(4096);
  makePrepare(buffer, op, 3, op - 1, Uint32Array.of(op, 1, 2, 3), 0, 1);
  return buffer;
}

function headerOf(op: number): Uint32Array {
  return prepareOf(op).words.slice(0, headerWords);
}

/** What the others have after checkpoints at every multiple of 4 up to `op`. */
function stateAt(op: number): Memory {
  const io = formatted(1, {}, { ...several, replica: 0 });
  const superblock = openSuperblock(io);
  for (let at = 4; at <= op; at += 4) {
    superblock.pendingStorageRoot.fill(at);
    superblock.updateCheckpoint(at, headerOf(at), () => {});
    io.run();
  }
  const state = scratchMemory(checkpointStateWords * 4);
  state.words.set(superblock.checkpointState);
  return state;
}

function idOf(superblock: Superblock): string {
  const id = new Uint32Array(4);
  superblock.copyCheckpointId(id, 0);
  return id.join(",");
}

/** What `inspect superblock` prints. */
function shown(io: MemoryFileIo): string {
  const summary = inspectSuperblock({
    read: (target, length, at) => {
      target.set(io.peek(at, length));
      return true;
    },
  });
  return superblockView(summary).text;
}

const eight = stateAt(8);
const twelve = stateAt(12);

describe("moving to another replica's checkpoint", () => {
  test("takes its state as it is, and keeps who the replica is", () => {
    const io = image.clone(1);
    const superblock = openSuperblock(io);
    const shifted = new Uint32Array(checkpointStateWords + 9);
    shifted.set(twelve.words, 9);
    let done = 0;
    superblock.updateSync(shifted, 9, 5, 4, 20, headerOf(14), 1, () => {
      done += 1;
    });
    shifted.fill(0); // It was copied.
    io.run();
    expect(done).toBe(1);
    for (const now of [superblock, openSuperblock(io.afterCrash(2))]) {
      expect(now.checkpointState).toEqual(twelve.words);
      expect(now.checkpointOp).toBe(12);
      expect(now.checkpointHeader).toEqual(headerOf(12));
      expect(now.storageRoot).toEqual(new Uint32Array(storageRootWords).fill(12));
      expect([now.view, now.logView, now.commitMax]).toEqual([5, 4, 20]);
      expect(now.viewHeaders).toEqual(headerOf(14));
      expect([now.syncing, now.syncOpMin, now.syncOpMax]).toEqual([true, 1, 12]);
      expect(now.formatOptions).toEqual(several);
    }
    // The id is the checksum of the state, so it is the others'.
    const others = formatted(1, {}, several);
    const twin = openSuperblock(others);
    twin.updateSync(twelve.words, 0, 0, 0, 0, noHeaders, 0, () => {});
    others.run();
    expect(idOf(superblock)).toBe(idOf(twin));
    expect(twin.commitMax).toBe(12);
  });

  test("remembers what is missing until it is all here", () => {
    const io = image.clone(1);
    const superblock = openSuperblock(io);
    superblock.pendingStorageRoot.fill(4);
    superblock.updateCheckpoint(4, headerOf(4), () => {});
    io.run();
    superblock.updateSync(eight.words, 0, 1, 1, 0, noHeaders, 0, () => {});
    io.run();
    expect([superblock.syncOpMin, superblock.syncOpMax]).toEqual([5, 8]);
    superblock.updateSync(twelve.words, 0, 1, 1, 0, noHeaders, 0, () => {});
    io.run();
    // The first sync was not complete.
    expect([superblock.syncOpMin, superblock.syncOpMax]).toEqual([5, 12]);
    expect(shown(io)).toContain("blocks of ops 5 to 12 may be missing; a start fetches them");
    superblock.updateView(2, 2, 0, noHeaders, 0, () => {});
    io.run();
    expect(openSuperblock(io.clone(2)).syncing).toBe(true);
    let done = 0;
    superblock.updateSyncComplete(() => {
      done += 1;
    });
    io.run();
    expect(done).toBe(1);
    const again = openSuperblock(io.clone(3));
    expect([again.syncing, again.syncOpMin, again.syncOpMax]).toEqual([false, 0, 0]);
    expect(shown(io)).not.toContain("state sync");
    expect(again.checkpointState).toEqual(twelve.words);
    // And the next checkpoint is the child of the one that was taken over.
    again.pendingStorageRoot.fill(16);
    const parent = idOf(again);
    const third = io.clone(4);
    const next = openSuperblock(third);
    next.pendingStorageRoot.fill(16);
    next.updateCheckpoint(16, headerOf(16), () => {});
    third.run();
    const at = checkpointLayout.word.parentId;
    expect(next.checkpointState.slice(at, at + 4).join(",")).toBe(parent);
    expect(next.checkpointState).toEqual(stateAt(16).words);
  });

  test("is whole or has not happened, wherever power is lost", () => {
    for (let seed = 1; seed <= 20; seed += 1) {
      let crashAt = 0;
      for (; ; crashAt += 1) {
        const io = image.clone(seed, { garbage: true });
        io.crashAtWrite = crashAt;
        let durable = false;
        const crashed = crashes(() => {
          const superblock = openSuperblock(io);
          superblock.updateSync(twelve.words, 0, 5, 5, 20, headerOf(14), 1, () => {
            durable = true;
          });
          io.run();
        });
        if (!crashed) break;
        const superblock = openSuperblock(io.afterCrash(seed));
        const moved = superblock.checkpointOp === 12;
        expect(moved || !durable).toBe(true);
        expect(superblock.view).toBe(moved ? 5 : 0);
        expect(superblock.syncOpMax).toBe(moved ? 12 : 0);
        expect(superblock.viewHeaderCount).toBe(moved ? 1 : 0);
        if (moved) expect(superblock.checkpointState).toEqual(twelve.words);
      }
      expect(crashAt).toBe(4);
    }
  });
});

describe("a checkpoint state that came in a message", () => {
  const { word } = checkpointLayout;

  function fault(change: (state: Memory) => void): string | null {
    const memory = scratchMemory(256 + checkpointStateWords * 4);
    memory.words.set(twelve.words, 64);
    const state = { words: memory.words.subarray(64), bytes: memory.bytes.subarray(256) };
    change(state);
    return checkpointStateFault(memory, 256, several);
  }

  /** Changes the prepare's header and makes it sound again. */
  function reseal(change: (state: Memory) => void): (state: Memory) => void {
    return (state) => {
      change(state);
      sealMessage(state.bytes, 0, 256);
    };
  }

  test("is accepted when it is one", () => {
    expect(fault(() => {})).toBe(null);
    expect(checkpointStateOp(twelve.words, 0)).toBe(12);
    const first = stateAt(4);
    expect(checkpointStateFault(first, 0, several)).toBe(null);
  });

  test.each<readonly [string, (state: Memory) => void]>([
    ["names no sound prepare", (state) => (state.bytes[100]! ^= 1)],
    ["names no sound prepare", (state) => state.words.fill(0)],
    ["names no prepare", reseal((state) => (state.bytes[frame.at.command] = 8))],
    ["belongs to another cluster", reseal((state) => (state.words[frame.word.cluster]! += 1))],
    [
      "names a prepare that no checkpoint ends with",
      reseal((state) => (state.bytes[prepareHeader.at.operation] = 1)),
    ],
    ["is of another op than its prepare", (state) => u64WriteNumber(state.words, word.op, 16)],
    [
      "is of an op at which there is no checkpoint",
      reseal((state) => {
        u64WriteNumber(state.words, word.op, 13);
        u64WriteNumber(state.words, prepareHeader.word.op, 13);
      }),
    ],
    ["has no parent", (state) => state.words.fill(0, word.parentId, word.parentId + 4)],
    [
      "has no such grandparent",
      (state) => state.words.fill(0, word.grandparentId, word.grandparentId + 4),
    ],
    ["is laid out in another way", (state) => (state.words[word.storageRoot - 1] = 1)],
  ])("is refused when it %s", (text, change) => {
    expect(fault(change)).toBe(text);
  });
});

describe("the replacement of a lost file", () => {
  function recovering(): MemoryFileIo {
    const io = new MemoryFileIo(image.sizeBytes, 1);
    let done = false;
    const onDone = (error: Error | null): void => {
      assert(error === null, "formatting works");
      done = true;
    };
    formatDataFile(io, file, several, release, onDone, true);
    io.run();
    assert(done, "formatting ends");
    return io;
  }

  test("does not vote until it is told to, also after restarts and syncs", () => {
    const io = recovering();
    let superblock = openSuperblock(io);
    expect(superblock.recovering).toBe(true);
    expect(shown(io)).toContain("replaces a lost file: does not vote yet");
    expect(openSuperblock(image.clone(1)).recovering).toBe(false);
    superblock.updateView(3, 0, 0, noHeaders, 0, () => {});
    superblock.updateCheckpoint(4, headerOf(4), () => {});
    io.run();
    superblock.updateSync(twelve.words, 0, 4, 3, 20, headerOf(14), 1, () => {});
    io.run();
    superblock = openSuperblock(io.clone(1));
    expect(superblock.recovering).toBe(true);
    expect(superblock.checkpointOp).toBe(12);
  });

  test("may vote with the view that it was told, and not before", () => {
    for (let crashAt = 0; crashAt <= 4; crashAt += 1) {
      const io = recovering().clone(crashAt);
      const superblock = openSuperblock(io);
      io.crashAtWrite = io.writes + crashAt;
      let done = false;
      const crashed = crashes(() => {
        superblock.updateRecovered(7, 7, 9, headerOf(9), 1, () => {
          done = true;
        });
        io.run();
      });
      expect(crashed).toBe(crashAt < 4);
      expect(done).toBe(!crashed);
      const now = openSuperblock(io.afterCrash(crashAt));
      expect(now.recovering).toBe(now.view !== 7);
      expect(now.logView).toBe(now.view);
      if (!crashed) expect(now.view).toBe(7);
    }
  });

  test("is none of a cluster of one", () => {
    const io = new MemoryFileIo(image.sizeBytes, 1);
    expect(() => formatDataFile(io, file, smallFormat, release, () => {}, true)).toThrow("lost");
    formatInto(io, smallFormat);
    const superblock = openSuperblock(io);
    expect(() => superblock.updateRecovered(1, 1, 0, noHeaders, 0, () => {})).toThrow("vote");
  });
});
