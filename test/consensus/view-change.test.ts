/** Logs are taken over whole, by replicas that have room for them, and only when that is durable. */
import { describe, expect, test } from "vitest";
import { Status } from "../../src/consensus/replica-state.ts";
import { headerSize, viewHeadersMax } from "../../src/core/limits.ts";
import { headerOp } from "../../src/wal/headers.ts";
import { checkpointLayout } from "../../src/wal/superblock-layout.ts";
import { Command, frame } from "../../src/wire/header.ts";
import { getViewHeader, joinHeadersMax, viewHeader } from "../../src/wire/replica-headers.ts";
import {
  bodyHeaderAt,
  JoinViewFields,
  writeExitView,
  writeGetView,
  writeJoinView,
} from "../../src/wire/replica-messages.ts";
import { format, type Log, OneReplica, recoveringImage } from "./harness.ts";

/** The own journal's last op while nothing was checkpointed: 32 slots. */
const opMax = 32;

/** What replica 2 tells of its log in `view`. All its prepares are there. */
function joinView(replica: OneReplica, log: Log, view: number, commit: number) {
  const fields = new JoinViewFields();
  fields.op = log.head;
  fields.commitMin = commit;
  fields.commitMax = commit;
  fields.present = (1 << joinHeadersMax) - 1;
  const message = replica.message(new Uint8Array(headerSize * (1 + joinHeadersMax)));
  for (let index = 0; index < joinHeadersMax; index += 1) {
    message.words.set(log.header(log.head - index), bodyHeaderAt(index));
  }
  const { bytes, words } = message;
  writeJoinView(bytes, words, format.cluster, view, 2, fields, joinHeadersMax);
  return message;
}

describe("a log that the own journal has no room for", () => {
  test("is taken with the sender's checkpoint, also when that lies below what was executed", () => {
    const replica = new OneReplica();
    replica.log.extend(opMax + 4, 0);
    replica.follow(20, 18);
    replica.viewChange.onView(replica.viewMessage(replica.log, 3, 8));
    expect(replica.state.status).toBe(Status.stopped);
    replica.settle();
    expect(replica.moved).toBe(1);
    const { superblock, journal } = replica.afterCrash();
    expect([superblock.view, superblock.logView, superblock.checkpointOp]).toEqual([3, 3, 8]);
    // What is recorded is the whole log, and it fits.
    expect(headerOp(superblock.viewHeaders, 0)).toBe(opMax + 4);
    expect(journal.opMax).toBeGreaterThanOrEqual(opMax + 4);
  });

  test("is not recorded in part when there is no checkpoint to take it with", () => {
    const replica = new OneReplica();
    replica.log.extend(opMax + 4, 0);
    replica.follow(20, 18);
    replica.viewChange.onView(replica.viewMessage(replica.log, 3, 0));
    replica.settle();
    expect([replica.state.view, replica.state.op, replica.superblock.view]).toEqual([0, 20, 0]);
    expect(replica.moved).toBe(0);
  });

  test("does not become the head when the primary of the same view tells of it", () => {
    const replica = new OneReplica();
    replica.log.extend(opMax + 4, 0);
    replica.follow(20, 18);
    replica.viewChange.onView(replica.viewMessage(replica.log, 0, 0));
    expect(replica.state.op).toBe(20);
    replica.viewChange.onView(replica.viewMessage(replica.log.fork(24), 0, 0));
    expect(replica.state.op).toBe(24);
  });

  test("a new primary leaves it to the next one", () => {
    const replica = new OneReplica();
    replica.log.extend(opMax + 4, 0);
    replica.follow(20, 18);
    replica.viewChange.enter(1);
    replica.settle();
    replica.viewChange.onJoinView(joinView(replica, replica.log, 1, opMax + 2));
    replica.settle();
    expect([replica.state.view, replica.state.logView]).toEqual([2, 0]);
    expect(replica.superblock.logView).toBe(0);
  });

  test("one whose checkpoint's state is not open lets its turn pass", () => {
    for (const open of [true, false]) {
      const replica = new OneReplica();
      replica.log.extend(20, 0);
      replica.follow(20, 18);
      replica.state.stateOpen = open;
      replica.viewChange.enter(1);
      replica.settle();
      replica.viewChange.onJoinView(joinView(replica, replica.log, 1, 18));
      replica.settle();
      expect([replica.state.view, replica.state.logView]).toEqual(open ? [1, 1] : [1, 0]);
      if (open) continue;
      for (let tick = 0; tick < 265; tick += 1) replica.viewChange.tick();
      expect(replica.commands()).toContain(Command.exitView);
      // Open by then, it leads after all.
      replica.state.stateOpen = true;
      replica.viewChange.onJoinView(joinView(replica, replica.log, 1, 18));
      replica.settle();
      expect([replica.state.view, replica.state.logView]).toEqual([1, 1]);
    }
  });

  test("one that just fits is led", () => {
    const replica = new OneReplica();
    replica.log.extend(opMax, 0);
    replica.follow(20, 18);
    replica.viewChange.enter(1);
    replica.settle();
    replica.viewChange.onJoinView(joinView(replica, replica.log, 1, opMax - 2));
    replica.settle();
    expect([replica.state.view, replica.state.logView, replica.state.op]).toEqual([1, 1, opMax]);
    expect(headerOp(replica.superblock.viewHeaders, 0)).toBe(opMax);
  });
});

