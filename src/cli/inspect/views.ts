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
import { memberText } from "../values.ts";
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
    ["replica", memberText(format.replica, format.replicaCount)],
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
  // The texts go on after "copy 2 …"; in a column of their own they begin with what matters.
  const summaries = superblock.copies.map((copy) => {
    return { ...copy, state: copy.state.replace(/^(is|has a|has) /, "") };
  });
  const rows = summaries.map((copy) => [
    `copy ${copy.copy}`,
    copy.state,
    copy.sequence === null ? "" : String(copy.sequence),
    copy.checksum ?? "",
  ]);
  const copies = formatTable(["superblock", "state", "sequence", "checksum"], rows);
  const { current } = superblock;
  const json = {
    error: superblock.error,
    copies: summaries,
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
    ...stateFacts(current),
  ]);
  return { json, text: `${copies}\n${facts}` };
}

/** Blocks may be missing: the replica was stopped during a state sync. */
export function isSyncing({ syncOpMax }: SuperblockContent): boolean {
  return syncOpMax > 0;
}

/** What is not so in most files. */
function stateFacts({ syncOpMin, syncOpMax, recovering }: SuperblockContent): [string, string][] {
  const facts: [string, string][] = [];
  if (syncOpMax > 0) {
    const ops = `ops ${syncOpMin} to ${syncOpMax}`;
    facts.push([
      "state sync",
      `not complete: blocks of ${ops} may be missing; a start fetches them from the other replicas`,
    ]);
  }
  if (recovering) facts.push(["recovering", "replaces a lost file: does not vote yet"]);
  return facts;
}

// -------------------------------------------------------------------------------------------- wal

const operationNames = new Map<number, string>(
  Object.entries(Operation).map(([name, number]) => [number, name]),
);

function operationName(operation: number): string {
  return operationNames.get(operation) ?? String(operation);
}

function logText({ checkpointOp, opHead }: JournalSummary): string {
  switch (opHead - checkpointOp) {
    case 0:
      return `ends at the checkpoint, op ${checkpointOp}`;
    case 1:
      return `op ${opHead} follows the checkpoint`;
    default:
      return `ops ${checkpointOp + 1} to ${opHead} follow the checkpoint`;
  }
}

function journalFacts(journal: JournalSummary): [string, string][] {
  const facts: [string, string][] = [];
  // Where a start would refuse, there is no end of the log to tell.
  if (journal.fatal === null) facts.push(["log", logText(journal)]);
  facts.push(["committed", `op ${journal.commitKnown} or later`]);
  if (journal.headUncertain) facts.push(["head", "uncertain: a newer op may have been lost"]);
  facts.push(...startFacts(journal));
  for (const note of journal.notes) facts.push(["note", note]);
  return facts;
}

function startFacts({ fatal }: JournalSummary): [string, string][] {
  return fatal === null ? [] : [["start", `would refuse: ${fatal}`]];
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
        operationName(header.operation),
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
  const headerJson = (header: HeaderSummary | null): unknown =>
    header === null ? null : { ...header, operation: operationName(header.operation) };
  const slots = journal.slots.map((slot) => {
    return { ...slot, header: headerJson(slot.header), prepare: headerJson(slot.prepare) };
  });
  return { json: { ...journal, slots }, text };
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
    json: gridJson(grid),
    text: `${facts}\n${formatTable(["table", "rows", "full blocks"], rows)}`,
  };
}

function gridBlocks({ summary }: GridContent): string {
  const used = summary.blocksAcquired - summary.blocksReleased;
  if (summary.blocksHigh === 0) return "no blocks in use";
  return (
    `${formatCount(used)} blocks in use (${formatBytes(used * blockSize)}), ` +
    `${formatCount(summary.blocksReleased)} to be freed, ${formatCount(summary.blocksHigh)} in the file`
  );
}

