/**
 * The message bus: accepts and dials TCP connections, learns who is at the other end, delivers
 * whole checked messages to the replica and sends its messages. It promises nothing more than the
 * network does: a message may be lost (a full queue, a closed connection) or come twice.
 *
 * Who a peer is follows from what it sends (peer-directory.ts). Replica i dials the replicas j > i
 * and is dialled by those below.
 *
 * A peer can hurt only its own connection: whatever breaks a rule of the stream closes it, every
 * resource that it can hold is limited, and what it leaves unfinished times out. Time is counted
 * in calls of `tick`.
 */
import { assert } from "../core/assert.ts";
import { replicasMax, standbysMax } from "../core/limits.ts";
import { Prng } from "../core/prng.ts";
import { HeaderRule, headerRule } from "../wire/frame-check.ts";
import { Command } from "../wire/header.ts";
import { BusCounters, CloseCause, closeText, DropCause } from "./bus-counters.ts";
import { Connection, type ConnectionOwner, Peer, receiveBufferSize } from "./connection.ts";
import { Completion, type FileIo, type SocketHandle, type SocketIo, type TimerIo } from "./io.ts";
import { type Message, type MessagePool, smallMessageSize } from "./message-pool.ts";
import { PeerDirectory } from "./peer-directory.ts";
import { PeerFaults } from "./peer-faults.ts";
import { type LogLevel, RateLimitedLog } from "./rate-limited-log.ts";
import { type ReplicaAddress, ReplicaDialer } from "./replica-dialer.ts";
import { formatAddress } from "./socket-address.ts";

/** What the bus needs of a backend. */
export type BusIo = SocketIo & TimerIo & Pick<FileIo, "allocate">;

export interface MessageHandler {
  /**
   * A message has arrived whose checksums, size, cluster and header rules are good. It is the
   * handler's during the call; to keep it, the handler calls `pool.ref`. The connection may be
   * kept only together with its `generation`.
   */
  onMessage(message: Message, connection: Connection): void;
  /** Messages can be sent to this replica now: its connection is there, or is another one. */
  onReplicaConnected?(replica: number): void;
  /** The connection to this replica has ended: the process at its other end, perhaps, or the way to it. */
  onReplicaLost?(replica: number): void;
  /** A replica could not be connected to; it is tried again, where its address says then. */
  onDialFailed?(replica: number): void;
}

export interface MessageBusOptions {
  /** Cluster id, four words. */
  readonly cluster: Uint32Array;
  /** Own index. */
  readonly replica: number;
  /** Replicas and standbys together: valid indices are below it. */
  readonly replicaCount: number;
  /** Connections of clients. Those of replicas come on top. */
  readonly connectionsMax: number;
  /** Connections not of replicas that may be receiving a large frame at once. */
  readonly largeReceivesMax: number;
  /** Free messages that receiving from clients leaves to the replica and its peers. */
  readonly smallReserve: number;
  readonly largeReserve: number;
  /** For the jitter of reconnecting. */
  readonly seed: number;
  readonly log: (level: LogLevel, text: string) => void;
}

/** A frame must be complete, or its body move on, in this time. Ticks of 10 ms. */
export const receiveTimeoutTicks = 1000;
/** The peer must take some of what is sent to it in this time. Ticks. */
export const sendTimeoutTicks = 1500;
/** A client that takes longer over one message gives way when messages run out. Ticks. */
export const slowReaderTicks = 100;
/** From this age on a connection that never sent a message gives way to a new one. Ticks. */
export const silentTicks = 1000;
/** Pause after a failed accept. Ticks. */
const acceptRetryTicks = 10;
/** Connections are looked at for timeouts once in so many ticks. */
const timeoutStride = 16;

export class MessageBus implements ConnectionOwner {
  readonly io: BusIo;
  readonly pool: MessagePool;
  readonly cluster: Uint32Array;
  readonly counters = new BusCounters();
  ticks = 0;
  private readonly handler: MessageHandler;
  private readonly options: MessageBusOptions;
  private readonly log: RateLimitedLog;
  private readonly connections: Connection[] = [];
  private readonly freeConnections: Connection[] = [];
  private readonly peers: PeerDirectory;
  private readonly dialers: ReplicaDialer[] = [];
  private addresses: readonly ReplicaAddress[] = [];
  private readonly faults: PeerFaults;
  private readonly acceptedMax: number;
  /** Accepted connections that are not free. */
  private accepted = 0;
  /** Permits for large receives that are taken. */
  private largeReceives = 0;
  private listener: SocketHandle = -1;
  private acceptRetryTick = -1;
  private refusedSocket: SocketHandle = -1;
  private readonly acceptCompletion: Completion;
  private readonly refuseCompletion: Completion;
  private readonly listenerCompletion: Completion;
  private readonly wakeCompletion: Completion;
  private readonly closeCompletion: Completion;
  private closing = false;
  private onClosedCallback: (() => void) | null = null;

