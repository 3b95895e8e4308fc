/**
 * What a replica does with prepares that it did not make: takes those of its primary, and those
 * that repair asked for, into its journal, and acknowledges what is durable. As a backup it also passes
 * clients' requests on to the primary.
 *
 * Invariants:
 * - A prepare extends the log only in the view that it was sent in, and only as a successor by
 *   checksum, or beyond a gap that repair will fill.
 * - An acknowledgement is for a prepare that is durable here and part of the present view's log, and
 *   for no op more than two checkpoint intervals above the durable checkpoint: what is committed proves that a
 *   quorum has a checkpoint at most so far behind, and journals are large enough for that.
 */
import { u64ReadNumber, u128Equal } from "../core/u128.ts";
import type { Message } from "../io/message-pool.ts";
import { frame, prepareHeader, replyHeader, requestHeader } from "../wire/header.ts";
import { Operation, operationMutates } from "../wire/operations.ts";
import type { Appender } from "./appender.ts";
import type { ClientSessions } from "./client-sessions.ts";
import type { HeaderChain } from "./header-chain.ts";
import type { LogRepair } from "./log-repair.ts";
import type { PeerPort } from "./peer-port.ts";
import type { PrepareCache } from "./prepare-cache.ts";
import type { ReplicaState } from "./replica-state.ts";

export interface BackupOptions {
  readonly state: ReplicaState;
  readonly chain: HeaderChain;
  readonly cache: PrepareCache;
  readonly appender: Appender;
  readonly peers: PeerPort;
  readonly repair: LogRepair;
  readonly sessions: ClientSessions;
  readonly checkpointInterval: number;
}

export const BackupVerdict = { drop: 0, forward: 1, repeatReply: 2, repeatQuery: 3 } as const;

export class Backup {
  private readonly options: BackupOptions;
  private readonly state: ReplicaState;

  constructor(options: BackupOptions) {
    this.options = options;
    this.state = options.state;
  }

  /**
   * A prepare that the primary of the present view sent in this view.
   * @returns false when it is not of use as such: repair may want it.
   */
  onNext(prepare: Message): boolean {
    const { state } = this;
    const { words } = prepare;
    const op = u64ReadNumber(words, prepareHeader.word.op);
    if (op <= state.op || !state.journal.canWrite(op)) return false;
    const follows = u128Equal(words, prepareHeader.word.parent, state.headChecksum, 0);
    if (op === state.op + 1 && !follows) return false;
    state.adoptHead(op, words, 0);
    this.take(op, prepare);
    if (!follows) {
      this.options.chain.reset();
      this.options.repair.run();
    }
    return true;
  }

  /** A prepare that is missing in the log, whoever sent it. */
  onMissing(prepare: Message): boolean {
    const op = u64ReadNumber(prepare.words, prepareHeader.word.op);
    if (!this.options.repair.wants(op, prepare)) return false;
    this.take(op, prepare);
    this.options.repair.run();
    return true;
  }

  private take(op: number, prepare: Message): void {
    this.options.cache.put(op, prepare, this.state.commitMin);
    this.options.appender.append(prepare);
  }

  /** The primary sends a prepare again that is durable here already: its acknowledgement was lost. */
  onRepeated(prepare: Message): void {
    const op = u64ReadNumber(prepare.words, prepareHeader.word.op);
    const { journal } = this.state;
    if (journal.hasPrepareOf(op, prepare.words, frame.word.checksum)) this.acknowledge(op);
  }

  /** Tells the primary that this op's prepare, as the journal's table names it, is durable here. */
  acknowledge(op: number): void {
    const { state } = this;
    const { journal } = state;
    if (!state.isNormalBackup || state.isStandby) return;
    if (!this.options.chain.trusts(op) || !journal.hasPrepare(op)) return;
    if (op > state.superblock.checkpointOp + 2 * this.options.checkpointInterval) return;
    const primary = state.primaryOf(state.view);
    this.options.peers.prepareOk(primary, journal.headers, journal.headerAt(op));
  }

  /** In a new view, acknowledgements of the one before do not count. */
  acknowledgeUncommitted(): void {
    const { state } = this;
    for (let op = state.commitMax + 1; op <= state.op; op += 1) this.acknowledge(op);
  }

  /** What becomes of a client's request (protocol/wire.md §7.2). Backups evict nobody. */
  judge(request: Message): number {
    const { sessions } = this.options;
    const { words } = request;
    const slot = sessions.find(words, requestHeader.word.client);
    const operation = request.bytes[requestHeader.at.operation]!;
    if (slot === -1) {
      return operation === Operation.register ? BackupVerdict.forward : BackupVerdict.drop;
    }
    const number = words[requestHeader.word.request]!;
    const executed = sessions.request(slot);
    if (executed < number) return BackupVerdict.forward;
    if (executed > number) return BackupVerdict.drop;
    const same = u128Equal(
      sessions.headerWordsOf,
      sessions.headerAt(slot) + replyHeader.word.requestChecksum,
      words,
      frame.word.checksum,
    );
    if (!same) return BackupVerdict.drop;
    // The answer to a query is not kept: it runs again.
    const query = operation >= 128 && operationMutates[operation] === 0;
    return query ? BackupVerdict.repeatQuery : BackupVerdict.repeatReply;
  }
}
