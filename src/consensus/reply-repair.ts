/**
 * Kept replies that this replica's file has lost, or that it never had because it moved to another
 * checkpoint: fetched from peers while the replica serves. Until one is here, a client that repeats its
 * request gets no answer from this replica, and repeats it again.
 *
 * A reply is taken only if its header is the one in the session table, whole; that pins its body.
 * What has been replaced by a newer reply meanwhile is not missing any more.
 */
import { headerSize, replySlotSize } from "../core/limits.ts";
import type { Prng } from "../core/prng.ts";
import { u64ReadNumber, u128Equal } from "../core/u128.ts";
import type { Message, MessagePool } from "../io/message-pool.ts";
import { checkReply } from "../wal/client-replies.ts";
import { Fault } from "../wal/headers.ts";
import { frame, replyHeader } from "../wire/header.ts";
import { getReplyHeader } from "../wire/replica-headers.ts";
import { writeGetReply } from "../wire/replica-messages.ts";
import { choosePeer } from "./choose-peer.ts";
import type { ClientSessions } from "./client-sessions.ts";
import type { ReplicaBus } from "./replica-bus.ts";

/** Replies on their way at the same time. */
const asksMax = 4;

/** A reply that did not come is asked for again after so many ticks: 500 ms. */
const expiryTicks = 50;

export interface ReplyRepairOptions {
  readonly cluster: Uint32Array;
  /** Own index. */
  readonly replica: number;
  readonly replicaCount: number;
  /** With standbys. */
  readonly memberCount: number;
  readonly bus: ReplicaBus;
  readonly sessions: ClientSessions;
  readonly pool: MessagePool;
  readonly prng: Prng;
}

class Ask {
  /** Session slot, or −1. */
  slot = -1;
  peer = -1;
  untilTick = 0;
}

export class ReplyRepair {
  readonly counters = { asked: 0, received: 0, served: 0, refused: 0 };
  private readonly options: ReplyRepairOptions;
  private readonly asks: Ask[] = [];
  private ticks = 0;
  /** Where the search for the next missing reply goes on. */
  private nextSlot = 0;

  constructor(options: ReplyRepairOptions) {
    this.options = options;
    for (let count = 0; count < asksMax; count += 1) this.asks.push(new Ask());
  }

  tick(): void {
    this.ticks += 1;
    const { sessions } = this.options;
    for (let index = 0; index < asksMax; index += 1) {
      const ask = this.asks[index]!;
      if (ask.slot === -1) continue;
      if (!sessions.replyMissing(ask.slot)) this.end(ask);
      else if (this.ticks >= ask.untilTick) this.send(ask);
    }
    this.fill();
  }

  /** Begins to ask for missing replies that nobody was asked for. */
  private fill(): void {
    const { sessions } = this.options;
    if (sessions.missingReplies === 0) return;
    for (let index = 0; index < asksMax; index += 1) {
      const ask = this.asks[index]!;
      if (ask.slot !== -1) continue;
      const slot = this.nextMissing();
      if (slot === -1) return;
      ask.slot = slot;
      this.send(ask);
    }
  }

  private nextMissing(): number {
    const { sessions } = this.options;
    for (let count = 0; count < sessions.clientsMax; count += 1) {
      const slot = this.nextSlot;
      this.nextSlot = (slot + 1) % sessions.clientsMax;
      if (!sessions.replyMissing(slot)) continue;
      if (!this.asks.some((ask) => ask.slot === slot)) return slot;
    }
    return -1;
  }

  private end(ask: Ask): void {
    ask.slot = -1;
    ask.peer = -1;
  }

  private send(ask: Ask): void {
    const { cluster, replica, sessions, pool, bus } = this.options;
    ask.peer = choosePeer(this.options, ask.peer);
    ask.untilTick = this.ticks + expiryTicks;
    const message = pool.get(headerSize);
    if (message === null) return;
    const headers = sessions.headerWordsOf;
    const at = sessions.headerAt(ask.slot);
    writeGetReply(
      message.bytes,
      message.words,
      cluster,
      0,
      replica,
      headers,
      at + frame.word.checksum,
      headers,
      at + replyHeader.word.client,
      sessions.replyOp(ask.slot),
    );
    // With no way to that peer it is another one's turn at the next tick.
    if (!bus.sendToReplica(ask.peer, message)) ask.untilTick = this.ticks + 1;
    else this.counters.asked += 1;
    pool.unref(message);
  }

  /** A reply has arrived from a peer: its frame is sound, the rest is anybody's. */
  onReply(message: Message): void {
    const { sessions, cluster } = this.options;
    const slot = sessions.find(message.words, replyHeader.word.client);
    const wanted =
      slot !== -1 &&
      sessions.replyMissing(slot) &&
      sessions.headerMatches(slot, message.words) &&
      checkReply(message, 0, cluster) === Fault.none;
    if (!wanted) {
      this.counters.refused += 1;
      return;
    }
    sessions.takeReply(slot, message.bytes);
    this.counters.received += 1;
    const ask = this.asks.find((candidate) => candidate.slot === slot);
    if (ask !== undefined) this.end(ask);
    this.fill();
  }

  onGetReply(message: Message): void {
    const { cluster, sessions, pool, bus, replica, memberCount } = this.options;
    const { words } = message;
    const to = message.bytes[frame.at.replica]!;
    if (to >= memberCount || to === replica) return;
    const slot = sessions.find(words, getReplyHeader.word.client);
    if (slot === -1 || !sessions.replyKept(slot) || sessions.replyMissing(slot)) return;
    const headers = sessions.headerWordsOf;
    const at = sessions.headerAt(slot);
    const asked =
      sessions.replyOp(slot) === u64ReadNumber(words, getReplyHeader.word.op) &&
      u128Equal(headers, at + frame.word.checksum, words, getReplyHeader.word.replyChecksum);
    if (!asked) return;
    const size = sessions.replySize(slot);
    const reply = pool.get(size);
    if (reply === null) return;
    const from = slot * replySlotSize;
    reply.bytes.set(sessions.replies.bytes.subarray(from, from + size), 0);
    // While this replica opens, its own kept replies are still on their way from the file.
    const here = checkReply(reply, 0, cluster) === Fault.none;
    if (here && sessions.headerMatches(slot, reply.words) && bus.sendToReplica(to, reply)) {
      this.counters.served += 1;
    }
    pool.unref(reply);
  }
}
