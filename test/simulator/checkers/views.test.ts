import { expect, test } from "vitest";
import { u64WriteNumber } from "../../../src/core/u128.ts";
import { Command, frame, prepareHeader } from "../../../src/wire/header.ts";
import { joinViewHeader, prepareOkHeader, viewHeader } from "../../../src/wire/replica-headers.ts";
import { AcknowledgedOps } from "./acknowledged.ts";
import { PromisedViews } from "./promised-views.ts";
import { ViewLogs } from "./view-logs.ts";

const headerSize = 256;
const checkpointStateSize = 1024;

const fail = (reason: string): never => {
  throw new Error(reason);
};

interface Header {
  readonly op: number;
  readonly view: number;
  readonly checksum: number;
}

function message(command: number, replica: number, view: number, size = headerSize) {
  const words = new Uint32Array(size / 4);
  const bytes = new Uint8Array(words.buffer);
  bytes[frame.at.command] = command;
  bytes[frame.at.replica] = replica;
  words[frame.word.view] = view;
  words[frame.word.size] = size;
  return { bytes, words };
}

function putHeaders(words: Uint32Array, from: number, headers: readonly Header[]): void {
  headers.forEach(({ op, view, checksum }, index) => {
    const at = (from + index * headerSize) / 4;
    words[at + frame.word.checksum] = checksum;
    words[at + frame.word.view] = view;
    words[at + frame.word.size] = headerSize;
    u64WriteNumber(words, at + prepareHeader.word.op, op);
  });
}

function joinView(
  replica: number,
  view: number,
  logView: number,
  commitMax = 0,
  headers: readonly Header[] = [],
) {
  const made = message(Command.joinView, replica, view, headerSize * (1 + headers.length));
  made.words[joinViewHeader.word.logView] = logView;
  u64WriteNumber(made.words, joinViewHeader.word.commitMax, commitMax);
  putHeaders(made.words, headerSize, headers);
  return made;
}

function viewOf(replica: number, view: number, headers: readonly Header[] = []) {
  const bodyAt = headerSize + checkpointStateSize;
  const made = message(Command.view, replica, view, bodyAt + headerSize * headers.length);
  putHeaders(made.words, bodyAt, headers);
  return made;
}

function prepareOk(replica: number, view: number, op: number, checksum: number) {
  const made = message(Command.prepareOk, replica, view);
  u64WriteNumber(made.words, prepareOkHeader.word.op, op);
  made.words[prepareOkHeader.word.prepareChecksum] = checksum;
  return made;
}

function prepare({ op, view, checksum }: Header): Uint32Array {
  const words = new Uint32Array(headerSize / 4);
  putHeaders(words, 0, [{ op, view, checksum }]);
  return words;
}

// ── Promised views ─────────────────────────────────────────────────────────────────────────────

test("a replica that has voted for a view does not start in an older one", () => {
  const promised = new PromisedViews(fail);
  const { bytes, words } = joinView(1, 5, 3);
  promised.told(bytes, words);
  promised.started(1, 5, 3);
  promised.started(2, 0, 0);
  expect(() => promised.started(1, 4, 3)).toThrow("view 4, and has taken part in view 5");
  expect(() => promised.started(1, 5, 2)).toThrow("log of view 2");
});

test("an acknowledgement and a view promise the view's log, a heartbeat the view alone", () => {
  for (const { bytes, words } of [prepareOk(1, 5, 9, 1), viewOf(1, 5)]) {
    const promised = new PromisedViews(fail);
    promised.told(bytes, words);
    expect(() => promised.started(1, 5, 4)).toThrow("log of view 4");
  }
  const promised = new PromisedViews(fail);
  const { bytes, words } = message(Command.commit, 1, 5);
  promised.told(bytes, words);
  promised.started(1, 5, 4);
  expect(() => promised.started(1, 4, 4)).toThrow("view 4");
});

