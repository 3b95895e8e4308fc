/**
 * Another replica, as the storage engine sees it: wants are noted, and answered from the file of a
 * world that executed the same ops. Answers come when asked for, in an order drawn from a seed.
 */
import { assert } from "../../src/core/assert.ts";
import { blockSize } from "../../src/core/limits.ts";
import { Prng } from "../../src/core/prng.ts";
import type { StorageEngine } from "../../src/storage/engine.ts";
import type { BlockRepairer, DamagedBlock } from "../../src/storage/options.ts";
import { memoryBuffer } from "../wal/memory-file-io.ts";
import type { World } from "./world.ts";

/** Where a block stands in a message: behind its header. */
const wordAt = 64;

export class Donor implements BlockRepairer {
  readonly wanted = new Map<number, DamagedBlock>();
  wantedMax = 0;
  wants = 0;
  readonly everWanted = new Set<number>();
  readonly forgotten: number[] = [];
  engine: StorageEngine | null = null;
  private readonly random: Prng;
  private readonly buffer = memoryBuffer(blockSize + wordAt * 4);

  constructor(
    private readonly world: World,
    seed: number,
  ) {
    this.random = new Prng(seed);
  }

  readonly attach = (engine: StorageEngine): void => {
    this.wanted.clear();
    this.engine = engine;
    engine.repairFrom(this);
  };

  want(block: DamagedBlock): void {
    assert(!this.wanted.has(block.address), "an address is wanted once");
    this.wanted.set(block.address, block);
    this.wants += 1;
    this.everWanted.add(block.address);
    this.wantedMax = Math.max(this.wantedMax, this.wanted.size);
  }

  forget(address: number): void {
    assert(this.wanted.delete(address), "what is forgotten was wanted");
    this.forgotten.push(address);
  }

  /** The block as the donor has it. */
  content(address: number): Uint8Array {
    const { file, engine } = this.world;
    return file.content(engine.grid.fileOffset(address), blockSize);
  }

  offer(address: number, content: Uint8Array): boolean {
    this.buffer.bytes.set(content, wordAt * 4);
    return this.engine!.offerBlock(address, this.buffer, wordAt);
  }

  /** Sends one of the blocks that are wanted; false when none is. */
  deliver(): boolean {
    if (this.wanted.size === 0) return false;
    const addresses = [...this.wanted.keys()];
    const address = addresses[this.random.below(addresses.length)]!;
    const content = this.content(address);
    this.wanted.delete(address);
    assert(this.offer(address, content), "the donor's block is the one that is wanted");
    assert(!this.offer(address, content), "a block is taken once");
    return true;
  }
}
