/**
 * The place of one replica: a machine with a disk and clocks, on which a process runs, is paused,
 * dies and is started again. The process is the production code from `composeReplica` down.
 *
 *          start                  opened
 *   down ─────────▶ opening ─────────────▶ up
 *     ▲                │                    │
 *     └──── crash ─────┴────────────────────┘      (`pause` holds back everything meanwhile)
 *
 * Whatever an incarnation still had under way is dropped with it: disk operations die on the disk,
 * packets with their connections, callbacks by `generation`.
 */
import { openReplica, type ReplicaParts } from "../../src/consensus/open-replica.ts";
import type { ReplicaBus } from "../../src/consensus/replica-bus.ts";
import { assert } from "../../src/core/assert.ts";
import { headerSize, tickMs } from "../../src/core/limits.ts";
import { u128Copy, u128Equal } from "../../src/core/u128.ts";
import type { Connection } from "../../src/io/connection.ts";
import { type Completion, Errno } from "../../src/io/io.ts";
import { type Message, smallMessageSize } from "../../src/io/message-pool.ts";
import {
  type ChecksumImplementation,
  useChecksumImplementation,
} from "../../src/native/checksum.ts";
import { composeReplica, type MemoryOptions } from "../../src/server/compose.ts";
import { DataFileLayout, type FormatOptions } from "../../src/wal/data-file.ts";
import { Superblock } from "../../src/wal/superblock.ts";
import {
  checkBody,
  checkFrame,
  FrameVerdict,
  HeaderRule,
  headerRule,
} from "../../src/wire/frame-check.ts";
import { Command, frame, pingClientHeader, requestHeader } from "../../src/wire/header.ts";
import { ownRelease } from "../../src/wire/release.ts";
import type { ReplicaClock } from "./clock.ts";
import { DiskIo, type SimulatedDisk } from "./disk.ts";
import { type Callbacks, type EventQueue, SimulatedEvent } from "./event-queue.ts";
import type { PlaceMemory } from "./memory.ts";
import type { Network, Packet, Receiver } from "./network.ts";

export const PlaceState = { down: 0, opening: 1, up: 2 } as const;

export interface PlaceOptions {
  readonly format: FormatOptions;
  readonly memory: MemoryOptions;
  readonly grouping: boolean;
  readonly checksum: ChecksumImplementation;
  /** From a message or a completion to the loop turn that acts on it. Microseconds. */
  readonly turnUs: number;
  readonly fileSize: number;
}

/** The simulation, as its places see it. */
export interface PlaceOwner {
  readonly queue: EventQueue;
  readonly callbacks: Callbacks;
  readonly network: Network;
  /** Replicas and standbys: network ends from here on are clients. */
  readonly replicaTotal: number;
  onComposed(place: Place, parts: ReplicaParts): void;
  onOpened(place: Place): void;
  /** Its superblock has moved to a checkpoint of the cluster's: it is to be opened anew. */
  onMoved(place: Place): void;
  /** The process cannot go on. */
  onFatal(place: Place, text: string): void;
  note(place: Place, event: string, detail: string): void;
  fail(reason: string): never;
}

/** A connection as the replica holds it: only good for answering on it. */
interface ClientConnection {
  readonly end: number;
  /** The client that was heard on it last. */
  readonly client: Uint32Array;
  known: boolean;
}

/** A packet for which there is no free message comes again after this time. Microseconds. */
const noMessageUs = 500;

/** Messages that receiving from clients leaves to the replica and its peers. */
const smallReserve = 8;
const largeReserve = 1;

/** Growing the file takes so long. Microseconds. */
const extendUs = 200;

let checksumInUse: ChecksumImplementation | null = null;

export class Place implements Receiver {
  state: number = PlaceState.down;
  /** Until then nothing runs. */
  pausedUntilUs = 0;
  /** Incarnations so far. */
  starts = 0;
  /** Changes whenever the process dies. */
  generation = 0;
  parts: ReplicaParts | null = null;
  /** Highest op ever executed here: whatever is executed at or below it is executed again. */
  executedMax = 0;
  /** Something was done to the machine after which the process may give up. */
  fatalAllowed = false;
  diskFull = false;
  readonly name: string;

  private readonly connections: ClientConnection[] = [];
  private readonly held: Completion[] = [];
  private readonly tickEvent: Tick;
  private readonly turnEvent: Turn;
  private readonly scratch = new Uint32Array(4);
  /** Bytes of the data file that are allocated. */
  private fileBytes = 0;

