/**
 * Recent prepares in memory: those that are about to be executed, so that they need not be read
 * back from the journal. Slot = op mod capacity, for ops in (commitMin, commitMin + capacity] alone,
 * hence at most one op per slot. What does not fit is in the journal.
 *
 * Holds one reference on each message.
 */
import { pipelinePrepareMax } from "../core/limits.ts";
import { u128Equal } from "../core/u128.ts";
import type { Message } from "../io/message-pool.ts";
import { frame } from "../wire/header.ts";

export const prepareCacheSize = 2 * pipelinePrepareMax;

export class PrepareCache {
  private readonly messages: (Message | null)[] = new Array(prepareCacheSize).fill(null);
  private readonly ops = new Float64Array(prepareCacheSize).fill(-1);

  /** Keeps a verified prepare if it is one of the next to be executed. */
  put(op: number, message: Message, commitMin: number): void {
    if (op <= commitMin || op > commitMin + prepareCacheSize) return;
    const slot = op % prepareCacheSize;
    const present = this.messages[slot]!;
    if (present === message) return;
    if (present !== null) present.pool.unref(present);
    message.pool.ref(message);
    this.messages[slot] = message;
    this.ops[slot] = op;
  }

  /** The prepare of this op with this checksum, or null. The reference stays here. */
  get(op: number, words: Uint32Array, checksumAt: number): Message | null {
    const slot = op % prepareCacheSize;
    const message = this.messages[slot]!;
    if (message === null || this.ops[slot] !== op) return null;
    return u128Equal(message.words, frame.word.checksum, words, checksumAt) ? message : null;
  }

  /** Gives up the prepare of an op that has been executed. */
  release(op: number): void {
    const slot = op % prepareCacheSize;
    if (this.ops[slot] === op) this.clear(slot);
  }

  releaseAll(): void {
    for (let slot = 0; slot < prepareCacheSize; slot += 1) this.clear(slot);
  }

  private clear(slot: number): void {
    const message = this.messages[slot]!;
    this.messages[slot] = null;
    this.ops[slot] = -1;
    if (message !== null) message.pool.unref(message);
  }
}
