/**
 * Judges a server by the reference ledger. Every request that was answered is executed again in
 * the order of the timestamps in its reply, and must give the same bytes; expiries come from the
 * server's change events and must release exactly what was due. Then the whole state is compared.
 */

import { at, bodyOf, field } from "../interop/messages.ts";
import {
  accountCodec,
  type Codec,
  changeEventCodec,
  changeEventsFilterCodec,
  decodeArray,
  queryFilterCodec,
  transferCodec,
} from "../reference/codec.ts";
import { ReferenceLedger } from "../reference/ledger.ts";
import { makeQueryFilter } from "../reference/make.ts";
import { executeRequest, Operation, splitReply } from "../reference/operations.ts";
import {
  type Account,
  type ChangeEvent,
  ChangeEventType,
  type Transfer,
} from "../reference/records.ts";

export interface Answered {
  readonly operation: number;
  readonly body: Uint8Array;
  /** A whole message. Its op is 0 where a client does not tell it. */
  readonly reply: Uint8Array;
  /** Sent more than once: if it reads, the answer may show a later state than its timestamp. */
  readonly resent: boolean;
}

/** Reads the server's state; a RawSession is one. */
export interface Checker {
  build(operation: number, body: Uint8Array): Uint8Array;
  buildBatches(operation: number, batches: readonly Uint8Array[]): Uint8Array;
  roundTripRetrying(message: Uint8Array): Promise<Uint8Array>;
}

interface Entry extends Answered {
  readonly timestamp: bigint;
  readonly op: bigint;
}

/** Creates change the state; a stored reply is repeated, not executed again. */
function writes(operation: number): boolean {
  return [129, 130, 138, 139, 146, 147].includes(operation);
}

/** The server is wrong. */
export class JudgementError extends Error {
  override name = "JudgementError";
}

export class Judge {
  readonly reference = new ReferenceLedger();
  /** Answered requests that the reference has not executed yet. */
  private waiting: Entry[] = [];
  private settledTo = 0n;
  private opMax = 0n;
  /** Requests compared so far. */
  judged = 0;
  expired = 0;

  add(answered: Answered): void {
    const { reply } = answered;
    this.waiting.push({
      ...answered,
      timestamp: field(reply, at.reply.timestamp, 8),
      op: field(reply, at.reply.op, 8),
    });
  }

  get opsSeen(): bigint {
    return this.opMax;
  }

  /**
   * Compares everything up to now. No request of the load may be in flight.
   * @param whole - Read the whole state back, not only what is new.
   */
  async verify(checker: Checker, whole: boolean): Promise<void> {
    const from = whole ? 0n : this.settledTo + 1n;
    const accounts = await readAll(checker, Operation.queryAccounts, accountCodec, 0n);
    const upTo = accounts.timestamp;
    const transfers = await readAll(checker, Operation.queryTransfers, transferCodec, from);
    const events = await readEvents(checker, from, upTo);

    const expiries = events.filter(
      ({ type, timestamp }) => type === ChangeEventType.expired && timestamp > this.settledTo,
    );
    this.execute(upTo, pulsesOf(expiries));
    this.reference.checkInvariants();
    compareLists("account", accounts.list, this.reference.queryAccounts(everything(0n)));
    compareLists("transfer", transfers.list, allTransfers(this.reference, from));
    compareLists("change event", events, allEvents(this.reference, from));
  }

  private execute(upTo: bigint, pulses: readonly { last: bigint; count: number }[]): void {
    this.waiting.sort((a, b) => (a.timestamp < b.timestamp ? -1 : 1));
    const left = [...pulses];
    for (const entry of this.waiting) {
      if (entry.timestamp > upTo)
        throw new JudgementError("a request was in flight during the comparison");
      if (entry.timestamp <= this.settledTo) {
        throw new JudgementError(`timestamp ${entry.timestamp} came late or twice`);
      }
      if (entry.op !== 0n && entry.op < this.opMax)
        throw new JudgementError("ops and timestamps disagree about the order");
      while (left.length > 0 && left[0]!.last < entry.timestamp) this.pulse(left.shift()!);
      if (entry.op !== 0n) this.opMax = entry.op;
      this.settledTo = entry.timestamp;
      this.judge(entry);
    }
    for (const pulse of left) this.pulse(pulse);
    this.waiting = [];
    this.settledTo = upTo;
  }

