/**
 * Judges a replica that was started on what a crash left. Its rules, for any number of restarts:
 *
 * - every request that was answered is in the log that the replica recovered, under the same op;
 * - what was recovered once is there at each later start;
 * - no request is executed twice;
 * - each reply is the one that the reference ledger gives, executing the log op by op;
 * - all queries show the state of the reference ledger at the op that was recovered;
 * - a client that repeats its last request gets the first reply again: of a change, byte by byte;
 *   of a query, op, timestamp and context, and the present state.
 */
import { headerSize } from "../../src/core/limits.ts";
import { frame, replyHeader, requestHeader } from "../../src/wire/header.ts";
import { operationMutates } from "../../src/wire/operations.ts";
import { executeRequest, Operation } from "../reference/operations.ts";
import { ExpectedState } from "./expected-state.ts";
import type { Harness, ReplicaHost, Reply } from "./harness.ts";
import { Log } from "./log.ts";
import type { TestClient } from "./test-client.ts";

/** The replica is wrong. */
export class JudgementError extends Error {
  override name = "JudgementError";
}

function demand(condition: boolean, what: () => string): asserts condition {
  if (!condition) throw new JudgementError(what());
}

/** A request as the reference executed it. */
interface Executed {
  readonly op: number;
  readonly operation: number;
  readonly client: number;
  readonly request: number;
  readonly body: Uint8Array;
  readonly reply: Uint8Array;
}

export class Judge {
  readonly log = new Log();
  readonly state: ExpectedState;
  /** First replies. */
  private readonly acknowledged = new Map<string, Reply>();
  /** Highest op that a reply named. */
  opAcknowledged = 0;
  private readonly executed = new Map<string, Executed>();
  /** Replies to ops that the reference has not executed yet. */
  private waiting: Reply[] = [];

  constructor(accounts: number) {
    this.state = new ExpectedState(accounts);
  }

  /** Takes what the host has answered; clients go on. */
  takeReplies(host: ReplicaHost, clients: readonly TestClient[]): void {
    for (const reply of host.replies) {
      this.takeReply(reply);
      const client = clients.find((one) => one.id === reply.client);
      if (client === undefined || client.inFlight === null) continue;
      if (requestNumber(client.inFlight) === reply.request) client.accept(reply);
    }
    host.replies.length = 0;
    for (const { client, reason } of host.evictions) {
      throw new JudgementError(`client ${client} was evicted for reason ${reason}`);
    }
  }

  private takeReply(reply: Reply): void {
    const key = keyOf(reply.client, reply.request);
    const first = this.acknowledged.get(key);
    if (first !== undefined) {
      compareRepeated(first, reply, key);
      return;
    }
    this.acknowledged.set(key, reply);
    this.opAcknowledged = Math.max(this.opAcknowledged, reply.op);
    const executed = this.executed.get(key);
    if (executed !== undefined) compareFirst(reply, executed, key);
    else this.waiting.push(reply);
  }

  /** Executes the log up to `op` on the reference: it is the one that counts from now on. */
  settle(op: number): void {
    while (this.state.op < op) {
      const next = this.state.op + 1;
      const requests = this.log.requestsOf(next);
      const replies = this.state.execute(requests);
      for (const [index, { client, request, operation, body }] of requests.entries()) {
        if (client === 0) continue;
        const key = keyOf(client, request);
        const before = this.executed.get(key);
        demand(before === undefined, () => {
          return `request ${key} was executed as op ${before!.op} and again as op ${next}`;
        });
        const reply = replies[index]!;
        this.executed.set(key, { op: next, operation, client, request, body, reply });
      }
    }
    this.waiting = this.waiting.filter((reply) => {
      if (reply.op > op) return true;
      const key = keyOf(reply.client, reply.request);
      const executed = this.executed.get(key);
      demand(executed !== undefined, () => `request ${key} was answered and is not in the log`);
      compareFirst(reply, executed, key);
      return false;
    });
  }

  /** After a start: nothing is lost, and the state is that of the log. */
  verify(harness: Harness): void {
    const op = harness.replica.commitMin;
    demand(op >= this.opAcknowledged, () => {
      return `op ${this.opAcknowledged} was answered, and the log ends at op ${op}`;
    });
    demand(op >= this.state.op, () => {
      return `op ${this.state.op} was recovered before, and the log ends at op ${op}`;
    });
    this.settle(op);
    this.compareState(harness);
  }

