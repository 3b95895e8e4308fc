/**
 * The way from a data file to a serving replica:
 *
 *   storage at the checkpoint ▶ (after a state sync: its missing blocks) ▶ ledger and sessions from its trailers ▶ kept replies ▶ in-memory
 *   indexes ▶ journal recovered (dead slots overwritten) ▶ view raised, durably ▶ log replayed
 *   ▶ replies accounted for ▶ normal
 *
 * One of several that misses a block which nobody has takes its place with its journal alone meanwhile: to
 * make that block, others may need what only its journal holds, or its vote. It is whole when the rest has opened.
 *
 * The view rises at every start of a cluster of one, so that an op lost in a torn write and a new
 * op with the same number are in different views.
 *
 * A kept reply that is damaged, or newer than the checkpoint, is no loss if the replay makes it
 * anew, which it does for every session that executed a request after the checkpoint. Otherwise the
 * file has lost something that a client may ask for, and the replica does not start.
 */
import { replySlotSize } from "../core/limits.ts";
import type { FileIo, IoBuffer } from "../io/io.ts";
import type { MessagePool } from "../io/message-pool.ts";
import type { StateMachine } from "../ledger/state-machine.ts";
import type { StorageEngine } from "../storage/engine.ts";
import { type ClientReplies, ReplyRead } from "../wal/client-replies.ts";
import type { Journal } from "../wal/journal.ts";
import type { Recovery } from "../wal/journal-recovery.ts";
import type { Superblock } from "../wal/superblock.ts";
import { frame } from "../wire/header.ts";
import type { BlockRepair } from "./block-repair.ts";
import { type Checkpointer, TrailerIndex } from "./checkpointer.ts";
import type { ClientSessions } from "./client-sessions.ts";
import { layViewOver } from "./recovered-log.ts";
import { type Replica, Status } from "./replica.ts";

export interface ReplicaParts {
  /** Opened. */
  readonly superblock: Superblock;
  readonly journal: Journal;
  readonly storage: StorageEngine;
  readonly stateMachine: StateMachine;
  readonly sessions: ClientSessions;
  readonly replies: ClientReplies;
  readonly checkpointer: Checkpointer;
  /** Gets from peers what is missing here, from now on; null in a cluster of one. */
  readonly blockRepair: BlockRepair | null;
  readonly replica: Replica;
  readonly pool: MessagePool;
  readonly io: FileIo;
  readonly log: (text: string) => void;
}

/**
 * Opens everything and replays the log. `onDone(null)`: the replica is normal and may be given
 * messages; otherwise one sentence says what is wrong and what can be done.
 */
export function openReplica(parts: ReplicaParts, onDone: (error: string | null) => void): void {
  new Opening(parts, onDone).start();
}

const noHeaders = new Uint32Array(0);

class Opening {
  private readonly parts: ReplicaParts;
  private readonly onDone: (error: string | null) => void;
  private readonly checkpointOp: number;
  /** It has begun to open its journal before its storage was open. */
  private logAlone = false;
  /** It has joined its cluster by that. */
  private joined = false;
  /** All but the journal is open. */
  private stateReady = false;
  /** Slots whose kept reply could not be loaded. */
  private readonly missingReplies: number[] = [];
  private slot = -1;
  private readonly replyBuffer: IoBuffer;

  constructor(parts: ReplicaParts, onDone: (error: string | null) => void) {
    this.parts = parts;
    this.onDone = onDone;
    this.checkpointOp = parts.superblock.checkpointOp;
    this.replyBuffer = parts.io.allocate(replySlotSize);
  }

  start(): void {
    const { storage, superblock, blockRepair, log } = this.parts;
    if (superblock.syncing) {
      const { syncOpMin, syncOpMax } = superblock;
      const from = `of ops from ${syncOpMin} on`;
      log(`fetching what the checkpoint at op ${syncOpMax} has ${from} from other replicas`);
      blockRepair?.beginFetch();
    } else if (this.logCounts()) {
      this.parts.replica.watchOpening(() => this.joinWithLog());
    }
    storage.open(superblock.storageRoot, (error) => {
      if (error !== null) this.onDone(error);
      else if (superblock.syncing) this.completeSync();
      else this.restore();
    });
  }

  /**
   * Whether the log is worth something to others without the state. What is acknowledged says that the
   * checkpoint below it is here: of one that is yet to be fetched nothing is. A file that replaces a lost one
   * has no vote, and a standby never has.
   */
  private logCounts(): boolean {
    const { superblock, replica } = this.parts;
    return replica.replicaCount > 1 && !replica.isStandby && !superblock.recovering;
  }

  private joinWithLog(): void {
    this.logAlone = true;
    this.parts.log(
      "no other replica has sent what is damaged here of the checkpoint: meanwhile this one votes and " +
        "acknowledges with its journal alone, so that others can go on",
    );
    this.openJournal();
  }

