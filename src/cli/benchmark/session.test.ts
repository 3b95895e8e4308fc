/** A session against an I/O backend whose every completion the test decides. */
import { expect, test, vi } from "vitest";
import { headerSize } from "../../core/limits.ts";
import { u128Copy } from "../../core/u128.ts";
import { type Completion, Errno, type Io, type IoBuffer } from "../../io/io.ts";
import { checksum } from "../../native/checksum.ts";
import { allocatePages } from "../../native/memory.ts";
import { Command, frame, replyHeader, requestHeader } from "../../wire/header.ts";
import { Operation, registerReplyBodySize } from "../../wire/operations.ts";
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
  /** Copies of what was sent. */
  readonly sent: Uint32Array[] = [];

  readonly io = {
    allocate: allocatePages,
    connect: (completion: Completion) => {
      this.connecting = begin(completion);
    },
    send: (completion: Completion, _: number, buffer: IoBuffer, at: number, length: number) => {
      this.sending = begin(completion);
      this.sent.push(buffer.words.slice(at / 4, (at + length) / 4));
    },
    receive: (
      completion: Completion,
      _: number,
      buffer: IoBuffer,
      at: number,
      length: number,
      whole: boolean,
    ) => {
      this.receiving = { completion: begin(completion), buffer, at, length, whole };
    },
  } as unknown as Io;

  endConnect(result: number): void {
    end(this.connecting, result);
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
function replyTo(request: Uint32Array, bodySize: number): Uint8Array {
  const bytes = new Uint8Array(headerSize + bodySize);
  const words = new Uint32Array(bytes.buffer);
  words[frame.word.size] = bytes.length;
  words[frame.word.release] = request[frame.word.release]!;
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

function started() {
  const socket = new ScriptedSocket();
  const events: string[] = [];
  const session = new Session(
    0,
    socket.io,
    { host: "127.0.0.1", port: 3001 },
    new Uint32Array(4),
    1024,
    {
      onRegistered: () => events.push("registered"),
      onSent: () => events.push("sent"),
      onReply: () => events.push("reply"),
      onFailure: (sentence) => events.push(sentence),
    },
  );
  session.start();
  return { socket, session, events };
}

function registered() {
  const all = started();
  all.socket.endConnect(3);
  all.socket.endSend();
  all.socket.arrive(replyTo(all.socket.sent[0]!, registerReplyBodySize));
  all.events.length = 0;
  const buffer = new RequestBuffer(all.socket.io, Operation.createTransfers, 2);
  buffer.sealBatch(2);
  return { ...all, buffer };
}

test("registers, then sends with session, number and context of the last reply", () => {
  const { socket, session, events } = started();
  socket.endConnect(3);
  expect(socket.sent[0]![requestHeader.word.operation]).toBe(Operation.register);
  socket.endSend();
  socket.arrive(replyTo(socket.sent[0]!, registerReplyBodySize));
  expect(events).toEqual(["sent", "registered"]);
  expect(session.batchSizeLimit).toBe(4096);

  const buffer = new RequestBuffer(socket.io, Operation.createTransfers, 2);
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
