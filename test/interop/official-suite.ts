/** The official client's own test program, unmodified, in a process of its own. */
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";

const path = join(dirname(createRequire(import.meta.url).resolve("tigerbeetle-node")), "test.js");
const source = readFileSync(path, "utf8");

/** Tests in it, in the order in which they run. */
export const suiteTests: readonly string[] = [...source.matchAll(/^test\((['"])(.*)\1/gm)].map(
  (match) => match[2]!,
);

export interface SuiteResult {
  readonly code: number | null;
  readonly output: string;
  /** Tests that passed. */
  readonly passed: number;
}

/**
 * @param addresses - As the client takes them.
 * @param onPassed - Told how many tests have passed so far.
 */
export function runSuite(
  addresses: string,
  onPassed: (count: number) => void = () => {},
): Promise<SuiteResult> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [path], {
      env: { ...process.env, TB_ADDRESS: addresses },
      stdio: ["ignore", "pipe", "pipe"],
    });
    const timer = setTimeout(() => child.kill("SIGKILL"), 200_000);
    let output = "";
    const passed = (): number => output.match(/: PASSED$/gm)?.length ?? 0;
    const hear = (chunk: Buffer): void => {
      output += chunk.toString("utf8");
      onPassed(passed());
    };
    child.stdout.on("data", hear);
    child.stderr.on("data", hear);
    child.on("close", (code) => {
      clearTimeout(timer);
      resolve({ code, output, passed: passed() });
    });
  });
}
