/** What the ring backend makes of results that a healthy machine does not give. */
import { describe, expect, test } from "vitest";
import { type Script, ScriptedRing, type Taken } from "../../../test/io/scripted-ring.ts";
import { nativeLayout } from "../../native/layout.ts";
import { Completion, Errno, type IoBuffer } from "../io.ts";
import { FileOperations } from "./file-operations.ts";
import { uringRefusal } from "./probe.ts";
import { RegisteredBuffers } from "./registered-buffers.ts";
import { SocketOperations } from "./socket-operations.ts";

const { opcodeRead, opcodeWrite, opcodeSync, opcodeAccept, opcodeReceive, opcodeSend } =
  nativeLayout;
const { opcodeClose, opcodeCancel, opcodeTimeout, flagDurable, flagFixedFile } = nativeLayout;
const interrupted = -4;
const badHandle = -9;
const notSupported = -95;
const aborted = -103;
const already = -114;
const notFound = -2;
const file = 7;

const buffer: IoBuffer = {
  id: 0,
  sizeBytes: 1 << 20,
  bytes: new Uint8Array(1 << 20),
  words: new Uint32Array(1 << 18),
};

function open(script: Script, durableByFlag = true) {
  const ring = new ScriptedRing(script);
  const files = new FileOperations(ring.engine, durableByFlag);
  const sockets = new SocketOperations(ring.engine);
  ring.engine.attach(files, sockets);
  const results: number[] = [];
  const completion = () => new Completion((done) => results.push(done.result));
  return { ring, files, sockets, results, completion };
}

/** Gives the results in turn; then an operation's whole length. */
function inTurn(...results: number[]): Script {
  return (taken) => results.shift() ?? taken.length;
}

const ranges = (taken: readonly Taken[]) =>
  taken.map(({ opcode, bufferAt, length, offset }) => [opcode, bufferAt, length, offset]);

