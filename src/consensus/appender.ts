/**
 * Prepares on their way into the journal. Holds a reference on each until it is durable, whatever
 * happens to the view meanwhile; what its durability means then, its owner decides.
 */
import { assert } from "../core/assert.ts";
import type { Message } from "../io/message-pool.ts";
import { type Journal, journalWritesMax } from "../wal/journal.ts";

class Append {
  message: Message | null = null;
  /** Called by the journal. */
  readonly onDurable: () => void;
  constructor(onDone: (append: Append) => void) {
    this.onDurable = () => onDone(this);
  }
}

export class Appender {
  private readonly free: Append[] = [];
  private readonly journal: Journal;
  private readonly onDurable: (prepare: Message) => void;

  /** @param onDurable - The prepare is on stable storage here; valid during the call. */
  constructor(journal: Journal, onDurable: (prepare: Message) => void) {
    this.journal = journal;
    this.onDurable = onDurable;
    for (let count = 0; count < journalWritesMax; count += 1) {
      this.free.push(new Append((append) => this.onDone(append)));
    }
  }

  /** Journals a sealed prepare; the journal said that it can write it. Takes a reference. */
  append(prepare: Message): void {
    const append = this.free.pop();
    assert(append !== undefined, "there are as many as the journal writes at once");
    prepare.pool.ref(prepare);
    append.message = prepare;
    this.journal.writePrepare(prepare.buffer, append.onDurable);
  }

  private onDone(append: Append): void {
    const prepare = append.message;
    assert(prepare !== null, "a prepare was written");
    append.message = null;
    this.free.push(append);
    this.onDurable(prepare);
    prepare.pool.unref(prepare);
  }
}