test("questions, answers to one that cannot open, and lost disks promise nothing", () => {
  const promised = new PromisedViews(fail);
  const question = message(Command.getView, 1, 5);
  promised.told(question.bytes, question.words);
  const checkpoint = viewOf(1, 5);
  checkpoint.words[viewHeader.word.checkpointOnly] = 1;
  promised.told(checkpoint.bytes, checkpoint.words);
  promised.started(1, 0, 0);
  const vote = joinView(1, 5, 3);
  promised.told(vote.bytes, vote.words);
  promised.diskLost(1);
  promised.started(1, 0, 0);
});

// ── Logs of views ──────────────────────────────────────────────────────────────────────────────

const began: readonly Header[] = [
  { op: 12, view: 4, checksum: 12 },
  { op: 11, view: 3, checksum: 11 },
  { op: 10, view: 3, checksum: 10 },
];

function told(...messages: readonly { bytes: Uint8Array; words: Uint32Array }[]): ViewLogs {
  const logs = new ViewLogs(fail);
  for (const { bytes, words } of messages) logs.told(bytes, words);
  return logs;
}

test("what all hold alike in a view is its log", () => {
  const logs = told(
    viewOf(1, 4, began),
    prepareOk(2, 4, 12, 12),
    joinView(2, 5, 4, 9, began),
    // Another log has another op 12.
    joinView(0, 5, 3, 9, [{ op: 12, view: 3, checksum: 99 }]),
  );
  logs.written(2, 4, prepare(began[1]!));
});

test("an acknowledgement, a journaled prepare and a told log must be those of the view", () => {
  const other = { op: 12, view: 4, checksum: 13 };
  expect(() => told(viewOf(1, 4, began), prepareOk(2, 4, 12, 13))).toThrow("another op 12");
  expect(() => told(viewOf(1, 4, began), joinView(2, 5, 4, 9, [other]))).toThrow("another op 12");
  expect(() => told(viewOf(1, 4, began)).written(2, 4, prepare(other))).toThrow("another op 12");
  // Committed: somebody may remember another log.
  told(viewOf(1, 4, began), joinView(2, 5, 4, 12, [other]));
});

test("ops of older views end where a view began, and those of newer views are not in its log", () => {
  const stale = { op: 13, view: 3, checksum: 13 };
  expect(() => told(viewOf(1, 4, began), joinView(2, 5, 4, 9, [stale]))).toThrow(
    "began after op 11",
  );
  const newer = { op: 13, view: 5, checksum: 13 };
  expect(() => told().written(2, 4, prepare(newer))).toThrow("op 13 of view 5");
});

test("blanks are no prepares", () => {
  const blank = { op: 12, view: 0, checksum: 0 };
  told(viewOf(1, 4, began), joinView(2, 5, 4, 9, [blank]));
});

// ── Acknowledged ops ───────────────────────────────────────────────────────────────────────────

test("what was acknowledged in a view is not denied while its log is held", () => {
  const logWith = (logView: number, op: number, nack: number) => {
    const made = joinView(2, 9, logView);
    u64WriteNumber(made.words, joinViewHeader.word.op, op);
    made.words[joinViewHeader.word.nack] = nack;
    return made;
  };
  const tell = (told: ReturnType<typeof logWith>, lost = false) => {
    const acknowledged = new AcknowledgedOps(fail);
    const { bytes, words } = prepareOk(2, 4, 12, 12);
    acknowledged.told(bytes, words);
    if (lost) acknowledged.diskLost(2);
    acknowledged.told(told.bytes, told.words);
  };
  tell(logWith(4, 12, 0));
  tell(logWith(4, 13, 1));
  expect(() => tell(logWith(4, 13, 2))).toThrow("denies op 12");
  expect(() => tell(logWith(4, 11, 0))).toThrow("ends at op 11");
  // Another primary has cut it off, or the disk is gone.
  tell(logWith(5, 13, 2));
  tell(logWith(4, 11, 0), true);
});
