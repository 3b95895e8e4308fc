/** What the bus does at its limits: connections, messages of the pool, queues, and at its end. */
import { describe, expect, test } from "vitest";
import { CloseCause, DropCause } from "../../src/io/bus-counters.ts";
import type { Connection } from "../../src/io/connection.ts";
import {
  receiveTimeoutTicks,
  sendTimeoutTicks,
  silentTicks,
  slowReaderTicks,
} from "../../src/io/message-bus.ts";
import { MessagePool } from "../../src/io/message-pool.ts";
import { Command } from "../../src/wire/header.ts";
import { BusHarness, flip, internal, ping, request } from "./bus-harness.ts";
import { hex, u128 } from "./bytes.ts";

describe("more connections than the limit", () => {
  test("are accepted and closed at once; room is made by those that leave", () => {
    const harness = new BusHarness({ bus: { connectionsMax: 3 } });
    const peers = [1n, 2n, 3n].map((client) => {
      const peer = harness.dial();
      harness.pingPong(peer, client);
      return peer;
    });
    for (let count = 0; count < 5; count += 1) {
      const extra = harness.dial();
      harness.until(() => extra.ended, "refused");
    }
    expect(harness.bus.counters.refused).toBe(5);
    expect(harness.bus.counters.accepted).toBe(3);
    peers.forEach((peer, index) => {
      harness.pingPong(peer, BigInt(index + 1));
    });
    peers[1]!.end();
    harness.until(() => harness.bus.connectionsUsed === 2, "one left");
    const late = harness.dial();
    harness.pingPong(late, 4n);
    harness.finish();
  });

  test("one that never said anything gives way, after a while", () => {
    const harness = new BusHarness({ bus: { connectionsMax: 2 } });
    const good = harness.dial();
    harness.pingPong(good, 1n);
    harness.ticks(10);
    const silent = harness.dial();
    harness.turns();
    const early = harness.dial();
    harness.until(() => early.ended, "refused");
    expect(silent.ended).toBe(false);
    harness.ticks(silentTicks);
    const second = harness.dial();
    harness.until(() => second.ended, "refused");
    harness.until(() => silent.ended, "given up");
    expect(harness.bus.counters.closes[CloseCause.silent]).toBe(1);
    harness.turns();
    const third = harness.dial();
    harness.pingPong(third, 2n);
    harness.pingPong(good, 1n);
    // The one that takes its place is given as much time, whatever its predecessor did.
    third.end();
    harness.turns();
    const another = harness.dial();
    harness.turns();
    const fourth = harness.dial();
    harness.until(() => fourth.ended, "refused");
    harness.turns();
    expect(another.ended).toBe(false);
    harness.ticks(silentTicks);
    const fifth = harness.dial();
    harness.until(() => fifth.ended, "refused");
    harness.until(() => another.ended, "given up");
    harness.finish();
  });

  test("a failing accept is tried again", () => {
    const harness = new BusHarness();
    harness.io.acceptFailures = 3;
    const peer = harness.dial();
    harness.turns();
    expect(harness.bus.counters.acceptErrors).toBe(1);
    harness.ticks(100);
    expect(harness.bus.counters.acceptErrors).toBe(3);
    harness.pingPong(peer, 1n);
    harness.finish();
  });

  test("a failing accept does not hold up closing", () => {
    const harness = new BusHarness();
    harness.io.acceptFailures = 1;
    harness.dial();
    harness.turns();
    expect(harness.bus.counters.acceptErrors).toBe(1);
    harness.finish();
  });
});

