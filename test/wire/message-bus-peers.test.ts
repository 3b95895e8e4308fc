/** Who the bus takes its peers for (protocol/wire.md §8), and where it sends what is for them. */
import { describe, expect, test } from "vitest";
import { CloseCause, DropCause } from "../../src/io/bus-counters.ts";
import { Command } from "../../src/wire/header.ts";
import { BusHarness, changed, cluster, internal, ping, request } from "./bus-harness.ts";
import { u128 } from "./bytes.ts";

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
    harness.feed(peer, internal(Command.block, 0).bytes);
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
