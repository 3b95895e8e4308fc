/**
 * Server processes for tests: data files in a temporary folder on a real disk, `pacioli` run from
 * the build in dist/, started, killed, stopped and always cleaned up. What a server prints is kept
 * and becomes part of every error, so that a failure explains itself.
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { constants, copyFileSync, existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { mainScript as builtScript } from "../../src/cli/paths.ts";

/** The built command; PACIOLI_MAIN names that of another build. */
export const mainScript = process.env["PACIOLI_MAIN"] ?? builtScript;

const startLimitMs = 60_000;
const stopLimitMs = 30_000;
const logCharsMax = 64 * 1024;

const folders = new Set<string>();
const running = new Set<ChildProcess>();

process.on("exit", () => {
  for (const child of running) child.kill("SIGKILL");
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});

/** @param parent - Where to make it; the system's temporary folder lies on a real disk. */
export function temporaryFolder(parent: string = tmpdir()): string {
  const folder = mkdtempSync(join(parent, "pacioli-test-"));
  folders.add(folder);
  return folder;
}

/** For `afterAll`: ends every server and removes every folder of this test file. */
export async function cleanUp(): Promise<void> {
  await Promise.all(
    [...running].map(
      (child) =>
        new Promise<void>((resolve) => {
          child.on("close", () => resolve());
          child.kill("SIGKILL");
        }),
    ),
  );
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
  folders.clear();
}