  /** The superblock moved to a checkpoint of which this file may have nothing. */
  private completeSync(): void {
    const { storage, superblock, blockRepair, log } = this.parts;
    storage.fetchMissing(superblock.syncOpMin, () => {
      blockRepair?.endFetch();
      superblock.updateSyncComplete(() => {
        log(`the checkpoint at op ${this.checkpointOp} is complete`);
        this.restore();
      });
    });
  }

  private restore(): void {
    const { storage, stateMachine, sessions, checkpointer } = this.parts;
    checkpointer.startAt(this.checkpointOp);
    if (this.checkpointOp > 0) {
      const ledger = storage.trailer(TrailerIndex.ledger);
      const clients = storage.trailer(TrailerIndex.sessions);
      if (
        ledger.length !== stateMachine.snapshotWords * 4 ||
        !stateMachine.restore(ledger.words, 0) ||
        !sessions.restore(clients.words, clients.length / 4)
      ) {
        this.onDone(
          "The checkpoint holds a ledger state or session table that this program cannot read; " +
            "start the version that wrote it.",
        );
        return;
      }
    }
    this.loadNextReply();
  }

  private readonly loadNextReply = (): void => {
    const { sessions, replies } = this.parts;
    this.slot += 1;
    while (this.slot < sessions.clientsMax && !sessions.replyKept(this.slot)) this.slot += 1;
    if (this.slot === sessions.clientsMax) {
      this.openLedger();
      return;
    }
    replies.read(this.slot, this.replyBuffer, this.onReplyRead);
  };

  private readonly onReplyRead = (slot: number, result: number): void => {
    const { sessions } = this.parts;
    const size = this.replyBuffer.words[frame.word.size]!;
    if (result === ReplyRead.ok && size === sessions.replySize(slot)) {
      sessions.replies.bytes.set(this.replyBuffer.bytes.subarray(0, size), slot * replySlotSize);
    }
    if (!sessions.keptReplyMatches(slot)) this.missingReplies.push(slot);
    this.loadNextReply();
  };

  private openLedger(): void {
    if (this.parts.stateMachine.open(this.onState)) this.onState();
  }

  private readonly onState = (): void => {
    this.stateReady = true;
    this.parts.replica.watchOpening(null);
    if (!this.logAlone) this.openJournal();
    else if (this.joined) this.beWhole();
  };

  private openJournal(): void {
    const { journal, superblock, replica, log } = this.parts;
    journal.open(
      {
        checkpointOp: this.checkpointOp,
        checkpointHeader: superblock.checkpointHeader,
        checkpointHeaderAt: 0,
        commitMax: superblock.commitMax,
        single: replica.replicaCount === 1,
      },
      (recovery) => {
        // A stop was asked for meanwhile.
        if (replica.status === Status.stopped) return;
        for (const note of recovery.notes) log(note);
        if (recovery.fatal !== null) {
          this.onDone(recovery.fatal);
        } else if (replica.replicaCount === 1) {
          this.raiseView(recovery.opHead);
        } else {
          this.joinCluster(recovery);
        }
      },
    );
  }

  private raiseView(opHead: number): void {
    const { superblock, replica } = this.parts;
    const view = superblock.view + 1;
    // In a cluster of one, everything that recovery kept counts as committed.
    superblock.updateView(view, view, opHead, noHeaders, 0, () => {
      if (replica.status === Status.stopped) return;
      replica.startAt(this.checkpointOp, superblock.checkpointHeader, opHead, opHead);
      if (opHead > this.checkpointOp) {
        this.parts.log(`replaying ops ${this.checkpointOp + 1} to ${opHead}`);
      }
      if (replica.replayLog(() => this.finish())) this.finish();
    });
  }

  /** One of several: what is committed beyond the checkpoint, the others will tell. */
  private joinCluster(recovery: Recovery): void {
    const { superblock, journal, replica } = this.parts;
    const head = layViewOver(journal, superblock);
    replica.startAt(this.checkpointOp, superblock.checkpointHeader, head, recovery.commitKnown);
    replica.stateOpen = this.stateReady;
    if (this.stateReady) this.beginServing();
    replica.joinCluster(recovery.headUncertain);
    this.joined = true;
    if (this.stateReady) this.onDone(null);
  }

  private beginServing(): void {
    // What their sessions do next makes up for them, or other replicas do.
    for (const slot of this.missingReplies) this.parts.sessions.markReplyMissing(slot);
    this.parts.blockRepair?.startScrubbing();
  }

  /** The state of one that has joined with its log alone is open. */
  private beWhole(): void {
    const { replica } = this.parts;
    this.beginServing();
    replica.openState();
    this.onDone(null);
  }

  private finish(): void {
    if (this.repliesLost()) return;
    this.parts.replica.becomeNormal();
    this.onDone(null);
  }

  private repliesLost(): boolean {
    const { sessions } = this.parts;
    for (const slot of this.missingReplies) {
      if (!sessions.replyKept(slot) || sessions.replyOp(slot) > this.checkpointOp) continue;
      this.onDone(
        `Client reply slot ${slot} is damaged: the reply of op ${sessions.replyOp(slot)}, which a ` +
          "client may ask for again, is lost; restore the data file from a copy.",
      );
      return true;
    }
    return false;
  }
}
