/**
 * What a replica sends to clients beside fresh replies: pongs, evictions, and replies again.
 *
 * The view shown to clients is the durable log view: a client that learnt a view from the future
 * would be locked out, since its requests are dropped.
 */
import { assert } from "../core/assert.ts";
import { headerSize, replySlotSize } from "../core/limits.ts";
import { u64ReadNumber } from "../core/u128.ts";
import { type Connection, Peer } from "../io/connection.ts";
import type { Message, MessagePool } from "../io/message-pool.ts";
import { resealHeader, writeEviction, writePongClient } from "../wire/build.ts";
import {
  EvictionReason,
  frame,
  pingClientHeader,
  replyHeader,
  requestHeader,
} from "../wire/header.ts";
import { clientReleaseMax, clientReleaseMin, ownRelease } from "../wire/release.ts";
import type { ClientSessions } from "./client-sessions.ts";

/** The part of the message bus that a replica needs for its clients. */
export interface ClientBus {
  /** Sends to where the client's replies go; false: dropped, the client retries. */
  sendToClient(clientWords: Uint32Array, clientAt: number, message: Message): boolean;
  /** Answers on the connection that a message came from; only from inside `onMessage`. */
  sendOn(connection: Connection, message: Message): boolean;
  /** The messages to send from have run out: makes the slowest reader give its up. */
  relieve(): void;
}

export interface ClientPortOptions {
  readonly bus: ClientBus;
  readonly replyPool: MessagePool;
  readonly sessions: ClientSessions;
  readonly cluster: Uint32Array;
  readonly replica: number;
}

/** The parts of the replica's state that clients are shown. */
export interface ClientPortState {
  /** The durable log view. */
  readonly shownView: number;
  /** Only a primary evicts. */
  readonly isNormalPrimary: boolean;
  /** Last op executed here: what the session table shows. */
  readonly commitMin: number;
}

export class ClientPort {
  private readonly options: ClientPortOptions;
  private readonly state: ClientPortState;

  constructor(options: ClientPortOptions, state: ClientPortState) {
    this.options = options;
    this.state = state;
  }

  sendReply(reply: Message): void {
    this.options.bus.sendToClient(reply.words, replyHeader.word.client, reply);
  }

  onPingClient(ping: Message, connection: Connection): void {
    const words = ping.words;
    const session = u64ReadNumber(words, pingClientHeader.word.session);
    const clientAt = pingClientHeader.word.client;
    const known = this.options.sessions.find(words, clientAt) !== -1;
    const evicts = this.state.isNormalPrimary;
    if (evicts && session !== 0 && !known && this.state.commitMin >= session) {
      this.evict(words, clientAt, EvictionReason.noSession, connection);
      return;
    }
    const release = words[frame.word.release]!;
    let fault = 0;
    if (release < clientReleaseMin) fault = EvictionReason.clientReleaseTooLow;
    else if (release > clientReleaseMax) fault = EvictionReason.clientReleaseTooHigh;
    if (fault === 0) this.pong(words, connection);
    else if (evicts) this.evict(words, clientAt, fault, connection);
  }

  sendEviction(request: Message, reason: number, connection: Connection): void {
    this.evict(request.words, requestHeader.word.client, reason, connection);
  }

  private evict(
    words: Uint32Array,
    clientAt: number,
    reason: number,
    connection: Connection,
  ): void {
    const message = this.options.replyPool.get(headerSize);
    if (message === null) {
      this.options.bus.relieve(); // The client's retry asks again.
      return;
    }
    const { cluster, replica } = this.options;
    const view = this.state.shownView;
    writeEviction(
      message.bytes,
      message.words,
      0,
      words,
      clientAt,
      cluster,
      view,
      ownRelease,
      replica,
      reason,
    );
    // A backup passed the request on: the client is told where its replies go, if it is connected.
    if (connection.peer === Peer.replica) {
      this.options.bus.sendToClient(words, clientAt, message);
      this.options.replyPool.unref(message);
    } else {
      this.finish(message, connection);
    }
  }

  private pong(ping: Uint32Array, connection: Connection): void {
    const message = this.options.replyPool.get(headerSize);
    if (message === null) {
      this.options.bus.relieve();
      return;
    }
    const { cluster, replica } = this.options;
    const view = this.state.shownView;
    writePongClient(message.bytes, message.words, 0, ping, 0, cluster, view, ownRelease, replica);
    this.finish(message, connection);
  }

  private finish(message: Message, connection: Connection): void {
    this.options.bus.sendOn(connection, message);
    this.options.replyPool.unref(message);
  }

  /** Sends the kept reply of a session again; only its view may have risen since. */
  repeatReply(slot: number): void {
    const sessions = this.options.sessions;
    assert(sessions.replyKept(slot), "the reply of a change is kept");
    if (sessions.replyMissing(slot)) return; // The client asks again, here or elsewhere.
    const size = sessions.replySize(slot);
    const message = this.options.replyPool.get(size);
    if (message === null) {
      this.options.bus.relieve();
      return;
    }
    const from = slot * replySlotSize;
    message.bytes.set(sessions.replies.bytes.subarray(from, from + size), 0);
    if (message.words[frame.word.view]! < this.state.shownView) {
      message.words[frame.word.view] = this.state.shownView;
      resealHeader(message.bytes, 0);
    }
    this.sendReply(message);
    this.options.replyPool.unref(message);
  }
}
