/**
 * Requests on their way to becoming prepares. Each item of the queue is one prepare in the making:
 * a single request, or, while the pipeline is busy, a group of requests of different clients that
 * will share one prepare, one journal write and one round trip (group commit).
 *
 * A group's body is the requests' bodies back to back, then one table entry per request in the
 * same order (wire/header.ts `groupEntry`); the table comes last because bodies arrive before
 * their number is known. A group of one is sealed as a plain prepare.
 *
 * Invariants:
 * - An item never exceeds a message, `groupRequestsMax` requests, or the bound on reply bytes.
 * - A `register` is alone in its item: the session number is the op.
 * - A client has at most one request in the queue (the replica checks before it pushes).
 */
import { assert } from "../core/assert.ts";
import { groupRequestsMax, headerSize, messageBodySizeMax } from "../core/limits.ts";
import { RingQueue } from "../core/ring-queue.ts";
import { u64AddNumber, u128Copy } from "../core/u128.ts";
import type { Message, MessagePool } from "../io/message-pool.ts";
import { Command, frame, groupEntry, prepareHeader, requestHeader } from "../wire/header.ts";
import { Operation } from "../wire/operations.ts";

const entryWords = groupEntry.size / 4;
const bodyWord = headerSize / 4;

/** Worst-case reply bytes of one group. Bounds the memory that its execution may ask for. */
export const groupReplyBytesMax = 4 * 1024 * 1024;

/** One prepare in the making. */
export class PendingPrepare {
  message: Message | null = null;
  requests = 0;
  bodySize = 0;
  /** Sum of the requests' timestamp deltas; see `timestampSpan`. */
  deltas = 0;
  replyBytes = 0;
  /** No request may join: a register, or grouping is off. */
  closed = false;
  readonly entries = new Uint32Array(groupRequestsMax * entryWords);

  /**
   * How far the timestamps of this item reach: its last request's timestamp is
   * base + timestampSpan, where base = max(previous + 1, clock). Each request after the first
   * takes at least one nanosecond, as if it were an op of its own.
   */
  get timestampSpan(): number {
    return this.deltas + this.requests - 1;
  }

  clientWords(): Uint32Array {
    return this.entries;
  }

  clientAt(index: number): number {
    return index * entryWords + groupEntry.word.client;
  }

  reset(): void {
    this.message = null;
    this.requests = 0;
    this.bodySize = 0;
    this.deltas = 0;
    this.replyBytes = 0;
    this.closed = false;
  }
}

export class RequestQueue {
  private readonly waiting: RingQueue<PendingPrepare>;
  private readonly free: PendingPrepare[] = [];
  private readonly pool: MessagePool;
  readonly grouping: boolean;

  constructor(pool: MessagePool, capacity: number, grouping: boolean) {
    this.pool = pool;
    this.grouping = grouping;
    this.waiting = new RingQueue<PendingPrepare>(capacity);
    for (let count = 0; count < capacity; count += 1) this.free.push(new PendingPrepare());
  }

  get length(): number {
    return this.waiting.length;
  }

  peek(): PendingPrepare | undefined {
    return this.waiting.peek();
  }

  /**
   * Adds a request that passed all checks: to the last item when it has room, else as a new one.
   * Takes a reference on the message when it keeps it.
   * @param delta - The request's timestamp delta.
   * @param replyBytes - Worst case of its reply's body.
   * @returns false when the queue is full: nothing was taken.
   */
  push(request: Message, delta: number, replyBytes: number): boolean {
    const last = this.waiting.peekLast();
    if (last !== undefined && this.join(last, request, delta, replyBytes)) return true;
    if (this.waiting.full) return false;
    const item = this.free.pop();
    assert(item !== undefined, "items that do not wait are free");
    this.pool.ref(request);
    item.message = request;
    item.closed = !this.grouping || operationOf(request) === Operation.register;
    this.addEntry(item, request, delta, replyBytes);
    this.waiting.push(item);
    return true;
  }

  /** Takes the oldest item out. The caller seals it, then calls `recycle`. */
  shift(): PendingPrepare {
    const item = this.waiting.shift();
    assert(item !== undefined, "the queue is not empty");
    return item;
  }

  recycle(item: PendingPrepare): void {
    item.reset();
    this.free.push(item);
  }

  private join(item: PendingPrepare, request: Message, delta: number, replyBytes: number): boolean {
    if (item.closed || item.requests === groupRequestsMax) return false;
    if (operationOf(request) === Operation.register) return false;
    if (item.replyBytes + replyBytes > groupReplyBytesMax) return false;
    const size = request.words[frame.word.size]! - headerSize;
    const tableSize = (item.requests + 1) * groupEntry.size;
    const bodySize = item.bodySize + size;
    if (bodySize + tableSize > messageBodySizeMax) return false;
    const message = item.message;
    assert(message !== null, "a waiting item has a message");
    const target = this.withRoom(item, message, headerSize + bodySize + tableSize);
    if (target === null) return false;
    target.bytes.set(
      request.bytes.subarray(headerSize, headerSize + size),
      headerSize + item.bodySize,
    );
    this.addEntry(item, request, delta, replyBytes);
    return true;
  }

