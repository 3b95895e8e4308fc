/**
 * One history: what one replica has executed as op n, all others execute as op n, byte for byte,
 * and again after every restart. An executed op was committed, so that it can never be taken back.
 *
 * Per replica the ops follow each other without a gap. A restart may go back (ops above a checkpoint
 * are executed again) and never forward; only state sync jumps, to a checkpoint of an op that some
 * replica has executed, which may lie below what this one has. The prepares form a chain, each naming the one before.
 */
import type { ObservedPrepare } from "./prepare.ts";

/** What checkers report with. Throws. */
export type Fail = (reason: string) => never;

export class History {
  /** Checksum per op; op 0 is the root prepare, which nobody executes. */
  private readonly checksums: string[] = [""];
  private readonly views: number[] = [0];
  private readonly replicas: Position[] = [];

  constructor(private readonly fail: Fail) {}

  /** The last op that any replica has executed. */
  get head(): number {
    return this.checksums.length - 1;
  }

  /** Takes what a replica is the first to have executed. */
  executed(replica: number, prepare: ObservedPrepare): void {
    const { op } = prepare;
    this.advance(replica, op);
    if (op !== this.head + 1) {
      this.fail(`replica ${replica} executed op ${op}, and nobody op ${this.head + 1}`);
    }
    this.append(prepare);
  }

  /** Takes an op that is in the history. */
  executedAgain(replica: number, op: number, checksum: string, view: number): void {
    this.advance(replica, op);
    const known = this.checksums[op];
    if (known !== checksum) {
      this.fail(
        `replica ${replica} executed ${checksum} (view ${view}) as op ${op}; ` +
          `in the history it is ${known} (view ${this.views[op]})`,
      );
    }
  }

  private append(prepare: ObservedPrepare): void {
    const { op, checksum, parent, view, commit } = prepare;
    const before = this.checksums[op - 1]!;
    // The root prepare's checksum is known from the first op that names it.
    if (op === 1) this.checksums[0] = parent;
    else if (parent !== before) this.fail(`op ${op} names ${parent} before it, not ${before}`);
    if (commit >= op) this.fail(`op ${op} says that op ${commit} is committed`);
    if (view < this.views[op - 1]!) this.fail(`op ${op} is of view ${view}, older than its parent`);
    this.checksums.push(checksum);
    this.views.push(view);
  }

  private advance(replica: number, op: number): void {
    const position = this.position(replica);
    if (position.next === null) {
      // The first op after a start: the one after the checkpoint that was opened.
      if (op > position.top + 1) {
        this.fail(`replica ${replica} went on with op ${op} after a restart at op ${position.top}`);
      }
    } else if (op !== position.next) {
      this.fail(`replica ${replica} executed op ${op} instead of op ${position.next}`);
    }
    position.next = op + 1;
    position.top = Math.max(position.top, op);
  }

  private position(replica: number): Position {
    let position = this.replicas[replica];
    if (position === undefined) {
      position = { next: null, top: 0 };
      this.replicas[replica] = position;
    }
    return position;
  }

  /** The replica begins anew, with what it has on disk. */
  restarted(replica: number): void {
    this.position(replica).next = null;
  }

  /** The replica has moved to the cluster's checkpoint of `op`. */
  synced(replica: number, op: number): void {
    const position = this.position(replica);
    if (op > this.head) this.fail(`replica ${replica} moved to a checkpoint of unknown op ${op}`);
    position.next = op + 1;
    position.top = Math.max(position.top, op);
  }

  /** A replica says that it has executed everything up to `op`. */
  standsAt(replica: number, op: number): void {
    const { next } = this.position(replica);
    if (next !== null && op !== next - 1) {
      this.fail(`replica ${replica} stands at op ${op} and has executed op ${next - 1}`);
    }
    if (op > this.head) this.fail(`replica ${replica} stands at op ${op}, which nobody executed`);
  }
}

interface Position {
  /** The op that the replica executes next, or null when only its disk knows. */
  next: number | null;
  /** The highest op that it has executed. */
  top: number;
}
