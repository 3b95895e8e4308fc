/**
 * Freezes the state and writes it out over the ops that follow.
 *
 *   idle ──freeze──▶ writing ──all written──▶ syncing ──▶ synced ──durable──▶ idle
 *
 * `freeze` is synchronous and decides every address, in this order: page blocks in page order,
 * page-index blocks, table-index blocks, metadata of runs, partial blocks, trailers, manifest, free
 * set. The order of
 * writing is the same but for the free set, which comes before the manifest that refers to it, and
 * chains, which are sealed from the last block to the first. Each step gathers one block into a
 * staging block, seals it, and notes its checksum where its referrer will look for it; so no step
 * waits for the write of another, and writes may complete in any order.
 *
 * What a step gathers is either frozen by its owner (pages, partial blocks), immutable (references
 * to full blocks), a copy made at the freeze (metadata of runs) or written by this class alone. The file is synced when all steps, and all blocks
 * sealed by ops up to the freeze, have been written, and no repair is being written: what the
 * checkpoint refers to is then as durable as what it wrote.
 */
import { assert } from "../core/assert.ts";
import { pageSize } from "../core/limits.ts";
import type { IoBuffer } from "../io/io.ts";
import type { AppendTable } from "./append-table.ts";
import { Chain } from "./chain.ts";
import { type CheckpointState, trailersMax } from "./checkpoint-state.ts";
import {
  BlockType,
  blockHeaderWords,
  blockWords,
  directoryAt,
  headerBytes,
  indexRefs,
  pagesPerBlock,
  pageWords,
  payloadWords,
  refWords,
  unitShift,
} from "./format.ts";
import type { Grid, GridClient } from "./grid.ts";
import { encodeManifest, manifestWords } from "./manifest.ts";
import type { Trailer } from "./options.ts";
import type { PageSpace } from "./page-space.ts";
import type { PagedTable } from "./paged-table.ts";
import type { RefList } from "./ref-list.ts";
import type { IndexGroup } from "./runs/index-group.ts";
import { indexesWordsMax } from "./runs/index-manifest.ts";
import { snapshotIndexes } from "./runs/index-snapshot.ts";
import { encodeRunMetadata, runMetadataBytes } from "./runs/run-metadata.ts";

const Phase = { idle: 0, writing: 1, syncing: 2, synced: 3 } as const;
type Phase = (typeof Phase)[keyof typeof Phase];

const Step = { pages: 0, tail: 1, pageIndex: 2, tableIndex: 3, chain: 4, runChain: 5 } as const;
/** A step: kind, position of its table or chain, block within it, address. */
const stepWords = 4;

export class CheckpointWriter implements GridClient {
  private phase: Phase = Phase.idle;
  private steps: Uint32Array = new Uint32Array(1024);
  private stepCount = 0;
  private stepNext = 0;
  private stepsWritten = 0;
  /** Steps up to here may start: the pace. */
  private stepsAllowed = 0;
  /** Table whose frozen pages are gathered next, and how many of them were. */
  private gatherTable = 0;
  private gatherCount = 0;
  /** Per append table: blocks sealed by ops up to the freeze, and a copy of the partial block. */
  private readonly sealedAtFreeze: Float64Array;
  private readonly tailCopies: IoBuffer;
  /** By number: trailers, then free set, then manifest. */
  private readonly chains: readonly Chain[];
  /** Of the runs whose metadata this checkpoint writes. */
  private readonly runChains: Chain[] = [];
  /** Blocks of runs sealed by ops up to the freeze. */
  private runBlocksAtFreeze = 0;
  private onSynced: (() => void) | null = null;

  constructor(
    private readonly grid: Grid,
    private readonly state: CheckpointState,
    private readonly append: readonly AppendTable[],
    private readonly paged: readonly PagedTable[],
    private readonly indexes: IndexGroup,
    private readonly space: PageSpace,
    private readonly interval: number,
  ) {
    this.sealedAtFreeze = new Float64Array(append.length);
    this.tailCopies = grid.io.allocate(append.length * blockWords * 4);
    this.chains = [...state.trailers, state.freeSet, state.manifest];
    for (let index = 0; index < paged.length; index += 1) {
      assert(paged[index]!.id === index, "the directory names a paged table by its position");
    }
  }

