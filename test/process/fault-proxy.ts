/**
 * A TCP proxy that stands for one link of a network and fails as networks do. Every connection that
 * is made to its port is carried to the target; what becomes of the bytes on the way is decided by
 * the link's faults, for each direction by itself:
 *
 *   delayMs   bytes arrive later, in order
 *   held      bytes stay where they are until the fault is lifted, and so does the news of an end:
 *             one direction held is a one-way cut, both are a black hole
 *   slowBytes so many bytes per step of 20 ms pass, no more
 *   corrupt   one bit of the next bytes that pass is flipped
 *
 * `reset` ends all connections at once. As with TCP, bytes are never lost inside a connection: they
 * are late, or the connection ends.
 */
import { createConnection, createServer, type Server, type Socket } from "node:net";
import type { Prng } from "../../src/core/prng.ts";

/** From the side that connects, and back to it. */
export const Way = { forth: 0, back: 1 } as const;
export type Way = (typeof Way)[keyof typeof Way];

interface WayFaults {
  delayMs: number;
  held: boolean;
  slowBytes: number;
  corrupt: boolean;
}

const stepMs = 20;
/** So much waits in a lane, and its source is not read. Bytes. */
const waitingMax = 1 << 20;

interface Waiting {
  readonly bytes: Buffer;
  readonly dueMs: number;
}

/** One direction of one connection. */
class Lane {
  private readonly waiting: Waiting[] = [];
  private waitingBytes = 0;
  private sourceEnded = false;
  private timer: NodeJS.Timeout | null = null;
  done = false;

  constructor(
    private readonly link: FaultyLink,
    private readonly way: Way,
    private readonly source: Socket,
    private readonly sink: Socket,
  ) {
    source.on("data", (bytes) => this.take(bytes));
    source.on("close", () => {
      this.sourceEnded = true;
      this.pump();
    });
  }

  private take(bytes: Buffer): void {
    this.waiting.push({ bytes, dueMs: performance.now() + this.link.faults[this.way]!.delayMs });
    this.waitingBytes += bytes.length;
    if (this.waitingBytes > waitingMax) this.source.pause();
    this.pump();
  }

  /** Lets through what may pass now. */
  pump(): void {
    if (this.done || this.timer !== null) return;
    const faults = this.link.faults[this.way]!;
    if (faults.held) return;
    let budget = faults.slowBytes === 0 ? Number.POSITIVE_INFINITY : faults.slowBytes;
    const now = performance.now();
    while (this.waiting.length > 0 && budget > 0 && this.waiting[0]!.dueMs <= now) {
      budget -= this.pass(budget);
    }
    if (this.waiting.length > 0) {
      this.timer = setTimeout(() => {
        this.timer = null;
        this.pump();
      }, stepMs);
    } else if (this.sourceEnded) {
      this.done = true;
      this.sink.destroy();
    }
  }

  /** Passes the oldest bytes on, at most `budget` of them; returns how many. */
  private pass(budget: number): number {
    const { bytes, dueMs } = this.waiting[0]!;
    const now = bytes.subarray(0, Math.min(bytes.length, budget));
    if (now.length === bytes.length) this.waiting.shift();
    else this.waiting[0] = { bytes: bytes.subarray(now.length), dueMs };
    this.waitingBytes -= now.length;
    if (this.waitingBytes <= waitingMax && this.source.isPaused()) this.source.resume();
    if (!this.sink.destroyed) this.sink.write(this.link.corrupted(this.way, now));
    return now.length;
  }

  stop(): void {
    this.done = true;
    if (this.timer !== null) clearTimeout(this.timer);
    this.timer = null;
  }
}

interface Carried {
  readonly sockets: readonly Socket[];
  readonly lanes: readonly Lane[];
}

export class FaultyLink {
  readonly faults: readonly WayFaults[] = [noFaults(), noFaults()];
  /** Bits that were flipped, by direction. */
  readonly flips = [0, 0];
  private readonly carried = new Set<Carried>();
  private readonly random: Prng;
  private readonly target: number;
  private readonly server: Server;

  private constructor(
    readonly name: string,
    target: number,
    random: Prng,
    server: Server,
  ) {
    this.target = target;
    this.random = random;
    this.server = server;
    server.on("connection", (socket) => this.carry(socket));
  }

  /** @param target - Port on this machine that connections are carried to. */
  static open(name: string, target: number, random: Prng): Promise<FaultyLink> {
    return new Promise((resolve, reject) => {
      const server = createServer({ noDelay: true });
      const link = new FaultyLink(name, target, random, server);
      server.once("error", reject);
      server.listen(0, "127.0.0.1", () => resolve(link));
    });
  }

  get port(): number {
    return (this.server.address() as { port: number }).port;
  }

  get connections(): number {
    return this.carried.size;
  }

  private carry(near: Socket): void {
    const far = createConnection({ port: this.target, host: "127.0.0.1", noDelay: true });
    for (const socket of [near, far]) socket.on("error", () => {}); // "close" follows.
    const lanes = [new Lane(this, Way.forth, near, far), new Lane(this, Way.back, far, near)];
    const carried: Carried = { sockets: [near, far], lanes };
    this.carried.add(carried);
    const look = (): void => {
      if (near.destroyed && far.destroyed) this.forget(carried);
    };
    near.on("close", look);
    far.on("close", look);
  }

  private forget(carried: Carried): void {
    for (const lane of carried.lanes) lane.stop();
    this.carried.delete(carried);
  }

  /** Flips a bit when the fault says so. */
  corrupted(way: Way, bytes: Buffer): Buffer {
    const faults = this.faults[way]!;
    if (!faults.corrupt) return bytes;
    faults.corrupt = false;
    this.flips[way]! += 1;
    const copy = Buffer.from(bytes);
    const at = this.random.below(copy.length);
    copy[at] = copy[at]! ^ (1 << this.random.below(8));
    return copy;
  }

  /** Changes the faults of a direction. */
  set(way: Way, faults: Partial<WayFaults>): void {
    Object.assign(this.faults[way]!, faults);
    this.pump();
  }

  /** Lifts every fault. */
  heal(): void {
    for (const faults of this.faults) Object.assign(faults, noFaults());
    this.pump();
  }

  private pump(): void {
    for (const { lanes } of this.carried) for (const lane of lanes) lane.pump();
  }

  /** Ends every connection without a word; returns how many there were. */
  reset(): number {
    const count = this.carried.size;
    for (const carried of [...this.carried]) {
      for (const socket of carried.sockets) socket.resetAndDestroy();
      this.forget(carried);
    }
    return count;
  }

  async close(): Promise<void> {
    this.reset();
    await new Promise((resolve) => this.server.close(resolve));
  }
}

function noFaults(): WayFaults {
  return { delayMs: 0, held: false, slowBytes: 0, corrupt: false };
}
