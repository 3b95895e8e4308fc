import { describe, expect, test } from "vitest";
import { blockSize } from "../../src/core/limits.ts";
import { Prng } from "../../src/core/prng.ts";
import { type Completion, Errno } from "../../src/io/io.ts";
import { StorageEngine } from "../../src/storage/engine.ts";
import { IntegrityCheck } from "../../src/storage/integrity-check.ts";
import { FatalCode } from "../../src/storage/options.ts";
import { Scrubber } from "../../src/storage/scrubber.ts";
import { clusterId, type Load, type Machine, World } from "./world.ts";

const load: Load = { seed: 11, interval: 4, rowsMax: 1200, touchesMax: 30, accountsMax: 600 };
const machine: Machine = {
  seed: 3,
  cacheBytes: 0,
  pageCopyBytes: 1 << 20,
  recentBlocks: 0,
  ticksMax: 3,
};

/** Several checkpoints, the last of them durable, nothing in flight. */
function settled(): World {
  const world = new World(load, machine);
  while (world.op < 12) world.step();
  world.finishCheckpoint();
  world.file.settle();
  return world;
}

describe("a flipped bit", () => {
  test("is found in every live block, and named", () => {
    const world = settled();
    const random = new Prng(1);
    const addresses = world.liveAddresses();
    expect(addresses.length).toBeGreaterThan(30);
    const kinds = new Set<string>();
    for (const address of addresses) {
      const at = world.engine.grid.fileOffset(address) + random.below(blockSize);
      const bit = random.below(8);
      world.file.flipBit(at, bit);
      const report = world.integrity();
      expect(report.damaged.map((block) => block.address)).toEqual([address]);
      const [block] = report.damaged;
      expect(block?.name).toMatch(new RegExp(`^grid block ${address} \\(.+\\)$`));
      expect(block?.reason).toMatch(/^checksum mismatch/);
      kinds.add(block!.name.replace(/^grid block \d+ \(|[\d–]+|\)$/g, "").trim());
      world.file.flipBit(at, bit);
    }
    expect([...kinds].sort()).toMatchInlineSnapshot(`
      [
        "accounts index of pages",
        "accounts rows  and other pages",
        "balances index of blocks",
        "balances last rows",
        "balances rows",
        "expiries index of blocks",
        "expiries last rows",
        "expiries rows",
        "failed ids last rows",
        "free set part",
        "manifest part",
        "pending status index of pages",
        "trailer  part",
        "transfer ids, run block",
        "transfer ids, run filters",
        "transfer ids, run references part",
        "transfers by code, run block",
        "transfers by code, run references part",
        "transfers by ledger, run block",
        "transfers by ledger, run references part",
        "transfers by user_data_, run block",
        "transfers by user_data_, run references part",
        "transfers index of blocks",
        "transfers last rows",
        "transfers of accounts, run block",
        "transfers of accounts, run references part",
        "transfers rows",
      ]
    `);
  });

  test("in what a start needs stops the start, with the block's name", () => {
    const world = settled();
    const part = world.engine.state.append[0]!;
    const address = part.tailRef[0]!;
    world.file.flipBit(world.engine.grid.fileOffset(address) + 300, 3);
    expect(world.openError({})).toBe(
      `grid block ${address} (transfers last rows ${part.fullBlocks * 510}–${part.rows - 1}): ` +
        "checksum mismatch.",
    );
    expect(world.damaged.map((block) => block.address)).toEqual([address]);
  });

  test("in a block of rows is reported, and the rows are never delivered", () => {
    const world = settled();
    world.reopen(); // Nothing is in memory now.
    const table = world.engine.transfers;
    const address = table.refs.address(1);
    world.file.flipBit(world.engine.grid.fileOffset(address) + 5000, 0);
    const target = new Uint32Array(3 * table.rowWords);
    let delivered = false;
    const rows = Uint32Array.of(3, 600, 1025);
    expect(world.engine.fetch(table, rows, 3, target, () => (delivered = true))).toBe(false);
    while (world.file.tick());
    expect(delivered).toBe(false);
    expect(target.subarray(32, 64).every((word) => word === 0)).toBe(true);
    expect(world.damaged.map((block) => block.name)).toEqual([
      `grid block ${address} (transfers rows 510–1019)`,
    ]);
  });
});

test("a read that a stopping backend cancels is no verdict on its block", () => {
  const world = settled();
  const options = world.options();
  let reads = 0;
  const io = {
    allocate: (size: number) => options.io.allocate(size),
    write: options.io.write.bind(options.io),
    sync: options.io.sync.bind(options.io),
    read: (completion: Completion) => {
      reads += 1;
      completion.result = Errno.canceled;
      canceled.push(completion);
    },
  };
  const canceled: Completion[] = [];
  let called = false;
  new StorageEngine({ ...options, io }).open(world.durable.root, () => {
    called = true;
  });
  const begun = reads;
  expect(begun).toBeGreaterThan(0);
  for (const completion of canceled.splice(0)) completion.onDone(completion);
  expect(reads).toBe(begun); // Nothing more is asked of it.
  expect(called).toBe(false);
  expect(world.damaged).toEqual([]);
});

