/**
 * Sessions are exactly-once: of every session the requests 1, 2, 3, … are executed in order, each
 * once, whatever clients repeat and replicas forget.
 *
 * The session table is followed op by op, with its own rule for who makes way when it is full: the
 * session whose latest reply has the smallest op, then the smallest session number. So it is known
 * whom a replica may tell that there is no session for it. A request that was accepted before its
 * session had to make way still executes; it is the last one of that session.
 */
import { Operation } from "../../reference/operations.ts";
import type { Fail } from "./history.ts";
import type { ObservedPrepare, ObservedRequest } from "./prepare.ts";

export interface Session {
  readonly client: string;
  /** The op that registered it. */
  readonly session: number;
  /** Number of the request executed last. */
  request: number;
  /** Op of that request, and its checksum. */
  replyOp: number;
  checksum: string;
}

export class Sessions {
  evictions = 0;
  private readonly table = new Map<string, Session>();
  /** The latest session of every client, also when it is gone. */
  private readonly latest = new Map<string, Session>();

  constructor(
    private readonly clientsMax: number,
    private readonly fail: Fail,
  ) {}

  /** The table's sessions, in no particular order. */
  get present(): Iterable<Session> {
    return this.table.values();
  }

  get count(): number {
    return this.table.size;
  }

  execute(prepare: ObservedPrepare): void {
    for (const request of prepare.requests) {
      if (request.client === "") {
        if (request.operation !== Operation.pulse) {
          this.fail(`op ${prepare.op} is operation ${request.operation} without a client`);
        }
      } else if (request.operation === Operation.register) {
        this.register(request, prepare.op);
      } else {
        this.advance(request, prepare.op);
      }
    }
  }

  private register(request: ObservedRequest, op: number): void {
    const { client } = request;
    const before = this.table.get(client);
    if (before !== undefined) {
      this.fail(`op ${op} registers client ${client}, which has session ${before.session}`);
    }
    if (this.table.size === this.clientsMax) this.evict();
    const { checksum } = request;
    const session = { client, session: op, request: 0, replyOp: op, checksum };
    this.table.set(client, session);
    this.latest.set(client, session);
  }

  private evict(): void {
    let oldest: Session | null = null;
    for (const session of this.table.values()) {
      if (oldest === null || isOlder(session, oldest)) oldest = session;
    }
    this.table.delete(oldest!.client);
    this.evictions += 1;
  }

  private advance(request: ObservedRequest, op: number): void {
    const { client } = request;
    const session = this.latest.get(client);
    if (session === undefined) {
      this.fail(`op ${op} is a request of client ${client}, which has never registered`);
    }
    const named = request.session;
    if (named !== null && named !== session.session) {
      this.fail(`op ${op} names session ${named} of client ${client}, not ${session.session}`);
    }
    const name = `request ${request.request} of client ${client}, session ${session.session}`;
    if (request.request <= session.request) {
      this.fail(
        `${name} was executed before (the last one as op ${session.replyOp}), now as ${op}`,
      );
    }
    if (request.request !== session.request + 1) {
      this.fail(`${name} was executed as op ${op} after request ${session.request}`);
    }
    session.request = request.request;
    session.replyOp = op;
    session.checksum = request.checksum;
  }

  /** Whether the client's session with this number is in the table. */
  has(client: string, session: number): boolean {
    return this.table.get(client)?.session === session;
  }
}

function isOlder(a: Session, b: Session): boolean {
  return a.replyOp !== b.replyOp ? a.replyOp < b.replyOp : a.session < b.session;
}