describe("files", () => {
  test("short reads and writes go on where they ended, across 4 GiB", () => {
    const { ring, files, results, completion } = open(inTurn(4096, 8192, 4096, 512));
    const fileAt = 2 ** 32 - 8192;
    files.read(completion(), file, buffer, 4096, 16_384, fileAt);
    ring.settle();
    files.write(completion(), file, buffer, 0, 4096, 0, true);
    ring.settle();
    expect(results).toEqual([16_384, 4096]);
    expect(ranges(ring.taken)).toEqual([
      [opcodeRead, 4096, 16_384, fileAt],
      [opcodeRead, 8192, 12_288, fileAt + 4096],
      [opcodeRead, 16_384, 4096, fileAt + 12_288],
      [opcodeWrite, 0, 4096, 0],
      [opcodeWrite, 512, 3584, 512],
    ]);
    expect(ring.taken[4].flags).toBe(flagDurable);
    expect(ring.engine.stats.readBytes).toBe(16_384);
    expect(ring.engine.stats.writes).toBe(1);
  });

  test("nothing moved is −EIO, and so is the end of a file inside a sector", () => {
    const { ring, files, results, completion } = open(inTurn(0, 4096, 0, 0, 6000, -22, -22));
    files.read(completion(), file, buffer, 0, 4096, 0);
    ring.settle();
    files.read(completion(), file, buffer, 0, 8192, 0);
    ring.settle();
    files.write(completion(), file, buffer, 0, 4096, 0, false);
    ring.settle();
    files.read(completion(), file, buffer, 0, 8192, 0);
    ring.settle();
    files.read(completion(), file, buffer, 0, 8192, 1);
    ring.settle();
    expect(results).toEqual([Errno.io, Errno.io, Errno.io, Errno.io, Errno.invalid]);
  });

  test("an interruption is tried again, for ever it is not", () => {
    const { ring, files, results, completion } = open(inTurn(interrupted, Errno.again, 4096));
    files.read(completion(), file, buffer, 0, 4096, 0);
    ring.settle();
    expect(results).toEqual([4096]);
    const endless = open(() => interrupted);
    endless.files.read(endless.completion(), file, buffer, 0, 4096, 0);
    endless.files.sync(endless.completion(), file);
    endless.ring.settle();
    expect(endless.results).toEqual([interrupted, interrupted]);
    expect(endless.ring.taken.length).toBeLessThan(1000);
  });

  test("a file system without RWF_DSYNC gets a sync behind each durable write", () => {
    const { ring, files, results, completion } = open((taken) =>
      (taken.flags & flagDurable) !== 0 ? notSupported : taken.length,
    );
    for (const durable of [true, true, false]) {
      files.write(completion(), file, buffer, 0, 4096, 0, durable);
      ring.settle();
    }
    expect(results).toEqual([4096, 4096, 4096]);
    expect(ring.taken.map(({ opcode, flags }) => [opcode, flags])).toEqual([
      [opcodeWrite, flagDurable], // Refused: nothing was written.
      [opcodeWrite, 0],
      [opcodeSync, 0],
      [opcodeWrite, 0],
      [opcodeSync, 0],
      [opcodeWrite, 0],
    ]);
    expect(ring.engine.stats.syncs).toBe(0); // None of the owner's.
    expect(ring.engine.stats.writes).toBe(3);
  });

  test.each([
    ["a failed sync", true, (taken: Taken) => (taken.opcode === opcodeSync ? Errno.io : 4096)],
    ["a failed durable write", true, (taken: Taken) => (taken.flags !== 0 ? Errno.io : 4096)],
    ["a failed sync after a write", false, (t: Taken) => (t.opcode === opcodeSync ? -5 : 4096)],
  ] as const)("%s: the file is not trusted again", (_, durableByFlag, script) => {
    const { ring, files, results, completion } = open(script, durableByFlag);
    files.write(completion(), file, buffer, 0, 4096, 0, true);
    files.sync(completion(), file);
    ring.settle();
    expect(results).toContain(Errno.io);
    results.length = 0;
    const before = ring.taken.filter(({ opcode }) => opcode !== nativeLayout.opcodeNop).length;
    files.write(completion(), file, buffer, 0, 4096, 0, false);
    files.write(completion(), file, buffer, 0, 4096, 0, true);
    files.sync(completion(), file);
    ring.settle();
    expect(results).toEqual([Errno.io, Errno.io, Errno.io]);
    expect(ring.taken.filter(({ opcode }) => opcode !== nativeLayout.opcodeNop).length).toBe(
      before,
    );
    // Reads tell what is there; other files are none the worse.
    files.read(completion(), file, buffer, 0, 4096, 0);
    files.write(completion(), file + 1, buffer, 0, 4096, 0, false);
    ring.settle();
    expect(results.slice(3)).toEqual([4096, 4096]);
  });

  test("errors that say nothing about the data do not fail the file", () => {
    const { ring, files, results, completion } = open(inTurn(badHandle, -28, -22, 0, 4096));
    files.sync(completion(), file);
    files.write(completion(), file, buffer, 0, 4096, 0, true);
    files.write(completion(), file, buffer, 0, 4096, 0, true);
    ring.settle();
    files.sync(completion(), file);
    ring.settle();
    files.write(completion(), file, buffer, 0, 4096, 0, true);
    ring.settle();
    expect(results).toEqual([badHandle, Errno.noSpace, Errno.invalid, 0, 4096]);
  });

  test("a registered file is named by its place", () => {
    const { ring, files, results, completion } = open(inTurn());
    expect(files.register(file)).toBe(true);
    files.write(completion(), file, buffer, 0, 4096, 0, true);
    files.write(completion(), file + 1, buffer, 0, 4096, 0, false);
    ring.settle();
    files.unregister(file);
    files.read(completion(), file, buffer, 0, 4096, 0);
    ring.settle();
    expect(results).toEqual([4096, 4096, 4096]);
    expect(ring.taken.map(({ handle, flags }) => [handle, flags])).toEqual([
      [0, flagDurable | flagFixedFile],
      [file + 1, 0],
      [file, 0],
    ]);
    for (let fd = 0; fd < 16; fd += 1) expect(files.register(100 + fd)).toBe(true);
    expect(files.register(200)).toBe(false);
    const { registered } = ring.engine.stats;
    expect(registered.files).toBe(16);
    expect(registered.filesRefusal).toMatch(/table is full/);
  });

  test("a file that the kernel will not keep serves by its descriptor", () => {
    const { ring, files, results, completion } = open(inTurn());
    ring.registration = -1;
    expect(files.register(file)).toBe(false);
    files.write(completion(), file, buffer, 0, 4096, 0, true);
    ring.settle();
    expect(results).toEqual([4096]);
    expect(ring.taken.map(({ handle, flags }) => [handle, flags])).toEqual([[file, flagDurable]]);
    expect(ring.engine.stats.registered.filesRefusal).toMatch(/EPERM/);
    expect(ring.engine.stats.registered.files).toBe(0);
  });
});

