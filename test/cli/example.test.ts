/** The README's example is the file that runs here, and it prints what the README says. */
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { projectRoot } from "../../src/cli/paths.ts";
import { startReferenceServer } from "./reference-server.ts";

const path = join(projectRoot, "examples", "first-transfer.mjs");

async function runExample(port: number): Promise<string> {
  const { stdout } = await promisify(execFile)(process.execPath, [path, String(port)]);
  return stdout;
}

test("prints the balances, and more of them when it runs again", async () => {
  const server = await startReferenceServer();
  try {
    expect(await runExample(server.port)).toBe(
      "account 1: debits 10, credits 0\naccount 2: debits 0, credits 10\n",
    );
    expect(await runExample(server.port)).toBe(
      "account 1: debits 20, credits 0\naccount 2: debits 0, credits 20\n",
    );
  } finally {
    await server.close();
  }
});

test("stands in the README as it is", () => {
  const readme = readFileSync(join(projectRoot, "README.md"), "utf8");
  expect(readme).toContain(`\`\`\`js\n${readFileSync(path, "utf8")}\`\`\``);
});
