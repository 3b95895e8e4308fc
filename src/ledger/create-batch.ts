/**
 * Executes the create operations: sub-batches in order, events in order, chains of linked events
 * that succeed or fail together (protocol/semantics.md §2.2), one result per event.
 *
 *     no chain ──linked──▶ open ──failure──▶ broken: all since `open` is undone
 *        ▲                  │                  │
 *        └── the chain's last event ───────────┘
 *
 * Results are written as 16-byte results, in order, straight into the reply; a chain that breaks
 * rewrites those of its earlier events. The deprecated operations' list of failures is then made
 * from them in place.
 */
import { assert } from "../core/assert.ts";
import { u64CompareAt } from "../core/u128.ts";
import type { AccountPrefetch } from "./account-prefetch.ts";
import { AccountCreator } from "./accounts.ts";
import {
  isMultiBatch,
  isSparse,
  resultSize,
  subBatchCount,
  subBatchEvents,
  writeTrailer,
} from "./batch.ts";
import type { LedgerState } from "./ledger-state.ts";
import { PlainTransfers } from "./plain-transfers.ts";
import {
  AccountFlag,
  accountRecord,
  createResultRecord,
  errorResultRecord,
  TransferFlag,
  timestampHighMax,
  transferRecord,
} from "./records.ts";
import type { Request } from "./request.ts";
import {
  AccountStatus,
  decidedCreated,
  statusCreated,
  statusLinkedEventChainOpen,
  statusLinkedEventFailed,
  statusTimestampMustBeZero,
  TransferStatus,
  transferStatusTransient,
} from "./status.ts";
import { blockEvents, type TransferPrefetch } from "./transfer-prefetch.ts";
import { TransferCreator } from "./transfers.ts";

const eventWords = transferRecord.size / 4;
const codeFlagsWord = transferRecord.word.code;
const timestampWord = transferRecord.word.timestamp;
const resultWords = createResultRecord.size / 4;
const statusWord = createResultRecord.word.status;
const reservedWord = createResultRecord.word.reserved;
const errorWords = errorResultRecord.size / 4;
/** No decision yet. */
const noStatus = 0;

assert(accountRecord.word.code === codeFlagsWord, "accounts and transfers agree");
assert(accountRecord.word.timestamp === timestampWord, "accounts and transfers agree");
const linkedFlag = TransferFlag.linked;
assert(AccountFlag.linked === linkedFlag, "accounts and transfers agree");

/** Statuses of the batch checks, which have a number of their own per operation. */
interface ImportStatuses {
  readonly flag: number;
  readonly expected: number;
  readonly notExpected: number;
  readonly outOfRange: number;
  readonly mustNotAdvance: number;
}

const accountImports: ImportStatuses = {
  flag: AccountFlag.imported,
  expected: AccountStatus.importedEventExpected,
  notExpected: AccountStatus.importedEventNotExpected,
  outOfRange: AccountStatus.importedEventTimestampOutOfRange,
  mustNotAdvance: AccountStatus.importedEventTimestampMustNotAdvance,
};

const transferImports: ImportStatuses = {
  flag: TransferFlag.imported,
  expected: TransferStatus.importedEventExpected,
  notExpected: TransferStatus.importedEventNotExpected,
  outOfRange: TransferStatus.importedEventTimestampOutOfRange,
  mustNotAdvance: TransferStatus.importedEventTimestampMustNotAdvance,
};

export class CreateBatch {
  private readonly accounts: AccountCreator;
  private readonly transfers: TransferCreator;
  private readonly plain: PlainTransfers;
  private readonly counts = new Uint16Array(0x1_0000);

  /** Timestamp of the last event of the sub-batch in progress. */
  private readonly lastTime = new Uint32Array(2);

  constructor(
    private readonly state: LedgerState,
    accountPrefetch: AccountPrefetch,
    private readonly prefetch: TransferPrefetch,
  ) {
    this.accounts = new AccountCreator(state, accountPrefetch);
    this.transfers = new TransferCreator(state, prefetch);
    this.plain = new PlainTransfers(state, prefetch, this.transfers);
  }

  /**
   * Executes a create operation, writes its reply and returns the reply's length.
   * @param plain - These are transfers, none of them with a flag: no chains, no imports.
   */
  commit(request: Request, ofAccounts: boolean, plain: boolean): number {
    const state = this.state;
    const { operation, bytes, byteAt, byteLength } = request;
    state.beginRequest(ofAccounts ? state.accounts.count : state.transfers.count);
    const subBatches = subBatchCount(operation, bytes, byteAt, byteLength);
    const sparse = isSparse(operation);
    let event = 0;
    let elements = 0;
    for (let index = 0; index < subBatches; index += 1) {
      const events = subBatchEvents(operation, bytes, byteAt, byteLength, index);
      if (plain) this.plain.execute(request, event, events);
      else this.execute(request, ofAccounts, event, events);
      this.counts[index] = sparse ? this.compact(request, event, events, elements) : events;
      elements += this.counts[index]!;
      event += events;
    }
    assert(event === request.events, "sub-batches hold the request's events");
    if (ofAccounts) state.finishAccounts();
    else state.finishTransfers();
    const size = resultSize(operation);
    if (!isMultiBatch(operation)) return elements * size;
    return writeTrailer(
      request.replyBytes,
      request.replyByteAt,
      elements * size,
      size,
      this.counts,
      subBatches,
    );
  }

