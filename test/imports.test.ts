/**
 * The source tree keeps its order: imports follow the arrows of docs/internals/architecture.md,
 * no file imports itself through others (types aside), and the deterministic layers use no clock,
 * randomness, promise or bigint. Tests beside the code are exempt.
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");

/** What each folder of src/ may import from other folders: a folder, or one file of it. */
const allowed: Readonly<Record<string, readonly string[]>> = {
  core: [],
  native: ["core"],
  wire: ["core", "native"],
  io: ["core", "native", "wire"],
  wal: ["core", "native", "wire", "io"],
  storage: ["core", "native", "wire", "io", "wal"],
  // Declares the storage interface that it uses; what storage offers has that shape.
  ledger: ["core"],
  consensus: ["core", "native", "wire", "io", "wal", "storage", "ledger"],
  server: ["core", "native", "wire", "io", "wal", "storage", "ledger", "consensus"],
  client: ["core", "native", "wire", "ledger/records.ts"],
  // Some commands are clients of a server.
  cli: [
    "core",
    "native",
    "wire",
    "io",
    "wal",
    "storage",
    "ledger",
    "consensus",
    "server",
    "client",
  ],
  embedded: [
    "core",
    "native",
    "wire",
    "io",
    "wal",
    "storage",
    "ledger",
    "consensus",
    "server",
    "client",
  ],
};

/** Layers whose every result is a function of their inputs. */
const deterministic = ["consensus", "wal", "storage", "ledger"];

const banned: readonly (readonly [RegExp, string])[] = [
  [/\bDate\b/g, "a clock"],
  [/\bperformance\b/g, "a clock"],
  [/\bhrtime\b/g, "a clock"],
  [/\bsetTimeout\b|\bsetInterval\b|\bsetImmediate\b/g, "a timer"],
  [/\bqueueMicrotask\b|\bnextTick\b/g, "a microtask"],
  [/\bMath\s*\.\s*random\b/g, "randomness"],
  [/\brandomUUID\b|\brandomBytes\b|\brandomFillSync\b|\bgetRandomValues\b/g, "randomness"],
  [/\bPromise\b/g, "a promise"],
  [/\basync\b|\bawait\b/g, "an async function"],
  [/\bbigint\b|\bBigInt\b|\bBigInt64Array\b|\bBigUint64Array\b/g, "bigint"],
  [/\bgetBigU?[iI]nt64\b|\bsetBigU?[iI]nt64\b/g, "bigint"],
  [/\b(?:0[xX][0-9a-fA-F_]+|0[bB][01_]+|0[oO][0-7_]+|[0-9][0-9_]*)n\b/g, "a bigint literal"],
];

// ------------------------------------------------------------------------------ reading source

interface Source {
  /** Comments blanked. */
  readonly withStrings: string;
  /** Comments and the contents of strings and regular expressions blanked. */
  readonly code: string;
}

