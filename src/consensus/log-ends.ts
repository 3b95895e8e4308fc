/**
 * The ends of their logs that replicas have told a new primary of, its own among them.
 *
 * Invariants:
 * - Each is of the present view: entering another one clears them.
 * - None is older than `endTicksMax`: a log that is told of is told again while it is meant.
 */
import { headerSize } from "../core/limits.ts";
import { u64ReadNumber } from "../core/u128.ts";
import type { Message } from "../io/message-pool.ts";
import { frame } from "../wire/header.ts";
import { joinViewHeader } from "../wire/replica-headers.ts";
import { LogEnd } from "./new-log.ts";

const headerWords = headerSize / 4;

/** A log that was told of counts for so many ticks: 3 s, a dozen repetitions. */
const endTicksMax = 300;

export class LogEnds {
  /** By replica. */
  readonly list: LogEnd[] = [];
  /** When each was told. */
  private readonly tickTold: Float64Array;
  private ticks = 0;

  /** @param own - This replica, whose own log does not grow old. */
  constructor(
    replicaCount: number,
    private readonly own: number,
  ) {
    this.tickTold = new Float64Array(replicaCount);
    for (let replica = 0; replica < replicaCount; replica += 1) this.list.push(new LogEnd());
  }

  /** How many are known. */
  get known(): number {
    let known = 0;
    for (const end of this.list) if (end.known) known += 1;
    return known;
  }

  clear(): void {
    for (const end of this.list) end.known = false;
  }

  /** The replica's log is void. */
  forget(replica: number): void {
    const end = this.list[replica];
    if (end !== undefined) end.known = false;
  }

  /** Takes what a `join_view` tells of its sender's log. */
  learn(message: Message): void {
    const { words } = message;
    const from = message.bytes[frame.at.replica]!;
    const end = this.list[from]!;
    end.known = true;
    end.logView = words[joinViewHeader.word.logView]!;
    end.op = u64ReadNumber(words, joinViewHeader.word.op);
    end.commitMin = u64ReadNumber(words, joinViewHeader.word.commitMin);
    end.commitMax = u64ReadNumber(words, joinViewHeader.word.commitMax);
    end.checkpointOp = u64ReadNumber(words, joinViewHeader.word.checkpointOp);
    end.present = words[joinViewHeader.word.present]!;
    end.nack = words[joinViewHeader.word.nack]!;
    end.headerCount = words[frame.word.size]! / headerSize - 1;
    end.headers.set(words.subarray(headerWords, headerWords * (1 + end.headerCount)));
    // Nobody has the log of a view before its primary has chosen it.
    if (end.logView >= words[frame.word.view]!) end.known = false;
    this.tickTold[from] = this.ticks;
  }

  /** Every 10 ms. */
  tick(): void {
    this.ticks += 1;
    for (let replica = 0; replica < this.list.length; replica += 1) {
      if (replica === this.own || this.ticks - this.tickTold[replica]! <= endTicksMax) continue;
      this.list[replica]!.known = false;
    }
  }
}
