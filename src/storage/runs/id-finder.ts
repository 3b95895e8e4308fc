/**
 * Looks ids up in the complete runs of the index of ids, many at a time:
 *
 *   ids ──probe fences and filters──▶ candidates (id, run, block) ──by block──▶ groups
 *                                                                                │
 *   references ◀──search── block, from the cache or the queue of writes, or read ┘
 *
 * Each block is looked at once. Of ids that are in no run few have candidates, those that a filter
 * mistakes; so most lookups of new ids end without any block. Should there be more candidates
 * than memory is kept for, the ids are looked up in several rounds.
 *
 * Nothing is allocated per lookup: memory is sized once.
 */
import { assert } from "../../core/assert.ts";
import {
  candidateWords,
  probeRunsMax,
  probeRunWords,
  probeScratchWords,
} from "../../native/sorted-runs/run-kernels.ts";
import { BlockGroups } from "../block-groups.ts";
import type { BlockRequest } from "../block-reader.ts";
import type { CachedSource } from "../cached-reader.ts";
import { blockHeaderWords } from "../format.ts";
import { type BlockFetcher, requestBlock } from "./block-fetcher.ts";
import { findId } from "./entry-search.ts";
import { burntBit, entryWordsLong, type RunOptions } from "./options.ts";
import type { Run } from "./run.ts";
import type { SortedIndex } from "./sorted-index.ts";

/** Ids in a lookup: of a request with as many events as there can be, two each. */
const idsMax = 2 * 8190;

/** Rows and numbers of burnt ids are below it, so that a reference has 32 bits. */
const referenceLimit = 0x7fff_ffff;

const noWords = new Uint32Array(0);
const noReferences = new Int32Array(0);

export class IdFinder implements CachedSource {
  /** The youngest first. */
  private readonly runs: Run[] = [];
  private readonly fences: Uint32Array[] = [];
  private readonly filters: Uint32Array[] = [];
  private readonly places = new Uint32Array(probeRunsMax * probeRunWords);
  private readonly scratch = new Uint32Array(idsMax * probeScratchWords);
  private readonly candidates: Uint32Array;
  private readonly room: number;
  /** Candidates by the address of their block. */
  private readonly groups: BlockGroups;
  /** Groups whose blocks have to be read. */
  private readonly pending: Uint32Array;
  private pendingCount = 0;
  private pendingNext = 0;

  private words: Uint32Array = noWords;
  private offsets: Uint32Array = noWords;
  private references: Int32Array = noReferences;
  private count = 0;
  /** The ids below it are looked up; those from it to `roundEnd` are in this round. */
  private roundFirst = 0;
  private roundEnd = 0;
  private onDone: (() => void) | null = null;
  private readonly onRead: () => void;

  /** @param room - Candidates in a round; one id may have as many as there are runs. */
  constructor(
    private readonly index: SortedIndex,
    private readonly options: RunOptions,
    private readonly fetcher: BlockFetcher,
    room = 2 * idsMax,
  ) {
    assert(room >= probeRunsMax, "a round gets an id done");
    this.room = room;
    this.candidates = new Uint32Array(room * candidateWords);
    this.pending = new Uint32Array(room);
    this.groups = new BlockGroups(room);
    this.onRead = () => this.readDone();
  }

  /**
   * Looks up the ids at words[offsets[0 … count)]. references[i]: 0 if unknown, row + 1, or −1 − number
   * of a burnt id. True when done at once; otherwise `onDone` is called later, not from inside.
   */
  find(
    words: Uint32Array,
    offsets: Uint32Array,
    count: number,
    references: Int32Array,
    onDone: () => void,
  ): boolean {
    assert(this.onDone === null, "one lookup at a time");
    assert(count <= idsMax, "a request has so many ids");
    references.fill(0, 0, count);
    this.gatherRuns();
    this.words = words;
    this.offsets = offsets;
    this.references = references;
    this.count = count;
    this.roundFirst = 0;
    if (this.advance()) {
      this.release();
      return true;
    }
    this.onDone = onDone;
    return false;
  }

