/** Reads a data file at rest for one topic. Changes nothing. */
import { lossRemedy } from "../../core/data-file-error.ts";
import { DataFileLayout, superblockCopies, superblockCopySpacing } from "../../wal/data-file.ts";
import {
  inspectJournal,
  inspectSuperblock,
  type SuperblockContent,
  type SuperblockSummary,
} from "../../wal/inspect.ts";
import { CommandError } from "../command-error.ts";
import { FileAtRest } from "./file-at-rest.ts";
import { checkGrid, readGrid } from "./grid.ts";
import { readReplies } from "./replies.ts";
import { tablesView } from "./tables.ts";
import {
  blockDamage,
  damageText,
  gridFault,
  gridView,
  integrityView,
  isSyncing,
  journalView,
  repliesView,
  summaryView,
  superblockView,
  type View,
} from "./views.ts";

export const inspectTopics = [
  "superblock",
  "wal",
  "replies",
  "grid",
  "tables",
  "integrity",
] as const;
export type InspectTopic = (typeof inspectTopics)[number] | "summary";

export interface Inspection extends View {
  readonly damaged: boolean;
}

/**
 * @param onProgress - Blocks read, of all; while the grid is checked.
 * @throws {CommandError} when there is nothing to be inspected, or a replica runs on it.
 */
export async function inspectFile(
  topic: InspectTopic,
  path: string,
  onProgress: (done: number, all: number) => void,
): Promise<Inspection> {
  const file = new FileAtRest(path);
  try {
    return await inspectTopic(topic, path, file, onProgress);
  } finally {
    file.close();
  }
}

async function inspectTopic(
  topic: InspectTopic,
  path: string,
  file: FileAtRest,
  onProgress: (done: number, all: number) => void,
): Promise<Inspection> {
  const smallest = superblockCopies * superblockCopySpacing;
  if (file.sizeBytes < smallest) {
    throw new CommandError(
      `'${path}' is no data file, or only the beginning of one: it has ${file.sizeBytes} bytes, and the ` +
        `superblock alone takes ${smallest}; check the path.`,
    );
  }
  const summary = inspectSuperblock(file);
  if (topic === "superblock") {
    const { json, text } = superblockView(summary);
    const problem = summary.error === null ? "" : `\n${summary.error}\n`;
    const damaged = summary.error !== null || summary.damaged.length > 0;
    return { json, text: text + problem + damageText(summary.damaged, summary.current), damaged };
  }
  const superblock = usable(summary, path);
  const layout = new DataFileLayout(superblock.format);
  if (file.sizeBytes < layout.gridAt) {
    throw new CommandError(
      `'${path}' is truncated: it has ${file.sizeBytes} bytes, and journal and replies alone take ` +
        `${layout.gridAt}; ${lossRemedy(layout.options.replicaCount)}.`,
    );
  }
  switch (topic) {
    case "wal": {
      const journal = inspectJournal(file, layout, superblock);
      const { json, text } = journalView(journal);
      const damaged = journal.fatal !== null || journal.damaged.length > 0;
      return { json, text: text + damageText(journal.damaged, superblock), damaged };
    }
    case "replies": {
      const journal = inspectJournal(file, layout, superblock);
      const replies = await readReplies(file, layout, superblock, journal);
      const { json, text } = repliesView(replies);
      const damaged = replies.damaged.length > 0;
      return { json, text: text + damageText(replies.damaged, superblock), damaged };
    }
    case "grid":
    case "tables": {
      const grid = await readGrid(file, layout, superblock);
      if (typeof grid === "string") {
        throw new CommandError(`the grid ${gridFault(grid, superblock)}`);
      }
      const view = topic === "grid" ? gridView(grid) : tablesView(grid);
      return { ...view, damaged: false };
    }
    case "summary":
      return summarise(path, file, layout, summary, superblock);
    case "integrity":
      return checkAll(file, layout, summary, superblock, onProgress);
  }
}

function usable(summary: SuperblockSummary, path: string): SuperblockContent {
  if (summary.current !== null && summary.error === null) return summary.current;
  const places = summary.damaged.map(({ place, what }) => `${place} ${what}`).join(", ");
  const reason = (summary.error ?? places).replace(/\.$/, "");
  throw new CommandError(
    `'${path}' cannot be opened: ${reason}; see 'pacioli inspect superblock'.`,
  );
}

async function summarise(
  path: string,
  file: FileAtRest,
  layout: DataFileLayout,
  summary: SuperblockSummary,
  superblock: SuperblockContent,
): Promise<Inspection> {
  const journal = inspectJournal(file, layout, superblock);
  const replies = await readReplies(file, layout, superblock, journal);
  const grid = await readGrid(file, layout, superblock);
  const damaged = [...summary.damaged, ...journal.damaged, ...replies.damaged];
  const { sizeBytes } = file;
  const all = { path, sizeBytes, superblock, layout, journal, replies, grid, damaged };
  const gridBroken = typeof grid === "string" && !isSyncing(superblock);
  const broken = damaged.length > 0 || gridBroken || journal.fatal !== null;
  return { ...summaryView(all), damaged: broken };
}

async function checkAll(
  file: FileAtRest,
  layout: DataFileLayout,
  summary: SuperblockSummary,
  superblock: SuperblockContent,
  onProgress: (done: number, all: number) => void,
): Promise<Inspection> {
  const journal = inspectJournal(file, layout, superblock);
  const replies = await readReplies(file, layout, superblock, journal);
  const grid = await checkGrid(file, layout, superblock, onProgress);
  const blocks = grid.damaged.map((block) => blockDamage(layout, block));
  // What a state sync has not fetched yet, and what has rotted: all of it comes from the others.
  const missing = isSyncing(superblock) ? blocks : [];
  const damaged = [...summary.damaged, ...journal.damaged, ...replies.damaged];
  if (missing.length === 0) damaged.push(...blocks);
  const view = integrityView(superblock, journal, grid, damaged, missing);
  return { ...view, damaged: !view.intact };
}
