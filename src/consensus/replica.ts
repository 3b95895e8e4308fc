/**
 * The replica: takes messages, completions, `turn` (once per loop turn) and `tick` (every 10 ms), and
 * gives them to the part that they concern. It reads no clock but the injected one and keeps no promise.
 *
 *   request ─ judged ─▶ primary: queue, prepare ─▶ journal, backups ─ quorum ─▶ execution ─▶ reply
 *
 * The parts share a `ReplicaState`, which this class is. Which part does what is in
 * docs/internals/consensus.md, how replicas agree in docs/internals/replication.md.
 *
 * Invariants:
 * - Nothing is executed before a replication quorum holds it durably, nothing is answered before
 *   it was executed.
 * - The prepare of op N may overwrite the slot of op N − slotCount only when a durable checkpoint
 *   covers that op.
 */
import { assert } from "../core/assert.ts";
import { headerSize } from "../core/limits.ts";
import { Prng } from "../core/prng.ts";
import { u64ReadNumber, u128Copy } from "../core/u128.ts";
import type { Connection } from "../io/connection.ts";
import type { Message } from "../io/message-pool.ts";
import type { StateMachine } from "../ledger/state-machine.ts";
import { Command, frame, prepareHeader } from "../wire/header.ts";
import { viewHeader } from "../wire/replica-headers.ts";
import { Appender } from "./appender.ts";
import { Backup } from "./backup.ts";
import type { BlockRepair } from "./block-repair.ts";
import { ClientPort } from "./client-port.ts";
import { ClientRequests } from "./client-requests.ts";
import type { ClientSessions } from "./client-sessions.ts";
import { ClusterClock } from "./cluster-clock.ts";
import { Execution } from "./execution.ts";
import { Executor } from "./executor.ts";
import { Following } from "./following.ts";
import { HeaderChain } from "./header-chain.ts";
import { LogRepair } from "./log-repair.ts";
import { PeerPort } from "./peer-port.ts";
import { PeerWatch, standbyMaySend } from "./peer-watch.ts";
import { PrepareCache } from "./prepare-cache.ts";
import { Primary } from "./primary.ts";
import type { ReplicaOptions } from "./replica-options.ts";
import { ReplicaState, Status } from "./replica-state.ts";
import { StateSync } from "./state-sync.ts";
import { TakingOver } from "./taking-over.ts";
import { ViewChange } from "./view-change.ts";

export { Status } from "./replica-state.ts";

/** A replica that has waited so long for a block, opening, asks for a newer checkpoint: 1 s. */
const blocksStuckTicks = 100;

/**
 * Having waited for longer, it takes part with its log alone: 5 s. Others may need that log to make what it
 * waits for.
 */
const logAloneTicks = 500;

export class Replica extends ReplicaState {
  readonly executor: Executor;
  readonly sessions: ClientSessions;
  readonly stateMachine: StateMachine;
  readonly primary: Primary;
  readonly repair: LogRepair;
  readonly viewChange: ViewChange;
  readonly requests: ClientRequests;
  readonly counters = { dropped: 0 };

  private readonly port: ClientPort;
  private readonly peers: PeerPort;
  private readonly chain: HeaderChain;
  private readonly cache = new PrepareCache();
  private readonly execution: Execution;
  private readonly backup: Backup;
  private readonly watch: PeerWatch;
  private readonly stateSync: StateSync;
  private readonly clock: ClusterClock;
  private readonly following: Following;
  private readonly takingOver: TakingOver;
  private onReplayed: (() => void) | null = null;
  private onStuck: (() => void) | null = null;
  /** In a cluster of several: brings and serves blocks and kept replies. */
  private blocks: BlockRepair | null = null;
  /** The durable checkpoint as of the last tick. */
  private checkpointSeen = 0;

