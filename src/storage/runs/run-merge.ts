/**
 * A merge of the oldest runs of a level into one of the next, an output block at a time. Between the
 * blocks it is described by the entry of each input that comes next and by the output so far; that
 * is what a checkpoint stores of it.
 *
 * A step needs two blocks of each input in memory: the output has as many entries as a block of an
 * input, so it takes the rest of the one and no more than all of the other.
 */
import { assert } from "../../core/assert.ts";
import { mergeCursorWords, type RunKernels } from "../../native/sorted-runs/run-kernels.ts";
import type { MergeInput } from "./merge-input.ts";
import type { Run } from "./run.ts";
import type { RunBuilder } from "./run-builder.ts";

export class RunMerge {
  /** Per input, of its next entry: the block, and the entry within it; (blocks, 0) at the end. */
  readonly blockAt: Uint32Array;
  readonly entryAt: Uint32Array;
  /** Entries of all inputs, and how many blocks of the output they make. */
  readonly entries: number;
  readonly blocks: number;
  /** How many of them may be written: the pace as of the op that ended last. */
  allowed = 0;
  /** Who reads the inputs; none before `begin`. */
  private readers: readonly MergeInput[] = [];
  private readonly words: Uint32Array[] = [];
  private readonly cursors: Uint32Array;

  constructor(
    /** Level of the inputs. */
    readonly level: number,
    /** Oldest first: the first runs of their level. */
    readonly inputs: readonly Run[],
    /** Level + 1, incomplete. */
    readonly output: Run,
    /** Rows and burnt ids when it began. */
    readonly rowsAtStart: number,
  ) {
    this.blockAt = new Uint32Array(inputs.length);
    this.entryAt = new Uint32Array(inputs.length);
    this.cursors = new Uint32Array(inputs.length * mergeCursorWords);
    let entries = 0;
    for (const run of inputs) {
      assert(run.blockEntries === output.blockEntries, "runs of an index have blocks of one size");
      entries += run.entries;
    }
    this.entries = entries;
    this.blocks = Math.ceil(entries / output.blockEntries);
  }

  /** Starts reading, from where it was left. */
  begin(readers: readonly MergeInput[]): void {
    assert(readers.length === this.inputs.length, "a reader per input");
    this.readers = readers;
    for (let input = 0; input < readers.length; input += 1) {
      this.words.push(readers[input]!.words);
      readers[input]!.begin(this.inputs[input]!, this.blockAt[input]!);
    }
    this.output.reserve(this.blocks);
  }

  /** Everything was merged: hands the readers back. */
  end(): readonly MergeInput[] {
    assert(this.done, "a merge ends with its last block");
    const { readers } = this;
    for (let input = 0; input < readers.length; input += 1) readers[input]!.end();
    this.readers = [];
    return readers;
  }

  get done(): boolean {
    return this.output.blocks === this.blocks;
  }

  /** True when what the next block takes is in memory. */
  isReady(): boolean {
    for (let input = 0; input < this.readers.length; input += 1) {
      const block = this.blockAt[input]!;
      if (!this.readers[input]!.isReady(block)) return false;
      if (!this.readers[input]!.isReady(block + 1)) return false;
    }
    return true;
  }

  /** Writes the next block of the output. */
  step(builder: RunBuilder, kernels: RunKernels, op: number): void {
    const { output, cursors } = this;
    const { entryWords } = output;
    const { writes } = builder;
    const left = this.entries - output.entries;
    const count = Math.min(left, output.blockEntries);
    const target = writes.buffer.words;
    const targetAt = writes.nextPayloadAt();
    let merged = 0;
    while (merged < count) {
      for (let input = 0; input < this.inputs.length; input += 1) this.placeCursor(input);
      const some = kernels.mergeEntries(
        target,
        targetAt + merged * entryWords,
        count - merged,
        entryWords,
        this.words,
        cursors,
      );
      assert(some > 0, "every input that is not at its end has an entry");
      for (let input = 0; input < this.inputs.length; input += 1) this.takeCursor(input);
      merged += some;
    }
    builder.addBlock(output, count, count === left, op);
    for (let input = 0; input < this.readers.length; input += 1) {
      this.readers[input]!.readAhead(this.blockAt[input]!);
    }
  }

  private placeCursor(input: number): void {
    const run = this.inputs[input]!;
    const block = this.blockAt[input]!;
    const at = input * mergeCursorWords;
    if (block === run.blocks) {
      this.cursors.fill(0, at, at + mergeCursorWords);
      return;
    }
    const reader = this.readers[input]!;
    assert(reader.isReady(block), "a step takes what was read");
    const from = reader.entriesAt(block);
    this.cursors[at] = from + this.entryAt[input]! * run.entryWords;
    this.cursors[at + 1] = from + run.entriesIn(block) * run.entryWords;
    this.cursors[at + 2] = block + 1 < run.blocks ? 1 : 0;
  }

  private takeCursor(input: number): void {
    const run = this.inputs[input]!;
    const block = this.blockAt[input]!;
    if (block === run.blocks) return;
    const at = input * mergeCursorWords;
    if (this.cursors[at] === this.cursors[at + 1]) {
      this.blockAt[input] = block + 1;
      this.entryAt[input] = 0;
      return;
    }
    const from = this.readers[input]!.entriesAt(block);
    this.entryAt[input] = (this.cursors[at]! - from) / run.entryWords;
  }
}
