/** Each checker passes what is right, and catches what it is there for. */
import { describe, expect, test } from "vitest";
import { frame, prepareHeader, replyHeader } from "../../../src/wire/header.ts";
import type { ReferenceLedger } from "../../reference/ledger.ts";
import { makeAccountFilter } from "../../reference/make.ts";
import { Operation } from "../../reference/operations.ts";
import { Course } from "./course.ts";
import { Defect, seal } from "./ideal.ts";
import { hex, type ObservedPrepare, readPrepare } from "./prepare.ts";

function course(requests = 60, seed = 1): Course {
  const made = new Course(seed);
  made.run(requests);
  return made;
}

/** A copy with a changed field, sealed again. */
function changed(message: Uint8Array, change: (view: DataView, bytes: Uint8Array) => void) {
  const bytes = message.slice();
  change(new DataView(bytes.buffer), bytes);
  seal(bytes);
  return bytes;
}

function addTo(at: number, amount: bigint) {
  return (view: DataView): void => {
    view.setBigUint64(at, view.getBigUint64(at, true) + amount, true);
  };
}

test("passes what an ideal replica does, over all operations", () => {
  const operations = new Set<number>();
  for (let seed = 1; seed <= 12; seed += 1) {
    const one = course(250, seed);
    one.finish();
    for (const prepare of one.prepares.slice(1)) {
      const read = readPrepare(prepare);
      if (typeof read === "string") throw new Error(read);
      for (const { operation } of read.requests) operations.add(operation);
    }
    expect(one.checkers.replay.counts.groups).toBeGreaterThan(10);
    expect(one.checkers.replay.counts.pulses).toBeGreaterThan(5);
    expect(one.checkers.ledger.transfers.size).toBeGreaterThan(50);
  }
  expect([...operations].sort((a, b) => a - b)).toEqual(
    [...new Set(Object.values(Operation))].sort((a, b) => a - b),
  );
});

