/**
 * Memory for tables that grow, cut from few large regions. A region's pages are committed by the
 * operating system as they are touched, so its size costs nothing; but every region is external
 * memory to V8, which answers its growth with major garbage collections. One region of 1 GiB is
 * one such collection where slabs of a few megabytes each would be hundreds.
 *
 * Nothing is given back: tables only grow. So it is known which pages will be touched next, and they
 * are committed before, a few at a time, in another thread: the first touch of a huge page costs
 * milliseconds on many virtual machines.
 *
 * What would take much of a region gets memory of its own, which is committed to its end in the same
 * steps: so large are only hash tables that have grown, and those are filled from their start in order.
 */
import { assert } from "../core/assert.ts";
import type { PageMemory } from "../native/memory.ts";

/** Bytes of a region. */
export const regionSize = 1024 * 1024 * 1024;

/** Pieces start at multiples of it. Bytes. */
const alignment = 4096;

/** Committed at a time, at most: a huge page. Bytes. */
const commitSize = 2 * 1024 * 1024;

/** Committed but not used: half of what is used, within these bounds. Bytes. */
const aheadMin = 4 * 1024 * 1024;
const aheadMax = 32 * 1024 * 1024;

/** See `commitPages`. */
export type CommitPages = (
  memory: PageMemory,
  at: number,
  sizeBytes: number,
  onDone: () => void,
) => void;

class Region {
  used = 0;
  /** Bytes from the start that are committed, or were asked to be. */
  private committed = 0;
  private committing = false;

  constructor(
    private readonly memory: PageMemory,
    private readonly commit: CommitPages,
  ) {}

  has(sizeBytes: number): boolean {
    return this.used + sizeBytes <= this.memory.sizeBytes;
  }

  cut(count: number, sizeBytes: number): Uint32Array {
    const at = this.used;
    this.used += sizeBytes;
    this.commitAhead();
    return this.memory.words.subarray(at / 4, at / 4 + count);
  }

  private commitAhead(): void {
    const { sizeBytes } = this.memory;
    const ahead = Math.min(aheadMax, Math.max(aheadMin, this.used / 2));
    if (this.committing || this.committed >= Math.min(this.used + ahead, sizeBytes)) return;
    this.committing = true;
    const at = this.committed;
    const stepSize = Math.min(commitSize, sizeBytes - at);
    this.committed += stepSize;
    this.commit(this.memory, at, stepSize, this.onCommitted);
  }

  private readonly onCommitted = (): void => {
    this.committing = false;
    this.commitAhead();
  };
}

/**
 * @param allocate - Zeroed memory of this many bytes, committed when touched.
 * @returns A function that gives zeroed words, disjoint from all it gave before.
 */
export function wordArena(
  allocate: (sizeBytes: number) => PageMemory,
  commit: CommitPages,
  sizeBytes = regionSize,
): (count: number) => Uint32Array {
  let region: Region | null = null;
  return (count) => {
    assert(count > 0, "memory has a size");
    const pieceSize = Math.ceil((count * 4) / alignment) * alignment;
    if (pieceSize > sizeBytes / 4) {
      return new Region(allocate(pieceSize), commit).cut(count, pieceSize);
    }
    if (region === null || !region.has(pieceSize)) {
      region = new Region(allocate(sizeBytes), commit);
    }
    return region.cut(count, pieceSize);
  };
}
