/**
 * The rules of messages between replicas: named cases, and random changes compared with a model
 * that was written apart from them.
 */
import { describe, expect, test } from "vitest";
import { type Frame, frameFrom, frameOf } from "../../test/wire/bytes.ts";
import { replicaRuleModel } from "../../test/wire/replica-rule-model.ts";
import * as make from "../../test/wire/replica-samples.ts";
import { headerSize } from "../core/limits.ts";
import { Prng } from "../core/prng.ts";
import { u64WriteNumber } from "../core/u128.ts";
import { sealHeader } from "./build.ts";
import { HeaderRule, headerRule } from "./frame-check.ts";
import { Command, frame, groupEntry, prepareHeader } from "./header.ts";
import { Operation } from "./operations.ts";
import {
  commitHeader,
  getHeadersHeader,
  headersMax,
  joinViewHeader,
  prepareOkHeader,
  viewHeader,
} from "./replica-headers.ts";
import { bodyHeaderAt, viewBodyHeaderAt } from "./replica-messages.ts";

function holds(target: Frame): boolean {
  const rule = headerRule(target.bytes, target.words, 0);
  expect(rule === HeaderRule.ok || rule === HeaderRule.violated).toBe(true);
  return rule === HeaderRule.ok;
}

/** A prepare with a field changed; `act` sees it before it is sealed. */
function prepareHolds(act: (target: Frame) => void, bodySize = 0): boolean {
  return holds(make.prepare(70, bodySize, act));
}

describe("what replicas write", () => {
  test.each(make.samples)("%s holds", (_, _command, sample) => {
    expect(holds(sample())).toBe(true);
  });

  test("prepares of every kind hold", () => {
    expect(holds(make.pulse(70))).toBe(true);
    expect(holds(make.register(70))).toBe(true);
    expect(holds(groupOf())).toBe(true);
    expect(prepareHolds(noop)).toBe(true);
  });

  test("logs that have just begun hold", () => {
    expect(holds(make.joinView(3, 3))).toBe(true);
    expect(holds(withRoot(make.joinView(3, 4, [3]), bodyHeaderAt(3)))).toBe(true);
  });
});

/** Bytes from 128 on that must be zero, per command. */
const reserved: readonly (readonly [string, () => Frame, number, number])[] = [
  ["ping", make.ping, 178, 256],
  ["pong", make.pong, 144, 256],
  ["prepare_ok", make.prepareOk, 168, 256],
  ["commit", make.commit, 176, 256],
  ["exit_view", make.exitView, 128, 256],
  ["join_view", make.joinView, 172, 256],
  ["view", make.viewMessage, 169, 256],
  ["get_view", make.getView, 145, 256],
  ["get_headers", make.getHeaders, 144, 256],
  ["headers", make.headers, 128, 256],
  ["get_prepare", make.getPrepare, 152, 256],
  ["get_reply", make.getReply, 168, 256],
  ["get_blocks", make.getBlocks, 128, 256],
  ["get_blocks entry", make.getBlocks, 280, 288],
  ["block", make.block, 152, 256],
  ["block that is not there", make.noBlock, 152, 256],
  ["prepare parent padding", make.prepareOfClient, 144, 160],
  ["prepare request padding", make.prepareOfClient, 176, 192],
  ["prepare", make.prepareOfClient, 254, 256],
];

test.each(reserved)("reserved bytes of %s are zero", (_, sample, from, to) => {
  const target = sample();
  for (let at = from; at < to; at += 1) {
    for (const value of [1, 0x80]) {
      target.bytes[at] = value;
      expect(holds(target), `byte ${at}`).toBe(false);
    }
    target.bytes[at] = 0;
  }
  expect(holds(target)).toBe(true);
});

const withoutBody = make.samples.filter(([, , sample]) => sample().bytes.length === headerSize);

test.each(withoutBody)("%s has no body", (_, _command, sample) => {
  const target = frameOf(512);
  target.bytes.set(sample().bytes);
  target.words[frame.word.size] = 512;
  expect(holds(target)).toBe(false);
});

test.each(make.samples.filter(([, command]) => command !== Command.prepare))(
  "%s has no release and comes from a replica",
  (_, _command, sample) => {
    const target = sample();
    target.words[frame.word.release] = 1;
    expect(holds(target)).toBe(false);
    target.words[frame.word.release] = 0;
    target.bytes[frame.at.replica] = 12;
    expect(holds(target)).toBe(false);
  },
);

