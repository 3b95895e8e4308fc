/** Listens in on a replica's parts: nothing that they do is changed. */
import type { ReplicaParts } from "../../src/consensus/open-replica.ts";
import { headerOp } from "../../src/wal/headers.ts";
import { frame } from "../../src/wire/header.ts";
import type { Place } from "./place.ts";

export interface Observer {
  /** @param words - The same prepare, and whatever follows it in its buffer. */
  onPrepareWritten(op: number, prepare: Uint8Array, words: Uint32Array): void;
  onExecuted(op: number, prepare: Uint8Array): void;
  onCheckpoint(op: number): void;
  /** A checkpoint was frozen: the engine's state is that of it alone. */
  onFrozen(op: number): void;
}

export function observe(place: Place, parts: ReplicaParts, observer: Observer): void {
  const { journal, replica, storage, superblock } = parts;
  const { generation } = place;
  const lives = (): boolean => place.generation === generation;

  const writePrepare = journal.writePrepare.bind(journal);
  journal.writePrepare = (buffer, onDurable) => {
    const size = buffer.words[frame.word.size]!;
    const prepare = buffer.bytes.subarray(0, size);
    observer.onPrepareWritten(headerOp(buffer.words, 0), prepare, buffer.words);
    writePrepare(buffer, onDurable);
  };

  const { executor } = replica;
  const execute = executor.execute.bind(executor);
  executor.execute = (prepare, onDone) => {
    const executed = (): void => {
      const size = prepare.words[frame.word.size]!;
      observer.onExecuted(headerOp(prepare.words, 0), prepare.bytes.subarray(0, size));
    };
    const done = execute(prepare, () => {
      if (!lives()) return;
      executed();
      onDone();
    });
    if (done) executed();
    return done;
  };

  const freeze = storage.freeze.bind(storage);
  storage.freeze = (op, trailers) => {
    freeze(op, trailers);
    // A full grid stops the replica instead.
    if (!storage.grid.halted) observer.onFrozen(op);
  };

  const updateCheckpoint = superblock.updateCheckpoint.bind(superblock);
  superblock.updateCheckpoint = (op, header, onDone) => {
    updateCheckpoint(op, header, () => {
      observer.onCheckpoint(op);
      onDone();
    });
  };
}
