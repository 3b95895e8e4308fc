/**
 * Input that no client should send: frames that end the connection, frames that are dropped, and
 * every input that is known to crash the reference implementation. Each time the server lives on
 * and serves a bystander on another connection.
 */
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { cleanUp, type ServerProcess, startFresh } from "../process/server.ts";
import { accountCodec, createResultCodec, decodeArray, transferCodec } from "../reference/codec.ts";
import { makeAccount, makeTransfer } from "../reference/make.ts";
import { encodeRequest, Operation, splitReply } from "../reference/operations.ts";
import {
  AccountFlag,
  AccountStatus,
  created,
  TransferFlag,
  TransferStatus,
} from "../reference/records.ts";
import { at, bodyOf, headerSize, makePing, seal, sealHeader, withField } from "./messages.ts";
import { isEviction, RawConnection, RawSession, randomClientId } from "./raw-client.ts";

let server: ServerProcess;
let bystander: RawSession;

beforeAll(async () => {
  ({ server } = await startFresh());
  bystander = await RawSession.register(server.port);
});
afterEach(async ({ task }) => {
  await server.assertAliveAfter(task);
  await bystander.roundTrip(noop(bystander));
});
afterAll(cleanUp);

function noop(session: RawSession): Uint8Array {
  return session.build(Operation.noop, new Uint8Array(0));
}

/** A session on its own connection, and a valid request of it to be spoilt. */
async function victim(): Promise<{ session: RawSession; request: Uint8Array }> {
  const session = await RawSession.register(server.port);
  const request = session.buildBatches(Operation.lookupAccounts, [new Uint8Array(16).fill(1)]);
  return { session, request };
}

async function expectClosed(connection: RawConnection): Promise<void> {
  await Promise.race([
    connection.closed,
    new Promise((_, reject) => {
      setTimeout(() => reject(new Error("the connection was not closed")), 10_000).unref();
    }),
  ]);
}

test.each<[string, (request: Uint8Array) => Uint8Array]>([
  ["a wrong header checksum", (m) => flip(m, 0)],
  ["a flipped bit in the header", (m) => flip(m, at.request.session)],
  ["a wrong body checksum", (m) => flip(m, headerSize)],
  ["command 0", (m) => withField(m, at.command, 1, 0n)],
  ["command 25", (m) => withField(m, at.command, 1, 25n)],
  ["command 255", (m) => withField(m, at.command, 1, 255n)],
  ["size 0", (m) => withField(m, at.size, 4, 0n)],
  ["size 255", (m) => withField(m, at.size, 4, 255n)],
  ["size 1 MiB + 1", (m) => withField(m, at.size, 4, 1_048_577n)],
  ["size 2^32 - 1", (m) => withField(m, at.size, 4, 0xffff_ffffn)],
  ["another cluster", (m) => withField(m, at.cluster, 16, 1n)],
])("closes the connection on %s", async (_name, spoil) => {
  const { session, request } = await victim();
  session.connection.send(spoil(request));
  await expectClosed(session.connection);
});

function flip(message: Uint8Array, offset: number): Uint8Array {
  const copy = message.slice();
  copy[offset]! ^= 1;
  return copy;
}

const nowhere: readonly [string, number, number, bigint][] = [
  ["checksum_padding", 16, 16, 1n],
  ["checksum_body_padding", 48, 16, 1n << 127n],
  ["nonce_reserved", 64, 16, 1n],
  ["epoch", at.epoch, 4, 1n],
  ["release 0", at.release, 4, 0n],
  ["protocol", at.protocol, 2, 1n],
  ["replica", at.replica, 1, 1n],
  ["reserved_frame", 116, 12, 1n << 95n],
  ["parent_padding", 144, 16, 1n],
  ["client 0", at.request.client, 16, 0n],
  ["session 0", at.request.session, 8, 0n],
  ["timestamp", at.request.timestamp, 8, 1n],
  ["request 0", at.request.request, 4, 0n],
  ["previous_request_latency_padding", 197, 3, 1n],
  ["reserved", at.request.reserved, 52, 1n << 415n],
  ["operation 0", at.request.operation, 1, 0n],
  ["operation 1", at.request.operation, 1, 1n],
  ["operation 3", at.request.operation, 1, 3n],
  ["operation 4", at.request.operation, 1, 4n],
  ["operation 5", at.request.operation, 1, 5n],
  ["operation 6 with a body", at.request.operation, 1, 6n],
  ["operation 7", at.request.operation, 1, 7n],
  ["operation 127", at.request.operation, 1, 127n],
  ["command 12", at.command, 1, 12n],
  ["command 21", at.command, 1, 21n],
  ["command 22", at.command, 1, 22n],
  ["command 23", at.command, 1, 23n],
];