  get synced(): boolean {
    return this.phase === Phase.synced;
  }

  /** Returns false when the grid has no room for the checkpoint: that was reported as fatal. */
  freeze(op: number, trailers: readonly Trailer[]): boolean {
    assert(this.phase === Phase.idle, "the checkpoint before is durable");
    assert(trailers.length <= trailersMax, "no more trailers than the format holds");
    assert(op > this.state.op, "checkpoints rise");
    this.grid.freeSet.freezeBegin();
    this.state.op = op;
    this.stepCount = 0;
    this.stepNext = 0;
    this.stepsWritten = 0;
    this.stepsAllowed = 0;

    const pages = this.listPages();
    const needed = this.blocksNeeded(pages, trailers);
    if (this.grid.freeSet.available < needed) {
      this.grid.failFull(needed);
      return false;
    }
    this.placePages(pages);
    this.placePageIndexes();
    this.placeTableIndexes();
    this.placeRuns();
    this.placeTails();
    this.placeChains(trailers);
    this.grid.freeSet.freezeEnd();
    this.grid.freeSet.encode(this.state.freeSet.words, 0);
    this.phase = Phase.writing;
    return true;
  }

  /** Lists the pages to be written: dirty ones, and those moved out of sparse page blocks. */
  private listPages(): number {
    let pages = 0;
    for (const table of this.paged) {
      table.freezeDirty(this.space);
      pages += table.frozenCount;
    }
    if (this.space.planMoves(pages)) {
      pages = 0;
      for (const table of this.paged) {
        table.freezeMoved(this.space);
        pages += table.frozenCount;
      }
    }
    return pages;
  }

  /** At least the blocks that the freeze acquires. */
  private blocksNeeded(pages: number, trailers: readonly Trailer[]): number {
    let blocks = Math.ceil(pages / pagesPerBlock);
    let references = 0;
    for (const table of this.append) {
      const chunks = Math.ceil(table.sealedBlocks / indexRefs);
      references += chunks;
      blocks += 1 + chunks;
    }
    for (const table of this.paged) {
      const chunks = table.refs.chunks.length;
      references += chunks;
      blocks += chunks;
    }
    let runs = 0;
    for (const run of this.indexes.runs()) {
      runs += 1;
      if (run.changed) blocks += Chain.blocksFor(runMetadataBytes(run));
    }
    for (const trailer of trailers) blocks += Chain.blocksFor(trailer.length);
    const indexWords = indexesWordsMax(this.state.indexes, runs);
    blocks += Chain.blocksFor((references * refWords + 1024 + indexWords) * 4);
    const high = this.grid.freeSet.high + blocks;
    // Two bits per address, those of the free set's own blocks included.
    return blocks + Chain.blocksFor(this.grid.freeSet.words(high) * 8) + 1;
  }

  private placePages(pages: number): void {
    this.gatherTable = 0;
    this.gatherCount = 0;
    let tableIndex = 0;
    let inTable = 0;
    for (let placed = 0; placed < pages; placed += pagesPerBlock) {
      const address = this.grid.acquire();
      const count = Math.min(pagesPerBlock, pages - placed);
      this.space.place(address, count);
      this.addStep(Step.pages, 0, count, address);
      let unit = 1;
      while (unit <= count) {
        const table = this.paged[tableIndex]!;
        const some = Math.min(count + 1 - unit, table.frozenCount - inTable);
        table.place(inTable, some, ((address << unitShift) >>> 0) + unit);
        unit += some;
        inTable += some;
        if (inTable < table.frozenCount) continue;
        tableIndex += 1;
        inTable = 0;
      }
    }
  }

