/**
 * Reads the journal at start: the header ring sector by sector, so that one unreadable sector
 * costs no more than its headers; the first sector of every prepare slot; then the whole of live
 * prepares, to verify their bodies. The conclusion is drawn by `journal-scan.ts`. Nothing is
 * written here.
 *
 * What a crash or a fault leaves, and what becomes of it (k is an op above the checkpoint; C: a
 * cluster of one; R: several replicas):
 *
 *  1. Prepare k torn, nothing after it. No live header: a hole above the head. The log ends before
 *     it; it was never acknowledged.
 *  2. Prepare k torn, k + 1 … k + 7 landed, with or without headers. C: the log ends at k − 1;
 *     the others are dead and overwritten. R: k is below the head and faulty, repaired from others.
 *  3. Header sector torn. Headers that differ from the disk's are old, new or unreadable; good
 *     prepares get theirs rewritten.
 *  4. Header of k + 1 landed, that of k did not. Both prepares were durable: both are used.
 *  5. Rot of k whose header landed. C: refuse to start, naming op and slot. R: faulty, repaired.
 *  6. Rot of k, header not landed, a later prepare says that k was committed. C: as 5. R: faulty.
 *  7. Rot of a newest k whose header had not landed: looks like 1. The accepted double fault.
 *  8. The ring has wrapped: a slot holds an op of the ring before (expired). With a torn new
 *     prepare over it: the expired header proves nothing about the new op, so as 1 or 2.
 *  9. A valid prepare in another op's slot (misdirected write): bad, and treated as rot of the slot
 *     that it hit; the slot that it missed still shows its older content, with a live header
 *     once that landed: lost, as 5.
 * 10. A valid prepare or header of another cluster, which no torn write leaves. C: refuse to start.
 *     R: bad, as 9.
 * 11. A crash while recovery writes: see journal-restore.ts.
 * 12. Op k rewritten in a newer view, crash before its header landed: the prepare is the newer.
 *     The other way around, the header proves that a newer prepare was durable and is gone.
 * 13. All prepares from k on bad, more of them than a pipeline, without live headers: a wiped ring, or
 *     stretch of it. C: refuse to start. R: unknown slots, hence an uncertain head.
 */
import { sectorSize } from "../core/limits.ts";
import { Completion, type FileHandle, type FileIo, type IoBuffer } from "../io/io.ts";
import { type DataFileLayout, headersPerSector, prepareSlotSize, sectorCeil } from "./data-file.ts";
import {
  bodyIntact,
  copyHeader,
  Fault,
  headerIntact,
  headerMessageSize,
  headerOp,
  headerWords,
  isReserved,
  sameHeader,
} from "./headers.ts";
import { concludeRecovery, JournalScan, type JournalStart, type Recovery } from "./journal-scan.ts";

export type { JournalStart, Recovery } from "./journal-scan.ts";

/** First sectors and header sectors in flight. */
const sectorReadsMax = 32;

/** Whole prepares in flight. */
const prepareReadsMax = 4;

export interface JournalFile {
  readonly io: FileIo;
  readonly file: FileHandle;
  readonly layout: DataFileLayout;
}

export function recoverJournal(
  file: JournalFile,
  start: JournalStart,
  onDone: (recovery: Recovery) => void,
): void {
  const ring = file.io.allocate(file.layout.headerRingSize);
  const scan = new JournalScan(file.layout, ring);
  const bodies: number[] = [];
  readRing(file, scan, () => {
    readFirstSectors(file, scan, start.checkpointOp, bodies, () => {
      readBodies(file, scan, bodies, () => onDone(concludeRecovery(scan, start)));
    });
  });
}

/**
 * Runs `count` reads, at most `depth` at a time, and then `onDone` (never from inside when there
 * is something to read).
 */
