/** Buses of several replicas on one network: dialling, reconnecting, backoff. */
import { describe, expect, test } from "vitest";
import { Prng } from "../../src/core/prng.ts";
import { CloseCause } from "../../src/io/bus-counters.ts";
import { sendQueueReplicaMax } from "../../src/io/connection.ts";
import { type Completion, Errno, type SocketHandle, type SocketIo } from "../../src/io/io.ts";
import { ReplicaDialer } from "../../src/io/replica-dialer.ts";
import { sealHeader } from "../../src/wire/build.ts";
import { Command } from "../../src/wire/header.ts";
import { BusHarness, internal, ping } from "./bus-harness.ts";
import { hex } from "./bytes.ts";
import { FakeIo } from "./fake-io.ts";

const hosts = [3001, 3002, 3003].map((port) => ({ host: "127.0.0.1", port }));

function replicaOf(io: FakeIo, replica: number, seed = 0): BusHarness {
  const harness = new BusHarness({
    io,
    port: hosts[replica]!.port,
    seed: seed * 10 + replica,
    bus: { replica, replicaCount: 3 },
  });
  harness.answer = false;
  harness.bus.dialReplicas(hosts);
  return harness;
}

/** Sends a prepare with a body of this size; without one, a heartbeat, which says who sends. */
function send(from: BusHarness, to: number, own: number, bodySize: number): string {
  const frame = internal(bodySize === 0 ? Command.commit : Command.prepare, own, bodySize);
  const message = from.pool.get(frame.bytes.length)!;
  message.bytes.set(frame.bytes);
  expect(from.bus.sendToReplica(to, message)).toBe(true);
  from.pool.unref(message);
  return hex(frame.bytes);
}

function run(harnesses: BusHarness[], ticks: number): void {
  for (let tick = 0; tick < ticks; tick += 1) {
    for (const harness of harnesses) harness.bus.tick();
    harnesses[0]!.io.turn();
  }
}

/** The dialled side learns who dials from the first message. */
function introduce(harnesses: BusHarness[]): void {
  harnesses.forEach((harness, own) => {
    for (let to = own + 1; to < harnesses.length; to += 1) {
      if (harness.bus.isReplicaConnected(to)) send(harness, to, own, 0);
    }
  });
}

