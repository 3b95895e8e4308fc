/**
 * Looks up the transfer ids of one request, as they are before it: first in memory, in both
 * generations of ids; then the storage looks, in one go, for those that are in neither.
 */
import { assert } from "../core/assert.ts";
import type { LedgerState } from "./ledger-state.ts";

const noWords = new Uint32Array(0);

export class IdSearch {
  /** Per search: 0 while the id is unknown, row + 1, or −1 − number of a burnt id. */
  readonly references: Int32Array;
  /** The searches that the storage is asked for. */
  readonly asked: Uint32Array;
  askedCount = 0;
  /** Where their ids lie, and what the storage says. */
  private readonly offsets: Uint32Array;
  private readonly found: Int32Array;
  private words: Uint32Array = noWords;
  private worthAsking = false;
  private sent = false;
  /** All references are known. */
  done = true;

  /** @param capacity - Searches are numbered below it; a request may leave numbers out. */
  constructor(
    private readonly state: LedgerState,
    capacity: number,
  ) {
    this.references = new Int32Array(capacity);
    this.asked = new Uint32Array(capacity);
    this.offsets = new Uint32Array(capacity);
    this.found = new Int32Array(capacity);
  }

  /** @param words - Hold all ids, and stay as they are until all is done. */
  begin(words: Uint32Array): void {
    const { covered } = this.state.indexes;
    this.worthAsking = covered.transfers > 0 || covered.failedIds > 0;
    this.words = words;
    this.askedCount = 0;
    this.sent = false;
    this.done = false;
  }

  /** Begins the search for the id at words[at], whose hash is given. Returns its reference if it is in memory. */
  add(search: number, hash: number, at: number): number {
    const reference = this.state.transferIds.find(hash, this.words, at);
    this.references[search] = reference;
    if (reference === 0 && this.worthAsking) {
      const index = this.askedCount;
      this.asked[index] = search;
      this.offsets[index] = at;
      this.askedCount = index + 1;
    }
    return reference;
  }

  /** Asks the storage. False: called back later; call again then. */
  step(onFound: () => void): boolean {
    assert(!this.done, "a search ends once");
    const { askedCount, asked, found, references } = this;
    if (askedCount > 0 && !this.sent) {
      this.sent = true;
      const { indexes } = this.state;
      if (!indexes.findIds(this.words, this.offsets, askedCount, found, onFound)) return false;
    }
    for (let index = 0; index < askedCount; index += 1) {
      references[asked[index]!] = found[index]!;
    }
    this.done = true;
    return true;
  }
}
