/**
 * Memory of all simulated disks: sectors of 4 KiB, numbered from 1, counted by reference. 0 stands
 * for a sector of zeros and takes no memory. A sector is never changed while it is shared, so that
 * a formatted disk is copied by counting.
 */
import { assert } from "../../src/core/assert.ts";
import { sectorSize } from "../../src/core/limits.ts";

const sectorWords = sectorSize / 4;
const slabShift = 10;
const slabSectors = 1 << slabShift;

export class SectorPool {
  private readonly slabs: Uint32Array[] = [];
  private readonly slabBytes: Uint8Array[] = [];
  private references = new Int32Array(0);
  private readonly free: number[] = [];
  inUse = 0;

  /** A sector with the content of words[at …], or 0 when that is all zeros. */
  store(words: Uint32Array, at: number): number {
    if (isZero(words, at)) return 0;
    const sector = this.take();
    const index = sector - 1;
    const slab = this.slabs[index >>> slabShift]!;
    slab.set(words.subarray(at, at + sectorWords), (index & (slabSectors - 1)) * sectorWords);
    return sector;
  }

  /** Copies the sector to target[at …]. */
  load(sector: number, target: Uint32Array, at: number): void {
    if (sector === 0) {
      target.fill(0, at, at + sectorWords);
      return;
    }
    const index = sector - 1;
    const from = (index & (slabSectors - 1)) * sectorWords;
    target.set(this.slabs[index >>> slabShift]!.subarray(from, from + sectorWords), at);
  }

  /** True when bytes[at …] are the sector's. */
  equals(sector: number, bytes: Uint8Array, words: Uint32Array, wordAt: number): boolean {
    if (sector === 0) return isZero(words, wordAt);
    const at = wordAt * 4;
    return Buffer.compare(this.view(sector), bytes.subarray(at, at + sectorSize)) === 0;
  }

  /** The sector's bytes, not to be changed while it is shared. Not of sector 0. */
  view(sector: number): Uint8Array {
    const index = sector - 1;
    assert(this.references[index]! > 0, "a sector in use");
    const from = (index & (slabSectors - 1)) * sectorSize;
    return this.slabBytes[index >>> slabShift]!.subarray(from, from + sectorSize);
  }

  /** A sector of arbitrary content, with one reference. */
  take(): number {
    if (this.free.length === 0) this.grow();
    const sector = this.free.pop()!;
    this.references[sector - 1] = 1;
    this.inUse += 1;
    return sector;
  }

  ref(sector: number): number {
    if (sector !== 0) this.references[sector - 1]! += 1;
    return sector;
  }

  unref(sector: number): void {
    if (sector === 0) return;
    const left = this.references[sector - 1]! - 1;
    assert(left >= 0, "a sector is given back once");
    this.references[sector - 1] = left;
    if (left > 0) return;
    this.free.push(sector);
    this.inUse -= 1;
  }

  private grow(): void {
    const first = this.slabs.length * slabSectors;
    const words = new Uint32Array(slabSectors * sectorWords);
    this.slabs.push(words);
    this.slabBytes.push(new Uint8Array(words.buffer));
    const references = new Int32Array(first + slabSectors);
    references.set(this.references);
    this.references = references;
    for (let index = slabSectors; index > 0; index -= 1) this.free.push(first + index);
  }
}

const zeros = new Uint8Array(sectorSize);

/** Most sectors that are not zeros show it at once; for the others the platform is quicker. */
function isZero(words: Uint32Array, at: number): boolean {
  for (let word = at; word < at + 16; word += 1) if (words[word] !== 0) return false;
  const bytes = new Uint8Array(words.buffer, words.byteOffset + at * 4, sectorSize);
  return Buffer.compare(bytes, zeros) === 0;
}