describe("registered buffers", () => {
  test.each([
    ["the limit of locked memory", -12, 1, /ulimit -l/],
    ["a full table", -28, 1, /table is full/],
    ["a buffer too large", -27, 2, /1 GiB/],
  ])("%s is told; it may end the attempts", (_, error, attempts, text) => {
    const { ring } = open(inTurn());
    const buffers = new RegisteredBuffers(ring.engine);
    buffers.register(buffer);
    ring.registration = error;
    ring.registrations = 0;
    buffers.register(buffer);
    buffers.register(buffer);
    expect(ring.registrations).toBe(attempts);
    expect(ring.engine.stats.registered).toMatchObject({ buffers: 1, bufferBytes: 1 << 20 });
    expect(ring.engine.stats.registered.buffersRefusal).toMatch(text);
  });

  test("a kernel without such tables is asked once, and told", () => {
    const { ring } = open(inTurn());
    ring.registration = -22;
    const buffers = new RegisteredBuffers(ring.engine);
    buffers.register(buffer);
    expect(ring.registrations).toBe(0);
    expect(ring.engine.stats.registered.buffersRefusal).toMatch(/5\.19/);
  });

  test("memory that the addon does not know is left alone", () => {
    const { ring } = open(inTurn());
    new RegisteredBuffers(ring.engine).register({ ...buffer, id: -1 });
    expect(ring.registrations).toBe(0);
    expect(ring.engine.stats.registered.buffersRefusal).toBe(null);
  });
});

describe("sockets", () => {
  /** A socket whose operations the script holds back. */
  function openSocket(script: Script) {
    const parts = open((taken) => (taken.opcode === opcodeAccept ? 60 : script(taken)));
    const { listener } = parts.sockets.listen("127.0.0.1", 0);
    const accept = parts.completion();
    parts.sockets.accept(accept, listener);
    parts.ring.settle();
    parts.results.length = 0;
    parts.ring.taken.length = 0;
    return { ...parts, listener, socket: accept.result };
  }

  test("short sends and whole receives go on", () => {
    const { ring, sockets, results, completion, socket } = openSocket(inTurn(10, 90, 30, 20, 50));
    sockets.send(completion(), socket, buffer, 0, 100);
    ring.settle();
    sockets.receive(completion(), socket, buffer, 0, 100, true);
    ring.settle();
    expect(results).toEqual([100, 100]);
    expect(ring.taken.map(({ bufferAt, length }) => [bufferAt, length])).toEqual([
      [0, 100],
      [10, 90],
      [0, 100],
      [30, 70],
      [50, 50],
    ]);
  });

  test("a stream that takes nothing is −EIO", () => {
    const { ring, sockets, results, completion, socket } = openSocket(inTurn(10, 0));
    sockets.send(completion(), socket, buffer, 0, 100);
    ring.settle();
    expect(results).toEqual([Errno.io]);
  });

  test("connections that are gone before their accept are passed over", () => {
    const answers = [aborted, -113, interrupted, 61];
    const { ring, sockets, results, completion } = open((taken) =>
      taken.opcode === opcodeAccept ? (answers.shift() ?? aborted) : 0,
    );
    const { listener } = sockets.listen("127.0.0.1", 0);
    sockets.accept(completion(), listener);
    ring.settle();
    expect(results).toEqual([1]);
    // Not for ever.
    sockets.accept(completion(), listener);
    ring.settle();
    expect(results).toEqual([1, aborted]);
  });

  test("too many open files is the owner's to decide", () => {
    const { ring, sockets, results, completion } = open(() => -24);
    const { listener } = sockets.listen("127.0.0.1", 0);
    sockets.accept(completion(), listener);
    ring.settle();
    expect(results).toEqual([-24]);
  });

  test("a slot is not used again while its cancellation is under way", () => {
    const held: Taken[] = [];
    const { ring, sockets, results, completion, socket } = openSocket((taken) => {
      if (taken.opcode === opcodeClose) return 0;
      held.push(taken);
      return null;
    });
    sockets.receive(completion(), socket, buffer, 0, 10, false);
    ring.settle();
    sockets.closeSocket(completion(), socket);
    ring.settle();
    const [receive, cancel] = held;
    expect([receive.opcode, cancel.opcode]).toEqual([opcodeReceive, opcodeCancel]);
    expect(cancel.handle).toBe(receive.slot);
    // The receive ends by itself; the cancellation is still looking for its slot.
    ring.complete(receive.slot, 5);
    ring.settle();
    expect(results).toEqual([5, 0]);
    ring.engine.timeout(completion(), 10);
    ring.settle();
    const timeout = held[2];
    expect(timeout.opcode).toBe(opcodeTimeout);
    expect(timeout.slot).not.toBe(receive.slot);
    ring.complete(cancel.slot, notFound);
    ring.complete(timeout.slot, -62);
    ring.settle();
    expect(results).toEqual([5, 0, 0]);
    expect(ring.engine.slots.used).toBe(0);
  });

  test("what was cut short while its socket closes is not resumed", () => {
    const held: Taken[] = [];
    const { ring, sockets, results, completion, socket } = openSocket((taken) => {
      if (taken.opcode === opcodeClose || taken.opcode === opcodeCancel) return 0;
      held.push(taken);
      return null;
    });
    sockets.send(completion(), socket, buffer, 0, 100);
    sockets.receive(completion(), socket, buffer, 0, 100, true);
    ring.settle();
    sockets.closeSocket(completion(), socket);
    ring.settle();
    expect(held.map(({ opcode }) => opcode)).toEqual([opcodeSend, opcodeReceive]);
    ring.complete(held[0].slot, 40);
    ring.complete(held[1].slot, interrupted);
    ring.settle();
    expect(results).toEqual([Errno.canceled, interrupted, 0]);
    expect(held.length).toBe(2);
  });

  test("an operation that cannot be canceled is ended through its socket", () => {
    const held: Taken[] = [];
    const { ring, sockets, results, completion, socket } = openSocket((taken) => {
      if (taken.opcode === opcodeClose) return 0;
      if (taken.opcode === opcodeCancel) return already;
      held.push(taken);
      return null;
    });
    sockets.receive(completion(), socket, buffer, 0, 10, false);
    ring.settle();
    sockets.closeSocket(completion(), socket);
    ring.settle();
    expect(ring.shutDown).toEqual([60]);
    expect(results).toEqual([]);
    ring.complete(held[0].slot, 0);
    ring.settle();
    expect(results).toEqual([0, 0]);
  });

  test("a connect that fails gives its descriptor back", () => {
    const { ring, sockets, results, completion } = open(() => Errno.connectionRefused);
    sockets.connect(completion(), "127.0.0.1", 1);
    ring.settle();
    expect(results).toEqual([Errno.connectionRefused]);
    expect(ring.discarded).toEqual([70]);
  });
});

