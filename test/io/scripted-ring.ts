/**
 * A ring for tests that answers as its script says, with the memory and the calls of the addon's:
 * errors and short results that no machine gives on demand.
 */
import { assert } from "../../src/core/assert.ts";
import { Engine } from "../../src/io/uring/engine.ts";
import { UringStats } from "../../src/io/uring/stats.ts";
import type { NativeRing, RingAddon } from "../../src/native/addon.ts";
import { nativeLayout } from "../../src/native/layout.ts";

/** One operation as the kernel would see it. */
export interface Taken {
  readonly slot: number;
  readonly opcode: number;
  readonly handle: number;
  readonly bufferAt: number;
  readonly length: number;
  readonly offset: number;
  readonly flags: number;
}

/** The result of an operation, or null to hold it back. */
export type Script = (taken: Taken) => number | null;

const wordSize = 4;

export class ScriptedRing {
  readonly taken: Taken[] = [];
  /** Sockets that the backend closed by itself, and shut down. */
  readonly discarded: number[] = [];
  readonly shutDown: number[] = [];
  readonly engine: Engine;
  closed = false;
  /** What registering files and buffers answers, from now on. */
  registration = 0;
  registrations = 0;
  private readonly slots: number;
  private readonly memory: NativeRing;
  private readonly descriptors: Uint32Array;
  private readonly queue: Uint32Array;
  private readonly completions: Int32Array;
  private readonly control: Uint32Array;
  private readonly ready: { slot: number; result: number }[] = [];

  constructor(
    private readonly script: Script,
    operationsMax = 64,
  ) {
    this.slots = 2 * operationsMax;
    this.memory = {
      id: 0,
      setupFlags: 0,
      descriptors: new ArrayBuffer(this.slots * nativeLayout.descriptorSize),
      queue: new ArrayBuffer(this.slots * wordSize),
      completions: new ArrayBuffer(this.slots * nativeLayout.completionSize),
      control: new ArrayBuffer(nativeLayout.controlSize),
    };
    this.descriptors = new Uint32Array(this.memory.descriptors);
    this.queue = new Uint32Array(this.memory.queue);
    this.completions = new Int32Array(this.memory.completions);
    this.control = new Uint32Array(this.memory.control);
    const addon = {
      ringEnter: () => this.enter(),
      ringClose: () => {
        this.closed = true;
      },
      ringRegisterFile: () => this.registration,
      ringReserveBuffers: () => this.registration,
      ringRegisterBuffer: () => {
        this.registrations += 1;
        return this.registration;
      },
      ringConnect: () => 70,
      socketListen: () => 50,
      socketPort: () => 3001,
      socketConfigure: () => 0,
      socketDiscard: (fd: number) => this.discarded.push(fd),
      socketShutdown: (fd: number) => this.shutDown.push(fd),
    };
    const stats = new UringStats("uring (scripted)");
    this.engine = new Engine(addon as unknown as RingAddon, this.memory, stats, operationsMax);
  }

  /** Ends an operation that the script held back. */
  complete(slot: number, result: number): void {
    this.ready.push({ slot, result });
  }

  /** Turns until nothing happens any more. */
  settle(): void {
    for (let turn = 0; turn < 1000; turn += 1) {
      const count = this.engine.turn(0);
      if (this.engine.endIfStopped()) return;
      if (count === 0 && !this.engine.slots.queued) return;
    }
    assert(false, "the operations come to an end");
  }

  private enter(): number {
    const head = nativeLayout.controlQueueHead / wordSize;
    const tail = nativeLayout.controlQueueTail / wordSize;
    while (this.control[head] !== this.control[tail]) {
      const taken = this.read(this.queue[this.control[head] % this.slots]);
      this.control[head] += 1;
      this.taken.push(taken);
      const result = this.script(taken);
      if (result !== null) this.ready.push({ slot: taken.slot, result });
    }
    const count = this.ready.length;
    for (let index = 0; index < count; index += 1) {
      const { slot, result } = this.ready[index];
      const at = (index * nativeLayout.completionSize) / wordSize;
      this.completions[at + nativeLayout.completionSlot / wordSize] = slot;
      this.completions[at + nativeLayout.completionResult / wordSize] = result;
    }
    this.ready.length = 0;
    return count;
  }

  private read(slot: number): Taken {
    const word = (offset: number): number =>
      this.descriptors[(slot * nativeLayout.descriptorSize + offset) / wordSize];
    return {
      slot,
      opcode: word(nativeLayout.descriptorOpcode),
      handle: word(nativeLayout.descriptorHandle),
      bufferAt: word(nativeLayout.descriptorBufferAt),
      length: word(nativeLayout.descriptorLength),
      offset:
        word(nativeLayout.descriptorOffsetHigh) * 0x1_0000_0000 +
        word(nativeLayout.descriptorOffsetLow),
      flags: word(nativeLayout.descriptorFlags),
    };
  }
}
