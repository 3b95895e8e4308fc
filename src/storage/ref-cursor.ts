/**
 * Walks the references of a checkpoint state one by one. A page block has up to 15 referrers and is
 * visited once: a bit per address remembers it. References that a damaged index block has taken
 * along are zero, and skipped.
 */
import type { BlockRequest } from "./block-reader.ts";
import type { CheckpointState } from "./checkpoint-state.ts";
import {
  BlockType,
  blockLayout,
  directoryAt,
  indexRefs,
  pagesPerBlock,
  refWords,
  unitShift,
} from "./format.ts";
import type { RunPart } from "./runs/index-state.ts";

/** Which blocks to visit. Values add up. The blocks of runs' metadata are among the chains. */
export const Visit = {
  rows: 1,
  tails: 2,
  pages: 4,
  indexes: 8,
  chains: 16,
  runs: 32,
  filters: 64,
} as const;

export const visitAll = 127;

export class RefCursor {
  private stage = 0;
  private table = 0;
  private index = 0;
  /** While runs are visited: position of one in its index, whose id is `table`. */
  private run = 0;
  private visited: Uint32Array = new Uint32Array(0);

  constructor(
    private readonly state: CheckpointState,
    private readonly visit: number,
  ) {}

  restart(): void {
    this.stage = 0;
    this.table = 0;
    this.index = 0;
    this.run = 0;
    this.visited.fill(0);
  }

  /** Fills in the next reference; false at the end. */
  next(request: BlockRequest): boolean {
    for (;;) {
      switch (this.stage) {
        case 0:
          if ((this.visit & Visit.rows) !== 0 && this.nextRows(request)) return true;
          break;
        case 1:
          if ((this.visit & Visit.tails) !== 0 && this.nextTail(request)) return true;
          break;
        case 2:
          if ((this.visit & Visit.pages) !== 0 && this.nextPages(request)) return true;
          break;
        case 3:
          if ((this.visit & Visit.indexes) !== 0 && this.nextTableIndex(request)) return true;
          break;
        case 4:
          if ((this.visit & Visit.indexes) !== 0 && this.nextPageIndex(request)) return true;
          break;
        case 5:
          if ((this.visit & Visit.chains) !== 0 && this.nextChain(request)) return true;
          break;
        case 6:
          if ((this.visit & Visit.runs) !== 0 && this.nextRunBlock(request)) return true;
          break;
        case 7:
          if ((this.visit & Visit.filters) !== 0 && this.nextFilters(request)) return true;
          break;
        case 8:
          if ((this.visit & Visit.chains) !== 0 && this.nextRunChain(request)) return true;
          break;
        default:
          return false;
      }
      this.stage += 1;
      this.table = 0;
      this.index = 0;
      this.run = 0;
    }
  }

  private nextRows(request: BlockRequest): boolean {
    for (; this.table < this.state.append.length; this.table += 1, this.index = 0) {
      const part = this.state.append[this.table]!;
      while (this.index < part.refs.length) {
        part.refs.copy(this.index, request.ref, 0);
        request.type = BlockType.rows;
        request.table = part.id;
        request.first = this.index * part.rowsPerBlock;
        request.count = part.rowsPerBlock;
        this.index += 1;
        if (request.ref[0] !== 0) return true;
      }
    }
    return false;
  }

  private nextTail(request: BlockRequest): boolean {
    for (; this.table < this.state.append.length; this.table += 1) {
      const part = this.state.append[this.table]!;
      if (part.tailRef[0] === 0) continue;
      request.ref.set(part.tailRef);
      request.type = BlockType.tail;
      request.table = part.id;
      request.first = part.fullBlocks * part.rowsPerBlock;
      request.count = part.tailRows;
      this.table += 1;
      return true;
    }
    return false;
  }

  private nextPages(request: BlockRequest): boolean {
    for (; this.table < this.state.paged.length; this.table += 1, this.index = 0) {
      const part = this.state.paged[this.table]!;
      while (this.index < part.refs.length) {
        const page = this.index;
        this.index += 1;
        part.refs.copy(page, request.ref, 0);
        const address = request.ref[0]! >>> unitShift;
        if (address === 0 || this.visitedBefore(address)) continue;
        request.ref[0] = address;
        request.type = BlockType.pages;
        request.table = part.id;
        request.first = page * part.rowsPerPage;
        request.count = part.rowsPerPage;
        return true;
      }
    }
    return false;
  }

