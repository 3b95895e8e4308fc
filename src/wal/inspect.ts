/**
 * What a data file at rest holds, as plain objects for people: superblock, journal, client
 * replies. Nothing is written, and nothing here is trusted by a running replica.
 *
 * Every damaged place is named. *Serious* damage needs a backup or another replica; the rest heals
 * at the next start (a broken superblock copy, a redundant header, a torn write that was never
 * acknowledged).
 */
import { headerSize, replySlotSize, sectorSize } from "../core/limits.ts";
import { u64ReadNumber } from "../core/u128.ts";
import { frame, prepareHeader, replyHeader } from "../wire/header.ts";
import { checkReply } from "./client-replies.ts";
import {
  checkFormatOptions,
  DataFileLayout,
  type FormatOptions,
  prepareSlotSize,
  sectorCeil,
  superblockCopies,
  superblockCopySize,
  superblockCopySpacing,
  u128Text,
} from "./data-file.ts";
import {
  bodyIntact,
  copyHeader,
  Fault,
  faultText,
  headerCommit,
  headerIntact,
  headerMessageSize,
  headerOp,
  headerView,
  headerWords,
  isReserved,
  type Memory,
  sameHeader,
  scratchMemory,
} from "./headers.ts";
import { concludeRecovery, JournalScan } from "./journal-scan.ts";
import { Decision } from "./slot-state.ts";
import {
  CopyFault,
  checkpointLayout,
  computeCheckpointId,
  copyFaultText,
  readFormatOptions,
  superblockLayout,
  superblockSequence,
} from "./superblock-layout.ts";
import { chooseSuperblock, leftBehindText } from "./superblock-quorum.ts";

/** A file at rest. Synchronous, so that a tool can stay a plain function of it. */
export interface FileReader {
  /** Fills target[0 … length) from the file. False: it cannot be read, or ends before. */
  read(target: Uint8Array, length: number, fileAt: number): boolean;
}

export interface Damage {
  readonly place: string;
  readonly offset: number;
  readonly what: string;
  readonly serious: boolean;
}

export interface SuperblockCopySummary {
  readonly copy: number;
  readonly state: string;
  readonly sequence: number | null;
  readonly checksum: string | null;
}

export interface SuperblockSummary {
  readonly copies: readonly SuperblockCopySummary[];
  /** Why the file cannot be opened, or null. */
  readonly error: string | null;
  readonly damaged: readonly Damage[];
  readonly current: SuperblockContent | null;
}

export interface SuperblockContent {
  readonly sequence: number;
  readonly format: FormatOptions;
  readonly cluster: string;
  readonly release: number;
  readonly view: number;
  readonly logView: number;
  readonly commitMax: number;
  readonly checkpointOp: number;
  /** Ops whose blocks a state sync has yet to fetch: first, last; 0, 0 when none is under way. */
  readonly syncOpMin: number;
  readonly syncOpMax: number;
  /** The file replaces a lost one; its replica does not vote yet. */
  readonly recovering: boolean;
  readonly checkpointId: string;
  readonly parentCheckpointId: string;
  readonly grandparentCheckpointId: string;
  /** Header of the checkpoint's last prepare. */
  readonly checkpointHeader: Uint32Array;
  /** The storage layer's references. */
  readonly storageRoot: Uint32Array;
}

const copyWords = superblockCopySize / 4;

