/**
 * Reads and verifies everything that is reachable from a root, for `inspect integrity`. Works on a
 * data file that no replica has open, and without a replica's memory: pages and rows are verified
 * as they pass. Damage is reported by name; the check goes on as far as references reach.
 *
 * When the references are whole, it also compares them with the free set: each block in use is
 * referred to once, and each block referred to is in use.
 */
import type { IoBuffer } from "../io/io.ts";
import { BlockReader, BlockRequest, type BlockSource } from "./block-reader.ts";
import { CheckpointReader } from "./checkpoint-reader.ts";
import { CheckpointState } from "./checkpoint-state.ts";
import { BlockType } from "./format.ts";
import { Grid } from "./grid.ts";
import { rootIsEmpty } from "./manifest.ts";
import type { DamagedBlock, StorageOptions } from "./options.ts";
import { forEachLivePage, RefCursor, Visit, visitAll } from "./ref-cursor.ts";
import { RefList } from "./ref-list.ts";
import { IndexesState } from "./runs/index-state.ts";
import { runConstantsDefault } from "./runs/options.ts";

export interface IntegrityReport {
  readonly checkpointOp: number;
  /** Blocks that were read, but for those of references. */
  blocksRead: number;
  /** Blocks in use, as the free set says; 0 while that is not known. */
  readonly blocksInUse: number;
  readonly damaged: DamagedBlock[];
  /** Contradictions in the checkpoint itself, as sentences. */
  readonly problems: string[];
}

export class IntegrityCheck implements BlockSource {
  private readonly grid: Grid;
  private readonly state: CheckpointState;
  private readonly reader: BlockReader;
  private readonly cursor: RefCursor;
  private pagesFound = 0;
  private readonly report = {
    checkpointOp: 0,
    blocksRead: 0,
    blocksInUse: 0,
    damaged: [] as DamagedBlock[],
    problems: [] as string[],
  };
  private onProgress: (blocksRead: number, blocksInUse: number) => void = () => {};

  constructor(
    options: Pick<StorageOptions, "io" | "file" | "gridAt" | "gridBlocksMax" | "cluster" | "runs">,
    private readonly root: Uint32Array,
  ) {
    this.grid = new Grid({ ...options, gridBytes: 0, extend: null, onFatal: () => {} });
    const lists = new Map<number, RefList>();
    const indexes = new IndexesState({ ...runConstantsDefault, ...options.runs });
    this.state = new CheckpointState((id) => {
      const list = lists.get(id) ?? new RefList();
      lists.set(id, list);
      return list;
    }, indexes);
    const buffer: IoBuffer = this.grid.staging; // Nothing is written here.
    this.reader = new BlockReader(this.grid, buffer, null);
    this.cursor = new RefCursor(
      this.state,
      Visit.rows + Visit.tails + Visit.pages + Visit.runs + Visit.filters,
    );
  }

  /**
   * @param onProgress - After each block: blocks read, and blocks in use (an upper bound).
   * @param onDone - May be called from inside, for the empty state.
   */
  run(
    onProgress: (blocksRead: number, blocksInUse: number) => void,
    onDone: (report: IntegrityReport) => void,
  ): void {
    if (rootIsEmpty(this.root)) {
      onDone(this.report);
      return;
    }
    this.onProgress = onProgress;
    const freeSet = this.grid.freeSet;
    const skeleton = new CheckpointReader(this.reader, this.state, freeSet, (block) =>
      this.report.damaged.push(block),
    );
    skeleton.read(this.root, (error) => {
      this.report.checkpointOp = this.state.op;
      if (error !== null && this.report.damaged.length === 0) this.report.problems.push(error);
      if (!skeleton.chainsRead) {
        onDone(this.report);
        return;
      }
      this.report.blocksInUse = freeSet.acquiredCount - freeSet.releasedCount;
      if (error === null) this.compareWithFreeSet();
      this.reader.run(this, () => {
        if (this.report.damaged.length === 0) this.comparePages();
        onDone(this.report);
      });
    });
  }

  next(request: BlockRequest): boolean {
    return this.cursor.next(request);
  }

  received(request: BlockRequest, words: Uint32Array, at: number): void {
    this.count();
    if (request.type !== BlockType.pages) return;
    forEachLivePage(this.state, request, words, at, () => {
      this.pagesFound += 1;
    });
  }

  damaged(_request: BlockRequest, block: DamagedBlock): void {
    this.count();
    this.report.damaged.push(block);
  }

  private count(): void {
    this.report.blocksRead += 1;
    this.onProgress(this.report.blocksRead, this.report.blocksInUse);
  }

  private compareWithFreeSet(): void {
    const freeSet = this.grid.freeSet;
    const cursor = new RefCursor(this.state, visitAll);
    const request = new BlockRequest();
    const seen = new Set<number>();
    while (cursor.next(request)) {
      const address = request.ref[0]!;
      if (seen.has(address)) this.report.problems.push(`block ${address} is referred to twice`);
      seen.add(address);
      if (!freeSet.isAcquired(address) || freeSet.isReleased(address)) {
        this.report.problems.push(`block ${address} is in use, but free in the free set`);
      }
    }
    const lost = this.report.blocksInUse - seen.size;
    if (lost > 0)
      this.report.problems.push(`${lost} blocks are in use, but nothing refers to them`);
  }

  private comparePages(): void {
    let pages = 0;
    for (const part of this.state.paged) pages += part.pages;
    const missing = pages - this.pagesFound;
    if (missing !== 0) this.report.problems.push(`${missing} pages are not in their blocks`);
  }
}
