/**
 * kill -9 at random moments under load, on one data file: everything acknowledged is there, nothing
 * twice, and every reply was right. PACIOLI_CRASH_CYCLES and PACIOLI_CRASH_SEED choose a longer or
 * an earlier run.
 */
import { randomInt } from "node:crypto";
import { afterAll, expect, test } from "vitest";
import { crashRun } from "./crash-harness.ts";
import { cleanUp } from "./server.ts";

/** Slots of a development data file's journal. */
const journalSlots = 64;

const cycles = Number(process.env["PACIOLI_CRASH_CYCLES"] ?? 25);
const seed = Number(process.env["PACIOLI_CRASH_SEED"] ?? randomInt(2 ** 31));

afterAll(cleanUp);

test(
  `${cycles} crashes lose nothing and repeat nothing (seed ${seed})`,
  async () => {
    const summary = await crashRun({ seed, cycles, sessions: 6, backends: ["uring", "portable"] });
    console.log(`crash run: ${JSON.stringify({ seed, ...summary })}`);
    expect(summary.kills).toBeGreaterThan(cycles / 2);
    expect(summary.requests).toBeGreaterThan(cycles * 10);
    expect(summary.expired).toBeGreaterThan(0);
    // The journal went round several times.
    expect(summary.ops).toBeGreaterThan(4 * journalSlots);
  },
  120_000 + cycles * 10_000,
);