test("the own checkpoint that became durable meanwhile is not taken back", () => {
  const replica = new OneReplica();
  replica.log.extend(opMax + 4, 0);
  replica.follow(20, 18);
  let durable = false;
  replica.superblock.updateCheckpoint(8, replica.log.header(8), () => {
    durable = true;
  });
  replica.viewChange.onView(replica.viewMessage(replica.log, 3, 8));
  replica.settle();
  // The update in flight lands, and nobody is told: the replica is opened anew from there.
  expect([durable, replica.moved]).toEqual([false, 1]);
  const { superblock } = replica.afterCrash();
  expect([superblock.checkpointOp, superblock.view, superblock.syncing]).toEqual([8, 0, false]);
});

test("prepares of a log are journaled only when it is durable that the one before was left", () => {
  const replica = new OneReplica();
  replica.log.extend(4, 0);
  replica.follow(4, 4);
  const later = replica.log.fork(4).extend(4, 3);
  replica.viewChange.onView(replica.viewMessage(later, 3, 0));
  expect([replica.state.view, replica.state.viewDurable]).toEqual([3, false]);
  const sixth = replica.message(later.prepares[5]!);
  replica.repair.run();
  expect(replica.commands()).not.toContain(Command.getPrepare);
  expect(replica.repair.wants(6, sixth)).toBe(false);
  replica.settle();
  expect([replica.state.status, replica.state.viewDurable]).toEqual([Status.normal, true]);
  expect(replica.repair.wants(6, sixth)).toBe(true);
  replica.repair.run();
  expect(replica.commands()).toContain(Command.getPrepare);
});

test("a rebuilt replica waits for no op that a later view has cut off", () => {
  const replica = new OneReplica(recoveringImage.clone(1));
  replica.log.extend(8, 0);
  const { viewChange, log } = replica;
  viewChange.awaitHead();
  replica.answer(log, 0);
  replica.settle();
  expect(replica.state.op).toBe(8);
  for (let op = 1; op <= 6; op += 1) replica.write(log, op);
  viewChange.tick();
  replica.settle();
  expect(replica.superblock.recovering).toBe(true);
  viewChange.onView(replica.viewMessage(log.fork(6), 2, 0));
  replica.settle();
  viewChange.tick();
  replica.settle();
  expect(replica.superblock.recovering).toBe(false);
});

/** What `from` asks in `view`. */
function getView(replica: OneReplica, from: number, view: number, opening = false) {
  const message = replica.message(new Uint8Array(headerSize));
  const nonce = Uint32Array.of(1, 2, 3, 4);
  writeGetView(message.bytes, message.words, format.cluster, view, from, nonce, opening);
  return message;
}

