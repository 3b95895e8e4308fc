/**
 * Drives a state machine as a replica does: chooses timestamps, validates, prefetches, commits,
 * ends ops (of one request or of several), sends pulses. Bodies and replies lie amid garbage, so
 * that reading or writing beyond them shows.
 */
import { assert } from "../../src/core/assert.ts";
import { StateMachine } from "../../src/ledger/state-machine.ts";
import type { LedgerStore } from "../../src/ledger/store.ts";
import { MemoryStore } from "./memory-store.ts";

export const operationPulse = 4;
const bodySizeMax = 1_048_320;
/** Bodies begin here in their buffers, as behind a header. */
const requestAt = 256;
const replyAt = 512;
const guard = 0xa5;

const requestBytes = new Uint8Array(requestAt + bodySizeMax + 256);
const requestWords = new Uint32Array(requestBytes.buffer);
const replyBytes = new Uint8Array(replyAt + bodySizeMax + 256);
const replyWords = new Uint32Array(replyBytes.buffer);

export class InvalidBody extends Error {
  constructor(readonly reason: number) {
    super(`refused with reason ${reason}`);
  }
}

/** A store that a test drives: as the replica drives the storage. */
export interface DrivenStore extends LedgerStore {
  /** Delivers something that is under way. False when nothing is. */
  deliver(): boolean;
  endOp(): void;
  /** A restart: all that was durable stays. */
  reopen(): void;
}

export class StoreHarness<Store extends DrivenStore> {
  machine: StateMachine;
  /** Timestamp of the last operation. */
  timestamp = 0n;
  /** The primary's clock. */
  clock = 1_795_000_000_000_000_000n;
  private replyUsed = replyBytes.length;
  /** Called before each operation, pulses included, with its timestamp. */
  onOperation: (operation: number, body: Uint8Array, timestamp: bigint) => void = () => {};

  constructor(
    readonly store: Store,
    readonly batchSizeLimit = bodySizeMax,
  ) {
    this.machine = this.openMachine(null);
  }

  /** Executes one request as an op of its own, then the pulses that are due. */
  submit(operation: number, body: Uint8Array): Uint8Array {
    const reply = this.execute(operation, body);
    this.endOp();
    this.pulseWhileDue();
    return reply;
  }

  /** Executes one request without ending the op. */
  execute(operation: number, body: Uint8Array): Uint8Array {
    requestBytes.fill(guard, 0, requestAt);
    requestBytes.set(body, requestAt);
    requestBytes.fill(guard, requestAt + body.length, requestAt + body.length + 256);
    const { machine } = this;
    const length = body.length;
    if (operation !== operationPulse) {
      const refused = machine.validate(operation, requestWords, requestBytes, requestAt, length);
      if (refused !== 0) throw new InvalidBody(refused);
    }
    const delta = machine.timestampDelta(operation, requestWords, requestBytes, requestAt, length);
    const base = this.clock > this.timestamp ? this.clock : this.timestamp + 1n;
    this.timestamp = base + BigInt(delta);
    this.onOperation(operation, body, this.timestamp);
    replyBytes.fill(guard, 0, this.replyUsed);
    let called = false;
    const ready = machine.prefetch(
      operation,
      Number(this.timestamp & 0xffff_ffffn),
      Number(this.timestamp >> 32n),
      requestWords,
      requestBytes,
      requestAt,
      length,
      replyWords,
      replyBytes,
      replyAt,
      () => {
        called = true;
      },
    );
    if (!ready) {
      while (!called) assert(this.store.deliver(), "a waiting request has a fetch under way");
    }
    assert(!(ready && called), "either ready at once or called back");
    const size = machine.commit();
    // Failures of the deprecated operations are listed in place of results of twice their size.
    this.replyUsed = replyAt + Math.max(size, length / 4) + 256;
    assert(size <= bodySizeMax, "the reply fits a message");
    assert(
      replyBytes.subarray(0, replyAt).every((byte) => byte === guard),
      "nothing is written in front of the reply",
    );
    return replyBytes.slice(replyAt, replyAt + size);
  }

  endOp(): void {
    this.store.endOp();
  }

  /** As the primary does: after every op, and by its timer. */
  pulseWhileDue(): void {
    while (this.pulseDue(this.timestamp)) {
      this.execute(operationPulse, new Uint8Array(0));
      this.endOp();
    }
  }

  pulseDue(time: bigint): boolean {
    return this.machine.pulseDue(Number(time & 0xffff_ffffn), Number(time >> 32n));
  }

  /** Lets time pass; the timer then finds out whether a pulse is due. */
  sleep(nanoseconds: bigint): void {
    this.clock += nanoseconds;
    if (!this.pulseDue(this.clock)) return;
    if (this.timestamp < this.clock) this.timestamp = this.clock;
    this.pulseWhileDue();
  }

  /** Continues with a new state machine over the same tables, as after a restart. */
  restart(): void {
    const words = new Uint32Array(this.machine.snapshotWords + 2).fill(7);
    this.machine.snapshot(words, 1);
    assert(words[0] === 7 && words[words.length - 1] === 7, "a snapshot keeps to its words");
    this.store.reopen();
    this.machine = this.openMachine(words);
  }

  private openMachine(snapshot: Uint32Array | null): StateMachine {
    const machine = new StateMachine(this.store, { batchSizeLimit: this.batchSizeLimit });
    if (snapshot !== null) assert(machine.restore(snapshot, 1), "a snapshot can be restored");
    let called = false;
    const ready = machine.open(() => {
      called = true;
    });
    if (!ready) {
      while (!called) assert(this.store.deliver(), "a waiting start has a fetch under way");
    }
    return machine;
  }
}

export class Harness extends StoreHarness<MemoryStore> {
  constructor(seed = 1, batchSizeLimit = bodySizeMax, delayed = 0.5) {
    super(new MemoryStore(seed, delayed), batchSizeLimit);
  }
}
