/**
 * The message bus over streams that are cut anywhere: what arrives, what is refused, and that one
 * bad connection harms no other. Each test ends by closing the bus and counting what is left.
 */
import { describe, expect, test } from "vitest";
import { Prng } from "../../src/core/prng.ts";
import { CloseCause, DropCause } from "../../src/io/bus-counters.ts";
import type { Connection } from "../../src/io/connection.ts";
import { receiveTimeoutTicks, sendTimeoutTicks, silentTicks } from "../../src/io/message-bus.ts";
import { MessagePool } from "../../src/io/message-pool.ts";
import { Command } from "../../src/wire/header.ts";
import { BusHarness, changed, cluster, internal, ping, request } from "./bus-harness.ts";
import { hex, u128 } from "./bytes.ts";

const message1MiB = 1_048_576 - 256;

describe("frames", () => {
  test.each([1, 2, 3, 4, 5])(
    "arrive whole and in order, however the stream is cut (seed %i)",
    (seed) => {
      const harness = new BusHarness({ seed });
      const peer = harness.dial();
      const sizes = [0, 1, 2, 3, 255, 16_127, 16_128, 16_129, 16_130, message1MiB, 0, 70_000, 5];
      const random = new Prng(seed);
      for (let more = 0; more < 40; more += 1)
        sizes.push(random.below(random.chance(0.1) ? 200_000 : 3000));
      const sent: string[] = [];
      sizes.forEach((size, index) => {
        const frame = request(9n, index + 1, size);
        sent.push(hex(frame.bytes));
        harness.feed(peer, frame.bytes);
        peer.read();
      });
      harness.until(() => harness.delivered.length === sent.length, "all delivered");
      expect(harness.delivered).toEqual(sent);
      expect(harness.bus.counters.messagesReceived).toBe(sent.length);
      harness.finish();
    },
  );

  test("one byte at a time", () => {
    const harness = new BusHarness();
    const peer = harness.dial();
    for (const frame of [ping(5n), request(5n, 1, 33), ping(5n, 2)]) {
      for (const byte of frame.bytes) {
        peer.write(Uint8Array.of(byte));
        harness.turns(2);
      }
    }
    harness.until(() => harness.delivered.length === 3, "delivered");
    harness.finish();
  });

  test("hundreds in one write, of sizes that leave the next one unaligned", () => {
    const harness = new BusHarness();
    harness.answer = false;
    const peer = harness.dial();
    const sent: string[] = [];
    const parts: Uint8Array[] = [];
    for (let number = 1; number <= 300; number += 1) {
      const frame = request(9n, number, number % 7);
      sent.push(hex(frame.bytes));
      parts.push(frame.bytes);
    }
    harness.feed(peer, Buffer.concat(parts));
    harness.until(() => harness.delivered.length === 300, "delivered");
    expect(harness.delivered).toEqual(sent);
    harness.finish();
  });

  test("replies of any size arrive whole and in order", () => {
    const harness = new BusHarness();
    const peer = harness.dial();
    const sizes = [0, 7, 16_128, 16_129, 300_001, message1MiB, 64];
    const parts: Uint8Array[] = [];
    sizes.forEach((size, index) => {
      // The echo comes back before the next one is sent, as the protocol has it.
      const { bytes } = request(9n, index + 1, size);
      harness.feed(peer, bytes);
      let got = 0;
      harness.until(() => {
        const part = peer.read();
        parts.push(part);
        got += part.length;
        return got >= bytes.length;
      }, "echo");
      expect(got).toBe(bytes.length);
    });
    expect(hex(Buffer.concat(parts))).toBe(harness.delivered.join(""));
    expect(harness.bus.counters.messagesSent).toBe(sizes.length);
    harness.finish();
  });
});