test.each(nowhere)("drops a request with a wrong field: %s", async (_name, offset, size, value) => {
  const { session, request } = await victim();
  session.connection.send(withField(request, offset, size, value));
  await session.roundTrip(request);
  expect(await session.connection.receive(() => true, 20)).toBe(null);
  session.close();
});

test.each<[string, number, number, bigint]>([
  ["parent", 128, 16, 1n],
  ["session", at.request.session, 8, 1n],
  ["request", at.request.request, 4, 1n],
  ["client 0", at.request.client, 16, 0n],
])("drops a register with %s", async (_name, offset, size, value) => {
  const session = new RawSession(await RawConnection.open(server.port));
  const request = session.registerRequest();
  session.connection.send(withField(request, offset, size, value));
  await session.roundTrip(request);
  session.close();
});

test.each([255, 257, 511, 513, 4096, 1_048_576])("a register of %i bytes", async (size) => {
  const session = new RawSession(await RawConnection.open(server.port));
  const body = new Uint8Array(Math.max(size - headerSize, 0));
  const message = session.registerRequest({ body });
  if (size < headerSize) session.connection.send(withField(message, at.size, 4, BigInt(size)));
  else session.connection.send(message);
  if (size >= headerSize) await session.register();
  session.close();
});

test("a register that brings its own batch_size_limit is refused, and harms nobody", async () => {
  const session = new RawSession(await RawConnection.open(server.port));
  for (const offset of [0, 3, 4, 255]) {
    const body = new Uint8Array(256);
    body[offset] = 1;
    session.connection.send(session.registerRequest({ body }));
    const answer = await session.connection.receive(() => true, 200);
    if (answer !== null) expect(isEviction(answer)).toBe(true);
  }
  await session.register();
  session.close();
});

test("a ping that breaks a rule is dropped", async () => {
  const client = randomClientId();
  const connection = await RawConnection.open(server.port);
  const ping = makePing(client, 0n);
  for (const [offset, size, value] of [
    [at.view, 4, 1n],
    [at.release, 4, 0n],
    [at.replica, 1, 1n],
    [at.ping.client, 16, 0n],
    [160, 96, 1n << 767n],
  ] as const) {
    connection.send(withField(ping, offset, size, value));
  }
  const long = new Uint8Array(headerSize + 16);
  long.set(ping);
  connection.send(seal(withField(long, at.size, 4, BigInt(long.length))));
  connection.send(ping);
  expect((await connection.receive())![at.command]).toBe(4);
  expect(await connection.receive(() => true, 20)).toBe(null);
  connection.destroy();
});

test.each([1, 2, 4, 6, 7, 8, 9, 10, 11, 13, 14, 15, 16, 17, 18, 19, 20, 24])(
  "replica command %i from a stranger does no harm",
  async (command) => {
    for (const replica of [0, 1, 5, 6, 255]) {
      for (const bodySize of [0, 64, 256, 1024, 65_536]) {
        const connection = await RawConnection.open(server.port);
        const message = new Uint8Array(headerSize + bodySize);
        message.set(makePing(randomClientId(), 0n));
        message[at.command] = command;
        message[at.replica] = replica;
        new DataView(message.buffer).setUint32(at.size, message.length, true);
        connection.send(seal(message));
        connection.send(makePing(randomClientId(), 0n));
        await connection.receive(() => true, 2);
        connection.destroy();
      }
    }
  },
);