  constructor(
    readonly index: number,
    readonly standby: boolean,
    readonly options: PlaceOptions,
    readonly disk: SimulatedDisk,
    readonly clock: ReplicaClock,
    private readonly memory: PlaceMemory,
    private readonly owner: PlaceOwner,
    clients: number,
  ) {
    this.name = standby ? `s${index}` : `r${index}`;
    for (let client = 0; client < clients; client += 1) {
      const end = owner.replicaTotal + client;
      this.connections.push({ end, client: new Uint32Array(4), known: false });
    }
    this.tickEvent = new Tick(this);
    this.turnEvent = new Turn(this);
  }

  /** Its replica is there, and hears others; it may still be opening. */
  private get running(): boolean {
    return this.parts !== null;
  }

  get paused(): boolean {
    return this.pausedUntilUs > this.owner.queue.nowUs;
  }

  // ── Life ─────────────────────────────────────────────────────────────────────────────────────

  start(): void {
    assert(this.state === PlaceState.down, "only a dead process is started");
    this.enter();
    this.state = PlaceState.opening;
    this.starts += 1;
    this.fatalAllowed = false;
    const { generation } = this;
    const io = new DiskIo(this.disk, this.memory);
    const superblock = new Superblock({
      io,
      file: 0,
      release: ownRelease,
      onFatal: (text) => this.giveUp(generation, text),
    });
    superblock.open((error) => {
      if (generation !== this.generation) return;
      if (error === null) this.compose(io, superblock);
      else this.giveUp(generation, error.message);
    });
  }

  private compose(io: DiskIo, superblock: Superblock): void {
    const { generation, options } = this;
    const { gridAt, blockSize } = new DataFileLayout(superblock.formatOptions);
    const gridBlocksMax = Math.floor((options.fileSize - gridAt) / blockSize);
    const parts = composeReplica({
      io,
      file: 0,
      fileSize: Math.max(gridAt, this.fileBytes),
      time: this.clock,
      superblock,
      createBus: () => this.createBus(),
      memory: options.memory,
      grouping: options.grouping,
      allocateWords: (count) => this.memory.allocateWords(count),
      extend: (gridBytes, onDone) => {
        this.owner.callbacks.after(extendUs, () => {
          if (generation !== this.generation) return;
          if (!this.diskFull) this.fileBytes = gridAt + gridBytes;
          onDone(this.diskFull ? Errno.noSpace : 0);
        });
      },
      gridBlocksMax,
      log: (text) => this.owner.note(this, "log", text),
      onMoved: () => {
        if (generation === this.generation) this.owner.onMoved(this);
      },
      onFatal: (text) => this.giveUp(generation, text),
    });
    this.parts = parts;
    this.owner.onComposed(this, parts);
    if (!this.tickEvent.queued) this.scheduleTick();
    openReplica(parts, (error) => {
      if (generation !== this.generation) return;
      if (error !== null) {
        this.giveUp(generation, error);
        return;
      }
      this.state = PlaceState.up;
      this.active();
      this.owner.onOpened(this);
    });
  }

  /** When unsure, stop: nothing is acknowledged any more. The process ends a little later. */
  private giveUp(generation: number, text: string): void {
    if (generation !== this.generation) return;
    this.parts?.replica.stop();
    this.owner.onFatal(this, text);
  }

  /** The process dies; with `power`, so does what the disk had not made stable. */
  crash(power: boolean): void {
    assert(this.state !== PlaceState.down, "a running process dies");
    this.generation += 1;
    this.state = PlaceState.down;
    this.pausedUntilUs = 0;
    this.disk.crash(power);
    this.held.length = 0;
    this.parts = null;
    for (const connection of this.connections) connection.known = false;
    const { network } = this.owner;
    for (let end = 0; end < network.ends; end += 1) {
      if (end !== this.index) network.breakConnection(this.index, end);
    }
    this.memory.release();
  }

  pause(durationUs: number): void {
    const { queue, callbacks } = this.owner;
    this.pausedUntilUs = queue.nowUs + durationUs;
    const { generation } = this;
    callbacks.after(durationUs, () => {
      if (generation === this.generation) this.resume();
    });
  }

  resume(): void {
    this.pausedUntilUs = 0;
    const held = this.held.splice(0);
    const { generation } = this;
    for (const completion of held) {
      if (generation !== this.generation) return;
      this.complete(completion);
    }
    this.active();
  }

  /** Global switches as this machine has them. */
  private enter(): void {
    const { checksum } = this.options;
    if (checksum === checksumInUse) return;
    if (useChecksumImplementation(checksum)) checksumInUse = checksum;
  }

  // ── Events ───────────────────────────────────────────────────────────────────────────────────

  /** A disk operation has ended. */
  complete(completion: Completion): void {
    if (this.paused) {
      this.held.push(completion);
      return;
    }
    this.enter();
    completion.busy = false;
    completion.onDone(completion);
    this.active();
  }

