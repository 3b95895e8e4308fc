/** The state machine as a component: its life, its snapshot, its limits, the captured session. */
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { StateMachine } from "../../src/ledger/state-machine.ts";
import {
  accountCodec,
  encodeArray,
  idCodec,
  readInteger,
  transferCodec,
} from "../reference/codec.ts";
import { makeAccount, makeQueryFilter, makeSettling, makeTransfer } from "../reference/make.ts";
import { encodeRequest, Operation, timestampDelta } from "../reference/operations.ts";
import { created, type Transfer } from "../reference/records.ts";
import { Harness } from "./harness.ts";
import { MachineClient } from "./machine-client.ts";
import { MemoryStore } from "./memory-store.ts";

const vectors = join(dirname(fileURLToPath(import.meta.url)), "..", "vectors");

function captured(prefix: string, suffix: string): Uint8Array[] {
  return readdirSync(vectors)
    .filter((file) => file.startsWith(prefix) && file.endsWith(suffix))
    .sort()
    .map((file) => readFileSync(join(vectors, file)));
}

test("replies of the captured session are reproduced, byte for byte", () => {
  const harness = new Harness(71);
  const requests = captured("A-", "-request.bin").slice(1);
  const replies = captured("A-", "-reply.bin").slice(1);
  expect(requests.length).toBe(9);
  for (const [index, request] of requests.entries()) {
    const reply = replies[index]!;
    const operation = request[196]!;
    const body = request.subarray(256);
    harness.clock = readInteger(reply, 224, 8) - BigInt(timestampDelta(operation, body));
    const actual = harness.submit(operation, body);
    expect(Buffer.from(actual).toString("hex")).toBe(
      Buffer.from(reply.subarray(256)).toString("hex"),
    );
  }
});

describe("life", () => {
  const body = encodeRequest(Operation.lookupAccounts, [encodeArray(idCodec, [1n])]);
  const words = new Uint32Array(4096);
  const bytes = new Uint8Array(words.buffer);
  bytes.set(body, 256);
  const prefetch = (machine: StateMachine, operation: number): boolean =>
    machine.prefetch(operation, 1, 1, words, bytes, 256, body.length, words, bytes, 8192, () => {});

  test("opens, takes one request at a time, commits what was prefetched", () => {
    const store = new MemoryStore(1, 0);
    const machine = new StateMachine(store, { batchSizeLimit: 1_048_320 });
    expect(() => prefetch(machine, Operation.lookupAccounts)).toThrow("one request at a time");
    expect(machine.open(() => {})).toBe(true);
    expect(() => machine.commit()).toThrow("prefetched before it is committed");
    expect(prefetch(machine, Operation.lookupAccounts)).toBe(true);
    expect(() => prefetch(machine, Operation.lookupAccounts)).toThrow("one request at a time");
    expect(() => machine.snapshot(new Uint32Array(8), 0)).toThrow("between two requests");
    expect(machine.commit()).toBe(128);
    expect(() => prefetch(machine, 127)).toThrow("was validated");
  });

  test("a limit on requests is that of a message at most", () => {
    const store = new MemoryStore();
    expect(() => new StateMachine(store, { batchSizeLimit: 1_048_321 })).toThrow("fit a message");
    expect(() => new StateMachine(store, { batchSizeLimit: 0 })).toThrow("some requests");
  });

  test("noop is answered with nothing", () => {
    expect(new Harness(72).submit(Operation.noop, new Uint8Array(0)).length).toBe(0);
  });
});

describe("snapshot", () => {
  test("is a function of the requests alone, not of restarts", () => {
    const run = (restarts: boolean): Uint32Array => {
      const harness = new Harness(73);
      const client = new MachineClient(harness);
      client.createAccounts([makeAccount(1n), makeAccount(2n)]);
      for (let id = 10n; id < 20n; id += 1n) {
        client.createTransfers([
          makeTransfer(id, 1n, 2n, 1n, { flags: 2, timeout: Number(id) % 4 }),
        ]);
        if (id % 3n === 0n) client.createTransfers([makeSettling(id + 100n, id, 0n, 8)]);
        if (restarts) harness.restart();
        harness.sleep(400_000_000n);
      }
      const words = new Uint32Array(harness.machine.snapshotWords);
      harness.machine.snapshot(words, 0);
      return words;
    };
    expect(run(true)).toEqual(run(false));
  });

  test("that is malformed is refused", () => {
    const machine = new StateMachine(new MemoryStore(), { batchSizeLimit: 4096 });
    const words = new Uint32Array(machine.snapshotWords);
    expect(machine.restore(words, 0)).toBe(false);
    const harness = new Harness(74);
    harness.machine.snapshot(words, 0);
    expect(machine.restore(words, 0)).toBe(true);
    expect(machine.restore(words, 1)).toBe(false);
    for (let word = 0; word < words.length; word += 1) {
      // The time of the next pulse may be any.
      if (word === 1 || word === 2) continue;
      const damaged = words.slice();
      damaged[word]! ^= 4;
      expect(machine.restore(damaged, 0)).toBe(false);
    }
  });
});

