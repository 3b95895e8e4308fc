/**
 * Every byte of a stopped replica's data file, as regions that cover it without a gap: what each is
 * for, and what a replica makes of it when one of its bits has flipped. Bytes that nobody reads are
 * regions too, and say why.
 */
import type { ReplicaParts } from "../../src/consensus/open-replica.ts";
import type { Field } from "../../src/core/layout.ts";
import {
  blockSize,
  headerSize,
  pageSize,
  replySlotSize,
  sectorSize,
} from "../../src/core/limits.ts";
import { BlockRequest } from "../../src/storage/block-reader.ts";
import type { CheckpointState } from "../../src/storage/checkpoint-state.ts";
import {
  appendTableFormats,
  BlockType,
  blockLayout,
  blockName,
  directoryAt,
  directoryEntryWords,
  headerBytes,
  pagesPerBlock,
  refWords,
} from "../../src/storage/format.ts";
import { RefCursor, visitAll } from "../../src/storage/ref-cursor.ts";
import {
  DataFileLayout,
  prepareSlotSize,
  sectorCeil,
  superblockCopies,
  superblockCopySize,
  superblockCopySpacing,
} from "../../src/wal/data-file.ts";
import { headerMessageSize, headerOp, isReserved } from "../../src/wal/headers.ts";
import type { FileReader } from "../../src/wal/inspect.ts";
import { checkpointLayout, superblockLayout } from "../../src/wal/superblock-layout.ts";
import { frame, prepareHeader, replyHeader } from "../../src/wire/header.ts";
import type { MemoryFileIo } from "../wal/memory-file-io.ts";

/** What a start makes of a flipped bit. */
export type Fate =
  /** It refuses, and names the place. */
  | "refuses"
  /** It serves what is right until a request needs the place; then it stops, and names it. */
  | "stops"
  /** It writes the place anew from another copy, or as empty, and serves what is right. */
  | "heals"
  /** It serves what is right without reading it; `inspect` names the place. */
  | "serves"
  /** Nobody reads it: it serves what is right, and there is nothing to name. */
  | "dead";

/** Kinds of bytes that nobody reads, and why. */
export const deadKinds: Readonly<Record<string, string>> = {
  "behind a superblock copy": "room between the copies",
  "behind a prepare":
    "a slot has room for the longest prepare; one is read as far as its sectors go",
  "behind a reply": "as in a prepare's slot",
  "before the grid": "room that aligns the grid",
  "block that the checkpoint does not refer to":
    "free, or written since the checkpoint: the replay of the log writes it again first",
  "beyond the grid's last block": "never handed out",
};

export interface Region {
  /** For the table. */
  readonly kind: string;
  /** How messages call it. */
  readonly place: string;
  readonly from: number;
  readonly to: number;
  readonly fate: Fate;
  /** Offsets inside the file where something begins. */
  readonly edges: readonly number[];
}

/**
 * @param parts - Of a replica that has opened the file.
 * @param blocks - All that the checkpoint refers to.
 * @param readAtStart - Addresses of the blocks that the replica read until it served.
 */
export function mapFile(
  image: MemoryFileIo,
  parts: ReplicaParts,
  blocks: readonly BlockRequest[],
  readAtStart: ReadonlySet<number>,
): readonly Region[] {
  return new FileMap(image, parts, blocks, readAtStart).regions;
}

/** A disk at rest, as `inspect` reads a file. */
export function readerOf(disk: MemoryFileIo): FileReader {
  return {
    read: (target, length, fileAt) => {
      for (let done = 0; done < length; done += sectorSize) {
        target.set(disk["sector"]((fileAt + done) / sectorSize), done);
      }
      return true;
    },
  };
}

/** Every block that a checkpoint refers to. */
export function blocksOf(state: CheckpointState): BlockRequest[] {
  const blocks: BlockRequest[] = [];
  const cursor = new RefCursor(state, visitAll);
  for (let request = new BlockRequest(); cursor.next(request); request = new BlockRequest()) {
    blocks.push(request);
  }
  return blocks;
}

class FileMap {
  readonly regions: Region[] = [];
  private readonly layout: DataFileLayout;
  private readonly checkpointOp: number;

