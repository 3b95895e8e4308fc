/**
 * Power is cut at random writes of a running replica, sectors in flight are torn and unsynced ones
 * lost; the next incarnation must hold every acknowledged request, equal the reference ledger in
 * every query, and answer repeated requests with the replies of the first time.
 *
 * The journal works as the server's does in a cluster of one, where headers wait for ticks; a smaller
 * part of the lives has it as in larger clusters.
 */
import { test } from "vitest";
import { CrashRun } from "./crash-run.ts";

test("power cuts at a thousand moments lose nothing that was acknowledged", () => {
  for (let seed = 1; seed <= 50; seed += 1) new CrashRun({ seed, crashes: 20 }).run();
});

test("nor where headers follow their prepares at once, as in larger clusters", () => {
  for (let seed = 301; seed <= 310; seed += 1) {
    new CrashRun({ seed, crashes: 20, journalTicks: false }).run();
  }
});

test("kills that leave the page cache alone lose nothing either", () => {
  for (let seed = 101; seed <= 106; seed += 1) {
    new CrashRun({ seed, crashes: 11, kills: 1, journalTicks: seed % 3 !== 0 }).run();
  }
});

test("what a killed process left in a cache survives the power cut that follows its recovery", () => {
  for (let seed = 201; seed <= 230; seed += 1) {
    new CrashRun({ seed, crashes: 20, kills: 0.5, journalTicks: seed % 3 !== 0 }).run();
  }
});
