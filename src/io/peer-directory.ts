/**
 * Who is at the other end of each connection, learnt from the headers that arrive
 * (protocol/wire.md §8), and through which connection a client or a replica is reached.
 *
 *                 request                    ping_client
 *     unknown ───────────────▶ client, likely ──────────▶ client, certain
 *        │                         │
 *        └────── a command between replicas ──────▶ replica, certain
 *
 * A request alone does not prove a client: a replica may be forwarding it. What is certain does
 * not change; a message that contradicts it closes the connection.
 *
 * Invariants:
 * - A client's replies go to one connection (`routed`): the one that pinged last, else the first
 *   that sent a request; `clients` maps exactly the clients of the routed connections.
 * - `replicas[i]` is the open connection whose peer is replica i, if there is one.
 */
import { assert } from "../core/assert.ts";
import { u128Copy, u128Equal, u128IsZero } from "../core/u128.ts";
import { U128Map } from "../core/u128-map.ts";
import { Command, frame, pingClientHeader, requestHeader } from "../wire/header.ts";
import { CloseCause } from "./bus-counters.ts";
import { type Connection, Peer } from "./connection.ts";
import type { Message } from "./message-pool.ts";

export interface PeerDirectoryOptions {
  /** Own index. */
  readonly replica: number;
  /** Replicas and standbys together: valid indices are below it. */
  readonly replicaCount: number;
  /** Connections whose peer is a client. */
  readonly connectionsMax: number;
}

export class PeerDirectory {
  /** Connections whose peer is a client, certain or likely. */
  clientPeers = 0;
  private readonly options: PeerDirectoryOptions;
  /** All connections, by their index. */
  private readonly connections: readonly Connection[];
  /** Connection index per client id. */
  private readonly clients: U128Map;
  private readonly replicas: (Connection | null)[] = [];

  constructor(connections: readonly Connection[], options: PeerDirectoryOptions) {
    this.connections = connections;
    this.options = options;
    this.clients = new U128Map(connections.length);
    for (let index = 0; index < options.replicaCount; index += 1) this.replicas.push(null);
  }

  /** The connection that replies to a client go to. */
  client(words: Uint32Array, clientAt: number): Connection | null {
    const index = this.clients.get(words, clientAt);
    return index === -1 ? null : this.connections[index]!;
  }

  replica(index: number): Connection | null {
    const connection = this.replicas[index];
    assert(connection !== undefined, "the replica is in the cluster");
    return connection;
  }

  /** Learns from a message who sent it; false when that closed the connection. */
  identify(connection: Connection, message: Message): boolean {
    switch (message.command) {
      case Command.request:
        return this.identifyByRequest(connection, message.words);
      case Command.pingClient:
        return this.identifyByPing(connection, message.words);
      case Command.reply:
      case Command.prepare:
      case Command.block:
      case 12:
      case 21:
      case 22:
      case 23:
        // Passed on by others than their author: they tell nothing.
        return true;
      default:
        return this.identifyAsReplica(connection, message.bytes[frame.at.replica]!);
    }
  }

  /** The peer is this replica: it was dialled, or it said so. Replaces its older connection. */
  becomeReplica(connection: Connection, replica: number): void {
    const other = this.replica(replica);
    if (other !== null) other.close(CloseCause.replaced);
    connection.peer = Peer.replica;
    connection.replica = replica;
    this.replicas[replica] = connection;
  }

  /** The connection closes. It keeps its identity, for the log. */
  forget(connection: Connection): void {
    this.unroute(connection);
    if (connection.peer === Peer.replica) {
      assert(this.replica(connection.replica) === connection, "one connection per replica");
      this.replicas[connection.replica] = null;
    } else if (connection.peer !== Peer.unknown) {
      this.clientPeers -= 1;
    }
  }

  private identifyByRequest(connection: Connection, words: Uint32Array): boolean {
    const clientAt = requestHeader.word.client;
    // A request of nobody breaks a header rule and will be dropped.
    if (connection.peer === Peer.replica || u128IsZero(words, clientAt)) return true;
    if (connection.peer === Peer.unknown && !this.becomeClient(connection, words, clientAt)) {
      return false;
    }
    // Another client's request is served, but replies to that one do not come here.
    if (!u128Equal(words, clientAt, connection.client, 0)) return true;
    if (!connection.routed && this.clients.get(words, clientAt) === -1) this.route(connection);
    return true;
  }

  private identifyByPing(connection: Connection, words: Uint32Array): boolean {
    const clientAt = pingClientHeader.word.client;
    if (u128IsZero(words, clientAt)) return true;
    if (connection.peer === Peer.unknown) {
      if (!this.becomeClient(connection, words, clientAt)) return false;
    } else if (
      connection.peer === Peer.replica ||
      !u128Equal(words, clientAt, connection.client, 0)
    ) {
      connection.close(CloseCause.peerContradiction);
      return false;
    }
    connection.peer = Peer.client;
    if (connection.routed) return true;
    const other = this.client(words, clientAt);
    if (other !== null) other.close(CloseCause.replaced);
    this.route(connection);
    return true;
  }

  private identifyAsReplica(connection: Connection, replica: number): boolean {
    const own = this.options.replica;
    connection.stated.replica = replica;
    if (replica >= this.options.replicaCount || replica === own) {
      connection.close(CloseCause.replicaIndex);
      return false;
    }
    if (connection.peer === Peer.replica && replica === connection.replica) return true;
    // Those above this replica are dialled: they do not come by themselves.
    if (connection.peer === Peer.replica || connection.peer === Peer.client || replica > own) {
      connection.close(CloseCause.peerContradiction);
      return false;
    }
    if (connection.peer === Peer.clientLikely) {
      this.unroute(connection);
      this.clientPeers -= 1;
    }
    this.becomeReplica(connection, replica);
    return true;
  }

  /** Takes an unknown peer for a client; false when there are too many and it was closed. */
  private becomeClient(connection: Connection, words: Uint32Array, clientAt: number): boolean {
    assert(connection.peer === Peer.unknown, "a peer becomes a client once");
    if (this.clientPeers >= this.options.connectionsMax) {
      connection.close(CloseCause.limit);
      return false;
    }
    this.clientPeers += 1;
    connection.peer = Peer.clientLikely;
    u128Copy(connection.client, 0, words, clientAt);
    return true;
  }

  private route(connection: Connection): void {
    this.clients.set(connection.client, 0, connection.index);
    connection.routed = true;
  }

  private unroute(connection: Connection): void {
    if (!connection.routed) return;
    assert(this.clients.get(connection.client, 0) === connection.index, "the map names it");
    this.clients.delete(connection.client, 0);
    connection.routed = false;
  }
}
