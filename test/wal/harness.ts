/**
 * What the tests of the data file share: a small format, formatted images, prepares and replies,
 * and a model of a cluster of one that serves from the journal, crashes, and recovers.
 */
import { assert } from "../../src/core/assert.ts";
import { headerSize, pipelinePrepareMax } from "../../src/core/limits.ts";
import { Prng } from "../../src/core/prng.ts";
import { u64WriteNumber } from "../../src/core/u128.ts";
import type { IoBuffer } from "../../src/io/io.ts";
import {
  DataFileLayout,
  developmentPreset,
  type FormatOptions,
  sectorCeil,
  u128Text,
} from "../../src/wal/data-file.ts";
import { formatDataFile } from "../../src/wal/format.ts";
import { copyHeader, headerWords, sealMessage } from "../../src/wal/headers.ts";
import { Journal } from "../../src/wal/journal.ts";
import type { Recovery } from "../../src/wal/journal-scan.ts";
import { PrepareRead } from "../../src/wal/prepare-reads.ts";
import { Superblock } from "../../src/wal/superblock.ts";
import { Command, frame, prepareHeader, replyHeader } from "../../src/wire/header.ts";
import { Crash, type Faults, MemoryFileIo, memoryBuffer } from "./memory-file-io.ts";

/** Small, so that tests wrap the ring often: 32 ≥ 2 · 4 + 2 + 2 · 8. */
export const smallFormat: FormatOptions = {
  ...developmentPreset,
  cluster: Uint32Array.of(7, 0, 0, 1),
  replica: 0,
  replicaCount: 1,
  slotCount: 32,
  checkpointInterval: 4,
  barOps: 2,
  clientsMax: 4,
};

export const release = 0x0000_0100;
export const file = 0;

/** A freshly formatted file. */
export function formatted(
  seed = 1,
  faults: Faults = {},
  options: FormatOptions = smallFormat,
): MemoryFileIo {
  const layout = new DataFileLayout(options);
  const io = new MemoryFileIo(layout.fileSize(1), seed, new Map(), faults);
  formatInto(io, options);
  return io;
}

/** @param recovering - The file replaces one that was lost. */
export function formatInto(io: MemoryFileIo, options: FormatOptions, recovering = false): void {
  let done = false;
  const onDone = (error: Error | null): void => {
    assert(error === null, "formatting works");
    done = true;
  };
  formatDataFile(io, file, options, release, onDone, recovering);
  io.run();
  assert(done, "formatting ends");
}

export function failOnFatal(text: string): void {
  throw new Error(text);
}

/** Opens the superblock; throws what it refuses with. */
export function openSuperblock(io: MemoryFileIo, onFatal = failOnFatal): Superblock {
  const superblock = new Superblock({ io, file, release, onFatal });
  let opened = false;
  superblock.open((error) => {
    if (error !== null) throw error;
    opened = true;
  });
  io.run();
  assert(opened, "opening ends");
  return superblock;
}

export interface OpenJournal {
  readonly journal: Journal;
  readonly recovery: Recovery;
}

/** Opens the journal under a superblock that is open. */
export function openJournal(
  io: MemoryFileIo,
  superblock: Superblock,
  single: boolean,
  onFatal = failOnFatal,
  ticks = false,
): OpenJournal {
  const layout = new DataFileLayout(superblock.formatOptions);
  const journal = new Journal({ io, file, layout, ticks, onFatal });
  let recovery: Recovery | null = null;
  const start = {
    checkpointOp: superblock.checkpointOp,
    checkpointHeader: superblock.checkpointHeader.slice(),
    checkpointHeaderAt: 0,
    commitMax: superblock.commitMax,
    single,
  };
  journal.open(start, (result) => {
    recovery = result;
  });
  io.run();
  assert(recovery !== null, "recovery ends");
  return { journal, recovery };
}

