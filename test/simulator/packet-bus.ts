/**
 * The bus of a simulated replica over packets: whole messages on lossy links, checked as the real
 * bus checks what arrives on its connections. Cheaper than byte streams, and harsher: messages may
 * overtake each other.
 */
import type { Replica } from "../../src/consensus/replica.ts";
import type { ReplicaBus } from "../../src/consensus/replica-bus.ts";
import { assert } from "../../src/core/assert.ts";
import { headerSize } from "../../src/core/limits.ts";
import { u128Copy, u128Equal } from "../../src/core/u128.ts";
import type { Connection } from "../../src/io/connection.ts";
import { type Message, type MessagePool, smallMessageSize } from "../../src/io/message-pool.ts";
import {
  checkBody,
  checkFrame,
  FrameVerdict,
  HeaderRule,
  headerRule,
} from "../../src/wire/frame-check.ts";
import { Command, frame, pingClientHeader, requestHeader } from "../../src/wire/header.ts";
import type { Network, Packet } from "./network.ts";

/** A connection as the replica holds it: only good for answering on it. */
interface ClientConnection {
  readonly end: number;
  /** The client that was heard on it last. */
  readonly client: Uint32Array;
  known: boolean;
}

/** A packet for which there is no free message comes again after this time. Microseconds. */
const noMessageUs = 500;

/** Messages that receiving from clients leaves to the replica and its peers. */
export const smallReserve = 8;
export const largeReserve = 1;

export interface PacketBusOptions {
  readonly network: Network;
  /** Own end of the network. */
  readonly end: number;
  /** Replicas and standbys: network ends from here on are clients. */
  readonly replicaTotal: number;
  readonly cluster: Uint32Array;
  readonly pool: MessagePool;
  readonly replica: () => Replica;
  readonly fail: (reason: string) => never;
}

export class PacketBus implements ReplicaBus {
  private readonly connections: ClientConnection[] = [];

  constructor(private readonly options: PacketBusOptions) {
    const { network, replicaTotal } = options;
    for (let end = replicaTotal; end < network.ends; end += 1) {
      this.connections.push({ end, client: new Uint32Array(4), known: false });
    }
  }

  /** @returns 0, or after how many microseconds the packet comes again. */
  receive(packet: Packet): number {
    const { cluster, fail, replicaTotal, pool, replica } = this.options;
    const { bytes, words, size } = packet;
    const sound =
      checkFrame(bytes, words, 0, cluster) === FrameVerdict.ok &&
      words[frame.word.size] === size &&
      checkBody(bytes, 0, size);
    if (!sound) {
      if (!packet.corrupted) fail(`end ${this.options.end} was sent a message that is not sound`);
      // As the bus does: the stream cannot be trusted any more.
      this.breakConnection(packet.from);
      return 0;
    }
    if (packet.corrupted) fail("a damaged message passed the checks");
    const client = packet.from - replicaTotal;
    if (client >= 0) this.identify(this.connections[client]!, packet);
    if (headerRule(bytes, words, 0) !== HeaderRule.ok) return 0;
    const reserve = size > smallMessageSize ? largeReserve : smallReserve;
    const message = pool.get(size, client >= 0 ? reserve : 0);
    if (message === null) return noMessageUs;
    if (size <= 512) {
      for (let word = 0; word * 4 < size; word += 1) message.words[word] = words[word]!;
    } else {
      message.bytes.set(bytes.subarray(0, size));
    }
    const connection = client >= 0 ? this.connections[client]! : noConnection;
    replica().onMessage(message, connection as unknown as Connection);
    pool.unref(message);
    return 0;
  }

  private identify(connection: ClientConnection, packet: Packet): void {
    const command = packet.bytes[frame.at.command];
    let at = 0;
    if (command === Command.request) at = requestHeader.word.client;
    else if (command === Command.pingClient) at = pingClientHeader.word.client;
    else return;
    u128Copy(connection.client, 0, packet.words, at);
    connection.known = true;
  }

  /** The connection to another end breaks, and is made again when something is sent. */
  breakConnection(end: number): void {
    const { network, replicaTotal } = this.options;
    network.breakConnection(this.options.end, end);
    if (end >= replicaTotal) this.connections[end - replicaTotal]!.known = false;
  }

  private send(end: number, message: Message): boolean {
    const size = message.words[frame.word.size]!;
    return this.options.network.send(this.options.end, end, message.bytes, message.words, size);
  }

  sendToReplica(replica: number, message: Message): boolean {
    assert(replica !== this.options.end, "a replica does not send to itself");
    return this.send(replica, message);
  }

  sendToClient(clientWords: Uint32Array, clientAt: number, message: Message): boolean {
    for (const connection of this.connections) {
      if (!connection.known || !u128Equal(connection.client, 0, clientWords, clientAt)) continue;
      return this.send(connection.end, message);
    }
    return false;
  }

  sendOn(connection: Connection, message: Message): boolean {
    const { end, known } = connection as unknown as ClientConnection;
    return known && this.send(end, message);
  }

  relieve(): void {}
}

const noConnection: ClientConnection = { end: -1, client: new Uint32Array(4), known: false };

assert(headerSize <= 512, "headers are copied word by word");
