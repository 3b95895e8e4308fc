/**
 * One replica of three, of whose consensus only the parts live that decide about logs and views: no
 * ledger, no clients, no timers but those that a test ticks. What it sends is kept, what its peers
 * say the test writes. Journal and superblock are real, on a disk in memory.
 */

import { Appender } from "../../src/consensus/appender.ts";
import { Backup } from "../../src/consensus/backup.ts";
import { ClientSessions } from "../../src/consensus/client-sessions.ts";
import { HeaderChain } from "../../src/consensus/header-chain.ts";
import { LogRepair } from "../../src/consensus/log-repair.ts";
import { PeerPort } from "../../src/consensus/peer-port.ts";
import { PrepareCache } from "../../src/consensus/prepare-cache.ts";
import { ReplicaState, Status } from "../../src/consensus/replica-state.ts";
import { StateSync } from "../../src/consensus/state-sync.ts";
import { ViewChange } from "../../src/consensus/view-change.ts";
import { assert } from "../../src/core/assert.ts";
import { blockSize, headerSize, replySlotSize, viewHeadersMax } from "../../src/core/limits.ts";
import { Prng } from "../../src/core/prng.ts";
import { u128Copy } from "../../src/core/u128.ts";
import { type Message, MessagePool } from "../../src/io/message-pool.ts";
import type { FormatOptions } from "../../src/wal/data-file.ts";
import { headerWords, sealMessage } from "../../src/wal/headers.ts";
import type { Journal } from "../../src/wal/journal.ts";
import type { Superblock } from "../../src/wal/superblock.ts";
import { checkpointLayout } from "../../src/wal/superblock-layout.ts";
import { Command, frame, prepareHeader } from "../../src/wire/header.ts";
import { getViewHeader, viewHeader } from "../../src/wire/replica-headers.ts";
import { ViewFields, viewBodyHeaderAt, writeView } from "../../src/wire/replica-messages.ts";
import {
  formatInto,
  formatted,
  makePrepare,
  openJournal,
  openSuperblock,
  smallFormat,
} from "../wal/harness.ts";
import { MemoryFileIo, memoryBuffer } from "../wal/memory-file-io.ts";

/** Journals of 32 slots, checkpoints every 4 ops. */
export const format: FormatOptions = { ...smallFormat, replicaCount: 3, replica: 1 };

export const image = formatted(1, {}, format);

/** Of a file that replaces a lost one. */
export const recoveringImage = new MemoryFileIo(image.sizeBytes, 1);
formatInto(recoveringImage, format, true);

/** A log: its prepares by op, chained, from op 1 on. */
export class Log {
  readonly prepares: Uint8Array[] = [];
  private readonly parent = new Uint32Array(4);

  /** @param root - Header of op 0. */
  constructor(root: Uint32Array) {
    u128Copy(this.parent, 0, root, frame.word.checksum);
  }

  get head(): number {
    return this.prepares.length;
  }

  /** @param commit - What the prepares say is committed, at most. */
  extend(count: number, view: number, salt = 1, commit = Number.MAX_SAFE_INTEGER): this {
    for (let left = count; left > 0; left -= 1) {
      const op = this.head + 1;
      const buffer = memoryBuffer(4096);
      const known = Math.min(Math.max(0, op - 2), commit);
      makePrepare(buffer, op, view, known, this.parent, 0, salt, format.cluster);
      // Two prepares of the same op and view differ by their time alone.
      buffer.words[prepareHeader.word.timestamp] = salt;
      sealMessage(buffer.bytes, 0, headerSize);
      u128Copy(this.parent, 0, buffer.words, frame.word.checksum);
      this.prepares.push(buffer.bytes.slice(0, headerSize));
    }
    return this;
  }

  /** The same up to `op`. */
  fork(op: number): Log {
    const log = new Log(new Uint32Array(headerWords));
    log.prepares.push(...this.prepares.slice(0, op));
    u128Copy(log.parent, 0, this.header(op), frame.word.checksum);
    return log;
  }

  header(op: number): Uint32Array {
    const bytes = this.prepares[op - 1];
    assert(bytes !== undefined, "the log has this op");
    return new Uint32Array(bytes.slice().buffer);
  }
}

export class OneReplica {
  readonly superblock: Superblock;
  readonly journal: Journal;
  readonly state: ReplicaState;
  readonly chain: HeaderChain;
  readonly repair: LogRepair;
  readonly stateSync: StateSync;
  readonly viewChange: ViewChange;
  readonly backup: Backup;
  readonly log: Log;
  /** Commands sent, with their receivers. */
  readonly sent: { to: number; bytes: Uint8Array }[] = [];
  readonly said: string[] = [];
  readonly fatal: string[] = [];
  moved = 0;
  /** How often another backup's word was taken for how far the log goes. */
  longer = 0;
  /** Enough others to begin a view with. */
  othersThere = true;
  private readonly pool: MessagePool;
  private readonly appender: Appender;

