/** A message bus on the fake network, with a handler that tests can steer, and frames to feed it. */
import { assert } from "../../src/core/assert.ts";
import { Prng } from "../../src/core/prng.ts";
import type { Connection } from "../../src/io/connection.ts";
import {
  MessageBus,
  type MessageBusOptions,
  type MessageHandler,
} from "../../src/io/message-bus.ts";
import { type Message, MessagePool } from "../../src/io/message-pool.ts";
import {
  beginHeader,
  RequestFields,
  resealHeader,
  sealHeader,
  writePingClient,
  writePongClient,
  writeRequest,
} from "../../src/wire/build.ts";
import { Command, pingClientHeader, requestHeader } from "../../src/wire/header.ts";
import { Operation } from "../../src/wire/operations.ts";
import { type Frame, frameOf, hex, u128 } from "./bytes.ts";
import { FakeIo, type FakePeer } from "./fake-io.ts";
import { cluster, prepare, samples } from "./replica-samples.ts";

export { cluster };

const release = 0x1109;

export interface HarnessOptions {
  seed?: number;
  small?: number;
  large?: number;
  bus?: Partial<MessageBusOptions>;
  io?: FakeIo;
  port?: number;
  /** Byte streams hold this much before a sender waits. */
  capacity?: number;
}

export class BusHarness implements MessageHandler {
  readonly random: Prng;
  readonly io: FakeIo;
  readonly pool: MessagePool;
  readonly bus: MessageBus;
  readonly port: number;
  readonly lines: string[] = [];
  /** Headers and bodies delivered, in hex, in order. */
  readonly delivered: string[] = [];
  /** Delivered messages kept on purpose, while `keep` is set. */
  readonly kept: Message[] = [];
  keep = false;
  /** Answer pings with pongs on the connection, requests by echo to the client. */
  answer = true;
  recording = true;
  onDelivered: ((message: Message, connection: Connection) => void) | null = null;
  onReplica: ((replica: number) => void) | null = null;
  /** Replicas whose connection has ended. */
  readonly lost: number[] = [];
  onDialFail: ((replica: number) => void) | null = null;

  constructor(options: HarnessOptions = {}) {
    this.random = new Prng(options.seed ?? 1);
    this.io = options.io ?? new FakeIo(this.random);
    if (options.capacity !== undefined) this.io.capacity = options.capacity;
    this.pool = new MessagePool((size) => this.io.allocate(size), {
      small: options.small ?? 64,
      large: options.large ?? 6,
    });
    this.bus = new MessageBus(this.io, this.pool, this, {
      cluster,
      replica: 0,
      replicaCount: 1,
      connectionsMax: 8,
      largeReceivesMax: 3,
      smallReserve: 0,
      largeReserve: 0,
      seed: options.seed ?? 1,
      log: (level, text) => this.lines.push(`${level} ${text}`),
      ...options.bus,
    });
    this.port = this.bus.listen("127.0.0.1", options.port ?? 0);
  }

  onMessage(message: Message, connection: Connection): void {
    assert(message.references === 1, "a delivered message has the bus's reference");
    if (this.recording) this.delivered.push(hex(message.bytes.subarray(0, message.size)));
    if (this.keep) this.kept.push(this.pool.ref(message));
    this.onDelivered?.(message, connection);
    if (!this.answer) return;
    const reply = this.pool.get(message.size);
    if (reply === null) return;
    if (message.command === Command.pingClient) {
      writePongClient(reply.bytes, reply.words, 0, message.words, 0, cluster, 1, release, 0);
      this.bus.sendOn(connection, reply);
    } else if (message.command === Command.request) {
      reply.bytes.set(message.bytes.subarray(0, message.size));
      this.bus.sendToClient(message.words, requestHeader.word.client, reply);
    }
    this.pool.unref(reply);
  }

  onReplicaConnected(replica: number): void {
    this.onReplica?.(replica);
  }

  onReplicaLost(replica: number): void {
    this.lost.push(replica);
  }

  onDialFailed(replica: number): void {
    this.onDialFail?.(replica);
  }

  releaseKept(): void {
    for (const message of this.kept) this.pool.unref(message);
    this.kept.length = 0;
  }

  dial(): FakePeer {
    return this.io.dial(this.port);
  }

  turns(count = 30): void {
    for (let turn = 0; turn < count; turn += 1) this.io.turn();
  }

  /** Lets the bus's clock run, with the network. Ticks of 10 ms. */
  ticks(count: number): void {
    for (let tick = 0; tick < count; tick += 1) {
      this.bus.tick();
      this.io.turn();
    }
  }

