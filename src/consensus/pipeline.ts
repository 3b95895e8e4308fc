/**
 * The primary's account of prepares between their number and their execution, oldest first: who
 * has acknowledged which. Fixed entries, made at start. The prepares themselves are in the cache.
 *
 * Invariant: the ops in the pipeline are consecutive.
 */
import { assert } from "../core/assert.ts";
import { pipelinePrepareMax } from "../core/limits.ts";
import { u128Copy } from "../core/u128.ts";

export class PipelineEntry {
  op = 0;
  readonly checksum = new Uint32Array(4);
  /** Bit r: replica r has the prepare on disk. A repeated acknowledgement is harmless. */
  ackBits = 0;

  get acks(): number {
    let count = 0;
    for (let bits = this.ackBits; bits !== 0; bits &= bits - 1) count += 1;
    return count;
  }
}

export class Pipeline {
  private readonly entries: PipelineEntry[] = [];
  private head = 0;
  private size = 0;

  constructor() {
    for (let index = 0; index < pipelinePrepareMax; index += 1) {
      this.entries.push(new PipelineEntry());
    }
  }

  get length(): number {
    return this.size;
  }

  get full(): boolean {
    return this.size === pipelinePrepareMax;
  }

  /** Adds the next op, whose prepare has the checksum at words[at]. */
  push(op: number, words: Uint32Array, at: number): PipelineEntry {
    assert(this.size < pipelinePrepareMax, "the pipeline has room");
    assert(this.size === 0 || this.at(this.size - 1).op + 1 === op, "ops are consecutive");
    const entry = this.entries[(this.head + this.size) % pipelinePrepareMax]!;
    this.size += 1;
    entry.op = op;
    u128Copy(entry.checksum, 0, words, at);
    entry.ackBits = 0;
    return entry;
  }

  /** The entry at `index` from the head. */
  at(index: number): PipelineEntry {
    assert(index >= 0 && index < this.size, "index is inside the pipeline");
    return this.entries[(this.head + index) % pipelinePrepareMax]!;
  }

  find(op: number): PipelineEntry | null {
    if (this.size === 0) return null;
    const index = op - this.at(0).op;
    return index >= 0 && index < this.size ? this.at(index) : null;
  }

  /** The op was executed: it was the oldest, or the pipeline did not have it. */
  executed(op: number): void {
    if (this.size === 0 || this.at(0).op > op) return;
    assert(this.at(0).op === op, "ops are executed in order");
    this.head = (this.head + 1) % pipelinePrepareMax;
    this.size -= 1;
  }

  /** Another view begins: acknowledgements of this one do not count there. */
  clear(): void {
    this.size = 0;
  }
}