describe("the end", () => {
  test("the ring is closed when all is reaped, and then the sockets", () => {
    const held: Taken[] = [];
    const { ring, sockets, results, completion } = open((taken) => {
      if (taken.opcode === opcodeCancel) return 0;
      held.push(taken);
      return null;
    });
    const { listener } = sockets.listen("127.0.0.1", 0);
    sockets.accept(completion(), listener);
    ring.engine.timeout(completion(), 1000);
    ring.settle();
    let stopped = false;
    ring.engine.stop(() => {
      stopped = true;
    });
    ring.settle();
    ring.complete(held[1].slot, Errno.canceled);
    ring.settle();
    expect([stopped, ring.closed, results.length]).toEqual([false, false, 1]);
    ring.complete(held[0].slot, Errno.canceled);
    ring.settle();
    expect([stopped, ring.closed]).toEqual([true, true]);
    expect(results).toEqual([Errno.canceled, Errno.canceled]);
    expect(ring.discarded).toEqual([50]);
  });

  test("a send that the cancellation cut short is not resumed", () => {
    const { ring, sockets, results, completion } = open((taken) => {
      if (taken.opcode === opcodeAccept) return 60;
      return taken.opcode === opcodeSend ? null : 0;
    });
    const { listener } = sockets.listen("127.0.0.1", 0);
    const accept = completion();
    sockets.accept(accept, listener);
    ring.settle();
    sockets.send(completion(), accept.result, buffer, 0, 100);
    ring.settle();
    const slot = ring.taken[ring.taken.length - 1].slot;
    ring.engine.stop(() => {});
    ring.settle();
    // The kernel reports what it had sent; the cancellation was reaped before.
    ring.complete(slot, 40);
    ring.settle();
    expect(results).toEqual([1, Errno.canceled]);
    expect(ring.closed).toBe(true);
  });

  test("more operations than the limit are a bug of the owner's", () => {
    const { ring, completion } = open(() => null);
    for (let at = 0; at < 64; at += 1) ring.engine.timeout(completion(), 1);
    expect(() => ring.engine.timeout(completion(), 1)).toThrow("within the limit");
  });
});

test("a refusal of io_uring is told in words", () => {
  expect(uringRefusal(-1)).toMatch(/not permitted/);
  expect(uringRefusal(-38)).toMatch(/no io_uring/);
  expect(uringRefusal(-12)).toMatch(/ulimit -l/);
  expect(uringRefusal(-24)).toMatch(/too many files/);
  expect(uringRefusal(-14)).toMatch(/EFAULT/);
});
