import { describe, expect, test } from "vitest";
import { drawParts, type Entry, RunLayout } from "../../../test/storage/run-layout.ts";
import { Prng } from "../../core/prng.ts";
import * as ledger from "../../ledger/store.ts";
import { IndexCursor, noRow, unread } from "./index-cursor.ts";
import { IndexId } from "./options.ts";
import type { SortedIndex } from "./sorted-index.ts";

/** Entries of random keys; few keys have most of the rows. */
function drawEntries(random: Prng, rows: number, keyWords: number, keysMax: number): Entry[] {
  const entries: Entry[] = [];
  for (let row = 0; row < rows; row += 1) {
    // A row may have no key, or two.
    const keys = new Set<number>();
    for (let times = random.below(3); times > 0; times -= 1) {
      keys.add(random.below(random.chance(0.5) ? 2 : keysMax));
    }
    for (const number of keys) entries.push({ row, key: keyOf(number, keyWords) });
  }
  return entries;
}

function keyOf(number: number, keyWords: number): number[] {
  const key = Array.from({ length: keyWords }, () => 0);
  // Neighbours differ in the first word or in the last.
  key[0] = number >>> 1;
  key[keyWords - 1] = (key[keyWords - 1]! + ((number & 1) === 1 ? 0x8000_0000 : 0)) >>> 0;
  return key;
}

/** Spreads the entries over runs, a sealed generation and an active one. */
function lay(
  layout: RunLayout,
  index: SortedIndex,
  entries: readonly Entry[],
  rows: number,
  random: Prng,
): void {
  const parts = drawParts(random, rows, 12);
  const of = ({ first, end }: { first: number; end: number }): Entry[] =>
    entries.filter(({ row }) => row >= first && row < end);
  const active = random.chance(0.8) ? parts.pop() : undefined;
  const sealed = random.chance(0.5) ? parts.pop() : undefined;
  for (const part of parts) {
    const { first, end, level } = part;
    layout.addRun(
      index,
      level,
      { transfers: first, failedIds: 0 },
      { transfers: end, failedIds: 0 },
      of(part),
    );
    if (random.chance(0.3)) layout.write();
  }
  if (random.chance(0.5)) layout.write();
  if (sealed !== undefined) {
    index.sealed = layout.buffer(index, 5);
    const { active: buffer } = index;
    index.active = index.sealed;
    for (const { row, key } of of(sealed)) add(index, row, key);
    index.active = buffer;
    index.sealed.seal();
  }
  if (active !== undefined) for (const { row, key } of of(active)) add(index, row, key);
}

function add(index: SortedIndex, row: number, key: readonly number[]): void {
  if (index.keyWords === 2) index.addShort(row, key[0]!, key[1]!);
  else index.addLong(row, Uint32Array.from([9, ...key]), 1);
}

function seek(layout: RunLayout, cursor: IndexCursor, target: number): number {
  for (let reads = 0; ; reads += 1) {
    const row = cursor.seek(target);
    if (row !== unread) return row;
    expect(reads).toBeLessThan(100);
    layout.wait((onDone) => cursor.read(onDone));
  }
}

class Walk {
  readonly cursor: IndexCursor;
  private rows: number[] = [];
  private ascending = true;
  private target = 0;
  ended = true;

  constructor(private readonly layout: RunLayout) {
    this.cursor = new IndexCursor(layout.fetcher);
  }

  begin(
    index: SortedIndex,
    entries: readonly Entry[],
    key: number[],
    ascending: boolean,
    start: number,
  ): void {
    this.rows = entries
      .filter((entry) => entry.key.every((word, at) => word === key[at]))
      .map(({ row }) => row);
    if (!ascending) this.rows.reverse();
    this.ascending = ascending;
    this.target = start;
    this.ended = false;
    this.cursor.open(index, Uint32Array.from([3, 3, ...key]), 2, ascending, start);
    expect(this.cursor.estimate).toBeGreaterThanOrEqual(0);
  }

