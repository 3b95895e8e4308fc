/** The commands around a real server process: signals, `development`, `benchmark`, `inspect`. */
import { type ChildProcess, type ChildProcessByStdio, spawn } from "node:child_process";
import {
  closeSync,
  copyFileSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { createClient } from "tigerbeetle-node";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  superblockCopies,
  superblockCopySize,
  superblockCopySpacing,
} from "../../src/wal/data-file.ts";
import { scratchMemory } from "../../src/wal/headers.ts";
import { sealSuperblock, superblockLayout } from "../../src/wal/superblock-layout.ts";
import {
  cleanUp,
  format,
  mainScript,
  pacioli,
  ServerProcess,
  temporaryFolder,
} from "../process/server.ts";
import { makeAccount } from "../reference/make.ts";

let folder = "";
beforeAll(() => {
  folder = temporaryFolder();
});
afterAll(cleanUp);

interface Run {
  readonly child: ChildProcess;
  readonly output: { out: string; error: string };
  listening(): Promise<number>;
  readonly ended: Promise<{ code: number | null; signal: NodeJS.Signals | null }>;
}

function launch(...args: string[]): Run {
  return watch(
    spawn(process.execPath, [mainScript, ...args], { stdio: ["ignore", "pipe", "pipe"] }),
  );
}

/** As npm runs a script: a shell in between, which does not pass signals on. */
function launchAsNpm(...args: string[]): Run {
  const command = ['"$0" "$@"; exit $?', process.execPath, mainScript, ...args];
  return watch(
    spawn("sh", ["-c", ...command], {
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...process.env, npm_lifecycle_event: "start" },
    }),
  );
}

function watch(child: ChildProcessByStdio<null, Readable, Readable>): Run {
  const output = { out: "", error: "" };
  child.stdout.on("data", (chunk: Buffer) => {
    output.out += chunk.toString();
  });
  child.stderr.on("data", (chunk: Buffer) => {
    output.error += chunk.toString();
  });
  const ended = new Promise<{ code: number | null; signal: NodeJS.Signals | null }>((resolve) =>
    child.on("close", (code, signal) => resolve({ code, signal })),
  );
  const listening = (): Promise<number> =>
    new Promise((resolve, reject) => {
      const look = (): void => {
        const match = /^listening on 127\.0\.0\.1:(\d+)$/m.exec(output.out);
        if (match !== null) resolve(Number(match[1]));
      };
      child.stdout.on("data", look);
      void ended.then(() => reject(new Error(`ended early: ${output.out}${output.error}`)));
      look();
    });
  return { child, output, listening, ended };
}

describe("a running server", () => {
  test.each(["SIGTERM", "SIGINT"] as const)("%s ends it with exit code 0", async (signal) => {
    const path = join(folder, `${signal}.pacioli`);
    format(path);
    const run = launch("start", "--addresses=0", "--development", path);
    await run.listening();
    run.child.kill(signal);
    // npm passes the terminal's Ctrl-C on a second time; that must not cut the stop short.
    run.child.kill(signal);
    expect(await run.ended).toEqual({ code: 0, signal: null });
    expect(run.output.out).toMatch(/^listening on 127\.0\.0\.1:\d+\n$/);
    expect(run.output.error).toMatch(/info +stopping$/m);
  });

  test("what npm runs is the server's own process", async () => {
    const { scripts } = JSON.parse(readFileSync("package.json", "utf8")) as {
      scripts: { pacioli: string };
    };
    const [node, script, ...rest] = scripts.pacioli.split(" ");
    expect([node, rest]).toEqual(["node", []]);
    const path = join(folder, "script.pacioli");
    format(path);
    const args = [script!, "start", "--addresses=0", "--development", path];
    const run = watch(spawn(process.execPath, args, { stdio: ["ignore", "pipe", "pipe"] }));
    await run.listening();
    run.child.kill("SIGTERM");
    expect(await run.ended).toEqual({ code: 0, signal: null });
  });

  test("stops when npm, which started it, was ended", async () => {
    const path = join(folder, "npm.pacioli");
    format(path);
    const run = launchAsNpm("start", "--addresses=0", "--development", path);
    await run.listening();
    run.child.kill("SIGTERM");
    // The streams close when the last process that holds them, the server, has ended.
    expect((await run.ended).signal).toBe("SIGTERM");
    expect(run.output.error).toMatch(/stopping, since npm has ended/);
    expect(pacioli(["inspect", path]).status).toBe(0);
  });

  test("says nothing on the error stream when told so", async () => {
    const path = join(folder, "silent.pacioli");
    format(path);
    const run = launch("start", "--addresses=0", "--development", "--log-level=error", path);
    await run.listening();
    run.child.kill("SIGTERM");
    expect(await run.ended).toEqual({ code: 0, signal: null });
    expect(run.output.error).toBe("");
  });
});

