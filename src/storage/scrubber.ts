/**
 * Reads every live block of an open engine in the background, one per tick, to find rot while a
 * sound copy still exists elsewhere, and has it repaired from there. The owner decides how often to
 * tick.
 *
 * Blocks that were acquired but not written yet are skipped; they come up in the next cycle. A
 * freeze during a read changes what is live: what such a read found is ignored.
 */
import { blockSize } from "../core/limits.ts";
import { BlockReader, type BlockRequest, type BlockSource } from "./block-reader.ts";
import type { CheckpointState } from "./checkpoint-state.ts";
import type { Grid } from "./grid.ts";
import type { DamagedBlock } from "./options.ts";
import { RefCursor, visitAll } from "./ref-cursor.ts";

export class Scrubber implements BlockSource {
  /** Complete passes over the grid, and blocks verified, since start. */
  cycles = 0;
  blocksRead = 0;
  private readonly reader: BlockReader;
  private readonly cursor: RefCursor;
  private wanted = false;
  private skipLeft = 0;
  private readOp = 0;

  /**
   * @param engine - An open `StorageEngine`.
   * @param onDamaged - A damaged block that nobody repairs.
   */
  constructor(
    private readonly engine: { readonly grid: Grid; readonly state: CheckpointState },
    private readonly onDamaged: (block: DamagedBlock) => void,
  ) {
    this.reader = new BlockReader(engine.grid, engine.grid.io.allocate(blockSize), null);
    this.cursor = new RefCursor(engine.state, visitAll);
  }

  /**
   * Before the first tick: begins after so many blocks, so that a replica that is restarted again and
   * again does not read the same ones each time. More than there are begins at the first.
   */
  skip(blocks: number): void {
    this.skipLeft = blocks;
  }

  /** Blocks in use as of the last freeze, roughly: what one cycle reads. */
  get blocks(): number {
    const { freeSet } = this.engine.grid;
    return freeSet.acquiredCount - freeSet.releasedCount;
  }

  /** Starts reading the next block, unless the one before is still being read. */
  tick(): void {
    if (this.reader.running || this.engine.grid.halted) return;
    this.wanted = true;
    this.reader.run(this, ignore);
  }

  next(request: BlockRequest): boolean {
    if (!this.wanted) return false;
    this.wanted = false;
    while (this.cursor.next(request)) {
      if (this.skipLeft > 0) {
        this.skipLeft -= 1;
        continue;
      }
      if (this.engine.grid.isUnwritten(request.ref[0]!)) continue;
      this.readOp = this.engine.state.op;
      return true;
    }
    this.cycles += 1;
    this.skipLeft = 0;
    this.cursor.restart();
    return false;
  }

  received(): void {
    this.blocksRead += 1;
  }

  damaged(request: BlockRequest, block: DamagedBlock): void {
    if (this.engine.state.op !== this.readOp) return;
    const { repairs } = this.engine.grid;
    // Nobody waits for it: if there is no room now, the next cycle finds it again.
    if (repairs !== null) repairs.schedule(request, block);
    else this.onDamaged(block);
  }
}

function ignore(): void {}
