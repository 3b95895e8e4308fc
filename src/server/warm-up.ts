/**
 * Runs the hot path before the first client does. V8 compiles a function to fast code when it has
 * run for some time, so the first batches of a new process would take five times as long as later
 * ones; here they are those of a throwaway ledger, which has its own storage engine over a file that
 * forgets what is written. Nothing of it is shared with the replica but the code.
 *
 * The load has plain transfers, as most loads do, and a few of other kinds: V8 gives up code that
 * meets something it has never seen.
 */
import { assert } from "../core/assert.ts";
import { blockSize, headerSize, messageBodySizeMax } from "../core/limits.ts";
import type { Completion, FileIo, IoBuffer } from "../io/io.ts";
import {
  accountRecord,
  createResultRecord,
  TransferFlag,
  transferRecord,
} from "../ledger/records.ts";
import { StateMachine } from "../ledger/state-machine.ts";
import { statusCreated } from "../ledger/status.ts";
import { allocatePages } from "../native/memory.ts";
import { StorageEngine } from "../storage/engine.ts";
import { rootWords } from "../storage/format.ts";
import { multiBatchFinish } from "../wire/multi-batch.ts";
import { eventMax, Operation, operationEventSize } from "../wire/operations.ts";

/** Batches that are run at most: the code does not get faster after them. */
const batchesMax = 8;

/** No batch is begun so long after the start. A slow machine serves its first clients slowly. Milliseconds. */
const budgetMs = 150;

const accounts = 1000;
const opRowsMax = 8192;
const recordWords = transferRecord.size / 4;
const resultWords = createResultRecord.size / 4;
const word = transferRecord.word;

/** A file that takes every write and keeps nothing. Writes end when `endAll` is called. */
class ForgetfulFile implements FileIo {
  // Not through a backend, which might keep the memory at hand for ever.
  readonly allocate = allocatePages;
  private readonly started: Completion[] = [];

  read(): void {
    assert(false, "what was written lately is read from memory");
  }

  write(
    completion: Completion,
    _file: number,
    _buffer: IoBuffer,
    _bufferAt: number,
    length: number,
  ): void {
    this.start(completion, length);
  }

  sync(completion: Completion): void {
    this.start(completion, 0);
  }

  private start(completion: Completion, result: number): void {
    completion.busy = true;
    completion.result = result;
    this.started.push(completion);
  }

  endAll(): void {
    for (;;) {
      const completion = this.started.shift();
      if (completion === undefined) return;
      completion.busy = false;
      completion.onDone(completion);
    }
  }
}

/** A ledger that is thrown away, and the requests that it executes. */
class Rehearsal {
  private readonly file = new ForgetfulFile();
  private readonly storage: StorageEngine;
  private readonly machine: StateMachine;
  private readonly request: IoBuffer;
  private readonly reply: IoBuffer;
  private readonly counts = new Uint32Array(1);
  private op = 0;
  private transfers = 0;

  constructor() {
    const allocateWords = (count: number): Uint32Array => new Uint32Array(count);
    const fail = (): void => assert(false, "nothing can go wrong without a disk");
    this.storage = new StorageEngine({
      io: this.file,
      file: -1,
      gridAt: 0,
      gridBytes: 0,
      gridBlocksMax: 2 ** 16,
      cluster: new Uint32Array(4),
      checkpointInterval: 2 * batchesMax,
      opRowsMax,
      recentBlocks: 0,
      cacheBytes: 32 * blockSize,
      pageCopyBytes: blockSize,
      allocateWords,
      extend: null,
      onDamaged: fail,
      onFatal: fail,
    });
    this.storage.open(new Uint32Array(rootWords), () => {});
    this.machine = new StateMachine(this.storage, {
      batchSizeLimit: messageBodySizeMax,
      allocateWords,
    });
    assert(
      this.machine.open(() => {}),
      "an empty ledger is open at once",
    );
    this.request = allocatePages(headerSize + messageBodySizeMax);
    this.reply = allocatePages(headerSize + messageBodySizeMax);
  }

  createAccounts(): void {
    for (let index = 0; index < accounts; index += 1) {
      const at = this.clear(index);
      this.request.words[at] = index + 1;
      this.request.words[at + accountRecord.word.ledger] = 1;
      this.request.words[at + accountRecord.word.code] = 1;
    }
    this.execute(Operation.createAccounts, accounts);
  }