  constructor(
    private readonly image: MemoryFileIo,
    private readonly parts: ReplicaParts,
    private readonly blocks: readonly BlockRequest[],
    private readonly readAtStart: ReadonlySet<number>,
  ) {
    this.layout = new DataFileLayout(parts.superblock.formatOptions);
    this.checkpointOp = parts.superblock.checkpointOp;
    this.mapSuperblock();
    this.mapHeaderRing();
    for (let slot = 0; slot < this.layout.slotCount; slot += 1) this.mapSlot(slot);
    for (let slot = 0; slot < this.layout.clientsMax; slot += 1) this.mapReply(slot);
    this.add("before the grid", "dead", this.layout.gridAt - this.end);
    this.mapGrid();
  }

  /** Where the regions so far end. */
  private get end(): number {
    return this.regions.at(-1)?.to ?? 0;
  }

  /** The next `length` bytes. @param edges - Inside the region. */
  private add(
    kind: string,
    fate: Fate,
    length: number,
    edges: readonly number[] = [],
    place?: string,
  ): void {
    if (length === 0) return;
    const from = this.end;
    const at = edges.filter((edge) => edge >= 0 && edge < length).map((edge) => from + edge);
    const name = place ?? this.layout.describeOffset(from);
    this.regions.push({ kind, place: name, from, to: from + length, fate, edges: at });
  }

  private mapSuperblock(): void {
    const inside = offsets(checkpointLayout.fields, superblockLayout.at.checkpoint);
    const edges = [...offsets(superblockLayout.fields), ...inside];
    for (let copy = 0; copy < superblockCopies; copy += 1) {
      this.add("superblock copy", "heals", superblockCopySize, edges);
      this.add("behind a superblock copy", "dead", superblockCopySpacing - superblockCopySize);
    }
  }

  private mapHeaderRing(): void {
    for (let slot = 0; slot < this.layout.slotCount; slot += 1) {
      this.add("redundant header", "heals", headerSize, prepareEdges);
    }
  }

  private mapSlot(slot: number): void {
    const { bytes, words } = this.message(this.layout.prepareAt(slot));
    const size = headerMessageSize(words, 0);
    const live = headerOp(words, 0) > this.checkpointOp && !isReserved(bytes, 0);
    if (isReserved(bytes, 0)) {
      this.add("empty prepare slot", "heals", size, prepareEdges);
    } else if (live) {
      this.add("prepare in the log", "refuses", size, [...prepareEdges, ...bodyEdges(size)]);
    } else {
      // Of a prepare that nobody needs a start looks at the header alone.
      this.add("header of an older prepare", "heals", headerSize, prepareEdges);
      const edges = bodyEdges(size).map((at) => at - headerSize);
      this.add("body of an older prepare", "serves", size - headerSize, edges);
    }
    this.add("padding of a prepare", "serves", sectorCeil(size) - size, [0]);
    const rest = prepareSlotSize - sectorCeil(size);
    this.add("behind a prepare", "dead", rest, [0, sectorSize]);
  }

  private mapReply(slot: number): void {
    const { sessions } = this.parts;
    const { words } = this.message(this.layout.replyAt(slot));
    const size = headerMessageSize(words, 0);
    if (size === 0) {
      this.add("empty reply slot", "serves", sectorSize, [0, headerSize]);
      this.add("behind a reply", "dead", replySlotSize - sectorSize, [0]);
      return;
    }
    const needed = sessions.replyKept(slot) && sessions.replyOp(slot) <= this.checkpointOp;
    const edges = [...replyEdges, ...bodyEdges(size)];
    if (needed) this.add("reply that a client may ask for", "refuses", size, edges);
    else this.add("reply that the log makes again", "serves", size, edges);
    this.add("padding of a reply", "serves", sectorCeil(size) - size, [0]);
    this.add("behind a reply", "dead", replySlotSize - sectorCeil(size), [0]);
  }

