/**
 * Sessions as protocol/wire.md §6 and §7 promise them, at the level of bytes: registration,
 * duplicates, gaps, the chain of parents, and each reason for an eviction.
 */
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { cleanUp, type ServerProcess, startFresh } from "../process/server.ts";
import { accountCodec, idCodec, queryFilterCodec } from "../reference/codec.ts";
import { makeAccount, makeQueryFilter } from "../reference/make.ts";
import { encodeRequest, Operation } from "../reference/operations.ts";
import {
  at,
  bodyOf,
  equalBytes,
  field,
  makePing,
  release as ownRelease,
  withField,
} from "./messages.ts";
import {
  EvictedError,
  isEviction,
  RawConnection,
  RawSession,
  randomClientId,
} from "./raw-client.ts";

let server: ServerProcess;

beforeAll(async () => {
  ({ server } = await startFresh());
});
afterEach(({ task }) => server.assertAliveAfter(task));
afterAll(cleanUp);

const open = (): Promise<RawSession> => RawSession.register(server.port);

/** A reply without what may differ between two sendings: checksum and view. */
function stable(reply: Uint8Array): Uint8Array {
  const copy = reply.slice();
  copy.fill(0, at.checksum, 16);
  copy.fill(0, at.view, at.view + 4);
  return copy;
}

function expectSameReply(a: Uint8Array, b: Uint8Array): void {
  expect(equalBytes(stable(a), stable(b))).toBe(true);
}

function lookup(...ids: bigint[]): Uint8Array {
  return encodeRequest(Operation.lookupAccounts, [
    Buffer.concat(ids.map((id) => idCodec.encode(id))),
  ]);
}

let nextAccount = 1n;
function createOne(): Uint8Array {
  nextAccount += 1n;
  const account = accountCodec.encode(makeAccount(nextAccount));
  return encodeRequest(Operation.createAccounts, [account]);
}

/** Sends, shows by a later round trip that the session lives on, and that no answer came. */
async function expectDropped(session: RawSession, message: Uint8Array): Promise<void> {
  session.connection.send(message);
  await session.roundTrip(session.build(Operation.lookupAccounts, lookup(1n)));
  expect(await session.connection.receive(() => true, 20)).toBe(null);
}

async function expectEvicted(
  session: RawSession,
  message: Uint8Array,
  reason: number,
): Promise<void> {
  session.connection.send(message);
  const answer = await session.connection.receive();
  expect(answer).not.toBe(null);
  expect(isEviction(answer!)).toBe(true);
  expect(answer![at.eviction.reason]).toBe(reason);
  expect(field(answer!, at.eviction.client, 16)).toBe(field(message, at.request.client, 16));
  expect(field(answer!, 144, 111)).toBe(0n);
  expect(answer!.length).toBe(256);
}

test("register gives a session; repeated, the same reply", async () => {
  const session = new RawSession(await RawConnection.open(server.port));
  const request = session.registerRequest();
  const first = await session.roundTrip(request);
  expect(session.session).toBeGreaterThan(0n);
  expect(field(first, at.reply.op, 8)).toBe(session.session);
  expect(field(first, 260, 60)).toBe(0n);
  expectSameReply(first, await session.roundTrip(request));
  await session.roundTrip(session.build(Operation.lookupAccounts, lookup(1n)));
  await expectDropped(session, request);
  session.close();
});

test("another register for a live client id is dropped", async () => {
  const session = await open();
  await expectDropped(session, session.registerRequest({ view: 0x7fff_ffff }));
  await expectDropped(session, withField(session.registerRequest(), at.request.latency, 4, 1n));
  session.close();
});

test("a duplicate gets the stored reply, byte for byte", async () => {
  const session = await open();
  const request = session.build(Operation.createAccounts, createOne());
  const first = await session.roundTrip(request);
  for (let i = 0; i < 3; i += 1) expectSameReply(first, await session.roundTrip(request));
  session.close();
});

test("a repeated query answers with the op and context of its first run", async () => {
  const session = await open();
  const filter = queryFilterCodec.encode(makeQueryFilter({ limit: 5 }));
  const request = session.buildBatches(Operation.queryAccounts, [filter]);
  const first = await session.roundTrip(request);
  const again = await session.roundTrip(request);
  expect(equalBytes(again.subarray(128, 256), first.subarray(128, 256))).toBe(true);
  // The session goes on from either copy.
  await session.roundTrip(session.build(Operation.createAccounts, createOne()));
  session.close();
});

test("a duplicate while the first copy is under way is answered once", async () => {
  const session = await open();
  const request = session.build(Operation.createAccounts, createOne());
  for (let i = 0; i < 5; i += 1) session.connection.send(request);
  const reply = await session.await(request);
  expect(field(bodyOf(reply), 8, 4)).toBe(0xffff_ffffn);
  await session.roundTrip(session.build(Operation.lookupAccounts, lookup(1n)));
  for (;;) {
    const more = await session.connection.receive(() => true, 50);
    if (more === null) break;
    expectSameReply(more, reply);
  }
  session.close();
});

