import { describe, expect, test } from "vitest";
import { drawParts, type Entry, RunLayout } from "../../../test/storage/run-layout.ts";
import { Prng } from "../../core/prng.ts";
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
