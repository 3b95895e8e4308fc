/**
 * Pings peers, for their clocks, and finds out whether they belong: a replica that was formatted with
 * other constants, or whose checkpoint differs at the same op, must not be believed.
 *
 * Invariants:
 * - Messages of a peer are dropped until a ping of it shows that it belongs; a new connection begins
 *   with one.
 * - One replica that has diverged does not stop the others. Who differs from so many that it may be the
 *   odd one itself, stops.
 */
import { u64Compare, u64ReadNumber, u128Equal } from "../core/u128.ts";
import type { Time } from "../io/io.ts";
import type { Message } from "../io/message-pool.ts";
import { Command, frame } from "../wire/header.ts";
import { pingHeader, pongHeader } from "../wire/replica-headers.ts";
import { PingFields } from "../wire/replica-messages.ts";
import type { ClusterClock } from "./cluster-clock.ts";
import { divergedText } from "./diverged.ts";
import type { PeerPort } from "./peer-port.ts";
import type { ReplicaState } from "./replica-state.ts";

/** Between pings, while the cluster's time is known, and while it is not. */
const pingTicks = 100;
const pingTicksUnsynchronized = 10;

/** Who has answered no ping for so many ticks is not there: 3 s. */
const thereTicks = 300;

export interface PeerWatchOptions {
  readonly state: ReplicaState;
  readonly peers: PeerPort;
  readonly clock: ClusterClock;
  readonly time: Time;
  /** A peer has lost its file: what it has said of its log and of views does not hold any more. */
  readonly onVoteless: (replica: number) => void;
  /** Checksum of the root prepare: everything that replicas must have been formatted with alike. */
  readonly formatId: Uint32Array;
  /** Of what an operator should look into. */
  readonly warn: (text: string) => void;
  readonly onFatal: (text: string) => void;
}

export class PeerWatch {
  private readonly options: PeerWatchOptions;
  private readonly state: ReplicaState;
  private readonly fields = new PingFields();
  private readonly wall = new Uint32Array(2);
  private readonly ownId = new Uint32Array(4);
  /** Bit r: replica r has shown that it belongs. */
  private known = 0;
  /** Bit r: replica r was named in the log because it does not. */
  private named = 0;
  /** Op of the checkpoint that was another one at each peer; −1: none was. */
  private readonly divergedAt: Float64Array;
  /** Bit r: replica r has lost its file, and no vote until it was rebuilt. */
  private voteless = 0;
  private ticksToPing = 1;
  /** Durable view of each peer, as it said since this replica was opened; −1: nothing heard. */
  private readonly views: Float64Array;
  /** When each peer answered a ping last. */
  private readonly pongTicks: Float64Array;
  private ticks = 0;
  private readonly openedAt = new Uint32Array(2);
  private heardCount = 0;
  /** The highest view that a lost file, which this one replaces, can have left for; −1: not known yet. */
  private lostView = -1;

  constructor(options: PeerWatchOptions) {
    this.options = options;
    this.state = options.state;
    this.fields.formatId.set(options.formatId.subarray(0, 4));
    this.fields.replicaCount = options.state.replicaCount;
    this.divergedAt = new Float64Array(options.state.memberCount).fill(-1);
    this.pongTicks = new Float64Array(options.state.replicaCount).fill(-Infinity);
    this.views = new Float64Array(options.state.replicaCount).fill(-1);
    options.time.monotonicNs(this.openedAt, 0);
  }

  isForeign(replica: number): boolean {
    return (this.known & (1 << replica)) === 0 || this.divergedAt[replica] !== -1;
  }

  /** Its checkpoint was another one: what it sends, or is the author of, is not of this cluster's history. */
  hasOtherHistory(replica: number): boolean {
    return replica < this.divergedAt.length && this.divergedAt[replica] !== -1;
  }