  step(random: Prng): void {
    const { ascending, target } = this;
    const expected = this.rows.find((row) => (ascending ? row >= target : row <= target)) ?? noRow;
    expect(seek(this.layout, this.cursor, target)).toBe(expected);
    if (expected === noRow) {
      this.ended = true;
      return;
    }
    // Asks again, goes to the row, behind it, or leaps.
    const from = random.chance(0.1) ? target : expected;
    const distance = random.chance(0.6) ? 1 : random.below(random.chance(0.5) ? 4 : 80);
    this.target = ascending ? from + distance : from - distance;
    if (this.target < 0) this.ended = true;
  }
}

describe.each([
  ["short", IndexId.accounts, 2],
  ["long", IndexId.userData128, 4],
])("%s keys", (_, id, keyWords) => {
  test.each(Array.from({ length: 25 }, (_, seed) => seed))(
    "rows come in both directions as from a sorted list (seed %i)",
    (seed) => {
      const random = new Prng(seed);
      const layout = new RunLayout(seed, 1 + random.below(9));
      const index = layout.index(id, 1 + random.below(20));
      const rows = 1 + random.below(400);
      const keysMax = 3 + random.below(20);
      const entries = drawEntries(random, rows, keyWords, keysMax);
      lay(layout, index, entries, rows, random);
      // Two cursors take turns, so that blocks are pushed out of the cache under either.
      const walks = [new Walk(layout), new Walk(layout)];
      for (let turn = 0; turn < 400; turn += 1) {
        const walk = walks[random.below(2)]!;
        if (walk.ended || random.chance(0.02)) {
          const start = random.chance(0.3) ? (random.chance(0.5) ? 0 : rows) : random.below(rows);
          const key = keyOf(random.below(keysMax + 1), keyWords);
          walk.begin(index, entries, key, random.chance(0.5), start);
        } else {
          walk.step(random);
        }
      }
      expect(layout.damaged).toEqual([]);
    },
  );
});

/** Runs of the rows 0 … 999, 1000 … 1999 and so on; every row has key 5, one in fifty key 7. */
function laySteadily(layout: RunLayout, runs: number): SortedIndex {
  const index = layout.index(IndexId.code);
  const at = (transfers: number) => ({ transfers, failedIds: 0 });
  for (let run = 0; run < runs; run += 1) {
    const entries: Entry[] = [];
    for (let row = run * 1000; row < run * 1000 + 1000; row += 1) {
      entries.push({ row, key: [5, 0] });
      if (row % 50 === 17) entries.push({ row, key: [7, 0] });
    }
    layout.addRun(index, 0, at(run * 1000), at(run * 1000 + 1000), entries);
  }
  layout.write();
  return index;
}

function countReads(layout: RunLayout): () => number {
  let reads = 0;
  const read = layout.grid.read.bind(layout.grid);
  layout.grid.read = (...given) => {
    reads += 1;
    read(...given);
  };
  return () => reads;
}

