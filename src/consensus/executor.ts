/**
 * Executes committed prepares in op order, one at a time: for each request in a prepare, prefetch
 * (may wait for the disk) then commit, then the reply is built, remembered in the session table
 * and handed on. Registration and noop are executed here; the ledger's operations and the pulse by
 * the state machine.
 *
 * A reply is built in a message of its own pool, so that a slow reader of replies can never keep
 * the replica from receiving or executing: with no free message the reply is not sent now, and the
 * client's retry brings it (from the session table, or by running the query again).
 *
 * Invariant: what a reply says depends on the prepare and the state alone, never on this process.
 */
import { assert } from "../core/assert.ts";
import { headerSize, messageBodySizeMax, messageSizeMax } from "../core/limits.ts";
import { u64ReadNumber, u128Copy, u128IsZero } from "../core/u128.ts";
import type { Message, MessagePool } from "../io/message-pool.ts";
import type { StateMachine } from "../ledger/state-machine.ts";
import { ReplyFields, sealHeader, writeReply } from "../wire/build.ts";
import { frame, prepareHeader, replyHeader } from "../wire/header.ts";
import { Operation, operationMutates, registerReplyBodySize } from "../wire/operations.ts";
import type { ClientSessions } from "./client-sessions.ts";
import { PrepareRequests } from "./prepare-requests.ts";

export interface ExecutorOptions {
  readonly stateMachine: StateMachine;
  readonly sessions: ClientSessions;
  readonly replyPool: MessagePool;
  readonly cluster: Uint32Array;
  readonly batchSizeLimit: number;
  /**
   * A reply is ready; the message is valid during the call (take a reference to keep it). Its
   * header names the client.
   */
  readonly onReply: (reply: Message) => void;
  /** A reply could not be sent for want of a message. */
  readonly onStarved: () => void;
  /** The client's request has been executed. */
  readonly onExecuted: (words: Uint32Array, clientAt: number) => void;
}

export class Executor {
  /** Op of the prepare that was executed last. */
  op = 0;
  readonly requests: PrepareRequests;
  private readonly options: ExecutorOptions;
  private reply: Message;
  private prepare: Message | null = null;
  private onDone: (() => void) | null = null;
  private readonly fields = new ReplyFields();
  private rerunSlot = -1;

  constructor(options: ExecutorOptions) {
    this.options = options;
    this.requests = new PrepareRequests(options.stateMachine);
    u128Copy(this.fields.cluster, 0, options.cluster, 0);
    const reply = options.replyPool.get(messageSizeMax);
    assert(reply !== null, "the reply pool starts full");
    this.reply = reply;
  }

  /** Gives its message back; for a clean shutdown. */
  close(): void {
    this.options.replyPool.unref(this.reply);
  }

  get busy(): boolean {
    return this.onDone !== null;
  }

  /**
   * Executes all requests of a verified, committed prepare.
   * @returns true when done already; otherwise `onDone` is called later.
   */
  execute(prepare: Message, onDone: () => void): boolean {
    assert(this.onDone === null, "one prepare at a time");
    const valid = this.requests.open(prepare.buffer);
    assert(valid, "a committed prepare has a sound table");
    this.prepare = prepare;
    this.onDone = onDone;
    if (!this.run()) return false;
    this.onDone = null;
    return true;
  }

  private run(): boolean {
    while (this.requests.next()) {
      if (!this.prefetch()) return false;
      this.commit();
    }
    this.requests.close();
    this.prepare = null;
    return true;
  }

  private prefetch(): boolean {
    const requests = this.requests;
    if (!ofStateMachine(requests.operation)) return true;
    assert(this.prepare !== null, "a prepare is being executed");
    return this.options.stateMachine.prefetch(
      requests.operation,
      requests.timestamp[0]!,
      requests.timestamp[1]!,
      this.prepare.words,
      this.prepare.bytes,
      requests.bodyAt,
      requests.bodySize,
      this.reply.words,
      this.reply.bytes,
      headerSize,
      this.onPrefetched,
    );
  }

  private readonly onPrefetched = (): void => {
    if (this.rerunSlot !== -1) {
      this.finishRerun();
      return;
    }
    this.commit();
    if (!this.run()) return;
    const onDone = this.onDone;
    assert(onDone !== null, "a prepare is being executed");
    this.onDone = null;
    onDone();
  };