export function inspectSuperblock(reader: FileReader): SuperblockSummary {
  const copies = scratchMemory(superblockCopies * superblockCopySize);
  const unreadable: boolean[] = [];
  for (let copy = 0; copy < superblockCopies; copy += 1) {
    const at = copy * superblockCopySize;
    const target = copies.bytes.subarray(at, at + superblockCopySize);
    unreadable.push(!reader.read(target, superblockCopySize, copy * superblockCopySpacing));
  }
  const choice = chooseSuperblock(copies, unreadable);
  const damaged: Damage[] = [];
  const summaries: SuperblockCopySummary[] = [];
  for (let copy = 0; copy < superblockCopies; copy += 1) {
    const fault = choice.faults[copy]!;
    const valid = fault === CopyFault.none;
    const stale = valid && choice.error === null && choice.rewrite.includes(copy);
    summaries.push({
      copy,
      state: stale ? leftBehindText : copyFaultText(fault),
      sequence: valid ? superblockSequence(copies.words, copy * copyWords) : null,
      checksum: valid ? u128Text(copies.words, copy * copyWords) : null,
    });
    if (valid) continue;
    damaged.push({
      place: `superblock copy ${copy}`,
      offset: copy * superblockCopySpacing,
      what: copyFaultText(fault),
      serious: choice.error !== null,
    });
  }
  if (choice.error !== null) {
    return { copies: summaries, error: choice.error.message, damaged, current: null };
  }
  const current = superblockContent(copies, choice.winner);
  const error = checkFormatOptions(current.format);
  return { copies: summaries, error, damaged, current };
}

function superblockContent(copies: Memory, copy: number): SuperblockContent {
  const { words, bytes } = copies;
  const first = copy * copyWords;
  const { word } = superblockLayout;
  const checkpoint = first + word.checkpoint;
  const inside = checkpointLayout.word;
  const id = new Uint32Array(4);
  computeCheckpointId(id, 0, bytes, checkpoint * 4);
  return {
    sequence: superblockSequence(words, first),
    format: readFormatOptions(words, first),
    cluster: u128Text(words, first + word.cluster),
    release: words[first + word.release]!,
    view: words[first + word.view]!,
    logView: words[first + word.logView]!,
    commitMax: u64ReadNumber(words, first + word.commitMax),
    checkpointOp: u64ReadNumber(words, checkpoint + inside.op),
    syncOpMin: u64ReadNumber(words, first + word.syncOpMin),
    syncOpMax: u64ReadNumber(words, first + word.syncOpMax),
    recovering: words[first + word.recovering] === 1,
    checkpointId: u128Text(id, 0),
    parentCheckpointId: u128Text(words, checkpoint + inside.parentId),
    grandparentCheckpointId: u128Text(words, checkpoint + inside.grandparentId),
    checkpointHeader: words.slice(checkpoint, checkpoint + headerWords),
    storageRoot: words.slice(checkpoint + inside.storageRoot, checkpoint + copyCheckpointWords),
  };
}

const copyCheckpointWords = checkpointLayout.size / 4;

/** One of the two copies that a slot has. */
export interface HeaderSummary {
  readonly op: number;
  readonly view: number;
  readonly commit: number;
  readonly operation: number;
  readonly size: number;
  readonly checksum: string;
}

export interface SlotSummary {
  readonly slot: number;
  readonly decision: string;
  /** Null: reserved or damaged. */
  readonly header: HeaderSummary | null;
  readonly prepare: HeaderSummary | null;
}

export interface JournalSummary {
  readonly checkpointOp: number;
  /** The log that a start would recover: ops above the checkpoint up to this one. */
  readonly opHead: number;
  readonly commitKnown: number;
  readonly headUncertain: boolean;
  /** Why a start would refuse, or null. */
  readonly fatal: string | null;
  readonly notes: readonly string[];
  readonly damaged: readonly Damage[];
  readonly slots: readonly SlotSummary[];
}

const decisionNames: readonly string[] = [
  "empty",
  "old",
  "good",
  "good, header missing",
  "torn or damaged",
  "empty, header damaged",
  "both copies damaged",
  "lost",
  "beyond",
  "lost",
];