describe("an exhausted pool", () => {
  test("stops reading and resumes in the order of waiting (small)", () => {
    const harness = new BusHarness({ small: 4 });
    harness.answer = false;
    harness.keep = true;
    const peers = Array.from({ length: 6 }, () => harness.dial());
    const order: string[] = [];
    peers.forEach((peer, index) => {
      const frame = ping(BigInt(index + 1));
      order.push(hex(frame.bytes));
      harness.feed(peer, frame.bytes);
      harness.turns(30);
    });
    expect(harness.delivered).toEqual(order.slice(0, 4));
    expect(harness.pool.waiters(false)).toBe(2);
    expect(harness.bus.counters.receiveWaits).toBe(2);
    // Nobody is blamed for waiting.
    harness.ticks(2 * receiveTimeoutTicks);
    expect(harness.bus.connectionsUsed).toBe(6);
    harness.pool.unref(harness.kept.shift()!);
    harness.turns();
    expect(harness.delivered).toEqual(order.slice(0, 5));
    harness.pool.unref(harness.kept.shift()!);
    harness.turns();
    expect(harness.delivered).toEqual(order);
    harness.finish();
  });

  test("stops reading and resumes in the order of waiting (large)", () => {
    const harness = new BusHarness({ large: 2, bus: { largeReceivesMax: 6 } });
    harness.answer = false;
    harness.keep = true;
    const peers = Array.from({ length: 5 }, () => harness.dial());
    const order: string[] = [];
    peers.forEach((peer, index) => {
      const frame = request(BigInt(index + 1), 1, 40_000);
      order.push(hex(frame.bytes));
      harness.feed(peer, frame.bytes);
      harness.turns(60);
    });
    expect(harness.delivered).toEqual(order.slice(0, 2));
    // Small frames of others are not held up.
    harness.keep = false;
    const small = harness.dial();
    harness.feed(small, ping(77n).bytes);
    harness.until(() => harness.delivered.length === 3, "small");
    harness.delivered.pop();
    harness.keep = true;
    for (let count = 3; count <= 5; count += 1) {
      harness.pool.unref(harness.kept.shift()!);
      harness.until(() => harness.delivered.length === count, "next");
      harness.turns();
      expect(harness.delivered).toEqual(order.slice(0, count));
    }
    harness.finish();
  });

  test("a frame behind the one that waits stays behind it", () => {
    const harness = new BusHarness({ small: 2 });
    harness.answer = false;
    harness.keep = true;
    const peer = harness.dial();
    const frames = [1, 2, 3, 4, 5].map((number) => ping(7n, number).bytes);
    harness.feed(peer, Buffer.concat(frames));
    harness.turns();
    expect(harness.delivered.length).toBe(2);
    while (harness.kept.length > 0) {
      harness.pool.unref(harness.kept.shift()!);
      harness.turns();
    }
    expect(harness.delivered).toEqual(frames.map(hex));
    harness.finish();
  });

  test.each([
    ["small", 0],
    ["large", 40_000],
  ])("a newcomer does not overtake those in line (%s)", (_, bodySize) => {
    for (let seed = 1; seed <= 40; seed += 1) {
      const harness = new BusHarness({ seed, small: 1, large: 1 });
      harness.answer = false;
      harness.keep = true;
      const frames = [1n, 2n, 3n].map((client) => request(client, 1, bodySize).bytes);
      const [first, second, third] = frames.map(() => harness.dial());
      harness.feed(first!, frames[0]!);
      harness.until(() => harness.delivered.length === 1, "the first");
      harness.feed(second!, frames[1]!);
      harness.until(() => harness.pool.waiters(bodySize > 0) === 1, "the second waits");
      // The message comes free just as the third frame arrives.
      harness.turns(20);
      harness.feed(third!, frames[2]!);
      harness.pool.unref(harness.kept.shift()!);
      harness.until(() => harness.delivered.length === 2, "the second");
      expect(harness.delivered).toEqual(frames.slice(0, 2).map(hex));
      harness.turns(20);
      harness.pool.unref(harness.kept.shift()!);
      harness.until(() => harness.delivered.length === 3, "the third");
      harness.finish();
    }
  });

  test("at most so many large frames are received at once", () => {
    const harness = new BusHarness({ large: 8, bus: { largeReceivesMax: 2 } });
    harness.answer = false;
    const halves = [1n, 2n, 3n, 4n].map((client) => {
      const frame = request(client, 1, 100_000);
      const peer = harness.dial();
      harness.feed(peer, frame.bytes.subarray(0, 60_000));
      harness.turns();
      return { peer, rest: frame.bytes.subarray(60_000) };
    });
    expect(harness.pool.free(true)).toBe(6);
    expect(harness.pool.waiters(true)).toBe(2);
    // Those waiting have sent everything; they are served when a permit comes free.
    harness.feed(halves[2]!.peer, halves[2]!.rest);
    harness.feed(halves[3]!.peer, halves[3]!.rest);
    harness.turns();
    expect(harness.delivered.length).toBe(0);
    halves[0]!.peer.end();
    harness.until(() => harness.delivered.length === 2, "both");
    expect(harness.delivered).toEqual([
      hex(request(3n, 1, 100_000).bytes),
      hex(request(4n, 1, 100_000).bytes),
    ]);
    harness.feed(halves[1]!.peer, halves[1]!.rest);
    harness.until(() => harness.delivered.length === 3, "the slow one");
    harness.finish();
  });

  test("clients leave messages to the replica and its peers", () => {
    const harness = new BusHarness({
      small: 3,
      large: 3,
      bus: { smallReserve: 1, largeReserve: 2, replica: 1, replicaCount: 2 },
    });
    harness.answer = false;
    harness.keep = true;
    const client = harness.dial();
    harness.feed(client, Buffer.concat([1, 2, 3].map((number) => ping(7n, number).bytes)));
    harness.turns();
    expect(harness.delivered.length).toBe(2);
    expect(harness.pool.free(false)).toBe(1);
    const other = harness.dial();
    harness.feed(other, request(8n, 1, 50_000).bytes);
    const another = harness.dial();
    harness.feed(another, request(9n, 1, 50_000).bytes);
    harness.turns(60);
    expect(harness.pool.free(true)).toBe(2);
    expect(harness.pool.waiters(true)).toBe(1);
    // Replica 0 first has to say who it is. Its frames pass the clients in line.
    harness.delivered.length = 0;
    const replica = harness.dial();
    harness.feed(replica, internal(Command.ping, 0).bytes);
    harness.turns();
    expect(harness.delivered.length).toBe(0);
    harness.pool.unref(harness.kept.shift()!);
    harness.pool.unref(harness.kept.shift()!);
    harness.turns();
    expect(harness.delivered.length).toBe(2);
    expect(harness.pool.free(false)).toBe(1);
    harness.feed(replica, internal(Command.commit, 0).bytes);
    harness.feed(replica, internal(Command.prepare, 0, 60_000).bytes);
    harness.until(() => harness.delivered.length === 4, "the replica's");
    expect(harness.pool.free(false)).toBe(0);
    expect(harness.pool.free(true)).toBe(1);
    harness.finish();
  });

  test("a permit is free again when its frame is complete, even if the message is kept", () => {
    const harness = new BusHarness({ large: 4, bus: { largeReceivesMax: 1 } });
    harness.answer = false;
    harness.keep = true;
    const [first, second] = [harness.dial(), harness.dial()];
    const frame = request(7n, 1, 50_000).bytes;
    harness.feed(first, frame.subarray(0, 30_000));
    harness.turns();
    harness.feed(second, request(8n, 1, 50_000).bytes);
    harness.turns();
    expect(harness.pool.waiters(true)).toBe(1);
    harness.feed(first, frame.subarray(30_000));
    harness.until(() => harness.kept.length === 2, "both");
    harness.finish();
  });

  test("replicas need no permit for a large frame", () => {
    const harness = new BusHarness({
      large: 4,
      bus: { largeReceivesMax: 1, replica: 1, replicaCount: 2 },
    });
    harness.answer = false;
    const [slow, waiting, replica] = [harness.dial(), harness.dial(), harness.dial()];
    harness.feed(slow, request(7n, 1, 50_000).bytes.subarray(0, 30_000));
    harness.turns();
    harness.feed(waiting, request(8n, 1, 50_000).bytes);
    harness.feed(replica, internal(Command.ping, 0).bytes);
    harness.feed(replica, internal(Command.prepare, 0, 50_000).bytes);
    harness.until(() => harness.delivered.length === 2, "the replica's");
    expect(harness.pool.waiters(true)).toBe(1);
    harness.finish();
  });

  test("one that closes while it waits leaves the line", () => {
    const harness = new BusHarness({ small: 1 });
    harness.answer = false;
    harness.keep = true;
    const first = harness.dial();
    harness.feed(first, ping(1n).bytes);
    harness.turns();
    const second = harness.dial();
    harness.feed(second, ping(2n).bytes);
    harness.turns();
    const third = harness.dial();
    harness.feed(third, ping(3n).bytes);
    harness.turns();
    expect(harness.pool.waiters(false)).toBe(2);
    harness.onDelivered = null;
    harness.finish();
    expect(harness.delivered.length).toBe(1);
  });
});

