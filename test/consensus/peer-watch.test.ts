/** Who belongs to the cluster, and what becomes of one that has diverged. */
import { beforeEach, describe, expect, test } from "vitest";
import { ClusterClock } from "../../src/consensus/cluster-clock.ts";
import { PeerPort } from "../../src/consensus/peer-port.ts";
import { PeerWatch } from "../../src/consensus/peer-watch.ts";
import { ReplicaState } from "../../src/consensus/replica-state.ts";
import { headerSize } from "../../src/core/limits.ts";
import { type Message, MessagePool } from "../../src/io/message-pool.ts";
import type { FormatOptions } from "../../src/wal/data-file.ts";
import { PingFields, writePing, writePong } from "../../src/wire/replica-messages.ts";
import { formatted, makePrepare, openJournal, openSuperblock } from "../wal/harness.ts";
import { type MemoryFileIo, memoryBuffer } from "../wal/memory-file-io.ts";
import { format } from "./harness.ts";

const time = { monotonicNs: () => {}, monotonicMs: () => 0, wallNs: () => {} };
const formatId = Uint32Array.of(1, 2, 3, 4);
const bus = {
  sendToReplica: () => true,
  sendToClient: () => false,
  sendOn: () => false,
  relieve: () => {},
};

class Watched {
  readonly said: string[] = [];
  readonly fatal: string[] = [];
  readonly voteless: number[] = [];
  readonly watch: PeerWatch;
  private readonly pool = new MessagePool((size) => memoryBuffer(size), { small: 8, large: 1 });
  private readonly state: ReplicaState;
  private readonly fields = new PingFields();
  private readonly io: MemoryFileIo;

  constructor(replicaCount: number) {
    const options: FormatOptions = { ...format, replicaCount };
    this.io = formatted(1, {}, options);
    const { io } = this;
    const superblock = openSuperblock(io);
    const { journal } = openJournal(io, superblock, false);
    this.state = new ReplicaState({ ...options, memberCount: replicaCount }, journal, superblock);
    const { replica, quorums } = this.state;
    const replicationQuorum = quorums.replication;
    this.watch = new PeerWatch({
      state: this.state,
      peers: new PeerPort(this.state, bus, this.pool),
      clock: new ClusterClock({ replica, replicaCount, replicationQuorum, time }),
      time,
      formatId,
      onVoteless: (replica) => this.voteless.push(replica),
      warn: (text) => this.said.push(text),
      onFatal: (text) => this.fatal.push(text),
    });
  }

  checkpoint(op: number): void {
    const prepare = memoryBuffer(4096);
    makePrepare(prepare, op, 0, op - 1, Uint32Array.of(1, 2, 3, 4), 0, 1);
    const { superblock } = this.state;
    superblock.updateCheckpoint(op, prepare.words.slice(0, headerSize / 4), () => {});
    this.io.run();
  }

  /** Of the own ping. */
  pong(from: number, view: number): void {
    const { state } = this;
    const ping = this.pool.get(headerSize)!;
    writePing(ping.bytes, ping.words, state.cluster, 0, state.replica, this.fields);
    const message = this.pool.get(headerSize)!;
    const wall = new Uint32Array(2);
    writePong(message.bytes, message.words, state.cluster, view, from, ping.words, wall);
    this.watch.onPong(message);
    this.pool.unref(message);
    this.pool.unref(ping);
  }

  /** @param id - Of the checkpoint at `op`; null: the own one. */
  ping(from: number, op: number, id: Uint32Array | null, voteless = false): boolean {
    const { fields, state } = this;
    fields.voteless = voteless;
    fields.formatId.set(formatId);
    fields.replicaCount = state.replicaCount;
    fields.checkpointOp = op;
    if (id === null) state.superblock.copyCheckpointId(fields.checkpointId, 0);
    else fields.checkpointId.set(id);
    const message: Message = this.pool.get(headerSize)!;
    writePing(message.bytes, message.words, state.cluster, 0, from, fields);
    this.watch.onPing(message);
    this.pool.unref(message);
    return !this.watch.isForeign(from);
  }
}

const other = Uint32Array.of(9, 9, 9, 9);

describe("a replica whose checkpoint is another one", () => {
  let three: Watched;
  beforeEach(() => {
    three = new Watched(3);
  });

  test("is ignored, and does not stop those who agree", () => {
    expect([three.ping(0, 0, null), three.ping(2, 0, null)]).toEqual([true, true]);
    expect(three.ping(2, 0, other)).toBe(false);
    expect([three.ping(0, 0, null), three.fatal]).toEqual([true, []]);
    // Also at other ops, of which nothing is known; and it is named once.
    expect([three.ping(2, 4, other), three.ping(2, 0, other)]).toEqual([false, false]);
    expect(three.said).toEqual([
      "checkpoint 0 is another one here than at replica 2: it is ignored",
    ]);
  });

  test("is believed again when it has the same one", () => {
    expect(three.ping(2, 0, other)).toBe(false);
    expect(three.ping(2, 0, null)).toBe(true);
  });

  test("is believed again when it was rebuilt, until it has another one again", () => {
    three.checkpoint(4);
    expect(three.ping(2, 4, other)).toBe(false);
    expect(three.ping(2, 0, other)).toBe(true);
    expect(three.ping(2, 4, other)).toBe(false);
  });

  test.each([
    [2, 1],
    [3, 2],
    [4, 2],
    [5, 3],
    [6, 3],
  ])("of %d replicas, %d that differ stop the one that they differ from", (count, differing) => {
    const watched = new Watched(count);
    let told = 0;
    for (let replica = 0; told < differing; replica += 1) {
      if (replica === format.replica) continue;
      expect(watched.fatal).toEqual([]);
      watched.ping(replica, 0, other);
      told += 1;
    }
    expect(watched.fatal).toHaveLength(1);
  });
});

