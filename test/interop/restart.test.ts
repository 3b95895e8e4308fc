/** What survives kill -9: sessions, stored replies byte for byte, and everything acknowledged. */
import { afterAll, expect, test } from "vitest";
import { cleanUp, ServerProcess, startFresh } from "../process/server.ts";
import {
  accountCodec,
  decodeArray,
  encodeArray,
  idCodec,
  transferCodec,
} from "../reference/codec.ts";
import { makeAccount, makeTransfer } from "../reference/make.ts";
import { Operation, splitReply } from "../reference/operations.ts";
import { at, bodyOf, equalBytes, field } from "./messages.ts";
import { NoReplyError, RawConnection, RawSession } from "./raw-client.ts";

afterAll(cleanUp);

/** A reply without what may differ between two sendings: checksum and view. */
function stable(reply: Uint8Array): Uint8Array {
  const copy = reply.slice();
  copy.fill(0, at.checksum, 16);
  copy.fill(0, at.view, at.view + 4);
  return copy;
}

/** As many one-event sub-batches as a request can carry when bodies may have `limit` bytes. */
function subBatchesMax(limit: number): number {
  let count = 1;
  while (128 * (count + 1) + Math.ceil((2 * (count + 1) + 2) / 128) * 128 <= limit) count += 1;
  return count;
}

async function reconnect(session: RawSession, port: number): Promise<void> {
  session.connection = await RawConnection.open(port);
}

async function balances(session: RawSession, ids: readonly bigint[]): Promise<bigint[][]> {
  const body = await session.call(Operation.lookupAccounts, [encodeArray(idCodec, ids)]);
  return decodeArray(accountCodec, splitReply(Operation.lookupAccounts, body)![0]!).map((a) => [
    a.debits_pending,
    a.debits_posted,
    a.credits_pending,
    a.credits_posted,
  ]);
}

test.each(["uring", "portable"] as const)(
  "%s: the largest request is answered from the stored reply after kill -9",
  async (backend) => {
    const { server, path } = await startFresh({ backend, development: true });
    const session = await RawSession.register(server.port);
    await session.call(Operation.createAccounts, [
      encodeArray(accountCodec, [makeAccount(1n), makeAccount(2n)]),
    ]);
    const count = subBatchesMax(session.batchSizeLimit);
    if (session.batchSizeLimit === 1_048_320) expect(count).toBe(8063);
    const batches = Array.from({ length: count }, (_, i) =>
      transferCodec.encode(makeTransfer(BigInt(i + 1), 1n, 2n, 1n)),
    );
    const request = session.buildBatches(Operation.createTransfers, batches);
    const first = await session.roundTrip(request);
    await server.kill();

    const again = await ServerProcess.start(path, { backend, development: true });
    await reconnect(session, again.port);
    const second = await session.roundTrip(request);
    expect(second.length).toBe(first.length);
    expect(equalBytes(stable(second), stable(first))).toBe(true);
    expect(splitReply(Operation.createTransfers, bodyOf(second))!.length).toBe(count);
    // Executed once: one unit per transfer.
    expect(await balances(session, [1n, 2n])).toEqual([
      [0n, BigInt(count), 0n, 0n],
      [0n, 0n, 0n, BigInt(count)],
    ]);
    await again.stop();
  },
);

test("stored replies survive checkpoints, clean stops and crashes, for every session", async () => {
  const { server, path } = await startFresh({ development: true });
  let current = server;
  const sessions: { session: RawSession; request: Uint8Array; reply: Uint8Array }[] = [];
  for (let i = 0; i < 30; i += 1) {
    const session = await RawSession.register(current.port);
    const accounts = Array.from({ length: 1 + i * 5 }, (_, n) =>
      makeAccount(BigInt(i * 1000 + n + 1)),
    );
    const request = session.buildBatches(Operation.createAccounts, [
      encodeArray(accountCodec, accounts),
    ]);
    sessions.push({ session, request, reply: await session.roundTrip(request) });
  }
  // Some that have registered and done nothing since.
  for (let i = 0; i < 5; i += 1) {
    const session = new RawSession(await RawConnection.open(current.port));
    const request = session.registerRequest();
    sessions.push({ session, request, reply: await session.roundTrip(request) });
  }
  for (const way of ["kill", "stop", "kill", "kill", "stop"] as const) {
    if (way === "kill") await current.kill();
    else await current.stop();
    current = await ServerProcess.start(path, { development: true });
    for (const { session, request, reply } of sessions) {
      await reconnect(session, current.port);
      const again = await session.roundTrip(request);
      expect(equalBytes(stable(again), stable(reply))).toBe(true);
      session.close();
    }
    // Enough ops that the journal wraps and the replies come from their zone.
    const filler = await RawSession.register(current.port);
    for (let i = 0; i < 70; i += 1) {
      await filler.roundTrip(filler.build(Operation.noop, new Uint8Array(0)));
    }
    filler.close();
  }
  await current.stop();
});

test("op numbers and timestamps go on rising, and sessions go on, over restarts", async () => {
  const { server, path } = await startFresh({ development: true });
  let current = server;
  const session = await RawSession.register(current.port);
  let op = 0n;
  let timestamp = 0n;
  for (let round = 0; round < 6; round += 1) {
    for (let i = 0; i < 15; i += 1) {
      const reply = await session.roundTrip(session.build(Operation.noop, new Uint8Array(0)));
      expect(field(reply, at.reply.op, 8)).toBeGreaterThan(op);
      expect(field(reply, at.reply.timestamp, 8)).toBeGreaterThan(timestamp);
      op = field(reply, at.reply.op, 8);
      timestamp = field(reply, at.reply.timestamp, 8);
    }
    if (round % 2 === 0) await current.kill();
    else await current.stop();
    current = await ServerProcess.start(path, { development: true });
    await reconnect(session, current.port);
  }
  await current.stop();
});

test("a request that was never answered is executed once when it is sent again", async () => {
  const { server, path } = await startFresh({ development: true });
  const session = await RawSession.register(server.port);
  await session.call(Operation.createAccounts, [
    encodeArray(accountCodec, [makeAccount(1n), makeAccount(2n)]),
  ]);
  let current = server;
  const rounds = 8n;
  for (let round = 1n; round <= rounds; round += 1n) {
    const request = session.buildBatches(Operation.createTransfers, [
      transferCodec.encode(makeTransfer(round, 1n, 2n, 1n)),
    ]);
    session.connection.send(request);
    await current.kill();
    current = await ServerProcess.start(path, { development: true });
    await reconnect(session, current.port);
    try {
      await session.roundTrip(request);
    } catch (error) {
      if (!(error instanceof NoReplyError)) throw error;
      await session.roundTrip(request);
    }
  }
  expect(await balances(session, [1n, 2n])).toEqual([
    [0n, rounds, 0n, 0n],
    [0n, 0n, 0n, rounds],
  ]);
  await current.stop();
});