  /** All queries, against the reference as of the replica's op, which it has passed. */
  compareState(harness: Harness): void {
    const op = harness.replica.commitMin;
    const mismatch = this.state.compare(op, (operation, body) => harness.query(operation, body));
    demand(mismatch === null, () => {
      return `after op ${op} the ${mismatch!.what} differ from byte ${mismatch!.at}`;
    });
  }

  /**
   * Every client repeats the request that was executed last, by the log. No other request may be
   * in flight, and the reference stands at the replica's op.
   */
  verifyRepeats(harness: Harness, clients: readonly TestClient[]): void {
    const expected: [Executed, TestClient][] = [];
    for (const client of clients) {
      const request = this.lastExecuted(client);
      if (request === null) continue;
      const executed = this.executed.get(keyOf(client.id, requestNumber(request)))!;
      expected.push([executed, client]);
      harness.deliver(request);
      harness.settle();
    }
    const { replies } = harness;
    for (const [executed, client] of expected) {
      const key = keyOf(client.id, executed.request);
      const found = replies.filter((reply) => {
        return reply.client === client.id && reply.request === executed.request;
      });
      demand(found.length === 1, () => `repeated request ${key} got ${found.length} replies`);
      const { operation, body } = executed;
      if (operation === Operation.register || operationMutates[operation] !== 0) continue;
      const present = executeRequest(this.state.reference, operation, body, 0n);
      demand(Buffer.compare(found[0]!.body, present) === 0, () => {
        return `repeated query ${key} does not show the present state`;
      });
    }
    this.takeReplies(harness, clients);
  }

  /**
   * As `verifyRepeats` for a replica whose log ends at `op`, which the reference has passed.
   * @param requests - Every request of the log, by client and number.
   */
  verifyRepeatsAt(harness: Harness, op: number, requests: ReadonlyMap<string, Uint8Array>): void {
    const last = new Map<number, Executed>();
    for (const executed of this.executed.values()) {
      if (executed.op <= op) last.set(executed.client, executed);
    }
    for (const { client, request } of last.values()) {
      const key = keyOf(client, request);
      harness.deliver(requests.get(key)!);
      harness.settle();
      demand(harness.replies.length === 1, () => {
        return `repeated request ${key} got ${harness.replies.length} replies`;
      });
      compareRepeated(this.acknowledged.get(key)!, harness.replies.pop()!, key);
    }
  }

  /** The client's last request that the log has: the one in flight, or the one before. */
  private lastExecuted(client: TestClient): Uint8Array | null {
    for (const request of [client.inFlight, client.lastRequest]) {
      if (request !== null && this.executed.has(keyOf(client.id, requestNumber(request)))) {
        return request;
      }
    }
    return null;
  }
}

function keyOf(client: number, request: number): string {
  return `${client}/${request}`;
}

/** Of a request's bytes. */
function requestNumber(request: Uint8Array): number {
  return new DataView(request.buffer, request.byteOffset).getUint32(requestNumberAt, true);
}

const requestNumberAt = requestHeader.at.request;

/** A reply again: the same header from `requestChecksum` on, and of a change the same body. */
function compareRepeated(first: Reply, again: Reply, key: string): void {
  const from = replyHeader.at.requestChecksum;
  const same = compareRange(first.bytes, again.bytes, from, headerSize);
  demand(same, () => `request ${key}, op ${first.op}, was answered again as op ${again.op}`);
  const view = (reply: Reply): number =>
    new DataView(reply.bytes.buffer).getUint32(frame.at.view, true);
  demand(view(again) >= view(first), () => `request ${key}: the view went back`);
  if (operationMutates[first.operation] === 0) return;
  demand(Buffer.compare(first.body, again.body) === 0, () => {
    return `request ${key}: the reply of op ${first.op} differs from the first one`;
  });
}

/** A first reply against the reference. */
function compareFirst(reply: Reply, executed: Executed, key: string): void {
  demand(reply.op === executed.op, () => {
    return `request ${key} was answered as op ${reply.op} and is op ${executed.op} in the log`;
  });
  if (reply.operation === Operation.register) return;
  if (reply.again) return; // Shows a later state; `verifyRepeats` compares it.
  demand(Buffer.compare(reply.body, executed.reply) === 0, () => {
    return `request ${key}: the reply of op ${reply.op} is not the reference's`;
  });
}

function compareRange(a: Uint8Array, b: Uint8Array, from: number, to: number): boolean {
  return Buffer.compare(a.subarray(from, to), b.subarray(from, to)) === 0;
}
