/**
 * What a replica has acknowledged in a view it does not deny while it has that view's log: it neither says
 * that it never had the op, nor tells of a log that ends before it. Only a later view's primary can cut an
 * op off. A prepare that was damaged since is neither present nor denied.
 *
 * An acknowledgement counts once it has arrived. A replica whose disk was lost has forgotten what it said.
 */
import { u64ReadNumber } from "../../../src/core/u128.ts";
import { Command, frame } from "../../../src/wire/header.ts";
import { joinViewHeader, prepareOkHeader } from "../../../src/wire/replica-headers.ts";
import type { Fail } from "./history.ts";

interface Acknowledged {
  /** In which view. */
  view: number;
  readonly ops: Set<number>;
  opMax: number;
}

export class AcknowledgedOps {
  private readonly replicas: Acknowledged[] = [];
  private readonly lost = new Set<number>();

  constructor(private readonly fail: Fail) {}

  /** A replica has heard this from another one. */
  told(bytes: Uint8Array, words: Uint32Array): void {
    const command = bytes[frame.at.command];
    const replica = bytes[frame.at.replica]!;
    if (command === Command.prepareOk) {
      const op = u64ReadNumber(words, prepareOkHeader.word.op);
      this.acknowledges(replica, words[frame.word.view]!, op);
    } else if (command === Command.joinView && !this.lost.has(replica)) {
      this.tellsLog(replica, words);
    }
  }

  private acknowledges(replica: number, view: number, op: number): void {
    let acknowledged = this.replicas[replica];
    if (acknowledged === undefined) {
      acknowledged = { view: -1, ops: new Set(), opMax: 0 };
      this.replicas[replica] = acknowledged;
    }
    if (view < acknowledged.view) return;
    if (view > acknowledged.view) {
      acknowledged.view = view;
      acknowledged.ops.clear();
      acknowledged.opMax = 0;
    }
    acknowledged.ops.add(op);
    acknowledged.opMax = Math.max(acknowledged.opMax, op);
  }

  private tellsLog(replica: number, words: Uint32Array): void {
    const acknowledged = this.replicas[replica];
    const logView = words[joinViewHeader.word.logView]!;
    if (acknowledged === undefined || acknowledged.view !== logView) return;
    const head = u64ReadNumber(words, joinViewHeader.word.op);
    if (head < acknowledged.opMax) {
      this.fail(
        `replica ${replica} tells of a log of view ${logView} that ends at op ${head}, ` +
          `and has acknowledged op ${acknowledged.opMax} in it`,
      );
    }
    const nack = words[joinViewHeader.word.nack]!;
    for (let index = 0; index < 32; index += 1) {
      if ((nack & (1 << index)) === 0 || !acknowledged.ops.has(head - index)) continue;
      this.fail(
        `replica ${replica} denies op ${head - index} in the log of view ${logView}, ` +
          "and has acknowledged it",
      );
    }
  }

  diskLost(replica: number): void {
    this.lost.add(replica);
  }
}
