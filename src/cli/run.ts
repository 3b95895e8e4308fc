/**
 * The `pacioli` command: finds the subcommand, runs it, and turns what went wrong into one
 * sentence on the error stream and exit code 1. A broken invariant is a bug and keeps its stack.
 */
import { DataFileError } from "../core/data-file-error.ts";
import { IoBackendError } from "../io/open-io.ts";
import { MemoryError } from "../native/memory.ts";
import type { Command, Terminal } from "./command.ts";
import { CommandError } from "./command-error.ts";
import { benchmarkCommand } from "./commands/benchmark.ts";
import { developmentCommand } from "./commands/development.ts";
import { formatCommand } from "./commands/format.ts";
import { inspectCommand } from "./commands/inspect.ts";
import { recoverCommand } from "./commands/recover.ts";
import { simulateCommand } from "./commands/simulate.ts";
import { startCommand } from "./commands/start.ts";
import { versionCommand } from "./commands/version.ts";
import { nearest } from "./nearest.ts";

const commands: readonly Command[] = [
  formatCommand,
  startCommand,
  developmentCommand,
  recoverCommand,
  inspectCommand,
  benchmarkCommand,
  simulateCommand,
  versionCommand,
];

const names = commands.map((command) => command.name);

function overview(): string {
  const width = Math.max(...names.map((name) => name.length));
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
    terminal.error(`pacioli: ${explain(error)}\n`);
    return 1;
  }
}

/** A sentence for the user, or for whoever mends the bug. */
export function explain(error: unknown): string {
  if (error instanceof CommandError) return error.message;
  // The data file or the machine refused; those messages are sentences for the user as well.
  if (error instanceof DataFileError || error instanceof IoBackendError) return error.message;
  if (error instanceof MemoryError) {
    return `not enough memory (${error.message}); free some, or give --development or a smaller --cache-grid.`;
  }
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return `this is a bug, please report it: ${text}`;
}

async function dispatch(args: readonly string[], terminal: Terminal): Promise<number> {
  const [name, ...rest] = args;
  if (name === undefined) {
    terminal.error(overview());
    return 1;
  }
  if (name === "--help" || name === "-h" || name === "help") {
    terminal.out(help(rest));
    return 0;
  }
  if (name === "--version") return find("version").run(rest, terminal);
  if (name.startsWith("-")) throw new CommandError(optionFirst(name));
  return find(name).run(rest, terminal);
}

/** `help`, `help COMMAND`, and the same with the help's own `--help`. */
function help(words: readonly string[]): string {
  const [topic, stray] = words.filter((word) => word !== "--help" && word !== "-h");
  if (stray !== undefined) {
    throw new CommandError(`help takes one command, but '${stray}' is given as well.`);
  }
  return topic === undefined || topic === "help" ? overview() : find(topic).help();
}

function optionFirst(name: string): string {
  const word = name.replace(/^-+/, "").toLowerCase();
  const guess = word === "v" ? "version" : nearest(word, [...names, "help"]);
  return guess === undefined
    ? `the command comes before its options; write 'pacioli COMMAND ${name}' (commands: ${names.join(", ")}).`
    : `there is no option '${name}' before a command; did you mean 'pacioli ${guess}'?`;
}

function find(name: string): Command {
  const found = commands.find((command) => command.name === name);
  if (found !== undefined) return found;
  const guess = nearest(name, names);
  throw new CommandError(
    guess === undefined
      ? `there is no command '${name}'; the commands are ${names.join(", ")}.`
      : `there is no command '${name}'; did you mean '${guess}'?`,
  );
}