  private gatherRuns(): void {
    const { levels } = this.index;
    let count = 0;
    for (let level = 0; level < levels.length; level += 1) {
      const runs = levels[level]!;
      for (let age = runs.length - 1; age >= 0; age -= 1) {
        const run = runs[age]!;
        assert(run.complete, "levels have complete runs");
        assert(count < probeRunsMax, "a probe has room for all runs");
        this.runs[count] = run;
        this.fences[count] = run.fences;
        this.filters[count] = run.filters;
        this.places[count * probeRunWords] = run.blocks;
        this.places[count * probeRunWords + 1] = 0;
        this.places[count * probeRunWords + 2] = 0;
        count += 1;
      }
    }
    this.runs.length = count;
    this.fences.length = count;
    this.filters.length = count;
  }

  /** Goes round by round until blocks have to be read. True: all ids are looked up. */
  private advance(): boolean {
    if (this.runs.length === 0) return true;
    while (this.roundFirst < this.count) {
      this.beginRound();
      if (this.pendingCount > 0) {
        this.fetcher.read(this, this.onRead);
        return false;
      }
      this.roundFirst = this.roundEnd;
    }
    return true;
  }

  /** Finds the candidates of as many ids as there is room for, and searches blocks in memory. */
  private beginRound(): void {
    const { roundFirst, offsets, candidates, groups, runs } = this;
    const found = this.options.kernels.probeRuns(
      this.words,
      roundFirst === 0 ? offsets : offsets.subarray(roundFirst),
      this.count - roundFirst,
      this.fences,
      this.filters,
      this.places,
      this.options.filterSeed,
      this.scratch,
      candidates,
    );
    let used = Math.min(found, this.room);
    this.roundEnd = this.count;
    if (found > used) {
      // The last id's candidates may not all be there: it begins the next round.
      const last = candidates[(used - 1) * candidateWords]!;
      assert(last > 0, "a round has room for all candidates of an id");
      while (candidates[(used - 1) * candidateWords] === last) used -= 1;
      this.roundEnd = roundFirst + last;
    }
    groups.begin(used);
    for (let candidate = 0; candidate < used; candidate += 1) {
      const at = candidate * candidateWords;
      const run = runs[candidates[at + 1]!]!;
      groups.add(run.refs.address(candidates[at + 2]!), candidate);
    }
    this.pendingCount = 0;
    this.pendingNext = 0;
    for (let group = 0; group < groups.length; group += 1) {
      const at = groups.head[group]! * candidateWords;
      const slot = this.fetcher.find(runs[candidates[at + 1]!]!, candidates[at + 2]!);
      if (slot < 0) {
        this.pending[this.pendingCount] = group;
        this.pendingCount += 1;
        continue;
      }
      this.search(group, this.fetcher.words(slot), this.fetcher.entriesAt(slot));
    }
  }

  /** Looks for the ids of a group among its block's entries, at words[at …). */
  private search(group: number, words: Uint32Array, at: number): void {
    const { candidates, groups, references, roundFirst } = this;
    const head = groups.head[group]! * candidateWords;
    const count = this.runs[candidates[head + 1]!]!.entriesIn(candidates[head + 2]!);
    for (let member = groups.head[group]!; member >= 0; member = groups.next[member]!) {
      const id = roundFirst + candidates[member * candidateWords]!;
      const entry = findId(words, at, count, this.words, this.offsets[id]!);
      if (entry < 0) continue; // The filter was mistaken.
      const entryAt = at + entry * entryWordsLong;
      const number = words[entryAt]!;
      assert(number < referenceLimit, "a reference has 32 bits");
      assert(references[id] === 0, "an id is in one run");
      references[id] = words[entryAt + 1] === burntBit ? -1 - number : number + 1;
    }
  }

  /** Internal: the next block to read. */
  next(request: BlockRequest): boolean {
    if (this.pendingNext === this.pendingCount) return false;
    const group = this.pending[this.pendingNext]!;
    this.pendingNext += 1;
    const at = this.groups.head[group]! * candidateWords;
    requestBlock(request, this.runs[this.candidates[at + 1]!]!, this.candidates[at + 2]!);
    request.tag = group;
    return true;
  }

  /** Internal: a block was read. */
  received(request: BlockRequest, words: Uint32Array, at: number): void {
    this.search(request.tag, words, at + blockHeaderWords);
  }

  private readDone(): void {
    this.roundFirst = this.roundEnd;
    if (!this.advance()) return;
    const { onDone } = this;
    assert(onDone !== null, "a lookup that waits has an owner");
    this.onDone = null;
    this.release();
    onDone();
  }

  /** What was given belongs to the caller again. */
  private release(): void {
    this.words = noWords;
    this.offsets = noWords;
    this.references = noReferences;
  }
}