test("development makes its file, says how to go on, and keeps the file", async () => {
  const path = join(folder, "made", "here", "development.pacioli");
  const first = launch("development", "--port=0", `--file=${path}`);
  const port = await first.listening();
  first.child.kill("SIGTERM");
  expect((await first.ended).code).toBe(0);
  expect(first.output.error).toContain(`formatted '${path}'`);
  expect(first.output.out).toContain(`node examples/first-transfer.mjs ${port}`);

  const second = launch("development", "--port=0", `--file=${path}`);
  await second.listening();
  second.child.kill("SIGTERM");
  expect((await second.ended).code).toBe(0);
  expect(second.output.error).not.toContain("formatted");
});

describe("benchmark", () => {
  test("with a server of its own, which leaves nothing behind", () => {
    const directory = temporaryFolder();
    const result = pacioli([
      "benchmark",
      "--development",
      "--json",
      `--directory=${directory}`,
      "--accounts=100",
      "--transfers=5000",
      "--batch=100",
      "--clients=3",
      "--pending-share=30",
      "--id-order=random",
    ]);
    expect(result.stderr).toBe("");
    expect(result.status).toBe(0);
    const report = JSON.parse(result.stdout) as Record<string, unknown>;
    expect(report["ok"]).toBe(true);
    expect(report["transfers"]).toBe(5000);
    if (process.platform === "linux") {
      expect(report["server"]).toMatchObject({ residentBytesMax: expect.any(Number) });
    }
    expect(readdirSync(directory)).toEqual([]);
  });

  test("says why there is no server", () => {
    const directory = join(folder, "missing");
    const result = pacioli(["benchmark", `--directory=${directory}`]);
    expect(result.status).toBe(1);
    expect(result.stderr).toMatch(
      /^pacioli: no folder for the temporary data file can be made in '.*missing' \(.*\); choose another with --directory\.\n$/,
    );
  });
});