/** What is wrong with a frame, and the cause for which its connection is closed. */
const badFrames: [string, Uint8Array, number][] = [
  ["a flipped bit in the header", flip(ping(7n).bytes, 130), CloseCause.headerChecksum],
  ["a flipped bit in a small body", flip(request(7n, 1, 100).bytes, 300), CloseCause.bodyChecksum],
  [
    "a flipped bit in a large body",
    flip(request(7n, 1, 90_000).bytes, 80_000),
    CloseCause.bodyChecksum,
  ],
  ["noise", new Uint8Array(512).fill(0x55), CloseCause.headerChecksum],
  ["zeros", new Uint8Array(256), CloseCause.headerChecksum],
  [
    "another protocol",
    Buffer.from("GET / HTTP/1.1\r\nHost: ledger\r\n\r\n".padEnd(256, " ")),
    CloseCause.headerChecksum,
  ],
  ["command 0", changed(ping(7n), (f) => f.bytes.fill(0, 114, 115)).bytes, CloseCause.command],
  ["command 25", changed(ping(7n), (f) => f.bytes.fill(25, 114, 115)).bytes, CloseCause.command],
  ["command 255", changed(ping(7n), (f) => f.bytes.fill(255, 114, 115)).bytes, CloseCause.command],
  ["size 255", changed(ping(7n), (f) => f.words.fill(255, 24, 25)).bytes, CloseCause.size],
  [
    "size 1 MiB + 1",
    changed(ping(7n), (f) => f.words.fill(1_048_577, 24, 25)).bytes,
    CloseCause.size,
  ],
  [
    "size 4 GiB − 1",
    changed(ping(7n), (f) => f.words.fill(0xffff_ffff, 24, 25)).bytes,
    CloseCause.size,
  ],
  ["another cluster", changed(ping(7n), (f) => f.words.fill(0, 20, 21)).bytes, CloseCause.cluster],
];

function flip(bytes: Uint8Array, at: number): Uint8Array {
  bytes[at]! ^= 0x10;
  return bytes;
}

describe("a bad frame closes its connection and no other", () => {
  test.each(badFrames)("%s", (_, bytes, cause) => {
    const harness = new BusHarness();
    const good = harness.dial();
    harness.pingPong(good, 1n);
    const bad = harness.dial();
    harness.feed(bad, ping(7n).bytes);
    harness.feed(bad, bytes);
    // What follows a bad frame is not looked at.
    harness.feed(bad, ping(7n, 99).bytes);
    harness.until(() => bad.ended, "closed");
    expect(harness.bus.counters.closes[cause]).toBe(1);
    expect(harness.delivered).toEqual([hex(ping(1n).bytes), hex(ping(7n).bytes)]);
    expect(harness.lines.length).toBe(1);
    expect(harness.lines[0]).toContain("00000007");
    harness.pingPong(good, 1n);
    harness.finish();
    expect(harness.bus.counters.closes.reduce((sum, count) => sum + count, 0)).toBe(2);
  });

  test("also right after a good one of any size", () => {
    for (const bodySize of [0, 500, 20_000]) {
      for (const bad of [flip(ping(7n).bytes, 20), flip(request(7n, 2, 300).bytes, 400)]) {
        for (let seed = 1; seed <= 5; seed += 1) {
          const harness = new BusHarness({ seed });
          const peer = harness.dial();
          harness.feed(peer, Buffer.concat([request(7n, 1, bodySize).bytes, bad]));
          harness.until(() => peer.ended, "closed");
          expect(harness.delivered.length).toBe(1);
          harness.finish();
        }
      }
    }
  });

  test("the log is limited, and tells what it left out", () => {
    const harness = new BusHarness();
    for (let count = 0; count < 25; count += 1) {
      const bad = harness.dial();
      harness.feed(bad, new Uint8Array(256));
      harness.until(() => bad.ended, "closed");
    }
    expect(harness.lines.length).toBe(10);
    harness.ticks(100);
    expect(harness.lines.length).toBe(11);
    expect(harness.lines[10]).toContain("15 more lines");
    harness.ticks(100);
    expect(harness.lines.length).toBe(11);
    const later = harness.dial();
    harness.feed(later, new Uint8Array(256));
    harness.until(() => later.ended, "closed");
    expect(harness.lines.length).toBe(12);
    harness.finish();
  });
});

