/**
 * A server of the benchmark's own: a data file in a new folder, formatted and started by processes
 * of the `pacioli` command, and removed with its folder in the end.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { CommandError } from "../command-error.ts";
import { mainScript } from "../paths.ts";
import type { SocketAddress } from "../values.ts";

/** A server that has not begun to listen by then is given up. Milliseconds. */
const startLimitMs = 60_000;
const stopLimitMs = 30_000;

export interface TemporaryServerOptions {
  /** A folder is made in here. */
  readonly directory: string;
  readonly formatOptions: readonly string[];
  readonly startOptions: readonly string[];
}

/** @throws {CommandError} with what the server said when it does not start. */
export async function startTemporaryServer(
  options: TemporaryServerOptions,
): Promise<TemporaryServer> {
  const server = new TemporaryServer(makeFolder(options.directory), options.startOptions);
  try {
    await runToEnd(["format", "--cluster=0", ...options.formatOptions, server.file]);
    await server.start();
    return server;
  } catch (error) {
    await server.stop();
    throw error;
  }
}

export class TemporaryServer {
  readonly file: string;
  /** Of the process that was started last: */
  address: SocketAddress = { host: "127.0.0.1", port: 0 };
  /** From starting the process until it listened. Milliseconds. */
  startMs = 0;
  /** What it said until it listened. */
  startText = "";
  private child: ChildProcess | undefined;
  private readonly remove = (): void => rmSync(this.folder, { recursive: true, force: true });

  /** @param folder - Its own: it goes with the server. */
  constructor(
    private readonly folder: string,
    private readonly startOptions: readonly string[],
  ) {
    this.file = join(folder, "benchmark.pacioli");
    process.on("exit", this.remove);
  }

  get pid(): number {
    return this.child!.pid!;
  }

  /** Resolves once it listens. @throws {CommandError} with what it said when it does not. */
  async start(): Promise<void> {
    const startedMs = performance.now();
    this.child = spawnCommand([
      "start",
      "--addresses=127.0.0.1:0",
      ...this.startOptions,
      this.file,
    ]);
    const { address, text } = await listening(this.child);
    this.address = address;
    this.startText = text;
    this.startMs = performance.now() - startedMs;
  }

  /** Stops the process and starts another one on the same file. @throws {CommandError} */
  async restart(): Promise<void> {
    await this.stopProcess();
    await this.start();
  }

  /** Stops the process and removes its files. */
  async stop(): Promise<void> {
    await this.stopProcess();
    this.remove();
    process.off("exit", this.remove);
  }

  /** Stops the process; the files stay. */
  async stopProcess(): Promise<void> {
    if (this.child !== undefined) await stopChild(this.child);
  }
}

function makeFolder(directory: string): string {
  try {
    return mkdtempSync(join(directory, "pacioli-benchmark-"));
  } catch (error) {
    throw new CommandError(
      `no folder for the temporary data file can be made in '${directory}' (${(error as Error).message}); ` +
        "choose another with --directory.",
    );
  }
}

function spawnCommand(args: readonly string[]): ChildProcess {
  return spawn(process.execPath, [mainScript, ...args], { stdio: ["ignore", "pipe", "pipe"] });
}

/** Gathers what a process says, so that a failure can be explained with it. */
function listen(child: ChildProcess): { text: string; onText: () => void } {
  const heard = { text: "", onText: (): void => {} };
  const add = (chunk: Buffer): void => {
    heard.text = (heard.text + chunk.toString()).slice(-8192);
    heard.onText();
  };
  child.stdout!.on("data", add);
  child.stderr!.on("data", add);
  return heard;
}

function runToEnd(args: readonly string[]): Promise<void> {
  const child = spawnCommand(args);
  const heard = listen(child);
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code) => {
      if (code === 0) resolve();
      else reject(new CommandError(`the temporary server could not be made: ${said(heard.text)}`));
    });
  });
}

function listening(child: ChildProcess): Promise<{ address: SocketAddress; text: string }> {
  const heard = listen(child);
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      child.kill("SIGKILL");
      reject(new CommandError(`the temporary server did not start: ${said(heard.text)}`));
    }, startLimitMs);
    const onEnd = (): void => {
      clearTimeout(timer);
      reject(new CommandError(`the temporary server did not start: ${said(heard.text)}`));
    };
    child.on("close", onEnd);
    heard.onText = () => {
      const match = /listening on ([0-9.]+):([0-9]+)/.exec(heard.text);
      if (match === null) return;
      heard.onText = () => {};
      clearTimeout(timer);
      child.off("close", onEnd);
      resolve({ address: { host: match[1]!, port: Number(match[2]) }, text: heard.text });
    };
  });
}

function stopChild(child: ChildProcess): Promise<void> {
  return new Promise((resolve) => {
    if (child.exitCode !== null || child.signalCode !== null) {
      resolve();
      return;
    }
    const timer = setTimeout(() => child.kill("SIGKILL"), stopLimitMs);
    child.on("close", () => {
      clearTimeout(timer);
      resolve();
    });
    child.kill("SIGTERM");
  });
}

/** The last thing that a process said, without its own prefix. */
function said(text: string): string {
  const lines = text.trim().split("\n");
  return (lines[lines.length - 1] ?? "").replace(/^pacioli: /, "") || "it said nothing.";
}
