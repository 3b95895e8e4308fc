import { afterEach, expect, test } from "vitest";
import { Prng } from "../../core/prng.ts";
import { Completion, Errno } from "../io.ts";
import type { FileCalls } from "./file-queue.ts";
import { PortableIo } from "./portable-io.ts";

type Moved = (error: NodeJS.ErrnoException | null, bytes: number) => void;

/** A call that the pool has got and not yet returned from. */
interface Call {
  readonly kind: "read" | "write" | "fdatasync";
  readonly at: number;
  readonly length: number;
  readonly position: number;
  readonly done: Moved;
}

/** A file system in which calls return when, and as, the test says. */
class FakeFile implements FileCalls {
  readonly calls: Call[] = [];

  read(_fd: number, _b: Uint8Array, at: number, length: number, position: number, done: Moved) {
    this.calls.push({ kind: "read", at, length, position, done });
  }

  write(_fd: number, _b: Uint8Array, at: number, length: number, position: number, done: Moved) {
    this.calls.push({ kind: "write", at, length, position, done });
  }

  fdatasync(_fd: number, done: (error: NodeJS.ErrnoException | null) => void) {
    this.calls.push({ kind: "fdatasync", at: 0, length: 0, position: 0, done });
  }

  /** Takes the oldest call. */
  take(kind: Call["kind"]): Call {
    const call = this.calls.shift();
    expect(call?.kind).toBe(kind);
    return call as Call;
  }

  succeed(kind: Call["kind"]): void {
    const call = this.take(kind);
    call.done(null, call.length);
  }

  fail(kind: Call["kind"], code: string): void {
    this.take(kind).done(Object.assign(new Error(code), { code }), 0);
  }
}

const fd = 3;
const sector = 4096;

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

class Bench {
  readonly file = new FakeFile();
  readonly io = new PortableIo(this.file);
  readonly buffer = this.io.allocate(16 * sector);
  readonly log: string[] = [];

  constructor() {
    this.io.start(() => {});
  }

  private named(name: string): Completion {
    return new Completion((done) => this.log.push(`${name} ${done.result}`));
  }

  read(name: string, length = sector): void {
    this.io.read(this.named(name), fd, this.buffer, 0, length, 2 * sector);
  }

  write(name: string, durable: boolean, length = sector): void {
    this.io.write(this.named(name), fd, this.buffer, sector, length, 2 * sector, durable);
  }

  sync(name: string): void {
    this.io.sync(this.named(name), fd);
  }

  /** What ended since the last look. */
  async ended(): Promise<string[]> {
    await turn();
    return this.log.splice(0);
  }
}

const poolSize = process.env["UV_THREADPOOL_SIZE"];
afterEach(() => {
  if (poolSize === undefined) delete process.env["UV_THREADPOOL_SIZE"];
  else process.env["UV_THREADPOOL_SIZE"] = poolSize;
});

test("short reads and writes are resumed where they stopped", async () => {
  const bench = new Bench();
  bench.read("read");
  bench.write("write", false, 2 * sector);
  const read = bench.file.take("read");
  read.done(null, 1000);
  const write = bench.file.take("write");
  write.done(null, sector);
  expect(await bench.ended()).toEqual([]);
  const readRest = bench.file.take("read");
  expect(readRest).toMatchObject({ at: 1000, length: 3096, position: 2 * sector + 1000 });
  const writeRest = bench.file.take("write");
  expect(writeRest).toMatchObject({ at: 2 * sector, length: sector, position: 3 * sector });
  readRest.done(null, 3096);
  writeRest.done(null, sector);
  expect(await bench.ended()).toEqual(["read 4096", "write 8192"]);
  expect(bench.io.stats).toMatchObject({ readBytes: sector, writeBytes: 2 * sector });
});

