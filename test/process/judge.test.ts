/** The judge of the crash runs finds each kind of damage that it is there to find. */
import { expect, test } from "vitest";
import { Prng } from "../../src/core/prng.ts";
import { at, bodyOf, headerSize, makeRequest } from "../interop/messages.ts";
import { accountCodec, writeInteger } from "../reference/codec.ts";
import { ReferenceLedger } from "../reference/ledger.ts";
import { makeAccount } from "../reference/make.ts";
import {
  encodeRequest,
  executeRequest,
  Operation,
  timestampDelta,
} from "../reference/operations.ts";
import { type Checker, Judge, JudgementError } from "./judge.ts";
import { Workload } from "./workload.ts";

/** A server without disk or network: a second reference ledger behind the judge's interface. */
class FakeServer implements Checker {
  readonly ledger = new ReferenceLedger();
  now = 1_800_000_000_000_000_000n;
  private op = 0n;

  build(operation: number, body: Uint8Array): Uint8Array {
    return makeRequest({ client: 1n, session: 1n, request: 1, operation, body });
  }
  buildBatches(operation: number, batches: readonly Uint8Array[]): Uint8Array {
    return this.build(operation, encodeRequest(operation, batches));
  }
  async roundTripRetrying(message: Uint8Array): Promise<Uint8Array> {
    return this.execute(message[at.request.operation]!, bodyOf(message));
  }

  pulse(): void {
    this.now += 1_000_000n + 8190n;
    this.op += 1n;
    this.ledger.pulse(this.now);
  }

  execute(operation: number, body: Uint8Array): Uint8Array {
    this.now += 1_000_000n + BigInt(timestampDelta(operation, body));
    this.op += 1n;
    const result = executeRequest(this.ledger, operation, body, this.now);
    const reply = new Uint8Array(headerSize + result.length);
    writeInteger(reply, at.reply.op, 8, this.op);
    writeInteger(reply, at.reply.timestamp, 8, this.now);
    reply[at.reply.operation] = operation;
    reply.set(result, headerSize);
    return reply;
  }
}

/** Runs random requests with pulses between them, and lets `harm` interfere near the end. */
async function run(harm: (server: FakeServer, judge: Judge) => void = () => {}): Promise<Judge> {
  const random = new Prng(7);
  const server = new FakeServer();
  const judge = new Judge();
  const workload = new Workload(new Prng(8));
  for (let round = 0; round < 6; round += 1) {
    for (let i = 0; i < 60; i += 1) {
      const { operation, body } = workload.next();
      const reply = server.execute(operation, body);
      judge.add({ operation, body, reply, resent: false });
      if (random.chance(0.1)) {
        server.now += 1_000_000_000n;
        server.pulse();
      }
    }
    if (round === 5) harm(server, judge);
    await judge.verify(server, round === 5);
  }
  return judge;
}

test("a faultless server passes", async () => {
  const judge = await run();
  expect(judge.judged).toBe(360);
  expect(judge.expired).toBeGreaterThan(10);
});

function lastOf<T>(values: Iterable<T>): T {
  return [...values].at(-1)!;
}

test.each<[string, (server: FakeServer, judge: Judge) => void]>([
  [
    "a lost transfer",
    ({ ledger }) => {
      ledger.transfers.delete(lastOf(ledger.transfers.keys()));
    },
  ],
  [
    "a transfer lost long ago",
    ({ ledger }) => {
      ledger.transfers.delete([...ledger.transfers.keys()][3]!);
    },
  ],
  [
    "a balance off by one",
    ({ ledger }) => {
      const account = ledger.accounts.get(5n)!;
      ledger.accounts.set(5n, { ...account, debits_posted: account.debits_posted + 1n });
    },
  ],
  [
    "an acknowledged request that was never executed",
    (server, judge) => {
      const shadow = new FakeServer();
      shadow.now = server.now;
      const { operation, body } = new Workload(new Prng(99)).next();
      const reply = shadow.execute(operation, body);
      writeInteger(reply, at.reply.op, 8, 1_000_000n);
      judge.add({ operation, body, reply, resent: true });
      server.now = shadow.now;
    },
  ],
  [
    "a request executed twice",
    (server, judge) => {
      const account = accountCodec.encode(makeAccount(5000n));
      const body = encodeRequest(Operation.createAccounts, [account]);
      server.execute(Operation.createAccounts, body);
      const reply = server.execute(Operation.createAccounts, body);
      judge.add({ operation: Operation.createAccounts, body, reply, resent: true });
    },
  ],
  [
    "an unacknowledged change",
    (server) => {
      const { operation, body } = new Workload(new Prng(5)).next();
      expect(operation).toBe(Operation.createAccounts);
      const renumbered = body.slice();
      renumbered[12] = 1;
      server.execute(operation, renumbered);
    },
  ],
  ["a lost change event", ({ ledger }) => void ledger.changes.pop()],
  [
    "an expiry too early",
    (server) => {
      const due = server.ledger.nextExpiry()!;
      server.ledger.pulse(due + 10n);
      server.now += 10n;
    },
  ],
])("finds %s", async (_name, harm) => {
  await expect(run(harm)).rejects.toThrow(JudgementError);
});

test("finds a wrong reply, also of a request that was sent again", async () => {
  for (const resent of [false, true]) {
    const server = new FakeServer();
    const judge = new Judge();
    const { operation, body } = new Workload(new Prng(8)).next();
    const reply = server.execute(operation, body);
    reply[headerSize + 8]! ^= 1;
    judge.add({ operation, body, reply, resent });
    await expect(judge.verify(server, true)).rejects.toThrow(JudgementError);
  }
});