test("every command with a header of noise, sealed", async () => {
  for (let command = 0; command < 32; command += 1) {
    const connection = await RawConnection.open(server.port);
    const message = new Uint8Array(headerSize);
    for (let i = 128; i < headerSize; i += 1) message[i] = (i * 89 + command * 41) & 255;
    new DataView(message.buffer).setUint32(at.size, headerSize, true);
    new DataView(message.buffer).setUint32(at.release, 0x1109, true);
    message[at.command] = command;
    connection.send(seal(message));
    await connection.receive(() => true, 2);
    connection.destroy();
  }
});

test("another client id on a connection: a ping closes it, a request is tolerated", async () => {
  const { session } = await victim();
  const other = randomClientId();
  session.connection.send(makePing(other, 0n));
  await expectClosed(session.connection);

  const first = await victim();
  const second = new RawSession(first.session.connection);
  second.connection.send(second.registerRequest());
  await first.session.roundTrip(first.request);
  first.session.close();
});

test("imported events in a later sub-batch (crashes the reference)", async () => {
  const { session } = await victim();
  const importedAccount = accountCodec.encode(
    makeAccount(900n, { flags: AccountFlag.imported, timestamp: 5n }),
  );
  const account = (id: bigint): Uint8Array => accountCodec.encode(makeAccount(id));
  const body = await session.call(Operation.createAccounts, [
    account(901n),
    importedAccount,
    account(902n),
  ]);
  const accountResults = splitReply(Operation.createAccounts, body)!.map((batch) =>
    decodeArray(createResultCodec, batch).map(({ status }) => status),
  );
  expect(accountResults).toEqual([
    [created],
    [AccountStatus.imported_event_timestamp_must_not_regress],
    [created],
  ]);

  const importedTransfer = transferCodec.encode(
    makeTransfer(900n, 901n, 902n, 1n, { flags: TransferFlag.imported, timestamp: 5n }),
  );
  const transfer = transferCodec.encode(makeTransfer(901n, 901n, 902n, 1n));
  const reply = await session.call(Operation.createTransfers, [transfer, importedTransfer]);
  const transferResults = splitReply(Operation.createTransfers, reply)!.map((batch) =>
    decodeArray(createResultCodec, batch).map(({ status }) => status),
  );
  expect(transferResults).toEqual([
    [created],
    [TransferStatus.imported_event_timestamp_must_not_regress],
  ]);
  session.close();
});

test("random bytes close the connection", async () => {
  for (const size of [256, 300, 4096, 100_000]) {
    const connection = await RawConnection.open(server.port);
    const noise = new Uint8Array(size);
    for (let i = 0; i < size; i += 1) noise[i] = (i * 167 + 13) & 255;
    connection.send(noise);
    await expectClosed(connection);
  }
});

test("a frame cut into single bytes is understood", async () => {
  const session = new RawSession(await RawConnection.open(server.port));
  const request = session.registerRequest();
  for (const byte of request) {
    session.connection.socket.write(Uint8Array.of(byte));
    await new Promise((resolve) => setImmediate(resolve));
  }
  await session.await(request);
  session.close();
});

test("many frames in one write are understood", async () => {
  const { session, request } = await victim();
  const pings = Array.from({ length: 50 }, () => makePing(session.client, 0n));
  session.connection.send(Buffer.concat([...pings, request, ...pings]));
  await session.await(request);
  // Answers beyond the connection's short queue may be dropped, as on any connection.
  expect(await session.connection.receive((m) => m[at.command] === 4)).not.toBe(null);
  await session.roundTrip(noop(session));
  session.close();
});

test("a header checksum alone does not open the door: size beyond what arrived", async () => {
  const { session, request } = await victim();
  // The header promises more than the body that its checksum covers.
  const longer = new Uint8Array(request.length + 512);
  longer.set(request);
  new DataView(longer.buffer).setUint32(at.size, longer.length, true);
  session.connection.send(sealHeader(longer));
  await expectClosed(session.connection);
});

test("an empty sub-batch list of the largest count is answered", async () => {
  const { session } = await victim();
  const counts = Math.min(8000, Math.floor((session.batchSizeLimit - 256) / 2));
  const batches = Array.from({ length: counts }, () => new Uint8Array(0));
  const body = encodeRequest(Operation.createTransfers, batches);
  const reply = await session.roundTrip(session.build(Operation.createTransfers, body));
  expect(splitReply(Operation.createTransfers, bodyOf(reply))!.length).toBe(counts);
  session.close();
});
