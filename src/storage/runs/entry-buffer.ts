/**
 * The entries of a generation, in memory.
 */
import { unreachable } from "../../core/assert.ts";
import type { RunKernels } from "../../native/sorted-runs/run-kernels.ts";
import type { EntryWords } from "./options.ts";

export class EntryBuffer {
  count = 0;
  /**
   * After `seal`: the sorted segments, at most `mergeInputsMax`, as inputs of `mergeEntries`, and a
   * cursor for each (`mergeCursorWords`), of which the caller makes a copy.
   */
  readonly inputs: Uint32Array[] = [];
  readonly cursors: Uint32Array = new Uint32Array(0);

  constructor(
    readonly entryWords: EntryWords,
    readonly kernels: RunKernels,
    readonly allocateWords: (count: number) => Uint32Array,
  ) {}

  /** Adds an entry with a key of two words. */
  appendShort(_row: number, _rowHigh: number, _low: number, _high: number): void {
    unreachable("not written yet");
  }

  /** Adds an entry whose key of four words stands at words[at]. */
  appendLong(_row: number, _rowHigh: number, _words: Uint32Array, _at: number): void {
    unreachable("not written yet");
  }

  /** Nothing more is added: sorts what is left, and fills `inputs` and `cursors`. Lookups go on. */
  seal(): void {
    unreachable("not written yet");
  }

  /** Empties it for the next generation; keeps its memory. */
  clear(): void {
    unreachable("not written yet");
  }
}