export function inspectJournal(
  reader: FileReader,
  layout: DataFileLayout,
  superblock: SuperblockContent,
): JournalSummary {
  const ringMemory = scratchMemory(layout.headerRingSize);
  const ring = { ...ringMemory, sizeBytes: layout.headerRingSize, id: -1 };
  const scan = new JournalScan(layout, ring);
  const damaged: Damage[] = [];
  scanRing(reader, layout, scan);
  const padding = scanPrepares(reader, layout, scan);
  const before: SlotSummary[] = [];
  for (let slot = 0; slot < layout.slotCount; slot += 1) {
    before.push({
      slot,
      decision: "",
      header: headerSummary(scan.ring, scan.ringFaults, slot),
      prepare: headerSummary(scan.prepares, scan.prepareFaults, slot),
    });
  }
  const recovery = concludeRecovery(scan, {
    checkpointOp: superblock.checkpointOp,
    checkpointHeader: superblock.checkpointHeader,
    checkpointHeaderAt: 0,
    commitMax: superblock.commitMax,
    single: superblock.format.replicaCount === 1,
  });
  const slots = before.map((summary, slot) => {
    return { ...summary, decision: decisionNames[recovery.decisions[slot]!]! };
  });
  for (let slot = 0; slot < layout.slotCount; slot += 1) {
    const ringFault = scan.ringFaults[slot]! as Fault;
    if (ringFault !== Fault.none) {
      const offset = layout.headerRingAt + slot * headerSize;
      const place = layout.describeOffset(offset);
      damaged.push({ place, offset, what: faultText(ringFault), serious: false });
    }
    const fault = (scan.prepareFaults[slot] || padding[slot]) as Fault;
    if (fault === Fault.none) continue;
    const decision = recovery.decisions[slot]! as Decision;
    const cleared = recovery.fatal === null && recovery.slotsToClear.includes(slot);
    const offset = layout.prepareAt(slot);
    const place = layout.describeOffset(offset);
    const serious = !cleared && scan.prepareFaults[slot] !== Fault.none && isNeeded(decision);
    damaged.push({ place, offset, what: faultText(fault), serious });
  }
  const { checkpointOp, opHead, commitKnown, headUncertain, fatal, notes } = recovery;
  return { checkpointOp, opHead, commitKnown, headUncertain, fatal, notes, damaged, slots };
}

/** A slot with this decision holds, or may hold, an op that was acknowledged. */
function isNeeded(decision: Decision): boolean {
  return (
    decision === Decision.hole ||
    decision === Decision.unknown ||
    decision === Decision.lost ||
    decision === Decision.fatal
  );
}

function scanRing(reader: FileReader, layout: DataFileLayout, scan: JournalScan): void {
  for (let at = 0; at < layout.headerRingSize; at += sectorSize) {
    const target = scan.ring.bytes.subarray(at, at + sectorSize);
    const readable = reader.read(target, sectorSize, layout.headerRingAt + at);
    const first = at / headerSize;
    for (let slot = first; slot < first + sectorSize / headerSize; slot += 1) {
      if (!readable) scan.ringFaults[slot] = Fault.unreadable;
      scan.checkRing(slot);
    }
  }
}

/** Reads every prepare whole. Returns which have bad padding: damage, though nothing is lost. */
function scanPrepares(reader: FileReader, layout: DataFileLayout, scan: JournalScan): Uint8Array {
  const padding = new Uint8Array(layout.slotCount);
  const memory = scratchMemory(prepareSlotSize);
  const { bytes, words } = memory;
  for (let slot = 0; slot < layout.slotCount; slot += 1) {
    const at = layout.prepareAt(slot);
    if (!reader.read(bytes, sectorSize, at)) {
      scan.prepareFaults[slot] = Fault.unreadable;
      continue;
    }
    copyHeader(scan.prepares.words, slot * headerWords, words, 0);
    scan.checkPrepareHeader(slot);
    if (scan.prepareFaults[slot] !== Fault.none) continue;
    const size = headerMessageSize(words, 0);
    const length = sectorCeil(size);
    if (length > sectorSize && !reader.read(bytes, length, at)) {
      scan.prepareFaults[slot] = Fault.unreadable;
    } else if (
      !headerIntact(bytes, 0) ||
      !sameHeader(words, 0, scan.prepares.words, slot * headerWords) ||
      !bodyIntact(bytes, 0, size)
    ) {
      scan.prepareFaults[slot] = Fault.bodyChecksum;
    } else if (!isZero(bytes, size, length)) {
      padding[slot] = Fault.padding;
    }
  }
  return padding;
}