  private mapGrid(): void {
    const { layout } = this;
    const blocks = new Map(this.blocks.map((request) => [request.ref[0]!, request]));
    const last = this.parts.storage.grid.freeSet.high;
    for (let address = 1; address <= last; address += 1) {
      const request = blocks.get(address);
      if (request === undefined) {
        this.add("block that the checkpoint does not refer to", "dead", blockSize, [0, headerSize]);
        continue;
      }
      const { type, table, first, count } = request;
      const name = blockName(address, type, table, first, count);
      const [kind, fate] = this.blockFate(address, type, table);
      this.add(kind, fate, blockSize, blockEdges(type), name);
    }
    this.add("beyond the grid's last block", "dead", this.image.sizeBytes - layout.fileSize(last));
  }

  private blockFate(address: number, type: BlockType, table: number): readonly [string, Fate] {
    if (type === BlockType.rows && table === balancesId) return ["block of balances", "stops"];
    const lazy = type === BlockType.run || type === BlockType.rows;
    if (!lazy) return [blockKinds[type], "refuses"];
    if (!this.readAtStart.has(address)) {
      if (table === failedIdsId && type === BlockType.rows) return [failedIdsOfRuns, "serves"];
      return [type === BlockType.run ? blockKinds[type] : "block of older rows", "stops"];
    }
    return [type === BlockType.run ? runReadAtStart : blockKinds[type], "refuses"];
  }

  private message(at: number): { readonly bytes: Uint8Array; readonly words: Uint32Array } {
    const bytes = this.image.peek(at, headerSize);
    return { bytes, words: new Uint32Array(bytes.buffer) };
  }
}

const blockKinds: Readonly<Record<BlockType, string>> = {
  [BlockType.rows]: "block of rows",
  [BlockType.tail]: "block of last rows",
  [BlockType.pages]: "block of pages",
  [BlockType.pageIndex]: "index block of pages",
  [BlockType.tableIndex]: "index block of rows",
  [BlockType.trailer]: "trailer",
  [BlockType.freeSet]: "free set",
  [BlockType.manifest]: "manifest",
  [BlockType.run]: "block of a sorted run",
  [BlockType.filter]: "block of filters",
  [BlockType.runIndex]: "references of a sorted run",
};

/** Rows that a start does not read: nothing in memory is made from them. */
const balancesId = appendTableFormats.find(({ name }) => name === "balances")!.id;

/**
 * What a merge under way takes next, ids whose filters an unfinished run has not written yet, and what
 * the ops in the log look up.
 */
const runReadAtStart = "block of a sorted run that the start reads";

/** A start reads the ids that failed since; and nobody reads the others, which runs have. */
const failedIdsOfRuns = "block of failed ids that runs have";

const failedIdsId = appendTableFormats.find(({ name }) => name === "failed ids")!.id;

/** Kinds that a file with checkpoints has. */
export const blockKindNames: readonly string[] = [
  ...Object.values(blockKinds),
  runReadAtStart,
  "block of balances",
  failedIdsOfRuns,
];

/** First and last byte of each field. */
function offsets(fields: readonly Field[], base = 0): number[] {
  return fields.flatMap(({ at, size }) => [base + at, base + at + size - 1]);
}

const frameEdges = offsets(frame.fields);
const prepareEdges: readonly number[] = [...frameEdges, ...offsets(prepareHeader.fields)];
const replyEdges: readonly number[] = [...frameEdges, ...offsets(replyHeader.fields)];

/** First and last byte of a message's body, and of its sectors. */
function bodyEdges(size: number): number[] {
  const edges = [headerSize, size - 1];
  for (let at = sectorSize; at < size; at += sectorSize) edges.push(at - 1, at);
  return edges;
}

function blockEdges(type: BlockType): readonly number[] {
  const edges = [...offsets(blockLayout.fields), headerBytes, blockSize - 1];
  if (type !== BlockType.pages) return [...edges, headerBytes + refWords * 4, blockSize / 2];
  for (let unit = 1; unit <= pagesPerBlock; unit += 1) {
    const entry = directoryAt(unit) * 4;
    edges.push(entry, entry + 4, entry + 8, entry + directoryEntryWords * 4 - 1);
    edges.push(unit * pageSize - 1, unit * pageSize);
  }
  return edges;
}
