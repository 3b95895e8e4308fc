/** Numbers, tables and JSON as the commands print them. */
import { describe, expect, test } from "vitest";
import {
  formatBytes,
  formatCount,
  formatFacts,
  formatJson,
  formatMilliseconds,
  formatTable,
} from "../../src/cli/output.ts";

test("JSON keeps what a double cannot hold, and drops digits that say nothing", () => {
  const value = {
    total: 2n ** 100n,
    ms: 271.123456789,
    share: 0.1 + 0.2,
    count: 3,
    rest: null,
  };
  expect(JSON.parse(formatJson(value))).toEqual({
    total: "1267650600228229401496703205376",
    ms: 271.123,
    share: 0.3,
    count: 3,
    rest: null,
  });
});

describe("numbers", () => {
  test.each([
    [0.4567, "457 µs"],
    [9.876, "9.88 ms"],
    [123.4, "123 ms"],
    [12_345, "12.35 s"],
  ])("%d ms", (milliseconds, text) => {
    expect(formatMilliseconds(milliseconds)).toBe(text);
  });

  test.each([
    [64 * 1024, "64 KiB"],
    [5 * 2 ** 20, "5 MiB"],
    [1.5 * 2 ** 30, "1.50 GiB"],
  ])("%d bytes", (bytes, text) => {
    expect(formatBytes(bytes)).toBe(text);
  });

  test("counts have groups of three", () => {
    expect([formatCount(999), formatCount(1_234_567), formatCount(2n ** 64n)]).toEqual([
      "999",
      "1,234,567",
      "18,446,744,073,709,551,616",
    ]);
  });
});

test("columns of numbers go to the right, others to the left, without blanks at the end", () => {
  const rows = [
    ["accounts", "501", "is kept"],
    ["ids", "48,500", ""],
  ];
  expect(formatTable(["table", "rows", "note"], rows)).toBe(
    "table       rows  note\naccounts     501  is kept\nids       48,500\n",
  );
});

test("facts are aligned", () => {
  const facts = [
    ["log", "ends"],
    ["checkpoint", "op 3"],
  ] as const;
  expect(formatFacts(facts)).toBe("log         ends\ncheckpoint  op 3\n");
});