  private placeTails(): void {
    for (let index = 0; index < this.append.length; index += 1) {
      const table = this.append[index]!;
      const part = this.state.append[index]!;
      this.sealedAtFreeze[index] = table.sealedBlocks;
      if (table.count === part.rows) continue; // The block of the checkpoint before still serves.
      if (part.tailRef[0] !== 0) this.grid.freeSet.release(part.tailRef[0]!);
      part.tailRef.fill(0);
      part.rows = table.count;
      if (table.tailRows() === 0) continue;
      part.tailRef[0] = this.grid.acquire();
      table.copyTail(this.tailCopies.words, index * blockWords + blockHeaderWords);
      this.addStep(Step.tail, index, 0, part.tailRef[0]!);
    }
  }

  private placePageIndexes(): void {
    for (let index = 0; index < this.paged.length; index += 1) {
      const table = this.paged[index]!;
      const part = this.state.paged[index]!;
      part.rows = table.count;
      for (let chunk = 0; chunk < table.refs.chunks.length; chunk += 1) {
        if (table.indexDirty[chunk] === 0) continue;
        table.indexDirty[chunk] = 0;
        this.placeIndex(part.indexRefs, Step.pageIndex, index, chunk);
      }
    }
  }

  /** Before `placeTails`: the parts still tell how many blocks the checkpoint before had. */
  private placeTableIndexes(): void {
    for (let index = 0; index < this.append.length; index += 1) {
      const table = this.append[index]!;
      const part = this.state.append[index]!;
      if (table.sealedBlocks === part.fullBlocks) continue;
      // Chunks that were full at the checkpoint before have not changed.
      const chunks = Math.ceil(table.sealedBlocks / indexRefs);
      for (let chunk = Math.floor(part.fullBlocks / indexRefs); chunk < chunks; chunk += 1) {
        this.placeIndex(part.indexRefs, Step.tableIndex, index, chunk);
      }
    }
  }

  /** Runs that changed get new metadata; it is encoded at once, since they go on changing. */
  private placeRuns(): void {
    snapshotIndexes(this.indexes, this.state.indexes);
    this.runBlocksAtFreeze = this.indexes.writes.sealedBlocks;
    this.runChains.length = 0;
    for (const index of this.state.indexes.indexes) {
      for (const { run } of index.runs) {
        if (!run.changed) continue;
        run.changed = false;
        run.chain.release(this.grid);
        encodeRunMetadata(run);
        this.acquireChain(run.chain);
        this.addChainSteps(Step.runChain, this.runChains.length, run.chain);
        this.runChains.push(run.chain);
      }
    }
  }

  private placeIndex(list: RefList, kind: number, index: number, chunk: number): void {
    if (chunk < list.length) this.grid.freeSet.release(list.address(chunk));
    const address = this.grid.acquire();
    list.extend(chunk + 1);
    list.set(chunk, address, noChecksum, 0);
    this.addStep(kind, index, chunk, address);
  }

  private placeChains(trailers: readonly Trailer[]): void {
    const state = this.state;
    for (const chain of this.chains) chain.release(this.grid);
    state.trailerCount = trailers.length;
    for (let index = 0; index < trailers.length; index += 1) {
      const trailer = trailers[index]!;
      const chain = state.trailers[index]!;
      chain.resize(trailer.length);
      const words = Math.ceil(trailer.length / 4);
      assert(trailer.words.length >= words, "a trailer is as long as it says");
      chain.words.set(trailer.words.subarray(0, words));
      this.acquireChain(chain);
    }
    for (let index = trailers.length; index < trailersMax; index += 1)
      state.trailers[index]!.length = 0;
    state.manifest.resize(manifestWords(state) * 4);
    this.acquireChain(state.manifest);
    // Acquiring a block may lengthen the sets: until there are blocks enough for them.
    const freeSet = this.grid.freeSet;
    while (state.freeSet.blocks < Chain.blocksFor(freeSet.words(freeSet.high) * 8)) {
      state.freeSet.addBlock(this.grid.acquire());
    }
    state.freeSet.resize(freeSet.words(freeSet.high) * 8);

    for (let index = 0; index < this.chains.length; index += 1) {
      this.addChainSteps(Step.chain, index, this.chains[index]!);
    }
  }

