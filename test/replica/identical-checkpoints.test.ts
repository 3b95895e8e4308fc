/**
 * Replicas that execute the same log make the same checkpoints, byte for byte: whatever order their
 * disks complete in, however much memory they have, and whenever they were killed in between. The log
 * is that of a real replica; followers are fed its prepares.
 */
import { expect, test } from "vitest";
import type { ReplicaParts } from "../../src/consensus/open-replica.ts";
import { assert } from "../../src/core/assert.ts";
import { blockSize } from "../../src/core/limits.ts";
import { Prng } from "../../src/core/prng.ts";
import { u64ReadNumber } from "../../src/core/u128.ts";
import { MessagePool } from "../../src/io/message-pool.ts";
import { portableRunKernels } from "../../src/native/sorted-runs/kernels.ts";
import type { MemoryOptions } from "../../src/server/compose.ts";
import { BlockRequest } from "../../src/storage/block-reader.ts";
import { RefCursor, visitAll } from "../../src/storage/ref-cursor.ts";
import type { RunOptions } from "../../src/storage/runs/options.ts";
import { DataFileLayout } from "../../src/wal/data-file.ts";
import { frame, prepareHeader } from "../../src/wire/header.ts";
import { Crash, type MemoryFileIo, memoryBuffer } from "../wal/memory-file-io.ts";
import {
  formatMemoryFile,
  Harness,
  TestTime,
  tinyFormat,
  tinyMemory,
  tinyRuns,
} from "./harness.ts";
import { Log } from "./log.ts";
import { TestClient } from "./test-client.ts";
import { Workload } from "./workload.ts";

const layout = new DataFileLayout(tinyFormat);
const interval = tinyFormat.checkpointInterval;

/** Checkpoint states by op, as superblocks had them. */
type States = Map<number, Uint32Array>;

function noteStates(parts: ReplicaParts, states: States): void {
  const { superblock } = parts;
  const note = (): void => {
    const state = superblock.checkpointState.slice();
    const op = superblock.checkpointOp;
    const before = states.get(op);
    if (before !== undefined) expect(state, `checkpoint ${op} again`).toEqual(before);
    states.set(op, state);
  };
  note(); // A crash may have come between its last write and the word of it.
  const updateCheckpoint = superblock.updateCheckpoint.bind(superblock);
  superblock.updateCheckpoint = (op, header, onDone) => {
    updateCheckpoint(op, header, () => {
      note();
      onDone();
    });
  };
}

/** A log of a replica that nobody disturbs, and its checkpoints. */
function record(
  seed: number,
  ops: number,
  eventsMax: number,
): { prepares: Uint8Array[]; states: States } {
  const prepares: Uint8Array[] = [];
  const states: States = new Map();
  const time = new TestTime();
  const harness = new Harness(formatMemoryFile(seed), new Log(), time, {
    onComposed: (parts) => {
      noteStates(parts, states);
      const writePrepare = parts.journal.writePrepare.bind(parts.journal);
      parts.journal.writePrepare = (buffer, onDurable) => {
        const size = buffer.words[frame.word.size]!;
        prepares[u64ReadNumber(buffer.words, prepareHeader.word.op)] = buffer.bytes.slice(0, size);
        writePrepare(buffer, onDurable);
      };
    },
  });
  assert(harness.open(), "the replica opens");
  const random = new Prng(seed);
  const workload = new Workload(seed, 12, eventsMax);
  // More clients than sessions: some are pushed out, and register again.
  const clients = Array.from({ length: 8 }, (_, index) => new TestClient(index + 1));
  while (harness.replica.commitMin < ops) {
    for (const client of clients) {
      if (client.inFlight !== null || random.chance(0.4)) continue;
      if (client.session === 0) harness.deliver(client.register());
      else {
        const { operation, body } = workload.next();
        harness.deliver(client.request(operation, body));
      }
    }
    time.now += BigInt(random.below(900_000_000));
    for (let tick = 0; tick < 11; tick += 1) harness.replica.tick();
    harness.settle();
    for (const { client } of harness.evictions.splice(0)) {
      const index = clients.findIndex((one) => one.id === client);
      if (index !== -1) clients[index] = new TestClient(client);
    }
    for (const reply of harness.replies.splice(0)) {
      const client = clients.find((one) => one.id === reply.client);
      if (client !== undefined && client.inFlight !== null) client.accept(reply);
    }
  }
  return { prepares, states };
}

/** A replica that is fed prepares instead of making them. */
class Follower {
  readonly states: States = new Map();
  private pool!: MessagePool;
  harness!: Harness;
  io: MemoryFileIo;
  op = 0;
  starts = 0;

  constructor(
    private readonly prepares: readonly Uint8Array[],
    private readonly seed: number,
    private readonly memory: MemoryOptions,
    private readonly runs: Pick<Partial<RunOptions>, "kernels" | "writeBlocks"> = {},
  ) {
    this.io = formatMemoryFile(seed);
    this.start();
  }