  /** @param replica - Own index; 3 is a standby's. */
  constructor(
    readonly io: MemoryFileIo = image.clone(1),
    replica = format.replica,
  ) {
    this.superblock = openSuperblock(io);
    this.journal = openJournal(io, this.superblock, false).journal;
    this.log = new Log(this.superblock.checkpointHeader);
    this.state = new ReplicaState(
      { ...format, replica, memberCount: 4 },
      this.journal,
      this.superblock,
    );
    this.pool = new MessagePool((size) => memoryBuffer(size), { small: 64, large: 2 });
    const { state, pool } = this;
    const bus = {
      sendToReplica: (to: number, message: Message) => {
        const size = message.words[frame.word.size]!;
        this.sent.push({ to, bytes: message.bytes.slice(0, size) });
        return true;
      },
      sendToClient: () => false,
      sendOn: () => false,
      relieve: () => {},
    };
    const peers = new PeerPort(state, bus, pool);
    const prng = new Prng(1);
    this.chain = new HeaderChain(state);
    const { chain } = this;
    this.appender = new Appender(this.journal, () => {});
    this.stateSync = new StateSync({
      state,
      askPrimary: () => this.viewChange.questions.askPrimary(),
      log: (text) => this.said.push(text),
      quiesce: (onQuiet) => this.journal.quiesce(() => this.superblock.quiesce(onQuiet)),
      onMoved: () => {
        this.moved += 1;
      },
    });
    this.viewChange = new ViewChange({
      state,
      chain,
      peers,
      prng,
      onLeave: () => {},
      onLogChosen: () => {},
      onBackupNormal: () => {},
      onLogLonger: () => {
        this.longer += 1;
      },
      syncTo: (view) => this.stateSync.begin(view),
      quorum: () => state.quorums.viewChange,
      nothingAfter: () => true,
      viewToAskFor: () => -1,
      mayLeaveFor: () => this.othersThere,
      onRecovered: () => {},
      log: (text) => this.said.push(text),
      onFatal: (text) => this.fatal.push(text),
    });
    this.repair = new LogRepair({
      state,
      chain,
      cache: new PrepareCache(),
      peers,
      bus,
      pool,
      prng,
      askPrimary: () => this.viewChange.questions.askPrimary(),
      hearsPrimary: () => true,
      onHeaders: () => {},
    });
    this.backup = new Backup({
      state,
      chain,
      cache: new PrepareCache(),
      appender: this.appender,
      peers,
      repair: this.repair,
      sessions: new ClientSessions(1, memoryBuffer(replySlotSize)),
      checkpointInterval: format.checkpointInterval,
    });
  }

  /** Takes its place as a backup of view 0 with the first `head` ops of the log, executed to `executed`. */
  follow(head: number, executed: number): this {
    const { state } = this;
    for (let op = 1; op <= head; op += 1) this.write(this.log, op);
    state.status = Status.normal;
    state.view = this.superblock.view;
    state.logView = this.superblock.logView;
    if (head > 0) state.adoptHead(head, this.log.header(head), 0);
    else state.adoptHead(0, this.superblock.checkpointHeader, 0);
    state.commitMin = executed;
    state.commitMax = executed;
    this.chain.reset();
    return this;
  }

  write(log: Log, op: number): void {
    this.appender.append(this.message(log.prepares[op - 1]!));
    this.io.run();
  }

  /** A message as if received. */
  message(bytes: Uint8Array): Message {
    const message = this.pool.get(bytes.length);
    assert(message !== null, "the test's pool is large enough");
    message.bytes.set(bytes);
    return message;
  }

  /**
   * The `view` of `log` up to its head, as the primary of `view` sends it, or another one that has its log.
   * @param checkpointOp - Of a checkpoint state whose contents do not matter.
   */
  viewMessage(
    log: Log,
    view: number,
    checkpointOp: number,
    headers = viewHeadersMax,
    checkpointOnly = false,
    from = view % format.replicaCount,
  ): Message {
    const count = Math.min(headers, log.head);
    const fields = new ViewFields();
    fields.checkpointOnly = checkpointOnly;
    fields.op = log.head;
    fields.commitMax = Math.max(checkpointOp, log.head - 2);
    fields.checkpointOp = checkpointOp;
    const size = viewBodyHeaderAt(count) * 4;
    const message = this.pool.get(size);
    assert(message !== null, "the test's pool is large enough");
    const { words, bytes } = message;
    words.fill(0, 0, size / 4);
    words.set(this.superblock.checkpointState, headerSize / 4);
    const state = headerSize / 4;
    if (checkpointOp > 0) words.set(log.header(checkpointOp), state);
    words[state + checkpointLayout.word.op] = checkpointOp;
    words.set(
      [0x5453_4350, 1, checkpointOp, 0, blockSize],
      state + checkpointLayout.word.storageRoot,
    );
    words[state + checkpointLayout.word.parentId] = 1;
    words[state + checkpointLayout.word.grandparentId] =
      checkpointOp === format.checkpointInterval ? 0 : 1;
    for (let index = 0; index < count; index += 1) {
      words.set(log.header(log.head - index), viewBodyHeaderAt(index));
    }
    writeView(bytes, words, format.cluster, view, from, fields, count);
    return message;
  }

  /** The primary of `view`, or another one, answers the request for its log that was made last. */
  answer(log: Log, view: number, from = view % format.replicaCount): void {
    const asked = this.sent.findLast(({ bytes }) => bytes[frame.at.command] === Command.getView);
    assert(asked !== undefined, "the log was asked for");
    const message = this.viewMessage(log, view, 0, viewHeadersMax, false, from);
    const at = getViewHeader.at.nonce;
    message.bytes.set(asked.bytes.subarray(at, at + 16), viewHeader.at.nonce);
    this.viewChange.onView(message);
  }

  commands(): number[] {
    return this.sent.map(({ bytes }) => bytes[frame.at.command]!);
  }

  /** Everything on its way to the disk lands. */
  settle(): void {
    this.io.run();
  }

  /** What the disk would be opened as after a loss of power. */
  afterCrash(): OneReplica {
    return new OneReplica(this.io.afterCrash(2));
  }
}
