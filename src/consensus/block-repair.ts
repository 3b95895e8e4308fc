/**
 * Fetches from peers what this replica's file has lost or never had, and answers what they miss:
 * blocks of the grid, which replicas have in common byte for byte, and kept replies
 * (reply-repair.ts). It works from the composition on, also while the replica opens: that is when a
 * replica that moved to another checkpoint finds all blocks missing.
 *
 *             want              ask (≤ 4 per message)          block arrives, storage takes it
 *   (none) ─────────▶ waiting ─────────────────────▶ asked ─────────────────────────▶ (none)
 *                        ▲                             │
 *                        └── no answer in time, a wrong one, or "not here": another peer
 *
 * A block that every peer in reach says not to have is *denied*: the cluster may have moved on to a newer
 * checkpoint and reused its address. It is asked for on and on all the same, as after no answer: who said
 * so may have lagged behind, or lied, and others may come back.
 *
 * Nothing that a peer sends is believed: a block that nobody asked for is dropped, and the storage
 * takes only the one that the reference names.
 *
 * Bounds: storage wants at most `repairsMax` blocks; all of them may be on their way.
 */
import { assert } from "../core/assert.ts";
import { headerSize } from "../core/limits.ts";
import type { Prng } from "../core/prng.ts";
import { u64ReadNumber, u128Equal } from "../core/u128.ts";
import type { IoBuffer } from "../io/io.ts";
import type { Message, MessagePool } from "../io/message-pool.ts";
import { repairsMax } from "../storage/block-repairs.ts";
import type { StorageEngine } from "../storage/engine.ts";
import type { BlockRepairer, DamagedBlock } from "../storage/options.ts";
import { Scrubber } from "../storage/scrubber.ts";
import { Command, frame } from "../wire/header.ts";
import {
  blockHeader,
  blockMessageSize,
  blockRequest,
  blockRequestsMax,
  getBlocksSizeMax,
} from "../wire/replica-headers.ts";
import { blockRequestAt, writeBlockRequest, writeGetBlocks } from "../wire/replica-messages.ts";
import { BlockServing } from "./block-serving.ts";
import { choosePeer } from "./choose-peer.ts";
import type { ClientSessions } from "./client-sessions.ts";
import type { ReplicaBus } from "./replica-bus.ts";
import { ReplyRepair } from "./reply-repair.ts";

/** A block that did not come is asked for again after so many ticks: 500 ms. */
const expiryTicks = 50;

/** One block is read for damage in so many ticks: 500 ms, so 10 GiB a day. */
const scrubTicks = 50;

/** Blocks that are named in the log, until there is quiet for so many ticks: 1 s. */
const namedMax = 4;
const quietTicks = 100;

/** While a checkpoint is fetched, the log says how far that is once in so many ticks: 5 s. */
const fetchLogTicks = 500;

/** With a block wanted and none taken for so many ticks, the log says so: 30 s. */
const stuckLogTicks = 3000;

export interface BlockRepairOptions {
  readonly cluster: Uint32Array;
  /** Own index. */
  readonly replica: number;
  readonly replicaCount: number;
  /** With standbys. */
  readonly memberCount: number;
  readonly bus: ReplicaBus;
  readonly storage: StorageEngine;
  readonly sessions: ClientSessions;
  /** For small messages. */
  readonly pool: MessagePool;
  /** For the messages that blocks are sent in. */
  readonly allocate: (sizeBytes: number) => IoBuffer;
  /** Chooses peers. */
  readonly prng: Prng;
  readonly log: (text: string) => void;
  /** Of damage. */
  readonly warn: (text: string) => void;
}

const State = { free: 0, waiting: 1, asked: 2 } as const;

class Wanted {
  state: number = State.free;
  address = 0;
  readonly checksum = new Uint32Array(4);
  /** The peer asked last, or −1. */
  peer = -1;
  /** Bit i: replica i has said not to have it, or sent something else, since others had their time. */
  deniedBy = 0;
  /** All in reach have. */
  denied = false;
  askedTick = 0;
  name = "";
}

export class BlockRepair implements BlockRepairer {
  /** Kept replies that are missing here. */
  readonly replies: ReplyRepair;
  readonly counters = { asked: 0, received: 0, unasked: 0, wrong: 0, denied: 0, expired: 0 };
  private readonly options: BlockRepairOptions;
  private readonly wanted: Wanted[] = [];
  /** Not free, and of those: not asked for yet. */
  private wantedCount = 0;
  private waitingCount = 0;
  private deniedCount = 0;
  private ticks = 0;
  /** When a block was taken last, or the first one was wanted. */
  private progressTick = 0;
  /** Taken, and told of, since there was quiet last. */
  private taken = 0;
  private named = 0;
  /** The blocks of a checkpoint that the replica has moved to: that they are missing is no damage. */
  private fetching = false;
  private ticksFetching = 0;
  /** By replica index; null at the own one. */
  private readonly serving: readonly (BlockServing | null)[];
  private readonly batch: Wanted[] = [];
  private scrubber: Scrubber | null = null;

