/**
 * One seed: a cluster of places on a network, clients that work on it, faults that strike it, in
 * two phases.
 *
 *   safety    faults of the seed's mix, until the log is long enough or the time is over
 *   liveness  a core of replicas, large enough to decide, is healed; the rest is left as it is or
 *             taken away; everything that is asked must be answered in bounded time
 *   end       the core is at rest and is compared
 */
import type { ReplicaParts } from "../../src/consensus/open-replica.ts";
import { quorumsFor } from "../../src/consensus/quorums.ts";
import { assert } from "../../src/core/assert.ts";
import type { Prng } from "../../src/core/prng.ts";
import type { Message } from "../../src/io/message-pool.ts";
import { DataFileLayout, type FormatOptions } from "../../src/wal/data-file.ts";
import {
  checkBody,
  checkFrame,
  FrameVerdict,
  HeaderRule,
  headerRule,
} from "../../src/wire/frame-check.ts";
import { Command, frame } from "../../src/wire/header.ts";
import { Atlas } from "./atlas.ts";
import type { Canary } from "./canaries/canary.ts";
import { AcknowledgedOps } from "./checkers/acknowledged.ts";
import { PromisedViews } from "./checkers/promised-views.ts";
import { compareUsedBlocks } from "./checkers/used-blocks.ts";
import { ViewLogs } from "./checkers/view-logs.ts";
import { ClientStreams } from "./client-stream.ts";
import { ReplicaClock } from "./clock.ts";
import { type DiskHost, SimulatedDisk } from "./disk.ts";
import { Callbacks, EventQueue } from "./event-queue.ts";
import { Faults, type FaultsOwner } from "./faults.ts";
import { formattedImage, simulatedCluster } from "./formatted.ts";
import type { CreateLoad, Load, LoadOptions, ReplicaView, World } from "./interfaces.ts";
import { PlaceMemory, SharedMemory } from "./memory.ts";
import { Network, type Packet, type Receiver } from "./network.ts";
import { observe } from "./observe.ts";
import { observeRuns } from "./observe-runs.ts";
import { Place, type PlaceOwner, PlaceState } from "./place.ts";
import { SectorPool } from "./sector-pool.ts";
import { Sockets } from "./sockets.ts";
import { holdLog, StateQuery } from "./state-query.ts";
import { Stream, stream } from "./streams.ts";
import { crowdFilters, drawSwarm, type Swarm, type SwarmOverrides } from "./swarm.ts";
import { addCounts, type Counts, Kind, type LogEvent, Trace } from "./trace.ts";

/** What a seed did wrong. */
export class SimulationFailure extends Error {
  override name = "SimulationFailure";
}

export interface SimulationOptions {
  readonly seed: bigint;
  readonly overrides: SwarmOverrides;
  readonly createLoad: CreateLoad;
  readonly canary: Canary | null;
  readonly onLog: ((event: LogEvent) => void) | null;
}

export interface SimulationResult {
  readonly digest: string;
  readonly simulatedUs: number;
  readonly committedOps: number;
  readonly answered: number;
  readonly events: number;
  /** Faults by kind, those of single messages apart. */
  readonly faults: Counts;
  readonly messageFaults: Counts;
  /** What replicas did about them, and else. */
  readonly replicas: Counts;
  readonly load: Counts;
}

/** Room for the grid of a simulated disk. Bytes. */
const gridRoom = 256 * 1024 * 1024;

/** Progress must be seen in this time once the core is healed. Microseconds. */
const progressUsMax = 120_000_000;

/** From the last answer to a core at rest. Microseconds. */
const restUsMax = 120_000_000;

/** How often phases are reconsidered. Microseconds. */
const watchUs = 100_000;

/** A process that gave up, or that the faults killed, ends after this time. Microseconds. */
const exitUs = 1000;

/** Kept from seed to seed. */
const pool = new SectorPool();
const memory = new SharedMemory();

const Phase = { safety: 0, liveness: 1, rest: 2, done: 3 } as const;

