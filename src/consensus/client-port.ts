/**
 * What a replica sends to clients beside fresh replies: pongs, evictions, and replies again.
 *
 * The view shown to clients is the durable log view: a client that learnt a view from the future
 * would be locked out, since its requests are dropped.
 */
import { assert } from "../core/assert.ts";
import { headerSize, replySlotSize } from "../core/limits.ts";
import { u64ReadNumber } from "../core/u128.ts";
import type { Connection } from "../io/connection.ts";
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
  readonly logView: number;
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
    if (session !== 0 && !known && this.state.commitMin >= session) {
      this.evict(words, clientAt, EvictionReason.noSession, connection);
      return;
    }
    const release = words[frame.word.release]!;
    if (release < clientReleaseMin) {
      this.evict(words, clientAt, EvictionReason.clientReleaseTooLow, connection);
    } else if (release > clientReleaseMax) {
      this.evict(words, clientAt, EvictionReason.clientReleaseTooHigh, connection);
    } else {
      this.pong(words, connection);
    }
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
    const view = this.state.logView;
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
    this.finish(message, connection);
  }

  private pong(ping: Uint32Array, connection: Connection): void {
    const message = this.options.replyPool.get(headerSize);
    if (message === null) {
      this.options.bus.relieve();
      return;
    }
    const { cluster, replica } = this.options;
    const view = this.state.logView;
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
    const size = sessions.replySize(slot);
    const message = this.options.replyPool.get(size);
    if (message === null) {
      this.options.bus.relieve();
      return;
    }
    const from = slot * replySlotSize;
    message.bytes.set(sessions.replies.bytes.subarray(from, from + size), 0);
    if (message.words[frame.word.view]! < this.state.logView) {
      message.words[frame.word.view] = this.state.logView;
      resealHeader(message.bytes, 0);
    }
    this.sendReply(message);
    this.options.replyPool.unref(message);
  }
}
