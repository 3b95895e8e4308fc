/**
 * The storage engine as the store of a ledger, on a file in memory, driven as a replica drives it.
 * A restart goes back to the last checkpoint, so that it has to be at the end of an op that made one.
 */
import { assert } from "../../src/core/assert.ts";
import type { AppendTable as LedgerTable } from "../../src/ledger/store.ts";
import type { AppendTable } from "../../src/storage/append-table.ts";
import { StorageEngine } from "../../src/storage/engine.ts";
import { rootWords } from "../../src/storage/format.ts";
import type { RunConstants } from "../../src/storage/runs/options.ts";
import { MemoryFile } from "../storage/memory-file.ts";
import { clusterId } from "../storage/world.ts";
import type { DrivenStore } from "./harness.ts";

/** Ops between two checkpoints. */
const interval = 4;

export class EngineStore implements DrivenStore {
  readonly file: MemoryFile;
  engine: StorageEngine;
  op = 0;
  private writing = false;
  private readonly root = new Uint32Array(rootWords);

  constructor(
    seed: number,
    private readonly runs: RunConstants,
  ) {
    this.file = new MemoryFile(seed);
    this.engine = this.open();
  }

  get accounts(): DrivenStore["accounts"] {
    return this.engine.accounts;
  }
  get pendingStatus(): DrivenStore["pendingStatus"] {
    return this.engine.pendingStatus;
  }
  get transfers(): LedgerTable {
    return this.engine.transfers;
  }
  get balances(): LedgerTable {
    return this.engine.balances;
  }
  get expiries(): LedgerTable {
    return this.engine.expiries;
  }
  get failedIds(): LedgerTable {
    return this.engine.failedIds;
  }
  get transferMarks(): LedgerTable {
    return this.engine.transferMarks;
  }
  get expiryMarks(): LedgerTable {
    return this.engine.expiryMarks;
  }
  get indexes(): DrivenStore["indexes"] {
    return this.engine.indexes;
  }

  fetch(
    table: AppendTable,
    rows: Uint32Array,
    count: number,
    target: Uint32Array,
    onDone: () => void,
  ): boolean {
    return this.engine.fetch(table, rows, count, target, onDone);
  }

  deliver(): boolean {
    return this.file.tick();
  }

  endOp(): void {
    this.op += 1;
    let ready = false;
    ready = this.engine.compact(this.op, () => {
      ready = true;
    });
    this.file.until(() => ready);
    if (this.op % interval !== 0) return;
    this.finishCheckpoint();
    this.engine.freeze(this.op, []);
    this.writing = true;
  }

  reopen(): void {
    while (this.op % interval !== 0) this.endOp();
    this.finishCheckpoint();
    this.file.crash();
    this.engine = this.open();
  }

  private finishCheckpoint(): void {
    if (!this.writing) return;
    let synced = false;
    this.engine.checkpointWrite(() => {
      synced = true;
    });
    this.file.until(() => synced);
    this.engine.checkpointRoot(this.root, 0);
    this.engine.checkpointDurable();
    this.writing = false;
  }

  private open(): StorageEngine {
    const engine = new StorageEngine({
      io: this.file,
      file: 0,
      gridAt: 8192,
      gridBytes: 0,
      gridBlocksMax: 20_000,
      cluster: clusterId,
      checkpointInterval: interval,
      opRowsMax: 20_000,
      recentBlocks: 0,
      cacheBytes: 0,
      pageCopyBytes: 1 << 20,
      slabSizeLog2: 16,
      allocateWords: (count) => new Uint32Array(count),
      extend: null,
      onDamaged: ({ name, reason }) => assert(false, `nothing is damaged: ${name}, ${reason}`),
      onFatal: (text) => assert(false, text),
      runs: this.runs,
    });
    let error: string | null | undefined;
    engine.open(this.root, (result) => {
      error = result;
    });
    this.file.until(() => error !== undefined);
    assert(error === null, `the checkpoint opens: ${error}`);
    return engine;
  }
}