  constructor(options: ReplicaOptions) {
    super(options, options.journal, options.superblock);
    const { pool, bus, stateMachine, checkpointer, onFatal } = options;
    const prng = new Prng(options.seed);
    this.sessions = options.sessions;
    this.stateMachine = stateMachine;
    const { cache } = this;
    this.port = new ClientPort(options, this);
    this.peers = new PeerPort(this, bus, options.replyPool);
    const { peers } = this;
    this.chain = new HeaderChain(this);
    const { chain } = this;
    this.executor = this.createExecutor(options);
    const appender = new Appender(options.journal, (prepare) => this.onDurable(prepare));
    this.execution = new Execution({
      state: this,
      chain,
      cache,
      executor: this.executor,
      checkpointer,
      storage: options.storage,
      pool,
      onExecuted: (prepare) => this.onExecuted(prepare),
      rerunSlot: (request) => this.requests.rerunSlot(request),
      onFatal,
    });
    this.primary = new Primary({
      state: this,
      stateMachine,
      checkpointer,
      cache,
      appender,
      peers,
      bus,
      pool,
      prng,
      checkpointInterval: options.checkpointInterval,
      requestQueueMax: options.requestQueueMax,
      requestSizeMax: options.requestSizeMax,
      grouping: options.grouping,
      wallNs: (target, at) => this.wallNs(target, at),
      onCommitted: () => this.execution.drain(),
      onAbdicate: () => this.viewChange.vote(),
    });
    this.viewChange = new ViewChange({
      state: this,
      chain,
      peers,
      prng,
      onLeave: () => this.leaveView(),
      onLogChosen: () => this.takingOver.start(),
      onBackupNormal: () => this.followLog(),
      onLogLonger: () => this.catchUp(),
      syncTo: (view) => this.stateSync.begin(view),
      quorum: () => this.watch.viewChangeQuorum,
      nothingAfter: (view) => this.watch.nothingAfter(view),
      viewToAskFor: () => this.watch.viewToAskFor,
      mayLeaveFor: (asker) => this.watch.mayLeaveFor(asker),
      onRecovered: () => this.watch.pingSoon(),
      log: options.log,
      onFatal,
    });
    this.repair = new LogRepair({
      state: this,
      chain,
      cache,
      peers,
      bus,
      pool,
      prng,
      askPrimary: () => this.viewChange.questions.askPrimary(),
      hearsPrimary: () => this.following.hearsPrimary,
      onHeaders: () => this.execution.drain(),
    });
    this.backup = new Backup({
      state: this,
      chain,
      cache,
      appender,
      peers,
      repair: this.repair,
      sessions: options.sessions,
      checkpointInterval: options.checkpointInterval,
    });
    this.requests = new ClientRequests({
      state: this,
      sessions: options.sessions,
      stateMachine,
      requestSizeMax: options.requestSizeMax,
      primary: this.primary,
      backup: this.backup,
      execution: this.execution,
      port: this.port,
      bus,
    });
    this.clock = new ClusterClock({
      replica: options.replica,
      replicaCount: options.replicaCount,
      replicationQuorum: this.quorums.replication,
      time: options.time,
    });
    this.watch = new PeerWatch({
      state: this,
      peers,
      clock: this.clock,
      time: options.time,
      onVoteless: (replica) => this.viewChange.forget(replica),
      formatId: options.formatId,
      warn: options.warn,
      onFatal,
    });
    this.stateSync = new StateSync({
      state: this,
      askPrimary: () => this.viewChange.questions.askPrimary(),
      log: options.log,
      quiesce: options.quiesce,
      onMoved: options.onMoved,
    });
    this.following = new Following({
      state: this,
      prng,
      backup: this.backup,
      repair: this.repair,
      viewChange: this.viewChange,
      execution: this.execution,
      onFatal,
    });
    this.takingOver = new TakingOver({
      state: this,
      chain,
      execution: this.execution,
      repair: this.repair,
      primary: this.primary,
      viewChange: this.viewChange,
      requests: this.requests,
    });
  }

  private createExecutor(options: ReplicaOptions): Executor {
    return new Executor({
      stateMachine: options.stateMachine,
      sessions: options.sessions,
      replyPool: options.replyPool,
      cluster: options.cluster,
      batchSizeLimit: options.requestSizeMax - headerSize,
      onReply: (reply) => {
        if (this.requests.answers) this.port.sendReply(reply);
      },
      onStarved: () => {
        if (this.requests.answers) options.bus.relieve();
      },
      onExecuted: (words, clientAt) => {
        this.primary.onClientExecuted(words, clientAt);
        this.requests.onExecuted(words, clientAt);
      },
    });
  }

  /** Before the storage is opened. */
  repairBlocksWith(blocks: BlockRepair): void {
    this.blocks = blocks;
  }

  // ── Start and stop ───────────────────────────────────────────────────────────────────────────

  /**
   * Takes over the state of the checkpoint that the storage was opened at, and the recovered journal.
   * @param checkpointHeader - Header of the checkpoint's last prepare.
   * @param head - The log's end as the journal knows it.
   * @param commitKnown - An op that is known to be committed.
   */
  startAt(
    checkpointOp: number,
    checkpointHeader: Uint32Array,
    head: number,
    commitKnown: number,
  ): void {
    this.view = this.superblock.view;
    this.logView = this.superblock.logView;
    this.commitMin = checkpointOp;
    this.commitMax = Math.max(checkpointOp, Math.min(commitKnown, head));
    this.executor.op = checkpointOp;
    u128Copy(this.executedChecksum, 0, checkpointHeader, frame.word.checksum);
    if (head === checkpointOp) this.adoptHead(head, checkpointHeader, 0);
    else this.adoptHead(head, this.journal.headers, this.journal.headerAt(head));
    this.chain.reset();
  }

