/**
 * Power is cut at random writes of a running replica, sectors in flight are torn and unsynced ones
 * lost; the next incarnation must hold every acknowledged request, equal the reference ledger in
 * every query, and answer repeated requests with the replies of the first time.
 */
import { test } from "vitest";
import { CrashRun } from "./crash-run.ts";

test("power cuts at a thousand moments lose nothing that was acknowledged", () => {
  for (let seed = 1; seed <= 50; seed += 1) new CrashRun({ seed, crashes: 20 }).run();
});

test("kills that leave the page cache alone lose nothing either", () => {
  for (let seed = 101; seed <= 106; seed += 1) {
    new CrashRun({ seed, crashes: 11, kills: 1 }).run();
  }
});

test("what a killed process left in a cache survives the power cut that follows its recovery", () => {
  for (let seed = 201; seed <= 230; seed += 1) {
    new CrashRun({ seed, crashes: 20, kills: 0.5 }).run();
  }
});
