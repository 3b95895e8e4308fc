/**
 * Machinery for the order of checks: each check is described by what makes an event violate it,
 * as values that some of its fields may take. Two descriptions combine when every field that both
 * mention has a value in common; the event then violates both checks, and the answer must be the
 * earlier one's status.
 */
import { created } from "../reference/records.ts";

/** What comes before the event in its sub-batch. The events of a prefix always fail. */
export type Prefix = "none" | "plain" | "imported" | "broken chain" | "broken imported chain";

export type FieldValues = Readonly<Record<string, readonly (bigint | number)[]>>;

export interface Violation {
  /** Protocol name of the status. */
  readonly status: string;
  /** Tells violations of one status apart. */
  readonly variant?: string;
  readonly fields?: FieldValues;
  /** Flags that must be set, and that must not. */
  readonly flags?: number;
  readonly withoutFlags?: number;
  readonly prefix?: readonly Prefix[];
  /** Two fields that must have the same value. */
  readonly same?: readonly [string, string];
  /** Statuses that no event can also violate, for a reason that is not one of fields and flags. */
  readonly excludes?: readonly string[];
  /** The id exists: the status then depends on which field differs first. */
  readonly exists?: boolean;
}

export interface Combined {
  readonly fields: Readonly<Record<string, bigint | number>>;
  readonly flags: number;
  readonly prefix: Prefix;
}

export interface Rules {
  readonly importedFlag: number;
  /** Statuses of a sub-batch that mixes imported events with others. */
  readonly mixing: readonly string[];
}

const importedPrefixes: readonly Prefix[] = ["none", "imported", "broken imported chain"];
const plainPrefixes: readonly Prefix[] = ["none", "plain", "broken chain"];

/** One event that violates both, or the name of what stands against it. */
export function combine(a: Violation, b: Violation, rules: Rules): Combined | string {
  if (a.excludes?.includes(b.status) || b.excludes?.includes(a.status)) return "excluded";
  const flags = (a.flags ?? 0) | (b.flags ?? 0);
  const without = (a.withoutFlags ?? 0) | (b.withoutFlags ?? 0);
  if ((flags & without) !== 0) return "flags";

  const values = new Map<string, readonly (bigint | number)[]>();
  for (const { fields } of [a, b]) {
    for (const [field, allowed] of Object.entries(fields ?? {})) {
      const before = values.get(field);
      values.set(
        field,
        before === undefined ? allowed : before.filter((value) => allowed.includes(value)),
      );
    }
  }
  for (const { same } of [a, b]) {
    if (same === undefined) continue;
    const [first, second] = same;
    const both = values.get(first)!.filter((value) => values.get(second)!.includes(value));
    values.set(first, both.slice(0, 1));
    values.set(second, both.slice(0, 1));
  }
  const chosen: Record<string, bigint | number> = {};
  for (const [field, allowed] of values) {
    if (allowed.length === 0) return field;
    chosen[field] = allowed[0]!;
  }

  const mixes = rules.mixing.includes(a.status) || rules.mixing.includes(b.status);
  let prefixes: readonly Prefix[] = [
    "none",
    "plain",
    "imported",
    "broken chain",
    "broken imported chain",
  ];
  for (const { prefix } of [a, b]) {
    if (prefix !== undefined) prefixes = prefixes.filter((one) => prefix.includes(one));
  }
  if (!mixes) {
    const fitting = (flags & rules.importedFlag) !== 0 ? importedPrefixes : plainPrefixes;
    prefixes = prefixes.filter((one) => fitting.includes(one));
  }
  if (prefixes.length === 0) return "imported mode";
  return { fields: chosen, flags, prefix: prefixes[0]! };
}

export function nameOf({ status, variant }: Violation): string {
  return variant === undefined ? status : `${status} (${variant})`;
}

/** Checks that come before all others, in order (semantics.md §2.2). */
export function batchViolations(importedFlag: number): Violation[] {
  const beyond = 1n << 63n;
  return [
    { status: "linked_event_chain_open", flags: 1 },
    {
      status: "linked_event_failed",
      prefix: ["broken chain", "broken imported chain"],
    },
    {
      status: "imported_event_not_expected",
      flags: importedFlag,
      prefix: ["plain", "broken chain"],
    },
    {
      status: "imported_event_expected",
      withoutFlags: importedFlag,
      prefix: ["imported", "broken imported chain"],
    },
    {
      status: "imported_event_timestamp_out_of_range",
      flags: importedFlag,
      fields: { timestamp: [0n, beyond] },
    },
    {
      status: "imported_event_timestamp_must_not_advance",
      flags: importedFlag,
      fields: { timestamp: [beyond - 1n] },
    },
    {
      status: "timestamp_must_be_zero",
      withoutFlags: importedFlag,
      fields: { timestamp: [1n, beyond, beyond - 1n] },
    },
  ];
}

export interface PairReport {
  tested: number;
  readonly impossible: Map<string, string[]>;
}

/**
 * Tries all pairs of violations, in order of precedence.
 * @param statusOf - Executes the combined event and returns the name of its status.
 * @param existing - The status of an event whose id exists.
 */
export function tryPairs(
  violations: readonly Violation[],
  rules: Rules,
  statusOf: (event: Combined) => string,
  existing: (event: Combined) => string,
): { report: PairReport; wrong: string[] } {
  const report: PairReport = { tested: 0, impossible: new Map() };
  const wrong: string[] = [];
  for (const [index, a] of violations.entries()) {
    for (const b of violations.slice(index)) {
      if (a !== b && a.status === b.status) continue;
      const event = combine(a, b, rules);
      if (typeof event === "string") {
        const pairs = report.impossible.get(event) ?? [];
        pairs.push(`${nameOf(a)} + ${nameOf(b)}`);
        report.impossible.set(event, pairs);
        continue;
      }
      report.tested += 1;
      const expected = a.exists === true ? existing(event) : a.status;
      const actual = statusOf(event);
      if (actual !== expected) {
        wrong.push(`${nameOf(a)} + ${nameOf(b)}: ${actual} instead of ${expected}`);
      }
    }
  }
  return { report, wrong };
}

/** How many pairs no event can violate together, by what they disagree on. */
export function summary(report: PairReport): Record<string, number> {
  return Object.fromEntries([...report.impossible].map(([field, pairs]) => [field, pairs.length]));
}

export function statusName(names: Readonly<Record<string, number>>, status: number): string {
  const found = Object.keys(names).find((name) => names[name] === status);
  return status === created ? "created" : (found ?? String(status));
}
