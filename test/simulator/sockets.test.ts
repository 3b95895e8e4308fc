import { expect, test } from "vitest";
import { Prng } from "../../src/core/prng.ts";
import { Completion, Errno, type IoBuffer } from "../../src/io/io.ts";
import type { BusIo } from "../../src/io/message-bus.ts";
import { memoryBuffer } from "../wal/memory-file-io.ts";
import { EventQueue } from "./event-queue.ts";
import { Network } from "./network.ts";
import { hostOf, portOf, type SocketHost, Sockets } from "./sockets.ts";

const calm = {
  delayMinUs: 100,
  delayMeanUs: 1000,
  loss: 0,
  duplication: 0,
  reordering: 0,
  corruption: 0,
  linkMessagesMax: 1000,
};

const client = 1;
const server = 0;

class Host implements SocketHost {
  generation = 0;

  constructor(readonly end: number) {}

  complete(completion: Completion): void {
    completion.busy = false;
    completion.onDone(completion);
  }

  allocate(sizeBytes: number): IoBuffer {
    return memoryBuffer(sizeBytes);
  }
}

/** More than any connection holds. */
const tooMuch = 1 << 20;

class World {
  readonly queue = new EventQueue();
  readonly network = new Network(this.queue, new Prng(7), calm, [], 2);
  readonly sockets = new Sockets(this.queue, this.network, new Prng(8));
  readonly near = new Host(client);
  readonly far = new Host(server);
  readonly io: BusIo = this.sockets.open(this.near);
  private readonly accepted = new Completion(() => {});
  private readonly buffer = memoryBuffer(tooMuch);
  /** What the client's send came to, or null. */
  sent: number | null = null;

  /** A server that never reads, and a client whose send has filled the connection. */
  constructor() {
    this.serve();
    this.io.connect(
      new Completion(({ result }) => this.fill(result)),
      hostOf(server),
      portOf(server),
    );
    this.settle();
    expect(this.accepted.result).toBeGreaterThanOrEqual(0);
    expect(this.sent).toBe(null);
  }

  private fill(socket: number): void {
    const sending = new Completion(({ result }) => {
      this.sent = result;
    });
    this.io.send(sending, socket, this.buffer, 0, tooMuch);
  }

  /** A process of the server begins to listen. */
  serve(): void {
    const io = this.sockets.open(this.far);
    const { listener } = io.listen(hostOf(server), portOf(server));
    io.accept(this.accepted, listener);
  }

  die(power: boolean): void {
    this.far.generation += 1;
    this.accepted.busy = false;
    this.sockets.hostDown(server, power);
  }

  settle(): void {
    while (this.queue.runNext()) {
      // Until nothing is going to happen.
    }
  }
}

test("who waits for room learns that the machine has lost its power and runs again", () => {
  const world = new World();
  world.die(true);
  world.serve();
  world.settle();
  expect(world.sent).toBe(Errno.connectionReset);
});

test("who waits for room gives up on a machine that stays without power", () => {
  const world = new World();
  world.die(true);
  world.settle();
  expect(world.sent).toBe(-110);
});

test("who waits for room learns of a process whose reset was lost", () => {
  const world = new World();
  world.network.cutLink(server, client);
  world.die(false);
  world.settle();
  expect(world.sent).toBe(Errno.connectionReset);
});