  constructor(options: BlockRepairOptions) {
    assert(options.replicaCount > 1, "there are others");
    this.options = options;
    for (let index = 0; index < repairsMax; index += 1) this.wanted.push(new Wanted());
    this.serving = Array.from({ length: options.memberCount }, (_, peer) =>
      peer === options.replica ? null : new BlockServing(options, peer),
    );
    this.replies = new ReplyRepair(options);
  }

  /** Ticks for which a block has been wanted and none has come; 0 while nothing is wanted. */
  get stuckTicks(): number {
    return this.wantedCount === 0 ? 0 : this.ticks - this.progressTick;
  }

  get blocksWanted(): number {
    return this.wantedCount;
  }

  /** Every peer in reach has said of some block not to have it. */
  get isDenied(): boolean {
    return this.deniedCount > 0;
  }

  /** The storage is open: from now on looks for damage while others still have what is damaged. */
  startScrubbing(): void {
    const { storage, prng } = this.options;
    const scrubber = new Scrubber(storage, () => {});
    scrubber.skip(prng.below(scrubber.blocks + 1));
    this.scrubber = scrubber;
  }

  /** The replica has moved to a checkpoint, of which its file may have nothing: until `endFetch`. */
  beginFetch(): void {
    this.fetching = true;
  }

  endFetch(): void {
    this.fetching = false;
    if (this.taken > 0) this.logTaken();
  }

  // ── What the storage wants ───────────────────────────────────────────────────────────────────

  want(block: DamagedBlock): void {
    const wanted = this.wanted.find((candidate) => candidate.state === State.free);
    assert(wanted !== undefined, "no more are wanted than storage may want");
    if (this.wantedCount === 0) this.progressTick = this.ticks;
    this.wantedCount += 1;
    this.waitingCount += 1;
    wanted.state = State.waiting;
    wanted.address = block.address;
    wanted.checksum.set(block.checksum);
    wanted.peer = -1;
    wanted.deniedBy = 0;
    wanted.denied = false;
    wanted.name = block.name;
    this.logWanted(block);
    this.ask(false);
  }

  private logWanted(block: DamagedBlock): void {
    if (this.fetching) return;
    this.named += 1;
    const { warn } = this.options;
    if (this.named <= namedMax) {
      warn(`${block.name}: ${block.reason}; another replica is asked for it`);
    } else if (this.named === namedMax + 1) {
      warn("more blocks are damaged; other replicas are asked for them");
    }
  }

  forget(address: number): void {
    const wanted = this.find(address);
    assert(wanted !== null, "what is forgotten was wanted");
    this.release(wanted);
  }

  private find(address: number): Wanted | null {
    for (let index = 0; index < repairsMax; index += 1) {
      const wanted = this.wanted[index]!;
      if (wanted.state !== State.free && wanted.address === address) return wanted;
    }
    return null;
  }

  private release(wanted: Wanted): void {
    if (wanted.state === State.waiting) this.waitingCount -= 1;
    if (wanted.denied) this.deniedCount -= 1;
    wanted.state = State.free;
    this.wantedCount -= 1;
  }

  private get takenText(): string {
    return `${this.taken === 1 ? "1 block" : `${this.taken} blocks`} came from other replicas`;
  }

  private logTaken(): void {
    this.options.log(this.takenText);
    this.taken = 0;
    this.named = 0;
  }

  private putBack(wanted: Wanted): void {
    wanted.state = State.waiting;
    this.waitingCount += 1;
  }

  // ── Asking ───────────────────────────────────────────────────────────────────────────────────

  /** @param all - Also when that makes a message that is not full, while others are on their way. */
  private ask(all: boolean): void {
    while (this.waitingCount > 0) {
      const idle = this.waitingCount === this.wantedCount;
      if (!all && !idle && this.waitingCount < blockRequestsMax) return;
      this.collect();
      if (!this.send()) return;
    }
  }

  /** Blocks that the same peers may be asked for. */
  private collect(): void {
    this.batch.length = 0;
    for (let index = 0; index < repairsMax; index += 1) {
      const wanted = this.wanted[index]!;
      if (wanted.state !== State.waiting) continue;
      if (this.batch.length > 0 && wanted.deniedBy !== this.batch[0]!.deniedBy) continue;
      this.batch.push(wanted);
      if (this.batch.length === blockRequestsMax) return;
    }
  }

  /** Asks a peer for the batch; false when nobody can be asked now. */
  private send(): boolean {
    const { cluster, replica, replicaCount, pool, bus } = this.options;
    const message = pool.get(getBlocksSizeMax);
    if (message === null) return false;
    const { words, bytes } = message;
    for (let index = 0; index < this.batch.length; index += 1) {
      const wanted = this.batch[index]!;
      writeBlockRequest(words, index, wanted.checksum, 0, wanted.address);
    }
    writeGetBlocks(bytes, words, cluster, 0, replica, this.batch.length);
    const { peer: last, deniedBy } = this.batch[0]!;
    let peer = choosePeer(this.options, last);
    let sent = false;
    for (let tries = 0; tries < replicaCount && !sent; tries += 1) {
      const helps = peer !== replica && (deniedBy & (1 << peer)) === 0;
      if (helps) sent = bus.sendToReplica(peer, message);
      if (!sent) peer = (peer + 1) % replicaCount;
    }
    pool.unref(message);
    if (!sent && deniedBy === 0) return false;
    if (!sent) peer = -1;
    for (let index = 0; index < this.batch.length; index += 1) {
      const wanted = this.batch[index]!;
      wanted.state = State.asked;
      wanted.peer = peer;
      wanted.askedTick = this.ticks;
      if (!sent) this.giveTime(wanted);
    }
    this.waitingCount -= this.batch.length;
    if (sent) this.counters.asked += this.batch.length;
    return true;
  }

