import {
  closeSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { sectorSize } from "../../src/core/limits.ts";
import { Prng } from "../../src/core/prng.ts";
import { Completion, Errno } from "../../src/io/io.ts";
import { PortableIo } from "../../src/io/portable/portable-io.ts";
import { BaseImage, buildCrashImage, CrashImages } from "./crash-image.ts";
import {
  IoLog,
  noFaults,
  type RecordedSync,
  type RecordedWrite,
  RecordingIo,
} from "./recording-io.ts";

const file = 3;

/** A byte that stands for a write, in all of its sectors. */
function stamp(number: number): number {
  return number + 1;
}

function data(number: number, sectors: number): Uint8Array {
  return new Uint8Array(sectors * sectorSize).fill(stamp(number));
}

/** The write that a sector of an image shows; −1 for the base. */
function shown(image: Uint8Array, sector: number): number {
  const first = image[sector * sectorSize] as number;
  const part = image.subarray(sector * sectorSize, (sector + 1) * sectorSize);
  expect(part.every((byte) => byte === first)).toBe(true);
  return first - 1;
}

/** The definition, read off word by word: what the sector may show after a crash at `point`. */
function candidates(log: IoLog, sector: number, point: number): Set<number> {
  const allowed = new Set<number>([-1]);
  for (const [number, write] of log.writes.entries()) {
    const first = write.fileAt / sectorSize;
    const covers = sector >= first && sector < first + write.length / sectorSize;
    if (write.file !== file || !covers || write.begunAt >= point) continue;
    const endedWell = write.endedAt < point && write.result === write.length;
    const synced = log.syncs.some(
      (sync) =>
        sync.file === file &&
        sync.begunAt > write.endedAt &&
        sync.endedAt < point &&
        sync.result === 0,
    );
    // A stable write takes the place of all that was there before.
    if (endedWell && (write.durable || synced)) allowed.clear();
    allowed.add(number);
  }
  return allowed;
}

/** A run of random writes and syncs, some of which fail and some of which never end. */
function randomLog(random: Prng, sectors: number, events: number): IoLog {
  const log = new IoLog();
  const flying: (RecordedWrite | RecordedSync)[] = [];
  for (let at = 0; at < events; at += 1) {
    if (flying.length > 0 && random.chance(0.5)) {
      const record = flying.splice(random.below(flying.length), 1)[0]!;
      const good = "length" in record ? record.length : 0;
      log.end(record, random.chance(0.1) ? Errno.io : good);
      continue;
    }
    if (random.chance(0.2)) {
      flying.push(log.beginSync(random.chance(0.9) ? file : file + 1));
      continue;
    }
    const length = random.range(1, 4);
    const first = random.below(sectors - length + 1);
    const overlaps = flying.some(
      (other) =>
        "length" in other &&
        other.fileAt < (first + length) * sectorSize &&
        other.fileAt + other.length > first * sectorSize,
    );
    if (overlaps) continue;
    const owner = random.chance(0.9) ? file : file + 1;
    const bytes = data(log.writes.length, length);
    flying.push(log.beginWrite(owner, first * sectorSize, bytes, random.chance(0.4)));
  }
  return log;
}

test("an image shows, per sector, a write that the definition allows", () => {
  const sectors = 12;
  for (let seed = 1; seed <= 60; seed += 1) {
    const random = new Prng(seed);
    const log = randomLog(random, sectors, 150);
    expect(log.writes.length).toBeLessThan(254);
    const base = new BaseImage(sectors * sectorSize);
    const images = new CrashImages(log, file, base);
    for (let point = 0; point <= log.position; point += random.range(0, 6)) {
      const bytes = images.build(point, random).toBytes();
      for (let sector = 0; sector < sectors; sector += 1) {
        expect(candidates(log, sector, point)).toContain(shown(bytes, sector));
      }
      if (point === log.position) break;
    }
  }
});

test("every write that the definition allows is shown by some image", () => {
  const sectors = 6;
  const random = new Prng(7);
  let ambiguous = 0;
  for (let seed = 1; seed <= 8; seed += 1) {
    const log = randomLog(new Prng(seed), sectors, 60);
    const base = new BaseImage(sectors * sectorSize);
    for (let point = 10; point <= log.position; point += 10) {
      const seen = Array.from({ length: sectors }, () => new Set<number>());
      for (let draw = 0; draw < 300; draw += 1) {
        const image = buildCrashImage(log, file, point, random, base);
        for (let sector = 0; sector < sectors; sector += 1) {
          seen[sector]!.add(image.seen[sector] as number);
        }
      }
      for (let sector = 0; sector < sectors; sector += 1) {
        const allowed = candidates(log, sector, point);
        if (allowed.size > 1) ambiguous += 1;
        expect(seen[sector]).toEqual(allowed);
      }
    }
  }
  expect(ambiguous).toBeGreaterThan(50);
});

test("one write is kept, lost, cut and riddled; two are lost in either order", () => {
  const log = new IoLog();
  log.beginWrite(file, 0, data(0, 4), true);
  log.beginWrite(file, 4 * sectorSize, data(1, 4), true);
  const base = new BaseImage(8 * sectorSize);
  const random = new Prng(1);
  const patterns = new Set<string>();
  for (let draw = 0; draw < 500; draw += 1) {
    const image = buildCrashImage(log, file, log.position, random, base);
    patterns.add(Array.from(image.seen, (number) => (number < 0 ? "." : number)).join(""));
  }
  for (const pattern of ["0000....", "....1111", "........", "00001111", "00......"]) {
    expect(patterns).toContain(pattern);
  }
  expect([...patterns].some((pattern) => pattern.startsWith(".0"))).toBe(true);
});

test("images rest on the base, and later writes take its place", () => {
  const base = new BaseImage(4 * sectorSize);
  base.set(0, new Uint8Array(3 * sectorSize).fill(200));
  const log = new IoLog();
  const write = log.beginWrite(file, sectorSize, new Uint8Array(sectorSize), true);
  log.end(write, sectorSize);
  const image = buildCrashImage(log, file, log.position, new Prng(1), base);
  const bytes = image.toBytes();
  const firsts = [0, 1, 2, 3].map((sector) => bytes[sector * sectorSize]);
  expect(firsts).toEqual([200, 0, 200, 0]);
});

test("files hold their images, sparsely", () => {
  const directory = mkdtempSync(join(tmpdir(), "pacioli-crash-"));
  try {
    const sectors = 4096;
    const random = new Prng(3);
    const base = new BaseImage(sectors * sectorSize);
    base.set(0, new Uint8Array(2 * sectorSize).fill(77));
    base.set((sectors - 1) * sectorSize, new Uint8Array(sectorSize).fill(78));
    const log = randomLog(random, 40, 200);
    const image = buildCrashImage(log, file, 150, random, base);
    const path = join(directory, "image");
    // What an earlier image left must not shine through.
    writeFileSync(path, new Uint8Array(100 * sectorSize).fill(9));
    image.writeTo(path);
    expect(Buffer.compare(readFileSync(path), image.toBytes())).toBe(0);
    expect(statSync(path).blocks * 512).toBeLessThan(64 * sectorSize);
    const again = BaseImage.fromFile(path, base.sizeBytes);
    const copy = buildCrashImage(new IoLog(), file, 0, random, again);
    expect(Buffer.compare(copy.toBytes(), image.toBytes())).toBe(0);
  } finally {
    rmSync(directory, { recursive: true });
  }
});

test("a recorded run ends in the image that the file holds", async () => {
  const directory = mkdtempSync(join(tmpdir(), "pacioli-crash-"));
  const path = join(directory, "file");
  const sectors = 64;
  writeFileSync(path, new Uint8Array(sectors * sectorSize).fill(5));
  const base = BaseImage.fromFile(path, sectors * sectorSize);
  const fd = openSync(path, "r+");
  const log = new IoLog();
  const io = new RecordingIo(new PortableIo(), log);
  const buffer = io.allocate(8 * sectorSize);
  const random = new Prng(11);
  io.start(() => {});
  const run = (begin: (completion: Completion) => void): Promise<number> =>
    new Promise((resolve) => begin(new Completion((done) => resolve(done.result))));
  const acknowledged: { point: number; at: number; value: number }[] = [];
  for (let round = 0; round < 60; round += 1) {
    const length = random.range(1, 4);
    const at = random.below(sectors - length);
    const value = 10 + round;
    buffer.bytes.fill(value);
    const durable = random.chance(0.5);
    const size = length * sectorSize;
    expect(await run((c) => io.write(c, fd, buffer, 0, size, at * sectorSize, durable))).toBe(size);
    if (durable) acknowledged.push({ point: log.position, at, value });
    if (random.chance(0.1)) expect(await run((c) => io.sync(c, fd))).toBe(0);
  }
  expect(await run((c) => io.sync(c, fd))).toBe(0);
  await new Promise<void>((resolve) => io.stop(resolve));
  closeSync(fd);

  const image = buildCrashImage(log, fd, log.position, random, base);
  expect(Buffer.compare(image.toBytes(), readFileSync(path))).toBe(0);
  // At every acknowledgement, what it was for is in the image.
  const images = new CrashImages(log, fd, base);
  for (const { point, at, value } of acknowledged) {
    expect(images.build(point, random).toBytes()[at * sectorSize]).toBe(value);
  }
  rmSync(directory, { recursive: true });
});

test("two writes in flight to one sector are a bug", () => {
  const io = new RecordingIo(new PortableIo(), new IoLog());
  const buffer = io.allocate(4 * sectorSize);
  const completion = (): Completion => new Completion(() => {});
  io.write(completion(), 1_000_000, buffer, 0, 2 * sectorSize, 0, true);
  io.write(completion(), 1_000_000, buffer, 0, sectorSize, 2 * sectorSize, true);
  io.write(completion(), 1_000_001, buffer, 0, sectorSize, 0, true);
  expect(() =>
    io.write(completion(), 1_000_000, buffer, 0, 2 * sectorSize, sectorSize, true),
  ).toThrow("no two writes");
});

test("faults end operations in a later turn, and nothing is done", async () => {
  const directory = mkdtempSync(join(tmpdir(), "pacioli-crash-"));
  const path = join(directory, "file");
  writeFileSync(path, new Uint8Array(sectorSize));
  const fd = openSync(path, "r+");
  const log = new IoLog();
  const io = new RecordingIo(new PortableIo(), log, {
    ...noFaults,
    onRead: (_file, fileAt) => (fileAt === 0 ? Errno.io : 0),
    onWrite: () => Errno.noSpace,
    onSync: () => Errno.io,
  });
  io.start(() => {});
  const buffer = io.allocate(sectorSize);
  buffer.bytes.fill(1);
  const results: number[] = [];
  await new Promise<void>((resolve) => {
    const ended = new Completion((done) => {
      results.push(done.result);
      if (results.length === 1) io.sync(ended, fd);
      else if (results.length === 2) io.read(ended, fd, buffer, 0, sectorSize, 0);
      else resolve();
    });
    io.write(ended, fd, buffer, 0, sectorSize, 0, true);
    expect(ended.busy).toBe(true);
  });
  expect(results).toEqual([Errno.noSpace, Errno.io, Errno.io]);
  expect(log.writes[0]).toMatchObject({ result: Errno.noSpace, begunAt: 0, endedAt: 1 });
  expect(log.syncs[0]).toMatchObject({ result: Errno.io, begunAt: 2, endedAt: 3 });
  expect(readFileSync(path).every((byte) => byte === 0)).toBe(true);
  await new Promise<void>((resolve) => io.stop(resolve));
  closeSync(fd);
  rmSync(directory, { recursive: true });
});