export class Simulation implements World, FaultsOwner, PlaceOwner {
  readonly seed: bigint;
  readonly swarm: Swarm;
  readonly options: LoadOptions;
  readonly cluster: Uint32Array;
  readonly replicaCount: number;
  readonly replicaTotal: number;
  readonly queue = new EventQueue();
  readonly callbacks = new Callbacks(this.queue);
  readonly trace: Trace;
  readonly network: Network;
  readonly sockets: Sockets | null;
  readonly faultCounts: Counts = {};
  readonly places: Place[] = [];
  readonly atlas: Atlas;
  readonly layout: DataFileLayout;
  enough = false;
  private readonly load: Load;
  private readonly faults: Faults;
  private readonly canary: Canary | null;
  private readonly randoms = new Map<string, Prng>();
  /** Of the clients, over byte streams. */
  private readonly streams: ClientStreams[] = [];
  private readonly faultRandom: Prng;
  /** Messages that arrived, by command. */
  private readonly delivered = new Float64Array(256);
  /** Of what replicas tell each other. */
  private readonly promisedViews = new PromisedViews((reason) => this.fail(reason));
  private readonly acknowledged = new AcknowledgedOps((reason) => this.fail(reason));
  private readonly viewLogs = new ViewLogs((reason) => this.fail(reason));
  private readonly counts: Counts = {};
  private viewMax = 0;
  /** Per replica: what had been committed when its disk was lost. */
  private readonly lostAt: number[] = [];
  private phase: number = Phase.safety;
  private core: number[] = [];
  private committedMax = 0;
  /** When the liveness phase last saw something get done. */
  private progressAtUs = 0;
  private answeredThen = 0;
  private committedThen = 0;
  private failure: string | null = null;

  constructor(options: SimulationOptions) {
    this.seed = options.seed;
    this.canary = options.canary;
    this.swarm = drawSwarm(options.seed, options.overrides);
    const { swarm } = this;
    this.options = swarm.load;
    this.replicaCount = swarm.replicaCount;
    this.replicaTotal = swarm.replicaCount + swarm.standbys;
    this.cluster = simulatedCluster;
    this.trace = new Trace(this.queue);
    this.trace.onLog = options.onLog;
    this.layout = new DataFileLayout(this.formatOf(0));
    const { blockSize, gridAt } = this.layout;
    const quorums = quorumsFor(this.replicaCount);
    const gridBlocks = gridRoom / blockSize;
    this.atlas = new Atlas(
      this.layout,
      this.replicaCount,
      this.replicaTotal,
      quorums.replication,
      gridBlocks,
    );
    this.faultRandom = this.random(Stream.faults);
    const receivers: Receiver[] = [];
    const ends = this.replicaTotal + this.options.clients;
    this.network = new Network(
      this.queue,
      this.random(Stream.network),
      swarm.network,
      receivers,
      ends,
    );
    this.network.onArrival = (packet) => this.onArrival(packet);
    this.sockets = swarm.streams
      ? new Sockets(this.queue, this.network, this.random(Stream.socket))
      : null;
    for (let index = 0; index < this.replicaTotal; index += 1) {
      const place = this.createPlace(index, gridAt + gridRoom);
      this.places.push(place);
      receivers.push(place);
    }
    for (let client = 0; client < this.options.clients; client += 1) {
      receivers.push({ receive: (packet) => this.receiveAtClient(client, packet) });
    }
    if (this.sockets !== null) this.connectClients(this.sockets);
    this.faults = new Faults(this, swarm.faults, this.faultRandom);
    this.load = options.createLoad(this);
  }

  private connectClients(sockets: Sockets): void {
    for (let client = 0; client < this.options.clients; client += 1) {
      const end = this.replicaTotal + client;
      const owner = {
        onFrame: (replica: number, bytes: Uint8Array, words: Uint32Array, size: number) =>
          this.onFrameAtClient(client, replica, bytes, words, size),
        onBroken: (replica: number) => this.load.onDisconnect(client, replica),
      };
      this.streams.push(new ClientStreams(end, sockets, this.replicaTotal, this.cluster, owner));
    }
  }

  private formatOf(replica: number): FormatOptions {
    const { replicaCount, preset } = this.swarm;
    return { ...preset, cluster: this.cluster, replica, replicaCount };
  }

