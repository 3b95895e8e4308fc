/** Numbers and tables as the commands print them. */

/** `1,234,567`. */
export function formatCount(value: number | bigint): string {
  return value.toLocaleString("en-US", { maximumFractionDigits: 0 });
}

/** Three or more significant digits and a unit that suits. */
export function formatMilliseconds(milliseconds: number): string {
  if (milliseconds < 1) return `${(milliseconds * 1000).toFixed(0)} µs`;
  if (milliseconds < 100) return `${milliseconds.toFixed(2)} ms`;
  if (milliseconds < 1000) return `${milliseconds.toFixed(0)} ms`;
  return `${(milliseconds / 1000).toFixed(2)} s`;
}

/** In MiB or GiB, rounded: for memory and files. */
export function formatBytes(bytes: number): string {
  if (bytes < 2 ** 20) return `${(bytes / 2 ** 10).toFixed(0)} KiB`;
  if (bytes < 2 ** 30) return `${(bytes / 2 ** 20).toFixed(0)} MiB`;
  return `${(bytes / 2 ** 30).toFixed(2)} GiB`;
}

/** `12`, `1,234`, `9.88 ms`; no hexadecimal number, and an empty cell counts as well. */
const isNumberText = /^(-?[0-9][0-9,.]*( [^ ]+)?)?$/;

/** Rows of cells, columns aligned; numbers (and the head above them) to the right. */
export function formatTable(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = head.map((cell, column) =>
    Math.max(cell.length, ...rows.map((row) => (row[column] ?? "").length)),
  );
  const isNumber = head.map(
    (_, column) => rows.length > 0 && rows.every((row) => isNumberText.test(row[column] ?? "")),
  );
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, column) =>
        isNumber[column] ? cell.padStart(widths[column]!) : cell.padEnd(widths[column]!),
      )
      .join("  ")
      .trimEnd();
  return `${[head, ...rows].map(line).join("\n")}\n`;
}

/** `name  value` lines, values aligned. */
export function formatFacts(facts: readonly (readonly [string, string])[]): string {
  const width = Math.max(...facts.map(([name]) => name.length));
  return `${facts.map(([name, value]) => `${name.padEnd(width)}  ${value}`).join("\n")}\n`;
}

/**
 * JSON for programs: bigints as decimal strings, since they may not fit a double, and measured
 * figures to three decimals, since the rest of their digits says nothing.
 */
export function formatJson(value: unknown): string {
  const text = JSON.stringify(
    value,
    (_, item: unknown) => {
      if (typeof item === "bigint") return item.toString();
      if (typeof item === "number" && !Number.isInteger(item)) return Number(item.toFixed(3));
      return item;
    },
    2,
  );
  return `${text}\n`;
}
