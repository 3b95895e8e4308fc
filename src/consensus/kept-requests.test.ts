import { beforeEach, expect, test } from "vitest";
import { Prng } from "../core/prng.ts";
import type { IoBuffer } from "../io/io.ts";
import { type Message, MessagePool, smallMessageSize } from "../io/message-pool.ts";
import { frame, requestHeader } from "../wire/header.ts";
import { KeptRequests, keptLargeMax, keptSmallMax } from "./kept-requests.ts";

function memory(sizeBytes: number): IoBuffer {
  const words = new Uint32Array(sizeBytes / 4);
  return { words, bytes: new Uint8Array(words.buffer), sizeBytes } as IoBuffer;
}

let pool: MessagePool;
let kept: KeptRequests;

beforeEach(() => {
  pool = new MessagePool(memory, { small: keptSmallMax + 1, large: keptLargeMax + 1 });
  kept = new KeptRequests();
});

/** Keeps a request, which the caller then gives up. */
function keep(client: number, number: number, large = false, tick = 0): void {
  const size = large ? smallMessageSize + 1 : 256;
  const message: Message = pool.get(size)!;
  message.words[frame.word.size] = size;
  message.words[requestHeader.word.client] = client;
  message.words[requestHeader.word.request] = number;
  kept.keep(message, tick);
  pool.unref(message);
}

function drained(): [client: number, number: number][] {
  const found: [number, number][] = [];
  kept.drain(({ words }) => {
    found.push([words[requestHeader.word.client]!, words[requestHeader.word.request]!]);
  });
  return found;
}

test("keeps the newest request of each client, oldest first", () => {
  keep(1, 1);
  keep(2, 1);
  keep(1, 2);
  keep(3, 1, true);
  keep(3, 2);
  expect(kept.length).toBe(3);
  expect(drained()).toEqual([
    [2, 1],
    [1, 2],
    [3, 2],
  ]);
  expect(drained()).toEqual([]);
});

test("forgets a client whose request was executed", () => {
  for (const client of [1, 2, 3]) keep(client, 7);
  kept.forget(Uint32Array.of(9, 2, 0, 0, 0), 1, 7);
  kept.forget(Uint32Array.of(3, 0, 0, 0), 0, 6);
  kept.forget(Uint32Array.of(4, 0, 0, 0), 0, 7);
  const shown: number[] = [];
  kept.show(5, ({ words }) => {
    shown.push(words[requestHeader.word.client]!);
  });
  expect(shown).toEqual([1, 3]);
  expect(drained()).toEqual([
    [1, 7],
    [3, 7],
  ]);
});

test("forgets what is old, and shows no more than is asked for", () => {
  keep(1, 1, false, 10);
  keep(2, 1, false, 20);
  keep(1, 1, false, 30);
  keep(3, 1, true, 40);
  kept.prune(20);
  expect(kept.length).toBe(3);
  kept.prune(21);
  let shown = 0;
  kept.show(1, () => {
    shown += 1;
  });
  expect([kept.length, shown]).toEqual([2, 1]);
  expect(drained()).toEqual([
    [1, 1],
    [3, 1],
  ]);
});

test.each([
  [false, keptSmallMax],
  [true, keptLargeMax],
])("holds no more than its share (large: %s)", (large, most) => {
  keep(1000, 1, !large);
  for (let client = 1; client <= most + 3; client += 1) keep(client, 1, large);
  keep(most + 3, 2, large);
  const clients = drained().map(([client]) => client);
  expect(clients).toEqual([1000, ...Array.from({ length: most }, (_, index) => index + 4)]);
});

test("gives every message back", () => {
  for (let client = 1; client <= 2 * keptSmallMax; client += 1) keep(client, 1);
  drained();
  const all = Array.from({ length: keptSmallMax + 1 }, () => pool.get(256));
  expect(all).not.toContain(null);
});

/** The obvious way, which makes arrays. */
class Model {
  list: { client: number; number: number; large: boolean; tick: number }[] = [];

  keep(client: number, number: number, large: boolean, tick: number): void {
    this.list = this.list.filter((kept) => kept.client !== client);
    const ofItsSize = this.list.filter((kept) => kept.large === large);
    if (ofItsSize.length === (large ? keptLargeMax : keptSmallMax)) {
      this.list = this.list.filter((kept) => kept !== ofItsSize[0]);
    }
    this.list.push({ client, number, large, tick });
  }
}

test("agrees with a list that is made anew by every step", () => {
  const random = new Prng(5);
  const model = new Model();
  for (let tick = 1; tick < 5000; tick += 1) {
    const client = 1 + random.below(100);
    const number = random.below(10);
    if (random.chance(0.8)) {
      const large = random.chance(0.1);
      keep(client, number, large, tick);
      model.keep(client, number, large, tick);
    } else if (random.chance(0.9)) {
      kept.forget(Uint32Array.of(client, 0, 0, 0), 0, number);
      model.list = model.list.filter((kept) => kept.client !== client || kept.number > number);
    } else {
      kept.prune(tick - 200);
      model.list = model.list.filter((kept) => kept.tick >= tick - 200);
    }
    const shown: number[] = [];
    kept.show(1000, ({ words }) => {
      shown.push(words[requestHeader.word.client]!);
    });
    expect(shown).toEqual(model.list.map(({ client }) => client));
    expect(kept.length).toBe(shown.length);
  }
  expect(kept.length).toBeGreaterThan(keptSmallMax / 2);
  expect(drained()).toEqual(model.list.map(({ client, number }) => [client, number]));
});
