import { describe, expect, test } from "vitest";
import { drawParts, type Entry, RunLayout } from "../../../test/storage/run-layout.ts";
import { implementations } from "../../../test/support/run-entries.ts";
import { Prng } from "../../core/prng.ts";
import { IdFinder } from "./id-finder.ts";
import { IndexId } from "./options.ts";
import type { SortedIndex } from "./sorted-index.ts";

interface Ids {
  readonly layout: RunLayout;
  readonly index: SortedIndex;
  /** Every id that a run has, as text, with its reference. */
  readonly references: ReadonlyMap<string, number>;
  readonly known: readonly number[][];
}

/** Runs of random ids, some of them burnt, in random levels. */
function lay(random: Prng, layout: RunLayout, rows: number, runsMax: number): Ids {
  const index = layout.index(IndexId.ids);
  const references = new Map<string, number>();
  const known: number[][] = [];
  let burnt = 0;
  for (const { first, end, level } of drawParts(random, rows, runsMax)) {
    const entries: Entry[] = [];
    const failedIds = burnt;
    for (let row = first; row < end; row += 1) {
      const key = drawId(random);
      if (references.has(key.join())) continue;
      known.push(key);
      if (random.chance(0.2)) {
        entries.push({ row: burnt, key, burnt: true });
        references.set(key.join(), -1 - burnt);
        burnt += 1;
      } else {
        entries.push({ row, key });
        references.set(key.join(), row + 1);
      }
    }
    layout.addRun(
      index,
      level,
      { transfers: first, failedIds },
      { transfers: end, failedIds: burnt },
      entries,
    );
    if (random.chance(0.4)) layout.write();
  }
  return { layout, index, references, known };
}

/** Sequential ones among them, and such that differ in one word only. */
function drawId(random: Prng): number[] {
  const id = [0, 0, 0, 0];
  if (random.chance(0.5)) id[random.below(4)] = 1 + random.below(400);
  else for (let word = 0; word < 4; word += 1) id[word] = random.below(2 ** 32);
  return id;
}

/** Asks for ids, known and unknown ones, some twice; expects what the map has. */
function ask(random: Prng, { layout, references, known }: Ids, finder: IdFinder): void {
  const count = random.below(120);
  const words = new Uint32Array(count * 6 + 6);
  const offsets = new Uint32Array(count + 3);
  const asked: number[][] = [];
  for (let at = 0; at < count; at += 1) {
    const id =
      known.length > 0 && random.chance(0.6) ? known[random.below(known.length)]! : drawId(random);
    asked.push(id);
    offsets[at] = at * 6 + 1;
    words.set(id, at * 6 + 1);
  }
  const found = new Int32Array(count + 1).fill(77);
  layout.wait((onDone) => finder.find(words, offsets, count, found, onDone));
  expect([...found.subarray(0, count)]).toEqual(asked.map((id) => references.get(id.join()) ?? 0));
  expect(found[count]).toBe(77);
}

/** Every filter says of every id that it may be there. */
function saturate(index: SortedIndex): void {
  for (const level of index.levels) for (const run of level) run.filters.fill(0xffff_ffff);
}

describe.each(implementations)("%s", (_, kernels) => {
  test.each(Array.from({ length: 20 }, (_, seed) => seed))(
    "finds every id in the run that has it, and no other (seed %i)",
    (seed) => {
      const random = new Prng(seed);
      const layout = new RunLayout(seed, 1 + random.below(12), { kernels });
      const ids = lay(random, layout, random.below(400), 12);
      const saturated = random.chance(0.5);
      if (saturated) saturate(ids.index);
      // With room for few candidates a lookup takes several rounds.
      const room = random.chance(0.5) ? 64 + random.below(20) : undefined;
      const finder = new IdFinder(ids.index, layout.options, layout.fetcher, room);
      for (let turn = 0; turn < 12; turn += 1) {
        ask(random, ids, finder);
        if (turn === 6) layout.write();
      }
      expect(layout.damaged).toEqual([]);
    },
  );
});