describe("three replicas", () => {
  test("find each other, whoever starts first, and talk both ways", () => {
    const io = new FakeIo(new Prng(5));
    const harnesses = [0, 1, 2].map((replica) => replicaOf(io, replica));
    run(harnesses, 250);
    introduce(harnesses);
    run(harnesses, 50);
    for (let own = 0; own < 3; own += 1) {
      for (let to = 0; to < 3; to += 1) {
        if (own === to) continue;
        expect(harnesses[own]!.bus.isReplicaConnected(to), `${own} to ${to}`).toBe(true);
        harnesses[to]!.delivered.length = 0;
        const sent = [send(harnesses[own]!, to, own, 40_000), send(harnesses[own]!, to, own, 9)];
        run(harnesses, 300);
        expect(harnesses[to]!.delivered).toEqual(sent);
      }
    }
    // One connection per pair.
    expect(io.handlesOpen).toBe(3 + 6);
    for (const harness of harnesses) harness.close();
    expect(io.handlesOpen).toBe(0);
  });

  test("a queue holds a limited number of messages for a replica", () => {
    const io = new FakeIo(new Prng(6));
    io.capacity = 1024;
    const harnesses = [0, 1, 2].map((replica) => replicaOf(io, replica));
    run(harnesses, 250);
    const frame = internal(Command.prepare, 0, 10_000);
    const message = harnesses[0]!.pool.get(frame.bytes.length)!;
    message.bytes.set(frame.bytes);
    const send = () => harnesses[0]!.bus.sendToReplica(1, message);
    const results = Array.from({ length: sendQueueReplicaMax + 2 }, send);
    expect(results.filter((sent) => sent).length).toBe(sendQueueReplicaMax);
    expect(message.references).toBe(sendQueueReplicaMax + 1);
    harnesses[0]!.pool.unref(message);
    run(harnesses, 16_000);
    expect(harnesses[1]!.delivered.length).toBe(sendQueueReplicaMax);
    for (const harness of harnesses) harness.close();
  });

  test("one that restarts is dialled again", () => {
    const io = new FakeIo(new Prng(7));
    const harnesses = [0, 1, 2].map((replica) => replicaOf(io, replica));
    run(harnesses, 250);
    introduce(harnesses);
    run(harnesses, 50);
    for (let round = 1; round <= 5; round += 1) {
      const restarted = round % 3;
      harnesses[restarted]!.close();
      const others = harnesses.filter((_, index) => index !== restarted);
      run(others, 20);
      for (const other of others) {
        expect(other.bus.isReplicaConnected(restarted)).toBe(false);
        expect(other.lost.pop()).toBe(restarted);
        expect(other.lost).toEqual([]);
      }
      run(others, 300);
      harnesses[restarted] = replicaOf(io, restarted, round);
      run(harnesses, 300);
      introduce(harnesses);
      run(harnesses, 50);
      for (const other of others) expect(other.bus.isReplicaConnected(restarted)).toBe(true);
    }
    expect(harnesses[0]!.bus.counters.dialsFailed).toBeGreaterThan(1);
    for (const harness of harnesses) harness.close();
    expect(io.handlesOpen).toBe(0);
  });

  test("one that speaks, then is lost, is dialled again at once", () => {
    const io = new FakeIo(new Prng(9));
    const dialling = replicaOf(io, 0);
    run([dialling], 1500);
    expect(dialling.bus.counters.dialsFailed).toBeGreaterThan(20);
    let other = replicaOf(io, 1);
    run([dialling, other], 150);
    for (let round = 1; round <= 10; round += 1) {
      send(dialling, 1, 0, 0);
      run([dialling, other], 20);
      send(other, 0, 1, 0);
      run([dialling, other], 20);
      other.close();
      other = replicaOf(io, 1, round);
      // The shortest delay is 50 to 100 ms; without a word from it, it could be a second.
      run([dialling, other], 20);
      expect(dialling.bus.isReplicaConnected(1)).toBe(true);
    }
    dialling.close();
    other.close();
  });

  test("an impostor on the address of a replica is found out", () => {
    const io = new FakeIo(new Prng(8));
    const dialling = replicaOf(io, 0);
    // Listens where replica 1 should be, but says that it is replica 2.
    const impostor = new BusHarness({
      io,
      port: hosts[1]!.port,
      bus: { replica: 2, replicaCount: 3 },
    });
    run([dialling, impostor], 50);
    send(dialling, 1, 0, 0);
    run([dialling, impostor], 50);
    expect(impostor.bus.isReplicaConnected(0)).toBe(true);
    send(impostor, 0, 2, 0);
    run([dialling, impostor], 50);
    expect(dialling.bus.counters.closes[CloseCause.peerContradiction]).toBe(1);
    expect(dialling.delivered).toEqual([]);
    expect(dialling.lines).toEqual([
      "error at 127.0.0.1:3002 answers replica 2, where replica 1 should be; give --addresses with " +
        "the same replicas in the same order everywhere, in that of their indexes.",
    ]);
    dialling.close();
    impostor.close();
  });
});

describe("what the handler is told", () => {
  test("connections that are new, on both sides and before the first message", () => {
    const io = new FakeIo(new Prng(11));
    const [lower, upper] = [replicaOf(io, 0), replicaOf(io, 1)];
    const events: string[] = [];
    lower.onReplica = (replica) => events.push(`0 reaches ${replica}`);
    upper.onReplica = (replica) => events.push(`1 reaches ${replica}`);
    upper.onDelivered = () => events.push("delivered");
    run([lower, upper], 100);
    expect(events).toEqual(["0 reaches 1"]);
    send(lower, 1, 0, 0);
    send(lower, 1, 0, 0);
    run([lower, upper], 20);
    expect(events).toEqual(["0 reaches 1", "1 reaches 0", "delivered", "delivered"]);
    lower.close();
    upper.close();
  });

  test("dials that failed; the next one goes where the address says then", () => {
    const io = new FakeIo(new Prng(12));
    const lower = new BusHarness({ io, port: 3001, bus: { replica: 0, replicaCount: 2 } });
    const address = { host: "127.0.0.1", port: 3009 };
    const failed: number[] = [];
    lower.onDialFail = (replica) => failed.push(replica);
    lower.bus.dialReplicas([hosts[0]!, address]);
    const upper = new BusHarness({ io, port: 3002, bus: { replica: 1, replicaCount: 2 } });
    run([lower, upper], 200);
    expect(failed.length).toBeGreaterThan(1);
    expect(new Set(failed)).toEqual(new Set([1]));
    expect(lower.bus.isReplicaConnected(1)).toBe(false);
    address.port = 3002;
    run([lower, upper], 150);
    expect(lower.bus.isReplicaConnected(1)).toBe(true);
    lower.close();
    upper.close();
  });
});

