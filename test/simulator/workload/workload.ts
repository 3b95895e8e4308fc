/**
 * What clients ask for: requests over every operation of the ledger, drawn from the seed's mix.
 * Shared by all clients of a seed, so that what one creates another uses, while it is still being
 * replicated.
 *
 * A request is a valid body (semantics.md leaves everything else to status codes); what a server
 * must refuse as a whole is the business of clients/mischief.ts.
 */
import type { Prng } from "../../../src/core/prng.ts";
import { accountCodec, encodeArray, transferCodec } from "../../reference/codec.ts";
import type { ReferenceLedger } from "../../reference/ledger.ts";
import { encodeRequest, eventMax, isValidBody, Operation } from "../../reference/operations.ts";
import type { Account, Transfer } from "../../reference/records.ts";
import { AccountMaker } from "./accounts.ts";
import { Knowledge } from "./knowledge.ts";
import { drawMix, type Mix, SizePattern } from "./mix.ts";
import { ReadMaker } from "./reads.ts";
import { TransferMaker } from "./transfers.ts";

export interface WorkloadOptions {
  /** Accounts that there will be, roughly. */
  readonly accounts: number;
  /** Events of a request at most. */
  readonly eventsMax: number;
}

export interface GeneratedRequest {
  readonly operation: number;
  readonly body: Uint8Array;
}

/** Operations whose bodies are one array without a trailer. */
const unbatched: ReadonlySet<number> = new Set([129, 130, 131, 132, 133, 134, 135, 136, 137]);

export class Workload {
  readonly mix: Mix;
  /** Requests made, by operation. */
  readonly made = new Map<number, number>();
  private readonly knowledge: Knowledge;
  private readonly accounts: AccountMaker;
  private readonly transfers: TransferMaker;
  private readonly reads: ReadMaker;

  /** @param ledger - The model, at the newest op that was executed. */
  constructor(
    private readonly random: Prng,
    private readonly options: WorkloadOptions,
    ledger: ReferenceLedger,
    mix: Mix = drawMix(random),
  ) {
    this.mix = mix;
    this.knowledge = new Knowledge(ledger);
    this.accounts = new AccountMaker(random, mix, this.knowledge);
    this.transfers = new TransferMaker(random, mix, this.knowledge);
    this.reads = new ReadMaker(random, mix, this.knowledge);
  }

  /** @param bodySizeMax - The server's batch_size_limit. */
  next(bodySizeMax: number): GeneratedRequest {
    this.knowledge.learn();
    const operation = this.operation();
    this.made.set(operation, (this.made.get(operation) ?? 0) + 1);
    if (operation === Operation.noop) return { operation, body: new Uint8Array(0) };
    const { random, mix } = this;
    const several = !unbatched.has(operation) && random.chance(mix.subBatchShare);
    const batches = several ? random.range(2, mix.subBatchesMax) : 1;
    let total = Math.min(this.size(), eventsThatFit(operation, bodySizeMax));
    for (;;) {
      const body = encodeRequest(operation, this.parts(operation, batches, total));
      const fits = body.length <= bodySizeMax && isValidBody(operation, body, bodySizeMax);
      if (fits) return { operation, body };
      total = Math.floor(total / 2);
    }
  }

  /** Accounts come first: without them everything else fails. */
  private operation(): number {
    const { random } = this;
    const known = this.knowledge.accounts.length;
    const missing = this.knowledge.open < Math.max(4, this.options.accounts / 8);
    if (missing && random.chance(0.7)) return Operation.createAccounts;
    const operation = this.mix.operations.pick(random);
    const creates = operation === 129 || operation === 138 || operation === 146;
    // Enough of them: mostly look instead.
    if (creates && known >= this.options.accounts && random.chance(0.8)) {
      return Operation.createTransfers;
    }
    return operation;
  }

  private size(): number {
    const { random } = this;
    const { eventsMax } = this.options;
    if (random.chance(0.01)) return 0;
    switch (this.mix.sizePattern) {
      case SizePattern.one:
        return random.chance(0.9) ? 1 : random.range(1, eventsMax);
      case SizePattern.uniform:
        return random.range(1, eventsMax);
      case SizePattern.mostlySmall:
        return random.range(1, random.chance(0.1) ? eventsMax : Math.ceil(eventsMax / 8));
      default:
        return random.chance(0.5) ? eventsMax : random.range(1, eventsMax);
    }
  }

  /** Sub-batches with `total` events between them. */
  private parts(operation: number, batches: number, total: number): Uint8Array[] {
    const parts: Uint8Array[] = [];
    // The limits of several queries must fit one reply.
    const limitMax = batches === 1 ? 8189 : Math.floor(2000 / batches);
    let left = total;
    for (let index = 1; index <= batches; index += 1) {
      const count = index === batches ? left : this.random.below(left + 1);
      left -= count;
      parts.push(this.part(operation, count, limitMax));
    }
    return parts;
  }

  private part(operation: number, count: number, limitMax: number): Uint8Array {
    switch (operation) {
      case Operation.createAccounts:
      case Operation.createAccountsSparse:
      case Operation.createAccountsUnbatched:
        return encodeArray(accountCodec, this.chained(this.accounts.batch(count)));
      case Operation.createTransfers:
      case Operation.createTransfersSparse:
      case Operation.createTransfersUnbatched:
        return encodeArray(transferCodec, this.chained(this.transfers.batch(count)));
      case Operation.lookupAccounts:
      case Operation.lookupAccountsUnbatched:
        return this.reads.ids(false, count);
      case Operation.lookupTransfers:
      case Operation.lookupTransfersUnbatched:
        return this.reads.ids(true, count);
      case Operation.queryAccounts:
      case Operation.queryAccountsUnbatched:
        return this.reads.queryFilter(false, limitMax);
      case Operation.queryTransfers:
      case Operation.queryTransfersUnbatched:
        return this.reads.queryFilter(true, limitMax);
      case Operation.getChangeEvents:
        return this.reads.changesFilter(limitMax);
      default:
        return this.reads.accountFilter(limitMax);
    }
  }

  /** Links runs of events; seldom leaves the last chain open. */
  private chained<Event extends Account | Transfer>(events: Event[]): Event[] {
    const { random, mix } = this;
    if (!random.chance(mix.chainShare)) return events;
    let left = 0;
    for (const event of events) {
      if (left === 0 && random.chance(0.4)) left = random.range(2, 6);
      if (left > 1) event.flags |= 1;
      if (left > 0) left -= 1;
    }
    const last = events.at(-1);
    if (last !== undefined && random.chance(0.9)) last.flags &= ~1;
    return events;
  }
}

function eventsThatFit(operation: number, bodySizeMax: number): number {
  return Math.min(eventMax(operation, bodySizeMax), Math.floor(bodySizeMax / 128) - 4);
}
