/**
 * What the simulated world and those who live in it know of each other. The world (network, disks,
 * clocks, replicas, faults) offers `World`; clients, workload and checkers together are one `Load`,
 * which the world makes once per seed, starts, tells what replicas do, and judges by in the end.
 *
 * Rules:
 * - Everything is one thread and synchronous: no promises, no timers but `World.after`, no
 *   randomness but `World.random`, no clock but `World.nowUs`.
 * - Time is in whole microseconds since the seed's start.
 * - Bytes handed to a call are the callee's only during the call; what it keeps, it copies.
 * - `fail` throws: nothing after it runs. The driver reports the seed.
 */
import type { ReplicaParts } from "../../src/consensus/open-replica.ts";
import type { Prng } from "../../src/core/prng.ts";

/** What clients and the workload are told to be like; drawn by the world from the seed. */
export interface LoadOptions {
  /** Sessions that the data files were formatted for. */
  readonly clientsMax: number;
  /** Endpoints 0 … clients − 1 that send requests; may be more than `clientsMax`. */
  readonly clients: number;
  /** Accounts that the workload works on, roughly. */
  readonly accounts: number;
  /** Events of a request at most. */
  readonly eventsMax: number;
  /** Mean pause of a client between a reply and its next request. Microseconds. */
  readonly thinkUs: number;
  /** Probability that the next request follows a reply at once instead. */
  readonly burst: number;
  /** Pause after which a request without an answer is sent again (and backed off). Microseconds. */
  readonly retryUs: number;
}

export interface World {
  readonly seed: bigint;
  readonly options: LoadOptions;
  /** Cluster id, four words. */
  readonly cluster: Uint32Array;
  /** Voting replicas; those from here to `replicaTotal` − 1 are standbys. */
  readonly replicaCount: number;
  readonly replicaTotal: number;
  /** Microseconds since the start; never goes back. */
  readonly nowUs: number;
  /**
   * The log is as long as this seed wants it: no new requests from here on, only repeats of those
   * that wait for an answer. Becomes true once, in either phase.
   */
  readonly enough: boolean;

  /**
   * The random stream of this name: the same for one seed whatever other streams draw. Ask once and
   * keep it. Names in use: see `Stream` in streams.ts; a load's begin with "load".
   */
  random(name: string): Prng;

  /** Calls back once, `delayUs` (≥ 0) later, never from inside this call. */
  after(delayUs: number, callback: () => void): void;

  /**
   * Sends a whole message (header and body, sealed) from a client to a replica or standby. Copied.
   * It may be lost, doubled, delayed, overtaken or damaged on its way; the replica's side of the
   * connection learns who the client is from what arrives on it, as the real bus does: a reply goes
   * to the endpoint from which the replica last heard that client id, and is lost when it never
   * did, or has restarted since. So clients ping (ping_client) every replica now and then.
   */
  sendToReplica(client: number, replica: number, message: Uint8Array): void;

  /** Adds a line to the column log, if one is kept; costs nothing otherwise. */
  note(who: string, event: string, detail?: () => string): void;

  /** Adds to the running digest: whatever a load does that replay must repeat. */
  digest(kind: number, a: number, b: number, c: number): void;

  /** The run has failed. */
  fail(reason: string): never;

  /** A replica's state. Look only, and only inside hooks or at quiescent points. */
  replica(index: number): ReplicaView;
}

export interface ReplicaView {
  readonly index: number;
  readonly standby: boolean;
  /** Running and normal: null parts otherwise. */
  readonly up: boolean;
  /** The incarnation's parts, from composition to the crash; null when down. */
  readonly parts: ReplicaParts | null;
  /** Incarnations so far: 1 for the first. */
  readonly starts: number;
  readonly view: number;
  readonly op: number;
  readonly commitMin: number;
  readonly commitMax: number;
  /**
   * Executes a read-only operation of the state machine on the present state, outside of the log:
   * only in `Load.finish`. The result is the body of the reply, valid until the next call.
   */
  query(operation: number, body: Uint8Array): Uint8Array;
}

/** Clients, workload and checkers of one seed. All hooks are called in simulated time's order. */
export interface Load {
  /** Called once, when the replicas have been formatted and before any has started. */
  start(): void;

  /** A message from a replica or standby has arrived at a client's endpoint: checked as a frame. */
  onMessage(client: number, replica: number, message: Uint8Array): void;
  /** The connection between the two was cut: the replica restarted, or a fault took it. */
  onDisconnect(client: number, replica: number): void;

  /**
   * A prepare was handed to a replica's journal (also by repair and state sync). Once an op of a
   * view is acknowledged, its bytes are known here.
   */
  onPrepareWritten(replica: number, op: number, prepare: Uint8Array): void;
  /**
   * A replica has executed an op, and stored and sent its replies. `prepare` is header and body;
   * a group's body ends with its table (src/consensus/prepare-requests.ts).
   * @param replayed - Executed again after a restart: it was executed before, or was committed.
   */
  onPrepareExecuted(replica: number, op: number, prepare: Uint8Array, replayed: boolean): void;
  /** A checkpoint has become durable on a replica. `id`: four words, copied by whoever keeps it. */
  onCheckpoint(replica: number, op: number, id: Uint32Array): void;
  /** A replica has moved to a checkpoint of the cluster's: its next executed op is op + 1. */
  onStateSync(replica: number, op: number): void;

  /** A replica begins to open its file; then it is normal, recovered to `commitMin`. */
  onReplicaStart(replica: number): void;
  onReplicaOpen(replica: number): void;
  /** A replica has lost all that was not durable. */
  onReplicaCrash(replica: number): void;

  /** Requests (repeats not counted) that were answered so far; the world watches it for progress. */
  readonly answered: number;
  /** No request is waiting for an answer. */
  readonly idle: boolean;
  /**
   * The liveness phase begins: faults have ended on the core, and everything that is asked must be
   * answered. New requests go on until `World.enough`, repeats until they are answered. The world
   * fails the seed if `idle` does not become true then within a bound of simulated time.
   */
  onHealed(): void;
  /**
   * Nothing is in flight any more. Compares the replicas of the core with each other and with the
   * model, and fails if anything is wrong.
   * @param core - Indices of replicas that are up and have executed everything committed.
   */
  finish(core: readonly number[]): void;

  /** Lines for the summary, such as "queries" → 120. */
  readonly figures: Readonly<Record<string, number>>;
}

/** What `clients/load.ts` exports as `createLoad`. */
export type CreateLoad = (world: World) => Load;