describe("a message that breaks a header rule is dropped, the connection lives", () => {
  const cases: [string, Uint8Array, number][] = [
    [
      "a reserved byte",
      changed(ping(7n), (f) => f.bytes.fill(1, 255, 256)).bytes,
      DropCause.headerRule,
    ],
    ["no client", changed(ping(7n), (f) => f.bytes.fill(0, 128, 144)).bytes, DropCause.headerRule],
    [
      "a request of nobody",
      changed(request(7n, 1, 0), (f) => f.bytes.fill(0, 160, 176)).bytes,
      DropCause.headerRule,
    ],
    [
      "an operation that does not exist",
      changed(request(7n, 1, 0), (f) => f.bytes.fill(8, 196, 197)).bytes,
      DropCause.headerRule,
    ],
    ["epoch", changed(ping(7n), (f) => f.words.fill(1, 25, 26)).bytes, DropCause.headerRule],
    [
      "a large one",
      changed(request(7n, 1, 100_000), (f) => f.bytes.fill(1, 240, 241)).bytes,
      DropCause.headerRule,
    ],
    [
      "a deprecated command",
      changed(ping(7n), (f) => f.bytes.fill(12, 114, 115)).bytes,
      DropCause.deprecatedCommand,
    ],
  ];
  test.each(cases)("%s", (_, bytes, cause) => {
    const harness = new BusHarness();
    const peer = harness.dial();
    harness.feed(peer, bytes);
    harness.pingPong(peer, 7n);
    expect(harness.delivered).toEqual([hex(ping(7n).bytes)]);
    expect(harness.bus.counters.drops[cause]).toBe(1);
    expect(harness.lines).toEqual([]);
    harness.finish();
  });
});

describe("unfinished frames", () => {
  const partial: [string, Uint8Array][] = [
    ["a header", ping(7n).bytes.subarray(0, 255)],
    ["a single byte", ping(7n).bytes.subarray(0, 1)],
    ["a small body", request(7n, 1, 1000).bytes.subarray(0, 1000)],
    ["a large body", request(7n, 1, 100_000).bytes.subarray(0, 50_000)],
    ["a large body, header only", request(7n, 1, 100_000).bytes.subarray(0, 256)],
  ];
  test.each(partial)("%s: closed when it does not go on", (_, bytes) => {
    const harness = new BusHarness();
    const good = harness.dial();
    harness.pingPong(good, 1n);
    const slow = harness.dial();
    harness.feed(slow, bytes);
    harness.turns(60);
    harness.ticks(receiveTimeoutTicks - 20);
    expect(slow.ended).toBe(false);
    harness.ticks(60);
    expect(slow.ended).toBe(true);
    expect(harness.bus.counters.closes[CloseCause.receiveTimeout]).toBe(1);
    harness.pingPong(good, 1n);
    harness.finish();
  });

  test("many at a time are all closed", () => {
    const harness = new BusHarness({ bus: { connectionsMax: 40 } });
    const slow = Array.from({ length: 40 }, () => harness.dial());
    for (const peer of slow) harness.feed(peer, ping(7n).bytes.subarray(0, 99));
    harness.turns(100);
    harness.ticks(receiveTimeoutTicks + 100);
    expect(slow.every((peer) => peer.ended)).toBe(true);
    expect(harness.bus.counters.closes[CloseCause.receiveTimeout]).toBe(40);
    harness.finish();
  });

  test("a byte now and then does not help a header", () => {
    const harness = new BusHarness();
    const slow = harness.dial();
    const { bytes } = ping(7n);
    for (let at = 0; at < 200 && !slow.ended; at += 1) {
      slow.write(bytes.subarray(at, at + 1));
      harness.ticks(10);
    }
    expect(slow.ended).toBe(true);
    expect(harness.bus.ticks).toBeLessThan(receiveTimeoutTicks + 100);
    harness.finish();
  });

  test("each frame has its own time, also when the next has begun by then", () => {
    const harness = new BusHarness();
    harness.answer = false;
    harness.recording = false;
    const peer = harness.dial();
    const stream = Buffer.concat(Array.from({ length: 40 }, () => ping(7n).bytes));
    // Never a moment without an unfinished frame, for four times the limit.
    for (let at = 0; at < stream.length; at += 100) {
      harness.feed(peer, stream.subarray(at, at + 100));
      harness.ticks(40);
    }
    expect(harness.bus.ticks).toBeGreaterThan(4 * receiveTimeoutTicks);
    expect(peer.ended).toBe(false);
    expect(harness.bus.counters.messagesReceived).toBe(40);
    harness.finish();
  });

  test("an idle connection is left alone", () => {
    const harness = new BusHarness();
    const peer = harness.dial();
    harness.pingPong(peer, 1n);
    const silent = harness.dial();
    harness.ticks(20 * receiveTimeoutTicks);
    expect(peer.ended).toBe(false);
    expect(silent.ended).toBe(false);
    harness.pingPong(peer, 1n);
    harness.finish();
  });

  test("a large body that moves on is waited for, unless others wait for the memory", () => {
    const harness = new BusHarness({ large: 1 });
    const slow = harness.dial();
    const { bytes } = request(7n, 1, message1MiB);
    const step = 280 * 1024;
    let at = 0;
    const more = (): void => {
      harness.feed(slow, bytes.subarray(at, Math.min(at + step, bytes.length)));
      at += step;
      harness.turns(60);
      harness.ticks(receiveTimeoutTicks - 100);
    };
    more();
    more();
    expect(slow.ended).toBe(false);
    // Twice the time has passed. Now somebody else wants to send a large request.
    const other = harness.dial();
    harness.feed(other, request(8n, 1, 50_000).bytes);
    harness.ticks(60);
    expect(slow.ended).toBe(true);
    expect(harness.bus.counters.closes[CloseCause.receiveTimeout]).toBe(1);
    harness.until(() => harness.delivered.length === 1, "the other's request");
    expect(harness.delivered).toEqual([hex(request(8n, 1, 50_000).bytes)]);
    harness.finish();
  });

  test.each([
    ["between frames", 256],
    ["in a header", 300],
    ["in a large body", 256 + 60_000],
  ])("a peer that ends %s is closed", (_, length) => {
    const harness = new BusHarness();
    const peer = harness.dial();
    const stream = Buffer.concat([ping(7n).bytes, request(7n, 1, 100_000).bytes]);
    harness.feed(peer, stream.subarray(0, length));
    peer.end();
    harness.until(() => peer.ended, "closed");
    harness.until(() => harness.bus.connectionsUsed === 0, "gone");
    expect(harness.bus.counters.closes[CloseCause.peerClosed]).toBe(1);
    expect(harness.lines).toEqual([]);
    harness.finish();
  });

  test("a reset is told with its errno", () => {
    const harness = new BusHarness();
    const peer = harness.dial();
    harness.pingPong(peer, 7n);
    peer.reset();
    harness.until(() => harness.bus.connectionsUsed === 0, "gone");
    expect(harness.bus.counters.closes[CloseCause.socketError]).toBe(1);
    expect(harness.lines[0]).toContain("errno 104");
    harness.finish();
  });
});

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
    harness.feed(replica, internal(Command.headers, 0).bytes);
    harness.feed(replica, internal(Command.headers, 0, 60_000).bytes);
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
    harness.feed(replica, internal(Command.headers, 0, 50_000).bytes);
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

