/**
 * Simulated byte streams under the real message bus: what a kernel's sockets do, from one thread.
 *
 *   send ─▶ [ring of the pipe: accepted, not yet arrived │ arrived, not yet read] ─▶ receive
 *
 * Bytes arrive in order or not at all, in pieces of any size, late, and now and then changed in a bit
 * (checksums of TCP miss some). Nothing is lost on a cut link, only late, until the sender gives
 * up. A dead process resets its connections; a machine without power says nothing, and its peers
 * have half of a connection until they send and it runs again.
 */
import { assert } from "../../src/core/assert.ts";
import type { Prng } from "../../src/core/prng.ts";
import { type Completion, Errno, type IoBuffer, type SocketHandle } from "../../src/io/io.ts";
import type { BusIo } from "../../src/io/message-bus.ts";
import { type EventQueue, SimulatedEvent } from "./event-queue.ts";
import type { Network } from "./network.ts";
import { Pipe } from "./pipe.ts";

/** Who owns sockets: a replica's process, or a client. */
export interface SocketHost {
  readonly end: number;
  /** Changes when the process dies. */
  readonly generation: number;
  /** Hands an ended operation back, now or when the process runs again. */
  complete(completion: Completion): void;
  allocate(sizeBytes: number): IoBuffer;
}

export interface SocketCounters {
  connections: number;
  refused: number;
  resets: number;
  damaged: number;
}

const timedOut = -110;

/** From a call to the completion of what could be done at once. Microseconds. */
const callUs = 5;
const closeUs = 10;

/** A segment on a cut link is sent again after this time, doubled each time. Microseconds. */
const retransmitUs = 200_000;
/** After so many the sender gives up: the connection is reset. */
const retransmitsMax = 7;
/** A connection that cannot be made is given up after this time. Microseconds. */
const connectUs = 3_000_000;

const hostPrefix = "10.0.0.";

export function hostOf(end: number): string {
  return `${hostPrefix}${end + 1}`;
}

interface Transfer {
  completion: Completion | null;
  buffer: IoBuffer | null;
  at: number;
  length: number;
  done: number;
  whole: boolean;
}

function noTransfer(): Transfer {
  return { completion: null, buffer: null, at: 0, length: 0, done: 0, whole: false };
}

export function portOf(end: number): number {
  return 3000 + end;
}

/** One end of a connection, as its host's kernel keeps it. */
class Side {
  peer!: Side;
  out!: Pipe<Side>;
  in!: Pipe<Side>;
  readonly receiving = noTransfer();
  readonly sending = noTransfer();
  handle: SocketHandle = -1;
  /** Negative errno that every further call ends with, or 0. */
  error = 0;
  closed = false;
  /** The host lost power: nobody is here any more. */
  gone = false;

  constructor(
    readonly host: SocketHost,
    readonly generation: number,
  ) {}
}

interface Listener {
  readonly host: SocketHost;
  readonly generation: number;
  readonly port: number;
  readonly waiting: Side[];
  accepting: Completion | null;
  /** Gives a connection its handle. */
  keep(side: Side): SocketHandle;
}

type Socket = Side | Listener;

class Later extends SimulatedEvent {
  action: (() => void) | null = null;

  constructor(private readonly free: Later[]) {
    super();
  }

  run(): void {
    const action = this.action!;
    this.action = null;
    this.free.push(this);
    action();
  }
}

export class Sockets {
  readonly counters: SocketCounters = { connections: 0, refused: 0, resets: 0, damaged: 0 };
  private readonly listeners: Listener[] = [];
  private readonly sides = new Set<Side>();
  private readonly free: Later[] = [];

  constructor(
    private readonly queue: EventQueue,
    private readonly network: Network,
    private readonly random: Prng,
  ) {}

  /** Sockets of one incarnation of a process. */
  open(host: SocketHost): BusIo {
    return new HostSockets(host, this);
  }

  after(delayUs: number, action: () => void): void {
    const later = this.free.pop() ?? new Later(this.free);
    later.action = action;
    this.queue.schedule(later, delayUs);
  }

  /** Ends an operation: soon, and only if its process still lives. */
  end(host: SocketHost, generation: number, completion: Completion, result: number): void {
    completion.result = result;
    this.after(callUs, () => {
      if (host.generation === generation) host.complete(completion);
    });
  }

  // ── Connecting ───────────────────────────────────────────────────────────────────────────────

