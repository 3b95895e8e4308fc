import { expect, test } from "vitest";
import { headerSize } from "../core/limits.ts";
import { u64WriteNumber } from "../core/u128.ts";
import { frame, prepareHeader } from "../wire/header.ts";
import { LogDecision, LogEnd, NewLog } from "./new-log.ts";

const headerWords = headerSize / 4;

/** One op as a replica knows it: the view that it was prepared in, or what is wrong with it. */
interface Known {
  readonly view?: number;
  /** The prepare is durable. */
  readonly present?: boolean;
  /** It may have been acknowledged and lost. */
  readonly faulty?: boolean;
}

interface Told {
  readonly logView: number;
  readonly commit: number;
  /** Highest op first; null: no header. */
  readonly ops: readonly (Known | null)[];
  readonly op: number;
}

/** A header's checksum, made of op and view; its parent, of the op before in `parentView`. */
function writeHeader(end: LogEnd, index: number, op: number, view: number): void {
  const at = index * headerWords;
  end.headers[at + frame.word.checksum] = op;
  end.headers[at + frame.word.checksum + 1] = view + 1;
  end.headers[at + prepareHeader.word.parent] = op - 1;
  end.headers[at + prepareHeader.word.parent + 1] = view + 1;
  end.headers[at + frame.word.size] = headerSize;
  u64WriteNumber(end.headers, at + prepareHeader.word.op, op);
}

function tell(told: Told): LogEnd {
  const end = new LogEnd();
  end.known = true;
  end.logView = told.logView;
  end.op = told.op;
  end.commitMin = told.commit;
  end.commitMax = told.commit;
  end.headerCount = told.ops.length;
  told.ops.forEach((known, index) => {
    if (known !== null) writeHeader(end, index, told.op - index, known.view ?? 1);
    if (known?.present === true) end.present |= 1 << index;
    else if (known?.faulty !== true && told.op - index > told.commit) end.nack |= 1 << index;
  });
  return end;
}

const silent = new LogEnd();
const here: Known = { present: true };
const lost: Known = { faulty: true };
/** The header is known, the prepare never arrived. */
const missing: Known = {};

function decide(ends: readonly LogEnd[], nackQuorum: number): NewLog | null {
  const log = new NewLog();
  return log.decide(ends, nackQuorum) === LogDecision.decided ? log : null;
}

test("an op that one of a quorum holds is kept", () => {
  const ends = [
    tell({ logView: 1, commit: 4, op: 5, ops: [here, here] }),
    tell({ logView: 1, commit: 4, op: 4, ops: [here] }),
    silent,
  ];
  expect(decide(ends, 2)?.op).toBe(5);
});

test("an op that nobody of a quorum can have acknowledged is dropped", () => {
  const ends = [
    tell({ logView: 1, commit: 4, op: 5, ops: [missing, here] }),
    tell({ logView: 1, commit: 4, op: 4, ops: [here] }),
    silent,
  ];
  const log = decide(ends, 2);
  expect(log?.op).toBe(4);
  expect(log?.commitMax).toBe(4);
});

test("an op that may have been acknowledged and lost is neither kept nor dropped", () => {
  const two = [
    tell({ logView: 1, commit: 4, op: 5, ops: [lost, here] }),
    tell({ logView: 1, commit: 4, op: 4, ops: [here] }),
  ];
  expect(decide([...two, silent], 2)).toBeNull();
  // The third decides it, either way.
  const holder = tell({ logView: 1, commit: 4, op: 5, ops: [here, here] });
  expect(decide([...two, holder], 2)?.op).toBe(5);
  const without = tell({ logView: 1, commit: 4, op: 4, ops: [here] });
  expect(decide([...two, without], 2)?.op).toBe(4);
});

test("the log of the highest log view wins over a longer one", () => {
  const ends = [
    tell({ logView: 1, commit: 3, op: 6, ops: [here, here, here, here] }),
    tell({ logView: 2, commit: 3, op: 4, ops: [{ view: 2, present: true }, here] }),
    silent,
  ];
  const log = decide(ends, 2);
  expect(log?.op).toBe(4);
  expect(log?.headers[frame.word.checksum + 1]).toBe(3);
});

test("another prepare of an older view is no copy of the canonical one", () => {
  const ends = [
    tell({ logView: 1, commit: 3, op: 4, ops: [here, here] }),
    tell({ logView: 2, commit: 3, op: 4, ops: [{ view: 2 }, here] }),
    silent,
  ];
  // One nacks it explicitly, the other by holding something else.
  expect(decide(ends, 2)?.op).toBe(3);
});

test("what a pipeline before the head lies is committed, whoever says so", () => {
  const ops = Array.from({ length: 9 }, () => here);
  const ends = [
    tell({ logView: 1, commit: 0, op: 20, ops }),
    tell({ logView: 1, commit: 0, op: 12, ops: [here] }),
    silent,
  ];
  expect(decide(ends, 2)?.commitMax).toBe(12);
});

test("nothing is decided while a commit is known that no canonical log reaches", () => {
  const ends = [
    tell({ logView: 1, commit: 9, op: 9, ops: [here] }),
    tell({ logView: 2, commit: 8, op: 8, ops: [here] }),
    silent,
  ];
  expect(decide(ends, 2)).toBeNull();
});

test("a gap in the canonical log is filled by what its successor names", () => {
  const ends = [
    tell({ logView: 2, commit: 3, op: 5, ops: [here, null, here] }),
    tell({ logView: 1, commit: 3, op: 4, ops: [here, here] }),
    silent,
  ];
  const log = decide(ends, 2);
  expect(log?.op).toBe(5);
  expect(log?.headerCount).toBe(3);
});

test("nothing is decided while the ends of the log do not follow each other", () => {
  const stray = tell({
    logView: 2,
    commit: 3,
    op: 5,
    ops: [{ view: 2, present: true }, here, here],
  });
  const other = tell({ logView: 2, commit: 3, op: 3, ops: [here] });
  expect(decide([stray, other, silent], 3)).toBeNull();
  // Below what is committed the chain from above tells which is right.
  const committed = tell({ logView: 2, commit: 4, op: 4, ops: [here, here] });
  const log = decide([stray, committed, silent], 3);
  expect([log?.op, log?.headerCount]).toEqual([5, 1]);
});
