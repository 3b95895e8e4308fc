/**
 * From what the two rings show to what the log is: a pure conclusion over a scan of the journal.
 * `journal-recovery.ts` fills the scan through the I/O seam, `inspect.ts` from a file at rest.
 *
 * A cluster of one. Prepares are pipelined, so a crash can leave a torn prepare k while k + 1 …
 * k + 7 landed. The log is the longest chain of good prepares above the checkpoint. What follows
 * its end was never acknowledged, because ops are acknowledged in order, and is dead: it is
 * overwritten before the replica serves, so that no later recovery finds it. That holds unless
 *   - a live header without its prepare exists (the prepare was durable once and is gone), or
 *   - some prepare or header says (by its `commit`) that the missing op was committed, or
 *   - the chain breaks between good prepares of one incarnation, or
 *   - more prepares in a row are damaged than a crash can have caught in flight.
 * Then the disk has lost something that may have been acknowledged, and the replica refuses to
 * start. Each start raises the view, which tells incarnations apart.
 *
 * Several replicas. Gaps are normal and repaired from others, so the conclusion only tells, per op,
 * whether it is here, or was never here, or may have been acknowledged and lost (*faulty*). Rot and
 * torn writes at the very end of the log are told apart as far as one disk can:
 *   - a bad prepare above the head without a live header is a torn write and is removed;
 *   - with its header bad too, it is one only if the whole header sector is unreadable and the op
 *     is within a pipeline's reach of the head, as a crash leaves it. Otherwise the head is
 *     *uncertain*, and the replica must not vote before it has heard of the log from others.
 *
 * A scan is rewritten to disk by `journal-restore.ts` such that the same conclusion follows from
 * every state that a crash on the way can leave: evidence (bad headers of faulty slots, live
 * headers of lost prepares) stays in place.
 */
import { assert } from "../core/assert.ts";
import { headerSize, pipelinePrepareMax } from "../core/limits.ts";
import type { IoBuffer } from "../io/io.ts";
import { type DataFileLayout, headersPerSector } from "./data-file.ts";
import {
  chainConnects,
  checkSlotHeader,
  copyHeader,
  Fault,
  faultText,
  headerCommit,
  headerOp,
  headerView,
  headerWords,
  isReserved,
  type Memory,
  sameHeader,
  scratchMemory,
  writeReservedHeader,
} from "./headers.ts";
import { Agreement, Decision, decideSlot, SlotContent } from "./slot-state.ts";

/** Where the log begins, as the superblock says. */
export interface JournalStart {
  readonly checkpointOp: number;
  /** Header of the checkpoint's last prepare, the start of the chain. */
  readonly checkpointHeader: Uint32Array;
  readonly checkpointHeaderAt: number;
  /** An op that is known to be committed (0 if none). */
  readonly commitMax: number;
  /** A cluster of one. */
  readonly single: boolean;
}

export class JournalScan {
  /** The header ring as read; zeros where a sector could not be read. */
  readonly ring: IoBuffer;
  readonly ringFaults: Uint8Array;
  /** The first header of each prepare slot as read. */
  readonly prepares: Memory;
  readonly prepareFaults: Uint8Array;

  constructor(
    readonly layout: DataFileLayout,
    ring: IoBuffer,
  ) {
    assert(ring.sizeBytes >= layout.headerRingSize, "the ring fits its buffer");
    this.ring = ring;
    this.ringFaults = new Uint8Array(layout.slotCount);
    this.prepares = scratchMemory(layout.slotCount * headerSize);
    this.prepareFaults = new Uint8Array(layout.slotCount);
  }

  /** Judges the header of `slot` in the ring. */
  checkRing(slot: number): void {
    if (this.ringFaults[slot] === Fault.unreadable) return;
    this.ringFaults[slot] = this.checkHeader(this.ring, slot);
  }

  /** Judges the header of the prepare in `slot`; its body is judged by who reads it. */
  checkPrepareHeader(slot: number): void {
    if (this.prepareFaults[slot] === Fault.unreadable) return;
    this.prepareFaults[slot] = this.checkHeader(this.prepares, slot);
  }

  private checkHeader(memory: Memory, slot: number): Fault {
    const { cluster } = this.layout.options;
    return checkSlotHeader(memory, slot * headerSize, cluster, slot, this.layout.slotCount);
  }

  contentOf(memory: Memory, faults: Uint8Array, slot: number, checkpointOp: number): SlotContent {
    if (faults[slot] !== Fault.none) return SlotContent.bad;
    if (isReserved(memory.bytes, slot * headerSize)) return SlotContent.reserved;
    const op = headerOp(memory.words, slot * headerWords);
    if (op <= checkpointOp) return SlotContent.expired;
    return op <= checkpointOp + this.layout.slotCount ? SlotContent.live : SlotContent.beyond;
  }
}

