/**
 * Three sites that have a storage engine each and mend each other over a network that loses, doubles
 * and reorders messages. What is under test is `BlockRepair` and what it has below it.
 */
import { BlockRepair } from "../../src/consensus/block-repair.ts";
import { ClientSessions } from "../../src/consensus/client-sessions.ts";
import type { ReplicaBus } from "../../src/consensus/replica-bus.ts";
import { assert } from "../../src/core/assert.ts";
import { replySlotSize } from "../../src/core/limits.ts";
import { Prng } from "../../src/core/prng.ts";
import { type Message, MessagePool } from "../../src/io/message-pool.ts";
import type { StorageEngine } from "../../src/storage/engine.ts";
import { HeaderRule, headerRule } from "../../src/wire/frame-check.ts";
import { Command, frame } from "../../src/wire/header.ts";
import { clusterId, type Load, type Machine, World } from "../storage/world.ts";
import { memoryBuffer } from "../wal/memory-file-io.ts";

export const siteCount = 3;
const clientsMax = 8;

export interface Packet {
  readonly from: number;
  readonly to: number;
  readonly bytes: Uint8Array;
}

/** What the network does to a packet. */
export type Fate = (packet: Packet) => readonly Uint8Array[];

export class Site {
  readonly world: World;
  repair!: BlockRepair;
  readonly sessions = new ClientSessions(clientsMax, memoryBuffer(clientsMax * replySlotSize));
  readonly pool = new MessagePool(memoryBuffer, { small: 16, large: 4 });
  readonly notes: string[] = [];
  /** Whether it has moved to a checkpoint when it opens. */
  fetching = false;

  constructor(
    private readonly net: RepairNet,
    readonly index: number,
    load: Load,
    machine: Machine,
  ) {
    this.world = new World(load, machine, {}, (engine) => this.attach(engine));
    this.world.file.onIdle = () => net.busy && net.advance();
  }

  private attach(engine: StorageEngine): void {
    const bus: ReplicaBus = {
      sendToReplica: (to, message) => this.net.send(this.index, to, message),
      sendToClient: () => false,
      sendOn: () => false,
      relieve: () => {},
    };
    this.repair = new BlockRepair({
      cluster: clusterId,
      replica: this.index,
      memberCount: siteCount,
      replicaCount: siteCount,
      bus,
      storage: engine,
      sessions: this.sessions,
      pool: this.pool,
      allocate: memoryBuffer,
      prng: new Prng(this.index),
      log: (text) => this.notes.push(text),
      warn: (text) => this.notes.push(`warning: ${text}`),
    });
    engine.repairFrom(this.repair);
    if (this.fetching) this.repair.beginFetch();
  }

  receive(bytes: Uint8Array): void {
    const message = this.pool.get(bytes.length);
    assert(message !== null, "the test has messages enough");
    message.bytes.set(bytes);
    assert(headerRule(message.bytes, message.words, 0) === HeaderRule.ok, "header rules hold");
    assert(this.repair.onMessage(message), "these are all that it sends");
    this.pool.unref(message);
  }
}

export class RepairNet {
  readonly sites: readonly Site[];
  /** On their way, in no order. */
  readonly packets: Packet[] = [];
  fate: Fate = ({ bytes }) => [bytes];
  /** No connection from here to there. */
  readonly cut = new Set<string>();
  readonly sent: Packet[] = [];
  /** Messages that a connection holds until they are delivered, as the real bus does. */
  private readonly held: { message: Message; packet: Packet }[] = [];
  private releasing = false;
  blocksInFlightMax = 0;
  private readonly random: Prng;

  constructor(load: Load, seed: number) {
    this.random = new Prng(seed);
    const machine = (index: number): Machine => ({
      seed: seed * 10 + index,
      cacheBytes: 0,
      pageCopyBytes: 1 << 20,
      recentBlocks: 0,
      ticksMax: 3,
    });
    this.sites = Array.from(
      { length: siteCount },
      (_, index) => new Site(this, index, load, machine(index)),
    );
  }

  /** All sites executed the same ops, and are at rest. */
  run(op: number): void {
    for (const { world } of this.sites) {
      while (world.op < op) world.step();
      world.finishCheckpoint();
      world.file.settle();
    }
  }

  send(from: number, to: number, message: Message): boolean {
    assert(from !== to, "nobody sends to itself");
    assert(!this.releasing, "a connection that gives a message back is in the middle of a send");
    if (this.cut.has(`${from}-${to}`)) return false;
    const bytes = message.bytes.slice(0, message.words[frame.word.size]);
    const packet = { from, to, bytes };
    message.pool.ref(message);
    this.held.push({ message, packet });
    this.sent.push(packet);
    this.packets.push(packet);
    const blocks = this.packets.filter(
      (one) => one.from === from && one.to === to && one.bytes[frame.at.command] === Command.block,
    );
    this.blocksInFlightMax = Math.max(this.blocksInFlightMax, blocks.length);
    return true;
  }

  /** Somebody waits for something, or something is in flight. */
  get busy(): boolean {
    return (
      this.packets.length > 0 ||
      this.sites.some(
        ({ repair, world, sessions }) =>
          repair.blocksWanted > 0 || !world.file.idle || sessions.missingReplies > 0,
      )
    );
  }

  /** Something happens: a message arrives, a disk ends an operation, time passes. */
  advance(): boolean {
    const what = this.random.below(8);
    if (what === 0) this.tick();
    else if (what < 4 && this.packets.length > 0) this.deliver();
    else {
      const { file } = this.sites[this.random.below(siteCount)]!.world;
      if (!file.idle) file.tick();
    }
    return true;
  }

  tick(): void {
    for (const { repair } of this.sites) repair.tick();
  }

  deliver(): void {
    const [packet] = this.packets.splice(this.random.below(this.packets.length), 1);
    assert(packet !== undefined, "one was chosen");
    const index = this.held.findIndex((one) => one.packet === packet);
    const [{ message } = { message: null }] = this.held.splice(index, 1);
    assert(message !== null, "what is on its way is held");
    this.releasing = true;
    message.pool.unref(message);
    this.releasing = false;
    for (const bytes of this.fate(packet)) this.sites[packet.to]!.receive(bytes);
  }

  /** Until nothing is in flight and nothing is wanted any more. */
  settle(): void {
    for (let steps = 0; steps < 200_000; steps += 1) {
      if (!this.busy) return;
      this.advance();
    }
    assert(false, "it ends");
  }
}
