/**
 * The sorted indexes over transfers as the ledger sees them: the `TransferIndexes` of ledger/store.ts.
 */
import type { BlockFetcher } from "./block-fetcher.ts";
import { IdFinder } from "./id-finder.ts";
import { IndexCursor } from "./index-cursor.ts";
import type { IndexGroup } from "./index-group.ts";
import { IndexId } from "./options.ts";
import type { CutPosition } from "./run.ts";
import type { SortedIndex } from "./sorted-index.ts";

export class TransferIndexes {
  readonly ids: SortedIndex;
  readonly accounts: SortedIndex;
  readonly userData128: SortedIndex;
  readonly userData64: SortedIndex;
  readonly userData32: SortedIndex;
  readonly ledger: SortedIndex;
  readonly code: SortedIndex;

  private readonly finder: IdFinder;

  constructor(
    readonly group: IndexGroup,
    private readonly fetcher: BlockFetcher,
  ) {
    const { indexes, options } = group;
    this.ids = indexes[IndexId.ids]!;
    this.accounts = indexes[IndexId.accounts]!;
    this.userData128 = indexes[IndexId.userData128]!;
    this.userData64 = indexes[IndexId.userData64]!;
    this.userData32 = indexes[IndexId.userData32]!;
    this.ledger = indexes[IndexId.ledger]!;
    this.code = indexes[IndexId.code]!;
    this.finder = new IdFinder(this.ids, options, fetcher);
  }

  get covered(): CutPosition {
    return this.group.covered;
  }

  get cut(): CutPosition {
    return this.group.cut;
  }

  /** Adds a burnt id, at key[keyAt], by its number, to the index of ids. */
  addBurnt(number: number, key: Uint32Array, keyAt: number): void {
    this.group.addBurnt(number, key, keyAt);
  }

  /** After a start, when every entry of rows and burnt ids from `covered` on was added again. */
  rebuilt(): void {
    this.group.rebuilt();
  }

  /**
   * Looks the ids at words[offsets[0 … count)] up among those before `covered`. references[i]: 0 if
   * unknown, row + 1, or −1 − number of a burnt id. True when done at once; otherwise `onDone` is
   * called later, not from inside. One lookup at a time, and no `fetch` meanwhile.
   */
  findIds(
    words: Uint32Array,
    offsets: Uint32Array,
    count: number,
    references: Int32Array,
    onDone: () => void,
  ): boolean {
    return this.finder.find(words, offsets, count, references, onDone);
  }

  /** A cursor of the caller's own, to be kept. */
  createCursor(): IndexCursor {
    return new IndexCursor(this.fetcher);
  }
}
