/**
 * A growing array of fixed-width rows in slabs that never move: growth allocates one slab and
 * copies nothing, so that no insert is slower than another by more than that.
 *
 * Row r lies in `slabs[r >>> shift]` from word `(r & mask) * rowWords` on. Paged tables of the
 * storage have the same shape, so code that reads rows can be given either.
 */
import { assert } from "../../core/assert.ts";

/** Returns zeroed memory. Injected so that a server can hand out memory advised for huge pages. */
export type AllocateWords = (count: number) => Uint32Array;

export const allocateOnHeap: AllocateWords = (count) => new Uint32Array(count);

const absent = new Uint32Array(0);

export class Slabs {
  readonly slabs: Uint32Array[] = [];
  readonly mask: number;

  /** @param shift - Rows of a slab: 2^shift. */
  constructor(
    readonly rowWords: number,
    readonly shift: number,
    private readonly allocateWords: AllocateWords,
  ) {
    this.mask = (1 << shift) - 1;
  }

  /** Makes room for a row. Slabs below that no row was written to are left out. */
  reserve(row: number): void {
    assert(row >= 0, "rows count from 0");
    const index = row >>> this.shift;
    while (this.slabs.length <= index) this.slabs.push(absent);
    if (this.slabs[index]!.length === 0) {
      this.slabs[index] = this.allocateWords(this.rowWords << this.shift);
    }
  }

  /** True when the slab of the row was reserved. */
  has(row: number): boolean {
    const slab = this.slabs[row >>> this.shift];
    return slab !== undefined && slab.length > 0;
  }

  clear(): void {
    this.slabs.length = 0;
  }
}
