/**
 * Asking other replicas for their view and log: when a newer view was noticed, when the log's end is
 * missing, and by a replica that does not know its own head, hears nothing of its primary, or can not open
 * its file.
 *
 * Every question carries a nonce of this start of the replica, so that an answer to an earlier one is
 * not taken for an answer to this.
 */
import type { Prng } from "../core/prng.ts";
import { u128Equal } from "../core/u128.ts";
import { viewHeader } from "../wire/replica-headers.ts";
import type { PeerPort } from "./peer-port.ts";
import { type ReplicaState, Status } from "./replica-state.ts";
import { Timer } from "./timers.ts";

/** Between requests for the log of a newer view, however many messages of it are seen. */
const noticeTicks = 5;

/**
 * Having waited so long for all others, a file that replaces a lost one asks them for a new view: 10 s.
 * The next one will do in which that file cannot have taken part.
 */
const patienceTicks = 1000;

export interface ViewQuestionsOptions {
  readonly state: ReplicaState;
  readonly peers: PeerPort;
  readonly prng: Prng;
  /** See `PeerWatch`. */
  readonly nothingAfter: (view: number) => boolean;
  readonly viewToAskFor: () => number;
}

export class ViewQuestions {
  private readonly nonce = new Uint32Array(4);
  private readonly headTimer: Timer;
  private readonly openingTimer: Timer;
  private ticksToNotice = 0;

  private readonly state: ReplicaState;
  private readonly peers: PeerPort;
  /** Ticks for which a file that replaces a lost one has waited for a view that it may follow. */
  private ticksWaited = 0;

  constructor(private readonly options: ViewQuestionsOptions) {
    this.state = options.state;
    this.peers = options.peers;
    const { prng } = options;
    for (let word = 0; word < 4; word += 1) this.nonce[word] = prng.u32();
    this.nonce[0] = this.nonce[0]! | 1;
    this.headTimer = new Timer({ ticks: 50, jitterPercent: 30 }, prng);
    this.openingTimer = new Timer({ ticks: 50, jitterPercent: 30 }, prng);
  }

  /** A message of a newer view was seen: asks its primary for the log. */
  notice(view: number): void {
    const { state } = this;
    if (view <= state.view || state.primaryOf(view) === state.replica) return;
    if (this.ticksToNotice > 0 || state.status === Status.stopped) return;
    this.ticksToNotice = noticeTicks;
    this.peers.getView(state.primaryOf(view), this.nonce);
  }

  /** Asks the primary of the present view for its log's end. */
  askPrimary(): void {
    const { state } = this;
    if (!state.isPrimary) this.peers.getView(state.primaryOf(state.view), this.nonce);
  }

  /**
   * Asks all others for the log of whatever view they are in: the primary of it does not reach this replica.
   * Naming no view, it moves nobody to another one.
   */
  askAnybody(): void {
    for (let replica = 0; replica < this.state.replicaCount; replica += 1) this.askFor(replica);
  }

  /** A ping has shown a view: its sender can tell the log of a newer one, if it has it. */
  noticeAt(replica: number, view: number): void {
    const { state } = this;
    const between = state.status === Status.normal || state.status === Status.viewChange;
    if (between && view > state.view && replica < state.replicaCount) this.askFor(replica);
  }

  private askFor(replica: number): void {
    if (replica !== this.state.replica) this.peers.getView(replica, this.nonce, 0);
  }

  /** Asks everybody for the log's end, again and again until `endHead`. */
  beginHead(): void {
    this.headTimer.start();
    this.askAll();
  }

  endHead(): void {
    this.headTimer.stop();
  }

  private askAll(): void {
    const { state } = this;
    const patient = this.ticksWaited < patienceTicks;
    const view = patient ? state.view : Math.max(state.view, this.options.viewToAskFor());
    for (let replica = 0; replica < state.replicaCount; replica += 1) {
      if (replica !== state.replica) this.peers.getView(replica, this.nonce, view);
    }
  }

  /** True when this `view` answers a question that this replica asked since it was opened. */
  isAnswer(words: Uint32Array): boolean {
    return u128Equal(words, viewHeader.word.nonce, this.nonce, 0);
  }

  /**
   * Whether a replica that does not know its head may take this `view`'s: the own question was
   * answered, or the view is newer than any that this replica was in. A file that replaces a lost one
   * does not know which views that was in: its peers have to say.
   */
  mayTellHead(words: Uint32Array, view: number): boolean {
    const answered = this.isAnswer(words);
    const { superblock } = this.state;
    if (superblock.recovering) return answered && this.options.nothingAfter(view);
    return answered || view > superblock.view;
  }

  /** While the replica opens and can not: asks all for a newer checkpoint. */
  tickOpening(): void {
    if (this.openingTimer.running && !this.openingTimer.tick()) return;
    if (!this.openingTimer.running) this.openingTimer.start();
    const { state } = this;
    for (let replica = 0; replica < state.replicaCount; replica += 1) {
      if (replica !== state.replica) this.peers.getCheckpoint(replica, this.nonce);
    }
  }

  /** Every 10 ms. */
  tick(): void {
    if (this.ticksToNotice > 0) this.ticksToNotice -= 1;
    if (this.state.status !== Status.recoveringHead) return;
    if (this.state.superblock.recovering) this.ticksWaited += 1;
    if (this.headTimer.tick()) this.askAll();
  }
}
