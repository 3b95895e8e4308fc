/**
 * The bus over real sockets, on each backend that this machine has: what the fake network stands
 * for is what there is.
 */
import { connect, type Socket } from "node:net";
import { describe, expect, test } from "vitest";
import type { Io } from "../../src/io/io.ts";
import { MessageBus } from "../../src/io/message-bus.ts";
import { type Message, MessagePool } from "../../src/io/message-pool.ts";
import { IoBackendError, openIo } from "../../src/io/open-io.ts";
import { requestHeader } from "../../src/wire/header.ts";
import { cluster, ping, request } from "./bus-harness.ts";
import { hex } from "./bytes.ts";

const options = {
  cluster,
  replica: 0,
  replicaCount: 1,
  connectionsMax: 8,
  largeReceivesMax: 2,
  smallReserve: 0,
  largeReserve: 0,
  seed: 1,
  log: () => {},
};

class Server {
  readonly io: Io;
  readonly pool: MessagePool;
  readonly bus: MessageBus;
  readonly port: number;

  constructor(io: Io) {
    this.io = io;
    this.pool = new MessagePool((size) => io.allocate(size), { small: 16, large: 4 });
    // Sends everything back to where the client's replies go.
    const handler = {
      onMessage: (message: Message) => {
        const at = requestHeader.word.client;
        if (message.command === 5) this.bus.sendToClient(message.words, at, message);
      },
    };
    this.bus = new MessageBus(io, this.pool, handler, options);
    this.port = this.bus.listen("127.0.0.1", 0);
    io.start(() => {});
  }

  stop(): Promise<void> {
    return new Promise((resolve) => this.bus.close(() => this.io.stop(() => resolve())));
  }
}

function dial(port: number): Promise<Socket> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1", () => resolve(socket));
    socket.on("error", () => {});
  });
}

function read(socket: Socket, length: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const parts: Buffer[] = [];
    let got = 0;
    const onData = (part: Buffer): void => {
      parts.push(part);
      got += part.length;
      if (got < length) return;
      socket.off("data", onData);
      socket.off("close", onClose);
      resolve(Buffer.concat(parts));
    };
    socket.on("data", onData);
    const onClose = (): void => reject(new Error("closed"));
    socket.on("close", onClose);
  });
}

describe.each(["portable", "uring"] as const)("%s", (backend) => {
  const open = (): Io | null => {
    try {
      return openIo({ backend, drive: "guest" }).io;
    } catch (error) {
      // A machine without io_uring runs the portable backend alone; test/io says which it is.
      if (error instanceof IoBackendError) return null;
      throw error;
    }
  };

  test("frames of all sizes come back, bad ones close their connection alone", async () => {
    const io = open();
    if (io === null) return;
    const server = new Server(io);
    const good = await dial(server.port);
    good.setNoDelay(true);
    let number = 0;
    for (const size of [0, 128, 16_128, 16_129, 100_000, 1_048_320, 5]) {
      number += 1;
      const frame = request(7n, number, size);
      const echo = read(good, frame.bytes.length);
      for (let at = 0; at < frame.bytes.length; at += 333_333) {
        good.write(frame.bytes.subarray(at, at + 333_333));
      }
      expect(hex(await echo) === hex(frame.bytes)).toBe(true);

      const bad = await dial(server.port);
      const closed = new Promise((resolve) => bad.once("close", resolve));
      bad.resume();
      // Half of the frame, then something else.
      bad.write(frame.bytes.subarray(0, frame.bytes.length / 2));
      bad.write(new Uint8Array(256 + size).fill(1));
      await closed;
    }
    expect(server.bus.counters.messagesSent).toBe(number);
    good.destroy();
    await server.stop();
    expect(server.pool.free(false)).toBe(16);
    expect(server.pool.free(true)).toBe(4);
  });

  test("many clients at once, each with many frames in flight", async () => {
    const io = open();
    if (io === null) return;
    const server = new Server(io);
    const clients = Array.from({ length: 8 }, async (_, index) => {
      const client = BigInt(index + 1);
      const socket = await dial(server.port);
      socket.write(ping(client).bytes);
      for (let number = 1; number <= 60; number += 1) {
        const size = number % 12 === 0 ? 120_000 : number * 64;
        const frame = request(client, number, size);
        const echo = read(socket, frame.bytes.length);
        socket.write(frame.bytes);
        expect(hex(await echo) === hex(frame.bytes)).toBe(true);
      }
      socket.destroy();
    });
    await Promise.all(clients);
    expect(server.bus.counters.messagesReceived).toBe(8 * 61);
    await server.stop();
    expect(server.pool.free(true)).toBe(4);
  });
});