describe("who is a client", () => {
  /** Which of the peers gets a message sent to the client. */
  const reached = (
    harness: BusHarness,
    client: bigint,
    peers: ReturnType<BusHarness["dial"]>[],
  ): number => {
    for (const peer of peers) peer.read();
    const message = harness.pool.get(256)!;
    message.bytes.set(ping(client).bytes);
    const sent = harness.bus.sendToClient(u128(client), 0, message);
    harness.pool.unref(message);
    if (!sent) return -1;
    harness.turns(60);
    const got = peers.map((peer) => peer.read().length);
    expect(got.reduce((sum, count) => sum + count, 0)).toBe(256);
    return got.indexOf(256);
  };

  const quiet = (): BusHarness => {
    const harness = new BusHarness();
    harness.answer = false;
    return harness;
  };

  test("a request binds its client to the connection", () => {
    const harness = quiet();
    const peer = harness.dial();
    harness.feed(peer, request(7n, 1, 10).bytes);
    harness.turns();
    expect(harness.bus.isClientConnected(u128(7n), 0)).toBe(true);
    expect(reached(harness, 7n, [peer])).toBe(0);
    expect(reached(harness, 8n, [peer])).toBe(-1);
    peer.end();
    harness.until(() => harness.bus.connectionsUsed === 0, "gone");
    expect(harness.bus.isClientConnected(u128(7n), 0)).toBe(false);
    harness.finish();
  });

  test("a request on a second connection does not move the client", () => {
    const harness = quiet();
    const [first, second] = [harness.dial(), harness.dial()];
    harness.feed(first, request(7n, 1, 10).bytes);
    harness.turns();
    harness.feed(second, request(7n, 2, 10).bytes);
    harness.turns();
    expect(harness.delivered.length).toBe(2);
    expect(reached(harness, 7n, [first, second])).toBe(0);
    expect(second.ended).toBe(false);
    // When the first one is gone, the next request on the second binds it.
    first.end();
    harness.turns();
    expect(reached(harness, 7n, [first, second])).toBe(-1);
    harness.feed(second, request(7n, 2, 10).bytes);
    harness.turns();
    expect(reached(harness, 7n, [first, second])).toBe(1);
    harness.finish();
  });

  test("a ping on a second connection moves the client and closes the first", () => {
    const harness = quiet();
    const [first, second] = [harness.dial(), harness.dial()];
    harness.feed(first, ping(7n).bytes);
    harness.turns();
    harness.feed(second, ping(7n).bytes);
    harness.until(() => first.ended, "replaced");
    expect(harness.bus.counters.closes[CloseCause.replaced]).toBe(1);
    expect(reached(harness, 7n, [first, second])).toBe(1);
    harness.finish();
  });

  test("a request, then a ping of the same client on the same connection", () => {
    const harness = quiet();
    const [first, second] = [harness.dial(), harness.dial()];
    harness.feed(first, request(7n, 1, 0).bytes);
    harness.turns();
    harness.feed(second, request(7n, 2, 0).bytes);
    harness.turns();
    harness.feed(second, ping(7n).bytes);
    harness.until(() => first.ended, "replaced");
    expect(reached(harness, 7n, [first, second])).toBe(1);
    harness.finish();
  });

  test("a request, then a ping of another client, closes the connection", () => {
    const harness = quiet();
    const peer = harness.dial();
    harness.feed(peer, request(7n, 1, 0).bytes);
    harness.feed(peer, ping(8n).bytes);
    harness.until(() => peer.ended, "closed");
    expect(harness.bus.counters.closes[CloseCause.peerContradiction]).toBe(1);
    expect(harness.delivered.length).toBe(1);
    expect(harness.bus.isClientConnected(u128(7n), 0)).toBe(false);
    expect(harness.bus.isClientConnected(u128(8n), 0)).toBe(false);
    harness.finish();
  });

  test.each([
    ["request", request(7n, 1, 0).bytes],
    ["ping", ping(7n).bytes],
  ])(
    "a request of another client after a %s is served, its replies do not come here",
    (_, bytes) => {
      const harness = quiet();
      const peer = harness.dial();
      harness.feed(peer, bytes);
      harness.feed(peer, request(8n, 1, 0).bytes);
      harness.turns(60);
      expect(harness.delivered.length).toBe(2);
      expect(peer.ended).toBe(false);
      expect(reached(harness, 7n, [peer])).toBe(0);
      expect(reached(harness, 8n, [peer])).toBe(-1);
      harness.finish();
    },
  );

  test("a client for certain that speaks as a replica is closed", () => {
    const harness = new BusHarness({ bus: { replica: 1, replicaCount: 3 } });
    const peer = harness.dial();
    harness.feed(peer, ping(7n).bytes);
    harness.feed(peer, internal(Command.commit, 0).bytes);
    harness.until(() => peer.ended, "closed");
    expect(harness.bus.counters.closes[CloseCause.peerContradiction]).toBe(1);
    expect(harness.bus.isReplicaConnected(0)).toBe(false);
    harness.finish();
  });
});

