import { expect, test } from "vitest";
import type { PageMemory } from "../native/memory.ts";
import { wordArena } from "./word-arena.ts";

const mebibyte = 1024 * 1024;

function memoryOf(sizeBytes: number): PageMemory {
  const memory = new ArrayBuffer(sizeBytes);
  return {
    sizeBytes,
    bytes: new Uint8Array(memory),
    words: new Uint32Array(memory),
    id: 0,
  };
}

test("pieces are zeroed, disjoint and aligned, and take few regions", () => {
  const regions: PageMemory[] = [];
  const allocate = wordArena(
    (sizeBytes) => {
      const region = memoryOf(sizeBytes);
      regions.push(region);
      return region;
    },
    () => {},
    mebibyte,
  );
  const pieces: Uint32Array[] = [];
  for (let index = 0; index < 100; index += 1) {
    const piece = allocate(1 + index * 97);
    expect(piece.length).toBe(1 + index * 97);
    expect(piece.byteOffset % 4096).toBe(0);
    expect(piece.every((word) => word === 0)).toBe(true);
    piece.fill(index + 1);
    pieces.push(piece);
  }
  for (const [index, piece] of pieces.entries()) {
    expect(piece.every((word) => word === index + 1)).toBe(true);
  }
  expect(regions.length).toBeLessThan(5);
});

test("a piece too large for a region gets memory of its own", () => {
  let asked = 0;
  const allocate = wordArena(
    (sizeBytes) => {
      asked = sizeBytes;
      return memoryOf(sizeBytes);
    },
    () => {},
    64 * 1024,
  );
  expect(allocate(100_000).length).toBe(100_000);
  expect(asked).toBeGreaterThanOrEqual(400_000);
});

test("a piece too large for a region is committed to its end, one part at a time", () => {
  const parts: { at: number; sizeBytes: number; done: () => void }[] = [];
  const memories: PageMemory[] = [];
  const allocate = wordArena(
    (sizeBytes) => {
      const memory = memoryOf(sizeBytes);
      memories.push(memory);
      return memory;
    },
    (memory, at, sizeBytes, done) => {
      expect(memory).toBe(memories[0]);
      parts.push({ at, sizeBytes, done });
    },
    16 * mebibyte,
  );
  // Not a whole number of parts.
  const size = 9 * mebibyte + 4096;
  expect(allocate(size / 4 - 100).length).toBe(size / 4 - 100);
  let committed = 0;
  for (let count = 1; committed < size; count += 1) {
    expect(parts.length).toBe(count);
    const { at, sizeBytes, done } = parts[count - 1]!;
    expect(at).toBe(committed);
    expect(sizeBytes).toBeLessThanOrEqual(2 * mebibyte);
    committed += sizeBytes;
    done();
  }
  expect(committed).toBe(size);
  expect(parts.length).toBe(5);
  expect(memories.map((memory) => memory.sizeBytes)).toEqual([size]);
});

test("pages are committed in order, one part at a time, and some way ahead", () => {
  const size = 100 * mebibyte;
  let committed = 0;
  let onDone: (() => void) | null = null;
  const allocate = wordArena(
    memoryOf,
    (memory, at, sizeBytes, done) => {
      expect(onDone).toBe(null);
      expect(at).toBe(committed);
      committed += sizeBytes;
      expect(committed).toBeLessThanOrEqual(memory.sizeBytes);
      onDone = done;
    },
    size,
  );
  const commitAll = (): void => {
    while (onDone !== null) {
      const done: () => void = onDone;
      onDone = null;
      done();
    }
  };
  let used = 0;
  while (used + mebibyte <= size) {
    allocate(mebibyte / 4);
    used += mebibyte;
    commitAll();
    expect(committed).toBeGreaterThanOrEqual(Math.min(used + 4 * mebibyte, size));
    expect(committed).toBeLessThanOrEqual(used + Math.max(6 * mebibyte, used / 2 + 2 * mebibyte));
  }
  expect(committed).toBe(size);
});

test("a part that takes long holds nobody up", () => {
  let parts = 0;
  const commit = (): void => {
    parts += 1;
  };
  const allocate = wordArena(memoryOf, commit, 64 * mebibyte);
  for (let index = 0; index < 60; index += 1) expect(allocate(mebibyte / 4)[7]).toBe(0);
  expect(parts).toBe(1);
});