export interface Recovery {
  readonly checkpointOp: number;
  /** Names what was lost and where; nothing may be written and the replica must not start. */
  fatal: string | null;
  /** The last op of the log; in a cluster the highest op that is known here. */
  opHead: number;
  /** Only in a cluster: a damaged slot may hide an op above `opHead`. */
  headUncertain: boolean;
  /** Highest op that prepares, headers or superblock say was committed. */
  commitKnown: number;
  /** Decision per slot. */
  readonly decisions: Uint8Array;
  /** Table for the journal: op per slot (−1: none), its header, and the op that was lost (−1). */
  readonly ops: Float64Array;
  readonly headers: Uint32Array;
  readonly faultyOps: Float64Array;
  /** The header ring as it should be; sectors marked differ from the disk. */
  readonly ring: IoBuffer;
  readonly sectorsToWrite: Uint8Array;
  /** Slots whose prepare is overwritten before serving: dead, torn, or beyond. */
  readonly slotsToClear: number[];
  /** What was found, one sentence each, for the log. */
  readonly notes: string[];
}

const noOp = -1;

/** Concludes from a complete scan. The scan's ring becomes the recovery's image of it. */
export function concludeRecovery(scan: JournalScan, start: JournalStart): Recovery {
  return new Conclusion(scan, start).conclude();
}

class Conclusion {
  private readonly layout: DataFileLayout;
  private readonly slotCount: number;
  private readonly result: Recovery;

  constructor(
    private readonly scan: JournalScan,
    private readonly start: JournalStart,
  ) {
    const { layout } = scan;
    const { slotCount } = layout;
    this.layout = layout;
    this.slotCount = slotCount;
    this.result = {
      checkpointOp: start.checkpointOp,
      fatal: null,
      opHead: start.checkpointOp,
      headUncertain: false,
      commitKnown: Math.max(start.commitMax, start.checkpointOp),
      decisions: new Uint8Array(slotCount),
      ops: new Float64Array(slotCount).fill(noOp),
      headers: new Uint32Array(slotCount * headerWords),
      faultyOps: new Float64Array(slotCount).fill(noOp),
      ring: scan.ring,
      sectorsToWrite: new Uint8Array(slotCount / headersPerSector),
      slotsToClear: [],
      notes: [],
    };
  }

  conclude(): Recovery {
    this.decideSlots();
    if (this.start.single) {
      this.walkChain();
      this.findForeignSlot();
    } else {
      this.findHead();
    }
    if (this.result.fatal === null) {
      for (let slot = 0; slot < this.slotCount; slot += 1) this.settle(slot);
    }
    return this.result;
  }

  /** The one op above the checkpoint that belongs to a slot. */
  private liveOp(slot: number): number {
    const first = this.start.checkpointOp + 1;
    const distance = (slot - (first % this.slotCount) + this.slotCount) % this.slotCount;
    return first + distance;
  }

  private decideSlots(): void {
    const { scan, start, result } = this;
    for (let slot = 0; slot < this.slotCount; slot += 1) {
      const at = slot * headerWords;
      const header = scan.contentOf(scan.ring, scan.ringFaults, slot, start.checkpointOp);
      const prepare = scan.contentOf(scan.prepares, scan.prepareFaults, slot, start.checkpointOp);
      let agreement: Agreement = Agreement.none;
      if (header === SlotContent.live && prepare === SlotContent.live) {
        const ring = scan.ring.words;
        const prepares = scan.prepares.words;
        assert(headerOp(ring, at) === headerOp(prepares, at), "one live op per slot");
        if (sameHeader(ring, at, prepares, at)) agreement = Agreement.identical;
        else if (headerView(prepares, at) > headerView(ring, at)) {
          agreement = Agreement.prepareNewer;
        } else agreement = Agreement.prepareOlder;
      }
      result.decisions[slot] = decideSlot(header, prepare, agreement, start.single);
      if (header === SlotContent.live) this.learnCommit(scan.ring.words, at);
      if (prepare === SlotContent.live) this.learnCommit(scan.prepares.words, at);
    }
  }

  private learnCommit(words: Uint32Array, at: number): void {
    this.result.commitKnown = Math.max(this.result.commitKnown, headerCommit(words, at));
  }