  private createPlace(index: number, fileSize: number): Place {
    const drawn = this.swarm.replicas[index]!;
    const host: DiskHost = {
      complete: (completion) => this.places[index]!.complete(completion),
      mayTear: (fileAt, length) => this.mayTear(index, fileAt, length),
      onRewritten: (fileAt) => this.atlas.rewritten(index, fileAt),
      fail: (reason) => this.fail(`${this.places[index]!.name}: ${reason}`),
    };
    const disk = new SimulatedDisk(
      this.queue,
      pool,
      stream(this.seed, Stream.disk, index),
      host,
      fileSize,
    );
    disk.timing = drawn.timing;
    const format = this.formatOf(index);
    disk.load(formattedImage(pool, format, false));
    const clock = new ReplicaClock(this.queue);
    clock.driftPpm = drawn.driftPpm;
    clock.skewUs = drawn.skewUs;
    const { crowdedFilters, ...constants } = this.swarm.runs;
    const own = drawn.runs.kernels;
    const kernels = crowdedFilters ? crowdFilters(own) : own;
    const runs = { ...drawn.runs, ...constants, kernels };
    const options = { ...drawn, runs, format, fileSize };
    const standby = index >= this.replicaCount;
    const placeMemory = new PlaceMemory(memory, this.layout.repliesSize);
    return new Place(index, standby, options, disk, clock, placeMemory, this);
  }

  // ── The course of a seed ─────────────────────────────────────────────────────────────────────

  /** @throws {SimulationFailure} or whatever the code under test throws. */
  run(): SimulationResult {
    try {
      this.load.start();
      this.begin();
      while (this.phase !== Phase.done) {
        if (!this.queue.runNext()) this.fail("nothing is going to happen any more");
      }
      return this.result();
    } finally {
      for (const place of this.places) {
        if (place.state !== PlaceState.down) place.crash(false);
        place.disk.clear();
      }
    }
  }

  private result(): SimulationResult {
    const { counters } = this.network;
    const { delivered } = this;
    if (this.replicaCount > 1) {
      addCounts(this.counts, {
        "view changes": this.viewMax,
        "headers repaired (messages)": delivered[Command.headers]!,
        "prepares asked for": delivered[Command.getPrepare]!,
        "blocks repaired": delivered[Command.block]!,
        "replies asked for": delivered[Command.getReply]!,
      });
    }
    const messageFaults: Counts = {
      "messages lost": counters.lost,
      "messages doubled": counters.duplicated,
      "messages damaged": counters.corrupted,
    };
    if (this.sockets !== null) {
      const { connections, resets, refused, damaged } = this.sockets.counters;
      addCounts(messageFaults, { "connections reset": resets, "segments damaged": damaged });
      addCounts(this.counts, { "connections made": connections, "connections refused": refused });
    }
    return {
      digest: this.trace.digest(),
      simulatedUs: this.queue.nowUs,
      committedOps: this.committedMax,
      answered: this.load.answered,
      events: this.queue.ran,
      faults: this.faultCounts,
      messageFaults,
      replicas: this.counts,
      load: this.load.figures,
    };
  }

  private begin(): void {
    this.trace.record(Kind.phase, Phase.safety, 0, 0);
    for (const place of this.places) this.startPlace(place);
    this.faults.start();
    const until = this.queue.nowUs + this.swarm.safetyUs;
    this.watch(until);
  }

  private watch(safetyUntilUs: number): void {
    this.callbacks.after(watchUs, () => {
      this.reconsider(safetyUntilUs);
      if (this.phase !== Phase.done) this.watch(safetyUntilUs);
    });
  }