  private addChainSteps(kind: number, index: number, chain: Chain): void {
    for (let block = chain.blocks - 1; block >= 0; block -= 1) {
      this.addStep(kind, index, block, chain.address(block));
    }
  }

  private acquireChain(chain: Chain): void {
    const blocks = Chain.blocksFor(chain.length);
    for (let block = 0; block < blocks; block += 1) chain.addBlock(this.grid.acquire());
  }

  private addStep(kind: number, index: number, block: number, address: number): void {
    const at = this.stepCount * stepWords;
    if (at === this.steps.length) {
      const larger = new Uint32Array(this.steps.length * 2);
      larger.set(this.steps);
      this.steps = larger;
    }
    this.steps[at] = kind;
    this.steps[at + 1] = index;
    this.steps[at + 2] = block;
    this.steps[at + 3] = address;
    this.stepCount += 1;
  }

  /** After op `op`: allows an even share of the steps, so that 3/4 of the interval see them all. */
  pace(op: number): void {
    if (this.phase !== Phase.writing) return;
    const ops = Math.max(1, Math.floor((this.interval * 3) / 4) - 1);
    const share = Math.min(1, (op - this.state.op) / ops);
    this.allow(Math.ceil(this.stepCount * share));
  }

  /** Allows all steps: memory for page copies runs short, or the checkpoint is waited for. */
  hurry(): void {
    if (this.phase === Phase.writing) this.allow(this.stepCount);
  }

  private allow(steps: number): void {
    if (steps > this.stepsAllowed) this.stepsAllowed = steps;
  }

  /** Starts the steps that the pace allows, for as long as the grid takes them. */
  writeAllowed(): void {
    while (this.stepNext < this.stepsAllowed) {
      const at = this.stepNext * stepWords;
      const address = this.steps[at + 3]!;
      if (!this.grid.canWrite(address)) return;
      this.stepNext += 1;
      this.writeStep(this.steps[at]!, this.steps[at + 1]!, this.steps[at + 2]!, address);
    }
  }

  private writeStep(kind: number, index: number, block: number, address: number): void {
    const staging = this.grid.staging;
    const wordAt = this.grid.nextStaging();
    switch (kind) {
      case Step.pages:
        this.gatherPages(block, address, wordAt);
        break;
      case Step.tail: {
        this.writeTail(index, address);
        return;
      }
      case Step.pageIndex: {
        const part = this.state.paged[index]!;
        this.gatherIndex(part.refs, part.pages, block, address, BlockType.pageIndex, part.id);
        part.indexRefs.set(block, address, staging.words, wordAt);
        break;
      }
      case Step.tableIndex: {
        const part = this.state.append[index]!;
        this.gatherIndex(part.refs, part.fullBlocks, block, address, BlockType.tableIndex, part.id);
        part.indexRefs.set(block, address, staging.words, wordAt);
        break;
      }
      default: {
        const chain = kind === Step.runChain ? this.runChains[index]! : this.chains[index]!;
        if (chain === this.state.manifest && block === chain.blocks - 1) encodeManifest(this.state);
        const length = chain.encode(block, staging.words, wordAt + blockHeaderWords);
        this.grid.seals.seal(
          staging,
          wordAt,
          address,
          chain.type,
          chain.table,
          this.state.op,
          block,
          1,
          length,
        );
        chain.sealed(block, staging.words, wordAt);
      }
    }
    this.grid.writeStaged(address, this, 0);
  }

  private gatherPages(count: number, address: number, wordAt: number): void {
    const words = this.grid.staging.words;
    words.fill(0, wordAt + blockHeaderWords, wordAt + pageWords);
    const firstTable = this.skipGathered();
    const firstPage = this.paged[firstTable]!.frozenPage(this.gatherCount);
    for (let unit = 1; unit <= count; unit += 1) {
      const table = this.paged[this.skipGathered()]!;
      const page = table.gather(words, wordAt + unit * pageWords);
      this.gatherCount += 1;
      words[wordAt + directoryAt(unit)] = table.id;
      words[wordAt + directoryAt(unit) + 1] = page;
    }
    words.fill(0, wordAt + (count + 1) * pageWords, wordAt + blockWords);
    this.grid.seals.seal(
      this.grid.staging,
      wordAt,
      address,
      BlockType.pages,
      this.paged[firstTable]!.id,
      this.state.op,
      firstPage,
      count,
      (count + 1) * pageSize - headerBytes,
    );
    for (let unit = 1; unit <= count; unit += 1) {
      const table = this.paged[words[wordAt + directoryAt(unit)]!]!;
      const page = words[wordAt + directoryAt(unit) + 1]!;
      table.refs.set(page, ((address << unitShift) >>> 0) + unit, words, wordAt);
    }
  }