  constructor(io: BusIo, pool: MessagePool, handler: MessageHandler, options: MessageBusOptions) {
    assert(options.cluster.length === 4, "a cluster id is four words");
    assert(options.replicaCount >= 1, "a cluster has a replica");
    assert(options.replicaCount <= replicasMax + standbysMax, "a cluster has a largest size");
    assert(options.replica < options.replicaCount, "a replica is in its cluster");
    assert(options.connectionsMax >= 1, "a client can connect");
    assert(options.largeReceivesMax >= 1, "a client can send a large request");
    assert(options.smallReserve < pool.smallCount, "small messages remain for clients");
    assert(options.largeReserve < pool.largeCount, "large messages remain for clients");
    this.io = io;
    this.pool = pool;
    this.handler = handler;
    this.options = options;
    this.cluster = options.cluster.slice();
    this.log = new RateLimitedLog(options.log);
    this.acceptedMax = options.connectionsMax + options.replica;
    const dialledMax = options.replicaCount - 1 - options.replica;
    for (let index = 0; index < this.acceptedMax + dialledMax; index += 1) {
      const connection = new Connection(index, this, io.allocate(receiveBufferSize));
      this.connections.push(connection);
    }
    for (let index = this.connections.length - 1; index >= 0; index -= 1) {
      this.freeConnections.push(this.connections[index]!);
    }
    this.peers = new PeerDirectory(this.connections, options);
    this.faults = new PeerFaults(this.cluster, options.replica, options.replicaCount, (replica) => {
      const { host, port } = this.addresses[replica]!;
      return formatAddress(host, port);
    });
    this.acceptCompletion = new Completion((completion) => this.onAccepted(completion.result));
    this.refuseCompletion = new Completion(() => this.onRefused());
    this.listenerCompletion = new Completion(() => this.onListenerClosed());
    this.wakeCompletion = new Completion(() => this.onWake());
    this.closeCompletion = new Completion(() => this.finishClose());
    assert(pool.onWake === null, "a pool serves one bus");
    pool.onWake = () => {
      if (!this.wakeCompletion.busy) this.io.timeout(this.wakeCompletion, 0);
    };
  }

  /**
   * Starts accepting connections; port 0 picks a free one. For start-up.
   * @returns The port.
   * @throws {Error} with an errno `code` such as EADDRINUSE.
   */
  listen(host: string, port: number): number {
    assert(this.listener === -1, "a bus listens once");
    assert(!this.closing, "a closed bus does not listen");
    const listening = this.io.listen(host, port);
    this.listener = listening.listener;
    this.accept();
    return listening.port;
  }

  /**
   * Keeps a connection to every replica above this one, from the next ticks on.
   * @param addresses - By replica index; those up to this one's own are not used.
   */
  dialReplicas(addresses: readonly ReplicaAddress[]): void {
    assert(addresses.length === this.options.replicaCount, "every replica has an address");
    assert(this.dialers.length === 0, "a bus dials once");
    this.addresses = addresses;
    const random = new Prng(this.options.seed);
    for (let index = this.options.replica + 1; index < addresses.length; index += 1) {
      const dialer = new ReplicaDialer(
        this.io,
        random,
        index,
        addresses[index]!,
        (socket) => this.onDialled(index, socket),
        () => {
          this.counters.dialsFailed += 1;
          this.handler.onDialFailed?.(index);
        },
      );
      dialer.schedule(this.ticks);
      this.dialers.push(dialer);
    }
  }

  /** One tick of 10 ms: reconnects, closes what is stuck, reports suppressed log lines. */
  tick(): void {
    this.ticks += 1;
    this.log.tick();
    if (this.closing) return;
    for (let at = this.ticks % timeoutStride; at < this.connections.length; at += timeoutStride) {
      this.connections[at]!.checkTimeouts(receiveTimeoutTicks, sendTimeoutTicks);
    }
    for (let at = 0; at < this.dialers.length; at += 1) this.dialers[at]!.tick(this.ticks);
    if (this.acceptRetryTick !== -1 && this.ticks >= this.acceptRetryTick) {
      this.acceptRetryTick = -1;
      this.accept();
    }
  }

  /**
   * Sends to a client where its replies go. The message must not change until it was sent.
   * @param clientWords - The client's id, in four words at `clientAt`.
   * @returns false when the message was dropped: no connection, or its queue is full.
   */
  sendToClient(clientWords: Uint32Array, clientAt: number, message: Message): boolean {
    const connection = this.peers.client(clientWords, clientAt);
    if (connection !== null) return this.sendOn(connection, message);
    this.counters.drops[DropCause.notConnected]! += 1;
    return false;
  }

