/** Latencies of one run, kept one by one: exact percentiles, no buckets. */

/** Values that there is room for at first. */
const initialLength = 65_536;

export class Latencies {
  private values = new Float64Array(initialLength);
  private length = 0;

  get count(): number {
    return this.length;
  }

  add(milliseconds: number): void {
    if (this.length === this.values.length) {
      const larger = new Float64Array(this.values.length * 2);
      larger.set(this.values);
      this.values = larger;
    }
    this.values[this.length] = milliseconds;
    this.length += 1;
  }

  /**
   * The nearest-rank percentiles, in milliseconds.
   *
   * @param shares - 0…1 each: 0.5 is the median, 1 the slowest.
   */
  percentiles(shares: readonly number[]): number[] {
    const sorted = this.values.slice(0, this.length).sort();
    return shares.map((share) => {
      const rank = Math.max(1, Math.ceil(share * sorted.length));
      return sorted[rank - 1] ?? 0;
    });
  }
}
