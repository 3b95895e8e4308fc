/**
 * Undoes a broken chain of linked events: what was appended since its start is cut off, what was
 * changed in place is put back from copies taken before each change, newest first.
 *
 * At most one chain is open, within one sub-batch; nothing is logged while none is.
 */
import { assert } from "../core/assert.ts";
import { eventsMax } from "./batch.ts";
import type { LedgerState } from "./ledger-state.ts";
import { accountRecord, balanceWords } from "./records.ts";

const balancesWord = accountRecord.word.debitsPending;
const codeFlagsWord = accountRecord.word.code;

/** A copy of an account: its row, its balances, the word with its flags. */
const accountCopyWords = balanceWords + 2;
/** Every transfer changes two accounts. */
const accountCopiesMax = 2 * eventsMax;

export class UndoLog {
  private readonly accountCopies: Uint32Array;
  private accountCopyCount = 0;
  private readonly statusRows = new Uint32Array(eventsMax);
  private readonly statuses = new Uint8Array(eventsMax);
  private statusCount = 0;

  private accounts = 0;
  private transfers = 0;
  private resolvedCount = 0;
  private readonly pulseNext = new Uint32Array(2);
  private readonly lastAccountTime = new Uint32Array(2);
  private readonly lastTransferTime = new Uint32Array(2);

  constructor(
    private readonly state: LedgerState,
    allocateWords: (count: number) => Uint32Array,
  ) {
    this.accountCopies = allocateWords(accountCopiesMax * accountCopyWords);
  }

  /** Takes a savepoint at the start of a chain. */
  open(): void {
    const state = this.state;
    assert(!state.chainOpen, "chains do not nest");
    state.chainOpen = true;
    this.accountCopyCount = 0;
    this.statusCount = 0;
    this.accounts = state.accounts.count;
    this.transfers = state.transfers.count;
    this.resolvedCount = state.resolvedCount;
    this.pulseNext.set(state.pulseNext);
    this.lastAccountTime.set(state.lastAccountTime);
    this.lastTransferTime.set(state.lastTransferTime);
  }

  /** Keeps the chain's effects. */
  close(): void {
    assert(this.state.chainOpen, "a chain is open");
    this.state.chainOpen = false;
  }

  saveAccount(row: number): void {
    assert(this.accountCopyCount < accountCopiesMax, "an event changes two accounts");
    const words = this.state.accountWords(row);
    const at = this.state.accountAt(row);
    const copyAt = this.accountCopyCount * accountCopyWords;
    this.accountCopyCount += 1;
    this.accountCopies[copyAt] = row;
    this.accountCopies[copyAt + 1] = words[at + codeFlagsWord]!;
    for (let word = 0; word < balanceWords; word += 1) {
      this.accountCopies[copyAt + 2 + word] = words[at + balancesWord + word]!;
    }
  }

  savePendingStatus(row: number): void {
    assert(this.statusCount < eventsMax, "an event changes one pending status");
    this.statusRows[this.statusCount] = row;
    this.statuses[this.statusCount] = this.state.pendingStatusOf(row);
    this.statusCount += 1;
  }

  /** Undoes everything since `open` and closes the chain. */
  rollBack(): void {
    const state = this.state;
    assert(state.chainOpen, "a chain is open");
    // Nothing below is to be logged.
    state.chainOpen = false;
    this.restoreAccounts();
    while (this.statusCount > 0) {
      this.statusCount -= 1;
      state.setPendingStatus(this.statusRows[this.statusCount]!, this.statuses[this.statusCount]!);
    }
    for (let row = state.transfers.count - 1; row >= this.transfers; row -= 1) {
      state.transferIds.remove(row);
    }
    for (let row = state.accounts.count - 1; row >= this.accounts; row -= 1) {
      state.accountIds.remove(row);
    }
    state.transfers.truncate(this.transfers);
    state.balances.truncate(this.transfers);
    state.pendingStatus.truncate(this.transfers);
    state.accounts.truncate(this.accounts);
    state.resolvedCount = this.resolvedCount;
    state.pulseNext.set(this.pulseNext);
    state.lastAccountTime.set(this.lastAccountTime);
    state.lastTransferTime.set(this.lastTransferTime);
  }

  private restoreAccounts(): void {
    while (this.accountCopyCount > 0) {
      this.accountCopyCount -= 1;
      const copyAt = this.accountCopyCount * accountCopyWords;
      const row = this.accountCopies[copyAt]!;
      this.state.accounts.touch(row);
      const words = this.state.accountWords(row);
      const at = this.state.accountAt(row);
      words[at + codeFlagsWord] = this.accountCopies[copyAt + 1]!;
      for (let word = 0; word < balanceWords; word += 1) {
        words[at + balancesWord + word] = this.accountCopies[copyAt + 2 + word]!;
      }
    }
  }
}
