/**
 * Every reply that reaches a client, first or repeated, late or early, belongs to a request that
 * the client has sent and that the history has executed, and says what the reference says. And the
 * other way round: what the history executes, a client has sent, byte for byte.
 *
 * A reply names an op above every op that was acknowledged before its request was first sent: with
 * it, clients together see one order that agrees with real time.
 *
 * A reply may arrive before the replica that sent it has finished the op (a group's replies go out
 * one by one). Such a reply waits until the op has been executed in the history; none may wait in
 * the end, since what was acknowledged is never lost.
 */
import { frame, replyHeader, requestHeader } from "../../../src/wire/header.ts";
import { Operation } from "../../reference/operations.ts";
import type { Fail } from "./history.ts";
import { hex, type ObservedPrepare } from "./prepare.ts";
import { Answer, type Executed, type Replay } from "./replay.ts";

const headerSize = 256;
const zeros = "0".repeat(32);

/** A request as its client first sent it. */
export interface Sent {
  readonly client: string;
  readonly session: number;
  readonly request: number;
  readonly operation: number;
  readonly release: number;
  readonly body: Uint8Array;
  readonly sentUs: number;
  /** The highest op that had been acknowledged to any client by then. */
  readonly after: number;
  /** `context` of its replies; all have the same. */
  context: string;
}

interface Arrived {
  readonly bytes: Uint8Array;
  readonly sent: Sent;
  readonly checksum: string;
}

export class Replies {
  /** The highest op that a client has been told of. */
  acknowledged = 0;
  readonly counts = { replies: 0, repeatedQueries: 0, early: 0 };
  private readonly sent = new Map<string, Sent>();
  private waiting: Arrived[] = [];

  constructor(
    private readonly replay: Replay,
    private readonly fail: Fail,
  ) {}

  /** A client sends this request for the first time. */
  onSent(request: Uint8Array, nowUs: number): void {
    const view = new DataView(request.buffer, request.byteOffset, request.length);
    this.sent.set(hex(request, frame.at.checksum), {
      client: hex(request, requestHeader.at.client),
      session: Number(view.getBigUint64(requestHeader.at.session, true)),
      request: view.getUint32(requestHeader.at.request, true),
      operation: request[requestHeader.at.operation]!,
      release: view.getUint32(frame.at.release, true),
      body: request.slice(headerSize),
      sentUs: nowUs,
      after: this.acknowledged,
      context: "",
    });
  }

  find(checksum: string): Sent | undefined {
    return this.sent.get(checksum);
  }

  /** An op has been executed for the first time: all its requests were sent as they stand there. */
  executed(prepare: ObservedPrepare): void {
    for (const request of prepare.requests) {
      if (request.client === "") continue;
      const name = `op ${prepare.op}, request ${request.request} of client ${request.client},`;
      const sent = this.sent.get(request.checksum);
      if (sent === undefined) this.fail(`${name} was never sent`);
      const { client, session, operation, release, body } = sent;
      const same =
        client === request.client &&
        sent.request === request.request &&
        operation === request.operation &&
        release === request.release &&
        (request.session === null || request.session === session);
      if (!same) {
        this.fail(
          `${name} session ${request.session}, operation ${request.operation}, release ` +
            `${request.release}, was sent as request ${sent.request} of client ${client}, ` +
            `session ${session}, operation ${operation}, release ${release}`,
        );
      }
      // The primary writes its limit into the first word of a registration.
      const from = operation === Operation.register ? 4 : 0;
      if (Buffer.compare(body.subarray(from), request.body.subarray(from)) !== 0) {
        this.fail(`${name} has another body than was sent`);
      }
    }
    if (this.waiting.length > 0) this.settle();
  }

  /** Judges the replies that arrived before their op was known. */
  private settle(): void {
    this.waiting = this.waiting.filter(({ bytes, sent, checksum }) => {
      const executed = this.findExecuted(checksum, bytes);
      if (executed === undefined) return true;
      this.judge(bytes, sent, executed);
      return false;
    });
  }