describe("a walk", () => {
  const key = (number: number): Uint32Array => Uint32Array.of(number, 0);

  test.each([true, false])("leaps with a block per landing, ascending: %s", (ascending) => {
    const layout = new RunLayout(1, 10);
    const index = laySteadily(layout, 3);
    const reads = countReads(layout);
    const cursor = new IndexCursor(layout.fetcher);
    cursor.open(index, key(5), 0, ascending, ascending ? 0 : 2999);
    const targets = [4, 504, 993, 1405, 2666];
    if (!ascending) targets.reverse();
    for (const target of targets) expect(seek(layout, cursor, target)).toBe(target);
    expect(reads()).toBe(targets.length);
  });

  test("passes runs whose rows or keys exclude it without reading", () => {
    const layout = new RunLayout(1, 10);
    const index = laySteadily(layout, 3);
    const reads = countReads(layout);
    const cursor = new IndexCursor(layout.fetcher);
    // Rows at fences are known without their blocks; so is the last entry of a run.
    cursor.open(index, key(5), 0, true, 0);
    expect(cursor.seek(0)).toBe(0);
    expect(cursor.seek(510)).toBe(510);
    expect(cursor.seek(1000)).toBe(1000);
    expect(cursor.seek(2990)).toBe(2990);
    expect(cursor.seek(3000)).toBe(noRow);
    cursor.open(index, key(7), 0, false, 2999);
    expect(cursor.seek(2999)).toBe(2967);
    cursor.open(index, key(9), 0, true, 0);
    expect(cursor.seek(0)).toBe(noRow);
    expect(cursor.estimate).toBe(0);
    cursor.open(index, key(4), 0, false, 5);
    expect(cursor.seek(5)).toBe(noRow);
    expect(reads()).toBe(0);
  });

  test("estimates long lists well and short ones below them", () => {
    const layout = new RunLayout(1, 10);
    const index = laySteadily(layout, 3);
    for (let row = 3000; row < 4000; row += 1) {
      index.addShort(row, 5, 0);
      if (row % 50 === 17) index.addShort(row, 7, 0);
    }
    const cursor = new IndexCursor(layout.fetcher);
    const estimates: number[] = [];
    for (const [number, start, ascending] of [
      [5, 0, true],
      [5, 3999, false],
      [5, 2000, true],
      [7, 0, true],
    ] as const) {
      cursor.open(index, key(number), 0, ascending, start);
      estimates.push(cursor.estimate);
    }
    expect(estimates[0]).toBeGreaterThan(3900);
    expect(estimates[0]).toBeLessThan(4100);
    expect(estimates[1]).toBe(estimates[0]);
    expect(estimates[2]).toBeGreaterThan(1900);
    expect(estimates[2]).toBeLessThan(2100);
    expect(estimates[3]).toBeGreaterThan(30);
    expect(estimates[3]).toBeLessThan(160);
  });

  test("waits for a block that another replica has, and is never served a damaged one", () => {
    for (const repairs of [false, true]) {
      const layout = new RunLayout(1, 10, { repairs });
      const index = laySteadily(layout, 1);
      const address = index.levels[0]![0]!.refs.address(3);
      const at = layout.grid.fileOffset(address);
      const sound = layout.file.content(at, 65_536);
      layout.file.flipBit(at + 260, 0);
      const cursor = new IndexCursor(layout.fetcher);
      cursor.open(index, key(5), 0, true, 0);
      expect(cursor.seek(33)).toBe(unread);
      let called = 0;
      const done = cursor.read(() => {
        called += 1;
      });
      expect(done).toBe(false);
      while (layout.file.tick());
      expect(called).toBe(0);
      expect(layout.damaged.length).toBe(repairs ? 0 : 1);
      if (!repairs) continue;
      const copy = layout.file.allocate(65_536);
      copy.bytes.set(sound);
      expect(layout.grid.repairs!.offer(address, copy, 0)).toBe(true);
      expect(called).toBe(1);
      expect(cursor.seek(33)).toBe(33);
    }
  });

  test("does not serve another block that its slot has by then", () => {
    const layout = new RunLayout(1, 10);
    const index = laySteadily(layout, 2);
    const cursor = new IndexCursor(layout.fetcher);
    const other = new IndexCursor(layout.fetcher);
    cursor.open(index, key(5), 0, true, 0);
    expect(seek(layout, cursor, 1)).toBe(1);
    other.open(index, key(5), 0, true, 0);
    for (let row = 101; row < 1000; row += 10) expect(seek(layout, other, row)).toBe(row);
    expect(cursor.seek(2)).toBe(unread);
    expect(seek(layout, cursor, 2)).toBe(2);
  });
});

test("the ledger knows the answers that are no rows", () => {
  expect([noRow, unread]).toEqual([ledger.noRow, ledger.unread]);
});
