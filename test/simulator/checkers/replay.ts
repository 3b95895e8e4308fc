/**
 * Executes the history on the reference ledger, each op once, when the first replica has executed
 * it, and remembers what the reply to each request must be. `judge` compares a reply that a client
 * has got with it, byte for byte.
 *
 * A query may be answered again at a later state (its reply is not kept): then it must be the
 * answer at the end of some op between its own and the present one. Its own op is above everything
 * that was acknowledged before the request was first sent (checkers/replies.ts), so that no answer
 * shows an older state.
 */
import { ReferenceLedger } from "../../reference/ledger.ts";
import { executeRequest, Operation } from "../../reference/operations.ts";
import type { Fail } from "./history.ts";
import { PastStates } from "./past-ledger.ts";
import type { ObservedPrepare, ObservedRequest } from "./prepare.ts";

/** A request as the history has executed it. */
export interface Executed {
  readonly op: number;
  readonly view: number;
  readonly author: number;
  readonly request: ObservedRequest;
  /** Body of the reply. */
  readonly reply: Uint8Array;
}

/** Operations whose replies are not kept, since they change nothing. */
const reads: ReadonlySet<number> = new Set([
  131, 132, 133, 134, 135, 136, 137, 140, 141, 142, 143, 144, 145,
]);

/** How the answer to a request was found right. */
export const Answer = { first: 0, repeated: 1 } as const;

export class Replay {
  readonly ledger = new ReferenceLedger();
  readonly counts = { queries: 0, pulses: 0, groups: 0, grouped: 0 };
  private readonly past = new PastStates(this.ledger);
  /** By checksum of the request. A `register` may come twice, when its session has been evicted. */
  private readonly executed = new Map<string, Executed[]>();

  constructor(private readonly fail: Fail) {}

  /** The op executed last. */
  get op(): number {
    return this.past.op;
  }

  /** Pending transfers whose time has come. */
  get expired(): number {
    return this.ledger.changes.length - this.ledger.transfers.size;
  }

  /** The ledger as it was after an op; for reading only. */
  stateAfter(op: number): ReferenceLedger {
    return this.past.after(op);
  }

  find(checksum: string): readonly Executed[] {
    return this.executed.get(checksum) ?? [];
  }

  execute(prepare: ObservedPrepare): void {
    const { op, view, author, requests } = prepare;
    if (op !== this.op + 1) this.fail(`op ${op} follows op ${this.op} in the replay`);
    if (requests.length > 1) {
      this.counts.groups += 1;
      this.counts.grouped += requests.length;
    }
    for (const request of requests) {
      const reply = this.run(op, request);
      if (request.client === "") continue;
      const one = { op, view, author, request, reply };
      const before = this.executed.get(request.checksum);
      if (before === undefined) this.executed.set(request.checksum, [one]);
      else before.push(one);
    }
    this.past.mark();
  }

  private run(op: number, request: ObservedRequest): Uint8Array {
    const { operation, body, timestamp } = request;
    if (operation === Operation.register) return registerReply(body);
    if (operation === Operation.pulse) this.counts.pulses += 1;
    if (reads.has(operation)) this.counts.queries += 1;
    try {
      return executeRequest(this.ledger, operation, body, timestamp);
    } catch (error) {
      this.fail(`op ${op} cannot be executed by the reference: ${error}`);
    }
  }

  /** Whether `body` is a right answer to the request, or why not. */
  judge(executed: Executed, body: Uint8Array): number | string {
    if (equal(body, executed.reply)) return Answer.first;
    const { operation } = executed.request;
    if (!reads.has(operation)) return difference(body, executed.reply);
    for (let op = this.op; op >= executed.op; op -= 1) {
      if (op > executed.op && this.past.unchangedBy(op)) continue;
      const ledger = this.past.after(op);
      const reply = executeRequest(ledger, operation, executed.request.body, 0n);
      if (equal(body, reply)) return Answer.repeated;
    }
    return `${difference(body, executed.reply)}, nor is it the answer after any op up to ${this.op}`;
  }
}

/** The primary has put its limit into the body that was logged. */
function registerReply(body: Uint8Array): Uint8Array {
  const reply = new Uint8Array(64);
  reply.set(body.subarray(0, 4));
  return reply;
}

function equal(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}

function difference(actual: Uint8Array, expected: Uint8Array): string {
  let at = 0;
  while (at < actual.length && actual[at] === expected[at]) at += 1;
  const around = (bytes: Uint8Array): string =>
    Buffer.from(bytes.subarray(at & ~15, (at & ~15) + 32)).toString("hex");
  return (
    `the body of ${actual.length} bytes is not the reference's of ${expected.length}: ` +
    `from byte ${at} (…${around(actual)}… for …${around(expected)}…)`
  );
}
