/**
 * Blocks at addresses in the data file: writing and reading them. A fixed number of transfers may be
 * in flight; each has a staging block of page-aligned memory. What makes a block sound is in
 * block-seals.ts.
 *
 * Invariants:
 * - A block is written once per acquisition: `acquire` marks it unwritten, its write takes the
 *   mark off when it completes. What is marked must not be read from the file. A repair
 *   (block-repairs.ts) writes the same content once more.
 * - A failed write is fatal; it is never tried again.
 * - Writes are not durable by themselves: `sync` covers those that completed before it.
 * - After `quiesce` or a fatal error nothing is started and nobody is called back.
 */
import { assert } from "../core/assert.ts";
import { blockSize, pageSize } from "../core/limits.ts";
import { Completion, Errno, type FileHandle, type FileIo, type IoBuffer } from "../io/io.ts";
import type { BlockRepairs } from "./block-repairs.ts";
import { BlockSeals } from "./block-seals.ts";
import { blockLayout, blockWords, gridBlocksLimit } from "./format.ts";
import { FreeSet } from "./free-set.ts";
import { FatalCode } from "./options.ts";

/** Block reads and writes in flight. */
const gridTransfersMax = 32;

/** The file grows by multiples of it. Bytes. */
const gridGrowthBytes = 16 * 1024 * 1024;

const at = blockLayout.word;

export interface GridOptions {
  readonly io: FileIo;
  readonly file: FileHandle;
  readonly gridAt: number;
  readonly gridBytes: number;
  readonly gridBlocksMax: number;
  readonly cluster: Uint32Array;
  readonly extend: ((gridBytes: number, onDone: (result: number) => void) => void) | null;
  onFatal(text: string, code: FatalCode): void;
}

/** Owner of a transfer: told when it has ended. */
export interface GridClient {
  /** @param tag - What the client passed to `write`. */
  blockWritten(tag: number): void;
}

/** One block transfer in flight, and its staging block. */
class Transfer {
  readonly completion: Completion;
  client: GridClient | null = null;
  tag = 0;
  address = 0;
  /** The first write since the block was acquired, not a repair's. */
  first = true;
  /** Where the staging block starts: index into `Grid.staging`, in words. */
  readonly stagingAt: number;

  constructor(
    readonly index: number,
    grid: { transferDone(transfer: Transfer): void },
  ) {
    this.stagingAt = index * blockWords;
    this.completion = new Completion(() => grid.transferDone(this), index);
  }
}

export class Grid {
  readonly freeSet: FreeSet;
  readonly seals: BlockSeals;
  readonly staging: IoBuffer;
  readonly io: FileIo;
  readonly file: FileHandle;
  private readonly gridAt: number;
  private readonly transfers: Transfer[] = [];
  private readonly idle: Int32Array = new Int32Array(gridTransfersMax);
  private idleCount = 0;
  /** Bit address − 1: acquired by this process and not on disk yet. */
  private unwritten: Uint32Array = new Uint32Array(512);
  private fileBytes: number;
  /** Highest address of a repair that found the file too short. */
  private repairHigh = 0;
  private extending = false;
  private readonly syncCompletion: Completion;
  private onSynced: (() => void) | null = null;
  private readsInFlight = 0;
  private failed = false;
  private quiescing = false;
  private onQuiet: (() => void) | null = null;
  /** Gets blocks from other replicas; null where there are none. Set once by the engine. */
  repairs: BlockRepairs | null = null;
  blocksWritten = 0;
  /** Called when an address is handed out: what lay there before is in use no more. */
  onAcquired: (address: number) => void = () => {};
  /** Called after each completion that may let more writes start. Set once by the engine. */
  onProgress: () => void = () => {};

  constructor(private readonly options: GridOptions) {
    assert(options.gridBlocksMax < gridBlocksLimit, "page units fit 32 bits");
    assert(options.gridAt % pageSize === 0, "the grid starts on a sector");
    this.io = options.io;
    this.file = options.file;
    this.gridAt = options.gridAt;
    this.seals = new BlockSeals(options.cluster);
    this.fileBytes = options.gridBytes;
    this.freeSet = new FreeSet(options.gridBlocksMax);
    this.staging = options.io.allocate(gridTransfersMax * blockSize);
    for (let index = 0; index < gridTransfersMax; index += 1) {
      this.transfers.push(new Transfer(index, this));
      this.idle[index] = gridTransfersMax - 1 - index;
    }
    this.idleCount = gridTransfersMax;
    this.syncCompletion = new Completion(() => this.syncDone());
  }