test("the same number with other bytes, a gap, an old number, a wrong parent: dropped", async () => {
  const session = await open();
  await session.roundTrip(session.build(Operation.createAccounts, createOne()));
  const body = createOne();
  await expectDropped(
    session,
    session.build(Operation.createAccounts, body, { request: session.request }),
  );
  await expectDropped(
    session,
    session.build(Operation.createAccounts, body, { request: session.request + 2 }),
  );
  await expectDropped(
    session,
    session.build(Operation.createAccounts, body, { request: session.request - 1 }),
  );
  const wrongParent = session.parent.slice();
  wrongParent[3]! ^= 1;
  await expectDropped(
    session,
    session.build(Operation.createAccounts, body, { parent: wrongParent }),
  );
  const reply = await session.roundTrip(session.build(Operation.createAccounts, body));
  // None of them had been executed.
  expect(field(bodyOf(reply), 8, 4)).toBe(0xffff_ffffn);
  session.close();
});

test("a session number from the future, and a view from the future: dropped", async () => {
  const session = await open();
  const operation = Operation.lookupAccounts;
  await expectDropped(
    session,
    session.build(operation, lookup(1n), { session: session.session + 1n }),
  );
  await expectDropped(session, session.build(operation, lookup(1n), { view: 0x7fff_ffff }));
  session.close();
});

test("eviction 1: no session", async () => {
  const stranger = new RawSession(await RawConnection.open(server.port));
  stranger.session = 7n;
  await expectEvicted(stranger, stranger.build(Operation.lookupAccounts, lookup(1n)), 1);
  stranger.close();
});

test("eviction 2 and 3: release outside what the server knows", async () => {
  for (const [release, reason] of [
    [0x1003, 2],
    [0x0fff, 2],
    [1, 2],
    [ownRelease + 1, 3],
    [0xffff_0000, 3],
  ] as const) {
    const session = new RawSession(await RawConnection.open(server.port));
    await expectEvicted(session, session.registerRequest({ release }), reason);
    session.close();
  }
});

test.each([128, 148, 149, 200, 254, 255])("eviction 4: operation %i", async (operation) => {
  const session = await open();
  await expectEvicted(session, session.build(operation, new Uint8Array(0)), 4);
  // The session itself is unharmed.
  await session.roundTrip(session.build(Operation.lookupAccounts, lookup(1n)));
  session.close();
});

function tweak(body: Uint8Array, offset: number, value: number): Uint8Array {
  const copy = body.slice();
  copy[copy.length + offset] = value;
  return copy;
}

const accountBody = encodeRequest(Operation.createAccounts, [accountCodec.encode(makeAccount(1n))]);
const filterBytes = (limit: number): Uint8Array =>
  queryFilterCodec.encode(makeQueryFilter({ limit }));

test.each<[string, number, Uint8Array]>([
  ["no trailer", Operation.createAccounts, new Uint8Array(0)],
  ["one byte", Operation.createAccounts, new Uint8Array(1)],
  ["no sub-batches", Operation.createAccounts, tweak(accountBody, -2, 0)],
  ["65,535 sub-batches", Operation.createAccounts, tweak(tweak(accountBody, -2, 255), -1, 255)],
  ["65,534 sub-batches", Operation.createAccounts, tweak(tweak(accountBody, -2, 254), -1, 255)],
  ["a count too high", Operation.createAccounts, tweak(accountBody, -4, 2)],
  ["a count too low", Operation.createAccounts, tweak(accountBody, -4, 0)],
  ["a wrong filler", Operation.createAccounts, tweak(accountBody, -5, 0xfe)],
  ["the first filler byte wrong", Operation.createAccounts, tweak(accountBody, -128, 0)],
  ["half an element", Operation.createAccounts, accountBody.subarray(64)],
  ["a byte too much", Operation.lookupAccounts, Buffer.concat([new Uint8Array(1), lookup(1n)])],
  [
    "no filter",
    Operation.queryAccounts,
    encodeRequest(Operation.queryAccounts, [new Uint8Array(0)]),
  ],
  [
    "two filters",
    Operation.queryTransfers,
    encodeRequest(Operation.queryTransfers, [new Uint8Array(128)]),
  ],
  [
    "limits that do not fit together",
    Operation.queryAccounts,
    encodeRequest(Operation.queryAccounts, [filterBytes(8189), filterBytes(1)]),
  ],
  ["no filter, unbatched", Operation.getChangeEvents, new Uint8Array(0)],
  ["half a filter, unbatched", Operation.queryAccountsUnbatched, new Uint8Array(32)],
  ["two filters, unbatched", Operation.getChangeEvents, new Uint8Array(128)],
  ["half an event, unbatched", Operation.createTransfersUnbatched, new Uint8Array(64)],
  ["half an id, unbatched", Operation.lookupTransfersUnbatched, new Uint8Array(24)],
])("eviction 5: %s", async (_name, operation, body) => {
  const session = await open();
  await expectEvicted(session, session.build(operation, body), 5);
  await session.roundTrip(session.build(Operation.lookupAccounts, lookup(1n)));
  session.close();
});