  listen(host: SocketHost, port: number, keep: (side: Side) => SocketHandle): Listener {
    const listener: Listener = {
      host,
      generation: host.generation,
      port,
      waiting: [],
      accepting: null,
      keep,
    };
    this.listeners.push(listener);
    return listener;
  }

  connect(
    host: SocketHost,
    target: string,
    port: number,
    onDone: (result: Side | number) => void,
  ): void {
    const end = target.startsWith(hostPrefix) ? Number(target.slice(hostPrefix.length)) - 1 : -1;
    if (!(end >= 0 && end < this.network.ends)) {
      this.after(callUs, () => onDone(Errno.invalid));
      return;
    }
    const { generation } = host;
    this.handshake(host, end, port, this.queue.nowUs + connectUs, (result) => {
      if (host.generation === generation) onDone(result);
      else if (result instanceof Side) this.close(result);
    });
  }

  private handshake(
    host: SocketHost,
    end: number,
    port: number,
    untilUs: number,
    onDone: (result: Side | number) => void,
  ): void {
    const delay = this.network.streamDelayUs(host.end, end) + callUs;
    this.after(delay, () => {
      if (this.network.isCut(host.end, end) || this.network.isCut(end, host.end)) {
        if (this.queue.nowUs >= untilUs) onDone(timedOut);
        else this.after(retransmitUs, () => this.handshake(host, end, port, untilUs, onDone));
        return;
      }
      const listener = this.listeners.find(
        (candidate) => candidate.host.end === end && candidate.port === port,
      );
      if (listener === undefined) {
        this.counters.refused += 1;
        onDone(Errno.connectionRefused);
        return;
      }
      onDone(this.join(host, listener));
    });
  }

  private join(host: SocketHost, listener: Listener): Side {
    this.counters.connections += 1;
    const near = new Side(host, host.generation);
    const far = new Side(listener.host, listener.generation);
    near.peer = far;
    far.peer = near;
    near.out = new Pipe(near, far, this.capacity());
    far.out = new Pipe(far, near, this.capacity());
    near.in = far.out;
    far.in = near.out;
    this.sides.add(near);
    this.sides.add(far);
    listener.waiting.push(far);
    this.serveAccept(listener);
    return near;
  }

  private capacity(): number {
    return 1 << this.random.range(12, 18);
  }

  serveAccept(listener: Listener): void {
    const { accepting, host } = listener;
    if (accepting === null) return;
    const side = listener.waiting.shift();
    if (side === undefined) return;
    listener.accepting = null;
    side.handle = listener.keep(side);
    this.end(host, listener.generation, accepting, side.handle);
  }

  // ── Moving bytes ─────────────────────────────────────────────────────────────────────────────

  /** Lets a sender go on: takes what there is room for, and sends it on its way. */
  pumpSend(side: Side): void {
    const { sending } = side;
    if (sending.completion !== null && !side.closed) {
      if (side.error !== 0) {
        this.finish(side, sending, side.error);
      } else {
        const { buffer, at, done, length } = sending;
        sending.done += side.out.accept(buffer!.bytes, at + done, length - done);
        if (sending.done === length) this.finish(side, sending, length);
      }
    }
    this.sendSegments(side.out);
    if (side.peer.gone || side.peer.closed) this.probe(side);
  }

  /**
   * Who waits for room has nothing under way that could meet a dead end: it asks whether there is
   * room, again and again, as TCP does. Asked only where nobody is left to make room.
   */
  private probe(side: Side): void {
    const { out, sending } = side;
    if (sending.completion === null || out.sent > out.arrived) return;
    this.after(retransmitUs, () => this.arrive(out, out.sent, false, 0));
  }

  private sendSegments(pipe: Pipe<Side>): void {
    while (pipe.sent < pipe.accepted) {
      const rest = pipe.accepted - pipe.sent;
      // Mostly as it was given; sometimes cut anywhere.
      const size = this.random.chance(0.3) ? 1 + this.random.below(rest) : rest;
      pipe.sent += size;
      this.sendSegment(pipe, pipe.sent, false);
    }
    if (pipe.closed && !pipe.endSent && pipe.sent === pipe.accepted) {
      pipe.endSent = true;
      this.sendSegment(pipe, pipe.sent, true);
    }
  }

  private sendSegment(pipe: Pipe<Side>, position: number, last: boolean): void {
    const delay = this.network.streamDelayUs(pipe.from.host.end, pipe.to.host.end);
    const atUs = Math.max(this.queue.nowUs + delay, pipe.lastArrivalUs);
    pipe.lastArrivalUs = atUs;
    this.after(atUs - this.queue.nowUs, () => this.arrive(pipe, position, last, 0));
  }