  /** A reply, with sound checksums, has arrived at a client. */
  onReply(bytes: Uint8Array): void {
    this.counts.replies += 1;
    const checksum = hex(bytes, replyHeader.at.requestChecksum);
    const sent = this.sent.get(checksum);
    const op = opOf(bytes);
    if (sent === undefined) this.fail(`the reply of op ${op} answers an unknown request`);
    this.checkHeader(bytes, sent);
    this.acknowledged = Math.max(this.acknowledged, op);
    const executed = this.findExecuted(checksum, bytes);
    if (executed !== undefined) {
      this.judge(bytes, sent, executed);
    } else if (op <= this.replay.op) {
      this.fail(`${nameOf(sent)} was answered as op ${op}, which does not hold it`);
    } else {
      this.counts.early += 1;
      this.waiting.push({ bytes: bytes.slice(), sent, checksum });
    }
  }

  private findExecuted(checksum: string, reply: Uint8Array): Executed | undefined {
    const op = opOf(reply);
    return this.replay.find(checksum).find((executed) => executed.op === op);
  }

  /** What the request alone demands. */
  private checkHeader(bytes: Uint8Array, sent: Sent): void {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    const name = nameOf(sent);
    const op = opOf(bytes);
    const expect = (what: string, actual: unknown, expected: unknown): void => {
      if (actual !== expected) {
        this.fail(`${name}, op ${op}: the reply's ${what} is ${actual}, not ${expected}`);
      }
    };
    expect("client", hex(bytes, replyHeader.at.client), sent.client);
    expect("request", view.getUint32(replyHeader.at.request, true), sent.request);
    expect("operation", bytes[replyHeader.at.operation], sent.operation);
    expect("release", view.getUint32(frame.at.release, true), sent.release);
    expect("commit", Number(view.getBigUint64(replyHeader.at.commit, true)), op);
    if (op <= sent.after) {
      this.fail(`${name} is op ${op}, and was sent after op ${sent.after} had been acknowledged`);
    }
    if (op <= sent.session) this.fail(`${name} is op ${op}, at or before its registration`);
    const context = hex(bytes, replyHeader.at.context);
    if (context === zeros) this.fail(`${name}, op ${op}: the reply has no context`);
    // A registration that ran again after its session was pushed out is another op.
    if (sent.operation === Operation.register) return;
    if (sent.context === "") sent.context = context;
    expect("context", context, sent.context);
  }

  private judge(bytes: Uint8Array, sent: Sent, executed: Executed): void {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    const name = `${nameOf(sent)}, op ${executed.op}`;
    const timestamp = view.getBigUint64(replyHeader.at.timestamp, true);
    if (timestamp !== executed.request.timestamp) {
      this.fail(`${name}: timestamp ${timestamp}, not ${executed.request.timestamp}`);
    }
    const author = bytes[frame.at.replica];
    if (author !== executed.author) {
      this.fail(`${name}: by replica ${author}, prepared by ${executed.author}`);
    }
    const replyView = view.getUint32(frame.at.view, true);
    if (replyView < executed.view) {
      this.fail(`${name}: of view ${replyView}, older than its prepare's ${executed.view}`);
    }
    const answer = this.replay.judge(executed, bytes.subarray(headerSize));
    if (typeof answer === "string") this.fail(`${name} (operation ${sent.operation}): ${answer}`);
    if (answer === Answer.repeated) this.counts.repeatedQueries += 1;
  }

  /** Everything that was acknowledged is in the history. */
  finish(): void {
    for (const { bytes, sent } of this.waiting) {
      this.fail(`${nameOf(sent)} was answered as op ${opOf(bytes)}, which is lost`);
    }
    if (this.acknowledged > this.replay.op) {
      this.fail(`op ${this.acknowledged} was acknowledged; the history ends at ${this.replay.op}`);
    }
  }
}

function opOf(reply: Uint8Array): number {
  const view = new DataView(reply.buffer, reply.byteOffset, reply.length);
  return Number(view.getBigUint64(replyHeader.at.op, true));
}

function nameOf(sent: Sent): string {
  return `request ${sent.request} of client ${sent.client}`;
}
