/**
 * Reads of blocks for other replicas. What is handed on has been read from the file and is the
 * block that was asked for, byte for byte; anything else is no answer.
 */
import { assert } from "../core/assert.ts";
import { blockSize } from "../core/limits.ts";
import { Completion, type IoBuffer } from "../io/io.ts";
import type { Grid } from "./grid.ts";

/** False: no block can lie at this address, untrusted input, or none does yet. */
export function mayHold(grid: Grid, address: number): boolean {
  return address >= 1 && address <= grid.freeSet.blocksMax && !grid.isUnwritten(address);
}

/** One read at a time. Made once by its owner and used again and again. */
export class BlockRead {
  busy = false;
  address = 0;
  readonly checksum: Uint32Array = new Uint32Array(4);
  private buffer: IoBuffer | null = null;
  private bufferAt = 0;
  private readonly completion: Completion;

  /**
   * @param storage - The storage engine, open.
   * @param onDone - True: the block stands in the buffer. False: this replica does not have it.
   */
  constructor(
    private readonly storage: { readonly grid: Grid },
    private readonly onDone: (found: boolean) => void,
  ) {
    this.completion = new Completion(() => this.readDone());
  }

  /**
   * Reads the block at `address` with this checksum: untrusted input. `onDone` is called later, not
   * from inside.
   * @param bufferAt - Byte offset, a multiple of the sector size.
   * @returns False when no such block can be here; nothing was started.
   */
  start(
    address: number,
    checksums: Uint32Array,
    checksumAt: number,
    buffer: IoBuffer,
    bufferAt: number,
  ): boolean {
    assert(!this.busy, "one read at a time");
    const { grid } = this.storage;
    if (grid.halted || !mayHold(grid, address)) return false;
    this.busy = true;
    this.address = address;
    for (let word = 0; word < 4; word += 1) this.checksum[word] = checksums[checksumAt + word]!;
    this.buffer = buffer;
    this.bufferAt = bufferAt;
    grid.read(this.completion, buffer, bufferAt, address);
    return true;
  }

  private readDone(): void {
    const { grid } = this.storage;
    if (!grid.endRead()) return;
    const { buffer, bufferAt, address, checksum } = this;
    assert(buffer !== null, "a read in flight has a buffer");
    this.busy = false;
    this.buffer = null;
    const found =
      this.completion.result === blockSize &&
      grid.seals.matches(buffer, bufferAt / 4, address, checksum, 0);
    this.onDone(found);
  }
}