  /**
   * A cluster of one: executes everything that recovery kept, without answering. `onReplayed` is
   * never called from inside.
   */
  replayLog(onReplayed: () => void): boolean {
    assert(this.status === Status.recovering, "only recovery replays");
    assert(this.replicaCount === 1, "only a cluster of one knows that its log is committed");
    this.commitMax = this.op;
    this.execution.drain();
    if (this.commitMin === this.op) return true;
    this.onReplayed = onReplayed;
    return false;
  }

  /** The log has been replayed: a cluster of one begins to serve. */
  becomeNormal(): void {
    assert(this.commitMin === this.op, "everything recovered has been executed");
    this.status = Status.normal;
    this.primary.begin();
    this.primary.pulseIfDue();
  }

  /** The state is that of `commitMin`, and nothing is happening to it. */
  get resting(): boolean {
    return this.execution.idle;
  }

  /** While it opens: `onStuck` is called once when no block has come for long; null: no more. */
  watchOpening(onStuck: (() => void) | null): void {
    this.onStuck = onStuck;
  }

  /** A replica that has joined its cluster without its checkpoint's state has that now. */
  openState(): void {
    this.stateOpen = true;
    this.execution.drain();
  }

  /** Takes its place in a cluster of several. @param headUncertain - The journal lost its end. */
  joinCluster(headUncertain: boolean): void {
    assert(this.replicaCount > 1, "a cluster of one serves by itself");
    assert(this.status === Status.recovering, "a replica joins once");
    if (headUncertain || this.superblock.recovering) this.viewChange.awaitHead();
    else if (this.logView < this.view) this.viewChange.resume();
    else if (this.isPrimary) this.viewChange.enter(this.view + 1);
    else {
      this.status = Status.normal;
      this.followLog();
    }
  }

  stop(): void {
    this.status = Status.stopped;
  }

  // ── Messages ─────────────────────────────────────────────────────────────────────────────────

  onMessage(message: Message, connection: Connection): void {
    if (this.status === Status.stopped || this.blocks?.onMessage(message)) return;
    if (this.status === Status.recovering) {
      if (this.replicaCount > 1) this.onMessageOpening(message);
      return;
    }
    switch (message.bytes[frame.at.command]) {
      case Command.request:
        if (this.stateOpen) this.requests.onRequest(message, connection);
        return;
      case Command.pingClient:
        if (!this.isStandby && this.stateOpen) this.port.onPingClient(message, connection);
        return;
      default:
        if (this.replicaCount > 1) this.onPeerMessage(message);
        else this.counters.dropped += 1;
    }
  }

  /** While it opens it says who it is, and takes a newer checkpoint if it asked for one. */
  private onMessageOpening(message: Message): void {
    const from = message.bytes[frame.at.replica]!;
    if (from >= this.memberCount) return;
    switch (message.bytes[frame.at.command]) {
      case Command.ping:
        this.watch.onPing(message);
        return;
      case Command.view:
        if (from < this.replicaCount && !this.watch.isForeign(from)) this.onCheckpoint(message);
        return;
      default:
        this.counters.dropped += 1;
    }
  }

  /** A `view`, for a replica that can not open: perhaps with a newer checkpoint. */
  private onCheckpoint(message: Message): void {
    if (!this.blocksStuck || !this.viewChange.questions.isAnswer(message.words)) return;
    this.stateSync.beginOpening(message);
  }

  /** While it opens, a block is missing: those in reach say not to have it, or have sent none for long. */
  private get blocksStuck(): boolean {
    const { blocks } = this;
    return blocks !== null && (blocks.isDenied || blocks.stuckTicks >= blocksStuckTicks);
  }