describe("one lookup", () => {
  /** Two runs of ids 0 … 999 and 1000 … 1999 in blocks of ten, all on disk. */
  function twoRuns(repairs: boolean): { layout: RunLayout; index: SortedIndex } {
    const layout = new RunLayout(1, 10, { repairs });
    const index = layout.index(IndexId.ids);
    for (const first of [0, 1000]) {
      const entries: Entry[] = [];
      for (let row = first; row < first + 1000; row += 1)
        entries.push({ row, key: [row, 0, 0, 9] });
      const at = (transfers: number) => ({ transfers, failedIds: 0 });
      layout.addRun(index, 0, at(first), at(first + 1000), entries);
    }
    layout.write();
    return { layout, index };
  }

  function askFor(rows: readonly number[]): { words: Uint32Array; offsets: Uint32Array } {
    return {
      words: Uint32Array.from(rows.flatMap((row) => [row, 0, 0, 9])),
      offsets: Uint32Array.from(rows.keys(), (at) => at * 4),
    };
  }

  test("reads each block once, up to 32 at a time", () => {
    const { layout, index } = twoRuns(false);
    const finder = new IdFinder(index, layout.options, layout.fetcher);
    // Every second block of each run; of each block three ids, far apart in the request.
    const rows = [3, 9, 0].flatMap((row) =>
      Array.from({ length: 100 }, (_, block) => block * 20 + row),
    );
    const { words, offsets } = askFor(rows);
    const references = new Int32Array(rows.length);
    layout.file.inFlightMax = 0;
    let reads = 0;
    const read = layout.grid.read.bind(layout.grid);
    layout.grid.read = (...given) => {
      reads += 1;
      read(...given);
    };
    layout.wait((onDone) => finder.find(words, offsets, rows.length, references, onDone));
    expect([...references]).toEqual(rows.map((row) => row + 1));
    expect(reads).toBe(100);
    expect(layout.file.inFlightMax).toBe(32);
  });

  test("of unknown ids needs no block", () => {
    const { layout, index } = twoRuns(false);
    const finder = new IdFinder(index, layout.options, layout.fetcher);
    const words = Uint32Array.from([5, 0, 0, 8, 2000, 0, 0, 9, 5, 0, 0, 10]);
    const references = new Int32Array(3).fill(1);
    const done = finder.find(words, Uint32Array.of(0, 4, 8), 3, references, () => {});
    expect(done).toBe(true);
    expect([...references]).toEqual([0, 0, 0]);
  });

  test("a damaged block is reported by name and never served", () => {
    const { layout, index } = twoRuns(false);
    const finder = new IdFinder(index, layout.options, layout.fetcher);
    const run = index.levels[0]![1]!;
    layout.file.flipBit(layout.grid.fileOffset(run.refs.address(4)) + 300, 2);
    const { words, offsets } = askFor([1045, 3]);
    const references = new Int32Array(2);
    let called = false;
    const done = finder.find(words, offsets, 2, references, () => {
      called = true;
    });
    expect(done).toBe(false);
    while (layout.file.tick());
    expect(called).toBe(false);
    expect(layout.damaged.length).toBe(1);
    expect(layout.damaged[0]!.name).toContain("run block 4");
    expect(references[0]).toBe(0);
  });

  test("waits for a block that another replica has", () => {
    const { layout, index } = twoRuns(true);
    const finder = new IdFinder(index, layout.options, layout.fetcher);
    const run = index.levels[0]![1]!;
    const address = run.refs.address(4);
    const at = layout.grid.fileOffset(address);
    const sound = layout.file.content(at, 65_536);
    layout.file.flipBit(at + 300, 2);
    const { words, offsets } = askFor([1045, 3]);
    const references = new Int32Array(2);
    let called = 0;
    const onDone = (): void => {
      called += 1;
    };
    expect(finder.find(words, offsets, 2, references, onDone)).toBe(false);
    while (layout.file.tick());
    expect(called).toBe(0);
    expect(layout.wanted.map((block) => block.address)).toEqual([address]);
    const copy = layout.file.allocate(65_536);
    copy.bytes.set(sound);
    expect(layout.grid.repairs!.offer(address, copy, 0)).toBe(true);
    expect(called).toBe(1);
    expect([...references]).toEqual([1046, 4]);
  });
});
