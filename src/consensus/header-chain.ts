/**
 * Which headers of the journal belong to the present log. The head is trusted; every header names
 * its predecessor by checksum, so trust reaches down from the head as far as the known headers
 * connect. A header below a gap, or a stale one of an abandoned view, is not trusted, whatever the
 * journal's table says.
 *
 * Invariant: headers of ops in (next, head] that the journal holds are those of the log, and the
 * log's header of op `next` has the checksum `wanted`.
 */
import { u128Copy, u128Equal } from "../core/u128.ts";
import { frame, prepareHeader } from "../wire/header.ts";
import type { ReplicaState } from "./replica-state.ts";

export class HeaderChain {
  /** Op of the highest header that is still to be connected; at the lower end, the checkpoint's. */
  next = 0;
  readonly wanted = new Uint32Array(4);
  private readonly state: ReplicaState;

  constructor(state: ReplicaState) {
    this.state = state;
  }

  /** The head has changed other than by its successor: trust starts from it again. */
  reset(): void {
    this.next = this.state.op;
    u128Copy(this.wanted, 0, this.state.headChecksum, 0);
    this.walk();
  }

  /** Follows the chain down through what the journal knows. */
  walk(): void {
    const { journal, superblock } = this.state;
    const floor = superblock.checkpointOp;
    while (this.next > floor && journal.hasHeader(this.next)) {
      const at = journal.headerAt(this.next);
      if (!u128Equal(journal.headers, at, this.wanted, 0)) return;
      u128Copy(this.wanted, 0, journal.headers, at + prepareHeader.word.parent);
      this.next -= 1;
    }
  }

  /** True when nothing is missing down to the checkpoint. */
  get complete(): boolean {
    return this.next <= this.state.superblock.checkpointOp;
  }

  /** True when the log's header of this op is known to be in the journal's table. */
  trusts(op: number): boolean {
    return op > this.next && op <= this.state.op && this.state.journal.hasHeader(op);
  }

  /**
   * Takes a header that a peer sent, if it is the wanted one.
   * @param at - Index of its first word.
   */
  accept(op: number, words: Uint32Array, at: number): boolean {
    if (op !== this.next || !u128Equal(words, at + frame.word.checksum, this.wanted, 0))
      return false;
    const { journal } = this.state;
    if (op > journal.checkpointed && op <= journal.opMax) journal.installHeader(words, at);
    u128Copy(this.wanted, 0, words, at + prepareHeader.word.parent);
    this.next -= 1;
    this.walk();
    return true;
  }
}
