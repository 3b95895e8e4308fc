/**
 * What the storage engine is given, and what it reports. After `onFatal` the engine does nothing
 * more: no callback that is still owed is called.
 */
import type { FileHandle, FileIo } from "../io/io.ts";
import type { RunOptions } from "./runs/options.ts";

/** Why the engine gave up. Stable: operators' tools may match on it. */
export const FatalCode = {
  /** The grid has reached `gridBlocksMax`. */
  gridFull: "STORAGE_GRID_FULL",
  /** The file system has no room for the grid to grow. */
  diskFull: "STORAGE_DISK_FULL",
  /** A write failed: the state of those sectors is unknown. */
  writeFailed: "STORAGE_WRITE_FAILED",
  /** fdatasync failed: no earlier write may be trusted to be durable. */
  syncFailed: "STORAGE_SYNC_FAILED",
} as const;
export type FatalCode = (typeof FatalCode)[keyof typeof FatalCode];

/** A block that could not be read with the checksum that its reference names. */
export interface DamagedBlock {
  readonly address: number;
  /** The checksum in the reference: what a sound copy of the block must have. */
  readonly checksum: Uint32Array;
  /** For people: "grid block 12 (transfers rows 8160–8669)". */
  readonly name: string;
  /** For people: "checksum mismatch", "holds block 7: a misdirected write", "read error −5". */
  readonly reason: string;
}

/** Gets blocks from other replicas. Declared here, implemented by consensus/block-repair.ts. */
export interface BlockRepairer {
  /**
   * This block is wanted, until `StorageEngine.offerBlock` has taken it or `forget` is called. At most
   * `repairsMax` blocks are wanted at a time, each address once.
   */
  want(block: DamagedBlock): void;
  /** The block at this address is not wanted any more: it is no longer in use. */
  forget(address: number): void;
}

export interface StorageOptions {
  readonly io: FileIo;
  readonly file: FileHandle;
  /** Where the grid starts in the file: a multiple of the sector size. Bytes. */
  readonly gridAt: number;
  /** Bytes from `gridAt` that the file holds already; writes go beyond only after `extend`. */
  readonly gridBytes: number;
  /** Blocks of 64 KiB that the grid may grow to: below 2^28. */
  readonly gridBlocksMax: number;
  /** Cluster id, four words: a block of another cluster is never accepted. */
  readonly cluster: Uint32Array;
  /** Ops between two freezes. The frozen state is written within about 3/4 of it. */
  readonly checkpointInterval: number;
  /** Rows that one op may append to each table, at most. Sizes memory, not format. */
  readonly opRowsMax: number;
  /** Blocks per append table that stay in memory after they were written; 0 is the minimum. */
  readonly recentBlocks: number;
  /** Memory for blocks read back. Bytes; at least 32 blocks are taken. */
  readonly cacheBytes: number;
  /** Copies of frozen pages that were touched before they were written: ops wait above. Bytes. */
  readonly pageCopyBytes: number;
  /** log2 of the bytes by which the tables of mutable rows grow; default: 22. */
  readonly slabSizeLog2?: number | undefined;
  /** Constants of sorted runs, for tests and the simulator: what is left out is as on a server. */
  readonly runs?: Partial<RunOptions> | undefined;
  /** Zeroed memory for table slabs. */
  allocateWords(count: number): Uint32Array;
  /**
   * Makes the file hold at least `gridBytes` bytes from `gridAt`, allocated (fallocate), so that
   * later durable writes change no metadata; then calls back, not from inside the call, with 0 or a
   * negative errno. Null: the grid just writes beyond the end of the file.
   */
  readonly extend: ((gridBytes: number, onDone: (result: number) => void) => void) | null;
  /**
   * A damaged block was met that nobody repairs. It is never served; what waits for it waits for
   * ever.
   */
  onDamaged(block: DamagedBlock): void;
  /** The engine gives up. `text` says what happened and what an operator can do. */
  onFatal(text: string, code: FatalCode): void;
}

/** A small byte string that travels with a checkpoint. */
export interface Trailer {
  readonly words: Uint32Array;
  /** Bytes that count, from the start of `words`. */
  readonly length: number;
}

export interface StorageSummary {
  readonly checkpointOp: number;
  readonly blocksMax: number;
  /** Highest address in use: the extent of the grid. */
  readonly blocksHigh: number;
  readonly blocksAcquired: number;
  /** Acquired still, but free at the next freeze. */
  readonly blocksReleased: number;
  readonly pageBlocks: number;
  /** Pages that live in them: `pageBlocks · 15` would be no garbage. */
  readonly pagesLive: number;
  /** Pages moved out of sparse page blocks, since start. */
  readonly pagesMoved: number;
  readonly pageCopies: number;
  readonly pageCopiesMax: number;
  readonly cacheHits: number;
  readonly cacheMisses: number;
  readonly blocksWritten: number;
  /** Blocks that were damaged or missing and came from another replica, since start. */
  readonly blocksRepaired: number;
  readonly tables: readonly {
    readonly name: string;
    readonly rows: number;
    readonly blocks: number;
  }[];
  readonly indexes: readonly {
    readonly name: string;
    /** In complete runs. */
    readonly entries: number;
    readonly runs: number;
    /** Merges under way. */
    readonly merges: number;
    /** Of all runs, those under construction included: of entries and of filters. */
    readonly blocks: number;
  }[];
}
