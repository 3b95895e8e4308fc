/**
 * Ids of some of a load's transfers, for asking about them later: the load is cut into equal shares,
 * and one transfer of each is drawn. So they are spread over the whole load, whatever its ids are.
 */
import type { Prng } from "../../src/core/prng.ts";

const recordWords = 32;
const idWords = 4;

export class IdSample {
  /** Four words each, in the order of the transfers. */
  readonly words: Uint32Array;
  count = 0;
  private next = 0;

  /**
   * @param transfers - Of the load.
   * @param size - Ids to draw: no more than there are transfers.
   */
  constructor(
    private readonly transfers: number,
    readonly size: number,
    private readonly random: Prng,
  ) {
    this.words = new Uint32Array(size * idWords);
    if (size > 0) this.draw();
  }

  /** Transfers first … first + count − 1 stand in words[at …); they come in order. */
  add(words: Uint32Array, at: number, first: number, count: number): void {
    while (this.count < this.size && this.next < first + count) {
      const from = at + (this.next - first) * recordWords;
      this.words.set(words.subarray(from, from + idWords), this.count * idWords);
      this.count += 1;
      if (this.count < this.size) this.draw();
    }
  }

  /** Chooses a transfer of the share that comes next. */
  private draw(): void {
    const start = Math.floor((this.count * this.transfers) / this.size);
    const end = Math.floor(((this.count + 1) * this.transfers) / this.size);
    this.next = start + this.random.below(end - start);
  }
}
