/**
 * What a view change concludes from the logs that replicas tell of: where the log of the new view
 * ends, and which headers it ends with. A pure function over what join_views say.
 *
 * Those with the highest log view are *canonical*: whatever committed is in the log of one of them.
 * An op that is not certainly committed is dropped only if a nack quorum never acknowledged it.
 * Without such a quorum it is kept when somebody can supply it, and otherwise nothing is decided.
 */
import { assert } from "../core/assert.ts";
import { headerSize, pipelinePrepareMax } from "../core/limits.ts";
import { u64ReadNumber, u128Equal } from "../core/u128.ts";
import { prepareHeader } from "../wire/header.ts";
import { joinHeadersMax } from "../wire/replica-headers.ts";
import { isBlankHeader } from "../wire/replica-messages.ts";

const headerWords = headerSize / 4;

/** What one replica tells of its log when a view begins. */
export class LogEnd {
  /** False: nothing was heard from this replica in this view. */
  known = false;
  logView = 0;
  op = 0;
  commitMin = 0;
  commitMax = 0;
  checkpointOp = 0;
  /** Bit i speaks of header i. */
  present = 0;
  nack = 0;
  headerCount = 0;
  /** Headers of ops `op`, `op` − 1 …; blank where unknown. */
  readonly headers = new Uint32Array(joinHeadersMax * headerWords);

  /** Index of the header of this op, or −1. */
  indexOf(op: number): number {
    const index = this.op - op;
    return index >= 0 && index < this.headerCount ? index : -1;
  }

  /** First word of this op's header, or −1 when it is unknown. */
  headerAt(op: number): number {
    const index = this.indexOf(op);
    if (index === -1) return -1;
    const at = index * headerWords;
    return isBlankHeader(this.headers, at) ? -1 : at;
  }
}

export const LogDecision = { waiting: 0, decided: 1 } as const;

/** The end of the new log. */
export class NewLog {
  op = 0;
  /** Certainly committed. */
  commitMax = 0;
  headerCount = 0;
  /** Headers of `op`, `op` − 1 …, down to one that is certainly committed. */
  readonly headers = new Uint32Array(joinHeadersMax * headerWords);

  /** @param nackQuorum - Replicas that make sure that an op was never acknowledged by a quorum. */
  decide(ends: readonly LogEnd[], nackQuorum: number): number {
    const logView = highestLogView(ends);
    this.commitMax = certainCommit(ends, logView);
    const head = highestOp(ends, logView);
    // Somebody knows of a commit that no canonical log reaches: others must be heard.
    if (head < this.commitMax) return LogDecision.waiting;
    let op = this.commitMax;
    while (op < head) {
      const source = canonicalHeader(ends, logView, op + 1);
      if (countNacks(ends, logView, source, op + 1) >= nackQuorum) break;
      if (source === null || !anyHolder(ends, source, op + 1)) return LogDecision.waiting;
      op += 1;
    }
    return this.collect(ends, logView, op);
  }

  private collect(ends: readonly LogEnd[], logView: number, op: number): number {
    this.op = op;
    this.headerCount = 0;
    while (this.headerCount < joinHeadersMax) {
      const wanted = op - this.headerCount;
      const source = wanted < 0 ? null : canonicalHeader(ends, logView, wanted);
      if (source === null) break;
      const at = source.headerAt(wanted);
      if (!this.connects(source.headers, at)) {
        // Below what is committed somebody remembers another log; the chain from above finds the right one.
        if (wanted <= this.commitMax) break;
        return LogDecision.waiting;
      }
      const target = this.headerCount * headerWords;
      this.headers.set(source.headers.subarray(at, at + headerWords), target);
      this.headerCount += 1;
    }
    return this.headerCount === 0 ? LogDecision.waiting : LogDecision.decided;
  }

  /** True when the last header taken names the one at words[at] as its parent. */
  private connects(words: Uint32Array, at: number): boolean {
    if (this.headerCount === 0) return true;
    const above = (this.headerCount - 1) * headerWords;
    return u128Equal(words, at, this.headers, above + prepareHeader.word.parent);
  }
}

function highestLogView(ends: readonly LogEnd[]): number {
  let logView = -1;
  for (const end of ends) if (end.known && end.logView > logView) logView = end.logView;
  assert(logView >= 0, "at least the own log is known");
  return logView;
}

function highestOp(ends: readonly LogEnd[], logView: number): number {
  let op = 0;
  for (const end of ends) {
    if (end.known && end.logView === logView && end.op > op) op = end.op;
  }
  return op;
}

function certainCommit(ends: readonly LogEnd[], logView: number): number {
  let commit = 0;
  for (const end of ends) {
    if (!end.known) continue;
    commit = Math.max(commit, end.commitMin, end.commitMax);
    if (end.logView !== logView) continue;
    // A primary numbers no op before the one a pipeline earlier was executed.
    commit = Math.max(commit, end.op - pipelinePrepareMax);
    for (let index = 0; index < end.headerCount; index += 1) {
      const at = index * headerWords;
      if (isBlankHeader(end.headers, at)) continue;
      commit = Math.max(commit, u64ReadNumber(end.headers, at + prepareHeader.word.commit));
    }
  }
  return commit;
}

/**
 * A replica that knows the canonical header of this op: a canonical one (they agree, theirs is one
 * log), or any whose header is the one that the canonical successor names as its parent.
 */
function canonicalHeader(ends: readonly LogEnd[], logView: number, op: number): LogEnd | null {
  for (const end of ends) {
    if (end.known && end.logView === logView && end.headerAt(op) !== -1) return end;
  }
  for (const end of ends) {
    if (!end.known || end.logView !== logView || end.headerAt(op + 1) === -1) continue;
    const parentAt = end.headerAt(op + 1) + prepareHeader.word.parent;
    for (const other of ends) {
      const at = other.known ? other.headerAt(op) : -1;
      if (at !== -1 && u128Equal(other.headers, at, end.headers, parentAt)) return other;
    }
  }
  return null;
}

/** True when `end` knows the same header for this op as `source`. */
function agrees(end: LogEnd, source: LogEnd, op: number): boolean {
  const at = end.headerAt(op);
  return at !== -1 && u128Equal(end.headers, at, source.headers, source.headerAt(op));
}

function countNacks(
  ends: readonly LogEnd[],
  logView: number,
  source: LogEnd | null,
  op: number,
): number {
  let nacks = 0;
  for (const end of ends) {
    if (end.known && hasNacked(end, logView, source, op)) nacks += 1;
  }
  return nacks;
}

/** True when this replica has certainly never acknowledged the canonical prepare of this op. */
function hasNacked(end: LogEnd, logView: number, source: LogEnd | null, op: number): boolean {
  if (op > end.op) return true;
  const index = end.indexOf(op);
  if (index === -1) return false;
  const explicit = (end.nack & (1 << index)) !== 0;
  if (explicit) return true;
  if (end.headerAt(op) === -1 || source === null) return false;
  // It holds another prepare there, from an older view.
  return end.logView < logView && !agrees(end, source, op);
}

function anyHolder(ends: readonly LogEnd[], source: LogEnd, op: number): boolean {
  for (const end of ends) {
    if (!end.known) continue;
    const index = end.indexOf(op);
    if (index === -1 || (end.present & (1 << index)) === 0) continue;
    if (agrees(end, source, op)) return true;
  }
  return false;
}