test("interrupted calls are tried again, a limited number of times", async () => {
  const bench = new Bench();
  bench.read("read");
  for (let at = 0; at < 10; at += 1) bench.file.fail("read", at % 2 === 0 ? "EINTR" : "EAGAIN");
  bench.file.succeed("read");
  expect(await bench.ended()).toEqual(["read 4096"]);

  bench.write("write", true);
  for (let at = 0; at < 17; at += 1) bench.file.fail("write", "EAGAIN");
  expect(await bench.ended()).toEqual([`write ${Errno.again}`]);
  expect(bench.file.calls).toEqual([]);

  bench.sync("sync");
  for (let at = 0; at < 10; at += 1) bench.file.fail("fdatasync", "EINTR");
  bench.file.succeed("fdatasync");
  expect(await bench.ended()).toEqual(["sync 0"]);
});

test("errors are reported, and a failed write is not synced", async () => {
  const bench = new Bench();
  bench.read("read");
  bench.write("write", true);
  bench.file.fail("read", "EIO");
  bench.file.fail("write", "ENOSPC");
  expect(await bench.ended()).toEqual([`read ${Errno.io}`, `write ${Errno.noSpace}`]);
  expect(bench.file.calls).toEqual([]);
  // No progress is no success.
  bench.read("end");
  bench.file.take("read").done(null, 0);
  bench.write("nothing", false);
  bench.file.take("write").done(null, 0);
  expect(await bench.ended()).toEqual([`end ${Errno.io}`, `nothing ${Errno.io}`]);
});

test("a Direct I/O read that stops inside a sector has met the end of the file", async () => {
  const bench = new Bench();
  bench.read("read", 2 * sector);
  bench.file.take("read").done(null, 6000);
  bench.file.fail("read", "EINVAL");
  expect(await bench.ended()).toEqual([`read ${Errno.io}`]);
});

test("one fdatasync serves the writes that completed before it began, and no other", async () => {
  process.env["UV_THREADPOOL_SIZE"] = "9";
  const bench = new Bench();
  for (const name of ["a", "b", "c", "d"]) bench.write(name, true);
  bench.file.succeed("write"); // a: an fdatasync begins behind b, c and d.
  const calls = bench.file.calls;
  expect(calls.map((call) => call.kind)).toEqual(["write", "write", "write", "fdatasync"]);
  bench.file.succeed("write"); // b and c complete while it runs.
  bench.file.succeed("write");
  bench.sync("sync");
  expect(calls.map((call) => call.kind)).toEqual(["write", "fdatasync"]);
  calls.splice(1, 1)[0]!.done(null, 0);
  expect(await bench.ended()).toEqual(["a 4096"]);
  expect(calls.map((call) => call.kind)).toEqual(["write", "fdatasync"]);
  bench.file.succeed("write"); // d completes while the second one runs.
  bench.file.succeed("fdatasync");
  expect(await bench.ended()).toEqual(["b 4096", "c 4096", "sync 0"]);
  bench.file.succeed("fdatasync");
  expect(await bench.ended()).toEqual(["d 4096"]);
  expect(calls).toEqual([]);
});

test("the pool gets a share of its threads, syncs before anything else", async () => {
  process.env["UV_THREADPOOL_SIZE"] = "3";
  const bench = new Bench();
  bench.write("write", true);
  for (let at = 0; at < 4; at += 1) bench.read(`read${at}`);
  expect(bench.file.calls.map((call) => call.kind)).toEqual(["write", "read"]);
  bench.file.succeed("write");
  expect(bench.file.calls.map((call) => call.kind)).toEqual(["read", "fdatasync"]);
  bench.file.succeed("read");
  bench.file.succeed("fdatasync");
  expect(await bench.ended()).toEqual(["read0 4096", "write 4096"]);
  expect(bench.file.calls.length).toBe(2);
  bench.file.succeed("read");
  bench.file.succeed("read");
  bench.file.succeed("read");
  expect(await bench.ended()).toEqual(["read1 4096", "read2 4096", "read3 4096"]);
});

