/**
 * Agreement of sources that each state an interval (Marzullo's algorithm): the smallest interval
 * that lies within the statements of the most sources. As long as those that are right are the
 * largest group that agrees, a wrong one can only narrow it.
 *
 * With few sources there is nothing to sort: the part that most of them share begins where one of
 * their intervals begins, and ends where the first of them ends.
 */

export class Agreement {
  /** Sources whose intervals hold all of [lower, upper]; 0 without any source. */
  sources = 0;
  lower = 0;
  upper = 0;

  /**
   * Finds the agreement of the first `count` intervals. Of several parts shared by equally many,
   * the narrowest is taken, then the lowest.
   * @param lowers - Where each interval begins.
   * @param uppers - Where it ends, itself included; not below its beginning.
   */
  find(lowers: Float64Array, uppers: Float64Array, count: number): void {
    this.sources = 0;
    this.lower = 0;
    this.upper = 0;
    for (let index = 0; index < count; index += 1) {
      const lower = lowers[index]!;
      let sources = 0;
      let upper = Number.POSITIVE_INFINITY;
      for (let other = 0; other < count; other += 1) {
        if (lowers[other]! > lower || uppers[other]! < lower) continue;
        sources += 1;
        if (uppers[other]! < upper) upper = uppers[other]!;
      }
      if (sources < this.sources) continue;
      const narrower = upper - lower < this.upper - this.lower;
      const asNarrow = upper - lower === this.upper - this.lower;
      if (sources > this.sources || narrower || (asNarrow && lower < this.lower)) {
        this.sources = sources;
        this.lower = lower;
        this.upper = upper;
      }
    }
  }
}
