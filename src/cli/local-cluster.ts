/**
 * A whole cluster on this machine, for trying things: one process per replica, whose lines come out
 * of this one behind the replica's index, until a signal stops them all. A replica that was killed
 * does not end the others: that is what there is to see.
 */
import { type ChildProcessByStdio, spawn } from "node:child_process";
import type { Readable } from "node:stream";
import type { Terminal } from "./command.ts";
import { CommandError } from "./command-error.ts";
import { mainScript, projectRoot } from "./paths.ts";
import { startedByClusterVariable, watchForStop } from "./stop-signals.ts";

/** Replicas that have not stopped by then are ended. Milliseconds. */
const stopLimitMs = 30_000;

export interface LocalClusterOptions {
  /** Data files, by index. */
  readonly files: readonly string[];
  /** As `--addresses` takes them. */
  readonly addresses: string;
  /** More options of `start`. */
  readonly startOptions: readonly string[];
}

type Child = ChildProcessByStdio<null, Readable, Readable>;

class LocalCluster {
  private readonly children: (Child | null)[];
  private listening = 0;
  private stopping = false;
  private failure: string | null = null;
  private stopTimer: NodeJS.Timeout | undefined;
  private readonly endWatch: () => void;

  constructor(
    private readonly options: LocalClusterOptions,
    private readonly terminal: Terminal,
    private readonly onListening: () => void,
    private readonly onEnded: (failure: string | null) => void,
  ) {
    this.children = options.files.map((file, replica) => this.start(file, replica));
    this.endWatch = watchForStop({
      stop: (text) => {
        terminal.error(`${text}\n`);
        this.stop();
      },
      abort: (code) => {
        this.kill("SIGKILL");
        process.exit(code);
      },
    });
  }

  private start(file: string, replica: number): Child {
    const { addresses, startOptions } = this.options;
    const args = ["start", `--addresses=${addresses}`, "--development", ...startOptions, file];
    const child = spawn(process.execPath, [mainScript, ...args], {
      stdio: ["ignore", "pipe", "pipe"],
      // In a group of its own: the terminal's Ctrl-C comes to this process, which passes it on.
      detached: true,
      env: { ...process.env, [startedByClusterVariable]: "1" },
    });
    let listened = false;
    prefixLines(child.stdout, (line) => {
      if (!listened && line.startsWith("listening on ")) {
        listened = true;
        this.listening += 1;
      }
      this.terminal.out(`${replica} | ${line}\n`);
      if (listened && this.listening === this.children.length) {
        this.listening += 1; // Told once.
        this.onListening();
      }
    });
    prefixLines(child.stderr, (line) => this.terminal.error(`${replica} | ${line}\n`));
    child.on("error", (error) => this.onEnd(replica, listened, `(${error.message})`));
    child.on("close", (code, signal) => {
      this.onEnd(replica, listened, code === 0 ? "" : `(${signal ?? `exit code ${code}`})`);
    });
    return child;
  }

  private onEnd(replica: number, listened: boolean, how: string): void {
    if (this.children[replica] === null) return;
    this.children[replica] = null;
    if (!this.stopping) {
      if (listened) this.tellEnd(replica, how);
      else this.fail(`replica ${replica} did not start ${how}; its lines above say why.`);
    } else if (how !== "") {
      this.failure ??= `replica ${replica} did not stop cleanly ${how}.`;
    }
    if (this.children.some((child) => child !== null)) return;
    if (!this.stopping) this.failure ??= "every replica has ended.";
    clearTimeout(this.stopTimer);
    this.endWatch();
    this.onEnded(this.failure);
  }

  /** The others go on; says how to start it again. */
  private tellEnd(replica: number, how: string): void {
    const { addresses, files, startOptions } = this.options;
    const given = ["--development", ...startOptions].join(" ");
    this.terminal.error(
      `replica ${replica} has ended ${how}; to start it again, in another terminal in '${projectRoot}':\n` +
        `  npm run --silent pacioli -- start --addresses=${addresses} ${given} '${files[replica]}'\n`,
    );
  }

  private fail(text: string): void {
    this.failure ??= text;
    this.stop();
  }

  private stop(): void {
    if (this.stopping) return;
    this.stopping = true;
    this.kill("SIGTERM");
    this.stopTimer = setTimeout(() => this.kill("SIGKILL"), stopLimitMs);
  }

  private kill(signal: NodeJS.Signals): void {
    for (const child of this.children) child?.kill(signal);
  }
}

/** Calls back once per line; the last may have no end. */
function prefixLines(stream: Readable, onLine: (line: string) => void): void {
  let rest = "";
  stream.setEncoding("utf8");
  stream.on("data", (chunk: string) => {
    const lines = (rest + chunk).split("\n");
    rest = lines.pop()!;
    for (const line of lines) onLine(line);
  });
  stream.on("end", () => {
    if (rest !== "") onLine(rest);
  });
}

/**
 * Resolves with the exit code once every replica has stopped.
 *
 * @param onListening - Every replica listens.
 * @throws {CommandError} when a replica did not start or stop as it should.
 */
export function runLocalCluster(
  options: LocalClusterOptions,
  terminal: Terminal,
  onListening: () => void,
): Promise<number> {
  return new Promise((resolve, reject) => {
    new LocalCluster(options, terminal, onListening, (failure) => {
      if (failure === null) resolve(0);
      else reject(new CommandError(failure));
    });
  });
}