function forEachRead(
  file: JournalFile,
  count: number,
  depth: number,
  bufferSize: number,
  lengthOf: (index: number) => number,
  offsetOf: (index: number) => number,
  onRead: (index: number, buffer: IoBuffer, failed: boolean) => void,
  onDone: () => void,
): void {
  let next = 0;
  let done = 0;
  const startNext = (buffer: IoBuffer, completion: Completion): void => {
    if (next === count) return;
    const index = next;
    next += 1;
    completion.tag = index;
    file.io.read(completion, file.file, buffer, 0, lengthOf(index), offsetOf(index));
  };
  if (count === 0) {
    onDone();
    return;
  }
  for (let lane = 0; lane < Math.min(depth, count); lane += 1) {
    const buffer = file.io.allocate(bufferSize);
    const completion = new Completion((read) => {
      onRead(read.tag, buffer, read.result < 0);
      done += 1;
      if (done === count) onDone();
      else startNext(buffer, read);
    });
    startNext(buffer, completion);
  }
}

function readRing(file: JournalFile, scan: JournalScan, onDone: () => void): void {
  const { layout } = file;
  forEachRead(
    file,
    layout.slotCount / headersPerSector,
    sectorReadsMax,
    sectorSize,
    () => sectorSize,
    (sector) => layout.headerRingAt + sector * sectorSize,
    (sector, buffer, failed) => {
      const first = sector * headersPerSector;
      if (!failed) scan.ring.bytes.set(buffer.bytes, sector * sectorSize);
      for (let slot = first; slot < first + headersPerSector; slot += 1) {
        if (failed) scan.ringFaults[slot] = Fault.unreadable;
        scan.checkRing(slot);
      }
    },
    onDone,
  );
}

/** Adds the slots whose bodies remain to be verified to `bodies`. */
function readFirstSectors(
  file: JournalFile,
  scan: JournalScan,
  checkpointOp: number,
  bodies: number[],
  onDone: () => void,
): void {
  const { layout } = file;
  forEachRead(
    file,
    layout.slotCount,
    sectorReadsMax,
    sectorSize,
    () => sectorSize,
    (slot) => layout.prepareAt(slot),
    (slot, buffer, failed) => {
      const at = slot * headerWords;
      if (failed) scan.prepareFaults[slot] = Fault.unreadable;
      else copyHeader(scan.prepares.words, at, buffer.words, 0);
      scan.checkPrepareHeader(slot);
      if (scan.prepareFaults[slot] !== Fault.none) return;
      if (isReserved(buffer.bytes, 0) || headerOp(buffer.words, 0) <= checkpointOp) return;
      const size = headerMessageSize(buffer.words, 0);
      if (size > sectorSize) bodies.push(slot);
      else if (!bodyIntact(buffer.bytes, 0, size)) scan.prepareFaults[slot] = Fault.bodyChecksum;
    },
    onDone,
  );
}

function readBodies(
  file: JournalFile,
  scan: JournalScan,
  slots: number[],
  onDone: () => void,
): void {
  const { layout } = file;
  const sizeOf = (slot: number): number => {
    return headerMessageSize(scan.prepares.words, slot * headerWords);
  };
  forEachRead(
    file,
    slots.length,
    prepareReadsMax,
    prepareSlotSize,
    (index) => sectorCeil(sizeOf(slots[index]!)),
    (index) => layout.prepareAt(slots[index]!),
    (index, buffer, failed) => {
      const slot = slots[index]!;
      if (failed) {
        scan.prepareFaults[slot] = Fault.unreadable;
      } else if (
        !headerIntact(buffer.bytes, 0) ||
        !sameHeader(buffer.words, 0, scan.prepares.words, slot * headerWords)
      ) {
        scan.prepareFaults[slot] = Fault.headerChecksum;
      } else if (!bodyIntact(buffer.bytes, 0, sizeOf(slot))) {
        scan.prepareFaults[slot] = Fault.bodyChecksum;
      }
    },
    onDone,
  );
}
