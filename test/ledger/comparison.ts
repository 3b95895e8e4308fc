/**
 * The state machine beside the reference ledger: random scripts of requests, pauses and restarts,
 * every reply compared byte for byte. Scripts come from fast-check, so a failing one is shrunk to
 * the requests that matter.
 */
import fc from "fast-check";
import { expect } from "vitest";
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
import { type DrivenStore, operationPulse, type StoreHarness } from "./harness.ts";
import { RequestMaker, type World } from "./random-requests.ts";

export interface Step {
  readonly seed: number;
  /** 0…99: some restarts and pauses, mostly requests. */
  readonly action: number;
}

export interface Script {
  readonly storeSeed: number;
  readonly world: World;
  /** Nanoseconds. Small clocks let imported timestamps meet real ones. */
  readonly clock: bigint;
  readonly steps: readonly Step[];
}

export class Comparison {
  readonly ledger = new ReferenceLedger();
  events = 0;
  /** Transfers whose entries were in runs at a restart, and those whose entries were added again. */
  kept = 0;
  addedAgain = 0;
  readonly statuses = new Map<string, number>();

  constructor(
    private readonly script: Script,
    readonly harness: StoreHarness<DrivenStore>,
  ) {
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

export function scripts(world: World, clock: bigint, steps: number): fc.Arbitrary<Script> {
  return fc.record({
    storeSeed: fc.integer({ min: 0, max: 0xffff }),
    world: fc.constant(world),
    clock: fc.constant(clock),
    steps: fc.array(step, { minLength: steps, maxLength: steps, size: "max" }),
  });
}

export interface Totals {
  events: number;
  kept: number;
  addedAgain: number;
  readonly statuses: Map<string, number>;
}

export function check(
  script: fc.Arbitrary<Script>,
  seed: number,
  runs: number,
  create: (script: Script) => StoreHarness<DrivenStore>,
  onEnd: () => void = () => {},
): Totals {
  const totals: Totals = { events: 0, kept: 0, addedAgain: 0, statuses: new Map() };
  fc.assert(
    fc.property(script, (one) => {
      const comparison = new Comparison(one, create(one));
      comparison.run();
      onEnd();
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
