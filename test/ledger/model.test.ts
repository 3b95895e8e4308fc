/**
 * The state machine against the reference ledger: random scripts of requests, pauses and restarts,
 * every reply compared byte for byte. Scripts come from fast-check, so a failing one is shrunk to
 * the requests that matter.
 */
import fc from "fast-check";
import { expect, test } from "vitest";
import { Prng } from "../../src/core/prng.ts";
import {
  accountFilterCodec,
  changeEventsFilterCodec,
  createResultCodec,
  decodeArray,
  encodeArray,
  idCodec,
  queryFilterCodec,
} from "../reference/codec.ts";
import { ReferenceLedger } from "../reference/ledger.ts";
import { makeAccountFilter, makeQueryFilter } from "../reference/make.ts";
import {
  encodeRequest,
  executeRequest,
  isValidBody,
  Operation,
  splitReply,
} from "../reference/operations.ts";
import { created } from "../reference/records.ts";
import { Harness, operationPulse } from "./harness.ts";
import { RequestMaker, type World } from "./random-requests.ts";

const creates: ReadonlySet<number> = new Set([129, 130, 138, 139, 146, 147]);
const eventSizes: ReadonlyMap<number, number> = new Map(
  Object.values(Operation).map((operation) => {
    if ([131, 132, 140, 141].includes(operation)) return [operation, 16];
    return [operation, [135, 136, 137, 144, 145].includes(operation) ? 64 : 128];
  }),
);

interface Step {
  readonly seed: number;
  /** 0…99: mostly requests. */
  readonly action: number;
}

interface Script {
  readonly storeSeed: number;
  readonly world: World;
  /** Nanoseconds. Small clocks let imported timestamps meet real ones. */
  readonly clock: bigint;
  readonly steps: readonly Step[];
}

class Comparison {
  readonly harness: Harness;
  readonly ledger = new ReferenceLedger();
  events = 0;
  /** Transfers whose entries were in runs at a restart, and those whose entries were added again. */
  kept = 0;
  addedAgain = 0;
  readonly statuses = new Map<string, number>();

  constructor(private readonly script: Script) {
    this.harness = new Harness(script.storeSeed);
    this.harness.clock = script.clock;
    this.harness.onOperation = (operation, _body, timestamp) => {
      if (operation === operationPulse) this.ledger.pulse(timestamp);
    };
  }

  run(): void {
    const { harness, script } = this;
    for (const { seed, action } of script.steps) {
      if (action < 3) {
        this.endOp();
        const { indexes, transfers } = harness.store;
        this.kept += indexes.covered.transfers;
        this.addedAgain += transfers.count - indexes.covered.transfers;
        harness.restart();
      } else if (action < 12) {
        this.endOp();
        harness.sleep(BigInt(seed % 3_000_000_000));
      } else {
        harness.clock += BigInt(seed % 5000);
        const request = new RequestMaker(seed, script.world, harness.clock, this.ledger).make();
        this.events += request.events;
        this.compare(request.operation, request.body);
        // Otherwise the next request belongs to the same op, as in a group.
        if (action < 80) this.endOp();
      }
    }
    this.endOp();
    this.compareAll();
  }

  private endOp(): void {
    this.harness.endOp();
    this.harness.pulseWhileDue();
    const next = this.ledger.nextExpiry();
    if (next !== null && !this.harness.pulseDue(next)) {
      throw new Error("a pulse would come too late");
    }
    this.ledger.checkInvariants();
  }

  private compare(operation: number, body: Uint8Array): void {
    const valid = isValidBody(operation, body);
    if (!valid) return;
    const actual = this.harness.execute(operation, body);
    const expected = executeRequest(this.ledger, operation, body, this.harness.timestamp);
    if (Buffer.compare(actual, expected) !== 0) {
      expect({ operation, reply: describe(operation, actual) }).toEqual({
        operation,
        reply: describe(operation, expected),
      });
      throw new Error(`operation ${operation}: replies differ`);
    }
    this.countStatuses(operation, expected);
  }

  private countStatuses(operation: number, reply: Uint8Array): void {
    if (operation !== Operation.createAccounts && operation !== Operation.createTransfers) return;
    for (const part of splitReply(operation, reply)!) {
      for (const { status } of decodeArray(createResultCodec, part)) {
        const key = `${operation}/${status}`;
        this.statuses.set(key, (this.statuses.get(key) ?? 0) + 1);
      }
    }
  }

  /** The whole state, as far as any request can show it. */
  private compareAll(): void {
    const { world } = this.script;
    const query = (operation: number, filter: Uint8Array): void => {
      this.compare(operation, encodeRequest(operation, [filter]));
      this.harness.endOp();
    };
    for (const flags of [0, 1]) {
      const filter = queryFilterCodec.encode(makeQueryFilter({ flags }));
      query(Operation.queryAccounts, filter);
      query(Operation.queryTransfers, filter);
    }
    for (let id = 1n; id <= BigInt(world.accounts); id += 1n) {
      const filter = accountFilterCodec.encode(makeAccountFilter({ account_id: id }));
      query(Operation.getAccountTransfers, filter);
      query(Operation.getAccountBalances, filter);
    }
    const all = { timestamp_min: 0n, timestamp_max: 0n, limit: 2730 };
    query(Operation.getChangeEvents, changeEventsFilterCodec.encode(all));
    const ids: bigint[] = [];
    for (let id = 1n; id <= BigInt(world.transfers); id += 1n) ids.push(id);
    query(Operation.lookupTransfers, encodeArray(idCodec, ids));
  }
}

