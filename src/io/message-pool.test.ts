import { describe, expect, test } from "vitest";
import { Prng } from "../core/prng.ts";
import { frame } from "../wire/header.ts";
import type { IoBuffer } from "./io.ts";
import {
  largeMessageSize,
  type Message,
  MessagePool,
  MessageWaiter,
  smallMessageSize,
} from "./message-pool.ts";

function allocate(sizeBytes: number): IoBuffer {
  const memory = new ArrayBuffer(sizeBytes);
  return {
    sizeBytes,
    bytes: new Uint8Array(memory),
    words: new Uint32Array(memory),
    id: 0,
  };
}

function poolOf(small: number, large: number): MessagePool {
  return new MessagePool(allocate, { small, large });
}

describe("messages", () => {
  test("come in two sizes", () => {
    const pool = poolOf(4, 2);
    const sizes: [number, boolean][] = [
      [256, false],
      [smallMessageSize, false],
      [smallMessageSize + 1, true],
      [1024 * 1024, true],
    ];
    for (const [size, large] of sizes) {
      const message = pool.get(size)!;
      expect(message.large).toBe(large);
      expect(message.bytes.length).toBe(large ? largeMessageSize : smallMessageSize);
      expect(message.references).toBe(1);
      pool.unref(message);
    }
    expect(() => pool.get(255)).toThrow(/header/);
    expect(() => pool.get(largeMessageSize + 1)).toThrow(/largest buffer/);
  });

  test("all that is allocated is allocated at start", () => {
    let allocated = 0;
    const counting = (size: number): IoBuffer => {
      allocated += size;
      return allocate(size);
    };
    const pool = new MessagePool(counting, { small: 3, large: 2 });
    expect(allocated).toBe(3 * smallMessageSize + 2 * largeMessageSize);
    const taken = new Set<Message>();
    for (let message = pool.get(256); message !== null; message = pool.get(256)) taken.add(message);
    expect(taken.size).toBe(3);
    expect(pool.get(20_000)).not.toBeNull();
    expect(pool.get(20_000)).not.toBeNull();
    expect(pool.get(20_000)).toBeNull();
    expect(allocated).toBe(3 * smallMessageSize + 2 * largeMessageSize);
    expect([pool.smallUsedMax, pool.largeUsedMax]).toEqual([3, 2]);
  });

  test("belong to one pool", () => {
    const [pool, other] = [poolOf(1, 1), poolOf(1, 1)];
    const message = pool.get(256)!;
    expect(message.pool).toBe(pool);
    expect(() => other.ref(message)).toThrow(/of this pool/);
    expect(() => other.unref(message)).toThrow(/of this pool/);
    pool.unref(message);
    expect(pool.free(false)).toBe(1);
  });

  test("a reserve is left alone", () => {
    const pool = poolOf(3, 1);
    expect(pool.get(256, 3)).toBeNull();
    expect(pool.get(256, 2)).not.toBeNull();
    expect(pool.get(256, 2)).toBeNull();
    expect(pool.get(256)).not.toBeNull();
  });

  test("go back when the last owner lets go", () => {
    const pool = poolOf(1, 1);
    const message = pool.get(256)!;
    expect(pool.ref(message)).toBe(message);
    pool.unref(message);
    expect(pool.get(256)).toBeNull();
    pool.unref(message);
    expect(pool.get(256)).toBe(message);
  });

  test("a released message is not to be touched", () => {
    const pool = poolOf(2, 1);
    const message = pool.get(256)!;
    message.words[frame.word.size] = 300;
    message.bytes[frame.at.command] = 8;
    expect(message.size).toBe(300);
    expect(message.command).toBe(8);
    pool.unref(message);
    expect(() => pool.unref(message)).toThrow(/only an owner may release/);
    expect(() => pool.ref(message)).toThrow(/only an owner may share/);
    expect(() => message.size).toThrow(/has an owner/);
    expect(() => message.command).toThrow(/has an owner/);
    expect(pool.free(false)).toBe(2);
  });
});

/** A waiter that takes one message each time it is asked and may. */
class Taker {
  readonly waiter: MessageWaiter;
  readonly taken: Message[] = [];
  asked = 0;
  willing = true;

  constructor(
    readonly pool: MessagePool,
    readonly size: number,
    readonly log: Taker[] = [],
    readonly after: () => void = () => {},
  ) {
    this.waiter = new MessageWaiter(() => {
      this.asked += 1;
      if (!this.willing) return false;
      const message = this.pool.get(this.size);
      if (message === null) return false;
      this.pool.cancelWait(this.waiter);
      this.taken.push(message);
      this.log.push(this);
      this.after();
      return true;
    });
  }

  wait(): void {
    this.pool.wait(this.waiter, this.size > smallMessageSize);
  }
}

