/**
 * The session table: which clients have registered, and the latest reply of each. It is part of
 * the replicated state: every replica makes the same changes when it executes the same op, so that
 * a retried request is answered and never executed again, across restarts (protocol/wire.md §6).
 *
 * Replies to requests that change state are kept whole, in one fixed slot of memory per session,
 * and go to the replies zone of the data file at checkpoints. Of all other replies only the header
 * is kept: a repeated query runs again and answers with the first run's op, timestamp and context.
 *
 * A kept reply may be missing: lost from the file, or never there. Others have it (reply-repair.ts).
 *
 * Invariants:
 * - `slots` maps exactly the clients of the occupied entries.
 * - A kept reply that is not missing carries the op of its entry's header.
 * - What is missing, and what was touched, is this replica's affair: neither is in a checkpoint.
 * - Slots are given out lowest first, so that all replicas choose the same ones.
 */
import { assert } from "../core/assert.ts";
import { headerSize, replyBodyKeptMax, replySlotSize } from "../core/limits.ts";
import { u64ReadNumber, u64WriteNumber, u128IsZero } from "../core/u128.ts";
import { U128Map } from "../core/u128-map.ts";
import type { IoBuffer } from "../io/io.ts";
import { Command, frame, replyHeader } from "../wire/header.ts";

const headerWords = headerSize / 4;

/** Words of one entry in the checkpoint: client, session, flags, reserved, reply header. */
const entryWords = 4 + 2 + 1 + 1 + headerWords;
const entryOccupied = 1;
const entryReplyKept = 2;

/** Words before the entries: a count of entries, and three reserved zeros. */
const prefixWords = 4;

export class ClientSessions {
  readonly clientsMax: number;
  /** Kept replies: slot s lies at s × replySlotSize. */
  readonly replies: IoBuffer;
  private readonly slots: U128Map;
  private readonly occupied: Uint8Array;
  private readonly kept: Uint8Array;
  /** Session number (the op of its register) per slot. */
  private readonly sessions: Float64Array;
  /** Header of the latest reply per slot. */
  private readonly headers: Uint32Array;
  /** Slots whose kept reply was lost here: other replicas have it. And how many there are. */
  private readonly missing: Uint8Array;
  missingReplies = 0;
  /** Slots whose entry has changed since the last `snapshot`. */
  private readonly touched: Uint8Array;

  /**
   * @param replies - clientsMax × replySlotSize bytes; touched only as sessions need it.
   */
  constructor(clientsMax: number, replies: IoBuffer) {
    assert(replies.sizeBytes >= clientsMax * replySlotSize, "every session has a reply slot");
    this.clientsMax = clientsMax;
    this.replies = replies;
    this.slots = new U128Map(clientsMax);
    this.occupied = new Uint8Array(clientsMax);
    this.kept = new Uint8Array(clientsMax);
    this.sessions = new Float64Array(clientsMax);
    this.headers = new Uint32Array(clientsMax * headerWords);
    this.touched = new Uint8Array(clientsMax);
    this.missing = new Uint8Array(clientsMax);
  }

  get count(): number {
    return this.slots.count;
  }

  /** The slot of a client's session, or −1. */
  find(words: Uint32Array, clientAt: number): number {
    return this.slots.get(words, clientAt);
  }

  isOccupied(slot: number): boolean {
    return this.occupied[slot] === 1;
  }

  session(slot: number): number {
    return this.sessions[slot]!;
  }

  /** Word index in `headerWordsOf` of the latest reply's header. */
  headerAt(slot: number): number {
    return slot * headerWords;
  }

  get headerWordsOf(): Uint32Array {
    return this.headers;
  }

  /** Number of the session's latest executed request. */
  request(slot: number): number {
    return this.headers[slot * headerWords + replyHeader.word.request]!;
  }

  release(slot: number): number {
    return this.headers[slot * headerWords + frame.word.release]!;
  }

  /** Op of the session's latest reply. */
  replyOp(slot: number): number {
    return u64ReadNumber(this.headers, slot * headerWords + replyHeader.word.op);
  }

  /** Bytes of the latest reply, header included. */
  replySize(slot: number): number {
    return this.headers[slot * headerWords + frame.word.size]!;
  }

  /** True when the latest reply is one that is kept whole. */
  replyKept(slot: number): boolean {
    return this.kept[slot] === 1;
  }

  /** The kept reply of this slot could not be read. */
  markReplyMissing(slot: number): void {
    assert(this.kept[slot] === 1, "a kept reply can be missing");
    assert(this.missing[slot] === 0, "found missing once");
    this.missing[slot] = 1;
    this.missingReplies += 1;
  }

  /** True when the latest reply should lie in `replies` and does not. */
  replyMissing(slot: number): boolean {
    return this.missing[slot] === 1;
  }

  /** It is here, or no longer the latest. */
  private clearMissing(slot: number): void {
    this.missingReplies -= this.missing[slot]!;
    this.missing[slot] = 0;
  }

  /** A missing reply has come: the caller has compared its header, and checked its body. */
  takeReply(slot: number, bytes: Uint8Array): void {
    assert(this.missing[slot] === 1, "the reply was missing");
    this.replies.bytes.set(bytes.subarray(0, this.replySize(slot)), slot * replySlotSize);
    assert(this.keptReplyMatches(slot), "the reply is the one that the entry names");
    this.clearMissing(slot);
    this.touched[slot] = 1; // For the next checkpoint to write it to the file.
  }

