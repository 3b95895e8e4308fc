/** What a replica believes of its own journal after a restart between views. */
import { expect, test } from "vitest";
import { layViewOver } from "../../src/consensus/recovered-log.ts";
import { headerSize } from "../../src/core/limits.ts";
import { frame } from "../../src/wire/header.ts";
import { bodyHeaderAt, JoinViewFields, writeJoinView } from "../../src/wire/replica-messages.ts";
import { format, type Log, OneReplica } from "./harness.ts";

const checksumOf = (log: Log, op: number) => [...log.header(op).subarray(0, 4)];

/** A replica that was killed and continues the change to the view that it had left for. */
function restarted(before: OneReplica, executed: number): OneReplica {
  const replica = before.afterCrash();
  const { state, journal, superblock } = replica;
  const head = layViewOver(journal, superblock);
  state.view = superblock.view;
  state.logView = superblock.logView;
  state.commitMin = executed;
  state.commitMax = executed;
  state.adoptHead(head, journal.headers, journal.headerAt(head));
  replica.chain.reset();
  return replica;
}

test("what was cut off does not come back under a gap in the log", () => {
  const replica = new OneReplica();
  replica.log.extend(4, 0);
  // Durable here alone, and cut off by view 3, which the others begin at op 4.
  const stale = replica.log.fork(4).extend(4, 0, 2);
  const real = replica.log.fork(4).extend(8, 3, 1, 4);
  replica.follow(4, 4);
  for (let op = 5; op <= 8; op += 1) replica.write(stale, op);
  replica.state.adoptHead(8, stale.header(8), 0);
  replica.chain.reset();
  replica.viewChange.onView(replica.viewMessage(replica.log, 3, 0));
  replica.settle();
  expect([replica.state.logView, replica.state.op]).toEqual([3, 4]);
  // Of ops 5 to 12 only the last arrives, and the replica leaves for view 4, of which it is the primary.
  expect(replica.backup.onNext(replica.message(real.prepares[11]!))).toBe(true);
  replica.settle();
  replica.viewChange.enter(4);
  replica.settle();

  const again = restarted(replica, 4);
  expect([4, 5, 8, 11, 12].map((op) => again.journal.hasHeader(op))).toEqual([
    true,
    false,
    false,
    false,
    true,
  ]);
  again.viewChange.resume();
  // Replica 2 had acknowledged ops 5 to 8: they are committed.
  const fields = new JoinViewFields();
  fields.op = 8;
  fields.commitMin = 4;
  fields.commitMax = 4;
  fields.logView = 3;
  const count = 8;
  fields.present = (1 << count) - 1;
  const message = again.message(new Uint8Array(headerSize * (1 + count)));
  for (let index = 0; index < count; index += 1) {
    message.words.set(real.header(8 - index), bodyHeaderAt(index));
  }
  writeJoinView(message.bytes, message.words, format.cluster, 4, 2, fields, count);
  again.viewChange.onJoinView(message);
  expect(again.state.logView).toBe(4);
  expect(again.state.op).toBe(8);
  expect([...again.state.headChecksum]).toEqual(checksumOf(real, 8));
});

test("what came after the headers were recorded stays, and what was recorded comes back", () => {
  const replica = new OneReplica();
  replica.log.extend(6, 0);
  replica.follow(4, 4);
  const later = replica.log.fork(4).extend(4, 3);
  replica.viewChange.onView(replica.viewMessage(later, 3, 0, 2));
  replica.settle();
  // Headers of 7 and 8 are recorded; 6 and 9 come later.
  replica.write(later, 6);
  replica.write(later.extend(1, 3), 9);
  const again = restarted(replica, 4);
  expect(again.state.op).toBe(9);
  expect([5, 6, 7, 8, 9].map((op) => again.journal.hasHeader(op))).toEqual([
    false,
    true,
    true,
    true,
    true,
  ]);
  expect([6, 8, 9].map((op) => again.journal.hasPrepare(op))).toEqual([true, false, true]);
  const at = again.journal.headerAt(8) + frame.word.checksum;
  expect([...again.journal.headers.subarray(at, at + 4)]).toEqual(checksumOf(later, 8));
});
