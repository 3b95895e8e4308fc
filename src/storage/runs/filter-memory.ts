/**
 * Memory of filters, used again when a run is released: what it comes from gives nothing back. The
 * runs of a level have about the same size and replace each other, so sizes are rounded up, by a
 * quarter at most, until they are one.
 */
import { filterWords } from "../../native/sorted-runs/run-kernels.ts";

/** Sizes, in filters, have so many significant bits. */
const sizeBits = 3;

export class FilterMemory {
  /** By size, in filters. */
  private readonly spare = new Map<number, Uint32Array[]>();

  constructor(private readonly allocateWords: (count: number) => Uint32Array) {}

  /** At least `words` words; what they hold is arbitrary. */
  take(words: number): Uint32Array {
    const rounded = filterMemoryWords(words);
    return this.spare.get(rounded / filterWords)?.pop() ?? this.allocateWords(rounded);
  }

  /** Words that nobody uses any more. */
  give(words: Uint32Array): void {
    const filters = Math.floor(words.length / filterWords);
    if (filters === 0) return;
    const step = sizeStep(filters);
    const size = Math.floor(filters / step) * step;
    const list = this.spare.get(size);
    if (list === undefined) this.spare.set(size, [words]);
    else list.push(words);
  }
}

/** The size, in words, that memory for so many words of filters has wherever it is allocated. */
export function filterMemoryWords(words: number): number {
  const filters = Math.ceil(words / filterWords);
  const step = sizeStep(filters);
  return Math.ceil(filters / step) * step * filterWords;
}

function sizeStep(filters: number): number {
  return 1 << Math.max(0, 32 - Math.clz32(filters) - sizeBits);
}
