import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import type { DataFileError } from "../core/data-file-error.ts";
import type { NativeAddon } from "./addon.ts";

type Files = typeof import("./files.ts");

let folder = "";

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "pacioli-files-"));
});

afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

/** A fresh copy of the module, with or without the addon. */
async function load(withAddon: boolean): Promise<Files> {
  vi.resetModules();
  vi.stubEnv("PACIOLI_NO_ADDON", withAddon ? "0" : "1");
  const files = await import("./files.ts");
  await import("./memory.ts");
  const { addonAbsence } = await import("./addon.ts");
  expect(addonAbsence() === null).toBe(withAddon);
  vi.unstubAllEnvs();
  return files;
}

const sizeBytes = 3 * 1024 * 1024;
const zeroed = [{ at: 4096, length: 2 * 1024 * 1024 + 4096 }];

describe.each([
  ["with the addon", true],
  ["without the addon", false],
])("%s", (_, withAddon) => {
  let files: Files;
  beforeEach(async () => {
    files = await load(withAddon);
  });

  const refusal = (path: string, options: Parameters<Files["openDataFile"]>[1]) => {
    try {
      files.closeDataFile(files.openDataFile(path, options));
    } catch (error) {
      const { name, code, message } = error as DataFileError;
      expect(name).toBe("DataFileError");
      expect(message).toContain(path);
      expect(message).toMatch(/^[^\n]+\.$/);
      return code;
    }
    return "none";
  };

  test.each([true, false])("a file is created and opened again, Direct I/O %s", (directIo) => {
    const path = join(folder, "file");
    const created = files.openDataFile(path, { directIo, create: { sizeBytes, zeroed } });
    expect(created.sizeBytes).toBe(sizeBytes);
    expect(created.directIo).toBe(directIo);
    expect(statSync(path).blocks * 512).toBeGreaterThanOrEqual(sizeBytes);
    expect(readFileSync(path).every((byte) => byte === 0)).toBe(true);
    expect(existsSync(`${path}.lock`)).toBe(true);
    files.closeDataFile(created);
    expect(readdirSync(folder)).toEqual(["file"]);

    const opened = files.openDataFile(path, { directIo });
    expect(opened.sizeBytes).toBe(sizeBytes);
    files.closeDataFile(opened);
    expect(readdirSync(folder)).toEqual(["file"]);
  });

  test("a truncated file shows its size", () => {
    const path = join(folder, "file");
    writeFileSync(path, new Uint8Array(5000));
    const file = files.openDataFile(path, { directIo: false });
    expect(file.sizeBytes).toBe(5000);
    files.closeDataFile(file);
  });

  test("what cannot be opened says why", () => {
    const path = join(folder, "file");
    expect(refusal(path, { directIo: true })).toBe("ERR_FILE_MISSING");
    expect(refusal(join(path, "below"), { directIo: true })).toBe("ERR_FILE_MISSING");
    expect(refusal(folder, { directIo: false })).toBe("ERR_FILE_IS_DIRECTORY");
    expect(refusal(folder, { directIo: false, readOnly: true })).toBe("ERR_FILE_IS_DIRECTORY");
    expect(refusal("/dev/null", { directIo: false, readOnly: true })).toBe("ERR_FILE_KIND");
    expect(readdirSync(folder)).toEqual([]);
  });

  test("an existing file is not created over", () => {
    const path = join(folder, "file");
    writeFileSync(path, "mine");
    expect(refusal(path, { directIo: false, create: { sizeBytes } })).toBe("ERR_FILE_EXISTS");
    expect(readFileSync(path, "utf8")).toBe("mine");
  });

  test("a file system without Direct I/O is refused, and nothing is left there", () => {
    // The files of /proc take no O_DIRECT.
    expect(refusal("/proc/version", { directIo: true, readOnly: true })).toBe("ERR_NO_DIRECT_IO");
  });

  test("a creation that fails leaves nothing", () => {
    const path = join(folder, "file");
    const create = { sizeBytes: 2 ** 52, zeroed: [] };
    // Without the addon every sector is written; the size itself is refused first.
    expect(["ERR_NO_SPACE", "ERR_FILE_SIZE"]).toContain(refusal(path, { directIo: false, create }));
    expect(readdirSync(folder)).toEqual([]);
  });

  test("a file is open once", () => {
    const path = join(folder, "file");
    const file = files.openDataFile(path, { directIo: false, create: { sizeBytes } });
    expect(refusal(path, { directIo: false })).toBe("ERR_FILE_LOCKED");
    // Reading a running replica's file takes no lock and leaves the other's.
    expect(refusal(path, { directIo: false, readOnly: true })).toBe("none");
    expect(refusal(path, { directIo: false })).toBe("ERR_FILE_LOCKED");
    files.closeDataFile(file);
    expect(refusal(path, { directIo: false })).toBe("none");
  });

  test("the lock file of a running process is respected", async () => {
    const path = join(folder, "file");
    writeFileSync(path, new Uint8Array(4096));
    const child = spawn(process.execPath, ["-e", "process.stdin.resume()"], { stdio: "pipe" });
    try {
      await once(child, "spawn");
      writeFileSync(`${path}.lock`, lockOf(child.pid as number));
      expect(refusal(path, { directIo: false })).toBe("ERR_FILE_LOCKED");
      expect(existsSync(`${path}.lock`)).toBe(true);
    } finally {
      child.kill();
      await once(child, "exit");
    }
    // Now it has ended, and the lock that it left is void.
    expect(refusal(path, { directIo: false })).toBe("none");
    expect(readdirSync(folder)).toEqual(["file"]);
  });

  test("a lock is void after a restart of the machine, or when its number was given out again", () => {
    const path = join(folder, "file");
    writeFileSync(path, new Uint8Array(4096));
    for (const change of [/^boot .*$/m, /^started .*$/m] as const) {
      writeFileSync(
        `${path}.lock`,
        lockOf(process.pid).replace(change, (line) => `${line}1`),
      );
      expect(refusal(path, { directIo: false })).toBe("none");
    }
  });

  test("a lock of another container binds only without the kernel's lock", () => {
    const path = join(folder, "file");
    writeFileSync(path, new Uint8Array(4096));
    const other = lockOf(1).replace(/^container .*$/m, "container pid:[1]");
    writeFileSync(`${path}.lock`, other);
    expect(refusal(path, { directIo: false })).toBe(withAddon ? "none" : "ERR_FILE_LOCKED");
  });

  test("a lock file that says nothing binds", () => {
    const path = join(folder, "file");
    writeFileSync(path, new Uint8Array(4096));
    for (const text of ["", "pacioli-lock 1\npid x\n", "pacioli-lock 2\n"]) {
      writeFileSync(`${path}.lock`, text);
      expect(refusal(path, { directIo: false })).toBe("ERR_FILE_LOCKED");
      expect(readFileSync(`${path}.lock`, "utf8")).toBe(text);
    }
  });

  test("a file that may not be written is refused", () => {
    // Not even root may open this one for writing.
    expect(refusal("/proc/sys/kernel/random/boot_id", { directIo: false })).toBe(
      "ERR_FILE_PERMISSION",
    );
  });
});

