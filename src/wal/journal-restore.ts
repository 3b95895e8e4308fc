/**
 * Makes the disk agree with what recovery concluded, before the replica serves: first what was read,
 * then the header ring, then the prepare slots to be cleared, each step durable before the next.
 *
 * What was read need not be durable: a process that was killed between a write and its sync leaves
 * it in the page cache, or in the disk's. The replica is about to acknowledge those prepares, so a
 * power cut must not take them back; and a header must not outlive its prepare.
 *
 * The order matters for a crash in between. Were a dead prepare cleared before its header, a live
 * header without its prepare would remain, and the next recovery would take it for a lost prepare.
 * With headers first, the next recovery finds a hole, dead prepares without headers, or nothing:
 * the log ends at the same op each time. A header sector torn here leaves bad headers over good
 * prepares, which are used all the same.
 */
import { sectorSize } from "../core/limits.ts";
import { Completion } from "../io/io.ts";
import { writeReservedHeader } from "./headers.ts";
import type { JournalFile } from "./journal-recovery.ts";
import type { Recovery } from "./journal-scan.ts";

export interface RestoreTarget extends JournalFile {
  readonly onFatal: (text: string) => void;
}

/** Calls back once everything is durable, never from inside. */
export function applyRecovery(target: RestoreTarget, recovery: Recovery, onDone: () => void): void {
  const { io, file, layout } = target;
  const sectors: number[] = [];
  for (let sector = 0; sector < recovery.sectorsToWrite.length; sector += 1) {
    if (recovery.sectorsToWrite[sector] === 1) sectors.push(sector);
  }
  const slots = recovery.slotsToClear;
  const cleared = io.allocate(sectorSize);
  let step = -1; // The sync comes first.
  const completion = new Completion(() => {
    if (completion.result < 0) {
      const text = `cannot restore the journal: error ${-completion.result}`;
      target.onFatal(`${text}. The disk must be checked before the replica starts.`);
      return;
    }
    step += 1;
    next();
  });
  const next = (): void => {
    if (step < sectors.length) {
      const at = sectors[step]! * sectorSize;
      const fileAt = layout.headerRingAt + at;
      io.write(completion, file, recovery.ring, at, sectorSize, fileAt, true);
      return;
    }
    const index = step - sectors.length;
    if (index === slots.length) {
      onDone();
      return;
    }
    const slot = slots[index]!;
    writeReservedHeader(cleared, 0, layout.options.cluster, slot);
    io.write(completion, file, cleared, 0, sectorSize, layout.prepareAt(slot), true);
  };
  io.sync(completion, file);
}
