/**
 * What a user can do wrong, and what an environment can refuse: one clear sentence on the error
 * stream, an exit code that is not 0, and nothing damaged.
 */
import { createHash } from "node:crypto";
import {
  closeSync,
  copyFileSync,
  existsSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  statSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { RawSession } from "../interop/raw-client.ts";
import {
  type CommandResult,
  cleanUp,
  format,
  mainScript,
  pacioli,
  ServerProcess,
  shell,
  temporaryFolder,
} from "./server.ts";

/** Of the data file's format: copies of the superblock, their distance, and fields in each. */
const superblock = { copies: 4, spacing: 16 * 1024, versionAt: 40, size: 64 * 1024 };

let folder: string;
/** A formatted file that no test changes. */
let pristine: string;

beforeAll(() => {
  folder = temporaryFolder();
  pristine = join(folder, "pristine.pacioli");
  format(pristine);
});
afterAll(cleanUp);

const commandLine = `'${process.execPath}' '${mainScript}'`;

let copies = 0;
function copyOfPristine(): string {
  copies += 1;
  const path = join(folder, `copy-${copies}.pacioli`);
  copyFileSync(pristine, path);
  return path;
}

function digest(path: string): string {
  return createHash("sha256").update(readFileSync(path)).digest("hex");
}

/** Fails unless the command refused with one sentence that matches. */
function expectRefusal(result: CommandResult, pattern: RegExp): void {
  const said = `status ${result.status}, stdout '${result.stdout}', stderr '${result.stderr}'`;
  expect(result.status, said).not.toBe(0);
  expect(result.status, said).not.toBe(null);
  const lines = result.stderr.trim().split("\n");
  expect(lines.at(-1), said).toMatch(/^pacioli: .+[.?]$/);
  expect(lines.at(-1), said).toMatch(pattern);
  expect(result.stderr, said).not.toMatch(/^ {4}at /m);
  expect(result.stderr, said).not.toMatch(/bug/);
  expect(result.stdout, said).not.toMatch(/listening/);
}

function start(path: string, ...args: string[]): CommandResult {
  return pacioli(["start", "--addresses=127.0.0.1:0", "--development", ...args, path], 30_000);
}

test("without a command: an overview, and an exit code", () => {
  const result = pacioli([]);
  expect(result.status).toBe(1);
  expect(result.stderr).toMatch(/Usage: pacioli/);
});

test.each<[RegExp, ...string[]]>([
  [/no command 'fromat'.*'format'/, "fromat"],
  [/--clutser.*--cluster/, "format", "--clutser=0", "x.pacioli"],
  [/--cluster/, "format", "x.pacioli"],
  [/FILE/, "format", "--cluster=0"],
  [/--cluster/, "format", "--cluster=-1", "x.pacioli"],
  [/--cluster/, "format", "--cluster=340282366920938463463374607431768211456", "x.pacioli"],
  [/--cluster/, "format", "--cluster=1e3", "x.pacioli"],
  [/--replica/, "format", "--cluster=0", "--replica=1", "--replica-count=1", "x.pacioli"],
  [/--replica-count/, "format", "--cluster=0", "--replica-count=7", "x.pacioli"],
  [/--cluster.*twice/, "format", "--cluster=0", "--cluster=1", "x.pacioli"],
  [/'y.pacioli'/, "format", "--cluster=0", "x.pacioli", "y.pacioli"],
  [/FILE/, "start", "--addresses=3001"],
  [/--addresses/, "start", "x.pacioli"],
  [/--addresses/, "start", "--addresses=10.0.0.300:3001", "x.pacioli"],
  [/--addresses/, "start", "--addresses=127.0.0.1:65536", "x.pacioli"],
  [/--backend/, "start", "--addresses=3001", "--backend=epoll", "x.pacioli"],
  [/--direct-io/, "start", "--addresses=3001", "--direct-io=maybe", "x.pacioli"],
])("wrong arguments: %s", (pattern, ...args) => {
  expectRefusal(pacioli(args), pattern);
  expect(existsSync("x.pacioli")).toBe(false);
});

test("a clone that was not built says so", () => {
  const clone = join(folder, "clone", "scripts");
  mkdirSync(clone, { recursive: true });
  copyFileSync(join("scripts", "pacioli.mjs"), join(clone, "pacioli.mjs"));
  const result = shell(`exec '${process.execPath}' '${join(clone, "pacioli.mjs")}' version`);
  expectRefusal(result, /is not built; run 'npm run build' first/);
});

test("format never overwrites", () => {
  for (const path of [copyOfPristine(), join(folder, "notes.txt")]) {
    if (!existsSync(path)) writeFileSync(path, "dear diary");
    const before = digest(path);
    expectRefusal(pacioli(["format", "--cluster=0", path]), /exists/);
    expect(digest(path)).toBe(before);
  }
});

test("format where there is no folder", () => {
  const path = join(folder, "nowhere", "0.pacioli");
  expectRefusal(pacioli(["format", "--cluster=0", path]), /folder .*nowhere' does not exist/);
});

test("start: the file is missing, or a folder", () => {
  expectRefusal(start(join(folder, "missing.pacioli")), /missing\.pacioli/);
  expect(existsSync(join(folder, "missing.pacioli"))).toBe(false);
  const directory = join(folder, "directory");
  mkdirSync(directory);
  expectRefusal(start(directory), /directory' is a folder/);
});

test("a path that can be none of a data file", () => {
  const tooLong = join(folder, "x".repeat(300));
  expectRefusal(start(tooLong), /is too long a path/);
  expectRefusal(pacioli(["format", "--cluster=0", tooLong]), /is too long a path/);
  expectRefusal(start("/dev/null"), /neither a regular file nor a block device/);
  const inFile = join(pristine, "0.pacioli");
  expectRefusal(start(inFile), /does not exist/);
  expectRefusal(pacioli(["format", "--cluster=0", inFile]), /cannot be made/);
  // Where Node's own way of making folders does not end.
  const inProc = pacioli(["development", "--port=0", "--file=/proc/here/0.pacioli"], 20_000);
  expectRefusal(inProc, /'\/proc\/here' cannot be made/);
});

test("the folder of the shell was removed", () => {
  const gone = join(folder, "gone");
  mkdirSync(gone);
  const result = shell(`cd '${gone}' && rmdir '${gone}' && exec ${commandLine} inspect 0.pacioli`);
  expectRefusal(result, /does not exist any more/);
});

test("output that cannot be written", () => {
  expectRefusal(shell(`exec ${commandLine} version > /dev/full`), /cannot be written \(ENOSPC\)/);
});

test.each<[string, (size: number) => Buffer]>([
  ["empty", () => Buffer.alloc(0)],
  ["a text", () => Buffer.from("dear diary\n".repeat(1000))],
  ["zeros", (size) => Buffer.alloc(size)],
  ["noise", (size) => Buffer.from(Array.from({ length: size }, (_, i) => (i * 7919) >>> 3))],
])("start: the file is %s", (name, make) => {
  const path = join(folder, `foreign-${name.replace(" ", "-")}`);
  writeFileSync(path, make(1024 * 1024));
  const before = digest(path);
  expectRefusal(start(path), /data file|superblock/);
  expect(digest(path)).toBe(before);
});

test("start: the file is too small to be a data file", () => {
  const path = join(folder, "small.txt");
  writeFileSync(path, "dear diary");
  expectRefusal(start(path), /is no data file, or only the beginning of one: it has 10 bytes/);
});

test.each([1, 4096, 70_000, 1024 * 1024, -4096])("start: the file is cut at %i bytes", (at) => {
  const path = copyOfPristine();
  const size = at > 0 ? at : formattedSize() + at;
  const file = openSync(path, "r+");
  ftruncateSync(file, size);
  closeSync(file);
  const before = digest(path);
  expectRefusal(start(path), /copy-/);
  expect(digest(path)).toBe(before);
});

/** Everything that format writes; the file may be longer. */
function formattedSize(): number {
  return statSync(pristine).size;
}

function patchSuperblocks(path: string, patch: (copy: Buffer, index: number) => void): void {
  const file = openSync(path, "r+");
  const zone = Buffer.alloc(superblock.size);
  readSync(file, zone, 0, zone.length, 0);
  for (let i = 0; i < superblock.copies; i += 1) {
    patch(zone.subarray(i * superblock.spacing, (i + 1) * superblock.spacing), i);
  }
  writeSync(file, zone, 0, zone.length, 0);
  closeSync(file);
}

test("start: the file has another format version", () => {
  const path = copyOfPristine();
  patchSuperblocks(path, (copy) => copy.writeUInt32LE(99, superblock.versionAt));
  const before = digest(path);
  expectRefusal(start(path), /version/);
  expect(digest(path)).toBe(before);
});

test("start: every superblock copy is damaged", () => {
  const path = copyOfPristine();
  patchSuperblocks(path, (copy) => {
    copy[500]! ^= 1;
  });
  const before = digest(path);
  expectRefusal(start(path), /superblock/);
  expect(digest(path)).toBe(before);
});

test("start: one damaged superblock copy is repaired", async () => {
  const path = copyOfPristine();
  const before = readFileSync(path).subarray(0, superblock.size);
  patchSuperblocks(path, (copy, index) => {
    if (index === 1) copy[500]! ^= 1;
  });
  const server = await ServerProcess.start(path);
  await RawSession.register(server.port);
  await server.stop();
  const after = readFileSync(path).subarray(superblock.spacing, 2 * superblock.spacing);
  expect(after[500]).toBe(before[superblock.spacing + 500]);
});

test("start: the superblock is that of another cluster's file", () => {
  const other = join(folder, "other-cluster.pacioli");
  format(other, { cluster: 77n });
  const path = copyOfPristine();
  const zone = readFileSync(other).subarray(0, superblock.size);
  const file = openSync(path, "r+");
  writeSync(file, zone, 0, zone.length, 0);
  closeSync(file);
  const before = digest(path);
  expectRefusal(start(path), /cluster|journal/);
  expect(digest(path)).toBe(before);
});

test("start: the file is in use", async () => {
  const path = copyOfPristine();
  const server = await ServerProcess.start(path);
  const session = await RawSession.register(server.port);
  expectRefusal(start(path), /in use|locked/);
  await session.roundTrip(session.build(6, new Uint8Array(0)));
  expectRefusal(pacioli(["format", "--cluster=0", path]), /exists/);
  await session.roundTrip(session.build(6, new Uint8Array(0)));
  await server.kill();
  // The lock dies with its holder.
  await (await ServerProcess.start(path)).stop();
});

test.each(["uring", "portable"])("start: the port is taken (%s)", async (backend) => {
  const taken = createServer();
  const port = await new Promise<number>((resolve) => {
    taken.listen(0, "127.0.0.1", () => {
      resolve((taken.address() as { port: number }).port);
    });
  });
  const path = copyOfPristine();
  const result = pacioli([
    "start",
    `--addresses=127.0.0.1:${port}`,
    "--development",
    `--backend=${backend}`,
    path,
  ]);
  expectRefusal(result, new RegExp(`${port}`));
  await new Promise((resolve) => taken.close(resolve));
  await (await ServerProcess.start(path)).stop();
});

/** Runs a script in a mount namespace of its own, with a file system of this type at $MNT. */
function onMount(type: string, options: string, script: string): CommandResult {
  const mountPoint = join(folder, `mount-${type}`);
  mkdirSync(mountPoint, { recursive: true });
  const asRoot = process.getuid?.() === 0 ? "" : "-r";
  const mount = `mount -t ${type} ${options === "" ? "" : `-o ${options}`} ${type} '${mountPoint}'`;
  return shell(`unshare -m ${asRoot} sh -c "${mount} && MNT='${mountPoint}'; ${script}"`);
}

test("without Direct I/O the server refuses, unless told that this is wanted", () => {
  // ramfs has no Direct I/O.
  const file = "\\$MNT/0.pacioli";
  const refused = onMount(
    "ramfs",
    "",
    `cp '${pristine}' ${file} && exec ${commandLine} start --addresses=127.0.0.1:0 --development ${file}`,
  );
  expectRefusal(refused, /--direct-io=off/);
  const allowed = onMount(
    "ramfs",
    "",
    `cp '${pristine}' ${file} && exec timeout --signal=TERM 5 ${commandLine} start --addresses=127.0.0.1:0 --development --direct-io=off ${file}`,
  );
  expect(allowed.stdout, allowed.stderr).toMatch(/listening on/);
});

test("format on a full disk says so and leaves no half a file", () => {
  const file = "\\$MNT/0.pacioli";
  const result = onMount(
    "tmpfs",
    "size=20m",
    `${commandLine} format --cluster=0 --development ${file}; status=\\$?; test -e ${file} && echo LEFT BEHIND; exit \\$status`,
  );
  expectRefusal(result, /space|full/);
  expect(result.stdout).not.toMatch(/LEFT BEHIND/);
});

test("format under a limit on file sizes says so and leaves no half a file", () => {
  const path = join(folder, "limited.pacioli");
  const result = shell(
    `ulimit -f 20480; exec ${commandLine} format --cluster=0 --development '${path}'`,
  );
  expectRefusal(result, /limited\.pacioli|too large|size/);
  expect(existsSync(path)).toBe(false);
});