test("after a failed fdatasync the file takes no more writes", async () => {
  process.env["UV_THREADPOOL_SIZE"] = "9";
  const bench = new Bench();
  bench.write("covered", true);
  bench.write("late", true);
  bench.write("flying", true);
  bench.file.succeed("write");
  bench.file.succeed("write");
  const flying = bench.file.take("write");
  bench.file.fail("fdatasync", "EIO");
  flying.done(null, sector);
  expect(await bench.ended()).toEqual([
    `covered ${Errno.io}`,
    `late ${Errno.io}`,
    `flying ${Errno.io}`,
  ]);
  // A second fdatasync would report success: it must not be asked.
  bench.sync("sync");
  bench.write("durable", true);
  bench.write("lazy", false);
  bench.read("read");
  bench.file.succeed("read");
  expect(await bench.ended()).toEqual([
    `sync ${Errno.io}`,
    `durable ${Errno.io}`,
    `lazy ${Errno.io}`,
    "read 4096",
  ]);
  expect(bench.file.calls).toEqual([]);
});

test("stop waits for what the pool has and cancels the rest", async () => {
  process.env["UV_THREADPOOL_SIZE"] = "3";
  const bench = new Bench();
  bench.write("written", true);
  bench.file.succeed("write");
  const sync = bench.file.take("fdatasync");
  bench.write("flying", true);
  const flying = bench.file.take("write");
  bench.read("queued");
  bench.sync("waiting");
  let stopped = false;
  bench.io.stop(() => {
    stopped = true;
  });
  expect(await bench.ended()).toEqual([`queued ${Errno.canceled}`, `waiting ${Errno.canceled}`]);
  expect(stopped).toBe(false);
  flying.done(null, sector);
  expect(await bench.ended()).toEqual([`flying ${Errno.canceled}`]);
  expect(stopped).toBe(false);
  sync.done(null, 0);
  expect(await bench.ended()).toEqual(["written 4096"]);
  await turn();
  expect(stopped).toBe(true);
  expect(bench.file.calls).toEqual([]);
});

test("nothing durable is reported that no fdatasync covered, in any order of returns", async () => {
  for (let seed = 1; seed <= 100; seed += 1) {
    process.env["UV_THREADPOOL_SIZE"] = String(2 + (seed % 7));
    await randomRun(new Prng(seed));
  }
});

/** Random writes and syncs, returning in random order; the fake remembers what is stable. */
async function randomRun(random: Prng): Promise<void> {
  const file = new FakeFile();
  const io = new PortableIo(file);
  io.start(() => {});
  const buffer = io.allocate(sector);
  /** Positions of the writes that have returned, and of those that are stable. */
  const written = new Set<number>();
  const stable = new Set<number>();
  /** Per running fdatasync: what had been written when it began. */
  const snapshots = new Map<Call, Set<number>>();
  let begun = 0;
  let ended = 0;
  let syncs = 0;
  const noteSyncs = (): void => {
    for (const call of file.calls) {
      if (call.kind !== "fdatasync" || snapshots.has(call)) continue;
      snapshots.set(call, new Set(written));
      syncs += 1;
    }
  };
  while (begun < 60 || ended < begun) {
    if (begun < 60 && random.chance(0.5)) {
      const position = begun * sector;
      begun += 1;
      if (random.chance(0.2)) {
        // A sync promises what had been called back before it.
        const promised = new Set(written);
        const completion = new Completion((done) => {
          expect(done.result).toBe(0);
          for (const at of promised) expect(stable.has(at)).toBe(true);
          ended += 1;
        });
        io.sync(completion, fd);
      } else {
        const durable = random.chance(0.7);
        const completion = new Completion((done) => {
          expect(done.result).toBe(sector);
          expect(written.has(position)).toBe(true);
          if (durable) expect(stable.has(position)).toBe(true);
          ended += 1;
        });
        io.write(completion, fd, buffer, 0, sector, position, durable);
      }
    } else if (file.calls.length > 0) {
      const call = file.calls.splice(random.below(file.calls.length), 1)[0] as Call;
      if (call.kind === "write") written.add(call.position);
      else for (const at of snapshots.get(call) ?? []) stable.add(at);
      call.done(null, call.length);
    }
    noteSyncs();
    if (random.chance(0.3)) await turn();
  }
  expect(syncs).toBeLessThan(begun);
  await new Promise<void>((resolve) => io.stop(resolve));
}