/** Fills the start of `buffer` with a prepare; the body depends on op, view and salt. */
export function makePrepare(
  buffer: IoBuffer,
  op: number,
  view: number,
  commit: number,
  parent: Uint32Array,
  bodySize: number,
  salt: number,
  cluster: Uint32Array = smallFormat.cluster,
): void {
  const { words, bytes } = buffer;
  const size = headerSize + bodySize;
  words.fill(0, 0, headerWords);
  words.set(cluster, frame.word.cluster);
  words[frame.word.size] = size;
  words[frame.word.view] = view;
  bytes[frame.at.command] = Command.prepare;
  words.set(parent.subarray(0, 4), prepareHeader.word.parent);
  u64WriteNumber(words, prepareHeader.word.op, op);
  u64WriteNumber(words, prepareHeader.word.commit, commit);
  bytes[prepareHeader.at.operation] = 140;
  const random = new Prng(op * 1_000_003 + view * 101 + salt);
  for (let at = headerSize; at < size; at += 1) bytes[at] = random.below(256);
  // What a reused message buffer may hold behind its message.
  bytes.fill(0xee, size, sectorCeil(size));
  sealMessage(bytes, 0, size);
}

export function makeReply(
  buffer: IoBuffer,
  at: number,
  client: number,
  op: number,
  bodySize: number,
): void {
  const { words, bytes } = buffer;
  const size = headerSize + bodySize;
  const first = at / 4;
  words.fill(0, first, first + headerWords);
  words.set(smallFormat.cluster, first + frame.word.cluster);
  words[first + frame.word.size] = size;
  bytes[at + frame.at.command] = Command.reply;
  words[first + replyHeader.word.client] = client;
  u64WriteNumber(words, first + replyHeader.word.op, op);
  const random = new Prng(op * 31 + client);
  for (let index = at + headerSize; index < at + size; index += 1) bytes[index] = random.below(256);
  bytes.fill(0xee, at + size, at + sectorCeil(size));
  sealMessage(bytes, at, size);
}

const bodySizes: readonly number[] = [0, 1, 128, 3840, 3841, 8000, 20_000];

/** One prepare in the model's pipeline. */
interface Entry {
  readonly buffer: IoBuffer;
  op: number;
  durable: boolean;
  readonly onDurable: () => void;
}

/**
 * A cluster of one without ledger: it prepares as fast as the pipeline allows, acknowledges in
 * order, and takes a checkpoint every interval. What it acknowledged, by op, outlives it.
 */
export class Model {
  readonly superblock: Superblock;
  journal!: Journal;
  recovery!: Recovery;
  private readonly entries: Entry[] = [];
  private readonly free: Entry[] = [];
  private readonly parent = new Uint32Array(headerWords);
  private head = 0;
  private commit = 0;
  private frozen = 0;
  private moving = false;
  private readonly headers = new Map<number, Uint32Array>();
  private readonly random: Prng;

  /**
   * @param acknowledged - Checksum of each acknowledged op, as text.
   * @param interval - Between checkpoints; smaller than the format's is allowed.
   * @param ticks - Headers wait for ticks, which come now and then.
   */
  constructor(
    readonly io: MemoryFileIo,
    seed: number,
    readonly acknowledged: Map<number, string>,
    private readonly interval = smallFormat.checkpointInterval,
    private readonly ticks = false,
  ) {
    this.random = new Prng(seed);
    this.superblock = new Superblock({ io, file, release, onFatal: failOnFatal });
    for (let count = 0; count < pipelinePrepareMax; count += 1) {
      const entry: Entry = {
        buffer: memoryBuffer(64 * 1024),
        op: 0,
        durable: false,
        onDurable: () => this.onDurable(entry),
      };
      this.free.push(entry);
    }
  }

