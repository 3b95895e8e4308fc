/**
 * The smallest load: clients that register, ask and repeat, and check nothing but that they are
 * answered. For tests of the world itself; it knows as little of the ledger as it can.
 */
import { headerSize } from "../../src/core/limits.ts";
import { Prng } from "../../src/core/prng.ts";
import { RequestFields, writePingClient, writeRequest } from "../../src/wire/build.ts";
import { Command, frame, replyHeader } from "../../src/wire/header.ts";
import { Operation } from "../../src/wire/operations.ts";
import { ownRelease } from "../../src/wire/release.ts";
import { Workload } from "../replica/workload.ts";
import type { Load, World } from "./interfaces.ts";
import { exponential } from "./streams.ts";

const pingUs = 2_000_000;

export function createPlainLoad(world: World): Load {
  return new PlainLoad(world);
}

class PlainLoad implements Load {
  answered = 0;
  readonly figures = {};
  private readonly clients: PlainClient[] = [];

  constructor(world: World) {
    const random = world.random("load plain");
    const workload = new Workload(random.u32(), world.options.accounts, world.options.eventsMax);
    for (let index = 0; index < world.options.clients; index += 1) {
      const client = new PlainClient(world, index, workload, new Prng(random.u32()), () => {
        this.answered += 1;
      });
      this.clients.push(client);
    }
  }

  get idle(): boolean {
    return this.clients.every((client) => !client.waiting);
  }

  start(): void {
    for (const client of this.clients) client.start();
  }

  onMessage(client: number, _replica: number, message: Uint8Array): void {
    this.clients[client]!.onMessage(message);
  }

  onDisconnect(): void {}
  onPrepareWritten(): void {}
  onPrepareExecuted(): void {}
  onCheckpoint(): void {}
  onStateSync(): void {}
  onReplicaStart(): void {}
  onReplicaOpen(): void {}
  onReplicaCrash(): void {}
  onHealed(): void {}
  finish(): void {}
}

class PlainClient {
  waiting = false;
  private readonly id = new Uint32Array(4);
  private readonly parent = new Uint32Array(4);
  private session = 0;
  private number = 0;
  private view = 0;
  private target = 0;
  private incarnation = 0;
  private request: Uint8Array = new Uint8Array(0);

  constructor(
    private readonly world: World,
    private readonly index: number,
    private readonly workload: Workload,
    private readonly random: Prng,
    private readonly onAnswer: () => void,
  ) {}

  start(): void {
    this.beginSession();
    this.ping();
  }

  private beginSession(): void {
    this.incarnation += 1;
    this.id.set([this.index + 1, this.incarnation, 0, 1]);
    this.session = 0;
    this.number = 0;
    this.parent.fill(0);
    this.ask(Operation.register, new Uint8Array(256));
  }

  private ping(): void {
    const words = new Uint32Array(headerSize / 4);
    const bytes = new Uint8Array(words.buffer);
    const { cluster } = this.world;
    writePingClient(bytes, words, 0, this.id, cluster, ownRelease, this.session, 0, 0);
    for (let replica = 0; replica < this.world.replicaTotal; replica += 1) {
      this.world.sendToReplica(this.index, replica, bytes);
    }
    this.world.after(pingUs, () => this.ping());
  }

  private ask(operation: number, body: Uint8Array): void {
    const size = headerSize + body.length;
    const words = new Uint32Array(Math.ceil(size / 4));
    const bytes = new Uint8Array(words.buffer, 0, size);
    bytes.set(body, headerSize);
    const fields = new RequestFields();
    fields.cluster.set(this.world.cluster);
    fields.client.set(this.id);
    fields.parent.set(this.parent);
    fields.release = ownRelease;
    fields.session = this.session;
    fields.view = this.view;
    fields.operation = operation;
    fields.request = operation === Operation.register ? 0 : this.number + 1;
    fields.bodySize = body.length;
    writeRequest(bytes, words, 0, fields);
    this.request = bytes;
    this.waiting = true;
    this.send(bytes);
  }

  private send(request: Uint8Array): void {
    if (request !== this.request || !this.waiting) return;
    this.world.sendToReplica(this.index, this.target, request);
    this.world.after(this.world.options.retryUs, () => {
      if (request === this.request) this.target = (this.target + 1) % this.world.replicaCount;
      this.send(request);
    });
  }

  onMessage(message: Uint8Array): void {
    const words = new Uint32Array(message.buffer, message.byteOffset, headerSize / 4);
    this.view = Math.max(this.view, words[frame.word.view]!);
    const command = message[frame.at.command]!;
    if (command === Command.eviction && words[32] === this.id[0] && words[33] === this.id[1]) {
      if (!this.world.enough) this.beginSession();
      else this.waiting = false;
      return;
    }
    if (command !== Command.reply || !this.waiting) return;
    const mine = new Uint32Array(this.request.buffer, 0, 4);
    for (let word = 0; word < 4; word += 1) {
      if (words[replyHeader.word.requestChecksum + word] !== mine[word]) return;
    }
    const reply = replyHeader;
    if (message[reply.at.operation] === Operation.register) {
      this.session = words[reply.word.op]!;
    } else {
      this.number += 1;
    }
    this.parent.set(words.subarray(reply.word.context, reply.word.context + 4));
    this.target = this.view % this.world.replicaCount;
    this.waiting = false;
    this.onAnswer();
    const { burst, thinkUs } = this.world.options;
    const pause = this.random.chance(burst) ? 0 : exponential(this.random, thinkUs);
    const { incarnation } = this;
    this.world.after(pause, () => {
      if (incarnation === this.incarnation) this.next();
    });
  }

  private next(): void {
    if (this.world.enough) return;
    const { operation, body } = this.workload.next();
    this.ask(operation, body);
  }
}
