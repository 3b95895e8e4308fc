/** Queries that are repeated are run again between ops, and leave the ops their turn. */
import { expect, test } from "vitest";
import { encodeRequest, Operation } from "../reference/operations.ts";
import { formatMemoryFile, Harness, TestTime } from "./harness.ts";
import { Log } from "./log.ts";
import { TestClient } from "./test-client.ts";
import { Workload } from "./workload.ts";

test("an op is executed while a client repeats a slow query without end", () => {
  const harness = new Harness(formatMemoryFile(1), new Log(), new TestTime());
  expect(harness.open()).toBe(true);
  const answer = (client: TestClient, request: Uint8Array): void => {
    harness.deliver(request);
    harness.settle();
    client.accept(harness.replies.pop()!);
  };
  const reader = new TestClient(1);
  const writer = new TestClient(2);
  answer(reader, reader.register());
  answer(writer, writer.register());
  const body = encodeRequest(Operation.lookupAccounts, [new Uint8Array(16)]);
  const query = reader.request(Operation.lookupAccounts, body);
  answer(reader, query);

  // The query's prefetch waits, as for a disk, until the test lets it go on.
  const { stateMachine } = harness.parts;
  const prefetch = stateMachine.prefetch.bind(stateMachine);
  const waiting: (() => void)[] = [];
  stateMachine.prefetch = (...request) => {
    const ready = prefetch(...request);
    if (!ready || request[0] !== Operation.lookupAccounts) return ready;
    waiting.push(request[10]);
    return false;
  };

  const change = new Workload(1).createAccounts();
  const opBefore = harness.replica.commitMin;
  harness.deliver(query);
  harness.deliver(writer.request(change.operation, change.body));
  let repeated = 0;
  for (; harness.replica.commitMin === opBefore && repeated < 100; repeated += 1) {
    harness.deliver(query);
    harness.settle();
    waiting.shift()?.();
  }
  expect(repeated).toBeLessThanOrEqual(2);
});
