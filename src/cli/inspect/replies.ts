/**
 * Which kept replies of a file at rest a start needs, judged as the start does: by the sessions of the
 * checkpoint, and by what the log will execute after it. A slot may hold more than that: a reply whose
 * session has gone or moved on, half written perhaps when power failed. Nobody reads it.
 */
import { PrepareRequests } from "../../consensus/prepare-requests.ts";
import { groupRequestsMax } from "../../core/limits.ts";
import { U128Map } from "../../core/u128-map.ts";
import { type DataFileLayout, prepareSlotSize } from "../../wal/data-file.ts";
import { scratchMemory } from "../../wal/headers.ts";
import {
  inspectReplies,
  type JournalSummary,
  type RepliesSummary,
  type SuperblockContent,
} from "../../wal/inspect.ts";
import { replyHeader } from "../../wire/header.ts";
import type { FileAtRest } from "./file-at-rest.ts";
import { readSessions } from "./grid.ts";
import { isSyncing } from "./views.ts";

export async function readReplies(
  file: FileAtRest,
  layout: DataFileLayout,
  superblock: SuperblockContent,
  journal: JournalSummary,
): Promise<RepliesSummary> {
  const sessions = await readSessions(file, layout, superblock);
  // A sync brings sessions with it, and then their replies. Damage to the checkpoint hides what is needed.
  if (sessions === null) return inspectReplies(file, layout, () => !isSyncing(superblock));
  const clients = clientsAfter(file, layout, superblock, journal);
  return inspectReplies(file, layout, (slot) => {
    const client = sessions.headerAt(slot) + replyHeader.word.client;
    return sessions.replyKept(slot) && clients.get(sessions.headerWordsOf, client) === -1;
  });
}

/** Clients with a request above the checkpoint that a start certainly executes: their replies are made anew. */
function clientsAfter(
  file: FileAtRest,
  layout: DataFileLayout,
  superblock: SuperblockContent,
  journal: JournalSummary,
): U128Map {
  const { slotCount } = layout.options;
  const clients = new U128Map(slotCount * groupRequestsMax);
  if (journal.fatal !== null) return clients;
  const single = superblock.format.replicaCount === 1;
  const last = single ? journal.opHead : Math.min(journal.commitKnown, journal.opHead);
  const memory = { ...scratchMemory(prepareSlotSize), sizeBytes: prepareSlotSize, id: -1 };
  const requests = new PrepareRequests({ timestampDelta: () => 0 });
  for (let op = superblock.checkpointOp + 1; op <= last; op += 1) {
    const { slot, prepare } = journal.slots[op % slotCount]!;
    if (prepare === null || prepare.op !== op) continue;
    if (!file.read(memory.bytes, prepare.size, layout.prepareAt(slot)) || !requests.open(memory)) {
      continue;
    }
    while (requests.next()) clients.set(requests.words, requests.clientAt, 1);
  }
  return clients;
}
