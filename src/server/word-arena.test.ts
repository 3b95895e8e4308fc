import { expect, test } from "vitest";
import { wordArena } from "./word-arena.ts";

test("pieces are zeroed, disjoint and aligned, and take few regions", () => {
  const regions: Uint32Array[] = [];
  const allocate = wordArena((sizeBytes) => {
    const region = new Uint32Array(sizeBytes / 4);
    regions.push(region);
    return region;
  }, 1024 * 1024);
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
  const allocate = wordArena((sizeBytes) => {
    asked = sizeBytes;
    return new Uint32Array(sizeBytes / 4);
  }, 64 * 1024);
  expect(allocate(100_000).length).toBe(100_000);
  expect(asked).toBeGreaterThanOrEqual(400_000);
});
