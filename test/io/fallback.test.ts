/** Processes in which io_uring cannot be had: `auto` falls back and says why, `uring` refuses. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { refuseUringCommand } from "./refuse-uring.ts";

const root = join(dirname(fileURLToPath(import.meta.url)), "..", "..");
const addonPath = join(root, "build", "pacioli.node");
let directory = "";

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "pacioli-fallback-"));
  compileProbe();
});

afterAll(() => rmSync(directory, { recursive: true, force: true }));

/** Compiles the child and what it imports, apart from dist/, which others may be building. */
function compileProbe(): void {
  const config = {
    extends: join(root, "tsconfig.build.json"),
    compilerOptions: {
      outDir: directory,
      rootDir: root,
      tsBuildInfoFile: join(directory, "build-info"),
      typeRoots: [join(root, "node_modules", "@types")],
      noEmitOnError: true,
    },
    files: [join(root, "test", "io", "fallback-probe.ts")],
    include: [],
  };
  const configPath = join(directory, "tsconfig.json");
  writeFileSync(configPath, JSON.stringify(config));
  writeFileSync(join(directory, "package.json"), JSON.stringify({ type: "module" }));
  const compiler = join(root, "node_modules", "typescript", "bin", "tsc");
  execFileSync(process.execPath, [compiler, "-p", configPath], { encoding: "utf8" });
}

function probe(
  prefix: readonly string[],
  backend: string,
  environment: Record<string, string> = {},
): Record<string, unknown> {
  const script = join(directory, "test", "io", "fallback-probe.js");
  const command = [...prefix, process.execPath, script, backend, join(directory, "file")];
  const output = execFileSync(command[0] as string, command.slice(1), {
    encoding: "utf8",
    env: { ...process.env, PACIOLI_ADDON_PATH: addonPath, ...environment },
    timeout: 30_000,
  });
  return JSON.parse(output) as Record<string, unknown>;
}

if (process.platform === "linux") {
  test("where seccomp refuses io_uring, auto is portable and says why", () => {
    expect(probe(refuseUringCommand(), "auto")).toEqual({
      name: "portable",
      note: expect.stringMatching(/^I\/O backend: portable, since io_uring is not permitted here/),
      result: 4096,
    });
  });

  test("where seccomp refuses io_uring, asking for it is an error that says why", () => {
    expect(probe(refuseUringCommand(), "uring")).toEqual({
      name: "IoBackendError",
      code: "ERR_IO_BACKEND",
      message: expect.stringMatching(/^The io_uring backend cannot be used: .*not permitted.*auto/),
    });
  });

  test("the launcher alone is what refuses", () => {
    const command = [...refuseUringCommand(), "sh", "-c", "echo served; exit 3"];
    let status = 0;
    let output = "";
    try {
      output = execFileSync(command[0] as string, command.slice(1), { encoding: "utf8" });
    } catch (error) {
      ({ status, stdout: output } = error as { status: number; stdout: string });
    }
    expect({ status, output }).toEqual({ status: 3, output: "served\n" });
    if (process.env["PACIOLI_EXPECT_URING"] === "0") return;
    expect(probe([], "auto")).toMatchObject({ name: "uring", result: 4096 });
  });
}

test("without the addon, auto is portable and says why", () => {
  const without = { PACIOLI_NO_ADDON: "1" };
  expect(probe([], "auto", without)).toEqual({
    name: "portable",
    note: expect.stringContaining("addon"),
    result: 4096,
  });
  expect(probe([], "uring", without)).toMatchObject({ code: "ERR_IO_BACKEND" });
});

test("portable is taken when it is asked for", () => {
  expect(probe([], "portable")).toEqual({
    name: "portable",
    note: "I/O backend: portable, as asked for.",
    result: 4096,
  });
});
