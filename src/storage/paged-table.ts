/**
 * A table of mutable rows, resident in memory, written page by page. State of a page:
 *
 *           touch                 freeze                 gather (write-out)
 *   clean ─────────▶ dirty ─────────────────▶ frozen ───────────────────────▶ clean
 *                      ▲                        │ touch: the content is copied first
 *                      │   gather (of the copy) ▼
 *                      └──────────────────── copied
 *
 * The content of a frozen page, or of its copy, is that at the freeze until it is gathered.
 * The dirty set depends on the ops since the last freeze alone, and so do the pages' new places.
 */
import { assert } from "../core/assert.ts";
import { pageSize } from "../core/limits.ts";
import { indexRefs, pageWords, refWords, unitShift } from "./format.ts";
import { copyPage, type PageCopies } from "./page-copies.ts";
import type { PageSpace } from "./page-space.ts";
import { RefList } from "./ref-list.ts";

/** In this order: states above `frozen` need nothing at a touch. */
const clean = 0;
const frozen = 1;
const dirty = 2;
const copied = 3;

/** log2 of a slab's size in bytes, unless the engine is told otherwise. */
export const slabSizeLog2Default = 22;

export class PagedTable {
  count = 0;
  /** First row of the current op. */
  opFirstRow = 0;
  readonly slabWords: Uint32Array[] = [];
  readonly slabBytes: Uint8Array[] = [];
  readonly slabShift: number;
  /** log2 of the rows in a page. */
  readonly pageShift: number;
  private readonly slabPagesLog2: number;
  /** Units and checksums of the pages as of the last freeze; unit 0: never written. */
  readonly refs = new RefList();
  /** Per chunk of `refs`: 1 when it differs from the index block written last. */
  indexDirty: Uint8Array = new Uint8Array(64);

  private states: Uint8Array = new Uint8Array(1024);
  /** Per page in state `copied`: the number of its copy. */
  private copyOf: Int32Array = new Int32Array(1024);
  /** Pages of the last freeze in the order of their units. */
  private frozenPages: Uint32Array = new Uint32Array(1024);
  frozenCount = 0;
  /** The first `gathered` of them were taken over by the write-out. */
  private gathered = 0;

  constructor(
    readonly id: number,
    readonly name: string,
    readonly rowSize: number,
    private readonly copies: PageCopies,
    private readonly allocateWords: (count: number) => Uint32Array,
    slabSizeLog2: number,
  ) {
    assert(slabSizeLog2 >= 12, "a slab holds whole pages");
    const rowSizeLog2 = 31 - Math.clz32(rowSize);
    assert(1 << rowSizeLog2 === rowSize, "a row size is a power of two");
    assert(rowSize <= pageSize, "a row fits a page");
    this.pageShift = 12 - rowSizeLog2;
    this.slabShift = slabSizeLog2 - rowSizeLog2;
    this.slabPagesLog2 = slabSizeLog2 - 12;
  }

  append(): number {
    const row = this.count;
    assert(row < 0xffff_ffff, "row numbers fit 32 bits");
    const page = row >>> this.pageShift;
    if ((row & ((1 << this.pageShift) - 1)) === 0) this.beginPage(page);
    else if (this.states[page]! <= frozen) this.touchPage(page);
    this.count = row + 1;
    return row;
  }

  touch(row: number): void {
    assert(row < this.count, "the row exists");
    const page = row >>> this.pageShift;
    if (this.states[page]! > frozen) return;
    this.touchPage(page);
  }

  private touchPage(page: number): void {
    if (this.states[page] === clean) {
      this.states[page] = dirty;
      return;
    }
    const slab = this.slabWords[page >>> this.slabPagesLog2]!;
    this.copyOf[page] = this.copies.take(slab, this.pageOffset(page));
    this.states[page] = copied;
  }

  /** The page's first row is appended: now, or again after a truncation. */
  private beginPage(page: number): void {
    this.reserve(page + 1);
    assert(this.states[page] === clean || this.states[page] === dirty, "the page held no rows");
    this.states[page] = dirty;
  }

  /** Makes room for `pages` pages, their rows zero. */
  private reserve(pages: number): void {
    if (pages > this.states.length) {
      const length = Math.max(this.states.length * 2, pages);
      const states = new Uint8Array(length);
      states.set(this.states);
      this.states = states;
      const copyOf = new Int32Array(length);
      copyOf.set(this.copyOf);
      this.copyOf = copyOf;
    }
    while (this.slabWords.length << this.slabPagesLog2 < pages) {
      const words = this.allocateWords(pageWords << this.slabPagesLog2);
      this.slabWords.push(words);
      this.slabBytes.push(new Uint8Array(words.buffer, words.byteOffset, words.byteLength));
    }
  }

