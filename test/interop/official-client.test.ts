/** The official client's own test suite, unmodified, against this server on both backends. */
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { cleanUp, startFresh } from "../process/server.ts";

const suite = join(dirname(createRequire(import.meta.url).resolve("tigerbeetle-node")), "test.js");

afterAll(cleanUp);

function runSuite(port: number): Promise<{ code: number | null; output: string }> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [suite], {
      env: { ...process.env, TB_ADDRESS: String(port) },
      stdio: ["ignore", "pipe", "pipe"],
    });
    const timer = setTimeout(() => child.kill("SIGKILL"), 100_000);
    let output = "";
    const hear = (chunk: Buffer): void => {
      output += chunk.toString("utf8");
    };
    child.stdout.on("data", hear);
    child.stderr.on("data", hear);
    child.on("close", (code) => {
      clearTimeout(timer);
      resolve({ code, output });
    });
  });
}

test.each(["uring", "portable"] as const)(
  "the official client's tests pass against the %s backend",
  async (backend) => {
    const { server } = await startFresh({ backend, development: true });
    const { code, output } = await runSuite(server.port);
    expect(code, `${output}\nserver:\n${server.log}`).toBe(0);
    const declared = readFileSync(suite, "utf8").match(/^test\(/gm)!.length;
    expect(declared).toBeGreaterThan(20);
    expect(output.match(/: PASSED$/gm)?.length, output).toBe(declared);
    await server.stop();
  },
);
