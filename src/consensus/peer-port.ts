/**
 * What a replica says to its peers, beside prepares and blocks: one method per message. Messages are
 * small and come from the reply pool; when none is free the message is not sent, as if lost.
 */
import { headerSize } from "../core/limits.ts";
import type { Message, MessagePool } from "../io/message-pool.ts";
import {
  headersMax,
  headersSizeMax,
  joinViewSizeMax,
  viewSizeMax,
} from "../wire/replica-headers.ts";
import {
  type JoinViewFields,
  type PingFields,
  type ViewFields,
  writeCommit,
  writeExitView,
  writeGetHeaders,
  writeGetPrepare,
  writeGetView,
  writeHeaders,
  writeJoinView,
  writePing,
  writePong,
  writePrepareOk,
  writeView,
} from "../wire/replica-messages.ts";
import type { ReplicaBus } from "./replica-bus.ts";
import type { ReplicaState } from "./replica-state.ts";

const headerWords = headerSize / 4;

export class PeerPort {
  private readonly commitId = new Uint32Array(4);

  constructor(
    private readonly state: ReplicaState,
    private readonly bus: ReplicaBus,
    private readonly pool: MessagePool,
  ) {}

  /** Sends to all other replicas; gives up the caller's reference. */
  private broadcast(message: Message): void {
    this.broadcastKept(message);
    message.pool.unref(message);
  }

  /** Sends to all other replicas, and to standbys. */
  broadcastKept(message: Message): void {
    for (let replica = 0; replica < this.state.memberCount; replica += 1) {
      if (replica !== this.state.replica) this.bus.sendToReplica(replica, message);
    }
  }

  private send(replica: number, message: Message): void {
    this.bus.sendToReplica(replica, message);
    message.pool.unref(message);
  }

  ping(fields: PingFields): void {
    const message = this.pool.get(headerSize);
    if (message === null) return;
    const { cluster, replica, superblock } = this.state;
    writePing(message.bytes, message.words, cluster, superblock.view, replica, fields);
    this.broadcast(message);
  }

  pong(ping: Message, to: number, wall: Uint32Array): void {
    const message = this.pool.get(headerSize);
    if (message === null) return;
    const { cluster, replica, superblock } = this.state;
    // Who replaces a lost file wants to know of every view that others may hold votes of that one for.
    const view = Math.max(this.state.view, superblock.view);
    writePong(message.bytes, message.words, cluster, view, replica, ping.words, wall);
    this.send(to, message);
  }

  /** @param at - Index of the prepare's header in `words`. */
  prepareOk(to: number, words: Uint32Array, at: number): void {
    const message = this.pool.get(headerSize);
    if (message === null) return;
    const { cluster, view, replica, commitMin, superblock } = this.state;
    const { checkpointOp } = superblock;
    writePrepareOk(
      message.bytes,
      message.words,
      cluster,
      view,
      replica,
      words,
      at,
      commitMin,
      checkpointOp,
    );
    this.send(to, message);
  }

  /** The primary's heartbeat: what it has executed. */
  commit(): void {
    const message = this.pool.get(headerSize);
    if (message === null) return;
    const { cluster, view, replica, commitMin, executedChecksum, superblock } = this.state;
    superblock.copyCheckpointId(this.commitId, 0);
    writeCommit(
      message.bytes,
      message.words,
      cluster,
      view,
      replica,
      executedChecksum,
      0,
      commitMin,
      this.commitId,
      superblock.checkpointOp,
    );
    this.broadcast(message);
  }

  exitView(): void {
    const message = this.pool.get(headerSize);
    if (message === null) return;
    const { cluster, view, replica } = this.state;
    writeExitView(message.bytes, message.words, cluster, view, replica);
    this.broadcast(message);
  }

  /** @param headers - As many as `headerCount`, of `fields.op` downwards. */
  joinView(fields: JoinViewFields, headers: Uint32Array, headerCount: number): void {
    const message = this.pool.get(joinViewSizeMax);
    if (message === null) return;
    const { cluster, view, replica } = this.state;
    this.putHeaders(message, headerWords, headers, headerCount);
    writeJoinView(message.bytes, message.words, cluster, view, replica, fields, headerCount);
    this.broadcast(message);
  }

  /**
   * @param to - One replica, or −1 for all others.
   * @param headers - As many as `headerCount`, of `fields.op` downwards.
   */
  view(to: number, fields: ViewFields, headers: Uint32Array, headerCount: number): void {
    const message = this.pool.get(viewSizeMax);
    if (message === null) return;
    const { cluster, view, replica, superblock } = this.state;
    const { checkpointState } = superblock;
    message.words.set(checkpointState, headerWords);
    this.putHeaders(message, headerWords + checkpointState.length, headers, headerCount);
    writeView(message.bytes, message.words, cluster, view, replica, fields, headerCount);
    if (to === -1) this.broadcast(message);
    else this.send(to, message);
  }

  private putHeaders(message: Message, at: number, headers: Uint32Array, count: number): void {
    message.words.set(headers.subarray(0, count * headerWords), at);
  }

  /** @param view - The lowest that is of use. */
  getView(to: number, nonce: Uint32Array, view = this.state.view): void {
    this.askForView(to, nonce, view, false);
  }

  /** Asks for a newer checkpoint, to open with. */
  getCheckpoint(to: number, nonce: Uint32Array): void {
    this.askForView(to, nonce, 0, true);
  }

  private askForView(to: number, nonce: Uint32Array, view: number, opening: boolean): void {
    const message = this.pool.get(headerSize);
    if (message === null) return;
    const { cluster, replica } = this.state;
    writeGetView(message.bytes, message.words, cluster, view, replica, nonce, opening);
    this.send(to, message);
  }

  getHeaders(to: number, opMin: number, opMax: number): void {
    const message = this.pool.get(headerSize);
    if (message === null) return;
    const { cluster, replica } = this.state;
    writeGetHeaders(message.bytes, message.words, cluster, 0, replica, opMin, opMax);
    this.send(to, message);
  }

  /** Answers with the headers that the journal knows from `opMax` down to `opMin`, if any. */
  headers(to: number, opMin: number, opMax: number): void {
    const { journal, cluster, view, replica } = this.state;
    const message = this.pool.get(headersSizeMax);
    if (message === null) return;
    let count = 0;
    for (let op = opMax; op >= opMin && count < headersMax && journal.hasHeader(op); op -= 1) {
      const from = journal.headerAt(op);
      message.words.set(
        journal.headers.subarray(from, from + headerWords),
        headerWords * (1 + count),
      );
      count += 1;
    }
    if (count === 0) {
      message.pool.unref(message);
      return;
    }
    writeHeaders(message.bytes, message.words, cluster, view, replica, count);
    this.send(to, message);
  }

  getPrepare(to: number, op: number, checksum: Uint32Array, checksumAt: number): void {
    const message = this.pool.get(headerSize);
    if (message === null) return;
    const { cluster, replica } = this.state;
    writeGetPrepare(message.bytes, message.words, cluster, 0, replica, checksum, checksumAt, op);
    this.send(to, message);
  }
}