  /** Nobody in reach has it: all are asked again when the time for an answer is over. */
  private giveTime(wanted: Wanted): void {
    wanted.deniedBy = 0;
    if (wanted.denied) return;
    wanted.denied = true;
    this.deniedCount += 1;
  }

  /** @returns false when the message is not about blocks or kept replies. */
  onMessage(message: Message): boolean {
    switch (message.bytes[frame.at.command]) {
      case Command.getBlocks:
        this.onGetBlocks(message);
        return true;
      case Command.block:
        this.onBlock(message);
        return true;
      case Command.getReply:
        this.replies.onGetReply(message);
        return true;
      case Command.reply:
        this.replies.onReply(message);
        return true;
      default:
        return false;
    }
  }

  /** A block has arrived: header rules hold, the content is anybody's. */
  onBlock(message: Message): void {
    const { words } = message;
    const address = u64ReadNumber(words, blockHeader.word.address);
    const wanted = this.find(address);
    const asked =
      wanted !== null && u128Equal(words, blockHeader.word.blockChecksum, wanted.checksum, 0);
    if (!asked) {
      // Late, doubled, or made up.
      this.counters.unasked += 1;
      return;
    }
    if (words[frame.word.size] !== blockMessageSize) {
      this.onNoBlock(wanted, message.bytes[frame.at.replica]!);
      return;
    }
    if (this.options.storage.offerBlock(address, message.buffer, headerSize / 4)) {
      this.counters.received += 1;
      this.progressTick = this.ticks;
      this.taken += 1;
      this.release(wanted);
    } else {
      this.counters.wrong += 1;
      const from = message.bytes[frame.at.replica]!;
      if (wanted.state === State.asked && wanted.peer === from) {
        wanted.deniedBy |= 1 << from;
        this.putBack(wanted);
      }
    }
    this.ask(false);
  }

  /** The one that was asked says not to have it: somebody else is, at once. */
  private onNoBlock(wanted: Wanted, from: number): void {
    if (wanted.state !== State.asked || wanted.peer !== from) return;
    this.counters.denied += 1;
    wanted.deniedBy |= 1 << from;
    this.putBack(wanted);
    this.ask(true);
  }

  /** Every 10 ms, from the composition on. */
  tick(): void {
    this.ticks += 1;
    this.replies.tick();
    if (this.scrubber !== null && this.ticks % scrubTicks === 0) this.scrubber.tick();
    if (this.fetching) this.logFetching();
    if (this.wantedCount === 0) {
      const quiet = this.ticks - this.progressTick >= quietTicks;
      if (this.taken > 0 && quiet && !this.fetching) this.logTaken();
      return;
    }
    for (let index = 0; index < repairsMax; index += 1) {
      const wanted = this.wanted[index]!;
      if (wanted.state !== State.asked || this.ticks - wanted.askedTick < expiryTicks) continue;
      this.counters.expired += 1;
      // Others may have by now what they denied before this silence.
      wanted.deniedBy = 0;
      this.putBack(wanted);
    }
    this.ask(true);
    if (this.stuckTicks > 0 && this.stuckTicks % stuckLogTicks === 0) this.logStuck();
  }

  private logFetching(): void {
    this.ticksFetching += 1;
    const due = this.ticksFetching % fetchLogTicks === 0;
    if (due && this.taken > 0) this.options.log(`${this.takenText} so far`);
  }

  private logStuck(): void {
    const wanted = this.wanted.find((candidate) => candidate.state !== State.free);
    assert(wanted !== undefined, "something is wanted");
    const others = this.wantedCount - 1;
    this.options.warn(
      `no other replica has sent ${wanted.name}${others > 0 ? ` and ${others} more` : ""} so far; ` +
        "asking on",
    );
  }

  // ── Answering ────────────────────────────────────────────────────────────────────────────────

  onGetBlocks(message: Message): void {
    const { words } = message;
    const serving = this.serving[message.bytes[frame.at.replica]!] ?? null;
    if (serving === null) return;
    const count = (words[frame.word.size]! - headerSize) / blockRequest.size;
    assert(count <= blockRequestsMax, "the header's rules were checked");
    for (let index = 0; index < count; index += 1) {
      const at = blockRequestAt(index);
      const address = u64ReadNumber(words, at + blockRequest.word.address);
      serving.request(words, at + blockRequest.word.checksum, address);
    }
  }
}
