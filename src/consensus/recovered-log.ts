/**
 * Which of the prepares that the journal recovered are of the replica's log. The journal may hold more:
 * prepares of logs that a view change has cut off, whose slots nothing has overwritten yet.
 *
 * The superblock has the log view, and the headers at the log's end as they were known when it was
 * written: when the log was taken over, or later, when the replica left for another view. By them:
 * - Above the recorded head all was prepared in the log view.
 * - The recorded headers are the log's, whatever lies in their slots.
 * - An op among them whose header is not recorded was not known. What lies in its slot was cut off,
 *   unless it was prepared in the log view and has come since. The replica has not acknowledged anything
 *   else there in this log view, so it may say so.
 * - Of a view after the log view nothing is journaled.
 */
import { viewHeadersMax } from "../core/limits.ts";
import { headerOp, headerWords } from "../wal/headers.ts";
import type { Journal } from "../wal/journal.ts";
import type { Superblock } from "../wal/superblock.ts";

/**
 * Lays what the superblock remembers over the recovered journal.
 * @returns The head.
 */
export function layViewOver(journal: Journal, superblock: Superblock): number {
  const { viewHeaders, viewHeaderCount, logView } = superblock;
  if (viewHeaderCount === 0) return journal.opHighest;
  const head = headerOp(viewHeaders, 0);
  journal.removeStale(head, logView);
  let index = 0;
  for (let op = head; op > head - viewHeadersMax && op > journal.checkpointed; op -= 1) {
    const at = index * headerWords;
    if (index < viewHeaderCount && headerOp(viewHeaders, at) === op) {
      // It fits: no log is taken over that the journal has no room for.
      journal.installHeader(viewHeaders, at);
      index += 1;
    } else {
      journal.removeUnlessOf(op, logView);
    }
  }
  return journal.opHighest;
}
