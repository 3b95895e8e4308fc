import { beforeEach, expect, test } from "vitest";
import { BackupPace } from "./backup-pace.ts";
import type { ReplicaState } from "./replica-state.ts";

const interval = 480;
let state: { commitMin: number; replica: number; replicaCount: number };
let pace: BackupPace;

beforeEach(() => {
  state = { commitMin: 10_000, replica: 0, replicaCount: 3 };
  pace = new BackupPace(state as ReplicaState, interval);
});

function pass(ticks: number): void {
  for (let tick = 0; tick < ticks; tick += 1) pace.tick();
}

test("nobody waits for backups that keep up, or that were never heard", () => {
  expect(pace.waitTicks).toBe(0);
  pace.heard(1, state.commitMin - 8);
  pace.heard(2, state.commitMin - 119);
  expect(pace.waitTicks).toBe(0);
});

test.each([
  [120, 1],
  [250, 2],
  [480, 4],
  [3 * interval, 4],
  [3 * interval + 1, 0],
])("a backup that is %d ops behind makes a prepare wait %d ticks", (lag, ticks) => {
  pace.heard(1, state.commitMin);
  pace.heard(2, state.commitMin - lag);
  expect(pace.waitTicks).toBe(ticks);
});

test("one that has fallen silent is not waited for, nor one of an earlier view", () => {
  pace.heard(2, state.commitMin - 200);
  pass(100);
  expect(pace.waitTicks).toBe(1);
  pass(1);
  expect(pace.waitTicks).toBe(0);
  pace.heard(2, state.commitMin - 200);
  expect(pace.waitTicks).toBe(1);
  pace.reset();
  expect(pace.waitTicks).toBe(0);
});

test("short journals do not make a full pipeline wait", () => {
  const short = new BackupPace(state as ReplicaState, 20);
  short.heard(1, state.commitMin - 15);
  expect(short.waitTicks).toBe(0);
  short.heard(1, state.commitMin - 16);
  expect(short.waitTicks).toBe(1);
});
