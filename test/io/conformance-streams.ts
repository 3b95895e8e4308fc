/** Conformance of a backend's sockets under load: long transfers, chains, backpressure. */
import { expect, test } from "vitest";
import { Prng } from "../../src/core/prng.ts";
import { Completion, Errno, type Io, type SocketHandle } from "../../src/io/io.ts";
import {
  type Drive,
  fillPattern,
  type MakeIo,
  matches,
  type Pair,
  pattern,
  withDrive,
} from "./drive.ts";

const KiB = 1024;
const MiB = 1024 * KiB;
const host = "127.0.0.1";

async function sendAll(
  drive: Drive,
  socket: SocketHandle,
  seed: number,
  total: number,
): Promise<void> {
  const buffer = drive.io.allocate(total);
  fillPattern(buffer.bytes, seed);
  const random = new Prng(seed);
  for (let at = 0; at < total; ) {
    const length = Math.min(total - at, random.range(1, 200 * KiB));
    expect(await drive.send(socket, buffer, at, length)).toBe(length);
    at += length;
  }
}

async function receiveAll(
  drive: Drive,
  socket: SocketHandle,
  seed: number,
  total: number,
): Promise<void> {
  const buffer = drive.io.allocate(total);
  const random = new Prng(seed + 1);
  for (let at = 0; at < total; ) {
    const length = Math.min(total - at, random.range(1, 100 * KiB));
    const whole = random.chance(0.3);
    const received = await drive.receive(socket, buffer, at, length, whole);
    expect(received).toBeGreaterThan(0);
    expect(received).toBeLessThanOrEqual(length);
    if (whole) expect(received).toBe(length);
    at += received;
  }
  expect(matches(buffer.bytes, 0, pattern(total, seed))).toBe(true);
}

/** Bytes that a pipe moves at a time, at most. */
const pipeChunkMax = 68 * KiB;

/** Passes bytes on from one socket to the next until the stream ends, then closes both. */
class Pipe {
  private readonly receiving = new Completion((c) => this.onReceived(c.result));
  private readonly sending = new Completion((c) => this.onSent(c.result));
  private readonly closing = new Completion(() => this.onClosed());
  private readonly buffer;
  private length = 0;
  private open = 2;

  constructor(
    private readonly io: Io,
    private readonly source: SocketHandle,
    private readonly target: SocketHandle,
    private readonly chunkSize: number,
    private readonly onEnded: () => void,
  ) {
    this.buffer = io.allocate(pipeChunkMax);
    this.receive();
  }

  private receive(): void {
    this.io.receive(this.receiving, this.source, this.buffer, 0, this.chunkSize, false);
  }

  private onReceived(result: number): void {
    if (result > 0) {
      this.length = result;
      this.io.send(this.sending, this.target, this.buffer, 0, result);
    } else {
      expect(result).toBe(0);
      this.io.closeSocket(this.closing, this.source);
    }
  }

  private onSent(result: number): void {
    expect(result).toBe(this.length);
    this.receive();
  }

  private onClosed(): void {
    this.open -= 1;
    if (this.open > 0) this.io.closeSocket(this.closing, this.target);
    else this.onEnded();
  }
}