describe("sound blocks in the wrong place", () => {
  test("a misdirected write is found", () => {
    const world = settled();
    const { grid, transfers, balances } = world.engine;
    const [from, to] = [transfers.refs.address(0), balances.refs.address(0)];
    world.file.copyWithin(grid.fileOffset(from), grid.fileOffset(to), blockSize);
    const [block] = world.integrity().damaged;
    expect(block?.name).toBe(`grid block ${to} (balances rows 0–509)`);
    expect(block?.reason).toBe(`holds block ${from}: a misdirected write or read`);
  });

  test("a lost write is found", () => {
    const world = settled();
    const { grid } = world.engine;
    const before = new Map<number, Uint8Array>();
    for (const address of world.liveAddresses()) {
      before.set(address, world.file.content(grid.fileOffset(address), blockSize));
    }
    // Two checkpoints on, released blocks are in use again, with other content.
    for (let op = 0; op < 8; op += 1) world.step();
    world.finishCheckpoint();
    world.file.settle();
    let lost = 0;
    for (const address of world.liveAddresses()) {
      const now = world.file.content(grid.fileOffset(address), blockSize);
      const old = before.get(address);
      if (old === undefined || Buffer.compare(old, now) === 0) continue;
      lost += 1;
      world.file.restore(grid.fileOffset(address), old);
      const [block] = world.integrity().damaged;
      expect(block?.address).toBe(address);
      expect(block?.reason).toBe("holds another version of this block: a lost write");
      world.file.restore(grid.fileOffset(address), now);
    }
    expect(lost).toBeGreaterThan(0);
  });

  test("a block of another cluster is refused", () => {
    const world = settled();
    const options = { ...world.options(), cluster: clusterId.map((word) => word + 1) };
    const check = new IntegrityCheck(options, world.durable.root);
    const reasons: string[] = [];
    check.run(
      () => {},
      (report) => reasons.push(...report.damaged.map((block) => block.reason)),
    );
    while (world.file.tick());
    expect(reasons).toEqual(["belongs to another cluster"]);
  });
});

describe("a root that cannot be used", () => {
  test.each([
    [
      0,
      1,
      "the superblock does not refer to a storage checkpoint: this is a bug, please report it.",
    ],
    [
      1,
      9,
      "the checkpoint has format version 9; this release reads 1: start the version that wrote it.",
    ],
    [
      4,
      4096,
      "the grid has blocks of 4096 bytes; this release reads blocks of 65536: start the version that wrote it.",
    ],
  ])("word %i is %i", (word, value, sentence) => {
    const world = settled();
    const root = world.durable.root.slice();
    root[word] = value;
    expect(world.openError({}, root)).toBe(sentence);
  });

  test("a manifest reference that names no sound block", () => {
    const world = settled();
    const root = world.durable.root.slice();
    root[8] = root[8]! ^ 1;
    expect(world.openError({}, root)).toMatch(/^grid block \d+ \(manifest part 0\): holds another/);
    root[7] = 1_000_000;
    expect(world.openError({}, root)).toMatch(
      /^grid block 1000000 \(manifest part 0\): read error/,
    );
  });

  test("a grid limit below what the checkpoint uses", () => {
    const world = new World(load, machine);
    while (world.op < 12) world.step();
    world.finishCheckpoint();
    const options = { ...world.options(), gridBlocksMax: 20 };
    let error: string | null = null;
    new StorageEngine(options).open(world.durable.root, (result) => {
      error = result;
    });
    while (world.file.tick());
    expect(error).toMatch(/uses more blocks than the grid limit allows/);
  });
});

