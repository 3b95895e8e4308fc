/** The parts of the long run that compute: samples, remembered ids, the plot's scales. */
import { describe, expect, test } from "vitest";
import { IdSample } from "../../bench/long-run/id-sample.ts";
import { axisTo, plotRuns, position } from "../../bench/long-run/plot.ts";
import { type LongRun, runText } from "../../bench/long-run/report.ts";
import { type Probe, Sampler, summarise } from "../../bench/long-run/samples.ts";
import { Prng } from "../../src/core/prng.ts";

const always = Number.POSITIVE_INFINITY;

function probes(): () => Probe {
  let count = 0;
  return () => {
    count += 1;
    return {
      residentBytes: 500 - count,
      residentBytesMax: 600 + count,
      fileBytes: 1000 * count,
      writtenBytes: 3000 * count,
    };
  };
}

describe("samples", () => {
  test("end with the answer that fills them, and count time from the one before", () => {
    const told: number[] = [];
    const sampler = new Sampler({ transfers: 100, durationMs: always }, probes(), (sample) =>
      told.push(sample.transfers),
    );
    const answers: [number, number][] = [
      [10, 60],
      [30, 60],
      [40, 99],
      [80, 1],
      [90, 30],
    ];
    for (const [atMs, transfers] of answers) sampler.add(atMs, atMs / 10, transfers);
    expect(told).toEqual([120, 220]);
    sampler.finish();
    sampler.finish();
    expect(told).toEqual([120, 220, 250]);
    expect(
      sampler.samples.map(({ added, durationMs, whole }) => [added, durationMs, whole]),
    ).toEqual([
      [120, 30, true],
      [100, 50, true],
      [30, 10, false],
    ]);
    expect(sampler.samples.map((sample) => sample.transfersPerSecond)).toEqual([4000, 2000, 3000]);
    expect(sampler.samples.map(({ p50Ms, slowestMs }) => [p50Ms, slowestMs])).toEqual([
      [1, 3],
      [4, 8],
      [9, 9],
    ]);
    expect(sampler.samples.map((sample) => sample.fileBytes)).toEqual([1000, 2000, 3000]);
  });

  test("end with time", () => {
    const sampler = new Sampler({ transfers: always, durationMs: 60 }, probes(), () => {});
    for (let atMs = 25; atMs <= 200; atMs += 25) sampler.add(atMs, 1, 1);
    expect(sampler.samples.map(({ transfers, durationMs }) => [transfers, durationMs])).toEqual([
      [3, 75],
      [6, 75],
    ]);
  });

  test("an answer told late does not turn the clock back", () => {
    const sampler = new Sampler({ transfers: 1, durationMs: always }, probes(), () => {});
    sampler.add(50, 1, 1);
    sampler.add(40, 1, 1);
    expect(sampler.samples.map((sample) => sample.durationMs)).toEqual([50, 0]);
    expect(sampler.samples[1]!.transfersPerSecond).toBe(0);
  });

  test("the summary compares whole samples, and counts bytes since the load began", () => {
    const sampler = new Sampler({ transfers: 100, durationMs: always }, probes(), () => {});
    sampler.add(10, 2, 100);
    sampler.add(30, 8, 100);
    sampler.add(31, 1, 50);
    sampler.finish();
    const before = { residentBytes: 1, residentBytesMax: 1, fileBytes: 500, writtenBytes: 1000 };
    expect(summarise(sampler.samples, before, 4)).toEqual({
      lastToFirst: 0.5,
      transfersPerSecondFirst: 10_000,
      transfersPerSecondLast: 5000,
      slowestMs: 8,
      slowestToMedian: 2,
      residentBytesMax: 603,
      fileBytesPerTransfer: 10,
      writtenBytesPerTransfer: 32,
      writeAmplification: 0.25,
    });
    const untold = summarise(sampler.samples, { ...before, writtenBytes: null }, 4);
    expect(untold!.writtenBytesPerTransfer).toBe(null);
    expect(untold!.writeAmplification).toBe(null);
    expect(summarise([], before, 4)).toBe(null);
  });
});

