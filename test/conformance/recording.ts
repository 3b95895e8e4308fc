/**
 * The recordings of this folder, and how to compare a run with them: timestamps that a server
 * assigns get the names that the README describes, so that equal runs give equal texts.
 */
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { gunzipSync } from "node:zlib";

export interface Step {
  readonly step: number;
  readonly op: string;
  readonly input: unknown;
  readonly result: unknown;
}

const folder = dirname(fileURLToPath(import.meta.url));

/** Names of the recordings, without extension. */
export const recordingNames: readonly string[] = readdirSync(folder)
  .filter((file) => file.endsWith(".jsonl.gz"))
  .map((file) => file.slice(0, -".jsonl.gz".length))
  .sort();

export function readRecording(name: string): Step[] {
  const text = gunzipSync(readFileSync(join(folder, `${name}.jsonl.gz`))).toString("utf8");
  return text
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as Step);
}

/** Below it a timestamp is absolute: it was supplied with an imported event. */
const absoluteBelow = 10n ** 15n;

/** Names and values of the timestamps seen so far in one run. */
export class TimestampNames {
  private readonly names = new Map<bigint, string>();
  private readonly values = new Map<string, bigint>();

  nameOf(timestamp: bigint): string | 0 {
    if (timestamp === 0n) return 0;
    if (timestamp < absoluteBelow) return `=${timestamp}`;
    let name = this.names.get(timestamp);
    if (name === undefined) {
      name = `t${this.names.size}`;
      this.names.set(timestamp, name);
      this.values.set(name, timestamp);
    }
    return name;
  }

  /** `text` is a decimal number, "t12", "t12+1" or "t12-1". */
  resolve(text: string): bigint {
    const match = /^(t\d+)([+-]1)?$/.exec(text);
    if (match === null) return BigInt(text);
    const value = this.values.get(match[1]!);
    if (value === undefined) throw new Error(`timestamp ${match[1]} was not seen yet`);
    return value + BigInt(match[2] ?? "0");
  }
}

/** An input as the official client takes it: decimal strings become bigint. */
export function resolveInput(input: unknown, names: TimestampNames): unknown {
  if (typeof input === "string") return names.resolve(input);
  if (Array.isArray(input)) return input.map((element) => resolveInput(element, names));
  if (typeof input === "object" && input !== null) {
    return Object.fromEntries(
      Object.entries(input).map(([key, value]) => [key, resolveInput(value, names)]),
    );
  }
  return input;
}

/** A result in the form of the recordings: named timestamps, bigint as decimal strings. */
export function canonical(result: readonly object[], names: TimestampNames): unknown {
  return result.map((object) =>
    Object.fromEntries(
      Object.entries(object).map(([key, value]) => {
        if (key === "timestamp") return [key, names.nameOf(value as bigint)];
        return [key, typeof value === "bigint" ? value.toString() : value];
      }),
    ),
  );
}