  /** The item's message, exchanged for a large one when it is too small; null when none is free. */
  private withRoom(item: PendingPrepare, message: Message, size: number): Message | null {
    if (size <= message.bytes.length) return message;
    const larger = this.pool.get(size);
    if (larger === null) return null;
    const used = headerSize + item.bodySize;
    larger.bytes.set(message.bytes.subarray(0, used), 0);
    this.pool.unref(message);
    item.message = larger;
    return larger;
  }

  private addEntry(
    item: PendingPrepare,
    request: Message,
    delta: number,
    replyBytes: number,
  ): void {
    const words = request.words;
    const bodySize = words[frame.word.size]! - headerSize;
    const at = item.requests * entryWords;
    const entries = item.entries;
    u128Copy(entries, at + groupEntry.word.requestChecksum, words, frame.word.checksum);
    u128Copy(entries, at + groupEntry.word.client, words, requestHeader.word.client);
    entries[at + groupEntry.word.session] = words[requestHeader.word.session]!;
    entries[at + groupEntry.word.session + 1] = words[requestHeader.word.session + 1]!;
    entries[at + groupEntry.word.request] = words[requestHeader.word.request]!;
    entries[at + groupEntry.word.release] = words[frame.word.release]!;
    entries[at + groupEntry.word.bodySize] = bodySize;
    entries[at + groupEntry.word.operation] = operationOf(request);
    entries[at + groupEntry.word.operation + 1] = 0;
    entries[at + groupEntry.word.operation + 2] = 0;
    item.requests += 1;
    item.bodySize += bodySize;
    item.deltas += delta;
    item.replyBytes += replyBytes;
  }
}

export function operationOf(request: Message): number {
  return request.words[requestHeader.word.operation]! & 0xff;
}

/** What the primary decides when it turns an item into a prepare. */
export interface PrepareFields {
  readonly cluster: Uint32Array;
  view: number;
  replica: number;
  op: number;
  commit: number;
  /** Low and high word of the item's last timestamp. */
  readonly timestamp: Uint32Array;
  /** Checksum of the previous prepare. */
  readonly parent: Uint32Array;
  readonly checkpointId: Uint32Array;
}

/**
 * Rewrites the item's message in place into an unsealed prepare: everything but the checksums.
 * The body of a single request stays as it is; a group's table is appended to it.
 * @returns Whether `checksumBody` of the message is still that of its body.
 */
export function writePrepare(item: PendingPrepare, fields: PrepareFields): boolean {
  const message = item.message;
  assert(message !== null, "an item has a message");
  const words = message.words;
  const group = item.requests > 1;
  let size = headerSize + item.bodySize;
  if (group) {
    assert(size % 4 === 0, "request bodies are whole words");
    words.set(item.entries.subarray(0, item.requests * entryWords), size / 4);
    size += item.requests * groupEntry.size;
  }
  const bodyChecksumAt = frame.word.checksumBody;
  const kept0 = words[bodyChecksumAt]!;
  const kept1 = words[bodyChecksumAt + 1]!;
  const kept2 = words[bodyChecksumAt + 2]!;
  const kept3 = words[bodyChecksumAt + 3]!;
  words.fill(0, 0, bodyWord);
  words[bodyChecksumAt] = kept0;
  words[bodyChecksumAt + 1] = kept1;
  words[bodyChecksumAt + 2] = kept2;
  words[bodyChecksumAt + 3] = kept3;
  u128Copy(words, frame.word.cluster, fields.cluster, 0);
  words[frame.word.size] = size;
  words[frame.word.view] = fields.view;
  message.bytes[frame.at.command] = Command.prepare;
  message.bytes[frame.at.replica] = fields.replica;
  u128Copy(words, prepareHeader.word.parent, fields.parent, 0);
  u128Copy(words, prepareHeader.word.checkpointId, fields.checkpointId, 0);
  u64AddNumber(words, prepareHeader.word.op, 0, 0, fields.op);
  u64AddNumber(words, prepareHeader.word.commit, 0, 0, fields.commit);
  words[prepareHeader.word.timestamp] = fields.timestamp[0]!;
  words[prepareHeader.word.timestamp + 1] = fields.timestamp[1]!;
  message.bytes[prepareHeader.at.requests] = item.requests;
  if (group) {
    message.bytes[prepareHeader.at.operation] = Operation.group;
    return false;
  }
  const entries = item.entries;
  words[frame.word.release] = entries[groupEntry.word.release]!;
  u128Copy(words, prepareHeader.word.requestChecksum, entries, groupEntry.word.requestChecksum);
  u128Copy(words, prepareHeader.word.client, entries, groupEntry.word.client);
  words[prepareHeader.word.request] = entries[groupEntry.word.request]!;
  message.bytes[prepareHeader.at.operation] = entries[groupEntry.word.operation]! & 0xff;
  return true;
}