  /** Answers on the connection that a message came from; only from inside `onMessage`. */
  sendOn(connection: Connection, message: Message): boolean {
    if (!connection.isOpen) {
      this.counters.drops[DropCause.notConnected]! += 1;
      return false;
    }
    if (connection.send(message)) return true;
    this.counters.drops[DropCause.sendQueueFull]! += 1;
    return false;
  }

  sendToReplica(replica: number, message: Message): boolean {
    assert(replica !== this.options.replica, "a replica does not send to itself");
    const connection = this.peers.replica(replica);
    if (connection !== null) return this.sendOn(connection, message);
    this.counters.drops[DropCause.notConnected]! += 1;
    return false;
  }

  /**
   * The messages to send from have run out: closes the connection of the client that has been
   * taking longest over one, if that is long, so that slow readers cannot keep the others without
   * answers. Its own answers come again with its retries.
   */
  relieve(): void {
    let slowest: Connection | null = null;
    for (let at = 0; at < this.connections.length; at += 1) {
      const connection = this.connections[at]!;
      if (connection.peer === Peer.replica) continue;
      if (connection.sendingTicks < slowReaderTicks) continue;
      if (slowest === null || connection.sendingTicks > slowest.sendingTicks) slowest = connection;
    }
    if (slowest !== null) slowest.close(CloseCause.slowReader);
  }

  isClientConnected(clientWords: Uint32Array, clientAt: number): boolean {
    return this.peers.client(clientWords, clientAt) !== null;
  }

  isReplicaConnected(replica: number): boolean {
    return this.peers.replica(replica) !== null;
  }

  /** Connections in use, closing ones included. */
  get connectionsUsed(): number {
    return this.connections.length - this.freeConnections.length;
  }

  /** Ends a connection for a reason of the replica's. */
  closeConnection(connection: Connection): void {
    connection.close(CloseCause.requested);
  }

  /**
   * Stops listening and closes all connections. `onClosed` is called when nothing of theirs is in
   * flight any more. Only a dial under way is not waited for: it can not be cancelled, and closes
   * its socket by itself.
   */
  close(onClosed: () => void): void {
    assert(!this.closing, "a bus is closed once");
    this.closing = true;
    this.onClosedCallback = onClosed;
    for (const dialer of this.dialers) dialer.stop();
    for (const connection of this.connections) connection.close(CloseCause.shutdown);
    if (this.listener !== -1) this.io.closeSocket(this.listenerCompletion, this.listener);
    this.io.timeout(this.closeCompletion, 0);
  }

  // Accepting.

  private accept(): void {
    assert(this.listener !== -1, "a listening bus accepts");
    this.io.accept(this.acceptCompletion, this.listener);
  }

  private onAccepted(result: number): void {
    if (result < 0) {
      if (this.closing) return;
      // Out of descriptors, most likely: try again when some may have come free.
      this.counters.acceptErrors += 1;
      if (this.log.allowed()) this.log.write("warn", `accept failed with errno ${-result}`);
      this.acceptRetryTick = this.ticks + acceptRetryTicks;
      return;
    }
    if (this.closing || this.accepted >= this.acceptedMax) {
      this.refuse(result);
      return;
    }
    this.openConnection(result, false);
    this.counters.accepted += 1;
    this.accepted += 1;
    this.accept();
  }

  /** Closes a socket that there is no room for; the next is accepted when that is done. */
  private refuse(socket: SocketHandle): void {
    assert(this.refusedSocket === -1, "one connection is refused at a time");
    this.refusedSocket = socket;
    this.io.closeSocket(this.refuseCompletion, socket);
    if (this.closing) return;
    this.counters.refused += 1;
    if (this.log.allowed()) {
      this.log.write("warn", `refused a connection: all ${this.acceptedMax} are taken`);
    }
    this.reclaimSilent();
  }

  private onRefused(): void {
    this.refusedSocket = -1;
    if (this.closing) this.finishClose();
    else this.accept();
  }

  /** Closes the connection that has been open longest without ever sending a message. */
  private reclaimSilent(): void {
    let oldest: Connection | null = null;
    for (let at = 0; at < this.connections.length; at += 1) {
      const connection = this.connections[at]!;
      if (!connection.isOpen || connection.dialled || connection.messages > 0) continue;
      if (this.ticks - connection.openedTick < silentTicks) continue;
      if (oldest === null || connection.openedTick < oldest.openedTick) oldest = connection;
    }
    if (oldest !== null) oldest.close(CloseCause.silent);
  }

  private openConnection(socket: SocketHandle, dialled: boolean): Connection {
    const connection = this.freeConnections.pop();
    assert(connection !== undefined, "there are as many connections as may be open");
    connection.open(socket, dialled);
    return connection;
  }

  // Dialling.