  createTransfers(count: number): void {
    for (let index = 0; index < count; index += 1) this.transfer(index, 0);
    this.execute(Operation.createTransfers, count);
  }

  /** Transfers that wait, then what becomes of them, and one that is refused. */
  createOthers(): void {
    const { words } = this.request;
    const count = 64;
    const first = this.transfers + 1;
    for (let index = 0; index < count; index += 1) {
      words[this.transfer(index, TransferFlag.pending) + word.timeout] = index & 1;
    }
    this.execute(Operation.createTransfers, count);
    for (let index = 0; index < count; index += 1) {
      const posts = (index & 1) === 0;
      const { postPendingTransfer, voidPendingTransfer } = TransferFlag;
      const at = this.transfer(index, posts ? postPendingTransfer : voidPendingTransfer);
      words[at + word.pendingId] = first + index;
      // The accounts are those of the pending transfer, and so is the amount: 2^128 − 1 posts all.
      words[at + word.debitAccountId] = 0;
      words[at + word.creditAccountId] = 0;
      words.fill(posts ? 0xffff_ffff : 0, at + word.amount, at + word.amount + 4);
    }
    this.transfer(count, TransferFlag.linked);
    this.transfer(count + 1, 0);
    words[this.transfer(count + 2, 0) + word.creditAccountId] = accounts + 1;
    this.execute(Operation.createTransfers, count + 3, count + 2);
  }

  private clear(index: number): number {
    const at = headerSize / 4 + index * recordWords;
    this.request.words.fill(0, at, at + recordWords);
    return at;
  }

  /** Writes event `index` of the request. Returns where. */
  private transfer(index: number, flags: number): number {
    const { words } = this.request;
    const at = this.clear(index);
    this.transfers += 1;
    const number = this.transfers;
    words[at] = number;
    // Neighbours have different accounts, as in real loads; 7 and 1,000 have no common factor.
    words[at + word.debitAccountId] = 1 + ((number * 7) % accounts);
    words[at + word.creditAccountId] = 1 + ((number * 7 + 501) % accounts);
    words[at + word.amount] = 1 + (number & 1023);
    words[at + word.ledger] = 1;
    words[at + word.code] = 1 | (flags << 16);
    return at;
  }

  private execute(operation: number, events: number, created = events): void {
    const { machine, request, reply } = this;
    const size = operationEventSize[operation]!;
    this.counts[0] = events;
    const bodySize = multiBatchFinish(
      request.bytes,
      headerSize,
      events * size,
      size,
      this.counts,
      1,
    );
    this.op += 1;
    const { words, bytes } = request;
    const refusal = machine.validate(operation, words, bytes, headerSize, bodySize);
    assert(refusal === 0, "the requests are well-formed");
    const ready = machine.prefetch(
      operation,
      this.op * opRowsMax,
      1,
      words,
      bytes,
      headerSize,
      bodySize,
      reply.words,
      reply.bytes,
      headerSize,
      () => {},
    );
    assert(ready, "what lies in memory is not waited for");
    machine.commit();
    const statusAt = headerSize / 4 + createResultRecord.word.status;
    for (let event = 0; event < created; event += 1) {
      const status = reply.words[statusAt + event * resultWords];
      assert(status === statusCreated, "what is rehearsed is what mostly happens");
    }
    let compacted = false;
    const onCompacted = (): void => {
      compacted = true;
    };
    if (this.storage.compact(this.op, onCompacted)) compacted = true;
    this.file.endAll();
    assert(compacted, "without a disk nothing is waited for");
  }
}

/**
 * Once per process is enough: code that is compiled stays so. Makes no I/O and holds up its caller, until the
 * budget is over and the batch ends that had begun within it; what comes before the batches (the ledger,
 * its accounts, the rarer transfers) counts and is done in any case. Measured: 190 to 260 ms with both
 * processors taken by others, of which 30 to 100 were over before the first batch.
 *
 * @param nowMs - A clock that never goes back.
 * @returns Batches of transfers that were run.
 */
export function warmUp(nowMs: () => number): number {
  const endMs = nowMs() + budgetMs;
  const rehearsal = new Rehearsal();
  rehearsal.createAccounts();
  const most = eventMax(Operation.createTransfers, messageBodySizeMax);
  rehearsal.createOthers();
  let batches = 0;
  while (batches < batchesMax && nowMs() < endMs) {
    rehearsal.createTransfers(most);
    batches += 1;
  }
  return batches;
}