  private nextTableIndex(request: BlockRequest): boolean {
    for (; this.table < this.state.append.length; this.table += 1, this.index = 0) {
      const part = this.state.append[this.table]!;
      if (this.index === part.indexRefs.length) continue;
      part.indexRefs.copy(this.index, request.ref, 0);
      request.type = BlockType.tableIndex;
      request.table = part.id;
      request.first = this.index * indexRefs;
      request.count = Math.min(indexRefs, part.fullBlocks - request.first);
      this.index += 1;
      return true;
    }
    return false;
  }

  private nextPageIndex(request: BlockRequest): boolean {
    for (; this.table < this.state.paged.length; this.table += 1, this.index = 0) {
      const part = this.state.paged[this.table]!;
      if (this.index === part.indexRefs.length) continue;
      part.indexRefs.copy(this.index, request.ref, 0);
      request.type = BlockType.pageIndex;
      request.table = part.id;
      request.first = this.index * indexRefs;
      request.count = Math.min(indexRefs, part.pages - request.first);
      this.index += 1;
      return true;
    }
    return false;
  }

  private nextChain(request: BlockRequest): boolean {
    const state = this.state;
    // Trailers, then free set, then manifest.
    for (; this.table < state.trailers.length + 2; this.table += 1, this.index = 0) {
      const rest = this.table - state.trailers.length;
      const chain =
        rest < 0 ? state.trailers[this.table]! : rest === 0 ? state.freeSet : state.manifest;
      if (this.index === chain.blocks) continue;
      chain.request(this.index, request);
      this.index += 1;
      return true;
    }
    return false;
  }

  /**
   * The run whose blocks are being visited: as of the checkpoint. What it has more since, or what
   * became of it, does not matter; what could not be read of it is not there.
   */
  private currentRun(): RunPart | null {
    for (; this.table < this.state.indexes.indexes.length; this.table += 1, this.run = 0) {
      const { runs } = this.state.indexes.indexes[this.table]!;
      if (this.run < runs.length) return runs[this.run]!;
    }
    return null;
  }

  private nextRun(): void {
    this.run += 1;
    this.index = 0;
  }

  private nextRunBlock(request: BlockRequest): boolean {
    for (let part = this.currentRun(); part !== null; part = this.currentRun()) {
      if (this.index < Math.min(part.blocks, part.run.refs.length)) {
        part.requestBlock(this.index, request);
        this.index += 1;
        return true;
      }
      this.nextRun();
    }
    return false;
  }

  private nextFilters(request: BlockRequest): boolean {
    for (let part = this.currentRun(); part !== null; part = this.currentRun()) {
      if (this.index < Math.min(part.filterBlocks, part.run.filterRefs.length)) {
        part.requestFilters(this.index, request);
        this.index += 1;
        return true;
      }
      this.nextRun();
    }
    return false;
  }

  private nextRunChain(request: BlockRequest): boolean {
    for (let part = this.currentRun(); part !== null; part = this.currentRun()) {
      const { chain } = part.run;
      if (this.index < chain.blocks) {
        chain.request(this.index, request);
        this.index += 1;
        if (request.ref[0] !== 0) return true;
        continue;
      }
      this.nextRun();
    }
    return false;
  }

  private visitedBefore(address: number): boolean {
    const word = (address - 1) >>> 5;
    const bit = 1 << ((address - 1) & 31);
    if (word >= this.visited.length) {
      const larger = new Uint32Array(Math.max(this.visited.length * 2, word + 1, 64));
      larger.set(this.visited);
      this.visited = larger;
    }
    if ((this.visited[word]! & bit) !== 0) return true;
    this.visited[word] = this.visited[word]! | bit;
    return false;
  }
}

/** Calls back for each page of the page block at words[at …) that its own reference finds there. */
export function forEachLivePage(
  state: CheckpointState,
  request: BlockRequest,
  words: Uint32Array,
  at: number,
  onPage: (table: number, page: number, unit: number) => void,
): void {
  const count = Math.min(words[at + blockLayout.word.count]!, pagesPerBlock);
  const firstUnit = (request.ref[0]! << unitShift) >>> 0;
  const pageRef = new Uint32Array(refWords);
  for (let unit = 1; unit <= count; unit += 1) {
    const table = words[at + directoryAt(unit)]!;
    const page = words[at + directoryAt(unit) + 1]!;
    const refs = state.paged[table]?.refs;
    if (refs === undefined || page >= refs.length) continue;
    refs.copy(page, pageRef, 0);
    if (pageRef[0] !== firstUnit + unit) continue; // Written elsewhere since.
    let same = true;
    for (let word = 1; word < refWords; word += 1) {
      if (request.ref[word] !== pageRef[word]) same = false;
    }
    if (same) onPage(table, page, unit);
  }
}
