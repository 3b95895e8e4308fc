/**
 * A hundred thousand mutated frames against a running server, pipelined over many connections.
 * Each connection first carries frames that the server must survive and that leave the connection
 * open (sealed again after the change), then one frame that must end it. A bystander is served all
 * along, and the books balance at the end.
 */
import { afterAll, expect, test } from "vitest";
import { Prng } from "../../src/core/prng.ts";
import { cleanUp, type ServerProcess, startFresh } from "../process/server.ts";
import {
  accountCodec,
  accountFilterCodec,
  changeEventsFilterCodec,
  decodeArray,
  encodeArray,
  queryFilterCodec,
  transferCodec,
} from "../reference/codec.ts";
import {
  makeAccount,
  makeAccountFilter,
  makeQueryFilter,
  makeTransfer,
} from "../reference/make.ts";
import { Operation, splitReply } from "../reference/operations.ts";
import { at, command, headerSize, makePing, seal } from "./messages.ts";
import { EvictedError, type RawConnection, RawSession } from "./raw-client.ts";

const framesMin = 100_000;
const framesPerConnection = 100;
/** Before them, requests that are executed one after the other. */
const deepPerConnection = 8;
const connectionsAtOnce = 16;

afterAll(cleanUp);

/** Valid messages of one session, every operation among them, to mutate. */
function models(session: RawSession): Uint8Array[] {
  const accounts = encodeArray(accountCodec, [makeAccount(1n), makeAccount(2n), makeAccount(3n)]);
  const transfers = encodeArray(transferCodec, [
    makeTransfer(1n, 1n, 2n, 5n),
    makeTransfer(2n, 2n, 1n, 5n, { flags: 2, timeout: 1 }),
    makeTransfer(3n, 1n, 3n, 5n, { flags: 1 }),
  ]);
  const ids = new Uint8Array(48).fill(1);
  const accountFilter = accountFilterCodec.encode(makeAccountFilter({ account_id: 1n, limit: 9 }));
  const queryFilter = queryFilterCodec.encode(makeQueryFilter({ limit: 9 }));
  const changeFilter = changeEventsFilterCodec.encode({
    timestamp_min: 0n,
    timestamp_max: 0n,
    limit: 9,
  });
  const list: Uint8Array[] = [];
  for (const operation of [129, 138, 146]) {
    list.push(session.buildBatches(operation, [accounts]));
  }
  for (const operation of [130, 139, 147]) {
    list.push(session.buildBatches(operation, [transfers]));
  }
  for (const operation of [131, 132, 140, 141]) list.push(session.buildBatches(operation, [ids]));
  for (const operation of [133, 134, 142, 143]) {
    list.push(session.buildBatches(operation, [accountFilter]));
  }
  for (const operation of [135, 136, 144, 145]) {
    list.push(session.buildBatches(operation, [queryFilter]));
  }
  list.push(session.buildBatches(Operation.getChangeEvents, [changeFilter]));
  list.push(session.build(Operation.noop, new Uint8Array(0)));
  list.push(session.registerRequest());
  list.push(makePing(session.client, session.session));
  return list;
}

/** Fields that decide where the frame ends, whose it is, or who sent it. */
function isFraming(offset: number): boolean {
  return (
    offset < 16 ||
    (offset >= 32 && offset < 48) ||
    (offset >= at.cluster && offset < at.size + 4) ||
    offset === at.command ||
    (offset >= 128 && offset < 144) ||
    (offset >= at.request.client && offset < at.request.client + 16)
  );
}

/** Changes 1–4 bytes, of the header or of the body, and seals the frame again. */
function mutateSealed(random: Prng, model: Uint8Array): Uint8Array {
  const copy = model.slice();
  const changes = random.range(1, 4);
  for (let i = 0; i < changes; i += 1) {
    const inBody = copy.length > headerSize && random.chance(0.7);
    let offset = inBody
      ? random.range(headerSize, copy.length - 1)
      : random.range(0, headerSize - 1);
    // The trailer of a multi-batch body is small and deserves more than its share.
    if (inBody && random.chance(0.3)) offset = copy.length - 1 - random.below(8);
    while (isFraming(offset)) offset = random.range(0, headerSize - 1);
    copy[offset] = random.chance(0.3) ? interesting(random) : random.below(256);
  }
  return seal(copy);
}

function interesting(random: Prng): number {
  return [0, 1, 0x7f, 0x80, 0xfe, 0xff][random.below(6)]!;
}