/** Blanks what is not code, keeping every line break, so that positions still name lines. */
function readSource(text: string): Source {
  const withStrings = [...text];
  const code = [...text];
  const blank = (target: string[], from: number, to: number): void => {
    for (let i = from; i < to; i += 1) if (target[i] !== "\n") target[i] = " ";
  };
  /** For each open template literal, the braces open inside its current `${`. */
  const templates: number[] = [];
  let at = 0;
  /** Blanks a template's text from `at` to its end or to the next `${`. */
  const templateText = (): void => {
    const start = at;
    while (at < text.length && text[at] !== "`" && !text.startsWith("${", at)) {
      at += text[at] === "\\" ? 2 : 1;
    }
    blank(code, start, Math.min(at, text.length));
    if (text[at] === "`") {
      at += 1;
    } else {
      templates.push(0);
      at += 2;
    }
  };
  let before = "";
  while (at < text.length) {
    const char = text[at]!;
    const start = at;
    if (text.startsWith("//", at)) {
      while (at < text.length && text[at] !== "\n") at += 1;
      blank(withStrings, start, at);
      blank(code, start, at);
      continue;
    }
    if (text.startsWith("/*", at)) {
      at = text.indexOf("*/", at + 2) + 2;
      blank(withStrings, start, at);
      blank(code, start, at);
      continue;
    }
    if (char === '"' || char === "'") {
      at += 1;
      while (text[at] !== char && text[at] !== "\n") at += text[at] === "\\" ? 2 : 1;
      blank(code, start + 1, at);
      at += 1;
    } else if (char === "/" && /(?:^|[(,=:[!&|?{};+\-*%<>~^]|\breturn|\bcase) ?$/.test(before)) {
      at += 1;
      let inClass = false;
      while (text[at] !== "\n" && (inClass || text[at] !== "/")) {
        if (text[at] === "[") inClass = true;
        if (text[at] === "]") inClass = false;
        at += text[at] === "\\" ? 2 : 1;
      }
      blank(code, start + 1, at);
      at += 1;
    } else if (char === "`") {
      at += 1;
      templateText();
    } else if (char === "}" && templates.length > 0 && templates.at(-1) === 0) {
      templates.pop();
      at += 1;
      templateText();
    } else {
      if (templates.length > 0 && char === "{") templates[templates.length - 1]! += 1;
      if (templates.length > 0 && char === "}") templates[templates.length - 1]! -= 1;
      at += 1;
    }
    before = (before + char).replace(/\s+/g, " ").slice(-12);
  }
  return { withStrings: withStrings.join(""), code: code.join("") };
}

/** What a file imports: statements with `from`, bare imports, and import() of a literal. */
function importsOf(source: Source): string[] {
  return [...importStatements(source)].map(({ specifier }) => specifier);
}

/** Without `import type` statements, which leave nothing behind at run time. */
function runtimeImportsOf(source: Source): string[] {
  return [...importStatements(source)]
    .filter(({ statement }) => !/^(?:import|export)\s+type\b/.test(statement))
    .map(({ specifier }) => specifier);
}

function* importStatements(source: Source): Generator<{ statement: string; specifier: string }> {
  const patterns = [
    /\b(?:import|export)\b[^;"'`()]*?\bfrom\s*["']([^"']+)["']/g,
    /\bimport\s*["']([^"']+)["']/g,
    /\bimport\s*\(\s*["'`]([^"'`]+)["'`]/g,
  ];
  for (const pattern of patterns) {
    for (const match of source.withStrings.matchAll(pattern)) {
      yield { statement: match[0], specifier: match[1]! };
    }
  }
}

function bannedIn(source: Source): string[] {
  const found: string[] = [];
  for (const [pattern, what] of banned) {
    for (const match of source.code.matchAll(pattern)) {
      const line = source.code.slice(0, match.index).split("\n").length;
      found.push(`line ${line}: ${what}: ${match[0]}`);
    }
  }
  return found;
}

// -------------------------------------------------------------------------------- the real tree

interface File {
  /** Path inside the repository. */
  readonly path: string;
  /** Folder below src/. */
  readonly folder: string;
  readonly source: Source;
  readonly imports: readonly string[];
}

function filesBelow(path: string): string[] {
  if (!existsSync(join(root, path))) return [];
  return readdirSync(join(root, path), { withFileTypes: true }).flatMap((entry) => {
    const child = `${path}/${entry.name}`;
    if (entry.isDirectory()) return entry.name === "node_modules" ? [] : filesBelow(child);
    return child.endsWith(".ts") && !child.endsWith(".test.ts") ? [child] : [];
  });
}

function load(path: string): File {
  const source = readSource(readFileSync(join(root, path), "utf8"));
  return { path, folder: path.split("/")[1]!, source, imports: importsOf(source) };
}

const files = filesBelow("src").map(load);

/** The imported file as a path inside the repository; null for packages and node: modules. */
function resolveImport(file: File, specifier: string): string | null {
  if (!specifier.startsWith(".")) return null;
  return relative(root, join(root, dirname(file.path), specifier)).replaceAll("\\", "/");
}

describe("the source tree", () => {
  test("has files to look at", () => {
    expect(files.length).toBeGreaterThan(20);
  });

  test("has no folder without a place in the order", () => {
    expect([...new Set(files.map(({ folder }) => folder))].filter((f) => !(f in allowed))).toEqual(
      [],
    );
  });

  test("imports follow the arrows", () => {
    const wrong: string[] = [];
    for (const file of files) {
      for (const specifier of file.imports) {
        const target = resolveImport(file, specifier);
        if (target === null) continue;
        const [top, folder, ...rest] = target.split("/");
        const inside = `${folder}/${rest.join("/")}`;
        const fine =
          top === "src" &&
          (folder === file.folder ||
            allowed[file.folder]!.includes(folder!) ||
            allowed[file.folder]!.includes(inside));
        if (!fine) wrong.push(`${file.path} imports ${target}`);
      }
    }
    expect(wrong).toEqual([]);
  });

  // A benchmark may start clusters as the tests do.
  test("nothing but tests and benchmarks imports from test/", () => {
    const wrong = files.flatMap((file) =>
      file.imports
        .filter((specifier) => resolveImport(file, specifier)?.startsWith("test/"))
        .map((specifier) => `${file.path} imports ${specifier}`),
    );
    expect(wrong).toEqual([]);
  });

  test("imports of files end in .ts", () => {
    const wrong = files.flatMap((file) =>
      file.imports
        .filter((specifier) => specifier.startsWith(".") && !specifier.endsWith(".ts"))
        .map((specifier) => `${file.path} imports ${specifier}`),
    );
    expect(wrong).toEqual([]);
  });

  test("has no cycles", () => {
    expect(
      findCycle(
        new Map(
          files.map((file) => [
            file.path,
            runtimeImportsOf(file.source).flatMap((name) => resolveImport(file, name) ?? []),
          ]),
        ),
      ),
    ).toBe(null);
  });

  test("deterministic layers use no clock, randomness, promise or bigint", () => {
    const wrong = files
      .filter(({ folder }) => deterministic.includes(folder))
      .flatMap((file) => bannedIn(file.source).map((what) => `${file.path} ${what}`));
    expect(wrong).toEqual([]);
  });

  test("deterministic layers import nothing of Node's", () => {
    const wrong = files
      .filter(({ folder }) => deterministic.includes(folder) || folder === "core")
      .flatMap((file) =>
        file.imports
          .filter((specifier) => specifier.startsWith("node:"))
          .map((specifier) => `${file.path} imports ${specifier}`),
      );
    expect(wrong).toEqual([]);
  });
});

/** A cycle as the list of its files, or null. */
function findCycle(graph: ReadonlyMap<string, readonly string[]>): string[] | null {
  const done = new Set<string>();
  const path: string[] = [];
  const visit = (file: string): string[] | null => {
    if (done.has(file)) return null;
    const at = path.indexOf(file);
    if (at >= 0) return [...path.slice(at), file];
    path.push(file);
    for (const next of graph.get(file) ?? []) {
      const cycle = visit(next);
      if (cycle !== null) return cycle;
    }
    path.pop();
    done.add(file);
    return null;
  };
  for (const file of graph.keys()) {
    const cycle = visit(file);
    if (cycle !== null) return cycle;
  }
  return null;
}

// ------------------------------------------------------------------------------ the scan itself

describe("the scan", () => {
  test("finds every form of import, and none in comments and strings", () => {
    const source = readSource(`
      import { a, type B } from "./a.ts";
      import type { C } from './c.ts';
      import * as d from "./d.ts";
      import "./e.ts";
      export { f } from "./f.ts";
      export * from "./g.ts";
      const h = await import("./h.ts");
      import {
        i, // from "./no-1.ts"
      } from "./i.ts";
      // import { x } from "./no-2.ts";
      /* import { x } from "./no-3.ts"; */
      export const from = 1;
    `);
    expect(importsOf(source).sort()).toEqual(
      ["a", "c", "d", "e", "f", "g", "h", "i"].map((name) => `./${name}.ts`),
    );
  });

  test("tells imports of types apart", () => {
    const source = readSource(`
      import type { A } from "./a.ts";
      import { type B, b } from "./b.ts";
      export type { C } from "./c.ts";
    `);
    expect(runtimeImportsOf(source)).toEqual(["./b.ts"]);
  });

  test.each([
    ["const now = Date.now();", "a clock"],
    ["const id = Math . random();", "randomness"],
    ["export async function f() {}", "an async function"],
    ["const one = 1n;", "a bigint literal"],
    ["const mask = 0xffff_ffffn;", "a bigint literal"],
    ["let x: bigint;", "bigint"],
    ["const words = new BigUint64Array(2);", "bigint"],
    // biome-ignore lint/suspicious/noTemplateCurlyInString: source text under test
    ["const text = `a ${Date.now()} b`;", "a clock"],
    ["setTimeout(f, 1);", "a timer"],
    ["const ratio = a / b; const p = Promise.resolve(); // c /", "a promise"],
  ])("finds what is banned in: %s", (text, what) => {
    const found = bannedIn(readSource(text));
    expect(found.length).toBeGreaterThan(0);
    expect(found[0]).toContain(what);
  });

  test.each([
    "// Date.now() and a promise: Promise, async, 10n",
    "/** No bigint here. */ const a = 1;",
    'assert(ok, "no Promise, no Date, no async");',
    "const pattern = /Date|Promise|[/]async/;",
    // biome-ignore lint/suspicious/noTemplateCurlyInString: source text under test
    "const text = `Date ${count} await`;",
    "if (a) {\n  // why\n  return /async/.test(b);\n} else return /await/;",
    "const updateDated = 1; const asyncish = 2; const in1 = an0n;",
    "const escaped = 'it\\'s async'; const other = \"a \\\\\";",
  ])("passes: %s", (text) => {
    expect(bannedIn(readSource(text))).toEqual([]);
  });

  test("finds a cycle", () => {
    const graph = new Map([
      ["a", ["b"]],
      ["b", ["c", "d"]],
      ["c", []],
      ["d", ["b"]],
    ]);
    expect(findCycle(graph)).toEqual(["b", "d", "b"]);
    expect(findCycle(new Map([["a", ["b"]]]))).toBe(null);
  });
});