  private onPeerMessage(message: Message): void {
    const command = message.bytes[frame.at.command]!;
    const from = message.bytes[frame.at.replica]!;
    if (from >= this.memberCount) return;
    if (command === Command.ping) {
      this.watch.onPing(message);
      if (!this.watch.isForeign(from)) {
        this.viewChange.questions.noticeAt(from, message.words[frame.word.view]!);
      }
      return;
    }
    if (from >= this.replicaCount && !standbyMaySend(command)) {
      this.counters.dropped += 1;
      return;
    }
    // A prepare names its author, not its sender: what becomes of it depends on its checksum.
    if (command !== Command.prepare && this.watch.isForeign(from)) return;
    switch (command) {
      case Command.pong:
        this.watch.onPong(message);
        return;
      case Command.prepare:
        if (!this.watch.hasOtherHistory(from)) this.following.onPrepare(message);
        return;
      case Command.prepareOk:
        if (this.isNormalPrimary) this.primary.onPrepareOk(message);
        else this.viewChange.questions.notice(message.words[frame.word.view]!);
        return;
      case Command.commit:
        this.following.onCommit(message);
        return;
      case Command.exitView:
        if (!this.watch.isVoteless(from)) this.viewChange.onExitView(message);
        return;
      case Command.joinView:
        if (!this.watch.isVoteless(from)) this.viewChange.onJoinView(message);
        return;
      case Command.view:
        if (this.stateOpen || message.words[viewHeader.word.checkpointOnly] !== 1) {
          this.viewChange.onView(message);
        } else {
          this.onCheckpoint(message);
        }
        return;
      case Command.getView:
        this.viewChange.onGetView(message);
        return;
      case Command.getHeaders:
        this.repair.onGetHeaders(message);
        return;
      case Command.headers:
        this.repair.onHeaders(message);
        return;
      case Command.getPrepare:
        this.repair.onGetPrepare(message);
        return;
      default:
        this.counters.dropped += 1;
    }
  }

  get shownView(): number {
    return this.superblock.logView;
  }

  // ── What parts report ────────────────────────────────────────────────────────────────────────

  private onDurable(prepare: Message): void {
    if (this.status === Status.stopped) return;
    if (this.isNormalPrimary) this.primary.onDurable(prepare);
    else if (this.isNormalBackup) {
      this.backup.acknowledge(u64ReadNumber(prepare.words, prepareHeader.word.op));
    }
    this.execution.drain();
    this.takingOver.run();
  }

  private onExecuted(prepare: Message): void {
    this.primary.onExecuted(prepare);
    if (this.isNormalPrimary) this.primary.pulseIfDue();
    const { onReplayed } = this;
    if (onReplayed !== null && this.commitMin === this.op) {
      this.onReplayed = null;
      onReplayed();
    }
  }

  private leaveView(): void {
    this.primary.leave();
    this.repair.forget();
    this.following.stop();
    this.takingOver.stop();
  }

  /** A backup that has its primary's log. */
  private followLog(): void {
    this.following.start();
    this.catchUp();
    this.requests.onBackup();
  }

  /** More of the log is known. */
  private catchUp(): void {
    this.backup.acknowledgeUncommitted();
    this.repair.run();
    this.execution.drain();
  }

  // ── Time ─────────────────────────────────────────────────────────────────────────────────────

  /** Cluster time; false while it is not known. */
  private wallNs(target: Uint32Array, at: number): boolean {
    return this.clock.wallNs(target, at);
  }

  /** With a newer checkpoint durable the journal takes ops, and acknowledges some, that it did not. */
  private noticeCheckpoint(): void {
    if (this.checkpointSeen === this.superblock.checkpointOp) return;
    this.checkpointSeen = this.superblock.checkpointOp;
    if (!this.hasLog) return;
    this.chain.reset();
    this.backup.acknowledgeUncommitted();
  }

  /** The message bus has a new connection to a peer. */
  onPeerConnected(): void {
    this.watch.pingSoon();
  }

  /** The message bus has lost its connection to a peer. */
  onPeerLost(replica: number): void {
    if (this.replicaCount > 1) this.following.onLost(replica);
  }

  /** Once per loop turn, after its completions. */
  turn(): void {
    if (this.isNormalPrimary) this.primary.turn();
  }

  private tickOpening(): void {
    if (this.blocksStuck) this.viewChange.questions.tickOpening();
    const { blocks, onStuck } = this;
    if (blocks === null || onStuck === null || blocks.stuckTicks < logAloneTicks) return;
    this.onStuck = null;
    onStuck();
  }

  /** Every 10 ms. */
  tick(): void {
    if (this.status === Status.stopped) return;
    this.blocks?.tick();
    if (this.status === Status.recovering) {
      // Peers answer only whom they know: also one that has not opened yet.
      if (this.replicaCount > 1) this.watch.tick();
      this.tickOpening();
      return;
    }
    if (!this.stateOpen) this.tickOpening();
    // What waited for a message or a read slot goes on.
    this.execution.drain();
    if (this.isNormalPrimary) this.primary.tick();
    if (this.replicaCount === 1) return;
    this.noticeCheckpoint();
    this.requests.tick();
    this.watch.tick();
    this.viewChange.tick();
    this.repair.tick();
    this.stateSync.tick();
    this.following.tick();
    this.takingOver.run();
  }
}