describe("a checkpoint for a replica that can not open", () => {
  test("is told in whatever status, and as nothing else", () => {
    const replica = new OneReplica();
    replica.log.extend(6, 0);
    replica.follow(6, 4);
    replica.viewChange.onGetView(getView(replica, 2, 0, true));
    replica.viewChange.enter(1);
    replica.viewChange.onGetView(getView(replica, 2, 0, true));
    replica.viewChange.onGetView(getView(replica, 2, 0));
    expect(replica.commands()).toEqual([Command.view, Command.view]);
    for (const { bytes, to } of replica.sent) {
      expect([to, bytes[viewHeader.at.checkpointOnly]]).toEqual([2, 1]);
    }
  });

  test("is asked for at once, of all, and again after a while", () => {
    const replica = new OneReplica();
    const { questions } = replica.viewChange;
    questions.tickOpening();
    const opening = ({ bytes }: { bytes: Uint8Array }) => bytes[getViewHeader.at.opening];
    expect(replica.commands()).toEqual([Command.getView, Command.getView]);
    expect(replica.sent.map(({ to }) => to)).toEqual([0, 2]);
    expect(replica.sent.map(opening)).toEqual([1, 1]);
    for (let tick = 0; tick < 30; tick += 1) questions.tickOpening();
    expect(replica.sent.length).toBe(2);
    for (let tick = 0; tick < 50; tick += 1) questions.tickOpening();
    expect(replica.sent.length).toBe(4);
  });

  test("does not pass as the log of a view", () => {
    const replica = new OneReplica();
    replica.log.extend(6, 0);
    replica.follow(4, 4);
    const later = replica.log.fork(4).extend(4, 3);
    replica.viewChange.onView(replica.viewMessage(later, 3, 0, 4, true));
    replica.settle();
    expect([replica.state.view, replica.state.op]).toEqual([0, 4]);
  });

  test("is moved to, and the own log and view stay what they are", () => {
    const replica = new OneReplica();
    replica.log.extend(14, 0);
    for (let op = 1; op <= 10; op += 1) replica.write(replica.log, op);
    const told = (only: boolean, checkpointOp: number) =>
      replica.stateSync.beginOpening(replica.viewMessage(replica.log, 6, checkpointOp, 4, only));
    expect([told(false, 8), told(true, 0)]).toEqual([false, false]);
    const unreadable = replica.viewMessage(replica.log, 6, 8, 4, true);
    unreadable.words[headerSize / 4 + checkpointLayout.word.storageRoot] = 1;
    expect(replica.stateSync.beginOpening(unreadable)).toBe(false);
    expect(told(true, 8)).toBe(true);
    replica.settle();
    expect(replica.moved).toBe(1);
    const { superblock, journal } = replica.afterCrash();
    expect([superblock.checkpointOp, superblock.view, superblock.logView]).toEqual([8, 0, 0]);
    expect(superblock.viewHeaderCount).toBe(0);
    expect([9, 10, 11].map((op) => journal.hasPrepare(op))).toEqual([true, true, false]);
  });
});

test("a replica goes to the view below which another can take part in nothing", () => {
  const replica = new OneReplica();
  replica.log.extend(4, 0);
  replica.follow(4, 4);
  replica.viewChange.onGetView(getView(replica, 3, 4));
  replica.othersThere = false;
  replica.viewChange.onGetView(getView(replica, 2, 4));
  expect(replica.state.view).toBe(0);
  replica.othersThere = true;
  replica.viewChange.onGetView(getView(replica, 2, 4));
  replica.settle();
  expect([replica.state.view, replica.superblock.view]).toEqual([4, 4]);
});

test("who hears the new primary get on takes its vote back", () => {
  const replica = new OneReplica();
  replica.log.extend(4, 0);
  replica.follow(4, 4);
  replica.viewChange.enter(3);
  replica.settle();
  const pass = (ticks: number) => {
    for (let tick = 0; tick < ticks; tick += 1) replica.viewChange.tick();
  };
  pass(265);
  expect(replica.commands()).toContain(Command.exitView);
  replica.sent.length = 0;
  for (let told = 0; told < 100; told += 1) {
    replica.viewChange.hearProgress();
    pass(20);
  }
  expect(replica.commands()).not.toContain(Command.exitView);
  const vote = replica.message(new Uint8Array(headerSize));
  writeExitView(vote.bytes, vote.words, format.cluster, 3, 2);
  replica.viewChange.onExitView(vote);
  expect(replica.state.view).toBe(3);
});

test("a log that was told of long ago does not count any more", () => {
  for (const ticks of [290, 310]) {
    const replica = new OneReplica();
    replica.log.extend(10, 0);
    replica.follow(10, 8);
    replica.viewChange.enter(1);
    replica.viewChange.onJoinView(joinView(replica, replica.log, 1, 8));
    for (let tick = 0; tick < ticks; tick += 1) replica.viewChange.tick();
    replica.settle();
    expect(replica.state.logView).toBe(ticks < 300 ? 1 : 0);
  }
});

