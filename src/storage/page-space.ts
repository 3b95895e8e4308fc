/**
 * The page units inside page blocks. A page block is written whole, with up to 15 pages; a page
 * that is written again leaves a dead unit behind; a block whose pages are all dead is released.
 *
 * Blocks that keep a few live pages would pile up, so a freeze moves pages out of the sparsest
 * ones whenever less than half of all units is live. The pages moved are at most as many as the
 * pages written anyway, plus a constant. That bounds both sides: a block with l ≤ 7 live pages
 * costs l writes and clears 15 − l ≥ 8 dead units, so D moves clear more dead units than the D
 * pages written leave behind.
 */
import { assert } from "../core/assert.ts";
import { pagesPerBlock } from "./format.ts";
import type { FreeSet } from "./free-set.ts";

/** Page blocks beyond twice the need that are left alone. */
const slackBlocks = 16;
/** Pages that a freeze may move even if few were written. */
const moveMin = 64;
/** Blocks with more live pages are never emptied. */
const sparseMax = 7;
const chosen = 0x80;

export class PageSpace {
  /** Per address − 1: live pages of the page block there, 0 for all other blocks; and `chosen`. */
  private live: Uint8Array = new Uint8Array(4096);
  /** Page blocks by number of live pages. */
  private readonly blocksWith: Float64Array = new Float64Array(pagesPerBlock + 1);
  blocks = 0;
  pages = 0;
  /** Pages moved out of sparse blocks, since start. */
  moved = 0;
  /** Blocks with fewer live pages are emptied, those with as many while moves remain. */
  private threshold = 0;
  private movesLeft = 0;

  constructor(private readonly freeSet: FreeSet) {}

  /** A page block was laid out with `pages` live pages. */
  place(address: number, pages: number): void {
    if (address > this.live.length) {
      const larger = new Uint8Array(Math.max(this.live.length * 2, address));
      larger.set(this.live);
      this.live = larger;
    }
    assert(this.live[address - 1] === 0, "a page block is laid out once");
    this.live[address - 1] = pages;
    this.blocksWith[pages] = this.blocksWith[pages]! + 1;
    this.blocks += 1;
    this.pages += pages;
  }

  /** At start: one more live page in the block. */
  add(address: number): void {
    if (address > this.live.length || this.live[address - 1] === 0) {
      this.place(address, 1);
      return;
    }
    const pages = this.live[address - 1]!;
    assert(pages < pagesPerBlock, "the caller counted the pages of a block");
    this.live[address - 1] = pages + 1;
    this.blocksWith[pages] = this.blocksWith[pages]! - 1;
    this.blocksWith[pages + 1] = this.blocksWith[pages + 1]! + 1;
    this.pages += 1;
  }

  /** One live page of the block is written elsewhere. */
  kill(address: number): void {
    const value = this.live[address - 1]!;
    const pages = value & ~chosen;
    assert(pages > 0, "the page was live");
    this.live[address - 1] = pages === 1 ? 0 : value - 1;
    this.blocksWith[pages] = this.blocksWith[pages]! - 1;
    this.pages -= 1;
    if (pages === 1) {
      this.blocks -= 1;
      this.freeSet.release(address);
      return;
    }
    this.blocksWith[pages - 1] = this.blocksWith[pages - 1]! + 1;
  }

  /**
   * At a freeze, after the pages to be written were killed: is there a need to move pages?
   * @param written - Pages that this freeze writes anyway.
   */
  planMoves(written: number): boolean {
    const livePages = this.pages + written;
    const units = (this.blocks + Math.ceil(written / pagesPerBlock)) * pagesPerBlock;
    let excess = units - 2 * livePages - slackBlocks * pagesPerBlock;
    if (excess <= 0) return false;
    this.movesLeft = Math.max(written, moveMin);
    this.threshold = 0;
    let moves = this.movesLeft;
    // The lowest threshold at which enough dead units are cleared or the moves are used up.
    while (this.threshold < sparseMax && excess > 0 && moves > 0) {
      this.threshold += 1;
      const blocks = this.blocksWith[this.threshold]!;
      excess -= blocks * (pagesPerBlock - this.threshold);
      moves -= blocks * this.threshold;
    }
    return true;
  }

  /**
   * Asked for every page that is not written anyway, in page order: is this block to be emptied?
   * The answer for a block is the same for all its pages.
   */
  moves(address: number): boolean {
    const value = this.live[address - 1]!;
    if ((value & chosen) !== 0) return true;
    if (value > this.threshold || value > this.movesLeft) return false;
    this.movesLeft -= value;
    this.moved += value;
    this.live[address - 1] = value | chosen;
    return true;
  }
}