  private reconsider(safetyUntilUs: number): void {
    const { nowUs } = this.queue;
    this.noticeRecovered();
    if (!this.enough && this.committedMax >= this.swarm.opsMin) this.enough = true;
    if (this.phase === Phase.safety) {
      if (nowUs >= safetyUntilUs || this.enough) this.heal();
      return;
    }
    const moved =
      this.load.answered !== this.answeredThen || this.committedMax !== this.committedThen;
    // Where nobody waits for anything there is nothing to get on with: clients may think for long.
    if (moved || (this.phase === Phase.liveness && this.load.idle)) {
      this.progressAtUs = nowUs;
      this.answeredThen = this.load.answered;
      this.committedThen = this.committedMax;
    }
    if (this.phase === Phase.liveness) {
      if (this.enough && this.load.idle) {
        this.phase = Phase.rest;
        this.progressAtUs = nowUs;
      } else if (nowUs - this.progressAtUs > progressUsMax) {
        this.fail(`no progress in ${progressUsMax / 1e6} s with a healthy core`);
      }
      return;
    }
    if (this.atRest()) {
      this.finish();
    } else if (nowUs - this.progressAtUs > restUsMax) {
      this.fail(`the core is not at rest ${restUsMax / 1e6} s after the last answer`);
    }
  }

  /** Chooses the core, and ends what keeps it from working. */
  private heal(): void {
    const { faultRandom } = this;
    this.phase = Phase.liveness;
    this.progressAtUs = this.queue.nowUs;
    this.faults.heal();
    this.core = this.chooseCore();
    // Standbys catch up with them, if they can reach them.
    for (const { standby, index } of this.places) {
      if (standby && this.faultRandom.chance(0.6)) this.core.push(index);
    }
    this.trace.record(Kind.phase, Phase.liveness, this.core.length, 0);
    if (this.trace.logging) this.trace.log("-", "healed", `core ${this.core.join(" ")}`);
    for (const place of this.places) {
      if (this.core.includes(place.index)) this.healPlace(place);
      else this.forsake(place, faultRandom.below(4));
    }
    this.load.onHealed();
  }

  private chooseCore(): number[] {
    const voters = this.places.filter((place) => !place.standby);
    const all = voters.map((place) => place.index);
    const sound = all.filter(
      (index) =>
        this.atlas.damaged(index) === 0 &&
        !this.atlas.isLost(index) &&
        !this.places[index]!.syncing,
    );
    const { viewChange } = quorumsFor(this.replicaCount);
    // Damage may need every copy that there is, and who has not got all blocks does not vote.
    if (sound.length < viewChange || sound.length < all.length) return all;
    while (sound.length > viewChange && this.faultRandom.chance(0.6)) {
      sound.splice(this.faultRandom.below(sound.length), 1);
    }
    return sound;
  }

  private healPlace(place: Place): void {
    place.clock.skewUs = this.faultRandom.range(-500_000, 500_000);
    if (place.paused) place.resume();
    if (place.disk.failing && place.state !== PlaceState.down) {
      this.crash(place, false, exitUs);
    } else if (place.state === PlaceState.down) {
      this.startPlace(place);
    }
  }

  /** A replica outside of the core: gone, cut off in one way or another, or there by chance. */
  private forsake(place: Place, fate: number): void {
    if (fate === 0) {
      if (place.state !== PlaceState.down) place.crash(true);
      return;
    }
    for (let end = 0; end < this.network.ends; end += 1) {
      if (end === place.index || fate === 3) continue;
      this.network.cutLink(place.index, end);
      if (fate === 2) continue;
      this.network.cutLink(end, place.index);
    }
    if (place.state === PlaceState.down) this.startPlace(place);
  }

  private atRest(): boolean {
    for (const index of this.core) {
      const place = this.places[index]!;
      if (place.state !== PlaceState.up) return false;
      const { replica } = place.parts!;
      if (replica.commitMin < this.committedMax || replica.commitMin !== replica.op) return false;
      // The last op may still wait for room on the disk, or for the checkpoint before its own.
      if (!replica.resting) return false;
    }
    return true;
  }

  private finish(): void {
    for (const index of this.core) holdLog(this.places[index]!);
    this.load.finish(this.core);
    this.phase = Phase.done;
    this.trace.record(Kind.phase, Phase.done, this.committedMax, this.load.answered);
  }

  // ── Replicas ─────────────────────────────────────────────────────────────────────────────────

