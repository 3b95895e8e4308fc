import fc from "fast-check";
import { expect, test } from "vitest";
import { Prng } from "../core/prng.ts";
import { allocateOnHeap } from "./indexes/slabs.ts";
import { markRows, RowTimes } from "./row-times.ts";
import type { AppendTable, LedgerStore } from "./store.ts";
import { TimeSearch } from "./time-search.ts";

const timestampWord = 1;

class PlainTable implements AppendTable {
  readonly name = "plain";
  readonly opFirstRow = 0;
  readonly foundWords = new Uint32Array(0);
  tailWords: Uint32Array = new Uint32Array(0);
  readonly tailAt = 0;
  readonly rows: Uint32Array[] = [];

  constructor(readonly rowWords: number) {}

  get count(): number {
    return this.rows.length;
  }

  append(): number {
    this.tailWords = new Uint32Array(this.rowWords);
    return this.rows.push(this.tailWords) - 1;
  }

  find(): number {
    throw new Error("searches fetch");
  }

  truncate(): void {
    throw new Error("times are not undone");
  }
}

/** Half of its fetches deliver later. */
class PlainStore implements Pick<LedgerStore, "fetch"> {
  readonly table = new PlainTable(4);
  readonly marks = new PlainTable(2);
  fetches = 0;
  readonly rowsFetched = new Set<number>();
  private pending: (() => void) | null = null;

  constructor(private readonly random: Prng) {}

  fetch(
    table: AppendTable,
    rows: Uint32Array,
    count: number,
    target: Uint32Array,
    onDone: () => void,
  ): boolean {
    expect(table).toBe(this.table);
    expect(this.pending).toBeNull();
    this.fetches += 1;
    const copy = (): void => {
      for (let index = 0; index < count; index += 1) {
        this.rowsFetched.add(rows[index]!);
        target.set(this.table.rows[rows[index]!]!, index * 4);
      }
    };
    if (this.random.chance(0.5)) {
      copy();
      return true;
    }
    this.pending = () => {
      copy();
      onDone();
    };
    return false;
  }

  deliver(): void {
    const { pending } = this;
    this.pending = null;
    expect(pending).not.toBeNull();
    pending!();
  }
}

function words(value: bigint): Uint32Array {
  return new Uint32Array([Number(value & 0xffff_ffffn), Number(value >> 32n)]);
}

class Harness {
  readonly store: PlainStore;
  readonly times: RowTimes;
  readonly search: TimeSearch;
  readonly values: bigint[] = [];

  constructor(seed: number, capacity: number) {
    this.store = new PlainStore(new Prng(seed));
    this.times = this.open();
    this.search = new TimeSearch(this.store, capacity, () => {});
  }

  private open(): RowTimes {
    const { table, marks } = this.store;
    return new RowTimes(table, timestampWord, marks, allocateOnHeap);
  }

  add(value: bigint): void {
    this.store.table.append();
    this.store.table.tailWords.set(words(value), timestampWord);
    this.times.append(this.store.table.tailWords, timestampWord);
    this.values.push(value);
  }

  /** As after a start: the marks alone are read. */
  restored(): RowTimes {
    const times = this.open();
    for (const mark of this.store.marks.rows) times.keepMark(mark, 0);
    times.restored(words(this.values[this.values.length - 1] ?? 0n));
    return times;
  }

  check(times: RowTimes, probes: readonly bigint[]): void {
    this.search.begin(times);
    for (const [index, probe] of probes.entries()) {
      expect(this.search.add(words(probe), 0)).toBe(index);
    }
    while (!this.search.step()) this.store.deliver();
    for (const [index, probe] of probes.entries()) {
      const first = this.values.findIndex((value) => value >= probe);
      const last = this.values.findLastIndex((value) => value <= probe);
      expect(this.search.firstAtOrAbove(index)).toBe(first < 0 ? this.values.length : first);
      expect(this.search.lastAtOrBelow(index)).toBe(last);
      expect(this.search.isTime(index)).toBe(last >= 0 && this.values[last] === probe);
    }
  }
}

test("finds rows by time as a search through all of them would", () => {
  const gap = fc.constantFrom(1n, 2n, 1n << 31n, 1n << 32n);
  fc.assert(
    fc.property(
      fc.nat(2 ** 31),
      fc.nat(3 * markRows),
      fc.array(gap, { minLength: 1, maxLength: 40 }),
      (seed, rows, gaps) => {
        const harness = new Harness(seed, 1000);
        const random = new Prng(seed);
        let time = 5n;
        for (let row = 0; row < rows; row += 1) {
          harness.add(time);
          time += gaps[random.below(gaps.length)]!;
        }
        const near = (row: number): bigint[] => {
          const value = harness.values[row];
          return value === undefined ? [] : [value - 1n, value, value + 1n];
        };
        const probes = [0n, 4n, (1n << 63n) - 1n, ...near(rows - 1)];
        for (const row of [0, 1, 511, 512, 513, 1023, 1024]) probes.push(...near(row));
        for (let probe = 0; probe < 100; probe += 1) {
          probes.push(...near(random.below(rows + 1)));
        }
        harness.check(harness.times, probes);
        harness.check(harness.restored(), probes);
      },
    ),
    { numRuns: 60, seed: 8 },
  );
});

test("more searches than one chunk, and a single one touches the rows between two marks alone", () => {
  const harness = new Harness(3, 700);
  for (let row = 0; row < 2000; row += 1) harness.add(BigInt(10 * row + 10));
  harness.check(
    harness.times,
    Array.from({ length: 700 }, (_, index) => BigInt(29 * index)),
  );
  harness.store.rowsFetched.clear();
  harness.store.fetches = 0;
  harness.check(harness.times, [10_006n]);
  expect(harness.store.fetches).toBeLessThanOrEqual(10);
  for (const row of harness.store.rowsFetched) {
    expect(row).toBeGreaterThan(512);
    expect(row).toBeLessThan(1024);
  }
  harness.store.fetches = 0;
  harness.check(harness.times, [10n * 512n + 10n]);
  expect(harness.store.fetches).toBe(0);
});

test("timestamps ascend, also across a start", () => {
  const harness = new Harness(1, 1);
  harness.add(7n);
  expect(() => harness.times.append(words(7n), 0)).toThrow("ascend");
  expect(() => harness.restored().append(words(7n), 0)).toThrow("ascend");
  const times = harness.restored();
  times.append(words(8n), 0);
  expect(times.count).toBe(2);
});
