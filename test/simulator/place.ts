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
import type { Replica } from "../../src/consensus/replica.ts";
import type { ReplicaBus } from "../../src/consensus/replica-bus.ts";
import { assert } from "../../src/core/assert.ts";
import { tickMs } from "../../src/core/limits.ts";
import { type Completion, Errno, type IoBuffer } from "../../src/io/io.ts";
import { MessageBus } from "../../src/io/message-bus.ts";
import type { Message, MessagePool } from "../../src/io/message-pool.ts";
import {
  type ChecksumImplementation,
  useChecksumImplementation,
} from "../../src/native/checksum.ts";
import { composeReplica, type MemoryOptions } from "../../src/server/compose.ts";
import type { RunOptions } from "../../src/storage/runs/options.ts";
import { DataFileLayout, type FormatOptions } from "../../src/wal/data-file.ts";
import { Superblock } from "../../src/wal/superblock.ts";
import { ownRelease } from "../../src/wire/release.ts";
import type { ReplicaClock } from "./clock.ts";
import { DiskIo, type SimulatedDisk } from "./disk.ts";
import { type Callbacks, type EventQueue, SimulatedEvent } from "./event-queue.ts";
import type { PlaceMemory } from "./memory.ts";
import type { Network, Packet, Receiver } from "./network.ts";
import { largeReserve, PacketBus, smallReserve } from "./packet-bus.ts";
import { hostOf, portOf, type SocketHost, type Sockets } from "./sockets.ts";

export const PlaceState = { down: 0, opening: 1, up: 2 } as const;

export interface PlaceOptions {
  readonly format: FormatOptions;
  readonly memory: MemoryOptions;
  readonly runs: Partial<RunOptions>;
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
  /** Byte streams under the real message bus; null: packets. */
  readonly sockets: Sockets | null;
  /** Replicas and standbys: network ends from here on are clients. */
  readonly replicaTotal: number;
  onComposed(place: Place, parts: ReplicaParts): void;
  onOpened(place: Place): void;
  /** The real bus has delivered a message. */
  onDelivered(place: Place, message: Message): void;
  /** The real bus has closed a connection over what arrived on it. */
  onBusLog(place: Place, text: string): void;
  /** Its superblock has moved to a checkpoint of the cluster's: it is to be opened anew. */
  onMoved(place: Place): void;
  /** The process cannot go on. */
  onFatal(place: Place, text: string): void;
  note(place: Place, event: string, detail: string): void;
  fail(reason: string): never;
}

/** Growing the file takes so long. Microseconds. */
const extendUs = 200;

let checksumInUse: ChecksumImplementation | null = null;

export class Place implements Receiver, SocketHost {
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
  /** It has moved to a checkpoint of the cluster's, whose blocks it may not have yet. */
  syncing = false;
  readonly name: string;

  private packetBus: PacketBus | null = null;
  private messageBus: MessageBus | null = null;
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
  ) {
    this.name = standby ? `s${index}` : `r${index}`;
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
      createBus: (pool, replica) => this.createBus(pool, replica, superblock.sequence),
      memory: options.memory,
      runs: options.runs,
      standbyCount: this.owner.replicaTotal - options.format.replicaCount,
      grouping: options.grouping,
      journalTicks: true,
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
    // One of several may need the others to open.
    if (options.format.replicaCount > 1) this.listen();
    openReplica(parts, (error) => {
      if (generation !== this.generation) return;
      if (error !== null) {
        this.giveUp(generation, error);
        return;
      }
      this.state = PlaceState.up;
      if (options.format.replicaCount === 1) this.listen();
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
    this.packetBus = null;
    this.messageBus = null;
    const { network, sockets } = this.owner;
    for (let end = 0; end < network.ends; end += 1) {
      if (end !== this.index) network.breakConnection(this.index, end);
    }
    sockets?.hostDown(this.index, power);
    this.memory.release();
  }

  /** The data file is another one, as long as when it was formatted. */
  forgetFile(): void {
    assert(this.state === PlaceState.down, "nobody uses the file");
    this.fileBytes = 0;
    this.syncing = false;
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

  get end(): number {
    return this.index;
  }

  allocate(sizeBytes: number): IoBuffer {
    return this.memory.allocate(sizeBytes);
  }

  // ── Events ───────────────────────────────────────────────────────────────────────────────────

  /** An operation of the disk or of a socket has ended. */
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
    const { replica } = this.parts!;
    replica.tick();
    this.parts!.journal.tick();
    this.messageBus?.tick();
    // The loop turns as soon as its completions are through; most ticks are followed by nothing.
    if (!this.turnEvent.queued) replica.turn();
  }

  // ── Messages ─────────────────────────────────────────────────────────────────────────────────

  receive(packet: Packet): number {
    if (!this.running) return 0;
    if (this.paused) return this.pausedUntilUs - this.owner.queue.nowUs;
    this.enter();
    const againUs = this.packetBus!.receive(packet);
    this.active();
    return againUs;
  }

  /** The connection to another end breaks. */
  breakConnection(end: number): void {
    this.packetBus?.breakConnection(end);
  }

  private createBus(pool: MessagePool, replica: () => Replica, seed: number): ReplicaBus {
    const { owner } = this;
    const { cluster, clientsMax } = this.options.format;
    if (owner.sockets === null) {
      const { network, replicaTotal } = owner;
      const fail = (reason: string): never => owner.fail(reason);
      const end = this.index;
      this.packetBus = new PacketBus({ network, end, replicaTotal, cluster, pool, replica, fail });
      return this.packetBus;
    }
    const handler = {
      onMessage: (message: Message, connection: Parameters<Replica["onMessage"]>[1]) => {
        owner.onDelivered(this, message);
        replica().onMessage(message, connection);
      },
      onReplicaConnected: () => replica().onPeerConnected(),
      onReplicaLost: (peer: number) => replica().onPeerLost(peer),
    };
    this.messageBus = new MessageBus(owner.sockets.open(this), pool, handler, {
      cluster,
      replica: this.index,
      replicaCount: owner.replicaTotal,
      connectionsMax: clientsMax + owner.replicaTotal + 2,
      largeReceivesMax: 2,
      smallReserve,
      largeReserve,
      seed,
      log: (_level, text) => owner.onBusLog(this, text),
    });
    return this.messageBus;
  }

  private listen(): void {
    const bus = this.messageBus;
    if (bus === null) return;
    bus.listen(hostOf(this.index), portOf(this.index));
    const { replicaTotal } = this.owner;
    if (replicaTotal === 1) return;
    const addresses = Array.from({ length: replicaTotal }, (_, index) => ({
      host: hostOf(index),
      port: portOf(index),
    }));
    bus.dialReplicas(addresses);
  }

  /** The durable id of the latest checkpoint. Valid until the next call. */
  checkpointId(): Uint32Array {
    this.parts!.superblock.copyCheckpointId(this.scratch, 0);
    return this.scratch;
  }
}

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
