/** The topics of `inspect`: each as an object for programs and as text for people. */
import { blockSize } from "../../core/limits.ts";
import type { IntegrityReport } from "../../storage/integrity-check.ts";
import type { DamagedBlock } from "../../storage/options.ts";
import type { DataFileLayout, FormatOptions } from "../../wal/data-file.ts";
import type {
  Damage,
  HeaderSummary,
  JournalSummary,
  RepliesSummary,
  SuperblockContent,
  SuperblockSummary,
} from "../../wal/inspect.ts";
import { Operation } from "../../wire/operations.ts";
import { releaseText } from "../../wire/release.ts";
import { formatBytes, formatCount, formatFacts, formatTable } from "../output.ts";
import type { GridContent } from "./grid.ts";

export interface View {
  readonly json: unknown;
  readonly text: string;
}

/** 128-bit ids of people's making, in decimal as they are given to `format`. */
export function decimal(words: Uint32Array): string {
  let value = 0n;
  for (let word = 3; word >= 0; word -= 1) value = (value << 32n) | BigInt(words[word]!);
  return value.toString();
}

function formatJson(format: FormatOptions): unknown {
  return { ...format, cluster: decimal(format.cluster) };
}

function superblockJson(content: SuperblockContent): unknown {
  const { checkpointHeader: _header, storageRoot: _root, format, ...rest } = content;
  return {
    ...rest,
    cluster: decimal(format.cluster),
    format: formatJson(format),
    release: releaseText(content.release),
  };
}

function identityFacts(content: SuperblockContent): [string, string][] {
  const { format } = content;
  return [
    ["cluster", decimal(format.cluster)],
    ["replica", `${format.replica} of ${format.replicaCount}`],
    [
      "format",
      `version ${format.formatVersion}, ${formatCount(format.slotCount)} journal slots, ` +
        `a checkpoint every ${format.checkpointInterval} ops, ${formatCount(format.clientsMax)} sessions`,
    ],
    ["checkpoint", `op ${content.checkpointOp}, id ${content.checkpointId}`],
  ];
}

// ------------------------------------------------------------------------------------- superblock

export function superblockView(superblock: SuperblockSummary): View {
  const rows = superblock.copies.map((copy) => [
    `copy ${copy.copy}`,
    copy.state.replace(/^is /, ""),
    copy.sequence === null ? "" : String(copy.sequence),
    copy.checksum ?? "",
  ]);
  const copies = formatTable(["superblock", "state", "sequence", "checksum"], rows);
  const { current } = superblock;
  const json = {
    error: superblock.error,
    copies: superblock.copies,
    current: current === null ? null : superblockJson(current),
    damaged: superblock.damaged,
  };
  if (current === null) return { json, text: copies };
  const facts = formatFacts([
    ["sequence", String(current.sequence)],
    ...identityFacts(current),
    ["parent", current.parentCheckpointId],
    ["grandparent", current.grandparentCheckpointId],
    ["view", `${current.view} (log view ${current.logView})`],
    ["committed", `op ${current.commitMax} or later`],
    ["written by", `release ${releaseText(current.release)}`],
  ]);
  return { json, text: `${copies}\n${facts}` };
}

// -------------------------------------------------------------------------------------------- wal

const operationNames = new Map<number, string>(
  Object.entries(Operation).map(([name, number]) => [number, name]),
);

function journalFacts(journal: JournalSummary): [string, string][] {
  const { checkpointOp, opHead } = journal;
  return [
    [
      "log",
      opHead > checkpointOp
        ? `ops ${checkpointOp + 1} to ${opHead} follow the checkpoint`
        : `ends at the checkpoint, op ${checkpointOp}`,
    ],
    ["committed", `op ${journal.commitKnown} or later`],
    ...(journal.headUncertain
      ? ([["head", "uncertain: a newer op may have been lost"]] as [string, string][])
      : []),
    ...(journal.fatal === null
      ? []
      : ([["start", `would refuse: ${journal.fatal}`]] as [string, string][])),
    ...journal.notes.map((note): [string, string] => ["note", note]),
  ];
}

export function journalView(journal: JournalSummary): View {
  const used = journal.slots.filter((slot) => slot.prepare !== null || slot.header !== null);
  const headerOf = (slot: (typeof used)[number]): HeaderSummary => (slot.prepare ?? slot.header)!;
  const rows = [...used]
    .sort((a, b) => headerOf(a).op - headerOf(b).op)
    .map((slot) => {
      const header = headerOf(slot);
      return [
        String(header.op),
        String(slot.slot),
        slot.decision,
        operationNames.get(header.operation) ?? String(header.operation),
        formatCount(header.size),
        String(header.view),
        String(header.commit),
        header.checksum,
      ];
    });
  const head = ["op", "slot", "state", "operation", "bytes", "view", "commit", "checksum"];
  const empty = journal.slots.length - used.length;
  const text =
    formatFacts(journalFacts(journal)) +
    (rows.length === 0 ? "" : `\n${formatTable(head, rows)}`) +
    (empty === 0
      ? ""
      : `${formatCount(empty)} of ${formatCount(journal.slots.length)} slots empty\n`);
  return { json: journal, text };
}

// ---------------------------------------------------------------------------------------- replies

