/** Groups: what goes in as requests comes out of the sealed prepare, request by request. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { plainBuffer } from "../../test/support/plain-buffer.ts";
import { groupRequestsMax, headerSize, messageBodySizeMax } from "../core/limits.ts";
import { type Message, MessagePool } from "../io/message-pool.ts";
import { RequestFields, sealHeader, writeRequest } from "../wire/build.ts";
import { frame, prepareHeader } from "../wire/header.ts";
import { Operation } from "../wire/operations.ts";
import { PrepareRequests } from "./prepare-requests.ts";
import { groupReplyBytesMax, RequestQueue, writePrepare } from "./request-queue.ts";

const pool = new MessagePool(plainBuffer, { small: 80, large: 6 });
const deltas = {
  timestampDelta: (_o: number, _w: unknown, _b: unknown, _a: number, size: number) => size / 16,
};

function request(client: number, number: number, bodySize: number, operation = 147): Message {
  const message = pool.get(headerSize + bodySize);
  if (message === null) throw new Error("the test's pool is large enough");
  const fields = new RequestFields();
  fields.client.set([client, 1, 2, 3]);
  fields.request = number;
  fields.session = client + 100;
  fields.release = 0x1109;
  fields.operation = operation;
  fields.bodySize = bodySize;
  message.bytes.fill(client & 0xff, headerSize, headerSize + bodySize);
  writeRequest(message.bytes, message.words, 0, fields);
  return message;
}

function fields(op: number, timestampLow: number) {
  return {
    cluster: new Uint32Array([9, 0, 0, 0]),
    view: 3,
    replica: 0,
    op,
    commit: op - 1,
    timestamp: new Uint32Array([timestampLow, 5]),
    parent: new Uint32Array([1, 2, 3, 4]),
    checkpointId: new Uint32Array([5, 6, 7, 8]),
  };
}

test("requests that waited come out of one prepare in order, with timestamps of their own", () => {
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 0, max: 400 }), { minLength: 1, maxLength: groupRequestsMax }),
      (sizes) => {
        const queue = new RequestQueue(pool, 4, true);
        const requests = sizes.map((size, index) => request(index + 1, index + 7, size * 16));
        const checksums = requests.map((message) => message.bytes.slice(0, 16));
        for (const [index, message] of requests.entries()) {
          expect(queue.push(message, sizes[index]!, 10)).toBe(true);
          pool.unref(message);
        }
        let seen = 0;
        let base = 1_000_000;
        while (queue.length > 0) {
          const item = queue.shift();
          const last = base + item.timestampSpan;
          writePrepare(item, fields(seen + 1, last));
          const prepare = item.message!;
          sealHeader(prepare.bytes, prepare.words, 0);
          const cursor = new PrepareRequests(deltas);
          expect(cursor.open(prepare.buffer)).toBe(true);
          let previous = base - 1;
          while (cursor.next()) {
            const size = sizes[seen]! * 16;
            expect(cursor.words[cursor.clientAt]).toBe(seen + 1);
            expect(cursor.request).toBe(seen + 7);
            expect(cursor.operation).toBe(147);
            expect(cursor.release).toBe(0x1109);
            expect(cursor.bodySize).toBe(size);
            const body = prepare.bytes.subarray(cursor.bodyAt, cursor.bodyAt + size);
            expect(body.every((byte) => byte === ((seen + 1) & 0xff))).toBe(true);
            const at = cursor.requestChecksumAt * 4;
            const checksum = Buffer.from(cursor.words.buffer, cursor.words.byteOffset + at, 16);
            expect(Buffer.compare(checksum, checksums[seen]!)).toBe(0);
            expect(cursor.timestamp[1]).toBe(5);
            expect(cursor.timestamp[0]).toBe(previous + 1 + sizes[seen]!);
            previous = cursor.timestamp[0]!;
            seen += 1;
          }
          expect(previous).toBe(last);
          base = last + 1;
          pool.unref(prepare);
          queue.recycle(item);
        }
        expect(seen).toBe(sizes.length);
      },
    ),
    { numRuns: 60 },
  );
  expect(pool.free(true)).toBe(6);
  expect(pool.free(false)).toBe(80);
});

test("a register stays alone, and so does everything with grouping off", () => {
  const queue = new RequestQueue(pool, 4, true);
  const messages = [
    request(1, 0, 256, Operation.register),
    request(2, 1, 16),
    request(3, 1, 16),
    request(4, 0, 256, Operation.register),
  ];
  for (const message of messages) expect(queue.push(message, 0, 0)).toBe(true);
  expect(queue.length).toBe(3);
  const single = new RequestQueue(pool, 2, false);
  expect(single.push(messages[1]!, 0, 0)).toBe(true);
  expect(single.push(messages[2]!, 0, 0)).toBe(true);
  expect(single.length).toBe(2);
  expect(single.push(messages[0]!, 0, 0)).toBe(false);
});

test("a largest request still fits, and nothing joins what has no room", () => {
  const queue = new RequestQueue(pool, 4, true);
  const large = request(1, 1, messageBodySizeMax);
  const small = request(2, 1, 16);
  expect(queue.push(large, 1, 1)).toBe(true);
  expect(queue.push(small, 1, groupReplyBytesMax)).toBe(true);
  expect(queue.push(request(3, 1, 16), 1, 1)).toBe(true);
  expect(queue.length).toBe(3);
  const item = queue.shift();
  expect(writePrepare(item, fields(1, 10))).toBe(true);
  expect(item.message!.words[frame.word.size]).toBe(headerSize + messageBodySizeMax);
});

test("a table that contradicts the message is refused", () => {
  const queue = new RequestQueue(pool, 4, true);
  for (let client = 1; client <= 3; client += 1) queue.push(request(client, 1, 32), 2, 1);
  const item = queue.shift();
  writePrepare(item, fields(1, 1000));
  const prepare = item.message!;
  const cursor = new PrepareRequests(deltas);
  expect(cursor.open(prepare.buffer)).toBe(true);
  const requestsAt = prepareHeader.at.requests;
  for (const count of [0, 1, 2, 4, 65, 255]) {
    prepare.bytes[requestsAt] = count;
    expect(cursor.open(prepare.buffer)).toBe(false);
  }
  prepare.bytes[requestsAt] = 3;
  const tableAt = prepare.words[frame.word.size]! - 3 * 64;
  for (const size of [31, 48, 0xffff_fff0, 1 << 20]) {
    prepare.words[tableAt / 4 + 12] = size;
    expect(cursor.open(prepare.buffer)).toBe(false);
  }
});
