/** Latencies of one run, kept one by one: exact percentiles, no buckets. */

export class Latencies {
  private values: Float64Array;
  private length = 0;

  constructor(expected: number) {
    this.values = new Float64Array(Math.max(1, expected));
  }

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