describe("sizes of bodies", () => {
  const sized = (sample: () => Frame, size: number): boolean => {
    const source = sample();
    const target = frameOf(Math.max(size, source.bytes.length));
    target.bytes.set(source.bytes);
    target.words[frame.word.size] = size;
    return holds(target);
  };

  test("join_view: 1 to 9 headers", () => {
    expect(holds(make.joinView(70, 1))).toBe(true);
    expect(sized(make.joinView, 256)).toBe(false);
    expect(sized(make.joinView, 256 * 9 + 1)).toBe(false);
    expect(sized(make.joinView, 256 * 11)).toBe(false);
  });

  test("view: checkpoint state and 1 to 11 headers", () => {
    expect(holds(make.viewMessage(70, 1))).toBe(true);
    expect(sized(make.viewMessage, 256 + 1024)).toBe(false);
    expect(sized(make.viewMessage, 256 + 512)).toBe(false);
    expect(sized(make.viewMessage, 256 + 1024 + 255)).toBe(false);
    expect(sized(make.viewMessage, 256 * 13 + 1024)).toBe(false);
  });

  test("headers: 1 to as many as fit a small message", () => {
    expect(holds(make.headers(70, 1))).toBe(true);
    expect(sized(make.headers, 256)).toBe(false);
    expect(sized(make.headers, 256 * (headersMax + 2))).toBe(false);
  });

  test("get_blocks: 1 to 4 requests", () => {
    expect(holds(make.getBlocks(1))).toBe(true);
    for (const size of [256, 256 + 31, 256 + 33, 256 + 5 * 32]) {
      expect(sized(make.getBlocks, size), `size ${size}`).toBe(false);
    }
  });

  test("block: one block, or none", () => {
    expect(sized(make.block, 256)).toBe(true);
    for (const size of [256 + 32, 256 + 65_535, 256 + 65_537]) {
      expect(sized(make.block, size), `size ${size}`).toBe(false);
    }
  });
});

describe("ops", () => {
  const changed = (sample: () => Frame, word: number, op: number): boolean => {
    const target = sample();
    u64WriteNumber(target.words, word, op);
    return holds(target);
  };
  const joined = joinViewHeader.word;

  test("checkpoint ≤ executed ≤ committed, executed ≤ head", () => {
    expect(changed(make.prepareOk, prepareOkHeader.word.checkpointOp, 65)).toBe(true);
    expect(changed(make.prepareOk, prepareOkHeader.word.checkpointOp, 66)).toBe(false);
    expect(changed(make.commit, commitHeader.word.checkpointOp, 66)).toBe(true);
    expect(changed(make.commit, commitHeader.word.checkpointOp, 67)).toBe(false);
    expect(changed(make.joinView, joined.checkpointOp, 62)).toBe(true);
    expect(changed(make.joinView, joined.checkpointOp, 63)).toBe(false);
    expect(changed(make.joinView, joined.commitMin, 63)).toBe(true);
    expect(changed(make.joinView, joined.commitMin, 64)).toBe(false);
    expect(changed(make.joinView, joined.commitMax, 70)).toBe(true);
    expect(changed(make.joinView, joined.commitMax, 71)).toBe(false);
    expect(changed(make.viewMessage, viewHeader.word.commitMax, 70)).toBe(true);
    expect(changed(make.viewMessage, viewHeader.word.commitMax, 71)).toBe(false);
    expect(changed(make.viewMessage, viewHeader.word.checkpointOp, 69)).toBe(false);
  });

  test("views stay below 2^31", () => {
    for (const [, , sample] of make.samples) {
      const target = sample();
      target.words[frame.word.view] = 0x8000_0000;
      expect(holds(target)).toBe(false);
    }
  });

  test("a range begins before it ends", () => {
    expect(changed(make.getHeaders, getHeadersHeader.word.opMin, 70)).toBe(true);
    expect(changed(make.getHeaders, getHeadersHeader.word.opMin, 71)).toBe(false);
  });

  test("ops fit 53 bits", () => {
    for (const [, , sample] of make.samples) {
      for (let word = 32; word < 64; word += 2) {
        const target = sample();
        target.words[word] = 0xffff_ffff;
        target.words[word + 1] = 0xffff_ffff;
        expect(holds(target)).toBe(replicaRuleModel(target.bytes));
      }
    }
    expect(changed(make.commit, commitHeader.word.commit, 2 ** 53 - 1)).toBe(true);
    expect(changed(make.commit, commitHeader.word.commit, 2 ** 53)).toBe(false);
  });
});

