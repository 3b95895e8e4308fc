/**
 * Asking other replicas for their view and log: when a newer view was noticed, when the log's end is
 * missing, and by a replica that does not know its own head or can not open its file.
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

export class ViewQuestions {
  private readonly nonce = new Uint32Array(4);
  private readonly headTimer: Timer;
  private ticksToNotice = 0;

  /** @param nothingAfter - See `PeerWatch.nothingAfter`. */
  constructor(
    private readonly state: ReplicaState,
    private readonly peers: PeerPort,
    prng: Prng,
    private readonly nothingAfter: (view: number) => boolean,
  ) {
    for (let word = 0; word < 4; word += 1) this.nonce[word] = prng.u32();
    this.nonce[0] = this.nonce[0]! | 1;
    this.headTimer = new Timer({ ticks: 50, jitterPercent: 30 }, prng);
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
    for (let replica = 0; replica < state.replicaCount; replica += 1) {
      if (replica !== state.replica) this.peers.getView(replica, this.nonce);
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
    if (superblock.recovering) return answered && this.nothingAfter(view);
    return answered || view > superblock.view;
  }

  /** While the replica opens and can not: asks whoever is primary for the cluster's checkpoint. */
  tickOpening(): void {
    if (!this.headTimer.running) this.headTimer.start();
    if (this.headTimer.tick()) this.askAll();
  }

  /** Every 10 ms. */
  tick(): void {
    if (this.ticksToNotice > 0) this.ticksToNotice -= 1;
    if (this.headTimer.tick() && this.state.status === Status.recoveringHead) this.askAll();
  }
}
