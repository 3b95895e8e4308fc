/**
 * Changes to a replica that take one ordering away, where no file I/O could: applied to its parts
 * before they are opened (`onComposed` of the harness). Each names what it removes.
 */
import { TrailerIndex } from "../../src/consensus/checkpointer.ts";
import type { ReplicaParts } from "../../src/consensus/open-replica.ts";
import { blockHeaderWords, blockWords } from "../../src/storage/format.ts";
import { headersPerSector } from "../../src/wal/data-file.ts";
import { headerOp } from "../../src/wal/headers.ts";

/** The redundant header follows its prepare: written beside it instead. */
export function headerBesidePrepare({ journal }: ReplicaParts): void {
  const writePrepare = journal.writePrepare.bind(journal);
  journal.writePrepare = (buffer, onDurable) => {
    writePrepare(buffer, onDurable);
    const slot = headerOp(buffer.words, 0) % journal.slotCount;
    const ring = journal["headerRing"];
    ring.put(slot, buffer.words, 0);
    ring["queueSector"](Math.floor(slot / headersPerSector));
  };
}

/** Writes of one header sector follow each other: two may be in flight instead. */
export function headerSectorsOverlap({ journal }: ReplicaParts): void {
  Object.defineProperty(journal["headerRing"], "sectorWriting", { value: new Uint8Array(0) });
}

/** A header joins the image of its sector when its prepare is durable: at its submission instead. */
export function headerPutEarly({ journal }: ReplicaParts): void {
  const writePrepare = journal.writePrepare.bind(journal);
  journal.writePrepare = (buffer, onDurable) => {
    writePrepare(buffer, onDurable);
    journal["headerRing"].put(headerOp(buffer.words, 0) % journal.slotCount, buffer.words, 0);
  };
}

/** Headers wait for two ticks at most: for as long as it takes to fill their sector instead. */
export function ticksNotHeard({ journal }: ReplicaParts): void {
  journal.tick = () => {};
}

/** The second tick after a sector's first header counts: after its latest one instead. */
export function waitBeginsAnew({ journal }: ReplicaParts): void {
  const ring = journal["headerRing"];
  const land = ring.land.bind(ring);
  ring.land = (slot, now) => {
    land(slot, now);
    const sector = Math.floor(slot / headersPerSector);
    const waiting = ring["sectorWaiting"];
    if (waiting[sector] !== 0) waiting[sector] = 1;
  };
}

/** The last header of a sector waits for nobody: for the tick like the others instead. */
export function lastHeaderWaits({ journal }: ReplicaParts): void {
  const ring = journal["headerRing"];
  const land = ring.land.bind(ring);
  ring.land = (slot, now) => land(slot - (slot % headersPerSector), now);
}

/** A stop ends the wait of headers: they wait on instead. */
export function stopEndsNoWait({ journal }: ReplicaParts): void {
  journal["headerRing"].landAll = () => {};
}

/** Headers of prepares that land during a stop do not wait: they do instead. */
export function waitDuringStop({ journal }: ReplicaParts): void {
  const ring = journal["headerRing"];
  const land = ring.land.bind(ring);
  ring.land = (slot) => land(slot, false);
}

/** A header that waits is on its way: taken for written instead. */
export function waitingTakenForWritten({ journal }: ReplicaParts): void {
  const ring = journal["headerRing"];
  Object.defineProperty(ring, "busy", {
    get: () => ring["sectorQueue"].length > 0 || ring["freeWrites"].length < 2,
  });
}

/** Ops commit in order: one that is durable commits all before it instead. */
export function commitOutOfOrder({ replica }: ReplicaParts): void {
  const { primary } = replica;
  const acknowledge = primary["acknowledge"].bind(primary);
  primary["acknowledge"] = (op, words, checksumAt, from) => {
    const pipeline = primary["pipeline"];
    for (let index = 0; index < pipeline.length; index += 1) {
      const before = pipeline.at(index);
      if (before.op < op) before.ackBits |= 1;
    }
    acknowledge(op, words, checksumAt, from);
  };
}

/** A slot waits for the checkpoint that covers it: overwritten at once instead. */
export function anySlot({ journal }: ReplicaParts): void {
  journal.canWrite = (op) => {
    return journal["writing"][op % journal.slotCount] === 0 && journal["freeWrites"].length > 0;
  };
}

/** The journal hears of a checkpoint when it is durable: when it is frozen instead. */
export function journalHearsAtFreeze({ journal, storage }: ReplicaParts): void {
  const freeze = storage.freeze.bind(storage);
  const checkpointDurable = journal.checkpointDurable.bind(journal);
  journal.checkpointDurable = () => {};
  storage.freeze = (op, trailers) => {
    freeze(op, trailers);
    checkpointDurable(op);
  };
}

/** A freeze waits for the checkpoint before: left out instead, and ops go on. */
export function freezeLeftOut({ checkpointer }: ReplicaParts): void {
  const afterOp = checkpointer.afterOp.bind(checkpointer);
  checkpointer.afterOp = (op, header, onReady) => {
    const due = op % checkpointer["options"].interval === 0;
    return (due && checkpointer["phase"] !== 0) || afterOp(op, header, onReady);
  };
}

/** Blocks let go stay until the next checkpoint is durable: free after the freeze instead. */
export function blocksReusedEarly({ storage }: ReplicaParts): void {
  const { freeSet } = storage.grid;
  const encode = freeSet.encode.bind(freeSet);
  freeSet.encode = (target, at) => {
    encode(target, at);
    freeSet.freezeBegin();
  };
}