describe("who is a replica", () => {
  const options = { bus: { replica: 2, replicaCount: 4 } };

  test("whoever forwards a request first may turn out to be one", () => {
    const harness = new BusHarness(options);
    harness.answer = false;
    const peer = harness.dial();
    harness.feed(peer, request(7n, 1, 0).bytes);
    harness.turns();
    expect(harness.bus.isClientConnected(u128(7n), 0)).toBe(true);
    harness.feed(peer, internal(Command.prepareOk, 1).bytes);
    harness.feed(peer, request(8n, 1, 0).bytes);
    harness.until(() => harness.delivered.length === 3, "all");
    expect(harness.bus.isReplicaConnected(1)).toBe(true);
    expect(harness.bus.isClientConnected(u128(7n), 0)).toBe(false);
    expect(harness.bus.isClientConnected(u128(8n), 0)).toBe(false);
    const message = harness.pool.get(256)!;
    message.bytes.set(internal(Command.commit, 2).bytes);
    expect(harness.bus.sendToReplica(1, message)).toBe(true);
    expect(harness.bus.sendToReplica(0, message)).toBe(false);
    expect(harness.bus.sendToReplica(3, message)).toBe(false);
    harness.pool.unref(message);
    let got = 0;
    harness.until(() => {
      got += peer.read().length;
      return got === 256;
    }, "sent");
    harness.finish();
  });

  test("one that was taken for a client leaves the client's place", () => {
    const harness = new BusHarness({ bus: { replica: 1, replicaCount: 2, connectionsMax: 1 } });
    const replica = harness.dial();
    harness.feed(replica, request(7n, 1, 0).bytes);
    harness.feed(replica, internal(Command.prepareOk, 0).bytes);
    harness.until(() => harness.bus.isReplicaConnected(0), "known");
    harness.pingPong(harness.dial(), 8n);
    harness.finish();
  });

  test.each([
    ["outside the cluster", internal(Command.ping, 4).bytes, CloseCause.replicaIndex],
    ["far outside the cluster", internal(Command.ping, 255).bytes, CloseCause.replicaIndex],
    ["our own", internal(Command.commit, 2).bytes, CloseCause.replicaIndex],
    ["of one that we dial", internal(Command.commit, 3).bytes, CloseCause.peerContradiction],
  ])("an index %s closes the connection", (_, bytes, cause) => {
    const harness = new BusHarness(options);
    const peer = harness.dial();
    harness.feed(peer, bytes);
    harness.until(() => peer.ended, "closed");
    expect(harness.bus.counters.closes[cause]).toBe(1);
    expect(harness.delivered).toEqual([]);
    harness.finish();
  });

  test("a replica does not become another one, nor a client", () => {
    for (const bytes of [internal(Command.ping, 0).bytes, ping(7n).bytes]) {
      const harness = new BusHarness(options);
      const peer = harness.dial();
      harness.feed(peer, internal(Command.ping, 1).bytes);
      harness.feed(peer, internal(Command.pong, 1).bytes);
      harness.feed(peer, bytes);
      harness.until(() => peer.ended, "closed");
      expect(harness.bus.counters.closes[CloseCause.peerContradiction]).toBe(1);
      expect(harness.delivered.length).toBe(2);
      expect(harness.bus.isReplicaConnected(1)).toBe(false);
      harness.finish();
    }
  });

  test("one that comes back replaces its old connection", () => {
    const harness = new BusHarness(options);
    const [first, second] = [harness.dial(), harness.dial()];
    harness.feed(first, internal(Command.ping, 1).bytes);
    harness.turns();
    harness.feed(second, internal(Command.ping, 1).bytes);
    harness.until(() => first.ended, "replaced");
    expect(second.ended).toBe(false);
    expect(harness.bus.isReplicaConnected(1)).toBe(true);
    expect(harness.bus.counters.closes[CloseCause.replaced]).toBe(1);
    harness.finish();
  });

  test("what replicas pass on for others tells nothing", () => {
    const harness = new BusHarness(options);
    harness.answer = false;
    const peer = harness.dial();
    // A block names no replica; a prepare and a reply name their author.
    harness.feed(peer, internal(Command.prepare, 3, 100).bytes);
    harness.feed(peer, internal(Command.block, 0, 100).bytes);
    harness.feed(peer, ping(7n).bytes);
    harness.until(() => harness.delivered.length === 3, "all");
    expect(peer.ended).toBe(false);
    harness.finish();
  });

  test("messages for clients are not for a server", () => {
    const harness = new BusHarness(options);
    const peer = harness.dial();
    const pong = changed(internal(Command.pongClient, 1), (f) => f.words.fill(0x1109, 27, 28));
    harness.feed(peer, pong.bytes);
    harness.turns();
    expect(harness.delivered).toEqual([]);
    expect(harness.bus.counters.drops[DropCause.unexpectedCommand]).toBe(1);
    expect(peer.ended).toBe(false);
    harness.finish();
  });

  test("clients leave connections to the replicas that will dial", () => {
    const harness = new BusHarness({ bus: { replica: 2, replicaCount: 3, connectionsMax: 2 } });
    const peers = [1n, 2n].map((client) => {
      const peer = harness.dial();
      harness.pingPong(peer, client);
      return peer;
    });
    const third = harness.dial();
    harness.feed(third, ping(3n).bytes);
    harness.until(() => third.ended, "refused");
    expect(harness.bus.counters.closes[CloseCause.limit]).toBe(1);
    for (const index of [0, 1]) {
      const replica = harness.dial();
      harness.feed(replica, internal(Command.ping, index).bytes);
      harness.until(() => harness.bus.isReplicaConnected(index), "a replica");
    }
    harness.pingPong(peers[0]!, 1n);
    harness.finish();
  });

  test("the cluster is the bus's own copy", () => {
    const id = cluster.slice();
    const harness = new BusHarness({ bus: { cluster: id } });
    id.fill(0);
    harness.pingPong(harness.dial(), 1n);
    harness.finish();
  });
});
