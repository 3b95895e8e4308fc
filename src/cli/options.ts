/**
 * Command-line options as data: a table of named options gives the parser, the help text and the
 * types of the parsed values. Strict on purpose: an unknown name, a missing or malformed value, an
 * option given twice and a stray argument are refused with one sentence that says what to write
 * instead, because a mistyped option of a database must not be ignored.
 */
import { CommandError } from "./command-error.ts";
import { nearest } from "./nearest.ts";
import { parseAddresses, parseDecimal, parseSize, type SocketAddress } from "./values.ts";

/** One option; T is the type of its parsed value. */
export interface Option<T> {
  /** What stands after `--name=` in the help, or "" for a flag, which takes no value. */
  readonly valueName: string;
  readonly help: string;
  /** The default as the help shows it; "" shows none. */
  readonly defaultText: string;
  readonly required: boolean;
  readonly initial: T;
  /** @throws {CommandError} naming `--name` when `text` is not a value of this option. */
  parse(text: string, name: string): T;
}

export type OptionTable = Readonly<Record<string, Option<unknown>>>;

export type OptionValues<Table extends OptionTable> = {
  readonly [Name in keyof Table]: Table[Name] extends Option<infer T> ? T : never;
};

export interface Parsed<Table extends OptionTable> {
  readonly values: OptionValues<Table>;
  /** Names of the options that stood on the command line. */
  readonly given: ReadonlySet<string>;
  readonly positionals: readonly string[];
  /** `--help` or `-h` stood on the command line; the rest was not checked. */
  readonly help: boolean;
}

/** `--name`: true when given. */
export function flag(help: string): Option<boolean> {
  return {
    valueName: "",
    help,
    defaultText: "",
    required: false,
    initial: false,
    parse: () => true,
  };
}

interface ValueOption<T> {
  readonly help: string;
  readonly valueName?: string;
  /** Left out: the option must be given (`required`), or its value may be undefined. */
  readonly initial?: T;
  readonly required?: boolean;
  /** Shown instead of the initial value. */
  readonly defaultText?: string;
}

interface Range {
  readonly min: number;
  readonly max: number;
}

/** The type of an option's value: undefined is possible unless the spec rules it out. */
type Value<Spec, T> = Spec extends { readonly initial: T } | { readonly required: true }
  ? T
  : T | undefined;

function option<T, Spec extends ValueOption<T>>(
  spec: Spec,
  valueName: string,
  parse: (text: string, name: string) => T,
): Option<Value<Spec, T>> {
  const initial = spec.initial;
  return {
    valueName: spec.valueName ?? valueName,
    help: spec.help,
    defaultText: spec.defaultText ?? (initial === undefined ? "" : String(initial)),
    required: spec.required ?? false,
    // A required option is never read before it was given.
    initial: initial as Value<Spec, T>,
    parse: parse as (text: string, name: string) => Value<Spec, T>,
  };
}

export function text<const Spec extends ValueOption<string>>(
  spec: Spec,
): Option<Value<Spec, string>> {
  return option<string, Spec>(spec, "TEXT", (given) => given);
}

/** A whole number in min…max, both included and at most 2^53 − 1. */
export function integer<const Spec extends ValueOption<number> & Range>(
  spec: Spec,
): Option<Value<Spec, number>> {
  return option<number, Spec>(spec, "N", (given, name) => {
    const value = parseDecimal(given);
    if (value === undefined || value < BigInt(spec.min) || value > BigInt(spec.max)) {
      throw new CommandError(
        `--${name} must be a whole number from ${spec.min} to ${spec.max}, not '${given}'.`,
      );
    }
    return Number(value);
  });
}

const u128Max = (1n << 128n) - 1n;

/** An unsigned 128-bit integer in decimal. */
export function u128<const Spec extends ValueOption<bigint>>(
  spec: Spec,
): Option<Value<Spec, bigint>> {
  return option<bigint, Spec>(spec, "N", (given, name) => {
    const value = parseDecimal(given);
    if (value === undefined || value > u128Max) {
      throw new CommandError(
        `--${name} must be a whole number from 0 to 2^128 - 1 in decimal, not '${given}'.`,
      );
    }
    return value;
  });
}

/** Bytes: `512MiB`, `1GiB`, or a plain number. */
export function size<const Spec extends ValueOption<number> & Range>(
  spec: Spec,
): Option<Value<Spec, number>> {
  return option<number, Spec>(spec, "SIZE", (given, name) => {
    const value = parseSize(given);
    if (value === undefined) {
      throw new CommandError(
        `--${name} must be a size such as 256MiB or 1GiB (units: KiB, MiB, GiB, TiB), not '${given}'.`,
      );
    }
    if (value < spec.min || value > spec.max) {
      throw new CommandError(
        `--${name} must be between ${formatSize(spec.min)} and ${formatSize(spec.max)}, not '${given}'.`,
      );
    }
    return value;
  });
}

/** One of a few words. */
export function choice<const T extends string, const Spec extends ValueOption<NoInfer<T>>>(
  words: readonly T[],
  spec: Spec,
): Option<Value<Spec, T>> {
  return option<T, Spec>(spec, words.join("|"), (given, name) => {
    const found = words.find((word) => word === given);
    if (found === undefined) {
      throw new CommandError(`--${name} must be ${listOf(words)}, not '${given}'.`);
    }
    return found;
  });
}

export function onOff(spec: { readonly help: string; readonly initial: boolean }): Option<boolean> {
  return {
    valueName: "on|off",
    help: spec.help,
    defaultText: spec.initial ? "on" : "off",
    required: false,
    initial: spec.initial,
    parse(given, name) {
      if (given === "on" || given === "off") return given === "on";
      throw new CommandError(`--${name} must be on or off, not '${given}'.`);
    },
  };
}