describe("waiting", () => {
  const exhausted = (small: number, large: number): { pool: MessagePool; held: Message[] } => {
    const pool = poolOf(small, large);
    const held: Message[] = [];
    for (let count = 0; count < small; count += 1) held.push(pool.get(256)!);
    for (let count = 0; count < large; count += 1) held.push(pool.get(20_000)!);
    return { pool, held };
  };

  test("is first come, first served, per class", () => {
    const { pool, held } = exhausted(2, 1);
    const log: Taker[] = [];
    const takers = [256, 20_000, 256, 256, 20_000].map((size) => new Taker(pool, size, log));
    for (const taker of takers) taker.wait();
    expect([pool.waiters(false), pool.waiters(true)]).toEqual([3, 2]);
    pool.wakeWaiters();
    expect(log).toEqual([]);
    pool.unref(held[2]!); // The large one.
    pool.wakeWaiters();
    expect(log).toEqual([takers[1]]);
    pool.unref(held[0]!);
    pool.unref(held[1]!);
    pool.wakeWaiters();
    expect(log).toEqual([takers[1], takers[0], takers[2]]);
    expect([pool.waiters(false), pool.waiters(true)]).toEqual([1, 1]);
    pool.cancelWait(takers[3]!.waiter);
    pool.cancelWait(takers[3]!.waiter);
    expect(pool.waiters(false)).toBe(0);
    expect(() => takers[4]!.wait()).toThrow(/once/);
  });

  test("a wake-up is asked for once, and only when somebody waits", () => {
    const { pool, held } = exhausted(3, 1);
    let wakes = 0;
    pool.onWake = () => {
      wakes += 1;
    };
    pool.unref(held[0]!);
    expect(wakes).toBe(0);
    const first = pool.get(256)!;
    const taker = new Taker(pool, 256);
    taker.wait();
    expect(wakes).toBe(0);
    pool.unref(first);
    pool.unref(held[1]!);
    expect(wakes).toBe(1);
    expect(taker.taken.length).toBe(0);
    pool.wakeWaiters();
    expect(taker.taken.length).toBe(1);
    pool.unref(held[3]!);
    expect(wakes).toBe(1);
  });

  test("those behind one that keeps its place are asked too, and no sooner than their turn", () => {
    const { pool, held } = exhausted(3, 1);
    const log: Taker[] = [];
    const takers = [1, 2, 3].map(() => new Taker(pool, 256, log));
    for (const taker of takers) taker.wait();
    takers[0]!.willing = false;
    pool.unref(held[0]!);
    pool.wakeWaiters();
    expect(log).toEqual([takers[1]]);
    takers[0]!.willing = true;
    pool.unref(held[1]!);
    pool.wakeWaiters();
    expect(log).toEqual([takers[1], takers[0]]);
  });

  test("one that waits while messages are free is asked in the next pass", () => {
    const pool = poolOf(2, 1);
    let wakes = 0;
    pool.onWake = () => {
      wakes += 1;
    };
    // Stood back for somebody ahead who waits for something else.
    const taker = new Taker(pool, 256);
    taker.wait();
    expect(wakes).toBe(1);
    pool.wakeWaiters();
    expect(taker.taken.length).toBe(1);
  });

  test("when one ahead leaves the line, those behind are asked", () => {
    const pool = poolOf(2, 1);
    const blocked = new Taker(pool, 256);
    blocked.willing = false;
    blocked.wait();
    const behind = new Taker(pool, 256);
    behind.wait();
    behind.willing = false;
    pool.wakeWaiters();
    behind.willing = true;
    let wakes = 0;
    pool.onWake = () => {
      wakes += 1;
    };
    pool.cancelWait(blocked.waiter);
    expect(wakes).toBe(1);
    pool.wakeWaiters();
    expect(behind.taken.length).toBe(1);
  });

  test("a waiter may wait again, or end the waiting of others, while it proceeds", () => {
    const { pool, held } = exhausted(4, 1);
    const log: Taker[] = [];
    const others: Taker[] = [];
    const first = new Taker(pool, 256, log, () => {
      pool.cancelWait(others[0]!.waiter);
      first.wait();
    });
    others.push(new Taker(pool, 256, log), new Taker(pool, 256, log));
    first.wait();
    for (const other of others) other.wait();
    for (const message of held.slice(0, 4)) pool.unref(message);
    pool.wakeWaiters();
    // Itself it is asked once per pass.
    expect(log).toEqual([first, others[1]]);
    expect(first.waiter.waiting).toBe(true);
    pool.wakeWaiters();
    expect(log).toEqual([first, others[1], first]);
  });

  test("nobody is forgotten (random)", () => {
    const random = new Prng(42);
    const pool = poolOf(3, 2);
    let wake = false;
    pool.onWake = () => {
      wake = true;
    };
    const log: Taker[] = [];
    const takers = Array.from({ length: 12 }, (_, index) => {
      const taker = new Taker(pool, index % 3 === 0 ? 20_000 : 256, log, () => {
        if (random.chance(0.3)) taker.wait();
      });
      return taker;
    });
    for (let step = 0; step < 50_000; step += 1) {
      const taker = takers[random.below(takers.length)]!;
      const large = taker.size > smallMessageSize;
      switch (random.below(5)) {
        case 0:
        case 1:
          if (!taker.waiter.waiting) taker.wait();
          break;
        case 2:
          pool.cancelWait(taker.waiter);
          break;
        case 3: {
          const message = taker.taken.pop();
          if (message !== undefined) pool.unref(message);
          break;
        }
        default:
          if (wake) {
            wake = false;
            pool.wakeWaiters();
          }
      }
      // Whoever waits for a message that is free has a wake-up coming.
      if (pool.waiters(large) > 0 && pool.free(large) > 0) expect(wake).toBe(true);
    }
    expect(log.length).toBeGreaterThan(1000);
  });
});
