/** A session against an I/O backend whose every completion the test decides. */
import { describe, expect, test, vi } from "vitest";
import { headerSize } from "../../core/limits.ts";
import { u128Copy } from "../../core/u128.ts";
import { type Completion, Errno, type Io, type IoBuffer } from "../../io/io.ts";
import { checksum } from "../../native/checksum.ts";
import { allocatePages } from "../../native/memory.ts";
import { writePongClient } from "../../wire/build.ts";
import { Command, frame, replyHeader, requestHeader } from "../../wire/header.ts";
import { Operation, registerReplyBodySize } from "../../wire/operations.ts";
import { ownRelease } from "../../wire/release.ts";
import { RequestBuffer } from "./request-buffer.ts";
import { Session } from "./session.ts";

interface Receive {
  readonly completion: Completion;
  readonly buffer: IoBuffer;
  readonly at: number;
  readonly length: number;
  readonly whole: boolean;
}

/** One socket; what is asked of it waits until the test ends it. */
class ScriptedSocket {
  connecting: Completion | undefined;
  sending: Completion | undefined;
  receiving: Receive | undefined;
  closing: Completion | undefined;
  /** Copies of what was sent. */
  readonly sent: Uint32Array[] = [];

  /** What was sent last. */
  get last(): Uint32Array {
    return this.sent[this.sent.length - 1]!;
  }

  endConnect(result: number): void {
    end(this.connecting, result);
  }

  /** As the kernel does: what is in flight ends before the socket does. */
  endClose(): void {
    if (this.sending !== undefined) this.endSend(Errno.canceled);
    if (this.receiving !== undefined) this.endReceive(Errno.canceled);
    const completion = this.closing;
    this.closing = undefined;
    end(completion, 0);
  }

  endSend(result = 1): void {
    const completion = this.sending;
    this.sending = undefined;
    end(completion, result);
  }

  arrive(bytes: Uint8Array): void {
    const { completion, buffer, at, length } = this.receiving!;
    expect(bytes.length).toBeLessThanOrEqual(length);
    this.receiving = undefined;
    buffer.bytes.set(bytes, at);
    end(completion, bytes.length);
  }

  endReceive(result: number): void {
    const { completion } = this.receiving!;
    this.receiving = undefined;
    end(completion, result);
  }
}

/** The socket to port 3001 + n has the handle n, whatever its connection comes to. */
function ioOver(sockets: readonly ScriptedSocket[]): Io {
  return {
    allocate: allocatePages,
    connect: (completion: Completion, _: string, port: number) => {
      sockets[port - 3001]!.connecting = begin(completion);
    },
    send: (completion: Completion, n: number, buffer: IoBuffer, at: number, length: number) => {
      sockets[n]!.sending = begin(completion);
      sockets[n]!.sent.push(buffer.words.slice(at / 4, (at + length) / 4));
    },
    receive: (
      completion: Completion,
      n: number,
      buffer: IoBuffer,
      at: number,
      length: number,
      whole: boolean,
    ) => {
      sockets[n]!.receiving = { completion: begin(completion), buffer, at, length, whole };
    },
    closeSocket: (completion: Completion, n: number) => {
      sockets[n]!.closing = begin(completion);
    },
  } as unknown as Io;
}

function begin(completion: Completion): Completion {
  expect(completion.busy).toBe(false);
  completion.busy = true;
  return completion;
}

function end(completion: Completion | undefined, result: number): void {
  completion!.busy = false;
  completion!.result = result;
  completion!.onDone(completion!);
}

/** The reply to a request that was sent. */
function replyTo(request: Uint32Array, bodySize: number, view = 0): Uint8Array {
  const bytes = new Uint8Array(headerSize + bodySize);
  const words = new Uint32Array(bytes.buffer);
  words[frame.word.size] = bytes.length;
  words[frame.word.release] = request[frame.word.release]!;
  words[frame.word.view] = view;
  bytes[frame.at.command] = Command.reply;
  u128Copy(words, replyHeader.word.requestChecksum, request, frame.word.checksum);
  u128Copy(words, replyHeader.word.client, request, requestHeader.word.client);
  words[replyHeader.word.context] = 77;
  words[replyHeader.word.op] = 5;
  words[replyHeader.word.commit] = 5;
  words[replyHeader.word.request] = request[requestHeader.word.request]!;
  bytes[replyHeader.at.operation] = request[requestHeader.word.operation]! & 0xff;
  words[headerSize / 4] = 4096; // To `register`: the largest body that is taken.
  checksum(bytes, frame.at.checksumBody, bytes, headerSize, bodySize);
  checksum(bytes, 0, bytes, 16, headerSize - 16);
  return bytes;
}