  private startPlace(place: Place): void {
    if (place.state !== PlaceState.down) return;
    this.trace.record(Kind.start, place.index, place.starts, 0);
    if (this.trace.logging) this.trace.log(place.name, "start", `number ${place.starts + 1}`);
    if (place.starts > 0) this.count("restarts");
    this.load.onReplicaStart(place.index);
    place.start();
    this.faults.onStart(place);
  }

  crash(place: Place, power: boolean, downUs: number): void {
    place.crash(power);
    this.faults.onCrash(place);
    this.trace.record(Kind.crash, place.index, power ? 1 : 0, place.starts);
    this.load.onReplicaCrash(place.index);
    for (let client = 0; client < this.options.clients; client += 1) {
      this.load.onDisconnect(client, place.index);
    }
    const { generation } = place;
    this.callbacks.after(downUs, () => {
      if (place.generation === generation && this.phase !== Phase.done) this.startPlace(place);
    });
  }

  /** The disk is gone; a new one was given to the replica, and `pacioli recover` was run on it. */
  loseDisk(place: Place, downUs: number): void {
    if (place.state !== PlaceState.down) this.crash(place, true, downUs);
    place.disk.clear();
    place.disk.load(formattedImage(pool, this.formatOf(place.index), true));
    place.forgetFile();
    this.atlas.lose(place.index);
    this.promisedViews.diskLost(place.index);
    this.acknowledged.diskLost(place.index);
    this.lostAt[place.index] = this.committedMax;
  }

  /** A lost replica counts again when all that was committed by then is durable on its new disk. */
  private noticeRecovered(): void {
    for (const place of this.places) {
      if (!this.atlas.isLost(place.index) || place.state !== PlaceState.up) continue;
      const { superblock } = place.parts!;
      if (superblock.recovering || superblock.checkpointOp < this.lostAt[place.index]!) continue;
      this.atlas.found(place.index);
      this.count("disks recovered");
      if (this.trace.logging) this.trace.log(place.name, "recovered", "");
    }
  }

  /** Torn prepares are damage: a replica that finds one must not deny that it had the op. */
  private mayTear(replica: number, fileAt: number, length: number): boolean {
    if (this.replicaCount === 1) return true;
    const { layout, atlas } = this;
    if (fileAt < layout.headerRingAt || fileAt >= layout.prepareRingAt + layout.prepareRingSize) {
      return true;
    }
    assert(length > 0, "a write has a length");
    const { zone, index } = atlas.areaAt(fileAt);
    if (!atlas.mayDamage(replica, zone, index)) return false;
    atlas.add(replica, zone, index);
    return true;
  }

  onComposed(place: Place, parts: ReplicaParts): void {
    observe(place, parts, {
      onPrepareWritten: (op, prepare, words) => {
        this.viewLogs.written(place.index, parts.replica.logView, words);
        this.load.onPrepareWritten(place.index, op, prepare);
      },
      onExecuted: (op, prepare) => this.onExecuted(place, op, prepare),
      onCheckpoint: (op) => this.onCheckpoint(place, op),
      onFrozen: (op) => {
        const wrong = compareUsedBlocks(parts.storage);
        if (wrong !== null) this.fail(`${place.name} has, at checkpoint ${op}, ${wrong}`);
      },
    });
    observeRuns(parts, this.counts);
    this.canary?.install(parts, { place, simulation: this });
    const { view, logView } = parts.superblock;
    this.promisedViews.started(place.index, view, logView);
    // What it starts from, the empty state included, is a checkpoint that prepares may name. It may have
    // been killed before it could say so, and make the next one before it is open.
    this.load.onCheckpoint(place.index, parts.superblock.checkpointOp, place.checkpointId());
  }

  private onExecuted(place: Place, op: number, prepare: Uint8Array): void {
    const replayed = op <= place.executedMax;
    place.executedMax = Math.max(place.executedMax, op);
    this.committedMax = Math.max(this.committedMax, op);
    this.viewMax = Math.max(this.viewMax, place.parts!.replica.view);
    executedChecksum.set(prepare.subarray(0, 4));
    this.trace.record(Kind.execute, place.index, op, executedWord[0]!);
    if (this.trace.logging) {
      const { replica } = place.parts!;
      const again = replayed ? " again" : "";
      const detail = `op ${op}${again} view ${replica.view} committed ${replica.commitMax} head ${replica.op}`;
      this.trace.log(place.name, "execute", detail);
    }
    this.load.onPrepareExecuted(place.index, op, prepare, replayed);
  }