test("the vote and the log of a replica that has lost its file do not count", () => {
  for (const lost of [false, true]) {
    const replica = new OneReplica();
    replica.log.extend(10, 0);
    replica.follow(10, 8);
    replica.viewChange.enter(1);
    replica.viewChange.onJoinView(joinView(replica, replica.log, 1, 8));
    if (lost) replica.viewChange.forget(2);
    replica.settle();
    expect(replica.state.logView).toBe(lost ? 0 : 1);
  }
});

describe("a standby", () => {
  test("follows its primary's log, and acknowledges nothing of it", () => {
    for (const [replica, acknowledged] of [
      [1, true],
      [3, false],
    ] as const) {
      const one = new OneReplica(undefined, replica);
      one.log.extend(6, 0);
      one.follow(4, 2);
      one.viewChange.onView(one.viewMessage(one.log, 0, 0));
      expect(one.state.op).toBe(6);
      for (const op of [5, 6]) one.write(one.log, op);
      one.backup.acknowledgeUncommitted();
      expect(one.commands().includes(Command.prepareOk)).toBe(acknowledged);
    }
  });

  test("has no vote, and goes to a view when its primary tells the log", () => {
    const standby = new OneReplica(undefined, 3);
    standby.log.extend(4, 0);
    standby.follow(4, 4);
    standby.viewChange.vote();
    standby.viewChange.onJoinView(joinView(standby, standby.log.fork(4).extend(8, 0), 1, 4));
    standby.settle();
    expect([standby.state.view, standby.superblock.view, standby.commands()]).toEqual([0, 0, []]);
    standby.viewChange.onView(standby.viewMessage(standby.log.fork(4).extend(2, 2), 2, 0));
    standby.settle();
    expect([standby.state.status, standby.superblock.logView]).toEqual([Status.normal, 2]);
    expect(standby.commands()).toEqual([]);
  });
});

test("who leads is told once in each view, when it begins", () => {
  const replica = new OneReplica();
  replica.log.extend(6, 0);
  replica.follow(6, 4);
  const told = () => replica.said.filter((text) => text.includes("is the primary"));
  expect(told()).toEqual([]);
  replica.viewChange.onView(replica.viewMessage(replica.log.fork(6), 2, 0));
  expect(told()).toEqual([]);
  replica.settle();
  replica.viewChange.onView(replica.viewMessage(replica.log.fork(6), 2, 0));
  replica.settle();
  expect(told()).toEqual(["replica 2 is the primary now (view 2)"]);
});

