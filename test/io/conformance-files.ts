/** Conformance of a backend's file operations. */
import { execFileSync } from "node:child_process";
import { fstatSync, readSync } from "node:fs";
import { expect, test } from "vitest";
import { Errno } from "../../src/io/io.ts";
import { type Drive, fillPattern, type MakeIo, matches, pattern, withDrive } from "./drive.ts";

const KiB = 1024;
const MiB = 1024 * KiB;
const badHandle = -9;
const fileTooBig = -27;

/** Open files with Direct I/O, where the system has it, and without. */
const directModes = process.platform === "linux" ? [true, false] : [false];

export function fileConformance(make: MakeIo): void {
  for (const direct of directModes) {
    const how = direct ? "Direct I/O" : "buffered";

    test(`writes, reads back and closes (${how})`, () =>
      withDrive(make, async (drive) => {
        const file = drive.openFile(MiB, direct);
        const buffer = drive.io.allocate(64 * KiB);
        fillPattern(buffer.bytes, 1);
        const expected = buffer.bytes.slice(8 * KiB, 24 * KiB);
        expect(await drive.write(file, buffer, 8 * KiB, 16 * KiB, 256 * KiB, false)).toBe(16 * KiB);
        buffer.bytes.fill(0);
        expect(await drive.read(file, buffer, 32 * KiB, 16 * KiB, 256 * KiB)).toBe(16 * KiB);
        expect(matches(buffer.bytes, 32 * KiB, expected)).toBe(true);
        expect(matches(buffer.bytes, 0, new Uint8Array(32 * KiB))).toBe(true);
        expect(matches(buffer.bytes, 48 * KiB, new Uint8Array(16 * KiB))).toBe(true);
        // The neighbours in the file are untouched.
        expect(await drive.read(file, buffer, 0, 4 * KiB, 252 * KiB)).toBe(4 * KiB);
        expect(await drive.read(file, buffer, 4 * KiB, 4 * KiB, 272 * KiB)).toBe(4 * KiB);
        expect(matches(buffer.bytes, 0, new Uint8Array(8 * KiB))).toBe(true);
        drive.closeFile(file);
      }));

    test(`durable writes, one and many at once (${how})`, () =>
      withDrive(make, async (drive) => {
        const count = 64;
        const file = drive.openFile(MiB, direct);
        const buffer = drive.io.allocate(count * 4 * KiB);
        fillPattern(buffer.bytes, 2);
        expect(await drive.write(file, buffer, 0, 4 * KiB, 0, true)).toBe(4 * KiB);
        const writes: Promise<number>[] = [];
        for (let at = 0; at < count; at += 1) {
          writes.push(drive.write(file, buffer, at * 4 * KiB, 4 * KiB, at * 4 * KiB, at % 4 !== 3));
        }
        for (const written of await Promise.all(writes)) expect(written).toBe(4 * KiB);
        const again = drive.io.allocate(buffer.sizeBytes);
        expect(await drive.read(file, again, 0, again.sizeBytes, 0)).toBe(again.sizeBytes);
        expect(matches(again.bytes, 0, buffer.bytes)).toBe(true);
      }));

    test(`sync after writes and while others run (${how})`, () =>
      withDrive(make, async (drive) => {
        const file = drive.openFile(MiB, direct);
        const buffer = drive.io.allocate(16 * KiB);
        fillPattern(buffer.bytes, 3);
        expect(await drive.sync(file)).toBe(0);
        expect(await drive.write(file, buffer, 0, 4 * KiB, 0, false)).toBe(4 * KiB);
        const results = await Promise.all([
          drive.sync(file),
          drive.write(file, buffer, 4 * KiB, 4 * KiB, 4 * KiB, false),
          drive.sync(file),
          drive.write(file, buffer, 8 * KiB, 4 * KiB, 8 * KiB, true),
        ]);
        expect(results).toEqual([0, 4 * KiB, 0, 4 * KiB]);
      }));

    test(`moves 8 MiB in one operation (${how})`, () =>
      withDrive(make, async (drive) => {
        const file = drive.openFile(8 * MiB, direct);
        const buffer = drive.io.allocate(8 * MiB);
        fillPattern(buffer.bytes, 4);
        expect(await drive.write(file, buffer, 0, 8 * MiB, 0, true)).toBe(8 * MiB);
        buffer.bytes.fill(0);
        expect(await drive.read(file, buffer, 0, 8 * MiB, 0)).toBe(8 * MiB);
        expect(matches(buffer.bytes, 0, pattern(8 * MiB, 4))).toBe(true);
      }));

    test(`a read beyond the end of the file is −EIO (${how})`, () =>
      withDrive(make, async (drive) => {
        const buffer = drive.io.allocate(32 * KiB);
        const file = drive.openFile(8 * KiB, direct);
        expect(await drive.read(file, buffer, 0, 4 * KiB, 64 * KiB)).toBe(Errno.io);
        expect(await drive.read(file, buffer, 0, 4 * KiB, 8 * KiB)).toBe(Errno.io);
        // Short at first: resumed, and only then found to be beyond the end.
        expect(await drive.read(file, buffer, 0, 16 * KiB, 4 * KiB)).toBe(Errno.io);
        // The end lies inside a sector.
        const uneven = drive.openFile(6000, direct);
        expect(await drive.read(uneven, buffer, 0, 8 * KiB, 0)).toBe(Errno.io);
        expect(await drive.read(uneven, buffer, 0, 4 * KiB, 0)).toBe(4 * KiB);
      }));

    test(`5,000 reads at once, each where it belongs (${how})`, () =>
      withDrive(make, (drive) => manyReads(drive, direct)));

    if (process.platform === "linux") {
      test(`a write cut short is resumed, and then says why (${how})`, () =>
        withDrive(make, (drive) => shortWrite(drive, direct)));
    }
  }

  test("handles that are not open are −EBADF", () =>
    withDrive(make, async (drive) => {
      const buffer = drive.io.allocate(4 * KiB);
      const closed = drive.openFile(4 * KiB, false);
      drive.closeFile(closed);
      for (const handle of [closed, -1, 1_000_000]) {
        expect(await drive.read(handle, buffer, 0, 4 * KiB, 0)).toBe(badHandle);
        expect(await drive.write(handle, buffer, 0, 4 * KiB, 0, false)).toBe(badHandle);
        expect(await drive.write(handle, buffer, 0, 4 * KiB, 0, true)).toBe(badHandle);
        expect(await drive.sync(handle)).toBe(badHandle);
      }
      // A number that was closed serves again once it is opened again.
      const reopened = drive.openFile(4 * KiB, false);
      expect(await drive.write(reopened, buffer, 0, 4 * KiB, 0, true)).toBe(4 * KiB);
      expect(await drive.sync(reopened)).toBe(0);
    }));

  test("buffers are page-aligned, zeroed and apart", () =>
    withDrive(make, async (drive) => {
      const buffers = [4 * KiB, 100, 64 * KiB, MiB, 4 * KiB].map((size) => drive.io.allocate(size));
      for (const [index, buffer] of buffers.entries()) {
        expect(buffer.sizeBytes).toBe([4 * KiB, 100, 64 * KiB, MiB, 4 * KiB][index]);
        expect(buffer.bytes.length).toBe(buffer.sizeBytes);
        expect(buffer.words.length).toBe(Math.floor(buffer.sizeBytes / 4));
        expect(buffer.bytes.every((byte) => byte === 0)).toBe(true);
        buffer.bytes.fill(index + 1);
      }
      for (const [index, buffer] of buffers.entries()) {
        expect(buffer.bytes.every((byte) => byte === index + 1)).toBe(true);
        expect(buffer.words[0]).toBe((index + 1) * 0x0101_0101);
      }
    }));

  if (process.platform === "linux") {
    test("misaligned Direct I/O is refused with −EINVAL", () =>
      withDrive(make, async (drive) => {
        const file = drive.openFile(64 * KiB, true);
        const buffer = drive.io.allocate(16 * KiB);
        fillPattern(buffer.bytes, 5);
        // Over blocks that are written: a kernel may serve holes whatever the alignment.
        expect(await drive.write(file, buffer, 0, 16 * KiB, 0, true)).toBe(16 * KiB);
        expect(await drive.read(file, buffer, 0, 4 * KiB, 1)).toBe(Errno.invalid);
        expect(await drive.read(file, buffer, 1, 4 * KiB, 0)).toBe(Errno.invalid);
        expect(await drive.read(file, buffer, 0, 100, 0)).toBe(Errno.invalid);
        for (const durable of [false, true]) {
          expect(await drive.write(file, buffer, 0, 4 * KiB, 1, durable)).toBe(Errno.invalid);
          expect(await drive.write(file, buffer, 1, 4 * KiB, 0, durable)).toBe(Errno.invalid);
          expect(await drive.write(file, buffer, 0, 100, 0, durable)).toBe(Errno.invalid);
        }
        // Nothing was written, and the file still serves.
        buffer.bytes.fill(0);
        expect(await drive.read(file, buffer, 0, 16 * KiB, 0)).toBe(16 * KiB);
        expect(matches(buffer.bytes, 0, pattern(16 * KiB, 5))).toBe(true);
        expect(await drive.write(file, buffer, 0, 4 * KiB, 0, true)).toBe(4 * KiB);
      }));
  }
}