/** Without what a running engine counts: at rest that is zero. */
function gridJson({ digest, summary }: GridContent): unknown {
  const { checkpointOp, blocksAcquired, blocksReleased, blocksHigh } = summary;
  const { pageBlocks, pagesLive, tables } = summary;
  return {
    digest,
    checkpointOp,
    blockSize,
    blocksInUse: blocksAcquired - blocksReleased,
    blocksToBeFreed: blocksReleased,
    blocksInFile: blocksHigh,
    pageBlocks,
    pagesLive,
    tables,
  };
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
      ? [["grid", gridFault(grid, all.superblock)]]
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
    ...stateFacts(all.superblock),
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
      grid: typeof grid === "string" ? { error: grid } : gridJson(grid),
      damaged,
    },
    text: facts + damageText(damaged, all.superblock),
  };
}

/** Why the grid cannot be opened. */
export function gridFault(fault: string, superblock: SuperblockContent): string {
  return isSyncing(superblock)
    ? `is not complete yet, since a state sync is under way: ${fault}`
    : `cannot be opened: ${fault}`;
}

/**
 * Nothing when nothing is damaged; otherwise every place, and what follows from it.
 * @param superblock - Null when the file does not say how many replicas its cluster has.
 */
export function damageText(
  damaged: readonly Damage[],
  superblock: SuperblockContent | null,
): string {
  if (damaged.length === 0) return "";
  const others = superblock !== null && superblock.format.replicaCount > 1;
  const serious = others ? "comes from the other replicas" : "data may be lost";
  const rows = damaged.map((damage) => [
    damage.place,
    String(damage.offset),
    damage.what,
    damage.serious ? serious : "heals at the next start",
  ]);
  return `\nDAMAGE\n${formatTable(["place", "byte offset", "what", "consequence"], rows)}`;
}

export function blockDamage(layout: DataFileLayout, block: DamagedBlock): Damage {
  const offset = layout.blockAt(block.address);
  return { place: block.name, offset, what: block.reason, serious: true };
}

/** @param missing - What a state sync has yet to fetch. */
export function integrityView(
  superblock: SuperblockContent,
  journal: JournalSummary,
  grid: IntegrityReport,
  damaged: readonly Damage[],
  missing: readonly Damage[],
): View & { readonly intact: boolean } {
  const problems = isSyncing(superblock) ? [] : grid.problems;
  const places = damaged.length + problems.length;
  const intact = places === 0 && journal.fatal === null;
  const facts = formatFacts([
    ["checked", "superblock, journal, client replies"],
    [
      "grid",
      `${formatCount(grid.blocksRead)} blocks of rows and pages read, ${formatCount(grid.blocksInUse)} in use`,
    ],
    ...problems.map((problem): [string, string] => ["contradiction", problem]),
    ...stateFacts(superblock),
    ...startFacts(journal),
    ["result", intact ? intactText(missing.length) : damagedPlaces(places)],
  ]);
  return {
    json: {
      intact,
      checkpointOp: grid.checkpointOp,
      blocksRead: grid.blocksRead,
      blocksInUse: grid.blocksInUse,
      damaged,
      missing,
      problems,
      startWouldRefuse: journal.fatal,
    },
    text: facts + damageText(damaged, superblock) + missingText(missing),
    intact,
  };
}

function intactText(missing: number): string {
  if (missing === 0) return "everything is intact";
  return `nothing is damaged; ${missing === 1 ? "1 block is" : `${formatCount(missing)} blocks are`} not here yet`;
}

function missingText(missing: readonly Damage[]): string {
  if (missing.length === 0) return "";
  const rows = missing.map(({ place, offset, what }) => [place, String(offset), what]);
  return `\nMISSING\n${formatTable(["place", "byte offset", "what lies there"], rows)}`;
}

function damagedPlaces(places: number): string {
  switch (places) {
    case 0:
      return "no place is damaged, but the parts do not belong together";
    case 1:
      return "1 place is damaged";
    default:
      return `${formatCount(places)} places are damaged`;
  }
}
