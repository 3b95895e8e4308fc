/** The benchmark's load and its checks, against a slow server that keeps the reference's books. */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, describe, expect, test } from "vitest";
import { BatchLog } from "../../src/cli/benchmark/batch-log.ts";
import { Latencies } from "../../src/cli/benchmark/latencies.ts";
import { complaint, reportJson, reportText } from "../../src/cli/benchmark/report.ts";
import { Runner, type RunOptions } from "../../src/cli/benchmark/runner.ts";
import type { Io } from "../../src/io/io.ts";
import { openIo } from "../../src/io/open-io.ts";
import { Operation } from "../../src/wire/operations.ts";
import { TransferFlag, u128Max } from "../reference/records.ts";
import {
  type Misbehaviour,
  type ReferenceServer,
  startReferenceServer,
} from "./reference-server.ts";

const servers: ReferenceServer[] = [];

afterEach(async () => {
  await Promise.all(servers.splice(0).map((server) => server.close()));
});

const hooks = { onPhase: () => {}, onProgress: () => {}, onBatch: () => {} };

type Backend = "auto" | "portable";

/** Whatever this machine has, or what every machine has; the loop is the test runner's. */
const guestIo = (backend: Backend = "auto"): Io => openIo({ backend, drive: "guest" }).io;

async function prepare(
  misbehaviour: Misbehaviour,
  changes: Partial<RunOptions>,
): Promise<{ server: ReferenceServer; options: RunOptions }> {
  const server = await startReferenceServer(misbehaviour);
  servers.push(server);
  const options: RunOptions = {
    addresses: [{ host: "127.0.0.1", port: server.port }],
    cluster: 0n,
    accounts: 50,
    transfers: 1000,
    batch: 64,
    clients: 1,
    idOrder: "sequential",
    pendingShare: 0,
    hotAccounts: 0,
    seed: 7,
    idSpace: 0,
    ...changes,
  };
  return { server, options };
}

async function benchmark(
  misbehaviour: Misbehaviour,
  changes: Partial<RunOptions>,
  backend: Backend = "auto",
) {
  const { server, options } = await prepare(misbehaviour, changes);
  const result = await new Runner(guestIo(backend), options, hooks).run();
  return { server, options, result, report: { options, result, server: undefined } };
}

describe.each<Backend>(["auto", "portable"])("a run over the backend '%s'", (backend) => {
  test.each<[string, Partial<RunOptions>, Misbehaviour]>([
    ["one client", {}, {}],
    ["a batch that does not divide the transfers", { batch: 300, transfers: 1001 }, {}],
    ["more clients than batches", { clients: 20, transfers: 100 }, {}],
    ["many clients with one transfer each", { clients: 8, batch: 1, transfers: 200 }, {}],
    ["reversed ids", { idOrder: "reversed" }, {}],
    ["random ids", { idOrder: "random" }, {}],
    ["time-ordered ids", { idOrder: "time" }, {}],
    ["pending transfers", { pendingShare: 40, clients: 3 }, {}],
    ["only pending transfers", { pendingShare: 100, transfers: 1000 }, {}],
    ["hot accounts", { hotAccounts: 2 }, {}],
    ["ids of another run", { idSpace: 2 ** 52 + 12_345 }, {}],
    ["replies in pieces", { clients: 2 }, { pieceSize: 100 }],
    ["dropped requests", { transfers: 320 }, { dropEvery: 5 }],
  ])("%s", async (_, changes, misbehaviour) => {
    const { server, options, result, report } = await benchmark(misbehaviour, changes, backend);
    expect(complaint(report)).toBe(undefined);
    expect(server.ledger.accounts.size).toBe(options.accounts);
    expect(server.ledger.transfers.size).toBe(options.transfers);
    expect(result.batches).toBeGreaterThanOrEqual(Math.ceil(options.transfers / options.batch));
    expect(result.totals.debitsPosted).toBe(result.totals.creditsPosted);
    expect(result.totals.debitsPosted + result.totals.debitsPending).toBeGreaterThan(0n);
    expect(result.retries > 0).toBe(misbehaviour.dropEvery !== undefined);
    expect(result.latencyMaxMs).toBeGreaterThanOrEqual(result.latencyP99Ms);
    expect(result.latencyP99Ms).toBeGreaterThanOrEqual(result.latencyP50Ms);
  });
});

