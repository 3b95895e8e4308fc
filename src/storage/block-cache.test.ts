import { expect, test } from "vitest";
import { blockSize } from "../core/limits.ts";
import { Prng } from "../core/prng.ts";
import type { FileIo } from "../io/io.ts";
import { BlockCache } from "./block-cache.ts";
import { blockWords } from "./format.ts";

function cacheOf(slots: number): BlockCache {
  const io = {
    allocate: (sizeBytes: number) => {
      const memory = new ArrayBuffer(sizeBytes);
      return { sizeBytes, bytes: new Uint8Array(memory), words: new Uint32Array(memory), id: 0 };
    },
  };
  return new BlockCache(io as unknown as FileIo, slots * blockSize, 2);
}

function read(cache: BlockCache, address: number): void {
  const slot = cache.take();
  cache.buffer.words[slot * blockWords] = address;
  cache.fill(slot, address);
}

test("serves the block that was read, never another", () => {
  const cache = cacheOf(13);
  const random = new Prng(3);
  let hits = 0;
  for (let step = 0; step < 20_000; step += 1) {
    const address = 1 + random.below(random.chance(0.7) ? 10 : 400);
    const at = cache.find(address);
    if (at < 0) read(cache, address);
    else {
      hits += 1;
      expect(cache.buffer.words[at]).toBe(address);
    }
  }
  expect(hits).toBeGreaterThan(5000);
  expect(cache.hits).toBe(hits);
});

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
  expect(cache.find(7)).toBe(pinned * blockWords);
});

test("a damaged block is not served", () => {
  const cache = cacheOf(3);
  cache.abandon(cache.take());
  expect(cache.find(0)).toBe(-1);
  for (let address = 1; address <= 3; address += 1) read(cache, address);
  expect(cache.find(3)).toBeGreaterThanOrEqual(0);
});