describe("join_view", () => {
  test("a blank is exact and never present", () => {
    const blank = make.joinView(70, 9, [3]);
    expect(holds(blank)).toBe(true);
    const at = bodyHeaderAt(3);
    for (let word = at; word < at + 64; word += 1) {
      const kept = blank.words[word]!;
      blank.words[word] = kept ^ 0x100;
      expect(holds(blank), `word ${word - at}`).toBe(false);
      blank.words[word] = kept;
    }
    blank.words[joinViewHeader.word.nack]! &= ~0b1000;
    expect(holds(blank)).toBe(true);
    blank.words[joinViewHeader.word.present]! |= 0b1000;
    expect(holds(blank)).toBe(false);
  });

  test("bits speak of headers in the body, and do not contradict", () => {
    for (const name of ["present", "nack"] as const) {
      const target = make.joinView(70, 5);
      target.words[joinViewHeader.word[name]]! |= 1 << 5;
      expect(holds(target)).toBe(false);
    }
    const target = make.joinView();
    target.words[joinViewHeader.word.present] = 1;
    target.words[joinViewHeader.word.nack] = 1;
    expect(holds(target)).toBe(false);
  });

  test("the log view is older than the view that is joined", () => {
    const target = make.joinView();
    target.words[joinViewHeader.word.logView] = make.view;
    expect(holds(target)).toBe(false);
  });
});

describe("headers in bodies", () => {
  const places: readonly (readonly [string, () => Frame, number])[] = [
    ["join_view", make.joinView, bodyHeaderAt(1)],
    ["view", make.viewMessage, viewBodyHeaderAt(1)],
    ["headers", make.headers, bodyHeaderAt(1)],
  ];

  test.each(places)("any changed byte in one of %s is noticed", (_, sample, word) => {
    const target = sample();
    for (let at = word * 4; at < word * 4 + headerSize; at += 1) {
      target.bytes[at]! ^= 0x10;
      expect(holds(target), `byte ${at - word * 4}`).toBe(false);
      target.bytes[at]! ^= 0x10;
    }
    expect(holds(target)).toBe(true);
  });

  test.each(places)(
    "those of %s are sealed prepares of this cluster, in order",
    (_, sample, word) => {
      const replaced = (header: Frame): boolean => {
        const target = sample();
        target.words.set(header.words.subarray(0, 64), word);
        return holds(target);
      };
      expect(replaced(make.prepare(69))).toBe(true);
      expect(replaced(make.prepare(70))).toBe(false);
      expect(replaced(make.prepare(68))).toBe(false);
      const other = make.prepare(69, 0, ({ words }) => {
        words[frame.word.cluster] = 12;
      });
      expect(replaced(other)).toBe(false);
      const request = make.prepare(69, 0, ({ bytes }) => {
        bytes[frame.at.command] = Command.request;
      });
      expect(replaced(request)).toBe(false);
    },
  );

  test("headers may leave ops out, a view may not", () => {
    const withGap = (target: Frame, word: number): boolean => {
      target.words.set(make.prepare(60).words, word);
      return holds(target);
    };
    expect(withGap(make.headers(70, 2), bodyHeaderAt(1))).toBe(true);
    expect(withGap(make.viewMessage(70, 2), viewBodyHeaderAt(1))).toBe(false);
    expect(withGap(make.joinView(70, 2), bodyHeaderAt(1))).toBe(false);
  });

  test("the first is the one that the message names", () => {
    const view = make.viewMessage(70, 1);
    view.words.set(make.prepare(69).words, viewBodyHeaderAt(0));
    expect(holds(view)).toBe(false);
    const join = make.joinView(70, 1);
    join.words.set(make.prepare(69).words, bodyHeaderAt(0));
    expect(holds(join)).toBe(false);
  });
});