describe("history", () => {
  test("backups execute the same, also again after a restart", () => {
    const one = course();
    const { history } = one.checkers;
    for (const prepare of one.prepares.slice(1)) one.checkers.onExecuted(1, prepare, one.nowUs);
    history.restarted(1);
    for (const prepare of one.prepares.slice(20)) one.checkers.onExecuted(1, prepare, one.nowUs);
    one.checkers.onExecuted(2, one.prepares[1]!, one.nowUs);
    history.synced(2, 30);
    one.checkers.onExecuted(2, one.prepares[31]!, one.nowUs);
  });

  test("another prepare under the same op", () => {
    const one = course();
    for (const prepare of one.prepares.slice(1, 10)) one.checkers.onExecuted(1, prepare, 0);
    const other = changed(one.prepares[10]!, addTo(prepareHeader.at.timestamp, 1n));
    expect(() => one.checkers.onExecuted(1, other, 0)).toThrow(/in the history it is/);
  });

  test("an executed op is taken back and replaced", () => {
    const one = course();
    const { op } = one.replica;
    const other = changed(one.prepares[op]!, (view) => view.setUint32(frame.at.view, 1, true));
    one.checkers.history.restarted(0);
    expect(() => one.checkers.onExecuted(0, other, 0)).toThrow(/in the history it is/);
  });

  test("an op that is left out", () => {
    const one = course();
    one.checkers.onExecuted(1, one.prepares[1]!, 0);
    expect(() => one.checkers.onExecuted(1, one.prepares[3]!, 0)).toThrow("instead of op 2");
  });

  test("a restart that goes forward", () => {
    const one = course();
    one.checkers.onExecuted(1, one.prepares[1]!, 0);
    one.checkers.history.restarted(1);
    expect(() => one.checkers.onExecuted(1, one.prepares[3]!, 0)).toThrow(/after a restart/);
  });

  test("an op that does not name the one before it", () => {
    const one = new Course(1);
    one.showPrepare = (op, prepare) =>
      op === 8 ? changed(prepare, addTo(prepareHeader.at.parent, 1n)) : prepare;
    expect(() => one.run(60)).toThrow(/op 8 names \w+ before it/);
  });

  test("damaged bytes, executed for the first time or again", () => {
    const damage = (prepare: Uint8Array): Uint8Array => {
      const bytes = prepare.slice();
      bytes[bytes.length - 1]! ^= 1;
      return bytes;
    };
    const one = new Course(1);
    one.showPrepare = (op, prepare) => (op === 9 ? damage(prepare) : prepare);
    expect(() => one.run(60)).toThrow(/no prepare: its (body|header)'s checksum/);
    const other = course();
    const again = damage(other.prepares[1]!);
    expect(() => other.checkers.onExecuted(1, again, 0)).toThrow(/damaged bytes as op 1/);
  });

  test("a replica that rests below the last op", () => {
    const one = course();
    one.checkers.history.restarted(0);
    const commitMin = one.replica.op - 1;
    const resting = { index: 0, commitMin, query: one.query, sessions: null };
    expect(() => one.checkers.finish([resting])).toThrow(/rests at op/);
  });

  test("a checkpoint of an op that nobody has executed", () => {
    const one = course();
    expect(() => one.checkers.history.synced(1, one.replica.op + 1)).toThrow(/unknown op/);
  });
});

describe("replies", () => {
  test("a wrong byte in a body", () => {
    const one = course();
    one.replica.defect = Defect.wrongReply;
    expect(() => one.run(20)).toThrow(/is not the reference's/);
  });

  test.each([
    ["op", addTo(replyHeader.at.op, 1n), /commit is|does not hold it/],
    ["timestamp", addTo(replyHeader.at.timestamp, 1n), /timestamp \d+, not/],
    ["context", addTo(replyHeader.at.context, 1n), /context is/],
    [
      "author",
      (_view: DataView, bytes: Uint8Array) => {
        bytes[frame.at.replica] = 2;
      },
      /by replica 2/,
    ],
    ["request checksum", addTo(replyHeader.at.requestChecksum, 1n), /unknown request/],
  ] as const)("another %s", (_what, change, reason) => {
    const one = course();
    const session = one.clients[0]!;
    const first = one.next(session)!;
    one.checkers.replies.onReply(first);
    const reply = changed(first, change as (view: DataView, bytes: Uint8Array) => void);
    expect(() => one.checkers.replies.onReply(reply)).toThrow(reason);
  });

  test("a reply to what was never executed", () => {
    const one = course();
    const reply = one.next(one.clients[0]!)!;
    const early = changed(reply, (view) => {
      const far = BigInt(one.replica.op + 5);
      view.setBigUint64(replyHeader.at.op, far, true);
      view.setBigUint64(replyHeader.at.commit, far, true);
    });
    one.checkers.replies.onReply(early);
    expect(() => one.checkers.replies.finish()).toThrow(/is lost/);
  });

  test("a reply that arrives before its op is known is judged later", () => {
    const one = course();
    const session = one.clients[0]!;
    const { onExecuted } = one.replica;
    let prepare: Uint8Array | null = null;
    one.replica.onExecuted = (_op, bytes) => {
      prepare = bytes;
    };
    one.next(session);
    expect(one.checkers.replies.counts.early).toBe(1);
    onExecuted(one.replica.op, prepare!);
    one.finish();
  });

  test("… and a wrong one is found then", () => {
    const one = course();
    one.replica.onExecuted = (_op, bytes) => one.prepares.push(bytes);
    one.showReply = (reply) => changed(reply, addTo(replyHeader.at.timestamp, 1n));
    one.next(one.clients[0]!);
    const prepare = one.prepares.at(-1)!;
    expect(() => one.checkers.onExecuted(0, prepare, one.nowUs)).toThrow(/timestamp/);
  });

  test("an op below one that had been acknowledged before", () => {
    const one = course();
    const session = one.clients[0]!;
    one.next(session);
    const late = changed(one.next(one.clients[1]!)!, (view) => {
      view.setBigUint64(replyHeader.at.op, BigInt(one.replica.op - 1), true);
      view.setBigUint64(replyHeader.at.commit, BigInt(one.replica.op - 1), true);
    });
    expect(() => one.checkers.replies.onReply(late)).toThrow(/had been acknowledged/);
  });

  test("a request that no client has sent", () => {
    const one = course();
    const request = one.begin(one.clients[0]!);
    expect(() => one.replica.receive(request)).toThrow(/was never sent/);
  });

  test("a body that differs from what was sent", () => {
    const one = new Course(3);
    one.showPrepare = (_op, prepare) => {
      if (prepare[prepareHeader.at.operation] !== Operation.createTransfers) return prepare;
      return changed(prepare, (_view, bytes) => {
        bytes[256 + 96]! ^= 1;
      });
    };
    expect(() => one.run(60)).toThrow(/another body than was sent/);
  });
});

describe("repeated queries", () => {
  /** A query was answered; then the state has changed. */
  function withQuery(): { one: Course; repeat: () => void } {
    const one = course(80);
    const session = one.clients[0]!;
    for (;;) {
      const request = one.begin(session);
      const reads = request[196]! >= 140 && request[196]! <= 145;
      const reply = one.ask(session, request)!;
      if (!reads || reply.length < 600) continue;
      for (let count = 0; count < 30; count += 1) one.next(one.clients[1]!);
      return { one, repeat: () => one.checkers.replies.onReply(one.replica.receive(request)!) };
    }
  }

  test("may show a later state", () => {
    const { one, repeat } = withQuery();
    repeat();
    one.finish();
  });

  test("may not show an older one", () => {
    const { one, repeat } = withQuery();
    one.replica.defect = Defect.staleQuery;
    expect(repeat).toThrow(/nor is it the answer after any op/);
  });

  test("every state since the query's op is had again", () => {
    // Balances, events and accounts as of each op, against a ledger that stops there.
    const one = course(120, 5);
    const { replay } = one.checkers;
    const body = new Uint8Array(64);
    new DataView(body.buffer).setUint32(16, 2730, true);
    const seen = new Map<number, string>();
    const again = new Course(5);
    again.replica.onExecuted = ((inner) => (op: number, prepare: Uint8Array) => {
      inner(op, prepare);
      seen.set(op, stateOf(again.checkers.ledger));
    })(again.replica.onExecuted);
    again.run(120);
    for (let op = one.replica.op; op > 0; op -= 1) {
      expect(stateOf(replay.stateAfter(op)), `op ${op}`).toBe(seen.get(op));
    }
  });
});

/** All that queries can see of a ledger. */
function stateOf(ledger: ReferenceLedger): string {
  const plain = (_key: string, value: unknown): unknown =>
    typeof value === "bigint" ? `${value}` : value;
  const balances = [...ledger.accounts.keys()].map((id) =>
    ledger.getAccountBalances(makeAccountFilter({ account_id: id })),
  );
  const { accounts, transfers, changes } = ledger;
  return JSON.stringify([[...accounts], [...transfers], changes, balances], plain);
}

describe("sessions", () => {
  test("a request that is executed twice", () => {
    const one = course();
    one.replica.defect = Defect.executesTwice;
    const session = one.clients[0]!;
    const request = one.begin(session);
    one.ask(session, request);
    expect(() => one.replica.receive(request)).toThrow(/was executed before/);
  });

  test("a request after a gap", () => {
    const one = course();
    const session = one.clients[0]!;
    const { session: id, number, context } = session;
    const request = session.build(Operation.noop, new Uint8Array(0), number + 2, id, context);
    one.checkers.replies.onSent(request, one.nowUs);
    expect(() => one.replica.accept([request])).toThrow(/after request/);
  });

  test("a second session for a client that has one", () => {
    const one = course();
    const request = one.clients[0]!.build(2, new Uint8Array(256), 0, 0, new Uint32Array(4));
    expect(() => one.replica.accept([request])).toThrow(/which has session/);
  });

  test("follows who makes way in a full table", () => {
    const one = new Course(4, 4);
    one.run(20);
    const before = one.clients.slice();
    one.join();
    expect(one.checkers.sessions.count).toBe(4);
    expect(one.checkers.sessions.evictions).toBe(1);
    for (const session of before) {
      const present = one.checkers.sessions.has(session.name, session.session);
      // The replica, which keeps its own table, tells the same one that it is gone.
      const reply = one.replica.receive(session.ping(0))!;
      expect(reply[frame.at.command] === 18, session.name).toBe(!present);
    }
  });
});

describe("the session table in the end", () => {
  /** A change is the last request of the first client. */
  function withTable(): { one: Course; table: ReturnType<Course["replica"]["table"]> } {
    const one = course();
    const [client] = one.clients;
    while (one.replica.table().replyKept(0) === false || client!.number === 0) one.next(client!);
    const table = one.replica.table();
    one.sessions = table;
    return { one, table };
  }

  test("is that of the history", () => {
    withTable().one.finish();
  });

  test("lacks a session, or has one too many", () => {
    const { one, table } = withTable();
    one.sessions = { ...table, count: table.count + 1 };
    expect(() => one.finish()).toThrow(/has 5 sessions, not 4/);
    one.sessions = { ...table, find: () => -1 };
    expect(() => one.finish()).toThrow(/has no session for client/);
  });

  test("stands at another request, or in other slots than elsewhere", () => {
    const { one, table } = withTable();
    one.sessions = { ...table, request: (slot) => table.request(slot) - 1 };
    expect(() => one.finish()).toThrow(/request is/);
    const { checkers, query, replica } = one;
    const other = { ...table, find: (words: Uint32Array, at: number) => 3 - table.find(words, at) };
    const resting = { index: 0, commitMin: replica.op, query };
    checkers.history.restarted(1);
    expect(() =>
      checkers.finish([
        { ...resting, sessions: table },
        { ...resting, sessions: other },
      ]),
    ).toThrow(/slot is/);
  });

  test("keeps a wrong reply", () => {
    const { one, table } = withTable();
    table.replies.bytes[table.entries[0]!.reply.length - 1]! ^= 1;
    expect(() => one.finish()).toThrow(/kept reply of op \d+ is not the reference's/);
  });
});

describe("timestamps", () => {
  test("a clock that runs back", () => {
    const one = course();
    one.replica.defect = Defect.clockRunsBack;
    expect(() => one.run(5)).toThrow(/begins at time/);
  });

  test("a time that no clock has shown", () => {
    const one = course();
    one.replica.now += 1_000_000_000n;
    expect(() => one.run(5)).toThrow(/no clock shows more/);
  });

  test("a time before the request was sent", () => {
    const one = course();
    one.nowUs += 1_000_000;
    expect(() => one.run(5)).toThrow(/before its request was sent/);
  });
});

describe("checkpoints", () => {
  const id = (word: number): Uint32Array => new Uint32Array([word, 0, 0, 1]);

  test("one op with two ids", () => {
    const { checkpoints } = course(10).checkers;
    checkpoints.durable(0, 6, id(1));
    checkpoints.durable(1, 6, id(1));
    expect(() => checkpoints.durable(2, 6, id(2))).toThrow(/others have/);
  });

  /** An op that names the checkpoint with the id of `word`. */
  function naming(op: number, word: number): ObservedPrepare {
    const prepare = readPrepare(course(1).prepares[1]!);
    if (typeof prepare === "string") throw new Error(prepare);
    return { ...prepare, op, checkpointId: hex(new Uint8Array(id(word).buffer), 0) };
  }

  test("an op that names a checkpoint which nobody has made", () => {
    const { checkpoints } = new Course(1).checkers;
    checkpoints.durable(0, 0, id(1));
    checkpoints.executed(naming(1, 1));
    checkpoints.finish();
    checkpoints.executed(naming(2, 2));
    expect(() => checkpoints.finish()).toThrow(/nobody has made/);
  });

  test("an op that names a checkpoint of its future, or an older one than its parent", () => {
    const { checkpoints } = new Course(1).checkers;
    checkpoints.durable(0, 0, id(1));
    checkpoints.durable(0, 6, id(2));
    checkpoints.executed(naming(5, 1));
    expect(() => checkpoints.executed(naming(6, 2))).toThrow(/names the checkpoint of op 6/);
    expect(() => checkpoints.executed(naming(7, 1))).toThrow(/a later one/);
  });
});

describe("money", () => {
  test("an account that changes by itself", () => {
    const one = course(120);
    const { money, ledger } = one.checkers;
    const account = [...ledger.accounts.values()].find(({ debits_posted }) => debits_posted > 0n)!;
    money.check(1);
    money.apply({ ...account, debits_posted: account.debits_posted + 1n });
    expect(() => money.check(2)).toThrow(/posted debits of ledger \d+ exceed its credits by 1/);
  });

  test("posted amounts that shrink", () => {
    const one = course(120);
    const { money, ledger } = one.checkers;
    const account = [...ledger.accounts.values()].find(
      ({ credits_posted }) => credits_posted > 0n,
    )!;
    expect(() => money.apply({ ...account, credits_posted: 0n })).toThrow(/credits shrink/);
  });

  test("accounts that a replica shows", () => {
    const one = course(120);
    const { money, ledger } = one.checkers;
    const accounts = [...ledger.accounts.values()];
    money.audit("replica 0", accounts);
    const [first, ...others] = accounts;
    const shown = [{ ...first!, credits_pending: first!.credits_pending + 1n }, ...others];
    expect(() => money.audit("replica 0", shown)).toThrow(/replica 0: pending debits/);
  });
});

describe("the state in the end", () => {
  test.each([
    ["accounts", Operation.queryAccounts],
    ["transfers", Operation.queryTransfers],
    ["change events", Operation.getChangeEvents],
    ["transfers of an account", Operation.getAccountTransfers],
    ["balances of an account", Operation.getAccountBalances],
  ])("other %s", (_what, bent) => {
    const one = course(200);
    one.finish();
    const { query } = one;
    one.query = (operation, body) => {
      const answer = query(operation, body);
      if (operation === bent && answer.length > 128) answer[40]! ^= 1;
      return answer;
    };
    expect(() => one.finish()).toThrow(new RegExp(`operation ${bent} `));
  });
});

describe("liveness", () => {
  test("a request that waits for ever", () => {
    const { liveness } = new Course(1).checkers;
    liveness.began(3, "lookup", 0);
    liveness.check(50_000_000);
    liveness.healed(60_000_000);
    liveness.check(60_900_000);
    expect(() => liveness.check(61_100_000)).toThrow(/lookup of client 3 has waited for 1100 ms/);
    expect(() => liveness.finish()).toThrow(/never answered/);
    liveness.ended(3, 61_100_000);
    liveness.finish();
    expect(liveness.longestUs).toBe(1_100_000);
  });
});