function describe(operation: number, reply: Uint8Array): unknown {
  if (operation !== Operation.createAccounts && operation !== Operation.createTransfers) {
    return Buffer.from(reply).toString("hex");
  }
  return splitReply(operation, reply)?.map((part) => decodeArray(createResultCodec, part));
}

const step: fc.Arbitrary<Step> = fc.record({
  seed: fc.integer({ min: 0, max: 0x7fff_ffff }),
  action: fc.integer({ min: 0, max: 99 }),
});

function scripts(world: World, clock: bigint, steps: number): fc.Arbitrary<Script> {
  return fc.record({
    storeSeed: fc.integer({ min: 0, max: 0xffff }),
    world: fc.constant(world),
    clock: fc.constant(clock),
    steps: fc.array(step, { minLength: steps, maxLength: steps, size: "max" }),
  });
}

interface Totals {
  events: number;
  kept: number;
  addedAgain: number;
  readonly statuses: Map<string, number>;
}

function check(script: fc.Arbitrary<Script>, seed: number, runs: number): Totals {
  const totals: Totals = { events: 0, kept: 0, addedAgain: 0, statuses: new Map() };
  fc.assert(
    fc.property(script, (one) => {
      const comparison = new Comparison(one);
      comparison.run();
      totals.events += comparison.events;
      totals.kept += comparison.kept;
      totals.addedAgain += comparison.addedAgain;
      for (const [key, count] of comparison.statuses) {
        totals.statuses.set(key, (totals.statuses.get(key) ?? 0) + count);
      }
    }),
    { seed, numRuns: runs, endOnFailure: false },
  );
  return totals;
}

const wallClock = 1_795_000_000_000_000_000n;

/** Statuses seen, of accounts and of transfers. */
function variety({ statuses }: Totals): number {
  return statuses.size;
}

test("a busy ledger of few accounts", () => {
  const world = { accounts: 10, transfers: 400, imports: 0 };
  const totals = check(scripts(world, wallClock, 180), 11, 65);
  expect(totals.events).toBeGreaterThan(50_000);
  expect(totals.statuses.get(`${Operation.createTransfers}/${created}`)).toBeGreaterThan(8000);
  expect(variety(totals)).toBeGreaterThan(75);
  expect(totals.kept).toBeGreaterThan(1000);
  expect(totals.addedAgain).toBeGreaterThan(1000);
});

test("a crowded id space, as the lower words of timestamps wrap around", () => {
  const world = { accounts: 6, transfers: 40, imports: 0.02 };
  const totals = check(scripts(world, (wallClock | 0xffff_ffffn) - 5_000_000n, 120), 12, 40);
  expect(totals.events).toBeGreaterThan(18_000);
  expect(variety(totals)).toBeGreaterThan(60);
});

test("imports, at a time when timestamps collide", () => {
  const world = { accounts: 12, transfers: 150, imports: 0.5 };
  const totals = check(scripts(world, 5000n, 100), 13, 85);
  expect(totals.events).toBeGreaterThan(35_000);
  expect(variety(totals)).toBeGreaterThan(80);
});

test("bodies of arbitrary content, as long as their form is valid", () => {
  const random = new Prng(14);
  const harness = new Harness(14);
  const ledger = new ReferenceLedger();
  harness.onOperation = (operation, _body, timestamp) => {
    if (operation === operationPulse) ledger.pulse(timestamp);
  };
  const operations = Object.values(Operation).filter((operation) => operation >= 129);
  let executed = 0;
  for (let run = 0; run < 3000; run += 1) {
    const operation = operations[random.below(operations.length)]!;
    const size = eventSizes.get(operation)!;
    const query = !creates.has(operation) && size !== 16;
    const parts = Array.from({ length: operation <= 137 ? 1 : random.range(1, 3) }, () => {
      const bytes = new Uint8Array(size * (query ? 1 : random.below(6)));
      const density = random.u32() / 2 ** 32;
      for (let at = 0; at < bytes.length; at += 1) {
        // Sparse bytes, so that a field is now and then what it has to be.
        if (random.chance(density * density))
          bytes[at] = random.chance(0.7) ? 1 : random.below(256);
      }
      return bytes;
    });
    const body = encodeRequest(operation, parts);
    if (!isValidBody(operation, body)) continue;
    executed += 1;
    harness.clock += BigInt(random.below(1_000_000));
    const actual = harness.execute(operation, body);
    const expected = executeRequest(ledger, operation, body, harness.timestamp);
    if (Buffer.compare(actual, expected) !== 0) {
      expect.fail(`operation ${operation}, body ${Buffer.from(body).toString("hex")}`);
    }
    harness.endOp();
    harness.pulseWhileDue();
  }
  expect(executed).toBeGreaterThan(2000);
});
