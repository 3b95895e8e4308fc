/** What a replica is made of: who it is, and what it works on. Composed by the server and the simulator. */
import type { Time } from "../io/io.ts";
import type { MessagePool } from "../io/message-pool.ts";
import type { StateMachine } from "../ledger/state-machine.ts";
import type { StorageEngine } from "../storage/engine.ts";
import type { Journal } from "../wal/journal.ts";
import type { Superblock } from "../wal/superblock.ts";
import type { Checkpointer } from "./checkpointer.ts";
import type { ClientSessions } from "./client-sessions.ts";
import type { ReplicaBus } from "./replica-bus.ts";
import type { ReplicaIdentity } from "./replica-state.ts";

export interface ReplicaOptions extends ReplicaIdentity {
  readonly journal: Journal;
  readonly superblock: Superblock;
  readonly storage: StorageEngine;
  readonly stateMachine: StateMachine;
  readonly sessions: ClientSessions;
  readonly checkpointer: Checkpointer;
  readonly checkpointInterval: number;
  readonly bus: ReplicaBus;
  /** For requests and prepares. */
  readonly pool: MessagePool;
  readonly replyPool: MessagePool;
  readonly time: Time;
  /** Checksum of the root prepare. */
  readonly formatId: Uint32Array;
  readonly log: (text: string) => void;
  /** Of what an operator should look into. */
  readonly warn: (text: string) => void;
  /** For the jitter of timeouts and the choice of peers. */
  readonly seed: number;
  /** Requests that may wait, in prepares. */
  readonly requestQueueMax: number;
  readonly requestSizeMax: number;
  readonly grouping: boolean;
  /** Lets what is being written end, and keeps everything below from writing more. */
  readonly quiesce: (onQuiet: () => void) => void;
  /** The superblock has moved to a checkpoint of the cluster's: open the replica anew. */
  readonly onMoved: () => void;
  /** Something that no replica may go on after. */
  readonly onFatal: (text: string) => void;
}