export interface CommandResult {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs `pacioli` to its end. */
export function pacioli(args: readonly string[], timeoutMs = 60_000): CommandResult {
  if (!existsSync(mainScript)) {
    throw new Error(`${mainScript} is missing: run 'npm run build' before this test`);
  }
  const result = spawnSync(process.execPath, [mainScript, ...args], {
    encoding: "utf8",
    timeout: timeoutMs,
    killSignal: "SIGKILL",
  });
  return { status: result.status, stdout: result.stdout, stderr: result.stderr };
}

/** Runs a line of shell to its end: for limits and mounts around `pacioli`. */
export function shell(line: string, timeoutMs = 60_000): CommandResult {
  const result = spawnSync("sh", ["-c", line], {
    encoding: "utf8",
    timeout: timeoutMs,
    killSignal: "SIGKILL",
  });
  return { status: result.status, stdout: result.stdout, stderr: result.stderr };
}

export interface FormatOptions {
  readonly cluster?: bigint;
  readonly replica?: number;
  readonly replicaCount?: number;
  readonly development?: boolean;
  readonly args?: readonly string[];
}

/** Makes a data file; throws with what the command said when it fails. */
export function format(path: string, options: FormatOptions = {}): void {
  const result = pacioli([
    "format",
    `--cluster=${options.cluster ?? 0n}`,
    `--replica=${options.replica ?? 0}`,
    `--replica-count=${options.replicaCount ?? 1}`,
    ...(options.development === false ? [] : ["--development"]),
    ...(options.args ?? []),
    path,
  ]);
  if (result.status !== 0) throw new Error(`format failed (${result.status}): ${result.stderr}`);
}

export interface StartOptions {
  readonly backend?: "uring" | "portable" | "auto";
  /** On by default: small caches start faster. */
  readonly development?: boolean;
  readonly args?: readonly string[];
  readonly port?: number;
  /** Of all replicas, instead of a port alone. */
  readonly addresses?: string;
  /** Largest size that the process may make a file, in bytes. */
  readonly fileSizeMax?: number;
}

export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export class ServerProcess {
  port = 0;
  private text = "";
  private readonly ended: Promise<Exit>;
  exit: Exit | null = null;

  private constructor(private readonly child: ChildProcess) {
    running.add(child);
    const hear = (chunk: Buffer): void => {
      this.text = (this.text + chunk.toString("utf8")).slice(-logCharsMax);
    };
    child.stdout!.on("data", hear);
    child.stderr!.on("data", hear);
    this.ended = new Promise((resolve) => {
      child.on("close", (code, signal) => {
        running.delete(child);
        this.exit = { code, signal };
        resolve(this.exit);
      });
    });
  }

  /** Resolves when the server says that it listens. */
  static async start(path: string, options: StartOptions = {}): Promise<ServerProcess> {
    const server = ServerProcess.spawn(path, options);
    await server.untilListening();
    return server;
  }

  /** Returns at once; the process may be killed before it listens. */
  static spawn(path: string, options: StartOptions = {}): ServerProcess {
    const command = [
      process.execPath,
      mainScript,
      "start",
      `--addresses=${options.addresses ?? `127.0.0.1:${options.port ?? 0}`}`,
      ...(options.development === false ? [] : ["--development"]),
      `--backend=${options.backend ?? "auto"}`,
      ...(options.args ?? []),
      path,
    ];
    const limit = options.fileSizeMax;
    if (limit !== undefined) command.unshift("prlimit", `--fsize=${limit}`);
    const child = spawn(command[0]!, command.slice(1), { stdio: ["ignore", "pipe", "pipe"] });
    return new ServerProcess(child);
  }

  untilListening(): Promise<void> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.child.kill("SIGKILL");
        reject(new Error(`the server did not start in time; it said:\n${this.text}`));
      }, startLimitMs);
      const look = (): void => {
        const match = /listening on \S+:(\d+)/.exec(this.text);
        if (match === null || this.port !== 0) return;
        this.port = Number(match[1]);
        clearTimeout(timer);
        resolve();
      };
      this.child.stdout!.on("data", look);
      this.child.stderr!.on("data", look);
      void this.ended.then(() => {
        clearTimeout(timer);
        if (this.port === 0) reject(new Error(`the server did not start:\n${this.text}`));
      });
    });
  }

  get processId(): number {
    return this.child.pid!;
  }

  /** What it has printed, the end of it. */
  get log(): string {
    return this.text;
  }

  get alive(): boolean {
    return this.exit === null && this.child.exitCode === null && this.child.signalCode === null;
  }

  /** Throws with the log when the server has ended by itself. */
  assertAlive(): void {
    if (!this.alive) {
      throw new Error(`the server ended (${JSON.stringify(this.exit)}); it said:\n${this.text}`);
    }
  }

  /**
   * For `afterEach`: like `assertAlive`, and after a failed test first waits a little, since a
   * connection ends before its process is known to have.
   */
  async assertAliveAfter(test: { readonly result?: { readonly state: string } | undefined }) {
    if (test.result?.state === "fail") await new Promise((resolve) => setTimeout(resolve, 300));
    this.assertAlive();
  }

  /** Resolves when it has ended by itself. */
  untilEnded(): Promise<Exit> {
    return this.ended;
  }

  /** kill -9; resolves when it is gone. */
  async kill(): Promise<void> {
    this.assertAlive();
    this.child.kill("SIGKILL");
    await this.ended;
  }

  /** SIGTERM; resolves with how it ended, and insists that it does. */
  async stop(): Promise<Exit> {
    this.assertAlive();
    const timer = setTimeout(() => this.child.kill("SIGKILL"), stopLimitMs);
    this.child.kill("SIGTERM");
    const exit = await this.ended;
    clearTimeout(timer);
    if (exit.code !== 0) {
      throw new Error(`the server did not stop cleanly (${JSON.stringify(exit)}):\n${this.text}`);
    }
    return exit;
  }
}

let template: string | null = null;

/** A fresh data file: of cluster 0 a copy of one that was formatted before, to save its writes. */
export function freshDataFile(options: FormatOptions = {}): string {
  const path = join(temporaryFolder(), "0.pacioli");
  if (options.cluster !== undefined || options.development === false) {
    format(path, options);
    return path;
  }
  if (template === null || !existsSync(template)) {
    template = join(temporaryFolder(), "template.pacioli");
    format(template);
  }
  copyFileSync(template, path, constants.COPYFILE_FICLONE);
  return path;
}

/** Starts a server on a fresh data file. */
export async function startFresh(
  options: StartOptions & FormatOptions = {},
): Promise<{ server: ServerProcess; path: string }> {
  const path = freshDataFile(options);
  return { server: await ServerProcess.start(path, options), path };
}

/** Removes the folder of a data file that is not needed any more. */
export function removeDataFile(path: string): void {
  const folder = dirname(path);
  if (!folders.delete(folder)) throw new Error(`${folder} is not a folder of this test's`);
  rmSync(folder, { recursive: true, force: true });
}
