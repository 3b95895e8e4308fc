/**
 * The reference ledger gives the recorded answers: all sixteen recordings on a fake clock. This is
 * what entitles it to judge the server.
 */
import { expect, test } from "vitest";
import { ReferenceLedger } from "../reference/ledger.ts";
import type { AccountFilter, QueryFilter } from "../reference/records.ts";
import { readRecording, recordingNames, type Step } from "./recording.ts";
import { ConformanceError, type ReplayClient, replay, sleepMs } from "./replay.ts";

class TooMuchData extends Error {}

/** A client of a cluster that consists of the reference ledger and a clock of its own. */
class ReferenceClient implements ReplayClient {
  private readonly ledger = new ReferenceLedger();
  private now = 1_795_000_000_000_000_000n;

  /** The timestamp of the next operation. */
  private tick(events: number): bigint {
    this.now += 1_000_000n + BigInt(events);
    return this.now;
  }

  private checkLimit(count: number): void {
    if (count > 8189) throw new TooMuchData();
  }

  async createAccounts(batch: Parameters<ReplayClient["createAccounts"]>[0]) {
    this.checkLimit(batch.length);
    return this.ledger.createAccounts([batch], this.tick(batch.length))[0]!;
  }
  async createTransfers(batch: Parameters<ReplayClient["createTransfers"]>[0]) {
    this.checkLimit(batch.length);
    return this.ledger.createTransfers([batch], this.tick(batch.length))[0]!;
  }
  async lookupAccounts(ids: bigint[]) {
    return this.ledger.lookupAccounts(ids);
  }
  async lookupTransfers(ids: bigint[]) {
    return this.ledger.lookupTransfers(ids);
  }
  async getAccountTransfers(filter: AccountFilter) {
    this.checkLimit(filter.limit);
    return this.ledger.getAccountTransfers(filter);
  }
  async getAccountBalances(filter: AccountFilter) {
    this.checkLimit(filter.limit);
    return this.ledger.getAccountBalances(filter);
  }
  async queryAccounts(filter: QueryFilter) {
    this.checkLimit(filter.limit);
    return this.ledger.queryAccounts(filter);
  }
  async queryTransfers(filter: QueryFilter) {
    this.checkLimit(filter.limit);
    return this.ledger.queryTransfers(filter);
  }

  async sleep(stretch: number) {
    this.now += BigInt(sleepMs * stretch) * 1_000_000n;
    this.ledger.pulse(this.tick(8190));
    this.ledger.checkInvariants();
  }
}

function run(name: string, steps: readonly Step[], stretch = 1): Promise<number> {
  const client = new ReferenceClient();
  return replay(
    name,
    steps,
    client,
    () => client.sleep(stretch),
    (error) => error instanceof TooMuchData,
    { nowMs: () => 0, stretch },
  );
}

test.each(recordingNames)("the reference ledger answers recording %s", async (name) => {
  expect(await run(name, readRecording(name))).toBe(150);
});

test.each(recordingNames)("stretched time changes no answer of recording %s", async (name) => {
  expect(await run(name, readRecording(name), 7)).toBe(150);
});

test("there are sixteen recordings", () => {
  expect(recordingNames.length).toBe(16);
});

test("a single changed answer is noticed", async () => {
  const steps = readRecording("1006");
  const at = steps.findIndex(({ op }) => op === "createTransfers");
  const results = structuredClone(steps[at]!.result) as { status: number }[];
  results[0]!.status ^= 1;
  const changed = steps.map((step, index) => (index === at ? { ...step, result: results } : step));
  await expect(run("changed", changed)).rejects.toThrow(ConformanceError);
});
