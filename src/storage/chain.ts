/**
 * A byte string stored in a chain of blocks: free set, trailers, manifest. Each block's payload
 * starts with the reference to the next, so the reference to the first pins them all. Hence blocks
 * are sealed from the last to the first.
 */
import { assert } from "../core/assert.ts";
import type { BlockRequest, BlockSource } from "./block-reader.ts";
import { type BlockType, blockHeaderWords, chainWords, refWords } from "./format.ts";
import type { Grid } from "./grid.ts";
import type { DamagedBlock } from "./options.ts";

export class Chain implements BlockSource {
  /** The content; at least `length` bytes. */
  words: Uint32Array = new Uint32Array(0);
  /** Bytes of content. */
  length = 0;
  blocks = 0;
  /** References of the blocks in order. */
  refs: Uint32Array = new Uint32Array(0);
  /** The next block to read, while the chain is read. */
  private reading = 0;
  private nextReady = false;
  private onDamaged: (block: DamagedBlock) => void = () => {};

  constructor(
    readonly type: BlockType,
    /** Trailer number; 0 for the others. */
    readonly table: number,
  ) {}

  static blocksFor(lengthBytes: number): number {
    return Math.ceil(lengthBytes / (chainWords * 4));
  }

  /** Makes `words` hold at least `lengthBytes` bytes; the old content is lost. */
  resize(lengthBytes: number): void {
    const words = Math.ceil(lengthBytes / 4);
    if (this.words.length < words) {
      this.words = new Uint32Array(Math.max(words, this.words.length * 2));
    }
    this.length = lengthBytes;
  }

  /** Releases the blocks of the checkpoint before. */
  release(grid: Grid): void {
    for (let block = 0; block < this.blocks; block += 1) {
      grid.freeSet.release(this.refs[block * refWords]!);
    }
    this.blocks = 0;
  }

  /** Acquires one more block. */
  addBlock(address: number): void {
    this.makeRoom(this.blocks + 1);
    this.refs.fill(0, this.blocks * refWords, (this.blocks + 1) * refWords);
    this.refs[this.blocks * refWords] = address;
    this.blocks += 1;
  }

  address(block: number): number {
    assert(block < this.blocks, "the block is of the chain");
    return this.refs[block * refWords]!;
  }

  /** Copies the reference to the first block, or zeros for an empty chain. */
  copyHead(target: Uint32Array, at: number): void {
    for (let word = 0; word < refWords; word += 1) {
      target[at + word] = this.blocks === 0 ? 0 : this.refs[word]!;
    }
  }

  /** Writes a block's payload at target[at …) and returns its length in bytes. */
  encode(block: number, target: Uint32Array, at: number): number {
    for (let word = 0; word < refWords; word += 1) {
      target[at + word] = block + 1 < this.blocks ? this.refs[(block + 1) * refWords + word]! : 0;
    }
    const first = block * chainWords;
    const bytes = Math.max(0, Math.min(this.length - first * 4, chainWords * 4));
    const used = Math.ceil(bytes / 4);
    target.set(this.words.subarray(first, first + used), at + refWords);
    const rest = bytes & 3; // Bytes beyond the content are zero, whatever the caller's were.
    if (rest !== 0) {
      const last = at + refWords + used - 1;
      target[last] = target[last]! & (2 ** (8 * rest) - 1);
    }
    target.fill(0, at + refWords + used, at + refWords + chainWords);
    return refWords * 4 + bytes;
  }

  /** The block was sealed at words[at …): keeps its checksum for its predecessor. */
  sealed(block: number, words: Uint32Array, at: number): void {
    for (let word = 0; word < 4; word += 1)
      this.refs[block * refWords + 1 + word] = words[at + word]!;
  }

  /**
   * Prepares reading. False when the length does not go with the reference: a bug of the writer.
   * @param head - The reference to the first block stands at head[at …).
   */
  prepareRead(
    lengthBytes: number,
    blocks: number,
    head: Uint32Array,
    at: number,
    onDamaged: (block: DamagedBlock) => void,
  ): boolean {
    assert(this.blocks === 0, "read once, at start");
    if (blocks < Chain.blocksFor(lengthBytes)) return false;
    if ((blocks === 0) !== (head[at] === 0)) return false;
    this.resize(blocks * chainWords * 4);
    this.length = lengthBytes;
    this.makeRoom(blocks);
    for (let word = 0; word < refWords; word += 1) {
      if (blocks > 0) this.refs[word] = head[at + word]!;
    }
    this.blocks = blocks;
    this.reading = 0;
    this.nextReady = blocks > 0;
    this.onDamaged = onDamaged;
    return true;
  }

  /** After reading: every block came. */
  get complete(): boolean {
    return this.reading === this.blocks;
  }

  next(request: BlockRequest): boolean {
    if (!this.nextReady) return false;
    this.nextReady = false;
    this.request(this.reading, request);
    return true;
  }

  request(block: number, request: BlockRequest): void {
    for (let word = 0; word < refWords; word += 1) {
      request.ref[word] = this.refs[block * refWords + word]!;
    }
    request.type = this.type;
    request.table = this.table;
    request.first = block;
    request.count = 1;
  }

  received(_request: BlockRequest, words: Uint32Array, at: number): void {
    const payload = at + blockHeaderWords;
    this.words.set(
      words.subarray(payload + refWords, payload + refWords + chainWords),
      this.reading * chainWords,
    );
    this.reading += 1;
    const last = this.reading === this.blocks;
    if (last || words[payload] === 0) return; // A chain that ends early is not `complete`.
    for (let word = 0; word < refWords; word += 1) {
      this.refs[this.reading * refWords + word] = words[payload + word]!;
    }
    this.nextReady = true;
  }

  damaged(_request: BlockRequest, block: DamagedBlock): void {
    this.onDamaged(block);
  }

  private makeRoom(blocks: number): void {
    if (this.refs.length >= blocks * refWords) return;
    const larger = new Uint32Array(Math.max(this.refs.length * 2, blocks * refWords));
    larger.set(this.refs);
    this.refs = larger;
  }
}
