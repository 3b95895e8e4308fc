import { expect, test } from "vitest";
import { Prng } from "../core/prng.ts";
import { pagesPerBlock } from "./format.ts";
import { FreeSet } from "./free-set.ts";
import { PageSpace } from "./page-space.ts";

/** Freezes with random dirty pages; returns the most page blocks and the share of moves. */
function run(
  pages: number,
  dirtyPerFreeze: number,
  choose: (random: Prng, freeze: number) => number,
): { blocksMax: number; movesPerWrite: number } {
  const freeSet = new FreeSet(1_000_000);
  const space = new PageSpace(freeSet);
  const random = new Prng(pages);
  const place = new Float64Array(pages); // Block of each page.
  let blocksMax = 0;
  let written = 0;
  for (let freeze = 0; freeze < 400; freeze += 1) {
    const dirty = new Set<number>();
    if (freeze === 0) for (let page = 0; page < pages; page += 1) dirty.add(page);
    while (freeze > 0 && dirty.size < dirtyPerFreeze) dirty.add(choose(random, freeze));
    freeSet.freezeBegin();
    for (const page of dirty) if (place[page]! > 0) space.kill(place[page]!);
    const list = [...dirty];
    if (space.planMoves(list.length)) {
      for (let page = 0; page < pages; page += 1) {
        if (dirty.has(page) || !space.moves(place[page]!)) continue;
        space.kill(place[page]!);
        list.push(page);
      }
    }
    expect(list.length).toBeLessThanOrEqual(2 * Math.max(dirty.size, 64));
    for (let at = 0; at < list.length; at += pagesPerBlock) {
      const group = list.slice(at, at + pagesPerBlock);
      const address = freeSet.acquire();
      space.place(address, group.length);
      for (const page of group) place[page] = address;
    }
    freeSet.freezeEnd();
    written += dirty.size;
    expect(space.pages).toBe(pages);
    if (space.blocks > blocksMax) blocksMax = space.blocks;
  }
  return { blocksMax, movesPerWrite: space.moved / written };
}

test("page blocks stay bounded by twice the need, whatever is dirty", () => {
  const pages = 3000;
  const need = Math.ceil(pages / pagesPerBlock);
  const loads: readonly ((random: Prng, freeze: number) => number)[] = [
    (random) => random.below(pages),
    (random) => random.below(100),
    // One page of each old block, then the next: leaves every block sparse.
    (random, freeze) => (freeze + random.below(pages / 15) * 15) % pages,
    (random, freeze) => (freeze * 150 + random.below(300)) % pages,
  ];
  let moved = 0;
  for (const choose of loads) {
    for (const dirty of [1, 7, 90]) {
      const { blocksMax, movesPerWrite } = run(pages, dirty, choose);
      expect(blocksMax).toBeLessThanOrEqual(2 * need + 16 + 2 * dirty + 6);
      moved += movesPerWrite;
    }
  }
  expect(moved).toBeGreaterThan(0);
});
