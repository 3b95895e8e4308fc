/**
 * The hot path: a sub-batch of transfers none of which has a flag. An event for which nothing
 * stands in the way is executed here, in one straight line; every other one goes to
 * `TransferCreator`, which checks again, in order of precedence, and says why not.
 *
 * Rows of transfers are the events but for the timestamp. They are copied in runs: as long as
 * events in a row are created, and their rows lie one behind the other, one copy moves them all,
 * at a tenth of the cost. Invariant: the rows of a run are written (`endRun`) before anything else
 * may read or append rows.
 */
import { assert } from "../core/assert.ts";
import { u128Add, u128IsMax, u128IsZero } from "../core/u128.ts";
import type { LedgerState } from "./ledger-state.ts";
import { AccountFlag, accountRecord, createResultRecord, transferRecord } from "./records.ts";
import type { Request } from "./request.ts";
import {
  decidedCreated,
  statusCreated,
  statusTimestampMustBeZero,
  transferStatusTransient,
} from "./status.ts";
import { blockEvents, type TransferPrefetch } from "./transfer-prefetch.ts";
import type { TransferCreator } from "./transfers.ts";

const eventWords = transferRecord.size / 4;
const resultWords = createResultRecord.size / 4;
const statusWord = createResultRecord.word.status;
const reservedWord = createResultRecord.word.reserved;
const amountWord = transferRecord.word.amount;
const pendingIdWord = transferRecord.word.pendingId;
const timeoutWord = transferRecord.word.timeout;
const ledgerWord = transferRecord.word.ledger;
const codeFlagsWord = transferRecord.word.code;
const timestampWord = transferRecord.word.timestamp;

const debitsPendingWord = accountRecord.word.debitsPending;
const debitsPostedWord = accountRecord.word.debitsPosted;
const creditsPendingWord = accountRecord.word.creditsPending;
const creditsPostedWord = accountRecord.word.creditsPosted;
const accountCodeFlagsWord = accountRecord.word.code;

/** Accounts with one of these need more checks. Bits of the word that holds code and flags. */
const debitGuards = (AccountFlag.closed | AccountFlag.debitsMustNotExceedCredits) << 16;
const creditGuards = (AccountFlag.closed | AccountFlag.creditsMustNotExceedDebits) << 16;

/** Values whose top words are below 2^29 can be added three at a time without overflow. */
const topWordSafeShift = 29;

export class PlainTransfers {
  /** The run: its first event, where its events and rows begin, how many there are. */
  private runFirstEvent = 0;
  private runAt = 0;
  private runRows: Uint32Array = new Uint32Array(0);
  private runRowAt = 0;
  private runEvents = 0;

  constructor(
    private readonly state: LedgerState,
    private readonly prefetch: TransferPrefetch,
    private readonly creator: TransferCreator,
  ) {}

  /** Executes a sub-batch and writes its results. */
  execute(request: Request, firstEvent: number, events: number): void {
    const { words, reply, timestamp } = request;
    // As `copyEventTime` has it.
    const eventsAfter = request.events - 1;
    const { eventTime, resultTime } = this.state;
    const end = firstEvent + events;
    let at = request.wordAt + firstEvent * eventWords;
    let replyAt = request.replyWordAt + firstEvent * resultWords;
    for (let event = firstEvent; event < end; event += 1) {
      if ((event - firstEvent) % blockEvents === 0) {
        this.prefetch.gatherBlock(words, at, event, Math.min(blockEvents, end - event));
      }
      if (this.createSimple(request, words, at, event)) {
        const low = timestamp[0]! - (eventsAfter - event);
        reply[replyAt] = low;
        reply[replyAt + 1] = low < 0 ? timestamp[1]! - 1 : timestamp[1]!;
        reply[replyAt + statusWord] = statusCreated;
      } else {
        this.endRun(request);
        request.copyEventTime(event, eventTime);
        resultTime.set(eventTime);
        const status = this.createOther(words, at, event);
        reply[replyAt] = resultTime[0]!;
        reply[replyAt + 1] = resultTime[1]!;
        reply[replyAt + statusWord] = status;
      }
      reply[replyAt + reservedWord] = 0;
      at += eventWords;
      replyAt += resultWords;
    }
    this.endRun(request);
  }