function headerSummary(memory: Memory, faults: Uint8Array, slot: number): HeaderSummary | null {
  const at = slot * headerWords;
  if (faults[slot] !== Fault.none || isReserved(memory.bytes, slot * headerSize)) return null;
  return {
    op: headerOp(memory.words, at),
    view: headerView(memory.words, at),
    commit: headerCommit(memory.words, at),
    operation: memory.bytes[slot * headerSize + prepareHeader.at.operation]!,
    size: headerMessageSize(memory.words, at),
    checksum: u128Text(memory.words, at),
  };
}

export interface ReplySummary {
  readonly slot: number;
  /** Not needed: not whole, and no session's latest. */
  readonly state: "empty" | "good" | "damaged" | "not needed";
  readonly client: string | null;
  readonly op: number | null;
  readonly request: number | null;
  readonly size: number | null;
}

export interface RepliesSummary {
  readonly slots: readonly ReplySummary[];
  readonly damaged: readonly Damage[];
}

/** @param isNeeded - Whether a start would want the reply in this slot; only such are damage. */
export function inspectReplies(
  reader: FileReader,
  layout: DataFileLayout,
  isNeeded: (slot: number) => boolean = () => true,
): RepliesSummary {
  const memory = scratchMemory(replySlotSize);
  const slots: ReplySummary[] = [];
  const damaged: Damage[] = [];
  for (let slot = 0; slot < layout.clientsMax; slot += 1) {
    const offset = layout.replyAt(slot);
    const fault = readReply(reader, layout, memory, offset);
    const broken = fault !== null && fault !== Fault.none;
    const needed = broken && isNeeded(slot);
    if (needed) {
      const place = layout.describeOffset(offset);
      // A reply with bad padding is whole; another that was not replaced since is lost.
      damaged.push({ place, offset, what: faultText(fault), serious: fault !== Fault.padding });
    }
    if (fault !== Fault.none && fault !== Fault.padding) {
      const state = fault === null ? "empty" : needed ? "damaged" : "not needed";
      slots.push({ slot, state, client: null, op: null, request: null, size: null });
      continue;
    }
    slots.push({
      slot,
      state: "good",
      client: u128Text(memory.words, replyHeader.word.client),
      op: u64ReadNumber(memory.words, replyHeader.word.op),
      request: memory.words[replyHeader.word.request]!,
      size: memory.words[frame.word.size]!,
    });
  }
  return { slots, damaged };
}

/** Null: the slot was never written. */
function readReply(
  reader: FileReader,
  layout: DataFileLayout,
  memory: Memory,
  offset: number,
): Fault | null {
  const { bytes, words } = memory;
  if (!reader.read(bytes, replySlotSize, offset)) return Fault.unreadable;
  if (isZero(bytes, 0, sectorSize)) return null;
  const fault = checkReply(memory, 0, layout.options.cluster);
  if (fault !== Fault.none) return fault;
  const size = headerMessageSize(words, 0);
  return isZero(bytes, size, sectorCeil(size)) ? Fault.none : Fault.padding;
}

function isZero(bytes: Uint8Array, from: number, to: number): boolean {
  for (let at = from; at < to; at += 1) if (bytes[at] !== 0) return false;
  return true;
}

/** Everything but the grid, which the storage layer verifies. */
export function verifyDataFile(reader: FileReader): readonly Damage[] {
  const superblock = inspectSuperblock(reader);
  if (superblock.error !== null || superblock.current === null) return superblock.damaged;
  const layout = new DataFileLayout(superblock.current.format);
  const journal = inspectJournal(reader, layout, superblock.current);
  const replies = inspectReplies(reader, layout);
  return [...superblock.damaged, ...journal.damaged, ...replies.damaged];
}