/** What a process writes into its lock file. */
function lockOf(pid: number): string {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  const started = stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19];
  const boot = readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
  const container = spawnSync("readlink", ["/proc/self/ns/pid"], { encoding: "utf8" }).stdout;
  return `pacioli-lock 1\npid ${pid}\nstarted ${started}\nboot ${boot}\ncontainer ${container}`;
}

/** A process that holds the kernel's lock on a file, and does some more. */
async function lockInChild(path: string, more = ""): Promise<ChildProcess> {
  const addonPath = join(process.cwd(), "build", "pacioli.node");
  const script = `
    const fd = require("node:fs").openSync(${JSON.stringify(path)}, "r+");
    const addon = require(${JSON.stringify(addonPath)});
    let result = addon.fileLock(fd);
    ${more}
    process.stdout.write(String(result));
    process.stdin.resume();
  `;
  const child = spawn(process.execPath, ["-e", script], { stdio: "pipe" });
  const [output] = (await once(child.stdout, "data")) as [Buffer];
  expect(output.toString()).toBe("0");
  return child;
}

test("the kernel's lock binds processes with the addon, whatever became of the lock file", async () => {
  const files = await load(true);
  const path = join(folder, "file");
  writeFileSync(path, new Uint8Array(4096));
  const child = await lockInChild(path);
  try {
    expect(() => files.openDataFile(path, { directIo: false })).toThrow(
      expect.objectContaining({ code: "ERR_FILE_LOCKED" }),
    );
  } finally {
    child.kill();
    await once(child, "exit");
  }
  files.closeDataFile(files.openDataFile(path, { directIo: false }));
});

test("a lock that a running process holds is not waited for", async () => {
  const files = await load(true);
  const { loadAddon } = await import("./addon.ts");
  const path = join(folder, "file");
  writeFileSync(path, new Uint8Array(4096));
  const child = await lockInChild(path);
  const attempts = vi.spyOn(loadAddon() as NativeAddon, "fileLock");
  try {
    writeFileSync(`${path}.lock`, lockOf(child.pid as number));
    expect(() => files.openDataFile(path, { directIo: false })).toThrow(
      expect.objectContaining({ code: "ERR_FILE_LOCKED" }),
    );
    expect(attempts).toHaveBeenCalledTimes(1);
  } finally {
    attempts.mockRestore();
    child.kill();
    await once(child, "exit");
  }
});

if (process.platform === "linux" && process.env["PACIOLI_EXPECT_URING"] !== "0") {
  test("a file that the ring of a killed process holds on to is awaited", async () => {
    const files = await load(true);
    const path = join(folder, "file");
    writeFileSync(path, new Uint8Array(4096));
    for (let round = 0; round < 5; round += 1) {
      const child = await lockInChild(
        path,
        "result += addon.ringRegisterFile(addon.ringOpen(8, 16, 8, 0, 0).id, 0, fd);",
      );
      writeFileSync(`${path}.lock`, lockOf(child.pid as number));
      child.kill("SIGKILL");
      await once(child, "exit");
      files.closeDataFile(files.openDataFile(path, { directIo: false }));
    }
  });
}

test("a folder may lie where the lock file would", async () => {
  const files = await load(true);
  const path = join(folder, "file");
  writeFileSync(path, new Uint8Array(4096));
  mkdirSync(`${path}.lock`);
  expect(() => files.openDataFile(path, { directIo: false })).toThrow(
    expect.objectContaining({ code: "ERR_FILE_LOCKED" }),
  );
});