  /** An event that something may stand in the way of. */
  private createOther(words: Uint32Array, at: number, event: number): number {
    if ((words[at + timestampWord]! | words[at + timestampWord + 1]!) !== 0) {
      return statusTimestampMustBeZero;
    }
    const status = this.creator.create(words, at, event);
    if (status !== decidedCreated && transferStatusTransient[status] === 1) {
      this.state.burnId(words, at);
    }
    return status;
  }

  /** Creates the transfer at words[at…] if that needs no further look; otherwise does nothing. */
  private createSimple(request: Request, words: Uint32Array, at: number, event: number): boolean {
    const state = this.state;
    const { prefetch } = this;
    // Without flags the word holds the code alone.
    if (words[at + codeFlagsWord] === 0) return false;
    if (
      (words[at + timestampWord]! | words[at + timestampWord + 1]! | words[at + timeoutWord]!) !==
      0
    ) {
      return false;
    }
    if (!u128IsZero(words, at + pendingIdWord)) return false;
    if (u128IsZero(words, at) || u128IsMax(words, at)) return false;
    const debitRow = prefetch.debitRow(event);
    const creditRow = prefetch.creditRow(event);
    // No account has one of the ids that are not allowed.
    if (debitRow < 0 || creditRow < 0 || debitRow === creditRow) return false;
    const ledger = words[at + ledgerWord]!;
    if (ledger !== prefetch.debitLedger(event)) return false;
    if (ledger !== prefetch.creditLedger(event)) return false;
    if (prefetch.idReference(event) !== 0) return false;
    const hash = prefetch.hash(event);
    if (state.transferIds.findActive(hash, words, at) !== 0) return false;

    const debit = state.accountWords(debitRow);
    const debitAt = state.accountAt(debitRow);
    const credit = state.accountWords(creditRow);
    const creditAt = state.accountAt(creditRow);
    if ((debit[debitAt + accountCodeFlagsWord]! & debitGuards) !== 0) return false;
    if ((credit[creditAt + accountCodeFlagsWord]! & creditGuards) !== 0) return false;
    const tops =
      words[at + amountWord + 3]! |
      debit[debitAt + debitsPendingWord + 3]! |
      debit[debitAt + debitsPostedWord + 3]! |
      credit[creditAt + creditsPendingWord + 3]! |
      credit[creditAt + creditsPostedWord + 3]!;
    if (tops >>> topWordSafeShift !== 0) return false;

    assert(!state.chainOpen, "plain events belong to no chain");
    state.accounts.touch(debitRow);
    state.accounts.touch(creditRow);
    const amountAt = at + amountWord;
    const debits = debitAt + debitsPostedWord;
    const credits = creditAt + creditsPostedWord;
    u128Add(debit, debits, debit, debits, words, amountAt);
    u128Add(credit, credits, credit, credits, words, amountAt);
    // Nothing has looked for another id since.
    state.reserveTransfer(words, at, hash, debitRow, creditRow, true);
    this.addToRun(request, at, event);
    return true;
  }

  /** The row just reserved is that of the event at words[at…]. */
  private addToRun(request: Request, at: number, event: number): void {
    const rows = this.state.transfers.tailWords;
    const rowAt = this.state.transfers.tailAt;
    if (this.runEvents > 0) {
      // Events of a run follow one another: whatever else happens ends it.
      if (rows === this.runRows && rowAt === this.runRowAt + this.runEvents * eventWords) {
        this.runEvents += 1;
        return;
      }
      this.endRun(request);
    }
    this.runFirstEvent = event;
    this.runAt = at;
    this.runRows = rows;
    this.runRowAt = rowAt;
    this.runEvents = 1;
  }

  /** Writes the rows of the run. */
  private endRun(request: Request): void {
    const events = this.runEvents;
    if (events === 0) return;
    this.runEvents = 0;
    const rows = this.runRows;
    const from = this.runAt;
    let rowAt = this.runRowAt;
    rows.set(request.words.subarray(from, from + events * eventWords), rowAt);
    const time = this.state.lastTransferTime;
    for (let event = this.runFirstEvent; event < this.runFirstEvent + events; event += 1) {
      request.copyEventTime(event, time);
      rows[rowAt + timestampWord] = time[0]!;
      rows[rowAt + timestampWord + 1] = time[1]!;
      rowAt += eventWords;
    }
  }
}