describe("mistakes in a cluster's configuration are named", () => {
  const own = { bus: { replica: 1, replicaCount: 3 } };

  /** What the bus logs about a stranger who connects and says this. */
  function said(bytes: Uint8Array): string[] {
    const harness = new BusHarness(own);
    harness.answer = false;
    for (let round = 0; round < 3; round += 1) {
      const peer = harness.dial();
      harness.feed(peer, bytes);
      harness.until(() => peer.ended, "closed");
    }
    harness.finish();
    return harness.lines;
  }

  test("the data file of another cluster", () => {
    const other = internal(Command.ping, 0);
    other.words.set([5, 0, 0, 0], 20);
    sealHeader(other.bytes, other.words, 0);
    expect(said(other.bytes)).toEqual([
      "error a replica with index 0 that has connected is of cluster 5, and this one of cluster " +
        `${11n + (22n << 32n) + (33n << 64n) + (44n << 96n)}; one of them has the data file or the ` +
        "addresses of another cluster.",
    ]);
  });

  test("a client of another cluster is no such mistake", () => {
    const other = ping(7n);
    other.words.set([5, 0, 0, 0], 20);
    sealHeader(other.bytes, other.words, 0);
    for (const line of said(other.bytes))
      expect(line).toMatch(/^warn connection .* wrong cluster$/);
  });

  test("two data files of one index", () => {
    expect(said(internal(Command.ping, 1).bytes)).toEqual([
      expect.stringMatching(
        /^error a process has connected that is replica 1, which is this one; two/,
      ),
    ]);
  });

  test("an index that the cluster does not have", () => {
    expect(said(internal(Command.ping, 4).bytes)).toEqual([
      expect.stringMatching(
        /replica 4, but this cluster has 3 replicas; .* another --replica-count/,
      ),
    ]);
  });

  test("addresses in another order", () => {
    expect(said(internal(Command.ping, 2).bytes)).toEqual([
      expect.stringMatching(
        /^error replica 2 has connected to this one, replica 1, which connects to/,
      ),
    ]);
  });

  test("two processes that are the same replica, by turns", () => {
    const harness = new BusHarness(own);
    harness.answer = false;
    for (let round = 0; round < 3; round += 1) {
      harness.feed(harness.dial(), internal(Command.ping, 0).bytes);
      harness.turns();
    }
    // Twice may be a replica that restarts.
    expect(harness.lines.filter((line) => line.startsWith("error"))).toEqual([]);
    harness.feed(harness.dial(), internal(Command.ping, 0).bytes);
    harness.turns();
    expect(harness.lines.filter((line) => line.startsWith("error"))).toEqual([
      expect.stringMatching(/^error two processes say by turns that they are replica 0; stop/),
    ]);
    harness.finish();
  });

  test("restarts far from each other are none", () => {
    const harness = new BusHarness(own);
    harness.answer = false;
    for (let round = 0; round < 10; round += 1) {
      harness.feed(harness.dial(), internal(Command.ping, 0).bytes);
      harness.ticks(600);
    }
    expect(harness.lines.filter((line) => line.startsWith("error"))).toEqual([]);
    harness.finish();
  });

  test("a replica that ends every connection", () => {
    const io = new FakeIo(new Prng(10));
    const dialling = replicaOf(io, 0);
    const { port } = hosts[1]!;
    // Of another cluster: it closes what introduces itself.
    const other = new BusHarness({
      io,
      port,
      bus: { replica: 1, replicaCount: 3, cluster: Uint32Array.of(5, 0, 0, 0) },
    });
    for (let round = 0; round < 12; round += 1) {
      run([dialling, other], 120);
      if (dialling.bus.isReplicaConnected(1)) send(dialling, 1, 0, 0);
    }
    expect(dialling.lines.filter((line) => line.startsWith("error"))).toEqual([
      "error replica 1 at 127.0.0.1:3002 ends every connection without a word; its own log says why, " +
        "if it is a replica of this cluster.",
    ]);
    expect(other.lines.filter((line) => line.startsWith("error"))).toEqual([
      expect.stringMatching(/^error a replica with index 0 that has connected is of cluster/),
    ]);
    dialling.close();
    other.close();
  });

  test("a sentence is told again after a minute", () => {
    const harness = new BusHarness(own);
    harness.answer = false;
    for (let round = 0; round < 4; round += 1) {
      harness.feed(harness.dial(), internal(Command.ping, 1).bytes);
      harness.ticks(round % 2 === 0 ? 5900 : 200);
    }
    expect(harness.lines.length).toBe(2);
    harness.finish();
  });
});

