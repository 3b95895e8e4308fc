/**
 * File I/O that breaks one promise. Between a replica and its disk it tells what each operation is
 * for, and treats those of one kind otherwise than the contract says:
 *
 *   undurable  a durable write is carried out, but no more durably than any other write
 *   late       a write is reported as done at once, and reaches the disk at some later time; a
 *              sync does not wait for it. Reads and writes of the same sectors do
 *   dropped    a sync is reported as done, and nothing is synced
 *   early      a sync is reported as done at once, and carried out at some later time
 *   slow       keeps the contract: a write that is begun late. For disks that take their time
 *
 * A crash finds late writes on their way.
 */

import type { ReplicaParts } from "../../src/consensus/open-replica.ts";
import { assert } from "../../src/core/assert.ts";
import { Prng } from "../../src/core/prng.ts";
import { Completion, type FileHandle, type IoBuffer } from "../../src/io/io.ts";
import { DataFileLayout, superblockCopySpacing } from "../../src/wal/data-file.ts";
import type { MemoryFileIo } from "../wal/memory-file-io.ts";
import type { WrappedIo } from "./crash-run.ts";
import { tinyFormat } from "./harness.ts";

/** What a write or sync is for. */
export type Purpose =
  | "format: clear"
  | "format: slots"
  | "format: header ring"
  | "format: sync"
  | "format: superblock"
  | "superblock: rewrite"
  | "superblock: view"
  | "superblock: checkpoint"
  | "restore: sync"
  | "restore: header"
  | "restore: slot"
  | "prepare"
  | "header"
  | "reply"
  | "replies: sync"
  | "block"
  | "grid: sync"
  | "journal: flush";

export type Treatment = "undurable" | "late" | "dropped" | "early" | "slow";

export interface Weakness {
  readonly purpose: Purpose;
  readonly treatment: Treatment;
  /** Leaves some of them alone, by place or content. */
  readonly only?: (fileAt: number, words: Uint32Array, wordAt: number) => boolean;
}

const layout = new DataFileLayout(tinyFormat);
const nothing = new Uint32Array(0);

/** A write or read that waits, or a late write. */
interface Range {
  readonly fileAt: number;
  readonly length: number;
}

interface LateWrite extends Range {
  readonly buffer: IoBuffer;
  readonly durable: boolean;
  submitted: boolean;
}

interface Waiting extends Range {
  readonly submit: () => void;
}

export class WeakenedIo implements WrappedIo {
  /** Set once the replica is composed; before, only superblock copies are written. */
  parts: ReplicaParts | null = null;
  formatting = false;
  /** Operations that were treated. */
  treated = 0;
  private readonly random: Prng;
  /** Reported as done at the next steps. */
  private readonly reported: Completion[] = [];
  private readonly late: LateWrite[] = [];
  private lateSyncs = 0;
  private waiting: Waiting[] = [];
  private readonly slow: (() => void)[] = [];

  constructor(
    readonly inner: MemoryFileIo,
    private readonly weaknesses: readonly Weakness[],
    seed: number,
  ) {
    this.random = new Prng(seed);
  }

  allocate(sizeBytes: number): IoBuffer {
    return this.inner.allocate(sizeBytes);
  }

  read(
    completion: Completion,
    file: FileHandle,
    buffer: IoBuffer,
    bufferAt: number,
    length: number,
    fileAt: number,
  ): void {
    this.inOrder({ fileAt, length }, () =>
      this.inner.read(completion, file, buffer, bufferAt, length, fileAt),
    );
  }

  write(
    completion: Completion,
    file: FileHandle,
    buffer: IoBuffer,
    bufferAt: number,
    length: number,
    fileAt: number,
    durable: boolean,
  ): void {
    const purpose = this.purposeOfWrite(fileAt);
    const treatment = this.treatmentOf(purpose, fileAt, buffer.words, bufferAt / 4);
    if (treatment === "late") {
      const copy = this.inner.allocate(length);
      copy.bytes.set(buffer.bytes.subarray(bufferAt, bufferAt + length));
      const write: LateWrite = { fileAt, length, buffer: copy, durable, submitted: false };
      this.report(completion, length);
      // One to the same sectors comes first.
      this.inOrder({ fileAt, length }, () => this.late.push(write));
      return;
    }
    const kept = durable && treatment !== "undurable";
    const submit = (): void =>
      this.inner.write(completion, file, buffer, bufferAt, length, fileAt, kept);
    if (treatment === "slow") this.slow.push(submit);
    else this.inOrder({ fileAt, length }, submit);
  }