export function streamConformance(make: MakeIo): void {
  test("1 MiB each way at once, in uneven parts", () =>
    withDrive(make, async (drive) => {
      const { listener, port } = drive.io.listen(host, 0);
      const { client, server } = await drive.pair(listener, port);
      await Promise.all([
        sendAll(drive, client, 1, MiB),
        sendAll(drive, server, 2, MiB),
        receiveAll(drive, server, 1, MiB),
        receiveAll(drive, client, 2, MiB),
      ]);
    }));

  test("1 MiB as one send and one whole receive", () =>
    withDrive(make, async (drive) => {
      const { listener, port } = drive.io.listen(host, 0);
      const { client, server } = await drive.pair(listener, port);
      const source = drive.io.allocate(MiB);
      const target = drive.io.allocate(MiB);
      for (let round = 0; round < 8; round += 1) {
        fillPattern(source.bytes, 10 + round);
        const results = await Promise.all([
          drive.send(client, source, 0, MiB),
          drive.receive(server, target, 0, MiB, true),
        ]);
        expect(results).toEqual([MiB, MiB]);
        expect(matches(target.bytes, 0, source.bytes)).toBe(true);
      }
    }));

  test("bytes pass a chain of sockets unchanged", () =>
    withDrive(make, async (drive) => {
      const total = 4 * MiB;
      const { listener, port } = drive.io.listen(host, 0);
      const hops: Pair[] = [];
      for (let at = 0; at < 5; at += 1) hops.push(await drive.pair(listener, port));
      let ended = 0;
      const allEnded = new Promise<void>((resolve) => {
        for (let at = 0; at + 1 < hops.length; at += 1) {
          const chunkSize = [7, 3, 64, 20][at]! * KiB + at;
          new Pipe(drive.io, hops[at]!.server, hops[at + 1]!.client, chunkSize, () => {
            ended += 1;
            if (ended === hops.length - 1) resolve();
          });
        }
      });
      const first = hops[0]!.client;
      const last = hops[hops.length - 1]!.server;
      await Promise.all([sendAll(drive, first, 20, total), receiveAll(drive, last, 20, total)]);
      expect(await drive.close(first)).toBe(0);
      await allEnded;
      const buffer = drive.io.allocate(4 * KiB);
      expect(await drive.receive(last, buffer, 0, 100)).toBe(0);
    }));

  test("100 connections at a time, each with its own bytes", () =>
    withDrive(make, async (drive) => {
      const { listener, port } = drive.io.listen(host, 0);
      const pairs = [];
      for (let at = 0; at < 100; at += 1) pairs.push(await drive.pair(listener, port));
      await Promise.all(
        pairs.flatMap(({ client, server }, at) => [
          sendAll(drive, client, 100 + at, 50 * KiB),
          receiveAll(drive, server, 100 + at, 50 * KiB),
        ]),
      );
      const closes = pairs.flatMap(({ client, server }) => [
        drive.close(client),
        drive.close(server),
      ]);
      expect((await Promise.all(closes)).every((result) => result === 0)).toBe(true);
    }));

  test("a peer that does not receive holds the sender back, and loses nothing", () =>
    withDrive(make, async (drive) => {
      const count = 64;
      const { listener, port } = drive.io.listen(host, 0);
      const { client, server } = await drive.pair(listener, port);
      const source = drive.io.allocate(MiB);
      fillPattern(source.bytes, 30);
      let sent = 0;
      const sending = (async () => {
        while (sent < count) {
          expect(await drive.send(client, source, 0, MiB)).toBe(MiB);
          sent += 1;
        }
      })();
      // Until a while passes without progress.
      for (let before = -1; before !== sent; ) {
        before = sent;
        await drive.timeout(100);
      }
      expect(sent).toBeLessThan(count);
      const target = drive.io.allocate(MiB);
      for (let at = 0; at < count; at += 1) {
        expect(await drive.receive(server, target, 0, MiB, true)).toBe(MiB);
        expect(matches(target.bytes, 0, source.bytes)).toBe(true);
      }
      await sending;
    }));

  test("close ends a send that waits for its peer", () =>
    withDrive(make, async (drive) => {
      const { listener, port } = drive.io.listen(host, 0);
      const { client } = await drive.pair(listener, port);
      const length = 32 * MiB;
      const source = drive.io.allocate(length);
      const order: string[] = [];
      const sending = drive.send(client, source, 0, length).then((result) => {
        order.push("send");
        return result;
      });
      await drive.timeout(20);
      expect(order).toEqual([]);
      const closed = await drive.close(client);
      order.push("close");
      expect(closed).toBe(0);
      const result = await sending;
      expect(order).toEqual(["send", "close"]);
      // Canceled, or cut down to what the kernel had taken.
      expect(result === Errno.canceled || (result > 0 && result < length)).toBe(true);
    }));
}
