/**
 * Connections that misbehave as connections: slow, stalled, half-closed, reset, too many. Others
 * are served meanwhile, and nothing is left behind afterwards.
 */
import { readdirSync } from "node:fs";
import { createConnection, type Socket } from "node:net";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { cleanUp, type ServerProcess, startFresh } from "../process/server.ts";
import { queryFilterCodec } from "../reference/codec.ts";
import { makeQueryFilter } from "../reference/make.ts";
import { Operation } from "../reference/operations.ts";
import { at, headerSize, makePing, sealHeader } from "./messages.ts";
import { RawConnection, RawSession, randomClientId } from "./raw-client.ts";

/** More than any limit on connections that a development server has. */
const connectionsTooMany = 600;

afterAll(cleanUp);

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

function openSocket(port: number): Promise<Socket> {
  return new Promise((resolve) => {
    const socket = createConnection({ port, host: "127.0.0.1" });
    socket.on("error", () => {});
    socket.once("connect", () => resolve(socket));
    socket.once("close", () => resolve(socket));
  });
}

function noop(session: RawSession): Uint8Array {
  return session.build(Operation.noop, new Uint8Array(0));
}

describe.each(["uring", "portable"] as const)("%s", (backend) => {
  let server: ServerProcess;
  let bystander: RawSession;

  beforeAll(async () => {
    ({ server } = await startFresh({ backend, development: true }));
    bystander = await RawSession.register(server.port);
  });
  afterEach(async ({ task }) => {
    await server.assertAliveAfter(task);
    if (bystander.connection.isClosed) {
      bystander.connection = await RawConnection.open(server.port);
      bystander.connection.send(makePing(bystander.client, bystander.session));
      await bystander.connection.receive();
    }
    await bystander.roundTrip(noop(bystander));
  });

  /** Connections are freed soon after they close; until then a new one may be refused. */
  async function untilServed(): Promise<void> {
    for (let attempt = 0; attempt < 100; attempt += 1) {
      try {
        const session = await RawSession.register(server.port);
        session.close();
        return;
      } catch {
        await pause(50);
      }
    }
    throw new Error(`no new connection is served\n${server.log}`);
  }

  function openFiles(): number {
    return readdirSync(`/proc/${server.processId}/fd`).length;
  }

  test("a header that trickles in, and a body that never comes, hold up nobody", async () => {
    const slow: Socket[] = [];
    for (let i = 0; i < 12; i += 1) {
      const socket = await openSocket(server.port);
      const header = makePing(randomClientId(), 0n);
      header[at.command] = 5;
      new DataView(header.buffer).setUint32(at.size, headerSize + 30_000, true);
      // Half of them stall inside the header, half inside the body.
      socket.write(i % 2 === 0 ? header.subarray(0, 100 + i) : sealHeader(header));
      slow.push(socket);
    }
    for (let turn = 0; turn < 50; turn += 1) {
      for (const socket of slow) if (!socket.destroyed) socket.write(Uint8Array.of(0));
      await bystander.roundTrip(noop(bystander));
    }
    for (const socket of slow) socket.destroy();
    await untilServed();
  });

  test("a client that never reads its replies holds up nobody", async () => {
    const deaf = await RawSession.register(server.port);
    deaf.connection.socket.pause();
    const filter = queryFilterCodec.encode(makeQueryFilter());
    const query = deaf.buildBatches(Operation.queryAccounts, [filter]);
    for (let i = 0; i < 2000; i += 1) deaf.connection.send(query);
    for (let i = 0; i < 3000; i += 1) deaf.connection.send(makePing(deaf.client, deaf.session));
    for (let turn = 0; turn < 50; turn += 1) await bystander.roundTrip(noop(bystander));
    deaf.close();
    await untilServed();
  });

  test("more connections than the limit: the rest is turned away, then all is as before", async () => {
    const before = openFiles();
    const sockets: Socket[] = [];
    for (let i = 0; i < connectionsTooMany; i += 50) {
      const batch = Array.from({ length: 50 }, () => openSocket(server.port));
      sockets.push(...(await Promise.all(batch)));
    }
    await bystander.roundTrip(noop(bystander));
    await pause(200);
    const refused = sockets.filter((socket) => socket.destroyed || socket.readableEnded).length;
    expect(refused).toBeGreaterThan(0);
    for (const socket of sockets) socket.destroy();
    await untilServed();
    for (let i = 0; i < 100 && openFiles() > before + 4; i += 1) await pause(50);
    expect(openFiles()).toBeLessThanOrEqual(before + 4);
  });

  test("half-closed and reset connections are cleaned up", async () => {
    const before = openFiles();
    for (let i = 0; i < 200; i += 1) {
      const session = new RawSession(await RawConnection.open(server.port));
      const socket = session.connection.socket;
      if (i % 4 === 0) socket.end(makePing(session.client, 0n));
      else if (i % 4 === 1) socket.end(makePing(session.client, 0n).subarray(0, 77));
      else if (i % 4 === 2) {
        socket.write(makePing(session.client, 0n));
        socket.resetAndDestroy();
      } else socket.destroy();
      if (i % 4 < 2) await session.connection.closed;
    }
    await untilServed();
    for (let i = 0; i < 100 && openFiles() > before + 4; i += 1) await pause(50);
    expect(openFiles()).toBeLessThanOrEqual(before + 4);
  });

  test("a request whose sender has gone is executed once", async () => {
    const session = await RawSession.register(server.port);
    const request = noop(session);
    session.connection.send(request);
    session.connection.socket.end();
    await session.connection.closed;
    session.connection = await RawConnection.open(server.port);
    const first = await session.roundTrip(request);
    const second = await session.roundTrip(request);
    expect(second.subarray(208, 224)).toEqual(first.subarray(208, 224));
    session.close();
  });

  test("stops cleanly with connections open and requests under way", async () => {
    const session = await RawSession.register(server.port);
    for (let i = 0; i < 20; i += 1) session.connection.send(noop(session));
    const stalled = await openSocket(server.port);
    stalled.write(makePing(1n, 0n).subarray(0, 9));
    expect(await server.stop()).toEqual({ code: 0, signal: null });
    stalled.destroy();
    // What follows in this folder starts its own server.
    ({ server } = await startFresh({ backend, development: true }));
    bystander = await RawSession.register(server.port);
  });
});