  /** From then on nothing is started and nothing is called back. */
  get halted(): boolean {
    return this.failed || this.quiescing;
  }

  /** Bytes of the file that the grid may write to, from its start. */
  get sizeBytes(): number {
    return this.fileBytes;
  }

  /** Byte offset of a block in the file. */
  fileOffset(address: number): number {
    return this.gridAt + (address - 1) * blockSize;
  }

  /** Hands out the lowest free address. The caller has checked `freeSet.available`. */
  acquire(): number {
    const address = this.freeSet.acquire();
    if (this.repairs !== null) this.repairs.abandon(address);
    this.onAcquired(address);
    const word = (address - 1) >>> 5;
    if (word >= this.unwritten.length) {
      const larger = new Uint32Array(Math.max(this.unwritten.length * 2, word + 1));
      larger.set(this.unwritten);
      this.unwritten = larger;
    }
    this.unwritten[word] = this.unwritten[word]! | (1 << ((address - 1) & 31));
    return address;
  }

  isUnwritten(address: number): boolean {
    const word = (address - 1) >>> 5;
    return (
      word < this.unwritten.length && (this.unwritten[word]! & (1 << ((address - 1) & 31))) !== 0
    );
  }

  /**
   * True when a write to this address can start now: a transfer is idle, the file is long enough,
   * and no repair of the block that was there before is still on its way.
   */
  canWrite(address: number): boolean {
    if (this.halted || this.idleCount === 0) return false;
    if (this.repairs?.isWriting(address) === true) return false;
    return this.fileHolds(address);
  }

  /** As `canWrite`, for a repair. */
  canRepair(address: number): boolean {
    if (this.halted || this.idleCount === 0) return false;
    if (address > this.repairHigh) this.repairHigh = address;
    return this.fileHolds(address);
  }

  private fileHolds(address: number): boolean {
    if (this.options.extend === null || address * blockSize <= this.fileBytes) return true;
    this.reserveFile();
    return false;
  }

  /** Word index of the staging block that the next `writeStaged` will write. */
  nextStaging(): number {
    return this.transfers[this.idle[this.idleCount - 1]!]!.stagingAt;
  }

  writeStaged(address: number, client: GridClient, tag: number): void {
    this.write(this.staging, this.nextStaging(), address, client, tag);
  }

  /** Starts the write of a sealed block. The grid owns that memory until `blockWritten(tag)`. */
  write(buffer: IoBuffer, wordAt: number, address: number, client: GridClient, tag: number): void {
    assert(this.isUnwritten(address), "a block is written once");
    this.startWrite(buffer, wordAt, address, true, client, tag);
  }

  /** As `write`, for a block that was written before and has been lost since. */
  rewrite(
    buffer: IoBuffer,
    wordAt: number,
    address: number,
    client: GridClient,
    tag: number,
  ): void {
    assert(!this.isUnwritten(address), "what was never written needs no repair");
    this.startWrite(buffer, wordAt, address, false, client, tag);
  }

  private startWrite(
    buffer: IoBuffer,
    wordAt: number,
    address: number,
    first: boolean,
    client: GridClient,
    tag: number,
  ): void {
    assert(this.idleCount > 0, "the caller asked canWrite");
    assert(!this.halted, "the caller asked canWrite");
    assert(buffer.words[wordAt + at.address] === address, "sealed for this address");
    this.idleCount -= 1;
    const transfer = this.transfers[this.idle[this.idleCount]!]!;
    transfer.client = client;
    transfer.tag = tag;
    transfer.address = address;
    transfer.first = first;
    this.io.write(
      transfer.completion,
      this.file,
      buffer,
      wordAt * 4,
      blockSize,
      this.fileOffset(address),
      false,
    );
  }

  /** Internal: a transfer's completion. */
  transferDone(transfer: Transfer): void {
    if (this.failed) return;
    const result = transfer.completion.result;
    if (result !== blockSize) {
      this.failWrite(`writing grid block ${transfer.address}`, result);
      return;
    }
    if (transfer.first) {
      // Not after a repair: the address may have been acquired for another block meanwhile.
      const bit = transfer.address - 1;
      this.unwritten[bit >>> 5] = this.unwritten[bit >>> 5]! & ~(1 << (bit & 31));
      this.blocksWritten += 1;
    }
    const client = transfer.client;
    assert(client !== null, "a transfer in flight has a client");
    transfer.client = null;
    this.idle[this.idleCount] = transfer.index;
    this.idleCount += 1;
    if (this.quiescing) {
      this.checkQuiet();
      return;
    }
    client.blockWritten(transfer.tag);
    this.onProgress();
  }

