/**
 * Several whole replicas in one thread, over files in memory and a network of single links that a test
 * cuts. Nothing is lost or late unless the test says so: it is for one situation at a time, where the
 * simulator goes through many.
 */
import { openReplica, type ReplicaParts } from "../../src/consensus/open-replica.ts";
import { type Replica, Status } from "../../src/consensus/replica.ts";
import { assert } from "../../src/core/assert.ts";
import { headerSize } from "../../src/core/limits.ts";
import { type Connection, Peer } from "../../src/io/connection.ts";
import type { Message } from "../../src/io/message-pool.ts";
import { composeReplica } from "../../src/server/compose.ts";
import { DataFileLayout, type FormatOptions } from "../../src/wal/data-file.ts";
import { HeaderRule, headerRule } from "../../src/wire/frame-check.ts";
import { frame, replyHeader } from "../../src/wire/header.ts";
import { encodeRequest, Operation } from "../reference/operations.ts";
import { memoryFileSize, TestTime, tinyFormat, tinyMemory } from "../replica/harness.ts";
import { TestClient } from "../replica/test-client.ts";
import { formatInto, openSuperblock } from "../wal/harness.ts";
import { MemoryFileIo } from "../wal/memory-file-io.ts";

const tickNs = 10_000_000n;
export const fromClient = { peer: Peer.client } as Connection;
const fromReplica = { peer: Peer.replica } as Connection;

/** Its file, and the process that runs on it. */
export class Node {
  io: MemoryFileIo;
  parts: ReplicaParts | null = null;
  opened = false;
  readonly notes: string[] = [];
  /** Of the process that runs: what an earlier one still wants to say is nothing. */
  private starts = 0;

  constructor(
    private readonly cluster: Cluster,
    readonly index: number,
    readonly format: FormatOptions,
  ) {
    this.io = new MemoryFileIo(memoryFileSize, index, new Map(), { ordered: true });
    formatInto(this.io, format);
  }

  get replica(): Replica {
    assert(this.parts !== null, "the replica runs");
    return this.parts.replica;
  }

  get up(): boolean {
    return this.parts !== null;
  }

  start(): void {
    const superblock = openSuperblock(this.io);
    this.starts += 1;
    const { starts } = this;
    const { gridAt } = new DataFileLayout(superblock.formatOptions);
    const onFatal = (text: string) => {
      throw new Error(`replica ${this.index}: ${text}`);
    };
    const parts = composeReplica({
      io: this.io,
      file: 0,
      fileSize: memoryFileSize,
      time: this.cluster.time,
      superblock,
      createBus: () => ({
        sendToReplica: (to, message) => this.cluster.send(this.index, to, message),
        sendToClient: (_words, _at, message) => this.cluster.onReply(message),
        sendOn: () => false,
        relieve: () => {},
      }),
      memory: tinyMemory,
      grouping: false,
      allocateWords: (count) => new Uint32Array(count),
      extend: null,
      gridBlocksMax: Math.floor((memoryFileSize - gridAt) / this.format.blockSize),
      log: (text) => this.notes.push(text),
      onMoved: () => {
        if (starts === this.starts) this.restart();
      },
      onFatal,
    });
    this.parts = parts;
    this.opened = false;
    openReplica(parts, (error) => {
      if (starts !== this.starts) return;
      if (error !== null) onFatal(error);
      this.opened = true;
    });
  }

  /** The process is killed, with nothing on its way to the disk. */
  stop(): void {
    this.io.run();
    this.parts?.replica.stop();
    this.parts = null;
    this.starts += 1;
  }

  restart(): void {
    this.stop();
    this.start();
  }

  receive(bytes: Uint8Array, connection: Connection): void {
    if (this.parts === null) return;
    const { pool } = this.parts;
    const message = pool.get(bytes.length);
    if (message === null) return;
    message.bytes.set(bytes);
    if (connection === fromReplica) {
      assert(headerRule(message.bytes, message.words, 0) === HeaderRule.ok, "header rules hold");
    }
    this.replica.onMessage(message, connection);
    pool.unref(message);
  }
}