export function repliesView(replies: RepliesSummary): View {
  const used = replies.slots.filter((slot) => slot.state !== "empty");
  const rows = used.map((slot) => [
    String(slot.slot),
    slot.state,
    slot.client ?? "",
    slot.op === null ? "" : String(slot.op),
    slot.request === null ? "" : String(slot.request),
    slot.size === null ? "" : formatCount(slot.size),
  ]);
  const text =
    (rows.length === 0
      ? ""
      : formatTable(["slot", "state", "client", "op", "request", "bytes"], rows)) +
    `${used.length} of ${replies.slots.length} reply slots used\n`;
  return { json: replies, text };
}

// ------------------------------------------------------------------------------------------- grid

export function gridView(grid: GridContent): View {
  const { summary, digest } = grid;
  const facts = formatFacts([
    ["checkpoint", digest === null ? "none yet" : `op ${summary.checkpointOp}, digest ${digest}`],
    ["blocks", gridBlocks(grid)],
    [
      "page blocks",
      `${formatCount(summary.pageBlocks)} with ${formatCount(summary.pagesLive)} pages`,
    ],
  ]);
  const rows = summary.tables.map((table) => [
    table.name,
    formatCount(table.rows),
    table.blocks === 0 ? "" : formatCount(table.blocks),
  ]);
  return {
    json: { digest, ...summary },
    text: `${facts}\n${formatTable(["table", "rows", "full blocks"], rows)}`,
  };
}

function gridBlocks(grid: GridContent): string {
  const { blocksAcquired, blocksReleased, blocksHigh } = grid.summary;
  return (
    `${formatCount(blocksAcquired - blocksReleased)} in use ` +
    `(${formatBytes((blocksAcquired - blocksReleased) * blockSize)}), ` +
    `${formatCount(blocksReleased)} to be freed, ${formatCount(blocksHigh)} in the file`
  );
}

// -------------------------------------------------------------------------------- summary, damage

export interface Everything {
  readonly path: string;
  readonly sizeBytes: number;
  readonly superblock: SuperblockContent;
  readonly layout: DataFileLayout;
  readonly journal: JournalSummary;
  readonly replies: RepliesSummary;
  readonly grid: GridContent | string;
  readonly damaged: readonly Damage[];
}

export function summaryView(all: Everything): View {
  const { grid, damaged } = all;
  const used = all.replies.slots.filter((slot) => slot.state !== "empty").length;
  const gridFacts: [string, string][] =
    typeof grid === "string"
      ? [["grid", `cannot be opened: ${grid}`]]
      : [
          ["grid", gridBlocks(grid)],
          ...grid.summary.tables.map((table): [string, string] => [
            table.name,
            `${formatCount(table.rows)} rows at the checkpoint`,
          ]),
        ];
  const facts = formatFacts([
    ["file", `${all.path}, ${formatBytes(all.sizeBytes)}`],
    ...identityFacts(all.superblock),
    ...journalFacts(all.journal),
    ["replies", `${used} of ${all.replies.slots.length} slots used`],
    ...gridFacts,
  ]);
  return {
    json: {
      path: all.path,
      sizeBytes: all.sizeBytes,
      superblock: superblockJson(all.superblock),
      journal: {
        checkpointOp: all.journal.checkpointOp,
        opHead: all.journal.opHead,
        commitKnown: all.journal.commitKnown,
        fatal: all.journal.fatal,
        notes: all.journal.notes,
      },
      repliesUsed: used,
      grid: typeof grid === "string" ? { error: grid } : { digest: grid.digest, ...grid.summary },
      damaged,
    },
    text: facts + damageText(damaged),
  };
}

/** Nothing when nothing is damaged; otherwise every place, and what follows from it. */
export function damageText(damaged: readonly Damage[]): string {
  if (damaged.length === 0) return "";
  const rows = damaged.map((damage) => [
    damage.place,
    String(damage.offset),
    damage.what,
    damage.serious ? "data may be lost" : "heals at the next start",
  ]);
  return `\nDAMAGE\n${formatTable(["place", "offset", "what", "consequence"], rows)}`;
}

export function blockDamage(layout: DataFileLayout, block: DamagedBlock): Damage {
  const offset = layout.blockAt(block.address);
  return { place: block.name, offset, what: block.reason, serious: true };
}

export function integrityView(
  journal: JournalSummary,
  grid: IntegrityReport,
  damaged: readonly Damage[],
): View {
  const { problems } = grid;
  const sound = damaged.length === 0 && problems.length === 0 && journal.fatal === null;
  const places = damaged.length + problems.length;
  const facts = formatFacts([
    ["checked", "superblock, journal, client replies"],
    [
      "grid",
      `${formatCount(grid.blocksRead)} blocks of rows and pages read, ${formatCount(grid.blocksInUse)} in use`,
    ],
    ...problems.map((problem): [string, string] => ["contradiction", problem]),
    ...journalFacts(journal).filter(([name]) => name === "start"),
    [
      "result",
      sound
        ? "everything is sound"
        : `${places} ${places === 1 ? "place is" : "places are"} damaged`,
    ],
  ]);
  return {
    json: {
      sound,
      checkpointOp: grid.checkpointOp,
      blocksRead: grid.blocksRead,
      blocksInUse: grid.blocksInUse,
      damaged,
      problems,
      startWouldRefuse: journal.fatal,
    },
    text: facts + damageText(damaged),
  };
}