  onPing(message: Message): void {
    const from = message.bytes[frame.at.replica]!;
    if (!this.belongs(message, from)) return;
    if (this.hasDiverged(message, from)) return;
    if (message.bytes[pingHeader.at.voteless] === 1) {
      this.voteless |= 1 << from;
      if (from < this.views.length) this.views[from] = -1;
      this.options.onVoteless(from);
    } else {
      this.voteless &= ~(1 << from);
    }
    this.options.time.wallNs(this.wall, 0);
    this.options.peers.pong(message, from, this.wall);
  }

  /** True when the sender's checkpoint is not the own one of the same op. */
  private hasDiverged(ping: Message, from: number): boolean {
    const { words } = ping;
    const { divergedAt } = this;
    const { superblock, replicaCount } = this.state;
    const op = u64ReadNumber(words, pingHeader.word.checkpointOp);
    if (op !== superblock.checkpointOp) {
      // Of later ones nothing is known, and what was found out stands. One that has gone back was rebuilt.
      if (op < divergedAt[from]!) divergedAt[from] = -1;
      return divergedAt[from] !== -1;
    }
    superblock.copyCheckpointId(this.ownId, 0);
    if (u128Equal(words, pingHeader.word.checkpointId, this.ownId, 0)) {
      divergedAt[from] = -1;
      return false;
    }
    const what = `checkpoint ${superblock.checkpointOp} is another one here than at replica ${from}`;
    if (divergedAt[from] === -1) this.options.warn(`${what}: it is ignored`);
    divergedAt[from] = op;
    let differing = 0;
    for (let replica = 0; replica < replicaCount; replica += 1) {
      if (divergedAt[replica] !== -1) differing += 1;
    }
    if (2 * differing >= replicaCount) {
      this.options.onFatal(divergedText(what));
    }
    return true;
  }

  private belongs(message: Message, from: number): boolean {
    const { words, bytes } = message;
    const count = bytes[pingHeader.at.replicaCount]!;
    const alike = u128Equal(words, pingHeader.word.formatId, this.options.formatId, 0);
    const bit = 1 << from;
    if (alike && count === this.state.replicaCount) {
      this.known |= bit;
      this.named &= ~bit;
      return true;
    }
    if ((this.named & bit) === 0) {
      const what =
        count === this.state.replicaCount
          ? "with other options than this one"
          : `for a cluster of ${count} replicas, this one for ${this.state.replicaCount}`;
      // Who is wrong cannot be told from here: either may have the books, so none may be said to go.
      this.options.warn(
        `replica ${from} was formatted ${what}: it is ignored; 'pacioli inspect' of both files shows whose is wrong`,
      );
    }
    this.named |= bit;
    this.known &= ~bit;
    return false;
  }

  onPong(message: Message): void {
    const { words } = message;
    const sent = pongHeader.word.monotonic;
    const wall = pongHeader.word.wall;
    const from = message.bytes[frame.at.replica]!;
    // An answer to a ping of an earlier process says nothing of now.
    const { openedAt } = this;
    if (u64Compare(words[sent]!, words[sent + 1]!, openedAt[0]!, openedAt[1]!) < 0) return;
    if (!this.isVoteless(from)) {
      this.views[from] = words[frame.word.view]!;
      this.pongTicks[from] = this.ticks;
    }
    this.options.clock.onPong(from, words[sent]!, words[sent + 1]!, words[wall]!, words[wall + 1]!);
  }

  /**
   * Votes that it takes to leave a view, and logs to begin one. In a cluster of two all that is
   * committed is on both, so that each one's log alone is safe to go on with; two votes are only asked
   * for so that one that is cut off does not change views by itself. Of a peer that has lost its file no
   * vote is to be had, perhaps not before there is a new view: then one is enough.
   */
  get viewChangeQuorum(): number {
    const { replicaCount, quorums, replica } = this.state;
    const alone = replicaCount === 2 && (this.voteless & (1 << (1 - replica))) !== 0;
    return alone ? 1 : quorums.viewChange;
  }

