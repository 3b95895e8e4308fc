/**
 * A handful of seeds, each twice: they pass, and pass the same way. `npm run pacioli -- simulate`
 * runs as many as one likes.
 */
import { expect, test } from "vitest";
import { canaries } from "./canaries/all.ts";
import { createLoad } from "./clients/load.ts";
import { createPlainLoad } from "./plain-load.ts";
import { Simulation, type SimulationOptions, type SimulationResult } from "./simulation.ts";

function simulate(seed: bigint, options: Partial<SimulationOptions> = {}): SimulationResult {
  return new Simulation({
    seed,
    overrides: { replicas: 1 },
    createLoad,
    canary: null,
    onLog: null,
    ...options,
  }).run();
}

test.each([1n, 2n, 5n])("seed %d runs the same way twice", (seed) => {
  const first = simulate(seed);
  const second = simulate(seed, { onLog: () => {} });
  expect(second.digest).toBe(first.digest);
  expect(first.committedOps).toBeGreaterThanOrEqual(64);
});

test("other seeds run otherwise", () => {
  const options = { createLoad: createPlainLoad };
  expect(simulate(3n, options).digest).not.toBe(simulate(4n, options).digest);
});

test("a cluster without faults hangs on nobody's luck", () => {
  const { counts } = simulate(9n, { overrides: { replicas: 1, calm: true } });
  expect(counts["kills"]).toBe(undefined);
  expect(counts["restarts"]).toBe(undefined);
  expect(counts["checkpoints"]).toBeGreaterThan(1);
});

/** Seeds that find each canary of a cluster of one. */
const foundBy: Readonly<Record<string, bigint>> = {
  "ack-before-durable": 1n,
  "skip-checkpoint-sync": 4n,
  "skip-kept-replies": 2n,
  "forget-sessions": 1n,
  "lose-repeated-reply": 1n,
  "wall-clock-expiry": 1n,
  "short-rollback": 3n,
};

test.each(Object.entries(foundBy))("%s is found", (name, seed) => {
  const canary = canaries.find((candidate) => candidate.name === name);
  expect(canary).not.toBe(undefined);
  expect(() => simulate(seed, { canary: canary! })).toThrow();
});