function startedOver(count: number) {
  const sockets = Array.from({ length: count }, () => new ScriptedSocket());
  const io = ioOver(sockets);
  const events: string[] = [];
  const addresses = sockets.map((_, index) => ({ host: "127.0.0.1", port: 3001 + index }));
  const session = new Session(0, io, addresses, new Uint32Array(4), 1024, {
    onRegistered: () => events.push("registered"),
    onSent: () => events.push("sent"),
    onReply: () => events.push("reply"),
    onFailure: (sentence) => events.push(sentence),
  });
  session.start();
  return { sockets, io, session, events };
}

function started() {
  const all = startedOver(1);
  return { ...all, socket: all.sockets[0]! };
}

function registered() {
  const all = started();
  all.socket.endConnect(0);
  all.socket.endSend();
  all.socket.arrive(replyTo(all.socket.sent[0]!, registerReplyBodySize));
  all.events.length = 0;
  const buffer = new RequestBuffer(all.io, Operation.createTransfers, 2);
  buffer.sealBatch(2);
  return { ...all, buffer };
}

test("registers, then sends with session, number and context of the last reply", () => {
  const { socket, io, session, events } = started();
  socket.endConnect(0);
  expect(socket.sent[0]![requestHeader.word.operation]).toBe(Operation.register);
  socket.endSend();
  socket.arrive(replyTo(socket.sent[0]!, registerReplyBodySize));
  expect(events).toEqual(["sent", "registered"]);
  expect(session.batchSizeLimit).toBe(4096);

  const buffer = new RequestBuffer(io, Operation.createTransfers, 2);
  buffer.sealBatch(2);
  session.send(buffer);
  const request = socket.sent[1]!;
  expect(request[requestHeader.word.session]).toBe(5);
  expect(request[requestHeader.word.request]).toBe(1);
  expect(request[requestHeader.word.parent]).toBe(77);
  expect(request.byteLength).toBe(buffer.size);
});

test("receives a message with one more receive once its header tells its size", () => {
  const { socket, session, events, buffer } = registered();
  session.send(buffer);
  socket.endSend();
  expect(socket.receiving).toMatchObject({ at: 0, length: 1024, whole: false });
  const reply = replyTo(socket.sent[1]!, 48);
  socket.arrive(reply.subarray(0, 100));
  expect(socket.receiving).toMatchObject({ at: 100, length: 924, whole: false });
  socket.arrive(reply.subarray(100, 260));
  expect(socket.receiving).toMatchObject({ at: 260, length: 44, whole: true });
  expect(events).toEqual(["sent"]);
  socket.arrive(reply.subarray(260));
  expect(events).toEqual(["sent", "reply"]);
  expect(socket.receiving).toMatchObject({ at: 0, length: 1024, whole: false });
});

test("a reply is handed on only after its request has left the buffer", () => {
  const { socket, session, events, buffer } = registered();
  session.send(buffer);
  socket.arrive(replyTo(socket.sent[1]!, 48));
  expect(events).toEqual([]);
  socket.endSend();
  expect(events).toEqual(["sent", "reply"]);
  session.send(buffer);
  socket.endSend();
  socket.arrive(replyTo(socket.sent[2]!, 48));
  expect(events).toEqual(["sent", "reply", "sent", "reply"]);
});

test("sends again what is not answered, and takes one of two answers", () => {
  const { socket, session, events, buffer } = registered();
  session.send(buffer);
  socket.endSend();
  session.tick(session.sentAtMs + 500);
  expect(socket.sent.length).toBe(2);
  session.tick(session.sentAtMs + 700);
  expect(socket.sent.length).toBe(3);
  expect(socket.sent[2]).toEqual(socket.sent[1]);
  expect(session.retries).toBe(1);

  // Both answers come while the copy is still on its way.
  const reply = replyTo(socket.sent[1]!, 48);
  const two = new Uint8Array(2 * reply.length);
  two.set(reply);
  two.set(reply, reply.length);
  socket.arrive(two);
  session.tick(session.sentAtMs + 5000);
  expect(socket.sent.length).toBe(3);
  expect(events).toEqual(["sent"]);
  socket.endSend();
  expect(events).toEqual(["sent", "reply"]);

  session.send(buffer);
  socket.endSend();
  socket.arrive(replyTo(socket.sent[3]!, 48));
  expect(events).toEqual(["sent", "reply", "sent", "reply"]);
});