/** Sockets that only count. */
class CountingIo implements SocketIo {
  connects: Completion[] = [];
  closed: SocketHandle[] = [];

  connect(completion: Completion): void {
    completion.busy = true;
    this.connects.push(completion);
  }

  finish(result: number): void {
    const completion = this.connects.shift()!;
    completion.busy = false;
    completion.result = result;
    completion.onDone(completion);
  }

  closeSocket(_completion: Completion, socket: SocketHandle): void {
    this.closed.push(socket);
  }

  listen(): never {
    throw new Error("not used");
  }
  accept(): void {
    throw new Error("not used");
  }
  receive(): void {
    throw new Error("not used");
  }
  send(): void {
    throw new Error("not used");
  }
}

describe("the delay before each attempt", () => {
  const dialer = (seed: number): { io: CountingIo; dialer: ReplicaDialer; connected: number[] } => {
    const io = new CountingIo();
    const connected: number[] = [];
    const made = new ReplicaDialer(
      io,
      new Prng(seed),
      1,
      { host: "127.0.0.1", port: 3001 },
      (socket) => connected.push(socket),
      () => {},
    );
    return { io, dialer: made, connected };
  };

  /** Ticks until the next attempt begins. */
  const attempt = (io: CountingIo, made: ReplicaDialer, from: number): number => {
    for (let tick = from + 1; tick < from + 1000; tick += 1) {
      made.tick(tick);
      if (io.connects.length > 0) return tick;
    }
    throw new Error("no attempt");
  };

  test("starts at 50 to 100 ms and doubles its spread up to a second", () => {
    const most = [10, 15, 25, 45, 85, 100, 100, 100];
    const seen = most.map(() => ({ least: 1000, most: 0 }));
    for (let seed = 0; seed < 400; seed += 1) {
      const { io, dialer: made } = dialer(seed);
      let tick = 0;
      made.schedule(0);
      for (let n = 0; n < most.length; n += 1) {
        const at = attempt(io, made, tick);
        const delay = at - tick;
        expect(delay).toBeGreaterThanOrEqual(5);
        expect(delay).toBeLessThanOrEqual(most[n]!);
        seen[n]!.least = Math.min(seen[n]!.least, delay);
        seen[n]!.most = Math.max(seen[n]!.most, delay);
        tick = at;
        io.finish(Errno.connectionRefused);
      }
    }
    seen.forEach((range, n) => {
      expect(range.least).toBeLessThanOrEqual(7);
      expect(range.most).toBeGreaterThan(most[n]! * 0.9);
    });
  });

  test("is short again once bytes have arrived, not merely for a connection", () => {
    const { io, dialer: made, connected } = dialer(3);
    let tick = 0;
    made.schedule(0);
    let longest = 0;
    for (let round = 0; round < 40; round += 1) {
      const at = attempt(io, made, tick);
      longest = Math.max(longest, at - tick);
      tick = at;
      io.finish(40 + round);
      made.schedule(tick); // The connection was lost without a byte.
    }
    expect(connected.length).toBe(40);
    expect(longest).toBeGreaterThan(60);
    for (let round = 0; round < 40; round += 1) {
      tick = attempt(io, made, tick);
      io.finish(1);
      made.onBytes();
      made.schedule(tick);
      const next = attempt(io, made, tick);
      expect(next - tick).toBeLessThanOrEqual(10);
      tick = next;
      io.finish(1);
      made.schedule(tick);
    }
  });

  test("a dial that succeeds after the stop is closed", () => {
    const { io, dialer: made, connected } = dialer(4);
    made.schedule(0);
    attempt(io, made, 0);
    made.stop();
    io.finish(77);
    expect(io.closed).toEqual([77]);
    expect(connected).toEqual([]);
    made.schedule(1);
    for (let tick = 0; tick < 1000; tick += 1) made.tick(tick);
    expect(io.connects.length).toBe(0);
  });
});
