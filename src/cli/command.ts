/** What a subcommand is, and its help text: written once from the same table that parses it. */
import {
  type OptionTable,
  type OptionValues,
  type Parsed,
  parseOptions,
  type Syntax,
} from "./options.ts";

/** Where a command writes. A real one wraps the process's streams; tests record. */
export interface Terminal {
  out(text: string): void;
  error(text: string): void;
  /** Progress may be drawn over itself on the error stream. */
  readonly interactive: boolean;
}

/** A whole command, its option types erased: what the dispatcher holds. */
export interface Command {
  readonly name: string;
  readonly summary: string;
  help(): string;
  /** Resolves with the exit code. Rejects with CommandError for a mistake of the user's. */
  run(args: readonly string[], terminal: Terminal): Promise<number>;
}

export interface CommandSpec<Table extends OptionTable> extends Syntax<Table> {
  /** One line, for the list of commands. */
  readonly summary: string;
  /** Paragraphs under the usage line. */
  readonly description: string;
  run(
    values: OptionValues<Table>,
    positionals: readonly string[],
    terminal: Terminal,
    parsed: Parsed<Table>,
  ): Promise<number>;
}

export function defineCommand<const Table extends OptionTable>(spec: CommandSpec<Table>): Command {
  return {
    name: spec.name,
    summary: spec.summary,
    help: () => helpText(spec),
    async run(args, terminal) {
      const parsed = parseOptions(spec, args);
      if (parsed.help) {
        terminal.out(helpText(spec));
        return 0;
      }
      return spec.run(parsed.values, parsed.positionals, terminal, parsed);
    },
  };
}

const lineWidth = 88;

function helpText<Table extends OptionTable>(spec: CommandSpec<Table>): string {
  const names = Object.keys(spec.options);
  const required = names.filter((name) => spec.options[name]!.required);
  const usage = [
    `pacioli ${spec.name}`,
    ...required.map((name) => `--${name}=${spec.options[name]!.valueName}`),
    ...(names.length > required.length ? ["[OPTIONS]"] : []),
    ...spec.positionals,
  ].join(" ");

  const sections = [`Usage: ${usage}`, wrap(spec.description, 0)];
  if (names.length > 0) {
    const rows = names.map((name) => {
      const option = spec.options[name]!;
      const left = option.valueName === "" ? `--${name}` : `--${name}=${option.valueName}`;
      const right =
        option.defaultText === "" ? option.help : `${option.help} [${option.defaultText}]`;
      return `  ${left}\n${wrap(right, 6)}`;
    });
    sections.push(`Options:\n${rows.join("\n")}`);
  }
  if (spec.examples.length > 0) {
    sections.push(`Examples:\n${spec.examples.map((line) => `  ${line}`).join("\n")}`);
  }
  return `${sections.join("\n\n")}\n`;
}

/** Breaks paragraphs into lines that start with `indent` spaces; indented input lines are kept. */
export function wrap(text: string, indent: number): string {
  const margin = " ".repeat(indent);
  const lines: string[] = [];
  for (const paragraph of text.split("\n")) {
    if (paragraph === "" || paragraph.startsWith(" ")) {
      lines.push(paragraph === "" ? "" : margin + paragraph);
      continue;
    }
    let line = "";
    for (const word of paragraph.split(" ")) {
      if (line !== "" && indent + line.length + 1 + word.length > lineWidth) {
        lines.push(margin + line);
        line = word;
      } else {
        line = line === "" ? word : `${line} ${word}`;
      }
    }
    lines.push(margin + line);
  }
  return lines.join("\n");
}
