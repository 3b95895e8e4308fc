/**
 * A server in the foreground: from its start until a signal, or an error that no replica may go on
 * after, has stopped it. The first SIGTERM or SIGINT stops it cleanly (exit code 0); a second one
 * ends the process at once, which is as safe as a crash.
 */
import { Server, type ServerOptions } from "../server/server.ts";
import type { Terminal } from "./command.ts";
import { CommandError } from "./command-error.ts";
import { type LogLevel, logLevels } from "./server-options.ts";
import { formatAddress } from "./values.ts";

const signals = ["SIGTERM", "SIGINT"] as const;

/**
 * A signal that follows another so soon is the same one: npm passes on a Ctrl-C that the terminal
 * has already sent to every process in the foreground. Milliseconds.
 */
const sameSignalMs = 500;

/** How often a server that npm runs looks whether npm is still there. Milliseconds. */
const parentCheckMs = 500;

/**
 * npm runs scripts through a shell. A SIGTERM ends npm and the shell and never reaches the server,
 * which would stay behind with its port and its file: it stops when its parent has changed.
 * Returns a function that ends the watch.
 */
function watchNpm(onGone: () => void): () => void {
  if (process.env["npm_lifecycle_event"] === undefined) return () => {};
  const parent = process.ppid;
  const timer = setInterval(() => {
    if (process.ppid === parent) return;
    clearInterval(timer);
    onGone();
  }, parentCheckMs);
  return () => clearInterval(timer);
}

/**
 * Resolves with the exit code once the server has stopped.
 *
 * @param onListening - Called after the line that says so.
 * @throws {CommandError} with what the server could not go on after.
 */
export function serve(
  options: ServerOptions,
  logLevel: LogLevel,
  terminal: Terminal,
  onListening: (port: number) => void = () => {},
): Promise<number> {
  const levelMax = logLevels.indexOf(logLevel);
  return new Promise<number>((resolve, reject) => {
    const server = new Server(options, {
      onLog(level, text) {
        if (logLevels.indexOf(level) <= levelMax) terminal.error(logLine(level, text));
      },
      onListening(host, port) {
        terminal.out(`listening on ${formatAddress({ host, port })}\n`);
        onListening(port);
      },
      onStopped(error) {
        endWatch();
        for (const signal of signals) process.off(signal, onSignal);
        if (error === null) resolve(0);
        else reject(new CommandError(error));
      },
    });

    let stoppingSinceMs = 0;
    function onSignal(signal: NodeJS.Signals): void {
      const nowMs = performance.now();
      if (stoppingSinceMs > 0) {
        if (nowMs - stoppingSinceMs < sameSignalMs) return;
        process.exit(signal === "SIGINT" ? 130 : 143);
      }
      stoppingSinceMs = nowMs;
      stop("stopping");
    }
    function stop(text: string): void {
      if (levelMax >= logLevels.indexOf("info")) terminal.error(logLine("info", text));
      server.stop();
    }
    for (const signal of signals) process.on(signal, onSignal);
    const endWatch = watchNpm(() => {
      // After a Ctrl-C npm ends as well, often first.
      if (stoppingSinceMs === 0) stop("stopping, since npm has ended");
    });
  });
}

function logLine(level: LogLevel, text: string): string {
  return `${new Date().toISOString()} ${level.padEnd(5)} ${text}\n`;
}
