/**
 * The grid's on-disk format: block header, block types, references, tables. Everything here is
 * part of the format; sizes of memory and caches are not, and never decide what is written.
 *
 * A block is 64 KiB: a header of 256 bytes and a payload. It is known by its reference, (address,
 * checksum), which its referrer holds: a stale or misdirected block carries a checksum of its own
 * that is sound, but not the one that was asked for.
 *
 * The checksum covers all that follows it in the block, but for a page block, where it covers the
 * first 4 KiB alone: there stand the checksums of the 15 pages that follow. So the reference
 * still pins every byte, while one page can be verified without the other fourteen.
 */
import { assert } from "../core/assert.ts";
import { defineLayout } from "../core/layout.ts";
import { blockSize, headerSize, pageSize } from "../core/limits.ts";

export const blockLayout = defineLayout("Block", headerSize, [
  ["checksum", 16],
  ["cluster", 16],
  ["address", 8],
  /** The op whose end sealed the block; for blocks of a checkpoint, the checkpoint's op. */
  ["op", 8],
  /** First row, page-index entry, table-index entry, or position in a chain. */
  ["first", 8],
  ["version", 4],
  ["type", 4],
  ["table", 4],
  /** Payload bytes in use; the rest is zero. */
  ["length", 4],
  /** Rows, entries or pages in the payload. */
  ["count", 4],
  ["reserved", 180],
]);

export const blockVersion = 1;

/** Wire and disk values: never reuse one. */
export const BlockType = {
  /** A full block of an append table. */
  rows: 1,
  /** The last, partial block of an append table as of a checkpoint. */
  tail: 2,
  pages: 3,
  pageIndex: 4,
  tableIndex: 5,
  trailer: 6,
  freeSet: 7,
  manifest: 8,
  /** Entries of a sorted run. */
  run: 9,
  /** Filters of a sorted run's blocks. */
  filter: 10,
  /** References and fences of a sorted run. */
  runIndex: 11,
} as const;
export type BlockType = (typeof BlockType)[keyof typeof BlockType];

export const checksumBytes = 16;
export const headerBytes = headerSize;
export const blockWords = blockSize / 4;
export const blockHeaderWords = headerSize / 4;
/** Bytes of a block after its header. */
export const payloadSize = blockSize - headerSize;
export const payloadWords = payloadSize / 4;

/** A reference: address, then four words of checksum. Address 0 is no block. */
export const refWords = 5;
/** References in one index block. */
export const indexRefs = payloadWords / refWords;

export const pageWords = pageSize / 4;
/** Pages in a page block: units 1 … 15. Unit 0 holds the header and the directory. */
export const pagesPerBlock = blockSize / pageSize - 1;
/** A page's place: address · 16 + unit, in the first word of its reference. */
export const unitShift = 4;
/** Directory entry of a unit: table, page, four words of checksum. */
export const directoryEntryWords = 6;

/** Addresses are below it, so that a unit fits 32 bits. */
export const gridBlocksLimit = 2 ** (32 - unitShift);

/** A chain block's payload starts with the reference to the next one (0: the last). */
export const chainWords = payloadWords - refWords;

/** Words of a superblock that belong to the storage: see root.ts. */
export const rootWords = 128;

assert(Number.isInteger(indexRefs), "references fill an index block");
assert(1 << unitShift === pagesPerBlock + 1, "a unit number has unitShift bits");
assert(
  headerSize + pagesPerBlock * directoryEntryWords * 4 <= pageSize,
  "the directory fits the first unit",
);

/** Table ids are their positions in these lists; part of the format. */
export const pagedTableFormats = [
  { id: 0, name: "accounts", rowSize: 128 },
  { id: 1, name: "pending status", rowSize: 1 },
] as const;

export const appendTableFormats = [
  { id: 2, name: "transfers", rowSize: 128 },
  { id: 3, name: "balances", rowSize: 128 },
  { id: 4, name: "expiries", rowSize: 160 },
  { id: 5, name: "failed ids", rowSize: 16 },
  { id: 6, name: "transfer marks", rowSize: 8 },
  { id: 7, name: "expiry marks", rowSize: 8 },
] as const;

/** Index ids are their positions in this list; what they are like stands in runs/options.ts. */
export const indexNames = [
  "transfer ids",
  "transfers of accounts",
  "transfers by user_data_128",
  "transfers by user_data_64",
  "transfers by user_data_32",
  "transfers by ledger",
  "transfers by code",
] as const;

for (const format of appendTableFormats) {
  assert(payloadSize % format.rowSize === 0, "rows fill a block");
}

function tableName(id: number): string {
  const paged = pagedTableFormats.find((format) => format.id === id);
  if (paged !== undefined) return paged.name;
  return appendTableFormats.find((format) => format.id === id)?.name ?? `table ${id}`;
}

function indexName(id: number): string {
  return indexNames[id] ?? `index ${id}`;
}

/** What a block is, for people: "grid block 12 (transfers rows 8160–8669)". */
export function blockName(
  address: number,
  type: BlockType,
  table: number,
  first: number,
  count: number,
): string {
  return `grid block ${address} (${describe(type, table, first, count)})`;
}

function describe(type: BlockType, table: number, first: number, count: number): string {
  const range = `${first}–${first + Math.max(count, 1) - 1}`;
  switch (type) {
    case BlockType.rows:
      return `${tableName(table)} rows ${range}`;
    case BlockType.tail:
      return `${tableName(table)} last rows ${range}`;
    case BlockType.pages:
      return `${tableName(table)} rows ${range} and other pages`;
    case BlockType.pageIndex:
      return `${tableName(table)} index of pages ${range}`;
    case BlockType.tableIndex:
      return `${tableName(table)} index of blocks ${range}`;
    case BlockType.trailer:
      return `trailer ${table} part ${first}`;
    case BlockType.freeSet:
      return `free set part ${first}`;
    case BlockType.manifest:
      return `manifest part ${first}`;
    case BlockType.run:
      return `${indexName(table)}, run block ${first}`;
    case BlockType.filter:
      return `${indexName(table)}, run filters ${range}`;
    case BlockType.runIndex:
      return `${indexName(table)}, run references part ${first}`;
  }
}

/** Byte offset, in a page block, of the checksum of a unit's page. */
export function pageChecksumAt(unit: number): number {
  return (directoryAt(unit) + 2) * 4;
}

/** Word offset, in a page block, of a unit's directory entry: table, page, checksum. */
export function directoryAt(unit: number): number {
  return blockHeaderWords + (unit - 1) * directoryEntryWords;
}