  private arrive(pipe: Pipe<Side>, position: number, last: boolean, attempt: number): void {
    const { from, to } = pipe;
    if (from.error !== 0 || from.gone) return;
    const cut = this.network.isCut(from.host.end, to.host.end);
    if (cut || to.gone) {
      if (!cut && this.listeners.some(({ host }) => host.end === to.host.end)) {
        // The machine runs again, and knows nothing of this connection.
        this.reset(from);
        return;
      }
      if (attempt === retransmitsMax) {
        this.failSide(from, timedOut);
        return;
      }
      const delay = retransmitUs * (1 << attempt);
      pipe.lastArrivalUs = Math.max(pipe.lastArrivalUs, this.queue.nowUs + delay);
      this.after(delay, () => this.arrive(pipe, position, last, attempt + 1));
      return;
    }
    if (to.closed || to.error !== 0) {
      this.reset(from);
      return;
    }
    if (position > pipe.arrived) {
      if (this.network.damagesSegment()) {
        pipe.damage(pipe.arrived, position, this.random);
        this.counters.damaged += 1;
      }
      pipe.arrived = position;
    }
    if (last) pipe.ended = true;
    this.pumpReceive(to);
  }

  pumpReceive(side: Side): void {
    const { receiving } = side;
    if (receiving.completion === null || side.closed) return;
    if (side.error !== 0) {
      this.finish(side, receiving, side.error);
      return;
    }
    const pipe = side.in;
    const { buffer, at, length, whole, done } = receiving;
    let most = length - done;
    const arrived = pipe.arrived - pipe.read;
    // As if the rest came a moment later.
    if (!whole && arrived > 1 && this.random.chance(0.1)) {
      most = Math.min(most, 1 + this.random.below(arrived));
    }
    receiving.done += pipe.take(buffer!.bytes, at + done, most);
    const ended = pipe.ended && pipe.read === pipe.arrived && pipe.arrived === pipe.accepted;
    if (receiving.done === length || (!whole && receiving.done > 0) || ended) {
      this.finish(side, receiving, receiving.done);
    }
    this.pumpSend(pipe.from);
  }

  private finish(side: Side, transfer: Transfer, result: number): void {
    const completion = transfer.completion!;
    transfer.completion = null;
    transfer.buffer = null;
    this.end(side.host, side.generation, completion, result);
  }

  // ── Ends of connections ──────────────────────────────────────────────────────────────────────

  /** The side's owner closes it; `onClosed` after what was in flight. */
  close(side: Side): void {
    this.cancel(side);
    side.closed = true;
    this.sides.delete(side);
    this.probe(side.peer);
    const unread = side.in.arrived > side.in.read;
    if (unread && this.random.chance(0.5)) {
      // As kernels do when what came was not read.
      this.notifyReset(side);
      return;
    }
    side.out.closed = true;
    this.sendSegments(side.out);
  }

  cancel(side: Side): void {
    if (side.receiving.completion !== null) {
      const partly = side.receiving.done > 0;
      this.finish(side, side.receiving, partly ? side.receiving.done : Errno.canceled);
    }
    if (side.sending.completion !== null) this.finish(side, side.sending, Errno.canceled);
  }

  private notifyReset(side: Side): void {
    const { peer } = side;
    const delay = this.network.streamDelayUs(side.host.end, peer.host.end);
    this.after(delay, () => {
      if (!this.network.isCut(side.host.end, peer.host.end)) this.reset(peer);
    });
  }

  private reset(side: Side): void {
    if (side.closed || side.gone || side.error !== 0) return;
    this.counters.resets += 1;
    this.failSide(side, Errno.connectionReset);
  }

  private failSide(side: Side, error: number): void {
    if (side.closed || side.gone || side.error !== 0) return;
    side.error = error;
    this.pumpReceive(side);
    this.pumpSend(side);
  }

  /** Resets a connection that somebody has, as a middlebox does. */
  resetSome(): void {
    const open = [...this.sides].filter((side) => side.error === 0 && !side.gone);
    if (open.length === 0) return;
    const side = open[this.random.below(open.length)]!;
    this.reset(side);
    this.reset(side.peer);
  }

  /** The process on this end has died; with `power`, its machine is silent. */
  hostDown(end: number, power: boolean): void {
    for (let index = this.listeners.length - 1; index >= 0; index -= 1) {
      const listener = this.listeners[index]!;
      if (listener.host.end === end) this.listeners.splice(index, 1);
    }
    for (const side of [...this.sides]) {
      if (side.host.end !== end) continue;
      this.sides.delete(side);
      side.gone = power;
      side.closed = !power;
      side.receiving.completion = null;
      side.sending.completion = null;
      if (!power) this.notifyReset(side);
      this.probe(side.peer);
    }
  }