  /** Any sub-batch. The numbers are those of the steps in semantics.md §2.2. */
  private execute(request: Request, ofAccounts: boolean, firstEvent: number, events: number): void {
    if (events === 0) return;
    const words = request.words;
    const reply = request.reply;
    const { eventTime, resultTime } = this.state;
    const imports = ofAccounts ? accountImports : transferImports;
    const firstAt = request.wordAt + firstEvent * eventWords;
    const imported = (words[firstAt + codeFlagsWord]! >>> 16) & imports.flag;
    request.copyEventTime(firstEvent + events - 1, this.lastTime);
    let chainFirst = -1;
    let broken = false;
    for (let index = 0; index < events; index += 1) {
      const event = firstEvent + index;
      const at = firstAt + index * eventWords;
      const replyAt = request.replyWordAt + event * resultWords;
      const flags = words[at + codeFlagsWord]! >>> 16;
      if (!ofAccounts && index % blockEvents === 0) {
        this.prefetch.gatherBlock(words, at, event, Math.min(blockEvents, events - index));
      }
      request.copyEventTime(event, eventTime);
      resultTime[0] = eventTime[0]!;
      resultTime[1] = eventTime[1]!;
      let status: number = noStatus;
      // 1.
      if ((flags & linkedFlag) !== 0) {
        if (chainFirst < 0) {
          chainFirst = index;
          broken = false;
          this.state.undo.open();
        }
        if (index === events - 1) status = statusLinkedEventChainOpen;
      }
      // 2.
      if (status === noStatus && chainFirst >= 0 && broken) status = statusLinkedEventFailed;
      // 3 and 4.
      if (status === noStatus) {
        status = this.checkTimestamp(words, at, imported, imports);
      }
      // 5.
      if (status === noStatus) {
        status = ofAccounts
          ? this.accounts.create(words, at, event)
          : this.transfers.create(words, at, event);
      }
      // 7.
      if (status !== decidedCreated && chainFirst >= 0 && !broken) {
        broken = true;
        this.state.undo.rollBack();
        for (let earlier = chainFirst; earlier < index; earlier += 1) {
          reply[replyAt - (index - earlier) * resultWords + statusWord] = statusLinkedEventFailed;
        }
      }
      // 8.
      if (!ofAccounts && status !== decidedCreated && transferStatusTransient[status] === 1) {
        this.state.burnId(words, at);
      }
      // 9.
      reply[replyAt] = resultTime[0]!;
      reply[replyAt + 1] = resultTime[1]!;
      reply[replyAt + statusWord] = status;
      reply[replyAt + reservedWord] = 0;
      // 10.
      if (
        chainFirst >= 0 &&
        ((flags & linkedFlag) === 0 || status === statusLinkedEventChainOpen)
      ) {
        if (!broken) this.state.undo.close();
        chainFirst = -1;
        broken = false;
      }
    }
    assert(chainFirst < 0, "a chain ends within its sub-batch");
  }

  /**
   * Steps 3 and 4: the events of a sub-batch are all imported or none is, and only imported ones
   * bring a timestamp.
   * @param imported - The flag of the first event of the sub-batch.
   */
  private checkTimestamp(
    words: Uint32Array,
    at: number,
    imported: number,
    imports: ImportStatuses,
  ): number {
    const flag = (words[at + codeFlagsWord]! >>> 16) & imports.flag;
    if (flag !== imported) return flag === 0 ? imports.expected : imports.notExpected;
    const low = words[at + timestampWord]!;
    const high = words[at + timestampWord + 1]!;
    if (flag === 0) return (low | high) === 0 ? noStatus : statusTimestampMustBeZero;
    if ((low | high) === 0 || high > timestampHighMax) return imports.outOfRange;
    const advances = u64CompareAt(words, at + timestampWord, this.lastTime, 0) >= 0;
    return advances ? imports.mustNotAdvance : noStatus;
  }

  /**
   * Turns the results of a sub-batch into the list of its failures, written after the `elements`
   * entries of the sub-batches before it: never beyond the results that it reads, which are
   * twice as long. Returns the number of failures.
   */
  private compact(request: Request, firstEvent: number, events: number, elements: number): number {
    const reply = request.reply;
    let from = request.replyWordAt + firstEvent * resultWords;
    let to = request.replyWordAt + elements * errorWords;
    let failures = 0;
    for (let index = 0; index < events; index += 1) {
      const status = reply[from + statusWord]!;
      if (status !== statusCreated) {
        reply[to] = index;
        reply[to + 1] = status;
        to += errorWords;
        failures += 1;
      }
      from += resultWords;
    }
    return failures;
  }
}