  /** Opens, checks that nothing acknowledged is missing, raises the view. May throw `Crash`. */
  open(): void {
    this.superblock.open((error) => {
      if (error !== null) throw error;
    });
    this.io.run();
    const opened = openJournal(this.io, this.superblock, true, failOnFatal, this.ticks);
    this.journal = opened.journal;
    this.recovery = opened.recovery;
    if (this.recovery.fatal !== null) throw new Error(this.recovery.fatal);
    this.head = this.recovery.opHead;
    this.commit = this.head;
    this.frozen = this.superblock.checkpointOp;
    this.checkAcknowledged();
    for (let op = this.frozen + 1; op <= this.head; op += 1) {
      const at = this.journal.headerAt(op);
      const header = this.journal.headers.slice(at, at + headerWords);
      this.headers.set(op, header);
      // What recovery kept is served from now on, hence may never be lost either.
      this.acknowledged.set(op, u128Text(header, 0));
    }
    if (this.head === this.frozen) copyHeader(this.parent, 0, this.superblock.checkpointHeader, 0);
    else copyHeader(this.parent, 0, this.headers.get(this.head)!, 0);
    const view = this.superblock.view + 1;
    let raised = false;
    this.superblock.updateView(view, view, this.head, new Uint32Array(0), 0, () => {
      raised = true;
    });
    this.io.run();
    assert(raised, "the view is raised");
    this.moveCheckpoint();
  }

  private checkAcknowledged(): void {
    const target = memoryBuffer(1024 * 1024);
    for (const [op, checksum] of this.acknowledged) {
      if (op <= this.superblock.checkpointOp) continue;
      if (op > this.head) throw new Error(`lost acknowledged op ${op}`);
      const at = this.journal.headerAt(op);
      const found = u128Text(this.journal.headers, at);
      if (found !== checksum) throw new Error(`op ${op} is another one than was acknowledged`);
      let result = 0;
      this.journal.readPrepare(op, this.journal.headers, at, target, (read) => {
        result = read;
      });
      this.io.run();
      if (result !== PrepareRead.ok) throw new Error(`acknowledged op ${op} cannot be read`);
    }
  }

  /** Serves until `ops` more were acknowledged. May throw `Crash`. */
  serve(ops: number): void {
    const target = this.commit + ops;
    while (this.commit < target) {
      while (this.head < target && this.canPrepare() && this.random.chance(0.7)) this.prepare();
      if (this.ticks && this.random.chance(0.05)) this.journal.tick();
      if (!this.io.step() && this.head < target) assert(this.canPrepare(), "nothing is stuck");
    }
  }

  private canPrepare(): boolean {
    if (this.free.length === 0 || !this.journal.canWrite(this.head + 1)) return false;
    // A freeze waits for the checkpoint before.
    return this.head < this.frozen + 2 * this.interval;
  }

  private prepare(): void {
    const entry = this.free.pop()!;
    const op = this.head + 1;
    const size = bodySizes[this.random.below(bodySizes.length)]!;
    const { view } = this.superblock;
    makePrepare(entry.buffer, op, view, this.commit, this.parent, size, this.random.u32());
    copyHeader(this.parent, 0, entry.buffer.words, 0);
    this.headers.set(op, this.parent.slice());
    entry.op = op;
    entry.durable = false;
    this.head = op;
    this.entries.push(entry);
    this.journal.writePrepare(entry.buffer, entry.onDurable);
  }

  private onDurable(entry: Entry): void {
    entry.durable = true;
    while (this.entries.length > 0 && this.entries[0]!.durable) {
      const first = this.entries.shift()!;
      this.commit = first.op;
      this.acknowledged.set(first.op, u128Text(first.buffer.words, 0));
      this.free.push(first);
    }
    this.moveCheckpoint();
  }

  private moveCheckpoint(): void {
    const op = this.frozen + this.interval;
    if (this.moving || this.commit < op) return;
    this.moving = true;
    this.superblock.updateCheckpoint(op, this.headers.get(op)!, () => {
      this.moving = false;
      this.frozen = op;
      this.journal.checkpointDurable(op);
      this.moveCheckpoint();
    });
  }

  /** Ends in order: everything in flight lands. */
  stop(): void {
    this.io.run();
    let flushed = false;
    this.journal.flush(() => {
      flushed = true;
    });
    this.io.run();
    assert(flushed, "the flush ends");
  }
}

/** Runs `body`; true when it crashed at the write that was set. */
export function crashes(body: () => void): boolean {
  try {
    body();
  } catch (error) {
    if (error instanceof Crash) return true;
    throw error;
  }
  return false;
}