  /** The table whose frozen page is gathered next. */
  private skipGathered(): number {
    while (this.gatherCount === this.paged[this.gatherTable]!.frozenCount) {
      this.gatherTable += 1;
      this.gatherCount = 0;
    }
    return this.gatherTable;
  }

  /** The copy made at the freeze is page-aligned memory: it is written from where it stands. */
  private writeTail(index: number, address: number): void {
    const part = this.state.append[index]!;
    const wordAt = index * blockWords;
    this.grid.seals.seal(
      this.tailCopies,
      wordAt,
      address,
      BlockType.tail,
      part.id,
      this.state.op,
      part.fullBlocks * part.rowsPerBlock,
      part.tailRows,
      part.tailRows * part.rowSize,
    );
    for (let word = 0; word < 4; word += 1) {
      part.tailRef[1 + word] = this.tailCopies.words[wordAt + word]!;
    }
    this.grid.write(this.tailCopies, wordAt, address, this, 0);
  }

  /** @param length - Entries of the list as of the checkpoint: it may have grown since. */
  private gatherIndex(
    list: RefList,
    length: number,
    chunk: number,
    address: number,
    type: BlockType,
    tableId: number,
  ): void {
    const staging = this.grid.staging;
    const wordAt = this.grid.nextStaging();
    const target = wordAt + blockHeaderWords;
    const first = chunk * indexRefs;
    const entries = Math.min(indexRefs, length - first);
    assert(entries > 0, "an index block has entries");
    const used = entries * refWords;
    staging.words.set(list.chunks[chunk]!.subarray(0, used), target);
    staging.words.fill(0, target + used, target + payloadWords);
    this.grid.seals.seal(
      staging,
      wordAt,
      address,
      type,
      tableId,
      this.state.op,
      first,
      entries,
      used * 4,
    );
  }

  blockWritten(_tag: number): void {
    this.stepsWritten += 1;
    assert(this.stepsWritten <= this.stepNext, "steps are started before they are written");
  }

  /** Starts the sync when nothing is left to be written. The engine asks after each write. */
  syncWhenWritten(): void {
    if (this.phase !== Phase.writing || this.stepsWritten < this.stepCount) return;
    for (let index = 0; index < this.append.length; index += 1) {
      if (this.append[index]!.writtenBelow < this.sealedAtFreeze[index]!) return;
    }
    if (this.indexes.writes.writtenBelow < this.runBlocksAtFreeze) return;
    if (this.grid.repairs?.writing === true) return;
    this.phase = Phase.syncing;
    this.grid.sync(this.syncDone);
  }

  private readonly syncDone = (): void => {
    assert(this.phase === Phase.syncing, "a sync was started");
    this.phase = Phase.synced;
    const onSynced = this.onSynced;
    this.onSynced = null;
    if (onSynced !== null) onSynced();
  };

  /** `onSynced` is called when the frozen state is on stable storage; perhaps from inside. */
  finish(onSynced: () => void): void {
    assert(this.phase !== Phase.idle, "a checkpoint was frozen");
    assert(this.onSynced === null, "one waits");
    if (this.phase === Phase.synced) {
      onSynced();
      return;
    }
    this.onSynced = onSynced;
    this.hurry();
  }

  durable(): void {
    assert(this.phase === Phase.synced, "the superblock moves after the sync");
    this.phase = Phase.idle;
  }
}

const noChecksum = new Uint32Array(4);