  /** A cluster of one: the log is the chain from the checkpoint. */
  private walkChain(): void {
    const { scan, start, result } = this;
    this.findFatalSlot();
    let previous = start.checkpointHeader;
    let previousAt = start.checkpointHeaderAt;
    assert(headerOp(previous, previousAt) === start.checkpointOp, "the chain starts there");
    const prepares = scan.prepares.words;
    for (let op = start.checkpointOp + 1; result.fatal === null; op += 1) {
      const slot = op % this.slotCount;
      const at = slot * headerWords;
      if (op > start.checkpointOp + this.slotCount) return;
      if (!isUsable(result.decisions[slot]!)) {
        if (op <= result.commitKnown) result.fatal = this.textCommittedLost(op, slot);
        else if (!this.crashExplains(op)) result.fatal = this.textTooManyDamaged(op, slot);
        return;
      }
      if (!chainConnects(previous, previousAt, prepares, at)) {
        const stale = headerView(prepares, at) < headerView(previous, previousAt);
        if (!stale || op <= result.commitKnown) result.fatal = this.textChainBroken(op, slot);
        return;
      }
      result.opHead = op;
      previous = prepares;
      previousAt = at;
    }
  }

  /**
   * A cluster of one: could a crash have left the log's end like this, with `op` missing? At most
   * a pipeline of prepares is in flight, and the one after it is begun when the first is durable.
   * So either a slot among those shows what it held before, or the slot after them does.
   */
  private crashExplains(op: number): boolean {
    const last = Math.min(op + pipelinePrepareMax, this.start.checkpointOp + this.slotCount);
    if (last < op + pipelinePrepareMax) return true; // The ring ends: nothing was begun there.
    for (let other = op; other <= last; other += 1) {
      if (this.result.decisions[other % this.slotCount] !== Decision.hole) return true;
    }
    return false;
  }

  /** The lowest op among the slots that the table calls fatal. */
  private findFatalSlot(): void {
    let fatalOp = Number.MAX_SAFE_INTEGER;
    for (let slot = 0; slot < this.slotCount; slot += 1) {
      if (this.result.decisions[slot] !== Decision.fatal) continue;
      const op = this.liveOp(slot);
      if (op >= fatalOp) continue;
      fatalOp = op;
      this.result.fatal = this.textFatal(op, slot);
    }
  }

  /**
   * A cluster of one: no torn write leaves a valid header of another cluster, so the file was put
   * together from two, and what looks like the end of the log need not be.
   */
  private findForeignSlot(): void {
    const { scan, result } = this;
    for (let slot = 0; slot < this.slotCount && result.fatal === null; slot += 1) {
      const ringForeign = scan.ringFaults[slot] === Fault.cluster;
      if (!ringForeign && scan.prepareFaults[slot] !== Fault.cluster) continue;
      result.fatal = this.textForeign(slot, ringForeign);
    }
  }

  /** Several replicas: the head is the highest op that either ring knows. */
  private findHead(): void {
    const { scan, result } = this;
    for (let slot = 0; slot < this.slotCount; slot += 1) {
      const decision = result.decisions[slot]!;
      if (isUsable(decision) || decision === Decision.lost) {
        result.opHead = Math.max(result.opHead, this.liveOp(slot));
      }
    }
    for (let slot = 0; slot < this.slotCount; slot += 1) {
      if (result.decisions[slot] !== Decision.unknown) continue;
      const op = this.liveOp(slot);
      if (op <= result.opHead) continue;
      const first = slot - (slot % headersPerSector);
      let sectorBad = true;
      for (let other = first; other < first + headersPerSector; other += 1) {
        if (scan.ringFaults[other] === Fault.none) sectorBad = false;
      }
      if (sectorBad && op <= result.opHead + pipelinePrepareMax) {
        result.decisions[slot] = Decision.hole;
      } else {
        result.headUncertain = true;
        result.notes.push(`op ${op} may be hidden: ${this.placeText(slot)}`);
      }
    }
  }