describe("requests of one op", () => {
  test("see what the ones before did, before any of it is in the storage", () => {
    const harness = new Harness(75);
    const client = new MachineClient(harness);
    client.createAccounts([makeAccount(1n), makeAccount(2n)]);
    const create = (...events: Transfer[]): number[] => {
      const body = encodeRequest(Operation.createTransfers, [encodeArray(transferCodec, events)]);
      const reply = harness.execute(Operation.createTransfers, body);
      return events.map((_, index) => new DataView(reply.buffer).getUint32(index * 16 + 8, true));
    };
    expect(create(makeTransfer(10n, 1n, 2n, 5n, { flags: 2, timeout: 9 }))).toEqual([created]);
    expect(create(makeTransfer(10n, 1n, 2n, 5n, { flags: 2, timeout: 9 }))).toEqual([46]);
    expect(create(makeSettling(11n, 10n, 5n, 4), makeSettling(11n, 10n, 5n, 4))).toEqual([
      created,
      46,
    ]);
    expect(create(makeTransfer(12n, 1n, 9n, 5n))).toEqual([22]);
    expect(create(makeTransfer(12n, 1n, 9n, 5n), makeTransfer(13n, 1n, 2n, 1n))).toEqual([
      68,
      created,
    ]);
    harness.endOp();
    expect(client.queryTransfers(makeQueryFilter()).map(({ id }) => id)).toEqual([10n, 11n, 13n]);
  });
});

describe("large batches", () => {
  const count = 8189;
  const ids = (first: number): bigint[] =>
    Array.from({ length: count }, (_, index) => BigInt(first + index));

  test("8,189 transfers, again, then 8,189 posts of what lies on disk in any order", () => {
    const harness = new Harness(76);
    const client = new MachineClient(harness);
    client.createAccounts([makeAccount(1n), makeAccount(2n)]);
    const pending = ids(10_000).map((id) => makeTransfer(id, 1n, 2n, 3n, { flags: 2 }));
    expect(client.createTransfers(pending).every(({ status }) => status === created)).toBe(true);
    expect(client.createTransfers(pending).every(({ status }) => status === 46)).toBe(true);
    const posts = ids(10_000).map((id) => makeSettling(id + 20_000n, id, 3n, 4));
    const shuffled = posts.map((_, index) => posts[(index * 4001) % count]!);
    expect(client.createTransfers(shuffled).every(({ status }) => status === created)).toBe(true);
    // Each needs its own row and that of its pending transfer.
    expect(client.createTransfers(shuffled).every(({ status }) => status === 46)).toBe(true);
    const [account] = client.lookupAccounts([1n]);
    expect(account!.debits_posted).toBe(BigInt(count * 3));
    expect(account!.debits_pending).toBe(0n);
  });

  test("a chain of 8,189 that breaks at its end leaves nothing behind", () => {
    const harness = new Harness(77);
    const client = new MachineClient(harness);
    client.createAccounts([makeAccount(1n), makeAccount(2n)]);
    const chain = ids(10_000).map((id, index) =>
      makeTransfer(id, 1n, index === count - 1 ? 1n : 2n, 3n, {
        flags: index === count - 1 ? 2 : 3,
        timeout: 5,
      }),
    );
    const before = client.lookupAccounts([1n, 2n]);
    const results = client.createTransfers(chain);
    expect(results.filter(({ status }) => status === 1).length).toBe(count - 1);
    expect(results[count - 1]!.status).toBe(12);
    expect(client.lookupAccounts([1n, 2n])).toEqual(before);
    expect(client.queryTransfers(makeQueryFilter())).toEqual([]);
    chain[count - 1]!.credit_account_id = 2n;
    expect(client.createTransfers(chain).every(({ status }) => status === created)).toBe(true);
  });

  test("8,189 accounts, in several sub-batches, and a restart after them", () => {
    const harness = new Harness(78);
    const client = new MachineClient(harness);
    const accounts = ids(1).map((id) => makeAccount(id, { user_data_64: id % 9n }));
    const parts = [accounts.slice(0, 5000), [], accounts.slice(5000, 8100)];
    const body = encodeRequest(
      Operation.createAccounts,
      parts.map((part) => encodeArray(accountCodec, part)),
    );
    const reply = harness.submit(Operation.createAccounts, body);
    expect(reply.length).toBe(8100 * 16 + 16);
    harness.restart();
    const found = client.queryAccounts(makeQueryFilter({ user_data_64: 4n }));
    expect(found.length).toBe(900);
    expect(client.createAccounts(accounts.slice(0, 9)).every(({ status }) => status === 21)).toBe(
      true,
    );
  });
});
