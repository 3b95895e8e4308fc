/** What each table and each index takes of the data file, as of the checkpoint. */
import { blockSize, pageSize } from "../../core/limits.ts";
import { appendTableFormats, pagedTableFormats, payloadSize } from "../../storage/format.ts";
import type { StorageSummary } from "../../storage/options.ts";
import { formatBytes, formatCount, formatFacts, formatTable } from "../output.ts";
import type { GridContent } from "./grid.ts";
import type { View } from "./views.ts";

interface TableSize {
  readonly name: string;
  readonly rows: number;
  /** Pages of blocks that tables share, or blocks of its own. */
  readonly pages: number | null;
  readonly blocks: number | null;
  readonly bytes: number;
}

interface IndexSize {
  readonly name: string;
  readonly entries: number;
  readonly runs: number;
  readonly merges: number;
  readonly blocks: number;
  readonly bytes: number;
}

function tableSizes(summary: StorageSummary): TableSize[] {
  return summary.tables.map(({ name, rows, blocks }): TableSize => {
    const paged = pagedTableFormats.find((format) => format.name === name);
    if (paged !== undefined) {
      const pages = Math.ceil((rows * paged.rowSize) / pageSize);
      return { name, rows, pages, blocks: null, bytes: pages * pageSize };
    }
    const { rowSize } = appendTableFormats.find((format) => format.name === name)!;
    // A checkpoint has the rows that do not fill a block in one of their own.
    const last = rows * rowSize > blocks * payloadSize ? 1 : 0;
    return { name, rows, pages: null, blocks: blocks + last, bytes: (blocks + last) * blockSize };
  });
}

function indexSizes(summary: StorageSummary): IndexSize[] {
  return summary.indexes.map((index) => ({ ...index, bytes: index.blocks * blockSize }));
}

export function tablesView({ summary }: GridContent): View {
  const tables = tableSizes(summary);
  const indexes = indexSizes(summary);
  const bytesInUse = (summary.blocksAcquired - summary.blocksReleased) * blockSize;
  const sum = (sizes: readonly { bytes: number }[]): number =>
    sizes.reduce((total, { bytes }) => total + bytes, 0);
  const bytesOther = bytesInUse - sum(tables) - sum(indexes);
  const transfers = tables.find(({ name }) => name === "transfers")!.rows;
  const bytesPerTransfer = transfers === 0 ? null : bytesInUse / transfers;
  // Up to the highest block in use: the file may be allocated further, ahead of the load.
  const bytesInFile = summary.blocksHigh * blockSize;
  const text = [
    formatTable(
      ["table", "rows", "pages", "blocks", "size"],
      tables.map(({ name, rows, pages, blocks, bytes }) => [
        name,
        formatCount(rows),
        pages === null ? "" : formatCount(pages),
        blocks === null ? "" : formatCount(blocks),
        formatBytes(bytes),
      ]),
    ),
    formatTable(
      ["index", "entries", "runs", "merges", "blocks", "size"],
      indexes.map(({ name, entries, runs, merges, blocks, bytes }) => [
        name,
        ...[entries, runs, merges, blocks].map(formatCount),
        formatBytes(bytes),
      ]),
    ),
    formatFacts([
      ["the rest", `${formatBytes(bytesOther)}: references, sessions, pages that were replaced`],
      [
        "in use",
        formatBytes(bytesInUse) +
          (bytesPerTransfer === null ? "" : `, ${bytesPerTransfer.toFixed(0)} bytes per transfer`),
      ],
      ["in the file", `${formatBytes(bytesInFile)}, with free blocks among those in use`],
    ]),
  ].join("\n");
  const { checkpointOp } = summary;
  return {
    json: { checkpointOp, tables, indexes, bytesOther, bytesInUse, bytesInFile, bytesPerTransfer },
    text,
  };
}