  truncate(count: number): void {
    assert(count >= this.opFirstRow, "only rows of the current op are undone");
    assert(count <= this.count, "truncation removes rows");
    let row = count;
    while (row < this.count) {
      // Slab by slab: the rows to be zeroed may lie in two.
      const slab = row >>> this.slabShift;
      const slabFirst = (slab << this.slabShift) >>> 0;
      const end = Math.min(this.count, slabFirst + (1 << this.slabShift));
      this.slabBytes[slab]!.fill(
        0,
        (row - slabFirst) * this.rowSize,
        (end - slabFirst) * this.rowSize,
      );
      row = end;
    }
    this.count = count;
  }

  /** What was appended may not be undone from here on. */
  opEnded(): void {
    this.opFirstRow = this.count;
  }

  pageCount(): number {
    return Math.ceil(this.count / (1 << this.pageShift));
  }

  /** Starts a freeze: lists the dirty pages in page order; the units they had are dead. */
  freezeDirty(space: PageSpace): void {
    assert(this.gathered === this.frozenCount, "the freeze before was written out");
    const pages = this.pageCount();
    this.refs.extend(pages);
    if (this.refs.chunks.length > this.indexDirty.length) {
      const larger = new Uint8Array(this.refs.chunks.length * 2);
      larger.set(this.indexDirty);
      this.indexDirty = larger;
    }
    this.frozenCount = 0;
    this.gathered = 0;
    for (let page = 0; page < pages; page += 1) {
      if (this.states[page] !== dirty) continue;
      const unit = this.refs.address(page);
      if (unit !== 0) space.kill(unit >>> unitShift);
      this.freezePage(page);
    }
  }

  /** Continues it: adds the clean pages that lie in blocks to be emptied. */
  freezeMoved(space: PageSpace): void {
    const pages = this.pageCount();
    for (let page = 0; page < pages; page += 1) {
      if (this.states[page] !== clean) continue;
      const address = this.refs.address(page) >>> unitShift;
      if (!space.moves(address)) continue;
      space.kill(address);
      this.freezePage(page);
    }
  }

  private freezePage(page: number): void {
    if (this.frozenCount === this.frozenPages.length) {
      const larger = new Uint32Array(this.frozenPages.length * 2);
      larger.set(this.frozenPages);
      this.frozenPages = larger;
    }
    this.frozenPages[this.frozenCount] = page;
    this.frozenCount += 1;
    this.states[page] = frozen;
  }

  frozenPage(index: number): number {
    assert(index < this.frozenCount, "the page was frozen");
    return this.frozenPages[index]!;
  }

  /**
   * Gives `count` frozen pages, from the `first` of the freeze on, the units from `unit` on. The
   * checksums in their references follow when they are written.
   */
  place(first: number, count: number, unit: number): void {
    assert(first + count <= this.frozenCount, "the pages were frozen");
    for (let index = 0; index < count; index += 1) {
      const page = this.frozenPages[first + index]!;
      const chunk = Math.floor(page / indexRefs);
      this.refs.chunks[chunk]![(page - chunk * indexRefs) * refWords] = unit + index;
      this.indexDirty[chunk] = 1;
    }
  }

  /** Copies the next frozen page, as it was at the freeze, to target[at …). Returns its number. */
  gather(target: Uint32Array, at: number): number {
    const page = this.frozenPage(this.gathered);
    this.gathered += 1;
    if (this.states[page] === copied) {
      this.copies.give(this.copyOf[page]!, target, at);
      this.states[page] = dirty;
      return page;
    }
    assert(this.states[page] === frozen, "a frozen page stays so until it is gathered");
    copyPage(target, at, this.slabWords[page >>> this.slabPagesLog2]!, this.pageOffset(page));
    this.states[page] = clean;
    return page;
  }

  /** At start: rows and pages as of a checkpoint; their content follows by `restorePage`. */
  restore(count: number): void {
    assert(this.count === 0, "restored once, at start");
    this.count = count;
    this.opFirstRow = count;
    this.reserve(this.pageCount());
  }

  restorePage(page: number, source: Uint32Array, at: number): void {
    copyPage(this.slabWords[page >>> this.slabPagesLog2]!, this.pageOffset(page), source, at);
  }

  /** Word index of a page in its slab. */
  private pageOffset(page: number): number {
    return (page & ((1 << this.slabPagesLog2) - 1)) * pageWords;
  }
}