describe("inspect", () => {
  /** Formatted, loaded past several checkpoints, stopped. */
  let loaded = "";

  beforeAll(async () => {
    loaded = join(folder, "loaded.pacioli");
    format(loaded, { cluster: 77n });
    const server = await ServerProcess.start(loaded);
    // A session that ends with a write: its reply is kept.
    const client = createClient({ cluster_id: 77n, replica_addresses: [String(server.port)] });
    await client.createAccounts([makeAccount(1n << 100n)]);
    client.destroy();
    const target = [`--addresses=${server.port}`, "--cluster=77"];
    const load = ["--accounts=500", "--transfers=60000", "--batch=500", "--pending-share=10"];
    const result = pacioli(["benchmark", ...target, ...load]);
    expect(result.stderr).toBe("");
    const refused = pacioli(["inspect", loaded]);
    expect(refused.status).toBe(1);
    expect(refused.stderr).toMatch(/is in use by process \d+;.* stop that one first\.\n$/);
    await server.stop();
  });

  function json(...args: string[]): { status: number | null; value: Record<string, unknown> } {
    const result = pacioli(["inspect", ...args, "--json"]);
    return { status: result.status, value: JSON.parse(result.stdout) as Record<string, unknown> };
  }

  test("a sound file: every topic, as text and as JSON", () => {
    const summary = pacioli(["inspect", loaded]);
    expect(summary.status, summary.stdout).toBe(0);
    expect(summary.stdout).toMatch(/^cluster +77$/m);
    expect(summary.stdout).toMatch(/^accounts +501 rows at the checkpoint$/m);
    expect(summary.stdout).not.toContain("DAMAGE");
    for (const topic of ["superblock", "wal", "replies", "grid", "tables", "integrity"]) {
      const text = pacioli(["inspect", topic, loaded]);
      expect(text.stderr, topic).toBe("");
      expect(text.status, topic).toBe(0);
      expect(text.stdout.length, topic).toBeGreaterThan(20);
      const { status, value } = json(topic, loaded);
      expect(status, topic).toBe(0);
      expect(Object.keys(value).length, topic).toBeGreaterThan(1);
    }
    expect(pacioli(["inspect", "wal", loaded]).stdout).toMatch(/ createTransfers +64,384 /);
    expect(json("integrity", loaded).value).toMatchObject({
      intact: true,
      damaged: [],
      problems: [],
    });
    expect(pacioli(["inspect", "integrity", loaded]).stdout).toMatch(
      /^result +everything is intact$/m,
    );
    const superblock = json("superblock", loaded).value;
    expect(superblock["copies"]).toHaveLength(4);
    for (const copy of superblock["copies"] as unknown[]) {
      expect(copy).toMatchObject({ state: "intact" });
    }
    expect(superblock["current"]).toMatchObject({ format: { cluster: "77", slotCount: 64 } });
    const grid = json("grid", loaded).value;
    expect(grid["blocksInUse"]).toBeGreaterThan(0);
    expect(grid["tables"]).toContainEqual({ name: "accounts", rows: 501, blocks: 0 });
    const sizes = json("tables", loaded).value;
    expect(sizes["bytesInUse"]).toBe((grid["blocksInUse"] as number) * 65_536);
    expect(sizes["bytesOther"]).toBeGreaterThan(0);
    expect(sizes["tables"]).toContainEqual({
      name: "accounts",
      rows: 501,
      pages: 16,
      blocks: null,
      bytes: 65_536,
    });
    const slots = json("wal", loaded).value["slots"] as { prepare: { operation: string } | null }[];
    expect(slots.some((slot) => slot.prepare?.operation === "createTransfers")).toBe(true);
  });

  function flipBit(path: string, offset: number): void {
    const file = openSync(path, "r+");
    const byte = Buffer.alloc(1);
    readSync(file, byte, 0, 1, offset);
    byte[0] = byte[0]! ^ 0x10;
    writeSync(file, byte, 0, 1, offset);
    closeSync(file);
  }

  const superblockSize = 64 * 1024;
  const headerRingSize = 64 * 256;
  const prepareRingSize = 64 * 2 ** 20;
  const repliesSize = 64 * 256 * 1024;
  const prepares = superblockSize + headerRingSize;
  const grid = Math.ceil((prepares + prepareRingSize + repliesSize) / 65_536) * 65_536;

  test.each<[string, number, RegExp]>([
    ["a superblock copy", 2 * 16 * 1024 + 100, /^superblock copy 2 /m],
    ["a redundant header", superblockSize + 5 * 256 + 130, /^journal slot 5 \(header\) /m],
    ["a prepare", prepares + 9 * 2 ** 20 + 5000, /^journal slot 9 \(prepare\) /m],
    ["a grid block", grid + 3 * 65_536 + 3000, /^grid block 4 \(/m],
  ])("a flipped bit in %s is found and named", (_, offset, name) => {
    const path = join(folder, "flipped.pacioli");
    copyFileSync(loaded, path);
    flipBit(path, offset);
    const result = pacioli(["inspect", "integrity", path]);
    expect(result.stdout).toMatch(name);
    expect(result.status).toBe(1);
    const { value } = json("integrity", path);
    expect(value["intact"]).toBe(false);
    expect(value["damaged"]).toHaveLength(1);
  });

  test("a flipped bit in a kept reply is found and named", () => {
    const path = join(folder, "flipped.pacioli");
    copyFileSync(loaded, path);
    const replies = json("replies", path).value["slots"] as { slot: number; state: string }[];
    const kept = replies.find((reply) => reply.state === "good");
    expect(kept).toBeDefined();
    flipBit(path, prepares + prepareRingSize + kept!.slot * 256 * 1024 + 300);
    const result = pacioli(["inspect", "integrity", path]);
    expect(result.stdout).toMatch(new RegExp(`^client reply slot ${kept!.slot} `, "m"));
    expect(result.status).toBe(1);
  });

  test("reply slots that no start reads are not damage", async () => {
    const path = join(folder, "stale.pacioli");
    copyFileSync(loaded, path);
    const first = await ServerProcess.start(path);
    const address = { cluster_id: 77n, replica_addresses: [String(first.port)] };
    const [goesOn, other] = [createClient(address), createClient(address)];
    await goesOn.createAccounts([makeAccount(2n << 100n)]);
    for (let count = 0; count < 50; count += 1) await other.lookupAccounts([1n << 100n]);
    // Above the checkpoint: the log makes its reply anew.
    await goesOn.createAccounts([makeAccount(3n << 100n)]);
    goesOn.destroy();
    other.destroy();
    await first.stop();
    const { checkpointOp } = json("integrity", path).value as { checkpointOp: number };
    interface Slot {
      readonly slot: number;
      readonly state: string;
      readonly op: number;
    }
    const slots = () => json("replies", path).value["slots"] as Slot[];
    const empty = slots().findLast(({ state }) => state === "empty")!;
    const good = slots().filter(({ state }) => state === "good");
    const replaced = good.at(-1)!;
    expect(good.length).toBeGreaterThan(1);
    expect(replaced.op).toBeLessThanOrEqual(checkpointOp);
    const stale = [empty, replaced].map(({ slot }) => slot);
    for (const slot of stale) flipBit(path, prepares + prepareRingSize + slot * 256 * 1024 + 130);
    for (const slot of stale) expect(slots()[slot]!.state).toBe("not needed");
    for (const topic of [[], ["replies"], ["integrity"]]) {
      const shown = pacioli(["inspect", ...topic, path]);
      expect(shown.stdout).not.toContain("DAMAGE");
      expect(shown.status, shown.stdout).toBe(0);
    }
    expect(json("integrity", path).value).toMatchObject({ intact: true, damaged: [] });
    // A start says the same.
    const server = await ServerProcess.start(path);
    await server.stop();
    flipBit(path, prepares + prepareRingSize + good[0]!.slot * 256 * 1024 + 130);
    expect(pacioli(["inspect", "integrity", path]).status).toBe(1);
    await expect(ServerProcess.start(path)).rejects.toThrow(/reply slot/);
  });

  /** Makes of the loaded file one of three replicas, stopped during a state sync from `opMin` on. */
  function syncing(path: string, opMin: number, opMax: number): void {
    copyFileSync(loaded, path);
    const file = openSync(path, "r+");
    const copy = scratchMemory(superblockCopySize);
    const { word } = superblockLayout;
    for (let index = 0; index < superblockCopies; index += 1) {
      readSync(file, copy.bytes, 0, superblockCopySize, index * superblockCopySpacing);
      copy.words[word.replicaCount] = 3;
      copy.words[word.syncOpMin] = opMin;
      copy.words[word.syncOpMax] = opMax;
      sealSuperblock(copy, index);
      writeSync(file, copy.bytes, 0, superblockCopySize, index * superblockCopySpacing);
    }
    closeSync(file);
  }

  test("a file of a replica that was stopped during a state sync", () => {
    const path = join(folder, "syncing.pacioli");
    const { checkpointOp } = json("integrity", loaded).value as { checkpointOp: number };
    syncing(path, 5, checkpointOp);
    const told = new RegExp(
      `^state sync +not complete: blocks of ops 5 to ${checkpointOp} may be missing; a start fetches`,
      "m",
    );
    for (const topic of [[], ["superblock"], ["integrity"]]) {
      const shown = pacioli(["inspect", ...topic, path]);
      expect(shown.stdout).toMatch(told);
      expect(shown.status, shown.stdout).toBe(0);
    }
    // Missing is not damaged: the start brings it.
    flipBit(path, grid + 3 * 65_536 + 3000);
    const result = pacioli(["inspect", "integrity", path]);
    expect(result.stdout).toMatch(/^result +nothing is damaged; 1 block is not here yet$/m);
    expect(result.stdout).toMatch(/^MISSING$[\s\S]*^grid block 4 \(/m);
    expect(result.status).toBe(0);
    const { value } = json("integrity", path);
    expect(value).toMatchObject({ intact: true, damaged: [], problems: [] });
    expect(value["missing"]).toHaveLength(1);
    // Without what the checkpoint begins with, nothing of the grid can be told.
    const { blocksInFile } = json("grid", path).value as { blocksInFile: number };
    const file = openSync(path, "r+");
    writeSync(file, Buffer.alloc(blocksInFile * 65_536), 0, blocksInFile * 65_536, grid);
    closeSync(file);
    const summary = pacioli(["inspect", path]);
    expect(summary.stdout).toMatch(
      /^grid +is not complete yet, since a state sync is under way: /m,
    );
    expect(summary.status).toBe(0);
    expect(pacioli(["inspect", "grid", path]).stderr).toMatch(
      /the grid is not complete yet, since/,
    );
    expect(pacioli(["inspect", "integrity", path]).status).toBe(0);
    // Damage outside the grid is damage, and one of several has others to ask.
    flipBit(path, prepares + ((checkpointOp + 1) % 64) * 2 ** 20 + 5000);
    const damaged = pacioli(["inspect", path]);
    expect(damaged.stdout).toMatch(
      /^journal slot .* (comes from the other replicas|heals at the next start)$/m,
    );
    expect(damaged.status).toBe(1);
  });

  test("a file that is none, or cut", () => {
    const path = join(folder, "cut.pacioli");
    copyFileSync(loaded, path);
    const file = openSync(path, "r+");
    const cut = (size: number): string => {
      // Writing a short file anew costs less than a truncation of the large one, and is the same.
      const bytes = Buffer.alloc(size);
      readSync(file, bytes, 0, size, 0);
      const shorter = join(folder, `cut-${size}.pacioli`);
      const target = openSync(shorter, "w");
      writeSync(target, bytes);
      closeSync(target);
      return pacioli(["inspect", shorter]).stderr;
    };
    expect(cut(100)).toMatch(/is no data file, or only the beginning of one: it has 100 bytes/);
    expect(cut(2 ** 20)).toMatch(/is truncated: it has 1048576 bytes/);
    closeSync(file);
    expect(pacioli(["inspect", join(folder, "absent")]).stderr).toMatch(
      /absent' does not exist; check the path/,
    );
  });
});