test("bodies at their limits are taken", async () => {
  const session = await open();
  const many = new Uint8Array(16 * 8189).fill(1);
  const fits = session.batchSizeLimit >= many.length + 16;
  const ids = fits ? many : many.subarray(0, session.batchSizeLimit - 16);
  await session.call(Operation.lookupAccounts, [ids]);
  await session.call(Operation.queryAccounts, [filterBytes(8188), filterBytes(1)]);
  await session.call(Operation.queryAccounts, [filterBytes(0xffff_ffff)]);
  await session.call(Operation.createAccounts, [new Uint8Array(0)]);
  await session.roundTrip(session.build(Operation.createAccountsUnbatched, new Uint8Array(0)));
  await session.roundTrip(session.build(Operation.noop, new Uint8Array(0)));
  const tooMany = new Uint8Array(16 * 8190).fill(1);
  const message = session.buildBatches(Operation.lookupAccounts, [tooMany]);
  await expectEvicted(session, message, fits ? 5 : 6);
  session.close();
});

test("eviction 6: register without its body", async () => {
  const session = new RawSession(await RawConnection.open(server.port));
  await expectEvicted(session, session.registerRequest({ body: new Uint8Array(0) }), 6);
  session.close();
});

test("eviction 7: an older session of the same client", async () => {
  const session = await open();
  expect(session.session).toBeGreaterThan(1n);
  const message = session.build(Operation.lookupAccounts, lookup(1n), {
    session: session.session - 1n,
  });
  await expectEvicted(session, message, 7);
  await session.roundTrip(session.build(Operation.lookupAccounts, lookup(1n)));
  session.close();
});

test("eviction 8: another release than the one registered with", async () => {
  const session = await open();
  const message = session.build(Operation.lookupAccounts, lookup(1n), { release: ownRelease - 1 });
  await expectEvicted(session, message, 8);
  await session.roundTrip(session.build(Operation.lookupAccounts, lookup(1n)));
  session.close();
});

test("the server echoes the release of each session", async () => {
  const session = new RawSession(await RawConnection.open(server.port));
  const reply = await session.roundTrip(session.registerRequest({ release: 0x1100 }));
  expect(field(reply, at.release, 4)).toBe(0x1100n);
  const message = session.build(Operation.lookupAccounts, lookup(1n), { release: 0x1100 });
  expect(field(await session.roundTrip(message), at.release, 4)).toBe(0x1100n);
  session.close();
});

test("the least recently used session makes way when the table is full", async () => {
  const { server: own } = await startFresh({ development: true });
  const idle = await RawSession.register(own.port);
  const active = await RawSession.register(own.port);
  const sessions: RawSession[] = [];
  for (let i = 0; i < 63; i += 1) {
    await active.roundTrip(active.build(Operation.noop, new Uint8Array(0)));
    const session = await RawSession.register(own.port);
    sessions.push(session);
    session.close();
  }
  await active.roundTrip(active.build(Operation.noop, new Uint8Array(0)));
  await expectEvicted(idle, idle.build(Operation.noop, new Uint8Array(0)), 1);
  // It may come back, as a new session.
  const before = idle.session;
  idle.request = 0;
  idle.parent = new Uint8Array(16);
  await idle.register();
  expect(idle.session).toBeGreaterThan(before);
  // Registering pushed out the next one in line; the active one is still there.
  await active.roundTrip(active.build(Operation.noop, new Uint8Array(0)));
  await own.stop();
});

test("ping: pong without a session, eviction for one that is gone", async () => {
  const client = randomClientId();
  const connection = await RawConnection.open(server.port);
  connection.send(makePing(client, 0n));
  const pong = (await connection.receive())!;
  expect(pong[at.command]).toBe(4);
  expect(field(pong, 128, 8)).toBe(0x1234_5678_9abcn);
  expect(field(pong, 136, 120)).toBe(0n);

  connection.send(makePing(client, 1n));
  const eviction = (await connection.receive())!;
  expect([eviction[at.command], eviction[at.eviction.reason]]).toEqual([18, 1]);

  connection.send(makePing(client, 0n, { release: 0x1003 }));
  expect((await connection.receive())![at.eviction.reason]).toBe(2);
  connection.send(makePing(client, 0n, { release: ownRelease + 1 }));
  expect((await connection.receive())![at.eviction.reason]).toBe(3);

  // A session number that lies ahead of this replica proves nothing.
  connection.send(makePing(client, 1n << 40n));
  expect((await connection.receive())![at.command]).toBe(4);
  connection.destroy();
});

test("after a reconnect a ping moves the replies to the new connection", async () => {
  const session = await open();
  const old = session.connection;
  session.connection = await RawConnection.open(server.port);
  session.connection.send(makePing(session.client, session.session));
  expect((await session.connection.receive())![at.command]).toBe(4);
  await session.roundTrip(session.build(Operation.lookupAccounts, lookup(1n)));
  await old.closed;
  session.close();
});

test("an evicted client learns it as an error of its own kind", async () => {
  const stranger = new RawSession(await RawConnection.open(server.port));
  stranger.session = 9n;
  await expect(
    stranger.roundTrip(stranger.build(Operation.noop, new Uint8Array(0))),
  ).rejects.toThrow(EvictedError);
  stranger.close();
});