describe("a load", () => {
  test("the options shape it", async () => {
    const hot = (await benchmark({}, { hotAccounts: 3 })).server.ledger;
    expect([...hot.transfers.values()].every((transfer) => transfer.debit_account_id <= 3n)).toBe(
      true,
    );

    const reversed = (await benchmark({}, { idOrder: "reversed" })).server.ledger;
    expect([...reversed.transfers.keys()].slice(0, 3)).toEqual([1000n, 999n, 998n]);

    const random = (await benchmark({}, { idOrder: "random" })).server.ledger;
    const ids = [...random.transfers.keys()];
    expect(ids.every((id) => id > 0n && id < u128Max)).toBe(true);
    expect(new Set(ids.map((id) => id >> 64n)).size).toBeGreaterThan(900);

    const marked = (await benchmark({}, { accountInUserData: true })).server.ledger;
    for (const transfer of marked.transfers.values()) {
      expect(transfer.user_data_64).toBe(transfer.debit_account_id);
    }

    const startMs = Date.now();
    const timed = [...(await benchmark({}, { idOrder: "time" })).server.ledger.transfers.keys()];
    for (const [index, id] of timed.slice(1).entries()) expect(id).toBeGreaterThan(timed[index]!);
    expect(Number(timed[0]! >> 80n)).toBeGreaterThanOrEqual(startMs);
    expect(Number(timed[999]! >> 80n)).toBeLessThanOrEqual(Date.now());

    const pending = (await benchmark({}, { pendingShare: 100, transfers: 640 })).server.ledger;
    const flags = [...pending.transfers.values()].map((transfer) => transfer.flags);
    expect(flags.filter((flag) => flag === TransferFlag.pending).length).toBe(320);
    expect(flags.filter((flag) => flag === TransferFlag.postPendingTransfer).length).toBe(320);
  });

  test("the same seed makes the same transfers", async () => {
    const first = (await benchmark({}, { pendingShare: 30 })).server.ledger;
    const second = (await benchmark({}, { pendingShare: 30 })).server.ledger;
    const other = (await benchmark({}, { pendingShare: 30, seed: 8 })).server.ledger;
    const amounts = (ledger: typeof first): bigint[] =>
      [...ledger.transfers.values()].map((transfer) => transfer.amount);
    expect(amounts(second)).toEqual(amounts(first));
    expect(amounts(other)).not.toEqual(amounts(first));
  });

  test("the report says what was measured", async () => {
    const { report } = await benchmark({}, { pendingShare: 10 });
    const text = reportText(report);
    expect(text).toMatch(/1,000 transfers, 50 accounts, 1 client, batches of 64, .*10 % pending/);
    expect(text).toMatch(/throughput +[0-9,]+ transfers\/s/);
    expect(text).toMatch(
      /^longest gap +[0-9.]+ \S+ without a reply, [0-9.]+ \S+ after the start$/m,
    );
    expect(text).toMatch(/every event created; debits = credits = [0-9,]+ posted, [0-9,]+ pending/);
    const json = JSON.parse(reportJson(report)) as Record<string, unknown>;
    expect(json["ok"]).toBe(true);
    expect(json["transfers"]).toBe(1000);
    expect(json["server"]).toBe(null);
    expect(json["transfersPerSecond"]).toBeGreaterThan(0);
  });
});