  private pulse({ last, count }: { last: bigint; count: number }): void {
    const expired = this.reference.pulse(last);
    this.expired += expired;
    if (expired !== count) {
      throw new JudgementError(
        `a pulse at ${last} expired ${count} transfers, the reference ${expired}`,
      );
    }
  }

  private judge(entry: Entry): void {
    const { operation, body, timestamp, reply, resent } = entry;
    const expected = executeRequest(this.reference, operation, body, timestamp);
    this.judged += 1;
    if (resent && !writes(operation)) return;
    const actual = bodyOf(reply);
    if (Buffer.compare(expected, actual) !== 0) {
      throw new JudgementError(
        `operation ${operation} at op ${entry.op} (${resent ? "resent" : "sent once"}): ` +
          `expected ${hex(expected)}, got ${hex(actual)}; request ${hex(body)}`,
      );
    }
  }
}

function everything(from: bigint) {
  return makeQueryFilter({ timestamp_min: from, limit: 0xffff_ffff });
}

/** The reference's answers without the limit of one reply. */
function allTransfers(reference: ReferenceLedger, from: bigint): Transfer[] {
  return reference.queryTransfers(everything(from), 0xffff_ffff);
}

function allEvents(reference: ReferenceLedger, from: bigint): ChangeEvent[] {
  const list: ChangeEvent[] = [];
  for (let next = from; ; ) {
    const page = reference.getChangeEvents({
      timestamp_min: next,
      timestamp_max: 0n,
      limit: 0xffff_ffff,
    });
    if (page.length === 0) return list;
    list.push(...page);
    next = page.at(-1)!.timestamp + 1n;
  }
}

/** Expiries of one pulse have consecutive timestamps; two pulses lie thousands apart. */
function pulsesOf(events: readonly ChangeEvent[]): { last: bigint; count: number }[] {
  const pulses: { last: bigint; count: number }[] = [];
  for (const { timestamp } of events) {
    const open = pulses.at(-1);
    if (open !== undefined && open.last + 1n === timestamp) {
      open.last = timestamp;
      open.count += 1;
    } else {
      pulses.push({ last: timestamp, count: 1 });
    }
  }
  return pulses;
}

/** All objects from a timestamp on, page by page; `timestamp` is that of the first reply. */
async function readAll<T extends Account | Transfer>(
  checker: Checker,
  operation: number,
  codec: Codec<T>,
  from: bigint,
): Promise<{ list: T[]; timestamp: bigint }> {
  const list: T[] = [];
  let timestamp = 0n;
  for (let next = from; ; ) {
    const filter = queryFilterCodec.encode(makeQueryFilter({ timestamp_min: next }));
    const reply = await checker.roundTripRetrying(checker.buildBatches(operation, [filter]));
    if (timestamp === 0n) timestamp = field(reply, at.reply.timestamp, 8);
    const page = decodeArray(codec, splitReply(operation, bodyOf(reply))![0]!);
    if (page.length === 0) return { list, timestamp };
    list.push(...page);
    next = page.at(-1)!.timestamp + 1n;
  }
}

async function readEvents(checker: Checker, from: bigint, upTo: bigint): Promise<ChangeEvent[]> {
  const list: ChangeEvent[] = [];
  for (let next = from; next <= upTo; ) {
    const filter = changeEventsFilterCodec.encode({
      timestamp_min: next,
      timestamp_max: upTo,
      limit: 0xffff_ffff,
    });
    const message = checker.build(Operation.getChangeEvents, filter);
    const page = decodeArray(changeEventCodec, bodyOf(await checker.roundTripRetrying(message)));
    if (page.length === 0) return list;
    list.push(...page);
    next = page.at(-1)!.timestamp + 1n;
  }
  return list;
}

function compareLists(what: string, actual: readonly object[], expected: readonly object[]): void {
  for (let i = 0; i < Math.max(actual.length, expected.length); i += 1) {
    const a = show(actual[i]);
    const e = show(expected[i]);
    if (a !== e) {
      throw new JudgementError(
        `${what} ${i} of ${expected.length} (server has ${actual.length}): expected ${e}, got ${a}`,
      );
    }
  }
}

function show(value: object | undefined): string {
  return (
    JSON.stringify(value, (_key, field) => (typeof field === "bigint" ? `${field}` : field)) ??
    "nothing"
  );
}

function hex(bytes: Uint8Array): string {
  return `${bytes.length} bytes ${Buffer.from(bytes).toString("hex").slice(0, 800)}`;
}
