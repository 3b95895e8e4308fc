/** The line of messages that wait to be sent: how long it gets, and that nothing in it is lost or leaks. */
import { beforeEach, expect, test } from "vitest";
import { frame } from "../wire/header.ts";
import {
  Connection,
  type ConnectionOwner,
  Peer,
  sendQueueClientMax,
  sendQueueReplicaLargeMax,
  sendQueueReplicaMax,
  transferChunkSize,
} from "./connection.ts";
import type { Completion, IoBuffer, SocketIo } from "./io.ts";
import { type Message, MessagePool, smallMessageSize } from "./message-pool.ts";

function memory(sizeBytes: number): IoBuffer {
  const words = new Uint32Array(sizeBytes / 4);
  return { words, bytes: new Uint8Array(words.buffer), sizeBytes, id: 0 };
}

let pool: MessagePool;
let connection: Connection;
/** The send in flight. */
let sending: { completion: Completion; length: number } | null;
let sent: number[];

beforeEach(() => {
  sending = null;
  sent = [];
  const unused = (): never => {
    throw new Error("not part of sending");
  };
  const io = {
    receive: () => {},
    send: (
      completion: Completion,
      _socket: number,
      _buffer: IoBuffer,
      _at: number,
      length: number,
    ) => {
      completion.busy = true;
      sending = { completion, length };
    },
    closeSocket: (completion: Completion) => {
      completion.onDone(completion);
    },
  } as unknown as SocketIo;
  pool = new MessagePool(memory, { small: 64, large: 16 });
  const owner: ConnectionOwner = {
    io,
    pool,
    cluster: new Uint32Array(4),
    ticks: 0,
    onBytes: unused,
    takeMessage: unused,
    endLargeReceive: unused,
    onReceiveWait: unused,
    onFrame: unused,
    onSent: (_connection, size) => sent.push(size),
    onClosing: () => {},
    onFree: () => {},
  };
  connection = new Connection(0, owner, memory(smallMessageSize));
  connection.open(7, true);
  connection.peer = Peer.replica;
});

/** The kernel has taken what is being sent. */
function complete(): void {
  const { completion, length } = sending!;
  sending = null;
  completion.busy = false;
  completion.result = length;
  completion.onDone(completion);
}

function offer(size: number): boolean {
  const message: Message = pool.get(size)!;
  message.words[frame.word.size] = size;
  const taken = connection.send(message);
  pool.unref(message);
  return taken;
}

function offers(size: number, count: number): number {
  let taken = 0;
  for (let index = 0; index < count; index += 1) if (offer(size)) taken += 1;
  return taken;
}

const small = 256;
const large = 2 * transferChunkSize;

test("a peer's line takes many small messages and few large ones", () => {
  expect(offers(large, sendQueueReplicaLargeMax + 2)).toBe(sendQueueReplicaLargeMax);
  expect(offers(small, sendQueueReplicaMax)).toBe(sendQueueReplicaMax - sendQueueReplicaLargeMax);
  // A large one is sent in steps, and makes room for one more when it is gone.
  complete();
  expect(offer(large)).toBe(false);
  complete();
  expect(sent).toEqual([large]);
  expect([offer(large), offer(large), offer(small)]).toEqual([true, false, false]);
});

test("a client's line is short", () => {
  connection.peer = Peer.client;
  expect(offers(small, sendQueueClientMax + 1)).toBe(sendQueueClientMax);
});

test("what waits is sent in order, and given back; also when the connection closes", () => {
  offers(large, 2);
  offers(small, 3);
  while (sending !== null) complete();
  expect(sent).toEqual([large, large, small, small, small]);
  offers(large, sendQueueReplicaLargeMax);
  sending!.completion.busy = false;
  connection.close(0);
  const all = Array.from({ length: 16 }, () => pool.get(large));
  expect(all).not.toContain(null);
  for (const message of all) pool.unref(message!);
  connection.open(8, true);
  connection.peer = Peer.replica;
  expect(offers(large, sendQueueReplicaLargeMax)).toBe(sendQueueReplicaLargeMax);
});
