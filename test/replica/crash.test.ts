/**
 * Power is cut at random writes of a running replica, sectors in flight are torn and unsynced ones
 * lost; the next incarnation must hold every acknowledged request, equal the reference ledger in
 * every query, and answer repeated requests with the replies of the first time.
 */
import { expect, test } from "vitest";
import { Prng } from "../../src/core/prng.ts";
import { operationMutates } from "../../src/wire/operations.ts";
import { executeRequest, Operation } from "../reference/operations.ts";
import { Crash, type MemoryFileIo } from "../wal/memory-file-io.ts";
import { formatMemoryFile, Harness, Log, type Reply, TestClient, TestTime } from "./harness.ts";
import { Workload, wholeState } from "./workload.ts";

const accounts = 12;

/** A client that seldom asks for anything new, and often for its last reply again. */
const idleClient = 4;

interface Judge {
  readonly log: Log;
  readonly acknowledged: Map<string, Reply>;
}

function keyOf(client: number, request: number): string {
  return `${client}/${request}`;
}

/** Takes new replies: each must be the only answer that its request ever gets. */
function takeReplies(harness: Harness, judge: Judge, clients: TestClient[]): void {
  for (const reply of harness.replies) {
    const key = keyOf(reply.client, reply.request);
    const before = judge.acknowledged.get(key);
    if (before !== undefined) {
      expect(reply.op, "a request executes once").toBe(before.op);
      if (reply.again || operationMutates[reply.operation] === 0) continue;
      expect(Buffer.compare(reply.body, before.body), "a stored reply is the first one").toBe(0);
      continue;
    }
    judge.acknowledged.set(key, reply);
    const client = clients.find((one) => one.id === reply.client)!;
    if (client.inFlight !== null) client.accept(reply);
  }
  harness.replies.length = 0;
}

/** Replies so far, against the reference executed op by op; and the whole state at the end. */
function verify(harness: Harness, judge: Judge): void {
  const opHead = harness.replica.commitMin;
  for (const reply of judge.acknowledged.values()) {
    expect(reply.op, "nothing acknowledged is lost").toBeLessThanOrEqual(opHead);
  }
  const byOp = new Map<number, Reply[]>();
  for (const reply of judge.acknowledged.values()) {
    byOp.set(reply.op, [...(byOp.get(reply.op) ?? []), reply]);
  }
  const reference = new Log().reference(0);
  for (let op = 1; op <= opHead; op += 1) {
    for (const request of judge.log.ops.get(op)!.requests) {
      if (request.operation === Operation.register) continue;
      const expected = executeRequest(
        reference,
        request.operation,
        request.body,
        request.timestamp,
      );
      for (const reply of byOp.get(op) ?? []) {
        if (reply.client !== request.client || reply.again) continue;
        expect(Buffer.compare(reply.body, expected), `reply of op ${op}`).toBe(0);
      }
    }
  }
  for (const { operation, body } of wholeState(accounts)) {
    const expected = executeRequest(reference, operation, body, 0n);
    const actual = harness.query(operation, body);
    expect(Buffer.compare(actual, expected), `operation ${operation}`).toBe(0);
  }
}

function runUntilCrash(
  harness: Harness,
  judge: Judge,
  clients: TestClient[],
  workload: Workload,
  random: Prng,
): void {
  for (let round = 0; round < 40; round += 1) {
    for (const client of clients) {
      if (client.inFlight !== null) {
        harness.deliver(client.inFlight);
      } else if (client.id === idleClient && client.session !== 0 && random.chance(0.96)) {
        // Its reply is old: only the replies zone has it after a restart.
        if (random.chance(0.3) && client.lastRequest !== null) harness.deliver(client.lastRequest);
      } else if (client.session === 0) {
        harness.deliver(client.register());
      } else {
        const { operation, body } = workload.next();
        harness.deliver(client.request(operation, body));
      }
    }
    harness.time.now += BigInt(random.below(600_000_000));
    for (let tick = 0; tick < 11; tick += 1) harness.replica.tick();
    harness.settle();
    expect(harness.fatal).toBeNull();
    takeReplies(harness, judge, clients);
  }
}

function crashOften(seed: number, crashes: number, kill: boolean): number {
  const random = new Prng(seed);
  const judge: Judge = { log: new Log(), acknowledged: new Map() };
  const clients = [1, 2, 3, idleClient].map((id) => new TestClient(id));
  const workload = new Workload(seed, accounts);
  const time = new TestTime();
  let io: MemoryFileIo = formatMemoryFile(seed);
  let tried = 0;
  for (let crash = 0; crash <= crashes; crash += 1) {
    const harness = new Harness(io, judge.log, time, { grouping: random.chance(0.7) });
    io.crashAtWrite = random.chance(0.2) ? random.below(12) : 10 + random.below(160);
    try {
      const opened = harness.open();
      expect(harness.error ?? harness.fatal, `seed ${seed}, crash ${crash}`).toBeNull();
      expect(opened).toBe(true);
      verify(harness, judge);
      runUntilCrash(harness, judge, clients, workload, random);
    } catch (error) {
      if (!(error instanceof Crash)) throw error;
      takeReplies(harness, judge, clients);
    }
    tried += 1;
    io = kill ? io.afterKill(seed + crash) : io.afterCrash(seed + crash);
    time.now += BigInt(random.below(3)) * 700_000_000n;
  }
  const last = new Harness(io, judge.log, time);
  expect(last.open(), last.error ?? last.fatal ?? "").toBe(true);
  verify(last, judge);
  for (const client of clients) {
    if (client.inFlight !== null) last.deliver(client.inFlight);
  }
  last.settle();
  takeReplies(last, judge, clients);
  verify(last, judge);
  return tried;
}

test("power cuts at a thousand moments lose nothing that was acknowledged", () => {
  let crashes = 0;
  for (let seed = 1; seed <= 50; seed += 1) crashes += crashOften(seed, 19, false);
  expect(crashes).toBeGreaterThanOrEqual(1000);
});

test("kills that leave the page cache alone lose nothing either", () => {
  for (let seed = 101; seed <= 106; seed += 1) crashOften(seed, 10, true);
});
