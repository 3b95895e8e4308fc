/** What seeds ask for: every operation, valid bodies, mostly events that succeed, many that do not. */
import { expect, test } from "vitest";
import { Prng } from "../../../src/core/prng.ts";
import { createResultCodec, decodeArray } from "../../reference/codec.ts";
import { ReferenceLedger } from "../../reference/ledger.ts";
import {
  executeRequest,
  isValidBody,
  Operation,
  splitReply,
  timestampDelta,
} from "../../reference/operations.ts";
import { AccountStatus, created, TransferStatus } from "../../reference/records.ts";
import { drawMix, IdPattern } from "./mix.ts";
import { Workload } from "./workload.ts";

const { createAccounts, createTransfers } = Operation;

interface Outcome {
  readonly operations: Set<number>;
  /** Statuses of create_accounts and of create_transfers. */
  readonly statuses: Map<number, Map<number, number>>;
  expired: number;
  bodies: string[];
}

/** Requests of one seed on a ledger whose clock goes on by a tenth of a second each. */
function run(seed: number, requests: number, outcome: Outcome, bodySizeMax = 1_048_320): void {
  const ledger = new ReferenceLedger();
  const random = new Prng(seed);
  const eventsMax = random.range(1, 30);
  const workload = new Workload(random, { accounts: 20, eventsMax }, ledger);
  let now = 1_700_000_000_000_000_000n;
  for (let count = 0; count < requests; count += 1) {
    const { operation, body } = workload.next(bodySizeMax);
    outcome.operations.add(operation);
    outcome.bodies.push(`${operation} ${Buffer.from(body).toString("base64")}`);
    expect(body.length).toBeLessThanOrEqual(bodySizeMax);
    expect(isValidBody(operation, body, bodySizeMax)).toBe(true);
    now += 100_000_000n + BigInt(timestampDelta(operation, body));
    const reply = executeRequest(ledger, operation, body, now);
    if (operation === createAccounts || operation === createTransfers) {
      const counts = outcome.statuses.get(operation)!;
      for (const { status } of splitReply(operation, reply)!.flatMap((part) =>
        decodeArray(createResultCodec, part),
      )) {
        counts.set(status, (counts.get(status) ?? 0) + 1);
      }
    }
    const due = ledger.nextExpiry();
    if (due !== null && due <= now) outcome.expired += ledger.pulse(now);
  }
  ledger.checkInvariants();
}

function newOutcome(): Outcome {
  const statuses = new Map([
    [createAccounts, new Map<number, number>()],
    [createTransfers, new Map<number, number>()],
  ]);
  return { operations: new Set(), statuses, expired: 0, bodies: [] };
}

function shareCreated(counts: ReadonlyMap<number, number>): number {
  let sum = 0;
  for (const count of counts.values()) sum += count;
  return counts.get(created)! / sum;
}

test("every operation, and nearly every status, of which most are success", () => {
  const outcome = newOutcome();
  for (let seed = 1; seed <= 60; seed += 1) run(seed, 120, outcome);
  const fromClients = Object.values(Operation).filter(
    (operation) => operation !== Operation.register && operation !== Operation.pulse,
  );
  expect([...outcome.operations].sort((a, b) => a - b)).toEqual(
    [...new Set(fromClients)].sort((a, b) => a - b),
  );
  const accounts = outcome.statuses.get(createAccounts)!;
  const transfers = outcome.statuses.get(createTransfers)!;
  expect(shareCreated(accounts)).toBeGreaterThan(0.6);
  expect(shareCreated(transfers)).toBeGreaterThan(0.6);
  expect(accounts.size).toBeGreaterThan(Object.keys(AccountStatus).length * 0.7);
  expect(transfers.size).toBeGreaterThan(Object.keys(TransferStatus).length * 0.7);
  expect(outcome.expired).toBeGreaterThan(100);
});

test("bodies fit a server that takes small ones", () => {
  const outcome = newOutcome();
  for (let seed = 1; seed <= 20; seed += 1) run(seed, 60, outcome, 4096 - 256);
  expect(outcome.operations.size).toBeGreaterThan(10);
});

test("the same for the same seed, and another mix for another one", () => {
  const [one, same, other] = [newOutcome(), newOutcome(), newOutcome()];
  run(7, 80, one);
  run(7, 80, same);
  run(8, 80, other);
  expect(one.bodies).toEqual(same.bodies);
  expect(one.bodies).not.toEqual(other.bodies);
  const patterns = new Set<number>();
  for (let seed = 0; seed < 40; seed += 1) patterns.add(drawMix(new Prng(seed)).idPattern);
  expect(patterns.size).toBe(Object.keys(IdPattern).length);
});
