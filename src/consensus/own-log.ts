/**
 * The end of the own log, as it is told to others and recorded in the superblock. Headers come from the
 * journal's table; that of the checkpoint's op from the superblock, since the journal may have forgotten it.
 *
 * Invariant: the head's header is known.
 */
import { assert } from "../core/assert.ts";
import { headerSize, viewHeadersMax } from "../core/limits.ts";
import { u128Equal } from "../core/u128.ts";
import { prepareHeader } from "../wire/header.ts";
import { joinHeadersMax } from "../wire/replica-headers.ts";
import { writeBlankHeader } from "../wire/replica-messages.ts";
import type { LogEnd } from "./new-log.ts";
import type { ReplicaState } from "./replica-state.ts";

const headerWords = headerSize / 4;

export class OwnLog {
  /** What was collected last, highest op first. */
  readonly headers = new Uint32Array(viewHeadersMax * headerWords);

  constructor(private readonly state: ReplicaState) {}

  /**
   * Collects the head's header, which says where the log ends, and of the ops below it those that are
   * known. @returns How many.
   */
  known(): number {
    const { op: head } = this.state;
    let count = 0;
    for (let op = head; op > head - viewHeadersMax && op >= 0; op -= 1) {
      if (this.copyHeader(op, count * headerWords)) count += 1;
      assert(count > 0, "the head's header is known");
    }
    return count;
  }

  /** As `known`, up to the first that is missing, or was left there by another log below the checkpoint. */
  unbroken(): number {
    const { op: head } = this.state;
    const { headers } = this;
    let count = 0;
    while (count < viewHeadersMax && head - count >= 0) {
      const at = count * headerWords;
      if (!this.copyHeader(head - count, at)) break;
      const parentAt = at - headerWords + prepareHeader.word.parent;
      if (count > 0 && !u128Equal(headers, at, headers, parentAt)) break;
      count += 1;
    }
    assert(count > 0, "the head's header is known");
    return count;
  }

  /** Describes the log for a new primary: what is here, and what was certainly never acknowledged. */
  describe(end: LogEnd): void {
    const { state } = this;
    const { journal } = state;
    end.known = true;
    end.logView = state.logView;
    end.op = state.op;
    end.commitMin = state.commitMin;
    end.commitMax = Math.min(state.commitMax, state.op);
    end.checkpointOp = state.superblock.checkpointOp;
    end.present = 0;
    end.nack = 0;
    end.headerCount = Math.min(joinHeadersMax, state.op + 1);
    end.headers.fill(0);
    for (let index = 0; index < end.headerCount; index += 1) {
      const op = state.op - index;
      const at = index * headerWords;
      if (this.copyHeader(op, 0)) end.headers.set(this.headers.subarray(0, headerWords), at);
      else writeBlankHeader(end.headers, at, op);
      if (journal.hasPrepare(op)) end.present |= 1 << index;
      else if (op > state.commitMin && !journal.isFaulty(op)) end.nack |= 1 << index;
    }
  }

  private copyHeader(op: number, target: number): boolean {
    const { journal, superblock } = this.state;
    if (op === superblock.checkpointOp) {
      // In the journal may be another one, which a view change had cut off before the replica moved here.
      this.headers.set(superblock.checkpointHeader, target);
      return true;
    }
    if (!journal.hasHeader(op)) return false;
    const at = journal.headerAt(op);
    this.headers.set(journal.headers.subarray(at, at + headerWords), target);
    return true;
  }
}