test("the longest gap is the longest time between replies, or before the first", async () => {
  for (const clients of [1, 3]) {
    const { options } = await prepare({ dropEvery: 7 }, { clients, batch: 50 });
    const repliesMs = [0];
    const result = await new Runner(guestIo(), options, {
      ...hooks,
      onBatch: (_, sentMs, latencyMs) => repliesMs.push(sentMs + latencyMs),
    }).run();
    const gaps = repliesMs.slice(1).map((atMs, index) => atMs - repliesMs[index]!);
    const longest = Math.max(...gaps);
    expect(result.gapMs).toBeCloseTo(longest, 3);
    expect(result.gapAtMs).toBeCloseTo(repliesMs[gaps.indexOf(longest)]!, 3);
  }
});

test.each([1, 3])(
  "%d clients end when they are told to, with all that was made",
  async (clients) => {
    const { server, options } = await prepare({}, { clients, transfers: 100_000 });
    const made: [number, number, number][] = [];
    let answered = 0;
    const runner = new Runner(guestIo(), options, {
      ...hooks,
      onBatch(_client, _sentMs, _latencyMs, events) {
        answered += events;
        if (answered >= 640) runner.endTransfers();
      },
      onMade(words, at, first, events) {
        made.push([first, events, words[at]!]);
      },
    });
    const result = await runner.run();
    expect(complaint({ options, result, server: undefined })).toBe(undefined);
    expect(server.ledger.transfers.size).toBe(answered);
    expect(answered).toBeLessThanOrEqual(640 + 2 * 64 * clients);
    // Sequential ids begin at 1.
    expect(made).toEqual(
      Array.from({ length: answered / 64 }, (_, index) => [index * 64, 64, index * 64 + 1]),
    );
  },
);

describe("what must not pass for a result", () => {
  test("refused events", async () => {
    const server = await startReferenceServer();
    servers.push(server);
    const { options } = await prepare(
      {},
      { addresses: [{ host: "127.0.0.1", port: server.port }] },
    );
    await new Runner(guestIo(), options, hooks).run();
    // The same ids again: every account and every transfer exists.
    const result = await new Runner(guestIo(), options, hooks).run();
    const report = { options, result, server: undefined };
    expect(result.refused).toEqual(
      new Map([
        [21, 50],
        [46, 1000],
      ]),
    );
    expect(complaint(report)).toContain("50 with status 21, 1,000 with status 46");
    expect(reportText(report)).not.toContain("every event created");
    expect((JSON.parse(reportJson(report)) as { ok: boolean }).ok).toBe(false);
  });

  test("balances that are not what was sent", async () => {
    const { report } = await benchmark(
      {
        alterReply(message, operation) {
          // One account less its posted debits.
          if (operation === Operation.lookupAccounts) message.fill(0, 256 + 32, 256 + 48);
        },
      },
      {},
    );
    expect(complaint(report)).toMatch(/^the books do not balance: posted debits are/);
  });

  test("money that was lost on both sides", async () => {
    const { report } = await benchmark(
      {
        alterReply(message, operation) {
          if (operation !== Operation.lookupAccounts) return;
          for (let at = 256; at + 128 <= 256 + 50 * 128; at += 128)
            message.fill(0, at + 16, at + 80);
        },
      },
      {},
    );
    expect(complaint(report)).toMatch(/posted debits are 0, but [0-9]+ were sent/);
  });

  test.each<[string, Misbehaviour, RegExp]>([
    [
      "a wrong header checksum",
      { corrupt: (m) => m.fill(1, 130, 131) },
      /header with a wrong checksum/,
    ],
    [
      "a wrong body checksum",
      { corrupt: (m) => m.fill(1, 260, 261) },
      /body with a wrong checksum/,
    ],
    [
      "another request's reply",
      {
        alterReply: (m, operation) =>
          void (operation !== Operation.register && m.fill(9, 128, 144)),
      },
      /does not belong to the request in flight/,
    ],
    [
      "a result too few",
      {
        alterReply: (m, operation) =>
          void (operation === Operation.createTransfers && m.fill(0, m.length - 4, m.length - 3)),
      },
      /does not hold one result for each of 64 events/,
    ],
    ["an eviction", { evict: 5 }, /evicted the session: invalidRequestBody\./],
    ["a closed connection", { closeOnTransfers: true }, /closed the connection/],
    ["a smaller limit", { batchSizeLimit: 4096 }, /at most 31 transfers .* --batch=31 or less/],
  ])("%s", async (_, misbehaviour, expected) => {
    const { options } = await prepare(misbehaviour, {});
    await expect(new Runner(guestIo(), options, hooks).run()).rejects.toThrow(expected);
  });

  test("no server", async () => {
    const { server, options } = await prepare({}, {});
    await server.close();
    await expect(new Runner(guestIo(), options, hooks).run()).rejects.toThrow(
      `nothing listens on 127.0.0.1:${server.port}`,
    );
  });
});