  private onCheckpoint(place: Place, op: number): void {
    const id = place.checkpointId();
    this.count("checkpoints");
    this.trace.record(Kind.checkpoint, place.index, op, id[0]!);
    if (this.trace.logging) this.trace.log(place.name, "checkpoint", `op ${op}`);
    this.load.onCheckpoint(place.index, op, id);
  }

  onOpened(place: Place): void {
    const { replica } = place.parts!;
    place.syncing = false;
    this.viewMax = Math.max(this.viewMax, replica.view);
    this.trace.record(Kind.open, place.index, replica.commitMin, replica.view);
    if (this.trace.logging) {
      this.trace.log(place.name, "open", `view ${replica.view} committed ${replica.commitMin}`);
    }
    const { checkpointOp } = place.parts!.superblock;
    // A power cut after the superblock had moved, before the replica could say so.
    if (checkpointOp > place.executedMax) this.load.onStateSync(place.index, checkpointOp);
    this.load.onReplicaOpen(place.index);
  }

  onMoved(place: Place): void {
    const op = place.parts!.superblock.checkpointOp;
    this.count("state syncs");
    place.syncing = true;
    if (this.trace.logging) this.trace.log(place.name, "state sync", `to op ${op}`);
    if (place.disk.writesInFlight > 0) {
      this.fail(`${place.name} moved to another checkpoint and is writing still`);
    }
    const { generation } = place;
    this.callbacks.after(0, () => {
      if (place.generation !== generation) return;
      this.load.onStateSync(place.index, op);
      this.crash(place, false, exitUs);
    });
  }

  onFatal(place: Place, text: string): void {
    if (this.trace.logging) this.trace.log(place.name, "gave up", text);
    if (!place.fatalAllowed && !place.disk.failing && !place.diskFull)
      this.fail(`${place.name} gave up: ${text}`);
    this.count("gave up");
    const { generation } = place;
    this.callbacks.after(exitUs, () => {
      if (place.generation !== generation) return;
      this.crash(place, false, 10 * exitUs + this.faultRandom.below(2_000_000));
    });
  }

  private count(name: string): void {
    this.counts[name] = (this.counts[name] ?? 0) + 1;
  }

  // ── The network's ends ───────────────────────────────────────────────────────────────────────

  private onArrival(packet: Packet): void {
    const { from, to, bytes, words, size } = packet;
    if (from < this.replicaTotal && to < this.replicaTotal && !packet.corrupted) {
      this.heard(bytes, words);
    }
    this.recordDelivery(from, to, bytes, words, size);
  }

  /** A replica has heard this from another one. */
  private heard(bytes: Uint8Array, words: Uint32Array): void {
    this.promisedViews.told(bytes, words);
    this.acknowledged.told(bytes, words);
    this.viewLogs.told(bytes, words);
  }

  private recordDelivery(
    from: number,
    to: number,
    bytes: Uint8Array,
    words: Uint32Array,
    size: number,
  ): void {
    this.trace.record(Kind.deliver, from * 256 + to, size, words[0]!);
    this.delivered[bytes[frame.at.command]!]! += 1;
    if (!this.trace.logging) return;
    const what = `${commandName(bytes[frame.at.command]!)} of ${size} bytes`;
    const sender = from === 255 ? "" : ` from ${this.endName(from)}`;
    this.trace.log(this.endName(to), "receive", `${what}${sender}`);
  }

  private endName(end: number): string {
    return this.places[end]?.name ?? `c${end - this.replicaTotal}`;
  }

  private receiveAtClient(client: number, packet: Packet): number {
    const { bytes, words, size } = packet;
    const sound =
      checkFrame(bytes, words, 0, this.cluster) === FrameVerdict.ok &&
      words[frame.word.size] === size &&
      checkBody(bytes, 0, size);
    if (packet.corrupted) {
      if (sound) this.fail("a damaged message passed the checks");
      this.places[packet.from]!.breakConnection(packet.to);
      this.load.onDisconnect(client, packet.from);
      return 0;
    }
    if (!sound || headerRule(bytes, words, 0) !== HeaderRule.ok) {
      this.fail(`${this.endName(packet.from)} sent a client what breaks the rules of headers`);
    }
    this.load.onMessage(client, packet.from, bytes.subarray(0, size));
    return 0;
  }

