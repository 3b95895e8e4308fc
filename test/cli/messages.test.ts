/**
 * The page of messages is complete and current: every sentence in the sources stands on it, and
 * what stands on it exists. Sentences are found in the syntax tree: string expressions that end
 * like one, apart from help texts and what asserts say.
 */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { parseAst } from "vitest/node";

/** Stands for a value: in expressions read from the sources, and on the page. */
const hole = "…";

interface Node {
  readonly type: string;
  readonly [field: string]: unknown;
}

/** The text of a string expression, or null for any other. Values inside it go into `values`. */
function textOf(node: Node, values: Node[]): string | null {
  const partOf = (part: Node): string => {
    const text = textOf(part, values);
    if (text === null) values.push(part);
    return text ?? hole;
  };
  if (node.type === "Literal" && typeof node["value"] === "string") return node["value"];
  if (node.type === "TemplateLiteral") {
    const quasis = node["quasis"] as { value: { cooked: string } }[];
    const expressions = node["expressions"] as Node[];
    return quasis
      .map((quasi, at) => quasi.value.cooked + (at in expressions ? partOf(expressions[at]!) : ""))
      .join("");
  }
  if (node.type === "BinaryExpression" && node["operator"] === "+") {
    const text = partOf(node["left"] as Node) + partOf(node["right"] as Node);
    return text === hole + hole ? null : text;
  }
  return null;
}

/** Texts that are no messages. */
const helpTexts = ["description", "summary", "help"];

function isNoMessage(node: Node): boolean {
  if (node.type === "ImportDeclaration") return true;
  if (node.type === "Property") return helpTexts.includes((node["key"] as { name: string }).name);
  return node.type === "CallExpression" && (node["callee"] as { name?: string }).name === "assert";
}

function collect(value: unknown, into: Set<string>): void {
  if (Array.isArray(value)) {
    for (const item of value) collect(item, into);
    return;
  }
  if (typeof value !== "object" || value === null) return;
  const node = value as Node;
  if (typeof node.type === "string") {
    if (isNoMessage(node)) return;
    const values: Node[] = [];
    const text = textOf(node, values);
    if (text !== null) {
      into.add(text);
      // They may hold texts of their own: `…; ${given ? "this." : "that."}`.
      collect(values, into);
      return;
    }
  }
  for (const field of Object.values(node)) collect(field, into);
}

function textsOf(folder: string, extension: string, lang: "ts" | "js"): Set<string> {
  const texts = new Set<string>();
  for (const file of readdirSync(folder, { recursive: true, encoding: "utf8" })) {
    if (!file.endsWith(extension) || file.endsWith(".test.ts")) continue;
    collect(parseAst(readFileSync(join(folder, file), "utf8"), { lang }).body, texts);
  }
  return texts;
}

/** Ends like a sentence, or with advice that is put behind one, and has a word before that. */
const isSentence = (text: string): boolean => /[a-z…] .*([.?]|[a-z]\.…)$/s.test(text);

function matches(text: string, fragment: string): boolean {
  let at = 0;
  for (const part of fragment.split(hole)) {
    const found = text.indexOf(part, at);
    if (found < 0) return false;
    at = found + part.length;
  }
  return true;
}

const page = readFileSync(join("docs", "operating", "troubleshooting.md"), "utf8");

/** The code in the first column of every table; what clients say is not ours. */
const fragments = page
  .split("## A client says")[0]!
  .split("\n")
  .filter((line) => line.startsWith("| "))
  .flatMap((line) => [...line.split(" | ")[0]!.matchAll(/`([^`]+)`/g)].map((match) => match[1]!));

const sources = textsOf("src", ".ts", "ts");

test("the sources and the page were read", () => {
  expect([...sources].filter(isSentence).length).toBeGreaterThan(100);
  expect(fragments.length).toBeGreaterThan(100);
  // A short one would match everything.
  expect(fragments.filter((fragment) => fragment.replaceAll(hole, "").length < 8)).toEqual([]);
});

test("every message is on the page", () => {
  const missing = [...sources]
    .filter(isSentence)
    .filter((text) => !fragments.some((fragment) => matches(text, fragment)));
  expect(missing).toEqual([]);
});

test("everything on the page can still be said", () => {
  const texts = [...sources, ...textsOf("scripts", ".mjs", "js")];
  const stale = fragments.filter((fragment) => !texts.some((text) => matches(text, fragment)));
  expect(stale).toEqual([]);
});