  /** Starts a read of a block. Its completion asks `endRead` first. */
  read(completion: Completion, buffer: IoBuffer, bufferAt: number, address: number): void {
    assert(!this.halted, "nothing is read after the end");
    this.readsInFlight += 1;
    this.io.read(completion, this.file, buffer, bufferAt, blockSize, this.fileOffset(address));
  }

  /** A read has ended. False: so has the grid, and the reader does nothing more. */
  endRead(): boolean {
    this.readsInFlight -= 1;
    assert(this.readsInFlight >= 0, "every read ends once");
    if (this.failed) return false;
    if (!this.quiescing) return true;
    this.checkQuiet();
    return false;
  }

  /**
   * Asks for a longer file when less than half a step is left beyond the highest address. Called
   * after addresses were handed out, so that the file grows before a write has to wait for it.
   */
  reserveFile(): void {
    const extend = this.options.extend;
    if (extend === null || this.extending || this.halted) return;
    const high = Math.max(this.freeSet.high, this.repairHigh);
    const wanted = high * blockSize + gridGrowthBytes / 2;
    const limit = this.options.gridBlocksMax * blockSize;
    if (Math.min(wanted, limit) <= this.fileBytes) return;
    const steps = Math.ceil(wanted / gridGrowthBytes);
    const bytes = Math.min(steps * gridGrowthBytes, limit);
    this.extending = true;
    extend(bytes, (result) => {
      if (this.failed) return;
      this.extending = false;
      if (result >= 0) this.fileBytes = bytes;
      if (this.quiescing) {
        this.checkQuiet();
        return;
      }
      if (result < 0) {
        this.failWrite(`growing the grid to ${bytes} bytes`, result);
        return;
      }
      this.reserveFile();
      this.onProgress();
    });
  }

  /** Makes all writes that completed before it durable. */
  sync(onSynced: () => void): void {
    assert(this.onSynced === null, "one sync at a time");
    assert(!this.halted, "nothing is synced after the end");
    this.onSynced = onSynced;
    this.io.sync(this.syncCompletion, this.file);
  }

  private syncDone(): void {
    if (this.failed) return;
    const result = this.syncCompletion.result;
    if (result < 0) {
      this.fatal(
        `fdatasync of the data file failed (errno ${-result}): writes that seemed to succeed may ` +
          "be lost. Check the disk, then restart this replica; it recovers from its log.",
        FatalCode.syncFailed,
      );
      return;
    }
    const onSynced = this.onSynced;
    assert(onSynced !== null, "a sync in flight has an owner");
    this.onSynced = null;
    if (this.quiescing) this.checkQuiet();
    else onSynced();
  }

  /**
   * The end: starts nothing more, calls nobody back any more but `onQuiet`, when nothing is in
   * flight; perhaps from inside. Then the file and the memory may be another grid's.
   */
  quiesce(onQuiet: () => void): void {
    assert(!this.quiescing, "a grid ends once");
    this.quiescing = true;
    this.onQuiet = onQuiet;
    this.checkQuiet();
  }

  private checkQuiet(): void {
    if (this.failed || this.readsInFlight > 0 || this.idleCount < gridTransfersMax) return;
    if (this.onSynced !== null || this.extending) return;
    const onQuiet = this.onQuiet;
    assert(onQuiet !== null, "a grid that ends has an owner");
    this.onQuiet = null;
    onQuiet();
  }

  private failWrite(what: string, result: number): void {
    if (result === Errno.noSpace) {
      this.fatal(
        `no space left on the file system while ${what}. Free some space there, or move the data ` +
          "file to a larger one, then restart this replica; it recovers from its log.",
        FatalCode.diskFull,
      );
      return;
    }
    this.fatal(
      `${what} failed (errno ${-result}). Check the disk, then restart this replica; it recovers ` +
        "from its log.",
      FatalCode.writeFailed,
    );
  }

  /** Reports that the grid has no room for `blocks` more. */
  failFull(blocks: number): void {
    this.fatal(
      `the grid is full: ${blocks} more blocks are needed and ${this.freeSet.available} of ` +
        `${this.options.gridBlocksMax} are left. Restart this replica with a larger grid limit.`,
      FatalCode.gridFull,
    );
  }

  private fatal(text: string, code: FatalCode): void {
    assert(!this.failed, "fatal once");
    this.failed = true;
    this.options.onFatal(text, code);
  }
}
