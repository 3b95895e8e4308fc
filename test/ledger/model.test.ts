/**
 * The state machine against the reference ledger, over a storage in memory that is as unhelpful as
 * its interface allows.
 */
import { expect, test } from "vitest";
import { Prng } from "../../src/core/prng.ts";
import { ReferenceLedger } from "../reference/ledger.ts";
import { encodeRequest, executeRequest, isValidBody, Operation } from "../reference/operations.ts";
import { created } from "../reference/records.ts";
import { check, type Script, scripts, type Totals } from "./comparison.ts";
import { Harness, operationPulse } from "./harness.ts";

const creates: ReadonlySet<number> = new Set([129, 130, 138, 139, 146, 147]);
const eventSizes: ReadonlyMap<number, number> = new Map(
  Object.values(Operation).map((operation) => {
    if ([131, 132, 140, 141].includes(operation)) return [operation, 16];
    return [operation, [135, 136, 137, 144, 145].includes(operation) ? 64 : 128];
  }),
);

const wallClock = 1_795_000_000_000_000_000n;

const inMemory = ({ storeSeed }: Script): Harness => new Harness(storeSeed);

/** Statuses seen, of accounts and of transfers. */
function variety({ statuses }: Totals): number {
  return statuses.size;
}

test("a busy ledger of few accounts", () => {
  const world = { accounts: 10, transfers: 400, imports: 0 };
  const totals = check(scripts(world, wallClock, 180), 11, 65, inMemory);
  expect(totals.events).toBeGreaterThan(50_000);
  expect(totals.statuses.get(`${Operation.createTransfers}/${created}`)).toBeGreaterThan(8000);
  expect(variety(totals)).toBeGreaterThan(75);
  expect(totals.kept).toBeGreaterThan(1000);
  expect(totals.addedAgain).toBeGreaterThan(1000);
});

test("a crowded id space, as the lower words of timestamps wrap around", () => {
  const world = { accounts: 6, transfers: 40, imports: 0.02 };
  const totals = check(
    scripts(world, (wallClock | 0xffff_ffffn) - 5_000_000n, 120),
    12,
    40,
    inMemory,
  );
  expect(totals.events).toBeGreaterThan(18_000);
  expect(variety(totals)).toBeGreaterThan(60);
});

test("imports, at a time when timestamps collide", () => {
  const world = { accounts: 12, transfers: 150, imports: 0.5 };
  const totals = check(scripts(world, 5000n, 100), 13, 85, inMemory);
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
