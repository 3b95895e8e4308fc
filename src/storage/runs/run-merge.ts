/**
 * A merge of the runs of a level into one of the next, block by block.
 */
import type { Run } from "./run.ts";

export class RunMerge {
  /** Per input, of its next entry: the block, and the entry within it; (blocks, 0) at the end. */
  readonly blockAt: Uint32Array;
  readonly entryAt: Uint32Array;

  constructor(
    /** Level of the inputs. */
    readonly level: number,
    /** Oldest first: the first runs of their level. */
    readonly inputs: readonly Run[],
    /** Level + 1, incomplete. */
    readonly output: Run,
    /** Rows and burnt ids when it began. */
    readonly rowsAtStart: number,
  ) {
    this.blockAt = new Uint32Array(inputs.length);
    this.entryAt = new Uint32Array(inputs.length);
  }
}
