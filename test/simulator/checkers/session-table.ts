/**
 * The session table of a replica at rest: it is the one that the history leads to, in the same
 * slots on every replica, and the replies that it keeps are the reference's. Clients only ever see
 * the replies of primaries; what backups would answer after them is seen here.
 */
import { frame, replyHeader } from "../../../src/wire/header.ts";
import type { Fail } from "./history.ts";
import { hex } from "./prepare.ts";
import type { Executed, Replay } from "./replay.ts";
import type { Session, Sessions } from "./sessions.ts";

/** As a replica has it. */
export interface SessionTable {
  readonly count: number;
  /** Kept replies, `replySlotSize` bytes each. */
  readonly replies: { readonly bytes: Uint8Array };
  /** The slot of the client in four words at `at`, or −1. */
  find(words: Uint32Array, at: number): number;
  session(slot: number): number;
  /** Number of the request answered last, and its op. */
  request(slot: number): number;
  replyOp(slot: number): number;
  /** Whether the reply is kept whole, and whether it has been lost and not yet been fetched. */
  replyKept(slot: number): boolean;
  replyMissing(slot: number): boolean;
}

const replySlotSize = 256 * 1024;
const headerSize = 256;

export class SessionTables {
  /** Slot per client, as the first replica compared has it. */
  private readonly slots = new Map<string, number>();

  constructor(
    private readonly sessions: Sessions,
    private readonly replay: Replay,
    private readonly fail: Fail,
  ) {}

  /** @param who - For the report: "replica 1". */
  compare(who: string, table: SessionTable): void {
    if (table.count !== this.sessions.count) {
      this.fail(`${who} has ${table.count} sessions, not ${this.sessions.count}`);
    }
    for (const session of this.sessions.present) {
      const words = new Uint32Array(Uint8Array.from(Buffer.from(session.client, "hex")).buffer);
      const slot = table.find(words, 0);
      if (slot === -1) this.fail(`${who} has no session for client ${session.client}`);
      this.compareEntry(`${who}, client ${session.client}`, table, slot, session);
    }
  }

  private compareEntry(who: string, table: SessionTable, slot: number, session: Session): void {
    const expect = (what: string, actual: number, expected: number): void => {
      if (actual !== expected) this.fail(`${who}: ${what} is ${actual}, not ${expected}`);
    };
    expect("slot", slot, this.slots.get(session.client) ?? slot);
    this.slots.set(session.client, slot);
    expect("session", table.session(slot), session.session);
    expect("request", table.request(slot), session.request);
    expect("op of the last reply", table.replyOp(slot), session.replyOp);
    if (!table.replyKept(slot) || table.replyMissing(slot)) return;
    const executed = this.replay
      .find(session.checksum)
      .find(({ op }) => op === session.replyOp) as Executed;
    const at = slot * replySlotSize;
    const size = headerSize + executed.reply.length;
    const kept = table.replies.bytes.subarray(at, at + size);
    const view = new DataView(kept.buffer, kept.byteOffset, kept.length);
    expect("size of the kept reply", view.getUint32(frame.at.size, true), size);
    const op = Number(view.getBigUint64(replyHeader.at.op, true));
    expect("op of the kept reply", op, session.replyOp);
    if (hex(kept, replyHeader.at.requestChecksum) !== session.checksum) {
      this.fail(`${who}: the kept reply is that of another request`);
    }
    if (Buffer.compare(kept.subarray(headerSize), executed.reply) !== 0) {
      this.fail(`${who}: the kept reply of op ${op} is not the reference's`);
    }
  }
}