async function manyReads(drive: Drive, direct: boolean): Promise<void> {
  const count = 5000;
  const sectors = 32;
  const file = drive.openFile(sectors * 4 * KiB, direct);
  const source = drive.io.allocate(sectors * 4 * KiB);
  fillPattern(source.bytes, 6);
  expect(await drive.write(file, source, 0, source.sizeBytes, 0, false)).toBe(source.sizeBytes);
  const target = drive.io.allocate(count * 4 * KiB);
  const reads: Promise<number>[] = [];
  for (let at = 0; at < count; at += 1) {
    reads.push(drive.read(file, target, at * 4 * KiB, 4 * KiB, ((at * 7) % sectors) * 4 * KiB));
  }
  expect(drive.io.stats.inFlight).toBe(count);
  const results = await Promise.all(reads);
  expect(results.every((result) => result === 4 * KiB)).toBe(true);
  for (let at = 0; at < count; at += 1) {
    const sector = ((at * 7) % sectors) * 4 * KiB;
    const expected = source.bytes.subarray(sector, sector + 4 * KiB);
    expect(matches(target.bytes, at * 4 * KiB, expected)).toBe(true);
  }
  expect(drive.io.stats.inFlight).toBe(0);
  expect(drive.io.stats.inFlightMax).toBeGreaterThanOrEqual(count);
}

/** The kernel cuts a write at the process's limit of file sizes, and refuses the rest. */
async function shortWrite(drive: Drive, direct: boolean): Promise<void> {
  const limit = 40 * KiB;
  const file = drive.openFile(0, direct);
  const buffer = drive.io.allocate(64 * KiB);
  fillPattern(buffer.bytes, 7);
  const setLimit = (softLimit: string): void => {
    execFileSync("prlimit", [`--pid=${process.pid}`, `--fsize=${softLimit}:`]);
  };
  const onSignal = (): void => {};
  process.on("SIGXFSZ", onSignal);
  setLimit(String(limit));
  try {
    expect(await drive.write(file, buffer, 0, 64 * KiB, 0, true)).toBe(fileTooBig);
  } finally {
    setLimit("unlimited");
    process.removeListener("SIGXFSZ", onSignal);
  }
  expect(fstatSync(file).size).toBe(limit);
  const start = drive.io.allocate(limit);
  expect(readSync(file, start.bytes, 0, limit, 0)).toBe(limit);
  expect(matches(start.bytes, 0, buffer.bytes.slice(0, limit))).toBe(true);
  expect(await drive.write(file, buffer, 0, 64 * KiB, 0, true)).toBe(64 * KiB);
}