/** `3001`, `127.0.0.1:3001`, `[::1]:3001`, or several with commas between. */
export function addresses<const Spec extends ValueOption<readonly SocketAddress[]>>(
  spec: Spec,
): Option<Value<Spec, readonly SocketAddress[]>> {
  return option<readonly SocketAddress[], Spec>(spec, "ADDRESSES", (given, name) => {
    const result = parseAddresses(given);
    if (typeof result === "string") throw new CommandError(`--${name}: ${result}`);
    return result;
  });
}

/** What a command takes. */
export interface Syntax<Table extends OptionTable> {
  readonly name: string;
  readonly options: Table;
  /** The arguments that it takes, in order; those in brackets may be left out. */
  readonly positionals: readonly string[];
  /** The first is shown to those who leave something out. */
  readonly examples: readonly string[];
}

/**
 * Parses the arguments of one command.
 *
 * @throws {CommandError} with the sentence for the user.
 */
export function parseOptions<Table extends OptionTable>(
  syntax: Syntax<Table>,
  args: readonly string[],
): Parsed<Table> {
  const { name: command, options: table } = syntax;
  const values: Record<string, unknown> = {};
  for (const [name, spec] of Object.entries(table)) values[name] = spec.initial;
  const given = new Set<string>();
  const positionals: string[] = [];
  // Help is answered before anything else is judged: who asks for it may not know the options.
  const end = args.indexOf("--");
  const help = (end < 0 ? args : args.slice(0, end)).some(
    (arg) => arg === "--help" || arg === "-h",
  );
  const done = (): Parsed<Table> => ({
    values: values as OptionValues<Table>,
    given,
    positionals,
    help,
  });
  if (help) return done();

  let onlyPositionals = false;
  for (let at = 0; at < args.length; at += 1) {
    const arg = args[at]!;
    if (!onlyPositionals && /^[–—]/.test(arg)) {
      // Word processors and web pages make them out of hyphens.
      throw new CommandError(
        `'${arg}' begins with a dash that is no hyphen; write --${arg.replace(/^[–—]+/, "")}.`,
      );
    }
    if (onlyPositionals || !arg.startsWith("-") || arg === "-") {
      positionals.push(arg);
      continue;
    }
    if (arg === "--") {
      onlyPositionals = true;
      continue;
    }
    const equals = arg.indexOf("=");
    const name = optionName(equals < 0 ? arg : arg.slice(0, equals), table, command);
    const spec = table[name]!;
    if (given.has(name)) throw new CommandError(`--${name} is given twice; give it once.`);
    given.add(name);

    let value = equals < 0 ? undefined : arg.slice(equals + 1);
    if (spec.valueName === "") {
      if (value !== undefined) throw new CommandError(`--${name} takes no value; write --${name}.`);
      value = "";
    } else if (value === undefined && at + 1 < args.length && !args[at + 1]!.startsWith("--")) {
      at += 1;
      value = args[at]!;
    }
    if (value === undefined || (value === "" && spec.valueName !== "")) {
      throw new CommandError(`--${name} needs a value: --${name}=${spec.valueName}.`);
    }
    values[name] = spec.parse(value, name);
  }

  checkComplete(syntax, given, positionals);
  checkPositionals(syntax, positionals);
  return done();
}

/** Says everything that is missing at once. */
function checkComplete<Table extends OptionTable>(
  { name, options, positionals, examples }: Syntax<Table>,
  given: ReadonlySet<string>,
  written: readonly string[],
): void {
  const missing = Object.entries(options)
    .filter(([option, spec]) => spec.required && !given.has(option))
    .map(([option, spec]) => `--${option}=${spec.valueName}`);
  const needed = positionals.filter((positional) => !positional.startsWith("["));
  missing.push(...needed.slice(written.length));
  if (missing.length === 0) return;
  const example = examples[0] === undefined ? `pacioli ${name} --help` : examples[0];
  throw new CommandError(`${name} needs ${missing.join(" and ")}; for example '${example}'.`);
}

function optionName(written: string, table: OptionTable, command: string): string {
  const name = written.startsWith("--") ? written.slice(2) : "";
  if (name !== "" && Object.hasOwn(table, name)) return name;
  const wanted = written.replace(/^-+/, "");
  const guess = nearest(wanted, Object.keys(table));
  const hint =
    guess === undefined
      ? `run 'pacioli ${command} --help' for its options.`
      : `did you mean --${guess}?`;
  throw new CommandError(`${command} has no option '${written}'; ${hint}`);
}

function checkPositionals<Table extends OptionTable>(
  { name, positionals: names }: Syntax<Table>,
  written: readonly string[],
): void {
  if (written.length > names.length) {
    const stray = written[names.length]!;
    throw new CommandError(
      names.length === 0
        ? `${name} takes no arguments, but '${stray}' is given; options start with '--'.`
        : `${name} takes only ${names.join(" ")}, but '${stray}' is given as well.`,
    );
  }
  // What an unset variable of a script leaves.
  if (written.includes("")) {
    throw new CommandError(`an argument of ${name} is empty; give ${names.join(" ")}.`);
  }
}

/** Bytes in the largest unit that divides them: `64KiB`, `1GiB`. */
export function formatSize(bytes: number): string {
  const units = ["TiB", "GiB", "MiB", "KiB"];
  let unit = 2 ** 40;
  for (const name of units) {
    if (bytes >= unit && bytes % unit === 0) return `${bytes / unit}${name}`;
    unit /= 1024;
  }
  return `${bytes} bytes`;
}

function listOf(words: readonly string[]): string {
  return words.length === 1
    ? words[0]!
    : `${words.slice(0, -1).join(", ")} or ${words[words.length - 1]}`;
}
