/**
 * Prepares between their journal write and their execution, oldest first. Fixed entries, made at
 * start. An op leaves only from the head and only after it was executed.
 *
 * Invariant: the ops in the pipeline are consecutive.
 */
import { assert } from "../core/assert.ts";
import { pipelinePrepareMax } from "../core/limits.ts";
import type { Message } from "../io/message-pool.ts";

export class PipelineEntry {
  message: Message | null = null;
  op = 0;
  /** Bit r: replica r has the prepare on disk. A repeated acknowledgement is harmless. */
  ackBits = 0;
  /** Called by the journal when our own write is durable. */
  readonly onDurable: () => void;

  constructor(onDurable: (entry: PipelineEntry) => void) {
    this.onDurable = () => onDurable(this);
  }

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

  constructor(onDurable: (entry: PipelineEntry) => void) {
    for (let index = 0; index < pipelinePrepareMax; index += 1) {
      this.entries.push(new PipelineEntry(onDurable));
    }
  }

  get length(): number {
    return this.size;
  }

  get full(): boolean {
    return this.size === pipelinePrepareMax;
  }

  /** Adds the prepare of the next op; keeps the caller's reference on the message. */
  push(message: Message, op: number): PipelineEntry {
    assert(this.size < pipelinePrepareMax, "the pipeline has room");
    assert(this.size === 0 || this.at(this.size - 1).op + 1 === op, "ops are consecutive");
    const entry = this.entries[(this.head + this.size) % pipelinePrepareMax]!;
    this.size += 1;
    entry.message = message;
    entry.op = op;
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

  /** Takes the head out; its message's reference passes to the caller. */
  shift(): Message {
    const entry = this.at(0);
    const message = entry.message;
    assert(message !== null, "an entry in the pipeline has a message");
    entry.message = null;
    this.head = (this.head + 1) % pipelinePrepareMax;
    this.size -= 1;
    return message;
  }
}
