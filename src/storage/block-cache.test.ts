import { expect, test } from "vitest";
import { blockSize } from "../core/limits.ts";
import { Prng } from "../core/prng.ts";
import type { FileIo } from "../io/io.ts";
import { BlockCache, blockCacheSizeMax } from "./block-cache.ts";
import { blockWords } from "./format.ts";

function cacheOf(slots: number, pieceSlots?: number): BlockCache {
  const io = {
    allocate: (sizeBytes: number) => {
      const memory = new ArrayBuffer(sizeBytes);
      return { sizeBytes, bytes: new Uint8Array(memory), words: new Uint32Array(memory), id: 0 };
    },
  };
  return new BlockCache(io as unknown as FileIo, slots * blockSize, 2, pieceSlots);
}

function read(cache: BlockCache, address: number): void {
  const slot = cache.take();
  cache.piece(slot).words[cache.wordAt(slot)] = address;
  cache.fill(slot, address);
}

test.each([
  [13, undefined],
  [13, 4],
  [12, 4],
  [13, 1],
])(
  "serves the block that was read, never another (%i slots, %s per piece)",
  (slots, pieceSlots) => {
    const cache = cacheOf(slots, pieceSlots);
    const random = new Prng(3);
    let hits = 0;
    for (let step = 0; step < 20_000; step += 1) {
      const address = 1 + random.below(random.chance(0.7) ? 10 : 400);
      const slot = cache.find(address);
      if (slot < 0) read(cache, address);
      else {
        hits += 1;
        expect(cache.piece(slot).words[cache.wordAt(slot)]).toBe(address);
      }
    }
    expect(hits).toBeGreaterThan(5000);
    expect(cache.hits).toBe(hits);
  },
);

test("holds as many blocks as it has slots", () => {
  const cache = cacheOf(8);
  for (let address = 1; address <= 8; address += 1) read(cache, address * 1000);
  for (let address = 1; address <= 8; address += 1) {
    expect(cache.find(address * 1000)).toBeGreaterThanOrEqual(0);
  }
});

test("a block being read is neither served nor evicted", () => {
  const cache = cacheOf(3);
  read(cache, 1);
  const pinned = cache.take();
  for (let address = 10; address < 30; address += 1) {
    const slot = cache.take();
    expect(slot).not.toBe(pinned);
    cache.fill(slot, address);
  }
  expect(cache.find(7)).toBe(-1);
  cache.fill(pinned, 7);
  expect(cache.find(7)).toBe(pinned);
});

test("a block that is forgotten is not served, and the others still are", () => {
  const cache = cacheOf(40);
  const random = new Prng(5);
  const version = new Map<number, number>();
  let hits = 0;
  for (let step = 0; step < 5_000; step += 1) {
    const address = 1 + random.below(30);
    if (random.chance(0.3)) {
      cache.forget(address);
      version.set(address, step);
      expect(cache.find(address)).toBe(-1);
      continue;
    }
    let slot = cache.find(address);
    if (slot < 0) {
      slot = cache.take();
      cache.piece(slot).words[cache.wordAt(slot)] = version.get(address) ?? 0;
      cache.fill(slot, address);
    } else {
      hits += 1;
    }
    expect(cache.holds(slot, address)).toBe(true);
    expect(cache.piece(slot).words[cache.wordAt(slot)]).toBe(version.get(address) ?? 0);
  }
  expect(hits).toBeGreaterThan(1_000);
});

test("a slot says whose block it holds", () => {
  const cache = cacheOf(2);
  read(cache, 5);
  const slot = cache.find(5);
  read(cache, 6);
  expect(cache.holds(slot, 5)).toBe(true);
  for (const address of [7, 8, 9]) read(cache, address);
  expect(cache.holds(slot, 5)).toBe(false);
});

test("a damaged block is not served", () => {
  const cache = cacheOf(3);
  cache.abandon(cache.take());
  expect(cache.find(0)).toBe(-1);
  for (let address = 1; address <= 3; address += 1) read(cache, address);
  expect(cache.find(3)).toBeGreaterThanOrEqual(0);
});

test.each([
  [8, 4],
  [9, 4],
  [3, 4],
  [7, 1],
])("%i slots lie apart in pieces of %i, which hold them and no more", (slots, pieceSlots) => {
  const cache = cacheOf(slots, pieceSlots);
  const places = new Map<ArrayBufferLike, Set<number>>();
  for (let slot = 0; slot < slots; slot += 1) {
    const { words } = cache.piece(slot);
    const at = cache.wordAt(slot);
    expect(at % blockWords).toBe(0);
    expect(at + blockWords).toBeLessThanOrEqual(words.length);
    const inPiece = places.get(words.buffer) ?? new Set();
    expect(inPiece.has(at)).toBe(false);
    places.set(words.buffer, inPiece.add(at));
  }
  expect(places.size).toBe(Math.ceil(slots / pieceSlots));
  for (const [piece, inPiece] of places) expect(piece.byteLength).toBe(inPiece.size * blockSize);
});

test("a cache longer than any array comes in pieces of 1 GiB", () => {
  const sizes: number[] = [];
  const io = {
    allocate: (sizeBytes: number) => {
      sizes.push(sizeBytes);
      return { sizeBytes };
    },
  };
  const cache = new BlockCache(io as unknown as FileIo, 5.5 * 2 ** 30, 32);
  expect(sizes).toEqual([2 ** 30, 2 ** 30, 2 ** 30, 2 ** 30, 2 ** 30, 2 ** 29]);
  expect(cache.wordAt(cache.slots - 1)).toBe(2 ** 27 - blockWords);
  expect(
    () => new BlockCache(io as unknown as FileIo, blockCacheSizeMax + blockSize, 32),
  ).toThrow();
});
