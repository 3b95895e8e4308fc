/**
 * The message bus over streams that are cut anywhere: what arrives, what is refused, and that one
 * bad connection harms no other. Each test ends by closing the bus and counting what is left.
 */
import { describe, expect, test } from "vitest";
import { Prng } from "../../src/core/prng.ts";
import { CloseCause, DropCause } from "../../src/io/bus-counters.ts";
import { receiveTimeoutTicks } from "../../src/io/message-bus.ts";
import { BusHarness, changed, flip, ping, request } from "./bus-harness.ts";
import { hex } from "./bytes.ts";

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