describe("the log of a view that its primary does not tell", () => {
  /** The own log's end, as told to replica 2, or null. */
  const told = (replica: OneReplica) => {
    replica.sent.length = 0;
    replica.viewChange.onGetView(getView(replica, 2, 0));
    const { bytes } = replica.sent[0] ?? {};
    if (bytes === undefined) return null;
    const words = new Uint32Array(bytes.buffer);
    expect([bytes[frame.at.command], bytes[viewHeader.at.checkpointOnly]]).toEqual([
      Command.view,
      0,
    ]);
    return [words[viewHeader.word.op], words[viewHeader.word.commitMax]];
  };

  test("is told by a backup that knows all of it up to its own head", () => {
    const replica = new OneReplica();
    replica.log.extend(6, 0);
    replica.follow(6, 4);
    expect(told(replica)).toEqual([6, 4]);
  });

  test("is not told by a backup with a gap, or in a view change", () => {
    const replica = new OneReplica();
    replica.log.extend(6, 0);
    replica.follow(4, 4);
    replica.backup.onNext(replica.message(replica.log.prepares[5]!));
    expect([replica.state.op, told(replica)]).toEqual([6, null]);
    replica.backup.onMissing(replica.message(replica.log.prepares[4]!));
    expect(told(replica)).toEqual(null);
    replica.viewChange.enter(1);
    replica.settle();
    expect(told(replica)).toEqual(null);
  });

  test("is not told by one whose checkpoint is of a later view", () => {
    const replica = new OneReplica();
    replica.log.extend(6, 0);
    replica.follow(6, 4);
    replica.superblock.checkpointHeader[frame.word.view] = 1;
    expect(told(replica)).toEqual(null);
  });

  test("is told by none whose checkpoint's state is not open, nor is that checkpoint", () => {
    const replica = new OneReplica();
    replica.log.extend(6, 0);
    replica.follow(6, 4);
    replica.state.stateOpen = false;
    expect(told(replica)).toEqual(null);
    replica.viewChange.onGetView(getView(replica, 2, 0, true));
    expect(replica.sent).toEqual([]);
  });

  test("is told with as many headers as follow each other", () => {
    const replica = new OneReplica();
    replica.log.extend(6, 0);
    replica.follow(6, 4);
    const headersTold = (): number => {
      expect(told(replica)).toEqual([6, 4]);
      return (replica.sent[0]!.bytes.length - headerSize - checkpointLayout.size) / headerSize;
    };
    expect(headersTold()).toBe(7);
    // Op 0 is another one than op 1 names.
    replica.superblock.checkpointHeader[frame.word.checksum]! ^= 1;
    expect(headersTold()).toBe(6);
  });

  test("is told by no standby", () => {
    const standby = new OneReplica(undefined, 3);
    standby.log.extend(6, 0);
    standby.follow(6, 4);
    expect(told(standby)).toEqual(null);
  });

  /** Replica 2 passes on the log of `view`. @param asked - It answers what was asked last. */
  const passOn = (replica: OneReplica, log: Log, view: number, asked = true) => {
    if (asked) replica.answer(log, view, 2);
    else replica.viewChange.onView(replica.viewMessage(log, view, 0, viewHeadersMax, false, 2));
  };

  test("makes the own one longer, and lets the vote stand", () => {
    const replica = new OneReplica();
    replica.log.extend(9, 0);
    replica.follow(6, 4);
    replica.viewChange.vote();
    passOn(replica, replica.log, 0, false);
    expect(replica.state.op).toBe(6);
    replica.viewChange.questions.askAnybody();
    passOn(replica, replica.log, 0);
    expect([replica.state.op, replica.state.commitMax, replica.longer]).toEqual([9, 7, 1]);
    const vote = replica.message(new Uint8Array(headerSize));
    writeExitView(vote.bytes, vote.words, format.cluster, 0, 2);
    replica.viewChange.onExitView(vote);
    expect(replica.state.view).toBe(1);
  });

  test("is taken over, whole and durably, as from the primary", () => {
    const replica = new OneReplica();
    replica.log.extend(8, 0);
    replica.follow(8, 4);
    const later = replica.log.fork(6).extend(1, 3);
    replica.viewChange.enter(3);
    replica.settle();
    replica.viewChange.questions.askAnybody();
    passOn(replica, later, 3);
    replica.settle();
    const { state, superblock } = replica;
    expect([state.status, state.view, state.op]).toEqual([Status.normal, 3, 7]);
    expect([superblock.view, superblock.logView]).toEqual([3, 3]);
    expect(headerOp(superblock.viewHeaders, 0)).toBe(7);
  });

  test("is not taken by one who does not know its own head, or has lost its file", () => {
    for (const recovering of [false, true]) {
      const replica = recovering ? new OneReplica(recoveringImage.clone(1)) : new OneReplica();
      replica.log.extend(8, 0);
      const { viewChange, log, state } = replica;
      viewChange.awaitHead();
      passOn(replica, log.fork(6), 0);
      passOn(replica, log.fork(6), 3);
      replica.settle();
      expect(state.status).toBe(Status.recoveringHead);
      replica.answer(log, 0);
      replica.settle();
      expect([state.status, state.op]).toEqual([Status.normal, 8]);
      viewChange.enter(3);
      replica.settle();
      passOn(replica, log.fork(8).extend(1, 3), 3);
      replica.settle();
      expect([state.status, state.op]).toEqual(
        recovering ? [Status.viewChange, 8] : [Status.normal, 9],
      );
    }
  });

  test("is asked of whom a ping shows to be in it", () => {
    const replica = new OneReplica();
    replica.log.extend(4, 0);
    replica.follow(4, 4);
    const { questions } = replica.viewChange;
    questions.noticeAt(2, 0);
    expect(replica.sent).toEqual([]);
    // A standby's file says nothing of what began.
    questions.noticeAt(3, 2);
    expect(replica.sent).toEqual([]);
    questions.noticeAt(2, 2);
    expect(replica.commands()).toEqual([Command.getView]);
    const { to, bytes } = replica.sent[0]!;
    expect([to, new Uint32Array(bytes.buffer)[frame.word.view]]).toEqual([2, 0]);
  });
});