  /** True when the header at the start of `words` is that of the latest reply. */
  headerMatches(slot: number, words: Uint32Array): boolean {
    const at = slot * headerWords;
    for (let word = 0; word < headerWords; word += 1) {
      if (words[word] !== this.headers[at + word]) return false;
    }
    return true;
  }

  touchedSinceSnapshot(slot: number): boolean {
    return this.touched[slot] === 1;
  }

  /**
   * Makes room for and adds the session of a `register` that executes as `op`. When the table is
   * full the session that has gone longest without executing a request makes way; among those
   * that share an op (a group) the one with the smallest session number.
   * @returns Its slot. The caller then calls `setReply`.
   */
  register(words: Uint32Array, clientAt: number, op: number): number {
    assert(!u128IsZero(words, clientAt), "a client has an id");
    let slot = this.slots.get(words, clientAt);
    if (slot === -1) {
      if (this.slots.count === this.clientsMax) this.evictOldest();
      slot = 0;
      while (this.occupied[slot] === 1) slot += 1;
      this.occupied[slot] = 1;
      this.slots.set(words, clientAt, slot);
    }
    this.sessions[slot] = op;
    return slot;
  }

  private evictOldest(): void {
    let oldest = -1;
    for (let slot = 0; slot < this.clientsMax; slot += 1) {
      if (this.occupied[slot] === 0) continue;
      if (oldest === -1 || this.isOlder(slot, oldest)) oldest = slot;
    }
    assert(oldest !== -1, "a full table has an oldest session");
    const clientAt = oldest * headerWords + replyHeader.word.client;
    const deleted = this.slots.delete(this.headers, clientAt);
    assert(deleted, "the map holds every occupied slot");
    this.occupied[oldest] = 0;
    this.kept[oldest] = 0;
    this.clearMissing(oldest);
  }

  private isOlder(a: number, b: number): boolean {
    const opA = this.replyOp(a);
    const opB = this.replyOp(b);
    if (opA !== opB) return opA < opB;
    return this.sessions[a]! < this.sessions[b]!;
  }

  /**
   * Replaces the latest reply of a session.
   * @param message - The sealed reply; its header is copied, and with `keep` its body too.
   */
  setReply(slot: number, message: IoBuffer, keep: boolean): void {
    assert(this.occupied[slot] === 1, "the session exists");
    const size = message.words[frame.word.size]!;
    this.headers.set(message.words.subarray(0, headerWords), slot * headerWords);
    this.kept[slot] = keep ? 1 : 0;
    this.touched[slot] = 1;
    this.clearMissing(slot);
    if (!keep) return;
    assert(size <= headerSize + replyBodyKeptMax, "a kept reply fits its slot");
    this.replies.bytes.set(message.bytes.subarray(0, size), slot * replySlotSize);
  }

  get snapshotWords(): number {
    return prefixWords + this.clientsMax * entryWords;
  }

  /** Writes the table for the checkpoint and forgets which slots were touched. */
  snapshot(target: Uint32Array): void {
    target.fill(0, 0, this.snapshotWords);
    target[0] = this.clientsMax;
    for (let slot = 0; slot < this.clientsMax; slot += 1) {
      this.touched[slot] = 0;
      if (this.occupied[slot] === 0) continue;
      const at = prefixWords + slot * entryWords;
      const from = slot * headerWords;
      for (let word = 0; word < 4; word += 1) {
        target[at + word] = this.headers[from + replyHeader.word.client + word]!;
      }
      u64WriteNumber(target, at + 4, this.sessions[slot]!);
      target[at + 6] = entryOccupied | (this.kept[slot] === 1 ? entryReplyKept : 0);
      target.set(this.headers.subarray(from, from + headerWords), at + 8);
    }
  }

  /**
   * Takes the table from a checkpoint; kept replies are loaded by the caller.
   * @returns false when the words are not such a table.
   */
  restore(source: Uint32Array, length: number): boolean {
    if (length !== this.snapshotWords || source[0] !== this.clientsMax) return false;
    this.slots.clear();
    this.occupied.fill(0);
    this.kept.fill(0);
    this.touched.fill(0);
    this.missing.fill(0);
    this.missingReplies = 0;
    for (let slot = 0; slot < this.clientsMax; slot += 1) {
      const at = prefixWords + slot * entryWords;
      const flags = source[at + 6]!;
      if (flags === 0) continue;
      if ((flags & entryOccupied) === 0 || flags > (entryOccupied | entryReplyKept)) return false;
      const header = at + 8;
      for (let word = 0; word < 4; word += 1) {
        if (source[at + word] !== source[header + replyHeader.word.client + word]) return false;
      }
      if (this.slots.get(source, at) !== -1) return false;
      if (((source[header + 28]! >>> 16) & 0xff) !== Command.reply) return false;
      this.slots.set(source, at, slot);
      this.occupied[slot] = 1;
      this.kept[slot] = (flags & entryReplyKept) === 0 ? 0 : 1;
      this.sessions[slot] = u64ReadNumber(source, at + 4);
      this.headers.set(source.subarray(header, header + headerWords), slot * headerWords);
    }
    return true;
  }

  /** True when the message at `slot` of `replies` is the one that the entry's header names. */
  keptReplyMatches(slot: number): boolean {
    const at = (slot * replySlotSize) / 4;
    const header = slot * headerWords;
    for (let word = 0; word < headerWords; word += 1) {
      if (this.replies.words[at + word] !== this.headers[header + word]) return false;
    }
    return true;
  }
}
