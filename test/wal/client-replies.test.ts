/** The zone of kept replies. */
import { describe, expect, test } from "vitest";
import { headerSize, replySlotSize, sectorSize } from "../../src/core/limits.ts";
import type { IoBuffer } from "../../src/io/io.ts";
import { ClientReplies, ReplyRead, replyWritesMax } from "../../src/wal/client-replies.ts";
import { DataFileLayout } from "../../src/wal/data-file.ts";
import { failOnFatal, file, formatted, makeReply, smallFormat } from "./harness.ts";
import { type MemoryFileIo, memoryBuffer } from "./memory-file-io.ts";

const options = { ...smallFormat, clientsMax: 16 };
const layout = new DataFileLayout(options);
const image = formatted(1, {}, options);
const nothing = (): void => undefined;

function open(io: MemoryFileIo, onFatal = failOnFatal): ClientReplies {
  return new ClientReplies({ io, file, layout, onFatal });
}

function readAll(io: MemoryFileIo): { results: number[]; bodies: Map<number, Uint8Array> } {
  const results = new Array<number>(layout.clientsMax).fill(0);
  const bodies = new Map<number, Uint8Array>();
  let done = false;
  open(io).readAll(
    (slot, result, buffer) => {
      expect(results[slot]).toBe(0);
      results[slot] = result;
      if (result === ReplyRead.ok) bodies.set(slot, buffer.bytes.slice(0, buffer.words[24]));
    },
    () => {
      done = true;
    },
  );
  io.run();
  expect(done).toBe(true);
  return { results, bodies };
}

const { ok, empty, damaged } = ReplyRead;

describe("replies", () => {
  test("a fresh zone is empty", () => {
    expect(readAll(image.clone(1)).results).toEqual(new Array(16).fill(empty));
  });

  test("replies of all sizes come back as they were sent", () => {
    const io = image.clone(1);
    const replies = open(io);
    const sizes = [0, 64, 3840, 3841, 4096, 100_000, replySlotSize - headerSize];
    const buffer = memoryBuffer(sizes.length * replySlotSize);
    let done = 0;
    sizes.forEach((size, index) => {
      makeReply(buffer, index * replySlotSize, index + 1, index + 10, size);
      while (!replies.canWrite(index * 2)) io.step();
      replies.write(index * 2, buffer, index * replySlotSize, () => {
        done += 1;
      });
    });
    io.run();
    expect(done).toBe(sizes.length);
    expect(io.writeLog.every((write) => !write.durable)).toBe(true);
    const { results, bodies } = readAll(io);
    sizes.forEach((size, index) => {
      expect(results[index * 2]).toBe(ok);
      const at = index * replySlotSize;
      const sent = buffer.bytes.subarray(at, at + headerSize + size);
      expect(Buffer.compare(bodies.get(index * 2)!, sent)).toBe(0);
      const end = layout.replyAt(index * 2) + headerSize + size;
      const rest = (sectorSize - ((headerSize + size) % sectorSize)) % sectorSize;
      expect(io.peek(end, rest).every((byte) => byte === 0)).toBe(true);
    });
  });

  test("a longer reply that was replaced by a shorter one does not show", () => {
    const io = image.clone(1);
    const replies = open(io);
    const buffer = memoryBuffer(replySlotSize);
    for (const size of [50_000, 100]) {
      makeReply(buffer, 0, 1, size, size);
      replies.write(3, buffer, 0, nothing);
      io.run();
    }
    expect(readAll(io).bodies.get(3)!.length).toBe(headerSize + 100);
  });

  test("limits: one write per slot, and so many in all", () => {
    const io = image.clone(1);
    const replies = open(io);
    const buffer = memoryBuffer(replySlotSize);
    makeReply(buffer, 0, 1, 1, 64);
    for (let slot = 0; slot < replyWritesMax; slot += 1) {
      expect(replies.canWrite(slot)).toBe(true);
      replies.write(slot, buffer, 0, nothing);
      expect(replies.canWrite(slot)).toBe(false);
    }
    expect(replies.canWrite(replyWritesMax)).toBe(false);
    io.run();
    expect(replies.canWrite(0)).toBe(true);
  });

  test("a failed write stops the replica", () => {
    const io = image.clone(1);
    const texts: string[] = [];
    const replies = open(io, (text) => texts.push(text));
    const buffer = memoryBuffer(replySlotSize);
    makeReply(buffer, 0, 1, 1, 64);
    io.failAtWrite = 1;
    replies.write(2, buffer, 0, () => texts.push("done"));
    io.run();
    expect(texts).toEqual(["cannot write client reply slot 2: error 5."]);
  });

  test("what is not a whole reply is never written", () => {
    const io = image.clone(1);
    const replies = open(io);
    const buffer = memoryBuffer(replySlotSize);
    makeReply(buffer, 0, 1, 1, 64);
    buffer.bytes[headerSize]! ^= 1;
    expect(() => replies.write(0, buffer, 0, nothing)).toThrow("whole replies");
  });
});

describe("damage", () => {
  const written = image.clone(1);
  const buffer: IoBuffer = memoryBuffer(replySlotSize);
  makeReply(buffer, 0, 5, 9, 7000);
  open(written).write(2, buffer, 0, nothing);
  written.run();

  test("any flipped bit of header or body", () => {
    const at = layout.replyAt(2);
    for (let byte = 0; byte < headerSize + 7000; byte += byte < headerSize ? 1 : 13) {
      const io = written.afterKill(1);
      io.flip(at + byte, byte % 8);
      expect(readAll(io).results[2]).toBe(damaged);
    }
  });

  test("an unreadable sector, first or later, costs that slot alone", () => {
    for (const sector of [0, 1]) {
      const io = written.afterKill(1);
      io.unreadable.add(layout.replyAt(2) / sectorSize + sector);
      const { results } = readAll(io);
      expect(results[2]).toBe(damaged);
      expect(results.filter((result) => result === empty).length).toBe(15);
    }
  });

  test("a reply of another cluster, and something that is no reply", () => {
    const io = written.afterKill(1);
    const other = { ...options, cluster: Uint32Array.of(1, 1, 1, 1) };
    const replies = new ClientReplies({
      io,
      file,
      layout: new DataFileLayout(other),
      onFatal: failOnFatal,
    });
    let result = 0;
    replies.read(2, memoryBuffer(replySlotSize), (_slot, found) => {
      result = found;
    });
    io.run();
    expect(result).toBe(damaged);
    io.poke(layout.replyAt(2), io.peek(layout.prepareAt(0), sectorSize));
    expect(readAll(io).results[2]).toBe(damaged);
  });

  test("a write that a crash cut short is damaged, old or new", () => {
    for (let seed = 1; seed <= 40; seed += 1) {
      const io = written.afterKill(seed);
      const newer = memoryBuffer(replySlotSize);
      makeReply(newer, 0, 5, 11, 9000);
      open(io).write(2, newer, 0, nothing);
      const { results, bodies } = readAll(io.afterCrash(seed));
      if (results[2] !== ok) continue;
      const body = bodies.get(2)!;
      expect([headerSize + 7000, headerSize + 9000]).toContain(body.length);
    }
  });
});
