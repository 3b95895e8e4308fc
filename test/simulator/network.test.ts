import { expect, test } from "vitest";
import { Prng } from "../../src/core/prng.ts";
import { EventQueue } from "./event-queue.ts";
import { Network, type NetworkOptions } from "./network.ts";

const calm: NetworkOptions = {
  delayMinUs: 100,
  delayMeanUs: 1000,
  loss: 0,
  duplication: 0,
  reordering: 0,
  corruption: 0,
  linkMessagesMax: 1000,
};

class World {
  readonly queue = new EventQueue();
  readonly network: Network;
  /** What has arrived at end 1. */
  readonly arrived: number[] = [];
  readonly times: number[] = [];
  againUs = 0;

  constructor(options: Partial<NetworkOptions>) {
    const receiver = {
      receive: (packet: { words: Uint32Array }) => {
        if (this.againUs > 0) return this.againUs;
        this.arrived.push(packet.words[0]!);
        this.times.push(this.queue.nowUs);
        return 0;
      },
    };
    const random = new Prng(7);
    const ends = [receiver, receiver, receiver];
    this.network = new Network(this.queue, random, { ...calm, ...options }, ends, 3);
  }

  send(value: number, from = 0, to = 1): boolean {
    const words = new Uint32Array(100).fill(value);
    return this.network.send(from, to, new Uint8Array(words.buffer), words, 400);
  }

  settle(): void {
    while (this.queue.runNext()) {
      // Until nothing is on its way.
    }
  }
}

const hundred = Array.from({ length: 100 }, (_, index) => index);

test("messages of a link arrive in order, and once", () => {
  const world = new World({});
  for (const value of hundred) expect(world.send(value)).toBe(true);
  world.settle();
  expect(world.arrived).toEqual(hundred);
});

test("reordering, loss and duplication happen when they are asked for, and not once healed", () => {
  const reordered = new World({ reordering: 0.5 });
  const lossy = new World({ loss: 0.5 });
  const doubling = new World({ duplication: 0.5 });
  const corrupting = new World({ corruption: 0.5 });
  const healed = new World({ reordering: 0.5, loss: 0.5, duplication: 0.5, corruption: 0.5 });
  healed.network.healed = true;
  for (const world of [reordered, lossy, doubling, corrupting, healed]) {
    for (const value of hundred) world.send(value);
    world.settle();
  }
  expect(reordered.arrived).not.toEqual(hundred);
  expect([...reordered.arrived].sort((a, b) => a - b)).toEqual(hundred);
  expect(lossy.arrived.length).toBeLessThan(80);
  expect(doubling.arrived.length).toBeGreaterThan(120);
  expect(corrupting.network.counters.corrupted).toBeGreaterThan(20);
  expect(healed.arrived).toEqual(hundred);
});

test("a cut link loses what is sent and what is on its way, in one direction", () => {
  const world = new World({});
  world.send(1);
  world.network.cutLink(0, 1);
  world.send(2);
  world.send(3, 1, 0);
  world.settle();
  expect(world.arrived).toEqual([3]);
  world.network.restoreLinks();
  world.send(4);
  world.settle();
  expect(world.arrived).toEqual([3, 4]);
});

test("a clogged link delivers late", () => {
  const world = new World({});
  world.network.clog(0, 1, 50_000);
  world.send(1);
  world.settle();
  expect(world.times[0]).toBeGreaterThanOrEqual(50_000);
});

test("a broken connection loses what was on its way in both directions", () => {
  const world = new World({});
  world.send(1);
  world.send(2, 1, 0);
  world.send(3, 0, 2);
  world.network.breakConnection(1, 0);
  world.send(4);
  world.settle();
  expect(world.arrived.sort()).toEqual([3, 4]);
});

test("a link holds so many messages, and a receiver without room gets them later", () => {
  const world = new World({ linkMessagesMax: 2 });
  world.againUs = 500;
  expect([world.send(1), world.send(2), world.send(3)]).toEqual([true, true, false]);
  for (let step = 0; step < 20; step += 1) world.queue.runNext();
  expect(world.send(4)).toBe(false);
  world.againUs = 0;
  world.settle();
  expect(world.arrived.sort()).toEqual([1, 2]);
  expect(world.send(5)).toBe(true);
});