test("waits longer before each further copy, up to a limit, and gives up after a minute", () => {
  const { socket, session, events, buffer } = registered();
  // A whole number: sums of others are not exact.
  const clock = vi.spyOn(performance, "now").mockReturnValue(1000);
  session.send(buffer);
  clock.mockRestore();
  const sentAtMs = session.sentAtMs;
  const copiesAtMs: number[] = [];
  for (let afterMs = 0; afterMs < 70_000; afterMs += 100) {
    if (socket.sending !== undefined) socket.endSend();
    const before = socket.sent.length;
    session.tick(sentAtMs + afterMs);
    if (socket.sent.length > before) copiesAtMs.push(afterMs);
  }
  expect(copiesAtMs).toEqual([600, 1800, 4200, 9000, 18_600, 28_600, 38_600, 48_600, 58_600]);
  expect(events.filter((event) => event !== "sent")).toEqual([
    "no reply came from 127.0.0.1:3001 for a minute.",
  ]);
});

test.each<[string, (socket: ScriptedSocket) => void, RegExp]>([
  [
    "a message that does not fit",
    (socket) => socket.arrive(replyTo(socket.sent[1]!, 800).subarray(0, 300)),
    /a message of 1056 bytes/,
  ],
  ["an end of stream", (socket) => socket.endReceive(0), /^the server at .* closed the connection/],
  ["a reset", (socket) => socket.endReceive(Errno.connectionReset), /closed the connection/],
  [
    "an end inside a message",
    (socket) => {
      socket.arrive(replyTo(socket.sent[1]!, 48).subarray(0, 280));
      socket.endReceive(5);
    },
    /closed the connection/,
  ],
  [
    "another error",
    (socket) => socket.endReceive(-110),
    /failed: connection timed out \(ETIMEDOUT/,
  ],
])("%s fails the session once", (_, misbehave, expected) => {
  const { socket, session, events, buffer } = registered();
  session.send(buffer);
  socket.endSend();
  misbehave(socket);
  expect(events.length).toBe(2);
  expect(events[1]).toMatch(expected);
  expect(socket.receiving).toBe(undefined);
  session.tick(session.sentAtMs + 100_000);
  expect(events.length).toBe(2);
});

test("connections that are refused or fail", () => {
  const refused = started();
  refused.socket.endConnect(Errno.connectionRefused);
  expect(refused.events[0]).toMatch(/^nothing listens on 127\.0\.0\.1:3001; start a server/);
  const unreachable = started();
  unreachable.socket.endConnect(-113);
  expect(unreachable.events[0]).toMatch(/failed: host is unreachable \(EHOSTUNREACH\)\.$/);
});

test("a closed session tells nothing more", () => {
  const { socket, session, events, buffer } = registered();
  session.send(buffer);
  session.close();
  socket.endSend(Errno.canceled);
  socket.endReceive(Errno.canceled);
  expect(events).toEqual([]);
});

describe("over three replicas", () => {
  function pong(view: number): Uint8Array {
    const bytes = new Uint8Array(headerSize);
    const words = new Uint32Array(bytes.buffer);
    writePongClient(bytes, words, 0, words, 0, new Uint32Array(4), view, ownRelease, 0);
    return bytes;
  }

  const isPing = (sent: Uint32Array): boolean =>
    new Uint8Array(sent.buffer)[frame.at.command] === Command.pingClient;

  /** Registered with the primary of view 1, and with a request in flight to it. */
  function loaded() {
    const all = startedOver(3);
    for (const [index, socket] of all.sockets.entries()) {
      socket.endConnect(index);
      expect(isPing(socket.last)).toBe(true);
      socket.endSend();
      expect(all.sockets[1]!.sent.length).toBe(index < 1 ? 0 : 1);
      socket.arrive(pong(1));
    }
    const [, primary] = all.sockets as [ScriptedSocket, ScriptedSocket, ScriptedSocket];
    primary.endSend();
    primary.arrive(replyTo(primary.last, registerReplyBodySize, 1));
    expect(all.events).toEqual(["sent", "registered"]);
    const buffer = new RequestBuffer(all.io, Operation.createTransfers, 2);
    buffer.sealBatch(2);
    all.session.send(buffer);
    all.events.length = 0;
    return { ...all, primary, buffer };
  }

  test("registers with the primary, once all have said it or are known to be gone", () => {
    const { sockets, events } = startedOver(3);
    sockets[2]!.endConnect(2);
    sockets[2]!.endSend();
    sockets[2]!.arrive(pong(5)); // Replica 2 is the primary of view 5.
    sockets[0]!.endConnect(Errno.connectionRefused);
    expect(sockets[2]!.sent.length).toBe(1);
    sockets[1]!.endConnect(Errno.connectionRefused);
    expect(sockets[2]!.sent.length).toBe(2);
    expect(isPing(sockets[2]!.last)).toBe(false);
    expect(events).toEqual([]);
  });

  test("does not wait for ever for one that does not answer", () => {
    const { sockets, session } = startedOver(3);
    sockets[1]!.endConnect(1);
    sockets[1]!.endSend();
    sockets[1]!.arrive(pong(0));
    session.tick(performance.now() + 100);
    expect(sockets[1]!.sent.length).toBe(1);
    session.tick(performance.now() + 1000);
    expect(sockets[1]!.last[requestHeader.word.operation]).toBe(Operation.register);
  });

  test("asks while an answer is late, and sends to the new primary as soon as it knows one", () => {
    const { sockets, session, primary } = loaded();
    const request = primary.last;
    primary.endSend();
    session.tick(session.sentAtMs + 50);
    expect(isPing(primary.last)).toBe(false);
    session.tick(session.sentAtMs + 150);
    for (const socket of sockets) {
      expect(isPing(socket.last)).toBe(true);
      socket.endSend();
    }
    sockets[0]!.arrive(pong(1));
    sockets[0]!.arrive(pong(0)); // An older one tells nothing.
    expect(sockets.every((socket) => isPing(socket.last))).toBe(true);
    sockets[0]!.arrive(pong(2));
    expect(sockets[2]!.last).toEqual(request);
    expect(session.retries).toBe(1);
  });

  test("questions do not keep a copy from being sent", () => {
    const { sockets, session, primary } = loaded();
    const request = primary.last;
    primary.endSend();
    for (let afterMs = 100; afterMs < 3000; afterMs += 100) {
      for (const socket of sockets) if (socket.sending !== undefined) socket.endSend();
      session.tick(session.sentAtMs + afterMs);
    }
    expect(session.retries).toBe(2);
    const copies = sockets.map((socket) => socket.sent.filter((sent) => !isPing(sent)));
    // The primary's own two were `register` and the first copy; the others pass theirs on.
    expect(copies.map((all) => all.length)).toEqual([1, 2, 1]);
    for (const all of copies) expect(all[all.length - 1]).toEqual(request);
  });

  test("a reply waits for the copy that a silent replica does not take, but not for long", () => {
    const { sockets, session, events, primary } = loaded();
    const request = primary.last; // Not taken: no end of the send.
    sockets[0]!.arrive(pong(2));
    sockets[2]!.endSend();
    sockets[2]!.arrive(replyTo(request, 48, 2));
    expect(events).toEqual([]);
    session.tick(performance.now());
    expect(primary.closing).toBeUndefined();
    session.tick(performance.now() + 100);
    expect(primary.closing).toBeDefined();
    expect(events).toEqual([]);
    primary.endClose();
    expect(events).toEqual(["reply"]);
    expect(sockets[2]!.receiving).toBeDefined();
  });

  test("connects again to who was lost, and is told of no failure", () => {
    const { sockets, session, events, primary, buffer } = loaded();
    const request = primary.last;
    primary.endSend();
    primary.endReceive(0);
    primary.endClose();
    session.tick(performance.now());
    expect(primary.connecting?.busy).toBe(false);
    session.tick(session.sentAtMs + 700);
    expect(primary.connecting?.busy).toBe(true);
    expect(sockets[2]!.last).toEqual(request);
    sockets[2]!.endSend();
    primary.endConnect(1);
    primary.endSend(); // The question which view it is in.
    primary.arrive(replyTo(request, 48, 1));
    expect(events).toEqual(["sent", "reply"]);
    session.send(buffer);
    expect(primary.last[requestHeader.word.request]).toBe(2);
  });

  test("a late answer from a former primary does not make it the primary", () => {
    const { sockets, session, events, primary, buffer } = loaded();
    primary.endSend();
    const request = primary.last;
    sockets[0]!.arrive(pong(2));
    sockets[2]!.endSend();
    primary.arrive(replyTo(request, 48, 1));
    expect(events).toEqual(["sent", "reply"]);
    session.send(buffer);
    expect(sockets[2]!.last[requestHeader.word.request]).toBe(2);
  });

  test("nobody there, and nobody for a minute", () => {
    const gone = startedOver(3);
    for (const socket of gone.sockets) socket.endConnect(Errno.connectionRefused);
    expect(gone.events).toEqual([
      "nothing listens on 127.0.0.1:3001, 127.0.0.1:3002, 127.0.0.1:3003; start a server there " +
        "first, or leave out --addresses.",
    ]);
    const { session, events } = loaded();
    session.tick(session.sentAtMs + 60_001);
    expect(events).toEqual([
      "no reply came from 127.0.0.1:3001, 127.0.0.1:3002, 127.0.0.1:3003 for a minute.",
    ]);
  });
});
