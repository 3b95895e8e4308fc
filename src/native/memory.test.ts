import { closeSync, constants, mkdtempSync, openSync, readSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { addonAbsence } from "./addon.ts";
import {
  allocateLarge,
  allocatePages,
  allocatePortable,
  commitPages,
  type PageMemory,
} from "./memory.ts";

const switchedOff = process.env["PACIOLI_NO_ADDON"] === "1";

test("the addon is built where the tests run", () => {
  expect(addonAbsence() === null).toBe(!switchedOff);
});

describe.each([
  ["native", allocatePages],
  ["large", allocateLarge],
  ["portable", allocatePortable],
])("%s", (name, allocate) => {
  test("memory has its size, is zeroed and shared by both views", () => {
    for (const size of [4, 4096, 4100, 1024 * 1024, 20 * 1024 * 1024]) {
      const memory = allocate(size);
      expect(memory.sizeBytes).toBe(size);
      expect(memory.bytes.length).toBe(size);
      expect(memory.words.length).toBe(size / 4);
      expect(memory.bytes[0]).toBe(0);
      expect(memory.bytes[size - 1]).toBe(0);
      memory.words[size / 4 - 1] = 0x0403_0201;
      expect([...memory.bytes.subarray(size - 4)]).toEqual([1, 2, 3, 4]);
      expect(memory.id >= 0).toBe(name !== "portable" && !switchedOff);
    }
  });

  test("buffers do not overlap", () => {
    const buffers: PageMemory[] = [];
    for (let index = 0; index < 20; index += 1) {
      const memory = allocate(4096 + 4 * index);
      memory.bytes.fill(index + 1);
      buffers.push(memory);
    }
    buffers.forEach((memory, index) => {
      expect(memory.bytes.every((byte) => byte === index + 1)).toBe(true);
    });
  });

  test("Direct I/O takes the memory", () => {
    const folder = mkdtempSync(join(tmpdir(), "pacioli-memory-"));
    try {
      const path = join(folder, "file");
      const fd = openSync(path, constants.O_RDWR | constants.O_CREAT | constants.O_DIRECT);
      allocate(12); // So that what follows is not first in its region.
      const memory = allocate(8192);
      memory.bytes.fill(7);
      expect(writeSync(fd, memory.bytes, 0, 8192, 0)).toBe(8192);
      const back = allocate(4096);
      expect(readSync(fd, back.bytes, 0, 4096, 4096)).toBe(4096);
      expect(back.bytes.every((byte) => byte === 7)).toBe(true);
      closeSync(fd);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});

test("sizes without sense are refused", () => {
  for (const size of [0, -4, 6, 1.5, Number.NaN]) expect(() => allocatePages(size)).toThrow();
});

test("memory that nobody can give is an error with a code", () => {
  const refused = { code: "ERR_NO_MEMORY", message: expect.stringMatching(/^5368709120 bytes/) };
  expect(() => allocatePortable(5 * 1024 ** 3)).toThrow(expect.objectContaining(refused));
  for (const allocate of [allocatePages, allocateLarge]) {
    expect(() => allocate(2 ** 52)).toThrow(expect.objectContaining({ code: "ERR_NO_MEMORY" }));
  }
});

test("pages are committed in another thread, and keep what is in them", async () => {
  const memory = allocateLarge(16 * 1024 * 1024);
  memory.words[5] = 7;
  let done = false;
  commitPages(memory, 0, memory.sizeBytes, () => {
    done = true;
  });
  let written = 0;
  while (!done && written < 2000) {
    for (let page = 0; page < memory.words.length; page += 1024) memory.words[page] += 1;
    written += 1;
    await new Promise((resolve) => setImmediate(resolve));
  }
  // Without the addon nothing is done, and nobody is called.
  expect(done).toBe(!switchedOff);
  expect(memory.words[5]).toBe(7);
  for (let page = 0; page < memory.words.length; page += 1024) {
    expect(memory.words[page]).toBe(written);
  }
});

test("committing pages outside of the memory is a bug", () => {
  const memory = allocateLarge(8192);
  expect(() => commitPages(memory, 4096, 8192, () => {})).toThrow("lie in the memory");
});