  /** The loop will turn. */
  private active(): void {
    if (!this.running || this.turnEvent.queued) return;
    this.owner.queue.schedule(this.turnEvent, this.options.turnUs);
  }

  /** Internal. */
  turn(): void {
    if (!this.running || this.paused) return;
    this.enter();
    this.parts!.replica.turn();
  }

  private scheduleTick(): void {
    this.owner.queue.schedule(this.tickEvent, this.clock.toQueueUs(tickMs * 1000));
  }

  /** Internal. */
  tick(): void {
    if (!this.running) return;
    this.scheduleTick();
    if (this.paused) return;
    this.enter();
    this.parts!.replica.tick();
    this.active();
  }

  // ── Messages ─────────────────────────────────────────────────────────────────────────────────

  receive(packet: Packet): number {
    if (!this.running) return 0;
    if (this.paused) return this.pausedUntilUs - this.owner.queue.nowUs;
    this.enter();
    const { cluster } = this.options.format;
    const sound =
      checkFrame(packet.bytes, packet.words, 0, cluster) === FrameVerdict.ok &&
      packet.words[frame.word.size] === packet.size &&
      checkBody(packet.bytes, 0, packet.size);
    if (!sound) {
      if (!packet.corrupted) this.owner.fail(`${this.name} was sent a message that is not sound`);
      // As the bus does: the stream cannot be trusted any more.
      this.breakConnection(packet.from);
      return 0;
    }
    if (packet.corrupted) this.owner.fail("a damaged message passed the checks");
    const fromClient = packet.from >= this.owner.replicaTotal;
    if (fromClient) this.identify(packet);
    if (headerRule(packet.bytes, packet.words, 0) !== HeaderRule.ok) return 0;
    const { pool, replica } = this.parts!;
    const reserve = packet.size > smallMessageSize ? largeReserve : smallReserve;
    const message = pool.get(packet.size, fromClient ? reserve : 0);
    if (message === null) return noMessageUs;
    if (packet.size <= 512) {
      for (let word = 0; word * 4 < packet.size; word += 1) {
        message.words[word] = packet.words[word]!;
      }
    } else {
      message.bytes.set(packet.bytes.subarray(0, packet.size));
    }
    const connection = fromClient
      ? this.connections[packet.from - this.owner.replicaTotal]!
      : noConnection;
    const { generation } = this;
    replica.onMessage(message, connection as unknown as Connection);
    if (generation !== this.generation) return 0;
    pool.unref(message);
    this.active();
    return 0;
  }

  private identify(packet: Packet): void {
    const command = packet.bytes[frame.at.command];
    const connection = this.connections[packet.from - this.owner.replicaTotal]!;
    let at = 0;
    if (command === Command.request) at = requestHeader.word.client;
    else if (command === Command.pingClient) at = pingClientHeader.word.client;
    else return;
    u128Copy(connection.client, 0, packet.words, at);
    connection.known = true;
  }

  /** The connection to another end breaks, and is made again when something is sent. */
  breakConnection(end: number): void {
    this.owner.network.breakConnection(this.index, end);
    const client = end - this.owner.replicaTotal;
    if (client >= 0) this.connections[client]!.known = false;
  }

  private createBus(): ReplicaBus {
    const { network } = this.owner;
    const send = (end: number, message: Message): boolean =>
      network.send(this.index, end, message.bytes, message.words[frame.word.size]!);
    return {
      sendToReplica: (replica, message) => {
        assert(replica !== this.index, "a replica does not send to itself");
        return send(replica, message);
      },
      sendToClient: (words, at, message) => {
        for (const connection of this.connections) {
          if (!connection.known || !u128Equal(connection.client, 0, words, at)) continue;
          return send(connection.end, message);
        }
        return false;
      },
      sendOn: (connection, message) => {
        const { end, known } = connection as unknown as ClientConnection;
        return known && send(end, message);
      },
      relieve: () => {},
    };
  }

  /** The durable id of the latest checkpoint. Valid until the next call. */
  checkpointId(): Uint32Array {
    this.parts!.superblock.copyCheckpointId(this.scratch, 0);
    return this.scratch;
  }
}

const noConnection: ClientConnection = { end: -1, client: new Uint32Array(4), known: false };

class Tick extends SimulatedEvent {
  constructor(private readonly place: Place) {
    super();
  }
  run(): void {
    this.place.tick();
  }
}

class Turn extends SimulatedEvent {
  constructor(private readonly place: Place) {
    super();
  }
  run(): void {
    this.place.turn();
  }
}

assert(headerSize <= 512, "headers are copied word by word");
