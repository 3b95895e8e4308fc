/**
 * Brings the resident part of a checkpoint into memory: pages and partial blocks. Every page is
 * found through the directory of its block and taken only if the page's own reference says that
 * it is there; at the end none may be missing.
 */
import { assert } from "../core/assert.ts";
import type { AppendTable } from "./append-table.ts";
import type { BlockRequest, BlockSource } from "./block-reader.ts";
import type { CheckpointState } from "./checkpoint-state.ts";
import { BlockType, blockHeaderWords, pageWords } from "./format.ts";
import type { DamagedBlock } from "./options.ts";
import type { PageSpace } from "./page-space.ts";
import type { PagedTable } from "./paged-table.ts";
import { forEachLivePage, RefCursor, Visit } from "./ref-cursor.ts";

export class StateLoader implements BlockSource {
  private readonly cursor: RefCursor;
  private pagesLoaded = 0;
  private damagedBlocks = 0;
  private firstDamage = "";

  constructor(
    private readonly state: CheckpointState,
    private readonly append: readonly AppendTable[],
    private readonly paged: readonly PagedTable[],
    private readonly space: PageSpace,
    private readonly onDamaged: (block: DamagedBlock) => void,
  ) {
    this.cursor = new RefCursor(state, Visit.tails + Visit.pages);
    for (let index = 0; index < append.length; index += 1) {
      append[index]!.restore(state.append[index]!.rows);
    }
    for (let index = 0; index < paged.length; index += 1) {
      paged[index]!.restore(state.paged[index]!.rows);
    }
  }

  next(request: BlockRequest): boolean {
    return this.cursor.next(request);
  }

  received(request: BlockRequest, words: Uint32Array, at: number): void {
    if (request.type === BlockType.pages) {
      this.receivePages(request, words, at);
      return;
    }
    const table = this.append.find((candidate) => candidate.id === request.table);
    assert(table !== undefined, "requests name known tables");
    table.restoreTail(words, at + blockHeaderWords);
  }

  private receivePages(request: BlockRequest, words: Uint32Array, at: number): void {
    forEachLivePage(this.state, request, words, at, (table, page, unit) => {
      this.paged[table]!.restorePage(page, words, at + unit * pageWords);
      this.space.add(request.ref[0]!);
      this.pagesLoaded += 1;
    });
  }

  damaged(_request: BlockRequest, block: DamagedBlock): void {
    this.damagedBlocks += 1;
    if (this.damagedBlocks === 1) this.firstDamage = `${block.name}: ${block.reason}`;
    this.onDamaged(block);
  }

  /** After reading: null, or what is missing. */
  result(): string | null {
    if (this.damagedBlocks > 0) {
      const others = this.damagedBlocks - 1;
      return `${this.firstDamage}${others > 0 ? ` (and ${others} more)` : ""}.`;
    }
    let pages = 0;
    for (const part of this.state.paged) pages += part.pages;
    if (this.pagesLoaded === pages) return null;
    return `${pages - this.pagesLoaded} pages are not in their blocks: this is a bug, please report it.`;
  }
}