  removeListener(listener: Listener): void {
    const index = this.listeners.indexOf(listener);
    if (index !== -1) this.listeners.splice(index, 1);
    for (const side of listener.waiting) this.close(side);
    listener.waiting.length = 0;
  }
}

class HostSockets implements BusIo {
  private readonly handles: (Socket | null)[] = [];
  private readonly generation: number;

  constructor(
    private readonly host: SocketHost,
    private readonly all: Sockets,
  ) {
    this.generation = host.generation;
  }

  keep(socket: Socket): SocketHandle {
    const free = this.handles.indexOf(null);
    const handle = free === -1 ? this.handles.length : free;
    this.handles[handle] = socket;
    return handle;
  }

  private side(handle: SocketHandle): Side {
    const socket = this.handles[handle];
    assert(socket instanceof Side, "a connected socket");
    return socket;
  }

  allocate(sizeBytes: number): IoBuffer {
    return this.host.allocate(sizeBytes);
  }

  listen(_host: string, port: number): { listener: SocketHandle; port: number } {
    const listener = this.all.listen(this.host, port, (side) => this.keep(side));
    return { listener: this.keep(listener), port };
  }

  accept(completion: Completion, handle: SocketHandle): void {
    const listener = this.handles[handle];
    assert(listener !== null && !(listener instanceof Side), "a listener accepts");
    assert(listener !== undefined, "a listener accepts");
    assert(listener.accepting === null, "one accept at a time");
    begin(completion);
    listener.accepting = completion;
    this.all.serveAccept(listener);
  }

  connect(completion: Completion, host: string, port: number): void {
    begin(completion);
    this.all.connect(this.host, host, port, (result) => {
      let value: number;
      if (result instanceof Side) {
        result.handle = this.keep(result);
        value = result.handle;
      } else {
        value = result;
      }
      completion.result = value;
      this.host.complete(completion);
    });
  }

  receive(
    completion: Completion,
    socket: SocketHandle,
    buffer: IoBuffer,
    bufferAt: number,
    length: number,
    whole: boolean,
  ): void {
    const side = this.side(socket);
    assert(side.receiving.completion === null, "one receive at a time");
    begin(completion);
    setTransfer(side.receiving, completion, buffer, bufferAt, length, whole);
    this.all.pumpReceive(side);
  }

  send(
    completion: Completion,
    socket: SocketHandle,
    buffer: IoBuffer,
    bufferAt: number,
    length: number,
  ): void {
    const side = this.side(socket);
    assert(side.sending.completion === null, "one send at a time");
    begin(completion);
    setTransfer(side.sending, completion, buffer, bufferAt, length, true);
    this.all.pumpSend(side);
  }

  closeSocket(completion: Completion, handle: SocketHandle): void {
    const socket = this.handles[handle];
    assert(socket !== null && socket !== undefined, "an open socket is closed");
    begin(completion);
    if (socket instanceof Side) {
      this.all.close(socket);
    } else {
      this.all.removeListener(socket);
      const { accepting } = socket;
      socket.accepting = null;
      if (accepting !== null) this.all.end(this.host, this.generation, accepting, Errno.canceled);
    }
    // After what was in flight, since events of one instant keep their order.
    this.all.after(closeUs, () => {
      if (this.host.generation !== this.generation) return;
      this.handles[handle] = null;
      completion.result = 0;
      this.host.complete(completion);
    });
  }

  timeout(completion: Completion, milliseconds: number): void {
    begin(completion);
    completion.result = 0;
    const { host, generation } = this;
    this.all.after(Math.max(callUs, milliseconds * 1000), () => {
      if (host.generation === generation) host.complete(completion);
    });
  }
}

function begin(completion: Completion): void {
  assert(!completion.busy, "a completion is used once at a time");
  completion.busy = true;
}

function setTransfer(
  transfer: Transfer,
  completion: Completion,
  buffer: IoBuffer,
  at: number,
  length: number,
  whole: boolean,
): void {
  assert(length > 0, "something moves");
  assert(at + length <= buffer.sizeBytes, "the buffer holds the range");
  transfer.completion = completion;
  transfer.buffer = buffer;
  transfer.at = at;
  transfer.length = length;
  transfer.done = 0;
  transfer.whole = whole;
}