test("percentiles are those of the nearest rank", () => {
  const latencies = new Latencies();
  for (let value = 100; value >= 1; value -= 1) latencies.add(value);
  expect(latencies.percentiles([0.5, 0.99, 1])).toEqual([50, 99, 100]);
  expect(new Latencies().percentiles([0.5])).toEqual([0]);
  const many = new Latencies();
  for (let value = 200_000; value >= 1; value -= 1) many.add(value);
  expect(many.count).toBe(200_000);
  expect(many.percentiles([0.5, 1])).toEqual([100_000, 200_000]);
});

describe("the file of all batches", () => {
  const folder = mkdtempSync(join(tmpdir(), "pacioli-batches-"));
  afterAll(() => rmSync(folder, { recursive: true }));

  test("has a line for every batch, in the order of the replies", async () => {
    const path = join(folder, "batches.csv");
    const log = new BatchLog(path);
    const { options } = await prepare({}, { batch: 300, clients: 2 });
    const latencies: number[] = [];
    await new Runner(guestIo(), options, {
      ...hooks,
      onBatch(client, sentMs, latencyMs, events) {
        latencies.push(latencyMs);
        log.add(client, sentMs, latencyMs, events);
      },
    }).run();
    log.finish();
    const [head, ...lines] = readFileSync(path, "utf8").trimEnd().split("\n");
    expect(head).toBe("client,sent_ms,latency_ms,transfers");
    const rows = lines.map((line) => line.split(",").map(Number));
    expect(rows.map((row) => row[3]).sort()).toEqual([100, 300, 300, 300]);
    expect(rows.map((row) => row[0]).sort()).toEqual([0, 0, 1, 1]);
    expect(rows.map((row) => row[2]!.toFixed(3))).toEqual(latencies.map((ms) => ms.toFixed(3)));
    // A client sends again when it was answered.
    for (const client of [0, 1]) {
      const [first, second] = rows.filter((row) => row[0] === client);
      expect(first![1]).toBeGreaterThanOrEqual(0);
      expect(second![1]).toBeGreaterThanOrEqual(first![1]! + first![2]! - 0.002);
    }
  });

  test("holds more than there is room for at first", () => {
    const path = join(folder, "many.csv");
    const log = new BatchLog(path);
    for (let index = 0; index < 70_001; index += 1) log.add(index, index + 0.5, index / 8, 7);
    log.finish();
    const lines = readFileSync(path, "utf8").trimEnd().split("\n");
    expect(lines.length).toBe(70_002);
    expect(lines[1]).toBe("0,0.500,0.000,7");
    expect(lines[70_001]).toBe("70000,70000.500,8750.000,7");
  });

  test("replaces no other file, and is not left behind empty", () => {
    const path = join(folder, "taken.csv");
    new BatchLog(path).finish();
    expect(existsSync(path)).toBe(false);
    writeFileSync(path, "books");
    expect(() => new BatchLog(path)).toThrow(/'.*taken\.csv' exists already; remove it/);
    expect(readFileSync(path, "utf8")).toBe("books");
    expect(() => new BatchLog(join(folder, "no", "x.csv"))).toThrow(/cannot be made \(ENOENT/);
  });
});