  /** The same over byte streams. @returns false when the connection is to be closed. */
  private onFrameAtClient(
    client: number,
    replica: number,
    bytes: Uint8Array,
    words: Uint32Array,
    size: number,
  ): boolean {
    if (size === 0) {
      if (this.swarm.network.corruption > 0) return false;
      this.fail(`${this.endName(replica)} sent a client a message that is not sound`);
    }
    if (headerRule(bytes, words, 0) !== HeaderRule.ok) {
      this.fail(`${this.endName(replica)} sent a client what breaks the rules of headers`);
    }
    this.recordDelivery(replica, this.replicaTotal + client, bytes, words, size);
    this.load.onMessage(client, replica, bytes.subarray(0, size));
    return true;
  }

  onDelivered(place: Place, message: Message): void {
    this.heard(message.bytes, message.words);
    this.recordDelivery(255, place.index, message.bytes, message.words, message.size);
  }

  onBusLog(place: Place, text: string): void {
    if (this.trace.logging) this.trace.log(place.name, "bus", text);
    if (/checksum/.test(text) && this.swarm.network.corruption === 0) {
      this.fail(`${place.name}: ${text}`);
    }
  }

  // ── World ────────────────────────────────────────────────────────────────────────────────────

  get nowUs(): number {
    return this.queue.nowUs;
  }

  random(name: string): Prng {
    let random = this.randoms.get(name);
    if (random === undefined) {
      random = stream(this.seed, name);
      this.randoms.set(name, random);
    }
    return random;
  }

  after(delayUs: number, callback: () => void): void {
    this.callbacks.after(delayUs, callback);
  }

  sendToReplica(client: number, replica: number, message: Uint8Array): void {
    const stream = this.streams[client];
    if (stream !== undefined) stream.send(replica, message);
    else this.network.send(this.replicaTotal + client, replica, message, null, message.length);
  }

  note(who: string | Place, event: string, detail?: string | (() => string)): void {
    if (!this.trace.logging) return;
    const text = typeof detail === "function" ? detail() : (detail ?? "");
    this.trace.log(typeof who === "string" ? who : who.name, event, text);
  }

  digest(kind: number, a: number, b: number, c: number): void {
    this.trace.record(Kind.load + kind, a, b, c);
  }

  fail(reason: string): never {
    this.failure ??= reason;
    throw new SimulationFailure(reason);
  }

  replica(index: number): ReplicaView {
    return new View(this.places[index]!, this);
  }
}

const commandNames = new Map<number, string>(
  Object.entries(Command).map(([name, number]) => [number, name]),
);

function commandName(command: number): string {
  return commandNames.get(command) ?? `command ${command}`;
}

const executedChecksum = new Uint8Array(4);
const executedWord = new Uint32Array(executedChecksum.buffer);

class View implements ReplicaView {
  constructor(
    private readonly place: Place,
    private readonly simulation: Simulation,
  ) {}

  get index(): number {
    return this.place.index;
  }
  get standby(): boolean {
    return this.place.standby;
  }
  get up(): boolean {
    return this.place.state === PlaceState.up;
  }
  get parts(): ReplicaParts | null {
    return this.place.parts;
  }
  get starts(): number {
    return this.place.starts;
  }
  get view(): number {
    return this.place.parts?.replica.view ?? 0;
  }
  get op(): number {
    return this.place.parts?.replica.op ?? 0;
  }
  get commitMin(): number {
    return this.place.parts?.replica.commitMin ?? 0;
  }
  get commitMax(): number {
    return this.place.parts?.replica.commitMax ?? 0;
  }
  query(operation: number, body: Uint8Array): Uint8Array {
    const query = new StateQuery(this.place, () => this.simulation.queue.runNext());
    return query.run(operation, body);
  }
}