  /** Fills the table and the image of the header ring for one slot. */
  private settle(slot: number): void {
    const { result, scan } = this;
    const at = slot * headerWords;
    const op = this.liveOp(slot);
    const aboveHead = op > result.opHead;
    const decision = result.decisions[slot]! as Decision;
    if (isUsable(decision)) {
      if (aboveHead) {
        result.notes.push(`op ${op} beyond the end of the log is removed`);
        this.clear(slot);
        return;
      }
      this.enter(slot, op, scan.prepares.words);
      if (decision === Decision.useFixHeader) this.image(slot, scan.prepares.words);
      return;
    }
    switch (decision) {
      case Decision.old:
        this.enter(slot, headerOp(scan.prepares.words, at), scan.prepares.words);
        if (scan.ringFaults[slot] !== Fault.none) this.imageReserved(slot);
        return;
      case Decision.empty:
        if (scan.ringFaults[slot] !== Fault.none) this.imageReserved(slot);
        return;
      case Decision.lost:
        this.enter(slot, op, scan.ring.words);
        result.faultyOps[slot] = op;
        result.notes.push(`op ${op} is damaged: ${this.placeText(slot)}`);
        return;
      case Decision.unknown:
        result.faultyOps[slot] = op;
        return;
      case Decision.hole:
        if (aboveHead) {
          result.notes.push(`op ${op} was torn: ${this.placeText(slot)}`);
          this.clear(slot);
        } else {
          result.faultyOps[slot] = op;
          result.notes.push(`op ${op} is damaged: ${this.placeText(slot)}`);
        }
        return;
      case Decision.doubtful:
        if (aboveHead) this.imageReserved(slot);
        else result.faultyOps[slot] = op;
        return;
      case Decision.cut:
        result.notes.push(`an op beyond what can be committed is removed: ${this.placeText(slot)}`);
        this.clear(slot);
        return;
      default:
        assert(false, "fatal slots end recovery before");
    }
  }

  private enter(slot: number, op: number, words: Uint32Array): void {
    const at = slot * headerWords;
    copyHeader(this.result.headers, at, words, at);
    this.result.ops[slot] = op;
  }

  private image(slot: number, words: Uint32Array): void {
    const at = slot * headerWords;
    copyHeader(this.scan.ring.words, at, words, at);
    this.result.sectorsToWrite[Math.floor(slot / headersPerSector)] = 1;
  }

  private imageReserved(slot: number): void {
    const { cluster } = this.layout.options;
    writeReservedHeader(this.scan.ring, slot * headerSize, cluster, slot);
    this.result.sectorsToWrite[Math.floor(slot / headersPerSector)] = 1;
  }

  private clear(slot: number): void {
    this.imageReserved(slot);
    this.result.slotsToClear.push(slot);
  }

  private placeText(slot: number): string {
    const { layout, scan } = this;
    const name = layout.describeOffset(layout.prepareAt(slot));
    return `${name} ${faultText(scan.prepareFaults[slot]! as Fault)}`;
  }

  private textFatal(op: number, slot: number): string {
    const { layout, scan, start } = this;
    const at = slot * headerWords;
    const ringLive = scan.ringFaults[slot] === Fault.none && headerOp(scan.ring.words, at) === op;
    if (ringLive) {
      const fault = scan.prepareFaults[slot]! as Fault;
      const what = fault === Fault.none ? "holds another prepare" : faultText(fault);
      const place = layout.describeOffset(layout.prepareAt(slot));
      return `Op ${op} is lost: ${place} ${what}, and its redundant header proves that it was written.${advice}`;
    }
    const name = layout.describeOffset(layout.prepareAt(slot));
    return `${name} holds an op beyond the reach of checkpoint ${start.checkpointOp}: the superblock is older than the journal.${advice}`;
  }

  private textCommittedLost(op: number, slot: number): string {
    const { layout, scan, result } = this;
    const fault = scan.prepareFaults[slot]! as Fault;
    const what = fault === Fault.none ? "does not hold it" : faultText(fault);
    const place = layout.describeOffset(layout.prepareAt(slot));
    return `Op ${op} is lost: ${place} ${what}, and the log says that ops up to ${result.commitKnown} were committed.${advice}`;
  }

  private textTooManyDamaged(op: number, slot: number): string {
    const { layout, scan } = this;
    const place = layout.describeOffset(layout.prepareAt(slot));
    const what = faultText(scan.prepareFaults[slot]! as Fault);
    return `Op ${op} may be lost: ${place} ${what}, and the ${pipelinePrepareMax} slots after it are damaged too, more than a power cut leaves.${advice}`;
  }

  private textForeign(slot: number, inRing: boolean): string {
    const { layout } = this;
    const at = inRing ? layout.headerRingAt + slot * headerSize : layout.prepareAt(slot);
    return `${layout.describeOffset(at)} belongs to another cluster than the superblock.${advice}`;
  }

  private textChainBroken(op: number, slot: number): string {
    const { layout } = this;
    const place = layout.describeOffset(layout.prepareAt(slot));
    return `The log is broken between op ${op - 1} and op ${op}: ${place} names another predecessor.${advice}`;
  }
}

const advice = " A cluster of one cannot repair its journal: restore the data file from a copy.";

function isUsable(decision: number): boolean {
  return decision === Decision.use || decision === Decision.useFixHeader;
}
