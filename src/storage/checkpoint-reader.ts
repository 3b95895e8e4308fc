/**
 * Reads the skeleton of a checkpoint: root → manifest → free set, trailers → index blocks, metadata
 * of runs. After it, `state` holds every reference of the checkpoint. What rows, pages, entries and
 * filters there are is read by whoever needs it: the engine (pages, partial blocks, filters) or the
 * integrity check (all).
 */
import { assert } from "../core/assert.ts";
import type { BlockReader, BlockRequest, BlockSource } from "./block-reader.ts";
import type { Chain } from "./chain.ts";
import type { CheckpointState } from "./checkpoint-state.ts";
import { BlockType, blockHeaderWords, indexRefs, refWords, unitShift } from "./format.ts";
import type { FreeSet } from "./free-set.ts";
import { type ChainEntry, decodeManifest, decodeRoot, type ManifestEntries } from "./manifest.ts";
import type { DamagedBlock } from "./options.ts";
import { RefCursor, Visit } from "./ref-cursor.ts";
import type { RefList } from "./ref-list.ts";
import { RunChains } from "./runs/run-chains.ts";

const contradiction =
  "the checkpoint's references contradict each other: this is a bug, please report it.";

export class CheckpointReader implements BlockSource {
  private damagedBlocks = 0;
  private firstDamage = "";
  private entries: ManifestEntries = { chains: [], runs: [] };
  private readonly cursor: RefCursor;
  private runsSound = false;
  private onDone: (error: string | null) => void = () => {};
  /**
   * Free set, trailers and manifest came whole; of the index blocks and the metadata of runs some may
   * be damaged.
   */
  chainsRead = false;

  constructor(
    private readonly reader: BlockReader,
    private readonly state: CheckpointState,
    private readonly freeSet: FreeSet,
    private readonly onDamaged: (block: DamagedBlock) => void,
  ) {
    this.cursor = new RefCursor(state, Visit.indexes);
  }

  /** @param root - Not empty. `onDone(null)`, or a sentence that says what is wrong. */
  read(root: Uint32Array, onDone: (error: string | null) => void): void {
    this.onDone = onDone;
    const entry = decodeRoot(root);
    if (typeof entry === "string") {
      onDone(entry);
      return;
    }
    this.readChain(this.state.manifest, entry, () => this.manifestRead());
  }

  private readChain(chain: Chain, entry: ChainEntry, onRead: () => void): void {
    const fits =
      entry.blocks <= this.freeSet.blocksMax &&
      chain.prepareRead(entry.length, entry.blocks, entry.head, 0, (block) => this.note(block));
    if (!fits) {
      this.onDone(contradiction);
      return;
    }
    this.reader.run(chain, () => {
      if (this.damagedBlocks > 0) this.finish();
      else if (!chain.complete)
        this.onDone("a chain of blocks ends early: this is a bug, please report it.");
      else onRead();
    });
  }

  private manifestRead(): void {
    const entries = decodeManifest(this.state);
    if (typeof entries === "string") {
      this.onDone(entries);
      return;
    }
    this.entries = entries;
    this.readEntry(0);
  }

  /** Reads trailers, then the free set, one after the other. */
  private readEntry(index: number): void {
    const { chains } = this.entries;
    const entry = chains[index]!;
    const isFreeSet = index === chains.length - 1;
    const chain = isFreeSet ? this.state.freeSet : this.state.trailers[index]!;
    this.readChain(chain, entry, () => {
      if (isFreeSet) this.freeSetRead();
      else this.readEntry(index + 1);
    });
  }

  private freeSetRead(): void {
    const chain = this.state.freeSet;
    if (!this.freeSet.decode(chain.words, 0, chain.length / 8)) {
      this.onDone(
        "the checkpoint uses more blocks than the grid limit allows. Raise the limit to what it " +
          "was, then restart this replica.",
      );
      return;
    }
    this.chainsRead = true;
    this.reader.run(this, () => this.readRuns());
  }

  private readRuns(): void {
    const inUse = this.freeSet.acquiredCount;
    const runs = new RunChains(this.entries.runs, inUse, (block) => this.note(block));
    if (!runs.prepared) {
      this.onDone(contradiction);
      return;
    }
    this.reader.run(runs, () => {
      this.runsSound = runs.decode();
      this.finish();
    });
  }

  next(request: BlockRequest): boolean {
    return this.cursor.next(request);
  }

  received(request: BlockRequest, words: Uint32Array, at: number): void {
    const list = this.listOf(request);
    const chunk = request.first / indexRefs;
    list.extend(request.first + request.count);
    const payload = at + blockHeaderWords;
    list.chunks[chunk]!.set(words.subarray(payload, payload + request.count * refWords));
  }

  private listOf(request: BlockRequest): RefList {
    const parts = request.type === BlockType.pageIndex ? this.state.paged : this.state.append;
    const part = parts.find((candidate) => candidate.id === request.table);
    assert(part !== undefined, "requests name known tables");
    return part.refs;
  }

  damaged(_request: BlockRequest, block: DamagedBlock): void {
    this.note(block);
  }

  private note(block: DamagedBlock): void {
    this.damagedBlocks += 1;
    if (this.damagedBlocks === 1) this.firstDamage = `${block.name}: ${block.reason}`;
    this.onDamaged(block);
  }

  private finish(): void {
    if (this.damagedBlocks > 0) {
      const others = this.damagedBlocks - 1;
      this.onDone(`${this.firstDamage}${others > 0 ? ` (and ${others} more)` : ""}.`);
      return;
    }
    if (!this.runsSound) {
      this.onDone(contradiction);
      return;
    }
    this.onDone(
      this.referencesValid()
        ? null
        : "an index block refers to no block: this is a bug, please report it.",
    );
  }

  /** Every entry of the index blocks names a block, or a page in one. */
  private referencesValid(): boolean {
    for (const part of this.state.append) {
      if (part.refs.length !== part.fullBlocks) return false;
      if (!this.allAcquired(part.refs)) return false;
    }
    for (const part of this.state.paged) {
      if (part.refs.length !== part.pages) return false;
      for (let page = 0; page < part.refs.length; page += 1) {
        const unit = part.refs.address(page);
        if ((unit & ((1 << unitShift) - 1)) === 0) return false;
        if (!this.freeSet.isAcquired(unit >>> unitShift)) return false;
      }
    }
    for (const index of this.state.indexes.indexes) {
      for (const { run } of index.runs) {
        if (!this.allAcquired(run.refs) || !this.allAcquired(run.filterRefs)) return false;
      }
    }
    return true;
  }

  private allAcquired(refs: RefList): boolean {
    for (let block = 0; block < refs.length; block += 1) {
      const address = refs.address(block);
      if (address === 0 || !this.freeSet.isAcquired(address)) return false;
    }
    return true;
  }
}