describe("fatal errors", () => {
  function runUntilFatal(world: World): { text: string; code: FatalCode } {
    for (let op = 0; world.fatal.length === 0; op += 1) {
      expect(op).toBeLessThan(200);
      world.step();
    }
    const writes = world.file.writes;
    while (world.file.tick());
    // What was in flight ends; nothing is started after it, and nobody is told twice.
    expect(world.file.writes - writes).toBeLessThanOrEqual(32);
    expect(world.fatal.length).toBe(1);
    return world.fatal[0]!;
  }

  test("a failed write is not tried again", () => {
    const world = new World(load, machine);
    world.file.writesUntilError = 20;
    const { code, text } = runUntilFatal(world);
    expect(code).toBe(FatalCode.writeFailed);
    expect(text).toMatch(/^writing grid block \d+ failed \(errno 5\)/);
  });

  test("no space left", () => {
    const world = new World(load, machine);
    world.file.writesUntilError = 20;
    world.file.writeError = -28;
    const { code, text } = runUntilFatal(world);
    expect(code).toBe(FatalCode.diskFull);
    expect(text).toMatch(/^no space left on the file system while writing grid block \d+\. Free/);
  });

  test("a failed sync is not trusted", () => {
    const world = new World(load, machine);
    world.file.syncError = -5;
    expect(runUntilFatal(world).code).toBe(FatalCode.syncFailed);
    expect(world.durable.op).toBe(0);
  });

  test("a full grid, met by an op or by a freeze", () => {
    const codes = new Set<string>();
    for (let blocks = 40; blocks < 100; blocks += 4) {
      const world = new World(load, machine, { gridBlocksMax: blocks });
      const { code, text } = runUntilFatal(world);
      expect(code).toBe(FatalCode.gridFull);
      expect(text).toMatch(/^the grid is full: \d+ more blocks are needed and \d+ of \d+ are left/);
      codes.add(world.op % load.interval === 0 ? "freeze" : "op");
      const op = world.op;
      world.crash(); // The durable checkpoint is as it was; the replay says the same again.
      expect(world.op).toBe(op);
      expect(world.fatal.map((fatal) => fatal.text)).toEqual([text]);
    }
    expect([...codes].sort()).toEqual(["freeze", "op"]);
  });
});

describe("growing the file", () => {
  test("no write goes beyond what was allocated", () => {
    const asked: number[] = [];
    const pending: (() => void)[] = [];
    const world: World = new World(load, machine, {
      extend: (gridBytes, onDone) => {
        asked.push(gridBytes);
        pending.push(() => {
          world.file.extend(8192 + gridBytes);
          onDone(0);
        });
      },
    });
    world.file.fixedLength = true;
    world.file.onIdle = () => {
      const next = pending.shift();
      next?.();
      return next !== undefined;
    };
    while (world.op < 60) world.step();
    expect(asked.length).toBeGreaterThanOrEqual(2);
    for (const bytes of asked) expect(bytes % (16 << 20)).toBe(0);
    world.checkAll();
  });

  test("no room to grow is fatal, with a sentence", () => {
    const world: World = new World(load, machine, {
      extend: (_gridBytes, onDone) => {
        world.file.onIdle = () => {
          world.file.onIdle = () => false;
          onDone(-28);
          return true;
        };
      },
    });
    while (world.fatal.length === 0) world.step();
    expect(world.fatal[0]?.code).toBe(FatalCode.diskFull);
    expect(world.fatal[0]?.text).toMatch(
      /^no space left on the file system while growing the grid/,
    );
  });
});

describe("the scrubber", () => {
  test("finds no fault while ops and freezes go on, and comes round", () => {
    const world = new World(load, machine);
    const found: string[] = [];
    const scrubber = new Scrubber(world.engine, (block) => found.push(block.name));
    for (let op = 0; op < 60; op += 1) {
      world.step();
      for (let tick = 0; tick < 12; tick += 1) {
        scrubber.tick();
        if (tick % 3 === 0) world.file.tick();
      }
    }
    for (let tick = 0; tick < 2000 && scrubber.cycles < 2; tick += 1) {
      scrubber.tick();
      world.file.tick();
    }
    expect(found).toEqual([]);
    expect(scrubber.cycles).toBeGreaterThanOrEqual(2);
    expect(scrubber.blocksRead).toBeGreaterThan(100);
  });

  test("finds a flipped bit in every live block in one cycle", () => {
    const world = settled();
    const addresses = world.liveAddresses();
    for (const address of addresses) {
      world.file.flipBit(world.engine.grid.fileOffset(address) + (address % blockSize), 5);
    }
    const found = new Set<number>();
    const scrubber = new Scrubber(world.engine, (block) => found.add(block.address));
    while (scrubber.cycles === 0) {
      scrubber.tick();
      while (world.file.tick());
    }
    expect([...found].sort((a, b) => a - b)).toEqual(addresses.sort((a, b) => a - b));
  });

  test("begins where it is told, and comes round to the rest", () => {
    const world = settled();
    const addresses = world.liveAddresses();
    const [first] = addresses;
    world.file.flipBit(world.engine.grid.fileOffset(first!) + 300, 1);
    const found: number[] = [];
    const scrubber = new Scrubber(world.engine, (block) => found.push(block.address));
    expect(scrubber.blocks).toBe(addresses.length);
    scrubber.skip(addresses.length - 3);
    const run = (cycles: number): void => {
      while (scrubber.cycles < cycles) {
        scrubber.tick();
        while (world.file.tick());
      }
    };
    run(1);
    expect([scrubber.blocksRead, found]).toEqual([3, []]);
    run(2);
    expect([scrubber.blocksRead, found]).toEqual([2 + addresses.length, [first]]);
  });
});
