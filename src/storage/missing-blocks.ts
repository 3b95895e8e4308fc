/**
 * The blocks that opening a checkpoint leaves alone: those of rows. After a state sync any of them
 * may be missing. Reading them with repairs brings them here, many at a time; what is sound already
 * is only verified.
 */
import type { BlockRequest, BlockSource } from "./block-reader.ts";
import type { CheckpointState } from "./checkpoint-state.ts";
import { RefCursor, Visit } from "./ref-cursor.ts";

export class MissingBlocks implements BlockSource {
  private readonly cursor: RefCursor;

  constructor(state: CheckpointState) {
    this.cursor = new RefCursor(state, Visit.rows);
  }

  next(request: BlockRequest): boolean {
    return this.cursor.next(request);
  }

  /** It is where it belongs, or on its way there. */
  received(): void {}

  damaged(): void {}
}
