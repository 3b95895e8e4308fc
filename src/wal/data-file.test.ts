import { describe, expect, test } from "vitest";
import { pipelinePrepareMax } from "../core/limits.ts";
import {
  checkFormatOptions,
  DataFileLayout,
  defaultPreset,
  developmentPreset,
  type FormatOptions,
  superblockCopies,
  u128Text,
} from "./data-file.ts";
import {
  checkSlotHeader,
  Fault,
  headerIntact,
  rootPrepareSize,
  scratchMemory,
  sealMessage,
  writeReservedHeader,
  writeRootPrepare,
} from "./headers.ts";

const who = { cluster: Uint32Array.of(1, 2, 3, 4), replica: 0, replicaCount: 3 };
const standard: FormatOptions = { ...defaultPreset, ...who };
const development: FormatOptions = { ...developmentPreset, ...who };
const mebibyte = 1024 * 1024;

describe("layout", () => {
  test("presets are valid, and as large as documented", () => {
    expect(checkFormatOptions(standard)).toBeNull();
    expect(checkFormatOptions(development)).toBeNull();
    expect(new DataFileLayout(standard).gridAt / mebibyte).toBeCloseTo(1088.3, 1);
    expect(new DataFileLayout(development).fileSize(16) / mebibyte).toBeLessThan(100);
  });

  test("zones follow each other without overlap", () => {
    for (const options of [standard, development]) {
      const layout = new DataFileLayout(options);
      expect(layout.headerRingAt).toBeGreaterThanOrEqual(superblockCopies * 16 * 1024);
      expect(layout.prepareRingAt).toBe(layout.headerRingAt + options.slotCount * 256);
      expect(layout.repliesAt).toBe(layout.prepareRingAt + options.slotCount * mebibyte);
      expect(layout.gridAt).toBeGreaterThanOrEqual(
        layout.repliesAt + options.clientsMax * 256 * 1024,
      );
      expect(layout.gridAt % (64 * 1024)).toBe(0);
      expect(layout.blockAt(1)).toBe(layout.gridAt);
    }
  });

  test("places have names", () => {
    const layout = new DataFileLayout(standard);
    const name = (offset: number): string => layout.describeOffset(offset);
    expect(name(0)).toBe("superblock copy 0");
    expect(name(layout.superblockCopyAt(2) + 8191)).toBe("superblock copy 2");
    expect(name(layout.superblockCopyAt(2) + 8192)).toBe("unused space after superblock copy 2");
    expect(name(layout.headerRingAt + 17 * 256 + 255)).toBe("journal slot 17 (header)");
    expect(name(layout.prepareAt(17))).toBe("journal slot 17 (prepare)");
    expect(name(layout.prepareAt(18) - 1)).toBe("journal slot 17 (prepare)");
    expect(name(layout.replyAt(3) + 1)).toBe("client reply slot 3");
    expect(name(layout.blockAt(12))).toBe("grid block 12");
    expect(name(layout.blockAt(13) - 1)).toBe("grid block 12");
    const gap = new DataFileLayout({ ...development, slotCount: 80 });
    expect(name.call(null, 0)).toBe("superblock copy 0");
    expect(gap.describeOffset(gap.gridAt - 1)).toBe("unused space before the grid");
  });

  test.each([
    [{ slotCount: 1008 - 16 }, "too few"],
    [{ slotCount: 1020 }, "not a multiple of 16"],
    [{ slotCount: 1 << 20 }, "not a multiple of 16 up to"],
    [{ checkpointInterval: 481 }, "not a multiple of the bar"],
    [{ barOps: 0 }, "bar of 0"],
    [{ clientsMax: 4097 }, "4097 clients"],
    [{ clientsMax: 0 }, "0 clients"],
    [{ replicaCount: 7 }, "replica count 7"],
    [{ replica: 9 }, "replica 9 is outside"],
    [{ replica: -1 }, "replica -1 is outside"],
    [{ blockSize: 4096 }, "block size 4096"],
    [{ pageSize: 8192 }, "page size 8192"],
    [{ formatVersion: 2 }, "format version 2"],
    [{ cluster: new Uint32Array(3) }, "not 128 bits"],
  ] as const)("refuses %o", (change, text) => {
    expect(checkFormatOptions({ ...standard, ...change })).toContain(text);
  });

  test("the journal's least size follows from interval, bar and pipeline", () => {
    const least = 2 * 480 + 32 + 2 * pipelinePrepareMax;
    expect(least).toBe(1008);
    expect(checkFormatOptions({ ...standard, slotCount: least })).toBeNull();
  });
});

describe("root prepare", () => {
  const rootOf = (options: FormatOptions): string => {
    const memory = scratchMemory(rootPrepareSize);
    writeRootPrepare(memory, 0, options);
    expect(headerIntact(memory.bytes, 0)).toBe(true);
    expect(checkSlotHeader(memory, 0, options.cluster, 0, options.slotCount)).toBe(Fault.none);
    return u128Text(memory.words, 0);
  };

  test("is the same on all replicas, and differs with every format constant", () => {
    const root = rootOf(standard);
    expect(rootOf({ ...standard, replica: 2 })).toBe(root);
    const changes: Partial<FormatOptions>[] = [
      { cluster: Uint32Array.of(1, 2, 3, 5) },
      { replicaCount: 1 },
      { slotCount: 2048 },
      { checkpointInterval: 448 },
      { barOps: 16 },
      { clientsMax: 128 },
      { blockSize: 1 },
      { pageSize: 1 },
      { formatVersion: 2 },
    ];
    const roots = changes.map((change) => rootOf({ ...standard, ...change }));
    expect(new Set([root, ...roots]).size).toBe(changes.length + 1);
  });
});

describe("headers in slots", () => {
  const memory = scratchMemory(256);
  const check = (slot: number): Fault => checkSlotHeader(memory, 0, who.cluster, slot, 1024);

  test("a reserved header belongs to its slot", () => {
    writeReservedHeader(memory, 0, who.cluster, 5);
    expect(check(5)).toBe(Fault.none);
    expect(check(6)).toBe(Fault.misdirected);
  });

  test("every flipped bit is found", () => {
    writeReservedHeader(memory, 0, who.cluster, 5);
    for (let bit = 0; bit < 256 * 8; bit += 1) {
      memory.bytes[bit >> 3]! ^= 1 << (bit & 7);
      expect(check(5)).not.toBe(Fault.none);
      memory.bytes[bit >> 3]! ^= 1 << (bit & 7);
    }
  });

  test("another cluster, command, size or op is told apart", () => {
    const change = (edit: () => void, fault: Fault): void => {
      writeReservedHeader(memory, 0, who.cluster, 5);
      memory.bytes[252] = 140;
      edit();
      sealMessage(memory.bytes, 0, 256);
      expect(check(5)).toBe(fault);
    };
    change(() => undefined, Fault.none);
    change(() => (memory.words[20] = 9), Fault.cluster);
    change(() => (memory.bytes[114] = 7), Fault.identity);
    change(() => (memory.words[24] = 255), Fault.identity);
    change(() => (memory.words[24] = mebibyte + 1), Fault.identity);
    change(() => (memory.words[57] = 0xffff_ffff), Fault.identity);
    change(() => (memory.words[56] = 1024 + 5), Fault.none);
    change(() => (memory.words[56] = 1024 + 6), Fault.misdirected);
  });

  test("zeros are damage, not an empty slot", () => {
    memory.bytes.fill(0);
    expect(check(0)).toBe(Fault.headerChecksum);
  });
});