describe("prepares", () => {
  const { word, at } = prepareHeader;

  test("op, commit and timestamp are possible", () => {
    const number = (place: number, value: number) => (target: Frame) =>
      u64WriteNumber(target.words, place, value);
    expect(prepareHolds(number(word.op, 0))).toBe(false);
    expect(prepareHolds(number(word.op, 2 ** 53 - 1))).toBe(true);
    expect(prepareHolds(number(word.op, 2 ** 53))).toBe(false);
    expect(prepareHolds(number(word.commit, 69))).toBe(true);
    expect(prepareHolds(number(word.commit, 70))).toBe(false);
    expect(prepareHolds(number(word.timestamp, 0))).toBe(false);
    expect(
      prepareHolds((target) =>
        target.words.fill(0x7fff_ffff, word.timestamp + 1, word.timestamp + 2),
      ),
    ).toBe(true);
    expect(
      prepareHolds((target) =>
        target.words.fill(0x8000_0000, word.timestamp + 1, word.timestamp + 2),
      ),
    ).toBe(false);
  });

  test("operations that the log knows, and no others", () => {
    const known: number[] = [];
    for (let operation = 0; operation < 256; operation += 1) {
      const held = prepareHolds((target) => {
        target.bytes[at.operation] = operation;
      });
      if (held) known.push(operation);
    }
    // Register, pulse and group look different from a request of a client with a number.
    const expected = [Operation.noop];
    for (let operation = 129; operation <= 147; operation += 1) expected.push(operation as 6);
    expect(known).toEqual(expected);
  });

  test("the root is never sent", () => {
    const root = rootPrepare();
    expect(holds(root)).toBe(false);
  });

  test("a request of a client has a client, a release and a number", () => {
    expect(prepareHolds((t) => t.words.fill(0, word.client, word.client + 4))).toBe(false);
    expect(prepareHolds((t) => t.words.fill(0, frame.word.release, frame.word.release + 1))).toBe(
      false,
    );
    expect(prepareHolds((t) => t.words.fill(0, word.request, word.request + 1))).toBe(false);
    expect(prepareHolds((t) => t.bytes.fill(2, at.requests, at.requests + 1))).toBe(false);
    expect(prepareHolds((t) => t.bytes.fill(0, at.requests, at.requests + 1))).toBe(false);
    expect(prepareHolds((t) => t.bytes.fill(6, frame.at.replica, frame.at.replica + 1))).toBe(
      false,
    );
    expect(prepareHolds(noop, 4)).toBe(false);
  });

  test("registers, pulses and groups have their sizes and nothing of a request's", () => {
    for (const sample of [make.pulse, groupOf]) {
      for (const place of [frame.word.release, word.client, word.requestChecksum, word.request]) {
        const target = sample(70);
        target.words[place] = 1;
        expect(holds(target), `word ${place}`).toBe(false);
      }
    }
    const register = make.register(70);
    register.words[word.request] = 1;
    expect(holds(register)).toBe(false);
    register.words[word.request] = 0;
    register.words[frame.word.size] = 256;
    expect(holds(register)).toBe(false);
    const pulse = frameOf(512);
    pulse.bytes.set(make.pulse(70).bytes);
    pulse.words[frame.word.size] = 260;
    expect(holds(pulse)).toBe(false);
  });

  test("a group's table describes its bodies", () => {
    const entry = groupOf().words.length - 16;
    const cases: readonly (readonly [string, number, number])[] = [
      ["a request of nobody", groupEntry.word.client, 0],
      ["no session", groupEntry.word.session, 0],
      ["no number", groupEntry.word.request, 0],
      ["no release", groupEntry.word.release, 0],
      ["bodies too short", groupEntry.word.bodySize, 124],
      ["bodies too long", groupEntry.word.bodySize, 132],
      ["a body larger than the message", groupEntry.word.bodySize, 0xffff_fffc],
      ["a register", groupEntry.word.operation, Operation.register],
      ["a group", groupEntry.word.operation, Operation.group],
      ["a pulse", groupEntry.word.operation, Operation.pulse],
      ["an unknown operation", groupEntry.word.operation, 200],
      ["reserved bytes beside the operation", groupEntry.word.operation, 0x100 + 147],
      ["reserved bytes", groupEntry.word.operation + 1, 1],
      ["reserved bytes at the end", groupEntry.word.operation + 2, 1],
    ];
    for (const [name, place, value] of cases) {
      const target = groupOf();
      expect(holds(target)).toBe(true);
      target.words[entry + place] = value;
      expect(holds(target), name).toBe(false);
    }
    const one = groupOf();
    one.bytes[at.requests] = 1;
    expect(holds(one)).toBe(false);
    one.bytes[at.requests] = 65;
    expect(holds(one)).toBe(false);
  });
});