  sync(completion: Completion, file: FileHandle): void {
    const treatment = this.treatmentOf(this.purposeOfSync(completion), 0, nothing, 0);
    if (treatment === null) {
      this.inner.sync(completion, file);
      return;
    }
    this.report(completion, 0);
    if (treatment === "early") this.lateSyncs += 1;
  }

  private treatmentOf(
    purpose: Purpose,
    fileAt: number,
    words: Uint32Array,
    wordAt: number,
  ): Treatment | null {
    for (const weakness of this.weaknesses) {
      if (weakness.purpose !== purpose) continue;
      if (weakness.only !== undefined && !weakness.only(fileAt, words, wordAt)) continue;
      this.treated += 1;
      return weakness.treatment;
    }
    return null;
  }

  private purposeOfWrite(fileAt: number): Purpose {
    if (this.formatting) {
      if (fileAt >= layout.prepareRingAt) return "format: slots";
      if (fileAt >= layout.headerRingAt) return "format: header ring";
      return this.inner.writes === 0 ? "format: clear" : "format: superblock";
    }
    const { parts } = this;
    if (fileAt < layout.headerRingAt) {
      if (parts === null) return "superblock: rewrite";
      const moves = parts.superblock["changes"].movesCheckpoint;
      return moves ? "superblock: checkpoint" : "superblock: view";
    }
    assert(parts !== null, "the superblock is opened first");
    if (fileAt < layout.repliesAt) {
      const inRing = fileAt < layout.prepareRingAt;
      if (!parts.journal["opened"]) return inRing ? "restore: header" : "restore: slot";
      return inRing ? "header" : "prepare";
    }
    return fileAt < layout.gridAt ? "reply" : "block";
  }

  private purposeOfSync(completion: Completion): Purpose {
    if (this.formatting) return "format: sync";
    const { parts } = this;
    assert(parts !== null, "opening a superblock syncs nothing");
    if (completion === parts.checkpointer["repliesSynced"]) return "replies: sync";
    if (completion === parts.storage.grid["syncCompletion"]) return "grid: sync";
    if (!parts.journal["opened"]) return "restore: sync";
    assert(completion === parts.journal["flushCompletion"], "every sync has a purpose");
    return "journal: flush";
  }

  private report(completion: Completion, result: number): void {
    assert(!completion.busy, "a completion is used once at a time");
    completion.busy = true;
    completion.result = result;
    this.reported.push(completion);
  }

  /** Submits after the late writes to the same sectors, which are submitted now. */
  private inOrder(range: Range, submit: () => void): void {
    const before = this.late.filter((write) => overlap(write, range));
    if (before.length === 0 && !this.waiting.some((other) => overlap(other, range))) {
      submit();
      return;
    }
    this.waiting.push({ ...range, submit });
    for (const write of before) this.submit(write);
  }

  private submit(write: LateWrite): void {
    if (write.submitted) return;
    write.submitted = true;
    const { buffer, length, fileAt, durable } = write;
    const completion = new Completion(() => {
      this.late.splice(this.late.indexOf(write), 1);
      this.release();
    });
    this.inner.write(completion, 0, buffer, 0, length, fileAt, durable);
  }

  /** Lets go what no longer has to wait. */
  private release(): void {
    const waiting = this.waiting;
    this.waiting = [];
    for (const { submit, ...range } of waiting) this.inOrder(range, submit);
  }

  step(): boolean {
    const { random, inner } = this;
    if (this.reported.length > 0 && (inner.inFlight === 0 || random.chance(0.5))) {
      const [completion] = this.reported.splice(random.below(this.reported.length), 1);
      completion!.busy = false;
      completion!.onDone(completion!);
      return true;
    }
    if (this.late.length > 0 && random.chance(0.1)) {
      this.submit(this.late[random.below(this.late.length)]!);
    }
    if (this.lateSyncs > 0 && random.chance(0.1)) {
      this.lateSyncs -= 1;
      inner.sync(new Completion(() => {}), 0);
    }
    if (this.slow.length > 0 && random.chance(0.02)) {
      this.slow.splice(random.below(this.slow.length), 1)[0]!();
    }
    return inner.step() || this.slow.length > 0;
  }

  beforeCrash(): void {
    for (const write of this.late) this.submit(write);
  }
}

function overlap(a: Range, b: Range): boolean {
  return a.fileAt < b.fileAt + b.length && b.fileAt < a.fileAt + a.length;
}

/** For `only`: the superblock copies but the last. */
export function notLastCopy(fileAt: number): boolean {
  return fileAt < 3 * superblockCopySpacing;
}