export class Cluster {
  readonly nodes: readonly Node[];
  readonly time = new TestTime();
  readonly client = new TestClient(1);
  /** Links "from to" over which nothing comes. */
  readonly cut = new Set<string>();
  /** Commands of messages that get lost, all of them. */
  readonly lost = new Set<number>();
  private readonly packets: { to: number; bytes: Uint8Array }[] = [];
  /** Given to the primary until it is answered. */
  private request: Uint8Array | null = null;

  constructor(replicaCount: number) {
    this.nodes = Array.from(
      { length: replicaCount },
      (_, replica) => new Node(this, replica, { ...tinyFormat, replica, replicaCount }),
    );
    for (const node of this.nodes) node.start();
  }

  send(from: number, to: number, message: Message): boolean {
    const node = this.nodes[to];
    if (node === undefined || !node.up || this.cut.has(`${from} ${to}`)) return false;
    const size = message.words[frame.word.size]!;
    if (this.lost.has(message.bytes[frame.at.command]!)) return true;
    this.packets.push({ to, bytes: message.bytes.slice(0, size) });
    return true;
  }

  /** Both ways. */
  cutBetween(one: number, other: number): void {
    this.cut.add(`${one} ${other}`).add(`${other} ${one}`);
  }

  onReply(message: Message): boolean {
    const { words, bytes } = message;
    if (words[replyHeader.word.request] !== this.client.inFlightNumber) return true;
    if (this.client.inFlight === null) return true;
    const size = words[frame.word.size]!;
    const copy = bytes.slice(0, size);
    this.client.accept({
      client: words[replyHeader.word.client]!,
      request: words[replyHeader.word.request]!,
      op: words[replyHeader.word.op]!,
      operation: bytes[replyHeader.at.operation]!,
      bytes: copy,
      body: copy.subarray(headerSize),
      again: false,
    });
    this.request = null;
    return true;
  }

  /** The node that leads, if one does for sure: the others that are up know no newer view. */
  get primary(): Node | null {
    let view = -1;
    let primary: Node | null = null;
    for (const node of this.nodes) {
      if (!node.opened || !node.up || node.replica.view < view) continue;
      if (node.replica.view > view) primary = null;
      view = node.replica.view;
      if (node.replica.isNormalPrimary) primary = node;
    }
    return primary;
  }

  tick(): void {
    this.time.now += tickNs;
    for (const node of this.nodes) if (node.up) node.replica.tick();
    for (let busy = true; busy; ) {
      busy = false;
      for (const node of this.nodes) {
        if (node.opened && node.up) node.replica.turn();
        if (node.io.step()) busy = true;
      }
      const packet = this.packets.shift();
      if (packet === undefined) continue;
      busy = true;
      this.nodes[packet.to]!.receive(packet.bytes, fromReplica);
    }
  }

  /** Until `done`, for at most so many seconds. @returns false when they have passed. */
  until(done: () => boolean, seconds = 30): boolean {
    for (let tick = 0; tick < seconds * 100; tick += 1) {
      if (done()) return true;
      this.tick();
      if (this.request !== null && tick % 50 === 0) {
        this.primary?.receive(this.request, fromClient);
      }
    }
    return done();
  }

  /** A client changes something, and is answered. */
  ask(): void {
    const { client } = this;
    this.request =
      client.session === 0
        ? client.register()
        : client.request(Operation.createAccounts, account(client.number + 1));
    assert(
      this.until(() => this.request === null),
      "the client is answered",
    );
  }

  /** As many ops. */
  askTimes(count: number): void {
    for (let asked = 0; asked < count; asked += 1) this.ask();
  }

  /** All of these have executed what the primary has, and take part. */
  level(indexes: readonly number[]): boolean {
    const { primary } = this;
    if (primary === null) return false;
    const { commitMin, view } = primary.replica;
    return indexes.every((index) => {
      const { opened, replica } = this.nodes[index]!;
      const normal = replica.status === Status.normal && replica.view === view;
      return opened && normal && replica.commitMin === commitMin;
    });
  }
}

function account(id: number): Uint8Array {
  const words = new Uint32Array(128 / 4);
  words[0] = id;
  // Ledger and code.
  words[28] = 1;
  words[29] = 1;
  return encodeRequest(Operation.createAccounts, [new Uint8Array(words.buffer)]);
}
