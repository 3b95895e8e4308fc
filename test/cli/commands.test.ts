/** The command as users meet it: help, versions, and one clear sentence for every mistake. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { run } from "../../src/cli/run.ts";
import { clientReleaseMax, clientReleaseMin, releaseText } from "../../src/wire/release.ts";

const names = ["format", "start", "development", "inspect", "benchmark", "version"];

async function pacioli(...args: string[]): Promise<{ code: number; out: string; error: string }> {
  let out = "";
  let error = "";
  const code = await run(args, {
    out: (text) => {
      out += text;
    },
    error: (text) => {
      error += text;
    },
    interactive: false,
  });
  return { code, out, error };
}

let folder = "";
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "pacioli-cli-"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe("help", () => {
  test.each([["--help"], ["-h"], ["help"]])("%s lists every command", async (word) => {
    const { code, out, error } = await pacioli(word);
    expect(code).toBe(0);
    expect(error).toBe("");
    for (const name of names) expect(out).toMatch(new RegExp(`^  ${name} +[A-Z]`, "m"));
  });

  test("of the help is the list", async () => {
    const { out } = await pacioli("help");
    for (const words of [
      ["help", "help"],
      ["help", "--help"],
      ["--help", "-h"],
    ]) {
      expect(await pacioli(...words)).toEqual({ code: 0, out, error: "" });
    }
  });

  test("without a command the list goes to the error stream", async () => {
    const { code, out, error } = await pacioli();
    expect([code, out]).toEqual([1, ""]);
    expect(error).toContain("Usage: pacioli COMMAND");
  });

  test.each(names)(
    "of %s: usage, options, defaults, examples; lines fit a terminal",
    async (name) => {
      const { code, out } = await pacioli(name, "--help");
      expect(code).toBe(0);
      expect(out).toMatch(new RegExp(`^Usage: pacioli ${name}`));
      expect(out).toContain("Options:");
      expect(out).toContain("Examples:");
      const tooLong = out
        .split("\n")
        .filter((line) => line.length > 100 && !line.includes("pacioli "));
      expect(tooLong).toEqual([]);
      expect((await pacioli("help", name)).out).toBe(out);
    },
  );

  test("shows what is required, what is optional, and defaults", async () => {
    const { out } = await pacioli("format", "--help");
    expect(out).toMatch(/^Usage: pacioli format --cluster=N \[OPTIONS\] FILE$/m);
    expect(out).toContain("[256; with --development 64]");
    expect((await pacioli("start", "--help")).out).toContain("--backend=auto|uring|portable");
  });

  test("the reference in docs has every option of every command", async () => {
    const docs = readFileSync(join("docs", "operating", "command-line.md"), "utf8");
    for (const name of names) {
      const section = docs.split(`## ${name}\n`)[1]?.split("\n## ")[0] ?? "";
      const { out } = await pacioli(name, "--help");
      const options = [...out.matchAll(/^ {2}(--[a-z-]+)/gm)].map((match) => match[1]!);
      expect(options.length, name).toBeGreaterThan(0);
      for (const option of options) expect(section, `${name} ${option}`).toContain(`\`${option}`);
    }
  });
});

describe("versions", () => {
  test("for people and for programs", async () => {
    const version = (JSON.parse(readFileSync("package.json", "utf8")) as { version: string })
      .version;
    const { code, out } = await pacioli("version");
    expect(code).toBe(0);
    expect(out).toMatch(new RegExp(`^pacioli +${version.replaceAll(".", "\\.")}$`, "m"));
    expect(out).toMatch(/^clients +0\.16\.4 to 0\.17\.9$/m);
    expect((await pacioli("--version")).out).toBe(out);
    const json = JSON.parse((await pacioli("version", "--json")).out) as Record<string, unknown>;
    expect(json["version"]).toBe(version);
    expect(json["clients"]).toEqual({ min: "0.16.4", max: "0.17.9" });
  });

  test("the pages for newcomers name the releases of clients that are served", () => {
    const range = `${releaseText(clientReleaseMin)} to ${releaseText(clientReleaseMax)}`;
    for (const page of ["README.md", "CHANGELOG.md"]) {
      const text = readFileSync(page, "utf8");
      expect(text, page).toContain(range);
      const others = text.replaceAll(range, "").match(/\breleases? (of )?\d\S*/g);
      expect(others, page).toBe(null);
    }
  });
});

