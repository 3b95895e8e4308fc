/**
 * Blocks that could not be read, on their way from another replica. Whoever read one waits here;
 * the repairer (consensus/block-repair.ts) is asked for the block; what it offers is taken only if
 * it is the very block that the reference names, byte for byte.
 *
 *            request                  offer, verified            written
 *   (none) ──────────▶ wanted ──────────────────────▶ writing ───────────▶ (none)
 *                        │ abandon: the address is in use anew    │
 *                        └──────────────▶ (none) ◀────────────────┘ before its write began
 *
 * Who waits goes on from memory as soon as the block is here; the copy on disk follows, and is
 * durable with the next sync of the grid. Until then a crash only brings the damage back. The
 * sync of a checkpoint therefore waits for the writes in flight (checkpoint-writer.ts).
 *
 * Invariants:
 * - At most `repairsMax` blocks are wanted or being written; further requests stand in line.
 * - An address has one repair at a time, and none while another block is written there: blocks
 *   are reused only after a freeze, and then the repair of what lay there is abandoned.
 */
import { assert } from "../core/assert.ts";
import { blockSize } from "../core/limits.ts";
import type { IoBuffer } from "../io/io.ts";
import type { BlockRequest } from "./block-reader.ts";
import { type BlockType, blockWords, refWords } from "./format.ts";
import type { Grid, GridClient } from "./grid.ts";
import type { BlockRepairer, DamagedBlock } from "./options.ts";

/** Blocks wanted or being written at the same time. */
export const repairsMax = 32;

/** A reader that waits for a block. Made once by its owner and used again and again. */
export class RepairWaiter {
  next: RepairWaiter | null = null;
  waiting = false;
  request: BlockRequest | null = null;
  damage: DamagedBlock | null = null;
  buffer: IoBuffer | null = null;
  wordAt = 0;

  /** @param onRepaired - The block stands in the buffer that was given, verified. */
  constructor(readonly onRepaired: () => void) {}
}

const State = { free: 0, wanted: 1, waitingToWrite: 2, writing: 3 } as const;

class Repair {
  state: number = State.free;
  readonly ref = new Uint32Array(refWords);
  type: BlockType = 1;
  first: RepairWaiter | null = null;
  /** Its staging block, in words. */
  readonly stagingAt: number;

  constructor(readonly index: number) {
    this.stagingAt = index * blockWords;
  }
}

export class BlockRepairs implements GridClient {
  /** Blocks written anew since start. */
  blocksRepaired = 0;
  private readonly staging: IoBuffer;
  private readonly repairs: Repair[] = [];
  /** Not free. */
  private used = 0;
  private lineFirst: RepairWaiter | null = null;
  private lineLast: RepairWaiter | null = null;
  private onIdle: (() => void) | null = null;

  constructor(
    private readonly grid: Grid,
    private readonly repairer: BlockRepairer,
  ) {
    this.staging = grid.io.allocate(repairsMax * blockSize);
    for (let index = 0; index < repairsMax; index += 1) this.repairs.push(new Repair(index));
  }

  /** True when nothing is wanted or being written. */
  get idle(): boolean {
    return this.used === 0;
  }

  /** True while repaired blocks are not on disk yet. */
  get writing(): boolean {
    if (this.used === 0) return false;
    return this.repairs.some((repair) => repair.state > State.wanted);
  }

  /** True while a repair's write to this address is in flight. */
  isWriting(address: number): boolean {
    if (this.used === 0) return false;
    const repair = this.find(address);
    return repair !== null && repair.state === State.writing;
  }

  /** `onIdle` is called when nothing is wanted or being written; perhaps from inside. */
  whenIdle(onIdle: () => void): void {
    assert(this.onIdle === null, "one waits for the end");
    this.onIdle = onIdle;
    this.checkIdle();
  }

  private checkIdle(): void {
    if (this.used > 0 || this.onIdle === null) return;
    const onIdle = this.onIdle;
    this.onIdle = null;
    onIdle();
  }

  private find(address: number): Repair | null {
    for (let index = 0; index < repairsMax; index += 1) {
      const repair = this.repairs[index]!;
      if (repair.state !== State.free && repair.ref[0] === address) return repair;
    }
    return null;
  }

  /**
   * The block of `request` could not be read. It is put into the buffer, and `waiter.onRepaired` is
   * called: perhaps from inside, perhaps never.
   */
  request(
    waiter: RepairWaiter,
    request: BlockRequest,
    damage: DamagedBlock,
    buffer: IoBuffer,
    wordAt: number,
  ): void {
    assert(!waiter.waiting, "a reader waits for one block");
    waiter.waiting = true;
    waiter.request = request;
    waiter.damage = damage;
    waiter.buffer = buffer;
    waiter.wordAt = wordAt;
    waiter.next = null;
    if (this.join(waiter)) return;
    if (this.lineLast === null) this.lineFirst = waiter;
    else this.lineLast.next = waiter;
    this.lineLast = waiter;
  }