  private onDialled(replica: number, socket: SocketHandle): void {
    const connection = this.openConnection(socket, true);
    this.counters.dialled += 1;
    this.peers.becomeReplica(connection, replica);
    this.handler.onReplicaConnected?.(replica);
  }

  private dialerOf(replica: number): ReplicaDialer {
    const dialer = this.dialers[replica - this.options.replica - 1];
    assert(dialer !== undefined, "replicas above this one are dialled");
    return dialer;
  }

  // Called by connections.

  onBytes(connection: Connection, count: number): void {
    this.counters.bytesReceived += count;
    if (connection.dialled) this.dialerOf(connection.replica).onBytes();
  }

  takeMessage(connection: Connection, size: number): Message | null {
    const trusted = connection.peer === Peer.replica;
    if (size <= smallMessageSize) {
      return this.pool.get(size, trusted ? 0 : this.options.smallReserve);
    }
    if (!trusted && this.largeReceives >= this.options.largeReceivesMax) return null;
    const message = this.pool.get(size, trusted ? 0 : this.options.largeReserve);
    if (message === null) return null;
    if (!trusted) {
      connection.largePermit = true;
      this.largeReceives += 1;
    }
    return message;
  }

  endLargeReceive(connection: Connection): void {
    if (!connection.largePermit) return;
    connection.largePermit = false;
    this.largeReceives -= 1;
    assert(this.largeReceives >= 0, "every permit is given back once");
    this.pool.requestWake();
  }

  onReceiveWait(_connection: Connection): void {
    this.counters.receiveWaits += 1;
  }

  onSent(_connection: Connection, size: number): void {
    this.counters.messagesSent += 1;
    this.counters.bytesSent += size;
  }

  onFrame(connection: Connection, message: Message): void {
    this.counters.messagesReceived += 1;
    const known = connection.peer === Peer.replica;
    if (!this.peers.identify(connection, message)) return;
    if (!known && connection.peer === Peer.replica) {
      this.handler.onReplicaConnected?.(connection.replica);
    }
    const rule = headerRule(message.bytes, message.words, 0);
    if (rule !== HeaderRule.ok) {
      const deprecated = rule === HeaderRule.deprecated;
      this.counters.drops[deprecated ? DropCause.deprecatedCommand : DropCause.headerRule]! += 1;
      return;
    }
    const command = message.command;
    if (command === Command.pongClient || command === Command.eviction) {
      this.counters.drops[DropCause.unexpectedCommand]! += 1;
      return;
    }
    this.handler.onMessage(message, connection);
  }

  onClosing(connection: Connection, cause: number, error: number): void {
    this.counters.closes[cause]! += 1;
    const fault = this.faults.onClosing(connection, cause, this.ticks);
    if (fault !== null) {
      if (fault !== "" && this.log.allowed()) this.log.write("error", fault);
    } else if (isWorthALine(cause) && this.log.allowed()) {
      const text = cause === CloseCause.socketError ? `errno ${-error}` : closeText(cause);
      this.log.write("warn", `${nameOf(connection)} closed: ${text}`);
    }
    this.peers.forget(connection);
    const lost = connection.peer === Peer.replica && cause !== CloseCause.replaced;
    if (lost && !this.closing) this.handler.onReplicaLost?.(connection.replica);
  }

  onFree(connection: Connection): void {
    this.freeConnections.push(connection);
    if (connection.dialled) {
      this.dialerOf(connection.replica).schedule(this.ticks);
    } else {
      this.accepted -= 1;
    }
    if (this.closing) this.finishClose();
  }

  private onWake(): void {
    this.pool.wakeWaiters();
    if (this.closing) this.finishClose();
  }

  // Closing.

  private onListenerClosed(): void {
    assert(!this.acceptCompletion.busy, "the accept was reaped before the close");
    this.listener = -1;
    this.finishClose();
  }

  private finishClose(): void {
    if (this.listener !== -1 || this.refusedSocket !== -1 || this.closeCompletion.busy) return;
    if (this.connectionsUsed > 0 || this.wakeCompletion.busy) return;
    const callback = this.onClosedCallback;
    if (callback === null) return;
    this.onClosedCallback = null;
    callback();
  }
}

/** Peers come and go; what is told is what an operator may have to look into. */
function isWorthALine(cause: number): boolean {
  return cause !== CloseCause.peerClosed && cause < CloseCause.requested;
}

function nameOf(connection: Connection): string {
  const name = `connection ${connection.index}.${connection.generation}`;
  if (connection.peer === Peer.replica) return `${name} (replica ${connection.replica})`;
  if (connection.peer === Peer.unknown) return name;
  let id = "";
  for (let word = 3; word >= 0; word -= 1) {
    id += connection.client[word]!.toString(16).padStart(8, "0");
  }
  return `${name} (client ${id})`;
}