  /** Turns until the condition holds; fails when it never does. */
  until(holds: () => boolean, what: string, most = 20_000): void {
    for (let turn = 0; turn < most; turn += 1) {
      if (holds()) return;
      this.io.turn();
    }
    throw new Error(`never: ${what}`);
  }

  /** Writes all bytes, as fast as the stream takes them. */
  feed(peer: FakePeer, bytes: Uint8Array): void {
    let at = 0;
    for (let turn = 0; at < bytes.length; turn += 1) {
      if (turn > 100_000) throw new Error("the stream does not move");
      const count = peer.write(bytes.subarray(at));
      at += count;
      if (count === 0) {
        if (peer.ended) return;
        this.io.turn();
      }
    }
  }

  /** Pings on a connection until the pong is there: it works. */
  pingPong(peer: FakePeer, client: bigint): void {
    peer.read();
    this.feed(peer, ping(client).bytes);
    let got = 0;
    this.until(() => {
      got += peer.read().length;
      return got >= 256;
    }, "pong");
  }

  /** Closes the bus and checks that nothing is left behind. */
  finish(): void {
    this.releaseKept();
    this.close(true);
    assert(this.pool.free(false) === this.pool.smallCount, "small messages are back");
    assert(this.pool.free(true) === this.pool.largeCount, "large messages are back");
    assert(this.pool.waiters(false) + this.pool.waiters(true) === 0, "nobody waits");
  }

  /** @param alone - No other bus is on its network. */
  close(alone = false): void {
    let reports = 0;
    const reported = (): number => reports;
    this.bus.close(() => {
      reports += 1;
      assert(this.bus.connectionsUsed === 0, "no connection is left");
      if (!alone) return;
      assert(this.io.pending === 0, "nothing is in flight");
      assert(this.io.handlesOpen === 0, "no handle is open");
    });
    assert(reported() === 0, "closing is reported later");
    this.until(() => reported() > 0, "closed");
    this.turns(5);
    assert(reported() === 1, "closing is reported once");
    if (alone) assert(this.io.pending === 0, "nothing is begun after that");
  }
}

export function ping(client: bigint, timestamp = 1): Frame {
  const target = frameOf(256);
  writePingClient(target.bytes, target.words, 0, u128(client), cluster, release, 0, timestamp, 0);
  return target;
}

/** A request with a body of pseudo-random bytes; header rules hold, the body is not examined. */
export function request(client: bigint, number: number, bodySize: number): Frame {
  const target = frameOf(256 + bodySize);
  const random = new Prng(number * 65_537 + bodySize);
  for (let at = 256; at + 4 <= target.bytes.length; at += 4) target.words[at / 4] = random.u32();
  const fields = new RequestFields();
  fields.cluster.set(cluster);
  fields.client.set(u128(client));
  fields.release = release;
  fields.session = 5;
  fields.request = number;
  fields.operation = Operation.createTransfers;
  fields.bodySize = bodySize;
  writeRequest(target.bytes, target.words, 0, fields);
  return target;
}

/**
 * A message between replicas whose rules hold, as far as its command has any.
 * @param bodySize - Of a prepare's body; others have the size of their kind.
 */
export function internal(command: number, replica: number, bodySize = 0): Frame {
  assert(bodySize === 0 || command === Command.prepare, "prepares come in all sizes");
  const sample = samples.find(([, other]) => other === command);
  let target: Frame;
  if (command === Command.prepare) {
    target = prepare(70, bodySize);
  } else if (sample !== undefined) {
    target = sample[2]();
  } else {
    target = frameOf(256);
    beginHeader(target.bytes, target.words, 0, command, cluster, 0);
  }
  target.bytes[115] = replica;
  sealHeader(target.bytes, target.words, 0);
  return target;
}

/** The frame with a change that its checksum covers. */
export function changed(source: Frame, change: (target: Frame) => void): Frame {
  const target = frameOf(source.bytes.length);
  target.bytes.set(source.bytes);
  change(target);
  resealHeader(target.bytes, 0);
  return target;
}

export function clientOf(frameBytes: Uint8Array): string {
  return hex(frameBytes.subarray(pingClientHeader.at.client, pingClientHeader.at.client + 16));
}

/** Breaks one bit. */
export function flip(bytes: Uint8Array, at: number): Uint8Array {
  bytes[at]! ^= 0x10;
  return bytes;
}
