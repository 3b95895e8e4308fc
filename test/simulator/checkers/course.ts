/**
 * A run for tests of the checkers: an ideal replica, a few sessions, the workload, and the checkers
 * that watch them. Tests bend what the checkers are shown, or the replica itself.
 */
import { Prng } from "../../../src/core/prng.ts";
import { executeRequest } from "../../reference/operations.ts";
import { ClientSession } from "../clients/session.ts";
import { Workload } from "../workload/workload.ts";
import { Checkers } from "./checkers.ts";
import { IdealReplica } from "./ideal.ts";
import type { SessionTable } from "./session-table.ts";

export class Violation extends Error {
  override name = "Violation";
}

const cluster = new Uint32Array([7, 0, 0, 0]);
const release = 0x1109;
/** Simulated time goes on by it with every request. */
const stepUs = 1000;

export class Course {
  readonly replica: IdealReplica;
  readonly checkers: Checkers;
  readonly random: Prng;
  readonly clients: ClientSession[] = [];
  readonly prepares: Uint8Array[] = [];
  nowUs = 0;
  /** Its session table in the form that replicas have. */
  sessions: SessionTable | null = null;
  /** What replica 0 executes is shown to the checkers in this form. */
  showPrepare: (op: number, prepare: Uint8Array) => Uint8Array = (_op, prepare) => prepare;
  /** What clients are answered, likewise. */
  showReply: (reply: Uint8Array) => Uint8Array = (reply) => reply;
  private readonly workload: Workload;

  constructor(
    seed: number,
    readonly clientsMax = 8,
  ) {
    this.random = new Prng(seed);
    this.replica = new IdealReplica(cluster, clientsMax);
    const start = this.replica.now;
    this.checkers = new Checkers({
      clientsMax,
      waitMaxUs: 1_000_000,
      fail: (reason) => {
        throw new Violation(reason);
      },
      clocks: (nowUs) => ({
        min: start + BigInt(nowUs) * 1000n,
        max: start + BigInt(nowUs + 2 * stepUs) * 1000n,
      }),
    });
    this.replica.onExecuted = (op, prepare) => {
      this.prepares[op] = prepare;
      this.checkers.onExecuted(0, this.showPrepare(op, prepare), this.nowUs);
    };
    const options = { accounts: 12, eventsMax: 12 };
    this.workload = new Workload(this.random, options, this.checkers.ledger);
  }

  private tick(): void {
    this.nowUs += stepUs;
    this.replica.now += BigInt(stepUs) * 1000n;
  }

  /** A new session, registered. */
  join(): ClientSession {
    const { random } = this;
    const id = new Uint32Array([random.u32(), random.u32(), random.u32(), 1]);
    const session = new ClientSession(id, cluster, release, 0);
    this.clients.push(session);
    this.ask(session, session.register());
    return session;
  }

  /** The session's next request, sent by its client and not yet by the network. */
  begin(session: ClientSession): Uint8Array {
    const { operation, body } = this.workload.next(session.bodySizeMax);
    return session.begin(operation, body);
  }

  /** A request on its way, there and back. */
  ask(session: ClientSession, request: Uint8Array): Uint8Array | null {
    this.tick();
    this.checkers.replies.onSent(request, this.nowUs);
    const reply = this.replica.receive(request);
    return reply === null ? null : this.answer(session, reply);
  }

  /** A reply arrives. */
  answer(session: ClientSession, reply: Uint8Array): Uint8Array {
    const shown = this.showReply(reply);
    this.checkers.replies.onReply(shown);
    const heard = session.hear(shown);
    if (typeof heard === "string") throw new Violation(heard);
    return reply;
  }

  /** Requests of different clients in one prepare. */
  group(sessions: readonly ClientSession[]): void {
    this.tick();
    const requests = sessions.map((session) => this.begin(session));
    for (const request of requests) this.checkers.replies.onSent(request, this.nowUs);
    const replies = this.replica.accept(requests);
    for (const [index, reply] of replies.entries()) this.answer(sessions[index]!, reply);
  }

  /** So many requests of random sessions, some in groups; pulses between them. */
  run(requests: number): void {
    while (this.clients.length < 4) this.join();
    for (let count = 0; count < requests; count += 1) {
      const choice = this.random.below(12);
      if (choice === 0) this.replica.pulse();
      else if (choice < 3) this.group(this.clients.slice(0, 3));
      else this.next(this.clients[this.random.below(this.clients.length)]!);
    }
  }

  next(session: ClientSession): Uint8Array | null {
    return this.ask(session, this.begin(session));
  }

  query = (operation: number, body: Uint8Array): Uint8Array =>
    executeRequest(this.replica.ledger, operation, body, 0n);

  finish(): void {
    const { query, sessions } = this;
    this.checkers.finish([{ index: 0, commitMin: this.replica.op, query, sessions }]);
  }
}
