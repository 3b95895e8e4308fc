/**
 * No room to grow in the middle of a load: the server stops with one sentence and an exit code, and
 * when there is room again everything that it acknowledged is there, once.
 */
import { statSync } from "node:fs";
import { afterAll, expect, test } from "vitest";
import { NoReplyError, RawConnection, RawSession } from "../interop/raw-client.ts";
import {
  accountCodec,
  decodeArray,
  encodeArray,
  idCodec,
  transferCodec,
} from "../reference/codec.ts";
import { makeAccount, makeTransfer } from "../reference/make.ts";
import { Operation, splitReply } from "../reference/operations.ts";
import { cleanUp, freshDataFile, ServerProcess } from "./server.ts";

afterAll(cleanUp);

const batchSize = 8189;
/** Room for a few blocks beyond the formatted file. */
const roomBytes = 3 * 1024 * 1024;

/** The n-th full batch: each transfer moves one unit from account 1 to account 2. */
function batch(session: RawSession, n: number): Uint8Array {
  const transfers = Array.from({ length: batchSize }, (_, i) =>
    makeTransfer(BigInt(n * batchSize + i + 1), 1n, 2n, 1n),
  );
  return session.buildBatches(Operation.createTransfers, [encodeArray(transferCodec, transfers)]);
}

async function postedDebits(session: RawSession): Promise<bigint> {
  const body = await session.call(Operation.lookupAccounts, [encodeArray(idCodec, [1n])]);
  const batches = splitReply(Operation.lookupAccounts, body)!;
  return decodeArray(accountCodec, batches[0]!)[0]!.debits_posted;
}

test.each(["uring", "portable"] as const)("%s: the file cannot grow", async (backend) => {
  const path = freshDataFile();
  const fileSizeMax = statSync(path).size + roomBytes;
  const server = await ServerProcess.start(path, { backend, fileSizeMax });
  const session = await RawSession.register(server.port);
  await session.call(Operation.createAccounts, [
    encodeArray(accountCodec, [makeAccount(1n), makeAccount(2n)]),
  ]);
  let acknowledged = 0;
  let request = batch(session, 0);
  try {
    for (; acknowledged < 200; acknowledged += 1) {
      request = batch(session, acknowledged);
      await session.roundTrip(request);
    }
  } catch (error) {
    if (!(error instanceof NoReplyError)) throw error;
  }
  expect(acknowledged).toBeGreaterThan(0);
  expect(acknowledged).toBeLessThan(200);
  const exit = await server.untilEnded();
  expect(exit.signal, server.log).toBe(null);
  expect(exit.code, server.log).not.toBe(0);
  expect(server.log.trim().split("\n").at(-1)).toMatch(/^pacioli: .+\.$/);
  expect(server.log).not.toMatch(/bug/);

  const again = await ServerProcess.start(path, { backend });
  session.connection = await RawConnection.open(again.port);
  // The request that got no answer, once more: executed now, or answered from before.
  await session.roundTripRetrying(request);
  expect(await postedDebits(session)).toBe(BigInt((acknowledged + 1) * batchSize));
  await session.roundTripRetrying(batch(session, acknowledged + 1));
  expect(await postedDebits(session)).toBe(BigInt((acknowledged + 2) * batchSize));
  await again.stop();
});