describe("the votes that it takes to change the view", () => {
  test("in a cluster of two: one, while the other has lost its file", () => {
    const two = new Watched(2);
    two.ping(0, 0, null);
    expect(two.watch.viewChangeQuorum).toBe(2);
    two.ping(0, 0, null, true);
    expect(two.watch.viewChangeQuorum).toBe(1);
    two.ping(0, 0, null);
    expect(two.watch.viewChangeQuorum).toBe(2);
  });

  test.each([3, 4, 5, 6])("of %d: as many as ever", (count) => {
    const watched = new Watched(count);
    const before = watched.watch.viewChangeQuorum;
    for (let replica = 0; replica < count; replica += 1) watched.ping(replica, 0, null, true);
    expect(watched.watch.viewChangeQuorum).toBe(before);
    expect(before).toBeGreaterThan(1);
  });
});

describe("what a file that replaces a lost one may follow", () => {
  test("of three: both others are heard, and what they know", () => {
    const three = new Watched(3);
    const { watch } = three;
    three.pong(0, 5);
    expect([watch.nothingAfter(9), watch.viewToAskFor]).toEqual([false, -1]);
    three.pong(2, 4);
    expect([4, 5, 6].map((view) => watch.nothingAfter(view))).toEqual([false, true, true]);
  });

  test("of five, without one of the others: no view that the lost file may have left for", () => {
    const five = new Watched(5);
    const { watch } = five;
    for (const [replica, view] of [
      [0, 6],
      [2, 6],
    ] as const) {
      five.pong(replica, view);
    }
    expect(watch.nothingAfter(20)).toBe(false);
    five.pong(3, 7);
    expect([7, 8, 9].map((view) => watch.nothingAfter(view))).toEqual([false, false, true]);
    // Views 9 and 11 are of primaries that were not heard or are the own; 10 is of replica 0.
    expect(watch.viewToAskFor).toBe(10);
    // What is learnt later began later.
    five.pong(3, 10);
    expect([9, 10].map((view) => watch.nothingAfter(view))).toEqual([false, true]);
    // All are heard, so that one of them has the lost one's votes, if anybody has.
    five.pong(4, 10);
    expect([9, 10].map((view) => watch.nothingAfter(view))).toEqual([false, true]);
  });

  test("others that have lost their files themselves do not count", () => {
    const five = new Watched(5);
    five.ping(4, 0, null, true);
    expect(five.voteless).toEqual([4]);
    for (const replica of [4, 0, 2]) five.pong(replica, 3);
    expect(five.watch.nothingAfter(20)).toBe(false);
    five.pong(3, 3);
    expect([4, 5].map((view) => five.watch.nothingAfter(view))).toEqual([false, true]);
    five.ping(4, 0, null);
    expect([3, 4].map((view) => five.watch.nothingAfter(view))).toEqual([false, false]);
    five.pong(4, 3);
    expect([2, 3].map((view) => five.watch.nothingAfter(view))).toEqual([false, true]);
  });

  test.each([
    [4, [0, 2]],
    [6, [0, 2, 3]],
  ])("of %d: no view is asked for that cannot begin for want of votes", (count, heard) => {
    const watched = new Watched(count);
    for (const replica of heard) watched.pong(replica, count * 2);
    // The others are down: who is heard is enough to commit, and not to begin a view.
    expect(watched.watch.viewToAskFor).toBe(-1);
    watched.pong(count - 1, count * 2);
    expect(watched.watch.viewToAskFor).toBeGreaterThan(count * 2);
    for (let tick = 0; tick <= 300; tick += 1) watched.watch.tick();
    expect(watched.watch.viewToAskFor).toBe(-1);
  });

  test("a replica leaves its view for another if a new one can begin without that one", () => {
    const four = new Watched(4);
    four.pong(0, 3);
    expect([four.watch.mayLeaveFor(0), four.watch.mayLeaveFor(2)]).toEqual([false, false]);
    four.pong(3, 3);
    expect([four.watch.mayLeaveFor(0), four.watch.mayLeaveFor(2)]).toEqual([false, true]);
    four.ping(3, 0, null, true);
    expect(four.watch.mayLeaveFor(2)).toBe(false);
  });

  test("what a peer said before it was rebuilt does not count when it was", () => {
    const five = new Watched(5);
    five.ping(4, 0, null, true);
    five.pong(4, 0);
    five.pong(0, 3);
    five.pong(2, 3);
    five.ping(4, 0, null);
    expect([five.watch.nothingAfter(5), five.watch.viewToAskFor]).toEqual([false, -1]);
    five.pong(4, 6);
    const views = [5, 6, 7, 8];
    expect(views.map((view) => five.watch.nothingAfter(view))).toEqual([false, false, false, true]);
  });
});