test("one id of each equal share of the load is remembered, whatever the batches", () => {
  const transfers = 1003;
  const size = 100;
  for (const batch of [1, 7, 64, 2000]) {
    const sample = new IdSample(transfers, size, new Prng(5));
    for (let first = 0; first < transfers; first += batch) {
      const count = Math.min(batch, transfers - first);
      const words = new Uint32Array(3 + count * 32);
      for (let index = 0; index < count; index += 1) {
        words.set([first + index, 1, 2, 3], 3 + index * 32);
      }
      sample.add(words, 3, first, count);
    }
    expect(sample.count).toBe(size);
    for (let share = 0; share < size; share += 1) {
      const number = sample.words[share * 4]!;
      expect(number).toBeGreaterThanOrEqual(Math.floor((share * transfers) / size));
      expect(number).toBeLessThan(Math.floor(((share + 1) * transfers) / size));
      expect([...sample.words.subarray(share * 4 + 1, share * 4 + 4)]).toEqual([1, 2, 3]);
    }
  }
  const all = new IdSample(3, 3, new Prng(1));
  const words = new Uint32Array(96);
  words.set([10, 0, 0, 0], 0);
  words.set([11, 0, 0, 0], 32);
  words.set([12, 0, 0, 0], 64);
  all.add(words, 0, 0, 3);
  expect([all.words[0], all.words[4], all.words[8]]).toEqual([10, 11, 12]);
  const none = new IdSample(3, 0, new Prng(1));
  none.add(words, 0, 0, 3);
  expect(none.count).toBe(0);
});

describe("the plot", () => {
  test.each([
    [40_000_000, 5, 10_000_000, 40_000_000],
    [41, 5, 10, 50],
    [7, 5, 2, 8],
    [0.3, 3, 0.1, 0.3],
    [980_000, 5, 200_000, 1_000_000],
    [0, 5, 1, 1],
    [Number.NaN, 5, 1, 1],
  ])("an axis to %d in about %d steps", (max, ticks, step, end) => {
    const axis = axisTo(max, ticks);
    expect(axis.step).toBeCloseTo(step, 9);
    expect(axis.max).toBeCloseTo(end, 9);
  });

  test("values lie between the ends, in either direction", () => {
    const axis = { max: 50, step: 10 };
    expect(position(axis, 0, 70, 570)).toBe(70);
    expect(position(axis, 50, 70, 570)).toBe(570);
    expect(position(axis, 25, 240, 60)).toBe(150);
  });

  test("every run is a curve in each panel, and its name is text", () => {
    const sampler = new Sampler({ transfers: 100, durationMs: always }, probes(), () => {});
    sampler.add(10, 2, 100);
    sampler.add(30, 8, 100);
    const run = (name: string): LongRun => ({
      name,
      load: {
        accounts: 2,
        batch: 100,
        clients: 1,
        idOrder: "time",
        seed: 1,
        minutes: null,
        startOptions: [],
      },
      transfers: 200,
      durationMs: 30,
      p50Ms: 2,
      p99Ms: 8,
      fileBytesFormatted: 1,
      fileBytesBefore: 2,
      samples: sampler.samples,
      summary: summarise(
        sampler.samples,
        { residentBytes: 1, residentBytesMax: 1, fileBytes: 500, writtenBytes: null },
        2,
      ),
      restart: { listeningMs: 1234, opsReplayed: 17, residentBytes: 2 ** 28 },
      questions: [],
      tables: null,
      tablesText: "table  rows\n",
      complaint: null,
    });
    const svg = plotRuns([run("time ids"), run("a < b & c")]);
    expect(svg.match(/<polyline /g)).toHaveLength(6);
    expect(svg).toContain(">a &lt; b &amp; c<");
    // The first panel's curve: 10,000 a second at the top of its axis, 5,000 half way down.
    expect(svg).toContain(
      '<polyline points="320.0,100.0 570.0,190.0" fill="none" stroke="#1f5fbf"',
    );
    expect(svg).not.toMatch(/NaN|Infinity|undefined/);
    expect(plotRuns([{ ...run("nothing"), samples: [] }])).not.toMatch(/NaN|Infinity|undefined/);
    const text = runText(run("time ids"));
    expect(text).toMatch(/^ +200 +5,000 +8\.00 ms/m);
    expect(text).toContain("last 5,000: 50 % of it");
    expect(text).toMatch(
      /^restart +1\.23 s until it listened, with 17 ops executed again; 256 MiB/m,
    );
    expect(text).not.toContain("written  ");
  });
});