/** A frame on which the server has to close the connection. */
function mutateFatal(random: Prng, model: Uint8Array): Uint8Array {
  const copy = model.slice();
  switch (random.below(5)) {
    case 0: // A flipped bit in the header, not sealed again.
      copy[random.below(headerSize)]! ^= 1 << random.below(8);
      return copy;
    case 1: // A flipped bit anywhere.
      copy[random.below(copy.length)]! ^= 1 << random.below(8);
      return copy;
    case 2:
      copy[at.command] = random.chance(0.3) ? 0 : random.range(25, 255);
      return seal(copy);
    case 3:
      new DataView(copy.buffer).setUint32(
        at.size,
        random.chance(0.5) ? random.below(headerSize) : 1_048_577 + random.below(1 << 30),
        true,
      );
      return seal(copy);
    default:
      copy[at.cluster + random.below(16)]! ^= 1 + random.below(255);
      return seal(copy);
  }
}

/** Frames that leave the connection open, in one stream cut at a place of no meaning. */
function sendSurvivors(random: Prng, connection: RawConnection, list: Uint8Array[]): void {
  const frames: Uint8Array[] = [];
  for (let i = 1; i < framesPerConnection; i += 1) {
    frames.push(mutateSealed(random, list[random.below(list.length)]!));
  }
  const bytes = Buffer.concat(frames);
  const cut = random.below(bytes.length);
  connection.send(bytes.subarray(0, cut));
  connection.send(bytes.subarray(cut));
}

/** A request that is next in its session, with a mutated body: executed, or refused as a body. */
async function deepMutant(random: Prng, session: RawSession): Promise<void> {
  const list = models(session).filter((model) => model.length > headerSize + 16);
  const model = list[random.below(list.length)]!.slice();
  if (model[at.request.operation] === Operation.register) return;
  const body = model.subarray(headerSize);
  for (let i = random.range(1, 3); i > 0; i -= 1) {
    body[random.below(body.length)] = random.chance(0.3) ? interesting(random) : random.below(256);
  }
  try {
    await session.roundTripRetrying(seal(model));
  } catch (error) {
    if (!(error instanceof EvictedError) || error.reason !== 5) throw error;
  }
}

/** The connection ends by its last frame; or, now and then, is shown to have survived the others. */
async function attack(random: Prng, server: ServerProcess): Promise<void> {
  // A session of its own: some mutants are valid next requests, and nobody takes its place.
  const session = await RawSession.register(server.port);
  const { connection } = session;
  for (let i = 0; i < deepPerConnection; i += 1) await deepMutant(random, session);
  const list = models(session);
  sendSurvivors(random, connection, list);
  if (random.chance(0.1)) {
    // The queue of answers is short and full: pings repeat until one pong gets through.
    for (let attempt = 0; ; attempt += 1) {
      connection.send(makePing(session.client, session.session));
      const pong = await connection.receive((m) => m[at.command] === command.pongClient, 200);
      if (pong !== null) break;
      if (connection.isClosed) throw new Error(`closed by a sealed frame\n${server.log}`);
      if (attempt === 100) throw new Error(`no pong\n${server.log}`);
    }
    connection.destroy();
    return;
  }
  connection.send(mutateFatal(random, list[random.below(list.length)]!));
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      reject(new Error(`a connection survived its last frame\n${server.log}`));
    }, 20_000);
  });
  await Promise.race([connection.closed, late]).finally(() => clearTimeout(timer));
}

test.each(["uring", "portable"] as const)(
  "%s: a hundred thousand mutated frames harm nobody",
  async (backend) => {
    const { server } = await startFresh({ backend, development: true });
    const bystander = await RawSession.register(server.port);
    const accounts = encodeArray(accountCodec, [makeAccount(1001n), makeAccount(1002n)]);
    await bystander.call(Operation.createAccounts, [accounts]);

    const random = new Prng(20_260_101);
    let frames = 0;
    let transfers = 0n;
    while (frames < framesMin) {
      const round = Array.from({ length: connectionsAtOnce }, () => attack(random, server));
      await Promise.all(round);
      frames += round.length * framesPerConnection;
      server.assertAlive();
      transfers += 1n;
      const transfer = transferCodec.encode(
        makeTransfer(1_000_000_000n + transfers, 1001n, 1002n, 1n),
      );
      await bystander.call(Operation.createTransfers, [transfer]);
    }
    expect(frames).toBeGreaterThanOrEqual(framesMin);

    const filter = queryFilterCodec.encode(makeQueryFilter());
    const body = await bystander.call(Operation.queryAccounts, [filter]);
    const all = decodeArray(accountCodec, splitReply(Operation.queryAccounts, body)![0]!);
    // Mutants reached the ledger, too: accounts beyond the bystander's two and the models' three.
    expect(all.length).toBeGreaterThan(100);
    const sums = new Map<number, bigint>();
    for (const account of all) {
      const difference =
        account.debits_pending -
        account.credits_pending +
        ((account.debits_posted - account.credits_posted) << 140n);
      sums.set(account.ledger, (sums.get(account.ledger) ?? 0n) + difference);
    }
    for (const sum of sums.values()) expect(sum).toBe(0n);
    expect(all.find(({ id }) => id === 1001n)!.debits_posted).toBe(transfers);
    await server.stop();
  },
);