  private start(): void {
    this.pool = new MessagePool(memoryBuffer, { small: 1, large: 1 });
    this.harness = new Harness(this.io, new Log(), new TestTime(), {
      memory: this.memory,
      runs: { ...tinyRuns, ...this.runs },
      onComposed: (parts) => {
        noteStates(parts, this.states);
        parts.replica.primary.pulseIfDue = () => {}; // They come from the log.
      },
    });
    assert(this.harness.open(), this.harness.error ?? "the follower opens");
    this.starts += 1;
    this.op = this.harness.replica.commitMin;
  }

  restart(power: boolean): void {
    const next = this.seed * 1000 + this.starts;
    this.io = power ? this.io.afterCrash(next) : this.io.afterKill(next);
    this.start();
  }

  private wait(done: () => boolean): void {
    while (!done()) {
      assert(this.harness.fatal === null, this.harness.fatal ?? "");
      assert(this.io.step(), "it goes on");
    }
  }

  /** Executes the next op as `Execution` does. */
  step(random: Prng): void {
    const { parts } = this.harness;
    const op = this.op + 1;
    const prepare = this.prepares[op]!;
    const message = this.pool.get(1024 * 1024);
    assert(message !== null, "one message is enough");
    message.bytes.set(prepare);
    let durable = false;
    parts.journal.writePrepare(message.buffer, () => {
      durable = true;
    });
    this.wait(() => durable);
    let ready = parts.replica.executor.execute(message, () => {
      ready = true;
    });
    this.wait(() => ready);
    parts.replica.executor.op = op;
    ready = parts.storage.compact(op, () => {
      ready = true;
    });
    this.wait(() => ready);
    ready = parts.checkpointer.afterOp(op, message.words, () => {
      ready = true;
    });
    this.wait(() => ready);
    this.pool.unref(message);
    this.op = op;
    for (let left = random.below(12); left > 0; left -= 1) this.io.step();
  }

  /** Every block that the state refers to, by address. */
  blocks(): Map<number, Uint8Array> {
    const blocks = new Map<number, Uint8Array>();
    const cursor = new RefCursor(this.harness.parts.storage.state, visitAll);
    const request = new BlockRequest();
    while (cursor.next(request)) {
      const address = request.ref[0]!;
      blocks.set(address, this.io.peek(layout.blockAt(address), blockSize));
    }
    return blocks;
  }

  /** Lets the last checkpoint become durable. */
  finish(): void {
    const { checkpointer } = this.harness.parts;
    checkpointer["finish"]();
    this.wait(() => checkpointer.durableOp === checkpointer.frozenOp);
    this.io.run();
  }
}

const large: MemoryOptions = {
  ...tinyMemory,
  cacheGridBytes: 8 * 1024 * 1024,
  recentBlocks: 8,
};
const small: MemoryOptions = { ...tinyMemory, pageCopyBytes: 4096 };

test("the same log makes the same checkpoints, whatever disks, memory and restarts are like", () => {
  const ops = 20 * interval;
  for (let seed = 1; seed <= 6; seed += 1) {
    const { prepares, states } = record(seed, ops, seed % 3 === 0 ? 400 : 30);
    const calm = new Follower(prepares, seed + 100, large, {
      kernels: portableRunKernels,
      writeBlocks: 128,
    });
    const restarted = new Follower(prepares, seed + 200, small, { writeBlocks: 8 });
    const killed = new Follower(prepares, seed + 300, seed % 2 === 0 ? tinyMemory : large);
    const random = new Prng(seed);
    while (calm.op < ops) calm.step(random);
    const ends = Array.from({ length: 15 }, () => 1 + random.below(ops - 1));
    for (const end of ends) {
      while (restarted.op < end) restarted.step(random);
      restarted.restart(true);
    }
    while (restarted.op < ops) restarted.step(random);
    while (killed.op < ops) {
      killed.io.crashAtWrite = killed.io.writes + 5 + random.below(120);
      try {
        while (killed.op < ops) killed.step(random);
      } catch (error) {
        if (!(error instanceof Crash)) throw error;
        killed.io.crashAtWrite = Number.POSITIVE_INFINITY;
        killed.restart(random.chance(0.5));
      }
    }
    killed.io.crashAtWrite = Number.POSITIVE_INFINITY;
    expect(restarted.starts).toBe(16);
    const [ids] = calm.harness.parts.storage.indexes.group.indexes;
    expect(ids!.levels.length).toBeGreaterThan(1); // Runs were merged.
    expect(killed.starts).toBeGreaterThan(2);
    for (const follower of [calm, restarted, killed]) {
      follower.finish();
      for (let op = interval; op <= ops; op += interval) {
        expect(follower.states.get(op), `checkpoint ${op}, seed ${seed}`).toBeDefined();
      }
      for (const [op, state] of follower.states) {
        const theirs = states.get(op) ?? calm.states.get(op);
        expect(state, `checkpoint ${op}, seed ${seed}`).toEqual(theirs);
      }
      const blocks = follower.blocks();
      const calmBlocks = calm.blocks();
      expect([...blocks.keys()]).toEqual([...calmBlocks.keys()]);
      for (const [address, content] of blocks) {
        const same = Buffer.compare(content, calmBlocks.get(address)!) === 0;
        expect(same, `block ${address}, seed ${seed}`).toBe(true);
      }
    }
  }
});
