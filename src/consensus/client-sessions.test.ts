import { expect, test } from "vitest";
import { plainBuffer } from "../../test/support/plain-buffer.ts";
import { headerSize, replySlotSize } from "../core/limits.ts";
import { Prng } from "../core/prng.ts";
import { ReplyFields, writeReply } from "../wire/build.ts";
import { ClientSessions } from "./client-sessions.ts";

const reply = plainBuffer(replySlotSize);
const fields = new ReplyFields();

function clientWords(id: number): Uint32Array {
  return new Uint32Array([id, 0, 0, id ^ 0xffff]);
}

function makeReply(client: number, op: number, request: number, bodySize: number): void {
  fields.client.set(clientWords(client));
  fields.op = op;
  fields.request = request;
  fields.release = 0x1109;
  fields.timestampLow = op;
  fields.bodySize = bodySize;
  reply.bytes.fill(op & 0xff, headerSize, headerSize + bodySize);
  writeReply(reply.bytes, reply.words, 0, fields);
}

function register(table: ClientSessions, client: number, op: number): number {
  const slot = table.register(clientWords(client), 0, op);
  makeReply(client, op, 0, 64);
  table.setReply(slot, reply, true);
  return slot;
}

function execute(table: ClientSessions, client: number, op: number, request: number): void {
  const slot = table.find(clientWords(client), 0);
  makeReply(client, op, request, 16);
  table.setReply(slot, reply, true);
}

function make(clientsMax: number): ClientSessions {
  return new ClientSessions(clientsMax, plainBuffer(clientsMax * replySlotSize));
}

test("a full table gives up the session that executed longest ago, not the oldest one", () => {
  const table = make(3);
  register(table, 1, 10);
  register(table, 2, 11);
  register(table, 3, 12);
  execute(table, 1, 13, 1);
  register(table, 4, 14);
  expect(table.find(clientWords(2), 0)).toBe(-1);
  expect(table.find(clientWords(1), 0)).not.toBe(-1);
  expect(table.count).toBe(3);
});

test("sessions that share an op are told apart by their session number", () => {
  const table = make(3);
  register(table, 1, 12);
  register(table, 2, 11);
  register(table, 3, 10);
  for (const client of [1, 2, 3]) execute(table, client, 20, 1);
  register(table, 4, 21);
  expect(table.find(clientWords(3), 0)).toBe(-1);
  expect(table.find(clientWords(1), 0)).not.toBe(-1);
  expect(table.find(clientWords(2), 0)).not.toBe(-1);
});

test("a client that was pushed out may register again as a new session", () => {
  const table = make(1);
  register(table, 1, 10);
  register(table, 2, 11);
  const slot = register(table, 1, 12);
  expect(table.session(slot)).toBe(12);
  expect(table.find(clientWords(2), 0)).toBe(-1);
});

test("the kept reply is the message byte for byte", () => {
  const table = make(2);
  const slot = register(table, 7, 9);
  makeReply(7, 10, 1, 131_040);
  table.setReply(slot, reply, true);
  const size = headerSize + 131_040;
  const from = slot * replySlotSize;
  expect(table.replySize(slot)).toBe(size);
  expect(
    Buffer.compare(table.replies.bytes.subarray(from, from + size), reply.bytes.subarray(0, size)),
  ).toBe(0);
  expect(table.keptReplyMatches(slot)).toBe(true);
  table.replies.bytes[from + 200]! ^= 1;
  expect(table.keptReplyMatches(slot)).toBe(false);
});

test("a snapshot restores to the same table after any history", () => {
  const prng = new Prng(3);
  const table = make(8);
  const requests = new Map<number, number>();
  for (let op = 1; op <= 500; op += 1) {
    const client = 1 + prng.below(20);
    if (table.find(clientWords(client), 0) === -1) {
      register(table, client, op);
      requests.set(client, 0);
    } else {
      const request = requests.get(client)! + 1;
      requests.set(client, request);
      execute(table, client, op, request);
    }
  }
  const words = new Uint32Array(table.snapshotWords);
  table.snapshot(words);
  const copy = make(8);
  expect(copy.restore(words, words.length)).toBe(true);
  for (let client = 1; client <= 20; client += 1) {
    const slot = table.find(clientWords(client), 0);
    expect(copy.find(clientWords(client), 0)).toBe(slot);
    if (slot === -1) continue;
    expect(copy.session(slot)).toBe(table.session(slot));
    expect(copy.request(slot)).toBe(table.request(slot));
    expect(copy.replyOp(slot)).toBe(table.replyOp(slot));
    expect(copy.replyKept(slot)).toBe(true);
  }
  const again = new Uint32Array(copy.snapshotWords);
  copy.snapshot(again);
  expect(Buffer.compare(Buffer.from(words.buffer), Buffer.from(again.buffer))).toBe(0);
});

test("a snapshot of another shape is refused", () => {
  const table = make(2);
  register(table, 1, 5);
  const words = new Uint32Array(table.snapshotWords);
  table.snapshot(words);
  expect(make(3).restore(words, words.length)).toBe(false);
  expect(make(2).restore(words, words.length - 1)).toBe(false);
  const damaged = words.slice();
  damaged[4 + 6] = 9;
  expect(make(2).restore(damaged, damaged.length)).toBe(false);
});

test("touched slots are those with a reply since the last snapshot", () => {
  const table = make(4);
  const a = register(table, 1, 1);
  const b = register(table, 2, 2);
  table.snapshot(new Uint32Array(table.snapshotWords));
  execute(table, 2, 3, 1);
  expect(table.touchedSinceSnapshot(a)).toBe(false);
  expect(table.touchedSinceSnapshot(b)).toBe(true);
});