/** The sync waits for all steps of the write-out: for their start alone instead. */
export function stepsNotAwaited({ storage }: ReplicaParts): void {
  const writer = storage["writer"];
  const syncWhenWritten = writer.syncWhenWritten.bind(writer);
  writer.blockWritten = () => {};
  writer.syncWhenWritten = () => {
    writer["stepsWritten"] = writer["stepNext"];
    syncWhenWritten();
  };
}

/** The sync waits for the blocks of rows sealed up to the freeze: not for them instead. */
export function sealedNotAwaited({ storage }: ReplicaParts): void {
  const freeze = storage.freeze.bind(storage);
  storage.freeze = (op, trailers) => {
    freeze(op, trailers);
    storage["writer"]["sealedAtFreeze"].fill(0);
  };
}

/** The sync waits for the blocks of runs sealed up to the freeze: not for them instead. */
export function runBlocksNotAwaited({ storage }: ReplicaParts): void {
  const freeze = storage.freeze.bind(storage);
  storage.freeze = (op, trailers) => {
    freeze(op, trailers);
    storage["writer"]["runBlocksAtFreeze"] = 0;
  };
}

/** The blocks of merged runs stay until the freeze after the next: free at once instead. */
export function mergedBlocksFreeAtOnce(parts: ReplicaParts): void {
  const { freeSet } = parts.storage.grid;
  const release = freeSet.release.bind(freeSet);
  blocksFreeAtOnce(parts);
  const releaseAtOnce = freeSet.release;
  freeSet.release = release;
  for (const index of parts.storage["group"].indexes) {
    const completeMerge = index.completeMerge.bind(index);
    index.completeMerge = (merge, grid) => {
      freeSet.release = releaseAtOnce;
      completeMerge(merge, grid);
      freeSet.release = release;
    };
  }
}

/** A frozen page is copied before it changes: changed where it is instead. */
export function frozenPagesChange({ storage }: ReplicaParts): void {
  for (const table of [storage.accounts, storage.pendingStatus]) {
    const touchPage = table["touchPage"].bind(table);
    table["touchPage"] = (page) => {
      if (table["states"][page] !== frozen) touchPage(page);
    };
  }
}

/** As in paged-table.ts. */
const frozen = 1;

/** A partial block is copied at the freeze: taken when it is written instead. */
export function tailsTakenLate({ storage }: ReplicaParts): void {
  const writer = storage["writer"];
  const writeTail = writer["writeTail"].bind(writer);
  writer["writeTail"] = (index, address) => {
    const at = index * blockWords + blockHeaderWords;
    writer["append"][index]!.copyTail(writer["tailCopies"].words, at);
    writeTail(index, address);
  };
}

/** The session table is copied at the freeze: taken when its first block is written instead. */
export function sessionsTakenLate({ storage, sessions }: ReplicaParts): void {
  const chain = storage.state.trailers[TrailerIndex.sessions]!;
  const encode = chain.encode.bind(chain);
  chain.encode = (block, target, at) => {
    sessions.snapshot(chain.words);
    return encode(block, target, at);
  };
}

/** The ledger's state is copied at the freeze: taken when it is written instead. */
export function ledgerTakenLate({ storage, stateMachine }: ReplicaParts): void {
  const chain = storage.state.trailers[TrailerIndex.ledger]!;
  const encode = chain.encode.bind(chain);
  chain.encode = (block, target, at) => {
    stateMachine.snapshot(chain.words, 0);
    return encode(block, target, at);
  };
}

/** Blocks let go stay until the freeze after the next: free at once instead. */
export function blocksFreeAtOnce({ storage }: ReplicaParts): void {
  const { freeSet } = storage.grid;
  freeSet.release = (address) => {
    const acquired = freeSet["acquired"];
    const bit = address - 1;
    acquired[bit >>> 5] = acquired[bit >>> 5]! & ~(1 << (bit & 31));
    freeSet.acquiredCount -= 1;
    freeSet["hint"] = 0;
  };
}

/** The checkpoint counts when its superblock is durable: when it begins to be written instead. */
export function superblockNotAwaited({ superblock }: ReplicaParts): void {
  const updateCheckpoint = superblock.updateCheckpoint.bind(superblock);
  let running = false;
  let next: (() => void) | null = null;
  const ended = (): void => {
    running = false;
    const start = next;
    next = null;
    start?.();
  };
  superblock.updateCheckpoint = (op, header, onDone) => {
    const kept = header.slice();
    const root = superblock.pendingStorageRoot.slice();
    const start = (): void => {
      running = true;
      superblock.pendingStorageRoot.set(root);
      updateCheckpoint(op, kept, ended);
    };
    if (running) next = start;
    else start();
    onDone();
  };
}

/** A reply that its session still needs is written at a checkpoint: left out instead. */
export function repliesNotWritten({ sessions }: ReplicaParts): void {
  sessions.touchedSinceSnapshot = () => false;
}

/** At a clean stop all headers have landed: not waited for instead. */
export function stopNotAwaited({ journal }: ReplicaParts): void {
  journal.flush = (onFlushed) => onFlushed();
}

/** A slot is written by one write at a time: by any number instead. */
export function slotsShared({ journal }: ReplicaParts): void {
  journal.canWrite = (op) => {
    return op > journal["checkpointOp"] && op <= journal.opMax && journal["freeWrites"].length > 0;
  };
}

/** The view rises at each start: it stays instead. */
export function viewStays({ superblock }: ReplicaParts): void {
  superblock.updateView = (_view, _logView, _commitMax, _headers, _count, onDone) => onDone();
}

/** The replica waits until the risen view is durable: it goes on instead. */
export function viewNotAwaited({ superblock }: ReplicaParts): void {
  const updateView = superblock.updateView.bind(superblock);
  superblock.updateView = (view, logView, commitMax, headers, count, onDone) => {
    updateView(view, logView, commitMax, headers, count, () => {});
    onDone();
  };
}
