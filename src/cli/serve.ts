/**
 * A server in the foreground: from its start until a signal, or an error that no replica may go on
 * after, has stopped it.
 */
import { formatAddress } from "../io/socket-address.ts";
import { Server, type ServerOptions } from "../server/server.ts";
import type { Terminal } from "./command.ts";
import { CommandError } from "./command-error.ts";
import { type LogLevel, logLevels } from "./server-options.ts";
import { watchForStop } from "./stop-signals.ts";

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
  function log(level: LogLevel, text: string): void {
    if (logLevels.indexOf(level) <= levelMax) terminal.error(logLine(level, text));
  }
  return new Promise<number>((resolve, reject) => {
    function open(reopened: boolean): Server {
      return new Server(
        { ...options, reopened },
        {
          onLog: log,
          onListening(host, port) {
            terminal.out(`listening on ${formatAddress(host, port)}\n`);
            onListening(port);
          },
          onMoved() {
            if (stopping) end(null);
            else reopen();
          },
          onStopped: end,
        },
      );
    }
    function reopen(): void {
      try {
        server = open(true);
      } catch (error) {
        end(error instanceof Error ? error.message : String(error));
      }
    }
    function end(error: string | null): void {
      endWatch();
      if (error === null) resolve(0);
      else reject(new CommandError(error));
    }
    let stopping = false;
    let server = open(false);
    const endWatch = watchForStop({
      stop(text) {
        log("info", text);
        stopping = true;
        server.stop();
      },
      abort: (code) => process.exit(code),
    });
  });
}

function logLine(level: LogLevel, text: string): string {
  return `${new Date().toISOString()} ${level.padEnd(5)} ${text}\n`;
}