  private commit(): void {
    const { operation, words, clientAt } = this.requests;
    const prepare = this.prepare;
    assert(prepare !== null, "a prepare is being executed");
    let bodySize = 0;
    if (ofStateMachine(operation)) {
      bodySize = this.options.stateMachine.commit();
      assert(bodySize <= messageBodySizeMax, "a reply fits a message");
    } else if (operation === Operation.register) {
      bodySize = registerReplyBodySize;
      this.reply.bytes.fill(0, headerSize, headerSize + bodySize);
      this.reply.words[headerSize / 4] = this.options.batchSizeLimit;
    }
    // A pulse, and the root prepare, have no client and no reply.
    if (u128IsZero(words, clientAt)) return;
    this.writeReplyHeader(bodySize);
    const sessions = this.options.sessions;
    if (operation === Operation.register) {
      const slot = sessions.register(words, clientAt, this.fields.op);
      sessions.setReply(slot, this.reply.buffer, true);
    } else {
      // A session that was pushed out meanwhile: the request counts, the bookkeeping is skipped.
      const slot = sessions.find(words, clientAt);
      if (slot !== -1) {
        sessions.setReply(slot, this.reply.buffer, keepsReply(operation));
      }
    }
    this.options.onExecuted(words, clientAt);
    this.deliver();
  }

  private writeReplyHeader(bodySize: number): void {
    const prepare = this.prepare;
    assert(prepare !== null, "a prepare is being executed");
    const requests = this.requests;
    const fields = this.fields;
    fields.view = prepare.words[frame.word.view]!;
    fields.release = requests.release;
    fields.replica = prepare.bytes[frame.at.replica]!;
    u128Copy(fields.requestChecksum, 0, requests.words, requests.requestChecksumAt);
    u128Copy(fields.client, 0, requests.words, requests.clientAt);
    fields.op = u64ReadNumber(prepare.words, prepareHeader.word.op);
    fields.timestampLow = requests.timestamp[0]!;
    fields.timestampHigh = requests.timestamp[1]!;
    fields.request = requests.request;
    fields.operation = requests.operation;
    fields.bodySize = bodySize;
    writeReply(this.reply.bytes, this.reply.words, 0, fields);
  }

  /**
   * Hands the reply on. Small ones are copied, so that the large message stays here; a large one
   * is given away when another large message is free.
   */
  private deliver(): void {
    const pool = this.options.replyPool;
    const size = this.reply.words[frame.word.size]!;
    const other = pool.get(size);
    if (other === null) {
      this.options.onStarved();
      return;
    }
    if (other.large) {
      const full = this.reply;
      this.reply = other;
      this.options.onReply(full);
      pool.unref(full);
    } else {
      other.bytes.set(this.reply.bytes.subarray(0, size), 0);
      this.options.onReply(other);
      pool.unref(other);
    }
  }

  /**
   * Runs a query again whose reply was not kept, for a client that repeats its request. The answer
   * shows the present state and carries op, timestamp and context of the first run.
   * @param request - The repeated request, equal to the one executed first.
   */
  rerun(request: Message, operation: number, slot: number, onDone: () => void): boolean {
    assert(this.onDone === null, "between ops");
    assert(operationMutates[operation] === 0, "only queries run again");
    const header = this.options.sessions.headerAt(slot);
    const kept = this.options.sessions.headerWordsOf;
    this.rerunSlot = slot;
    this.onDone = onDone;
    const ready = this.options.stateMachine.prefetch(
      operation,
      kept[header + replyHeader.word.timestamp]!,
      kept[header + replyHeader.word.timestamp + 1]!,
      request.words,
      request.bytes,
      headerSize,
      request.words[frame.word.size]! - headerSize,
      this.reply.words,
      this.reply.bytes,
      headerSize,
      this.onPrefetched,
    );
    if (!ready) return false;
    this.onDone = null;
    this.answerRerun();
    return true;
  }

  private finishRerun(): void {
    const onDone = this.onDone;
    assert(onDone !== null, "a query is running again");
    this.onDone = null;
    this.answerRerun();
    onDone();
  }

  private answerRerun(): void {
    const slot = this.rerunSlot;
    this.rerunSlot = -1;
    const bodySize = this.options.stateMachine.commit();
    const kept = this.options.sessions.headerWordsOf;
    const at = this.options.sessions.headerAt(slot);
    this.reply.words.set(kept.subarray(at, at + headerSize / 4), 0);
    this.reply.words[frame.word.size] = headerSize + bodySize;
    sealHeader(this.reply.bytes, this.reply.words, 0);
    this.deliver();
  }
}

/** Operations that the state machine executes; the others are the executor's. */
function ofStateMachine(operation: number): boolean {
  return operation >= 128 || operation === Operation.pulse;
}

/** Replies kept whole; empty ones (noop) need no body and are rebuilt from their header. */
function keepsReply(operation: number): boolean {
  return operation === Operation.noop || operationMutates[operation] === 1;
}
