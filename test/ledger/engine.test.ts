/**
 * The state machine on the storage engine against the reference ledger. Runs are so small that few
 * rows make many: most of what is looked up and queried lies in blocks on disk.
 */
import { expect, test } from "vitest";
import type { RunConstants } from "../../src/storage/runs/options.ts";
import { Operation } from "../reference/operations.ts";
import { created } from "../reference/records.ts";
import { check, scripts } from "./comparison.ts";
import { EngineStore } from "./engine-store.ts";
import { StoreHarness } from "./harness.ts";

const wallClock = 1_795_000_000_000_000_000n;

interface Load {
  readonly runs: RunConstants;
  readonly steps: number;
  readonly scripts: number;
}

test.each<[string, Load]>([
  [
    "many small runs",
    {
      runs: { barOps: 1, cutRows: 10, blockEntriesShort: 6, blockEntriesLong: 4 },
      steps: 180,
      scripts: 6,
    },
  ],
  [
    "blocks that hold several keys",
    {
      runs: { barOps: 2, cutRows: 40, blockEntriesShort: 40, blockEntriesLong: 26 },
      steps: 400,
      scripts: 2,
    },
  ],
])("%s", (_, load) => {
  let last: EngineStore | null = null;
  let levels = 0;
  const create = (seed: number): StoreHarness<EngineStore> => {
    last = new EngineStore(seed, load.runs);
    return new StoreHarness(last);
  };
  const world = { accounts: 10, transfers: 400, imports: 0 };
  const totals = check(
    scripts(world, wallClock, load.steps),
    21,
    load.scripts,
    ({ storeSeed }) => create(storeSeed),
    () => {
      const { indexes } = last!.engine;
      levels = Math.max(levels, ...indexes.group.indexes.map((index) => index.levels.length));
    },
  );
  expect(totals.statuses.get(`${Operation.createTransfers}/${created}`)).toBeGreaterThan(200);
  expect(levels, "runs were merged").toBeGreaterThan(1);
  expect(totals.kept, "restarts met runs").toBeGreaterThan(100);
  expect(totals.addedAgain).toBeGreaterThan(10);
});