test("changed messages are judged as the model judges them", () => {
  const random = new Prng(11);
  const counts = { held: 0, broken: 0 };
  const sources = [
    ...make.samples.map(([, , sample]) => sample()),
    make.pulse(9),
    make.register(9),
    groupOf(),
    make.joinView(70, 4, [1, 2]),
    withRoot(make.joinView(3, 4), bodyHeaderAt(3)),
  ];
  for (let round = 0; round < 60_000; round += 1) {
    const source = sources[random.below(sources.length)]!;
    const target = frameFrom(source.bytes);
    for (let count = random.below(3); count >= 0; count -= 1) mutate(target, random);
    const size = target.words[frame.word.size]!;
    const frameSound = size >= headerSize && size <= target.bytes.length;
    if (!frameSound) continue;
    const expected = replicaRuleModel(target.bytes.subarray(0, size));
    if (holds(target) !== expected) {
      const bytes = Buffer.from(target.bytes.subarray(0, size)).toString("hex");
      expect({ round, held: !expected, bytes }).toEqual({ round, held: expected, bytes });
    }
    if (expected) counts.held += 1;
    else counts.broken += 1;
  }
  expect(counts.held).toBeGreaterThan(5000);
  expect(counts.broken).toBeGreaterThan(5000);
});

test("noise never throws", () => {
  const random = new Prng(12);
  const target = frameOf(256 + 1024 + 64 * 256);
  for (let round = 0; round < 5000; round += 1) {
    for (let word = 0; word < 200; word += 1) {
      target.words[random.below(target.words.length)] = random.u32();
    }
    target.words.fill(0, 4, 8);
    target.words.fill(0, 12, 20);
    target.words[25] = 0;
    target.words.fill(0, 29, 32);
    target.bytes.fill(0, 112, 114);
    target.bytes[frame.at.command] = random.range(1, 24);
    target.words[frame.word.size] = headerSize + random.below(target.bytes.length - headerSize + 1);
    headerRule(target.bytes, target.words, 0);
  }
});

/** Changes bytes after the frame's checked part; sometimes headers in bodies, sealed again. */
function mutate(target: Frame, random: Prng): void {
  const { bytes, words } = target;
  switch (random.below(6)) {
    case 0:
      bytes[random.range(128, 255)] = random.below(3) * 127;
      return;
    case 1:
      words[random.range(32, 63)] = [0, 1, 40, 69, 70, 71, 0xffff_ffff][random.below(7)]!;
      return;
    case 2:
      bytes[random.range(headerSize, Math.max(headerSize, bytes.length - 1))]! ^= 1;
      return;
    case 3:
      words[frame.word.size] = Math.max(headerSize, bytes.length - 32 * random.below(9));
      return;
    case 4: {
      const kinds = make.samples;
      bytes[frame.at.command] = kinds[random.below(kinds.length)]![1];
      return;
    }
    default: {
      // A header in the body, of any kind and near its op.
      const count = Math.floor(bytes.length / headerSize) - 1;
      if (count < 1 || bytes.length > 20_000) return;
      const op = 70 - random.below(11);
      const kind = random.below(4);
      const header =
        kind === 0 ? make.pulse(op) : kind === 1 ? make.register(op) : make.prepare(op);
      const at = headerSize * random.range(1, count);
      bytes.set(header.bytes.subarray(0, headerSize), at);
    }
  }
}

function noop({ bytes }: Frame): void {
  bytes[prepareHeader.at.operation] = Operation.noop;
}

/** A group of two requests with bodies of 128 bytes each. */
function groupOf(op = 70): Frame {
  const target = make.group(op, 256 + 2 * groupEntry.size);
  for (let index = 0; index < 2; index += 1) {
    const entry = (headerSize + 256 + index * groupEntry.size) / 4;
    target.words.set([1, 2, 3, 4, 5, 0, 0, 0], entry);
    u64WriteNumber(target.words, entry + groupEntry.word.session, 12);
    target.words[entry + groupEntry.word.request] = 3;
    target.words[entry + groupEntry.word.release] = 0x1109;
    target.words[entry + groupEntry.word.bodySize] = 128;
    target.words[entry + groupEntry.word.operation] = Operation.lookupAccounts;
  }
  sealHeader(target.bytes, target.words, 0);
  return target;
}

/** Op 0, as each replica makes it from the format options. */
function rootPrepare(): Frame {
  return make.prepare(0, 256, ({ bytes, words }) => {
    words.fill(0, frame.word.view, frame.word.release + 1);
    words.fill(0, 32, 64);
    bytes[frame.at.replica] = 0;
    bytes[prepareHeader.at.operation] = Operation.root;
  });
}

/** A join_view whose header at `word` is the root's. */
function withRoot(target: Frame, word: number): Frame {
  target.words.set(rootPrepare().words.subarray(0, 64), word);
  return target;
}