describe("sending", () => {
  test("a queue holds four messages for a client and drops the rest", () => {
    const harness = new BusHarness({ capacity: 2048 });
    harness.answer = false;
    harness.recording = false;
    const peer = harness.dial();
    let results: boolean[] = [];
    harness.onDelivered = (message) => {
      const reply = harness.pool.get(16_000)!;
      reply.bytes.set(request(7n, 1, 15_000).bytes);
      for (let count = 0; count < 6; count += 1) {
        results.push(harness.bus.sendToClient(u128(7n), 0, reply));
      }
      harness.pool.unref(reply);
      expect(message.references).toBe(1);
    };
    harness.feed(peer, ping(7n).bytes);
    harness.until(() => results.length > 0, "sent");
    expect(results).toEqual([true, true, true, true, false, false]);
    expect(harness.bus.counters.drops[DropCause.sendQueueFull]).toBe(2);
    let got = 0;
    harness.until(() => {
      got += peer.read().length;
      return got === 4 * 15_256;
    }, "four");
    results = [];
    harness.onDelivered = null;
    harness.finish();
    expect(harness.bus.counters.messagesSent).toBe(4);
  });

  test("a peer that does not read is closed", () => {
    const harness = new BusHarness({ capacity: 4096 });
    const good = harness.dial();
    harness.pingPong(good, 1n);
    harness.ticks(2 * sendTimeoutTicks);
    const stuck = harness.dial();
    harness.feed(stuck, request(7n, 1, 50_000).bytes);
    harness.until(() => harness.delivered.length === 2, "delivered");
    harness.ticks(sendTimeoutTicks - 100);
    expect(stuck.ended).toBe(false);
    expect(harness.pool.free(true)).toBe(5);
    harness.ticks(200);
    expect(stuck.ended).toBe(true);
    expect(harness.pool.free(true)).toBe(6);
    expect(harness.bus.counters.closes[CloseCause.sendTimeout]).toBe(1);
    harness.pingPong(good, 1n);
    harness.finish();
  });

  test("when messages run out the slowest reader gives way, and nobody else", () => {
    const harness = new BusHarness({ capacity: 4096 });
    const good = harness.dial();
    harness.pingPong(good, 1n);
    const first = harness.dial();
    harness.feed(first, request(7n, 1, 50_000).bytes);
    harness.until(() => harness.delivered.length === 2, "delivered");
    harness.bus.relieve();
    expect(first.ended).toBe(false); // Not slow yet.
    harness.ticks(50);
    const second = harness.dial();
    harness.feed(second, request(8n, 1, 50_000).bytes);
    harness.until(() => harness.delivered.length === 3, "delivered");
    harness.ticks(slowReaderTicks + 10);
    harness.bus.relieve();
    harness.ticks(1);
    expect([first.ended, second.ended]).toEqual([true, false]);
    expect(harness.bus.counters.closes[CloseCause.slowReader]).toBe(1);
    harness.pingPong(good, 1n);
    harness.finish();
  });

  test("a message of another pool goes back to that one, sent or not", () => {
    const harness = new BusHarness({ capacity: 2048 });
    harness.answer = false;
    const replies = new MessagePool((size) => harness.io.allocate(size), { small: 1, large: 3 });
    const peer = harness.dial();
    harness.feed(peer, ping(7n).bytes);
    harness.until(() => harness.bus.isClientConnected(u128(7n), 0), "known");
    const frame = request(7n, 1, 20_000);
    for (let count = 0; count < 3; count += 1) {
      const reply = replies.get(frame.bytes.length)!;
      reply.bytes.set(frame.bytes);
      expect(harness.bus.sendToClient(u128(7n), 0, reply)).toBe(true);
      replies.unref(reply);
    }
    expect(replies.free(true)).toBe(0);
    harness.until(() => {
      peer.read();
      return replies.free(true) === 1;
    }, "one sent");
    harness.finish();
    expect(replies.free(true)).toBe(3);
  });

  test("to a client that is not there", () => {
    const harness = new BusHarness();
    const message = harness.pool.get(256)!;
    message.bytes.set(ping(1n).bytes);
    expect(harness.bus.sendToClient(u128(1n), 0, message)).toBe(false);
    expect(harness.bus.counters.drops[DropCause.notConnected]).toBe(1);
    harness.pool.unref(message);
    harness.finish();
  });

  test("a connection closed by the handler takes nothing more", () => {
    for (let seed = 1; seed <= 30; seed += 1) {
      const harness = new BusHarness({ seed });
      const peer = harness.dial();
      const results: boolean[] = [];
      harness.answer = false;
      harness.onDelivered = (message, connection) => {
        harness.bus.closeConnection(connection);
        results.push(harness.bus.sendOn(connection, message));
        results.push(harness.bus.sendToClient(u128(7n), 0, message));
      };
      harness.feed(peer, Buffer.concat([ping(7n).bytes, ping(7n, 2).bytes]));
      harness.until(() => peer.ended, "closed");
      expect(results).toEqual([false, false]);
      expect(harness.delivered.length).toBe(1);
      harness.finish();
    }
  });

  test("a connection object that is used again knows nothing of its last peer", () => {
    const harness = new BusHarness({ bus: { connectionsMax: 2, replica: 1, replicaCount: 2 } });
    harness.answer = false;
    const seen: string[] = [];
    harness.onDelivered = (_, connection) => {
      const client = connection.client.join(" ");
      seen.push(`${connection.generation} ${connection.messages} ${client}`);
    };
    const gone = (): void => harness.until(() => harness.bus.connectionsUsed === 0, "gone");
    const clients = [7n, 8n, 9n].map((client) => {
      const peer = harness.dial();
      harness.turns();
      if (client < 9n) harness.feed(peer, ping(client).bytes);
      return peer;
    });
    harness.turns();
    for (const peer of clients) peer.end();
    gone();
    const replicas = [1, 2, 3].map(() => harness.dial());
    harness.turns();
    for (const peer of replicas) {
      harness.feed(peer, internal(Command.ping, 0).bytes);
      harness.turns();
    }
    expect(seen).toEqual([
      "1 1 7 0 0 0",
      "1 1 8 0 0 0",
      "2 1 0 0 0 0",
      "2 1 0 0 0 0",
      "2 1 0 0 0 0",
    ]);
    harness.finish();
  });

  test("a connection object that is used again starts with nothing checked", () => {
    const harness = new BusHarness({ small: 1, bus: { connectionsMax: 1 } });
    harness.answer = false;
    const gone = (): void => harness.until(() => harness.bus.connectionsUsed === 0, "gone");
    // Half a frame: its header has been found good.
    const half = harness.dial();
    harness.feed(half, request(7n, 1, 1000).bytes.subarray(0, 600));
    harness.turns();
    half.end();
    gone();
    const badHeader = harness.dial();
    harness.feed(badHeader, flip(ping(7n).bytes, 70));
    harness.until(() => badHeader.ended, "closed");
    expect(harness.bus.counters.closes[CloseCause.headerChecksum]).toBe(1);
    gone();
    // A whole frame that waits for a message: its body has been found good.
    const waiting = harness.dial();
    harness.keep = true;
    harness.onDelivered = (_, connection) => {
      connections.push(connection);
    };
    const connections: Connection[] = [];
    harness.feed(waiting, Buffer.concat([ping(7n).bytes, ping(7n, 2).bytes]));
    harness.until(() => harness.pool.waiters(false) === 1, "waits");
    harness.bus.closeConnection(connections[0]!);
    gone();
    expect(harness.pool.waiters(false)).toBe(0);
    harness.releaseKept();
    const badBody = harness.dial();
    harness.feed(badBody, flip(request(7n, 1, 50).bytes, 280));
    harness.until(() => badBody.ended, "closed");
    expect(harness.bus.counters.closes[CloseCause.bodyChecksum]).toBe(1);
    expect(harness.delivered.length).toBe(1);
    harness.finish();
  });

  test("closing while a wake-up is on its way", () => {
    for (let seed = 1; seed <= 40; seed += 1) {
      const harness = new BusHarness({ seed, small: 1 });
      harness.answer = false;
      harness.keep = true;
      for (const client of [1n, 2n]) {
        harness.feed(harness.dial(), ping(client).bytes);
        harness.turns();
      }
      expect(harness.pool.waiters(false)).toBe(1);
      harness.finish();
      expect(harness.delivered.length).toBe(1);
    }
  });

  test("closing in the middle of everything loses no message of the pool", () => {
    for (let seed = 1; seed <= 60; seed += 1) {
      const harness = new BusHarness({ seed, small: 6, large: 3, capacity: 8192 });
      harness.recording = false;
      const peers = [1n, 2n, 3n, 4n].map((client) => {
        const peer = harness.dial();
        peer.write(ping(client).bytes);
        return { peer, client };
      });
      harness.turns(5);
      for (let step = 0; step < seed; step += 1) {
        for (const { peer, client } of peers) {
          peer.write(request(client, 1, step % 2 === 0 ? 3000 : 7000).bytes);
          if (step % 3 === 0) peer.read();
        }
        harness.turns(1);
      }
      // Some of these are being refused when the bus closes.
      for (let extra = 0; extra < 8; extra += 1) harness.dial();
      harness.turns(seed % 10);
      harness.finish();
    }
  });
});
