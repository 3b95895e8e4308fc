/**
 * What create_accounts looks up ahead: whether a transfer has the timestamp that an imported account
 * brings. Transfers lie on disk. Newer timestamps than theirs need no look, nor do those that no account
 * can have any more: not to read for a request that was sent again.
 */
import { assert } from "../core/assert.ts";
import { u64CompareAt } from "../core/u128.ts";
import { eventsMax } from "./batch.ts";
import type { LedgerState } from "./ledger-state.ts";
import { AccountFlag, accountRecord } from "./records.ts";
import type { LedgerStore } from "./store.ts";
import { TimeSearch } from "./time-search.ts";

const accountWords = accountRecord.size / 4;
const codeFlagsWord = accountRecord.word.code;
const timestampWord = accountRecord.word.timestamp;
const noSearch = -1;

export class AccountPrefetch {
  private readonly search: TimeSearch;
  /** Per event: the number of its search, or `noSearch`. */
  private readonly searches = new Int16Array(eventsMax);

  constructor(
    private readonly state: LedgerState,
    store: LedgerStore,
    onFetched: () => void,
  ) {
    assert(eventsMax <= 0x7fff, "a search has a number");
    this.search = new TimeSearch(store, eventsMax, onFetched);
  }

  /** Begins the searches that the events need; `step` ends them. */
  gather(words: Uint32Array, at: number, events: number): void {
    assert(events <= eventsMax, "a request has a bounded number of events");
    const { state, search } = this;
    search.begin(state.transferTimes);
    for (let event = 0; event < events; event += 1) {
      const eventAt = at + event * accountWords;
      const flags = words[eventAt + codeFlagsWord]! >>> 16;
      const sought =
        (flags & AccountFlag.imported) !== 0 &&
        u64CompareAt(words, eventAt + timestampWord, state.lastTransferTime, 0) <= 0 &&
        u64CompareAt(words, eventAt + timestampWord, state.lastAccountTime, 0) > 0;
      this.searches[event] = sought ? search.add(words, eventAt + timestampWord) : noSearch;
    }
  }

  /** Works until a fetch has to be waited for. False: called back later; call again then. */
  step(): boolean {
    return this.search.step();
  }

  /** True when a transfer has the timestamp of this imported event. */
  timeTaken(event: number): boolean {
    const search = this.searches[event]!;
    return search !== noSearch && this.search.isTime(search);
  }
}
