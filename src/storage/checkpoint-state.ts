/**
 * What the checkpoint frozen last consists of: per table its rows and the references to its
 * blocks, and the chains. The engine, the reader that opens a checkpoint, the integrity check and
 * the scrubber all look at it; the writer makes the next one out of it.
 *
 *   root (superblock) → manifest ─┬→ free set
 *                                 ├→ trailers
 *                                 ├→ table-index blocks → blocks of rows; last, partial block
 *                                 ├→ page-index blocks → page blocks
 *                                 └→ metadata of runs → blocks of entries, blocks of filters
 */
import { pageSize } from "../core/limits.ts";
import { Chain } from "./chain.ts";
import {
  appendTableFormats,
  BlockType,
  pagedTableFormats,
  payloadSize,
  refWords,
} from "./format.ts";
import { RefList } from "./ref-list.ts";
import type { IndexesState } from "./runs/index-state.ts";
import type { CutPosition } from "./runs/run.ts";

/** Trailers that a checkpoint may carry. */
export const trailersMax = 8;

export class AppendPart {
  readonly rowsPerBlock: number;
  /** Rows as of the checkpoint. */
  rows = 0;
  /** The partial block; address 0 if the rows fill whole blocks. */
  readonly tailRef: Uint32Array = new Uint32Array(refWords);
  /** Table-index blocks: each holds a chunk of `refs`. */
  readonly indexRefs = new RefList();

  /** @param refs - References of the full blocks; may run ahead of the checkpoint. */
  constructor(
    readonly id: number,
    readonly name: string,
    readonly rowSize: number,
    readonly refs: RefList,
  ) {
    this.rowsPerBlock = payloadSize / rowSize;
  }

  get fullBlocks(): number {
    return Math.floor(this.rows / this.rowsPerBlock);
  }

  get tailRows(): number {
    return this.rows - this.fullBlocks * this.rowsPerBlock;
  }
}

export class PagedPart {
  readonly rowsPerPage: number;
  rows = 0;
  /** Page-index blocks: each holds a chunk of `refs`. */
  readonly indexRefs = new RefList();

  /** @param refs - Units and checksums of the pages. */
  constructor(
    readonly id: number,
    readonly name: string,
    readonly rowSize: number,
    readonly refs: RefList,
  ) {
    this.rowsPerPage = pageSize / rowSize;
  }

  get pages(): number {
    return Math.ceil(this.rows / this.rowsPerPage);
  }
}

export class CheckpointState {
  op = 0;
  readonly append: readonly AppendPart[];
  readonly paged: readonly PagedPart[];
  /** The first `trailerCount` are in use. */
  readonly trailers: readonly Chain[];
  trailerCount = 0;
  readonly freeSet = new Chain(BlockType.freeSet, 0);
  readonly manifest = new Chain(BlockType.manifest, 0);

  /** Transfers and burnt ids as of the checkpoint. */
  get position(): CutPosition {
    const [transfers, , , failedIds] = this.append;
    return { transfers: transfers!.rows, failedIds: failedIds!.rows };
  }

  /** @param refs - The reference list of each table, by table id. */
  constructor(
    refs: (id: number) => RefList,
    readonly indexes: IndexesState,
  ) {
    this.append = appendTableFormats.map(
      (format) => new AppendPart(format.id, format.name, format.rowSize, refs(format.id)),
    );
    this.paged = pagedTableFormats.map(
      (format) => new PagedPart(format.id, format.name, format.rowSize, refs(format.id)),
    );
    this.trailers = Array.from(
      { length: trailersMax },
      (_, index) => new Chain(BlockType.trailer, index),
    );
  }
}
