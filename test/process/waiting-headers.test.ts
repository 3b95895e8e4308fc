/**
 * A cluster of one lets the redundant headers of small prepares wait for others. Real servers: a header
 * lands although no further request comes, none is left out by a clean stop, and a kill before it has
 * landed costs nothing, for the next start writes it.
 */
import { closeSync, openSync, readSync } from "node:fs";
import { afterAll, describe, expect, test } from "vitest";
import { headerSize } from "../../src/core/limits.ts";
import { DataFileLayout, developmentPreset } from "../../src/wal/data-file.ts";
import { isReserved } from "../../src/wal/headers.ts";
import type { JournalSummary, SlotSummary } from "../../src/wal/inspect.ts";
import { RawConnection, RawSession } from "../interop/raw-client.ts";
import { accountCodec, encodeArray } from "../reference/codec.ts";
import { makeAccount } from "../reference/make.ts";
import { Operation } from "../reference/operations.ts";
import { cleanUp, freshDataFile, pacioli, ServerProcess } from "./server.ts";

afterAll(cleanUp);

const layout = new DataFileLayout({
  ...developmentPreset,
  cluster: new Uint32Array(4),
  replica: 0,
  replicaCount: 1,
});

/** Far longer than two ticks, whatever else the machine does. */
const landLimitMs = 60_000;

/** Opens a session and makes one small request. */
async function askOnce(server: ServerProcess): Promise<RawSession> {
  const session = await RawSession.register(server.port);
  await createAccount(session, 1n);
  return session;
}

async function createAccount(session: RawSession, id: bigint): Promise<void> {
  const body = encodeArray(accountCodec, [makeAccount(id)]);
  await session.call(Operation.createAccounts, [body]);
}

/** What `inspect wal` says of the slots of ops above 0; the log must be whole. */
function usedSlots(path: string): readonly SlotSummary[] {
  const { status, stdout, stderr } = pacioli(["inspect", "wal", "--json", path]);
  expect(status, stderr).toBe(0);
  const { fatal, opHead, slots } = JSON.parse(stdout) as JournalSummary;
  expect(fatal).toBeNull();
  const used = slots.filter(({ prepare }) => prepare !== null && prepare.op > 0);
  expect(used.map(({ prepare }) => prepare!.op)).toEqual(
    Array.from({ length: opHead }, (_, index) => index + 1),
  );
  return used;
}

/** @param opsMin - At least so many; the server adds pulses of its own. */
function expectAllLanded(path: string, opsMin: number): void {
  const used = usedSlots(path);
  expect(used.length).toBeGreaterThanOrEqual(opsMin);
  for (const { decision, header, prepare } of used) {
    expect(decision).toBe("good");
    expect(header).toEqual(prepare);
  }
}

/** Whether every prepare in the file has its redundant header; a server may be running on it. */
function allLanded(path: string): boolean {
  const file = openSync(path, "r");
  try {
    const prepare = Buffer.alloc(headerSize);
    const header = Buffer.alloc(headerSize);
    for (let slot = 1; ; slot += 1) {
      readSync(file, prepare, 0, headerSize, layout.prepareAt(slot));
      if (isReserved(prepare, 0)) return slot > 2;
      readSync(file, header, 0, headerSize, layout.headerRingAt + slot * headerSize);
      if (!prepare.equals(header)) return false;
    }
  } finally {
    closeSync(file);
  }
}

describe.each(["uring", "portable"] as const)("on the %s backend", (backend) => {
  test("a header lands though no other request comes", async () => {
    const path = freshDataFile();
    const server = await ServerProcess.start(path, { backend });
    const session = await askOnce(server);
    const deadline = performance.now() + landLimitMs;
    while (!allLanded(path)) {
      server.assertAlive();
      if (performance.now() > deadline) throw new Error("a header never lands");
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    await server.kill();
    session.close();
    expectAllLanded(path, 2);
  });

  test("a kill may come before it, and the next start writes it", async () => {
    const path = freshDataFile();
    const killed = await ServerProcess.start(path, { backend });
    const session = await askOnce(killed);
    await killed.kill();
    session.close();
    const used = usedSlots(path);
    expect(used.length).toBeGreaterThanOrEqual(2);
    for (const { decision } of used) expect(decision).toMatch(/^good/);
    const next = await ServerProcess.start(path, { backend });
    await next.kill();
    expectAllLanded(path, 2);
  });

  test("a clean stop leaves no header unwritten", async () => {
    const path = freshDataFile();
    let server = await ServerProcess.start(path, { backend });
    const session = await askOnce(server);
    for (let op = 2; op <= 3; op += 1) {
      await server.stop();
      expectAllLanded(path, op);
      server = await ServerProcess.start(path, { backend });
      session.connection = await RawConnection.open(server.port);
      await createAccount(session, BigInt(op));
    }
    await server.kill();
  });
});
