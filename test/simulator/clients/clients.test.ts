/** The clients on an ideal replica behind a bad network, and replicas that are less than ideal. */
import { describe, expect, test } from "vitest";
import { frame, replyHeader } from "../../../src/wire/header.ts";
import { Defect, seal } from "../checkers/ideal.ts";
import { FakeWorld } from "./fake-world.ts";

const minute = 60_000_000;

/** Figures of some seeds together. */
function figuresOf(worlds: readonly FakeWorld[]): Record<string, number> {
  const sums: Record<string, number> = {};
  for (const world of worlds) {
    for (const [name, value] of Object.entries(world.load.figures)) {
      sums[name] = (sums[name] ?? 0) + value;
    }
  }
  return sums;
}

test("are answered, and find nothing wrong", () => {
  for (let seed = 1; seed <= 6; seed += 1) {
    const world = new FakeWorld({ seed });
    world.runAll(minute / 4);
    expect(world.load.answered).toBeGreaterThan(25);
    expect(world.load.figures["transfers created"]).toBeGreaterThan(10);
  }
});

test("repeat what is lost, and ignore what comes twice", () => {
  for (let seed = 1; seed <= 6; seed += 1) {
    const world = new FakeWorld({ seed, loss: 0.3, duplication: 0.2, delayUsMax: 300_000 });
    world.runAll(minute);
    expect(world.load.answered).toBeGreaterThan(50);
    expect(world.load.figures["requests repeated"]).toBeGreaterThan(20);
  }
});

test("follow the primary from view to view, past replicas that do not answer", () => {
  for (let seed = 1; seed <= 3; seed += 1) {
    const world = new FakeWorld({ seed, replicas: 3, loss: 0.05 });
    world.load.start();
    let answered = 0;
    for (let view = 1; view <= 10; view += 1) {
      world.changeView();
      world.deaf.clear();
      world.deaf.add((world.primary + 1) % 3);
      world.run(world.nowUs + minute / 3);
      expect(world.load.answered, `view ${view}`).toBeGreaterThan(answered + 5);
      answered = world.load.answered;
    }
    world.heal();
    world.run(world.nowUs + 10 * minute);
    expect(world.load.idle).toBe(true);
    world.load.finish([0]);
  }
});

test("begin anew when their sessions have been pushed out", () => {
  const load = { clients: 6, clientsMax: 3 };
  const worlds = [1, 2, 3, 4].map((seed) => new FakeWorld({ seed, load, loss: 0.1 }));
  for (const world of worlds) {
    world.runAll(minute);
    expect(world.load.answered).toBeGreaterThan(20);
  }
  const figures = figuresOf(worlds);
  expect(figures["clients evicted"]).toBeGreaterThan(20);
  expect(figures["sessions pushed out"]).toBeGreaterThan(20);
});

test("misbehave, and nobody minds", () => {
  const worlds: FakeWorld[] = [];
  for (let seed = 1; seed <= 30; seed += 1) {
    const world = new FakeWorld({ seed, loss: 0.05, duplication: 0.05 });
    world.runAll(minute / 3);
    worlds.push(world);
  }
  const figures = figuresOf(worlds);
  expect(figures["old requests sent again"]).toBeGreaterThan(100);
  expect(figures["requests to be dropped"]).toBeGreaterThan(50);
  expect(figures["requests to be evicted for"]).toBeGreaterThan(10);
  expect(figures["clients crashed"]).toBeGreaterThan(10);
  expect(figures["queries answered anew"]).toBeGreaterThan(10);
  expect(figures["transfers expired"]).toBe(0); // The ideal replica has no timer.
});

test("do the same for the same seed", () => {
  const run = (seed: number): readonly number[] => {
    const world = new FakeWorld({ seed, loss: 0.2, duplication: 0.1 });
    world.runAll(minute / 2);
    return world.digests;
  };
  expect(run(5)).toEqual(run(5));
  expect(run(5)).not.toEqual(run(6));
});

describe("find that", () => {
  function broken(bend: (message: Uint8Array) => Uint8Array): () => void {
    const world = new FakeWorld({ seed: 3 });
    world.bend = bend;
    return () => world.runAll(minute);
  }
  /** Replies to requests with a body, changed and sealed again. */
  function bent(change: (bytes: Uint8Array, view: DataView) => Uint8Array | undefined) {
    return (message: Uint8Array): Uint8Array => {
      if (message[frame.at.command] !== 8 || message.length < 300) return message;
      const result = change(message, new DataView(message.buffer)) ?? message;
      new DataView(result.buffer).setUint32(frame.at.size, result.length, true);
      seal(result);
      return result;
    };
  }

  test("a session is called gone that is there", () => {
    const world = new FakeWorld({ seed: 3 });
    world.ideal.defect = Defect.evictsAnyone;
    expect(() => world.runAll(minute)).toThrow(/was told that session \d+ is gone/);
  });

  test("a reply is that of a later request", () => {
    const bend = bent((_bytes, view) => {
      const request = view.getUint32(replyHeader.at.request, true);
      if (request > 0) view.setUint32(replyHeader.at.request, request + 1, true);
      return undefined;
    });
    expect(broken(bend)).toThrow(/reply's request is/);
  });

  test("a reply has another release", () => {
    const bend = bent((_bytes, view) => {
      view.setUint32(frame.at.release, 0x1108, true);
      return undefined;
    });
    expect(broken(bend)).toThrow(/reply's release is/);
  });

  test("a body is damaged under a sound header", () => {
    const bend = (message: Uint8Array): Uint8Array => {
      if (message.length > 300) message[290]! ^= 1;
      return message;
    };
    expect(broken(bend)).toThrow(/is not the reference's|wrong checksum/);
  });

  test("a body is too short", () => {
    const bend = bent((bytes) => (bytes[256 + 1] === 0 ? undefined : bytes.slice(0, -16)));
    expect(broken(bend)).toThrow(/is not the reference's|malformed|no limit/);
  });

  test("nobody answers any more", () => {
    const world = new FakeWorld({ seed: 3 });
    world.load.start();
    world.run(minute / 4);
    world.deaf.add(0);
    world.run(minute / 2);
    world.load.onHealed();
    expect(() => world.run(10 * minute)).toThrow(/has waited for/);
  });
});
