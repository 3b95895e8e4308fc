/**
 * The sorted indexes over transfers as the ledger sees them: the `TransferIndexes` of ledger/store.ts.
 */
import { unreachable } from "../../core/assert.ts";
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

  constructor(readonly group: IndexGroup) {
    const { indexes } = group;
    this.ids = indexes[IndexId.ids]!;
    this.accounts = indexes[IndexId.accounts]!;
    this.userData128 = indexes[IndexId.userData128]!;
    this.userData64 = indexes[IndexId.userData64]!;
    this.userData32 = indexes[IndexId.userData32]!;
    this.ledger = indexes[IndexId.ledger]!;
    this.code = indexes[IndexId.code]!;
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

  findIds(): boolean {
    return unreachable("no id lies in a run yet");
  }

  createCursor(): never {
    return unreachable("no cursor yet");
  }
}
