/**
 * The `pacioli` command: finds the subcommand, runs it, and turns what went wrong into one
 * sentence on the error stream and exit code 1. A broken invariant is a bug and keeps its stack.
 */
import { DataFileError } from "../core/data-file-error.ts";
import { IoBackendError } from "../io/open-io.ts";
import type { Command, Terminal } from "./command.ts";
import { CommandError } from "./command-error.ts";
import { benchmarkCommand } from "./commands/benchmark.ts";
import { developmentCommand } from "./commands/development.ts";
import { formatCommand } from "./commands/format.ts";
import { inspectCommand } from "./commands/inspect.ts";
import { startCommand } from "./commands/start.ts";
import { versionCommand } from "./commands/version.ts";
import { nearest } from "./nearest.ts";

const commands: readonly Command[] = [
  formatCommand,
  startCommand,
  developmentCommand,
  inspectCommand,
  benchmarkCommand,
  versionCommand,
];

function overview(): string {
  const width = Math.max(...commands.map((command) => command.name.length));
  const rows = commands.map((command) => `  ${command.name.padEnd(width)}  ${command.summary}`);
  return `Usage: pacioli COMMAND [OPTIONS]

Pacioli is a double-entry ledger database. One data file is one replica.

Commands:
${rows.join("\n")}

'pacioli COMMAND --help' explains a command. From a clone of the project:
  npm run --silent pacioli -- COMMAND [OPTIONS]
`;
}

/** Resolves with the exit code; never rejects. */
export async function run(args: readonly string[], terminal: Terminal): Promise<number> {
  try {
    return await dispatch(args, terminal);
  } catch (error) {
    if (error instanceof CommandError || isRefusal(error)) {
      terminal.error(`pacioli: ${error.message}\n`);
    } else {
      const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
      terminal.error(`pacioli: this is a bug, please report it: ${text}\n`);
    }
    return 1;
  }
}

/** The data file or the machine refused; the message is a sentence for the user. */
function isRefusal(error: unknown): error is Error {
  return error instanceof DataFileError || error instanceof IoBackendError;
}

async function dispatch(args: readonly string[], terminal: Terminal): Promise<number> {
  const [name, ...rest] = args;
  if (name === undefined) {
    terminal.error(overview());
    return 1;
  }
  if (name === "--help" || name === "-h" || name === "help") {
    const topic = rest.find((word) => !word.startsWith("-"));
    terminal.out(topic === undefined ? overview() : find(topic).help());
    return 0;
  }
  if (name === "--version") return find("version").run(rest, terminal);
  if (name.startsWith("-")) {
    throw new CommandError(
      `the command comes before its options; write 'pacioli COMMAND ${name}' (commands: ${commands
        .map((command) => command.name)
        .join(", ")}).`,
    );
  }
  return find(name).run(rest, terminal);
}

function find(name: string): Command {
  const found = commands.find((command) => command.name === name);
  if (found !== undefined) return found;
  const names = commands.map((command) => command.name);
  const guess = nearest(name, names);
  throw new CommandError(
    guess === undefined
      ? `there is no command '${name}'; the commands are ${names.join(", ")}.`
      : `there is no command '${name}'; did you mean '${guess}'?`,
  );
}
