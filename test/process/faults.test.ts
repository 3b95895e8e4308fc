/**
 * A cluster of three on real sockets, disks and processes while all of these fail: nothing that was
 * acknowledged is lost, nothing is done twice, all balances are those of the reference ledger, and
 * every replica comes back. PACIOLI_FAULT_MINUTES makes the run longer, PACIOLI_FAULT_SEED repeats the
 * choices of an earlier one.
 */
import { randomInt } from "node:crypto";
import { afterAll, expect, test } from "vitest";
import { faultRun } from "./fault-run.ts";
import { cleanUp } from "./server.ts";

const minutes = Number(process.env["PACIOLI_FAULT_MINUTES"] ?? 0);
const seed = Number(process.env["PACIOLI_FAULT_SEED"] ?? randomInt(2 ** 31));

afterAll(cleanUp);

const short = {
  durationMs: 12_000,
  roundMs: 6_000,
  sessions: 3,
  officialClients: 1,
  pauseMs: 80,
  lazyRot: false,
};
const long = {
  durationMs: minutes * 60_000,
  roundMs: 60_000,
  sessions: 4,
  officialClients: 2,
  pauseMs: 150,
  lazyRot: true,
};

const runs =
  minutes > 0
    ? [{ ...long, seed }]
    : [
        { ...short, seed: 2 },
        { ...short, seed },
      ];

test.each(runs)(
  "faults lose nothing and repeat nothing (seed $seed)",
  async (options) => {
    const summary = await faultRun(options);
    console.log(`fault run: ${JSON.stringify(summary)}`);
    expect(summary.faultsTotal).toBeGreaterThan((options.durationMs / 1000) * 0.3);
    expect(summary.viewChanges).toBeGreaterThan(0);
    expect(summary.acknowledged).toBe(summary.requests);
    expect(summary.official).toBeGreaterThan(5);
    expect(summary.acknowledged).toBeGreaterThan(options.durationMs / 1000);
  },
  600_000 + 2 * options(runs),
);

function options(list: readonly { readonly durationMs: number }[]): number {
  return list.reduce((sum, { durationMs }) => sum + durationMs, 0);
}