describe("mistakes", () => {
  test.each<[string[], string]>([
    [["formt"], "there is no command 'formt'; did you mean 'format'?"],
    [
      ["repl"],
      "there is no command 'repl'; the commands are format, start, development, recover, inspect, benchmark, simulate, version.",
    ],
    [
      ["--cluster=0", "format"],
      "the command comes before its options; write 'pacioli COMMAND --cluster=0' (commands: format, start, development, recover, inspect, benchmark, simulate, version).",
    ],
    [["-v"], "there is no option '-v' before a command; did you mean 'pacioli version'?"],
    [["--Help"], "there is no option '--Help' before a command; did you mean 'pacioli help'?"],
    [["help", "start", "format"], "help takes one command, but 'format' is given as well."],
    [["help", "formt"], "there is no command 'formt'; did you mean 'format'?"],
    [
      ["format", "x.pacioli"],
      "format needs --cluster=N; for example 'pacioli format --cluster=0 --development ledger.pacioli'.",
    ],
    [
      ["format"],
      "format needs --cluster=N and FILE; for example 'pacioli format --cluster=0 --development ledger.pacioli'.",
    ],
    [
      ["format", "--cluster=0"],
      "format needs FILE; for example 'pacioli format --cluster=0 --development ledger.pacioli'.",
    ],
    [["format", "--cluster=0", ""], "an argument of format is empty; give FILE."],
    [
      ["format", "--cluster=0", "--replica-count=3", "x.pacioli"],
      "which of the 3 replicas is this file for? Make one file for each, with --replica=0 to 2.",
    ],
    [
      ["format", "--cluster=0", "--replica=1", "x.pacioli"],
      "--replica=1 is outside a cluster of 1, whose indexes start at 0; give --replica=0.",
    ],
    [
      ["format", "--cluster=0", "--clients-max=5000", "x.pacioli"],
      "--clients-max must be a whole number from 1 to 4096, not '5000'.",
    ],
    [
      ["format", "--cluster=0", "--clients-max=0", "x.pacioli"],
      "--clients-max must be a whole number from 1 to 4096, not '0'.",
    ],
    [
      ["start", "x.pacioli"],
      "start needs --addresses=ADDRESSES; for example 'pacioli start --addresses=3001 ledger.pacioli'.",
    ],
    [
      ["development", "--addresses=3001,3002,3003"],
      "3 addresses are given, but one server is meant; give one.",
    ],
    [
      ["development", "--replicas=3", "--file=x.pacioli"],
      "--file is for one server; --replicas goes with --directory and --port.",
    ],
    [
      ["development", "--directory=x"],
      "--directory goes with --replicas; one server has a --file.",
    ],
    [
      ["development", "--replicas=3", "--port=65534"],
      "--port=65534 leaves no port for each of 3 replicas; give one from 1 to 65533.",
    ],
    [
      ["format", "--cluster=0", "--replica-count=3", "--replica=3", "x.pacioli"],
      "--replica=3 is outside a cluster of 3, whose indexes start at 0; give --replica=0 to 2.",
    ],
    [
      ["start", "--addresses=3001", "--backend=epoll", "x.pacioli"],
      "--backend must be auto, uring or portable, not 'epoll'.",
    ],
    [
      ["start", "--addresses=3001", "--direct-io=no", "x.pacioli"],
      "--direct-io must be on or off, not 'no'.",
    ],
    [
      ["start", "--addresses=3001", "--cache-grid=lots", "x.pacioli"],
      "--cache-grid must be a size such as 256MiB or 1GiB (units: KiB, MiB, GiB, TiB), not 'lots'.",
    ],
    [["development", "--port=1", "--addresses=2"], "give --port or --addresses, not both."],
    [
      ["development", "--addresses=1,2"],
      "2 addresses are given, but one server is meant; give one.",
    ],
    [
      ["development", "x.pacioli"],
      "development takes no arguments, but 'x.pacioli' is given; options start with '--'.",
    ],
    [["inspect"], "inspect needs FILE; for example 'pacioli inspect ledger.pacioli'."],
    [
      ["inspect", "wal"],
      "inspect wal needs FILE; for example 'pacioli inspect wal ledger.pacioli'.",
    ],
    [
      ["inspect", "x.pacioli", "wal"],
      "the topic comes before the file: 'pacioli inspect wal x.pacioli'.",
    ],
    [
      ["inspect", "superblok", "x.pacioli"],
      "there is nothing to inspect by the name 'superblok'; did you mean 'superblock'?",
    ],
    [
      ["inspect", "everything", "x.pacioli"],
      "there is nothing to inspect by the name 'everything'; the topics are superblock, wal, replies, grid, tables, integrity.",
    ],
    [
      ["benchmark", "--addresses=3001", "--backend=uring"],
      "--backend says how a temporary server is made; it does not go with --addresses.",
    ],
    [
      ["benchmark", "--cluster=3"],
      "--cluster goes with --addresses; a temporary server is cluster 0.",
    ],
    [
      ["benchmark", "--accounts=10", "--hot-accounts=11"],
      "--hot-accounts=11 is more than --accounts=10.",
    ],
    [["benchmark", "--batch=8190"], "--batch must be a whole number from 1 to 8189, not '8190'."],
    [
      ["benchmark", "--pending-share=101"],
      "--pending-share must be a whole number from 0 to 100, not '101'.",
    ],
    [["version", "--jsno"], "version has no option '--jsno'; did you mean --json?"],
  ])("%j", async (args, sentence) => {
    expect(await pacioli(...args)).toEqual({ code: 1, out: "", error: `pacioli: ${sentence}\n` });
  });

  test("format does not overwrite a file", async () => {
    const path = join(folder, "precious.pacioli");
    writeFileSync(path, "books of ten years");
    const { code, error } = await pacioli("format", "--cluster=0", "--development", path);
    expect(code).toBe(1);
    expect(error).toBe(
      `pacioli: '${path}' exists and is not overwritten; move it away, or give the name of a new file.\n`,
    );
    expect(readFileSync(path, "utf8")).toBe("books of ten years");
  });
});
