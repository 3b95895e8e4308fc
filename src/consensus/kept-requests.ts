/**
 * The newest request that each client has sent to this replica while it was not the primary. Passed on
 * to a primary that has just died it is lost, and the client asks again only after its timeout; kept
 * here, it goes to the next primary as soon as there is one.
 *
 * To keep a request promises nothing: whoever takes it judges it like one that has just come.
 *
 * Invariants:
 * - None is older than its owner wants (`prune`).
 * - One request per client, and none of which this replica has executed it or a later one: a `register`
 *   of a session that has ended meanwhile would make another one.
 * - At most `keptSmallMax` small and `keptLargeMax` large messages are held, which the pool has more
 *   for this. Beyond that the oldest of its size makes room.
 */
import { assert } from "../core/assert.ts";
import { u128Equal } from "../core/u128.ts";
import type { Message } from "../io/message-pool.ts";
import { requestHeader } from "../wire/header.ts";

export const keptSmallMax = 64;
export const keptLargeMax = 4;

const keptMax = keptSmallMax + keptLargeMax;

const { client } = requestHeader.word;

export class KeptRequests {
  /** Oldest first, `count` of them, and when each was sent last. Of one length, so nothing is allocated. */
  private readonly messages: (Message | null)[] = new Array<Message | null>(keptMax).fill(null);
  private readonly ticks = new Float64Array(keptMax);
  private count = 0;

  get length(): number {
    return this.count;
  }

  /** Takes a reference. @param tick - Now. */
  keep(request: Message, tick: number): void {
    const { messages } = this;
    let ofItsSize = 0;
    let oldest = -1;
    for (let index = this.count - 1; index >= 0; index -= 1) {
      const kept = messages[index]!;
      if (u128Equal(kept.words, client, request.words, client)) {
        this.release(index);
        oldest -= 1;
      } else if (kept.large === request.large) {
        ofItsSize += 1;
        oldest = index;
      }
    }
    if (ofItsSize === (request.large ? keptLargeMax : keptSmallMax)) this.release(oldest);
    assert(this.count < keptMax, "the oldest has made room");
    request.pool.ref(request);
    messages[this.count] = request;
    this.ticks[this.count] = tick;
    this.count += 1;
  }

  private release(index: number): void {
    const message = this.remove(index);
    message.pool.unref(message);
  }

  /** The reference passes to the caller. */
  private remove(index: number): Message {
    const { messages, ticks } = this;
    const message = messages[index]!;
    const last = this.count - 1;
    for (let at = index; at < last; at += 1) {
      messages[at] = messages[at + 1]!;
      ticks[at] = ticks[at + 1]!;
    }
    messages[last] = null;
    this.count = last;
    return message;
  }

  /**
   * A request of this client was executed. The client may have sent the next one already.
   * @param executed - Its number.
   */
  forget(words: Uint32Array, clientAt: number, executed: number): void {
    for (let index = 0; index < this.count; index += 1) {
      const kept = this.messages[index]!.words;
      if (!u128Equal(kept, client, words, clientAt)) continue;
      if (kept[requestHeader.word.request]! <= executed) this.release(index);
      return;
    }
  }

  /** Forgets what was sent last before `tick`: clients that are still there repeat theirs. */
  prune(tick: number): void {
    while (this.count > 0 && this.ticks[0]! < tick) this.release(0);
  }

  /** Shows the oldest ones, `most` at most. */
  show(most: number, take: (request: Message) => void): void {
    for (let index = 0; index < Math.min(most, this.count); index += 1) {
      take(this.messages[index]!);
    }
  }

  /** Hands over all, oldest first, and keeps none of them. */
  drain(take: (request: Message) => void): void {
    for (let count = this.count; count > 0; count -= 1) {
      const message = this.remove(0);
      take(message);
      message.pool.unref(message);
    }
  }
}