  /** True for a replica that has lost its file and was not rebuilt yet, by its last ping. */
  isVoteless(replica: number): boolean {
    return (this.voteless & (1 << replica)) !== 0;
  }

  /**
   * For a replica that replaces a lost file: whether the log of `view` has everything that the lost one
   * acknowledged, and no view that it may have joined can still begin by what others heard from it then.
   *
   * It had left for a view w only with others that wanted to leave w − 1, or that were in w. Of any
   * n − V + 1 others one knows of w − 1; so those who have not lost their own files have to be so many. If
   * all others are heard, somebody who still holds what the lost one said in w is among them, and says so.
   * Otherwise only a view above w will do: whoever took part in that takes part in w no more.
   */
  nothingAfter(view: number): boolean {
    const highest = this.highestHeard();
    if (highest === -1) return false;
    const all = this.heardCount === this.state.replicaCount - 1;
    return view >= highest && (all || view > this.lostView);
  }

  /**
   * A view that would do for `nothingAfter` if it began, with a primary that is there; −1: not known yet,
   * or none can begin: those who are there may be enough to serve and too few for a new view.
   */
  get viewToAskFor(): number {
    const { state } = this;
    if (this.highestHeard() === -1) return -1;
    if (this.votersThere(state.replica) < this.viewChangeQuorum) return -1;
    let view = this.lostView + 1;
    while (!this.isThere(state.primaryOf(view))) view += 1;
    return view;
  }

  /** Whether a view can begin without `asker`: with this replica, and others that are there and vote. */
  mayLeaveFor(asker: number): boolean {
    return 1 + this.votersThere(asker) >= this.viewChangeQuorum;
  }

  private votersThere(except: number): number {
    let count = 0;
    for (let replica = 0; replica < this.state.replicaCount; replica += 1) {
      if (replica !== except && this.isThere(replica)) count += 1;
    }
    return count;
  }

  /** Another replica that has a vote, and has answered a ping lately. */
  private isThere(replica: number): boolean {
    if (replica === this.state.replica || this.isVoteless(replica)) return false;
    return this.ticks - this.pongTicks[replica]! <= thereTicks;
  }

  /** The highest view that others know, or −1 while too few of them have been heard. */
  private highestHeard(): number {
    const { replicaCount, quorums } = this.state;
    let highest = -1;
    this.heardCount = 0;
    for (let replica = 0; replica < replicaCount; replica += 1) {
      if (this.views[replica] === -1 || this.isVoteless(replica)) continue;
      this.heardCount += 1;
      highest = Math.max(highest, this.views[replica]!);
    }
    if (this.heardCount < replicaCount - quorums.viewChange + 1) return -1;
    // Views that are heard later began after the file was lost.
    if (this.lostView === -1) this.lostView = highest + 1;
    return highest;
  }

  /**
   * A peer can be reached from now on. Who was connected to cannot answer before it has heard who
   * connected, so it shall not wait for the next ping.
   */
  pingSoon(): void {
    this.ticksToPing = 1;
  }

  /** Every 10 ms. */
  tick(): void {
    const { clock, time, peers } = this.options;
    clock.tick();
    this.ticks += 1;
    this.ticksToPing -= 1;
    if (this.ticksToPing > 0) return;
    this.ticksToPing = clock.synchronized ? pingTicks : pingTicksUnsynchronized;
    const { superblock } = this.state;
    superblock.copyCheckpointId(this.fields.checkpointId, 0);
    this.fields.checkpointOp = superblock.checkpointOp;
    this.fields.voteless = superblock.recovering;
    time.monotonicNs(this.fields.monotonic, 0);
    peers.ping(this.fields);
  }
}

/** A standby asks for what it misses; that it has something, or wants something, counts for nothing. */
export function standbyMaySend(command: number): boolean {
  return (
    command === Command.getView || command === Command.getHeaders || command === Command.getPrepare
  );
}