  /** For a reader that does not wait: true when the block is wanted now. */
  schedule(request: BlockRequest, damage: DamagedBlock): boolean {
    return this.find(request.ref[0]!) !== null || this.start(request, damage) !== null;
  }

  /** Finds or starts the waiter's repair; false when all repairs are in use. */
  private join(waiter: RepairWaiter): boolean {
    const { request, damage } = waiter;
    assert(request !== null && damage !== null, "a waiter says what it waits for");
    let repair = this.find(request.ref[0]!);
    if (repair === null) repair = this.start(request, damage);
    if (repair === null) return false;
    for (let word = 0; word < refWords; word += 1) {
      assert(repair.ref[word] === request.ref[word], "an address holds one live block");
    }
    if (repair.state > State.wanted) {
      this.deliver(repair, waiter);
      return true;
    }
    waiter.next = repair.first;
    repair.first = waiter;
    return true;
  }

  private start(request: BlockRequest, damage: DamagedBlock): Repair | null {
    if (this.used === repairsMax) return null;
    const repair = this.repairs.find((candidate) => candidate.state === State.free);
    assert(repair !== undefined, "fewer are used than exist");
    this.used += 1;
    repair.state = State.wanted;
    repair.ref.set(request.ref);
    repair.type = request.type;
    repair.first = null;
    this.repairer.want(damage);
    return repair;
  }

  /**
   * A block from another replica. False: nobody wants it, or it is not the one that is wanted.
   * @param wordAt - Where it stands in `buffer`. Copied.
   */
  offer(address: number, buffer: IoBuffer, wordAt: number): boolean {
    if (this.grid.halted) return false;
    const repair = this.find(address);
    if (repair === null || repair.state !== State.wanted) return false;
    const fault = this.grid.seals.verify(buffer, wordAt, address, repair.ref, 1, repair.type);
    if (fault !== null) return false;
    this.staging.words.set(buffer.words.subarray(wordAt, wordAt + blockWords), repair.stagingAt);
    repair.state = State.waitingToWrite;
    this.startWrite(repair);
    let waiter = repair.first;
    repair.first = null;
    while (waiter !== null) {
      const next: RepairWaiter | null = waiter.next;
      this.deliver(repair, waiter);
      waiter = next;
    }
    return true;
  }

  private deliver(repair: Repair, waiter: RepairWaiter): void {
    const { buffer, wordAt } = waiter;
    assert(buffer !== null, "a waiter has a buffer");
    const from = repair.stagingAt;
    buffer.words.set(this.staging.words.subarray(from, from + blockWords), wordAt);
    waiter.waiting = false;
    waiter.next = null;
    waiter.buffer = null;
    waiter.onRepaired();
  }

  private startWrite(repair: Repair): void {
    const address = repair.ref[0]!;
    if (!this.grid.canRepair(address)) return;
    repair.state = State.writing;
    this.grid.rewrite(this.staging, repair.stagingAt, address, this, repair.index);
  }

  /** Writes may start again, and who stands in line may be served. */
  writeAllowed(): void {
    if (this.lineFirst !== null) this.serveLine();
    if (this.used === 0) return;
    for (let index = 0; index < repairsMax; index += 1) {
      const repair = this.repairs[index]!;
      if (repair.state === State.waitingToWrite) this.startWrite(repair);
    }
  }

  blockWritten(index: number): void {
    this.blocksRepaired += 1;
    this.end(this.repairs[index]!);
  }

  /**
   * The address is being given to another block. Calls nobody back, since the block is in the middle of
   * being made: who stands in line is served when writes may start again.
   */
  abandon(address: number): void {
    if (this.used === 0) return;
    const repair = this.find(address);
    if (repair === null || repair.state === State.writing) return;
    assert(repair.first === null, "what somebody waits for is in use");
    if (repair.state === State.wanted) this.repairer.forget(address);
    this.free(repair);
  }

  private free(repair: Repair): void {
    repair.state = State.free;
    this.used -= 1;
  }

  private end(repair: Repair): void {
    this.free(repair);
    this.serveLine();
    this.checkIdle();
  }

  private serveLine(): void {
    while (this.lineFirst !== null) {
      const waiter = this.lineFirst;
      const next = waiter.next;
      // Taken out before it is served: what it does next may stand in line again.
      waiter.next = null;
      this.lineFirst = next;
      if (next === null) this.lineLast = null;
      if (this.join(waiter)) continue;
      waiter.next = this.lineFirst;
      this.lineFirst = waiter;
      if (waiter.next === null) this.lineLast = waiter;
      break;
    }
  }
}
